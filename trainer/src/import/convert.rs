//! From foreign tensors to a checkpoint: names, normalisation, the strict load report.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rift_models::arch::{ArchSpec, spec, upstream};
use rift_models::artifact::tensors::TensorMap;
use rift_models::artifact::{Checkpoint, CheckpointMeta, Lineage, apply};

use super::normalisation::{self, statistic};
use super::{ImportError, read, value};

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
    let foreign = read(path, |name| canonical(name).is_some() || statistic(name).is_some())?;
    let name = || path.display().to_string();
    let Sorted { tensors, buffers, renamed, twins } = Sorted::of(&name(), foreign.tensors)?;
    let [mean, std] = normalisation::of(&name(), settings, &buffers)?;
    let classes = classes(&name(), settings, &tensors, &foreign.made_of_others)?;
    let arch = ArchSpec {
        width: settings.width,
        mean,
        std,
        ..ArchSpec::new(&settings.arch, settings.input, classes.len())
    };
    let graph = arch.build()?;
    apply::check(&graph, &tensors).map_err(|source| ImportError::Apply {
        path: name(),
        arch: settings.arch.clone(),
        other: other(&arch, &tensors),
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
    dropped.extend(twins);
    dropped.extend(buffers.into_keys());
    dropped.sort();
    Ok(Imported { checkpoint: Checkpoint { meta, tensors }, applied, renamed, dropped })
}

/// The tensors of a file by what they are for.
#[derive(Default)]
struct Sorted {
    /// The network's, under the names that they have here.
    tensors: TensorMap,
    /// What may be a normalisation, under the names in the file.
    buffers: BTreeMap<String, Vec<f32>>,
    /// How many of the network's had another name.
    renamed: usize,
    /// What the file holds a second time.
    twins: Vec<String>,
}

impl Sorted {
    fn of(path: &str, found: TensorMap) -> Result<Self, ImportError> {
        let mut sorted = Self::default();
        let mut origin: BTreeMap<String, String> = BTreeMap::new();
        // What wraps the network for attacking it comes after the network itself.
        let (attackers, own): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|(name, _)| is_attackers(name));
        for (found, tensor) in own.into_iter().chain(attackers) {
            if statistic(&found).is_some() {
                sorted.buffers.insert(found, tensor.iter().copied().collect());
                continue;
            }
            let Some(canonical) = canonical(&found) else { continue };
            if is_attackers(&found) && sorted.tensors.get(&canonical) == Some(&tensor) {
                sorted.twins.push(found);
                continue;
            }
            if let Some(first) = origin.insert(canonical.clone(), found.clone()) {
                let (second, path) = (found, path.to_owned());
                return Err(ImportError::Collision { path, first, second, name: canonical });
            }
            sorted.tensors.insert(canonical, tensor);
        }
        sorted.renamed = origin.iter().filter(|(canonical, found)| canonical != found).count();
        Ok(sorted)
    }
}

/// An architecture of the sizes of `arch` whose tensors are exactly these.
fn other(arch: &ArchSpec, tensors: &TensorMap) -> Option<&'static str> {
    spec::NAMES.into_iter().find(|name| {
        let graph = ArchSpec { name: (*name).to_owned(), ..arch.clone() }.build();
        graph.is_ok_and(|graph| {
            graph.params().count() == tensors.len()
                && graph.params().all(|p| {
                    tensors.get(&p.name).is_some_and(|tensor| tensor.shape() == p.spec.shape)
                })
        })
    })
}

/// The field in which robustness libraries keep the network a second time, to attack it.
const ATTACKER: &str = "attacker.";

/// The name that a tensor has here, as [`upstream::canonical`], whether it is the network's or the
/// attacker's.
fn canonical(name: &str) -> Option<String> {
    let name = upstream::canonical(name)?;
    match name.strip_prefix(ATTACKER) {
        Some(rest) => upstream::canonical(rest),
        None => Some(name),
    }
}

fn is_attackers(name: &str) -> bool {
    upstream::canonical(name).is_some_and(|name| name.starts_with(ATTACKER))
}

/// The names of the classes, held against the rows of the last layer.
fn classes(
    path: &str,
    settings: &Settings,
    tensors: &TensorMap,
    foreign: &[(String, value::Foreign)],
) -> Result<Vec<String>, ImportError> {
    // Any number of classes gives the same names of layers.
    let graph =
        ArchSpec { width: settings.width, ..ArchSpec::new(&settings.arch, settings.input, 2) }
            .build()?;
    for (name, made_of) in foreign {
        let weight = canonical(name).filter(|name| graph.params().any(|p| p.name == *name));
        if weight.is_some_and(|name| !tensors.contains_key(&name)) {
            let (path, name, made_of) = (path.to_owned(), name.clone(), made_of.to_string());
            return Err(ImportError::Foreign { path, name, made_of });
        }
    }
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
    let mut seen = BTreeSet::new();
    if let Some(name) = classes.iter().find(|name| !seen.insert(*name)) {
        return Err(ImportError::TwiceNamed { name: name.clone() });
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
