//! Fine-tuning and the way back: what `rift` and `ablate` share.

use std::cell::OnceCell;
use std::path::Path;
use std::str::FromStr;

use clap::Args;
use rift_models::artifact::{Checkpoint, CorruptionVerdicts, Digest};
use rift_models::corruption::{Published, Survey};
use rift_models::dataset::{Dataset, Split};
use rift_models::threat::AttackSpec;
use serde_json::{Value, json};

use super::corruptions::CorruptionArgs;
use super::eval::MOST_RESTARTS;
use super::finetune::MOST_EPOCHS;
use super::interpolate::{End, Made};
use super::source::{Images, Source};
use super::{finetune, interpolate};
use crate::cli::DataArgs;
use crate::network::Network;
use crate::stage::finetune::{FinetuneError, FinetuneSettings, Finetuned};
use crate::stage::interpolate::SweepSettings;
use crate::stage::rift::Candidate;

/// The fine-tuned weights in a run's folder.
pub(super) const FINETUNED: &str = "finetuned.safetensors";

/// What does not change from one fine-tuning to the next.
pub(super) struct Tuning<'a> {
    pub(super) source: &'a Source,
    pub(super) train: &'a Images,
    pub(super) validation: &'a Images,
    pub(super) way: SweepSettings,
    pub(super) quiet: bool,
}

/// A fine-tuned network and the point chosen on the way to it.
pub(super) struct Tuned {
    pub(super) settings: FinetuneSettings,
    pub(super) finetuned: Finetuned,
    pub(super) checkpoint: Checkpoint,
    pub(super) digest: Digest,
    pub(super) made: Made,
}

impl Tuning<'_> {
    /// Fine-tunes, writes `finetuned.safetensors` into `out` and chooses α.
    pub(super) fn tune(
        &self,
        settings: FinetuneSettings,
        mrc: &Digest,
        out: &Path,
    ) -> anyhow::Result<Tuned> {
        let sets = [self.train, self.validation];
        let how = (&settings, Some(mrc.clone()));
        let (finetuned, checkpoint) = finetune::checkpoint(self.source, sets, how, self.quiet)?;
        let digest = checkpoint.write(&out.join(FINETUNED))?;
        let end = End { checkpoint: &checkpoint, digest: &digest };
        let way = self.way.clone();
        let made = interpolate::search(self.source, end, self.validation, way, self.quiet)?;
        Ok(Tuned { settings, finetuned, checkpoint, digest, made })
    }
}

impl Tuned {
    /// Writes `finetuned.safetensors`, `sweep.json`, `rift.safetensors` and its probe; gives the
    /// network at the chosen point and its digest.
    pub(super) fn write(
        &self,
        out: &Path,
        source: &Source,
        validation: &Dataset,
    ) -> anyhow::Result<(Network, Digest)> {
        self.checkpoint.write(&out.join(FINETUNED))?;
        interpolate::write(out, &self.made, source, validation)
    }

    /// How it was judged.
    pub(super) fn candidate(&self) -> Option<Candidate> {
        let choice = self.made.report.choice()?;
        Some(Candidate {
            lr: self.settings.lr,
            epochs: self.settings.epochs,
            best_epoch: self.finetuned.best,
            alpha: choice.alpha,
            clean: choice.clean,
            robust: choice.robust,
            chosen: false,
        })
    }
}

/// Learning rates with their epochs.
///
/// `0.001x10,0.01x5` is 10 epochs at 0.001, or 5 at 0.01.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Search(pub(super) Vec<(f64, usize)>);

impl FromStr for Search {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let one = |part: &str| {
            let (lr, epochs) = part.trim().split_once('x')?;
            let lr = lr.parse::<f64>().ok().filter(|lr| lr.is_finite() && *lr > 0.0)?;
            let epochs = epochs.parse::<u64>().ok();
            let epochs = epochs.filter(|epochs| (1..=MOST_EPOCHS).contains(epochs))?;
            Some((lr, epochs as usize))
        };
        let pairs: Option<Vec<_>> = text.split(',').map(one).collect();
        let pairs = pairs.ok_or_else(|| {
            format!("expected learning rates and epochs, such as `0.001x10,0.01x5`, found `{text}`")
        })?;
        for (place, pair @ (lr, epochs)) in pairs.iter().enumerate() {
            if pairs[..place].contains(pair) {
                return Err(format!("expected different ways, found {lr}x{epochs} more than once"));
            }
        }
        Ok(Self(pairs))
    }
}

/// What the final figures are of: the attack, where it is not that of the search, and corruptions.
#[derive(Clone, Debug, Args)]
pub(super) struct TestArgs {
    /// Gradient steps of the attack on the test images; by default `--steps`.
    #[arg(long, value_name = "N", env = "RIFT_TEST_STEPS", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    test_steps: Option<usize>,
    /// Random starts of the attack on the test images, of which the worst counts.
    #[arg(long, value_name = "N", default_value_t = 1, env = "RIFT_TEST_RESTARTS", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=MOST_RESTARTS))]
    test_restarts: usize,
    #[command(flatten)]
    corruptions: CorruptionArgs,
    /// Of the test images, the first so many are corrupted.
    #[arg(long, value_name = "N", default_value_t = 1000, env = "RIFT_CORRUPTION_LIMIT", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    corruption_limit: usize,
}

/// Corruptions, and the images to corrupt.
pub(super) struct Corrupted {
    pub(super) survey: Survey,
    pub(super) images: Dataset,
    /// The verdicts on the start, which are the same for every seed of the stages.
    pub(super) start: OnceCell<CorruptionVerdicts>,
}

impl TestArgs {
    /// The attack on the test images.
    pub(super) fn spec(&self, search: &AttackSpec) -> AttackSpec {
        AttackSpec {
            steps: self.test_steps.unwrap_or(search.steps),
            restarts: self.test_restarts,
            ..search.clone()
        }
    }

    /// The corruptions and the first of the test images, where corruptions are asked for: such as
    /// can be had, because it is hours until they are needed.
    pub(super) fn corrupted(
        &self,
        (source, data): (&Source, &DataArgs),
        seed: u64,
        batch: usize,
    ) -> anyhow::Result<Option<Corrupted>> {
        self.corruptions.check()?;
        let Some(survey) = self.corruptions.survey(seed, batch) else { return Ok(None) };
        let limit = data.limit.unwrap_or(usize::MAX).min(self.corruption_limit);
        let images = source.open(data, Split::Test, Some(limit))?;
        survey.check(&images)?;
        Ok(Some(Corrupted { survey, images, start: OnceCell::new() }))
    }

    /// The settings of the corruptions as a report shows them; nothing where there are none.
    pub(super) fn describe_corruptions(&self, seed: u64) -> Value {
        let Some(survey) = self.corruptions.survey(seed, 1) else {
            return Value::Null;
        };
        let names: Vec<&str> = survey.corruptions.iter().map(|c| c.name()).collect();
        let folder = survey.published.as_ref().map(Published::folder);
        json!({
            "corruptions": names,
            "severities": survey.severities,
            "images": self.corruption_limit,
            "files": folder,
        })
    }
}

/// The epoch in which a fine-tuning diverged, from 1.
///
/// # Errors
/// Those that are about something else.
pub(super) fn diverged_in(error: anyhow::Error) -> anyhow::Result<usize> {
    match error.downcast_ref::<FinetuneError>() {
        Some(FinetuneError::NotFinite { epoch, .. }) => Ok(*epoch),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_pairs() {
        assert_eq!("0.001x10, 1e-2x5".parse(), Ok(Search(vec![(1e-3, 10), (1e-2, 5)])));
        for text in ["", "0.1", "0.1x", "x5", "0x5", "0.1x0", "0.1x2x3", "nanx1", "0.1x1,"] {
            assert!(text.parse::<Search>().is_err(), "{text}");
        }
        let endless = format!("0.1x{}", i64::MAX);
        assert!(endless.parse::<Search>().is_err());
        let twice = "0.1x2,0.01x5,1e-1x2".parse::<Search>().unwrap_err();
        assert_eq!(twice, "expected different ways, found 0.1x2 more than once");
    }
}
