//! An entry of the `RobustBench` leaderboard.

use std::path::Path;

use rift_models::artifact::AuditReport;
use serde_json::{Value, json};

use super::super::rules::{self, Weight};
use crate::attack::method::Method;

/// An audit that is no entry of the leaderboard.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// The leaderboard is about `AutoAttack`.
    #[error("a RobustBench entry holds AutoAttack's accuracy, expected `--attack autoattack`")]
    Attack,
    /// An entry has one radius.
    #[error("a RobustBench entry has one eps, found {0}")]
    Eps(usize),
    /// Its images are all of a test set, or those of a split of it.
    #[error("a RobustBench entry is about a whole audit, found a part (`audit-merge` joins them)")]
    Part,
    /// The audit did not come to its end.
    #[error("a RobustBench entry is about a whole audit, found images that were not reached")]
    Unreached,
}

/// Says whether these attacks at so many radii make an entry, before the work begins.
///
/// # Errors
/// If they do not.
pub fn check(methods: &[Method], radii: usize) -> Result<(), EntryError> {
    if methods != Method::autoattack() {
        return Err(EntryError::Attack);
    }
    if radii == 1 { Ok(()) } else { Err(EntryError::Eps(radii)) }
}

/// The entry as the leaderboard's `model_info` files have it, with accuracies in percent.
///
/// What an audit cannot know is empty (`link`, `authors`) or null (`additional_data`): fill it in.
/// `unreliable` is set where a warning takes trust from the figures.
///
/// # Errors
/// If the audit is not one that the leaderboard is about.
pub fn robustbench(report: &AuditReport) -> Result<Value, EntryError> {
    let request = report.request.as_ref();
    let attacks = request.map(|request| request.attacks.clone()).unwrap_or_default();
    let methods: Vec<Method> = serde_json::from_value(attacks).unwrap_or_default();
    check(&methods, report.curve.len().max(1))?;
    if report.shard.is_some() {
        return Err(EntryError::Part);
    }
    if report.attacks.iter().any(|attack| attack.unreached > 0) {
        return Err(EntryError::Unreached);
    }
    let percent = |fraction: f64| format!("{:.2}", fraction * 100.0);
    let robust = percent(report.robust_accuracy);
    let path = Path::new(&report.model.path);
    let model = path.file_stem().map_or_else(String::new, |s| s.to_string_lossy().into_owned());
    let is_distrusted = report.warnings.iter().any(|w| rules::of(w).weight == Weight::Distrust);
    Ok(json!({
        "link": "",
        "name": model,
        "authors": "",
        "additional_data": null,
        "number_forward_passes": 1,
        "dataset": request.map_or_else(String::new, |request| dataset(&request.data)),
        "venue": "N/A",
        "architecture": model,
        "eps": report.threat.eps,
        "clean_acc": percent(report.clean_accuracy),
        "reported": robust,
        "autoattack_acc": robust,
        "footnote": format!(
            "{} on ONNX Runtime {}: {}, {} images of the {} split, seed {}, model SHA-256 {}.",
            report.runtime.program,
            report.runtime.onnxruntime,
            report.threat.norm,
            report.n,
            report.split,
            report.runtime.seed,
            report.model.digest
        ),
        "unreliable": is_distrusted,
    }))
}

/// The leaderboard's name for the data at a path, else the path's last part.
fn dataset(path: &str) -> String {
    let last = Path::new(path).file_name().map_or_else(String::new, |s| s.to_string_lossy().into());
    let letters: String =
        last.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
    // `cifar10` begins like `cifar100`, and Tiny-ImageNet is no ImageNet.
    let known = ["cifar100", "cifar10", "imagenet"];
    let name = known.into_iter().find(|name| letters.starts_with(name));
    name.map_or(last, str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_sets_have_the_leaderboards_names() {
        for (path, name) in [
            ("/data/cifar-10-batches-bin", "cifar10"),
            ("CIFAR-100", "cifar100"),
            ("imagenet/", "imagenet"),
            ("tiny-imagenet-200", "tiny-imagenet-200"),
            ("synthetic:4x3x8x8", "synthetic:4x3x8x8"),
        ] {
            assert_eq!(dataset(path), name);
        }
    }

    #[test]
    fn only_the_standard_attack_is_an_entry() {
        assert!(check(&Method::autoattack(), 1).is_ok());
        assert!(matches!(check(&Method::fast(), 1), Err(EntryError::Attack)));
        assert!(matches!(check(&Method::autoattack(), 2), Err(EntryError::Eps(2))));
    }
}
