//! Elastic deformation: a random affine map, then a smooth random displacement.

use rand::{Rng, RngExt};

use super::gaussian::gaussian;
use super::planes::{Border, Plane, Rgb};

/// Parameters, in pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Elastic {
    /// What the smoothed displacement, uniform in [−1, 1] before, is multiplied by.
    pub(super) alpha: f64,
    /// Standard deviation of the smoothing.
    pub(super) sigma: f64,
    /// The most by which the affine map's three points move.
    pub(super) affine: f64,
}

/// Deforms the image.
pub(super) fn elastic_transform(image: Rgb, elastic: Elastic, generator: &mut impl Rng) -> Rgb {
    let (height, width) = image.dim();
    let map = affine(height, width, elastic.affine, generator);
    let mut field = || {
        let mut plane = Plane::draw(height, width, || generator.random_range(-1.0..1.0));
        gaussian(&mut plane, elastic.sigma, 3.0, Border::Reflect);
        plane.map(|v| v * elastic.alpha);
        plane
    };
    let (dx, dy) = (field(), field());
    image.each(|plane| {
        let moved = sampled(plane, Border::Reflect101, |x, y, _| {
            (map[0] * x + map[1] * y + map[2], map[3] * x + map[4] * y + map[5])
        });
        *plane = sampled(&moved, Border::Reflect, |x, y, i| (x + dx.values[i], y + dy.values[i]));
    })
}

/// Values between the pixels of `plane`, by linear interpolation, at the place that `place` gives
/// for the column, the row and the number of each pixel.
fn sampled(plane: &Plane, border: Border, place: impl Fn(f64, f64, usize) -> (f64, f64)) -> Plane {
    let mut out = Plane::zeros(plane.height, plane.width);
    for (i, v) in out.values.iter_mut().enumerate() {
        let (x, y) = place((i % plane.width) as f64, (i / plane.width) as f64, i);
        let (left, top) = (x.floor(), y.floor());
        let (right, low) = (x - left, y - top);
        let column = |dx| beyond(border, left as isize + dx, plane.width);
        let row = |dy| plane.row(beyond(border, top as isize + dy, plane.height));
        let (first, second) = (column(0), column(1));
        let across = |row: &[f64]| row[first] * (1.0 - right) + row[second] * right;
        *v = across(row(0)) * (1.0 - low) + across(row(1)) * low;
    }
    out
}

/// As [`Border::index`], without its division for the many places that are inside.
fn beyond(border: Border, i: isize, n: usize) -> usize {
    match usize::try_from(i) {
        Ok(i) if i < n => i,
        _ => border.index(i, n),
    }
}

/// The map from a place in the result to one in the image, as `[a, b, c, d, e, f]` for
/// (ax + by + c, dx + ey + f): three points around the middle move by up to `most`.
fn affine(height: usize, width: usize, most: f64, generator: &mut impl Rng) -> [f64; 6] {
    let (cx, cy) = ((width / 2) as f64, (height / 2) as f64);
    let side = (height.min(width) / 3) as f64;
    let before = [(cx + side, cy + side), (cx + side, cy - side), (cx - side, cy - side)];
    let mut moved = |v: f64| if most > 0.0 { v + generator.random_range(-most..most) } else { v };
    let after = before.map(|(x, y)| (moved(x), moved(y)));
    // The map takes `after` to `before`: solve in coordinates relative to the first point.
    let [(x0, y0), (x1, y1), (x2, y2)] = after;
    let (ux, uy, vx, vy) = (x1 - x0, y1 - y0, x2 - x0, y2 - y0);
    let determinant = ux * vy - uy * vx;
    if determinant.abs() < 1e-9 {
        // Three points in a line have no map; OpenCV's is all zeros then. No parameters get here.
        return [1.0, 0.0, 0.0, 0.0, 1.0, 0.0];
    }
    let solve = |p: [f64; 3]| {
        let (u, v) = (p[1] - p[0], p[2] - p[0]);
        let a = (u * vy - v * uy) / determinant;
        let b = (v * ux - u * vx) / determinant;
        [a, b, p[0] - a * x0 - b * y0]
    };
    let [a, b, c] = solve(before.map(|p| p.0));
    let [d, e, f] = solve(before.map(|p| p.1));
    [a, b, c, d, e, f]
}
