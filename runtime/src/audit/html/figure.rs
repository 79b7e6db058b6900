//! The page's drawings.

use std::fmt::Write as _;

use rift_models::artifact::{Accuracy, AuditReport};
use rift_models::markup::escape;

use super::bars;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 46.0;
const BOTTOM: f64 = 34.0;
/// Room for half a label.
const RIGHT: f64 = 30.0;
/// Labels nearer than this run into each other.
const APART: f64 = 44.0;

/// Accuracy over the radius, with its intervals; at 0 that of the images as they are.
pub(super) fn curve(report: &AuditReport) -> String {
    let points = points(report);
    let largest = points.last().map_or(1.0, |(eps, ..)| *eps).max(f64::MIN_POSITIVE);
    let across = |eps: f64| LEFT + eps / largest * (WIDTH - LEFT - RIGHT);
    let down = |share: f64| 10.0 + (1.0 - share) * (HEIGHT - 10.0 - BOTTOM);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"accuracy over eps\">"
    );
    for tick in 0..=4 {
        let share = f64::from(tick) / 4.0;
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{0:.1}\" y2=\"{0:.1}\"/>\
             <text class=\"end\" x=\"{1}\" y=\"{2:.1}\">{3} %</text>",
            down(share),
            LEFT - 6.0,
            down(share) + 4.0,
            tick * 25
        );
    }
    let place = |(eps, _, accuracy): &(f64, String, Accuracy)| {
        format!("{:.1},{:.1} ", across(*eps), down(accuracy.fraction))
    };
    let line: String = points.iter().map(place).collect();
    let edge = |(eps, bound): (f64, f64)| format!("{:.1},{:.1} ", across(eps), down(bound));
    let upper = points.iter().map(|(eps, _, a)| edge((*eps, a.interval.upper)));
    let lower = points.iter().rev().map(|(eps, _, a)| edge((*eps, a.interval.lower)));
    let band: String = upper.chain(lower).collect();
    let _ = write!(svg, "<polygon class=\"band\" points=\"{band}\"/>");
    let _ = write!(svg, "<polyline class=\"line\" points=\"{line}\"/>");
    // The last is always labelled; before it, whatever leaves room for the next.
    let mut room = f64::INFINITY;
    for (eps, text, accuracy) in points.iter().rev() {
        let (x, y) = (across(*eps), down(accuracy.fraction));
        let has_room = room - x >= APART;
        if has_room {
            room = x;
        }
        let (label, value) = if has_room {
            (escape(text), format!("{:.1}", accuracy.percent()))
        } else {
            Default::default()
        };
        let _ = write!(
            svg,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"><title>ε {0}: {accuracy}</title></circle>\
             <text class=\"mid\" x=\"{x:.1}\" y=\"{1}\">{label}</text>\
             <text class=\"mid value\" x=\"{x:.1}\" y=\"{2:.1}\">{value}</text>",
            escape(text),
            HEIGHT - 12.0,
            (y - 9.0).max(10.0),
        );
    }
    svg.push_str("</svg>");
    svg
}

/// Radii, as they are written and as numbers, with the accuracies there; at 0 that of the images as
/// they are.
fn points(report: &AuditReport) -> Vec<(f64, String, Accuracy)> {
    let clean = (report.clean_accuracy * report.n as f64).round() as usize;
    let mut points = vec![(0.0, "0".to_owned(), Accuracy::new(clean, report.n))];
    if report.curve.is_empty() {
        let robust = (report.robust_accuracy * report.n as f64).round() as usize;
        let eps = &report.threat.eps;
        points.push((f64::from(eps.value()), eps.to_string(), Accuracy::new(robust, report.n)));
    }
    for point in &report.curve {
        points.push((f64::from(point.eps.value()), point.eps.to_string(), point.robust));
    }
    points
}

/// What each attack took from the accuracy.
pub(super) fn waterfall(report: &AuditReport) -> String {
    let mut text = String::from(
        "<table class=\"waterfall\"><tr><th>attack</th><th class=\"n\">broken</th>\
         <th class=\"n\">accuracy after</th><th></th><th class=\"n\">time</th></tr>",
    );
    let _ = write!(
        text,
        "<tr><td>none</td><td></td><td class=\"n\">{:.2} %</td>{}<td></td></tr>",
        report.clean_accuracy * 100.0,
        bars(&[("clean", report.clean_accuracy * 100.0)])
    );
    for attack in &report.attacks {
        let eps = attack.eps.as_ref().map_or_else(String::new, |eps| format!(" {eps}"));
        let after = attack.robust.percent();
        let taken = attack.broken as f64 / report.n.max(1) as f64 * 100.0;
        let late = if attack.unreached > 0 {
            format!(" ({} not reached)", attack.unreached)
        } else {
            String::new()
        };
        let _ = write!(
            text,
            "<tr><td>{}{}</td><td class=\"n\">{} of {}{late}</td><td class=\"n\">{after:.2} %</td>\
             {}<td class=\"n\">{}</td></tr>",
            escape(&attack.name),
            escape(&eps),
            attack.broken,
            attack.attacked,
            bars(&[("robust", after), ("taken", taken)]),
            attack.seconds.map_or_else(String::new, |seconds| format!("{seconds:.1} s"))
        );
    }
    text.push_str(
        "</table><p>Each attack meets what those before it left. <span class=\"key robust\"></span> still \
         classified correctly, <span class=\"key taken\"></span> broken by this attack.</p>",
    );
    text
}
