//! The report as one page that needs nothing else: no script, no font, no picture from elsewhere.

mod certified;
mod exhibit;
mod figure;

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rift_models::artifact::{
    Accuracy, AuditReport, CorruptionAverage, CorruptionReport, CorruptionResult, Interval,
    SampleResult,
};
use rift_models::corruption::Severity;
use rift_models::markup::escape;

pub use exhibit::{Exhibit, exhibits};

use super::report::describe;

/// More classes than this make a table that nobody reads; then only the worst are shown.
const CLASSES_IN_FULL: usize = 20;

/// What the page shows beside the report.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The names of the classes; numbers where there are none.
    pub classes: Vec<String>,
    /// Broken images.
    pub exhibits: Vec<Exhibit>,
}

impl Surroundings {
    fn class(&self, class: usize) -> String {
        escape(&self.classes.get(class).cloned().unwrap_or_else(|| class.to_string()))
    }
}

/// The whole page.
pub fn page(report: &AuditReport, around: &Surroundings) -> String {
    let title = format!("Audit of {}", escape(&report.model.path));
    let mut body = String::new();
    body.push_str(&verdict(report));
    body.push_str(&warnings(report));
    section(&mut body, "Accuracy over ε", &figure::curve(report));
    section(&mut body, "Attack by attack", &figure::waterfall(report));
    if let Some(certificate) = &report.certified {
        section(&mut body, "What is proven", &certified::certified(report, certificate));
    }
    section(&mut body, "Class by class", &by_class(report, around));
    section(&mut body, "Where images go", &confusion(report, around));
    if !around.exhibits.is_empty() {
        section(&mut body, "Broken images", &gallery(report, around));
    }
    if let Some(corruptions) = &report.corruptions {
        section(&mut body, "Common corruptions", &corrupted(corruptions));
    }
    section(&mut body, "Threat model", &threat(report));
    section(&mut body, "How it was made", &made(report));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n\
         {body}</main>\n</body>\n</html>\n",
        include_str!("page.css")
    )
}

fn section(body: &mut String, title: &str, content: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(body, "<section><h2>{title}</h2>{content}</section>");
}

fn percent(fraction: f64) -> String {
    format!("{:.2} %", fraction * 100.0)
}

fn range(interval: Interval) -> String {
    format!("{:.1} to {:.1} %", interval.lower * 100.0, interval.upper * 100.0)
}

/// A cell with bars, each of a kind and a length in percent.
fn bars(bars: &[(&str, f64)]) -> String {
    let bar = |(kind, percent): &(&str, f64)| {
        format!("<i class=\"{kind}\" style=\"width:{percent:.2}%\"></i>")
    };
    format!("<td class=\"bars\">{}</td>", bars.iter().map(bar).collect::<String>())
}

fn verdict(report: &AuditReport) -> String {
    let robust = report.robust_accuracy;
    let names: Vec<&str> = report.attacks.iter().fold(Vec::new(), |mut names, attack| {
        if !names.contains(&attack.name.as_str()) {
            names.push(&attack.name);
        }
        names
    });
    let figure = |name: &str, value: f64, interval, class: &str| {
        format!(
            "<div class=\"figure {class}\"><b>{}</b><span>{name}</span><small>95 %: {}</small></div>",
            percent(value),
            range(interval)
        )
    };
    format!(
        "<div class=\"figures\">{}{}</div><p class=\"lead\">Of {} images of the {} split, the model \
         classifies {} correctly as they are, and {} whatever {} does within {} {}.</p>",
        figure("robust accuracy", robust, report.interval, "main"),
        figure("clean accuracy", report.clean_accuracy, report.clean_interval, ""),
        report.n,
        escape(&report.split),
        (report.clean_accuracy * report.n as f64).round(),
        (robust * report.n as f64).round(),
        escape(&names.join(", ")),
        report.threat.norm,
        escape(&report.threat.eps.to_string()),
    )
}

/// Accuracy by corruption and severity, and the averages.
fn corrupted(report: &CorruptionReport) -> String {
    let head = |level: &Severity| format!("<th>severity {level}</th>");
    let heads: String = report.severities().iter().map(head).collect();
    let row = |rows: &[CorruptionResult]| {
        let cell = |row: &CorruptionResult| {
            let title = range(row.accuracy.interval);
            format!("<td title=\"95 %: {title}\">{}</td>", percent(row.accuracy.fraction))
        };
        let cells: String = rows.iter().map(cell).collect();
        let name = rows.first().map_or("", |row| row.corruption.name()).replace('_', " ");
        format!("<tr><th>{name}</th>{cells}</tr>")
    };
    let rows: String = report.by_corruption().map(row).collect();
    let average =
        |average: &CorruptionAverage| format!("<li>{}</li>", escape(&average.line(report.n)));
    let averages: String = report.averages.iter().map(average).collect();
    format!(
        "<p>Accuracy on {} images under each of the common corruptions of Hendrycks and Dietterich \
         (ICLR 2019), {}; none of it is an attack.</p><ul>{averages}</ul>\
         <table><thead><tr><th>corruption</th>{heads}</tr></thead><tbody>{rows}</tbody></table>",
        report.n,
        escape(&report.origin())
    )
}

fn warnings(report: &AuditReport) -> String {
    if report.warnings.is_empty() {
        return "<p class=\"good\">No check found a reason to distrust these figures.</p>"
            .to_owned();
    }
    let item = |warning: &String| match warning.split_once(": ") {
        Some((name, rest)) => format!("<li><b>{}</b> {}</li>", escape(name), escape(rest)),
        None => format!("<li>{}</li>", escape(warning)),
    };
    let items: String = report.warnings.iter().map(item).collect();
    format!("<section class=\"warnings\"><h2>Warnings</h2><ul>{items}</ul></section>\n")
}

/// Counts of one class: its images, those right as they are, those right under attack.
fn counts(report: &AuditReport) -> Vec<(usize, [usize; 3])> {
    let mut counts = std::collections::BTreeMap::<usize, [usize; 3]>::new();
    for sample in &report.samples {
        let of = counts.entry(sample.label).or_default();
        of[0] += 1;
        of[1] += usize::from(sample.clean_prediction == sample.label);
        of[2] += usize::from(is_robust(sample));
    }
    counts.into_iter().collect()
}

fn is_robust(sample: &SampleResult) -> bool {
    sample.broken_by.is_none()
}

fn by_class(report: &AuditReport, around: &Surroundings) -> String {
    let mut rows = counts(report);
    let all = rows.len();
    if all > CLASSES_IN_FULL {
        rows.sort_by(|(_, a), (_, b)| (a[2] * b[0]).cmp(&(b[2] * a[0])));
        rows.truncate(CLASSES_IN_FULL);
    }
    let mut text = String::from(
        "<table><tr><th>class</th><th class=\"n\">images</th><th class=\"n\">clean</th>\
         <th class=\"n\">robust</th><th></th></tr>",
    );
    for (class, [n, clean, robust]) in rows {
        let [clean, robust] = [clean, robust].map(|count| Accuracy::new(count, n));
        let [a, b] = [clean, robust].map(|accuracy| accuracy.percent());
        let _ = write!(
            text,
            "<tr><td>{}</td><td class=\"n\">{n}</td><td class=\"n\">{a:.1} %</td>\
             <td class=\"n\" title=\"95 %: {}\">{b:.1} %</td><td class=\"bars\">\
             <div><i class=\"clean\" style=\"width:{a:.1}%\"></i>\
             <i class=\"robust\" style=\"width:{b:.1}%\"></i></div></td></tr>",
            around.class(class),
            range(robust.interval)
        );
    }
    text.push_str(
        "</table><p><span class=\"key clean\"></span> correct as they are, <span class=\"key \
         robust\"></span> correct under attack.</p>",
    );
    if all > CLASSES_IN_FULL {
        let _ = write!(text, "<p>The {CLASSES_IN_FULL} least robust of {all} classes.</p>");
    }
    text
}

/// How often images of one class end as another under attack.
fn confusion(report: &AuditReport, around: &Surroundings) -> String {
    let mut pairs = std::collections::BTreeMap::<(usize, usize), usize>::new();
    for sample in &report.samples {
        *pairs.entry((sample.label, sample.adversarial_prediction)).or_default() += 1;
    }
    let classes: std::collections::BTreeSet<usize> =
        pairs.keys().flat_map(|(a, b)| [*a, *b]).collect();
    if classes.len() > CLASSES_IN_FULL {
        let mut wrong: Vec<_> = pairs.into_iter().filter(|((a, b), _)| a != b).collect();
        wrong.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let row = |((from, to), count): &((usize, usize), usize)| {
            let (from, to) = (around.class(*from), around.class(*to));
            format!("<tr><td>{from}</td><td>{to}</td><td class=\"n\">{count}</td></tr>")
        };
        let rows: String = wrong.iter().take(CLASSES_IN_FULL).map(row).collect();
        return format!("<table><tr><th>from</th><th>to</th><th>images</th></tr>{rows}</table>");
    }
    let mut text = String::from("<table class=\"matrix\"><tr><td></td>");
    for class in &classes {
        let _ = write!(text, "<th>{}</th>", around.class(*class));
    }
    text.push_str("</tr>");
    for from in &classes {
        let total: usize =
            classes.iter().filter_map(|to| pairs.get(&(*from, *to))).sum::<usize>().max(1);
        let _ = write!(text, "<tr><th>{}</th>", around.class(*from));
        for to in &classes {
            let count = pairs.get(&(*from, *to)).copied().unwrap_or(0);
            let kind = if from == to { "right" } else { "wrong" };
            let share = count as f64 / total as f64;
            let shown = if count == 0 { String::new() } else { count.to_string() };
            let _ = write!(text, "<td class=\"{kind}\" style=\"--share:{share:.3}\">{shown}</td>");
        }
        text.push_str("</tr>");
    }
    text.push_str(
        "</table><p>Rows: the true class. Columns: what the model says under attack.</p>",
    );
    text
}

fn gallery(report: &AuditReport, around: &Surroundings) -> String {
    let mut text = String::from(
        "<p>The image, the perturbation magnified so that its largest change is full scale, and what \
         the model sees.</p><div class=\"gallery\">",
    );
    for exhibit in &around.exhibits {
        let Some(sample) = report.samples.iter().find(|s| s.index == exhibit.index) else {
            continue;
        };
        let picture = |png: &[u8], alt: &str| {
            format!("<img alt=\"{alt}\" src=\"data:image/png;base64,{}\">", STANDARD.encode(png))
        };
        let _ = write!(
            text,
            "<figure><div>{}{}{}</div><figcaption>#{} {} → <b>{}</b><br>{} by {}</figcaption></figure>",
            picture(&exhibit.original, "original"),
            picture(&exhibit.perturbation, "perturbation"),
            picture(&exhibit.adversarial, "adversarial"),
            exhibit.index,
            around.class(sample.label),
            around.class(sample.adversarial_prediction),
            format_args!("{} {:.4}", report.threat.norm, sample.distance),
            escape(sample.broken_by.as_deref().unwrap_or_default()),
        );
    }
    text.push_str("</div>");
    text
}

/// In the terms of NIST AI 100-2 (2025), sections 2.1 and 2.2.
fn threat(report: &AuditReport) -> String {
    let by_gradient = report.attacks.iter().any(|attack| attack.name != "square");
    let knowledge = if by_gradient {
        "white-box: architecture and weights of the very file that is served, through its gradient"
    } else {
        "black-box: answers to queries, with logits"
    };
    let (norm, eps) = (report.threat.norm, escape(&report.threat.eps.to_string()));
    let rows = [
        ("Attack", "evasion, at deployment time".to_owned()),
        ("Objective", "integrity violation: any misclassification".to_owned()),
        ("Knowledge", knowledge.to_owned()),
        (
            "Capability",
            format!(
                "testing data control: each image moved by at most {eps} in the norm {norm}, in \
                 pixel units, within [0, 1]"
            ),
        ),
        (
            "Not covered",
            "other norms, larger radii, physical and semantic changes, poisoning".to_owned(),
        ),
    ];
    format!("{}<p>In the terms of NIST AI 100-2 E2025.</p>", table(&rows))
}

fn made(report: &AuditReport) -> String {
    let runtime = &report.runtime;
    let mut rows = vec![
        (
            "Model",
            format!("{}<br><code>{}</code>", escape(&report.model.path), report.model.digest),
        ),
        ("Data", format!("<code>{}</code>", report.model.data)),
    ];
    if let Some(request) = &report.request {
        rows.push(("Data path", escape(&request.data)));
    }
    if let Some(checkpoint) = &report.model.checkpoint {
        rows.push(("Checkpoint", format!("<code>{checkpoint}</code>")));
    }
    rows.push((
        "Runtime",
        format!(
            "{}, ONNX Runtime {}, {}, seed {}<br>{}",
            escape(&runtime.program),
            escape(&runtime.onnxruntime),
            escape(&runtime.provider),
            runtime.seed,
            escape(&runtime.instruction_set.join(", "))
        ),
    ));
    for attack in &report.attacks {
        rows.push((
            "Attack",
            format!(
                "{}<br>{}{} gradients, {} forward passes",
                escape(&describe(attack, report)),
                attack.seconds.map_or_else(String::new, |seconds| format!("{seconds:.1} s, ")),
                attack.gradients,
                attack.forwards
            ),
        ));
    }
    table(&rows)
}

/// Names and values; the values are markup.
fn table(rows: &[(&str, String)]) -> String {
    let row = |(name, value): &(&str, String)| format!("<tr><th>{name}</th><td>{value}</td></tr>");
    format!("<table class=\"facts\">{}</table>", rows.iter().map(row).collect::<String>())
}
