//! The report of an audit: as data and as a table.

use std::fmt::Write as _;

use rift_models::artifact::{
    Accuracy, AttackResult, AuditReport, Certificate, CurvePoint, Interval, ModelIdentity,
    RuntimeIdentity, SampleResult, Threat,
};
use rift_models::dataset::Dataset;
use rift_models::threat::{AttackSpec, Epsilon};

use super::certificate::certificate;
use super::{Measured, Plan, Stage, summary};
use crate::attack::method::Method;
use crate::attack::pgd::PgdLoss;
use crate::session::{Classifier, Precision, Provider};

/// Program and version.
pub const PROGRAM: &str = concat!("rift-runtime ", env!("CARGO_PKG_VERSION"));

/// Puts what was found into the form that is written; what was asked for and which part of an audit
/// it is are the caller's to add.
pub fn report(
    classifier: &Classifier,
    data: &Dataset,
    plan: &Plan,
    measured: &Measured,
) -> AuditReport {
    let engine = classifier.engine();
    let library = || classifier.library().path().display().to_string();
    let mut report = AuditReport {
        format: AuditReport::FORMAT,
        clean_accuracy: measured.clean.fraction,
        robust_accuracy: measured.robust.fraction,
        n: measured.rows.len(),
        split: data.split.to_string(),
        interval: measured.robust.interval,
        clean_interval: measured.clean.interval,
        threat: Threat { norm: plan.norm, eps: plan.eps[plan.eps.len() - 1].clone() },
        curve: curve(plan, measured),
        attacks: measured.stages.iter().map(|stage| attack(plan, stage)).collect(),
        samples: samples(data, plan, measured),
        model: ModelIdentity {
            path: classifier.path().display().to_string(),
            digest: classifier.digest().clone(),
            data: data.digest.clone(),
            checkpoint: classifier.bundle().map(|bundle| bundle.card.checkpoint.clone()),
        },
        runtime: RuntimeIdentity {
            program: PROGRAM.to_owned(),
            onnxruntime: classifier.library().version(),
            provider: engine.provider().name().to_owned(),
            library: (engine.provider() != Provider::Cpu).then(library),
            steering: (engine.steering() != Precision::Float32)
                .then(|| engine.steering().to_string()),
            instruction_set: instruction_set(),
            seed: plan.seed,
        },
        twin: None,
        request: None,
        shard: None,
        certified: certificate(data, plan, measured),
        corruptions: None,
        warnings: summary::warnings(classifier, data, plan, measured),
    };
    let counted = summary::counted(&report);
    report.warnings.extend(counted);
    report
}

/// Leaves out what a clock said, so that two reports of the same audit are the same bytes.
pub fn forget_times(report: &mut AuditReport) {
    for attack in &mut report.attacks {
        attack.seconds = None;
    }
    if let Some(certificate) = &mut report.certified {
        certificate.seconds = None;
    }
}

/// The radius, where the audit has several.
fn one_of(plan: &Plan, eps: &Epsilon) -> Option<Epsilon> {
    (plan.eps.len() > 1).then(|| eps.clone())
}

fn curve(plan: &Plan, measured: &Measured) -> Vec<CurvePoint> {
    if plan.eps.len() < 2 {
        return Vec::new();
    }
    let point = |eps: &Epsilon| {
        let last = measured.stages.iter().rev().find(|stage| stage.eps == *eps);
        let robust = last.map_or(measured.clean, |stage| stage.robust);
        CurvePoint { eps: eps.clone(), robust }
    };
    plan.eps.iter().map(point).collect()
}

fn attack(plan: &Plan, stage: &Stage) -> AttackResult {
    AttackResult {
        name: stage.method.name().to_owned(),
        eps: one_of(plan, &stage.eps),
        settings: settings(plan, stage),
        attacked: stage.attacked,
        broken: stage.broken,
        unreached: stage.unreached,
        robust: stage.robust,
        seconds: Some(stage.seconds),
        gradients: stage.gradients,
        forwards: stage.forwards,
    }
}

/// Those of PGD as trainer and runtime share them; those of the others as they are.
fn settings(plan: &Plan, stage: &Stage) -> serde_json::Value {
    let Method::Pgd { loss, momentum, .. } = &stage.method else {
        return serde_json::to_value(&stage.method).unwrap_or_default();
    };
    let spec = stage.method.spec(&plan.setting(&stage.eps));
    let mut settings = serde_json::to_value(spec).unwrap_or_default();
    if (*loss, *momentum) != (PgdLoss::Ce, 0.0) {
        settings["loss"] = serde_json::to_value(loss).unwrap_or_default();
        settings["momentum"] = serde_json::to_value(momentum).unwrap_or_default();
    }
    settings
}

fn samples(data: &Dataset, plan: &Plan, measured: &Measured) -> Vec<SampleResult> {
    let mut fates = measured.fates.iter().peekable();
    let each = measured.rows.clone().zip(&measured.predictions);
    let result = |(index, &clean_prediction): (usize, &usize)| {
        let label = data.labels[index];
        let fate = fates.next_if(|fate| fate.outcome.index == index);
        let stage = fate.and_then(|fate| fate.stage).map(|stage| &measured.stages[stage]);
        let broken = fate.filter(|_| stage.is_some()).map(|fate| &fate.outcome);
        let by_itself = (clean_prediction != label).then_some("clean");
        SampleResult {
            index,
            label,
            clean_prediction,
            adversarial_prediction: broken.map_or(clean_prediction, |o| o.prediction),
            distance: broken.map_or(0.0, |outcome| outcome.distance),
            broken_by: by_itself.or(stage.map(|stage| stage.method.name())).map(str::to_owned),
            broken_at: stage.and_then(|stage| one_of(plan, &stage.eps)),
            blind: fate.is_some_and(|fate| fate.blind),
            twin: None,
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
    let accuracy = |fraction: f64, interval: Interval| {
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
    if let Some(shard) = &report.shard {
        row("part", format!("{} of {}, of {} images", shard.number, shard.of, shard.total));
    }
    row("clean", accuracy(report.clean_accuracy, report.clean_interval).to_string());
    for point in &report.curve {
        row("at", format!("{:<9} {}", point.eps, point.robust));
    }
    row("robust", accuracy(report.robust_accuracy, report.interval).to_string());
    if let Some(twin) = &report.twin {
        let name = format!("{} (sha256 {})", twin.path, twin.digest.short());
        row("gradients", format!("from {name}"));
        row("", format!("which is right on {} of the same images", twin.adversarial));
    }
    for attack in &report.attacks {
        let name = describe(attack, report);
        row("attack", format!("{name}: {} of {} broken", attack.broken, attack.attacked));
    }
    if let Some(certificate) = &report.certified {
        certificate_rows(certificate, &mut row);
    }
    row("time", effort(report));
    for warning in &report.warnings {
        row("warning", warning.clone());
    }
    if let Some(corruptions) = &report.corruptions {
        text.push('\n');
        text.push_str(&corruptions.table());
    }
    text
}

/// What the attacks took.
fn effort(report: &AuditReport) -> String {
    let count = |of: fn(&AttackResult) -> usize| report.attacks.iter().map(of).sum::<usize>();
    let (gradients, forwards) = (count(|a| a.gradients), count(|a| a.forwards));
    let seconds: Option<f64> = report.attacks.iter().map(|attack| attack.seconds).sum();
    match seconds {
        Some(seconds) => {
            let rate = gradients as f64 / seconds.max(1e-9);
            format!(
                "{seconds:.1} s, {gradients} gradients ({rate:.0}/s), {forwards} forward passes"
            )
        }
        None => format!("{gradients} gradients, {forwards} forward passes"),
    }
}

fn certificate_rows(certificate: &Certificate, row: &mut impl FnMut(&str, String)) {
    for point in &certificate.curve {
        let attacked = point.attacked.map_or_else(String::new, |attacked| {
            format!("; the model itself under attack: {:.2} %", attacked.percent())
        });
        row("certified", format!("L2 {:<7.4} {}{attacked}", point.radius, point.certified));
    }
    row(
        "smoothed",
        format!(
            "sigma {}, {} + {} copies an image, each certificate right with probability {}, {} \
             abstentions",
            certificate.sigma,
            certificate.selection,
            certificate.estimation,
            1.0 - certificate.alpha,
            certificate.abstained
        ),
    );
}

/// An attack with its settings in words.
pub(super) fn describe(attack: &AttackResult, report: &AuditReport) -> String {
    if let Ok(spec) = serde_json::from_value::<AttackSpec>(attack.settings.clone()) {
        let start = if spec.random_start { "random" } else { "clean" };
        let restarts = spec.restarts;
        let many = if restarts == 1 { "restart" } else { "restarts" };
        return format!(
            "{}, step {}, {start} start, {restarts} {many}, seed {}",
            spec.label(),
            spec.step,
            spec.seed
        );
    }
    let eps = attack.eps.as_ref().unwrap_or(&report.threat.eps);
    let mut text = format!("{} {} {eps}", attack.name, report.threat.norm);
    for name in ["iterations", "steps", "queries", "targets", "restarts", "loss", "momentum"] {
        if let Some(value) = attack.settings.get(name) {
            let _ = write!(text, ", {name} {}", value.to_string().trim_matches('"'));
        }
    }
    text
}
