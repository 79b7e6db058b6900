//! Pictures as files.

use std::fs;

use image::{Rgb, RgbImage};
use serde_json::{Value, json};

use super::Serving;
use super::protocol::INFER;
use crate::Place;
use crate::small_models::conv_net;

fn place() -> Place {
    let place = Place::with(&conv_net(None));
    let picture = RgbImage::from_fn(20, 14, |x, y| Rgb([x as u8 * 12, y as u8 * 18, 90]));
    for name in ["a.png", "b.jpg", "c.webp"] {
        picture.save(place.path(name)).unwrap();
    }
    place
}

#[test]
fn a_picture_is_classified_as_by_the_command() {
    let place = place();
    let ended = place.run(&["classify", "m.onnx", "a.png", "b.jpg", "--json", "c.json"]);
    assert_eq!(ended.code, 0, "{}", ended.err);
    let expected: Value = serde_json::from_slice(&fs::read(place.path("c.json")).unwrap()).unwrap();
    let serving = Serving::of(&place, &["--max-pixels", "1000"]);
    let mut client = serving.client();
    let [png, jpeg] = ["a.png", "b.jpg"].map(|name| fs::read(place.path(name)).unwrap());
    for (number, file) in [&png, &jpeg].into_iter().enumerate() {
        let reply = client.post("/v1/classify", file).json();
        assert_eq!(reply["model"], expected["model"]);
        assert_eq!(reply["images"][0]["predictions"], expected["images"][number]["predictions"]);
    }
    let part = |name: &str, file: &[u8]| {
        let head = format!(
            "--xyz\r\ncontent-disposition: form-data; name=\"f\"; filename=\"{name}\"\r\n\r\n"
        );
        [head.as_bytes(), file, b"\r\n"].concat()
    };
    let form = [part("a.png", &png), part("b.jpg", &jpeg), b"--xyz--\r\n".to_vec()].concat();
    let kind = [("content-type", "multipart/form-data; boundary=xyz")];
    let reply = client.send("POST", "/v1/classify", &kind, &form).json();
    assert_eq!(reply["images"], expected["images"]);
    let reply = client.post("/v1/classify?model=m&top=1", &png).json();
    assert_eq!(reply["images"][0]["predictions"].as_array().unwrap().len(), 1);
    // The same through the protocol.
    let tensor: Vec<u8> = [&png, &jpeg]
        .into_iter()
        .flat_map(|file| [&(file.len() as u32).to_le_bytes(), &file[..]].concat())
        .collect();
    let size = json!({"binary_data_size": tensor.len()});
    let input = json!({"name": "image", "datatype": "BYTES", "shape": [2], "parameters": size});
    let head = json!({"inputs": [input]}).to_string();
    let length = [("inference-header-content-length", &*head.len().to_string())];
    let reply = client.send("POST", INFER, &length, &[head.as_bytes(), &tensor].concat()).json();
    let of = |image: &Value, class: usize| {
        let predictions = image["predictions"].as_array().unwrap();
        predictions.iter().find(|p| p["class"] == class).unwrap()["logit"].as_f64().unwrap() as f32
    };
    let images = expected["images"].as_array().unwrap();
    let logits: Vec<f32> = images.iter().flat_map(|i| (0..4).map(|class| of(i, class))).collect();
    let found: Vec<f32> = serde_json::from_value(reply["outputs"][0]["data"].clone()).unwrap();
    assert_eq!(found, logits);
}

#[test]
fn what_is_no_picture_is_refused() {
    let place = place();
    let serving = Serving::of(&place, &["--max-pixels", "1000"]);
    let mut client = serving.client();
    let png = fs::read(place.path("a.png")).unwrap();
    let webp = fs::read(place.path("c.webp")).unwrap();
    RgbImage::new(40, 40).save(place.path("large.png")).unwrap();
    let large = fs::read(place.path("large.png")).unwrap();
    for (file, part) in [
        (&b"no picture"[..], "expected PNG or JPEG"),
        (&webp, "expected PNG or JPEG"),
        (&png[..png.len() / 2], "picture 0 cannot be read"),
        (&large, "1600 pixels, expected at most 1000"),
        (b"", "found nothing"),
    ] {
        let reply = client.post("/v1/classify", file);
        assert_eq!(reply.status, 400);
        assert!(reply.error().contains(part), "{}", reply.error());
    }
    assert_eq!(client.post("/v1/classify?top=many", &png).status, 400);
    assert_eq!(client.post("/v1/classify?model=x", &png).status, 404);
    let kind = [("content-type", "multipart/form-data; boundary=xyz")];
    assert_eq!(client.send("POST", "/v1/classify", &kind, b"--xyz").status, 400);
    let packed = [("content-encoding", "br")];
    assert_eq!(client.send("POST", "/v1/classify", &packed, &png).status, 415);
}
