//! `rift-exporter keygen`, `sign` and `verify-signature` as a process, and what the Python package
//! `model-signing` signed.

use std::path::{Path, PathBuf};

use rift_models::artifact::{Accuracy, Bundle};

use crate::fixture::{Finished, Run, names, rewrite};

/// A bundle, its signature and the keys `rift.key` and `rift.pub`.
pub(crate) fn signed() -> Run {
    let run = Run::new();
    run.exported();
    assert_eq!(run.rift(&["keygen"]).code, 0);
    sign(&run);
    run
}

fn sign(run: &Run) {
    let done = run.rift(&["sign", "bundle", "--key", "rift.key"]);
    assert_eq!(done.code, 0, "{done:?}");
}

fn verify(run: &Run, what: &str) -> Finished {
    run.rift(&["verify-signature", what, "--key", "rift.pub"])
}

#[test]
fn a_signed_bundle_holds_until_one_byte_of_any_file_is_flipped() {
    let run = signed();
    let holds = verify(&run, "bundle");
    assert!(holds.code == 0 && holds.stdout.contains("covers    5 files"), "{holds:?}");
    for name in names(&run.path("bundle")) {
        if name == Bundle::SIGNATURE {
            continue;
        }
        let path = run.path("bundle").join(&name);
        let good = std::fs::read(&path).unwrap();
        for at in [0, good.len() / 2, good.len() - 1] {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            // What cannot be read any more was changed all the same.
            verify(&run, "bundle").fails(1, &["does not hold", &format!("`{name}` was changed")]);
        }
        std::fs::write(&path, good).unwrap();
    }
    assert_eq!(verify(&run, "bundle").code, 0);
}

#[test]
fn files_that_come_or_go_are_named() {
    let run = signed();
    std::fs::write(run.path("bundle/extra.txt"), b"").unwrap();
    std::fs::remove_file(run.path("bundle/README.md")).unwrap();
    verify(&run, "bundle").fails(1, &["`README.md` is missing, `extra.txt` is not signed"]);
    #[cfg(unix)]
    {
        std::fs::remove_file(run.path("bundle/extra.txt")).unwrap();
        std::os::unix::fs::symlink("card.json", run.path("bundle/README.md")).unwrap();
        verify(&run, "bundle").fails(1, &["`README.md` is not a plain file"]);
        run.rift(&["sign", "bundle", "--key", "rift.key"])
            .fails(2, &["`bundle` cannot be signed: expected plain files, found `README.md`"]);
    }
}

#[test]
fn a_tampered_card_with_its_bill_and_page_is_caught_by_the_signature_alone() {
    let run = signed();
    let bundle = run.path("bundle");
    rewrite(&bundle, |card| {
        card.parity.same_prediction -= 1;
        card.metrics.push(rift_models::artifact::CardMetric {
            name: "clean".to_owned(),
            split: "test".to_owned(),
            attack: None,
            accuracy: Accuracy::new(100, 100),
        });
    });
    assert_eq!(run.rift(&["verify", "bundle"]).code, 0, "digests and logits are as before");
    verify(&run, "bundle").fails(1, &["was changed"]);
    // A card of another model is not signed to begin with.
    rewrite(&bundle, |card| card.model = card.probe.clone());
    run.rift(&["sign", "bundle", "--key", "rift.key"])
        .fails(2, &["`bundle/model.onnx` was changed"]);
    std::fs::write(run.path("bundle/card.json"), "{").unwrap();
    run.rift(&["sign", "bundle", "--key", "rift.key"]).fails(2, &["is not a valid card"]);
    verify(&run, "bundle").fails(1, &["was changed"]);
}

#[test]
fn a_tampered_optimised_form_is_not_signed() {
    let run = Run::new();
    run.exported();
    let export = ["export", "--checkpoint", "rift.safetensors", "--out", "bundle"];
    let done = run.rift(&[&export[..], &["--optimize", "portable"]].concat());
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(run.rift(&["keygen", "--out", "rift"]).code, 0);
    assert_eq!(run.rift(&["sign", "bundle", "--key", "rift.key"]).code, 0);
    std::fs::copy(run.path("bundle/model.onnx"), run.path("bundle/optimized.onnx")).unwrap();
    run.rift(&["sign", "bundle", "--key", "rift.key"])
        .fails(2, &["`bundle/optimized.onnx` was changed"]);
}

#[test]
fn half_a_pair_of_keys_is_never_left() {
    let run = Run::new();
    std::fs::write(run.path("k.pub"), "somebody's").unwrap();
    run.rift(&["keygen", "--out", "k"]).fails(2, &["`k.pub` exists"]);
    assert!(!run.path("k.key").exists());
    assert_eq!(std::fs::read_to_string(run.path("k.pub")).unwrap(), "somebody's");
}

#[test]
fn a_folder_is_no_name_for_keys() {
    let run = Run::new();
    std::fs::create_dir(run.path("i")).unwrap();
    for out in ["i/", "i/.", ".", ".."] {
        run.rift(&["keygen", "--out", out]).fails(2, &["is a folder, expected a name"]);
    }
    assert!(names(&run.path("i")).is_empty());
    assert_eq!(run.rift(&["keygen", "--out", "i"]).code, 0);
    assert!(run.path("i.key").exists() && run.path("i.pub").exists());
}

#[test]
fn wrong_keys_and_files_that_are_none() {
    let run = signed();
    assert_eq!(run.rift(&["keygen", "--out", "other"]).code, 0);
    let with = |key: &str| run.rift(&["verify-signature", "bundle", "--key", key]);
    with("other.pub").fails(1, &["it was made with another key"]);
    with("rift.key").fails(2, &["`rift.key` holds no usable key", "expected a public key"]);
    with("nothing").fails(2, &["cannot read `nothing`"]);
    with("bundle/model.onnx").fails(2, &["holds no usable key"]);
    let sign = |bundle: &str, key: &str| run.rift(&["sign", bundle, "--key", key]);
    sign("bundle", "rift.pub").fails(2, &["expected a private key"]);
    sign("nowhere", "rift.key").fails(2, &["`nowhere` is not a bundle"]);
    run.rift(&["keygen"]).fails(2, &["cannot write `rift.key`", "exists"]);
    verify(&run, "nowhere").fails(2, &["cannot read `nowhere`"]);
    let signature = run.path("bundle/model.sig");
    verify(&run, "bundle/model.sig").fails(2, &["name the model, and this by `--signature`"]);
    let good = std::fs::read_to_string(&signature).unwrap();
    std::fs::write(&signature, good.replace("bundle.v0.3+json", "bundle.v9+json")).unwrap();
    verify(&run, "bundle").fails(2, &["`bundle/model.sig` is not a usable signature", "v9"]);
    std::fs::write(&signature, &good[..good.len() / 2]).unwrap();
    verify(&run, "bundle").fails(2, &["`bundle/model.sig` is not a usable signature"]);
    std::fs::remove_file(&signature).unwrap();
    verify(&run, "bundle").fails(2, &["there is no signature `bundle/model.sig`", "`--signature`"]);
}

#[test]
fn the_same_bundle_and_key_give_the_same_signature() {
    let run = signed();
    let read = || std::fs::read(run.path("bundle/model.sig")).unwrap();
    let first = read();
    sign(&run);
    assert_eq!(read(), first);
    // Under another name in the bundle, twice: a signature is not among what is signed.
    let named = ["--key", "rift.key", "--out", "./bundle/mine.sig"];
    for _ in 0..2 {
        assert_eq!(run.rift(&[&["sign", "bundle"], &named[..]].concat()).code, 0);
    }
    let mine = ["verify-signature", "bundle", "--key", "rift.pub", "--signature"];
    assert_eq!(run.rift(&[&mine[..], &["bundle/mine.sig"]].concat()).code, 0);
    verify(&run, "bundle").fails(1, &["`mine.sig` is not signed"]);
    std::fs::remove_file(run.path("bundle/mine.sig")).unwrap();
    // Elsewhere, and with the older signature in the bundle.
    let out = run.rift(&["sign", "bundle", "--key", "rift.key", "--out", "elsewhere.sig"]);
    assert_eq!(out.code, 0, "{out:?}");
    assert_eq!(std::fs::read(run.path("elsewhere.sig")).unwrap(), first);
    std::fs::remove_file(run.path("bundle/model.sig")).unwrap();
    let verify = ["verify-signature", "bundle", "--key", "rift.pub", "--signature"];
    assert_eq!(run.rift(&[&verify[..], &["elsewhere.sig"]].concat()).code, 0);
}

#[test]
fn an_archive_carries_its_signature_or_has_one_beside_it() {
    let run = signed();
    let pack = run.rift(&["deploy", "bundle", "--archive", "packed.tar.zst"]);
    assert_eq!(pack.code, 0, "{pack:?}");
    let inside = verify(&run, "packed.tar.zst");
    let place = "signature model.sig in packed.tar.zst";
    assert!(inside.code == 0 && inside.stdout.contains(place), "{inside:?}");
    // The signature of the bundle that it was packed from is of the same files.
    let outer = ["verify-signature", "packed.tar.zst", "--key", "rift.pub", "--signature"];
    assert_eq!(run.rift(&[&outer[..], &["bundle/model.sig"]].concat()).code, 0);
    let beside = run.rift(&["sign", "packed.tar.zst", "--key", "rift.key"]);
    assert_eq!(beside.code, 0, "{beside:?}");
    let holds = verify(&run, "packed.tar.zst");
    assert!(holds.stdout.contains("packed.tar.zst.sig") && holds.stdout.contains("1 file"));
    let path = run.path("packed.tar.zst");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    verify(&run, "packed.tar.zst").fails(1, &["was changed"]);
    std::fs::remove_file(run.path("packed.tar.zst.sig")).unwrap();
    let broken = verify(&run, "packed.tar.zst");
    assert!(broken.code == 1 || broken.code == 2, "{broken:?}");
}

#[test]
fn a_key_of_openssl_signs() {
    let run = Run::new();
    run.exported();
    let openssl = |arguments: &[&str]| {
        let mut command = std::process::Command::new("openssl");
        command.current_dir(run.path("")).args(arguments).output().is_ok_and(|o| o.status.success())
    };
    if !openssl(&["version"]) {
        rift_tests::skipped("there is no `openssl`");
        return;
    }
    let curve = ["ecparam", "-name", "prime256v1", "-genkey", "-out", "rift.key"];
    assert!(openssl(&curve), "with the block of parameters before the key");
    assert!(openssl(&["ec", "-in", "rift.key", "-pubout", "-out", "rift.pub"]));
    sign(&run);
    assert_eq!(verify(&run, "bundle").code, 0);
    assert!(openssl(&["ecparam", "-name", "secp384r1", "-genkey", "-noout", "-out", "large.key"]));
    run.rift(&["sign", "bundle", "--key", "large.key"]).fails(2, &["on the curve P-256"]);
}

/// The model that `tests/peers/evidence.py golden` signed, copied so that it can be changed.
fn golden(run: &Run) -> PathBuf {
    let from = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden"));
    let to = run.path("golden");
    copy(from, &to);
    to
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn what_the_python_package_signed_holds_until_a_byte_is_flipped() {
    let run = Run::new();
    let folder = golden(&run);
    let verify = |more: &[&str]| {
        let verify = ["verify-signature", "--key", "golden/key.pub"];
        run.rift(&[&verify[..], more].concat())
    };
    let holds = verify(&["golden/model"]);
    assert!(holds.code == 0 && holds.stdout.contains("covers    5 files"), "{holds:?}");
    let file = ["golden/model/weights.bin", "--signature", "golden/file.sig"];
    let alone = verify(&file);
    assert!(alone.code == 0 && alone.stdout.contains("covers    1 file"), "{alone:?}");
    let files = ["weights.bin", "nested/deeper/a", "nested-2/b", "größe.txt"];
    for name in files {
        let path = folder.join("model").join(name);
        let good = std::fs::read(&path).unwrap();
        let mut bytes = good.clone();
        bytes[0] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        verify(&["golden/model"]).fails(1, &[&format!("`{name}` was changed")]);
        if name == "weights.bin" {
            verify(&file).fails(1, &["was changed"]);
        }
        std::fs::write(&path, good).unwrap();
    }
    std::fs::write(folder.join("model/empty"), b"x").unwrap();
    verify(&["golden/model"]).fails(1, &["`empty` was changed"]);
}
