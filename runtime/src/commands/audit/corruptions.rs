//! Accuracy out of distribution, beside the attacks.

use std::path::{Path, PathBuf};

use clap::Args;
use rift_models::artifact::CorruptionReport;
use rift_models::corruption::{Corruption, Corruptions, Published, Severities, Severity, Survey};
use rift_models::dataset::Dataset;
use rift_runtime::attack::oracle::prediction;
use rift_runtime::audit::Step;
use rift_runtime::session::{Classifier, Pool, SessionError, SessionOptions};

use super::output::Bar;

/// Images that are corrupted at a time, for each session's batch.
const BATCHES: usize = 16;

#[derive(Debug, Args)]
pub(super) struct CorruptionArgs {
    /// Measure accuracy under common corruptions too: `standard` (RobustBench's 15), `paper` (18),
    /// `all` (19) or names such as `fog,snow` [without a value: all]
    #[arg(long, value_name = "NAMES", env = "RIFT_CORRUPTIONS", num_args = 0..=1,
          default_missing_value = "all", conflicts_with_all = ["shard", "replay"])]
    corruptions: Option<Corruptions>,
    /// Their severities: `3`, `1,3,5` or `1..5`
    #[arg(long, value_name = "LEVELS", env = "RIFT_SEVERITY", default_value = "1..5")]
    severity: Severities,
    /// Take the corrupted images from this folder of published ones, such as CIFAR-10-C, rather than compute
    /// them
    #[arg(long, value_name = "FOLDER", env = "RIFT_CORRUPTION_FILES", requires = "corruptions")]
    corruption_files: Option<PathBuf>,
}

impl CorruptionArgs {
    /// Where published images lie, if they are to be taken.
    pub(super) fn folder(&self) -> Option<&Path> {
        self.corruption_files.as_deref()
    }

    /// The accuracy over all images of the data, where it is asked for or a replay has to repeat it.
    pub(super) fn measure(
        &self,
        (classifier, data): (&Classifier, &Dataset),
        options: &SessionOptions,
        (seed, then): (u64, Option<&CorruptionReport>),
        bar: &Bar,
    ) -> anyhow::Result<Option<CorruptionReport>> {
        let of_report = then.filter(|then| is_repeatable(then)).map(rows_of);
        let asked =
            self.corruptions.as_ref().map(|asked| (asked.0.clone(), self.severity.0.clone()));
        let Some((corruptions, severities)) = asked.or(of_report) else { return Ok(None) };
        let survey = Survey {
            corruptions,
            severities,
            seed,
            batch: options.batch * BATCHES,
            published: self.corruption_files.clone().map(Published::new),
        };
        let mut pool = Pool::new(classifier, options, data.len())?;
        let of = survey.severities.len() * data.len();
        let verdicts = survey.run(
            data,
            |images| -> Result<Vec<usize>, SessionError> {
                let logits = pool.logits(&images.view())?;
                Ok(logits.rows().into_iter().map(|row| prediction(&row)).collect())
            },
            |corruption, done| bar.tell(Step { name: corruption.name(), done, of, left: None }),
        )?;
        bar.finish();
        Ok(Some(verdicts.report()))
    }
}

/// Whether a report's corruptions can be made again: published images lie nobody knows where.
pub(super) fn is_repeatable(then: &CorruptionReport) -> bool {
    then.published.is_none()
}

/// The corruptions and severities that a report has.
fn rows_of(then: &CorruptionReport) -> (Vec<Corruption>, Vec<Severity>) {
    let (mut corruptions, mut severities) = (Vec::new(), Vec::new());
    for row in &then.rows {
        if !corruptions.contains(&row.corruption) {
            corruptions.push(row.corruption);
        }
        if !severities.contains(&row.severity) {
            severities.push(row.severity);
        }
    }
    (corruptions, severities)
}
