//! Models as other exporters write them: quantised no worse than the same network written plainly.

use ndarray::{Array2, Array4};
use rift_models::onnx::proto::{ModelProto, NodeProto};
use rift_models::onnx::{DataType, GraphIndex, Model, attribute, tensor};
use rift_runtime::session::{Classifier, Pool, SessionOptions, ahead};

use crate::fixture::Run;
use crate::network::{CLASSES, Net, matrix, numbers, plain, plain_with, relu, row};
use crate::quantize::{aged, card, counts, images, quantize, with_data};

const ALL: [&str; 2] = ["--max-drop", "100"];

/// A bundle of `model` in place of the run's.
fn holding(run: &Run, model: Model) {
    aged(run, |proto| *proto = model.into_proto());
}

fn logits(run: &Run, bundle: &str) -> Array2<f32> {
    let classifier = Classifier::open(&run.path(bundle)).unwrap();
    let options = SessionOptions { threads: 1, batch: 16 };
    let images: Array4<f32> = images();
    Pool::new(&classifier, &options, images.dim().0).unwrap().logits(&images.view()).unwrap()
}

/// The logits of the quantised model.
fn quantized(run: &Run, model: Model, more: &[&str]) -> Array2<f32> {
    holding(run, model);
    let done = quantize(run, &[&ALL[..], more].concat());
    assert_eq!(done.code, 0, "{done:?}");
    logits(run, "small")
}

/// How far the quantised model is from the float one, beside how far the float logits lie apart.
fn error(run: &Run, model: Model) -> f32 {
    let found = quantized(run, model, &[]);
    let expected = logits(run, "bundle");
    let spread = (&expected - &expected.mean_axis(ndarray::Axis(0)).unwrap()).powi(2).sum();
    ((&found - &expected).powi(2).sum() / spread).sqrt()
}

fn model(run: &Run) -> Model {
    Model::read(&run.path("small/model.onnx")).unwrap()
}

/// How many of these operators ONNX Runtime runs.
fn run_as<const N: usize>(run: &Run, ops: [&str; N]) -> [usize; N] {
    let classifier = Classifier::open(&run.path("small")).unwrap();
    let optimised = run.path("optimised.onnx");
    ahead::optimise(&classifier, &optimised, ahead::Reach::Portable).unwrap();
    let model = Model::read(&optimised).unwrap();
    ops.map(|op| counts(&model, op))
}

fn float_layers(run: &Run) -> Vec<String> {
    card(run).quantization.unwrap().float_layers
}

#[test]
fn a_clip_from_zero_on_is_an_activation_like_any() {
    let run = with_data();
    let clipped = |most: Option<f32>| {
        let mut net = Net::new();
        let x = net.body(|net, x| {
            let zero = net.builder.scalar("zero", 0.0);
            let most = most.map_or(String::new(), |most| net.builder.scalar("most", most));
            net.node("Clip", &[x, &zero, &most])
        });
        let x = net.pooled(&x);
        let x = net.linear(&x);
        net.ends(&x)
    };
    let is_run = || {
        assert_eq!(run_as(&run, ["QLinearConv", "QGemm", "Conv", "Clip"]), [2, 1, 0, 0]);
    };
    let with_relu = quantized(&run, plain(), &[]);
    for far in [None, Some(60.0)] {
        for bytes in ["u8", "s8"] {
            let found = quantized(&run, clipped(far), &["--activations", bytes]);
            assert!(bytes == "s8" || found == with_relu, "{far:?}");
            is_run();
        }
    }
    let near = error(&run, clipped(Some(0.4)));
    assert!(near < 0.1, "{near}");
    is_run();
}

#[test]
fn whatever_stands_behind_the_logits_they_are_no_bytes() {
    let run = with_data();
    let bare = quantized(&run, plain(), &[]);
    let reshaped = plain_with(|net, x| {
        let shape = net.builder.integers("shape", &[-1, CLASSES as i64]);
        net.node("Reshape", &[x, &shape])
    });
    assert_eq!(quantized(&run, reshaped, &[]), bare);
    for op in ["Softmax", "LogSoftmax"] {
        let ends = plain_with(|net, x| net.builder.node(op, &[x], vec![attribute::int("axis", 1)]));
        let found = quantized(&run, ends, &[]);
        for (found, bare) in found.rows().into_iter().zip(bare.rows()) {
            let sum = bare.mapv(f32::exp).sum();
            let expected = match op {
                "Softmax" => bare.mapv(|z| z.exp() / sum),
                _ => bare.mapv(|z| z - sum.ln()),
            };
            let far = (&found - &expected).mapv(f32::abs).fold(0.0, |a: f32, b| a.max(*b));
            assert!(far < 1e-5, "{op}: {found} for {expected}");
        }
    }
}

#[test]
fn the_sum_of_two_heads_is_no_byte_either() {
    let run = with_data();
    let mut net = Net::new();
    let x = net.body(relu);
    let x = net.pooled(&x);
    let [one, other] = [net.linear(&x), net.linear(&x)];
    let sum = net.node("Add", &[&one, &other]);
    assert!(error(&run, net.ends(&sum)) < 0.1);
    assert_eq!(run_as(&run, ["QGemm", "QLinearAdd", "Add"]), [2, 0, 1]);
}

#[test]
fn a_feature_map_may_be_an_output_too() {
    let run = with_data();
    for shows_row in [false, true] {
        let mut net = Net::new();
        let image = net.image.clone();
        let x = net.conv("conv1", &image, [1, 8]);
        let map = net.node("Relu", &[&x]);
        let x = net.conv("conv2", &map, [8, 8]);
        let x = net.node("Relu", &[&x]);
        let features = net.pooled(&x);
        let x = net.linear(&features);
        let shown = if shows_row { &features } else { &map };
        net.builder.output(shown, DataType::Float, &[]);
        let mut proto = net.ends(&x).into_proto();
        for output in &mut proto.graph.as_mut().unwrap().output {
            if output.name() != "logits" {
                output.r#type = None;
            }
        }
        let found = error(&run, Model::from_proto(proto).unwrap());
        assert!(found < 0.1, "{found}");
        assert_eq!(model(&run).graph().output.len(), 2);
    }
}

/// Two convolutions with one weight, which `Add` with its mean reads as numbers.
fn sharing(reads_numbers: bool) -> Model {
    let mut net = Net::new();
    let image = net.image.clone();
    let x = net.conv("conv1", &image, [1, 8]);
    let x = net.node("Relu", &[&x]);
    let [weight, bias] = net.parameters("both", [8, 8]);
    let x = net.conv_of("conv2", &[&x, &weight, &bias]);
    let x = net.node("Relu", &[&x]);
    let x = net.conv_of("conv3", &[&x, &weight, &bias]);
    let mut x = net.node("Relu", &[&x]);
    if reads_numbers {
        let mean = net.node("ReduceMean", &[&weight]);
        x = net.node("Add", &[&x, &mean]);
    }
    let x = net.pooled(&x);
    let x = net.linear(&x);
    net.ends(&x)
}

#[test]
fn a_weight_that_is_also_read_as_numbers_is_kept_as_such() {
    let run = with_data();
    assert!(error(&run, sharing(true)) < 0.1);
    let one_in_float = quantized(&run, sharing(false), &["--keep-float", "conv2"]);
    assert_eq!(float_layers(&run), ["conv2"]);
    assert_ne!(one_in_float, quantized(&run, sharing(false), &[]));
}

#[test]
fn half_precision_leaves_a_layer_in_float_its_weight() {
    let run = with_data();
    quantized(&run, sharing(false), &["--weights", "fp16", "--keep-float", "conv2"]);
    let model = model(&run);
    let index = GraphIndex::new(&model).unwrap();
    let stored = |name: &str| {
        let node = index.nodes().iter().find(|node| node.name() == name).unwrap();
        index.constant(&node.input[1]).map(tensor::data_type)
    };
    assert_eq!((stored("conv2"), stored("conv3")), (Some(DataType::Float), None));
    assert_eq!(float_layers(&run), ["conv2"]);
}

#[test]
fn half_precision_takes_no_name_that_is_taken() {
    let run = with_data();
    let mut proto = plain().into_proto();
    let graph = proto.graph.as_mut().unwrap();
    let rename = |name: &mut String| {
        if name == "conv2.weight" {
            *name = "conv1.weight.f32".to_owned();
        }
    };
    graph.initializer.iter_mut().filter_map(|t| t.name.as_mut()).for_each(rename);
    graph.node.iter_mut().flat_map(|node| &mut node.input).for_each(rename);
    quantized(&run, Model::from_proto(proto).unwrap(), &["--weights", "fp16"]);
}

/// The constants of a model as nodes, or read through `Identity`.
fn with_constants(op: &str) -> Model {
    let mut proto: ModelProto = plain().into_proto();
    let graph = proto.graph.as_mut().unwrap();
    let names: Vec<String> = graph.initializer.iter().map(|t| t.name().to_owned()).collect();
    for (at, name) in names.iter().enumerate() {
        let made = format!("{name}.made");
        let reads = if op == "Identity" { vec![name.clone()] } else { vec![] };
        let value = attribute::tensor("value", graph.initializer[at].clone());
        let value = if op == "Constant" { vec![value] } else { vec![] };
        for input in graph.node.iter_mut().flat_map(|node| &mut node.input) {
            if input == name {
                input.clone_from(&made);
            }
        }
        let node = NodeProto {
            op_type: Some(op.to_owned()),
            input: reads,
            output: vec![made],
            attribute: value,
            ..NodeProto::default()
        };
        graph.node.insert(0, node);
    }
    if op == "Constant" {
        graph.initializer.clear();
    }
    Model::from_proto(proto).unwrap()
}

#[test]
fn weights_may_be_nodes() {
    let run = with_data();
    for form in [&[][..], &["--weights", "fp16"]] {
        let stored = quantized(&run, plain(), form);
        for op in ["Constant", "Identity"] {
            assert_eq!(quantized(&run, with_constants(op), form), stored, "{op}");
        }
    }
}

#[test]
fn a_batch_normalisation_is_folded_first() {
    let run = with_data();
    let mut net = Net::new();
    let mut x = net.image.clone();
    for (name, channels) in [("conv1", [1, 8]), ("conv2", [8, 8])] {
        let [weight, _] = net.parameters(name, channels);
        x = net.conv_of(name, &[&x, &weight]);
        // Channels of very different sizes.
        let scale = numbers(8, 40).mapv(|n| (2.0 * n).exp());
        let mean = numbers(8, 41) / 4.0;
        let variance = numbers(8, 42).mapv(|n| 0.6 + n / 2.0);
        let parameters = [&scale, &(numbers(8, 43) / 4.0), &mean, &variance];
        let parameters = parameters.map(|numbers| net.builder.array("norm", numbers));
        let [scale, shift, mean, variance] = &parameters;
        x = net.node("BatchNormalization", &[&x, scale, shift, mean, variance]);
        x = net.node("Relu", &[&x]);
    }
    x = net.pooled(&x);
    x = net.linear(&x);
    let found = error(&run, net.ends(&x));
    assert!(found < 0.1, "{found}");
    assert_eq!(counts(&model(&run), "BatchNormalization"), 0);
    assert_eq!(run_as(&run, ["QLinearConv", "Conv", "QGemm"]), [2, 0, 1]);
}

/// The plain network with its linear layer as a product and a sum, after `rows`.
fn with_product(rows: impl FnOnce(&mut Net, &str) -> String, dense: bool) -> Model {
    let mut net = Net::new();
    let x = net.body(relu);
    let x = rows(&mut net, &x);
    let weight = net.builder.array("fc.weight", &matrix());
    let bias = net.builder.array("fc.bias", &row());
    let x = if dense {
        net.builder.named_node("fc", "Gemm", &[&x, &weight, &bias], vec![])
    } else {
        let product = net.builder.named_node("fc", "MatMul", &[&x, &weight], vec![]);
        net.node("Add", &[&bias, &product])
    };
    let mut proto = net.ends(&x).into_proto();
    // A layer without a name is called by what it gives.
    proto.graph.as_mut().unwrap().node.iter_mut().for_each(|node| node.name = None);
    Model::from_proto(proto).unwrap()
}

#[test]
fn a_product_and_a_sum_are_a_linear_layer() {
    let run = with_data();
    let squeezed = |net: &mut Net, x: &str| {
        let axes = net.builder.integers("axes", &[2, 3]);
        let x = net.node("GlobalAveragePool", &[x]);
        net.node("Squeeze", &[&x, &axes])
    };
    for form in [&[][..], &["--weights", "fp16"], &["--last-layer", "float"]] {
        let [linear, product] =
            [true, false].map(|dense| quantized(&run, with_product(squeezed, dense), form));
        assert_eq!(linear, product, "{form:?}");
        let kept: &[&str] = if form.contains(&"float") { &["fc"] } else { &[] };
        assert_eq!(float_layers(&run), kept);
    }
}

#[test]
fn what_stays_in_float_is_named() {
    let run = with_data();
    // A product of three dimensions is none of rows.
    let wide = |net: &mut Net, x: &str| {
        let shape = net.builder.integers("shape", &[0, 8, -1]);
        let x = net.node("Reshape", &[x, &shape]);
        let turned = attribute::ints("perm", &[0, 2, 1]);
        net.builder.node("Transpose", &[&x], vec![turned])
    };
    let mut net = Net::new();
    let x = net.body(relu);
    let x = wide(&mut net, &x);
    let weight = net.builder.array("fc.weight", &matrix());
    let x = net.builder.named_node("fc", "MatMul", &[&x, &weight], vec![]);
    let axes = attribute::ints("axes", &[1]);
    let x = net.builder.node("ReduceMean", &[&x], vec![axes, attribute::int("keepdims", 0)]);
    let ends = net.ends(&x);
    assert!(error(&run, ends.clone()) < 0.1);
    assert_eq!(float_layers(&run), ["fc"]);
    quantized(&run, ends, &["--last-layer", "float"]);
    assert_eq!(float_layers(&run), ["fc"], "it is the last layer and in float already");
}

#[test]
fn hardly_any_gain_is_said() {
    let run = with_data();
    let mut net = Net::new();
    let image = net.image.clone();
    let x = net.conv("conv1", &image, [1, 8]);
    let shape = net.builder.integers("shape", &[0, 1, -1]);
    let x = net.node("Reshape", &[&x, &shape]);
    // Most of the weights, in three dimensions.
    let weight = net.builder.array("wide.weight", &(numbers((8 * 144, CLASSES), 7) / 16.0));
    let x = net.builder.named_node("wide", "MatMul", &[&x, &weight], vec![]);
    let axes = net.builder.integers("axes", &[1]);
    let x = net.node("Squeeze", &[&x, &axes]);
    holding(&run, net.ends(&x));
    let done = quantize(&run, &ALL);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stderr.contains("in float stay `wide`"), "{done:?}");
    assert_eq!(float_layers(&run), ["wide"]);
}
