//! What an audit can be told on the command line, and the attacks that follow from it.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};
use rift_models::threat::{AttackSpec, Epsilon, Norm};
use rift_runtime::attack::method::{Method, QUERIES};
use rift_runtime::attack::pgd::PgdLoss;

use crate::cli::at_least_one;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::commands) enum Attack {
    /// One step along the gradient
    Fgsm,
    /// Projected gradient descent
    Pgd,
    /// Auto-PGD on cross-entropy
    ApgdCe,
    /// Auto-PGD on the difference of logits ratio
    ApgdDlr,
    /// Auto-PGD towards nine targets
    ApgdT,
    /// FAB towards nine targets
    FabT,
    /// Random search, without any gradient
    Square,
    /// AutoAttack: apgd-ce, apgd-t, fab-t, square
    Autoattack,
    /// apgd-ce and apgd-t
    Fast,
    /// apgd-ce and apgd-dlr from five starts, apgd-t, fab-t from five starts, square
    Plus,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Loss {
    /// Cross-entropy
    #[default]
    Ce,
    /// The largest other logit less the true one
    Margin,
    /// The cross-entropy of a likely other class, another at every restart
    Targeted,
}

/// What decides whether a threshold is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Gate {
    /// The lower end of the 95 % interval
    Interval,
    /// The plain figure
    Point,
}

#[derive(Clone, Debug, Args)]
pub(in crate::commands) struct ThreatArgs {
    /// The attack
    #[arg(long, value_enum, env = "RIFT_ATTACK", default_value = "pgd")]
    pub(in crate::commands) attack: Attack,
    /// The norm of the perturbation, linf or l2 [default: the bundle's, else linf]
    #[arg(long, value_name = "NORM", env = "RIFT_NORM")]
    norm: Option<Norm>,
    /// Its largest norm in pixel units, or several that rise, separated by commas, for a curve
    /// [default: the bundle's, else 8/255 for linf, 128/255 for l2]
    #[arg(long, value_name = "LENGTH", env = "RIFT_EPS", value_delimiter = ',')]
    eps: Vec<Epsilon>,
    /// PGD: the length of one step in pixel units [default: a quarter of the largest eps]
    #[arg(long, value_name = "LENGTH", env = "RIFT_STEP")]
    step: Option<Epsilon>,
    /// Gradient steps [default: 20 for pgd, 100 for apgd and fab]
    #[arg(long, value_name = "N", env = "RIFT_STEPS")]
    steps: Option<usize>,
    /// Random starts, of which the worst counts [default: 1]
    #[arg(long, value_name = "N", env = "RIFT_RESTARTS", value_parser = at_least_one)]
    restarts: Option<usize>,
    /// Square: queries [default: 5000]
    #[arg(long, value_name = "N", env = "RIFT_QUERIES", value_parser = at_least_one)]
    queries: Option<usize>,
    /// PGD: the loss [default: ce]
    #[arg(long, value_enum, env = "RIFT_LOSS")]
    loss: Option<Loss>,
    /// PGD: how much of the last directions is kept [default: 0]
    #[arg(long, value_name = "SHARE", env = "RIFT_MOMENTUM", value_parser = momentum)]
    momentum: Option<f32>,
    /// Walk every image to the end of its restart, broken or not
    #[arg(long, env = "RIFT_NO_EARLY_STOP",
          value_parser = clap::builder::FalseyValueParser::new())]
    pub(in crate::commands) no_early_stop: bool,
    /// The seed of every draw
    #[arg(long, value_name = "N", env = "RIFT_SEED", default_value = "0")]
    pub(in crate::commands) seed: u64,
}

fn momentum(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if value.is_finite() && value >= 0.0 => Ok(value),
        _ => Err("expected a number of at least 0".to_owned()),
    }
}

pub(in crate::commands) fn fraction(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err("expected a fraction from 0 to 1".to_owned()),
    }
}

/// `90s`, `30m`, `2h`.
pub(in crate::commands) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a time such as `90s`, `30m` or `2h`".to_owned();
    let (at, unit) = text.char_indices().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1.0,
        'm' => 60.0,
        'h' => 3600.0,
        _ => return Err(wrong()),
    };
    let number: f64 = text[..at].trim().parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| wrong())
}

impl ThreatArgs {
    /// The norm; what is not given follows the threat model that the network was trained for.
    pub(in crate::commands) fn norm(&self, trained: Option<&AttackSpec>) -> Norm {
        self.norm.or(trained.map(|spec| spec.norm)).unwrap_or_default()
    }

    /// The radii; as the norm.
    pub(in crate::commands) fn eps(
        &self,
        trained: Option<&AttackSpec>,
    ) -> anyhow::Result<Vec<Epsilon>> {
        if !self.eps.is_empty() {
            return Ok(self.eps.clone());
        }
        let norm = self.norm(trained);
        let of_bundle = trained.filter(|spec| spec.norm == norm).map(|spec| spec.eps.clone());
        let usual = match norm {
            Norm::Linf => "8/255",
            Norm::L2 => "128/255",
        };
        Ok(vec![of_bundle.map_or_else(|| usual.parse(), Ok)?])
    }

    /// The attacks in order, within these radii.
    pub(in crate::commands) fn methods(&self, eps: &[Epsilon]) -> anyhow::Result<Vec<Method>> {
        self.refuse_strangers()?;
        let restarts = self.restarts.unwrap_or(1);
        let targets = 9;
        let iterations = self.steps.unwrap_or(100);
        Ok(match self.attack {
            Attack::Fgsm => vec![Method::Fgsm],
            Attack::Pgd => vec![self.pgd(eps, restarts)?],
            Attack::ApgdCe => vec![Method::ApgdCe { iterations, restarts }],
            Attack::ApgdDlr => vec![Method::ApgdDlr { iterations, restarts }],
            Attack::ApgdT => vec![Method::ApgdT { iterations, restarts, targets }],
            Attack::FabT => vec![Method::FabT { iterations, restarts, targets }],
            Attack::Square => {
                vec![Method::Square { queries: self.queries.unwrap_or(QUERIES), restarts }]
            }
            Attack::Autoattack => Method::autoattack(),
            Attack::Fast => Method::fast(),
            Attack::Plus => Method::plus(),
        })
    }

    fn pgd(&self, eps: &[Epsilon], restarts: usize) -> anyhow::Result<Method> {
        let largest = eps.last().context("no eps")?;
        let step = self.step.clone().unwrap_or_else(|| largest.quarter());
        let loss = match self.loss.unwrap_or_default() {
            Loss::Ce => PgdLoss::Ce,
            Loss::Margin => PgdLoss::Margin,
            Loss::Targeted => PgdLoss::Targeted,
        };
        let (steps, momentum) = (self.steps.unwrap_or(20), self.momentum.unwrap_or(0.0));
        Ok(Method::Pgd { step, steps, restarts, loss, momentum })
    }

    /// A flag that the attack does not read is a misunderstanding.
    fn refuse_strangers(&self) -> anyhow::Result<()> {
        use Attack::{ApgdCe, ApgdDlr, ApgdT, FabT, Pgd, Square};
        let steps: &[Attack] = &[Pgd, ApgdCe, ApgdDlr, ApgdT, FabT];
        let restarts: &[Attack] = &[Pgd, ApgdCe, ApgdDlr, ApgdT, FabT, Square];
        for (flag, is_given, readers) in [
            ("step", self.step.is_some(), &steps[..1]),
            ("loss", self.loss.is_some(), &steps[..1]),
            ("momentum", self.momentum.is_some(), &steps[..1]),
            ("steps", self.steps.is_some(), steps),
            ("restarts", self.restarts.is_some(), restarts),
            ("queries", self.queries.is_some(), &restarts[5..]),
        ] {
            if is_given && !readers.contains(&self.attack) {
                let name = |attack: &Attack| {
                    attack.to_possible_value().map_or_else(String::new, |v| v.get_name().to_owned())
                };
                let names: Vec<String> = readers.iter().map(name).collect();
                bail!(
                    "`--{flag}` says nothing to `--attack {}`, only to {}",
                    name(&self.attack),
                    names.join(", ")
                );
            }
        }
        let is_auto = matches!(self.attack, ApgdCe | ApgdDlr | ApgdT | FabT);
        ensure!(!is_auto || self.steps != Some(0), "`--steps 0` moves nothing");
        Ok(())
    }
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
        let model = |arguments: &[&str], trained: Option<&AttackSpec>| {
            let arguments = std::iter::once("audit").chain(arguments.iter().copied());
            let threat = Line::parse_from(arguments).threat;
            let eps = threat.eps(trained).unwrap();
            format!("{} {}", threat.norm(trained), eps[0])
        };
        let trained = AttackSpec { eps: "0.1".parse().unwrap(), ..AttackSpec::paper() };
        assert_eq!(model(&[], None), "linf 8/255");
        assert_eq!(model(&[], Some(&trained)), "linf 0.1");
        assert_eq!(model(&["--eps", "4/255"], Some(&trained)), "linf 4/255");
        assert_eq!(model(&["--norm", "l2"], Some(&trained)), "l2 128/255");
    }

    #[test]
    fn times_have_units() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1.5h"), Ok(Duration::from_mins(90)));
        for text in ["", "5", "m", "-1s", "3d", "1e30h", "ä"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
