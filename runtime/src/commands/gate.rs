//! The flags of `serve`'s audit gate.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use clap::{Args, Parser};
use rift_models::dataset::{Dataset, Request, Split};
use rift_runtime::audit::{Keep, Plan};
use rift_runtime::server::{Gate, LEAST_IMAGES};
use rift_runtime::session::{Classifier, SessionOptions};

use super::audit::flags::{ThreatArgs, duration, fraction};
use crate::cli::at_least_one;

/// What a model must withstand.
#[derive(Debug, Args)]
pub(super) struct GateArgs {
    /// Attack a model before it is served and serve it only if it withstands:
    /// `pgd,eps=8/255,steps=10,min=0.45` is an attack and flags of `audit`, and the robust accuracy
    /// that is asked for. What is not named is linf, its eps 8/255 (l2: 128/255), whatever the
    /// bundle says; `images=N` asks for so many images at least [default: 30]
    #[arg(
        id = "audit_gate",
        long = "audit-gate",
        value_name = "ATTACK,…",
        env = "RIFT_AUDIT_GATE"
    )]
    terms: Option<Terms>,
    /// The images of the audit, their test split [default: the probe images of the bundle]
    #[arg(
        id = "audit_data",
        long = "audit-data",
        value_name = "PATH",
        env = "RIFT_AUDIT_DATA",
        requires = "audit_gate"
    )]
    data: Option<PathBuf>,
    /// Use the first N images of --audit-data
    #[arg(id = "audit_limit", long = "audit-limit", value_name = "N", env = "RIFT_AUDIT_LIMIT", default_value = "500",
          value_parser = at_least_one)]
    limit: usize,
    /// Repeat the audit at the lowest priority: `24h`, `90m`
    #[arg(id = "audit_every", long = "audit-every", value_name = "TIME", env = "RIFT_AUDIT_EVERY", requires = "audit_gate",
          value_parser = duration)]
    pub(super) every: Option<Duration>,
}

/// An attack, the robust accuracy that is asked for and the images that it takes to say so.
#[derive(Clone, Debug)]
struct Terms {
    threat: ThreatArgs,
    minimum: f64,
    images: usize,
}

/// The flags of an attack, as `audit` has them.
#[derive(Debug, Parser)]
#[command(no_binary_name = true, disable_help_flag = true)]
struct Line {
    #[command(flatten)]
    threat: ThreatArgs,
}

impl FromStr for Terms {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',').map(str::trim);
        let mut words = vec!["--attack".to_owned(), parts.next().unwrap_or_default().to_owned()];
        let (mut minimum, mut images) = (None, LEAST_IMAGES);
        for part in parts {
            let Some((name, value)) = part.split_once('=') else {
                return Err(format!("expected `name=value`, found `{part}`"));
            };
            match name {
                "min" => minimum = Some(fraction(value)?),
                "images" => images = at_least_one(value)?,
                _ => words.push(format!("--{name}={value}")),
            }
        }
        let minimum =
            minimum.ok_or("expected the robust accuracy asked for, such as `min=0.45`")?;
        let line = Line::try_parse_from(words).map_err(|error| first_line(&error.to_string()))?;
        let threat = line.threat;
        let checked = threat.eps(None).and_then(|eps| threat.methods(&eps).map(drop));
        checked.map_err(|error| format!("{error:#}"))?;
        Ok(Self { threat, minimum, images })
    }
}

fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.trim_start_matches("error: ").replace("--", "")
}

impl Terms {
    /// What is done to a model on `n` images.
    fn plan(&self, classifier: &Classifier, n: usize, batch: usize) -> anyhow::Result<Plan> {
        // The card belongs to the model that is judged: it has no say in how.
        let eps = self.threat.eps(None)?;
        let plan = Plan {
            norm: self.threat.norm(None),
            methods: self.threat.methods(&eps)?,
            eps,
            seed: self.threat.seed,
            early_stop: !self.threat.no_early_stop,
            batch: classifier.batch(batch),
            keep: Keep::First(0),
            until: None,
            rows: 0..n,
            smoothing: None,
        };
        plan.validate(classifier.input().iter().product())?;
        Ok(plan)
    }
}

impl GateArgs {
    /// The gate, where one is asked for; its images are read now.
    pub(super) fn gate(&self, options: SessionOptions) -> anyhow::Result<Option<Arc<Gate>>> {
        let Some(terms) = self.terms.clone() else { return Ok(None) };
        let Terms { minimum, images, .. } = terms;
        ensure!(
            self.data.is_none() || self.limit >= images,
            "the gate asks for at least {images} images (`images=`), found {} (`--audit-limit`)",
            self.limit
        );
        let open = |path: &PathBuf| -> anyhow::Result<Dataset> {
            let limit = self.limit;
            let data = Dataset::open(path, &Request::new(Split::Test).limit(limit))?;
            ensure!(
                data.len() >= limit,
                "`{}` has {} test images, {limit} are asked for (`--audit-limit`)",
                path.display(),
                data.len()
            );
            Ok(data)
        };
        let data = self.data.as_ref().map(open).transpose()?;
        let plan = move |classifier: &Classifier, n| {
            terms.plan(classifier, n, options.batch).map_err(|error| format!("{error:#}"))
        };
        let gate = Gate::new(Box::new(plan), minimum, data);
        Ok(Some(Arc::new(gate.with_images(images).with_options(options))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_is_an_attack_its_flags_and_a_minimum() {
        let terms: Terms = "pgd, eps=4/255, steps=3, min=0.45".parse().unwrap();
        assert_eq!((terms.minimum, terms.images), (0.45, 30));
        let eps = terms.threat.eps(None).unwrap();
        assert_eq!(eps[0].to_string(), "4/255");
        assert_eq!(terms.threat.methods(&eps).unwrap().len(), 1);
        let terms: Terms = "fast,norm=l2,images=2,min=0".parse().unwrap();
        assert_eq!(terms.images, 2);
        assert_eq!(terms.threat.methods(&terms.threat.eps(None).unwrap()).unwrap().len(), 2);
        for (text, part) in [
            ("", "min=0.45"),
            ("pgd,eps=8/255", "min=0.45"),
            ("pgd,min=2", "fraction from 0 to 1"),
            ("pgd,min", "expected `name=value`, found `min`"),
            ("magic,min=0.5", "invalid value 'magic'"),
            ("pgd,epsilon=8/255,min=0.5", "unexpected argument 'epsilon'"),
            ("pgd,queries=5,min=0.5", "`--queries` says nothing to `--attack pgd`"),
            ("pgd,eps=x,min=0.5", "invalid value 'x'"),
            ("pgd,images=0,min=0.5", "at least 1"),
        ] {
            let error = text.parse::<Terms>().unwrap_err();
            assert!(error.contains(part) && !error.contains('\n'), "{text}: {error}");
        }
    }
}
