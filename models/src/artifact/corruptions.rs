//! Accuracy under the common corruptions.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::{Accuracy, Interval};
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
    /// The mean of their accuracies.
    pub fraction: f64,
    /// Its 95 % interval, by the spread over the images: an image that fails under one corruption
    /// is likelier to fail under another, so the images are what is counted.
    pub interval: Interval,
}

/// Accuracy out of distribution: under every chosen corruption at every chosen severity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorruptionReport {
    /// Images under each.
    pub n: usize,
    /// The seed of the corruptions' draws.
    pub seed: u64,
    /// By corruption, then by severity.
    pub rows: Vec<CorruptionResult>,
    /// The averages that the rows are enough for.
    pub averages: Vec<CorruptionAverage>,
}

impl CorruptionReport {
    /// The report of the verdicts for each corruption and severity, one an image.
    pub fn new(n: usize, seed: u64, verdicts: &[(Corruption, Severity, Vec<bool>)]) -> Self {
        let row = |(corruption, severity, verdicts): &(Corruption, Severity, Vec<bool>)| {
            let accuracy = Accuracy::of(verdicts);
            CorruptionResult { corruption: *corruption, severity: *severity, accuracy }
        };
        let mut chosen: Vec<Corruption> = verdicts.iter().map(|verdict| verdict.0).collect();
        chosen.dedup();
        let mut averages: Vec<CorruptionAverage> =
            [("paper", Corruption::paper()), ("standard", Corruption::standard())]
                .into_iter()
                .filter(|(_, set)| set.iter().all(|corruption| chosen.contains(corruption)))
                .map(|(name, set)| average(name, n, &set, verdicts))
                .collect();
        if averages.is_empty() {
            averages.push(average("chosen", n, &chosen, verdicts));
        }
        Self { n, seed, rows: verdicts.iter().map(row).collect(), averages }
    }

    /// The severities, rising.
    pub fn severities(&self) -> Vec<Severity> {
        let mut severities: Vec<Severity> = self.rows.iter().map(|row| row.severity).collect();
        severities.sort_unstable();
        severities.dedup();
        severities
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
    /// What the average is over, and the average with its interval.
    pub fn line(&self, n: usize) -> String {
        let [low, high] = [self.interval.lower, self.interval.upper].map(|bound| bound * 100.0);
        format!(
            "{:<24} {:.2} % ({low:.2} to {high:.2}, n {n})",
            format!("{} ({} corruptions)", self.name, self.corruptions),
            self.fraction * 100.0,
        )
    }
}

fn average(
    name: &str,
    n: usize,
    set: &[Corruption],
    verdicts: &[(Corruption, Severity, Vec<bool>)],
) -> CorruptionAverage {
    let counted: Vec<&Vec<bool>> =
        verdicts.iter().filter(|v| set.contains(&v.0)).map(|v| &v.2).collect();
    let of_image = |i: usize| {
        let correct = counted.iter().filter(|verdicts| verdicts[i]).count();
        correct as f64 / counted.len().max(1) as f64
    };
    let images: Vec<f64> = (0..n).map(of_image).collect();
    let fraction = images.iter().sum::<f64>() / n.max(1) as f64;
    let squares: f64 = images.iter().map(|share| (share - fraction).powi(2)).sum();
    let error = (squares / (n.saturating_sub(1).max(1) * n.max(1)) as f64).sqrt();
    let half = 1.959_963_984_540_054 * error;
    let interval =
        Interval { lower: (fraction - half).max(0.0), upper: (fraction + half).min(1.0) };
    CorruptionAverage { name: name.to_owned(), corruptions: set.len(), fraction, interval }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(corruptions: &[Corruption]) -> Vec<(Corruption, Severity, Vec<bool>)> {
        let mut all = Vec::new();
        for (i, corruption) in corruptions.iter().enumerate() {
            for severity in [Severity::ALL[0], Severity::ALL[4]] {
                let correct = |image: usize| image >= i % 3 + usize::from(u8::from(severity) > 1);
                all.push((*corruption, severity, (0..10).map(correct).collect()));
            }
        }
        all
    }

    #[test]
    fn averages_are_over_the_sets_that_are_complete() {
        let names = |corruptions: &[Corruption]| -> Vec<String> {
            let report = CorruptionReport::new(10, 0, &verdicts(corruptions));
            report.averages.iter().map(|a| format!("{} {}", a.name, a.corruptions)).collect()
        };
        assert_eq!(names(&Corruption::ALL), ["paper 18", "standard 15"]);
        assert_eq!(names(&Corruption::standard()), ["standard 15"]);
        assert_eq!(names(&Corruption::paper()), ["paper 18"]);
        assert_eq!(names(&[Corruption::Fog, Corruption::Frost]), ["chosen 2"]);
    }

    #[test]
    fn the_table_has_every_figure() {
        let report = CorruptionReport::new(10, 0, &verdicts(&[Corruption::Snow, Corruption::Fog]));
        let expected = "\
accuracy, %         sev. 1  sev. 5    mean
snow                100.00   90.00   95.00
fog                  90.00   80.00   85.00
chosen (2 corruptions)   90.00 % (75.03 to 100.00, n 10)
";
        assert_eq!(report.table(), expected);
        let text = serde_json::to_string(&report).unwrap();
        assert!(text.contains(r#"{"corruption":"snow","severity":1,"accuracy":{"correct":10"#));
        let back: CorruptionReport = serde_json::from_str(&text).unwrap();
        assert_eq!(back.table(), expected);
    }
}
