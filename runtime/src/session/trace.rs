//! The shapes of all values of a model, measured rather than inferred.
//!
//! ONNX Runtime knows every operator's shapes better than a second implementation would, so the
//! model is run with all its values as outputs: once with a batch of two and once with three. What
//! follows the batch is then known, and so is every small number that follows neither it nor what
//! the images show.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use ndarray::{ArrayD, IxDyn};
use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::{DynValue, Tensor, TensorElementType, ValueType};
use rift_models::onnx::proto::{TensorProto, ValueInfoProto};
use rift_models::onnx::{
    DataType, Dim, GraphError, GraphIndex, Model, OnnxError, TensorType, is_default_domain, plain,
    tensor,
};

/// Longer rows of numbers that are computed are no shapes, axes, pads or scales, and are not kept.
const MAX_ROW: usize = 4096;

/// The height and width of an image for models that leave them free.
const FREE_SIDE: usize = 224;

/// A model whose values cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The model's nodes do not make a graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The model cannot be written with its values as outputs.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// The model does not take images.
    #[error("expected one input float[N, …], found {found}")]
    Input {
        /// What it takes.
        found: String,
    },
    /// ONNX Runtime refuses the model or fails on it.
    #[error("ONNX Runtime cannot run the model")]
    Run(#[source] ort::Error),
}

impl<R> From<ort::Error<R>> for TraceError {
    fn from(error: ort::Error<R>) -> Self {
        Self::Run(ort::Error::new_with_code(error.code(), error.message()))
    }
}

/// The length of one dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// The same in every run.
    Fixed(usize),
    /// The number of images.
    Batch,
    /// So many times the number of images, 2 at least: an image's windows or heads.
    Multiple(usize),
    /// It depends on the number of images or on what they show in another way.
    Varies,
}

impl Length {
    /// The length, if it is the same in every run.
    pub fn fixed(self) -> Option<usize> {
        match self {
            Self::Fixed(length) => Some(length),
            Self::Batch | Self::Multiple(_) | Self::Varies => None,
        }
    }
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(length) => write!(f, "{length}"),
            Self::Batch => f.write_str("N"),
            Self::Multiple(times) => write!(f, "{times}·N"),
            Self::Varies => f.write_str("?"),
        }
    }
}

/// One value of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traced {
    /// What it holds.
    pub element: DataType,
    /// Its shape.
    pub shape: Vec<Length>,
}

/// The shapes and types of all values of a model, by name.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    values: BTreeMap<String, Traced>,
    integers: BTreeMap<String, Vec<i64>>,
    floats: BTreeMap<String, Vec<f32>>,
    free_batch: bool,
}

struct Run {
    values: BTreeMap<String, (DataType, Vec<usize>)>,
    integers: BTreeMap<String, Vec<i64>>,
    floats: BTreeMap<String, Vec<f32>>,
}

impl Trace {
    /// Runs the [`plain`] form of `model` on images that are nowhere flat and notes the shape of
    /// every value. A height or width that the model leaves free is 224.
    ///
    /// # Errors
    /// If the model does not take one batch of images, or ONNX Runtime does not run it.
    pub fn measure(environment: &Environment, model: &Model) -> Result<Self, TraceError> {
        Self::measure_at(environment, model, None)
    }

    /// As [`measure`](Self::measure), with images of the shape `image`, in the order of the model's
    /// dimensions after the batch: what the model leaves free is taken from it.
    ///
    /// # Errors
    /// As [`measure`](Self::measure), and if the model declares another shape.
    pub fn measure_at(
        environment: &Environment,
        model: &Model,
        image: Option<&[usize]>,
    ) -> Result<Self, TraceError> {
        let model = plain(model)?;
        let index = GraphIndex::new(&model)?;
        let (input, batch, image) = image_input(&index, image)?;
        let mut session = Session::builder(environment)?
            .with_optimization_level(GraphOptimizationLevel::Disable)?
            .with_memory_pattern(false)?
            .commit_from_memory(&exposed(&model, &index))?;
        let mut run = |batch| run(&mut session, &input, batch, &image);
        let (first, second) = match batch {
            Some(batch) => (run(batch)?, None),
            None => (run(2)?, Some(run(3)?)),
        };
        let mut trace = compare(first, second.as_ref());
        // No two runs tell what depends on the image: it may be the same for both.
        let shown = shown(&index, &input);
        trace.integers.retain(|name, _| !shown.contains(name.as_str()));
        trace.floats.retain(|name, _| !shown.contains(name.as_str()));
        for node_input in index.nodes().iter().flat_map(|n| &n.input) {
            if let Some(constant) = index.constant(node_input) {
                let shape = tensor::shape(constant).map_err(GraphError::from)?;
                let shape = shape.into_iter().map(Length::Fixed).collect();
                let traced = Traced { element: tensor::data_type(constant), shape };
                trace.values.insert(node_input.clone(), traced);
                trace.note_numbers(node_input, constant);
            }
        }
        Ok(trace)
    }

    /// What is known of `value`.
    pub fn get(&self, value: &str) -> Option<&Traced> {
        self.values.get(value)
    }

    /// The whole numbers in `value`, if they are few and the same whatever the images are.
    pub fn integers(&self, value: &str) -> Option<&[i64]> {
        self.integers.get(value).map(Vec::as_slice)
    }

    /// The numbers in `value`, if they are few and the same whatever the images are.
    pub fn floats(&self, value: &str) -> Option<&[f32]> {
        self.floats.get(value).map(Vec::as_slice)
    }

    fn note_numbers(&mut self, value: &str, constant: &TensorProto) {
        // Stored whole numbers may be many: places to gather from.
        if let Ok(values) = tensor::load_integers(constant) {
            self.integers.insert(value.to_owned(), values);
        } else if constant.dims.iter().product::<i64>() <= MAX_ROW as i64
            && let Ok(values) = tensor::load::<f32>(constant)
        {
            self.floats.insert(value.to_owned(), values.iter().copied().collect());
        }
    }

    /// Adds `flat`, which is `value` with all dimensions after the batch as one of length `count`.
    pub(crate) fn note_flattened(&mut self, value: &str, (flat, count): (&str, usize)) {
        if let Some(mut traced) = self.values.get(value).cloned() {
            traced.shape.truncate(1);
            traced.shape.push(Length::Fixed(count));
            self.values.insert(flat.to_owned(), traced);
        }
    }

    /// Gives values other names, all at once.
    pub(crate) fn rename(&mut self, renamed: &BTreeMap<String, String>) {
        let new = |name: String| renamed.get(&name).cloned().unwrap_or(name);
        let values = std::mem::take(&mut self.values);
        self.values = values.into_iter().map(|(name, traced)| (new(name), traced)).collect();
        let integers = std::mem::take(&mut self.integers);
        self.integers = integers.into_iter().map(|(name, row)| (new(name), row)).collect();
        let floats = std::mem::take(&mut self.floats);
        self.floats = floats.into_iter().map(|(name, row)| (new(name), row)).collect();
    }

    /// Whether the model takes any number of images at once.
    pub fn has_free_batch(&self) -> bool {
        self.free_batch
    }
}

/// The name of the image input, its batch if that is fixed, and the shape of one image.
fn image_input(
    index: &GraphIndex<'_>,
    wanted: Option<&[usize]>,
) -> Result<(String, Option<usize>, Vec<usize>), TraceError> {
    let describe = |info: &&ValueInfoProto| match TensorType::of(info) {
        Some(declared) => format!("`{}` {declared}", info.name()),
        None => format!("`{}`", info.name()),
    };
    let refuse = || {
        let found: Vec<_> = index.inputs().iter().map(describe).collect();
        let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
        TraceError::Input { found }
    };
    let [info] = index.inputs() else { return Err(refuse()) };
    let declared = TensorType::of(info).filter(|t| t.element == DataType::Float);
    let dims = declared.and_then(|t| t.dims).ok_or_else(refuse)?;
    let Some((batch, image)) = dims.split_first() else { return Err(refuse()) };
    let length = |(axis, dim): (usize, &Dim)| {
        let free = wanted.map_or(Some(FREE_SIDE), |w| w.get(axis).copied());
        dim.fixed().or(free)
    };
    let shape: Option<Vec<usize>> = image.iter().enumerate().map(length).collect();
    let fits = |shape: &Vec<usize>| !shape.is_empty() && wanted.is_none_or(|w| w == shape);
    let shape = shape.filter(fits).ok_or_else(refuse)?;
    Ok((info.name().to_owned(), batch.fixed(), shape))
}

/// The bytes of the model with every computed value as an output.
fn exposed(model: &Model, index: &GraphIndex<'_>) -> Vec<u8> {
    let declared: HashSet<&str> = model.graph().output.iter().map(ValueInfoProto::name).collect();
    let made = index.nodes().iter().flat_map(|n| &n.output).map(String::as_str);
    let is_new = |v: &&str| !v.is_empty() && !declared.contains(v) && index.constant(v).is_none();
    model.to_bytes_exposing(made.filter(is_new))
}

fn run(
    session: &mut Session,
    input: &str,
    batch: usize,
    image: &[usize],
) -> Result<Run, TraceError> {
    let shape: Vec<usize> = std::iter::once(batch).chain(image.iter().copied()).collect();
    let mut at = 0u32;
    let pixels = ArrayD::from_shape_simple_fn(IxDyn(&shape), || {
        // Weyl's sequence of the golden ratio: spread evenly over [0, 1), no two alike nearby.
        at = at.wrapping_add(0x9e37_79b9);
        f64::from(at) as f32 / 2f32.powi(32)
    });
    let outputs = session.run(ort::inputs![input => Tensor::from_array(pixels)?])?;
    let mut run =
        Run { values: BTreeMap::new(), integers: BTreeMap::new(), floats: BTreeMap::new() };
    run.values.insert(input.to_owned(), (DataType::Float, shape));
    for (name, value) in &outputs {
        let ValueType::Tensor { ty, shape, .. } = value.dtype() else { continue };
        let dims = shape.iter().map(|d| usize::try_from(*d).unwrap_or(0)).collect();
        run.values.insert(name.to_owned(), (element(*ty), dims));
        if let Some(values) = integers(&value) {
            run.integers.insert(name.to_owned(), values);
        } else if let Ok((_, row)) = value.try_extract_tensor::<f32>()
            && row.len() <= MAX_ROW
        {
            run.floats.insert(name.to_owned(), row.to_vec());
        }
    }
    Ok(run)
}

fn integers(value: &DynValue) -> Option<Vec<i64>> {
    let long = value.try_extract_tensor::<i64>().ok().map(|(_, row)| row.to_vec());
    let values = long.or_else(|| {
        let (_, row) = value.try_extract_tensor::<i32>().ok()?;
        Some(row.iter().map(|v| i64::from(*v)).collect())
    })?;
    (values.len() <= MAX_ROW).then_some(values)
}

fn element(ty: TensorElementType) -> DataType {
    match ty {
        TensorElementType::Float32 => DataType::Float,
        TensorElementType::Float64 => DataType::Double,
        TensorElementType::Float16 => DataType::Float16,
        TensorElementType::Bfloat16 => DataType::Bfloat16,
        TensorElementType::Int64 => DataType::Int64,
        TensorElementType::Int32 => DataType::Int32,
        TensorElementType::Int8 => DataType::Int8,
        TensorElementType::Uint8 => DataType::Uint8,
        TensorElementType::Int16 => DataType::Int16,
        TensorElementType::Uint16 => DataType::Uint16,
        TensorElementType::Bool => DataType::Bool,
        _ => DataType::Undefined,
    }
}

/// The values that hold something of what the images show: all that is computed from them, but for
/// shapes.
fn shown<'m>(index: &GraphIndex<'m>, input: &'m str) -> HashSet<&'m str> {
    let mut shown = HashSet::from([input]);
    for node in index.nodes() {
        let is_shape = is_default_domain(node) && matches!(node.op_type(), "Shape" | "Size");
        let reads = node.input.iter().any(|value| shown.contains(value.as_str()));
        // An inner graph reads what it likes.
        let has_graph = node.attribute.iter().any(|a| a.g.is_some() || !a.graphs.is_empty());
        if (reads && !is_shape) || has_graph {
            shown.extend(node.output.iter().map(String::as_str));
        }
    }
    shown
}

fn compare(first: Run, second: Option<&Run>) -> Trace {
    let mut trace = Trace { free_batch: second.is_some(), ..Trace::default() };
    for (name, (element, dims)) in first.values {
        let other = second.and_then(|run| run.values.get(&name)).map(|(_, dims)| dims);
        let length = |(axis, &found): (usize, &usize)| match other {
            None => Length::Fixed(found),
            Some(other) => match (found, other.get(axis)) {
                (2, Some(3)) => Length::Batch,
                (_, Some(again)) if *again == found => Length::Fixed(found),
                (_, Some(again)) if found % 2 == 0 && *again == found / 2 * 3 => {
                    Length::Multiple(found / 2)
                }
                _ => Length::Varies,
            },
        };
        let shape = dims.iter().enumerate().map(length).collect();
        trace.values.insert(name, Traced { element, shape });
    }
    trace.integers = first.integers;
    trace.floats = first.floats;
    if let Some(second) = second {
        trace.integers.retain(|name, values| second.integers.get(name) == Some(values));
        trace.floats.retain(|name, values| second.floats.get(name) == Some(values));
    }
    trace
}

#[cfg(test)]
mod tests;
