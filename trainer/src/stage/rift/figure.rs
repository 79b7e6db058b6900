//! Drawings, each an SVG that stands on its own.

use std::fmt::Write as _;

use rift_models::artifact::{Interval, MrcRow, PairedTest, SweepPoint};

const CLEAN: &str = "#c77700";
const ROBUST: &str = "#1f6feb";
const QUIET: &str = "#5d6b7a";
const LINE: &str = "#dde3ea";

/// Opens a drawing of this size.
fn open(width: f64, height: f64, label: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" role=\"img\" aria-label=\"{label}\" font-family=\"system-ui, sans-serif\" \
         font-size=\"12\"><rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>"
    )
}

fn text(svg: &mut String, [x, y]: [f64; 2], (anchor, colour): (&str, &str), words: &str) {
    // Writing to a string cannot fail.
    let _ = write!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{words}</text>"
    );
}

fn rule(svg: &mut String, [x1, y1, x2, y2]: [f64; 4], colour: &str, more: &str) {
    let _ = write!(
        svg,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\"{more}/>"
    );
}

/// Height of one module's row.
const ROW: f64 = 18.0;
/// Where the two columns of bars begin, and how wide they are.
const COLUMNS: [f64; 2] = [190.0, 470.0];
const COLUMN: f64 = 200.0;

/// Loss rise and fall of the robust accuracy of each module, in the order of `rows`; the modules
/// that were fine-tuned stand out.
pub fn bars(rows: &[MrcRow], tuned: &[String]) -> String {
    let height = 34.0 + ROW * rows.len() as f64;
    let mut svg = open(740.0, height, "criticality by module");
    let heads = ["loss rise (criticality)", "fall of robust accuracy, points"];
    for (x, head) in COLUMNS.into_iter().zip(heads) {
        text(&mut svg, [x, 16.0], ("start", QUIET), head);
    }
    let values: Vec<[f64; 2]> =
        rows.iter().map(|row| [row.mrc, row.robust_accuracy_drop * 100.0]).collect();
    let largest = [0, 1]
        .map(|which| values.iter().map(|value| value[which]).fold(f64::MIN_POSITIVE, f64::max));
    for (place, (row, values)) in rows.iter().zip(&values).enumerate() {
        let y = 26.0 + ROW * place as f64;
        let ours = tuned.contains(&row.module);
        let colour = if ours { CLEAN } else { ROBUST };
        let name = if ours { CLEAN } else { QUIET };
        text(&mut svg, [COLUMNS[0] - 8.0, y + 12.0], ("end", name), &row.module);
        for which in [0, 1] {
            let length = (values[which] / largest[which]).max(0.0) * COLUMN;
            let x = COLUMNS[which];
            let _ = write!(
                svg,
                "<rect x=\"{x}\" y=\"{:.1}\" width=\"{length:.1}\" height=\"11\" fill=\"{colour}\"/>",
                y + 2.0
            );
            let value =
                if which == 0 { format!("{:.4}", values[0]) } else { format!("{:.2}", values[1]) };
            text(&mut svg, [x + length + 5.0, y + 12.0], ("start", QUIET), &value);
        }
    }
    svg.push_str("</svg>");
    svg
}

const WIDTH: f64 = 740.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 36.0;
const BOTTOM: f64 = 44.0;

/// One line of the curve: a change in points at each α, with its interval.
struct Series {
    name: &'static str,
    colour: &'static str,
    points: Vec<(f64, f64, Interval)>,
}

fn series(points: &[SweepPoint]) -> [Series; 2] {
    let Some(start) = points.first() else {
        return [("clean", CLEAN), ("robust", ROBUST)].map(|(name, colour)| Series {
            name,
            colour,
            points: Vec::new(),
        });
    };
    let of = |change: f64, test: &PairedTest, n: usize| {
        let Interval { lower, upper } = test.interval(n);
        (change * 100.0, Interval { lower: lower * 100.0, upper: upper * 100.0 })
    };
    let line = |which: usize| {
        points.iter().map(move |point| {
            let (change, interval) = if which == 0 {
                let change = point.clean.fraction - start.clean.fraction;
                of(change, &point.clean_test, point.clean.n)
            } else {
                let change = point.robust.fraction - start.robust.fraction;
                of(change, &point.robust_test, point.robust.n)
            };
            (point.alpha, change, interval)
        })
    };
    [
        Series { name: "clean", colour: CLEAN, points: line(0).collect() },
        Series { name: "robust", colour: ROBUST, points: line(1).collect() },
    ]
}

/// The change of clean and robust accuracy over α, with paired 95 % intervals; the chosen point, and
/// how far robust accuracy may fall.
pub fn curve(points: &[SweepPoint], chosen: f64, tolerance: f64) -> String {
    let lines = series(points);
    let all = || lines.iter().flat_map(|line| &line.points);
    let floor = -tolerance * 100.0;
    let low = all().map(|(_, _, i)| i.lower).fold(floor, f64::min);
    let high = all().map(|(_, _, i)| i.upper).fold(0.0, f64::max);
    let step = nice((high - low).max(0.1) / 5.0);
    let (low, high) = ((low / step).floor() * step, (high / step).ceil() * step);
    let last = points.last().map_or(1.0, |point| point.alpha).max(0.1);
    let across = |alpha: f64| LEFT + alpha / last * (WIDTH - LEFT - RIGHT);
    let down = |change: f64| TOP + (high - change) / (high - low) * (HEIGHT - TOP - BOTTOM);
    let mut svg = open(WIDTH, HEIGHT, "change of accuracy over alpha");
    text(&mut svg, [LEFT, 16.0], ("start", QUIET), "change from α = 0, points (95 % paired)");
    for tick in 0..=((high - low) / step).round() as usize {
        let value = low + step * tick as f64;
        let y = down(value);
        let zero = value.abs() < step / 2.0;
        let colour = if zero { QUIET } else { LINE };
        let words = if zero { "0".to_owned() } else { format!("{value:+.*}", digits(step)) };
        rule(&mut svg, [LEFT, y, WIDTH - RIGHT, y], colour, "");
        text(&mut svg, [LEFT - 8.0, y + 4.0], ("end", QUIET), &words);
    }
    for tick in 0..=10 {
        let alpha = last * f64::from(tick) / 10.0;
        let words = format!("{alpha:.2}");
        let words = words.trim_end_matches('0').trim_end_matches('.');
        text(&mut svg, [across(alpha), HEIGHT - 24.0], ("middle", QUIET), words);
    }
    text(&mut svg, [f64::midpoint(LEFT, WIDTH), HEIGHT - 6.0], ("middle", QUIET), "α");
    let dashed = " stroke-dasharray=\"5 4\"";
    rule(&mut svg, [LEFT, down(floor), WIDTH - RIGHT, down(floor)], ROBUST, dashed);
    let x = across(chosen);
    rule(&mut svg, [x, TOP, x, HEIGHT - BOTTOM], QUIET, dashed);
    let anchor = if chosen > last / 2.0 { "end" } else { "start" };
    let beside = if chosen > last / 2.0 { x - 6.0 } else { x + 6.0 };
    let words = format!("chosen: {chosen}");
    text(&mut svg, [beside, TOP + 12.0], (anchor, "#1c2530"), &words);
    for (place, line) in lines.iter().enumerate() {
        draw(&mut svg, line, &across, &down);
        let x = WIDTH - RIGHT - 150.0 + 75.0 * place as f64;
        let _ = write!(svg, "<circle cx=\"{x}\" cy=\"12\" r=\"4\" fill=\"{}\"/>", line.colour);
        text(&mut svg, [x + 9.0, 16.0], ("start", QUIET), line.name);
    }
    svg.push_str("</svg>");
    svg
}

/// A line, its band and its points.
fn draw(svg: &mut String, line: &Series, across: &impl Fn(f64) -> f64, down: &impl Fn(f64) -> f64) {
    let place = |alpha: f64, change: f64| format!("{:.1},{:.1} ", across(alpha), down(change));
    let upper = line.points.iter().map(|(alpha, _, i)| place(*alpha, i.upper));
    let lower = line.points.iter().rev().map(|(alpha, _, i)| place(*alpha, i.lower));
    let band: String = upper.chain(lower).collect();
    let way: String = line.points.iter().map(|(alpha, change, _)| place(*alpha, *change)).collect();
    let colour = line.colour;
    let _ = write!(
        svg,
        "<polygon points=\"{band}\" fill=\"{colour}\" opacity=\"0.12\"/>\
         <polyline points=\"{way}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>"
    );
    for (alpha, change, interval) in &line.points {
        let _ = write!(
            svg,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"><title>α {alpha}: {} \
             {change:+.2} points ({:+.2} to {:+.2})</title></circle>",
            across(*alpha),
            down(*change),
            line.name,
            interval.lower,
            interval.upper
        );
    }
}

/// The next of 1, 2, 5 times a power of ten.
fn nice(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|f| f * power >= step * (1.0 - 1e-9));
    factor.unwrap_or(10.0) * power
}

/// Decimal places that tell multiples of `step` apart.
fn digits(step: f64) -> usize {
    (-step.log10().floor()).max(0.0) as usize
}

#[cfg(test)]
mod tests {
    use rift_models::artifact::Accuracy;

    use super::*;

    #[test]
    fn ticks_are_round() {
        assert_eq!([0.03, 0.2, 0.21, 7.0].map(nice), [0.05, 0.2, 0.5, 10.0]);
        assert_eq!([0.05, 0.5, 1.0, 20.0].map(digits), [2, 1, 0, 0]);
    }

    #[test]
    fn every_point_and_module_is_drawn() {
        let same = PairedTest::new(&[], &[]);
        let point = |alpha: f64| SweepPoint {
            alpha,
            clean: Accuracy::new(60, 100),
            robust: Accuracy::new(40, 100),
            clean_test: same,
            robust_test: same,
        };
        let svg = curve(&[point(0.0), point(0.5), point(1.0)], 0.5, 0.001);
        assert_eq!(svg.matches("<title>").count(), 6);
        assert!(svg.contains("chosen: 0.5") && svg.ends_with("</svg>") && !svg.contains("NaN"));
        assert!(!curve(&[], 0.0, 0.001).contains("NaN"));
        let row = |module: &str, mrc| MrcRow {
            module: module.to_owned(),
            weights: 9,
            mrc,
            robust_accuracy_drop: -0.01,
            step: 1,
            rejected: 0,
        };
        let svg = bars(&[row("conv1", 0.5), row("linear", 0.0)], &["linear".to_owned()]);
        assert_eq!(svg.matches("<rect").count(), 5);
        assert!(svg.contains("conv1") && svg.contains("0.5000") && svg.contains("-1.00"));
        assert!(!svg.contains("width=\"-") && !bars(&[], &[]).contains("NaN"));
    }
}
