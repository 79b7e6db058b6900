//! `rift-trainer train`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use rift_models::arch::ArchSpec;
use rift_models::artifact::{Accuracy, CheckpointMeta, Digest, Lineage};
use rift_models::dataset::{Dataset, Request, Split};
use serde::Serialize;
use tch::Device;

use super::output::also_json;
use super::places::Places;
use super::signals;
use crate::cli::MachineArgs;
use crate::config::{ConfigError, Preset, SettingFlags, Settings};
use crate::data::ImageSet;
use crate::record::{EpochMetrics, Progress, figures, overfitting};
use crate::stage::train::{BEST, DIVERGED, Every, LAST, METRICS, SETTINGS, STATE};
use crate::stage::{Job, Stop, Training};

/// Arguments of `train`.
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// The settings to start from.
    #[arg(long, value_enum, default_value_t, env = "RIFT_PRESET")]
    preset: Preset,
    /// A file with settings; flags go before it. The resolved settings are saved as `run.toml`.
    #[arg(long, value_name = "FILE", env = "RIFT_CONFIG")]
    config: Option<PathBuf>,
    /// The folder of the run: `at.safetensors` (the best epoch), `last.safetensors`,
    /// `metrics.jsonl`, `training.svg`, event files for TensorBoard, `run.toml`, and the state to
    /// resume from.
    #[arg(long, value_name = "RUN", env = "RIFT_OUT")]
    out: PathBuf,
    /// Go on with the training in the folder; start one where there is none.
    #[arg(long, env = "RIFT_RESUME", value_parser = clap::builder::FalseyValueParser::new())]
    resume: bool,
    /// How often to write the state that a killed training resumes from, besides each epoch's end:
    /// after so many steps (`200`) or so much time (`30s`, `5min`, `1h`).
    #[arg(long, value_name = "N", default_value_t, env = "RIFT_CHECKPOINT_EVERY")]
    checkpoint_every: Every,
    /// Write the result as JSON.
    #[arg(long, value_name = "PATH", env = "RIFT_JSON")]
    json: Option<PathBuf>,
    #[command(flatten, next_help_heading = "Settings")]
    settings: SettingFlags,
    #[command(flatten, next_help_heading = "Machine")]
    machine: MachineArgs,
}

/// What `--json` holds.
#[derive(Debug, Serialize)]
struct TrainReport<'a> {
    checkpoint: PathBuf,
    digest: Digest,
    epochs: usize,
    best: &'a EpochMetrics,
    clean: Accuracy,
    #[serde(skip_serializing_if = "Option::is_none")]
    robust: Option<Accuracy>,
    /// What training and validation took.
    seconds: f64,
    /// What the curves show of robust overfitting.
    #[serde(skip_serializing_if = "Option::is_none")]
    overfitting: Option<String>,
}

/// Runs `train`.
///
/// # Errors
/// If the settings, the images or the run's folder do not allow it.
pub fn run(args: &TrainArgs) -> anyhow::Result<ExitCode> {
    let own = args.out.join(SETTINGS);
    let file = match &args.config {
        Some(file) => Some(file.as_path()),
        None => (args.resume && own.exists()).then_some(own.as_path()),
    };
    let mut settings = Settings::resolve(args.preset, file, &args.settings)?;
    args.places(&settings).check()?;
    check_steps(&settings)?;
    let device = args.machine.start(settings.precision)?;
    let train = Dataset::open(&settings.data, &Request::new(Split::Train).limit(settings.limit))?;
    let classes = train.class_count();
    anyhow::ensure!(classes > 1, "expected images of at least 2 classes, found {classes}");
    let request = Request::new(Split::Validation).limit(settings.validation_limit);
    let validation = Dataset::open(&settings.data, &request)?;
    let extra = extra_data(&settings, &train)?;
    let meta = describe(&mut settings, &train, extra.as_ref())?;
    let graph = meta.arch.build()?;
    settings.attack().validate(train.input().iter().product())?;
    let [_, height, width] = train.input();
    if let Some(pad) = settings.pad.filter(|pad| *pad >= height.min(width)) {
        anyhow::bail!("`pad` is {pad}, reflection needs less than the side of {height} × {width}");
    }
    // From here on a signal finds something worth finishing.
    let stop = signals::stop()?;
    let training = Training::open(
        Job {
            graph,
            meta,
            train: image_set(&train, device)?,
            data: digest(&train, extra.as_ref()),
            extra: extra.map(|extra| numbered(extra, &train, device)).transpose()?,
            validation: image_set(&validation, device)?,
            run: args.out.clone(),
            device,
            settings: settings.clone(),
        },
        args.resume,
        args.checkpoint_every,
    )?;
    finish(args, &settings, training, &stop)
}

impl TrainArgs {
    fn places(&self, settings: &Settings) -> Places {
        // The settings of a run are those of its folder, also where they are named.
        let own = self.out.join(SETTINGS);
        let is_own = |file: &Path| match [file, &own].map(Path::canonicalize) {
            [Ok(file), Ok(own)] => file == own,
            _ => false,
        };
        let files = [BEST, LAST, STATE, SETTINGS, METRICS, DIVERGED, figures::TRAINING];
        Places::new()
            .reads("--config", self.config.as_deref().filter(|file| !is_own(file)))
            .reads("--data", settings.data.as_path())
            .reads("--extra-data", settings.extra_data.as_deref())
            .fills("--out", &self.out, files)
            .writes("--json", self.json.as_deref())
    }
}

/// Checks that an attack that trains or judges does something.
fn check_steps(settings: &Settings) -> Result<(), ConfigError> {
    let all = [("steps", settings.steps), ("validation_steps", settings.validation_steps)];
    let idle = all.into_iter().find(|(_, steps)| settings.method.is_adversarial() && *steps == 0);
    idle.map_or(Ok(()), |(key, steps)| {
        let found = format!("`{steps}`");
        Err(ConfigError::Value { key, found, expected: "at least 1" })
    })
}

fn image_set(dataset: &Dataset, device: Device) -> anyhow::Result<ImageSet> {
    ImageSet::new(dataset, device).with_context(|| format!("the {} images", dataset.split))
}

/// The images to mix in.
fn extra_data(settings: &Settings, train: &Dataset) -> anyhow::Result<Option<Dataset>> {
    let Some(path) = &settings.extra_data else {
        return Ok(None);
    };
    // One archive is one part; of a folder with several it would have to be said which.
    anyhow::ensure!(
        path.is_file(),
        "`extra_data` is `{}`, expected an archive `.npz` of `image` and `label`",
        path.display()
    );
    // Asked for the test images, a single part is given whole.
    let extra = Dataset::open(path, &Request::new(Split::Test))?;
    let (expected, found) = (train.input(), extra.input());
    anyhow::ensure!(
        found == expected,
        "the images of `{}` are {found:?} (channels, height, width), expected {expected:?} as the data's",
        path.display()
    );
    let (classes, largest) = (train.class_count(), extra.labels.iter().max().copied());
    if let Some(label) = largest.filter(|label| *label >= classes) {
        anyhow::bail!("label {label} in `{}`, the data has {classes} classes", path.display());
    }
    Ok(Some(extra))
}

/// The images to mix in, numbered behind the others; the bytes that were read are let go.
#[expect(clippy::needless_pass_by_value, reason = "there may be gigabytes of them")]
fn numbered(extra: Dataset, train: &Dataset, device: Device) -> anyhow::Result<ImageSet> {
    let set = ImageSet::new(&extra, device).context("the extra images")?;
    Ok(set.numbered_from(train.len()))
}

/// The digest of all that is trained on.
fn digest(train: &Dataset, extra: Option<&Dataset>) -> Digest {
    extra.map_or_else(
        || train.digest.clone(),
        |extra| Digest::of_bytes(format!("{} {}", train.digest, extra.digest).as_bytes()),
    )
}

/// The checkpoint's description; what the settings leave open is taken from the images and set.
fn describe(
    settings: &mut Settings,
    train: &Dataset,
    extra: Option<&Dataset>,
) -> anyhow::Result<CheckpointMeta> {
    let (mean, std) = train.mean_and_std();
    let mean = settings.mean.get_or_insert(mean).clone();
    // A channel that never changes has nothing to divide by.
    let std = std.into_iter().map(|std| if std > 0.0 { std } else { 1.0 }).collect();
    let std = settings.std.get_or_insert(std).clone();
    let spec = ArchSpec::new(&settings.arch, train.input(), train.class_count());
    let arch = ArchSpec { width: settings.width, mean, std, ..spec };
    let parents = [("data", Some(train)), ("extra data", extra)];
    let parents = parents.into_iter().filter_map(|(role, set)| Some((role, set?.digest.clone())));
    let lineage = Lineage {
        made_by: format!("rift-trainer {} train", env!("CARGO_PKG_VERSION")),
        parents: parents.map(|(role, digest)| (role.to_owned(), digest)).collect(),
        settings: serde_json::to_value(&*settings)?,
        ancestors: [].into(),
    };
    let threat = settings.method.is_adversarial().then(|| settings.attack());
    Ok(CheckpointMeta::new(arch, train.classes.clone(), threat, lineage))
}

/// Trains the epochs that are left and says what came of it.
fn finish(
    args: &TrainArgs,
    settings: &Settings,
    mut training: Training,
    stop: &Stop,
) -> anyhow::Result<ExitCode> {
    let images = training.images_per_epoch();
    let progress =
        Progress::new("train", images.saturating_mul(settings.epochs), args.machine.quiet);
    progress.start_at(images * training.epochs().len() + training.position().images);
    while !training.is_finished() {
        let Some(epoch) = training.epoch(&progress, stop)? else {
            drop(progress);
            return stopped(args, &training, stop);
        };
        progress.line(epoch.describe(settings.epochs));
        warn_of_overfitting(&training, &progress);
    }
    drop(progress);
    training.finish()?;
    report(args, settings, &training)
}

/// Warns once: after the epoch that shows it first.
fn warn_of_overfitting(training: &Training, progress: &Progress) {
    let (epochs, before) = (training.epochs(), training.epochs().len().saturating_sub(1));
    if let (Some(found), None) = (overfitting(epochs), overfitting(&epochs[..before])) {
        progress.warn(found.to_string());
    }
}

/// Writes and prints what came of it.
fn report(args: &TrainArgs, settings: &Settings, training: &Training) -> anyhow::Result<ExitCode> {
    let best = training.best().context("the run has no best epoch")?;
    let checkpoint = args.out.join(BEST);
    let report = TrainReport {
        digest: Digest::of_file(&checkpoint)?,
        checkpoint,
        epochs: settings.epochs,
        best,
        clean: Accuracy::new(best.validation_clean, best.validation_n),
        robust: best.validation_robust.map(|robust| Accuracy::new(robust, best.validation_n)),
        seconds: training.epochs().iter().map(|epoch| epoch.seconds).sum(),
        overfitting: overfitting(training.epochs()).map(|found| found.to_string()),
    };
    let shown = print(&report, settings, training.epochs());
    also_json(shown, args.json.as_deref(), &report)?;
    Ok(ExitCode::SUCCESS)
}

/// Says how to go on; the exit code is the one of a program that the signal ended.
fn stopped(args: &TrainArgs, training: &Training, stop: &Stop) -> anyhow::Result<ExitCode> {
    let mut err = std::io::stderr().lock();
    let (at, out) = (training.position(), args.out.display());
    writeln!(err, "stopped {at}; go on with `rift-trainer train --resume --out {out}`")?;
    Ok(signals::exit_code(stop))
}

/// Prints a row for each epoch worth one, and the files.
fn print(
    report: &TrainReport<'_>,
    settings: &Settings,
    epochs: &[EpochMetrics],
) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let TrainReport { best, clean, robust, seconds, overfitting, .. } = report;
    let mut row = |name: &str, value: &dyn std::fmt::Display| writeln!(out, "{name:<24} {value}");
    row("best epoch", &format_args!("{} of {}", best.epoch, report.epochs))?;
    row("clean (validation)", clean)?;
    if let Some(robust) = robust {
        row(&settings.validation_attack().label(), robust)?;
    }
    if let (Some(last), true) = (epochs.last(), best.epoch < report.epochs) {
        let accuracy = |correct| Accuracy::new(correct, last.validation_n);
        row("last epoch, clean", &accuracy(last.validation_clean))?;
        if let Some(robust) = last.validation_robust {
            row("last epoch, robust", &accuracy(robust))?;
        }
    }
    row("time", &indicatif::HumanDuration(std::time::Duration::from_secs_f64(*seconds)))?;
    if let Some(overfitting) = overfitting {
        row("warning", overfitting)?;
    }
    row("checkpoint", &report.checkpoint.display())?;
    let run = report.checkpoint.parent().unwrap_or(&report.checkpoint);
    row("beside it", &[LAST, METRICS, figures::TRAINING, SETTINGS].join(", "))?;
    row("curves", &format_args!("tensorboard --logdir {}", run.display()))
}
