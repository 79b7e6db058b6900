//! `rift-runtime audit`.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use ndarray::{Array1, Array4, ArrayView3, Axis};
use ndarray_npy::NpzWriter;
use rift_models::artifact::atomic;
use rift_models::dataset::{Dataset, Request, Split};
use rift_models::threat::{AttackSpec, Epsilon, Norm};
use rift_runtime::attack::gradient;
use rift_runtime::audit::{Measured, Plan, Progress, Stage, check_data, measure, report};
use rift_runtime::session::{Classifier, Pool};

use super::{Answer, open, output};
use crate::cli::{Global, Spread, at_least_one};

/// The arguments of `audit`.
#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// A bundle folder or an `.onnx` file
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// The images: any layout that Rift reads, or `synthetic:…`
    #[arg(long, value_name = "PATH", env = "RIFT_DATA")]
    data: PathBuf,
    /// The part of the data to use
    #[arg(long, value_name = "SPLIT", env = "RIFT_SPLIT", default_value = "test")]
    split: Split,
    /// Use the first N images
    #[arg(long, value_name = "N", env = "RIFT_LIMIT", value_parser = at_least_one)]
    limit: Option<usize>,
    #[command(flatten)]
    threat: ThreatArgs,
    /// Write the report as JSON, every image included
    #[arg(long, value_name = "PATH", env = "RIFT_JSON")]
    json: Option<PathBuf>,
    /// Write the adversarial images: `x` (float32), `y`, `index`
    #[arg(long, value_name = "PATH.npz", env = "RIFT_SAVE_ADVERSARIAL")]
    save_adversarial: Option<PathBuf>,
    /// Exit with 1 if the robust accuracy is below this fraction
    #[arg(long, value_name = "FRACTION", env = "RIFT_MIN_ROBUST_ACCURACY", value_parser = fraction)]
    min_robust_accuracy: Option<f64>,
    #[command(flatten)]
    spread: Spread,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Attack {
    /// Projected gradient descent
    Pgd,
}

#[derive(Debug, Args)]
struct ThreatArgs {
    /// The attack
    #[arg(long, value_enum, env = "RIFT_ATTACK", default_value = "pgd")]
    attack: Attack,
    /// The norm of the perturbation, linf or l2 [default: the bundle's, else linf]
    #[arg(long, value_name = "NORM", env = "RIFT_NORM")]
    norm: Option<Norm>,
    /// Its largest norm in pixel units [default: the bundle's, else 8/255 for linf, 128/255 for l2]
    #[arg(long, value_name = "LENGTH", env = "RIFT_EPS")]
    eps: Option<Epsilon>,
    /// The length of one step in pixel units [default: a quarter of eps]
    #[arg(long, value_name = "LENGTH", env = "RIFT_STEP")]
    step: Option<Epsilon>,
    /// Gradient steps
    #[arg(long, value_name = "N", env = "RIFT_STEPS", default_value = "20")]
    steps: usize,
    /// Random starts, of which the worst counts
    #[arg(long, value_name = "N", env = "RIFT_RESTARTS", default_value = "1",
          value_parser = at_least_one)]
    restarts: usize,
    /// The seed of every draw
    #[arg(long, value_name = "N", env = "RIFT_SEED", default_value = "0")]
    seed: u64,
}

fn fraction(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err("expected a fraction from 0 to 1".to_owned()),
    }
}

impl ThreatArgs {
    /// The attack; what is not given follows the threat model that the network was trained for.
    fn spec(&self, trained: Option<&AttackSpec>) -> anyhow::Result<AttackSpec> {
        let Attack::Pgd = self.attack;
        let norm = self.norm.or(trained.map(|spec| spec.norm)).unwrap_or_default();
        let of_bundle = trained.filter(|spec| spec.norm == norm).map(|spec| spec.eps.clone());
        let usual = match norm {
            Norm::Linf => "8/255",
            Norm::L2 => "128/255",
        };
        let eps = self.eps.clone().or(of_bundle).map_or_else(|| usual.parse(), Ok)?;
        let step = self.step.clone().map_or_else(|| quarter(&eps), Ok)?;
        let (steps, restarts, seed) = (self.steps, self.restarts, self.seed);
        Ok(AttackSpec { norm, eps, step, steps, restarts, seed, ..AttackSpec::pgd20() })
    }
}

/// A quarter of a length, written as a fraction where the length is.
fn quarter(eps: &Epsilon) -> Result<Epsilon, rift_models::threat::EpsilonError> {
    let text = eps.to_string();
    let parts =
        text.split_once('/').map(|(n, d)| (n.trim().parse::<u32>(), d.trim().parse::<u32>()));
    match parts {
        Some((Ok(n), Ok(d))) if n % 4 == 0 => Epsilon::ratio(n / 4, d),
        Some((Ok(n), Ok(d))) if d <= u32::MAX / 4 => Epsilon::ratio(n, d * 4),
        _ => (eps.value() / 4.0).to_string().parse(),
    }
}

/// Audits a model.
pub(crate) fn run(
    args: &AuditArgs,
    global: &Global,
    out: &mut dyn Write,
) -> anyhow::Result<Answer> {
    for path in args.json.iter().chain(&args.save_adversarial) {
        output::check_writable(path)?;
    }
    let classifier = open(&args.model, global)?;
    let trained = classifier.bundle().and_then(|bundle| bundle.card.threat.as_ref());
    let attack = args.threat.spec(trained)?;
    attack
        .validate(classifier.input().iter().product())
        .context("impossible attack (pixels lie in [0, 1]: 8 grey levels are written `8/255`)")?;
    let request = Request::new(args.split).limit(args.limit);
    let data = Dataset::open(&args.data, &request)?;
    check_data(&classifier, &data)?;
    let options = args.spread.options();
    let graph = gradient::loss_gradient(&classifier)
        .with_context(|| format!("cannot attack `{}`", args.model.display()))?;
    let mut pool = Pool::new(&classifier, &options, data.len())?
        .with_gradient(&classifier, &graph.to_bytes())?;
    let plan = Plan { attack, batch: options.batch, keep_images: args.save_adversarial.is_some() };
    let bar = progress(global);
    let measured = measure(pool.workers(), &data, &plan, &|event| tell(&bar, event))?;
    bar.finish_and_clear();
    let report = report::report(&classifier, &data, &plan, &measured);
    if let Some(path) = &args.save_adversarial {
        save(path, &classifier, &data, &measured)?;
    }
    if let Some(path) = &args.json {
        atomic::write_json(path, &report)?;
    }
    out.write_all(report::table(&report, &args.data.display().to_string()).as_bytes())?;
    match args.min_robust_accuracy {
        Some(least) if report.robust_accuracy < least => {
            writeln!(
                out,
                "too low   robust accuracy {:.4}, at least {least} is asked for",
                report.robust_accuracy
            )?;
            Ok(Answer::No)
        }
        _ => Ok(Answer::Yes),
    }
}

fn progress(global: &Global) -> ProgressBar {
    if global.quiet {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    let template = "{msg:>6} {wide_bar} {pos}/{len} {per_sec} {eta}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn tell(bar: &ProgressBar, progress: Progress) {
    match progress {
        Progress::Begin(stage, images) => {
            bar.set_message(match stage {
                Stage::Clean => "clean",
                Stage::Attack => "attack",
            });
            bar.set_length(images as u64);
            bar.set_position(0);
            bar.reset_eta();
        }
        Progress::Done(images) => bar.inc(images as u64),
    }
}

/// Writes every image as the attack left it: adversarial where it was broken, the last attempt where
/// not, and as it is where it was misclassified to begin with.
fn save(
    path: &Path,
    classifier: &Classifier,
    data: &Dataset,
    measured: &Measured,
) -> anyhow::Result<()> {
    let [c, h, w] = classifier.input();
    let mut x = Array4::<f32>::zeros((data.len(), c, h, w));
    for (index, mut image) in x.outer_iter_mut().enumerate() {
        image.assign(&data.batch(index..index + 1).index_axis(Axis(0), 0));
    }
    for outcome in &measured.outcomes {
        let image = ArrayView3::from_shape((c, h, w), &outcome.image)?;
        x.index_axis_mut(Axis(0), outcome.index).assign(&image);
    }
    let y: Array1<i64> = data.labels.iter().map(|label| *label as i64).collect();
    let index: Array1<i64> = (0..data.len() as i64).collect();
    // In memory first: the archive's writer complains on standard error when a disk is full.
    let mut npz = NpzWriter::new_compressed(Cursor::new(Vec::new()));
    npz.add_array("x", &x)?;
    npz.add_array("y", &y)?;
    npz.add_array("index", &index)?;
    atomic::write(path, npz.finish()?.get_ref())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_given_follows_the_bundle() {
        use clap::Parser;
        #[derive(Parser)]
        struct Line {
            #[command(flatten)]
            threat: ThreatArgs,
        }
        let spec = |arguments: &[&str], trained: Option<&AttackSpec>| {
            let arguments = std::iter::once("audit").chain(arguments.iter().copied());
            Line::parse_from(arguments).threat.spec(trained).unwrap().label()
        };
        let trained = AttackSpec { eps: "0.1".parse().unwrap(), ..AttackSpec::paper() };
        assert_eq!(spec(&[], None), "pgd-20 linf 8/255");
        assert_eq!(spec(&[], Some(&trained)), "pgd-20 linf 0.1");
        assert_eq!(spec(&["--eps", "4/255"], Some(&trained)), "pgd-20 linf 4/255");
        assert_eq!(spec(&["--norm", "l2"], Some(&trained)), "pgd-20 l2 128/255");
    }

    #[test]
    fn a_step_is_a_quarter_of_eps_as_it_is_written() {
        for (eps, step) in [("8/255", "2/255"), ("1/255", "1/1020"), ("0.5", "0.125")] {
            let eps: Epsilon = eps.parse().unwrap();
            let quarter = quarter(&eps).unwrap();
            assert_eq!(quarter.to_string(), step);
            assert_eq!(quarter.value(), eps.value() / 4.0);
        }
    }
}
