//! Trainings on synthetic images, in this process.

use std::path::{Path, PathBuf};

use rift_models::arch::ArchSpec;
use rift_models::artifact::{Checkpoint, CheckpointMeta, Lineage};
use rift_models::dataset::{Dataset, Request, Split};
use rift_models::threat::AttackSpec;
use tch::Device;

use super::train::{BEST, DIVERGED, Every, LAST, METRICS, SETTINGS, STATE};
use super::*;
use crate::config::{Preset, SettingFlags, Settings};
use crate::data::ImageSet;
use crate::network::device;
use crate::objective::Method;
use crate::optim::ScheduleKind;
use crate::record::figures::TRAINING;
use crate::record::{EpochMetrics, Progress, tensorboard};

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
        extra: None,
        validation: ImageSet::new(&validation, Device::Cpu).unwrap(),
        run: run.to_owned(),
        device: Device::Cpu,
        settings: settings.clone(),
    }
}

/// Trains `epochs` epochs, or all, in the run's folder.
fn train(settings: &Settings, run: &Path, epochs: usize) -> Training {
    device::set_threads(Some(1));
    let mut training = open(settings, run);
    for _ in 0..epochs {
        if !training.is_finished() {
            epoch(&mut training);
        }
    }
    training
}

fn open(settings: &Settings, run: &Path) -> Training {
    Training::open(job(settings, run), true, Every::default()).unwrap()
}

fn epoch(training: &mut Training) {
    assert!(training.epoch(&Progress::hidden(), &Stop::default()).unwrap().is_some());
}

/// Whether two runs wrote the same bytes.
fn assert_same_weights(a: &Path, b: &Path) {
    for file in [BEST, LAST] {
        let [a, b] = [a, b].map(|run| std::fs::read(run.join(file)).unwrap());
        assert!(a == b, "{file} differs");
    }
    assert_eq!(recorded(a), recorded(b));
    assert_eq!(shown(a), shown(b));
}

/// What TensorBoard shows of a run, but for the clock.
fn shown(run: &Path) -> Vec<(usize, String, f32)> {
    let mut scalars = tensorboard::read(run).unwrap();
    scalars.retain(|(_, tag, _)| !tag.contains("second"));
    scalars
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
    let settings = Settings { batch_size: 16, ..settings(Method::At) };
    train(&settings, whole.path(), 3).finish().unwrap();
    for _ in 0..2 {
        train(&settings, parts.path(), 1);
    }
    // What a kill between the files of an epoch leaves: the metrics behind the state.
    std::fs::write(parts.path().join(METRICS), "").unwrap();
    train(&settings, parts.path(), 1).finish().unwrap();
    assert_same_weights(whole.path(), parts.path());
    assert_eq!(recorded(whole.path()).len(), 3);
    // 3 epochs of 8 steps: the steps are recorded at 16, the epochs at their ends.
    let losses = |tag: &str| -> Vec<usize> {
        let all = shown(whole.path());
        all.into_iter().filter(|(_, other, _)| other == tag).map(|(step, ..)| step).collect()
    };
    assert_eq!(losses("train/loss"), [16]);
    assert_eq!(losses("epoch/validation_robust"), [8, 16, 24]);
}

#[test]
fn a_training_stopped_after_every_step_ends_with_the_same_bits() {
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (ema, ema_warmup) = (Some(0.9), Some(0.1));
    let settings = Settings { epochs: 2, ema, ema_warmup, ..settings(Method::At) };
    train(&settings, whole.path(), 2).finish().unwrap();
    let mut stops = 0;
    loop {
        let mut training = open(&settings, parts.path());
        if training.is_finished() {
            training.finish().unwrap();
            break;
        }
        let (before, stop) = (training.position().clone(), Stop::default());
        let all_steps = before.step == training.job().loader().len();
        if !all_steps || stops % 2 == 0 {
            stop.request(15);
        }
        // Told to stop, it finishes the step under way, or begins to judge and leaves off.
        let done = training.epoch(&Progress::hidden(), &stop).unwrap().is_some();
        assert_eq!(done, stop.requested().is_none(), "{before}");
        let step = if done { 0 } else { (before.step + 1).min(training.job().loader().len()) };
        assert_eq!(training.position().step, step);
        stops += 1;
    }
    assert!(stops >= 2 * open(&settings, parts.path()).job().loader().len(), "{stops}");
    assert_same_weights(whole.path(), parts.path());
}

#[test]
fn how_often_a_state_is_written_changes_nothing() {
    let [seldom, often] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let settings = Settings { epochs: 1, ..settings(Method::At) };
    train(&settings, seldom.path(), 1).finish().unwrap();
    for every in [Every::Steps(1), Every::Time(std::time::Duration::ZERO)] {
        let job = job(&settings, often.path());
        let mut training = Training::open(job, false, every).unwrap();
        epoch(&mut training);
        training.finish().unwrap();
        assert_same_weights(seldom.path(), often.path());
        std::fs::remove_file(often.path().join(STATE)).unwrap();
    }
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
    let refused = |settings: &Settings, resume| {
        let job = job(settings, run.path());
        Training::open(job, resume, Every::default()).unwrap_err().to_string()
    };
    let open = open(&settings, run.path());
    assert!(refused(&settings, true).contains("another training is at work"));
    drop(open);
    let fresh = refused(&settings, false);
    assert!(fresh.contains("after epoch 1, of 3") && fresh.contains("--resume"), "{fresh}");
    let other = Settings { momentum: 0.5, limit: Some(9), ..settings.clone() };
    let mixed = refused(&other, true);
    assert!(mixed.contains("`momentum` = `0.9`, now it is `0.5`"), "{mixed}");
    assert!(mixed.contains("`limit` = not set, now it is `9`"), "{mixed}");
    std::fs::write(run.path().join(STATE), b"half").unwrap();
    assert!(refused(&settings, true).contains("state of the training"));
    let mut names: Vec<String> = std::fs::read_dir(run.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.retain(|name| !name.starts_with("events.out.tfevents."));
    names.sort();
    assert_eq!(names, [BEST, METRICS, SETTINGS, STATE, TRAINING]);
}

#[test]
fn a_diverging_training_names_step_images_and_checkpoint() {
    let run = tempfile::tempdir().unwrap();
    // The first epoch goes well, and then the rate rises without bounds.
    let settings = Settings {
        schedule: ScheduleKind::Steps,
        learning_rate: 0.01,
        milestones: vec![1],
        decay: 1e30,
        ..settings(Method::Standard)
    };
    let mut training = train(&settings, run.path(), 1);
    let state = std::fs::read(run.path().join(STATE)).unwrap();
    let error = training.epoch(&Progress::hidden(), &Stop::default()).unwrap_err();
    let TrainError::Diverged(found) = &error else { panic!("{error}") };
    // The first step of the second epoch throws the weights away, the second one meets them.
    assert_eq!((found.epoch, found.step), (2, 2), "{error}");
    let batch = training.job().loader().epoch_from(1, 1).next().unwrap().unwrap();
    assert_eq!(found.images, batch.indices);
    let message = error.to_string();
    for part in ["the loss is", "step 2 of epoch 2", "after epoch 1)", "and 24 more", STATE] {
        assert!(message.contains(part), "`{part}`: {message}");
    }
    let report = std::fs::read_to_string(run.path().join(DIVERGED)).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["images"], serde_json::json!(batch.indices));
    assert_eq!(std::fs::read(run.path().join(STATE)).unwrap(), state, "the good state stays");
}

#[test]
fn weights_that_are_no_numbers_are_not_saved() {
    let run = tempfile::tempdir().unwrap();
    let settings = Settings { learning_rate: 1e300, ..settings(Method::Standard) };
    device::set_threads(Some(1));
    let mut training = Training::open(job(&settings, run.path()), false, Every::Steps(1)).unwrap();
    let error = training.epoch(&Progress::hidden(), &Stop::default()).unwrap_err().to_string();
    assert!(error.contains("step 1 of epoch 1"), "{error}");
    assert!(error.contains("no checkpoint was written before"), "{error}");
    assert!(!run.path().join(STATE).exists() && !run.path().join(BEST).exists());
}

/// Makes a file's place one that cannot be written, as a full disk does.
fn obstruct(run: &Path, file: &str) -> PathBuf {
    let path = run.join(file);
    let _ = std::fs::remove_file(&path);
    std::fs::create_dir(&path).unwrap();
    path
}

#[test]
fn a_training_goes_on_until_it_can_write_again() {
    let [whole, full] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let settings = settings(Method::Standard);
    train(&settings, whole.path(), 3).finish().unwrap();
    for file in [BEST, STATE] {
        let run = full.path().join(file);
        let mut training = train(&settings, &run, 0);
        let obstacle = obstruct(&run, file);
        epoch(&mut training);
        epoch(&mut training);
        assert_eq!(recorded(&run), [], "nothing counts on what is not there");
        assert!(training.finish().is_err(), "the end is not reached without the files");
        std::fs::remove_dir(obstacle).unwrap();
        epoch(&mut training);
        training.finish().unwrap();
        drop(training);
        assert_same_weights(whole.path(), &run);
        assert!(open(&settings, &run).is_finished());
    }
}

#[test]
fn evaluation_does_not_depend_on_the_batch() {
    let run = tempfile::tempdir().unwrap();
    let training = train(&settings(Method::At), run.path(), 1);
    let set = job(&settings(Method::At), run.path()).validation;
    let spec = AttackSpec { steps: 3, ..AttackSpec::paper() };
    let [large, small] = [64, 7].map(|batch| {
        let plan =
            Plan { batch, attack: Some(&spec), limit: Some(50), keep_images: true, stop: None };
        evaluate(training.network(), &set, &plan, &Progress::hidden()).unwrap()
    });
    assert_eq!(large.clean, small.clean);
    assert_eq!(large.robust, small.robust);
    assert_eq!(large.images.unwrap().size(), [50, 3, 16, 16]);
    assert!(large.robust.iter().zip(&large.clean).all(|(robust, clean)| *clean || !*robust));
}
