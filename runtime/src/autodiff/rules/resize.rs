//! Resampling.

use ndarray::Array2;
use rift_models::onnx::{GraphBuilder, attribute};

use crate::autodiff::error::Refusal;
use crate::autodiff::rule::{Backward::First, Contributions, Rule, View};

pub(super) const RULES: [Rule; 1] = [Rule { op: "Resize", check, backward: First(backward) }];

#[derive(Clone, Copy)]
enum Coordinates {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
}

#[derive(Clone, Copy)]
enum Nearest {
    PreferFloor,
    PreferCeil,
    Floor,
    Ceil,
}

/// What lies no further from the middle between two numbers counts as there, in ONNX Runtime 1.31.
const MIDDLE: f32 = 1e-6;

impl Nearest {
    /// The place of the number that is taken for what lies at `source`.
    fn place(self, source: f32) -> f32 {
        let is_between = (source - source.floor() - 0.5).abs() < MIDDLE;
        match self {
            Self::Floor => source.floor(),
            Self::Ceil => source.ceil(),
            Self::PreferFloor if is_between => source.floor(),
            Self::PreferCeil if is_between => source.ceil(),
            Self::PreferFloor | Self::PreferCeil => source.round(),
        }
    }
}

/// How results are made of numbers: each of the nearest, or of two by their distance.
#[derive(Clone, Copy)]
enum Mode {
    Nearest(Nearest),
    Linear,
}

struct Resampling {
    mode: Mode,
    coordinates: Coordinates,
}

impl Resampling {
    fn of(view: &View<'_>) -> Result<Self, Refusal> {
        let attributes = view.attributes();
        let text = |name: &'static str, default: &'static str| {
            Ok::<_, Refusal>((name, attributes.string(name)?.unwrap_or(default)))
        };
        let wrong = |(name, found): (&str, &str), expected: &str| {
            Err(Refusal::from(attributes.wrong(name, expected, found)))
        };
        if attributes.int("antialias")?.unwrap_or(0) != 0 {
            return wrong(("antialias", "1"), "0");
        }
        let kind = text("keep_aspect_ratio_policy", "stretch")?;
        if kind.1 != "stretch" {
            return wrong(kind, "stretch");
        }
        let kind = text("coordinate_transformation_mode", "half_pixel")?;
        let coordinates = match kind.1 {
            "half_pixel" => Coordinates::HalfPixel,
            "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
            "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
            "align_corners" => Coordinates::AlignCorners,
            "asymmetric" => Coordinates::Asymmetric,
            _ => return wrong(kind, "a way without a region"),
        };
        let kind = text("nearest_mode", "round_prefer_floor")?;
        let nearest = match kind.1 {
            "round_prefer_floor" => Nearest::PreferFloor,
            "round_prefer_ceil" => Nearest::PreferCeil,
            "floor" => Nearest::Floor,
            "ceil" => Nearest::Ceil,
            _ => return wrong(kind, "a known kind"),
        };
        let kind = text("mode", "nearest")?;
        let mode = match kind.1 {
            "nearest" => Mode::Nearest(nearest),
            "linear" => Mode::Linear,
            _ => return wrong(kind, "nearest or linear"),
        };
        Ok(Self { mode, coordinates })
    }

    /// Where result `at` lies among the numbers that it is made of.
    ///
    /// In `f32`, as ONNX Runtime counts, so that the same number is the nearest.
    fn source(&self, at: usize, from: usize, to: usize, scale: f32) -> f32 {
        let x = at as f32;
        match self.coordinates {
            Coordinates::HalfPixelSymmetric => {
                let adjustment = to as f32 / (scale * from as f32);
                let offset = from as f32 / 2.0 * (1.0 - adjustment);
                // The sum, and only it, in `f64`.
                (f64::from(offset) + (f64::from(x) + 0.5) / f64::from(scale) - 0.5) as f32
            }
            Coordinates::PytorchHalfPixel | Coordinates::AlignCorners if to <= 1 => 0.0,
            Coordinates::HalfPixel | Coordinates::PytorchHalfPixel => (x + 0.5) / scale - 0.5,
            Coordinates::AlignCorners => x * (from as f32 - 1.0) / (to as f32 - 1.0),
            Coordinates::Asymmetric => x / scale,
        }
    }

    /// What each result, a row, takes of each number.
    fn matrix(&self, from: usize, to: usize, scale: f32) -> Array2<f32> {
        let mut matrix = Array2::zeros((to, from));
        let last = from as f32 - 1.0;
        for at in 0..to {
            let source = self.source(at, from, to, scale);
            match self.mode {
                Mode::Nearest(nearest) => {
                    let place = nearest.place(source).clamp(0.0, last);
                    matrix[[at, place as usize]] = 1.0;
                }
                Mode::Linear => {
                    let source = source.clamp(0.0, last);
                    let below = source.floor();
                    let share = source - below;
                    matrix[[at, below as usize]] += 1.0 - share;
                    matrix[[at, (below + 1.0).min(last) as usize]] += share;
                }
            }
        }
        matrix
    }
}

/// The dimensions that change, with what their results take of their numbers.
fn changes(view: &View<'_>) -> Result<Vec<(usize, Array2<f32>)>, Refusal> {
    view.only_first_is_active()?;
    let resampling = Resampling::of(view)?;
    let input = view.input(0)?;
    let (from, to) = (view.shape(input)?, view.shape(view.output()?)?);
    if from == to {
        // ONNX Runtime copies what keeps its size, whatever the scales are.
        return Ok(Vec::new());
    }
    let axes: Vec<usize> = match view.attributes().ints("axes")? {
        Some(axes) => {
            axes.iter().map(|axis| View::axis(*axis, from.len())).collect::<Result<_, _>>()?
        }
        None => (0..from.len()).collect(),
    };
    let scales = view.floats(2).filter(|scales| scales.len() == axes.len());
    let by_sizes = view.optional(3).is_some();
    if scales.is_none() && !by_sizes {
        return Err(Refusal::new("its scales are not the same in every run"));
    }
    let mut changes = Vec::new();
    for (position, axis) in axes.into_iter().enumerate() {
        let scale = scales.filter(|_| !by_sizes).map(|scales| scales[position]);
        if from[axis] == to[axis] && scale.is_none_or(|scale| scale == 1.0) {
            continue;
        }
        let (from, to) = (view.fixed(input, axis)?, view.fixed(view.output()?, axis)?);
        let scale = scale.unwrap_or(to as f32 / from as f32);
        changes.push((axis, resampling.matrix(from, to, scale)));
    }
    Ok(changes)
}

fn check(view: &View<'_>) -> Result<(), Refusal> {
    changes(view).map(|_| ())
}

/// Resampling is a matrix along each dimension; its gradient is the transposed matrices.
fn backward(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let rank = view.shape(view.input(0)?)?.len();
    let mut gradient = gradient.to_owned();
    for (axis, matrix) in changes(view)? {
        gradient = contract(&gradient, (axis, rank), &matrix, builder);
    }
    Ok(vec![(0, gradient)])
}

fn contract(
    gradient: &str,
    (axis, rank): (usize, usize),
    matrix: &Array2<f32>,
    builder: &mut GraphBuilder,
) -> String {
    if axis + 2 == rank {
        let transposed = builder.array("resampling", &matrix.t());
        return builder.node("MatMul", &[&transposed, gradient], vec![]);
    }
    let matrix = builder.array("resampling", matrix);
    if axis + 1 == rank {
        return builder.node("MatMul", &[gradient, &matrix], vec![]);
    }
    let mut order: Vec<i64> = (0..rank as i64).collect();
    order.swap(axis, rank - 1);
    let order = attribute::ints("perm", &order);
    let turned = builder.node("Transpose", &[gradient], vec![order.clone()]);
    let product = builder.node("MatMul", &[&turned, &matrix], vec![]);
    builder.node("Transpose", &[&product], vec![order])
}

#[cfg(test)]
mod tests {
    use ndarray::{ArrayD, ArrayView1, IxDyn};
    use rift_models::onnx::proto::AttributeProto;
    use rift_models::onnx::{DataType, Dim};

    use super::*;
    use crate::autodiff::testing::{Case, environment, run};

    fn settings(texts: &[(&str, &str)]) -> Vec<AttributeProto> {
        texts.iter().map(|(name, text)| attribute::string(name, text)).collect()
    }

    #[test]
    fn every_way_of_counting_up_and_down() {
        for mode in ["nearest", "linear"] {
            for coordinates in ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"] {
                for (height, width) in [(2.0, 3.0), (0.5, 1.5), (1.3, 0.7)] {
                    let name = format!("{mode} {coordinates} {height} {width}");
                    Case::new(&[2, 5, 6]).check(&name, |b, x| {
                        let scales = b.floats("scales", &[1.0, 1.0, height, width]);
                        let how = settings(&[
                            ("mode", mode),
                            ("coordinate_transformation_mode", coordinates),
                        ]);
                        b.node("Resize", &[x, "", &scales], how)
                    });
                }
            }
        }
    }

    #[test]
    fn every_nearest_and_sizes() {
        for nearest in ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"] {
            Case::new(&[1, 5, 4]).check(nearest, |b, x| {
                let shape = b.node("Shape", &[x], vec![attribute::int("end", 2)]);
                let sizes = b.integers("sizes", &[7, 3]);
                let along = vec![attribute::int("axis", 0)];
                let sizes = b.node("Concat", &[&shape, &sizes], along);
                b.node("Resize", &[x, "", "", &sizes], settings(&[("nearest_mode", nearest)]))
            });
        }
    }

    #[test]
    fn channels_last_and_some_axes() {
        Case::new(&[4, 3, 2]).check("channels last", |b, x| {
            let scales = b.floats("scales", &[1.0, 2.0, 2.0, 1.0]);
            b.node("Resize", &[x, "", &scales], settings(&[("mode", "linear")]))
        });
        Case::new(&[2, 4, 3]).opset(19).check("axes", |b, x| {
            let scales = b.floats("scales", &[2.0, 2.0]);
            let mut how = settings(&[("mode", "linear")]);
            how.push(attribute::ints("axes", &[2, 3]));
            b.node("Resize", &[x, "", &scales], how)
        });
        Case::new(&[2, 4, 3]).opset(19).check("symmetric", |b, x| {
            let scales = b.floats("scales", &[1.0, 1.0, 1.7, 0.6]);
            let how = settings(&[
                ("mode", "linear"),
                ("coordinate_transformation_mode", "half_pixel_symmetric"),
            ]);
            b.node("Resize", &[x, "", &scales], how)
        });
    }

    #[test]
    fn what_keeps_its_size_is_copied() {
        for (mode, coordinates) in [("linear", "half_pixel"), ("nearest", "asymmetric")] {
            Case::new(&[2, 7, 7]).check(mode, |b, x| {
                let scales = b.floats("scales", &[1.0, 1.0, 1.1, 1.1]);
                let how =
                    settings(&[("mode", mode), ("coordinate_transformation_mode", coordinates)]);
                b.node("Resize", &[x, "", &scales], how)
            });
        }
    }

    /// The places that ONNX Runtime takes of a row of `from` numbers.
    fn places(resampling: &[(&str, &str)], from: usize, scale: f32) -> Option<Vec<usize>> {
        let environment = environment()?;
        let mut builder = GraphBuilder::new("places", 19);
        let dims = [1, 1, 1, from].map(Dim::Fixed);
        let x = builder.input("x", DataType::Float, &dims).unwrap();
        let scales = builder.floats("scales", &[1.0, 1.0, 1.0, scale]);
        let y = builder.node("Resize", &[&x, "", &scales], settings(resampling));
        let dims = [Dim::Fixed(1), Dim::Fixed(1), Dim::Fixed(1), Dim::Free(None)];
        builder.output(&y, DataType::Float, &dims);
        let row = ArrayD::from_shape_fn(IxDyn(&[1, 1, 1, from]), |at| at[3] as f32);
        let found = run(&builder.finish().unwrap(), environment, &[("x", &row)], &[]);
        found.values().next().map(|row| row.iter().map(|place| *place as usize).collect())
    }

    #[test]
    fn the_nearest_is_that_of_onnx_runtime_also_in_the_middle() {
        let ways = [
            (Nearest::PreferFloor, "round_prefer_floor"),
            (Nearest::PreferCeil, "round_prefer_ceil"),
            (Nearest::Floor, "floor"),
            (Nearest::Ceil, "ceil"),
        ];
        let coordinates = [
            (Coordinates::HalfPixel, "half_pixel"),
            (Coordinates::HalfPixelSymmetric, "half_pixel_symmetric"),
            (Coordinates::PytorchHalfPixel, "pytorch_half_pixel"),
            (Coordinates::AlignCorners, "align_corners"),
            (Coordinates::Asymmetric, "asymmetric"),
        ];
        // Exact middles, and what rounding leaves beside them.
        let rows = [
            (5, 0.6),
            (6, 1.0 / 3.0),
            (5, 2.0 / 3.0),
            (7, 2.0 / 7.0),
            (16, 1.3),
            (20, 0.3),
            (4, 2.5),
        ];
        for (nearest, way) in ways {
            for (coordinates, name) in coordinates {
                for (from, scale) in rows {
                    let resampling = Resampling { mode: Mode::Nearest(nearest), coordinates };
                    let how = [("nearest_mode", way), ("coordinate_transformation_mode", name)];
                    let Some(expected) = places(&how, from, scale) else { return };
                    let matrix = resampling.matrix(from, expected.len(), scale);
                    let taken =
                        |row: ArrayView1<'_, f32>| row.iter().position(|share| *share > 0.0);
                    let found: Vec<_> = matrix.rows().into_iter().filter_map(taken).collect();
                    assert_eq!(found, expected, "{way} {name} {from} {scale}");
                }
            }
        }
    }

    #[test]
    fn upsample_of_old_models() {
        for opset in [7, 9] {
            for mode in ["nearest", "linear"] {
                Case::new(&[2, 3, 2]).opset(opset).check("Upsample", |b, x| {
                    let scales = [1.0, 1.0, 2.0, 3.0];
                    let mode = attribute::string("mode", mode);
                    if opset == 9 {
                        let scales = b.floats("scales", &scales);
                        return b.node("Upsample", &[x, &scales], vec![mode]);
                    }
                    let mut stored = attribute::float("scales", 0.0);
                    stored.f = None;
                    stored.floats = scales.to_vec();
                    stored
                        .set_type(rift_models::onnx::proto::attribute_proto::AttributeType::Floats);
                    b.node("Upsample", &[x], vec![mode, stored])
                });
            }
        }
    }
}
