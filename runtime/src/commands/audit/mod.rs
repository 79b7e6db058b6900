//! `rift-runtime audit` and `rift-runtime audit-merge`.

mod flags;
pub(crate) mod merge;
mod output;
mod replay;
mod shard;
mod subject;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use rift_models::artifact::{AuditReport, AuditRequest, atomic};
use rift_models::dataset::{Dataset, Split};
use rift_runtime::attack::gradient::{Attacker, GradientError, Graphs};
use rift_runtime::audit::{AuditError, Keep, Measured, Plan, html, measure, report};
use rift_runtime::session::Classifier;

use self::flags::{Gate, ThreatArgs, duration, fraction};
use self::replay::Replay;
use self::shard::Part;
use self::subject::Subject;
use super::{Answer, output as files};
use crate::cli::{Global, ReadingArgs, Spread, at_least_one};

/// Broken images that the page shows, among the first so many of the data.
const SHOWN: usize = 18;
const AMONG: usize = 400;

/// The arguments of `audit`.
#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// A bundle folder or an `.onnx` file [with --replay: the one of the report]
    #[arg(value_name = "MODEL", required_unless_present = "replay")]
    model: Option<PathBuf>,
    /// The images: any layout that Rift reads, or `synthetic:…` [with --replay: those of the report]
    #[arg(long, value_name = "PATH", env = "RIFT_DATA", required_unless_present = "replay")]
    data: Option<PathBuf>,
    /// The part of the data to use
    #[arg(long, value_name = "SPLIT", env = "RIFT_SPLIT", default_value = "test")]
    split: Split,
    /// Use the first N images
    #[arg(long, value_name = "N", env = "RIFT_LIMIT", value_parser = at_least_one)]
    limit: Option<usize>,
    /// Follow the gradients of this model, the float twin of a quantised one, say; images are judged
    /// by MODEL [with --replay: the one of the report]
    #[arg(long, value_name = "TWIN", env = "RIFT_GRADIENTS_FROM")]
    gradients_from: Option<PathBuf>,
    /// Resize the images to the size that the model takes, by the triangle filter
    #[arg(long, env = "RIFT_RESIZE", value_parser = clap::builder::FalseyValueParser::new())]
    resize: bool,
    #[command(flatten)]
    reading: ReadingArgs,
    #[command(flatten)]
    threat: ThreatArgs,
    /// Make an audit again and say whether it is the same; threat model and attacks are the report's
    #[arg(long, value_name = "AUDIT.json", env = "RIFT_REPLAY", conflicts_with_all = ["shard", "time_budget"])]
    replay: Option<PathBuf>,
    /// Attack only part I of N of the images; `audit-merge` makes one report of the parts. `auto`
    /// reads the numbers of a Slurm array or an indexed Kubernetes Job
    #[arg(long, value_name = "I/N", env = "RIFT_SHARD")]
    shard: Option<Part>,
    /// Stop after this time (`90s`, `30m`, `2h`) and say what was not reached
    #[arg(long, value_name = "TIME", env = "RIFT_TIME_BUDGET", value_parser = duration)]
    time_budget: Option<Duration>,
    /// Write the report as JSON, every image included
    #[arg(long, value_name = "PATH", env = "RIFT_JSON")]
    json: Option<PathBuf>,
    /// Write the report as one page that needs nothing else
    #[arg(long, value_name = "PATH", env = "RIFT_HTML")]
    html: Option<PathBuf>,
    /// Write the adversarial images: `x` (float32), `y`, `index`
    #[arg(long, value_name = "PATH.npz", env = "RIFT_SAVE_ADVERSARIAL")]
    save_adversarial: Option<PathBuf>,
    /// Exit with 1 if the robust accuracy is below this fraction
    #[arg(long, value_name = "FRACTION", env = "RIFT_MIN_ROBUST_ACCURACY", value_parser = fraction)]
    min_robust_accuracy: Option<f64>,
    /// What must not be below it
    #[arg(long, value_enum, env = "RIFT_GATE", default_value = "interval")]
    gate: Gate,
    #[command(flatten)]
    engine: EngineArgs,
    #[command(flatten)]
    spread: Spread,
}

/// Audits a model.
pub(crate) fn run(
    args: &AuditArgs,
    global: &Global,
    out: &mut dyn Write,
) -> anyhow::Result<Answer> {
    let started = Instant::now();
    for path in args.json.iter().chain(&args.html).chain(&args.save_adversarial) {
        files::check_writable(path)?;
    }
    let replay = args.replay.as_deref().map(Replay::read).transpose()?;
    let subject = Subject::open(args, replay.as_ref(), global)?;
    let trained = classifier.bundle().and_then(|bundle| bundle.card.threat.as_ref());
    let eps = args.threat.eps(trained)?;
    let methods = args.threat.methods(&eps)?;
    let options = args.spread.options();
    let batch = classifier.batch(options.batch);
    let keep = match (&args.save_adversarial, &args.html) {
        (Some(_), _) => Keep::All,
        (None, Some(_)) => Keep::First(AMONG),
        (None, None) => Keep::First(0),
    };
    let plan = match &replay {
        Some(replay) => replay.plan((&classifier, &data), batch, keep)?,
        None => Plan {
            norm: args.threat.norm(trained),
            eps,
            methods,
            seed: args.threat.seed,
            early_stop: !args.threat.no_early_stop,
            batch,
            keep,
            until: args.time_budget.map(|budget| started + budget),
            rows: args.shard.map_or(0..data.len(), |part| part.rows(data.len())),
        },
    };
    plan.validate(classifier.input().iter().product())
        .context("impossible attack (pixels lie in [0, 1]: 8 grey levels are written `8/255`)")?;
    let graphs = graphs(&classifier, &plan, &model)?;
    let mut attackers = Attacker::several(&classifier, &graphs, &options, plan.rows.len())?;
    let bar = output::Bar::new(global.quiet);
    let measured =
        measure(&mut attackers, &data, &plan, &|name, done, of| bar.tell(name, done, of))?;
    bar.finish();
    let mut report = report::report(&classifier, &data, &plan, &measured);
    report.request = Some(AuditRequest {
        data: path.display().to_string(),
        limit: args.limit.or(replay.as_ref().and_then(|replay| replay.request.limit)),
        eps: plan.eps.clone(),
        attacks: serde_json::to_value(&plan.methods)?,
        early_stop: plan.early_stop,
        reading: classifier.reading().clone(),
    });
    report.shard = match &replay {
        Some(replay) => replay.report.shard,
        None => args.shard.map(|part| part.shard(data.len())),
    };
    write(args, (&classifier, &data), &measured, &report)?;
    out.write_all(report::table(&report, &path.display().to_string()).as_bytes())?;
    verdict(args, replay.as_ref(), &report, out)
}

/// The gradient graphs that the plan needs; where there can be none, the error says what still works.
fn graphs(classifier: &Classifier, plan: &Plan, model: &Path) -> anyhow::Result<Graphs> {
    let built = Graphs::build(classifier, plan.heads(classifier.classes()));
    let hint = matches!(built, Err(GradientError::Autodiff(_)));
    built.map_err(AuditError::from).with_context(|| {
        let what = format!("cannot attack `{}`", model.display());
        if hint { format!("{what} by its gradient (`--attack square` needs none)") } else { what }
    })
}

fn write(
    args: &AuditArgs,
    (classifier, data): (&Classifier, &Dataset),
    measured: &Measured,
    report: &AuditReport,
) -> anyhow::Result<()> {
    if let Some(path) = &args.save_adversarial {
        output::save(path, data, measured)?;
    }
    if let Some(path) = &args.html {
        let around = html::Surroundings {
            classes: (0..classifier.classes()).map(|class| classifier.class_name(class)).collect(),
            exhibits: html::exhibits(data, measured, SHOWN),
        };
        atomic::write(path, html::page(report, &around).as_bytes())?;
    }
    if let Some(path) = &args.json {
        atomic::write_json(path, report)?;
    }
    Ok(())
}

/// Whether what was asked for holds: the threshold, and that the audit is the same.
fn verdict(
    args: &AuditArgs,
    replay: Option<&Replay>,
    report: &AuditReport,
    out: &mut dyn Write,
) -> anyhow::Result<Answer> {
    let mut answer = Answer::Yes;
    if let Some(replay) = replay {
        let (images, differ) = replay.compare(report);
        if images == 0 && differ.is_empty() {
            writeln!(out, "replay    the same for every image, bit for bit")?;
        } else {
            let what =
                if differ.is_empty() { "nothing else".to_owned() } else { differ.join(", ") };
            writeln!(out, "replay    not the same: {images} images differ, beside: {what}")?;
            answer = Answer::No;
        }
    }
    let (found, what) = match args.gate {
        Gate::Interval => (report.interval.lower, "lower bound of the robust accuracy"),
        Gate::Point => (report.robust_accuracy, "robust accuracy"),
    };
    if let Some(least) = args.min_robust_accuracy.filter(|least| found < *least) {
        writeln!(out, "too low   {what} {found:.4}, at least {least} is asked for")?;
        answer = Answer::No;
    }
    Ok(answer)
}
