//! What the operators share whose inputs are repeated to the shape of the result.

use rift_models::onnx::GraphBuilder;

use crate::autodiff::emit;
use crate::autodiff::error::Refusal;
use crate::autodiff::rule::View;

/// The shapes of the result and of every input that takes part are known.
pub(super) fn shapes(view: &View<'_>) -> Result<(), Refusal> {
    view.shape(view.output()?)?;
    for slot in (0..view.node.input.len()).filter(|s| view.is_active(*s)) {
        view.shape(view.input(slot)?)?;
    }
    Ok(())
}

/// Hands input `slot` its `gradient`, which has the shape of the result.
pub(super) fn give(
    view: &View<'_>,
    slot: usize,
    gradient: String,
    builder: &mut GraphBuilder,
) -> Result<(usize, String), Refusal> {
    let from = view.shape(view.output()?)?;
    Ok((slot, emit::unbroadcast(view, gradient, from, view.input(slot)?, builder)?))
}
