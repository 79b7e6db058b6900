//! `rift-exporter deploy` as a process.

use rift_models::artifact::{Bundle, Digest};
use rift_runtime::session::{Classifier, Pool, SessionOptions};

use crate::fixture::{Run, names};

fn exported() -> Run {
    let run = Run::new();
    run.exported();
    run
}

#[test]
fn a_repository_of_tritons() {
    let run = exported();
    let done = run.rift(&["deploy", "bundle", "--triton", "repository", "--max-batch", "16"]);
    assert_eq!(done.code, 0, "{done:?}");
    let folder = run.path("repository/bundle");
    assert_eq!(names(&folder), ["1", "config.pbtxt", "labels.txt"]);
    let config = std::fs::read_to_string(folder.join("config.pbtxt")).unwrap();
    for part in [
        "# Written by rift-exporter.\nname: \"bundle\"",
        "max_batch_size: 16",
        "name: \"input\" data_type: TYPE_FP32 dims: [ 1, 12, 12 ]",
        "name: \"logits\" data_type: TYPE_FP32 dims: [ 3 ] label_filename: \"labels.txt\"",
        "dynamic_batching",
        "model_warmup",
    ] {
        assert!(config.contains(part), "`{part}` is not in\n{config}");
    }
    let labels = std::fs::read_to_string(folder.join("labels.txt")).unwrap();
    assert_eq!(labels, "shirt\nbag\nboot\n");
    let bundle = Bundle::open(&run.path("bundle")).unwrap();
    assert_eq!(Digest::of_file(&folder.join("1/model.onnx")).unwrap(), bundle.card.model);
    // Again, and beside another model.
    let again = run.rift(&["deploy", "bundle", "--triton", "repository"]);
    assert_eq!(again.code, 0, "{again:?}");
    assert_eq!(names(&run.path("repository")), ["bundle"]);
}

#[test]
fn manifests_for_kserve() {
    let run = exported();
    let done = run.rift(&[
        "deploy",
        "bundle",
        "--kserve",
        "manifests",
        "--storage-uri",
        "s3://models/bundle",
        "--repository-uri",
        "s3://models/triton",
        "--image",
        "registry/rift:1",
    ]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(names(&run.path("manifests")), ["rift-runtime.yaml", "triton.yaml"]);
    let read = |name| std::fs::read_to_string(run.path("manifests").join(name)).unwrap();
    let rift = read("rift-runtime.yaml");
    for part in [
        "kind: \"InferenceService\"",
        "name: \"bundle\"",
        "\"bundle=/mnt/models\"",
        "image: \"registry/rift:1\"",
        "value: \"s3://models/bundle\"",
        "runAsNonRoot: true",
    ] {
        assert!(rift.contains(part), "`{part}` is not in\n{rift}");
    }
    let triton = read("triton.yaml");
    for part in ["storageUri: \"s3://models/triton\"", "name: \"bundle-triton\""] {
        assert!(triton.contains(part), "`{part}` is not in\n{triton}");
    }
}

#[test]
fn one_file_that_the_runtime_reads_as_it_is() {
    let run = exported();
    let pack = |out: &str| run.rift(&["deploy", "bundle", "--archive", out]);
    let done = pack("bundle.tar.zst");
    assert_eq!(done.code, 0, "{done:?}");
    let path = run.path("bundle.tar.zst");
    let images = &run.probe.images;
    let logits = |path: &std::path::Path| {
        let classifier = Classifier::open(path).unwrap();
        Pool::new(&classifier, &SessionOptions::default(), 5)
            .unwrap()
            .logits(&images.view())
            .unwrap()
    };
    assert_eq!(logits(&path), logits(&run.path("bundle")));
    let verified = run.rift(&["verify", "bundle.tar.zst"]);
    assert_eq!(verified.code, 0, "{verified:?}");
    assert_eq!(pack("again.tar.zst").code, 0);
    let digest = |name| Digest::of_file(&run.path(name)).unwrap();
    assert_eq!(digest("again.tar.zst"), digest("bundle.tar.zst"));
    // Cut short, it is an error and not half a model.
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    run.rift(&["verify", "bundle.tar.zst"]).fails(2, &["`bundle.tar.zst`"]);
}

#[test]
fn bad_input_is_one_line() {
    let run = exported();
    run.rift(&["deploy", "bundle"]).fails(2, &["no layout is asked for", "`--triton`"]);
    run.rift(&["deploy", "bundle", "--openvino", "x"]).fails(2, &["'--openvino'"]);
    run.rift(&["deploy", "bundle", "--triton", "x", "--archive", "bundle.zip"])
        .fails(2, &["`.tar.zst`"]);
    run.rift(&["deploy", "nowhere", "--triton", "x"]).fails(2, &["`nowhere` is not a bundle"]);
    std::fs::write(run.path("junk.tar.zst"), b"junk").unwrap();
    run.rift(&["deploy", "junk.tar.zst", "--triton", "x"]).fails(2, &["`junk.tar.zst`"]);
    // A folder of the user's own is not replaced.
    std::fs::create_dir_all(run.path("repository/bundle")).unwrap();
    std::fs::write(run.path("repository/bundle/thesis.tex"), b"").unwrap();
    run.rift(&["deploy", "bundle", "--triton", "repository"])
        .fails(2, &["holds no `config.pbtxt`"]);
    std::fs::write(run.path("repository/bundle/config.pbtxt"), b"name: \"bundle\"").unwrap();
    run.rift(&["deploy", "bundle", "--triton", "repository"])
        .fails(2, &["`repository/bundle`", "did not write"]);
    assert!(run.path("repository/bundle/thesis.tex").exists());
    // What an archive cannot hold is refused, and nothing else is written before.
    std::fs::create_dir(run.path("bundle/audits")).unwrap();
    run.rift(&["deploy", "bundle", "--archive", "m.tar.zst"])
        .fails(2, &["`audits`", "plain files"]);
    std::fs::remove_dir(run.path("bundle/audits")).unwrap();
    for file in 0..32 {
        std::fs::write(run.path(&format!("bundle/note{file}")), b"").unwrap();
    }
    run.rift(&["deploy", "bundle", "--archive", "m.tar.zst"]).fails(2, &["at most 32 files"]);
    assert!(!run.path("m.tar.zst").exists());
    std::fs::write(run.path("bundle/model.onnx"), b"another").unwrap();
    run.rift(&["deploy", "bundle", "--triton", "x"]).fails(2, &["was changed"]);
    assert!(!run.path("x").exists());
}
