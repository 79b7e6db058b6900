//! What is audited: a model and images that fit each other.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use rift_models::artifact::Reading;
use rift_models::dataset::{Dataset, Request};
use rift_runtime::audit::{check_data, check_twin};
use rift_runtime::session::{Classifier, Engine, Opening, Provider, Role};

use super::AuditArgs;
use super::replay::Replay;
use crate::cli::Global;
use crate::commands::open_with;

/// A model and the images that it is attacked on.
pub(super) struct Subject {
    pub(super) classifier: Classifier,
    /// The model's path as given.
    pub(super) model: PathBuf,
    /// The model whose gradients are followed, where that is another.
    pub(super) twin: Option<Classifier>,
    pub(super) data: Dataset,
    /// The data's path as given.
    pub(super) path: PathBuf,
}

impl Subject {
    /// Opens both. What the model leaves free follows the data, and the data the model where that is
    /// asked for.
    pub(super) fn open(
        args: &AuditArgs,
        replay: Option<&Replay>,
        global: &Global,
    ) -> anyhow::Result<Self> {
        let of_report = replay.map(|replay| PathBuf::from(&replay.report.model.path));
        let model = args.model.clone().or(of_report).context("no MODEL is given")?;
        let reading = match replay {
            Some(replay) => replay.request.reading.clone(),
            None => args.reading.reading(args.resize),
        };
        let (data, path) = open_data(args, replay)?;
        let of_report = replay.and_then(|replay| replay.request.gradients_from.as_deref());
        let twin = args.gradients_from.clone().or(of_report.map(PathBuf::from));
        let role = if twin.is_some() { Role::Judged } else { Role::Alone };
        let (image, resize) = (Some(data.input()), reading.resize);
        let engine = engine(args, replay)?;
        let opening = Opening { reading, role, engine, image, is_brief: false };
        let classifier = open_with(&model, &opening, global)?;
        let [_, height, width] = classifier.input();
        let data = if resize { data.resized(height, width) } else { data };
        check_data(&classifier, &data)?;
        let twin = match twin {
            Some(path) => Some(open_twin(&path, &classifier, replay, global)?),
            None => None,
        };
        Ok(Self { classifier, model, twin, data, path })
    }
}

/// Where sessions compute: as the user says, in a replay as the report does.
fn engine(args: &AuditArgs, replay: Option<&Replay>) -> anyhow::Result<Engine> {
    let Some(replay) = replay else { return Ok(args.engine.engine()?) };
    let runtime = &replay.report.runtime;
    let provider = Provider::named(&runtime.provider)
        .with_context(|| format!("the report's provider `{}` is unknown", runtime.provider))?;
    let steering = runtime.steering.as_deref().unwrap_or("float32").parse()?;
    Ok(Engine::new(provider, steering)?)
}

/// Opens the model whose gradients are followed, read as the one attacked as far as that fits it.
fn open_twin(
    path: &Path,
    served: &Classifier,
    replay: Option<&Replay>,
    global: &Global,
) -> anyhow::Result<Classifier> {
    // Its images are those of the model attacked, whatever it leaves free.
    let reading = Reading { size: None, ..served.reading().clone() };
    let (engine, image) = (served.engine(), Some(served.input()));
    let opening = Opening { reading, role: Role::Twin, engine, image, is_brief: false };
    let twin = open_with(path, &opening, global)?;
    check_twin(served, &twin)?;
    let then = replay.and_then(|replay| replay.report.twin.as_ref());
    ensure!(
        then.is_none_or(|then| then.digest == *twin.digest()),
        "`{}` is not the model whose gradients the report's audit followed",
        path.display()
    );
    Ok(twin)
}

fn open_data(args: &AuditArgs, replay: Option<&Replay>) -> anyhow::Result<(Dataset, PathBuf)> {
    let of_report = replay.map(|replay| PathBuf::from(&replay.request.data));
    let path = args.data.clone().or(of_report).context("no `--data` is given")?;
    let request = match replay {
        Some(replay) => Request::new(replay.split).limit(replay.request.limit),
        None => Request::new(args.split).limit(args.limit),
    };
    let data = Dataset::open(&path, &request)?;
    if let Some(limit) = request.limit {
        let (found, split, path) = (data.len(), data.split, path.display());
        ensure!(
            found >= limit,
            "`{path}` has {found} images in its {split} split, {limit} are asked for (`--limit`)"
        );
    }
    Ok((data, path))
}
