//! The two graphs: with the loss inside, and with the cotangent from outside.

use rift_models::onnx::{DataType, Dim, GraphBuilder, GraphIndex, Model};

use super::error::AutodiffError;
use super::form::Form;
use super::forward::Forward;
use super::head::Head;
use super::interface::Interface;
use super::rule::{Backward, View};
use super::support::Path;
use super::tape::Tape;
use crate::session::trace::Trace;

/// Extends a classifier by a loss and the loss's gradient with respect to the image.
///
/// # Shapes
/// Inputs: the model's image input and [`Head::inputs`], int64 \[N\]. Outputs: `logits`, float \[N, classes\], those of
/// [`Interface::logits`](super::Interface::logits); `loss`, float \[N\]; `input_gradient` in the shape
/// and layout of the image input, each image's gradient of its own loss.
///
/// # Errors
/// If the model is no classifier or an operator on the way has no rule; then all of them are listed.
pub fn loss_gradient(model: &Model, trace: &Trace, head: Head) -> Result<Model, AutodiffError> {
    loss_gradient_at(model, trace, &Interface::of(model)?, (head, Form::default()))
}

/// As [`loss_gradient`], of the logits that `interface` names, in that form.
///
/// # Errors
/// As [`loss_gradient`].
pub fn loss_gradient_at(
    model: &Model,
    trace: &Trace,
    interface: &Interface,
    (head, form): (Head, Form),
) -> Result<Model, AutodiffError> {
    extend((&Forward::of(model, trace, interface)?, form), |forward, builder| {
        let loss = head.append(&forward.interface, forward.classes, builder)?;
        builder.node_making("loss", "Identity", &[&loss.loss], vec![])?;
        builder.output("loss", DataType::Float, &forward.interface.dims[..1]);
        Ok(loss.gradient)
    })
}

/// Extends a classifier by the product of a vector with its Jacobian, `cotangentᵀ · ∂logits/∂image`.
///
/// # Shapes
/// Inputs: the model's image input and `cotangent`, float \[N, classes\]. Outputs: `logits`, float
/// \[N, classes\], those of [`Interface::logits`](super::Interface::logits); `input_gradient` in the
/// shape and layout of the image input.
///
/// # Errors
/// If the model is no classifier or an operator on the way has no rule; then all of them are listed.
pub fn vector_jacobian(model: &Model, trace: &Trace) -> Result<Model, AutodiffError> {
    vector_jacobian_at(model, trace, &Interface::of(model)?, Form::default())
}

/// As [`vector_jacobian`], of the logits that `interface` names, in that form.
///
/// # Errors
/// As [`vector_jacobian`].
pub fn vector_jacobian_at(
    model: &Model,
    trace: &Trace,
    interface: &Interface,
    form: Form,
) -> Result<Model, AutodiffError> {
    extend((&Forward::of(model, trace, interface)?, form), |forward, builder| {
        let dims = [forward.interface.dims[0].clone(), Dim::Fixed(forward.classes)];
        Ok(builder.input("cotangent", DataType::Float, &dims)?)
    })
}

/// The model up to its logits, what `seed` appends to give the logits' gradient, and the reverse.
fn extend(
    (forward, form): (&Forward, Form),
    seed: impl FnOnce(&Forward, &mut GraphBuilder) -> Result<String, AutodiffError>,
) -> Result<Model, AutodiffError> {
    let index = GraphIndex::new(&forward.model)?;
    let path = Path::find(&forward.model, &index, &forward.trace, &forward.interface)?;
    let mut builder = GraphBuilder::extending(forward.model.clone());
    let mut tape = Tape::default();
    tape.contribute("logits", seed(forward, &mut builder)?);
    reverse((forward, form), &index, &path, (&mut tape, &mut builder))?;
    let input = &forward.interface.input;
    let gradient = tape.total(input, &mut builder).ok_or_else(|| AutodiffError::NoPath {
        input: input.clone(),
        logits: "logits".to_owned(),
    })?;
    builder.node_making("input_gradient", "Identity", &[&gradient], vec![])?;
    builder.output("input_gradient", DataType::Float, &forward.interface.dims);
    Ok(builder.finish()?)
}

/// Walks back over the path; every rule returns contributions and the tape adds them.
fn reverse(
    (forward, form): (&Forward, Form),
    index: &GraphIndex<'_>,
    path: &Path<'_>,
    (tape, builder): (&mut Tape, &mut GraphBuilder),
) -> Result<(), AutodiffError> {
    let opset = forward.model.opset();
    for (position, rule) in path.nodes.iter().rev() {
        let node = &index.nodes()[*position];
        let (trace, active) = (&forward.trace, &path.active);
        let view = View { node, index, trace, opset, active, form };
        let gradients: Vec<Option<String>> =
            node.output.iter().map(|v| tape.total(v, builder)).collect();
        let contributions = match (rule.backward, gradients.as_slice()) {
            (Backward::First(backward), [Some(gradient), ..]) => backward(&view, gradient, builder),
            (Backward::Every(backward), some) if some.iter().any(Option::is_some) => {
                backward(&view, some, builder)
            }
            _ => continue,
        };
        let contributions = contributions.map_err(|refusal| AutodiffError::Unsupported {
            operators: vec![view.unsupported(refusal)],
        })?;
        for (slot, contribution) in contributions {
            tape.contribute(&node.input[slot], contribution);
        }
    }
    Ok(())
}
