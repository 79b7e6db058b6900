//! Where a classifier takes its images and gives its logits.

use rift_models::onnx::attribute::node_label;
use rift_models::onnx::proto::{NodeProto, ValueInfoProto};
use rift_models::onnx::{
    Attributes, DataType, Dim, GraphIndex, Model, TensorType, is_default_domain, tensor,
};

use super::AutodiffError;

/// The value that is differentiated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logits {
    /// Its name in the model.
    pub value: String,
    /// The name of the model's output, which is made from it.
    pub output: String,
    /// Whether the model goes on with a `Softmax` or `LogSoftmax`, which an attack must leave out:
    /// where it saturates, its gradient vanishes and the model only seems robust. Whoever reports on
    /// the model should say so.
    pub before_softmax: bool,
}

/// The order of an image's dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// N × C × H × W, or no image at all.
    ChannelsFirst,
    /// N × H × W × C, as Keras writes it.
    ChannelsLast,
}

/// A classifier's image input and logits, as the model declares them.
///
/// The graphs that are made from a model take the image as `float` in the model's own layout and
/// units. Who feeds pixels in \[0, 1\], N × C × H × W, turns them where [`layout`](Self::layout) says
/// so and multiplies by 255 where [`element`](Self::element) is [`DataType::Uint8`] (rounding only
/// when the served model itself is asked); the gradient comes back in the same layout and units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The image input's name.
    pub input: String,
    /// The image input's declared dimensions, the batch first.
    pub dims: Vec<Dim>,
    /// What the served model takes: a floating-point type, or bytes.
    pub element: DataType,
    /// The order of the dimensions.
    pub layout: Layout,
    /// The logits.
    pub logits: Logits,
}

impl Interface {
    /// Finds them: the one input, and the output called `logits` or else the only one.
    ///
    /// # Errors
    /// If the model has another number of inputs or outputs, or takes no images.
    pub fn of(model: &Model) -> Result<Self, AutodiffError> {
        Self::at(model, None)
    }

    /// As [`of`](Self::of), with the logits at the output called `output` if one is named.
    ///
    /// # Errors
    /// As [`of`](Self::of), and if there is no such output.
    pub fn at(model: &Model, output: Option<&str>) -> Result<Self, AutodiffError> {
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
        let declared = declared.filter(|t| is_image(t.element));
        let Some(TensorType { element, dims: Some(dims) }) = declared else {
            return refuse("an input float[N, …]", text);
        };
        if dims.len() < 2 {
            return refuse("an input float[N, …]", text);
        }
        let wanted = output.unwrap_or("logits");
        let output = match (index.outputs(), output) {
            ([only], None) => only,
            (several, _) => match several.iter().find(|o| o.name() == wanted) {
                Some(output) => output,
                None if output.is_some() => {
                    return refuse("the output that was named", names(&mut several.iter()));
                }
                None => return refuse("one output or `logits`", names(&mut several.iter())),
            },
        };
        let logits = logits(&index, output.name());
        let layout = layout(&dims);
        Ok(Self { input: input.name().to_owned(), dims, element, layout, logits })
    }
}

fn is_image(element: DataType) -> bool {
    is_float(element) || element == DataType::Uint8
}

fn is_float(element: DataType) -> bool {
    use DataType::{Bfloat16, Double, Float, Float16};
    matches!(element, Float | Double | Float16 | Bfloat16)
}

fn layout(dims: &[Dim]) -> Layout {
    let is_channels = |dim: &Dim| matches!(dim, Dim::Fixed(1 | 3 | 4));
    match dims {
        [_, first, _, last] if is_channels(last) && !is_channels(first) => Layout::ChannelsLast,
        _ => Layout::ChannelsFirst,
    }
}

/// The output, or what the softmax that makes it reads.
fn logits(index: &GraphIndex<'_>, output: &str) -> Logits {
    let mut value = output;
    while let Some(position) = index.producer(value) {
        let node = &index.nodes()[position];
        let Some(source) = node.input.first().filter(|_| is_default_domain(node)) else { break };
        match node.op_type() {
            "Softmax" | "LogSoftmax" if is_within_an_image(Attributes::of(node)) => {
                tracing::debug!(node = node_label(node), "differentiating before the softmax");
                let (value, output) = (source.clone(), output.to_owned());
                return Logits { value, output, before_softmax: true };
            }
            _ if keeps_order(node, index) => value = source,
            _ => break,
        }
    }
    let output = output.to_owned();
    Logits { value: output.clone(), output, before_softmax: false }
}

/// Whether a softmax is over another dimension than the batch. That it is over the classes is seen
/// when the shapes are known.
fn is_within_an_image(attributes: Attributes<'_>) -> bool {
    matches!(attributes.int("axis"), Ok(axis) if axis != Some(0))
}

/// Whether a node leaves probabilities in order, class by class: it converts or shapes them, cuts
/// them off or takes their logarithm.
fn keeps_order(node: &NodeProto, index: &GraphIndex<'_>) -> bool {
    match node.op_type() {
        "Identity" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Clip" | "Log" => true,
        "Cast" => {
            let to = Attributes::of(node).int("to").ok().flatten();
            to.and_then(|to| DataType::try_from(i32::try_from(to).ok()?).ok()).is_some_and(is_float)
        }
        // A third input may switch training on.
        "Dropout" => node.input.get(2).is_none_or(|training| {
            let stored = index.constant(training).and_then(|t| tensor::load::<bool>(t).ok());
            training.is_empty() || stored.is_some_and(|on| on.iter().all(|on| !on))
        }),
        _ => false,
    }
}
