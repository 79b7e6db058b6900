//! What stands beside a card, held against it: by `verify`, and before a bundle is signed, deployed
//! or quantised.

use rift_models::artifact::{Accuracy, Bundle, Card, CardMetric, Digest, read_json};
use serde_json::{Value, json};

use crate::fixture::{Run, rewrite, tamper};
use crate::quantize::{quantize, with_data};
use crate::verify::{failing, verdicts};

fn measured() -> CardMetric {
    CardMetric {
        name: "clean".to_owned(),
        split: "validation".to_owned(),
        attack: None,
        accuracy: Accuracy::new(70, 100),
    }
}

/// A bundle whose card has a figure.
fn with_figure() -> Run {
    let run = Run::new();
    run.exported();
    rewrite(&run.path("bundle"), |card| card.metrics.push(measured()));
    assert!(verdicts(&run, 0).iter().all(|(_, holds)| *holds));
    run
}

fn bill(run: &Run) -> Value {
    read_json(&run.path("bundle").join(Bundle::BILL), "bill").unwrap()
}

fn write_bill(run: &Run, bill: &Value) {
    std::fs::write(run.path("bundle").join(Bundle::BILL), bill.to_string()).unwrap();
}

#[test]
fn a_bill_of_materials_that_says_something_else_does_not_hold() {
    let run = with_figure();
    let good = bill(&run);
    let figures = "/metadata/component/modelCard/quantitativeAnalysis/performanceMetrics/0/value";
    let hash = Digest::of_bytes(b"another").hex().to_owned();
    let changes = [
        ("/metadata/component/hashes/0/content", json!(hash)),
        ("/components/1/hashes/0/content", json!(hash)),
        ("/metadata/component/pedigree/ancestors/0/hashes/0/content", json!(hash)),
        (figures, json!("0.9")),
        ("/serialNumber", json!("urn:uuid:0")),
        ("/components", json!([])),
    ];
    for (pointer, wrong) in changes {
        let mut bill = good.clone();
        *bill.pointer_mut(pointer).unwrap() = wrong;
        write_bill(&run, &bill);
        assert!(failing(&run).contains(&"bill of materials".to_owned()), "{pointer}");
    }
    std::fs::remove_file(run.path("bundle").join(Bundle::BILL)).unwrap();
    assert_eq!(failing(&run), ["bill of materials"]);
}

#[test]
fn what_another_version_wrote_is_held_against_hashes_and_figures() {
    let run = with_figure();
    let mut bill = bill(&run);
    bill["metadata"]["tools"]["components"][0]["version"] = json!("0.0.9");
    bill["metadata"]["lifecycles"] = json!([{ "phase": "build" }]);
    write_bill(&run, &bill);
    std::fs::write(run.path("bundle").join(Bundle::PAGE), "# Another form\n").unwrap();
    assert!(verdicts(&run, 0).iter().all(|(_, holds)| *holds));
    bill["metadata"]["component"]["hashes"][0]["content"] = json!("00");
    write_bill(&run, &bill);
    assert_eq!(failing(&run), ["bill of materials"]);
}

#[test]
fn a_page_may_say_more_and_nothing_else() {
    let run = with_figure();
    let path = run.path("bundle").join(Bundle::PAGE);
    let good = std::fs::read_to_string(&path).unwrap();
    assert!(good.contains("name: \"unnamed\"") && good.contains("70.00 %"), "{good}");
    let published = good.replace("\"unnamed\"", "\"cifar10\"") + "\n## Licence\n";
    std::fs::write(&path, published).unwrap();
    assert!(verdicts(&run, 0).iter().all(|(_, holds)| *holds));
    for wrong in [good.replace("70.00 %", "99.00 %"), good.replace("value: 0.7", "value: 0.99")] {
        assert_ne!(wrong, good);
        std::fs::write(&path, wrong).unwrap();
        assert_eq!(failing(&run), ["page"]);
    }
    std::fs::write(&path, "").unwrap();
    assert_eq!(failing(&run), ["page"]);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(failing(&run), ["page"]);
}

#[test]
fn the_hashes_in_a_bill_are_those_of_the_files() {
    let run = with_data();
    let done = quantize(&run, &["--max-drop", "100", "--optimize", "portable"]);
    assert_eq!(done.code, 0, "{done:?}");
    for folder in ["bundle", "small"] {
        let bill: Value = read_json(&run.path(folder).join(Bundle::BILL), "bill").unwrap();
        let hash =
            |component: &Value| component["hashes"][0]["content"].as_str().unwrap().to_owned();
        let of_file = |name: &str| {
            let digest = Digest::of_file(&run.path(folder).join(name)).unwrap();
            digest.hex().to_owned()
        };
        assert_eq!(hash(&bill["metadata"]["component"]), of_file(Bundle::MODEL));
        let components = bill["components"].as_array().unwrap();
        let files: Vec<&Value> = components.iter().filter(|c| c["type"] != "data").collect();
        assert_eq!(files.len(), if folder == "small" { 3 } else { 2 });
        for file in files {
            assert_eq!(hash(file), of_file(file["name"].as_str().unwrap()), "{file}");
        }
    }
}

#[test]
fn a_tampered_card_is_not_signed_deployed_or_quantised() {
    let run = with_data();
    assert_eq!(run.rift(&["keygen"]).code, 0);
    let bundle = run.path("bundle");
    let commands: [&[&str]; 5] = [
        &["sign", "bundle", "--key", "rift.key"],
        &["deploy", "bundle", "--archive", "b.tar.zst"],
        &["deploy", "bundle", "--triton", "repository"],
        &["deploy", "bundle", "--kserve", "manifests"],
        &["quantize", "bundle", "--data", "data.npz", "--out", "small"],
    ];
    let refused = |what: &str| {
        for command in commands {
            run.rift(command).fails(2, &["`bundle` is not what its card says", what]);
        }
        for made in ["bundle/model.sig", "b.tar.zst", "repository", "manifests", "small"] {
            assert!(!run.path(made).exists(), "{made}");
        }
    };
    let before: Card = read_json(&bundle.join(Bundle::CARD), "card").unwrap();
    tamper(&bundle, |card| card.metrics.push(measured()));
    refused("card digest");
    // And where whoever changed it took away what says so.
    std::fs::remove_file(bundle.join(Bundle::BILL)).unwrap();
    refused("there is no `bom.cdx.json`");
    rewrite(&bundle, |card| *card = before);
    std::fs::write(bundle.join(Bundle::PAGE), "").unwrap();
    refused("`README.md` lacks");
}

#[test]
fn the_bundles_that_ship_agree_with_their_cards() {
    let zoo = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/zoo");
    let mut bundles = 0;
    for entry in std::fs::read_dir(zoo).unwrap() {
        let path = entry.unwrap().path().join("bundle");
        if path.is_dir() {
            let bundle = Bundle::open(&path).unwrap();
            rift_exporter::bundle::evidence::ensure(&bundle, &path).unwrap();
            bundles += 1;
        }
    }
    assert!(bundles >= 4, "{bundles}");
}
