//! Other people's programs on what is written here, and here on what they write.
//!
//! They need `.peers-evidence`, which `tests/peers/setup.sh evidence` makes.

use std::path::Path;
use std::process::Command;

use crate::audit;
use crate::fixture::{Finished, Run};
use crate::quantize::{quantize, with_data};
use crate::sign::signed;

const TOP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Runs Python in the folder of `run`, or says that the test is skipped.
fn python(run: &Run, arguments: &[&str]) -> Option<Finished> {
    let python = Path::new(TOP).join(".peers-evidence/bin/python");
    if !python.is_file() {
        rift_tests::skipped("no `.peers-evidence`, which `tests/peers/setup.sh evidence` makes");
        return None;
    }
    Some(Finished::of(Command::new(python).current_dir(run.path("")).args(arguments)))
}

/// Runs the program of the peers.
fn evidence(run: &Run, arguments: &[&str]) -> Option<Finished> {
    let program = format!("{TOP}/tests/peers/evidence.py");
    python(run, &[&[program.as_str()], arguments].concat())
}

#[test]
fn model_signing_accepts_ours_until_a_byte_is_flipped() {
    let run = signed();
    let signature = ["--signature", "bundle/model.sig", "--public_key", "rift.pub"];
    let verify = [&["-m", "model_signing", "verify", "key", "bundle"], &signature[..]].concat();
    let Some(done) = python(&run, &verify) else { return };
    assert!(done.code == 0 && done.stdout.contains("Verification succeeded"), "{done:?}");
    let flips = evidence(&run, &["flips", "bundle", "bundle/model.sig", "rift.pub"]).unwrap();
    assert!(flips.code == 0 && flips.stdout.contains("each of 5 files"), "{flips:?}");
    // A single file with its signature beside it.
    let pack = run.rift(&["deploy", "bundle", "--archive", "b.tar.zst"]);
    assert_eq!(pack.code, 0, "{pack:?}");
    assert_eq!(run.rift(&["sign", "b.tar.zst", "--key", "rift.key"]).code, 0);
    let verify = ["-m", "model_signing", "verify", "key", "b.tar.zst", "--signature"];
    let key = ["b.tar.zst.sig", "--public_key", "rift.pub"];
    let file = python(&run, &[&verify[..], &key].concat()).unwrap();
    assert_eq!(file.code, 0, "{file:?}");
}

#[test]
fn we_accept_model_signings_until_a_byte_is_flipped() {
    let run = signed();
    std::fs::remove_file(run.path("bundle/model.sig")).unwrap();
    let sign = ["-m", "model_signing", "sign", "key", "bundle", "--private_key", "rift.key"];
    let Some(done) = python(&run, &[&sign[..], &["--signature", "bundle/model.sig"]].concat())
    else {
        return;
    };
    assert_eq!(done.code, 0, "{done:?}");
    let verify = || run.rift(&["verify-signature", "bundle", "--key", "rift.pub"]);
    assert_eq!(verify().code, 0, "{:?}", verify());
    for name in ["model.onnx", "card.json", "probe.safetensors", "README.md", "bom.cdx.json"] {
        let path = run.path("bundle").join(name);
        let good = std::fs::read(&path).unwrap();
        let mut bytes = good.clone();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        verify().fails(1, &[&format!("`{name}` was changed")]);
        std::fs::write(&path, good).unwrap();
    }
}

#[test]
fn cyclonedx_the_hub_and_json_schema_read_our_documents() {
    let run = with_data();
    let done = quantize(&run, &["--max-drop", "100", "--optimize", "portable"]);
    assert_eq!(done.code, 0, "{done:?}");
    for (bundle, results) in [("bundle", "0 results"), ("small", "2 results")] {
        let Some(done) = evidence(&run, &["documents", bundle]) else { return };
        assert!(done.code == 0 && done.stdout.contains(results), "{done:?}");
    }
}

#[test]
fn securesystemslib_accepts_a_signed_audit() {
    let run = signed();
    audit::write(&run);
    assert_eq!(run.rift(&["attest", "audit.json", "--key", "rift.key"]).code, 0);
    let Some(done) = evidence(&run, &["statement", "audit.intoto.json", "rift.pub"]) else {
        return;
    };
    assert!(done.code == 0 && done.stdout.contains("robustness-audit/v1"), "{done:?}");
}
