//! A bar for each name.

use super::axis::{self, Scale};
use super::svg::{CHARACTER, Class, Drawing};
use super::{Area, Bars};

/// The height of a bar with the room around it.
const ROW: f64 = 18.0;
/// Room for the label above and the numbers below.
const ABOVE: f64 = 26.0;
const BELOW: f64 = 26.0;
/// Room between two panels, for the last number of one.
const GAP: f64 = 36.0;

impl Bars {
    pub(super) fn height(&self) -> f64 {
        ABOVE + self.bars.len() as f64 * ROW + BELOW
    }

    /// The room that the names take.
    pub(super) fn names(&self) -> f64 {
        let longest = self.bars.iter().map(|(name, _)| name.chars().count()).max();
        longest.unwrap_or(0) as f64 * CHARACTER + 10.0
    }

    pub(super) fn draw(&self, area: Area, names: f64, drawing: &mut Drawing) {
        let plot = Area {
            left: area.left + names,
            top: area.top + ABOVE,
            width: area.width - names - GAP,
            height: area.height - ABOVE - BELOW,
        };
        let marks = self.axis.marks(self.bars.iter().map(|(_, value)| *value), 5);
        let x = Scale::new(&marks, plot.left, plot.right());
        drawing.text((plot.left, area.top + 12.0), Class::Plain, &self.axis.label);
        for mark in &marks {
            let at = x.at(*mark);
            drawing.line("grid", (at, plot.top), (at, plot.bottom()));
            let text = self.axis.show(*mark, axis::step(&marks));
            drawing.text((at, plot.bottom() + 15.0), Class::TickMiddle, &text);
        }
        let zero = x.at(0.0);
        for (place, (name, value)) in self.bars.iter().enumerate() {
            let top = plot.top + place as f64 * ROW;
            if names > 0.0 {
                drawing.text((plot.left - 8.0, top + 13.0), Class::NameEnd, name);
            }
            let finite = if value.is_finite() { *value } else { 0.0 };
            let [left, right] = [zero.min(x.at(finite)), zero.max(x.at(finite))];
            let bar = Area { left, top: top + 3.0, width: right - left, height: ROW - 6.0 };
            let faint = self.marked.is_some_and(|marked| marked != place);
            let tooltip = format!("{name}: {}", self.axis.show(*value, axis::step(&marks) / 100.0));
            drawing.bar(self.colour % super::COLOURS, bar, faint, &tooltip);
        }
        drawing.line("axis", (zero, plot.top), (zero, plot.bottom()));
    }
}
