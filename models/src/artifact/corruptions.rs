//! Accuracy under the common corruptions.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::{Accuracy, Digest, Interval};
use crate::corruption::{Corruption, Severity};

/// Accuracy under one corruption at one severity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorruptionResult {
    /// The corruption.
    pub corruption: Corruption,
    /// From 1 to 5.
    pub severity: Severity,
    /// Over all images.
    pub accuracy: Accuracy,
}

/// Accuracy averaged over several corruptions and severities.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorruptionAverage {
    /// `paper` (18 corruptions, all but glass blur), `standard` (RobustBench's 15), or `chosen`.
    pub name: String,
    /// How many corruptions.
    pub corruptions: usize,
    /// The severities of each; a file leaves them out where they are all five.
    #[serde(default = "all_severities", skip_serializing_if = "are_all")]
    pub severities: Vec<Severity>,
    /// The mean of their accuracies.
    pub fraction: f64,
    /// Its 95 % interval, by the spread over the images: an image that fails under one corruption
    /// is likelier to fail under another, so the images are what is counted.
    pub interval: Interval,
}

fn all_severities() -> Vec<Severity> {
    Severity::ALL.to_vec()
}

fn are_all(severities: &[Severity]) -> bool {
    severities == Severity::ALL
}

/// Accuracy out of distribution: under every chosen corruption at every chosen severity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorruptionReport {
    /// Images under each.
    pub n: usize,
    /// The seed of the corruptions' draws.
    pub seed: u64,
    /// The published images, where they were not computed: nothing was drawn then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<Digest>,
    /// By corruption, then by severity.
    pub rows: Vec<CorruptionResult>,
    /// The averages that the rows are enough for.
    pub averages: Vec<CorruptionAverage>,
}

/// Which images a classifier gets right under every chosen corruption at every chosen severity.
#[derive(Clone, Debug, PartialEq)]
pub struct CorruptionVerdicts {
    /// Images under each.
    pub n: usize,
    /// The seed of the corruptions' draws.
    pub seed: u64,
    /// The published images, where they were not computed.
    pub published: Option<Digest>,
    /// By corruption, then by severity; a verdict an image.
    pub rows: Vec<(Corruption, Severity, Vec<bool>)>,
}

/// Two classifiers on the same corrupted images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorruptionComparison {
    /// The first.
    pub before: CorruptionReport,
    /// The second.
    pub after: CorruptionReport,
    /// What the second does better, an average of the reports each.
    pub changes: Vec<CorruptionChange>,
}

/// The change of an average.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorruptionChange {
    /// The average: `paper`, `standard` or `chosen`.
    pub name: String,
    /// The second's mean accuracy less the first's, a fraction.
    pub change: f64,
    /// Its paired 95 % interval, by the spread over the images.
    pub interval: Interval,
}

impl CorruptionChange {
    /// In points, with its interval.
    pub fn points(&self) -> String {
        let Interval { lower, upper } = self.interval;
        let [change, lower, upper] = [self.change, lower, upper].map(|share| share * 100.0);
        format!("{change:+.2} points ({lower:+.2} to {upper:+.2})")
    }
}

impl CorruptionVerdicts {
    /// The accuracies that they come to.
    pub fn report(&self) -> CorruptionReport {
        let row = |(corruption, severity, verdicts): &(Corruption, Severity, Vec<bool>)| {
            let accuracy = Accuracy::of(verdicts);
            CorruptionResult { corruption: *corruption, severity: *severity, accuracy }
        };
        let average = |(name, set): (&str, Vec<Corruption>)| {
            let (fraction, Interval { lower, upper }) = mean(&self.shares(&set));
            let interval = Interval { lower: lower.max(0.0), upper: upper.min(1.0) };
            CorruptionAverage {
                name: name.to_owned(),
                corruptions: set.len(),
                severities: self.severities(),
                fraction,
                interval,
            }
        };
        CorruptionReport {
            n: self.n,
            seed: self.seed,
            published: self.published.clone(),
            rows: self.rows.iter().map(row).collect(),
            averages: self.sets().into_iter().map(average).collect(),
        }
    }

    /// The severities, rising.
    fn severities(&self) -> Vec<Severity> {
        rising(self.rows.iter().map(|row| row.1))
    }

    /// The sets of corruptions that are complete, or else what there is.
    fn sets(&self) -> Vec<(&'static str, Vec<Corruption>)> {
        let mut chosen: Vec<Corruption> = self.rows.iter().map(|row| row.0).collect();
        chosen.dedup();
        let mut sets = vec![("paper", Corruption::paper()), ("standard", Corruption::standard())];
        sets.retain(|(_, set)| set.iter().all(|corruption| chosen.contains(corruption)));
        if sets.is_empty() { vec![("chosen", chosen)] } else { sets }
    }

    /// For each image, in how large a share of the ways in `set` it is classified correctly.
    fn shares(&self, set: &[Corruption]) -> Vec<f64> {
        let rows: Vec<&Vec<bool>> =
            self.rows.iter().filter(|row| set.contains(&row.0)).map(|row| &row.2).collect();
        let share = |image: usize| {
            let correct = rows.iter().filter(|verdicts| verdicts[image]).count();
            correct as f64 / rows.len().max(1) as f64
        };
        (0..self.n).map(share).collect()
    }
}

impl CorruptionComparison {
    /// Holds the second classifier's verdicts against the first's on the same images, corrupted in
    /// the same ways.
    pub fn of([before, after]: [&CorruptionVerdicts; 2]) -> Self {
        let change = |(name, set): (&str, Vec<Corruption>)| {
            let [before, after] = [before, after].map(|verdicts| verdicts.shares(&set));
            let changes: Vec<f64> = before.iter().zip(&after).map(|(b, a)| a - b).collect();
            let (change, interval) = mean(&changes);
            CorruptionChange { name: name.to_owned(), change, interval }
        };
        Self {
            before: before.report(),
            after: after.report(),
            changes: before.sets().into_iter().map(change).collect(),
        }
    }

    /// The first average before and after, and its change: the paper's where it was measured.
    pub fn first(&self) -> Option<([&CorruptionAverage; 2], &CorruptionChange)> {
        let [before, after] = [&self.before, &self.after].map(|report| report.averages.first());
        Some(([before?, after?], self.changes.first()?))
    }
}

impl CorruptionReport {
    /// Where the images come from: `drawn with seed 0`, or `as published (sha256 …)`.
    pub fn origin(&self) -> String {
        match &self.published {
            Some(digest) => format!("as published (sha256 {})", digest.short()),
            None => format!("drawn with seed {}", self.seed),
        }
    }

    /// The severities, rising.
    pub fn severities(&self) -> Vec<Severity> {
        rising(self.rows.iter().map(|row| row.severity))
    }

    /// The rows of each corruption.
    pub fn by_corruption(&self) -> impl Iterator<Item = &[CorruptionResult]> {
        self.rows.chunk_by(|a, b| a.corruption == b.corruption)
    }

    /// As a table for a terminal: accuracy in percent by corruption and severity.
    pub fn table(&self) -> String {
        let mut out = format!("{:<18}", "accuracy, %");
        for severity in self.severities() {
            let _ = write!(out, " {:>7}", format!("sev. {severity}"));
        }
        out.push_str("    mean\n");
        for rows in self.by_corruption() {
            let _ = write!(out, "{:<18}", rows[0].corruption.name());
            for row in rows {
                let _ = write!(out, " {:>7.2}", row.accuracy.percent());
            }
            let mean = rows.iter().map(|row| row.accuracy.percent()).sum::<f64>();
            let _ = writeln!(out, " {:>7.2}", mean / rows.len() as f64);
        }
        for average in &self.averages {
            let _ = writeln!(out, "{}", average.line(self.n));
        }
        out
    }
}

impl CorruptionAverage {
    /// What the average is over, with the severities where they are not all five: a published average
    /// is over those.
    pub fn over(&self) -> String {
        let corruptions = format!("{} corruptions", self.corruptions);
        if are_all(&self.severities) {
            return corruptions;
        }
        let severities: Vec<String> = self.severities.iter().map(ToString::to_string).collect();
        format!("{corruptions} at severity {}", severities.join(", "))
    }

    /// What the average is over, and the average with its interval.
    pub fn line(&self, n: usize) -> String {
        let [low, high] = [self.interval.lower, self.interval.upper].map(|bound| bound * 100.0);
        format!(
            "{:<24} {:.2} % ({low:.2} to {high:.2}, n {n})",
            format!("{} ({})", self.name, self.over()),
            self.fraction * 100.0,
        )
    }
}

/// Each of some severities once, rising.
fn rising(severities: impl Iterator<Item = Severity>) -> Vec<Severity> {
    let mut severities: Vec<Severity> = severities.collect();
    severities.sort_unstable();
    severities.dedup();
    severities
}

/// The mean, and its 95 % interval by the normal distribution.
fn mean(values: &[f64]) -> (f64, Interval) {
    let n = values.len();
    let mean = values.iter().sum::<f64>() / n.max(1) as f64;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let error = (squares / (n.saturating_sub(1).max(1) * n.max(1)) as f64).sqrt();
    let half = 1.959_963_984_540_054 * error;
    (mean, Interval { lower: mean - half, upper: mean + half })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(corruptions: &[Corruption]) -> CorruptionVerdicts {
        let mut rows = Vec::new();
        for (i, corruption) in corruptions.iter().enumerate() {
            for severity in [Severity::ALL[0], Severity::ALL[4]] {
                let correct = |image: usize| image >= i % 3 + usize::from(u8::from(severity) > 1);
                rows.push((*corruption, severity, (0..10).map(correct).collect()));
            }
        }
        CorruptionVerdicts { n: 10, seed: 0, published: None, rows }
    }

    #[test]
    fn averages_are_over_the_sets_that_are_complete() {
        let names = |corruptions: &[Corruption]| -> Vec<String> {
            let report = verdicts(corruptions).report();
            report.averages.iter().map(|a| format!("{} {}", a.name, a.corruptions)).collect()
        };
        assert_eq!(names(&Corruption::ALL), ["paper 18", "standard 15"]);
        assert_eq!(names(&Corruption::standard()), ["standard 15"]);
        assert_eq!(names(&Corruption::paper()), ["paper 18"]);
        assert_eq!(names(&[Corruption::Fog, Corruption::Frost]), ["chosen 2"]);
    }

    #[test]
    fn the_table_has_every_figure() {
        let report = verdicts(&[Corruption::Snow, Corruption::Fog]).report();
        let expected = "\
accuracy, %         sev. 1  sev. 5    mean
snow                100.00   90.00   95.00
fog                  90.00   80.00   85.00
chosen (2 corruptions at severity 1, 5) 90.00 % (75.03 to 100.00, n 10)
";
        assert_eq!(report.table(), expected);
        let text = serde_json::to_string(&report).unwrap();
        assert!(text.contains(r#"{"corruption":"snow","severity":1,"accuracy":{"correct":10"#));
        let back: CorruptionReport = serde_json::from_str(&text).unwrap();
        assert_eq!(back.table(), expected);
    }

    #[test]
    fn a_label_has_the_severities_that_a_published_average_would_not_have() {
        let of = |severities: &[Severity]| {
            let rows = Corruption::paper().into_iter().flat_map(|corruption| {
                severities.iter().map(move |severity| (corruption, *severity, vec![true]))
            });
            let verdicts =
                CorruptionVerdicts { n: 1, seed: 0, published: None, rows: rows.collect() };
            verdicts.report().averages.remove(0)
        };
        let [one, all] = [of(&Severity::ALL[4..]), of(&Severity::ALL)];
        assert!(
            one.line(1).starts_with("paper (18 corruptions at severity 5) "),
            "{}",
            one.line(1)
        );
        assert!(all.line(1).starts_with("paper (18 corruptions)   "), "{}", all.line(1));
        for (average, expected) in [(one, Some(1)), (all, None)] {
            let json = serde_json::to_value(&average).unwrap();
            assert_eq!(json.get("severities").map(|s| s.as_array().unwrap().len()), expected);
            assert_eq!(serde_json::from_value::<CorruptionAverage>(json).unwrap(), average);
        }
    }

    #[test]
    fn a_change_is_paired_image_by_image() {
        let before = verdicts(&[Corruption::Snow, Corruption::Fog]);
        let same = CorruptionComparison::of([&before, &before]);
        assert_eq!(same.changes[0].interval, Interval { lower: 0.0, upper: 0.0 });
        // One image of ten is won in one way of four.
        let mut after = before.clone();
        after.rows[1].2[0] = true;
        let found = CorruptionComparison::of([&before, &after]);
        let ([first, second], change) = found.first().unwrap();
        assert_eq!((first.name.as_str(), change.name.as_str()), ("chosen", "chosen"));
        assert!((change.change - 0.025).abs() < 1e-12);
        assert!((second.fraction - first.fraction - 0.025).abs() < 1e-12);
        let half = 1.959_963_984_540_054 * 0.025;
        assert!((change.interval.lower - (0.025 - half)).abs() < 1e-12, "{change:?}");
        assert!((change.interval.upper - (0.025 + half)).abs() < 1e-12, "{change:?}");
    }
}
