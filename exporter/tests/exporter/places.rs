//! Where the program writes: never over what it reads, nor over what it did not write.

use std::path::Path;

use rift_models::artifact::{Bundle, Digest, tensors};

use crate::fixture::{Finished, Run, names, rewrite};
use crate::quantize::{quantize, with_data};
use crate::sign::signed;

/// All files below `folder` with their digests.
fn files(folder: &Path) -> Vec<(String, Digest)> {
    let mut files = Vec::new();
    for name in names(folder) {
        let path = folder.join(&name);
        if path.is_dir() {
            let below = self::files(&path).into_iter();
            files.extend(below.map(|(file, digest)| (format!("{name}/{file}"), digest)));
        } else {
            files.push((name, Digest::of_file(&path).unwrap()));
        }
    }
    files
}

/// Expects that a command is refused in one line with `parts` and that no file is another one after
/// it.
fn refused(run: &Run, arguments: &[&str], parts: &[&str]) {
    let before = files(&run.path(""));
    run.rift(arguments).fails(2, parts);
    assert_eq!(files(&run.path("")), before, "{arguments:?}");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for name in names(from) {
        std::fs::copy(from.join(&name), to.join(&name)).unwrap();
    }
}

#[test]
fn an_export_does_not_replace_what_it_reads() {
    let run = Run::new();
    run.exported();
    copy(&run.path("bundle"), &run.path("in/b"));
    std::fs::copy(run.path("rift.safetensors"), run.path("in/b/rift.safetensors")).unwrap();
    let export = |checkpoint, out| ["export", "--checkpoint", checkpoint, "--out", out];
    refused(&run, &export("in/b/rift.safetensors", "in/b"), &["holds `rift.safetensors`"]);
    std::fs::remove_file(run.path("in/b/rift.safetensors")).unwrap();
    let probe = ["--probe", "in/b/probe.safetensors"];
    let command = [&export("rift.safetensors", "in/b")[..], &probe].concat();
    refused(&run, &command, &["`--out in/b` holds the probe"]);
    // What somebody put beside the model.
    std::fs::write(run.path("bundle/notes.txt"), b"mine").unwrap();
    let export = export("rift.safetensors", "bundle");
    refused(&run, &export, &["cannot write `bundle`", "holds `notes.txt`, which would be lost"]);
    std::fs::remove_file(run.path("bundle/notes.txt")).unwrap();
    // Everything that belongs to a bundle is replaced.
    for name in [Bundle::SIGNATURE, Bundle::OPTIMIZED, Bundle::OPERATORS] {
        std::fs::write(run.path("bundle").join(name), b"older").unwrap();
    }
    run.exported();
    assert_eq!(names(&run.path("bundle")).len(), 5);
}

#[test]
fn a_quantisation_does_not_replace_what_it_reads() {
    let run = with_data();
    copy(&run.path("bundle"), &run.path("par"));
    copy(&run.path("bundle"), &run.path("par/child"));
    let quantize = |bundle, out| ["quantize", bundle, "--data", "data.npz", "--out", out];
    refused(&run, &quantize("par/child", "par"), &["cannot write `par`", "holds `child/`"]);
    refused(&run, &quantize("bundle", "bundle/q"), &["lies in the float model's own bundle"]);
    for same in ["bundle", "./x/../bundle", "par/../bundle"] {
        refused(&run, &quantize("bundle", same), &["is the float model's own bundle"]);
        assert!(!run.path("x").exists());
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("bundle", run.path("link")).unwrap();
        refused(&run, &quantize("bundle", "link"), &["is the float model's own bundle"]);
    }
    copy(&run.path("bundle"), &run.path("images/other"));
    let inside = ["quantize", "bundle", "--data", "images", "--out", "images/small"];
    let done = run.rift(&inside);
    assert!(done.stderr.contains("known are"), "beside images a bundle may lie: {done:?}");
    // Nor is anything written where the last file cannot be.
    let json = |path| [&quantize("bundle", "small")[..], &["--json", path]].concat();
    refused(&run, &json("data.npz/card.json"), &["cannot write `data.npz/card.json`"]);
    refused(&run, &json("bundle/card.json"), &["`card.json` of the float model's own bundle"]);
    refused(&run, &json("small/model.onnx"), &["`model.onnx` of the new bundle"]);
    refused(&run, &json("data.npz"), &["is the data"]);
}

#[cfg(unix)]
#[test]
fn a_link_to_a_bundle_stays_one() {
    let run = Run::new();
    run.exported();
    std::fs::create_dir(run.path("disk")).unwrap();
    std::fs::rename(run.path("bundle"), run.path("disk/bundle")).unwrap();
    std::os::unix::fs::symlink("disk/bundle", run.path("bundle")).unwrap();
    let before = Digest::of_file(&run.path("disk/bundle/card.json")).unwrap();
    let export = ["export", "--checkpoint", "rift.safetensors", "--out", "bundle"];
    assert_eq!(run.rift(&[&export[..], &["--name", "another"]].concat()).code, 0);
    assert!(std::fs::symlink_metadata(run.path("bundle")).unwrap().is_symlink());
    assert_ne!(Digest::of_file(&run.path("disk/bundle/card.json")).unwrap(), before);
    assert_eq!(names(&run.path("disk")), ["bundle"]);
}

#[test]
fn a_signature_takes_the_place_of_a_signature_alone() {
    let run = signed();
    crate::audit::write(&run);
    assert_eq!(run.rift(&["deploy", "bundle", "--archive", "b.tar.zst"]).code, 0);
    let sign = |bundle, out| ["sign", bundle, "--key", "rift.key", "--out", out];
    refused(&run, &sign("bundle", "rift.key"), &["`--out rift.key` is the key"]);
    refused(&run, &sign("bundle", "./bundle/../rift.pub"), &["exists and is no signature"]);
    refused(&run, &sign("bundle", "bundle/model.onnx"), &["`model.onnx` of the bundle"]);
    refused(&run, &sign("bundle", "bundle/optimized.onnx"), &["`optimized.onnx` of the bundle"]);
    refused(&run, &sign("b.tar.zst", "b.tar.zst"), &["is the bundle"]);
    let attest = |out| ["attest", "audit.json", "--key", "rift.key", "--out", out];
    refused(&run, &attest("rift.key"), &["is the key"]);
    refused(&run, &attest("audit.json"), &["is the report"]);
    refused(&run, &attest("bundle/card.json"), &["exists and is no signature"]);
    refused(&run, &["verify", "bundle", "--json", "bundle/card.json"], &["`card.json` of"]);
    let json = ["verify", "b.tar.zst", "--json", "b.tar.zst"];
    refused(&run, &json, &["`--json b.tar.zst` is the bundle"]);
    // One of an older run is replaced.
    assert_eq!(run.rift(&attest("a.intoto.json")).code, 0);
    assert_eq!(run.rift(&attest("a.intoto.json")).code, 0);
}

fn deploy(run: &Run, more: &[&str]) -> Finished {
    run.rift(&[&["deploy", "bundle"], more].concat())
}

#[test]
fn a_deployment_is_whole_or_nothing() {
    let run = Run::new();
    run.exported();
    std::fs::write(run.path("file"), b"").unwrap();
    let all = ["deploy", "bundle", "--triton", "t", "--kserve", "k", "--archive"];
    let archive = |path| [&all[..], &[path]].concat();
    refused(&run, &archive("file/b.tar.zst"), &["cannot write `file/b.tar.zst`"]);
    let kserve =
        ["deploy", "bundle", "--archive", "b.tar.zst", "--triton", "t", "--kserve", "file"];
    refused(&run, &kserve, &["cannot write `file/rift-runtime.yaml`"]);
    refused(&run, &archive("bundle/b.tar.zst"), &["lies in the bundle `bundle`"]);
    for flag in ["--triton", "--kserve"] {
        refused(&run, &["deploy", "bundle", flag, "bundle/x"], &[flag, "lies in the bundle"]);
    }
    assert!(!run.path("t").exists() && !run.path("k").exists());
    assert_eq!(deploy(&run, &["--archive", "b.tar.zst"]).code, 0);
    let again = ["deploy", "b.tar.zst", "--archive", "./b.tar.zst"];
    refused(&run, &again, &["lies in the bundle `b.tar.zst`"]);
}

#[test]
fn manifests_of_others_stay() {
    let run = Run::new();
    run.exported();
    std::fs::create_dir(run.path("k")).unwrap();
    std::fs::write(run.path("k/triton.yaml"), "kind: \"InferenceService\"\n").unwrap();
    refused(
        &run,
        &["deploy", "bundle", "--kserve", "k"],
        &["`k/triton.yaml` is a manifest that rift-exporter did not write"],
    );
    std::fs::remove_file(run.path("k/triton.yaml")).unwrap();
    assert_eq!(deploy(&run, &["--kserve", "k"]).code, 0);
    assert_eq!(deploy(&run, &["--kserve", "k", "--image", "mine:2"]).code, 0);
    for flag in ["--image", "--storage-uri", "--repository-uri"] {
        refused(&run, &["deploy", "bundle", "--kserve", "k", flag, ""], &[flag]);
    }
}

#[test]
fn names_that_come_to_the_same_do_not_replace_each_other() {
    let run = Run::new();
    run.exported();
    let named = |name: &str| rewrite(&run.path("bundle"), |card| card.name = name.to_owned());
    named("Ro Bust");
    assert_eq!(deploy(&run, &["--triton", "t"]).code, 0);
    assert_eq!(deploy(&run, &["--triton", "t"]).code, 0);
    for other in ["ro-bust", "ro bust"] {
        named(other);
        let parts = ["`t/ro-bust` is the model of the bundle \"Ro Bust\"", other];
        refused(&run, &["deploy", "bundle", "--triton", "t"], &parts);
    }
    // Nor is a version lost that somebody put beside ours.
    named("Ro Bust");
    std::fs::create_dir(run.path("t/ro-bust/2")).unwrap();
    std::fs::write(run.path("t/ro-bust/2/model.onnx"), b"").unwrap();
    refused(&run, &["deploy", "bundle", "--triton", "t"], &["holds `2/`"]);
}

#[test]
fn the_probe_of_a_quantised_bundle_is_that_of_its_card() {
    let run = with_data();
    // The same images and logits as another program would write them.
    let path = run.path("bundle/probe.safetensors");
    let file = tensors::read(&path).unwrap();
    let mut metadata = file.metadata;
    metadata.insert("format".to_owned(), "pt".to_owned());
    let written = file.tensors;
    let digest = tensors::write(&path, &written, metadata).unwrap();
    rewrite(&run.path("bundle"), |card| card.probe = digest);
    let done = quantize(&run, &["--max-drop", "100"]);
    assert_eq!(done.code, 0, "{done:?}");
    Bundle::open(&run.path("small")).unwrap();
}
