//! What models are.

use super::proto::model_config::SchedulingChoice;
use super::proto::model_instance_group::Kind;
use super::proto::model_metadata_response::TensorMetadata;
use super::proto::model_version_policy::{Latest, PolicyChoice};
use super::proto::{
    DataType, ModelConfig, ModelDynamicBatching, ModelInput, ModelInstanceGroup,
    ModelMetadataResponse, ModelOutput, ModelVersionPolicy,
};
use crate::server::kserve::datatype;
use crate::server::kserve::metadata::PLATFORM;
use crate::server::served::Served;
use crate::session::Element;

/// What a model takes and gives.
pub(super) fn metadata(served: &Served, versions: &[u64]) -> ModelMetadataResponse {
    let classifier = served.classifier();
    let input = TensorMetadata {
        name: classifier.input_name().to_owned(),
        datatype: datatype::name(classifier.element()).to_owned(),
        shape: [&[-1], &classifier.dims().map(|d| d as i64)[..]].concat(),
    };
    let output = TensorMetadata {
        name: classifier.output_name().to_owned(),
        datatype: datatype::LOGITS.to_owned(),
        shape: vec![-1, classifier.classes() as i64],
    };
    ModelMetadataResponse {
        name: served.name().to_owned(),
        versions: versions.iter().map(u64::to_string).collect(),
        platform: PLATFORM.to_owned(),
        inputs: vec![input],
        outputs: vec![output],
    }
}

/// How a model is served, as its configuration for Triton would say it.
pub(super) fn config(served: &Served) -> ModelConfig {
    let classifier = served.classifier();
    let input = ModelInput {
        name: classifier.input_name().to_owned(),
        data_type: data_type(classifier.element()).into(),
        dims: classifier.dims().map(|d| d as i64).to_vec(),
    };
    let output = ModelOutput {
        name: classifier.output_name().to_owned(),
        data_type: DataType::TypeFp32.into(),
        dims: vec![classifier.classes() as i64],
    };
    let serving = served.serving();
    let group = ModelInstanceGroup { kind: Kind::Cpu.into(), count: serving.threads as i32 };
    let latest = PolicyChoice::Latest(Latest { num_versions: 1 });
    let batching = ModelDynamicBatching { max_queue_delay_microseconds: 0 };
    ModelConfig {
        name: served.name().to_owned(),
        platform: PLATFORM.to_owned(),
        backend: "onnxruntime".to_owned(),
        version_policy: Some(ModelVersionPolicy { policy_choice: Some(latest) }),
        max_batch_size: classifier.batch(serving.batch) as i32,
        input: vec![input],
        output: vec![output],
        instance_group: vec![group],
        scheduling_choice: Some(SchedulingChoice::DynamicBatching(batching)),
    }
}

fn data_type(element: Element) -> DataType {
    match element {
        Element::Uint8 => DataType::TypeUint8,
        Element::Float16 => DataType::TypeFp16,
        Element::Bfloat16 => DataType::TypeBf16,
        Element::Float32 => DataType::TypeFp32,
        Element::Float64 => DataType::TypeFp64,
    }
}
