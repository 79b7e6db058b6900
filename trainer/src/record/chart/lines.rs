//! Curves over a number.

use super::axis::{self, Scale};
use super::svg::{CHARACTER, Class, Drawing};
use super::{Area, Line, Lines};

/// The height of a panel of curves.
pub(super) const HEIGHT: f64 = 262.0;
/// Room for the numbers at the left.
const LEFT: f64 = 44.0;
/// Room for label, legend and the words of the rules above, numbers and label below.
const ABOVE: f64 = 38.0;
const BELOW: f64 = 44.0;
/// A curve of so few points shows them.
const DOTS: usize = 40;

impl Lines {
    pub(super) fn draw(&self, area: Area, drawing: &mut Drawing) {
        let plot = Area {
            left: area.left + LEFT,
            top: area.top + ABOVE,
            width: area.width - LEFT,
            height: area.height - ABOVE - BELOW,
        };
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let rules = self.rules.iter().map(|(x, _)| *x);
        let xs = self.x.marks(points().map(|(x, _)| *x).chain(rules), 10);
        let ys = self.y.marks(points().map(|(_, y)| *y), 5);
        let x = Scale::new(&xs, plot.left, plot.right());
        let y = Scale::new(&ys, plot.bottom(), plot.top);
        for mark in &ys {
            let at = y.at(*mark);
            drawing.line("grid", (plot.left, at), (plot.right(), at));
            let text = self.y.show(*mark, axis::step(&ys));
            drawing.text((plot.left - 6.0, at + 4.0), Class::TickEnd, &text);
        }
        drawing.line("axis", (plot.left, plot.bottom()), (plot.right(), plot.bottom()));
        for mark in &xs {
            let at = x.at(*mark);
            drawing.line("axis", (at, plot.bottom()), (at, plot.bottom() + 4.0));
            let text = self.x.show(*mark, axis::step(&xs));
            drawing.text((at, plot.bottom() + 17.0), Class::TickMiddle, &text);
        }
        let middle = f64::midpoint(plot.left, plot.right());
        drawing.text((middle, plot.bottom() + 33.0), Class::TickMiddle, &self.x.label);
        drawing.text((area.left, area.top + 12.0), Class::Plain, &self.y.label);
        self.legend(area, drawing);
        for (place, text) in &self.rules {
            let at = x.at(*place);
            drawing.line("rule", (at, plot.top), (at, plot.bottom()));
            // The word stands above, where no curve is, and within the figure.
            let class = if at < middle { Class::TickStart } else { Class::TickEnd };
            drawing.text((at, plot.top - 5.0), class, text);
        }
        for line in &self.lines {
            line.draw((x, y), drawing);
        }
    }

    /// The names of the curves, at the right above them.
    fn legend(&self, area: Area, drawing: &mut Drawing) {
        let room = |line: &Line| 40.0 + line.name.chars().count() as f64 * CHARACTER;
        let mut left = area.right() - self.lines.iter().map(room).sum::<f64>();
        for line in &self.lines {
            let y = area.top + 8.0;
            drawing.line(&line.class(), (left, y), (left + 20.0, y));
            drawing.text((left + 25.0, y + 4.0), Class::Plain, &line.name);
            left += room(line);
        }
    }
}

impl Line {
    fn class(&self) -> String {
        let dashed = if self.dashed { " dashed" } else { "" };
        format!("line s{}{dashed}", self.colour % super::COLOURS)
    }

    /// The curve, in pieces where a value is no number.
    fn draw(&self, (x, y): (Scale, Scale), drawing: &mut Drawing) {
        let place = |(a, b): &(f64, f64)| (x.at(*a), y.at(*b));
        for piece in self.points.split(|(a, b)| !a.is_finite() || !b.is_finite()) {
            let piece: Vec<_> = piece.iter().map(place).collect();
            drawing.curve(&self.class(), &piece);
            if self.points.len() <= DOTS && !self.dashed {
                for at in piece {
                    drawing.dot(self.colour % super::COLOURS, at);
                }
            }
        }
    }
}
