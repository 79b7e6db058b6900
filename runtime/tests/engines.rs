//! Where sessions compute and whose gradients are followed, through the whole program.

use std::fs;
use std::path::Path;

use rift_models::artifact::AuditReport;
use rift_models::onnx::{DataType, Dim};

use crate::inputs::{bytes, normalised, two_heads};
use crate::small_models::{CLASSES, INPUT, conv_net, conv_net_behind, linear_net, two_classes};
use crate::{DATA, Place, report};

const FEW: [&str; 10] =
    ["audit", "m.onnx", "--data", DATA, "--limit", "40", "--steps", "4", "--eps", "12/255"];

/// [`conv_net`] that sees 32 levels of grey, as a quantised model does; no gradient flows through.
fn coarse() -> rift_models::onnx::Model {
    let [c, h, w] = INPUT;
    let dims = [Dim::free("N"), Dim::Fixed(c), Dim::Fixed(h), Dim::Fixed(w)];
    conv_net_behind(DataType::Float, &dims, |builder, image| {
        let levels = builder.scalar("levels", 32.0);
        let image = builder.node("Mul", &[&image, &levels], vec![]);
        let image = builder.named_node("coarse", "Round", &[&image], vec![]);
        builder.node("Div", &[&image, &levels], vec![])
    })
}

fn audited(place: &Place, more: &[&str]) -> AuditReport {
    let ended = place.run(&[&FEW[..], &["--json", "a.json"], more].concat());
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    report(&place.path("a.json"))
}

#[test]
fn a_twin_lends_its_gradients_and_both_are_judged() {
    let place = Place::with(&coarse());
    conv_net(None).write(&place.path("twin.onnx")).unwrap();
    let message = place.fails(&FEW);
    assert!(message.contains("coarse") && message.contains("Round"), "{message}");
    let twin = ["--gradients-from", "twin.onnx"];
    let found = audited(&place, &twin);
    assert!(found.attacks[0].broken > 0 && found.robust_accuracy < found.clean_accuracy);
    let of_twin = found.twin.as_ref().unwrap();
    assert_eq!((of_twin.path.as_str(), of_twin.clean.n), ("twin.onnx", 40));
    let right = |which: usize| {
        let is_right = |sample: &&rift_models::artifact::SampleResult| {
            sample.twin.unwrap()[which] == sample.label
        };
        found.samples.iter().filter(is_right).count()
    };
    assert_eq!((of_twin.clean.correct, of_twin.adversarial.correct), (right(0), right(1)));
    assert!(of_twin.adversarial.correct < of_twin.clean.correct);
    assert_ne!(of_twin.digest, found.model.digest);
    let ended = place.run(&["audit", "--replay", "a.json"]);
    assert!(ended.out.contains("bit for bit"), "{} {}", ended.out, ended.err);
    assert!(ended.out.contains("from twin.onnx"), "{}", ended.out);
    for (part, json) in [("1/2", "1.json"), ("2/2", "2.json")] {
        let more = [&twin[..], &["--shard", part, "--json", json]].concat();
        assert_eq!(place.run(&[&FEW[..], &more].concat()).code, 0);
    }
    let merged = place.run(&["audit-merge", "1.json", "2.json", "--json", "both.json"]);
    assert_eq!((merged.code, merged.err.as_str()), (0, ""));
    let both = report(&place.path("both.json"));
    assert_eq!((both.twin, both.samples), (found.twin, found.samples));
    linear_net().write(&place.path("twin.onnx")).unwrap();
    let message = place.fails(&["audit", "--replay", "a.json"]);
    assert!(message.contains("is not the model whose gradients"), "{message}");
}

/// [`conv_net`] behind a quantised image.
fn quantised() -> rift_models::onnx::Model {
    let [c, h, w] = INPUT;
    let dims = [Dim::free("N"), Dim::Fixed(c), Dim::Fixed(h), Dim::Fixed(w)];
    conv_net_behind(DataType::Float, &dims, |builder, image| {
        let scale = builder.scalar("scale", 1.0 / 255.0);
        let zero = builder.array("zero", &ndarray::arr0(0_u8));
        let bytes = builder.node("QuantizeLinear", &[&image, &scale, &zero], vec![]);
        builder.node("DequantizeLinear", &[&bytes, &scale, &zero], vec![])
    })
}

#[test]
fn a_model_that_rounds_coarsely_judges_every_image_itself() {
    let place = Place::with(&quantised());
    let mut alone = audited(&place, &["--no-timing"]);
    // What another file says of an image is never taken for what the model says.
    let steered = audited(&place, &["--no-timing", "--gradients-from", "m.onnx"]);
    assert_eq!(alone.attacks, steered.attacks);
    let attack = &alone.attacks[0];
    assert!(attack.forwards >= attack.gradients, "{attack:?}");
    assert!(attack.broken > 0 && attack.broken < attack.attacked);
    alone.samples.iter_mut().zip(&steered.samples).for_each(|(a, b)| a.twin = b.twin);
    assert_eq!(alone.samples, steered.samples);
}

#[test]
fn the_model_itself_as_twin_changes_nothing() {
    let place = Place::with(&conv_net(None));
    let mut itself = audited(&place, &["--gradients-from", "m.onnx"]);
    let twin = itself.twin.take().unwrap();
    assert_eq!(twin.adversarial.fraction, itself.robust_accuracy);
    itself.samples.iter_mut().for_each(|sample| sample.twin = None);
    assert_eq!(itself.samples, audited(&place, &[]).samples);
}

#[test]
fn a_twin_has_the_output_that_is_named_or_its_own() {
    let place = Place::with(&two_heads());
    let main = ["--output", "main"];
    let plain = audited(&place, &main);
    two_heads().write(&place.path("same.onnx")).unwrap();
    conv_net(None).write(&place.path("logits.onnx")).unwrap();
    for twin in ["same.onnx", "logits.onnx"] {
        let mut found = audited(&place, &[&main[..], &["--gradients-from", twin]].concat());
        found.samples.iter_mut().for_each(|sample| sample.twin = None);
        assert_eq!(found.samples, plain.samples, "{twin}");
        let ended = place.run(&["audit", "--replay", "a.json"]);
        assert!(ended.out.contains("bit for bit"), "{} {}", ended.out, ended.err);
    }
    conv_net(None).write(&place.path("m.onnx")).unwrap();
    let named = [&FEW[..], &main, &["--gradients-from", "same.onnx"]].concat();
    let message = place.fails(&named);
    assert!(message.contains("no output is called `main`"), "{message}");
}

#[test]
fn bytes_are_attacked_by_a_twin_that_is_normalised_outside() {
    let place = Place::with(&bytes());
    let plain = audited(&place, &[]);
    normalised([0.5; 3], [0.25; 3]).write(&place.path("twin.onnx")).unwrap();
    let reading = ["--mean", "0.5", "--std", "0.25"];
    let twin = ["--gradients-from", "twin.onnx"];
    let found = audited(&place, &[&reading[..], &twin].concat());
    // The two are one network but for rounding.
    assert_eq!(found.clean_accuracy, plain.clean_accuracy);
    assert_eq!(found.twin.as_ref().unwrap().clean.fraction, plain.clean_accuracy);
    let differ = found.attacks[0].broken.abs_diff(plain.attacks[0].broken);
    assert!(found.attacks[0].broken > 0 && differ <= 2, "{differ}");
    let ended = place.run(&["audit", "--replay", "a.json"]);
    assert!(ended.out.contains("bit for bit"), "{} {}", ended.out, ended.err);
    let screened = audited(&place, &[&reading[..], &twin, &["--screen", "--quiet"]].concat());
    assert_eq!(screened.samples, found.samples);
    // The other way round, the twin takes the bytes.
    normalised([0.5; 3], [0.25; 3]).write(&place.path("m.onnx")).unwrap();
    bytes().write(&place.path("twin.onnx")).unwrap();
    let turned = audited(&place, &[&reading[..], &twin].concat());
    assert_eq!(turned.clean_accuracy, plain.clean_accuracy);
    bytes().write(&place.path("m.onnx")).unwrap();
    let message = place.fails(&[&FEW[..], &reading, &twin].concat());
    assert!(message.contains("both take bytes"), "{message}");
}

#[test]
fn a_twin_that_is_none_is_refused() {
    let place = Place::with(&conv_net(None));
    two_classes().write(&place.path("two.onnx")).unwrap();
    let message = place.fails(&[&FEW[..], &["--gradients-from", "two.onnx"]].concat());
    let expected = format!("3x8x8 to 2 classes, expected as the one attacked 3x8x8 to {CLASSES}");
    assert!(message.contains(&expected), "{message}");
    let dims = [1, 3, 9, 9].map(Dim::Fixed);
    let other = conv_net_behind(DataType::Float, &dims, |builder, image| {
        let [starts, ends, axes] = [("starts", [0, 0]), ("ends", [8, 8]), ("axes", [2, 3])]
            .map(|(name, values)| builder.integers(name, &values));
        builder.node("Slice", &[&image, &starts, &ends, &axes], vec![])
    });
    other.write(&place.path("other.onnx")).unwrap();
    let message = place.fails(&[&FEW[..], &["--gradients-from", "other.onnx"]].concat());
    assert!(message.contains("3x9x9"), "{message}");
    let message = place.fails(&[&FEW[..], &["--gradients-from", "nothing.onnx"]].concat());
    assert!(message.contains("nothing.onnx"), "{message}");
}

#[test]
fn a_provider_that_cannot_be_had_is_one_line() {
    let place = Place::with(&conv_net(None));
    for (more, part) in [
        (&["--precision", "bf16"][..], "`cpu` steers in float32 only, expected `openvino`"),
        (&["--provider", "gpu"], "`openvino`, `cuda`"),
        (&["--precision", "fp8"], "expected `float32` or `bf16`"),
    ] {
        let message = place.fails(&[&FEW[..], more].concat());
        assert!(message.contains(part), "{message}");
    }
    let together = ["--provider", "openvino", "--intra-op-threads", "2"];
    let message = place.fails(&[&["serve", "m.onnx"], &together[..]].concat());
    assert!(message.contains("expected `cpu` for --intra-op-threads"), "{message}");
    // The library of the wheel has the CPU provider only.
    let wheel = rift_runtime::session::library::load(None).unwrap().path().display().to_string();
    for provider in ["openvino", "xnnpack"] {
        let message =
            place.fails(&[&FEW[..], &["--provider", provider, "--onnxruntime", &wheel]].concat());
        let part = format!("has no provider `{provider}` that works here");
        assert!(message.contains(&part), "{message}");
        assert!(provider != "openvino" || message.contains("make setup-openvino"), "{message}");
    }
}

#[test]
fn openvino_judges_in_float32_whatever_it_steers_in() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    if !root.join(".openvino/onnxruntime/capi").is_dir() {
        eprintln!("skipped: there is no .openvino, `make setup-openvino` makes it");
        return;
    }
    let place = Place::with(&conv_net(None));
    let plain = audited(&place, &[]);
    for (precision, steering) in [("float32", None), ("bf16", Some("bf16".to_owned()))] {
        let more = ["--provider", "openvino", "--precision", precision];
        let found = audited(&place, &more);
        assert_eq!(found.runtime.provider, "OpenVINOExecutionProvider");
        assert!(found.runtime.library.unwrap().contains(".openvino"));
        assert_eq!(found.runtime.steering, steering);
        assert_eq!(found.clean_accuracy, plain.clean_accuracy);
        let differ = found.attacks[0].broken.abs_diff(plain.attacks[0].broken);
        assert!(differ <= 2, "{precision}: {differ}");
        let ended = place.run(&["audit", "--replay", "a.json"]);
        assert!(ended.out.contains("OpenVINO") || ended.code == 0, "{} {}", ended.out, ended.err);
    }
    let more = ["--provider", "openvino", "--precision", "bf16", "--repetitions", "1"];
    let ended = place.run(&[&["bench", "m.onnx", "--json", "b.json"], &more[..]].concat());
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    let json: serde_json::Value =
        serde_json::from_slice(&fs::read(place.path("b.json")).unwrap()).unwrap();
    let run = &json["runs"][0];
    assert_eq!(
        (run["provider"].as_str(), run["precision"].as_str()),
        (Some("OpenVINOExecutionProvider"), Some("bf16"))
    );
}
