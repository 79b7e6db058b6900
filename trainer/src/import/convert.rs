//! From foreign tensors to a checkpoint: names, normalisation, the strict load report.

use std::collections::BTreeMap;
use std::path::Path;

use rift_models::arch::{ArchSpec, upstream};
use rift_models::artifact::tensors::TensorMap;
use rift_models::artifact::{Checkpoint, CheckpointMeta, Lineage, apply};

use super::{ImportError, read};

/// What a file of weights does not say of itself.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The architecture, one of [`rift_models::arch::spec::NAMES`].
    pub arch: String,
    /// Channels, height and width of an image.
    pub input: [usize; 3],
    /// Channels of the first stage, where the architecture lets them be chosen.
    pub width: Option<usize>,
    /// The names of the classes; without, they are numbered as the last layer has rows.
    pub classes: Option<Vec<String>>,
    /// Channel means; without, those that the file keeps as buffers, else 0.
    pub mean: Option<Vec<f32>>,
    /// Channel standard deviations; without, those that the file keeps as buffers, else 1.
    pub std: Option<Vec<f32>>,
    /// What made the checkpoint, for its lineage.
    pub made_by: String,
}

/// A checkpoint made of a foreign file, and what became of the file's tensors.
#[derive(Debug)]
pub struct Imported {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// Tensors that were taken over.
    pub applied: usize,
    /// How many of them lost a prefix.
    pub renamed: usize,
    /// Entries that were left out, known to be of no use.
    pub dropped: Vec<String>,
}

/// Makes a checkpoint of the weights in `path`.
///
/// # Errors
/// If the file cannot be read safely or its tensors are not exactly those of the architecture.
pub fn import(path: &Path, settings: &Settings) -> Result<Imported, ImportError> {
    let foreign = read(path, |name| upstream::canonical(name).is_some() || is_normalisation(name))?;
    let name = || path.display().to_string();
    let (mut tensors, mut buffers) = (TensorMap::new(), BTreeMap::new());
    let mut origin: BTreeMap<String, String> = BTreeMap::new();
    for (found, tensor) in foreign.tensors {
        let Some(canonical) = upstream::canonical(&found) else {
            buffers.insert(found, tensor.iter().copied().collect::<Vec<f32>>());
            continue;
        };
        if let Some(first) = origin.insert(canonical.clone(), found.clone()) {
            let (second, path) = (found, name());
            return Err(ImportError::Collision { path, first, second, name: canonical });
        }
        tensors.insert(canonical, tensor);
    }
    let renamed = origin.iter().filter(|(canonical, found)| canonical != found).count();
    let normalisation = normalisation(settings, &buffers);
    let classes = classes(&name(), settings, &tensors)?;
    let arch = ArchSpec {
        width: settings.width,
        mean: normalisation.0,
        std: normalisation.1,
        ..ArchSpec::new(&settings.arch, settings.input, classes.len())
    };
    let graph = arch.build()?;
    apply::check(&graph, &tensors).map_err(|source| ImportError::Apply {
        path: name(),
        arch: settings.arch.clone(),
        source,
    })?;
    let lineage = Lineage {
        made_by: settings.made_by.clone(),
        parents: BTreeMap::from([("weights".to_owned(), foreign.digest)]),
        settings: serde_json::json!({
            "arch": settings.arch,
            "file": path.file_name().map(|n| n.to_string_lossy()),
        }),
        ancestors: BTreeMap::new(),
    };
    let applied = tensors.len();
    let meta = CheckpointMeta::new(arch, classes, None, lineage);
    let mut dropped = foreign.others;
    dropped.extend(buffers.into_keys());
    dropped.sort();
    Ok(Imported { checkpoint: Checkpoint { meta, tensors }, applied, renamed, dropped })
}

/// Which of the two statistics a buffer keeps, if `canonical` drops it as one.
fn statistic(name: &str) -> Option<&'static str> {
    match name.rsplit('.').next() {
        Some("mean" | "mu") => Some("mean"),
        Some("std" | "sigma") => Some("std"),
        _ => None,
    }
}

fn is_normalisation(name: &str) -> bool {
    upstream::canonical(name).is_none() && statistic(name).is_some()
}

fn normalisation(
    settings: &Settings,
    buffers: &BTreeMap<String, Vec<f32>>,
) -> (Vec<f32>, Vec<f32>) {
    let channels = settings.input[0];
    let pick = |given: &Option<Vec<f32>>, which: &str, neutral: f32| {
        let found = buffers
            .iter()
            .find(|(name, values)| statistic(name) == Some(which) && values.len() == channels);
        given.clone().or(found.map(|(_, v)| v.clone())).unwrap_or(vec![neutral; channels])
    };
    (pick(&settings.mean, "mean", 0.0), pick(&settings.std, "std", 1.0))
}

/// The names of the classes, held against the rows of the last layer.
fn classes(
    path: &str,
    settings: &Settings,
    tensors: &TensorMap,
) -> Result<Vec<String>, ImportError> {
    // Any number of classes gives the same names of layers.
    let graph =
        ArchSpec { width: settings.width, ..ArchSpec::new(&settings.arch, settings.input, 2) }
            .build()?;
    let last = graph.modules().last().unwrap_or_default();
    let weight = format!("{last}.weight");
    let rows = tensors.get(&weight).and_then(|tensor| tensor.shape().first().copied());
    let rows = rows.filter(|rows| *rows > 0).ok_or_else(|| ImportError::NoHead {
        path: path.to_owned(),
        arch: settings.arch.clone(),
        name: weight,
        found: in_short(tensors),
    })?;
    let numbered = || (0..rows).map(|class| class.to_string()).collect();
    let classes = settings.classes.clone().unwrap_or_else(numbered);
    if classes.len() != rows {
        let (expected, found) = (rows, classes.len());
        return Err(ImportError::Classes { path: path.to_owned(), expected, found });
    }
    Ok(classes)
}

/// The first and last names, enough to recognise an architecture by.
fn in_short(tensors: &TensorMap) -> String {
    let names: Vec<String> = tensors.keys().map(|name| format!("`{name}`")).collect();
    match names.len() {
        0 => "no tensors".to_owned(),
        1..=6 => names.join(", "),
        n => format!("{}, … {}", names[..3].join(", "), names[n - 3..].join(", ")),
    }
}
