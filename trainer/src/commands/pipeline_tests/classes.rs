//! Whether labels mean to a checkpoint what they mean in the data.

use std::fs::File;

use rift_models::dataset::Saved;

use super::refusals::archive;
use super::*;

/// An untrained checkpoint for [`DATA`] whose classes have these names.
fn named(folder: &Path, name: &str, classes: &[&str]) -> PathBuf {
    let path = folder.join(format!("{name}.safetensors"));
    let arch = ArchSpec { width: Some(4), ..ArchSpec::new("resnet8", [1, 12, 12], 4) };
    let tensors = init::initialise(&arch.build().unwrap(), 0);
    let classes = classes.iter().map(|class| (*class).to_owned()).collect();
    let meta = CheckpointMeta::new(arch, classes, None, Lineage::default());
    Checkpoint { meta, tensors }.write(&path).unwrap();
    path
}

/// Two images for it, of classes with these names.
fn images(folder: &Path, classes: &[&str]) -> PathBuf {
    let path = folder.join(format!("{}.npz", classes.join("-")));
    let x = ndarray::Array4::from_elem((2, 1, 12, 12), 0.5);
    let classes: Vec<String> = classes.iter().map(|class| (*class).to_owned()).collect();
    let saved = Saved { x: x.view(), y: &[0, 1], index: &[0, 1], classes: &classes };
    saved.write(File::create(&path).unwrap()).unwrap();
    path
}

fn eval(checkpoint: &Path, data: &Path) -> Result<(), String> {
    let paths = [("--checkpoint", checkpoint), ("--data", data)];
    run(&["eval", "--attack", "none"], &paths)
}

#[test]
fn names_in_another_order_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let ours = named(folder, "ours", &["ant", "bee", "cat", "dog"]);
    eval(&ours, &images(folder, &["ant", "bee", "cat", "dog"])).unwrap();
    let other = images(folder, &["ant", "cat", "bee", "dog"]);
    let error = eval(&ours, &other).unwrap_err();
    let expected = "class 1 is `bee` to the checkpoint and `cat` to the data";
    assert!(error.contains(expected), "{error}");
    let out = folder.join("out.safetensors");
    let paths = [("--checkpoint", ours.as_path()), ("--data", &other), ("--out", &out)];
    let error = run(&["finetune", "--module", "conv1"], &paths).unwrap_err();
    assert!(error.contains(expected) && !out.exists(), "{error}");
    let turned = named(folder, "turned", &["dog", "cat", "bee", "ant"]);
    let paths = [("--from", ours.as_path()), ("--to", &turned), ("--out", &out)];
    let error = run(&["interpolate", "--data", DATA, "--limit", "2"], &paths).unwrap_err();
    assert!(error.contains("different classes"), "{error}");
    assert!(error.contains("class 0 is `dog`, expected `ant`"), "{error}");
}

#[test]
fn classes_that_nobody_named_may_be_fewer() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let ours = named(folder, "ours", &["ant", "bee", "cat", "dog"]);
    let few = folder.join("few.npz");
    archive(&few, Split::Test, 0..2);
    eval(&ours, &few).unwrap();
    let error = eval(&ours, &images(folder, &["0", "1", "2", "3", "4"])).unwrap_err();
    assert!(error.contains("the checkpoint has 4 classes, the data has 5"), "{error}");
    let error = eval(&ours, &images(folder, &["ant", "bee"])).unwrap_err();
    assert!(error.contains("the checkpoint has 4 classes, the data has 2"), "{error}");
}

#[test]
fn a_checkpoint_has_a_name_for_each_class() {
    let folder = tempfile::tempdir().unwrap();
    let few = named(folder.path(), "few", &["0", "1", "2"]);
    let error = eval(&few, Path::new(DATA)).unwrap_err();
    assert!(error.contains("names 3 classes, expected 4, one a logit"), "{error}");
}

#[test]
fn adversarial_images_are_read_back_with_all_classes() {
    let folder = tempfile::tempdir().unwrap();
    let ours = named(folder.path(), "ours", &["0", "1", "2", "3"]);
    let saved = folder.path().join("adversarial.npz");
    let paths = [("--checkpoint", ours.as_path()), ("--save-adversarial", &saved)];
    run(&["eval", "--data", DATA, "--limit", "2", "--steps", "1"], &paths).unwrap();
    let request = Request::new(Split::Test);
    let read = Dataset::open(&saved, &request).unwrap();
    assert_eq!((read.len(), read.class_count()), (2, 4));
    assert_eq!(read.labels, Dataset::open(Path::new(DATA), &request.limit(2)).unwrap().labels);
    eval(&ours, &saved).unwrap();
}
