//! `rift-runtime audit` and `rift-runtime audit-merge`.

mod certify;
mod corruptions;
pub(super) mod flags;
mod formats;
pub(crate) mod interrupt;
mod keep;
pub(crate) mod merge;
mod output;
mod paths;
mod replay;
mod shard;
mod subject;

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use rift_models::artifact::{AuditReport, AuditRequest, atomic};
use rift_models::dataset::{Dataset, Split};
use rift_runtime::attack::gradient::{Attacker, GradientError, Graphs};
use rift_runtime::attack::oracle::Oracle;
use rift_runtime::attack::trial::fastest_batch;
use rift_runtime::audit::state::State;
use rift_runtime::audit::{
    AuditError, Keep, Measured, Plan, Step, Watch, html, judge_twin, measure, report,
};
use rift_runtime::session::Classifier;

use self::certify::CertifyArgs;
use self::corruptions::CorruptionArgs;
use self::flags::{ThreatArgs, duration};
use self::formats::FormatArgs;
use self::replay::Replay;
use self::shard::Part;
use self::subject::Subject;
use super::Answer;
use crate::cli::{EngineArgs, Global, ReadingArgs, Spread, at_least_one, model_path};

/// Broken images that the page shows, among the first so many that are attacked.
const SHOWN: usize = 18;
const AMONG: usize = 400;

/// The arguments of `audit`.
#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// A bundle, an `.onnx` file, or `zoo:NAME` [with --replay: the one of the report]
    #[arg(value_name = "MODEL", required_unless_present = "replay", value_parser = model_path())]
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
    /// by MODEL. --output, --scale, --mean and --std hold for it as far as they fit
    /// [with --replay: the one of the report]
    #[arg(long, value_name = "TWIN", env = "RIFT_GRADIENTS_FROM", value_parser = model_path())]
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
    /// Attack only part I of N of the images; `audit-merge` makes one report of the parts. Without a
    /// value, or with `auto`, the numbers are those of a Slurm array (`SLURM_ARRAY_TASK_ID`) or an
    /// indexed Kubernetes Job (`JOB_COMPLETION_INDEX`, and `JOB_COMPLETIONS` set to their number)
    #[arg(long, value_name = "I/N", env = "RIFT_SHARD", num_args = 0..=1,
          default_missing_value = "auto")]
    shard: Option<Part>,
    /// Stop after this time (`90s`, `30m`, `2h`) and say what was not reached
    #[arg(long, value_name = "TIME", env = "RIFT_TIME_BUDGET", value_parser = duration)]
    time_budget: Option<Duration>,
    /// Keep what is done in this file as it is done; the same command goes on from it after a kill,
    /// and removes it at the end [default: with --json, the report's path and `.state`]
    #[arg(long, value_name = "PATH", env = "RIFT_STATE")]
    state: Option<PathBuf>,
    /// Leave out of the report what a clock says, so that equal audits give the same bytes
    #[arg(long, env = "RIFT_NO_TIMING", value_parser = clap::builder::FalseyValueParser::new())]
    no_timing: bool,
    #[command(flatten)]
    certify: CertifyArgs,
    #[command(flatten)]
    corruptions: CorruptionArgs,
    /// Write the report as JSON, every image included
    #[arg(long, value_name = "PATH", env = "RIFT_JSON")]
    json: Option<PathBuf>,
    /// Write the report as one page that needs nothing else
    #[arg(long, value_name = "PATH", env = "RIFT_HTML")]
    html: Option<PathBuf>,
    /// Write the adversarial images: `x` (float32, N x C x H x W in [0, 1], as --data takes them),
    /// `y`, `index`
    #[arg(long, value_name = "PATH.npz", env = "RIFT_SAVE_ADVERSARIAL")]
    save_adversarial: Option<PathBuf>,
    #[command(flatten)]
    formats: FormatArgs,
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
    let state = keep::path(args.state.as_deref(), args.json.as_deref());
    let replay = args.replay.as_deref().map(Replay::read).transpose()?;
    paths::check(args, replay.as_ref(), state.as_deref())?;
    let subject = Subject::open(args, replay.as_ref(), global)?;
    let Subject { classifier, twin, data, path, .. } = &subject;
    let plan = plan(args, replay.as_ref(), &subject, started)?;
    let request = AuditRequest {
        data: path.display().to_string(),
        limit: replay.as_ref().map_or(args.limit, |replay| replay.request.limit),
        eps: plan.eps.clone(),
        attacks: serde_json::to_value(&plan.methods)?,
        early_stop: plan.early_stop,
        reading: classifier.reading().clone(),
        gradients_from: twin.as_ref().map(|twin| twin.path().display().to_string()),
        smoothing: plan.smoothing.as_ref().map(serde_json::to_value).transpose()?,
    };
    let shard = match &replay {
        Some(replay) => replay.report.shard,
        None => args.shard.map(|part| part.shard(data.len())),
    };
    let graphs = graphs(&subject, &plan)?;
    let identity = keep::identity(&subject, &plan, &request, shard)?;
    let state = state.map(|path| State::open(&path, &identity)).transpose()?;
    let measured = attack(args, global, (&subject, &graphs), &plan, state.as_ref());
    let measured = keep::or_discard(measured, state.as_ref())?;
    let mut report = report::report(classifier, data, &plan, &measured);
    (report.request, report.shard) = (Some(request), shard);
    let mut options = args.spread.options();
    options.batch = measured.findings.batch(options.batch);
    if let Some(twin) = twin {
        judge_twin(twin, &options, data, &measured, &mut report)?;
    }
    report.corruptions = args.corruptions.measure(
        (classifier, data),
        &options,
        (plan.seed, replay.as_ref().and_then(|replay| replay.report.corruptions.as_ref())),
        &output::Bar::new(global.quiet),
    )?;
    if args.no_timing {
        report::forget_times(&mut report);
    }
    write(args, (classifier, data), &measured, &report)?;
    let mut notes = Vec::from_iter(keep::close(state, &report)?);
    let replayed = replay.map_or(Answer::Yes, |replay| replay.verdict(&report, &mut notes));
    let answer = args.formats.write(&report, &path.display().to_string(), &notes, out)?;
    Ok(if replayed == Answer::No { Answer::No } else { answer })
}

/// What is to be done, checked.
fn plan(
    args: &AuditArgs,
    replay: Option<&Replay>,
    subject: &Subject,
    started: Instant,
) -> anyhow::Result<Plan> {
    let Subject { classifier, twin, data, .. } = subject;
    let trained = classifier.bundle().and_then(|bundle| bundle.card.threat.as_ref());
    let eps = args.threat.eps(trained)?;
    let methods = args.threat.methods(&eps)?;
    let smoothing = args.certify.smoothing()?;
    let batch = classifier.batch(args.spread.options().batch);
    let keep = match (&args.save_adversarial, &args.html) {
        _ if twin.is_some() => Keep::All,
        (Some(_), _) => Keep::All,
        (None, Some(_)) => Keep::First(AMONG),
        (None, None) => Keep::First(0),
    };
    let plan = match replay {
        Some(replay) => replay.plan((classifier, data), batch, keep)?,
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
            smoothing,
        },
    };
    args.formats.check(&plan)?;
    plan.validate(classifier.input().iter().product())
        .context("impossible attack (pixels lie in [0, 1]: 8 grey levels are written `8/255`)")?;
    Ok(plan)
}

/// Runs the audit, stopping in order when a signal asks for it.
fn attack(
    args: &AuditArgs,
    global: &Global,
    (subject, graphs): (&Subject, &Graphs),
    plan: &Plan,
    state: Option<&State>,
) -> anyhow::Result<Measured> {
    let Subject { classifier, twin, data, .. } = subject;
    let options = args.spread.options();
    let mut attackers = Attacker::several(classifier, graphs, &options, plan.rows.len())?;
    if let Some(twin) = twin {
        attackers = attackers.into_iter().map(|attacker| attacker.steered_by(twin)).collect();
    }
    let mut plan = plan.clone();
    if args.spread.batch_size.is_none() && classifier.fixed_batch().is_none() {
        let work = (plan.rows.len(), attackers.len());
        plan.batch =
            fastest_batch(&mut attackers[0], data.input(), work).map_err(AuditError::Oracle)?;
        for attacker in &mut attackers {
            attacker.set_batch(plan.batch);
        }
    }
    let stop = interrupt::listen()?;
    let bar = output::Bar::new(global.quiet);
    let progress = |step: Step<'_>| bar.tell(step);
    let watch = Watch { progress: Some(&progress), state, stop: Some(stop.flag()) };
    let measured = measure(&mut attackers, data, &plan, &watch);
    bar.finish();
    match measured {
        Err(AuditError::Interrupted) => Err(stop.stopped(state).into()),
        measured => Ok(measured?),
    }
}

/// The gradient graphs that the plan needs; where there can be none, the error says what still works.
fn graphs(subject: &Subject, plan: &Plan) -> anyhow::Result<Graphs> {
    let source = subject.twin.as_ref().unwrap_or(&subject.classifier);
    let built = Graphs::build(source, plan.heads(source.classes()));
    let hint = matches!(built, Err(GradientError::Autodiff(_)));
    built.map_err(AuditError::from).with_context(|| {
        let what = format!("cannot attack `{}`", subject.model.display());
        let of = match &subject.twin {
            Some(twin) => format!("the gradient of `{}`", twin.path().display()),
            None => "its gradient".to_owned(),
        };
        if hint { format!("{what} by {of} (`--attack square` needs none)") } else { what }
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
