//! Models as the gradients want them: one operator set, one precision.
//!
//! Exporters have written the same network in twenty versions of the operators, in half precision
//! and with whole numbers. Rather than teach every rule every form, a model is first rewritten into
//! the form of operator set 17, with `float` wherever it had another floating-point type and with
//! the quantised operators written out. The values keep their names.

mod form;
mod groups;
mod lift;
mod quantized;
mod rewrite;
mod widen;

use std::borrow::Cow;

use super::{Model, OnnxError};

/// The oldest operator set that [`plain`] reads.
pub const OLDEST_OPSET: i64 = 7;

/// The oldest operator set that [`plain`] gives.
pub const PLAIN_OPSET: i64 = 17;

/// `model` in `float` and in operator set 17 or, where it is newer, its own.
///
/// Written out are the quantised operators that say the type of their result, and the group
/// normalisation that its own operator set already deprecates.
///
/// An image input of bytes becomes one of `float` with the same values, 0 to 255.
///
/// # Errors
/// If the operator set is older than [`OLDEST_OPSET`] or an operator has no counterpart.
pub fn plain(model: &Model) -> Result<Cow<'_, Model>, OnnxError> {
    let opset = model.opset();
    if opset < OLDEST_OPSET {
        let what = format!("operator set {opset}, older than {OLDEST_OPSET}");
        return Err(OnnxError::Unsupported { what });
    }
    let is_quantized = quantized::is_needed(model);
    let is_narrow = widen::is_needed(model);
    let is_grouped = groups::is_needed(model);
    if opset >= PLAIN_OPSET && !is_quantized && !is_narrow && !is_grouped {
        return Ok(Cow::Borrowed(model));
    }
    let mut proto = model.proto().clone();
    if is_narrow {
        widen::widen(&mut proto)?;
    }
    if opset < PLAIN_OPSET {
        lift::lift(&mut proto, opset)?;
    }
    if is_quantized {
        quantized::write_out(&mut proto)?;
    }
    if is_grouped {
        groups::write_out(&mut proto)?;
    }
    Model::from_proto(proto).map(Cow::Owned)
}

#[cfg(test)]
mod tests;
