use super::*;

fn line(name: &str, colour: usize, points: &[(f64, f64)]) -> Line {
    Line { name: name.to_owned(), points: points.to_vec(), colour, dashed: false }
}

fn figure(lines: Vec<Line>) -> Figure {
    let x = Axis::new("epoch", Unit::Count);
    let y = Axis::new("accuracy (%)", Unit::Percent);
    let rules = vec![(2.0, "best".to_owned())];
    Figure {
        title: "Training <of> a & b".to_owned(),
        subtitle: "two epochs".to_owned(),
        panels: vec![Panel::Lines(Lines { x, y, lines, rules })],
        layout: Layout::Rows,
    }
}

/// The places of all numbers in the `d` of paths.
fn coordinates(svg: &str) -> Vec<f64> {
    let paths = svg.split(" d=\"").skip(1).filter_map(|rest| rest.split('"').next());
    paths
        .flat_map(|d| d.split(['M', 'L', ' ', 'h']).filter(|n| !n.is_empty()))
        .map(|number| number.parse().unwrap())
        .collect()
}

#[test]
fn a_figure_has_its_words_and_its_curves() {
    let svg = figure(vec![line("clean", 0, &[(1.0, 0.5), (2.0, 0.75)])]).svg();
    for part in [
        "Training &lt;of&gt; a &amp; b",
        "two epochs",
        ">epoch<",
        ">accuracy (%)<",
        ">clean<",
        ">best<",
    ] {
        assert!(svg.contains(part), "{part}: {svg}");
    }
    // From 50 to 75 percent: the first point is at the bottom left of the plot, the last at the top
    // right.
    assert!(svg.contains(r#"<path class="line s0" d="M60 280L744 100"/>"#), "{svg}");
    assert!(svg.contains("prefers-color-scheme:dark"));
    assert_eq!(svg, figure(vec![line("clean", 0, &[(1.0, 0.5), (2.0, 0.75)])]).svg());
}

#[test]
fn a_value_that_is_no_number_is_a_gap() {
    let points = [(1.0, 0.1), (2.0, f64::NAN), (3.0, 0.2), (4.0, 0.3)];
    let svg = figure(vec![line("loss", 1, &points)]).svg();
    assert_eq!(
        svg.matches(r#"class="line s1" d="M"#).count(),
        3,
        "legend, dot and the rest: {svg}"
    );
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    assert!(!figure(vec![line("nothing", 0, &[])]).svg().contains("NaN"));
}

#[test]
fn everything_lies_within_the_figure() {
    let svg = figure(vec![line("a", 0, &[(1.0, 0.123), (30.0, 0.987), (50.0, 0.5)])]).svg();
    let places = coordinates(&svg);
    assert!(places.len() > 40);
    assert!(places.iter().all(|place| (0.0..=WIDTH).contains(place)), "{places:?}");
}

#[test]
fn bars_start_at_zero_and_stand_beside_their_names() {
    let bars = |values: [f64; 2], label: &str| {
        let names = ["conv1", "linear"].map(str::to_owned);
        Panel::Bars(Bars {
            axis: Axis::new(label, Unit::Number).from_zero(),
            bars: names.into_iter().zip(values).collect(),
            colour: 0,
            marked: Some(1),
        })
    };
    let figure = Figure {
        title: "Criticality".to_owned(),
        subtitle: String::new(),
        panels: vec![bars([2.0, 1.0], "loss"), bars([-0.5, 0.5], "drop")],
        layout: Layout::Columns,
    };
    let svg = figure.svg();
    assert_eq!(svg.matches(">conv1<").count(), 1, "the names stand once");
    let widths: Vec<f64> = svg
        .split("height=\"12\"")
        .filter_map(|part| part.rsplit_once("width=\"")?.1.trim_end_matches("\" ").parse().ok())
        .collect();
    let [two, one, minus, plus] = widths[..] else { panic!("{widths:?} of {svg}") };
    assert!((two - 2.0 * one).abs() < 0.2 && (minus - plus).abs() < 0.2, "{widths:?}");
    assert_eq!(svg.matches("opacity").count(), 2, "all but the marked one are faint");
}
