//! The head of a model card, by which the Hugging Face hub lists a model and its figures.
//!
//! # References
//! <https://huggingface.co/docs/hub/model-cards>, <https://github.com/huggingface/hub-docs>
//! (`modelcard.md`).

use rift_models::artifact::{Card, CardMetric};
use serde_json::{Value, json};

use super::origin;
use crate::yaml::yaml;

/// The metadata of `card`, between lines of `---`.
pub(super) fn head(card: &Card) -> String {
    let mut metadata = json!({
        "library_name": "onnx",
        "pipeline_tag": TASK,
        "tags": ["onnx", "adversarial-robustness", card.arch.name],
    });
    // A model without a figure has no results, and the hub takes no empty list of them.
    if !card.metrics.is_empty() {
        metadata["model-index"] = json!([{ "name": card.name, "results": results(card) }]);
    }
    format!("---\n{}---\n", yaml(&metadata))
}

const TASK: &str = "image-classification";

/// The name of the data set, as far as the card knows one.
pub(super) fn data_name(card: &Card) -> &str {
    origin::data_name(&card.lineage).unwrap_or("unnamed")
}

/// One result for each split, with the metrics on it.
fn results(card: &Card) -> Vec<Value> {
    let mut splits: Vec<&str> = card.metrics.iter().map(|metric| metric.split.as_str()).collect();
    splits.dedup();
    let name = data_name(card);
    let result = |split: &&str| {
        let metrics = card.metrics.iter().filter(|metric| metric.split == *split).map(metric);
        let mut dataset = json!({ "name": name, "type": name, "split": split });
        if let Some(digest) = origin::measured_on(&card.lineage) {
            dataset["args"] = json!({ "sha256": digest.hex() });
        }
        json!({
            "task": { "type": TASK },
            "dataset": dataset,
            "metrics": metrics.collect::<Vec<_>>(),
        })
    };
    splits.iter().map(result).collect()
}

fn metric(metric: &CardMetric) -> Value {
    let accuracy = &metric.accuracy;
    let mut args = json!({
        "n": accuracy.n,
        "interval": [accuracy.interval.lower, accuracy.interval.upper],
    });
    let kind = match &metric.attack {
        None => "accuracy",
        Some(spec) => {
            args["attack"] = json!("pgd");
            for (key, value) in [
                ("norm", json!(spec.norm)),
                ("eps", json!(spec.eps)),
                ("step", json!(spec.step)),
                ("steps", json!(spec.steps)),
                ("restarts", json!(spec.restarts)),
                ("seed", json!(spec.seed)),
            ] {
                args[key] = value;
            }
            "robust_accuracy"
        }
    };
    let name = match &metric.attack {
        None => "clean accuracy".to_owned(),
        Some(spec) => format!("robust accuracy, {}", spec.label()),
    };
    json!({ "type": kind, "name": name, "value": accuracy.fraction, "args": args })
}

#[cfg(test)]
mod tests {
    use super::super::readme::tests::card;
    use super::*;

    fn parsed(card: &Card) -> Value {
        let text = head(card);
        let block = text.strip_prefix("---\n").unwrap().strip_suffix("---\n").unwrap();
        serde_saphyr::from_str(block).unwrap()
    }

    #[test]
    fn the_hub_reads_robustness_with_its_threat_model() {
        let metadata = parsed(&card());
        assert_eq!(metadata["pipeline_tag"], TASK);
        let result = &metadata["model-index"][0]["results"][0];
        assert_eq!(result["dataset"]["split"], "validation");
        let metric = &result["metrics"][0];
        assert_eq!((&metric["type"], &metric["value"]), (&json!("robust_accuracy"), &json!(0.4)));
        let args = &metric["args"];
        assert_eq!([&args["attack"], &args["norm"], &args["eps"]], ["pgd", "linf", "8/255"]);
        assert_eq!((&args["steps"], &args["n"]), (&json!(10), &json!(100)));
    }

    #[test]
    fn what_was_not_measured_has_no_result() {
        let card = Card { metrics: Vec::new(), ..card() };
        assert!(parsed(&card).get("model-index").is_none());
    }

    #[test]
    fn odd_names_stay_texts() {
        let card = Card { name: "no: 'yes' \"\\ \u{7f}#\n---\n".to_owned(), ..card() };
        assert_eq!(parsed(&card)["model-index"][0]["name"], card.name);
    }
}
