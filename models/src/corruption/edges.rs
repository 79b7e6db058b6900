//! What `spatter` takes from OpenCV: Canny's edges, distances to them, box filters, equalisation.
//!
//! # References
//! Canny 1986, "A computational approach to edge detection"; Borgefors 1986, "Distance
//! transformations in digital images".

use super::planes::Border;

/// A plane of whole numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Levels {
    /// Rows.
    pub(super) height: usize,
    /// Columns.
    pub(super) width: usize,
    /// The values.
    pub(super) values: Vec<i32>,
}

impl Levels {
    fn like(&self, value: i32) -> Self {
        Self { values: vec![value; self.values.len()], ..*self }
    }

    fn positions(&self) -> impl Iterator<Item = (isize, isize)> + use<> {
        let (height, width) = (self.height as isize, self.width as isize);
        (0..height).flat_map(move |y| (0..width).map(move |x| (y, x)))
    }

    /// Correlates with a 3×3 kernel.
    pub(super) fn filter(&self, kernel: [[i32; 3]; 3], border: Border) -> Self {
        let mut out = self.like(0);
        let mut padded = vec![0; self.width + 2];
        for y in 0..self.height {
            for (dy, weights) in (-1..).zip(kernel) {
                let from = border.index(y as isize + dy, self.height) * self.width;
                let row = &self.values[from..from + self.width];
                padded[0] = row[border.index(-1, self.width)];
                padded[1..=self.width].copy_from_slice(row);
                padded[self.width + 1] = row[border.index(self.width as isize, self.width)];
                let sums = out.values[y * self.width..].iter_mut();
                for (sum, v) in sums.zip(padded.windows(3)) {
                    *sum += weights[0] * v[0] + weights[1] * v[1] + weights[2] * v[2];
                }
            }
        }
        out
    }

    /// Sums of 3×3 neighbours.
    pub(super) fn sums(&self) -> Self {
        self.filter([[1; 3]; 3], Border::Reflect101)
    }

    /// Applies a function to each value.
    pub(super) fn map(mut self, value: impl Fn(i32) -> i32) -> Self {
        for v in &mut self.values {
            *v = value(*v);
        }
        self
    }

    /// Spreads the levels 0 to 255 (`equalizeHist`).
    pub(super) fn equalised(self) -> Self {
        let mut counts = [0_i32; 256];
        for v in &self.values {
            counts[(*v).clamp(0, 255) as usize] += 1;
        }
        let total = self.values.len() as i32;
        let first = counts.iter().position(|count| *count > 0).unwrap_or(0);
        if counts[first] == total {
            return self;
        }
        let scale = 255.0 / (total - counts[first]) as f32;
        let mut table = [0; 256];
        let mut sum = 0;
        for level in first + 1..256 {
            sum += counts[level];
            table[level] = (sum as f32 * scale).round_ties_even() as i32;
        }
        self.map(|v| table[v.clamp(0, 255) as usize])
    }

    /// Where Canny's edges are, with thresholds 50 and 150 on |∂x| + |∂y|.
    pub(super) fn edges(&self) -> Vec<bool> {
        let (low, high) = (50, 150);
        let dx = self.filter([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], Border::Nearest);
        let dy = self.filter([[-1, -2, -1], [0, 0, 0], [1, 2, 1]], Border::Nearest);
        let steepness =
            dx.values.iter().zip(&dy.values).map(|(x, y)| x.abs() + y.abs()).collect::<Vec<_>>();
        let steep = |y: isize, x: isize| {
            let inside =
                (0..self.height as isize).contains(&y) && (0..self.width as isize).contains(&x);
            if inside { steepness[y as usize * self.width + x as usize] } else { 0 }
        };
        let mut edge = vec![false; self.values.len()];
        let mut candidate = edge.clone();
        let mut open = Vec::new();
        for (i, (y, x)) in self.positions().enumerate() {
            let here = steepness[i];
            candidate[i] = here > low
                && is_ridge(dx.values[i], dy.values[i], here, |dy, dx| steep(y + dy, x + dx));
            if candidate[i] && here > high {
                edge[i] = true;
                open.push((y, x));
            }
        }
        // Candidates that touch an edge are edges.
        while let Some((y, x)) = open.pop() {
            for (ny, nx) in (-1..=1).flat_map(|dy| (-1..=1).map(move |dx| (y + dy, x + dx))) {
                if (0..self.height as isize).contains(&ny) && (0..self.width as isize).contains(&nx)
                {
                    let i = ny as usize * self.width + nx as usize;
                    if candidate[i] && !edge[i] {
                        edge[i] = true;
                        open.push((ny, nx));
                    }
                }
            }
        }
        edge
    }
}

/// Whether no neighbour along the gradient is steeper.
fn is_ridge(dx: i32, dy: i32, here: i32, steep: impl Fn(isize, isize) -> i32) -> bool {
    // tan 22.5° in 15 fractional bits.
    let flat = i64::from(dx.abs()) * 13_573;
    let rise = i64::from(dy.abs()) << 15;
    if rise < flat {
        here > steep(0, -1) && here >= steep(0, 1)
    } else if rise > flat + (i64::from(dx.abs()) << 16) {
        here > steep(-1, 0) && here >= steep(1, 0)
    } else {
        let side = if (dx ^ dy) < 0 { -1 } else { 1 };
        here > steep(-1, -side) && here > steep(1, side)
    }
}

/// The distance of each place to the nearest edge along steps of 1, 1.4 and 2.1969, at most `most`.
///
/// # Units
/// Pixels.
pub(super) fn distances(edge: &[bool], width: usize, most: f32) -> Vec<f32> {
    // OpenCV counts in 16 fractional bits.
    const STEPS: [(isize, isize, u32); 8] = [
        (-2, -1, 143_976),
        (-2, 1, 143_976),
        (-1, -2, 143_976),
        (-1, -1, 91_750),
        (-1, 0, 65_536),
        (-1, 1, 91_750),
        (-1, 2, 143_976),
        (0, -1, 65_536),
    ];
    // A frame of two places that are far from everything saves asking where the border is.
    let (height, stride) = (edge.len() / width.max(1), width + 4);
    let far = u32::MAX / 4;
    let mut found = vec![far; (height + 4) * stride];
    let place = |i: usize| (i / width + 2) * stride + i % width + 2;
    for i in (0..edge.len()).filter(|i| edge[*i]) {
        found[place(i)] = 0;
    }
    let steps = STEPS.map(|(dy, dx, cost)| (dy * stride as isize + dx, cost));
    let mut pass = |back: bool| {
        for n in 0..edge.len() {
            let at = place(if back { edge.len() - 1 - n } else { n });
            for (step, cost) in steps {
                let from = at.wrapping_add_signed(if back { -step } else { step });
                found[at] = found[at].min(found[from] + cost);
            }
        }
    };
    pass(false);
    pass(true);
    (0..edge.len()).map(|i| (found[place(i)] as f32 / 65_536.0).min(most)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_square_has_an_outline() {
        let values = (0..144).map(|i| {
            if (4..8).contains(&(i / 12)) && (4..8).contains(&(i % 12)) { 200 } else { 0 }
        });
        let square = Levels { height: 12, width: 12, values: values.collect() };
        let edges = square.edges();
        assert!(edges.iter().filter(|edge| **edge).count() >= 10);
        assert!(!edges[0] && !edges[143]);
        let distance = distances(&edges, 12, 20.0);
        assert!(edges.iter().zip(&distance).all(|(edge, d)| *edge == (*d == 0.0)));
        let none = Levels { values: vec![9; 144], ..square };
        assert!(distances(&none.edges(), 12, 20.0).iter().all(|d| *d == 20.0));
    }

    #[test]
    fn steps_are_the_shortest() {
        let mut edge = vec![false; 49];
        edge[0] = true;
        let distance = distances(&edge, 7, 99.0);
        for (at, expected) in [(1, 1.0), (8, 1.4), (9, 2.1969), (16, 2.8), (6, 6.0)] {
            assert!((distance[at] - expected).abs() < 1e-3, "{at}: {}", distance[at]);
        }
    }

    #[test]
    fn equalisation_reaches_both_ends() {
        let levels = Levels { height: 1, width: 4, values: vec![10, 20, 20, 30] };
        assert_eq!(levels.equalised().values, [0, 170, 170, 255]);
        let flat = Levels { height: 1, width: 2, values: vec![7, 7] };
        assert_eq!(flat.clone().equalised(), flat);
    }
}
