//! `rift-exporter export` as a process.

use std::collections::BTreeMap;

use rift_models::artifact::{
    Accuracy, Bundle, Card, Checkpoint, Digest, PairedTest, Probe, SweepPoint, SweepReport, atomic,
    read_json,
};
use rift_models::onnx::Model;
use rift_models::threat::AttackSpec;
use rift_runtime::session::Classifier;

use crate::fixture::{Finished, Run, names, program};
use crate::reference;

const EXPORT: [&str; 5] = ["export", "--checkpoint", "rift.safetensors", "--out", "bundle"];

#[test]
fn writes_a_bundle_that_the_runtime_opens() {
    let run = Run::new();
    let done = run.exported();
    assert!(done.stdout.contains("9 batch normalisations folded"), "{done:?}");
    assert_eq!(
        names(&run.path("bundle")),
        ["README.md", "bom.cdx.json", "card.json", "model.onnx", "probe.safetensors"]
    );
    let bundle = Bundle::open(&run.path("bundle")).unwrap();
    let card = &bundle.card;
    assert_eq!((card.name.as_str(), card.opset), ("bundle", 17));
    assert_eq!(card.checkpoint, run.digest);
    assert_eq!(card.classes, run.checkpoint.meta.classes);
    assert!(card.parity.holds() && card.parity.n == 5 && card.parity.same_prediction == 5);
    assert_eq!(card.lineage.ancestors["checkpoint"], run.checkpoint.meta.lineage);
    assert_eq!(card.lineage.parents["probe"], card.probe);
    assert_eq!(bundle.probe().unwrap(), run.probe);
    let classifier = Classifier::open(&run.path("bundle")).unwrap();
    assert_eq!((classifier.input(), classifier.class_name(2)), ([1, 12, 12], "boot".to_owned()));
    let model = Model::read(&bundle.model()).unwrap();
    let said = model.metadata();
    assert_eq!(said["classes"], r#"["shirt","bag","boot"]"#);
    assert_eq!(said["checkpoint"], run.digest.as_str());
    assert!(said["threat"].contains("8/255") && said["lineage"].contains("rift-trainer"));
}

#[test]
fn the_same_checkpoint_gives_the_same_bytes() {
    let run = Run::new();
    run.exported();
    let files = ["model.onnx", "card.json", "probe.safetensors", "README.md", "bom.cdx.json"];
    let read = || files.map(|file| std::fs::read(run.path("bundle").join(file)).unwrap());
    let first = read();
    run.exported();
    assert_eq!(read(), first);
    assert_eq!(run.names(), ["bundle", "probe.safetensors", "rift.safetensors"]);
}

#[test]
fn refuses_a_model_that_is_not_the_checkpoint() {
    let run = Run::new();
    // The logits of a network with one weight changed.
    let mut tensors = run.checkpoint.tensors.clone();
    tensors.get_mut("layer2.0.conv1.weight").unwrap()[[3, 1, 1, 1].as_slice()] += 0.05;
    let logits = reference::logits(&run.graph(), &tensors, &run.probe.images);
    run.write_probe_with("tampered.safetensors", logits);
    let refused = run.rift(&[&EXPORT[..], &["--probe", "tampered.safetensors"]].concat());
    refused.fails(1, &["nothing written", "accepted is 1e-4", "worst: image ", ": expected "]);
    assert!(!run.path("bundle").exists());
    // With a tolerance for it, it is written, and the card says how far it is off.
    let wide =
        run.rift(&[&EXPORT[..], &["--probe", "tampered.safetensors", "--tolerance", "9"]].concat());
    assert_eq!(wide.code, 0, "{wide:?}");
    let card: Card = read_json(&run.path("bundle/card.json"), "card").unwrap();
    assert!(card.parity.max_abs_difference > 1e-4 && card.parity.tolerance == 9.0);
    // A refusal leaves the older bundle as it was.
    let again = run.rift(&[&EXPORT[..], &["--probe", "tampered.safetensors"]].concat());
    assert_eq!(again.code, 1);
    assert!(Bundle::open(&run.path("bundle")).is_ok());
}

#[test]
fn refuses_a_probe_of_another_checkpoint() {
    let run = Run::new();
    let mut other = run.checkpoint.clone();
    other.tensors.get_mut("linear.bias").unwrap()[[0].as_slice()] += 1.0;
    other.write(&run.path("rift.safetensors")).unwrap();
    let expected = Digest::of_file(&run.path("rift.safetensors")).unwrap();
    run.rift(&EXPORT).fails(2, &[run.digest.as_str(), expected.as_str(), "`--probe`"]);
    let named = run.rift(&[&EXPORT[..], &["--probe", "probe.safetensors"]].concat());
    named.fails(2, &["is of checkpoint", "expected"]);
    assert!(!run.path("bundle").exists());
}

#[test]
fn explains_where_a_probe_comes_from() {
    let run = Run::new();
    std::fs::remove_file(run.path(Bundle::PROBE)).unwrap();
    run.rift(&EXPORT).fails(2, &["no probe", "rift-trainer rift", "--probe"]);
    let missing = run.rift(&[&EXPORT[..], &["--probe", "elsewhere"]].concat());
    missing.fails(2, &["cannot read `elsewhere`"]);
    let images = reference::images(5, [1, 14, 12], 1);
    Probe { images, ..run.probe.clone() }.write(&run.path(Bundle::PROBE)).unwrap();
    run.rift(&EXPORT).fails(2, &["the images of", "[1, 14, 12], expected [1, 12, 12]"]);
    assert_eq!(run.names(), ["probe.safetensors", "rift.safetensors"]);
}

#[test]
fn refuses_checkpoints_that_are_none() {
    let run = Run::new();
    run.rift(&["export", "--checkpoint", "nothing", "--out", "bundle"])
        .fails(2, &["cannot read `nothing`"]);
    run.rift(&["export", "--checkpoint", "probe.safetensors", "--out", "bundle"])
        .fails(2, &["is not a Rift checkpoint"]);
    let mut checkpoint = run.checkpoint.clone();
    checkpoint.meta.classes.pop();
    export_with_probe(&run, &checkpoint).fails(2, &["expected 3 class names, found 2"]);
    let mut checkpoint = run.checkpoint.clone();
    checkpoint.tensors.get_mut("bn1.running_var").unwrap()[[1].as_slice()] = -0.5;
    export_with_probe(&run, &checkpoint)
        .fails(2, &["cannot be exported", "`bn1` has the running variance -0.5 in channel 1"]);
    assert!(!run.path("bundle").exists());
}

fn export_with_probe(run: &Run, checkpoint: &Checkpoint) -> Finished {
    let digest = checkpoint.write(&run.path("rift.safetensors")).unwrap();
    let probe = Probe { checkpoint: digest, ..run.probe.clone() };
    probe.write(&run.path(Bundle::PROBE)).unwrap();
    run.rift(&EXPORT)
}

#[test]
fn a_bundle_that_cannot_be_written_leaves_nothing() {
    let run = Run::new();
    atomic::write(&run.path("file"), b"").unwrap();
    run.rift(&["export", "--checkpoint", "rift.safetensors", "--out", "file/bundle"])
        .fails(2, &["cannot write `file/bundle`"]);
    run.rift(&["export", "--checkpoint", "rift.safetensors", "--out", "file"])
        .fails(2, &["cannot write `file`", "it is a file"]);
    // A folder of the user's own is not replaced.
    run.rift(&["export", "--checkpoint", "rift.safetensors", "--out", "."])
        .fails(2, &["cannot write `.`", "holds no `card.json`"]);
    assert_eq!(run.names(), ["file", "probe.safetensors", "rift.safetensors"]);
}

/// A file system of 16 KiB is full before the model is written.
#[test]
fn a_full_disk_leaves_nothing() {
    let run = Run::new();
    let disk = run.path("disk");
    std::fs::create_dir(&disk).unwrap();
    let mount = |arguments: &[&str]| {
        let status = std::process::Command::new(arguments[0])
            .args(&arguments[1..])
            .arg(&disk)
            .stderr(std::process::Stdio::null())
            .status();
        status.is_ok_and(|status| status.success())
    };
    if !mount(&["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs"]) {
        eprintln!("skipped: no permission to mount a small file system");
        return;
    }
    let done = run.rift(&["export", "--checkpoint", "rift.safetensors", "--out", "disk/bundle"]);
    let left = names(&disk);
    assert!(mount(&["umount"]));
    done.fails(2, &["cannot write", "No space left on device"]);
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn settings_come_from_variables_too() {
    let run = Run::new();
    let done = Finished::of(
        program(&run.path(""))
            .arg("export")
            .env("RIFT_CHECKPOINT", "rift.safetensors")
            .env("RIFT_OUT", "named")
            .env("RIFT_NAME", "clothes")
            .env("RIFT_THREADS", "1")
            .env("RIFT_QUIET", "1"),
    );
    assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{done:?}");
    let card: Card = read_json(&run.path("named/card.json"), "card").unwrap();
    assert_eq!(card.name, "clothes");
    let page = std::fs::read_to_string(run.path("named/README.md")).unwrap();
    assert!(page.contains("\n# clothes\n") && page.contains(card.model.short()), "{page}");
}

#[test]
fn bad_arguments_are_one_line() {
    let run = Run::new();
    run.rift(&["export"]).fails(2, &["--checkpoint <FILE>", "--out <FOLDER>"]);
    run.rift(&[&EXPORT[..], &["--tolerance", "nan"]].concat())
        .fails(2, &["'nan'", "expected a number of at least 0"]);
    run.rift(&[&EXPORT[..], &["--checkpoints", "x"]].concat()).fails(2, &["'--checkpoints'"]);
    run.rift(&[&EXPORT[..], &["--onnxruntime", "no/lib.so"]].concat())
        .fails(2, &["cannot load ONNX Runtime from `no/lib.so`"]);
    let help = run.rift(&["export", "--help"]);
    assert_eq!(help.code, 0);
    assert!(help.stdout.contains("--probe"), "{help:?}");
}

#[test]
fn no_telemetry_file_appears() {
    let run = Run::new();
    let home = run.path("home");
    std::fs::create_dir(&home).unwrap();
    let done = Finished::of(
        program(&run.path(""))
            .args(EXPORT)
            .env("HOME", &home)
            .env("XDG_CACHE_HOME", home.join("cache"))
            .env_remove("CI"),
    );
    assert_eq!(done.code, 0, "{done:?}");
    assert!(names(&home).is_empty(), "{:?}", names(&home));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let run = Run::new();
    let mut child = program(&run.path(""))
        .args(EXPORT)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let done = child.wait_with_output().unwrap();
    assert_eq!((done.status.code(), done.stderr), (Some(0), Vec::new()));
    let full = std::fs::File::options().write(true).open("/dev/full");
    let Ok(full) = full else {
        eprintln!("skipped: there is no `/dev/full`");
        return;
    };
    let done = program(&run.path("")).args(EXPORT).stdout(full).output().unwrap();
    let message = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(2));
    assert!(message.starts_with("error: cannot write to standard output: No space"), "{message}");
}

#[test]
fn figures_of_the_interpolation_go_into_the_card() {
    let run = Run::new();
    let mut checkpoint = run.checkpoint.clone();
    let parents = ["from", "to"].map(|role| (role.to_owned(), Digest::of_bytes(role.as_bytes())));
    checkpoint.meta.lineage.parents = BTreeMap::from(parents);
    let same = PairedTest::new(&[], &[]);
    let sweep = SweepReport {
        modules: vec!["linear".to_owned()],
        split: "validation".to_owned(),
        threat: AttackSpec::paper(),
        tolerance: 0.001,
        seed: 0,
        points: vec![SweepPoint {
            alpha: 0.0,
            clean: Accuracy::new(70, 100),
            robust: Accuracy::new(40, 100),
            clean_test: same,
            robust_test: same,
        }],
        chosen: 0.0,
        lineage: checkpoint.meta.lineage.clone(),
    };
    atomic::write_json(&run.path("sweep.json"), &sweep).unwrap();
    let done = export_with_probe(&run, &checkpoint);
    assert!(done.stdout.contains("robust   40.00 % (30.94 to 49.80, n 100) on the validation"));
    let card: Card = read_json(&run.path("bundle/card.json"), "card").unwrap();
    assert_eq!(card.metrics[0].accuracy, Accuracy::new(70, 100));
    // Of a checkpoint that it does not describe, the report says nothing.
    let done = export_with_probe(&run, &run.checkpoint);
    assert!(done.stderr.contains("is of another checkpoint"), "{done:?}");
    let card: Card = read_json(&run.path("bundle/card.json"), "card").unwrap();
    assert!(card.metrics.is_empty());
}
