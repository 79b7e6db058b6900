//! What `rift` says on the terminal.

use std::io::Write;

use rift_models::artifact::{Accuracy, Interval, PairedTest};

use crate::stage::rift::{Candidate, Comparison, Diverged, RiftReport};

/// Prints a row a way of fine-tuning.
pub(super) fn print_candidates(
    candidates: &[Candidate],
    diverged: &[Diverged],
) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{:>8} {:>6} {:>6} {:>8} {:>8}", "lr", "epochs", "alpha", "clean %", "robust %")?;
    for candidate in candidates {
        let Candidate { lr, epochs, alpha, clean, robust, chosen, .. } = candidate;
        let [clean, robust] = [clean.percent(), robust.percent()];
        let chosen = if *chosen { "  chosen" } else { "" };
        writeln!(out, "{lr:>8} {epochs:>6} {alpha:>6} {clean:>8.2} {robust:>8.2}{chosen}")?;
    }
    for Diverged { lr, epochs, epoch } in diverged {
        writeln!(out, "{lr:>8} {epochs:>6}  diverged in epoch {epoch}")?;
    }
    Ok(())
}

/// Prints what came of it.
pub(super) fn print(report: &RiftReport) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let RiftReport { tuned, module, alpha, split, n, threat, result, .. } = report;
    let more = match tuned.len() {
        0 | 1 => String::new(),
        n => format!(" and {} more", n - 1),
    };
    writeln!(
        out,
        "RiFT of {}{more} at alpha {alpha}: {n} {split} images, {}",
        module.module,
        threat.label()
    )?;
    print_comparison(&mut out, result)
}

/// A row for clean and one for robust accuracy.
fn print_comparison(out: &mut impl Write, result: &Comparison) -> std::io::Result<()> {
    writeln!(out, "{:7} {:>36} {:>36}  change", "", "before", "after")?;
    let mut row = |name, [before, after]: [&Accuracy; 2], test: &PairedTest, range: &Interval| {
        let change = after.percent() - before.percent();
        let PairedTest { lost, gained, .. } = test;
        let (before, after) = (before.to_string(), after.to_string());
        let [lower, upper] = [range.lower * 100.0, range.upper * 100.0];
        writeln!(
            out,
            "{name:7} {before:>36} {after:>36}  {change:+.2} points ({lower:+.2} to {upper:+.2}; +{gained} −{lost}, {})",
            test.p()
        )
    };
    let Comparison { before, after, .. } = result;
    let clean = [&before.clean, &after.clean];
    row("clean", clean, &result.clean_test, &result.clean_change)?;
    let robust = [&before.robust, &after.robust];
    row("robust", robust, &result.robust_test, &result.robust_change)?;
    let Some(corruptions) = &result.corruptions else { return Ok(()) };
    for ((before, after), change) in corruptions
        .before
        .averages
        .iter()
        .zip(&corruptions.after.averages)
        .zip(&corruptions.changes)
    {
        writeln!(out, "ood before, {}", before.line(corruptions.before.n))?;
        writeln!(
            out,
            "ood after,  {}  change {}",
            after.line(corruptions.after.n),
            change.points()
        )?;
    }
    Ok(())
}
