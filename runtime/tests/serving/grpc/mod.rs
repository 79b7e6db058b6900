//! The Open Inference Protocol over gRPC.

mod calls;
mod door;
mod load;
mod peer;
mod protocol;
#[cfg(feature = "otel")]
mod traces;

use std::collections::BTreeMap;

use calls::{Calls, INFERENCE};
use rift_runtime::server::grpc_messages::infer_parameter::ParameterChoice;
use rift_runtime::server::grpc_messages::model_infer_request::{
    InferInputTensor, InferRequestedOutputTensor,
};
use rift_runtime::server::grpc_messages::{
    InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse,
};
use tonic::{Request, Status};

use super::Serving;
use crate::Place;
use crate::small_models::{INPUT, images};

/// The path of an inference.
const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
/// The path of many.
const STREAM: &str = "/inference.GRPCInferenceService/ModelStreamInfer";

impl Serving {
    /// Serves `m.onnx` in `place` over gRPC too and waits until it is ready.
    fn with_grpc(place: &Place, more: &[&str]) -> Self {
        Self::of(place, &[&["--grpc-listen", "127.0.0.1:0"], more].concat())
    }

    fn calls(&self) -> Calls {
        Calls::to(self.grpc.unwrap())
    }
}

/// The numbers of the first `n` test images, little-endian.
fn tensor(n: usize) -> Vec<u8> {
    images(n).iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn input(datatype: &str, shape: &[i64]) -> InferInputTensor {
    InferInputTensor {
        name: "image".to_owned(),
        datatype: datatype.to_owned(),
        shape: shape.to_vec(),
        ..InferInputTensor::default()
    }
}

fn shape(n: usize) -> Vec<i64> {
    let [c, h, w] = INPUT;
    [n, c, h, w].map(|d| d as i64).to_vec()
}

/// A request for the first `n` test images, their numbers beside the input.
fn raw(n: usize) -> ModelInferRequest {
    ModelInferRequest {
        model_name: "m".to_owned(),
        inputs: vec![input("FP32", &shape(n))],
        raw_input_contents: vec![tensor(n).into()],
        ..ModelInferRequest::default()
    }
}

/// The same, with their numbers as numbers.
fn typed(n: usize) -> ModelInferRequest {
    let mut request = raw(n);
    request.raw_input_contents.clear();
    let fp32_contents = images(n).into_raw_vec_and_offset().0;
    let contents = InferTensorContents { fp32_contents, ..InferTensorContents::default() };
    request.inputs[0].contents = Some(contents);
    request
}

fn parameter(name: &str, choice: ParameterChoice) -> BTreeMap<String, InferParameter> {
    BTreeMap::from([(name.to_owned(), InferParameter { parameter_choice: Some(choice) })])
}

/// The output, with a parameter.
fn output(name: &str, parameters: BTreeMap<String, InferParameter>) -> InferRequestedOutputTensor {
    InferRequestedOutputTensor { name: name.to_owned(), parameters }
}

fn infer(calls: &Calls, request: ModelInferRequest) -> Result<ModelInferResponse, Status> {
    calls.call("ModelInfer", request)
}

/// The logits of an answer.
fn logits(answer: &ModelInferResponse) -> Vec<f32> {
    let tensor = &answer.raw_output_contents[0];
    assert_eq!(answer.raw_output_contents.len(), 1);
    tensor.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
}

/// A request with a token, or something else under that name.
fn with_token<Q>(message: Q, token: &str) -> Request<Q> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", token.parse().unwrap());
    request
}

/// The path of a method.
fn path(method: &str) -> String {
    format!("/{INFERENCE}/{method}")
}
