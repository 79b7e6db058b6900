//! `rift-exporter quantize` as a process.

use std::path::Path;

use ndarray::{Array1, Array2, Array4, Axis};
use ndarray_npy::NpzWriter;
use rift_models::artifact::{Bundle, Card, WeightFormat, atomic, read_json};
use rift_models::onnx::proto::{ModelProto, NodeProto, TensorProto};
use rift_models::onnx::{DataType, Dim, GraphIndex, Model, TensorType, tensor};
use rift_models::threat::{AttackSpec, Norm};
use rift_runtime::session::{Classifier, Pool, SessionOptions, ahead};

use crate::fixture::{self, Finished, Run};
use crate::reference;

/// Images that the network classifies correctly by their definition: their labels are what it says.
const IMAGES: usize = 96;

pub(crate) fn with_data() -> Run {
    let images = images();
    let mut logits = Array2::zeros((0, 0));
    // Without the logits that all images share, those of different brightness differ in class.
    let run = Run::with(|graph, tensors| {
        logits = reference::logits(graph, tensors, &images);
        let mean = logits.mean_axis(Axis(0)).unwrap();
        let bias = tensors.get_mut("linear.bias").unwrap();
        bias.iter_mut().zip(&mean).for_each(|(bias, mean)| *bias -= mean);
        logits -= &mean;
    });
    run.exported();
    let labels: Array1<i64> = logits
        .rows()
        .into_iter()
        .map(|row| (0..3).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap() as i64)
        .collect();
    assert!((0..3).filter(|class| labels.iter().any(|label| label == class)).count() > 1);
    write(&run.path("data.npz"), &images, &labels);
    run
}

/// Dark, middling and bright noise in turn.
pub(crate) fn images() -> Array4<f32> {
    let mut images = reference::images(IMAGES, [1, 12, 12], 21);
    for (n, mut image) in images.axis_iter_mut(Axis(0)).enumerate() {
        image *= [0.1, 0.5, 1.0][n % 3];
    }
    images
}

fn write(path: &Path, images: &Array4<f32>, labels: &Array1<i64>) {
    let mut archive = NpzWriter::new(std::fs::File::create(path).unwrap());
    archive.add_array("x", images).unwrap();
    archive.add_array("y", labels).unwrap();
    archive.finish().unwrap();
}

pub(crate) fn quantize(run: &Run, more: &[&str]) -> Finished {
    quantize_on(run, "data.npz", more)
}

fn quantize_on(run: &Run, data: &str, more: &[&str]) -> Finished {
    let usual = ["quantize", "bundle", "--data", data, "--out", "small", "--steps", "2"];
    let calibrates = !more.contains(&"fp16");
    let images = |flag| {
        let is_idle = flag == "--calibration-images" && !calibrates;
        if is_idle || more.contains(&flag) { vec![] } else { vec![flag, "48"] }
    };
    let [calibration, exam] = ["--calibration-images", "--images"].map(images);
    run.rift(&[&usual[..], &calibration, &exam, more].concat())
}

pub(crate) fn card(run: &Run) -> Card {
    read_json(&run.path("small/card.json"), "card").unwrap()
}

pub(crate) fn counts(model: &Model, op: &str) -> usize {
    model.graph().node.iter().filter(|node| node.op_type() == op).count()
}

#[test]
fn a_network_becomes_integers_that_onnx_runtime_computes_with() {
    let run = with_data();
    let done = quantize(&run, &["--max-drop", "8"]);
    assert_eq!(done.code, 0, "{done:?}");
    let bundle = Bundle::open(&run.path("small")).unwrap();
    let quantization = bundle.card.quantization.clone().unwrap();
    let float = Bundle::open(&run.path("bundle")).unwrap();
    assert_eq!(quantization.twin, float.card.model);
    assert_eq!(quantization.clean.float.correct, 48, "the labels are the network's own");
    assert!(quantization.robust.float.n == 48 && quantization.float_layers.is_empty());
    assert!(done.stdout.contains("lost") && done.stdout.contains("pgd-2 linf 8/255"), "{done:?}");
    assert_eq!(bundle.card.metrics[0].accuracy, quantization.clean.quantized);
    assert_eq!(bundle.card.lineage.parents["model"], float.card.model);
    // The kernels that run.
    let classifier = Classifier::open(&run.path("small")).unwrap();
    let optimised = run.path("optimised.onnx");
    ahead::optimise(&classifier, &optimised, ahead::Reach::Portable).unwrap();
    let model = Model::read(&optimised).unwrap();
    let found = ["QLinearConv", "QLinearAdd", "QLinearGlobalAveragePool", "QGemm", "Conv", "Gemm"]
        .map(|op| counts(&model, op));
    assert_eq!(found, [9, 3, 1, 1, 0, 0]);
}

#[test]
fn integers_stay_near_the_numbers_that_they_stand_for() {
    let run = with_data();
    for (activations, calibration) in [("u8", "minmax"), ("s8", "mse"), ("u8", "entropy")] {
        let flags = ["--activations", activations, "--calibration", calibration];
        let done = quantize(&run, &[&flags[..], &["--max-drop", "100"]].concat());
        assert_eq!(done.code, 0, "{done:?}");
        let card = card(&run);
        // Logits of about 1 through ten layers of 8 bits.
        assert!(card.parity.max_abs_difference < 0.2, "{calibration}: {:?}", card.parity);
        assert!(card.parity.holds() && card.parity.max_abs_difference > 1e-4);
        let method = card.quantization.unwrap().calibration.unwrap().method;
        assert_eq!(method, calibration);
    }
}

#[test]
fn weights_and_biases_are_what_the_format_says() {
    let run = with_data();
    let done = quantize(&run, &["--max-drop", "100", "--reduce-range"]);
    assert_eq!(done.code, 0, "{done:?}");
    let model = Model::read(&run.path("small/model.onnx")).unwrap();
    let index = GraphIndex::new(&model).unwrap();
    let made = |value: &str| &index.nodes()[index.producer(value).unwrap()];
    let layers: Vec<&NodeProto> =
        index.nodes().iter().filter(|n| matches!(n.op_type(), "Conv" | "Gemm")).collect();
    assert_eq!(layers.len(), 10);
    for layer in layers {
        let [input, weight, bias] = [0, 1, 2].map(|slot| made(&layer.input[slot]));
        assert!([input, weight, bias].iter().all(|n| n.op_type() == "DequantizeLinear"));
        let integers = tensor::load::<i8>(index.constant_input(weight, 0).unwrap()).unwrap();
        assert!(integers.iter().all(|w| w.abs() <= 63) && integers.iter().any(|w| w.abs() == 63));
        let scale = |node| tensor::load::<f32>(index.constant_input(node, 1).unwrap()).unwrap();
        let units = scale(weight) * scale(input).iter().copied().next().unwrap();
        assert_eq!(scale(bias), units, "{}", layer.name());
        let stored = index.constant_input(bias, 0).unwrap();
        assert_eq!(tensor::data_type(stored), DataType::Int32);
    }
}

#[test]
fn no_class_gains_on_the_others_by_rounding() {
    let run = with_data();
    let images = images();
    let logits = |bundle: &str| {
        let classifier = Classifier::open(&run.path(bundle)).unwrap();
        let options = SessionOptions { threads: 1, batch: 16 };
        Pool::new(&classifier, &options, IMAGES).unwrap().logits(&images.view()).unwrap()
    };
    // The mean error of the logits over the images, of which half have calibrated.
    let gain = |correction: &str| {
        let flags = ["--bias-correction", correction, "--max-drop", "100"];
        let done = quantize(&run, &flags);
        assert_eq!(done.code, 0, "{done:?}");
        (logits("small") - logits("bundle")).mean_axis(Axis(0)).unwrap()
    };
    let size = |error: Array1<f32>| error.iter().fold(0.0_f32, |most, e| most.max(e.abs()));
    let [with, without] = ["true", "false"].map(|correction| size(gain(correction)));
    assert!(with < without / 2.0, "{with} of {without}");
}

#[test]
fn layers_stay_in_float_by_name_by_policy_and_by_search() {
    let run = with_data();
    let named = quantize(&run, &["--keep-float", "layer2.0.conv1, linear", "--max-drop", "100"]);
    assert_eq!(named.code, 0, "{named:?}");
    assert_eq!(card(&run).quantization.unwrap().float_layers, ["layer2.0.conv1", "linear"]);
    let unknown = quantize(&run, &["--keep-float", "layer9"]);
    unknown.fails(2, &["no layer `layer9`", "`layer2.0.conv1`"]);
    let policy = ["--first-layer", "float", "--last-layer", "float", "--max-drop", "100"];
    assert_eq!(quantize(&run, &policy).code, 0);
    assert_eq!(card(&run).quantization.unwrap().float_layers, ["conv1", "linear"]);
}

#[test]
fn a_search_finds_the_layers_that_are_worth_it() {
    let run = with_data();
    let drops = |run: &Run| {
        let quantization = card(run).quantization.unwrap();
        (quantization.clean.drop().max(quantization.robust.drop()), quantization.float_layers)
    };
    // Ranges that are too small cost something: the mildest that cost more than a little.
    let narrow = |share| ["--calibration", "percentile", "--percentile", share];
    let lost_by = |share| {
        let done = quantize(&run, &[&narrow(share)[..], &["--max-drop", "100"]].concat());
        assert_eq!(done.code, 0, "{done:?}");
        drops(&run).0
    };
    let shares = ["99.5", "99", "98", "97", "96", "95", "93", "90"];
    let (share, lost) = shares
        .into_iter()
        .map(|share| (share, lost_by(share)))
        .find(|(_, lost)| *lost > 5.0)
        .unwrap();
    let narrow = narrow(share);
    let limit = lost.ceil().to_string();
    let flags = ["--keep-float", "auto", "--max-drop", limit.as_str()];
    let found = quantize(&run, &[&narrow[..], &flags].concat());
    assert_eq!(found.code, 0, "{found:?}");
    let (left, kept) = drops(&run);
    assert!(left < lost && !kept.is_empty() && kept.len() < 10, "{left} of {lost}: {kept:?}");
}

#[test]
fn too_much_loss_is_refused_and_nothing_is_written() {
    let run = with_data();
    let narrow = ["--calibration", "percentile", "--percentile", "60"];
    let refused = quantize(&run, &narrow);
    refused.fails(1, &["nothing written", "clean accuracy falls by", "accepted is 1"]);
    assert!(!run.path("small").exists());
    let kept = quantize(&run, &["--max-drop", "100"]);
    assert_eq!(kept.code, 0, "{kept:?}");
    let before = std::fs::read(run.path("small/card.json")).unwrap();
    assert_eq!(quantize(&run, &narrow).code, 1);
    assert_eq!(std::fs::read(run.path("small/card.json")).unwrap(), before);
}

#[test]
fn half_precision_halves_the_size_alone() {
    let run = with_data();
    let done = quantize(&run, &["--weights", "fp16"]);
    assert_eq!(done.code, 0, "{done:?}");
    let card = card(&run);
    assert!(card.parity.max_abs_difference < 5e-3, "{:?}", card.parity);
    let quantization = card.quantization.unwrap();
    assert_eq!((quantization.weights, quantization.activations), (WeightFormat::Fp16, None));
    assert!(quantization.calibration.is_none());
    let again = run.rift(&["quantize", "small", "--data", "data.npz", "--out", "smaller"]);
    again.fails(2, &["`small` is quantised already"]);
    // What it would not do is refused.
    let idle = ["--keep-float", "auto", "--calibration", "mse", "--reduce-range"];
    quantize(&run, &[&["--weights", "fp16"], &idle[..]].concat())
        .fails(2, &["`--calibration`, `--reduce-range`, `--keep-float auto`", "`--weights fp16`"]);
}

/// A bundle as an older program may have written its model: operator set and constants as given.
pub(crate) fn aged(run: &Run, age: impl FnOnce(&mut ModelProto)) {
    let path = run.path("bundle/model.onnx");
    let mut proto = Model::read(&path).unwrap().into_proto();
    age(&mut proto);
    let digest = Model::from_proto(proto).unwrap().write(&path).unwrap();
    fixture::rewrite(&run.path("bundle"), |card| card.model = digest);
}

#[test]
fn models_of_other_programs_become_integers() {
    let run = with_data();
    aged(&run, |proto| {
        proto.ir_version = Some(3);
        let graph = proto.graph.as_mut().unwrap();
        // A bias as a matrix of one row, and constants among the inputs.
        let bias = graph.initializer.iter_mut().find(|t| t.name() == "linear.bias").unwrap();
        bias.dims.insert(0, 1);
        let listed = |constant: &TensorProto| {
            let dims = tensor::shape(constant).unwrap().into_iter().map(Dim::Fixed).collect();
            let element = tensor::data_type(constant);
            TensorType { element, dims: Some(dims) }.declare(constant.name())
        };
        let listed: Vec<_> = graph.initializer.iter().map(listed).collect();
        graph.input.extend(listed);
    });
    for form in [&["--max-drop", "100"][..], &["--weights", "fp16"]] {
        let done = quantize(&run, form);
        assert_eq!(done.code, 0, "{done:?}");
        let model = Model::read(&run.path("small/model.onnx")).unwrap();
        assert_eq!(model.graph().input.len(), 1);
        assert!(model.proto().ir_version() >= 4);
    }
    aged(&run, |proto| proto.opset_import[0].version = Some(11));
    quantize(&run, &[]).fails(2, &["operator set 11", "expected 13"]);
}

#[test]
fn an_archive_has_the_threat_model_of_its_bundle() {
    let run = with_data();
    let threat = AttackSpec { norm: Norm::L2, eps: "0.5".parse().unwrap(), ..AttackSpec::pgd20() };
    fixture::rewrite(&run.path("bundle"), |card| card.threat = Some(threat.clone()));
    let packed = run.rift(&["deploy", "bundle", "--archive", "bundle.tar.zst"]);
    assert_eq!(packed.code, 0, "{packed:?}");
    let usual = ["quantize", "bundle.tar.zst", "--data", "data.npz", "--out", "small"];
    let few = ["--images", "48", "--calibration-images", "48", "--steps", "2", "--max-drop", "100"];
    let done = run.rift(&[&usual[..], &few].concat());
    assert_eq!(done.code, 0, "{done:?}");
    let attack = self::card(&run).quantization.unwrap().attack;
    assert_eq!((attack.norm, attack.eps), (threat.norm, threat.eps));
}

#[test]
fn the_same_request_gives_the_same_bytes() {
    let run = with_data();
    let read =
        || ["model.onnx", "card.json"].map(|f| std::fs::read(run.path("small").join(f)).unwrap());
    assert_eq!(quantize(&run, &["--max-drop", "100", "--threads", "1"]).code, 0);
    let first = read();
    assert_eq!(quantize(&run, &["--max-drop", "100", "--threads", "2"]).code, 0);
    assert_eq!(read(), first);
}

#[test]
fn bad_input_is_one_line() {
    let run = with_data();
    let other = reference::images(60, [1, 14, 12], 1);
    write(&run.path("other.npz"), &other, &Array1::zeros(60));
    quantize_on(&run, "other.npz", &[])
        .fails(2, &["`other.npz` are of [1, 14, 12]", "the model takes [1, 12, 12]"]);
    quantize(&run, &["--calibration-images", "4000"])
        .fails(2, &["expected 4000 for `--calibration-images`", "found 48 train images"]);
    quantize(&run, &["--images", "49"]).fails(2, &["expected 49 for `--images`"]);
    quantize_on(&run, "nowhere", &[]).fails(2, &["nowhere"]);
    quantize(&run, &["--eps", "2"]).fails(2, &["eps `2` is larger"]);
    quantize(&run, &["--max-drop", "-1"]).fails(2, &["'-1'"]);
    quantize(&run, &["--percentile", "99"]).fails(2, &["`--calibration percentile`"]);
    quantize(&run, &["--keep-float", "auto,conv1"]).fails(2, &["`auto` by itself"]);
    run.rift(&["quantize", "bundle", "--data", "data.npz", "--out", "./bundle/../bundle"])
        .fails(2, &["the float model's own bundle"]);
    let bare = run.path("bundle/model.onnx");
    run.rift(&["quantize", bare.to_str().unwrap(), "--data", "data.npz", "--out", "x"])
        .fails(2, &["is not a bundle"]);
    let many = Array1::from_iter((0..IMAGES).map(|i| (i % 5) as i64));
    write(&run.path("classes.npz"), &reference::images(IMAGES, [1, 12, 12], 2), &many);
    quantize_on(&run, "classes.npz", &[]).fails(2, &["knows 3 classes, `classes.npz` has 5"]);
    assert_eq!(quantize(&run, &["--max-drop", "100"]).code, 0);
    run.rift(&["quantize", "small", "--data", "data.npz", "--out", "smaller"])
        .fails(2, &["`small` is quantised already", "QuantizeLinear"]);
    assert!(!run.path("smaller").exists());
    // A card that says another model.
    let path = run.path("bundle/card.json");
    let mut card: Card = read_json(&path, "card").unwrap();
    card.model = card.probe.clone();
    atomic::write_json(&path, &card).unwrap();
    quantize(&run, &[]).fails(2, &["`bundle/model.onnx` was changed"]);
}

#[test]
fn classified_alike_by_any_number_of_workers() {
    let run = with_data();
    assert_eq!(quantize(&run, &["--max-drop", "100"]).code, 0);
    let classifier = Classifier::open(&run.path("small")).unwrap();
    let images = reference::images(20, [1, 12, 12], 5);
    let logits = |threads, batch| {
        let options = SessionOptions { threads, batch };
        Pool::new(&classifier, &options, 20).unwrap().logits(&images.view()).unwrap()
    };
    assert_eq!(logits(1, 16), logits(2, 3));
}
