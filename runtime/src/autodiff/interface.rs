//! Where a classifier takes its images and gives its logits.

use rift_models::onnx::attribute::node_label;
use rift_models::onnx::proto::ValueInfoProto;
use rift_models::onnx::{Attributes, DataType, Dim, GraphIndex, Model, TensorType};

use super::AutodiffError;

/// The value that is differentiated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logits {
    /// Its name in the model.
    pub value: String,
    /// Whether the model goes on with a `Softmax` or `LogSoftmax`, which an attack must leave out:
    /// where it saturates, its gradient vanishes and the model only seems robust. Whoever reports on
    /// the model should say so.
    pub before_softmax: bool,
}

/// A classifier's image input and logits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The image input's name.
    pub input: String,
    /// The image input's declared dimensions, the batch first.
    pub dims: Vec<Dim>,
    /// The logits.
    pub logits: Logits,
}

impl Interface {
    /// Finds them: the one input, and the output called `logits` or else the only one.
    ///
    /// # Errors
    /// If the model has another number of inputs or outputs, or takes no images.
    pub fn of(model: &Model) -> Result<Self, AutodiffError> {
        let index = GraphIndex::new(model)?;
        let refuse = |expected, found: String| Err(AutodiffError::Interface { expected, found });
        let names = |infos: &mut dyn Iterator<Item = &ValueInfoProto>| {
            infos.map(|i| format!("`{}`", i.name())).collect::<Vec<_>>().join(", ")
        };
        let [input] = index.inputs() else {
            return refuse("one input", names(&mut index.inputs().iter().copied()));
        };
        let declared = TensorType::of(input);
        let text = declared.as_ref().map_or("no tensor".to_owned(), ToString::to_string);
        let dims = declared.filter(|t| t.element == DataType::Float).and_then(|t| t.dims);
        let Some(dims) = dims.filter(|d| d.len() >= 2) else {
            return refuse("an input float[N, …]", text);
        };
        let outputs = index.outputs();
        let output = match outputs {
            [only] => only,
            several => match several.iter().find(|o| o.name() == "logits") {
                Some(output) => output,
                None => return refuse("one output or `logits`", names(&mut several.iter())),
            },
        };
        let logits = logits(&index, output.name());
        Ok(Self { input: input.name().to_owned(), dims, logits })
    }
}

/// The output, or what the softmax that makes it reads.
fn logits(index: &GraphIndex<'_>, output: &str) -> Logits {
    let mut value = output;
    while let Some(position) = index.producer(value) {
        let node = &index.nodes()[position];
        let Some(source) = node.input.first() else { break };
        match node.op_type() {
            "Identity" => value = source,
            // The last axis is the classes' where there are two; the graph is refused where it is not.
            "Softmax" | "LogSoftmax" if is_over_classes(Attributes::of(node)) => {
                tracing::debug!(node = node_label(node), "differentiating before the softmax");
                return Logits { value: source.clone(), before_softmax: true };
            }
            _ => break,
        }
    }
    Logits { value: output.to_owned(), before_softmax: false }
}

fn is_over_classes(attributes: Attributes<'_>) -> bool {
    matches!(attributes.int("axis"), Ok(None | Some(-1 | 1)))
}
