//! `ModelInfer`: an inference request as a message, and the answer as one.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Bytes;
use prost::Message;
use tonic::metadata::MetadataMap;

use super::contents;
use super::proto::infer_parameter::ParameterChoice;
use super::proto::model_infer_response::InferOutputTensor;
use super::proto::{InferParameter, ModelInferRequest, ModelInferResponse};
use crate::server::ServeError;
use crate::server::app::App;
use crate::server::body::Room;
use crate::server::kserve::request::{self, Described, Request, only};
use crate::server::kserve::{binary, classification, datatype};
use crate::server::served::Served;
use crate::server::watch::{Parameter, parameters};
use crate::session::Classifier;

/// The answer to `message`, which holds `room` until then; `within` is the time that its call has.
pub(super) async fn infer(
    app: &App,
    message: ModelInferRequest,
    mut room: Room,
    within: Option<Duration>,
) -> Result<ModelInferResponse, ServeError> {
    // What was packed has more bytes now.
    room.grow(app, message.encoded_len())?;
    let served = app.admit(&message.model_name, version(&message.model_version))?;
    let id = message.id.clone();
    let mut request = served.counting(read(message, served.classifier()))?;
    request.within = [request.within, within].into_iter().flatten().min();
    let classes = request.classes;
    let (logits, seen) = request.logits(app, &served).await?;
    let mut answer = reply(&served, id, classes, &logits);
    let seen = seen.iter().flat_map(|seen| parameters(seen));
    answer.parameters = seen.map(|(name, value)| (name.to_owned(), value.into())).collect();
    Ok(answer)
}

/// The version that is asked for, if one is.
pub(super) fn version(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

fn read(message: ModelInferRequest, classifier: &Classifier) -> Result<Request, ServeError> {
    let classes = match &message.outputs[..] {
        [] => None,
        outputs => {
            let output = only("output", outputs)?;
            let asked = whole(&output.parameters, "classification")?;
            request::classes(&output.name, asked, classifier)?
        }
    };
    let within = whole(&message.parameters, "timeout")?.filter(|timeout| *timeout > 0);
    let watch = flag(&message.parameters, "rift_margin")?;
    only("input", &message.inputs)?;
    let input = message.inputs.into_iter().next().unwrap_or_default();
    let described = Described { name: &input.name, datatype: &input.datatype, shape: &input.shape };
    let count = described.count(classifier)?;
    let images = match (&message.raw_input_contents[..], input.contents) {
        ([], None) => {
            return Err(ServeError::invalid(format!("input `{}` has no data", input.name)));
        }
        ([], Some(contents)) => contents::images(contents, count, classifier)?,
        (_, Some(_)) => {
            let name = &input.name;
            let what = format!("input `{name}` has both `contents` and `raw_input_contents`");
            return Err(ServeError::invalid(what));
        }
        (raw, None) => {
            let tensor = only("tensor in `raw_input_contents`", raw)?.clone();
            described.binary(tensor, count, classifier)?
        }
    };
    let within = within.map(Duration::from_micros);
    Ok(Request { within, images, n: count.1, classes, watch })
}

/// A parameter that is a whole number.
fn whole(
    parameters: &BTreeMap<String, InferParameter>,
    name: &str,
) -> Result<Option<u64>, ServeError> {
    let Some(parameter) = parameters.get(name) else { return Ok(None) };
    let value = match parameter.parameter_choice {
        Some(ParameterChoice::Int64Param(value)) => u64::try_from(value).ok(),
        Some(ParameterChoice::Uint64Param(value)) => Some(value),
        _ => None,
    };
    let bad = || ServeError::invalid(format!("parameter `{name}`, expected a whole number"));
    value.map(Some).ok_or_else(bad)
}

impl From<Parameter> for InferParameter {
    fn from(parameter: Parameter) -> Self {
        let choice = match parameter {
            Parameter::Number(value) => ParameterChoice::DoubleParam(value),
            Parameter::Flag(value) => ParameterChoice::BoolParam(value),
            Parameter::Text(value) => ParameterChoice::StringParam(value),
        };
        Self { parameter_choice: Some(choice) }
    }
}

/// A parameter that is yes or no; no where it is not there.
fn flag(parameters: &BTreeMap<String, InferParameter>, name: &str) -> Result<bool, ServeError> {
    match parameters.get(name).map(|parameter| &parameter.parameter_choice) {
        None => Ok(false),
        Some(Some(ParameterChoice::BoolParam(value))) => Ok(*value),
        Some(_) => Err(ServeError::invalid(format!("parameter `{name}`, expected true or false"))),
    }
}

fn reply(
    served: &Served,
    id: String,
    classes: Option<usize>,
    logits: &[f32],
) -> ModelInferResponse {
    let classifier = served.classifier();
    let mut tensor = Vec::new();
    let (datatype, columns) = match classes {
        None => {
            binary::push_floats(&mut tensor, logits);
            (datatype::LOGITS, classifier.classes())
        }
        Some(k) => {
            for label in classification::labels(classifier, logits, k) {
                binary::push_string(&mut tensor, &label);
            }
            (datatype::BYTES, k)
        }
    };
    let n = logits.len() / classifier.classes();
    let output = InferOutputTensor {
        name: classifier.output_name().to_owned(),
        datatype: datatype.to_owned(),
        shape: vec![n as i64, columns as i64],
        ..InferOutputTensor::default()
    };
    ModelInferResponse {
        model_name: served.name().to_owned(),
        model_version: served.version().to_string(),
        id,
        outputs: vec![output],
        raw_output_contents: vec![Bytes::from(tensor)],
        ..ModelInferResponse::default()
    }
}

/// The time that a client waits for its call: `grpc-timeout`, as in `250m` for as many milliseconds.
pub(super) fn timeout(metadata: &MetadataMap) -> Result<Option<Duration>, ServeError> {
    let Some(value) = metadata.get("grpc-timeout") else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let parse = || {
        let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let is_number = digits.len() <= 8 && digits.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.parse().ok().filter(|_| is_number)?;
        Some(match unit {
            "H" => Duration::from_hours(number),
            "M" => Duration::from_mins(number),
            "S" => Duration::from_secs(number),
            "m" => Duration::from_millis(number),
            "u" => Duration::from_micros(number),
            "n" => Duration::from_nanos(number),
            _ => return None,
        })
    };
    let bad = || {
        let what =
            format!("`grpc-timeout` is `{text}`, expected digits and one of H, M, S, m, u, n");
        ServeError::invalid(what)
    };
    parse().map(Some).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_patience_is_understood() {
        let with = |value: &'static str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", value.parse().unwrap());
            timeout(&metadata)
        };
        assert_eq!(timeout(&MetadataMap::new()).unwrap(), None);
        for (text, expected) in [
            ("2H", Duration::from_hours(2)),
            ("99999999M", Duration::from_mins(99_999_999)),
            ("3S", Duration::from_secs(3)),
            ("250m", Duration::from_millis(250)),
            ("7u", Duration::from_micros(7)),
            ("0n", Duration::ZERO),
        ] {
            assert_eq!(with(text).unwrap(), Some(expected), "{text}");
        }
        for text in ["", "S", "5", "-1S", "123456789S", "5µ", "5 S", "+5S"] {
            assert!(with(text).is_err(), "{text}");
        }
    }
}
