//! What `ablate` says on the terminal.

use std::io::Write;

use crate::stage::ablate::{AblateReport, DivergedRow};
use crate::stage::rift::Comparison;

/// Prints a row a row: at the chosen point, then at α = 1, with changes in points.
pub(super) fn print(report: &AblateReport) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let AblateReport { n, split, threat, rows, diverged, .. } = report;
    writeln!(out, "{n} {split} images, {}; changes in points", threat.label())?;
    let head = ["clean %", "robust %", "ood %"].map(|name| format!("{name:>22}"));
    let is_corrupted = rows.iter().any(|row| row.chosen.corruptions.is_some());
    let head = if is_corrupted { &head[..] } else { &head[..2] };
    writeln!(out, "{:<15} {:>6} {}", "", "alpha", head.join(" "))?;
    if let Some(first) = rows.first() {
        let Comparison { before, corruptions, .. } = &first.chosen;
        let [clean, robust] = [before.clean.percent(), before.robust.percent()];
        write!(out, "{:<15} {:>6} {clean:>22.2} {robust:>22.2}", "start", 0)?;
        let corrupted = corruptions.as_ref().and_then(|found| found.first());
        let corrupted = corrupted.map(|([before, _], _)| before.fraction * 100.0);
        writeln!(out, "{}", corrupted.map_or_else(String::new, |value| format!(" {value:>22.2}")))?;
    }
    for row in rows {
        for (alpha, found) in [(row.alpha, &row.chosen), (1.0, &row.tuned)] {
            let after = &found.after;
            let [clean, robust] = found.points();
            let cells = [
                (after.clean.percent(), clean, found.clean_test.p()),
                (after.robust.percent(), robust, found.robust_test.p()),
            ]
            .map(|(value, change, p)| format!("{value:>6.2} {change:+.2} {p}"));
            let name = if alpha == row.alpha { row.name.as_str() } else { "" };
            write!(out, "{name:<15} {alpha:>6} {:>22} {:>22}", cells[0], cells[1])?;
            let corrupted = found.corruptions.as_ref().and_then(|found| found.first());
            let corrupted = corrupted.map_or_else(String::new, |([_, after], change)| {
                let value = after.fraction * 100.0;
                let change = format!("{value:.2} {:+.2}", change.change * 100.0);
                format!(" {change:>22}")
            });
            writeln!(out, "{corrupted}")?;
            if row.alpha == 1.0 {
                break;
            }
        }
    }
    for DivergedRow { name, epoch, .. } in diverged {
        writeln!(out, "{name:<15} diverged in epoch {epoch}")?;
    }
    Ok(())
}
