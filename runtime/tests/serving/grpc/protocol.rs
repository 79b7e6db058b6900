//! What is answered, and what is refused.

use std::collections::BTreeMap;
use std::fs;

use image::{Rgb, RgbImage};
use rift_models::onnx::{DataType, Dim, attribute};
use rift_runtime::server::grpc_messages::infer_parameter::ParameterChoice;
use rift_runtime::server::grpc_messages::{
    DataType as Datatype, InferTensorContents, ModelConfigRequest, ModelConfigResponse,
    ModelInferRequest, ModelMetadataRequest, ModelMetadataResponse, ModelReadyRequest,
    ModelReadyResponse, ModelRepositoryParameter, ModelStatisticsRequest, ModelStatisticsResponse,
    RepositoryIndexRequest, RepositoryIndexResponse, RepositoryModelLoadRequest,
    RepositoryModelLoadResponse, RepositoryModelUnloadRequest, RepositoryModelUnloadResponse,
    ServerLiveRequest, ServerLiveResponse, ServerMetadataRequest, ServerMetadataResponse,
    ServerReadyRequest, ServerReadyResponse,
};
use serde_json::{Value, json};
use tonic::codec::CompressionEncoding;
use tonic::{Code, Request};

use super::super::Serving;
use super::super::protocol::{INFER as REST, logits as expected};
use super::{INFER, infer, input, logits, output, parameter, raw, shape, typed};
use crate::Place;
use crate::small_models::{CLASSES, INPUT, conv_net, conv_net_behind};

#[test]
fn says_what_it_is_and_what_it_has() {
    let place = Place::with(&conv_net(None));
    let serving = Serving::with_grpc(&place, &[]);
    let calls = serving.calls();
    let live: ServerLiveResponse = calls.call("ServerLive", ServerLiveRequest {}).unwrap();
    let ready: ServerReadyResponse = calls.call("ServerReady", ServerReadyRequest {}).unwrap();
    assert!(live.live && ready.ready);
    let server: ServerMetadataResponse =
        calls.call("ServerMetadata", ServerMetadataRequest {}).unwrap();
    let json = serving.get("/v2");
    assert_eq!(
        (json!(server.name), json!(server.extensions)),
        (json["name"].clone(), json["extensions"].clone())
    );
    let of = |version: &str| ("m".to_owned(), version.to_owned());
    for (name, version, expected) in
        [("m", "", true), ("m", "1", true), ("m", "2", false), ("x", "", false)]
    {
        let request = ModelReadyRequest { name: name.to_owned(), version: version.to_owned() };
        let found: ModelReadyResponse = calls.call("ModelReady", request).unwrap();
        assert_eq!(found.ready, expected, "{name} {version}");
    }
    let (name, version) = of("1");
    let model: ModelMetadataResponse =
        calls.call("ModelMetadata", ModelMetadataRequest { name, version }).unwrap();
    let json = serving.get("/v2/models/m");
    assert_eq!(
        (json!(model.platform), json!(model.versions)),
        (json["platform"].clone(), json["versions"].clone())
    );
    for (found, json) in [(&model.inputs, &json["inputs"]), (&model.outputs, &json["outputs"])] {
        let [tensor] = &found[..] else { panic!("{found:?}") };
        let found =
            json!({"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape});
        assert_eq!(&json!([found]), json);
    }
    let (name, version) = of("");
    let config: ModelConfigResponse =
        calls.call("ModelConfig", ModelConfigRequest { name, version }).unwrap();
    let config = config.config.unwrap();
    assert_eq!((config.max_batch_size, config.backend.as_str()), (16, "onnxruntime"));
    assert_eq!(config.input[0].dims, INPUT.map(|d| d as i64));
    assert_eq!(config.output[0].data_type(), Datatype::TypeFp32);
    let unknown = ModelMetadataRequest { name: "x".to_owned(), version: String::new() };
    let error = calls.call::<_, ModelMetadataResponse>("ModelMetadata", unknown).unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    let error =
        calls.call::<_, ServerLiveResponse>("TraceSetting", ServerLiveRequest {}).unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);
}

#[test]
fn answers_as_over_http_in_every_form() {
    let place = Place::with(&conv_net(None));
    let serving = Serving::with_grpc(&place, &["--batch-size", "4"]);
    let calls = serving.calls();
    // More than fit into one run.
    for n in [1, 4, 9] {
        for request in [raw(n), typed(n)] {
            let request = ModelInferRequest { id: "a-7".to_owned(), ..request };
            let answer = infer(&calls, request).unwrap();
            assert_eq!((answer.id.as_str(), answer.model_version.as_str()), ("a-7", "1"));
            let output = &answer.outputs[0];
            assert_eq!((output.name.as_str(), output.datatype.as_str()), ("logits", "FP32"));
            assert_eq!(output.shape, [n as i64, CLASSES as i64]);
            assert_eq!(logits(&answer), expected(&place, n));
        }
    }
    let stats: ModelStatisticsResponse =
        calls.call("ModelStatistics", ModelStatisticsRequest::default()).unwrap();
    let [stats] = &stats.model_stats[..] else { panic!("{stats:?}") };
    assert_eq!(stats.inference_count, 2 * (1 + 4 + 9));
    assert_eq!(stats.inference_stats.as_ref().unwrap().success.unwrap().count, 6);
    assert_eq!(
        serving.metric("rift_requests_total{model=\"m\",version=\"1\",outcome=\"success"),
        6.0
    );
    // The same classes, in the same words.
    let mut request = raw(2);
    request.outputs =
        vec![output("logits", parameter("classification", ParameterChoice::Int64Param(2)))];
    let answer = infer(&calls, request).unwrap();
    let asked = json!({"inputs": [{"name": "image", "datatype": "FP32", "shape": shape(2),
        "data": crate::small_models::images(2).into_raw_vec_and_offset().0}],
        "outputs": [{"name": "logits", "parameters": {"classification": 2}}]});
    let json = serving.client().post(REST, asked.to_string().as_bytes()).json();
    assert_eq!(json!(answer.outputs[0].shape), json["outputs"][0]["shape"]);
    assert_eq!(json!(strings(&answer.raw_output_contents[0])), json["outputs"][0]["data"]);
    // What watching sees.
    let mut request = raw(1);
    request.parameters = parameter("rift_margin", ParameterChoice::BoolParam(true));
    let answer = infer(&calls, request).unwrap();
    let margin = answer.parameters["rift_margin"].parameter_choice.clone().unwrap();
    let mut sorted = expected(&place, 1);
    sorted.sort_by(|a, b| b.total_cmp(a));
    let ParameterChoice::DoubleParam(margin) = margin else { panic!("{margin:?}") };
    assert!((margin - f64::from(sorted[0] - sorted[1])).abs() < 1e-6);
}

/// The elements of a tensor of `BYTES`.
fn strings(mut tensor: &[u8]) -> Vec<String> {
    let mut strings = Vec::new();
    while let Some((length, rest)) = tensor.split_at_checked(4) {
        let (text, rest) = rest.split_at(u32::from_le_bytes(length.try_into().unwrap()) as usize);
        strings.push(String::from_utf8(text.to_vec()).unwrap());
        tensor = rest;
    }
    strings
}

#[test]
fn pictures_are_classified_as_by_the_command() {
    let place = Place::with(&conv_net(None));
    let picture = RgbImage::from_fn(20, 14, |x, y| Rgb([x as u8 * 12, y as u8 * 18, 90]));
    let files = ["a.png", "b.jpg"].map(|name| {
        picture.save(place.path(name)).unwrap();
        fs::read(place.path(name)).unwrap()
    });
    let ended = place.run(&["classify", "m.onnx", "a.png", "b.jpg", "--json", "c.json"]);
    assert_eq!(ended.code, 0, "{}", ended.err);
    let report: Value = serde_json::from_slice(&fs::read(place.path("c.json")).unwrap()).unwrap();
    let serving = Serving::with_grpc(&place, &[]);
    let calls = serving.calls();
    let tensor: Vec<u8> = files
        .iter()
        .flat_map(|file| [&(file.len() as u32).to_le_bytes(), &file[..]].concat())
        .collect();
    let mut request = raw(1);
    request.inputs = vec![input("BYTES", &[2])];
    let raw = ModelInferRequest { raw_input_contents: vec![tensor.into()], ..request.clone() };
    let bytes_contents = files.iter().map(|file| file.clone().into()).collect();
    let mut typed = ModelInferRequest { raw_input_contents: Vec::new(), ..request };
    typed.inputs[0].contents = Some(InferTensorContents { bytes_contents, ..Default::default() });
    for request in [raw, typed] {
        let found = logits(&infer(&calls, request).unwrap());
        for (number, logits) in found.chunks_exact(CLASSES).enumerate() {
            for prediction in report["images"][number]["predictions"].as_array().unwrap() {
                let class = prediction["class"].as_u64().unwrap() as usize;
                assert_eq!(
                    f64::from(logits[class]) as f32,
                    prediction["logit"].as_f64().unwrap() as f32
                );
            }
        }
    }
}

#[test]
fn a_model_of_bytes_takes_bytes() {
    let [c, h, w] = INPUT;
    let dims = [Dim::free("N"), Dim::Fixed(c), Dim::Fixed(h), Dim::Fixed(w)];
    let model = conv_net_behind(DataType::Uint8, &dims, |builder, image| {
        builder.node("Cast", &[&image], vec![attribute::int("to", DataType::Float as i64)])
    });
    let place = Place::with(&model);
    let serving = Serving::with_grpc(&place, &[]);
    let calls = serving.calls();
    let numbers: Vec<u8> = (0..c * h * w).map(|n| (n * 7 % 256) as u8).collect();
    let mut request = raw(1);
    request.inputs = vec![input("UINT8", &shape(1))];
    request.raw_input_contents = vec![numbers.clone().into()];
    let expected = logits(&infer(&calls, request.clone()).unwrap());
    request.raw_input_contents.clear();
    let mut with = |uint_contents| {
        let contents = InferTensorContents { uint_contents, ..Default::default() };
        request.inputs[0].contents = Some(contents);
        infer(&calls, request.clone())
    };
    let mut numbers: Vec<u32> = numbers.into_iter().map(u32::from).collect();
    assert_eq!(logits(&with(numbers.clone()).unwrap()), expected);
    numbers[5] = 256;
    let error = with(numbers).unwrap_err();
    assert!(error.code() == Code::InvalidArgument && error.message().contains("0 to 255"));
}

#[test]
fn malformed_requests_are_refused_with_the_reason() {
    let place = Place::with(&conv_net(None));
    let serving = Serving::with_grpc(&place, &[]);
    let calls = serving.calls();
    let changed = |change: fn(&mut ModelInferRequest)| {
        let mut request = raw(1);
        change(&mut request);
        request
    };
    let [bad, missing] = [Code::InvalidArgument, Code::NotFound];
    for (request, code, part) in [
        (changed(|r| r.inputs.clear()), bad, "expected one input, found 0"),
        (changed(|r| r.inputs.push(r.inputs[0].clone())), bad, "expected one input, found 2"),
        (
            changed(|r| r.inputs[0].name = "x".to_owned()),
            bad,
            "unknown input `x`, expected `image`",
        ),
        (
            changed(|r| r.inputs[0].datatype = "INT64".to_owned()),
            bad,
            "datatype `INT64`, expected `FP32`",
        ),
        (changed(|r| r.inputs[0].shape = vec![1, 8, 8, 3]), bad, "expected [N, 3, 8, 8]"),
        (changed(|r| r.inputs[0].shape[0] = -1), bad, "expected [N, 3, 8, 8]"),
        (changed(|r| r.inputs[0].shape[0] = 2), bad, "takes 1536 bytes, found 768"),
        (changed(|r| r.inputs[0].shape.clear()), bad, "expected [N, 3, 8, 8]"),
        (changed(|r| r.raw_input_contents.clear()), bad, "has no data"),
        (changed(|r| r.raw_input_contents.push(r.raw_input_contents[0].clone())), bad, "found 2"),
        (
            changed(|r| r.inputs[0].contents = Some(InferTensorContents::default())),
            bad,
            "both `contents`",
        ),
        (changed(|r| r.inputs = vec![input("BYTES", &[3])]), bad, "does not hold 3 elements"),
        (changed(|r| r.outputs = vec![output("y", BTreeMap::new())]), bad, "unknown output `y`"),
        (
            changed(|r| {
                let two = ParameterChoice::StringParam("two".to_owned());
                r.outputs = vec![output("logits", parameter("classification", two))];
            }),
            bad,
            "expected a whole number",
        ),
        (
            changed(|r| r.parameters = parameter("timeout", ParameterChoice::Int64Param(-1))),
            bad,
            "expected a whole number",
        ),
        (changed(|r| r.model_name = "x".to_owned()), missing, "no model `x`"),
        (changed(|r| r.model_version = "9".to_owned()), missing, "no version `9`"),
        (changed(|r| r.model_version = "x".to_owned()), missing, "no version `x`"),
    ] {
        let error = infer(&calls, request).unwrap_err();
        assert_eq!(error.code(), code, "{part}: {}", error.message());
        assert!(error.message().contains(part), "{part}: {}", error.message());
    }
    assert!(infer(&calls, raw(1)).is_ok());
    assert_eq!(serving.end("-TERM"), 0);
}

#[test]
fn contents_that_are_no_tensor_are_refused() {
    let place = Place::with(&conv_net(None));
    let serving = Serving::with_grpc(&place, &[]);
    let calls = serving.calls();
    let bad = Code::InvalidArgument;
    let mut request = typed(1);
    request.inputs[0].contents.as_mut().unwrap().fp32_contents.pop();
    let error = infer(&calls, request).unwrap_err();
    assert!(error.message().contains("expected 192 numbers in `fp32_contents`, found 191"));
    let mut request = typed(1);
    request.inputs[0].contents =
        Some(InferTensorContents { int64_contents: vec![1; 192], ..Default::default() });
    let error = infer(&calls, request).unwrap_err();
    assert!(error.code() == bad && error.message().contains("field 3 of the contents"));
    // What is no message of that type, and what has far more fields than it needs.
    let text =
        ServerMetadataResponse { extensions: vec![String::new(); 20_000], ..Default::default() };
    let error = calls.send::<_, ServerLiveResponse>(INFER, Request::new(text)).unwrap_err();
    assert!(error.code() == bad && error.message().contains("fields"), "{error:?}");
    let garbage = ModelReadyRequest { name: "\u{7f}".to_owned(), version: "1".to_owned() };
    let error = calls.send::<_, ServerLiveResponse>(INFER, Request::new(garbage)).unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    assert!(infer(&calls, raw(1)).is_ok());
    assert_eq!(serving.end("-TERM"), 0);
}

#[test]
fn models_are_listed_loaded_and_unloaded() {
    let place = Place::with(&conv_net(None));
    let serving = Serving::with_grpc(&place, &[]);
    let calls = serving.calls();
    let load = |name: &str| {
        let request =
            RepositoryModelLoadRequest { model_name: name.to_owned(), ..Default::default() };
        calls.call::<_, RepositoryModelLoadResponse>("RepositoryModelLoad", request)
    };
    let index = |ready| {
        let request = RepositoryIndexRequest { ready, ..Default::default() };
        let index: RepositoryIndexResponse = calls.call("RepositoryIndex", request).unwrap();
        index
            .models
            .into_iter()
            .map(|model| (model.name, model.version, model.state))
            .collect::<Vec<_>>()
    };
    let line = |state: &str| vec![("m".to_owned(), "1".to_owned(), state.to_owned())];
    assert_eq!(index(false), line("READY"));
    let request = RepositoryModelUnloadRequest { model_name: "m".to_owned(), ..Default::default() };
    let _: RepositoryModelUnloadResponse = calls.call("RepositoryModelUnload", request).unwrap();
    assert_eq!((index(false), index(true)), (line("UNAVAILABLE"), vec![]));
    assert_eq!(infer(&calls, raw(1)).unwrap_err().code(), Code::Unavailable);
    load("m").unwrap();
    assert_eq!(index(true), line("READY"));
    assert!(infer(&calls, raw(1)).is_ok());
    assert_eq!(load("x").unwrap_err().code(), Code::NotFound);
    fs::write(place.path("m.onnx"), b"garbage").unwrap();
    assert_eq!(load("m").unwrap_err().code(), Code::InvalidArgument);
    assert!(infer(&calls, raw(1)).is_ok());
    // Another configuration than the model's own is not made up.
    let config = ModelRepositoryParameter::default();
    let request = RepositoryModelLoadRequest {
        model_name: "m".to_owned(),
        parameters: [("config".to_owned(), config)].into(),
        ..Default::default()
    };
    let error =
        calls.call::<_, RepositoryModelLoadResponse>("RepositoryModelLoad", request).unwrap_err();
    assert!(error.code() == Code::Unimplemented && error.message().contains("`config`"));
}

#[test]
fn packed_messages_are_unpacked_within_limits() {
    let place = Place::with(&conv_net(None));
    let serving = Serving::with_grpc(&place, &["--max-body", "20000"]);
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Deflate] {
        let calls = serving.calls().packing(encoding);
        assert_eq!(logits(&infer(&calls, raw(2)).unwrap()), expected(&place, 2));
        let mut large = raw(1);
        large.raw_input_contents = vec![vec![0; 1 << 20].into()];
        let error = infer(&calls, large).unwrap_err();
        assert_eq!(error.code(), Code::ResourceExhausted, "{}", error.message());
    }
}
