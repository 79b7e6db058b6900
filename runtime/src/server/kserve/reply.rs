//! The answer to an inference request.

use std::collections::BTreeMap;

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::head::HEADER_LENGTH;
use super::{binary, classification, datatype};
use crate::server::ServeError;
use crate::server::error::{finite, json};
use crate::server::served::Served;
use crate::server::watch::{Parameter, Seen, parameters};

#[derive(Serialize)]
struct Reply<'a> {
    model_name: &'a str,
    model_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    parameters: BTreeMap<&'static str, Parameter>,
    outputs: [Output<'a>; 1],
}

#[derive(Serialize)]
struct Output<'a> {
    name: &'a str,
    datatype: &'static str,
    shape: [usize; 2],
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Size>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Data<'a>>,
}

#[derive(Serialize)]
struct Size {
    binary_data_size: usize,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Data<'a> {
    Numbers(&'a [f32]),
    Labels(Vec<String>),
}

/// The logits as they are wanted, in binary or not, all or only so many classes of each image; and what
/// was seen of the images.
pub(super) fn reply(
    served: &Served,
    id: Option<&str>,
    (is_binary, classes): (bool, Option<usize>),
    (logits, seen): (&[f32], Option<&[Seen]>),
) -> Result<Response, ServeError> {
    let classifier = served.classifier();
    let n = logits.len() / classifier.classes();
    let (datatype, columns, data) = match classes {
        None => (datatype::LOGITS, classifier.classes(), Data::Numbers(logits)),
        Some(k) => {
            (datatype::BYTES, k, Data::Labels(classification::labels(classifier, logits, k)))
        }
    };
    let mut tensor = Vec::new();
    let (size, data) = if is_binary {
        match &data {
            Data::Numbers(numbers) => binary::push_floats(&mut tensor, numbers),
            Data::Labels(labels) => {
                for label in labels {
                    binary::push_string(&mut tensor, label);
                }
            }
        }
        (Some(Size { binary_data_size: tensor.len() }), None)
    } else {
        if let Data::Numbers(numbers) = &data {
            finite(*numbers)?;
        }
        (None, Some(data))
    };
    let name = classifier.output_name();
    let reply = Reply {
        model_name: served.name(),
        model_version: served.version().to_string(),
        id,
        parameters: seen.into_iter().flat_map(parameters).collect(),
        outputs: [Output { name, datatype, shape: [n, columns], parameters: size, data }],
    };
    if !is_binary {
        return Ok(json(&reply));
    }
    let mut body = serde_json::to_vec(&reply).map_err(|_| ServeError::Internal)?;
    let length = body.len();
    body.extend_from_slice(&tensor);
    let kind = HeaderValue::from_static("application/octet-stream");
    let headers = [
        (header::CONTENT_TYPE, kind),
        (HeaderName::from_static(HEADER_LENGTH), HeaderValue::from(length)),
    ];
    Ok((headers, body).into_response())
}
