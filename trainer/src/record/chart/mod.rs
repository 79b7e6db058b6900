//! Charts as SVG: data in, a drawing out.
//!
//! A [`Figure`] is a title over [`Panel`]s, one below the other ([`Layout::Rows`]) or side by side
//! ([`Layout::Columns`]). A panel of lines has two [`Axis`] and [`Line`]s over them; a panel of bars
//! has a value for each of the names that stand at its left. Colours follow the reader's light or
//! dark mode, nothing is loaded from anywhere, and the same data give the same bytes.

mod axis;
mod bars;
mod lines;
mod svg;

use std::path::Path;

use rift_models::artifact::Digest;
use rift_models::artifact::atomic::{self, AtomicError};

pub use axis::{Axis, Unit};

use self::svg::{Class, Drawing};

/// A drawing.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// What it shows.
    pub title: String,
    /// Under what conditions, in a smaller line below.
    pub subtitle: String,
    /// The parts.
    pub panels: Vec<Panel>,
    /// How they lie.
    pub layout: Layout,
}

/// How panels lie in a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One below the other.
    Rows,
    /// Side by side.
    Columns,
}

/// A part of a figure.
#[derive(Clone, Debug, PartialEq)]
pub enum Panel {
    /// Curves over a number.
    Lines(Lines),
    /// A bar for each name.
    Bars(Bars),
}

/// Curves over a number.
#[derive(Clone, Debug, PartialEq)]
pub struct Lines {
    /// What they are drawn over.
    pub x: Axis,
    /// What they show.
    pub y: Axis,
    /// The curves.
    pub lines: Vec<Line>,
    /// Upright rules at numbers worth a word.
    pub rules: Vec<(f64, String)>,
}

/// A curve.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// Its points, from left to right.
    pub points: Vec<(f64, f64)>,
    /// Its colour, of [`COLOURS`]; curves that belong together share one.
    pub colour: usize,
    /// Whether it is dashed, which tells two curves of a colour apart.
    pub dashed: bool,
}

/// A bar for each name.
#[derive(Clone, Debug, PartialEq)]
pub struct Bars {
    /// What the bars show.
    pub axis: Axis,
    /// Name and value, from above to below. In columns only the first panel shows the names.
    pub bars: Vec<(String, f64)>,
    /// The colour of all, of [`COLOURS`].
    pub colour: usize,
    /// The place of a bar that stands out.
    pub marked: Option<usize>,
}

/// Colours of curves and bars; they can be told apart by readers who see few colours (Okabe and
/// Ito).
pub const COLOURS: usize = 4;

/// Around everything.
const MARGIN: f64 = 16.0;
/// The height of title and subtitle.
const HEAD: f64 = 46.0;
/// The width of a figure.
const WIDTH: f64 = 760.0;

/// A rectangle of the drawing.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Area {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
}

impl Area {
    fn right(self) -> f64 {
        self.left + self.width
    }

    fn bottom(self) -> f64 {
        self.top + self.height
    }
}

impl Figure {
    /// The drawing.
    pub fn svg(&self) -> String {
        let heights = self.panels.iter().map(Panel::height);
        let height = match self.layout {
            Layout::Rows => heights.sum::<f64>(),
            Layout::Columns => heights.fold(0.0, f64::max),
        };
        let mut drawing = Drawing::new(WIDTH, MARGIN + HEAD + height + MARGIN, &self.title);
        drawing.text((MARGIN, MARGIN + 16.0), Class::Title, &self.title);
        drawing.text((MARGIN, MARGIN + 35.0), Class::Muted, &self.subtitle);
        let (mut left, mut top) = (MARGIN, MARGIN + HEAD);
        let names = self.panels.iter().map(Panel::names).fold(0.0, f64::max);
        let columns = self.panels.len().max(1) as f64;
        for (place, panel) in self.panels.iter().enumerate() {
            let (width, names) = match self.layout {
                Layout::Rows => (WIDTH - 2.0 * MARGIN, names),
                // The names stand once, at the left of all columns.
                Layout::Columns => {
                    let own = if place == 0 { names } else { 0.0 };
                    ((WIDTH - 2.0 * MARGIN - names) / columns + own, own)
                }
            };
            let area = Area { left, top, width, height: panel.height() };
            match panel {
                Panel::Lines(lines) => lines.draw(area, &mut drawing),
                Panel::Bars(bars) => bars.draw(area, names, &mut drawing),
            }
            match self.layout {
                Layout::Rows => top += panel.height(),
                Layout::Columns => left += width,
            }
        }
        drawing.finish()
    }

    /// Writes the drawing.
    ///
    /// # Errors
    /// If the disk is full or the path cannot be written.
    pub fn write(&self, path: &Path) -> Result<Digest, AtomicError> {
        atomic::write(path, self.svg().as_bytes())
    }
}

impl Panel {
    fn height(&self) -> f64 {
        match self {
            Self::Lines(_) => lines::HEIGHT,
            Self::Bars(bars) => bars.height(),
        }
    }

    /// The room for names at the left.
    fn names(&self) -> f64 {
        match self {
            Self::Lines(_) => 0.0,
            Self::Bars(bars) => bars.names(),
        }
    }
}

#[cfg(test)]
mod tests;
