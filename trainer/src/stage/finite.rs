//! Weights that are no numbers any more.

use rift_models::artifact::TensorMap;

/// The first tensor that holds something else than finite numbers, and the first such value of it.
pub(super) fn not_finite(state: &TensorMap) -> Option<(&str, f32)> {
    state.iter().find_map(|(name, tensor)| {
        let value = tensor.iter().find(|value| !value.is_finite())?;
        Some((name.as_str(), *value))
    })
}
