//! `rift-exporter export`.

use std::fmt::Write;

use rift_models::artifact::Bundle;
use rift_models::artifact::atomic::StagedFolder;

use super::{Answer, output, size};
use crate::bundle::{self, ExportError, Exported, OptimizeError, Request};
use crate::cli::Export;
use crate::verify::engine::Engine;

/// Writes the bundle, or says why the model is not the checkpoint.
pub(super) fn run(settings: &Export, engine: &Engine) -> anyhow::Result<Answer> {
    let request = Request {
        checkpoint: settings.checkpoint.clone(),
        probe: settings.probe.clone(),
        out: settings.out.clone(),
        name: settings.name.clone(),
        tolerance: settings.tolerance,
        optimize: settings.optimize.map(Into::into),
    };
    StagedFolder::check(&request.out, &Bundle::ALL)?;
    let probe = bundle::probe_path(&request);
    let inputs = [("the checkpoint", request.checkpoint.as_path()), ("the probe", &probe)];
    output::ensure_apart(&request.out, &inputs)?;
    match bundle::export(&request, engine) {
        Ok(exported) => Ok(Answer::Yes(describe(&request, &exported))),
        Err(error @ (ExportError::Parity(_) | ExportError::Optimize(OptimizeError::Parity(_)))) => {
            Ok(Answer::Refused(error.to_string()))
        }
        Err(error) => Err(error.into()),
    }
}

fn describe(request: &Request, exported: &Exported) -> String {
    let Exported { card, bytes, nodes, folded } = exported;
    let parity = &card.parity;
    let [channels, height, width] = card.arch.input;
    let mut lines = vec![
        ("bundle", request.out.display().to_string()),
        (
            "network",
            format!(
                "{}, {} classes, input {channels} × {height} × {width}",
                card.arch.name,
                card.classes.len()
            ),
        ),
        (
            "model",
            format!(
                "{}, {nodes} nodes, {folded} batch normalisations folded, sha256 {}",
                size(*bytes as u64),
                card.model.short()
            ),
        ),
        (
            "parity",
            format!(
                "largest difference {:.1e} on {} images (accepted {:e}), {} same predictions",
                parity.max_abs_difference, parity.n, parity.tolerance, parity.same_prediction
            ),
        ),
    ];
    for metric in &card.metrics {
        lines.push((&metric.name, format!("{} on the {} split", metric.accuracy, metric.split)));
    }
    let mut result = String::new();
    for (what, text) in lines {
        // Writing to a string cannot fail.
        let _ = writeln!(result, "{what:<8} {text}");
    }
    result
}
