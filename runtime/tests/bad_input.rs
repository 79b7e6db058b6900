//! Models and data that cannot be meant: one line, status 2, and nothing half-written.

use std::fs;

use rift_models::onnx::{DataType, Dim, GraphBuilder, Model, attribute};

use super::small_models::{conv_net, linear_net, rounding_net};
use super::{DATA, Place, audit};

/// Every file that an audit can write.
const FILES: [&str; 8] =
    ["--json", "a.json", "--html", "a.html", "--save-adversarial", "a.npz", "--junit", "a.xml"];

fn refused(place: &Place, more: &[&str]) -> String {
    place.fails(&audit(&[&FILES[..], more].concat()))
}

/// A classifier of rows of numbers.
fn table() -> Model {
    let mut builder = GraphBuilder::new("table", 17);
    let dims = [Dim::free("N"), Dim::Fixed(12)];
    let row = builder.input("row", DataType::Float, &dims).unwrap();
    builder.node_making("logits", "Relu", &[&row], vec![]).unwrap();
    builder.output("logits", DataType::Float, &dims);
    builder.finish().unwrap()
}

/// A classifier of two classes that gives one number an image.
fn one_logit() -> Model {
    let mut builder = GraphBuilder::new("one", 17);
    let dims = [Dim::free("N"), Dim::Fixed(3), Dim::Fixed(8), Dim::Fixed(8)];
    let image = builder.input("image", DataType::Float, &dims).unwrap();
    let flat = builder.node("Flatten", &[&image], vec![]);
    let weight = builder.array("weight", &ndarray::Array2::<f32>::ones((192, 1)));
    builder.node_making("logits", "MatMul", &[&flat, &weight], vec![]).unwrap();
    builder.output("logits", DataType::Float, &[Dim::free("N"), Dim::Fixed(1)]);
    builder.finish().unwrap()
}

/// A classifier of tokens, as language models are exported.
fn text() -> Model {
    let mut builder = GraphBuilder::new("text", 17);
    let dims = [Dim::free("N"), Dim::Fixed(16)];
    let tokens = builder.input("input_ids", DataType::Int64, &dims).unwrap();
    let mask = builder.input("attention_mask", DataType::Int64, &dims).unwrap();
    let sum = builder.node("Add", &[&tokens, &mask], vec![]);
    let to_float = vec![attribute::int("to", 1)];
    builder.node_making("logits", "Cast", &[&sum], to_float).unwrap();
    builder.output("logits", DataType::Float, &dims);
    builder.finish().unwrap()
}

#[test]
fn a_model_without_an_image() {
    let message = refused(&Place::with(&table()), &[]);
    assert!(message.contains("m.onnx") && message.contains("row"), "{message}");
    assert!(message.contains("expected"), "{message}");
}

#[test]
fn a_text_model() {
    let message = refused(&Place::with(&text()), &[]);
    assert!(message.contains("m.onnx") && message.contains("input_ids"), "{message}");
    assert!(message.contains("expected"), "{message}");
}

#[test]
fn an_operator_without_a_gradient() {
    let message = refused(&Place::with(&rounding_net()), &[]);
    assert!(message.contains("Round") && message.contains("rounding"), "{message}");
    assert!(message.contains("--attack square"), "{message}");
}

/// A classifier that looks up a row by the brightest pixel, and has only the first.
fn failing() -> Model {
    let mut builder = GraphBuilder::new("failing", 17);
    let dims = [Dim::free("N"), Dim::Fixed(3), Dim::Fixed(8), Dim::Fixed(8)];
    let image = builder.input("image", DataType::Float, &dims).unwrap();
    let flat = builder.node("Flatten", &[&image], vec![]);
    let axis = vec![attribute::ints("axes", &[1]), attribute::int("keepdims", 0)];
    let brightest = builder.node("ReduceMax", &[&flat], axis);
    let many = builder.scalar("many", 1000.0);
    let scaled = builder.node("Mul", &[&brightest, &many], vec![]);
    let row = builder.node("Cast", &[&scaled], vec![attribute::int("to", 7)]);
    let rows = builder.array("rows", &ndarray::Array2::<f32>::zeros((1, 4)));
    builder.node_making("logits", "Gather", &[&rows, &row], vec![]).unwrap();
    builder.output("logits", DataType::Float, &[Dim::free("N"), Dim::Fixed(4)]);
    builder.finish().unwrap()
}

#[test]
fn a_model_that_fails_on_an_image() {
    let place = Place::with(&failing());
    let arguments = ["audit", "m.onnx", "--data", DATA, "--attack", "square"];
    let message = place.fails(&[&arguments[..], &FILES].concat());
    assert!(message.contains("fails during the audit"), "{message}");
}

#[test]
fn labels_outside_the_classes() {
    let place = Place::with(&conv_net(None));
    let arguments = ["audit", "m.onnx", "--data", "synthetic:9x3x8x8"];
    let message = place.fails(&[&arguments[..], &FILES].concat());
    assert!(message.contains("4 classes") && message.contains("label"), "{message}");
}

#[test]
fn fewer_images_than_asked_for() {
    let place = Place::with(&conv_net(None));
    let arguments = ["audit", "m.onnx", "--data", "synthetic:4x3x8x8,test=20", "--limit", "21"];
    let message = place.fails(&[&arguments[..], &FILES].concat());
    assert!(message.contains("20 images") && message.contains("21 are asked for"), "{message}");
}

#[test]
fn images_of_another_size() {
    let place = Place::with(&conv_net(None));
    let arguments = ["audit", "m.onnx", "--data", "synthetic:4x3x12x10"];
    let message = place.fails(&[&arguments[..], &FILES].concat());
    assert!(message.contains("[3, 8, 8]") && message.contains("[3, 12, 10]"), "{message}");
}

#[test]
fn radii_out_of_order() {
    let place = Place::with(&conv_net(None));
    for eps in ["2/255,1/255", "2/255,2/255", "1/255,4/255,2/255"] {
        let message = refused(&place, &["--eps", eps]);
        assert!(message.contains("expected radii that rise"), "{message}");
    }
}

#[test]
fn parts_of_different_audits() {
    let place = Place::with(&conv_net(None));
    let part = |name: &str, more: &[&str]| {
        let made = place.run(&audit(&[&["--json", name], more].concat()));
        assert_eq!((made.code, made.err.as_str()), (0, ""));
    };
    part("1.json", &["--shard", "1/2"]);
    part("seed.json", &["--shard", "2/2", "--seed", "1"]);
    part("eps.json", &["--shard", "2/2", "--eps", "1/255"]);
    part("attack.json", &["--shard", "2/2", "--restarts", "2"]);
    part(
        "smoothed.json",
        &[
            "--shard",
            "2/2",
            "--certify",
            "smoothing",
            "--sigma",
            "0.1",
            "--smoothing-samples",
            "5,20",
        ],
    );
    linear_net().write(&place.path("m.onnx")).unwrap();
    part("model.json", &["--shard", "2/2"]);
    for (other, what) in [
        ("seed.json", "attacks"),
        ("eps.json", "threat"),
        ("attack.json", "attacks"),
        ("smoothed.json", "attacks"),
        ("model.json", "models"),
    ] {
        let message = place.fails(&[
            "audit-merge",
            "1.json",
            other,
            "--json",
            "a.json",
            "--html",
            "a.html",
            "--junit",
            "a.xml",
        ]);
        assert!(message.contains("different audits") && message.contains(what), "{message}");
    }
}

#[test]
fn a_certificate_that_cannot_be() {
    let place = Place::with(&conv_net(None));
    let smoothing = ["--certify", "smoothing"];
    for (more, part) in [
        (&[][..], "--sigma"),
        (&["--sigma", "0"], "above 0"),
        (&["--sigma", "0.1", "--alpha", "0.6"], "between 0 and 0.5"),
        (&["--sigma", "0.1", "--smoothing-samples", "100"], "100,10000"),
        (&["--sigma", "0.1", "--smoothing-samples", "5,9"], "cannot prove anything"),
    ] {
        let message = refused(&place, &[&smoothing[..], more].concat());
        assert!(message.contains(part), "{message}");
    }
    let message = refused(&place, &["--sigma", "0.1"]);
    assert!(message.contains("--certify"), "{message}");
}

#[test]
fn an_entry_of_a_leaderboard_that_cannot_be() {
    let place = Place::with(&conv_net(None));
    let message = refused(&place, &["--format", "robustbench"]);
    assert!(message.contains("--attack autoattack"), "{message}");
    let arguments = [
        "audit",
        "m.onnx",
        "--data",
        DATA,
        "--attack",
        "autoattack",
        "--eps",
        "1/255,2/255",
        "--format",
        "robustbench",
    ];
    let message = place.fails(&arguments);
    assert!(message.contains("one eps, found 2"), "{message}");
    fs::write(place.path("part.json"), b"{}").unwrap();
    let message = place.fails(&["audit-merge", "part.json", "--json", "a.json"]);
    assert!(message.contains("not a valid audit"), "{message}");
}

#[test]
fn one_logit_for_two_classes() {
    let message = refused(&Place::with(&one_logit()), &[]);
    assert!(message.contains("at least two classes") && message.contains("[-z, z]"), "{message}");
}

#[test]
fn outputs_that_would_overwrite_what_is_read() {
    let place = Place::with(&conv_net(None));
    let made = place.run(&audit(&["--json", "a.json", "--save-adversarial", "d.npz"]));
    assert_eq!((made.code, made.err.as_str()), (0, ""));
    conv_net(None).write(&place.path("twin.onnx")).unwrap();
    let kept = ["m.onnx", "twin.onnx", "d.npz", "a.json"];
    let content = || kept.map(|name| fs::read(place.path(name)).unwrap());
    let before = content();
    let data = ["audit", "m.onnx", "--data", "d.npz", "--gradients-from", "twin.onnx"];
    for (arguments, part) in [
        (&["gradient", "m.onnx", "--out", "./m.onnx"][..], "`--out` would overwrite the model"),
        (&["info", "m.onnx", "--json", "m.onnx"], "`--json` would overwrite the model"),
        (&["bench", "m.onnx", "--json", "m.onnx"], "`--json` would overwrite the model"),
        (&["classify", "m.onnx", "d.npz", "--json", "d.npz"], "would overwrite a picture"),
        (&["audit", "--replay", "a.json", "--html", "m.onnx"], "would overwrite the model"),
        (&["audit", "--replay", "a.json", "--json", "a.json"], "the report of `--replay`"),
        (&["audit-merge", "a.json", "--json", "a.json"], "`--json` would overwrite a part"),
        (&["audit-merge", "a.json", "--html", "b", "--junit", "b"], "`--html` and `--junit` are"),
    ] {
        let message = place.fails(arguments);
        assert!(message.contains(part), "{message}");
    }
    for (more, part) in [
        (["--json", "m.onnx"], "`--json` would overwrite the model: `m.onnx`"),
        (["--html", "twin.onnx"], "`--html` would overwrite the model of the gradients"),
        (["--save-adversarial", "d.npz"], "`--save-adversarial` would overwrite the data"),
        (["--junit", "d.npz"], "`--junit` would overwrite the data"),
    ] {
        let message = place.fails(&[&data[..], &more].concat());
        assert!(message.contains(part), "{message}");
    }
    let message = place.fails(&[&data[..], &["--json", "x", "--html", "x"]].concat());
    assert!(message.contains("`--json` and `--html` are one file: `x`"), "{message}");
    assert!(content() == before, "a file was changed");
}
