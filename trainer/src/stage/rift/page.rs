//! The report as one page that needs nothing else: no script, no font, no picture from elsewhere.

use std::fmt::Write as _;

use rift_models::artifact::{
    Accuracy, CorruptionAverage, CorruptionComparison, CorruptionResult, Interval, PairedTest,
};
use rift_models::markup::escape;
use serde_json::Value;

use super::figure::{bars, curve};
use super::{Comparison, RiftReport, SeedsReport};

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
    if report.candidates.len() > 1 {
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
    let mut rows = String::from(
        "<table><tr><th>seed</th><th>module</th><th class=\"n\">α</th><th class=\"n\">clean before</th>\
         <th class=\"n\">after</th><th class=\"n\">robust before</th><th class=\"n\">after</th></tr>",
    );
    for run in &report.runs {
        let [clean, robust] = run.result.points();
        let Comparison { before, after, .. } = &run.result;
        let _ = write!(
            rows,
            "<tr><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{:.2} %</td>\
             <td class=\"n\">{:.2} %<small>{clean:+.2}</small></td><td class=\"n\">{:.2} %</td>\
             <td class=\"n\">{:.2} %<small>{robust:+.2}</small></td></tr>",
            run.seed,
            escape(&run.tuned.join(", ")),
            run.alpha,
            before.clean.percent(),
            after.clean.percent(),
            before.robust.percent(),
            after.robust.percent(),
        );
    }
    let _ = write!(
        rows,
        "</table><table class=\"facts\"><tr><th>change, clean</th><td>{} points</td></tr>\
         <tr><th>change, robust</th><td>{} points</td></tr>{}</table>\
         <p>Mean ± standard deviation (lowest to highest) over the seeds.</p>",
        report.clean_change,
        report.robust_change,
        report.corrupted_change.map_or_else(String::new, |change| format!(
            "<tr><th>change, under corruptions</th><td>{change} points</td></tr>"
        ))
    );
    section(&mut body, "Before and after", &rows);
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

fn accuracy(accuracy: &Accuracy) -> String {
    let Interval { lower, upper } = accuracy.interval;
    format!(
        "{:.2} %<small>{:.2} to {:.2}</small>",
        accuracy.percent(),
        lower * 100.0,
        upper * 100.0
    )
}

fn comparison(result: &Comparison) -> String {
    let mut text = String::from(
        "<table><tr><th>accuracy</th><th class=\"n\">before</th><th class=\"n\">after</th>\
         <th class=\"n\">change, points</th><th>paired test</th></tr>",
    );
    let mut row = |name, [before, after]: [&Accuracy; 2], test: &PairedTest, change: &Interval| {
        let _ = write!(
            text,
            "<tr><td>{name}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
             <td class=\"n\">{:+.2}<small>{:+.2} to {:+.2}</small></td>\
             <td>{}<small>{} gained, {} lost</small></td></tr>",
            accuracy(before),
            accuracy(after),
            after.percent() - before.percent(),
            change.lower * 100.0,
            change.upper * 100.0,
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
    let CorruptionComparison { before, after, changes } = found;
    for ((before, after), change) in before.averages.iter().zip(&after.averages).zip(changes) {
        let cell = |average: &CorruptionAverage| {
            let Interval { lower, upper } = average.interval;
            format!(
                "{:.2} %<small>{:.2} to {:.2}</small>",
                average.fraction * 100.0,
                lower * 100.0,
                upper * 100.0
            )
        };
        let _ = write!(
            text,
            "<tr><td>{} corruptions<small>{}, {} images</small></td><td class=\"n\">{}</td>\
             <td class=\"n\">{}</td><td class=\"n\">{:+.2}<small>{:+.2} to {:+.2}</small></td>\
             <td></td></tr>",
            before.corruptions,
            before.name,
            found.before.n,
            cell(before),
            cell(after),
            change.change * 100.0,
            change.interval.lower * 100.0,
            change.interval.upper * 100.0,
        );
    }
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
