//! What is proven, beside what was found.

use std::fmt::Write as _;

use rift_models::artifact::{AuditReport, Certificate};
use rift_models::markup::escape;

use super::{bars, range};

/// The certified accuracy over the radius as a table, with the attacks' figure where there is one.
pub(super) fn certified(report: &AuditReport, certificate: &Certificate) -> String {
    let mut text = format!(
        "<p>Randomised smoothing, &sigma; {}: {} noisy copies of an image choose its class, {} \
         others prove it; each certificate is right with probability {}. Radii are L2 lengths in \
         pixel units.</p>",
        certificate.sigma,
        certificate.selection,
        certificate.estimation,
        1.0 - certificate.alpha
    );
    let has_attacks = certificate.curve.iter().any(|point| point.attacked.is_some());
    text.push_str("<table><tr><th>radius</th><th class=\"n\">smoothed, certified</th><th></th>");
    if has_attacks {
        text.push_str("<th class=\"n\">model itself, attacked</th>");
    }
    text.push_str("</tr>");
    for point in &certificate.curve {
        let radius =
            point.eps.as_ref().map_or_else(|| format!("{:.3}", point.radius), ToString::to_string);
        let accuracy = point.certified;
        let _ = write!(
            text,
            "<tr><td>{}</td><td class=\"n\" title=\"95 %: {}\">at least {:.2} %</td>{}",
            escape(&radius),
            range(accuracy.interval),
            accuracy.percent(),
            bars(&[("proven", accuracy.percent())])
        );
        if has_attacks {
            let attacked = point.attacked.map_or_else(String::new, |attacked| {
                format!("at most {:.2} %", attacked.percent())
            });
            let _ = write!(text, "<td class=\"n\">{attacked}</td>");
        }
        text.push_str("</tr>");
    }
    let _ = write!(
        text,
        "</table><p>On {} of {} images the smoothed classifier abstains.",
        certificate.abstained, report.n
    );
    if certificate.unreached > 0 {
        let _ =
            write!(text, " {} were not reached and count as not certified.", certificate.unreached);
    }
    let mut about = certificate.about.chars();
    let first: String = about.next().into_iter().flat_map(char::to_uppercase).collect();
    let _ = write!(text, "</p><p class=\"lead\">{}{}.</p>", first, escape(about.as_str()));
    text
}
