//! The points at which the way is looked at.

use std::fmt;
use std::str::FromStr;

/// Shares of the fine-tuned weights, rising, each once, from 0 on; 0 is always among them. Beyond 1
/// they extrapolate, which has to be asked for.
///
/// ```
/// use rift_trainer::stage::interpolate::Alphas;
/// let alphas: Alphas = "0,0.25..1".parse()?;
/// assert_eq!(alphas.values(), [0.0, 0.25, 0.5, 0.75, 1.0]);
/// assert_eq!("0.6,0.3".parse::<Alphas>()?.values(), [0.0, 0.3, 0.6]);
/// assert!("0,0.5..2".parse::<Alphas>().is_err());
/// # Ok::<(), rift_trainer::stage::interpolate::AlphasError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Alphas(Vec<f64>);

/// A text that names no shares.
#[derive(Debug, thiserror::Error)]
pub enum AlphasError {
    /// No list of shares.
    #[error(
        "invalid alphas `{text}`, expected numbers from 0 to {largest}, such as `0,0.5,1` or, in equal steps, `0,0.1..1`"
    )]
    Text {
        /// The text.
        text: String,
        /// The largest share that may be.
        largest: f64,
    },
    /// Beyond the fine-tuned weights, without having been asked to.
    #[error("alphas `{0}` go beyond 1, which needs `--extrapolate`")]
    Beyond(String),
    /// Not beyond the fine-tuned weights, although that was asked for.
    #[error(
        "`--extrapolate` expects `--alphas` that go beyond 1, such as `0,0.1..1.3`, found `{0}`"
    )]
    Within(String),
}

/// So far beyond the fine-tuned weights that nothing there is of use.
const LARGEST: f64 = 2.0;

/// More points than this are a slip of the pen.
const MOST: f64 = 1000.0;

impl Alphas {
    /// The paper's: 0, 0.1 … 1.
    pub fn paper() -> Self {
        Self::of((0..=10).map(f64::from).map(|tenth| tenth / 10.0).collect())
    }

    /// The values.
    pub fn values(&self) -> &[f64] {
        &self.0
    }

    /// Reads shares that go beyond 1, up to 2.
    ///
    /// # Errors
    /// If the text names no shares, or none beyond 1.
    pub fn extrapolating(text: &str) -> Result<Self, AlphasError> {
        let alphas = Self::up_to(LARGEST, text)?;
        if alphas.largest() > 1.0 { Ok(alphas) } else { Err(AlphasError::Within(text.to_owned())) }
    }

    /// Reads shares up to 2; the error speaks of `largest`.
    fn up_to(largest: f64, text: &str) -> Result<Self, AlphasError> {
        let invalid = || AlphasError::Text { text: text.to_owned(), largest };
        let values = listed(text).ok_or_else(invalid)?;
        if values.iter().all(|value| (0.0..=LARGEST).contains(value)) {
            Ok(Self::of(values))
        } else {
            Err(invalid())
        }
    }

    pub(super) fn largest(&self) -> f64 {
        self.0.last().copied().unwrap_or(0.0).max(1.0)
    }

    fn of(mut values: Vec<f64>) -> Self {
        values.push(0.0);
        values.sort_by(f64::total_cmp);
        values.dedup_by(|a, b| same(*a, *b));
        Self(values)
    }
}

/// Whether two shares are one.
pub(super) fn same(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-9
}

/// Nine digits: 0.3, not 0.30000000000000004.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1e9).round() / 1e9
}

/// The numbers of a list whose last may stand for equal steps.
fn listed(text: &str) -> Option<Vec<f64>> {
    let (listed, last) = match text.split_once("..") {
        Some((listed, last)) => (listed, Some(last.trim().parse::<f64>().ok()?)),
        None => (text, None),
    };
    let mut values = listed
        .split(',')
        .map(|value| value.trim().parse::<f64>().ok())
        .collect::<Option<Vec<_>>>()?;
    if let Some(last) = last {
        let [.., first, second] = values[..] else { return None };
        let step = second - first;
        let steps = (last - first) / step;
        if !(step > 0.0 && (1.0..=MOST).contains(&steps)) {
            return None;
        }
        let more = (2..=(steps + 1e-9) as usize).map(|i| rounded(first + step * i as f64));
        values.extend(more.collect::<Vec<_>>());
    }
    Some(values)
}

impl FromStr for Alphas {
    type Err = AlphasError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let alphas = Self::up_to(1.0, text)?;
        if alphas.largest() > 1.0 {
            return Err(AlphasError::Beyond(text.to_owned()));
        }
        Ok(alphas)
    }
}

impl fmt::Display for Alphas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.0.iter().map(f64::to_string).collect();
        f.write_str(&texts.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_lists_and_equal_steps() {
        let alphas = |text: &str| text.parse::<Alphas>().unwrap().values().to_vec();
        assert_eq!(alphas("0,0.1..1"), Alphas::paper().values());
        assert_eq!(alphas("0.7, 0.2,0.2"), [0.0, 0.2, 0.7]);
        assert_eq!(alphas("0.1,0.4..0.9"), [0.0, 0.1, 0.4, 0.7]);
        assert_eq!("0,0.5,1".parse::<Alphas>().unwrap().to_string(), "0,0.5,1");
        for text in ["", "x", "-0.1", "0..1", "0,0..1", "1,0.5..0", "0,1e-9..1", "nan", "2.1"] {
            assert!(text.parse::<Alphas>().is_err(), "{text}");
            assert!(Alphas::extrapolating(text).is_err(), "{text}");
        }
        let beyond = "0,0.5..1.5".parse::<Alphas>().unwrap_err().to_string();
        assert!(beyond.contains("needs `--extrapolate`"), "{beyond}");
        let beyond = Alphas::extrapolating("0,0.5..1.5").unwrap();
        assert_eq!(beyond.values(), [0.0, 0.5, 1.0, 1.5]);
        let within = Alphas::extrapolating("0,0.1..1").unwrap_err().to_string();
        assert!(within.ends_with("such as `0,0.1..1.3`, found `0,0.1..1`"), "{within}");
    }
}
