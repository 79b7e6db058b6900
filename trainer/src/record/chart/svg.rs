//! The few elements of SVG that a chart is made of.

use std::fmt::Write;

use rift_models::markup::escape;

/// How wide a character of the figure's font is, about: there is no way to measure it here.
pub(super) const CHARACTER: f64 = 6.6;

/// Light first, then dark. Colours of curves: Okabe and Ito, darker on light and lighter on dark.
const STYLE: &str = "\
.page{fill:#fff}text{font:12px system-ui,-apple-system,Segoe UI,Helvetica,Arial,sans-serif;fill:#1f2328}\
.title{font-size:16px;font-weight:600}.muted,.tick{fill:#59636e}.tick{font-size:11px}\
.grid{stroke:#d8dee4;stroke-width:1;fill:none}.axis{stroke:#59636e;stroke-width:1;fill:none}\
.rule{stroke:#59636e;stroke-width:1;stroke-dasharray:2 3;fill:none}\
.line{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}.dashed{stroke-dasharray:5 4}\
.s0{stroke:#0072b2}.s1{stroke:#c04f00}.s2{stroke:#00795a}.s3{stroke:#a8437f}\
.f0{fill:#0072b2}.f1{fill:#c04f00}.f2{fill:#00795a}.f3{fill:#a8437f}\
@media(prefers-color-scheme:dark){.page{fill:#0d1117}text{fill:#e6edf3}.muted,.tick{fill:#9198a1}\
.grid{stroke:#2a313a}.axis,.rule{stroke:#9198a1}\
.s0{stroke:#56b4e9}.s1{stroke:#f0954a}.s2{stroke:#2fc79a}.s3{stroke:#e08fbf}\
.f0{fill:#56b4e9}.f1{fill:#f0954a}.f2{fill:#2fc79a}.f3{fill:#e08fbf}}";

/// What a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Title,
    Muted,
    Plain,
    /// A number at an axis; the end of the text, its middle or its beginning is at the place.
    TickEnd,
    TickMiddle,
    TickStart,
    /// A name that ends at the place.
    NameEnd,
}

impl Class {
    fn attributes(self) -> &'static str {
        match self {
            Self::Title => r#"class="title""#,
            Self::Muted => r#"class="muted""#,
            Self::Plain => "",
            Self::TickEnd => r#"class="tick" text-anchor="end""#,
            Self::TickMiddle => r#"class="tick" text-anchor="middle""#,
            Self::TickStart => r#"class="tick""#,
            Self::NameEnd => r#"text-anchor="end""#,
        }
    }
}

/// An SVG that grows.
#[derive(Debug)]
pub(super) struct Drawing(String);

/// A coordinate, as short as a screen can tell.
fn number(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

impl Drawing {
    pub(super) fn new(width: f64, height: f64, title: &str) -> Self {
        let [width, height] = [width, height].map(number);
        let mut drawing = Self(format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img">"#
        ));
        drawing.push(&format!("<title>{}</title>", escape(title)));
        drawing.push(&format!("<style>{STYLE}</style>"));
        drawing.push(&format!(r#"<rect class="page" width="{width}" height="{height}"/>"#));
        drawing
    }

    fn push(&mut self, element: &str) {
        // Writing to a string cannot fail.
        let _ = write!(self.0, "\n{element}");
    }

    pub(super) fn text(&mut self, (x, y): (f64, f64), class: Class, text: &str) {
        let [x, y] = [x, y].map(number);
        let (attributes, text) = (class.attributes(), escape(text));
        self.push(&format!(r#"<text x="{x}" y="{y}" {attributes}>{text}</text>"#));
    }

    /// A straight line: `grid`, `axis`, `rule`, or `line` with a colour.
    pub(super) fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let [x1, y1, x2, y2] = [from.0, from.1, to.0, to.1].map(number);
        self.push(&format!(r#"<path class="{class}" d="M{x1} {y1}L{x2} {y2}"/>"#));
    }

    /// A line through points; a single one is a dot.
    pub(super) fn curve(&mut self, class: &str, points: &[(f64, f64)]) {
        let mut d = String::new();
        for (place, (x, y)) in points.iter().enumerate() {
            let command = if place == 0 { 'M' } else { 'L' };
            let _ = write!(d, "{command}{} {}", number(*x), number(*y));
        }
        if points.len() == 1 {
            d.push_str("h0.1");
        }
        if !d.is_empty() {
            self.push(&format!(r#"<path class="{class}" d="{d}"/>"#));
        }
    }

    pub(super) fn dot(&mut self, colour: usize, (x, y): (f64, f64)) {
        let [x, y] = [x, y].map(number);
        self.push(&format!(r#"<circle class="f{colour}" cx="{x}" cy="{y}" r="3"/>"#));
    }

    /// A bar; the tooltip is what a reader sees who rests on it.
    pub(super) fn bar(&mut self, colour: usize, area: super::Area, faint: bool, tooltip: &str) {
        let super::Area { left, top, width, height } = area;
        let [x, y, width, height] = [left, top, width, height].map(number);
        let opacity = if faint { r#" opacity="0.55""# } else { "" };
        let tooltip = escape(tooltip);
        self.push(&format!(
            r#"<rect class="f{colour}" x="{x}" y="{y}" width="{width}" height="{height}"{opacity}><title>{tooltip}</title></rect>"#
        ));
    }

    pub(super) fn finish(mut self) -> String {
        self.0.push_str("\n</svg>\n");
        self.0
    }
}
