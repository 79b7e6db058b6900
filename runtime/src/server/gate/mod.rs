//! The audit gate: a model is attacked on this machine before it is served, and again while it is.

mod audits;
mod repeat;
mod routes;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use rift_models::artifact::{AuditReport, Digest};
use rift_models::dataset::{Dataset, Pixels, Split};

use super::registry::{Condition, Refused, Source, in_one_line};
use crate::attack::gradient::{Attacker, Graphs};
use crate::audit::{self, AuditError, Plan, Watch, check_data, measure};
use crate::session::{Classifier, SessionOptions};

pub use audits::{Audited, Audits};
pub use repeat::Repetition;
pub(super) use repeat::yield_to_others;
pub(super) use routes::routes;

/// What the attack is, for a model and so many images; or why there is none.
pub type Terms = dyn Fn(&Classifier, usize) -> Result<Plan, String> + Send + Sync;

/// The images that an audit takes at least where nobody says otherwise: a usual probe has 32.
pub const LEAST_IMAGES: usize = 30;

/// The robust accuracy that a model must have to be served.
pub struct Gate {
    terms: Box<Terms>,
    minimum: f64,
    images: usize,
    data: Option<Dataset>,
    options: SessionOptions,
    audits: Arc<Audits>,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("minimum", &self.minimum).finish_non_exhaustive()
    }
}

impl Gate {
    /// A gate that lets models pass whose robust accuracy under `terms` is a fraction of at least
    /// `minimum`, on the images of `data` or else on the probe of their bundle.
    pub fn new(terms: Box<Terms>, minimum: f64, data: Option<Dataset>) -> Self {
        Self {
            terms,
            minimum,
            images: LEAST_IMAGES,
            data,
            options: SessionOptions::default(),
            audits: Arc::new(Audits::new(minimum)),
        }
    }

    /// Lets no model pass on fewer images than these.
    #[must_use]
    pub fn with_images(self, images: usize) -> Self {
        Self { images, ..self }
    }

    /// How the attack is spread over threads.
    #[must_use]
    pub fn with_options(self, options: SessionOptions) -> Self {
        Self { options, ..self }
    }

    /// What it has found.
    pub fn audits(&self) -> Arc<Audits> {
        Arc::clone(&self.audits)
    }

    /// Attacks a model; the report and the seconds that it took.
    fn audit(
        &self,
        classifier: &Classifier,
        (options, round): (&SessionOptions, u64),
        watch: &Watch<'_>,
    ) -> Result<(AuditReport, f64), String> {
        let started = Instant::now();
        let probe;
        let data = if let Some(data) = &self.data {
            data
        } else {
            probe = probe_of(classifier)?;
            &probe
        };
        // One image is as good as its owner chose it: a probe comes with the model.
        let (found, expected) = (data.len(), self.images.max(1));
        if found < expected {
            return Err(format!(
                "there are {found} images to audit on, expected at least {expected} (`--audit-data` \
                 has others, `images=` asks for fewer)"
            ));
        }
        let mut plan = (self.terms)(classifier, data.len())?;
        plan.seed = plan.seed.wrapping_add(round);
        let report = report((classifier, data), &plan, options, watch)
            .map_err(|error| format!("the audit cannot be made: {}", in_one_line(&error)))?;
        Ok((report, started.elapsed().as_secs_f64()))
    }

    /// By how much a model misses the gate, if it does.
    fn shortfall(&self, report: &AuditReport) -> Option<String> {
        if self.audits.lets_pass(report) {
            return None;
        }
        let percent = |fraction: f64| fraction * 100.0;
        let attacks: Vec<&str> = report.attacks.iter().map(|attack| attack.name.as_str()).collect();
        let found = format!(
            "robust accuracy {:.2} % ({} {} {}, n {})",
            percent(report.robust_accuracy),
            attacks.join(", "),
            report.threat.norm,
            report.threat.eps,
            report.n
        );
        if report.robust_accuracy < self.minimum {
            return Some(format!("{found} is below {} %", percent(self.minimum)));
        }
        let unreached = report.unreached();
        Some(format!("{found} is an upper bound: {unreached} images were not reached"))
    }
}

impl Condition for Arc<Gate> {
    fn check(&self, source: &Source, classifier: &Classifier) -> Result<(), Refused> {
        let refuse = |reason: String| Refused::Condition(format!("audit gate: {reason}"));
        let watch = Watch::default();
        let (report, seconds) =
            self.audit(classifier, (&self.options, 0), &watch).map_err(refuse)?;
        let shortfall = self.shortfall(&report);
        let (robust_accuracy, n) = (report.robust_accuracy, report.n);
        self.audits.find((source.name.clone(), source.version), report, seconds);
        if let Some(reason) = shortfall {
            return Err(refuse(reason));
        }
        let (model, version) = (&source.name, source.version);
        tracing::info!(model, version, robust_accuracy, n, "the audit gate is passed");
        Ok(())
    }
}

fn report(
    (classifier, data): (&Classifier, &Dataset),
    plan: &Plan,
    options: &SessionOptions,
    watch: &Watch<'_>,
) -> Result<AuditReport, AuditError> {
    check_data(classifier, data)?;
    let graphs = Graphs::build(classifier, plan.heads(classifier.classes()))?;
    let mut attackers = Attacker::several(classifier, &graphs, options, plan.rows.len())?;
    let measured = measure(&mut attackers, data, plan, watch)?;
    Ok(audit::report::report(classifier, data, plan, &measured))
}

/// The images that the bundle brings with it.
fn probe_of(classifier: &Classifier) -> Result<Dataset, String> {
    let bundle = classifier.bundle().ok_or(
        "the model is a bare file without probe images, expected a bundle or `--audit-data`",
    )?;
    let probe = bundle.probe().map_err(|error| in_one_line(&error))?;
    let digest: Digest = bundle.card.probe.clone();
    Ok(Dataset {
        // They were cut from the training images, and no weight was trained on them.
        split: Split::Validation,
        pixels: Pixels::Floats(probe.images),
        labels: probe.labels,
        classes: bundle.card.classes.clone(),
        counted: false,
        digest,
    })
}
