//! `rift-exporter attest` as a process.

use prost::Message;
use rift_models::artifact::{
    Accuracy, AttackResult, AuditReport, Bundle, Digest, ModelIdentity, RuntimeIdentity,
    SampleResult, Shard, Threat, atomic,
};
use rift_models::onnx::Model;
use rift_models::onnx::proto::StringStringEntryProto;
use rift_models::onnx::proto::tensor_proto::DataLocation;
use rift_models::threat::{Epsilon, Norm};
use rift_runtime::session::ModelFile;
use serde_json::{Value, json};

use crate::fixture::{Finished, Run};
use crate::sign::signed;

/// An audit of the bundle in `run`, as `audit.json`.
pub(crate) fn write(run: &Run) -> AuditReport {
    let bundle = Bundle::open(&run.path("bundle")).unwrap();
    let eps = Epsilon::ratio(8, 255).unwrap();
    let [clean, robust] = [9, 6].map(|correct| Accuracy::new(correct, 10));
    // Nine of ten are classified correctly as they are, three of them are broken.
    let sample = |index| SampleResult {
        index,
        label: 0,
        clean_prediction: usize::from(index == 9),
        adversarial_prediction: usize::from(index >= 6),
        distance: 0.0,
        broken_by: (index >= 6).then(|| if index == 9 { "clean" } else { "pgd" }.to_owned()),
        broken_at: None,
        blind: false,
        twin: None,
    };
    let report = AuditReport {
        format: AuditReport::FORMAT,
        clean_accuracy: clean.fraction,
        robust_accuracy: robust.fraction,
        n: 10,
        split: "test".to_owned(),
        interval: robust.interval,
        clean_interval: clean.interval,
        threat: Threat { norm: Norm::Linf, eps },
        curve: Vec::new(),
        attacks: vec![AttackResult {
            name: "pgd".to_owned(),
            eps: None,
            settings: Value::Null,
            attacked: 9,
            broken: 3,
            unreached: 0,
            robust,
            seconds: None,
            gradients: 90,
            forwards: 9,
        }],
        samples: (0..10).map(sample).collect(),
        model: ModelIdentity {
            path: "bundle".to_owned(),
            digest: bundle.card.model.clone(),
            data: Digest::of_bytes(b"images"),
            checkpoint: Some(run.digest.clone()),
        },
        twin: None,
        runtime: runtime(),
        request: None,
        shard: None,
        certified: None,
        corruptions: None,
        warnings: vec!["few-images: the interval is wide".to_owned()],
    };
    atomic::write_json(&run.path("audit.json"), &report).unwrap();
    report
}

fn runtime() -> RuntimeIdentity {
    RuntimeIdentity {
        program: "rift-runtime 0.1.0".to_owned(),
        onnxruntime: "1.31.1".to_owned(),
        provider: "CPUExecutionProvider".to_owned(),
        library: None,
        steering: None,
        instruction_set: Vec::new(),
        seed: 0,
    }
}

fn attested() -> Run {
    let run = signed();
    write(&run);
    let done = run.rift(&["attest", "audit.json", "--key", "rift.key"]);
    assert!(done.code == 0 && done.stdout.contains("robust 60.00 %"), "{done:?}");
    run
}

fn verify(run: &Run, arguments: &[&str]) -> Finished {
    run.rift(&[&["verify-signature", "--key", "rift.pub"], arguments].concat())
}

#[test]
fn a_signed_audit_says_what_was_found_of_which_model() {
    let run = attested();
    let itself = verify(&run, &["audit.intoto.json"]);
    let line = "robust 60.00 % (31.27 to 83.18), clean 90.00 % on 10 images of the test split, \
                linf 8/255, by pgd";
    assert!(itself.code == 0 && itself.stdout.contains(line), "{itself:?}");
    // The report that it is of, and the bundle.
    assert_eq!(verify(&run, &["audit.json"]).code, 0);
    let bundle = ["bundle", "--signature", "audit.intoto.json"];
    assert_eq!(verify(&run, &bundle).code, 0);
    let file = ["bundle/model.onnx", "--signature", "audit.intoto.json"];
    assert_eq!(verify(&run, &file).code, 0);
    // Another bundle, and another report.
    std::fs::write(run.path("bundle/model.onnx"), b"another").unwrap();
    verify(&run, &bundle).fails(1, &["it says nothing of `bundle`"]);
    let mut report = std::fs::read(run.path("audit.json")).unwrap();
    report.push(b'\n');
    std::fs::write(run.path("audit.json"), report).unwrap();
    verify(&run, &["audit.json"]).fails(1, &["it says nothing of `audit.json`"]);
}

#[test]
fn an_audit_is_of_a_model_with_the_weights_beside_it() {
    let run = attested();
    let mut proto = Model::read(&run.path("bundle/model.onnx")).unwrap().into_proto();
    let initializers = &mut proto.graph.as_mut().unwrap().initializer;
    let tensor = initializers.iter_mut().find(|tensor| tensor.raw_data.is_some()).unwrap();
    std::fs::write(run.path("m.onnx.data"), tensor.raw_data.take().unwrap()).unwrap();
    tensor.data_location = Some(DataLocation::External as i32);
    let (key, value) = (Some("location".to_owned()), Some("m.onnx.data".to_owned()));
    tensor.external_data = vec![StringStringEntryProto { key, value }];
    let path = run.path("m.onnx");
    std::fs::write(&path, proto.encode_to_vec()).unwrap();
    let mut report = write(&run);
    report.model.digest = Digest::of_bytes(ModelFile::read(&path).unwrap().bytes());
    atomic::write_json(&run.path("audit.json"), &report).unwrap();
    assert_eq!(run.rift(&["attest", "audit.json", "--key", "rift.key"]).code, 0);
    let file = ["m.onnx", "--signature", "audit.intoto.json"];
    assert_eq!(verify(&run, &file).code, 0);
    let mut data = std::fs::read(run.path("m.onnx.data")).unwrap();
    data[0] ^= 1;
    std::fs::write(run.path("m.onnx.data"), data).unwrap();
    verify(&run, &file).fails(1, &["it says nothing of `m.onnx`"]);
}

#[test]
fn the_statement_is_in_toto_in_dsse_without_the_images() {
    let run = attested();
    let read = |name: &str| std::fs::read(run.path(name)).unwrap();
    let envelope: Value = serde_json::from_slice(&read("audit.intoto.json")).unwrap();
    assert_eq!(envelope["payloadType"], "application/vnd.in-toto+json");
    let payload = base64(envelope["payload"].as_str().unwrap());
    let statement: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(statement["predicateType"], "https://rift/robustness-audit/v1");
    let subjects = statement["subject"].as_array().unwrap();
    let names: Vec<&str> =
        subjects.iter().map(|subject| subject["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["model", "data, test split", "checkpoint"]);
    let bundle = Bundle::open(&run.path("bundle")).unwrap();
    assert_eq!(subjects[0]["digest"], json!({ "sha256": bundle.card.model.hex() }));
    assert_eq!(subjects[1]["digest"]["sha256"], Digest::of_bytes(b"images").hex());
    let predicate = &statement["predicate"];
    assert_eq!(
        predicate["report"]["digest"]["sha256"],
        Digest::of_bytes(&read("audit.json")).hex()
    );
    assert_eq!(predicate["audit"]["robust_accuracy"], 0.6);
    assert_eq!(predicate["audit"]["warnings"].as_array().unwrap().len(), 1);
    assert!(predicate["audit"].get("samples").is_none());
}

/// Decodes base64 by hand, so that nothing of the program is trusted.
fn base64(text: &str) -> Vec<u8> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.bytes().filter_map(|byte| alphabet.iter().position(|letter| *letter == byte));
    let bits: Vec<usize> =
        digits.flat_map(|digit| (0..6).rev().map(move |bit| digit >> bit & 1)).collect();
    bits.chunks_exact(8)
        .map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | *bit as u8))
        .collect()
}

#[test]
fn bad_input_is_one_line() {
    let run = attested();
    let attest = |audit: &str| run.rift(&["attest", audit, "--key", "rift.key", "--out", "x"]);
    attest("nothing").fails(2, &["cannot read `nothing`"]);
    attest("bundle/card.json").fails(2, &["`bundle/card.json` is not a valid audit report"]);
    let mut report = write(&run);
    report.shard = Some(Shard { number: 1, of: 4, total: 40 });
    atomic::write_json(&run.path("part.json"), &report).unwrap();
    attest("part.json").fails(2, &["`part.json` is part 1 of 4", "merge the parts first"]);
    report.format = 9;
    report.shard = None;
    atomic::write_json(&run.path("new.json"), &report).unwrap();
    attest("new.json").fails(2, &["report format 9"]);
    assert!(!run.path("x").exists());
    let statement = run.path("audit.intoto.json");
    let good = std::fs::read_to_string(&statement).unwrap();
    std::fs::write(&statement, &good[..good.len() / 2]).unwrap();
    verify(&run, &["audit.intoto.json"])
        .fails(2, &["`audit.intoto.json` is not a usable signature"]);
    std::fs::write(&statement, good.replacen("\"payload\": \"e", "\"payload\": \"f", 1)).unwrap();
    verify(&run, &["audit.intoto.json"]).fails(1, &["the key did not sign these bytes"]);
    std::fs::remove_file(&statement).unwrap();
    verify(&run, &["audit.json"]).fails(2, &["there is no signature `audit.intoto.json`"]);
}

#[test]
fn what_contradicts_itself_is_not_attested() {
    let run = attested();
    let good = write(&run);
    let refused = |change: &dyn Fn(&mut AuditReport), part: &str| {
        let mut report = good.clone();
        change(&mut report);
        atomic::write_json(&run.path("audit.json"), &report).unwrap();
        let attest = ["attest", "audit.json", "--key", "rift.key", "--out", "x"];
        run.rift(&attest).fails(2, &["`audit.json` contradicts itself", part]);
        assert!(!run.path("x").exists());
    };
    refused(&|report| report.robust_accuracy = 17.0, "robust accuracy is not");
    refused(&|report| report.clean_accuracy = 0.1, "clean accuracy is not");
    refused(&|report| report.samples.clear(), "number of images is not");
    refused(&|report| report.n = 1000, "number of images is not");
}

#[test]
fn a_signed_audit_does_not_stand_for_the_signature_of_a_bundle() {
    let run = attested();
    let pack = run.rift(&["deploy", "bundle", "--archive", "b.tar.zst"]);
    assert_eq!(pack.code, 0, "{pack:?}");
    for place in ["bundle/model.sig", "b.tar.zst.sig"] {
        std::fs::copy(run.path("audit.intoto.json"), run.path(place)).unwrap();
    }
    for what in ["bundle", "b.tar.zst"] {
        let part = "it is not of the files of a bundle but a statement of type `https://rift/";
        verify(&run, &[what]).fails(1, &["does not hold", part]);
        // Asked for by name it says what it says: of this model.
        assert_eq!(verify(&run, &[what, "--signature", "audit.intoto.json"]).code, 0);
    }
}
