//! Small classifiers and the bundle around one, made here so that no test needs a file.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ndarray::{Array1, Array2, Array4};
use rift_models::arch::ArchSpec;
use rift_models::artifact::{Bundle, Card, Digest, Lineage, Parity, Probe, atomic};
use rift_models::onnx::{DataType, Dim, GraphBuilder, Model, attribute};
use rift_models::threat::{NoiseKey, Norm, noise};

/// The images that the small classifiers take.
pub(crate) const INPUT: [usize; 3] = [3, 8, 8];
/// Their classes.
pub(crate) const CLASSES: usize = 4;
/// Their classes' names.
pub(crate) const NAMES: [&str; CLASSES] = ["cat", "dog", "frog", "ship"];

/// Numbers in `[-scale, scale)`, the same for the same seed.
pub(crate) fn numbers(seed: u64, n: usize, scale: f32) -> Vec<f32> {
    let mut out = vec![0.0; n];
    let key = NoiseKey { seed, attack: "test", restart: 0 };
    noise::random_start(&key, 0, Norm::Linf, scale, &mut out);
    out
}

/// Images of the classifiers' shape.
pub(crate) fn images(n: usize) -> Array4<f32> {
    let [c, h, w] = INPUT;
    let values = numbers(1, n * c * h * w, 0.5).into_iter().map(|v| v + 0.5).collect();
    Array4::from_shape_vec((n, c, h, w), values).unwrap()
}

/// A picture of soft colours.
pub(crate) fn image_like(width: u32, height: u32) -> image::RgbImage {
    image::RgbImage::from_fn(width, height, |x, y| {
        image::Rgb([(x * 224 / width) as u8, (y * 224 / height) as u8, 90])
    })
}

fn image_dims() -> [Dim; 4] {
    let [c, h, w] = INPUT;
    [Dim::free("N"), Dim::Fixed(c), Dim::Fixed(h), Dim::Fixed(w)]
}

fn begin() -> (GraphBuilder, String) {
    let mut builder = GraphBuilder::new("small", 17);
    let image = builder.input("image", DataType::Float, &image_dims()).unwrap();
    (builder, image)
}

fn finish(mut builder: GraphBuilder, features: &str, width: usize, end: Option<&str>) -> Model {
    let weight = Array2::from_shape_vec((CLASSES, width), numbers(5, CLASSES * width, 0.5));
    let weight = builder.array("weight", &weight.unwrap());
    let bias = builder.array("bias", &Array1::from(numbers(6, CLASSES, 0.1)));
    let gemm = vec![attribute::int("transB", 1)];
    if let Some(op) = end {
        let logits = builder.node("Gemm", &[features, &weight, &bias], gemm);
        builder.node_making("logits", op, &[&logits], vec![attribute::int("axis", 1)]).unwrap();
    } else {
        builder.node_making("logits", "Gemm", &[features, &weight, &bias], gemm).unwrap();
    }
    builder.output("logits", DataType::Float, &[Dim::free("N"), Dim::Fixed(CLASSES)]);
    let classes = serde_json::to_string(&NAMES).unwrap();
    builder.metadata(&BTreeMap::from([("classes".to_owned(), classes)]));
    builder.finish().unwrap()
}

/// Two convolutions, an average, a linear layer; optionally a last operator.
pub(crate) fn conv_net(end: Option<&str>) -> Model {
    let (mut builder, image) = begin();
    let features = conv_features(&mut builder, image);
    finish(builder, &features, 12 * 16, end)
}

/// The network of [`conv_net`] behind an input of its own, which `front` makes pixels of.
pub(crate) fn conv_net_behind(
    element: DataType,
    dims: &[Dim],
    front: impl FnOnce(&mut GraphBuilder, String) -> String,
) -> Model {
    let mut builder = GraphBuilder::new("small", 17);
    let image = builder.input("image", element, dims).unwrap();
    let pixels = front(&mut builder, image);
    let features = conv_features(&mut builder, pixels);
    finish(builder, &features, 12 * 16, None)
}

fn conv_features(builder: &mut GraphBuilder, pixels: String) -> String {
    let mut value = pixels;
    for (seed, from, to) in [(2, INPUT[0], 8), (3, 8, 12)] {
        let weight = numbers(seed, to * from * 9, 0.6);
        let weight = Array4::from_shape_vec((to, from, 3, 3), weight).unwrap();
        let weight = builder.array("conv_weight", &weight);
        let bias = builder.array("conv_bias", &Array1::from(numbers(seed + 10, to, 0.2)));
        let settings = vec![attribute::ints("pads", &[1, 1, 1, 1])];
        let conv = builder.node("Conv", &[&value, &weight, &bias], settings);
        value = builder.node("Relu", &[&conv], vec![]);
    }
    let settings =
        vec![attribute::ints("kernel_shape", &[2, 2]), attribute::ints("strides", &[2, 2])];
    let pooled = builder.node("AveragePool", &[&value], settings);
    builder.node("Flatten", &[&pooled], vec![])
}

/// One linear layer on the pixels.
pub(crate) fn linear_net() -> Model {
    let (mut builder, image) = begin();
    let flat = builder.node("Flatten", &[&image], vec![]);
    finish(builder, &flat, INPUT.iter().product(), None)
}

/// One linear layer with two logits; no names.
pub(crate) fn two_classes() -> Model {
    let (mut builder, image) = begin();
    let flat = builder.node("Flatten", &[&image], vec![]);
    let weight =
        builder.array("weight", &Array2::from_shape_vec((192, 2), numbers(9, 384, 0.5)).unwrap());
    builder.node_making("logits", "MatMul", &[&flat, &weight], vec![]).unwrap();
    builder.output("logits", DataType::Float, &[Dim::free("N"), Dim::Fixed(2)]);
    builder.finish().unwrap()
}

/// A fully convolutional network, whose logits are N×K×1×1.
pub(crate) fn positions_net() -> Model {
    let (mut builder, image) = begin();
    let weight = Array4::from_shape_vec((CLASSES, 3, 8, 8), numbers(4, CLASSES * 192, 0.5));
    let weight = builder.array("weight", &weight.unwrap());
    builder.node_making("logits", "Conv", &[&image, &weight], vec![]).unwrap();
    let one = Dim::Fixed(1);
    let dims = [Dim::free("N"), Dim::Fixed(CLASSES), one.clone(), one];
    builder.output("logits", DataType::Float, &dims);
    builder.finish().unwrap()
}

/// A classifier that rounds its pixels, through which no gradient flows.
pub(crate) fn rounding_net() -> Model {
    let (mut builder, image) = begin();
    let flat = builder.node("Flatten", &[&image], vec![]);
    let round = builder.named_node("rounding", "Round", &[&flat], vec![]);
    finish(builder, &round, INPUT.iter().product(), None)
}

/// A model from images to images.
pub(crate) fn image_to_image() -> Model {
    let (mut builder, image) = begin();
    let relu = builder.node("Relu", &[&image], vec![]);
    builder.output(&relu, DataType::Float, &image_dims());
    builder.finish().unwrap()
}

/// A classifier whose input has its channels last.
pub(crate) fn channels_last() -> Model {
    let mut builder = GraphBuilder::new("small", 17);
    let dims = [Dim::free("N"), Dim::Fixed(8), Dim::Fixed(8), Dim::Fixed(3)];
    let image = builder.input("image", DataType::Float, &dims).unwrap();
    let flat = builder.node("Flatten", &[&image], vec![]);
    finish(builder, &flat, 192, None)
}

/// Writes `model` as a bundle into `folder`.
pub(crate) fn bundle(folder: &Path, model: &Model) -> PathBuf {
    bundle_of(folder, model, 2)
}

/// Writes `model` as a bundle with `n` probe images into `folder`.
pub(crate) fn bundle_of(folder: &Path, model: &Model, n: usize) -> PathBuf {
    let path = folder.join("bundle");
    let checkpoint = Digest::of_bytes(b"checkpoint");
    let staged = Bundle::stage(&path).unwrap();
    let digest = model.write(&staged.path().join(Bundle::MODEL)).unwrap();
    let logits = Array2::zeros((n, CLASSES));
    let labels = (0..n).map(|image| image % CLASSES).collect();
    let probe = Probe { images: images(n), labels, logits, checkpoint };
    let probe_digest = probe.write(&staged.path().join(Bundle::PROBE)).unwrap();
    let parity = Parity { n, max_abs_difference: 0.0, tolerance: 1e-4, same_prediction: n };
    let card = Card {
        format: Card::FORMAT,
        name: "small".to_owned(),
        arch: ArchSpec::new("resnet8", INPUT, CLASSES),
        classes: NAMES.map(str::to_owned).to_vec(),
        threat: None,
        opset: 17,
        model: digest,
        probe: probe_digest,
        checkpoint: probe.checkpoint,
        parity,
        metrics: Vec::new(),
        quantization: None,
        optimized: None,
        lineage: Lineage::default(),
    };
    atomic::write_json(&staged.path().join(Bundle::CARD), &card).unwrap();
    staged.commit().unwrap();
    path
}
