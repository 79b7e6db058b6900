//! An inference request over HTTP: JSON, and maybe tensors after it.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::HeaderMap;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::json;
use super::request::{self, Described, Images, Request, only};
use crate::server::ServeError;
use crate::session::Classifier;

/// The header that says how much of a body is JSON; tensors follow.
pub(super) const HEADER_LENGTH: &str = "inference-header-content-length";

/// What a body says.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) id: Option<String>,
    /// Whether the logits are wanted after the JSON rather than in it.
    pub(super) is_binary: bool,
    pub(super) request: Request,
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

impl Body {
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
        let expected = request::image_bytes(classifier);
        let found = body.len();
        if found != expected {
            let what = format!("expected one image of {expected} bytes, found {found} bytes");
            return Err(ServeError::invalid(what));
        }
        let images = Images::Tensor(body.clone());
        let request = Request { within: None, images, n: 1, classes: None, watch: false };
        Ok(Self { id: None, is_binary: true, request })
    }

    fn with_head(
        head: &[u8],
        rest: Option<Bytes>,
        classifier: &Classifier,
    ) -> Result<Self, ServeError> {
        let head: Head = serde_json::from_slice(head).map_err(|error| {
            ServeError::invalid(format!("the request is not what the protocol says: {error}"))
        })?;
        let (is_binary, classes) = wanted(&head, classifier)?;
        let within = within(&head.parameters)?;
        let watch = flag(&head.parameters, "rift_margin")?.unwrap_or(false);
        let (images, n) = images(only("input", &head.inputs)?, rest, classifier)?;
        let request = Request { within, images, n, classes, watch };
        Ok(Self { id: head.id, is_binary, request })
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

fn images(
    input: &Input,
    rest: Option<Bytes>,
    classifier: &Classifier,
) -> Result<(Images, usize), ServeError> {
    let Input { name, datatype, shape, .. } = input;
    let described = Described { name, datatype, shape };
    let (is_pictures, n) = described.count(classifier)?;
    let images = match (attached(input, rest)?, input.data) {
        (Some(_), Some(_)) => {
            let what = format!("input `{name}` has both `data` and `binary_data_size`");
            return Err(ServeError::invalid(what));
        }
        (None, None) => return Err(ServeError::invalid(format!("input `{name}` has no data"))),
        (Some(tensor), None) => described.binary(tensor, (is_pictures, n), classifier)?,
        (None, Some(data)) if is_pictures => Images::Pictures(json::pictures(data, n)?),
        (None, Some(data)) => {
            let numbers = n * classifier.dims().iter().product::<usize>();
            Images::Tensor(json::tensor(data, classifier.element(), numbers)?.into())
        }
    };
    Ok((images, n))
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

/// Whether the output is wanted in binary, and how many classes of each image, if not all logits.
fn wanted(head: &Head, classifier: &Classifier) -> Result<(bool, Option<usize>), ServeError> {
    let is_binary = flag(&head.parameters, "binary_data_output")?.unwrap_or(false);
    if head.outputs.is_empty() {
        return Ok((is_binary, None));
    }
    let output = only("output", &head.outputs)?;
    let asked = match output.parameters.get("classification") {
        None => None,
        Some(value) => Some(value.as_u64().ok_or_else(|| {
            ServeError::invalid("parameter `classification`, expected a number of classes")
        })?),
    };
    let classes = request::classes(&output.name, asked, classifier)?;
    Ok((flag(&output.parameters, "binary_data")?.unwrap_or(is_binary), classes))
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
