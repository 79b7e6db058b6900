//! Trainings on synthetic images, in this process.

use std::path::{Path, PathBuf};

use rift_models::arch::ArchSpec;
use rift_models::artifact::{Checkpoint, CheckpointMeta, Lineage};
use rift_models::dataset::{Dataset, Request, Split};
use rift_models::threat::AttackSpec;
use tch::Device;

use super::train::{BEST, LAST, METRICS, SETTINGS, STATE};
use super::*;
use crate::config::{Preset, SettingFlags, Settings};
use crate::data::ImageSet;
use crate::network::device;
use crate::objective::Method;
use crate::record::{EpochMetrics, Progress};

const DATA: &str = "synthetic:4x3x16x16,train=240,test=40";

fn settings(method: Method) -> Settings {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.toml");
    let text = format!(
        "data = \"{DATA}\"\narch = \"resnet8\"\nwidth = 4\nmethod = \"{method}\"\nepochs = 3\n\
         batch_size = 32\nsteps = 2\nvalidation_limit = 40\nvalidation_steps = 2\n"
    );
    std::fs::write(&file, text).unwrap();
    Settings::resolve(Preset::Quick, Some(&file), &SettingFlags::default()).unwrap()
}

fn job(settings: &Settings, run: &Path) -> Job {
    let open = |split| Dataset::open(Path::new(DATA), &Request::new(split)).unwrap();
    let (train, validation) = (open(Split::Train), open(Split::Validation));
    let spec = ArchSpec::new(&settings.arch, train.input(), train.class_count());
    let arch = ArchSpec { width: settings.width, ..spec };
    let lineage =
        Lineage { settings: serde_json::to_value(settings).unwrap(), ..Lineage::default() };
    Job {
        graph: arch.build().unwrap(),
        meta: CheckpointMeta::new(arch, train.classes.clone(), Some(settings.attack()), lineage),
        data: train.digest.clone(),
        train: ImageSet::new(&train, Device::Cpu).unwrap(),
        validation: ImageSet::new(&validation, Device::Cpu).unwrap(),
        run: run.to_owned(),
        device: Device::Cpu,
        settings: settings.clone(),
    }
}

/// Trains `epochs` epochs, or all, in the run's folder.
fn train(settings: &Settings, run: &Path, epochs: usize) -> Training {
    device::set_threads(Some(1));
    let mut training = Training::open(job(settings, run), true).unwrap();
    for _ in 0..epochs {
        if !training.is_finished() {
            training.epoch(&Progress::hidden()).unwrap();
        }
    }
    training
}

/// What was recorded, but for the clock.
fn recorded(run: &Path) -> Vec<EpochMetrics> {
    let text = std::fs::read_to_string(run.join(METRICS)).unwrap();
    let epochs = text.lines().map(|line| serde_json::from_str::<EpochMetrics>(line).unwrap());
    epochs.map(|epoch| EpochMetrics { seconds: 0.0, ..epoch }).collect()
}

#[test]
fn a_resumed_training_ends_with_the_same_bits() {
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let settings = settings(Method::At);
    train(&settings, whole.path(), 3).write_last().unwrap();
    for _ in 0..2 {
        train(&settings, parts.path(), 1);
    }
    // What a kill between the files of an epoch leaves: the metrics behind the state.
    std::fs::write(parts.path().join(METRICS), "").unwrap();
    train(&settings, parts.path(), 1).write_last().unwrap();
    for file in [BEST, LAST] {
        let [a, b] = [&whole, &parts].map(|run| std::fs::read(run.path().join(file)).unwrap());
        assert!(a == b, "{file} differs");
    }
    assert_eq!(recorded(whole.path()), recorded(parts.path()));
    assert_eq!(recorded(whole.path()).len(), 3);
}

#[test]
fn learns_and_keeps_the_best_epoch() {
    let run = tempfile::tempdir().unwrap();
    let settings = Settings { epochs: 6, ..settings(Method::Standard) };
    let training = train(&settings, run.path(), 6);
    let epochs = recorded(run.path());
    assert!(epochs[5].train_loss < 0.7 * epochs[0].train_loss, "{epochs:?}");
    let best = training.best().unwrap();
    let largest = epochs.iter().map(EpochMetrics::score).max().unwrap();
    assert_eq!(best.score(), largest);
    let (checkpoint, graph, _) = Checkpoint::read(&run.path().join(BEST)).unwrap();
    assert_eq!(checkpoint.meta.lineage.settings["epoch"], best.epoch);
    let network =
        crate::network::Network::from_tensors(graph, &checkpoint.tensors, Device::Cpu).unwrap();
    let set = job(&settings, run.path()).validation;
    let plan = Plan { limit: Some(best.validation_n), ..Plan::clean() };
    let evaluation = evaluate(&network, &set, &plan, &Progress::hidden()).unwrap();
    assert_eq!(evaluation.clean_accuracy().correct, best.validation_clean);
}

#[test]
fn a_run_is_not_overwritten_and_not_mixed() {
    let run = tempfile::tempdir().unwrap();
    let settings = settings(Method::Standard);
    train(&settings, run.path(), 1);
    let fresh = Training::open(job(&settings, run.path()), false).unwrap_err().to_string();
    assert!(fresh.contains("after epoch 1 of 3") && fresh.contains("--resume"), "{fresh}");
    let other = Settings { momentum: 0.5, ..settings.clone() };
    let mixed = Training::open(job(&other, run.path()), true).unwrap_err().to_string();
    assert!(mixed.contains("`momentum` = `0.9`, now it is `0.5`"), "{mixed}");
    std::fs::write(run.path().join(STATE), b"half").unwrap();
    assert!(Training::open(job(&settings, run.path()), true).is_err());
    let names: Vec<PathBuf> =
        std::fs::read_dir(run.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(names.len(), 4, "{BEST}, {STATE}, {METRICS}, {SETTINGS}: {names:?}");
}

#[test]
fn a_diverging_training_says_so_and_leaves_no_state() {
    let run = tempfile::tempdir().unwrap();
    let settings = Settings { learning_rate: 1e30, ..settings(Method::Standard) };
    device::set_threads(Some(1));
    let mut training = Training::open(job(&settings, run.path()), false).unwrap();
    let error = training.epoch(&Progress::hidden()).unwrap_err().to_string();
    assert!(error.contains("diverged"), "{error}");
    assert!(!run.path().join(STATE).exists() && !run.path().join(BEST).exists());
}

#[test]
fn evaluation_does_not_depend_on_the_batch() {
    let run = tempfile::tempdir().unwrap();
    let training = train(&settings(Method::At), run.path(), 1);
    let set = job(&settings(Method::At), run.path()).validation;
    let spec = AttackSpec { steps: 3, ..AttackSpec::paper() };
    let [large, small] = [64, 7].map(|batch| {
        let plan = Plan { batch, attack: Some(&spec), limit: Some(50), keep_images: true };
        evaluate(training.network(), &set, &plan, &Progress::hidden()).unwrap()
    });
    assert_eq!(large.clean, small.clean);
    assert_eq!(large.robust, small.robust);
    assert_eq!(large.images.unwrap().size(), [50, 3, 16, 16]);
    assert!(large.robust.iter().zip(&large.clean).all(|(robust, clean)| *clean || !*robust));
}
