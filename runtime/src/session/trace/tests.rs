use rift_models::onnx::{GraphBuilder, attribute};

use super::*;
use crate::session::library;

#[test]
fn knows_what_follows_the_batch() {
    let Ok(library) = library::load(None) else {
        eprintln!("skipped: ONNX Runtime is absent");
        return;
    };
    let mut builder = GraphBuilder::new("g", 17);
    let dims = [Dim::free("N"), Dim::Fixed(2), Dim::Fixed(3), Dim::Fixed(3)];
    let x = builder.input("x", DataType::Float, &dims).unwrap();
    let shape = builder.node("Shape", &[&x], vec![]);
    let tail = builder.node("Shape", &[&x], vec![attribute::int("start", 2)]);
    let all = builder.integers("all", &[-1]);
    let flat = builder.node("Reshape", &[&x, &all], vec![]);
    let rows = builder.node("Flatten", &[&x], vec![]);
    builder.output(&rows, DataType::Float, &[Dim::free("N"), Dim::Fixed(18)]);
    builder.output(&flat, DataType::Float, &[Dim::Free(None)]);
    let model = builder.finish().unwrap();
    let trace = Trace::measure(library.environment(), &model).unwrap();
    assert!(trace.has_free_batch());
    let shape_of = |value: &str| trace.get(value).unwrap().shape.clone();
    assert_eq!(shape_of(&rows), [Length::Batch, Length::Fixed(18)]);
    assert_eq!(shape_of(&flat), [Length::Multiple(18)]);
    assert_eq!(shape_of("x")[0], Length::Batch);
    assert_eq!(trace.get(&shape).unwrap().element, DataType::Int64);
    assert_eq!(trace.integers(&tail), Some(&[3, 3][..]));
    assert_eq!(trace.integers(&all), Some(&[-1][..]));
    assert_eq!(trace.integers(&shape), None);
}

#[test]
fn a_free_size_is_chosen_or_given() {
    let Ok(library) = library::load(None) else {
        eprintln!("skipped: ONNX Runtime is absent");
        return;
    };
    let mut builder = GraphBuilder::new("g", 17);
    let dims = [Dim::free("N"), Dim::Fixed(3), Dim::free("H"), Dim::free("W")];
    let x = builder.input("x", DataType::Float, &dims).unwrap();
    let shape = builder.integers("shape", &[-1, 2]);
    let y = builder.node("Reshape", &[&x, &shape], vec![]);
    builder.output(&y, DataType::Float, &[Dim::Free(None), Dim::Fixed(2)]);
    let model = builder.finish().unwrap();
    let environment = library.environment();
    let free = Trace::measure(environment, &model).unwrap();
    assert_eq!(free.get("x").unwrap().shape[2..], [Length::Fixed(224); 2]);
    let given = Trace::measure_at(environment, &model, Some(&[3, 8, 6])).unwrap();
    assert_eq!(given.get(&y).unwrap().shape, [Length::Multiple(72), Length::Fixed(2)]);
    let other = Trace::measure_at(environment, &model, Some(&[1, 8, 6])).unwrap_err();
    assert!(other.to_string().contains("`x` float[N, 3, H, W]"), "{other}");
}

#[test]
fn refuses_what_takes_no_images() {
    let Ok(library) = library::load(None) else {
        eprintln!("skipped: ONNX Runtime is absent");
        return;
    };
    let mut builder = GraphBuilder::new("g", 17);
    let x = builder.input("x", DataType::Int64, &[Dim::free("N"), Dim::Fixed(3)]).unwrap();
    let y = builder.node("Neg", &[&x], vec![]);
    builder.output(&y, DataType::Int64, &[Dim::free("N"), Dim::Fixed(3)]);
    let error = Trace::measure(library.environment(), &builder.finish().unwrap()).unwrap_err();
    assert!(error.to_string().contains("`x` int64[N, 3]"), "{error}");
}

#[test]
fn one_run_tells_constants_from_what_the_image_shows() {
    let Ok(library) = library::load(None) else {
        eprintln!("skipped: ONNX Runtime is absent");
        return;
    };
    let mut builder = GraphBuilder::new("g", 17);
    let x = builder.input("x", DataType::Float, &[Dim::Fixed(1), Dim::Fixed(3)]).unwrap();
    let [one, two] = [1.0, 2.0].map(|value| builder.floats("part", &[value]));
    let joined = builder.node("Concat", &[&one, &two], vec![attribute::int("axis", 0)]);
    let shape = builder.node("Shape", &[&x], vec![]);
    let best = builder.node("ArgMax", &[&x], vec![attribute::int("axis", 1)]);
    let places: Vec<i64> = (0..5000).map(|at| at % 3).collect();
    let places = builder.integers("places", &places);
    let many = builder.node("Gather", &[&x, &places], vec![attribute::int("axis", 1)]);
    let y = builder.node("Relu", &[&x], vec![]);
    builder.output(&y, DataType::Float, &[Dim::Fixed(1), Dim::Fixed(3)]);
    let trace = Trace::measure(library.environment(), &builder.finish().unwrap()).unwrap();
    assert_eq!(trace.floats(&joined), Some(&[1.0, 2.0][..]));
    assert_eq!(trace.integers(&shape), Some(&[1, 3][..]));
    assert_eq!(trace.integers(&places).map(<[i64]>::len), Some(5000));
    assert_eq!((trace.integers(&best), trace.floats(&y), trace.floats(&many)), (None, None, None));
}

#[test]
fn what_the_image_shows_is_no_constant_where_the_batch_is_free() {
    let Ok(library) = library::load(None) else {
        eprintln!("skipped: ONNX Runtime is absent");
        return;
    };
    let mut builder = GraphBuilder::new("g", 17);
    let x = builder.input("x", DataType::Float, &[Dim::free("N"), Dim::Fixed(3)]).unwrap();
    let most = builder.scalar("most", 2.0);
    let bright = builder.node("Greater", &[&x, &most], vec![]);
    let whole = builder.node("Cast", &[&bright], vec![attribute::int("to", 7)]);
    let all = vec![attribute::int("keepdims", 0)];
    let is_bright = builder.node("ReduceMax", &[&whole], all);
    let share = builder.node("Cast", &[&is_bright], vec![attribute::int("to", 1)]);
    let width = builder.node("Shape", &[&x], vec![attribute::int("start", 1)]);
    let y = builder.node("Relu", &[&x], vec![]);
    builder.output(&y, DataType::Float, &[Dim::free("N"), Dim::Fixed(3)]);
    let trace = Trace::measure(library.environment(), &builder.finish().unwrap()).unwrap();
    // No pixel of either run is so bright.
    assert_eq!((trace.integers(&is_bright), trace.floats(&share)), (None, None));
    assert_eq!(trace.integers(&width), Some(&[3][..]));
}
