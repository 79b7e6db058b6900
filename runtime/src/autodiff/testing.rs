//! Gradients against central finite differences, on ONNX Runtime.

use std::collections::BTreeMap;

use ndarray::{Array1, Array2, ArrayD, Axis, IxDyn, Slice};
use ort::environment::Environment;
use ort::session::{Session, SessionInputValue};
use ort::value::Tensor;
use rift_models::onnx::{DataType, Dim, GraphBuilder, Model, attribute};

use super::{Form, Interface, vector_jacobian, vector_jacobian_at};
use crate::session::library;
use crate::session::trace::Trace;

/// Half the distance of two evaluations. The numbers that are fed lie further apart than this, and
/// further from 0, so that no kink is crossed.
const STEP: f32 = 1.0 / 128.0;
/// Rounding of sums of some hundred products in `f32`, divided by the distance.
const TOLERANCE: f64 = 4e-3;

/// ONNX Runtime, or a word that the test was skipped.
pub(super) fn environment() -> Option<&'static Environment> {
    match library::load(None) {
        Ok(library) => Some(library.environment()),
        Err(error) => {
            eprintln!("skipped: {error}");
            None
        }
    }
}

/// Numbers as weights have them: both signs, no two neighbours alike.
pub(super) fn weights(shape: &[usize]) -> ArrayD<f32> {
    let mut at = 0usize;
    ArrayD::from_shape_simple_fn(IxDyn(shape), || {
        at += 1;
        ((at * 7919) % 97) as f32 / 97.0 - 0.45
    })
}

/// Runs a model once; the float outputs by name.
pub(super) fn run(
    model: &Model,
    environment: &Environment,
    floats: &[(&str, &ArrayD<f32>)],
    integers: &[(&str, &[i64])],
) -> BTreeMap<String, ArrayD<f32>> {
    let mut session = Session::builder(environment)
        .unwrap()
        .with_intra_threads(1)
        .unwrap()
        .commit_from_memory(&model.to_bytes())
        .unwrap();
    let mut inputs: Vec<(String, SessionInputValue<'_>)> = Vec::new();
    for (name, array) in floats {
        let array = array.as_standard_layout().into_owned();
        inputs.push(((*name).to_owned(), Tensor::from_array(array).unwrap().into()));
    }
    for (name, row) in integers {
        let row = Array1::from(row.to_vec());
        inputs.push(((*name).to_owned(), Tensor::from_array(row).unwrap().into()));
    }
    let outputs = session.run(inputs).unwrap();
    outputs
        .iter()
        .map(|(name, value)| {
            (name.to_owned(), value.try_extract_array::<f32>().unwrap().to_owned())
        })
        .collect()
}

/// `Σ cotangent · output` of each row, in `f64`.
fn weighted(output: &ArrayD<f32>, cotangent: &Array1<f32>) -> Vec<f64> {
    let terms = |row: ndarray::ArrayViewD<'_, f32>| -> f64 {
        row.iter().zip(cotangent).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    output.axis_iter(Axis(0)).map(terms).collect()
}

/// The gradient of `Σ cotangent · output` at `image`, from the model alone.
pub(super) fn differences(
    model: &Model,
    environment: &Environment,
    image: &ArrayD<f32>,
    cotangent: &Array1<f32>,
) -> Vec<f64> {
    let count = image.len();
    let shape: Vec<usize> = [&[2 * count], image.shape()].concat();
    let mut images = ArrayD::zeros(IxDyn(&shape));
    for row in 0..2 * count {
        let mut shifted = image.clone();
        if let Some(value) = shifted.iter_mut().nth(row / 2) {
            *value += if row % 2 == 0 { STEP } else { -STEP };
        }
        images.index_axis_mut(Axis(0), row).assign(&shifted);
    }
    let outputs = run(model, environment, &[("x", &images)], &[]);
    let sums = weighted(outputs.values().next().unwrap(), cotangent);
    sums.as_chunks::<2>().0.iter().map(|[up, down]| (up - down) / f64::from(2.0 * STEP)).collect()
}

/// How an operator is tested.
pub(super) struct Case {
    shape: Vec<usize>,
    positive: bool,
    opset: i64,
    form: Form,
}

impl Case {
    /// For images of `shape`, without the batch.
    pub(super) fn new(shape: &[usize]) -> Self {
        Self { shape: shape.to_vec(), positive: false, opset: 17, form: Form::default() }
    }

    /// With numbers around 1 instead of around 0.
    pub(super) fn positive(self) -> Self {
        Self { positive: true, ..self }
    }

    /// In another version of the operators.
    pub(super) fn opset(self, opset: i64) -> Self {
        Self { opset, ..self }
    }

    /// With convolutions differentiated in another form.
    pub(super) fn form(self, form: Form) -> Self {
        Self { form, ..self }
    }

    fn image(&self) -> ArrayD<f32> {
        let count: usize = self.shape.iter().product();
        // A stride without a common divisor visits every number once, in no order.
        let stride = [7919, 6971, 104_729]
            .into_iter()
            .find(|s| !count.is_multiple_of(*s) || count == 1)
            .unwrap();
        let centre = if self.positive { 1.0 } else { 0.0 };
        let half = if self.positive { 0.5 } else { 1.0 };
        let value = |i: usize| ((i * stride % count) as f32 + 0.5) / count as f32 * 2.0 - 1.0;
        let values = (0..count).map(|i| centre + half * value(i)).collect();
        ArrayD::from_shape_vec(IxDyn(&self.shape), values).unwrap()
    }

    /// The operator alone, or on half the image with that half as a further output.
    fn model(&self, twice: bool, build: &impl Fn(&mut GraphBuilder, &str) -> String) -> Model {
        let mut builder = GraphBuilder::new("case", self.opset);
        let dims: Vec<Dim> = std::iter::once(Dim::free("N"))
            .chain(self.shape.iter().map(|d| Dim::Fixed(*d)))
            .collect();
        let x = builder.input("x", DataType::Float, &dims).unwrap();
        let mut value = x;
        if twice {
            let half = builder.scalar("half", 0.5);
            value = builder.node("Mul", &[&value, &half], vec![]);
        }
        let result = build(&mut builder, &value);
        let mut flat = builder.node("Flatten", &[&result], vec![]);
        if twice {
            let rest = builder.node("Flatten", &[&value], vec![]);
            let axis = vec![attribute::int("axis", 1)];
            flat = builder.node("Concat", &[&flat, &rest], axis);
        }
        builder.output(&flat, DataType::Float, &[Dim::free("N"), Dim::Free(None)]);
        builder.finish().unwrap()
    }

    /// Compares the gradient with finite differences, alone and with the input used twice, and the
    /// gradient of an image alone with that of the same image among others.
    pub(super) fn check(&self, name: &str, build: impl Fn(&mut GraphBuilder, &str) -> String) {
        let Some(environment) = environment() else { return };
        for twice in [false, true] {
            let model = self.model(twice, &build);
            let trace = Trace::measure(environment, &model).unwrap();
            let image = self.image();
            let expected_of =
                |cotangent: &Array1<f32>| differences(&model, environment, &image, cotangent);
            let classes = trace.get(model.graph().output[0].name()).unwrap().shape[1];
            let cotangent = weights(&[classes.fixed().unwrap()]).into_dimensionality().unwrap();
            let expected = expected_of(&cotangent);
            let gradient_model = Interface::of(&model)
                .and_then(|interface| vector_jacobian_at(&model, &trace, &interface, self.form))
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            let found = product(&gradient_model, environment, &image, &cotangent, 1);
            let scale = expected.iter().fold(1.0f64, |m, v| m.max(v.abs()));
            for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let error = (f64::from(*found) - expected).abs();
                assert!(
                    error <= TOLERANCE * scale,
                    "{name}, twice: {twice}, at {at}: {found}, expected {expected}"
                );
            }
            let among = product(&gradient_model, environment, &image, &cotangent, 3);
            for (alone, among) in found.iter().zip(&among) {
                let error = f64::from((alone - among).abs());
                assert!(error <= 1e-5 * scale, "{name}: {alone} alone, {among} among others");
            }
        }
    }

    /// The gradient of the sum of the operator's results at `values`; `None` without ONNX Runtime.
    pub(super) fn gradient_at(
        &self,
        values: &[f32],
        build: impl Fn(&mut GraphBuilder, &str) -> String,
    ) -> Option<Vec<f32>> {
        let environment = environment()?;
        let model = self.model(false, &build);
        let trace = Trace::measure(environment, &model).unwrap();
        let classes = trace.get(model.graph().output[0].name()).unwrap().shape[1];
        let gradient_model = vector_jacobian(&model, &trace).unwrap();
        let image = ArrayD::from_shape_vec(IxDyn(&self.shape), values.to_vec()).unwrap();
        let ones = Array1::ones(classes.fixed().unwrap());
        Some(product(&gradient_model, environment, &image, &ones, 1))
    }
}

/// The vector-Jacobian product of `image`, last in a batch whose other images are scaled copies.
fn product(
    model: &Model,
    environment: &Environment,
    image: &ArrayD<f32>,
    cotangent: &Array1<f32>,
    batch: usize,
) -> Vec<f32> {
    let shape: Vec<usize> = [&[batch], image.shape()].concat();
    let mut images = ArrayD::zeros(IxDyn(&shape));
    for (row, mut slot) in images.axis_iter_mut(Axis(0)).enumerate() {
        slot.assign(&(image * (1.0 + (batch - 1 - row) as f32)));
    }
    let cotangents = Array2::from_shape_fn((batch, cotangent.len()), |(_, k)| cotangent[k]);
    let inputs = [("x", &images), ("cotangent", &cotangents.into_dyn())];
    let mut outputs = run(model, environment, &inputs, &[]);
    let gradient = outputs.remove("input_gradient").unwrap();
    assert_eq!(gradient.shape(), images.shape());
    gradient.slice_axis(Axis(0), Slice::from(batch - 1..)).iter().copied().collect()
}
