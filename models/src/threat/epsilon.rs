//! A length in pixel units, kept as it was written.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A radius or step in pixel units, where a pixel lies in `[0, 1]`: `8/255`, `0.5`.
///
/// The text is kept, because `8/255` and `0.031` are different threat models that print alike
/// once they are floats.
///
/// ```
/// use rift_models::threat::Epsilon;
/// let eps: Epsilon = "8/255".parse()?;
/// assert_eq!(eps.value(), 8.0 / 255.0);
/// assert_eq!(eps.to_string(), "8/255");
/// assert!("8/0".parse::<Epsilon>().is_err());
/// # Ok::<(), rift_models::threat::EpsilonError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Epsilon {
    value: f32,
    text: String,
}

/// A length that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("invalid length `{text}`, expected {expected}")]
pub struct EpsilonError {
    text: String,
    expected: &'static str,
}

impl Epsilon {
    /// `numerator / denominator` in pixel units, written as that fraction.
    ///
    /// # Errors
    /// If the fraction is not a finite number of at least 0.
    pub fn ratio(numerator: u32, denominator: u32) -> Result<Self, EpsilonError> {
        format!("{numerator}/{denominator}").parse()
    }

    /// The length in pixel units.
    pub fn value(&self) -> f32 {
        self.value
    }

    /// This length `factor` times, in its own notation: Fast-AT's single step is 1.25 times the
    /// radius, `10/255` of `8/255`.
    ///
    /// # Errors
    /// If that is not a finite length of at least 0.
    pub fn times(&self, factor: f64) -> Result<Self, EpsilonError> {
        let product = |number: &str| number.trim().parse().map_or(f64::NAN, |n: f64| factor * n);
        match self.text.split_once('/') {
            Some((number, denominator)) => format!("{}/{}", product(number), denominator.trim()),
            None => product(&self.text).to_string(),
        }
        .parse()
    }

    /// A quarter of it, as long as the field's PGD steps are: `2/255` of `8/255`.
    pub fn quarter(&self) -> Self {
        // What can be read can be read four times as small.
        self.times(0.25).unwrap_or_else(|_| unreachable!())
    }
}

impl FromStr for Epsilon {
    type Err = EpsilonError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let fail = |expected| EpsilonError { text: text.to_owned(), expected };
        let number = |part: &str| {
            part.trim().parse::<f64>().map_err(|_| fail("a number such as `8/255` or `0.5`"))
        };
        let value = match text.split_once('/') {
            Some((numerator, denominator)) => {
                let denominator = number(denominator)?;
                if denominator == 0.0 {
                    return Err(fail("a denominator other than 0"));
                }
                number(numerator)? / denominator
            }
            None => number(text)?,
        };
        if !value.is_finite() || value < 0.0 || !(value as f32).is_finite() {
            return Err(fail("a finite length of at least 0"));
        }
        Ok(Self { value: value as f32, text: text.to_owned() })
    }
}

impl TryFrom<String> for Epsilon {
    type Error = EpsilonError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Epsilon> for String {
    fn from(epsilon: Epsilon) -> Self {
        epsilon.text
    }
}

impl fmt::Display for Epsilon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_was_written() {
        for (text, value) in [("8/255", 8.0 / 255.0), ("0.5", 0.5), ("0", 0.0), (" 2 / 4 ", 0.5)] {
            let eps: Epsilon = text.parse().unwrap();
            assert_eq!(eps.value(), value);
            assert_eq!(eps.to_string(), text.trim());
        }
    }

    #[test]
    fn a_part_of_it_is_written_alike() {
        for (text, quarter) in [
            ("8/255", "2/255"),
            ("1/255", "0.25/255"),
            ("0.5", "0.125"),
            (" 2 / 4 ", "0.5/4"),
            ("0", "0"),
        ] {
            let eps: Epsilon = text.parse().unwrap();
            assert_eq!(eps.quarter().to_string(), quarter);
            assert_eq!(eps.quarter().value(), eps.value() / 4.0);
        }
        let eps = Epsilon::ratio(8, 255).unwrap();
        assert_eq!(eps.times(1.25).unwrap().to_string(), "10/255");
        assert!(eps.times(-1.0).is_err() && eps.times(f64::INFINITY).is_err());
    }

    #[test]
    fn refuses_what_is_no_length() {
        for text in ["8/0", "-1/255", "nan", "inf", "1e300", "eight", "", "8/255/2"] {
            assert!(text.parse::<Epsilon>().is_err(), "{text}");
        }
    }

    #[test]
    fn survives_json_as_text() {
        let eps: Epsilon = "8/255".parse().unwrap();
        let json = serde_json::to_string(&eps).unwrap();
        assert_eq!(json, "\"8/255\"");
        assert_eq!(serde_json::from_str::<Epsilon>(&json).unwrap(), eps);
    }
}
