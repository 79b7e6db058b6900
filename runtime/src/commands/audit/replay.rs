//! An audit made again, to see whether it is the same.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use rift_models::artifact::{AuditReport, AuditRequest, read_json};
use rift_models::dataset::{Dataset, Split};
use rift_runtime::attack::method::Method;
use rift_runtime::audit::report::forget_times;
use rift_runtime::audit::smoothing::Smoothing;
use rift_runtime::audit::{Keep, Plan};
use rift_runtime::session::Classifier;
use serde_json::{Map, Value};

use super::super::Answer;
use super::corruptions::is_repeatable;

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

    /// Where the report found the model, the data and the model of the gradients.
    pub(super) fn places(&self) -> [Option<&Path>; 3] {
        let Self { report, request, .. } = self;
        [
            Some(Path::new(&report.model.path)),
            Some(Path::new(&request.data)),
            request.gradients_from.as_deref().map(Path::new),
        ]
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
        let is_same = images == 0 && differ.is_empty();
        if is_same {
            notes.push("replay    the same for every image, bit for bit".to_owned());
        } else {
            let what = if differ.is_empty() { "nothing else".into() } else { differ.join(", ") };
            notes.push(format!("replay    not the same: {images} images differ, beside: {what}"));
        }
        if !self.repeats_corruptions() {
            let text = "replay    but for the corruptions, whose images were published ones: they \
                        were not repeated";
            notes.push(text.to_owned());
        }
        if is_same { Answer::Yes } else { Answer::No }
    }

    fn repeats_corruptions(&self) -> bool {
        self.report.corruptions.as_ref().is_none_or(is_repeatable)
    }

    /// How many images came out otherwise, and what else the first report and this one differ in.
    fn compare(&self, now: &AuditReport) -> (usize, Vec<String>) {
        let (first, second) = (&self.report.samples, &now.samples);
        let images = first.iter().zip(second).filter(|(a, b)| a != b).count()
            + first.len().abs_diff(second.len());
        let [then, now] = [&self.report, now].map(|report| {
            let mut told = told(report);
            if !self.repeats_corruptions() {
                told.remove("corruptions");
            }
            told
        });
        let keys = then.keys().chain(now.keys().filter(|key| !then.contains_key(*key)));
        let differ = keys.filter(|key| then.get(*key) != now.get(*key));
        (images, differ.map(|key| key.replace('_', " ")).collect())
    }
}

/// What a report tells beside its images, by its keys; not when and where it was made: the seconds,
/// the files' places, the machine and the versions.
fn told(report: &AuditReport) -> Map<String, Value> {
    let mut bare = report.clone();
    forget_times(&mut bare);
    bare.samples.clear();
    bare.model.path.clear();
    if let Some(twin) = &mut bare.twin {
        twin.path.clear();
    }
    if let Some(request) = &mut bare.request {
        request.data.clear();
        request.gradients_from = request.gradients_from.take().map(|_| String::new());
    }
    let runtime = &mut bare.runtime;
    (runtime.library, runtime.instruction_set) = (None, Vec::new());
    (runtime.program, runtime.onnxruntime) = (String::new(), String::new());
    match serde_json::to_value(bare) {
        Ok(Value::Object(keys)) => keys,
        _ => Map::new(),
    }
}
