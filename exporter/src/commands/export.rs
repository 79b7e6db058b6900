//! `rift-exporter export`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command prints its result")]

use super::Answer;
use crate::bundle::{self, ExportError, Exported, Request};
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
    };
    match bundle::export(&request, engine) {
        Ok(exported) => {
            print(&request, &exported);
            Ok(Answer::Yes)
        }
        Err(error @ ExportError::Parity(_)) => {
            eprintln!("error: {error}");
            Ok(Answer::No)
        }
        Err(error) => Err(error.into()),
    }
}

fn print(request: &Request, exported: &Exported) {
    let Exported { card, bytes, nodes, folded } = exported;
    let parity = &card.parity;
    let [channels, height, width] = card.arch.input;
    println!("bundle      {}", request.out.display());
    println!(
        "network     {}, {} classes, input {channels} × {height} × {width}",
        card.arch.name,
        card.classes.len()
    );
    println!(
        "model       {}, {nodes} nodes, {folded} batch normalisations folded, sha256 {}",
        size(*bytes),
        card.model.short()
    );
    println!(
        "parity      largest difference {:.1e} on {} images (accepted {:e}), {} same predictions",
        parity.max_abs_difference, parity.n, parity.tolerance, parity.same_prediction
    );
    for metric in &card.metrics {
        println!("{:<11} {} on the {} split", metric.name, metric.accuracy, metric.split);
    }
}

fn size(bytes: usize) -> String {
    match bytes as f64 {
        bytes if bytes < 1e6 => format!("{:.1} kB", bytes / 1e3),
        bytes => format!("{:.1} MB", bytes / 1e6),
    }
}
