//! The figures of the pipeline: what a training, a criticality report and an interpolation look like.

use rift_models::artifact::{MrcReport, SweepReport};

use super::EpochMetrics;
use super::chart::{Axis, Bars, Figure, Layout, Line, Lines, Panel, Unit};

/// The name of a training's figure.
pub const TRAINING: &str = "training.svg";
/// The name of a criticality report's figure.
pub const MRC: &str = "mrc.svg";
/// The name of an interpolation's figure.
pub const SWEEP: &str = "sweep.svg";

/// The colours: clean and robust accuracy keep theirs in every figure.
const CLEAN: usize = 0;
const ROBUST: usize = 1;
const LOSS: usize = 2;

/// Loss and accuracies over the epochs; training images dashed, validation images in full.
pub fn training(epochs: &[EpochMetrics], subtitle: &str) -> Figure {
    let curve = |name: &str, colour, dashed, value: &dyn Fn(&EpochMetrics) -> Option<f64>| {
        let point = |epoch: &EpochMetrics| Some((epoch.epoch as f64, value(epoch)?));
        let points = epochs.iter().filter_map(point).collect();
        Line { name: name.to_owned(), points, colour, dashed }
    };
    let share = |count: usize, n: usize| (n > 0).then(|| count as f64 / n as f64);
    let best = epochs.iter().rev().find(|epoch| epoch.best);
    let rules: Vec<_> =
        best.map(|best| (best.epoch as f64, "best".to_owned())).into_iter().collect();
    let epoch = || Axis::new("epoch", Unit::Count);
    let loss = Lines {
        x: epoch(),
        y: Axis::new("training loss", Unit::Number),
        lines: vec![curve("mean of the epoch", LOSS, false, &|e| Some(e.train_loss))],
        rules: rules.clone(),
    };
    let mut lines = vec![
        curve("clean", CLEAN, false, &|e| share(e.validation_clean, e.validation_n)),
        curve("robust", ROBUST, false, &|e| share(e.validation_robust?, e.validation_n)),
        curve("clean, training", CLEAN, true, &|e| share(e.training_clean, e.training_n)),
        curve("robust, training", ROBUST, true, &|e| share(e.training_robust?, e.training_n)),
    ];
    // What was not measured needs no place in the legend.
    lines.retain(|line| !line.points.is_empty());
    let accuracy = Lines { x: epoch(), y: Axis::new("accuracy (%)", Unit::Percent), lines, rules };
    Figure {
        title: "Training".to_owned(),
        subtitle: subtitle.to_owned(),
        panels: vec![Panel::Lines(loss), Panel::Lines(accuracy)],
        layout: Layout::Rows,
    }
}

/// The rise of the loss and the fall of robust accuracy for every module, in the order `modules` of
/// the network; the least critical one stands out.
pub fn mrc(report: &MrcReport, modules: &[&str]) -> Figure {
    let place = |name: &str| modules.iter().position(|module| *module == name);
    let mut rows: Vec<_> = report.rows.iter().collect();
    rows.sort_by_key(|row| place(&row.module));
    let least = report.least_critical().map(|row| row.module.as_str());
    let marked = rows.iter().position(|row| Some(row.module.as_str()) == least);
    let bars = |label: &str, unit, colour, value: &dyn Fn(usize) -> f64| {
        let bars = rows.iter().enumerate().map(|(i, row)| (row.module.clone(), value(i))).collect();
        Panel::Bars(Bars { axis: Axis::new(label, unit).from_zero(), bars, colour, marked })
    };
    let MrcReport { n, split, threat, radius, .. } = report;
    Figure {
        title: "Module robust criticality".to_owned(),
        subtitle: format!(
            "{n} {split} images, {}, weights within {radius} of their norm; the least critical module \
             in full colour",
            threat.label()
        ),
        panels: vec![
            bars("rise of the loss", Unit::Number, LOSS, &|i| rows[i].mrc),
            bars("fall of robust accuracy (points)", Unit::Percent, ROBUST, &|i| {
                rows[i].robust_accuracy_drop
            }),
        ],
        layout: Layout::Columns,
    }
}

/// Clean and robust accuracy on the way from the robust to the fine-tuned weights.
pub fn sweep(report: &SweepReport) -> Figure {
    let curve = |name: &str, colour, value: &dyn Fn(usize) -> f64| {
        let points = &report.points;
        let points = points.iter().enumerate().map(|(i, point)| (point.alpha, value(i))).collect();
        Line { name: name.to_owned(), points, colour, dashed: false }
    };
    let panel = |label: &str, line: Line| {
        Panel::Lines(Lines {
            x: Axis::new("share α of the fine-tuned weights", Unit::Number),
            y: Axis::new(label, Unit::Percent),
            lines: vec![line],
            rules: vec![(report.chosen, "chosen".to_owned())],
        })
    };
    let n = report.points.first().map_or(0, |point| point.clean.n);
    let points = &report.points;
    Figure {
        title: "From the robust to the fine-tuned weights".to_owned(),
        subtitle: format!("{n} {} images, {}", report.split, report.threat.label()),
        panels: vec![
            panel("clean accuracy (%)", curve("clean", CLEAN, &|i| points[i].clean.fraction)),
            panel("robust accuracy (%)", curve("robust", ROBUST, &|i| points[i].robust.fraction)),
        ],
        layout: Layout::Rows,
    }
}

#[cfg(test)]
mod tests {
    use rift_models::artifact::{Lineage, MrcRow};
    use rift_models::threat::AttackSpec;

    use super::*;

    fn epoch(epoch: usize, robust: Option<usize>) -> EpochMetrics {
        EpochMetrics {
            epoch,
            train_loss: 2.0 / epoch as f64,
            training_n: 50,
            training_clean: 30,
            training_robust: robust,
            validation_n: 100,
            validation_clean: 40 + epoch,
            validation_robust: robust,
            best: epoch == 2,
            ..EpochMetrics::default()
        }
    }

    #[test]
    fn a_training_shows_what_was_measured_and_no_more() {
        let with: Vec<_> = (1..=3).map(|n| epoch(n, Some(20 + n))).collect();
        let svg = training(&with, "run").svg();
        for part in [">robust<", ">robust, training<", ">clean, training<", ">best<"] {
            assert!(svg.contains(part), "{part}");
        }
        let without = [EpochMetrics { training_n: 0, ..epoch(1, None) }];
        let svg = training(&without, "run").svg();
        assert!(svg.contains(">clean<") && !svg.contains(">robust<") && !svg.contains("training<"));
        assert!(!training(&[], "run").svg().contains("NaN"));
    }

    #[test]
    fn modules_stand_in_the_order_of_the_network() {
        let row = |module: &str, mrc| MrcRow {
            module: module.to_owned(),
            weights: 1,
            mrc,
            robust_accuracy_drop: mrc / 10.0,
            step: 1,
        };
        let report = MrcReport {
            split: "train".to_owned(),
            n: 10,
            threat: AttackSpec::paper(),
            radius: 0.1,
            steps: 10,
            seed: 0,
            loss: 1.0,
            robust_accuracy: 0.5,
            rows: vec![row("linear", 0.1), row("layer1", 0.2), row("conv1", 0.3)],
            lineage: Lineage::default(),
        };
        let svg = mrc(&report, &["conv1", "layer1", "linear"]).svg();
        let places =
            ["conv1", "layer1", "linear"].map(|name| svg.find(&format!(">{name}<")).unwrap());
        assert!(places.is_sorted(), "{places:?}");
        assert_eq!(svg.matches("opacity").count(), 4, "all but the least critical are faint");
    }
}
