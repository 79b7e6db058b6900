//! The page of several seeds.

use std::fmt::Write as _;

use rift_models::artifact::{Accuracy, Interval};
use rift_models::markup::escape;

use super::super::figure::{bars, curve};
use super::super::{Comparison, RiftReport, SeedsReport};
use super::{average_cells, change, lineage, section, settings, share, wrap};

/// The page of several seeds.
pub fn page_of_seeds(report: &SeedsReport) -> String {
    let seeds: Vec<String> = report.seeds.iter().map(u64::to_string).collect();
    let mut body = format!("<h1>RiFT with seeds {}</h1>", seeds.join(", "));
    if let Some(first) = report.runs.first() {
        let RiftReport { n, split, threat, .. } = first;
        let _ = write!(
            body,
            "<p class=\"lead\">{n} {split} images, {}; the start is the same network.</p>",
            escape(&threat.label())
        );
    }
    section(&mut body, "Change over the seeds", &changes(report));
    section(&mut body, "Before and after, seed by seed", &before_and_after(report));
    for run in &report.runs {
        let drawing = curve(&run.points, run.alpha, run.tolerance);
        let content = format!("<p>Chosen: {}.</p>{drawing}", escape(&run.verdict));
        section(&mut body, &format!("The way of seed {}", run.seed), &content);
    }
    if let Some(first) = report.runs.first() {
        let title = format!("Criticality with seed {}", first.seed);
        section(&mut body, &title, &bars(&first.modules, &first.tuned));
        section(&mut body, "Settings", &settings(&first.settings));
        section(&mut body, "Where it comes from", &lineage(first));
    }
    wrap("RiFT", &body)
}

/// The spread of the changes.
fn changes(report: &SeedsReport) -> String {
    let mut text = String::from("<table class=\"facts\">");
    let corrupted = report.corrupted_change.as_ref();
    for (name, change) in [
        ("clean", Some(&report.clean_change)),
        ("under corruptions", corrupted),
        ("robust", Some(&report.robust_change)),
    ] {
        let Some(change) = change else { continue };
        let _ = write!(text, "<tr><th>{name}</th><td>{change} points</td></tr>");
    }
    text.push_str(
        "</table><p>Mean ± standard deviation (lowest to highest) of the change of accuracy.</p>",
    );
    text
}

/// Every accuracy of every seed.
fn before_and_after(report: &SeedsReport) -> String {
    let mut text = String::from(
        "<table><tr><th>seed</th><th>accuracy</th><th class=\"n\">before</th>\
         <th class=\"n\">after</th><th class=\"n\">change, points</th></tr>",
    );
    for run in &report.runs {
        let rows = rows(&run.result);
        let mut seed = format!(
            "<td rowspan=\"{}\">{}<small>{}, α {}</small></td>",
            rows.len(),
            run.seed,
            escape(&run.tuned.join(", ")),
            run.alpha
        );
        for [name, before, after, change] in rows {
            let _ = write!(
                text,
                "<tr>{}<td>{name}</td><td class=\"n\">{before}</td><td class=\"n\">{after}</td>\
                 <td class=\"n\">{change}</td></tr>",
                std::mem::take(&mut seed)
            );
        }
    }
    text.push_str(
        "</table><p>Intervals are of 95 %: Wilson's, and for the change Bonett and Price's over the \
         same images. Averages over corruptions have intervals by the spread over the images.</p>",
    );
    text
}

/// Clean, under corruptions and robust: what it is, before, after and its change.
fn rows(result: &Comparison) -> Vec<[String; 4]> {
    let Comparison { before, after, .. } = result;
    let row = |name: &str, [before, after]: [&Accuracy; 2], range: &Interval| {
        [
            name.to_owned(),
            share(before.fraction, &before.interval),
            share(after.fraction, &after.interval),
            change(after.fraction - before.fraction, range),
        ]
    };
    let mut rows = vec![row("clean", [&before.clean, &after.clean], &result.clean_change)];
    rows.extend(result.corruptions.iter().flat_map(average_cells));
    rows.push(row("robust", [&before.robust, &after.robust], &result.robust_change));
    rows
}
