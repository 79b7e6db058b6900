//! The Open Inference Protocol: what it answers, and what it refuses.

use ndarray::Axis;
use rift_runtime::session::{Classifier, Pool, SessionOptions};
use serde_json::{Value, json};

use super::Serving;
use crate::Place;
use crate::small_models::{CLASSES, INPUT, conv_net, images};

const INFER: &str = "/v2/models/m/infer";

/// What the model says of the test images, asked directly.
fn logits(place: &Place, n: usize) -> Vec<f32> {
    let classifier = Classifier::open(&place.path("m.onnx")).unwrap();
    let mut pool = Pool::new(&classifier, &SessionOptions { threads: 1, batch: 4 }, n).unwrap();
    pool.logits(&images(n).view()).unwrap().into_raw_vec_and_offset().0
}

fn numbers(n: usize) -> Vec<f32> {
    images(n).into_raw_vec_and_offset().0
}

fn shape(n: usize) -> [usize; 4] {
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
