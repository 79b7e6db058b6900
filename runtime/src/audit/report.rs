//! The report of an audit: as data and as a table.

use std::fmt::Write as _;

use rift_models::artifact::{
    Accuracy, AttackResult, AuditReport, ModelIdentity, RuntimeIdentity, SampleResult, Threat,
};
use rift_models::dataset::Dataset;

use super::{Measured, Plan, warnings};
use crate::attack::pgd;
use crate::session::Classifier;

/// Program and version.
pub const PROGRAM: &str = concat!("rift-runtime ", env!("CARGO_PKG_VERSION"));
/// The execution provider that all sessions run on.
pub const PROVIDER: &str = "CPUExecutionProvider";

/// Puts what was found into the form that is written.
pub fn report(
    classifier: &Classifier,
    data: &Dataset,
    plan: &Plan,
    measured: &Measured,
) -> AuditReport {
    let count = |of: fn(&pgd::Outcome) -> usize| measured.outcomes.iter().map(of).sum();
    let attack = AttackResult {
        name: pgd::NAME.to_owned(),
        settings: serde_json::to_value(&plan.attack).unwrap_or_default(),
        robust: measured.robust,
        seconds: measured.seconds,
        gradients: count(|outcome| outcome.gradients),
        forwards: count(|outcome| outcome.forwards),
    };
    AuditReport {
        format: AuditReport::FORMAT,
        clean_accuracy: measured.clean.fraction,
        robust_accuracy: measured.robust.fraction,
        n: data.len(),
        split: data.split.to_string(),
        interval: measured.robust.interval,
        clean_interval: measured.clean.interval,
        threat: Threat { norm: plan.attack.norm, eps: plan.attack.eps.clone() },
        attacks: vec![attack],
        samples: samples(data, measured),
        model: ModelIdentity {
            path: classifier.path().display().to_string(),
            digest: classifier.digest().clone(),
            data: data.digest.clone(),
            checkpoint: classifier.bundle().map(|bundle| bundle.card.checkpoint.clone()),
        },
        runtime: RuntimeIdentity {
            program: PROGRAM.to_owned(),
            onnxruntime: classifier.library().version(),
            provider: PROVIDER.to_owned(),
            instruction_set: instruction_set(),
            seed: plan.attack.seed,
        },
        warnings: warnings(classifier, data, plan, measured),
    }
}

fn samples(data: &Dataset, measured: &Measured) -> Vec<SampleResult> {
    let mut outcomes = measured.outcomes.iter().peekable();
    let each = measured.predictions.iter().zip(&data.labels).enumerate();
    let result = |(index, (&clean_prediction, &label))| {
        let outcome = outcomes.next_if(|outcome| outcome.index == index);
        let broken = outcome.filter(|outcome| outcome.broken);
        let by_itself = (clean_prediction != label).then_some("clean");
        SampleResult {
            index,
            label,
            clean_prediction,
            adversarial_prediction: broken.map_or(clean_prediction, |o| o.prediction),
            distance: broken.map_or(0.0, |outcome| outcome.distance),
            broken_by: by_itself.or(broken.map(|_| pgd::NAME)).map(str::to_owned),
        }
    };
    each.map(result).collect()
}

/// The instruction set extensions of this machine that ONNX Runtime's kernels are chosen by.
pub fn instruction_set() -> Vec<String> {
    #[cfg(target_arch = "x86_64")]
    let found = [
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("fma", std::arch::is_x86_feature_detected!("fma")),
        ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
        ("avx512vnni", std::arch::is_x86_feature_detected!("avx512vnni")),
        ("avx512bf16", std::arch::is_x86_feature_detected!("avx512bf16")),
    ];
    #[cfg(target_arch = "aarch64")]
    let found = [
        ("neon", std::arch::is_aarch64_feature_detected!("neon")),
        ("dotprod", std::arch::is_aarch64_feature_detected!("dotprod")),
        ("i8mm", std::arch::is_aarch64_feature_detected!("i8mm")),
        ("sve", std::arch::is_aarch64_feature_detected!("sve")),
    ];
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let found: [(&str, bool); 0] = [];
    let has = |(name, has): (&str, bool)| has.then(|| name.to_owned());
    found.into_iter().filter_map(has).collect()
}

/// The report as a table for the terminal.
pub fn table(report: &AuditReport, data: &str) -> String {
    let accuracy = |fraction: f64, interval: rift_models::artifact::Interval| {
        let correct = (fraction * report.n as f64).round() as usize;
        Accuracy { correct, n: report.n, fraction, interval }
    };
    let mut text = String::new();
    let mut row = |name: &str, value: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:<9} {value}");
    };
    row("model", format!("{} (sha256 {})", report.model.path, report.model.digest.short()));
    let split = format!("{} split, {} images", report.split, report.n);
    row("data", format!("{data}, {split} (sha256 {})", report.model.data.short()));
    row("clean", accuracy(report.clean_accuracy, report.clean_interval).to_string());
    row("robust", accuracy(report.robust_accuracy, report.interval).to_string());
    for attack in &report.attacks {
        row("attack", settings(attack));
        let rate = attack.gradients as f64 / attack.seconds.max(1e-9);
        row(
            "time",
            format!("{:.1} s, {} gradients ({rate:.0}/s)", attack.seconds, attack.gradients),
        );
    }
    for warning in &report.warnings {
        row("warning", warning.clone());
    }
    text
}

fn settings(attack: &AttackResult) -> String {
    match serde_json::from_value::<rift_models::threat::AttackSpec>(attack.settings.clone()) {
        Ok(spec) => {
            let start = if spec.random_start { "random" } else { "clean" };
            let restarts = spec.restarts;
            let many = if restarts == 1 { "restart" } else { "restarts" };
            format!(
                "{}, step {}, {start} start, {restarts} {many}, seed {}",
                spec.label(),
                spec.step,
                spec.seed
            )
        }
        Err(_) => attack.name.clone(),
    }
}
