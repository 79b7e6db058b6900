//! An audit made again, to see whether it is the same.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use rift_models::artifact::{AuditReport, AuditRequest, CertifiedSample, read_json};
use rift_models::dataset::{Dataset, Split};
use rift_runtime::attack::method::Method;
use rift_runtime::audit::smoothing::Smoothing;
use rift_runtime::audit::{Keep, Plan};
use rift_runtime::session::Classifier;

use super::super::Answer;

/// The report that is to be made again.
pub(super) struct Replay {
    pub(super) report: AuditReport,
    pub(super) request: AuditRequest,
    pub(super) split: Split,
    path: PathBuf,
}

impl Replay {
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let report: AuditReport = read_json(path, "audit")?;
        let request = report.request.clone().with_context(|| {
            format!("`{}` does not say how it was made, expected `request`", path.display())
        })?;
        let split = report.split.parse().map_err(anyhow::Error::msg)?;
        Ok(Self { report, request, split, path: path.to_owned() })
    }

    /// The plan of the report, after model and data were found to be the same.
    pub(super) fn plan(
        &self,
        (classifier, data): (&Classifier, &Dataset),
        batch: usize,
        keep: Keep,
    ) -> anyhow::Result<Plan> {
        let (then, path) = (&self.report.model, self.path.display());
        for (what, then, now) in
            [("model", &then.digest, classifier.digest()), ("data", &then.data, &data.digest)]
        {
            ensure!(
                then == now,
                "the {what} has digest {}, `{path}` was made with {}",
                now.short(),
                then.short()
            );
        }
        let methods: Vec<Method> = serde_json::from_value(self.request.attacks.clone())
            .with_context(|| format!("unknown attacks in `{path}`"))?;
        let first = self.report.samples.first().map_or(0, |sample| sample.index);
        let rows = first..first + self.report.n;
        ensure!(
            rows.end <= data.len(),
            "`{path}` has {} images, the data {}",
            rows.end,
            data.len()
        );
        Ok(Plan {
            norm: self.report.threat.norm,
            eps: self.request.eps.clone(),
            methods,
            seed: self.report.runtime.seed,
            early_stop: self.request.early_stop,
            batch,
            keep,
            until: None,
            rows,
            smoothing: self.smoothing()?,
        })
    }

    fn smoothing(&self) -> anyhow::Result<Option<Smoothing>> {
        let smoothing = self.request.smoothing.clone().map(serde_json::from_value).transpose();
        smoothing.with_context(|| format!("unknown smoothing in `{}`", self.path.display()))
    }

    /// Says in `notes` whether the report came out the same.
    pub(super) fn verdict(&self, now: &AuditReport, notes: &mut Vec<String>) -> Answer {
        let (images, differ) = self.compare(now);
        if images == 0 && differ.is_empty() {
            notes.push("replay    the same for every image, bit for bit".to_owned());
            return Answer::Yes;
        }
        let what = if differ.is_empty() { "nothing else".to_owned() } else { differ.join(", ") };
        notes.push(format!("replay    not the same: {images} images differ, beside: {what}"));
        Answer::No
    }

    /// How many images came out otherwise, and where the first report and this one differ beside.
    fn compare(&self, now: &AuditReport) -> (usize, Vec<&'static str>) {
        let then = &self.report;
        let images = then.samples.iter().zip(&now.samples).filter(|(a, b)| a != b).count();
        let counts = |report: &AuditReport| -> Vec<_> {
            let attacks = report.attacks.iter();
            attacks
                .map(|a| (a.name.clone(), a.attacked, a.broken, a.gradients, a.forwards))
                .collect()
        };
        let differ = [
            (counts(then) != counts(now), "attacks"),
            (then.curve != now.curve, "curve"),
            (then.robust_accuracy != now.robust_accuracy, "robust accuracy"),
            (votes(then) != votes(now), "certificate"),
            (then.warnings != now.warnings, "warnings"),
        ];
        (images, differ.into_iter().filter_map(|(differs, what)| differs.then_some(what)).collect())
    }
}

/// What was proven of each image.
fn votes(report: &AuditReport) -> Option<&[CertifiedSample]> {
    report.certified.as_ref().map(|certificate| certificate.samples.as_slice())
}
