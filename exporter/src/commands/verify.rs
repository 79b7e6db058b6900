//! `rift-exporter verify`.

use std::fmt::Write;

use rift_models::artifact::{Bundle, atomic};

use super::{Answer, output};
use crate::cli::Verify;
use crate::verify::engine::Engine;
use crate::verify::figures::Figure;
use crate::verify::{self, Against};

/// A row for each check; also writes them as JSON where asked.
pub(super) fn run(settings: &Verify, engine: &Engine) -> anyhow::Result<Answer> {
    let against = Against {
        tolerance: settings.tolerance,
        data: settings.data.as_deref(),
        images: settings.images,
        twin: settings.twin.as_deref(),
        twin_if_quantized: settings.twin_by_variable,
    };
    if let Some(path) = &settings.json {
        let given = [
            ("the bundle", Some(&settings.bundle)),
            ("the twin", settings.twin.as_ref()),
            ("the data", settings.data.as_ref()),
        ];
        let inputs = given.map(|(what, path)| path.map(|path| (what, path.as_path())));
        let inputs: Vec<output::Input<'_>> = inputs.into_iter().flatten().collect();
        output::ensure_no_input(("--json", path), &inputs, &Bundle::ALL)?;
        atomic::check_writable(path)?;
    }
    let report = verify::verify(&settings.bundle, &against, engine)?;
    if let Some(path) = &settings.json {
        atomic::write_json(path, &report)?;
    }
    let mut text = format!("bundle {} (`{}`)\n", report.bundle, report.name);
    for check in &report.checks {
        let verdict = if check.holds { "holds" } else { "FAILS" };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:<20} {verdict}  {}", check.name, check.detail);
    }
    if report.figures.len() > 1 {
        table(&mut text, &report.figures);
    }
    Ok(if report.holds {
        Answer::Yes(text + "the bundle holds\n")
    } else {
        Answer::No(text + "the bundle does not hold\n")
    })
}

/// A row for each figure: a logit's difference as a number, an accuracy in percent.
fn table(text: &mut String, figures: &[Figure]) {
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "\n{:<10} {:<22} {:>9} {:>9} {:>9}          against",
        "file", "figure", "expected", "found", "accepted"
    );
    for figure in figures {
        let is_logit = figure.what == "logits";
        let number = |value: Option<f64>| match value {
            None => "-".to_owned(),
            Some(value) if is_logit && value == 0.0 => "0".to_owned(),
            Some(value) if is_logit => format!("{value:.1e}"),
            Some(value) => format!("{value:.2}"),
        };
        let [expected, found, accepted] =
            [figure.expected, Some(figure.found), figure.tolerance].map(number);
        let verdict = if figure.holds { "holds" } else { "FAILS" };
        let Figure { file, what, why, .. } = figure;
        let _ = writeln!(
            text,
            "{file:<10} {what:<22} {expected:>9} {found:>9} {accepted:>9}  {verdict}  {why}"
        );
    }
}
