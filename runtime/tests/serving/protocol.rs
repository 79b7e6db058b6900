//! The Open Inference Protocol: what it answers, and what it refuses.

use ndarray::Axis;
use rift_runtime::session::{Classifier, Pool, SessionOptions};
use serde_json::{Value, json};

use super::Serving;
use crate::Place;
use crate::small_models::{CLASSES, INPUT, NAMES, conv_net, images};

pub(crate) const INFER: &str = "/v2/models/m/infer";

/// What the model says of the test images, asked directly.
pub(crate) fn logits(place: &Place, n: usize) -> Vec<f32> {
    let classifier = Classifier::open(&place.path("m.onnx")).unwrap();
    let mut pool = Pool::new(&classifier, &SessionOptions { threads: 1, batch: 4 }, n).unwrap();
    pool.logits(&images(n).view()).unwrap().into_raw_vec_and_offset().0
}

pub(crate) fn numbers(n: usize) -> Vec<f32> {
    images(n).into_raw_vec_and_offset().0
}

pub(crate) fn shape(n: usize) -> [usize; 4] {
    let [c, h, w] = INPUT;
    [n, c, h, w]
}

#[test]
fn says_what_it_is_and_what_it_has() {
    let place = Place::with(&conv_net(None));
    let serving = Serving::of(&place, &[]);
    let server = serving.get("/v2");
    assert_eq!(server["name"], "rift-runtime");
    assert!(server["extensions"].as_array().unwrap().contains(&"binary_tensor_data".into()));
    assert_eq!(serving.get("/v2/health/live"), json!({"live": true}));
    assert_eq!(serving.get("/v2/health/ready"), json!({"ready": true}));
    assert_eq!(serving.get("/v2/models/m/versions/1/ready"), json!({"name": "m", "ready": true}));
    let model = serving.get("/v2/models/m");
    assert_eq!(model, serving.get("/v2/models/m/versions/1"));
    let [c, h, w] = INPUT;
    let tensor =
        |name: &str, shape: Value| json!({"name": name, "datatype": "FP32", "shape": shape});
    assert_eq!(model["inputs"], json!([tensor("image", json!([-1, c, h, w]))]));
    assert_eq!(model["outputs"], json!([tensor("logits", json!([-1, CLASSES]))]));
    assert_eq!(model["versions"], json!(["1"]));
    let config = serving.get("/v2/models/m/config");
    assert_eq!(config["input"][0]["dims"], json!(INPUT));
    assert_eq!(config["max_batch_size"], 16);
}

#[test]
fn answers_as_the_model_does() {
    let place = Place::with(&conv_net(None));
    let serving = Serving::of(&place, &["--batch-size", "4"]);
    let mut client = serving.client();
    // More than fit into one run.
    for n in [1, 4, 9] {
        let expected = logits(&place, n);
        let nested: Vec<Vec<f32>> =
            images(n).axis_iter(Axis(0)).map(|image| image.iter().copied().collect()).collect();
        for data in [json!(numbers(n)), json!(nested)] {
            let input =
                json!({"name": "image", "datatype": "FP32", "shape": shape(n), "data": data});
            let request = json!({"id": "a-7", "inputs": [input], "outputs": [{"name": "logits"}]});
            let reply = client.post(INFER, request.to_string().as_bytes()).json();
            assert_eq!((&reply["id"], &reply["model_version"]), (&json!("a-7"), &json!("1")));
            let output = &reply["outputs"][0];
            assert_eq!(output["shape"], json!([n, CLASSES]));
            let values: Vec<f32> = serde_json::from_value(output["data"].clone()).unwrap();
            assert_eq!(values, expected);
        }
    }
    let stats = serving.get("/v2/models/m/stats");
    let stats = &stats["model_stats"][0];
    assert_eq!(stats["inference_count"], 2 * (1 + 4 + 9));
    assert_eq!(stats["inference_stats"]["success"]["count"], 6);
}

/// A well-formed request for one image, with something changed.
pub(crate) fn request(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let input = json!({"name": "image", "datatype": "FP32", "shape": shape(1), "data": numbers(1)});
    let mut request = json!({"inputs": [input]});
    change(&mut request);
    request.to_string().into_bytes()
}

#[test]
fn malformed_requests_are_refused_in_the_protocols_shape() {
    let place = Place::with(&conv_net(None));
    let serving = Serving::of(&place, &[]);
    let mut client = serving.client();
    let input =
        |name: &'static str, value: Value| request(|request| request["inputs"][0][name] = value);
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"".to_vec(), "not what the protocol says"),
        (b"{".to_vec(), "not what the protocol says"),
        (b"{\"inputs\": 3}".to_vec(), "not what the protocol says"),
        (b"\xff\xfe".to_vec(), "not what the protocol says"),
        (request(|r| r["inputs"] = json!([])), "one input, found 0"),
        (input("name", json!("x")), "unknown input `x`, expected `image`"),
        (input("datatype", json!("INT64")), "datatype `INT64`, expected `FP32`"),
        (input("shape", json!([1, 8, 8, 3])), "expected [N, 3, 8, 8]"),
        (input("shape", json!([-1, 3, 8, 8])), "expected [N, 3, 8, 8]"),
        (input("shape", json!([2, 3, 8, 8])), "expected 384 numbers as data, found 192"),
        (input("shape", json!([])), "expected [N, 3, 8, 8]"),
        (input("data", json!([1.0])), "found 1"),
        (input("data", json!("abc")), "list of numbers"),
        (input("data", json!(null)), "no data"),
        (input("parameters", json!({"binary_data_size": 9})), "0 bytes follow the JSON"),
        (input("parameters", json!({"binary_data_size": "9"})), "expected a number of bytes"),
        (request(|r| r["outputs"] = json!([{"name": "y"}])), "unknown output `y`"),
        (request(|r| r["parameters"] = json!({"timeout": "soon"})), "microseconds"),
        (request(|r| r["parameters"] = json!({"binary_data_output": 1})), "true or false"),
    ];
    for (body, part) in cases {
        let reply = client.post(INFER, &body);
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        assert_eq!(reply.status, 400, "{shown}");
        assert_eq!(reply.header("content-type"), Some("application/json"));
        assert!(reply.error().contains(part), "{shown}: {}", reply.error());
    }
    for (method, path, status) in [
        ("POST", "/v2/models/other/infer", 404),
        ("GET", "/v2/models/m/versions/2", 404),
        ("GET", "/v2/models/m/versions/x/ready", 404),
        ("GET", "/v2/nothing", 404),
        ("GET", INFER, 405),
        ("POST", "/v2", 405),
    ] {
        let reply = client.send(method, path, &[], b"{}");
        assert_eq!(reply.status, status, "{path}");
        assert!(!reply.error().is_empty());
    }
    // After all of that the connection still serves.
    assert_eq!(client.post(INFER, &request(|_| ())).status, 200);
    assert_eq!(serving.end("-TERM"), 0);
}

pub(crate) fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// A body of JSON and what follows it, and the header that tells them apart.
pub(crate) fn attached(head: &Value, tensor: &[u8]) -> (String, Vec<u8>) {
    let head = head.to_string();
    (head.len().to_string(), [head.as_bytes(), tensor].concat())
}

#[test]
fn tensors_follow_the_json() {
    let place = Place::with(&conv_net(None));
    let serving = Serving::of(&place, &[]);
    let mut client = serving.client();
    let mut post = |head: &Value, tensor: &[u8]| {
        let (length, body) = attached(head, tensor);
        client.send("POST", INFER, &[("Inference-Header-Content-Length", &length)], &body)
    };
    let tensor = bytes(&numbers(3));
    let size = json!({"binary_data_size": tensor.len()});
    let input = json!({"name": "image", "datatype": "FP32", "shape": shape(3), "parameters": size});
    let expected = bytes(&logits(&place, 3));
    let output = json!({"name": "logits", "parameters": {"binary_data": true}});
    for head in [
        json!({"inputs": [input], "outputs": [output]}),
        json!({"inputs": [input], "parameters": {"binary_data_output": true}}),
    ] {
        let reply = post(&head, &tensor);
        assert_eq!(reply.header("content-type"), Some("application/octet-stream"));
        let length = reply.header("inference-header-content-length").unwrap();
        let (head, rest) = reply.body.split_at(length.parse().unwrap());
        let head: Value = serde_json::from_slice(head).unwrap();
        let output = &head["outputs"][0];
        assert_eq!(output["parameters"]["binary_data_size"], expected.len());
        assert_eq!((output["shape"].clone(), rest), (json!([3, CLASSES]), &expected[..]));
    }
    // Asked for in JSON, it comes in JSON.
    let reply = post(&json!({"inputs": [input]}), &tensor);
    let values: Vec<f32> =
        serde_json::from_value(reply.json()["outputs"][0]["data"].clone()).unwrap();
    assert_eq!(bytes(&values), expected);
    for (head, tensor, part) in [
        (json!({"inputs": [input]}), &tensor[4..], "bytes follow the JSON"),
        (json!({"inputs": []}), &tensor[..], "expected one input"),
        (
            json!({"inputs": [{"name": "image", "datatype": "FP32", "shape": shape(2),
            "parameters": size}]}),
            &tensor[..],
            "takes 1536 bytes, found 2304",
        ),
        (
            json!({"inputs": [{"name": "image", "datatype": "FP32", "shape": shape(3),
            "parameters": size, "data": [1]}]}),
            &tensor[..],
            "both `data` and",
        ),
    ] {
        let reply = post(&head, tensor);
        assert_eq!(reply.status, 400);
        assert!(reply.error().contains(part), "{}", reply.error());
    }
    let one = &tensor[..tensor.len() / 3];
    let raw = |client: &mut super::client::Client, length: &str, body: &[u8]| {
        client.send("POST", INFER, &[("inference-header-content-length", length)], body)
    };
    let reply = raw(&mut client, "0", one);
    assert!(reply.body.ends_with(&expected[..CLASSES * 4]), "{}", reply.status);
    for (length, body) in [("0", &one[1..]), ("99999", one), ("-1", one), ("x", one)] {
        assert_eq!(raw(&mut client, length, body).status, 400, "{length}");
    }
}

#[test]
fn the_likeliest_classes_come_with_their_names() {
    let place = Place::with(&conv_net(None));
    let serving = Serving::of(&place, &[]);
    let mut client = serving.client();
    let wanted = |k: Value| {
        request(|r| {
            r["outputs"] = json!([{"name": "logits", "parameters": {"classification": k}}]);
        })
    };
    let reply = client.post(INFER, &wanted(json!(2))).json();
    let output = &reply["outputs"][0];
    assert_eq!((&output["datatype"], &output["shape"]), (&json!("BYTES"), &json!([1, 2])));
    let logits = logits(&place, 1);
    let mut order: Vec<usize> = (0..CLASSES).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
    let expected: Vec<String> = order[..2]
        .iter()
        .map(|class| format!("{:.6}:{class}:{}", logits[*class], NAMES[*class]))
        .collect();
    assert_eq!(output["data"], json!(expected));
    let all = client.post(INFER, &wanted(json!(99))).json();
    assert_eq!(all["outputs"][0]["shape"], json!([1, CLASSES]));
    assert_eq!(client.post(INFER, &wanted(json!("two"))).status, 400);
}

#[test]
fn what_is_not_finite_is_no_number_in_json() {
    let place = Place::with(&conv_net(None));
    let serving = Serving::of(&place, &[]);
    let mut client = serving.client();
    let of = |value: f64, parameters: &Value| {
        let input = json!({"name": "image", "datatype": "FP32", "shape": shape(1),
            "data": vec![value; INPUT.iter().product()]});
        json!({"inputs": [input], "parameters": parameters}).to_string().into_bytes()
    };
    for value in [1e39, -1e39] {
        let reply = client.post(INFER, &of(value, &json!({})));
        assert_eq!(reply.status, 400);
        assert!(reply.error().contains("a number that FP32 holds"), "{}", reply.error());
    }
    // The model's own sums overflow.
    let reply = client.post(INFER, &of(3e38, &json!({})));
    assert_eq!(reply.status, 500);
    assert!(reply.error().contains("not all finite"), "{}", reply.error());
    let reply = client.post(INFER, &of(3e38, &json!({"binary_data_output": true})));
    assert_eq!(reply.status, 200);
}

#[test]
fn a_model_is_loaded_as_it_is_or_not_at_all() {
    let place = Place::with(&conv_net(None));
    let serving = Serving::of(&place, &[]);
    let mut client = serving.client();
    for (body, status, part) in [
        (&b"not json"[..], 400, "`{\"parameters\": {}}`"),
        (b"{\"parameters\": 3}", 400, "`{\"parameters\": {}}`"),
        (b"{\"parameters\": {\"config\": \"{}\"}}", 501, "parameter `config` is not supported"),
    ] {
        let reply = client.post("/v2/repository/models/m/load", body);
        assert_eq!(reply.status, status);
        assert!(reply.error().contains(part), "{}", reply.error());
    }
    for body in [&b""[..], b"{}", b"{\"parameters\": {}}"] {
        assert_eq!(client.post("/v2/repository/models/m/load", body).status, 200);
    }
}
