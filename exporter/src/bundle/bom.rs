//! The bill of materials of a bundle: CycloneDX 1.7 with a machine-learning model card.
//!
//! The model with its accuracies, the other files of the bundle, the checkpoints that it comes from
//! and the images that it was trained, chosen and measured with, each by its SHA-256. It holds
//! nothing that the card does not say, and no date: the same bundle has the same bill.
//!
//! # References
//! ECMA-424, CycloneDX 1.7, <https://cyclonedx.org/docs/1.7/json/>.

use std::collections::BTreeSet;

use rift_models::artifact::{Bundle, Card, CardMetric, Digest, Lineage};
use serde_json::{Value, json};

use super::origin;

/// The bill for a bundle with this card, whose file has `digest`.
pub(super) fn bom(card: &Card, digest: &Digest) -> Value {
    let mut files =
        vec![file("card", Bundle::CARD, digest), file("probe", Bundle::PROBE, &card.probe)];
    if let Some(optimized) = &card.optimized {
        let mut component =
            component("machine-learning-model", Bundle::OPTIMIZED, &optimized.model);
        component["bom-ref"] = json!("optimized");
        component["properties"] = properties(&[
            ("rift:reach", &optimized.reach),
            ("rift:onnxruntime", &optimized.onnxruntime),
        ]);
        files.push(component);
    }
    let images = origin::images(&card.lineage);
    let images: Vec<Value> =
        images.iter().map(|(digest, purpose)| image_set(card, digest, purpose)).collect();
    let references = |components: &[Value]| -> Vec<Value> {
        components.iter().map(|component| component["bom-ref"].clone()).collect()
    };
    let depends_on = references(&images);
    let mut provides = vec![json!({ "ref": "model", "dependsOn": depends_on })];
    provides
        .extend(references(&files).iter().map(|of| json!({ "ref": of, "dependsOn": ["model"] })));
    let model = model(card, &images);
    let components = [files, images].concat();
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.7.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.7",
        "serialNumber": format!("urn:uuid:{}", uuid(digest)),
        "version": 1,
        "metadata": {
            "tools": tools(),
            "component": model,
        },
        "components": components,
        "dependencies": provides,
    })
}

/// What a bill says the SHA-256 of the card is, in hexadecimal.
pub(super) fn digest_of_card(bill: &Value) -> Option<&str> {
    let components = bill["components"].as_array()?;
    let card = components.iter().find(|component| component["bom-ref"] == "card")?;
    card["hashes"][0]["content"].as_str()
}

/// Where `bill` differs from the one that its card gives, and what the two say there; `None` where
/// they agree. `digest` is that of the card's file.
///
/// Of a bill that another version wrote, only hashes and figures are compared.
pub(super) fn difference(card: &Card, digest: &Digest, bill: &Value) -> Option<Difference> {
    let expected = bom(card, digest);
    if is_of_this_version(bill) {
        return first_difference(&expected, bill, "");
    }
    let found = facts(bill, "");
    let missing = facts(&expected, "").into_iter().find(|fact| !found.contains(fact));
    missing.map(|(at, expected)| Difference { at, expected, found: "another".to_owned() })
}

/// Whether this version of the program wrote a bill.
pub(super) fn is_of_this_version(bill: &Value) -> bool {
    bill["metadata"]["tools"] == tools()
}

/// A place in a bill, and what stands there.
pub(super) struct Difference {
    pub(super) at: String,
    pub(super) expected: String,
    pub(super) found: String,
}

fn first_difference(expected: &Value, found: &Value, at: &str) -> Option<Difference> {
    let below = |key: &dyn std::fmt::Display| format!("{at}/{key}");
    match (expected, found) {
        (Value::Object(one), Value::Object(other)) => {
            let keys: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
            let part = |key| first_difference(&expected[key], &found[key], &below(&key));
            keys.into_iter().find_map(|key| part(key.as_str()))
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            let mut pairs = one.iter().zip(other).enumerate();
            pairs.find_map(|(index, (one, other))| first_difference(one, other, &below(&index)))
        }
        _ if expected == found => None,
        _ => Some(Difference {
            at: at.to_owned(),
            expected: expected.to_string(),
            found: found.to_string(),
        }),
    }
}

/// Every list of hashes or figures in a bill, with the name of the list.
fn facts(bill: &Value, name: &str) -> Vec<(String, String)> {
    match bill {
        _ if matches!(name, "hashes" | "performanceMetrics") => {
            vec![(name.to_owned(), bill.to_string())]
        }
        Value::Object(map) => map.iter().flat_map(|(key, value)| facts(value, key)).collect(),
        Value::Array(list) => list.iter().flat_map(|value| facts(value, "")).collect(),
        _ => Vec::new(),
    }
}

/// The program that writes bills.
fn tools() -> Value {
    json!({ "components": [{
        "type": "application",
        "name": env!("CARGO_PKG_NAME"),
        "version": env!("CARGO_PKG_VERSION"),
    }] })
}

fn component(kind: &str, name: &str, digest: &Digest) -> Value {
    let hashes = json!([{ "alg": "SHA-256", "content": digest.hex() }]);
    json!({ "type": kind, "name": name, "hashes": hashes })
}

fn file(reference: &str, name: &str, digest: &Digest) -> Value {
    let mut file = component("file", name, digest);
    file["bom-ref"] = json!(reference);
    file
}

/// Images, by the digest that every artifact names them by.
fn image_set(card: &Card, digest: &Digest, purpose: &str) -> Value {
    let name = origin::data_name(&card.lineage).unwrap_or("images");
    let mut set = component("data", name, digest);
    set["bom-ref"] = json!(format!("images-{}", digest.short()));
    set["description"] = json!(purpose);
    set["data"] = json!([{ "type": "dataset", "name": name }]);
    set["properties"] = properties(&[("rift:digest-of", "decoded images and their labels")]);
    set
}

fn model(card: &Card, images: &[Value]) -> Value {
    let [channels, height, width] = card.arch.input;
    let mut model = component("machine-learning-model", &card.name, &card.model);
    model["bom-ref"] = json!("model");
    model["description"] = json!(format!(
        "image classifier of {} classes, `{}`, ONNX operator set {}",
        card.classes.len(),
        Bundle::MODEL,
        card.opset
    ));
    model["pedigree"] = pedigree(&card.lineage);
    let datasets: Vec<Value> = images.iter().map(|set| json!({ "ref": set["bom-ref"] })).collect();
    let metrics: Vec<Value> = card.metrics.iter().map(metric).collect();
    model["modelCard"] = json!({
        "modelParameters": {
            "approach": { "type": "supervised" },
            "task": "image classification",
            "architectureFamily": "convolutional neural network",
            "modelArchitecture": card.arch.name,
            "datasets": datasets,
            "inputs": [{ "format": format!("float32, N x {channels} x {height} x {width}, in [0, 1]") }],
            "outputs": [{ "format": format!("float32, N x {}, logits", card.classes.len()) }],
        },
        "quantitativeAnalysis": { "performanceMetrics": metrics },
        "considerations": { "technicalLimitations": limitations(card) },
    });
    model
}

/// What the model was made from: checkpoints with what they come from, reports, no images.
fn pedigree(lineage: &Lineage) -> Value {
    let made_from = lineage
        .parents
        .iter()
        .filter(|(role, _)| origin::purpose(role).is_none() && *role != "probe");
    let ancestors: Vec<Value> = made_from
        .map(|(role, digest)| {
            let kind = if role == "mrc" { "file" } else { "machine-learning-model" };
            let mut ancestor = component(kind, role, digest);
            if let Some(lineage) = lineage.ancestors.get(role) {
                ancestor["pedigree"] = pedigree(lineage);
            }
            ancestor
        })
        .collect();
    json!({ "ancestors": ancestors, "notes": format!("made by {}", lineage.made_by) })
}

fn metric(metric: &CardMetric) -> Value {
    let accuracy = &metric.accuracy;
    let kind = match &metric.attack {
        None => "accuracy".to_owned(),
        Some(attack) => format!("robust accuracy, {}", attack.label()),
    };
    json!({
        "type": kind,
        "value": accuracy.fraction.to_string(),
        "slice": format!("{} split, {} images", metric.split, accuracy.n),
        "confidenceInterval": {
            "lowerBound": accuracy.interval.lower.to_string(),
            "upperBound": accuracy.interval.upper.to_string(),
        },
    })
}

fn limitations(card: &Card) -> Vec<String> {
    let mut limitations = vec![match &card.threat {
        None => {
            "The checkpoint names no threat model: expect no robustness until an audit shows it."
                .to_owned()
        }
        Some(threat) => format!(
            "Trained against perturbations of {} norm at most {} in pixel units, and no others.",
            threat.norm, threat.eps
        ),
    }];
    if card.metrics.iter().any(|metric| metric.split == "validation") {
        limitations.push(
            "The model was chosen on the validation split: figures on it are slightly optimistic."
                .to_owned(),
        );
    }
    limitations
}

fn properties(properties: &[(&str, &str)]) -> Value {
    properties.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect()
}

/// A UUID of a digest: RFC 9562, version 8, with digits of the digest between those that are given.
fn uuid(digest: &Digest) -> String {
    let hex = digest.hex();
    let [one, two, three, four, five] =
        [&hex[..8], &hex[8..12], &hex[12..15], &hex[15..18], &hex[18..30]];
    format!("{one}-{two}-8{three}-8{four}-{five}")
}
