//! The `README.md` of a bundle: a short model card for people, with a head for the Hugging Face hub.

use std::fmt::Write;

use rift_models::artifact::{Accuracy, ActivationFormat, Bundle, Card, CardMetric, Quantization};
use rift_models::threat::AttackSpec;
use serde_json::Value;

use super::hub;
use crate::verify::parity::TOLERANCE;

/// How many class names the text lists.
const NAMED: usize = 20;

/// The text for `card`; the commands in it are for the bundle's own folder, so that they hold
/// wherever it goes.
pub(super) fn readme(card: &Card) -> String {
    let mut text = hub::head(card);
    // Writing to a string cannot fail.
    let _ = write(&mut text, card);
    text
}

/// The first line that the page of `card` has and `text` has not; `None` where all are there, in
/// their order.
///
/// A page may say more, and its owner puts the hub's own name in the place of the data set's.
pub(super) fn missing(card: &Card, text: &str) -> Option<String> {
    let name = Value::from(hub::data_name(card)).to_string();
    let is_open = |line: &str| {
        let value = ["name: ", "type: "].into_iter().find_map(|key| line.trim().strip_prefix(key));
        value == Some(name.as_str())
    };
    let mut found = text.lines().map(str::trim_end);
    let page = readme(card);
    let mut lines = page.lines().filter(|line| !is_open(line)).map(str::trim_end);
    lines.find(|line| !found.any(|other| other == *line)).map(str::to_owned)
}

fn write(text: &mut String, card: &Card) -> std::fmt::Result {
    let [channels, height, width] = card.arch.input;
    let classes = card.classes.len();
    writeln!(text, "# {}\n", plain(&card.name))?;
    writeln!(
        text,
        "An image classifier ({}) of {classes} classes, as an ONNX file (operator set {}). It takes \
         `input`, float32 `N × {channels} × {height} × {width}` with pixels in [0, 1] (the \
         normalisation is inside), and gives `logits`, float32 `N × {classes}`.\n",
        plain(&card.arch.name),
        card.opset,
    )?;
    writeln!(text, "Classes, in the order of the logits: {}.\n", class_list(&card.classes))?;
    writeln!(text, "## Threat model\n")?;
    match &card.threat {
        Some(threat) => writeln!(text, "Trained against {}.\n", describe(threat))?,
        None => writeln!(
            text,
            "The checkpoint names none: expect no robustness until an audit shows it.\n"
        )?,
    }
    figures(text, &card.metrics)?;
    if let Some(quantization) = &card.quantization {
        quantized(text, quantization)?;
    }
    evidence(text, card)?;
    commands(text, card)
}

fn quantized(text: &mut String, quantization: &Quantization) -> std::fmt::Result {
    writeln!(text, "## Quantisation\n")?;
    let how = match (quantization.activations, &quantization.calibration) {
        (Some(activations), Some(calibration)) => format!(
            "Weights are signed bytes with a scale for each output channel, activations {}, calibrated \
             by {} on {} {} images",
            match activations {
                ActivationFormat::U8 => "bytes from 0 to 255",
                ActivationFormat::S8 => "bytes from -128 to 127",
            },
            plain(&calibration.method),
            calibration.n,
            plain(&calibration.split),
        ),
        _ => "Weights are stored in half precision and computed with in float32".to_owned(),
    };
    let kept = if quantization.float_layers.is_empty() {
        String::new()
    } else {
        let names = quantization.float_layers.iter().map(|name| format!("`{}`", plain(name)));
        format!("; in float32 stay {}", names.collect::<Vec<_>>().join(", "))
    };
    writeln!(
        text,
        "{how}{kept}. The file has {:.3} of the size of the float32 model `{}`.\n",
        quantization.bytes as f64 / quantization.twin_bytes as f64,
        quantization.twin.short(),
    )?;
    writeln!(
        text,
        "| accuracy on {} {} images | float32 | this file | lost, points |",
        { quantization.clean.float.n },
        plain(&quantization.split)
    )?;
    writeln!(text, "|---|---|---|---|")?;
    let attack = quantization.attack.label();
    for (what, pair) in [("clean", &quantization.clean), (attack.as_str(), &quantization.robust)] {
        let [float, found] = [&pair.float, &pair.quantized].map(Accuracy::percent);
        writeln!(text, "| {what} | {float:.2} % | {found:.2} % | {:.2} |", pair.drop())?;
    }
    writeln!(
        text,
        "\nThe attack follows the gradients of the float32 model; every image is judged by this \
         file.\n"
    )
}

fn figures(text: &mut String, metrics: &[CardMetric]) -> std::fmt::Result {
    writeln!(text, "## Figures\n")?;
    if metrics.is_empty() {
        return writeln!(
            text,
            "None were measured when this bundle was made; an audit measures them.\n"
        );
    }
    writeln!(text, "| accuracy | split | attack | n | correct | 95 % interval |")?;
    writeln!(text, "|---|---|---|---|---|---|")?;
    for metric in metrics {
        let attack = metric.attack.as_ref().map_or_else(|| "none".to_owned(), AttackSpec::label);
        let accuracy = &metric.accuracy;
        let [lower, upper] =
            [accuracy.interval.lower, accuracy.interval.upper].map(|bound| bound * 100.0);
        writeln!(
            text,
            "| {} | {} | {attack} | {} | {:.2} % | {lower:.2} to {upper:.2} |",
            plain(&metric.name),
            plain(&metric.split),
            accuracy.n,
            accuracy.percent(),
        )?;
    }
    if metrics.iter().any(|metric| metric.split == "validation") {
        writeln!(
            text,
            "\nThe model was chosen on the validation split, so these figures are slightly \
             optimistic; an audit on the test split is the one to quote."
        )?;
    }
    writeln!(text)
}

fn evidence(text: &mut String, card: &Card) -> std::fmt::Result {
    let parity = &card.parity;
    writeln!(text, "## Evidence\n")?;
    writeln!(
        text,
        "On the {} images of `{}` no logit of `{}` is further than {:.1e} from the checkpoint's \
         (accepted: {:.1e}), and {} predictions are the same.\n",
        parity.n,
        Bundle::PROBE,
        Bundle::MODEL,
        parity.max_abs_difference,
        parity.tolerance,
        parity.same_prediction,
    )?;
    writeln!(text, "| | SHA-256 |")?;
    writeln!(text, "|---|---|")?;
    for (what, digest) in [
        (format!("`{}`", Bundle::MODEL), &card.model),
        (format!("`{}`", Bundle::PROBE), &card.probe),
        ("checkpoint".to_owned(), &card.checkpoint),
    ] {
        writeln!(text, "| {what} | `{}` |", digest.as_str().trim_start_matches("sha256:"))?;
    }
    writeln!(
        text,
        "\n`{}` says all this to programs, with the lineage down to the data; `{}` is the same as \
         a bill of materials (CycloneDX 1.7).\n",
        Bundle::CARD,
        Bundle::BILL
    )
}

fn commands(text: &mut String, card: &Card) -> std::fmt::Result {
    let attack = card.threat.as_ref().map_or_else(String::new, |threat| {
        format!(" --norm {} --eps {} --step {}", threat.norm, threat.eps, threat.step)
    });
    // What `verify` takes unless it is told otherwise.
    let is_usual = card.parity.tolerance == TOLERANCE || card.quantization.is_some();
    let tolerance =
        if is_usual { String::new() } else { format!(" --tolerance {:e}", card.parity.tolerance) };
    writeln!(text, "## Use\n\nIn this folder:\n")?;
    writeln!(text, "```sh")?;
    writeln!(text, "rift-runtime classify . IMAGE")?;
    writeln!(text, "rift-runtime audit . --data DATA{attack}")?;
    writeln!(text, "rift-exporter verify .{tolerance}")?;
    writeln!(text, "```")
}

fn describe(threat: &AttackSpec) -> String {
    format!(
        "perturbations of {} norm at most {} in pixel units ({} steps of projected gradient \
         descent of length {})",
        threat.norm, threat.eps, threat.steps, threat.step
    )
}

fn class_list(classes: &[String]) -> String {
    let mut names: Vec<String> =
        classes.iter().take(NAMED).map(|name| format!("`{}`", plain(name))).collect();
    if classes.len() > NAMED {
        names.push(format!("and {} more in `{}`", classes.len() - NAMED, Bundle::CARD));
    }
    names.join(", ")
}

/// `text` without what would be markup: names come from files that users were given.
fn plain(text: &str) -> String {
    text.chars()
        .map(
            |c| {
                if c.is_control() || matches!(c, '`' | '|' | '<' | '>' | '[' | ']') {
                    ' '
                } else {
                    c
                }
            },
        )
        .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use rift_models::arch::ArchSpec;
    use rift_models::artifact::{Digest, Lineage, Parity};

    use super::*;

    pub(in crate::bundle) fn card() -> Card {
        Card {
            format: Card::FORMAT,
            name: "fashion".to_owned(),
            arch: ArchSpec::new("resnet8", [1, 28, 28], 2),
            classes: vec!["shirt".to_owned(), "a `bag` | <b>".to_owned()],
            threat: Some(AttackSpec::paper()),
            opset: 17,
            model: Digest::of_bytes(b"model"),
            probe: Digest::of_bytes(b"probe"),
            checkpoint: Digest::of_bytes(b"checkpoint"),
            parity: Parity {
                n: 64,
                max_abs_difference: 2e-6,
                tolerance: TOLERANCE,
                same_prediction: 64,
            },
            metrics: vec![CardMetric {
                name: "robust".to_owned(),
                split: "validation".to_owned(),
                attack: Some(AttackSpec::paper()),
                accuracy: Accuracy::new(40, 100),
            }],
            quantization: None,
            optimized: None,
            lineage: Lineage::default(),
        }
    }

    #[test]
    fn says_what_it_is_and_how_to_use_it() {
        let text = readme(&card());
        for part in [
            "# fashion\n",
            "`N × 1 × 28 × 28`",
            "`shirt`, `a  bag     b `",
            "linf norm at most 8/255",
            "| robust | validation | pgd-10 linf 8/255 | 100 | 40.00 % | 30.94 to 49.80 |",
            "further than 2.0e-6",
            "rift-runtime audit . --data DATA --norm linf --eps 8/255 --step 2/255\n",
            "rift-exporter verify .\n",
        ] {
            assert!(text.contains(part), "`{part}` is not in\n{text}");
        }
    }

    #[test]
    fn what_was_not_measured_is_not_claimed() {
        let mut card = Card { threat: None, metrics: Vec::new(), ..card() };
        card.parity.tolerance = 1e-3;
        card.classes = (0..30).map(|i| format!("class {i}")).collect();
        let text = readme(&card);
        for part in [
            "expect no robustness",
            "None were measured",
            "and 10 more in `card.json`",
            "rift-exporter verify . --tolerance 1e-3",
        ] {
            assert!(text.contains(part), "`{part}` is not in\n{text}");
        }
    }
}
