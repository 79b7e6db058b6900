//! Audits of classifiers as others write them: what they take and give besides float pixels in
//! N × C × H × W and one row of logits, through the whole program.

use ndarray::{Array1, Array4, Axis};
use ndarray_npy::NpzReader;
use rift_models::artifact::AuditReport;
use rift_models::dataset::{Dataset, Request, Split};
use rift_models::onnx::{DataType, Dim, GraphBuilder, Model, TensorType, attribute};
use rift_runtime::attack::oracle::prediction;
use rift_runtime::session::{Classifier, Opening, Pool, SessionOptions};

use std::fs;
use std::path::Path;

use crate::small_models::{CLASSES, conv_net, conv_net_behind, numbers};
use crate::{DATA, Place, report};

/// A radius in which some images break and some do not.
const EPS: &str = "12/255";
const N: usize = 40;

fn planes(batch: Dim) -> [Dim; 4] {
    [batch, Dim::Fixed(3), Dim::Fixed(8), Dim::Fixed(8)]
}

fn turn(builder: &mut GraphBuilder, image: &str) -> String {
    builder.node("Transpose", &[image], vec![attribute::ints("perm", &[0, 3, 1, 2])])
}

/// Floats, channels last.
fn channels_last() -> Model {
    let dims = [Dim::free("N"), Dim::Fixed(8), Dim::Fixed(8), Dim::Fixed(3)];
    conv_net_behind(DataType::Float, &dims, |builder, image| turn(builder, &image))
}

/// Bytes, channels last.
pub(crate) fn bytes() -> Model {
    let dims = [Dim::free("N"), Dim::free("H"), Dim::free("W"), Dim::Fixed(3)];
    conv_net_behind(DataType::Uint8, &dims, |builder, image| {
        let float = vec![attribute::int("to", DataType::Float as i64)];
        let image = builder.node("Cast", &[&image], float);
        let white = builder.scalar("white", 255.0);
        let image = builder.node("Div", &[&image, &white], vec![]);
        turn(builder, &image)
    })
}

/// A batch of its own, with a shape in the graph that insists on it.
fn batch_of(n: usize) -> Model {
    conv_net_behind(DataType::Float, &planes(Dim::Fixed(n)), |builder, image| {
        let shape = builder.integers("shape", &[n as i64, 3, 8, 8]);
        builder.node("Reshape", &[&image, &shape], vec![])
    })
}

/// What the network takes when it is normalised outside: `front` undoes it.
pub(crate) fn normalised(mean: [f32; 3], std: [f32; 3]) -> Model {
    conv_net_behind(DataType::Float, &planes(Dim::free("N")), |builder, image| {
        let [mean, std] = [("mean", mean), ("std", std)].map(|(name, values)| {
            let values = Array4::from_shape_vec((1, 3, 1, 1), values.to_vec()).unwrap();
            builder.array(name, &values)
        });
        let image = builder.node("Mul", &[&image, &std], vec![]);
        builder.node("Add", &[&image, &mean], vec![])
    })
}

/// A second head, of other classes, before the one that counts.
pub(crate) fn two_heads() -> Model {
    let mut proto = conv_net(None).into_proto();
    let graph = proto.graph.as_mut().unwrap();
    "main".clone_into(&mut graph.node.last_mut().unwrap().output[0]);
    graph.output[0].name = Some("main".to_owned());
    let model = Model::from_proto(proto).unwrap();
    let mut builder = GraphBuilder::extending(model);
    let flat = builder.node("Flatten", &["image"], vec![]);
    let weight = ndarray::Array2::from_shape_vec((192, 7), numbers(8, 192 * 7, 0.5)).unwrap();
    let weight = builder.array("auxiliary_weight", &weight);
    builder.node_making("auxiliary", "MatMul", &[&flat, &weight], vec![]).unwrap();
    builder.output("auxiliary", DataType::Float, &[Dim::free("N"), Dim::Fixed(7)]);
    let mut proto = builder.finish().unwrap().into_proto();
    proto.graph.as_mut().unwrap().output.reverse();
    Model::from_proto(proto).unwrap()
}

/// As writers before 2019 wrote every model: all that is stored is an input too.
fn listed_initializers() -> Model {
    let mut proto = conv_net(None).into_proto();
    let graph = proto.graph.as_mut().unwrap();
    for tensor in &graph.initializer {
        let dims = tensor.dims.iter().map(|d| Dim::Fixed(*d as usize)).collect();
        let listed = TensorType { element: DataType::Float, dims: Some(dims) };
        graph.input.push(listed.declare(tensor.name()));
    }
    Model::from_proto(proto).unwrap()
}

/// No linear layer that a size would have to fit.
fn any_size() -> Model {
    let mut builder = GraphBuilder::new("small", 17);
    let dims = [Dim::free("N"), Dim::Fixed(3), Dim::free("H"), Dim::free("W")];
    let image = builder.input("image", DataType::Float, &dims).unwrap();
    let weight = Array4::from_shape_vec((CLASSES, 3, 3, 3), numbers(2, CLASSES * 27, 0.6));
    let weight = builder.array("weight", &weight.unwrap());
    let conv = builder.node("Conv", &[&image, &weight], vec![]);
    let relu = builder.node("Relu", &[&conv], vec![]);
    let mean = builder.node("GlobalAveragePool", &[&relu], vec![]);
    builder.node_making("logits", "Flatten", &[&mean], vec![]).unwrap();
    builder.output("logits", DataType::Float, &[Dim::free("N"), Dim::Fixed(CLASSES)]);
    builder.finish().unwrap()
}

/// float16 inside and out.
fn halves() -> Model {
    let mut builder = GraphBuilder::new("small", 17);
    let image = builder.input("image", DataType::Float16, &planes(Dim::free("N"))).unwrap();
    let flat = builder.node("Flatten", &[&image], vec![]);
    let weight = ndarray::Array2::from_shape_vec((192, CLASSES), numbers(5, 192 * CLASSES, 0.5));
    let weight = builder.array("weight", &weight.unwrap().mapv(half::f16::from_f32));
    builder.node_making("logits", "MatMul", &[&flat, &weight], vec![]).unwrap();
    builder.output("logits", DataType::Float16, &[Dim::free("N"), Dim::Fixed(CLASSES)]);
    builder.finish().unwrap()
}

/// Audits `model` and returns its report, whose JSON and images stay in `place`.
fn audited(model: &Model, more: &[&str]) -> (Place, AuditReport) {
    let place = Place::with(model);
    let n = N.to_string();
    let few =
        ["audit", "m.onnx", "--data", DATA, "--limit", &n, "--steps", "4", "--json", "a.json"];
    let saved = ["--save-adversarial", "a.npz"];
    let ended = place.run(&[&few, &saved[..], more].concat());
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    let report = report(&place.path("a.json"));
    (place, report)
}

#[test]
fn the_same_network_behind_another_input_is_as_robust() {
    let (_place, plain) = audited(&conv_net(None), &["--eps", EPS]);
    let broken = plain.attacks[0].broken;
    assert!(0 < broken && broken < plain.attacks[0].attacked, "{broken}");
    for (model, more) in [
        (channels_last(), &[][..]),
        (batch_of(1), &[]),
        (batch_of(4), &[]),
        (two_heads(), &["--output", "main"]),
        (listed_initializers(), &[]),
    ] {
        let (_place, report) = audited(&model, &[&["--eps", EPS], more].concat());
        assert_eq!(report.samples, plain.samples);
    }
}

#[test]
fn what_is_normalised_outside_is_as_robust() {
    let (_place, plain) = audited(&conv_net(None), &["--eps", EPS]);
    let (mean, std) = ([0.5, 0.25, 0.375], [0.25, 0.5, 0.125]);
    let in_pixels = ["--mean", "0.5,0.25,0.375", "--std", "0.25,0.5,0.125"];
    let in_levels = ["--scale", "256", "--mean", "128,64,96", "--std", "64,128,32"];
    for more in [&in_pixels[..], &in_levels] {
        let (place, report) = audited(&normalised(mean, std), &[&["--eps", EPS], more].concat());
        // The same but for rounding.
        assert_eq!(report.clean_accuracy, plain.clean_accuracy);
        let differ = report.samples.iter().zip(&plain.samples);
        let differ = differ.filter(|(a, b)| a.broken_by != b.broken_by).count();
        assert!(differ <= 1, "{differ}");
        let ended = place.run(&["audit", "--replay", "a.json"]);
        assert!(ended.out.contains("bit for bit"), "{} {}", ended.out, ended.err);
        let classes = place.run(&[&["info", "m.onnx"], more].concat());
        assert_eq!(classes.code, 0, "{}", classes.err);
    }
    let (_place, wrong) = audited(&normalised(mean, std), &["--eps", EPS]);
    assert_ne!(wrong.samples, plain.samples);
}

#[test]
fn bytes_are_broken_by_bytes() {
    let (_place, plain) = audited(&conv_net(None), &["--eps", EPS]);
    // Of 15.3 levels 15 can be used, and a length in L2 is shorter than it could be.
    for (more, eps) in [
        (["--eps", EPS, "--norm", "linf"], 12.0 / 255.0),
        (["--eps", "0.06", "--norm", "linf"], 15.0 / 255.0),
        (["--eps", "0.9", "--norm", "l2"], 0.9),
    ] {
        let (place, report) = audited(&bytes(), &more);
        assert_eq!(report.clean_accuracy, plain.clean_accuracy);
        assert!(report.attacks[0].broken > 0);
        let mut npz = NpzReader::new(fs::File::open(place.path("a.npz")).unwrap()).unwrap();
        let x: Array4<f32> = npz.by_name("x").unwrap();
        let y: Array1<i64> = npz.by_name("y").unwrap();
        assert!(x.iter().all(|pixel| (pixel * 255.0 - (pixel * 255.0).round()).abs() < 1e-4));
        let opening = Opening { image: Some([3, 8, 8]), ..Opening::default() };
        let classifier = Classifier::open_with(&place.path("m.onnx"), &opening).unwrap();
        let mut pool = Pool::new(&classifier, &SessionOptions::default(), N).unwrap();
        let logits = pool.logits(&x.view()).unwrap();
        for (sample, row) in report.samples.iter().zip(logits.rows()) {
            assert_eq!(sample.label as i64, y[sample.index]);
            if sample.broken_by.as_deref() == Some("pgd") {
                assert_eq!(prediction(&row), sample.adversarial_prediction);
                assert!(0.0 < sample.distance && sample.distance <= eps + 1e-6);
            }
        }
        if more[1] == EPS {
            let difference = report.attacks[0].broken.abs_diff(plain.attacks[0].broken);
            assert!(difference <= 2, "rounding costs hardly anything: {difference}");
        }
    }
}

#[test]
fn what_is_saved_is_data_for_the_next_audit() {
    for (model, more) in [
        (channels_last(), &[][..]),
        (bytes(), &[]),
        (normalised([0.5; 3], [0.25; 3]), &["--mean", "0.5", "--std", "0.25"]),
    ] {
        let (place, report) = audited(&model, &[&["--eps", EPS], more].concat());
        let again = ["audit", "m.onnx", "--data", "a.npz", "--attack", "fgsm", "--json", "b.json"];
        let ended = place.run(&[&again[..], more].concat());
        assert_eq!((ended.code, ended.err.as_str()), (0, ""));
        let clean = crate::report(&place.path("b.json")).clean_accuracy;
        assert_eq!(clean, report.robust_accuracy);
    }
}

#[test]
fn a_model_that_looks_at_the_whole_batch_is_asked_about_one_image_at_a_time() {
    let mixing = conv_net_behind(DataType::Float, &planes(Dim::free("N")), |builder, image| {
        let mean = vec![attribute::ints("axes", &[0])];
        let mean = builder.node("ReduceMean", &[&image], mean);
        builder.node("Sub", &[&image, &mean], vec![])
    });
    let corrupted =
        ["--attack", "square", "--queries", "3", "--corruptions", "fog", "--severity", "5"];
    let few = ["audit", "m.onnx", "--data", DATA, "--limit", "24", "--json", "a.json"];
    let place = Place::with(&mixing);
    let mut reports = ["1", "2", "16"].map(|batch| {
        let ended = place.run(&[&few[..], &corrupted, &["--batch-size", batch]].concat());
        assert_eq!((ended.code, ended.err.as_str()), (0, ""));
        report(&place.path("a.json"))
    });
    for report in &mut reports {
        assert!(report.warnings.iter().any(|w| w.starts_with("batch-dependence: 24 of 24")));
        // An image less itself is grey: to such a model they are all one.
        let first = report.samples[0].clean_prediction;
        assert!(report.samples.iter().all(|sample| sample.clean_prediction == first));
        report.attacks.iter_mut().for_each(|attack| attack.seconds = None);
    }
    let [one, two, many] = reports;
    assert!(one.corruptions.is_some());
    assert_eq!(one, two);
    assert_eq!(one, many);
}

#[test]
fn halves_are_differentiated_in_float() {
    let (_place, report) = audited(&halves(), &["--eps", EPS]);
    assert!(report.attacks[0].broken > 0 && report.attacks[0].gradients > 0);
    assert!(report.robust_accuracy < report.clean_accuracy);
}

#[test]
fn a_free_size_follows_the_data_or_what_is_asked_for() {
    let (place, report) = audited(&any_size(), &["--eps", EPS]);
    assert_eq!(report.n, N);
    let request = Request::new(Split::Test).limit(N);
    let data = Dataset::open(Path::new(DATA), &request).unwrap();
    assert_eq!(report.model.data, data.digest);
    let n = N.to_string();
    let few = ["audit", "m.onnx", "--data", DATA, "--limit", &n, "--steps", "2"];
    let message = place.fails(&[&few[..], &["--size", "12x10"]].concat());
    assert!(message.contains("`--resize` makes them 12x10"), "{message}");
    let more = ["--size", "12x10", "--resize", "--json", "b.json", "--save-adversarial", "b.npz"];
    let ended = place.run(&[&few[..], &more].concat());
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    let resized = crate::report(&place.path("b.json"));
    assert_eq!(resized.model.data, data.resized(12, 10).digest);
    let mut npz = NpzReader::new(fs::File::open(place.path("b.npz")).unwrap()).unwrap();
    let x: Array4<f32> = npz.by_name("x").unwrap();
    assert_eq!((x.len_of(Axis(2)), x.len_of(Axis(3))), (12, 10));
    let ended = place.run(&["audit", "--replay", "b.json"]);
    assert!(ended.out.contains("bit for bit"), "{} {}", ended.out, ended.err);
}

#[test]
fn data_of_another_size_is_resized_where_that_is_asked_for() {
    let place = Place::with(&conv_net(None));
    let few = ["audit", "m.onnx", "--data", "synthetic:4x3x11x9", "--limit", "8", "--steps", "2"];
    let message = place.fails(&[&few[..], &["--json", "a.json"]].concat());
    assert!(message.contains("[3, 11, 9]") && message.contains("--resize"), "{message}");
    let ended = place.run(&[&few[..], &["--resize"]].concat());
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    let grey = ["audit", "m.onnx", "--data", "synthetic:4x1x8x8", "--limit", "8", "--resize"];
    let message = place.fails(&grey);
    assert!(message.contains("images of 3 channels"), "{message}");
}

#[test]
fn the_other_commands_read_such_models_too() {
    let place = Place::with(&bytes());
    let ended = place.run(&["info", "m.onnx", "--size", "8"]);
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    let takes = "bytes `image` N × H × W × C, free in size";
    assert!(ended.out.contains(takes), "{}", ended.out);
    assert!(ended.out.contains("8 × 8") && !ended.out.contains("gradient    none"));
    let ended = place.run(&["gradient", "m.onnx", "--size", "8x8", "--out", "g.onnx"]);
    assert!(ended.out.contains("image [N, 8, 8, 3], cotangent [N, 4]"), "{}", ended.out);
    let ended = place.run(&["bench", "m.onnx", "--size", "8", "--repetitions", "1"]);
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    image::RgbImage::from_pixel(8, 8, image::Rgb([9, 99, 199])).save(place.path("p.png")).unwrap();
    let of_bytes = place.run(&["classify", "m.onnx", "p.png", "--size", "8"]);
    conv_net(None).write(&place.path("plain.onnx")).unwrap();
    let plain = place.run(&["classify", "plain.onnx", "p.png"]);
    assert_eq!((of_bytes.code, of_bytes.out), (0, plain.out));
}

#[test]
fn a_reading_that_does_not_fit_is_one_line() {
    let place = Place::with(&two_heads());
    let audit = ["audit", "m.onnx", "--data", DATA, "--limit", "8", "--json", "a.json"];
    let message = place.fails(&audit);
    for part in ["2 outputs", "`--output` names one", "`auxiliary`", "`main`"] {
        assert!(message.contains(part), "{message}");
    }
    let two = ["--output", "main"];
    for (more, part) in [
        (&["--output", "other"][..], "no output is called `other`"),
        (&[&two[..], &["--mean", "0.5,0.5"]].concat(), "2 numbers for mean, expected 1 or 3"),
        (&[&two[..], &["--std", "0"]].concat(), "expected a number above 0"),
        (&[&two[..], &["--size", "9"]].concat(), "takes images of 8x8, `--size` says 9x9"),
        (&[&two[..], &["--size", "0x9"]].concat(), "240x320"),
    ] {
        let message = place.fails(&[&audit, more].concat());
        assert!(message.contains(part), "{more:?}: {message}");
    }
    bytes().write(&place.path("m.onnx")).unwrap();
    let message = place.fails(&[&audit[..], &["--mean", "0.5"]].concat());
    assert!(message.contains("takes bytes"), "{message}");
    let mut builder = GraphBuilder::new("text", 17);
    let words = builder.input("words", DataType::Int64, &[Dim::free("N"), Dim::Fixed(9)]).unwrap();
    let float = vec![attribute::int("to", DataType::Float as i64)];
    let y = builder.node("Cast", &[&words], float);
    builder.output(&y, DataType::Float, &[Dim::free("N"), Dim::Fixed(9)]);
    builder.finish().unwrap().write(&place.path("m.onnx")).unwrap();
    let message = place.fails(&audit);
    assert!(message.contains("not an image classifier") && message.contains("words"), "{message}");
}
