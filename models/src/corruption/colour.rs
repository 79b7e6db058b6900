//! Brightness, contrast and saturation.

use super::planes::Rgb;

/// (x − mean) · factor + mean, with each channel's mean.
pub(super) fn contrast(image: Rgb, factor: f64) -> Rgb {
    image.each(|plane| {
        let mean = plane.values.iter().sum::<f64>() / plane.values.len() as f64;
        plane.map(|v| (v - mean) * factor + mean);
    })
}

/// HSV's value plus `by`.
pub(super) fn brightness(image: Rgb, by: f64) -> Rgb {
    in_hsv(image, |[h, s, v]| [h, s, (v + by).clamp(0.0, 1.0)])
}

/// HSV's saturation times `factor` plus `by`.
pub(super) fn saturate(image: Rgb, factor: f64, by: f64) -> Rgb {
    in_hsv(image, |[h, s, v]| [h, (s * factor + by).clamp(0.0, 1.0), v])
}

/// Changes each pixel in hue, saturation and value, all in [0, 1].
fn in_hsv(mut image: Rgb, change: impl Fn([f64; 3]) -> [f64; 3]) -> Rgb {
    let [red, green, blue] = &mut image.0;
    for ((r, g), b) in red.values.iter_mut().zip(&mut green.values).zip(&mut blue.values) {
        [*r, *g, *b] = rgb(change(hsv([*r, *g, *b])));
    }
    image
}

/// As scikit-image's `rgb2hsv`; of equal channels blue wins, then green.
fn hsv([r, g, b]: [f64; 3]) -> [f64; 3] {
    let (most, least) = (r.max(g).max(b), r.min(g).min(b));
    let delta = most - least;
    if delta == 0.0 {
        return [0.0, 0.0, most];
    }
    let sector = if b == most {
        4.0 + (r - g) / delta
    } else if g == most {
        2.0 + (b - r) / delta
    } else {
        (g - b) / delta
    };
    [(sector / 6.0).rem_euclid(1.0), delta / most, most]
}

/// As scikit-image's `hsv2rgb`.
fn rgb([h, s, v]: [f64; 3]) -> [f64; 3] {
    let sector = (h * 6.0).floor();
    let f = h * 6.0 - sector;
    let p = v * (1.0 - s);
    let q = v * (1.0 - f * s);
    let t = v * (1.0 - (1.0 - f) * s);
    match sector as u8 % 6 {
        0 => [v, t, p],
        1 => [q, v, p],
        2 => [p, v, t],
        3 => [p, q, v],
        4 => [t, p, v],
        _ => [v, p, q],
    }
}
