//! The usual lengths of a step.

use rift_models::threat::{Epsilon, EpsilonError};

/// A quarter of a radius, as the field's PGD steps are (2/255 of 8/255), written as a fraction
/// where the radius is one.
///
/// ```
/// let eps = "8/255".parse()?;
/// assert_eq!(rift_trainer::attack::quarter(&eps)?.to_string(), "2/255");
/// # Ok::<(), rift_models::threat::EpsilonError>(())
/// ```
///
/// # Errors
/// None for a radius that could be read: a quarter of it can be read too.
pub fn quarter(eps: &Epsilon) -> Result<Epsilon, EpsilonError> {
    quarters(eps, 1)
}

/// Five quarters of a radius, as Fast-AT's single step is (10/255 of 8/255).
///
/// ```
/// let eps = "8/255".parse()?;
/// assert_eq!(rift_trainer::attack::five_quarters(&eps)?.to_string(), "10/255");
/// # Ok::<(), rift_models::threat::EpsilonError>(())
/// ```
///
/// # Errors
/// If the radius is so large that this is no number any more.
pub fn five_quarters(eps: &Epsilon) -> Result<Epsilon, EpsilonError> {
    quarters(eps, 5)
}

fn quarters(eps: &Epsilon, count: u32) -> Result<Epsilon, EpsilonError> {
    let text = eps.to_string();
    let exact = text.split_once('/').and_then(|(numerator, denominator)| {
        let numerator: u32 = numerator.trim().parse().ok()?;
        let numerator = numerator.is_multiple_of(4).then(|| numerator / 4 * count)?;
        Some(format!("{numerator}/{}", denominator.trim()))
    });
    let value = || (f64::from(count) * f64::from(eps.value()) / 4.0).to_string();
    exact.unwrap_or_else(value).parse()
}
