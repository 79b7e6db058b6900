//! Watching inputs: margin, stability under noise, and when that is called unstable.

use std::fs;

use image::{Rgb, RgbImage};
use ndarray::Axis;
use serde_json::{Value, json};

use super::Serving;
use super::protocol::INFER;
use crate::Place;
use crate::small_models::{bundle, bundle_of, conv_net, images};

/// A request for the test images from `first` on, watched or not.
fn request(first: usize, n: usize, parameters: &Value) -> Vec<u8> {
    let images = images(first + n);
    let rows = images.axis_iter(Axis(0)).skip(first);
    let data: Vec<Vec<f32>> = rows.map(|image| image.iter().copied().collect()).collect();
    let input = json!({"name": "image", "datatype": "FP32", "shape": [n, 3, 8, 8], "data": data});
    json!({"inputs": [input], "parameters": parameters}).to_string().into_bytes()
}

fn asked() -> Value {
    json!({"rift_margin": true})
}

/// The margin of one image's logits.
fn margin(logits: &[f32]) -> f64 {
    let mut logits = logits.to_vec();
    logits.sort_by(|a, b| b.total_cmp(a));
    f64::from(logits[0] - logits[1])
}

#[test]
fn a_request_that_asks_is_told_the_same_alone_and_in_a_batch() {
    let place = Place::with(&conv_net(None));
    let serving = Serving::of(&place, &[]);
    let mut client = serving.client();
    let plain = client.post(INFER, &request(0, 3, &json!({}))).json();
    assert!(plain.get("parameters").is_none(), "{plain}");
    let batch = client.post(INFER, &request(0, 3, &asked())).json();
    assert_eq!(batch["outputs"], plain["outputs"]);
    let values = |name: &str| -> Vec<f64> {
        let text = batch["parameters"][name].as_str().unwrap();
        text.split(',').map(|value| value.parse().unwrap()).collect()
    };
    let (margins, stabilities) = (values("rift_margin"), values("rift_stability"));
    let logits: Vec<f32> = serde_json::from_value(batch["outputs"][0]["data"].clone()).unwrap();
    for (at, logits) in logits.chunks_exact(4).enumerate() {
        assert!((margins[at] - margin(logits)).abs() < 1e-6);
        assert!(stabilities[at] != margins[at]);
        let alone = client.post(INFER, &request(at, 1, &asked())).json();
        let parameters = &alone["parameters"];
        assert_eq!(parameters["rift_margin"], margins[at]);
        assert_eq!(parameters["rift_stability"], stabilities[at]);
        assert!(parameters.get("rift_unstable").is_none(), "a bare file has no threshold");
    }
    // Six images with four noisy copies each, and three that were not watched.
    assert_eq!(serving.metric("rift_watched_images_total"), 6.0);
    assert_eq!(serving.metric("rift_watch_copies_total"), 24.0);
    assert_eq!(serving.metric("rift_images_total"), 33.0);
    assert_eq!(serving.metric("rift_requests_total{"), 5.0);
    let parameters = &serving.get("/v2/models/m")["parameters"];
    assert_eq!(
        (&parameters["rift_norm"], &parameters["rift_eps"]),
        (&"linf".into(), &"8/255".into())
    );
    let reason = parameters["rift_no_threshold"].as_str().unwrap();
    assert!(reason.contains("without probe images"), "{reason}");
    let wrong = client.post(INFER, &request(0, 1, &json!({"rift_margin": 1})));
    assert_eq!(wrong.status, 400);
    assert!(wrong.error().contains("rift_margin"), "{}", wrong.error());
}

#[test]
fn pictures_are_watched_too() {
    let place = Place::with(&conv_net(None));
    let picture = RgbImage::from_fn(8, 8, |x, y| Rgb([x as u8 * 30, y as u8 * 30, 90]));
    picture.save(place.path("a.png")).unwrap();
    let png = fs::read(place.path("a.png")).unwrap();
    let serving = Serving::of(&place, &[]);
    let mut client = serving.client();
    let mut classify = |query: &str| {
        let reply = client.post(&format!("/v1/classify{query}"), &png).json();
        reply["images"][0].clone()
    };
    let (plain, seen) = (classify(""), classify("?rift_margin=true"));
    assert_eq!(plain["predictions"], seen["predictions"]);
    assert!(plain.get("rift_margin").is_none());
    assert_eq!(classify("?rift_margin=true"), seen);
    let logit = |rank: usize| seen["predictions"][rank]["logit"].as_f64().unwrap();
    let found = seen["rift_margin"].as_f64().unwrap();
    assert!((found - (logit(0) - logit(1))).abs() < 1e-5, "{seen}");
    assert!(seen["rift_stability"].as_f64().unwrap() < found + 1.0);
}

#[test]
fn the_threshold_is_the_probes_and_holds_its_rate() {
    let place = Place::with(&conv_net(None));
    bundle_of(place.folder.path(), &conv_net(None), 39);
    let arguments = ["m=bundle", "--watch-inputs", "--watch-false-alarms", "0.1"];
    let serving = Serving::start(&place, &arguments);
    serving.until_ready();
    // Measured before the first request, since every image will be watched.
    let parameters = serving.get("/v2/models/m")["parameters"].clone();
    assert_eq!(parameters["rift_false_alarm_rate"], 0.1);
    assert_eq!(parameters["rift_threshold_rate"], 0.1);
    assert_eq!(serving.metric("rift_watch_false_alarm_rate{"), 0.1);
    let threshold = parameters["rift_threshold"].as_f64().unwrap();
    let series =
        "rift_watch_threshold{model=\"m\",version=\"1\",norm=\"linf\",eps=\"8/255\",draws=\"4\"}";
    assert!((serving.metric(series) - threshold).abs() < 1e-6);
    // The probe itself: the threshold is its fourth smallest stability, so three are below.
    let reply = serving.client().post(INFER, &request(0, 39, &json!({}))).json();
    let texts = |name: &str| {
        let text = reply["parameters"][name].as_str().unwrap();
        text.split(',').map(str::to_owned).collect::<Vec<_>>()
    };
    let below: Vec<bool> = texts("rift_stability")
        .iter()
        .map(|s| s.parse::<f64>().unwrap() < threshold - 1e-6)
        .collect();
    let unstable: Vec<bool> = texts("rift_unstable").iter().map(|u| u == "true").collect();
    assert_eq!(unstable, below);
    assert_eq!(unstable.iter().filter(|unstable| **unstable).count(), 3);
    assert_eq!(serving.metric("rift_unstable_images_total"), 3.0);
    assert_eq!(serving.metric("rift_unstable_recent"), 3.0);
    let log = fs::read_to_string(place.path("log")).unwrap();
    assert!(log.contains("at most 10.0 % of images (39 probe images)"), "{log}");
}

#[test]
fn too_few_probe_images_are_no_threshold() {
    let place = Place::with(&conv_net(None));
    bundle(place.folder.path(), &conv_net(None));
    let serving = Serving::start(&place, &["m=bundle"]);
    serving.until_ready();
    assert!(serving.get("/v2/models/m")["parameters"].get("rift_no_threshold").is_none());
    let reply = serving.client().post(INFER, &request(0, 1, &asked())).json();
    assert!(reply["parameters"].get("rift_unstable").is_none(), "{reply}");
    let parameters = serving.get("/v2/models/m")["parameters"].clone();
    let reason = parameters["rift_no_threshold"].as_str().unwrap();
    assert!(
        reason.contains("2 probe images are too few") && reason.ends_with("at least 19"),
        "{reason}"
    );
    assert!(parameters.get("rift_threshold").is_none());
    assert_eq!(serving.metric("rift_watch_threshold{"), 0.0);
    let error = place.fails(&["serve", "m.onnx", "--watch-false-alarms", "1"]);
    assert!(error.contains("a share between 0 and 1"), "{error}");
}

#[test]
fn copies_that_do_not_fit_are_refused() {
    let place = Place::with(&conv_net(None));
    // One image is 768 bytes.
    let serving = Serving::of(&place, &["--max-body", "11000"]);
    let infer = |n: usize, watched: bool| {
        let tensor: Vec<u8> = images(n).iter().flat_map(|value| value.to_le_bytes()).collect();
        let size = json!({"binary_data_size": tensor.len()});
        let input =
            json!({"name": "image", "datatype": "FP32", "shape": [n, 3, 8, 8], "parameters": size});
        let head = json!({"inputs": [input], "parameters": {"rift_margin": watched}}).to_string();
        let length = [("inference-header-content-length", &*head.len().to_string())];
        serving.client().send("POST", INFER, &length, &[head.as_bytes(), &tensor].concat())
    };
    assert_eq!(infer(2, true).status, 200);
    let reply = infer(3, true);
    assert_eq!(reply.status, 413);
    assert!(reply.error().contains("3 images with 4 noisy copies"), "{}", reply.error());
    assert_eq!(infer(3, false).status, 200);
}
