//! What an inference request asks for.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::HeaderMap;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{binary, datatype, json};
use crate::server::ServeError;
use crate::session::Classifier;

/// The header that says how much of a body is JSON; tensors follow.
pub(super) const HEADER_LENGTH: &str = "inference-header-content-length";
/// The most images that one request may hold.
const MOST_IMAGES: usize = 1 << 20;

/// What an inference request asks for.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) id: Option<String>,
    /// The time in which it wants an answer.
    pub(super) within: Option<Duration>,
    pub(super) images: Images,
    /// Their number.
    pub(super) n: usize,
    pub(super) wanted: Wanted,
    /// Whether the images are to be watched.
    pub(super) watch: bool,
}

/// Images in one of two forms.
#[derive(Debug)]
pub(super) enum Images {
    /// The model's input as it is.
    Tensor(Bytes),
    /// Encoded pictures.
    Pictures(Vec<Bytes>),
}

/// How the logits are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// After the JSON rather than in it.
    pub(super) is_binary: bool,
    /// Only the likeliest classes, with their names.
    pub(super) classes: Option<usize>,
}

type Parameters = BTreeMap<String, Value>;

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    parameters: Parameters,
    #[serde(borrow)]
    inputs: Vec<Input<'a>>,
    #[serde(default)]
    outputs: Vec<Output>,
}

#[derive(Deserialize)]
struct Input<'a> {
    name: String,
    datatype: String,
    shape: Vec<i64>,
    #[serde(default)]
    parameters: Parameters,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Output {
    name: String,
    #[serde(default)]
    parameters: Parameters,
}

impl Request {
    /// Reads a request for `classifier`.
    pub(super) fn read(
        headers: &HeaderMap,
        body: &Bytes,
        classifier: &Classifier,
    ) -> Result<Self, ServeError> {
        match header_length(headers, body.len())? {
            Some(0) => Self::raw(body, classifier),
            Some(length) => {
                let rest = body.slice(length..);
                Self::with_head(&body[..length], Some(rest), classifier)
            }
            None => Self::with_head(body, None, classifier),
        }
    }

    /// A body that is one tensor of one image, without a word about it.
    fn raw(body: &Bytes, classifier: &Classifier) -> Result<Self, ServeError> {
        let expected = image_bytes(classifier);
        let wanted = Wanted { is_binary: true, classes: None };
        let found = body.len();
        if found != expected {
            let what = format!("expected one image of {expected} bytes, found {found} bytes");
            return Err(ServeError::invalid(what));
        }
        let images = Images::Tensor(body.clone());
        Ok(Self { id: None, within: None, images, n: 1, wanted, watch: false })
    }

    fn with_head(
        head: &[u8],
        rest: Option<Bytes>,
        classifier: &Classifier,
    ) -> Result<Self, ServeError> {
        let head: Head = serde_json::from_slice(head).map_err(|error| {
            ServeError::invalid(format!("the request is not what the protocol says: {error}"))
        })?;
        let wanted = wanted(&head, classifier)?;
        let within = within(&head.parameters)?;
        let watch = flag(&head.parameters, "rift_margin")?.unwrap_or(false);
        let [input] = &head.inputs[..] else {
            let found = head.inputs.len();
            return Err(ServeError::invalid(format!("expected one input, found {found}")));
        };
        let name = classifier.input_name();
        if input.name != name {
            let what = format!("unknown input `{}`, expected `{name}`", input.name);
            return Err(ServeError::invalid(what));
        }
        let (images, n) = images(input, rest, classifier)?;
        Ok(Self { id: head.id, within, images, n, wanted, watch })
    }
}

fn header_length(headers: &HeaderMap, body: usize) -> Result<Option<usize>, ServeError> {
    let Some(value) = headers.get(HEADER_LENGTH) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|text| text.parse().ok());
    match length {
        Some(length) if length <= body => Ok(Some(length)),
        _ => Err(ServeError::invalid(format!(
            "header `Inference-Header-Content-Length` is `{}`, expected a number up to the body's \
             {body} bytes",
            String::from_utf8_lossy(value.as_bytes())
        ))),
    }
}

/// Bytes of one image as the model's input holds it.
pub(super) fn image_bytes(classifier: &Classifier) -> usize {
    classifier.dims().iter().product::<usize>() * classifier.element().size()
}

fn images(
    input: &Input,
    rest: Option<Bytes>,
    classifier: &Classifier,
) -> Result<(Images, usize), ServeError> {
    let is_pictures = input.datatype == datatype::BYTES;
    let expected = datatype::name(classifier.element());
    if !is_pictures && input.datatype != expected {
        return Err(ServeError::invalid(format!(
            "input `{}` has datatype `{}`, expected `{expected}`, or `BYTES` for pictures",
            input.name, input.datatype
        )));
    }
    let n = count(input, is_pictures, classifier)?;
    let tensor = attached(input, rest)?;
    let images = match (tensor, input.data, is_pictures) {
        (Some(_), Some(_), _) => {
            let what = format!("input `{}` has both `data` and `binary_data_size`", input.name);
            return Err(ServeError::invalid(what));
        }
        (None, None, _) => {
            return Err(ServeError::invalid(format!("input `{}` has no data", input.name)));
        }
        (Some(tensor), None, true) => Images::Pictures(binary::strings(&tensor, n)?),
        (None, Some(data), true) => Images::Pictures(json::pictures(data, n)?),
        (Some(tensor), None, false) => {
            let (expected, found) = (n * image_bytes(classifier), tensor.len());
            if expected != found {
                return Err(ServeError::invalid(format!(
                    "input `{}` of shape {:?} takes {expected} bytes, found {found}",
                    input.name, input.shape
                )));
            }
            Images::Tensor(tensor)
        }
        (None, Some(data), false) => {
            let numbers = n * classifier.dims().iter().product::<usize>();
            Images::Tensor(json::tensor(data, classifier.element(), numbers)?.into())
        }
    };
    Ok((images, n))
}

/// The number of images, by the shape.
fn count(input: &Input, is_pictures: bool, classifier: &Classifier) -> Result<usize, ServeError> {
    let dims = classifier.dims().map(|d| d as i64);
    let (n, fits) = match input.shape[..] {
        [n] | [n, 1] if is_pictures => (n, true),
        [n, ref rest @ ..] => (n, !is_pictures && rest == dims),
        [] => (0, false),
    };
    let n = usize::try_from(n).unwrap_or(0);
    if fits && (1..=MOST_IMAGES).contains(&n) {
        return Ok(n);
    }
    let [first, second, third] = dims;
    let shape =
        if is_pictures { "[N]".to_owned() } else { format!("[N, {first}, {second}, {third}]") };
    Err(ServeError::invalid(format!(
        "input `{}` has shape {:?}, expected {shape} with N from 1 to {MOST_IMAGES}",
        input.name, input.shape
    )))
}

/// What follows the JSON and belongs to the input.
fn attached(input: &Input, rest: Option<Bytes>) -> Result<Option<Bytes>, ServeError> {
    let size = input.parameters.get("binary_data_size");
    let size = match size.map(Value::as_u64) {
        None => None,
        Some(Some(size)) => Some(size),
        Some(None) => {
            let what = "parameter `binary_data_size`, expected a number of bytes";
            return Err(ServeError::invalid(what));
        }
    };
    let rest = rest.unwrap_or_default();
    match size {
        None if rest.is_empty() => Ok(None),
        Some(size) if size == rest.len() as u64 => Ok(Some(rest)),
        _ => Err(ServeError::invalid(format!(
            "{} bytes follow the JSON, the input's `binary_data_size` says {}",
            rest.len(),
            size.unwrap_or(0)
        ))),
    }
}

fn wanted(head: &Head, classifier: &Classifier) -> Result<Wanted, ServeError> {
    let is_binary = flag(&head.parameters, "binary_data_output")?;
    let otherwise = Wanted { is_binary: is_binary.unwrap_or(false), classes: None };
    let output = match &head.outputs[..] {
        [] => return Ok(otherwise),
        [output] => output,
        outputs => {
            let what = format!("expected one output, found {}", outputs.len());
            return Err(ServeError::invalid(what));
        }
    };
    let name = classifier.output_name();
    if output.name != name {
        let what = format!("unknown output `{}`, expected `{name}`", output.name);
        return Err(ServeError::invalid(what));
    }
    let is_binary = flag(&output.parameters, "binary_data")?.unwrap_or(otherwise.is_binary);
    let classes = match output.parameters.get("classification").map(Value::as_u64) {
        // Triton's clients say 0 where they want none.
        None | Some(Some(0)) => None,
        Some(Some(k)) => Some(usize::try_from(k).unwrap_or(usize::MAX).min(classifier.classes())),
        Some(None) => {
            let what = "parameter `classification`, expected a number of classes";
            return Err(ServeError::invalid(what));
        }
    };
    Ok(Wanted { is_binary, classes })
}

fn flag(parameters: &Parameters, name: &str) -> Result<Option<bool>, ServeError> {
    match parameters.get(name) {
        None => Ok(None),
        Some(Value::Bool(value)) => Ok(Some(*value)),
        Some(other) => {
            let what = format!("parameter `{name}` is {other}, expected true or false");
            Err(ServeError::invalid(what))
        }
    }
}

/// The time that a request gives itself: `timeout`, in microseconds.
fn within(parameters: &Parameters) -> Result<Option<Duration>, ServeError> {
    match parameters.get("timeout").map(|value| (value, value.as_u64())) {
        None | Some((_, Some(0))) => Ok(None),
        Some((_, Some(microseconds))) => Ok(Some(Duration::from_micros(microseconds))),
        Some((other, None)) => {
            let what = format!("parameter `timeout` is {other}, expected microseconds");
            Err(ServeError::invalid(what))
        }
    }
}
