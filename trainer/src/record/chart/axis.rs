//! From numbers to places.

/// What the numbers of an axis are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Plain numbers.
    Number,
    /// Whole numbers: no mark stands between two.
    Count,
    /// Fractions, shown as percent.
    Percent,
}

/// A direction of a panel.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// What it shows, with its unit.
    pub label: String,
    /// How its numbers are written.
    pub unit: Unit,
    /// Whether it shows 0 also where no number is near.
    pub from_zero: bool,
}

impl Axis {
    /// An axis that shows just the numbers.
    pub fn new(label: impl Into<String>, unit: Unit) -> Self {
        Self { label: label.into(), unit, from_zero: false }
    }

    /// The same axis with 0 on it.
    pub fn from_zero(self) -> Self {
        Self { from_zero: true, ..self }
    }

    /// The marks that `values` need: about `count` round numbers, of which the first and the last
    /// enclose all finite ones.
    pub(super) fn marks(&self, values: impl Iterator<Item = f64>, count: usize) -> Vec<f64> {
        let start = if self.from_zero { Some((0.0, 0.0)) } else { None };
        let range = values.filter(|value| value.is_finite()).fold(start, |range, value| {
            let (low, high) = range.unwrap_or((value, value));
            Some((low.min(value), high.max(value)))
        });
        let (low, high) = range.unwrap_or((0.0, 1.0));
        let width = match self.unit {
            // Half a point of accuracy is no mountain.
            Unit::Percent => (high - low).max(0.05),
            _ if high > low => high - low,
            _ => low.abs().max(1.0),
        };
        let step = self.step(width / count.max(1) as f64);
        // A number that is a mark but for rounding needs no further one.
        let (first, last) = ((low / step + 1e-9).floor(), (high / step - 1e-9).ceil());
        let last = if last > first { last } else { first + 1.0 };
        (0..=(last - first) as usize).map(|place| (first + place as f64) * step).collect()
    }

    /// The round number that is at least `rough`: 1, 2 or 5 times a power of ten.
    fn step(&self, rough: f64) -> f64 {
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * power).into_iter().find(|s| *s >= rough);
        let step = step.unwrap_or(10.0 * power);
        if self.unit == Unit::Count { step.max(1.0).round() } else { step }
    }

    /// A number of the axis, as exact as its marks are apart.
    pub(super) fn show(&self, value: f64, step: f64) -> String {
        let (value, step) = match self.unit {
            Unit::Percent => (100.0 * value, 100.0 * step),
            Unit::Number | Unit::Count => (value, step),
        };
        let digits = (-step.log10().floor()).clamp(0.0, 6.0) as usize;
        // A rounded zero has no sign.
        let value = if value.abs() < step / 1e6 { 0.0 } else { value };
        format!("{value:.digits$}")
    }
}

/// A linear map from the numbers between the marks to the places of a side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    /// Of the first of `marks` to `from` and of the last to `to`.
    pub(super) fn new(marks: &[f64], from: f64, to: f64) -> Self {
        let low = marks.first().copied().unwrap_or(0.0);
        let high = marks.last().copied().unwrap_or(1.0);
        Self { low, high, from, to }
    }

    pub(super) fn at(&self, value: f64) -> f64 {
        let share = (value - self.low) / (self.high - self.low);
        self.from + share * (self.to - self.from)
    }
}

/// How far two marks are apart.
pub(super) fn step(marks: &[f64]) -> f64 {
    if let [first, second, ..] = marks { second - first } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(axis: &Axis, values: &[f64], count: usize) -> Vec<String> {
        let marks = axis.marks(values.iter().copied(), count);
        marks.iter().map(|mark| axis.show(*mark, step(&marks))).collect()
    }

    #[test]
    fn marks_are_round_and_enclose_the_numbers() {
        let number = Axis::new("loss", Unit::Number);
        assert_eq!(shown(&number, &[1.23, 2.31], 5), ["1.0", "1.5", "2.0", "2.5"]);
        assert_eq!(
            shown(&number.clone().from_zero(), &[1.9], 4),
            ["0.0", "0.5", "1.0", "1.5", "2.0"]
        );
        assert_eq!(shown(&number, &[-0.03, 0.04], 4), ["-0.04", "-0.02", "0.00", "0.02", "0.04"]);
        let percent = Axis::new("accuracy (%)", Unit::Percent);
        assert_eq!(shown(&percent, &[0.312, 0.478], 5), ["30", "35", "40", "45", "50"]);
        assert_eq!(shown(&percent, &[0.921, 0.929], 5), ["92", "93"]);
        assert_eq!(shown(&percent, &[0.996, 0.996], 5), ["99", "100"]);
        let count = Axis::new("epoch", Unit::Count);
        assert_eq!(shown(&count, &[1.0, 3.0], 8), ["1", "2", "3"]);
        assert_eq!(shown(&count, &[1.0, 110.0], 8), ["0", "20", "40", "60", "80", "100", "120"]);
    }

    #[test]
    fn there_are_marks_for_a_single_number_and_for_none() {
        let number = Axis::new("loss", Unit::Number);
        for values in [&[][..], &[2.0], &[0.0], &[f64::NAN, f64::INFINITY], &[1e-9], &[-3e12]] {
            let marks = number.marks(values.iter().copied(), 5);
            assert!((2..=12).contains(&marks.len()), "{values:?}: {marks:?}");
            for value in values.iter().filter(|value| value.is_finite()) {
                let slack = 1e-6 * (marks[1] - marks[0]);
                let range = marks[0] - slack..=marks[marks.len() - 1] + slack;
                assert!(range.contains(value), "{marks:?}");
            }
        }
    }

    #[test]
    fn a_scale_maps_the_ends_to_the_ends() {
        let scale = Scale::new(&[10.0, 20.0, 30.0], 100.0, 0.0);
        assert_eq!([10.0, 15.0, 30.0].map(|value| scale.at(value)), [100.0, 75.0, 0.0]);
    }
}
