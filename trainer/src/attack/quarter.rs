//! The usual length of a step.

use rift_models::threat::Epsilon;

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
pub fn quarter(eps: &Epsilon) -> Result<Epsilon, rift_models::threat::EpsilonError> {
    let text = eps.to_string();
    let exact = text.split_once('/').and_then(|(numerator, denominator)| {
        let numerator: u64 = numerator.trim().parse().ok()?;
        numerator.is_multiple_of(4).then(|| format!("{}/{}", numerator / 4, denominator.trim()))
    });
    exact.unwrap_or_else(|| (f64::from(eps.value()) / 4.0).to_string()).parse()
}
