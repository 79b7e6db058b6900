//! The report as one page that needs nothing else: no script, no font, no picture from elsewhere.

mod seeds;

use std::fmt::Write as _;

use rift_models::artifact::{
    Accuracy, CorruptionAverage, CorruptionChange, CorruptionComparison, CorruptionResult,
    Interval, PairedTest,
};
use rift_models::markup::escape;
use serde_json::Value;

use super::figure::{bars, curve};
use super::{Comparison, Diverged, RiftReport};

pub use seeds::page_of_seeds;

/// The page of one seed.
pub fn page(report: &RiftReport) -> String {
    let RiftReport { n, split, threat, alpha, .. } = report;
    let mut body = format!(
        "<h1>RiFT of {}</h1><p class=\"lead\">Chosen on the validation images: {}. Below, {n} {split} \
         images by which nothing was chosen, {}, seed {}.</p>",
        escape(&report.tuned.join(", ")),
        escape(&report.verdict),
        escape(&threat.label()),
        report.seed
    );
    section(&mut body, "Before and after", &comparison(&report.result));
    if let Some(found) = &report.result.corruptions {
        section(&mut body, "Out of distribution, corruption by corruption", &corruptions(found));
    }
    let way = format!(
        "<p>Weights from the robust ones (α = 0) to the fine-tuned ones (α = 1), judged on the \
         validation images; chosen is the best clean accuracy whose robust accuracy is not below \
         that at α = 0 by more than {} points (dashed).</p>{}{}",
        report.tolerance * 100.0,
        curve(&report.points, *alpha, report.tolerance),
        points(report)
    );
    section(&mut body, "The way", &way);
    if report.candidates.len() + report.diverged.len() > 1 {
        section(&mut body, "Ways of fine-tuning that were tried", &candidates(report));
    }
    let modules = format!(
        "<p>The largest rise of the loss on adversarial training images when the weights of one \
         module move within their ball, and the fall of robust accuracy there.</p>{}",
        bars(&report.modules, &report.tuned)
    );
    section(&mut body, "Criticality, module by module", &modules);
    section(&mut body, "Settings", &settings(&report.settings));
    section(&mut body, "Where it comes from", &lineage(report));
    wrap("RiFT", &body)
}

fn wrap(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n\
         </html>\n",
        include_str!("page.css")
    )
}

fn section(body: &mut String, title: &str, content: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(body, "<section><h2>{title}</h2>{content}</section>");
}

/// A share in percent and its interval.
fn share(fraction: f64, Interval { lower, upper }: &Interval) -> String {
    let [fraction, lower, upper] = [fraction, *lower, *upper].map(|share| share * 100.0);
    format!("{fraction:.2} %<small>{lower:.2} to {upper:.2}</small>")
}

/// A difference of shares in points and its interval.
fn change(by: f64, Interval { lower, upper }: &Interval) -> String {
    let [by, lower, upper] = [by, *lower, *upper].map(|share| share * 100.0);
    format!("{by:+.2}<small>{lower:+.2} to {upper:+.2}</small>")
}

fn comparison(result: &Comparison) -> String {
    let mut text = String::from(
        "<table><tr><th>accuracy</th><th class=\"n\">before</th><th class=\"n\">after</th>\
         <th class=\"n\">change, points</th><th>paired test</th></tr>",
    );
    let mut row = |name, [before, after]: [&Accuracy; 2], test: &PairedTest, range: &Interval| {
        let _ = write!(
            text,
            "<tr><td>{name}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
             <td class=\"n\">{}</td><td>{}<small>{} gained, {} lost</small></td></tr>",
            share(before.fraction, &before.interval),
            share(after.fraction, &after.interval),
            change(after.fraction - before.fraction, range),
            escape(&test.p()),
            test.gained,
            test.lost
        );
    };
    let Comparison { before, after, .. } = result;
    row("clean", [&before.clean, &after.clean], &result.clean_test, &result.clean_change);
    row("robust", [&before.robust, &after.robust], &result.robust_test, &result.robust_change);
    if let Some(found) = &result.corruptions {
        averages(&mut text, found);
    }
    text.push_str(
        "</table><p>Intervals are of 95 %: Wilson's, and for the change Bonett and Price's over the \
         same images; the test is McNemar's, exact. Averages over corruptions have intervals by the \
         spread over the images.</p>",
    );
    text
}

/// The averages over corruptions, as rows of the table of accuracies.
fn averages(text: &mut String, found: &CorruptionComparison) {
    for [name, before, after, change] in average_cells(found) {
        let _ = write!(
            text,
            "<tr><td>{name}</td><td class=\"n\">{before}</td><td class=\"n\">{after}</td>\
             <td class=\"n\">{change}</td><td></td></tr>"
        );
    }
}

/// What each average is over, before, after and its change.
fn average_cells(found: &CorruptionComparison) -> Vec<[String; 4]> {
    let CorruptionComparison { before, after, changes } = found;
    let cells = |before: &CorruptionAverage, after: &CorruptionAverage, by: &CorruptionChange| {
        [
            format!("{}<small>{}, {} images</small>", before.over(), before.name, found.before.n),
            share(before.fraction, &before.interval),
            share(after.fraction, &after.interval),
            change(by.change, &by.interval),
        ]
    };
    let pairs = before.averages.iter().zip(&after.averages).zip(changes);
    pairs.map(|((before, after), change)| cells(before, after, change)).collect()
}

/// Each corruption's accuracy, averaged over its severities.
fn corruptions(found: &CorruptionComparison) -> String {
    let CorruptionComparison { before, after, .. } = found;
    let severities: Vec<String> = before.severities().iter().map(ToString::to_string).collect();
    let mut text = format!(
        "<p>{} images under each, averaged over severity {}, {}.</p><table><tr>\
         <th>corruption</th><th class=\"n\">before</th><th class=\"n\">after</th>\
         <th class=\"n\">change, points</th></tr>",
        before.n,
        severities.join(", "),
        escape(&before.origin())
    );
    let mean = |rows: &[CorruptionResult]| {
        rows.iter().map(|row| row.accuracy.percent()).sum::<f64>() / rows.len() as f64
    };
    for (before, after) in before.by_corruption().zip(after.by_corruption()) {
        let name = before[0].corruption.name().replace('_', " ");
        let [before, after] = [before, after].map(mean);
        let _ = write!(
            text,
            "<tr><td>{name}</td><td class=\"n\">{before:.2} %</td><td class=\"n\">{after:.2} %</td>\
             <td class=\"n\">{:+.2}</td></tr>",
            after - before
        );
    }
    text.push_str("</table>");
    text
}

fn points(report: &RiftReport) -> String {
    let mut text = String::from(
        "<table><tr><th class=\"n\">α</th><th class=\"n\">clean</th><th class=\"n\">p</th>\
         <th class=\"n\">robust</th><th class=\"n\">p</th></tr>",
    );
    for point in &report.points {
        let class = if point.alpha == report.alpha { " class=\"chosen\"" } else { "" };
        let _ = write!(
            text,
            "<tr{class}><td class=\"n\">{}</td><td class=\"n\">{:.2} %</td><td class=\"n\">{}</td>\
             <td class=\"n\">{:.2} %</td><td class=\"n\">{}</td></tr>",
            point.alpha,
            point.clean.percent(),
            escape(&bare(&point.clean_test)),
            point.robust.percent(),
            escape(&bare(&point.robust_test))
        );
    }
    let n = report.points.first().map_or(0, |point| point.clean.n);
    let _ = write!(text, "</table><p>{n} validation images; p is paired, against α = 0.</p>");
    text
}

/// A probability without its letter, for a column that has it at its head.
fn bare(test: &PairedTest) -> String {
    test.p().trim_start_matches("p ").to_owned()
}

fn candidates(report: &RiftReport) -> String {
    let mut text = String::from(
        "<p>Each is judged by the point that was chosen on its way, on the validation images.</p>\
         <table><tr><th class=\"n\">learning rate</th><th class=\"n\">epochs</th>\
         <th class=\"n\">epoch kept</th><th class=\"n\">α</th><th class=\"n\">clean</th>\
         <th class=\"n\">robust</th></tr>",
    );
    for candidate in &report.candidates {
        let class = if candidate.chosen { " class=\"chosen\"" } else { "" };
        let _ = write!(
            text,
            "<tr{class}><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
             <td class=\"n\">{}</td><td class=\"n\">{:.2} %</td><td class=\"n\">{:.2} %</td></tr>",
            candidate.lr,
            candidate.epochs,
            candidate.best_epoch,
            candidate.alpha,
            candidate.clean.percent(),
            candidate.robust.percent()
        );
    }
    for Diverged { lr, epochs, epoch } in &report.diverged {
        let _ = write!(
            text,
            "<tr><td class=\"n\">{lr}</td><td class=\"n\">{epochs}</td>\
             <td colspan=\"4\">diverged in epoch {epoch}</td></tr>"
        );
    }
    text.push_str("</table>");
    text
}

/// Settings as rows; a group of them in one cell.
fn settings(settings: &Value) -> String {
    let shown = |value: &Value| match value {
        Value::Object(group) => {
            let item = |(name, value): (&String, &Value)| format!("{name} {}", plain(value));
            group.iter().map(item).collect::<Vec<_>>().join("; ")
        }
        other => plain(other),
    };
    let rows = settings.as_object().into_iter().flatten();
    let rows = rows.filter(|(_, value)| !value.is_null());
    let row = |(name, value): (&String, &Value)| (name.clone(), escape(&shown(value)));
    table(&rows.map(row).collect::<Vec<_>>())
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn lineage(report: &RiftReport) -> String {
    let mut rows = vec![
        ("made by".to_owned(), escape(&report.lineage.made_by)),
        ("checkpoint made".to_owned(), format!("<code>{}</code>", report.checkpoint)),
    ];
    for (role, digest) in &report.lineage.parents {
        rows.push((escape(role), format!("<code>{digest}</code>")));
    }
    for (role, ancestor) in &report.lineage.ancestors {
        rows.push((format!("{}, made by", escape(role)), escape(&ancestor.made_by)));
        for (of, digest) in &ancestor.parents {
            rows.push((
                format!("{}, its {}", escape(role), escape(of)),
                format!("<code>{digest}</code>"),
            ));
        }
    }
    table(&rows)
}

/// Names and values; both are markup.
fn table(rows: &[(String, String)]) -> String {
    let row =
        |(name, value): &(String, String)| format!("<tr><th>{name}</th><td>{value}</td></tr>");
    format!("<table class=\"facts\">{}</table>", rows.iter().map(row).collect::<String>())
}
