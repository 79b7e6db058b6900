//! A plain interpreter of networks in f64: what the ONNX files are held against.
//!
//! It shares nothing with the exporter but the description of a network, and sums as the formulas
//! are written.

use ndarray::{Array1, Array2, Array4, ArrayD, Axis, Ix1, Ix2, Ix4};
use rift_models::arch::{Graph, Node, Op, Value, init};
use rift_models::artifact::TensorMap;
use rift_models::threat::noise::random_start;
use rift_models::threat::{NoiseKey, Norm};

/// The logits of `graph` for `images`, rounded to f32 once.
pub(crate) fn logits(graph: &Graph, tensors: &TensorMap, images: &Array4<f32>) -> Array2<f32> {
    let input = images.mapv(f64::from).into_dyn();
    let mut values: Vec<ArrayD<f64>> = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        let inputs: Vec<&ArrayD<f64>> = node
            .inputs
            .iter()
            .map(|value| match *value {
                Value::Input => &input,
                Value::Node(index) => &values[index],
            })
            .collect();
        let value = evaluate(node, tensors, &inputs);
        values.push(value);
    }
    values.pop().unwrap().into_dimensionality::<Ix2>().unwrap().mapv(|v| v as f32)
}

fn evaluate(node: &Node, tensors: &TensorMap, inputs: &[&ArrayD<f64>]) -> ArrayD<f64> {
    let tensor = |suffix: &str| {
        let found = tensors.get(&format!("{}.{suffix}", node.name));
        found.map(|t| t.mapv(f64::from))
    };
    let vector = |suffix: &str| tensor(suffix).map(|t| t.into_dimensionality::<Ix1>().unwrap());
    let image = || inputs[0].clone().into_dimensionality::<Ix4>().unwrap();
    match &node.op {
        Op::Normalize { mean, std } => {
            let mut x = image();
            for (c, mut channel) in x.axis_iter_mut(Axis(1)).enumerate() {
                channel.mapv_inplace(|v| (v - f64::from(mean[c])) / f64::from(std[c]));
            }
            x.into_dyn()
        }
        Op::Conv2d { stride, padding, .. } => {
            let weight = tensor("weight").unwrap().into_dimensionality::<Ix4>().unwrap();
            let mut out = convolve(&image(), &weight, *stride, *padding);
            add_by_channel(&mut out, vector("bias").as_ref());
            out.into_dyn()
        }
        Op::BatchNorm2d { eps, .. } => {
            let [scale, shift, mean, variance] =
                ["weight", "bias", "running_mean", "running_var"].map(|s| vector(s).unwrap());
            let mut x = image();
            for (c, mut channel) in x.axis_iter_mut(Axis(1)).enumerate() {
                let spread = (variance[c] + eps).sqrt();
                channel.mapv_inplace(|v| (v - mean[c]) / spread * scale[c] + shift[c]);
            }
            x.into_dyn()
        }
        Op::Relu => inputs[0].mapv(|v| v.max(0.0)),
        Op::Add => inputs[0] + inputs[1],
        Op::AvgPool2d { kernel } => pool(&image(), *kernel, *kernel).into_dyn(),
        Op::GlobalAvgPool => {
            let x = image();
            pool(&x, x.dim().2, x.dim().3).into_dyn()
        }
        Op::Flatten => {
            let n = inputs[0].shape()[0];
            let x = inputs[0].as_standard_layout().into_owned();
            let features = x.len() / n;
            x.into_shape_with_order((n, features)).unwrap().into_dyn()
        }
        Op::Linear { .. } => {
            let weight = tensor("weight").unwrap().into_dimensionality::<Ix2>().unwrap();
            let x = inputs[0].clone().into_dimensionality::<Ix2>().unwrap();
            let product = x.dot(&weight.t());
            vector("bias").map_or(product.clone(), |bias| product + &bias).into_dyn()
        }
    }
}

fn convolve(x: &Array4<f64>, w: &Array4<f64>, stride: usize, padding: usize) -> Array4<f64> {
    let (n, channels, height, width) = x.dim();
    let (outputs, _, kernel, _) = w.dim();
    let side = |s: usize| (s + 2 * padding - kernel) / stride + 1;
    let mut out = Array4::zeros((n, outputs, side(height), side(width)));
    for ((b, o, i, j), value) in out.indexed_iter_mut() {
        for u in 0..kernel {
            let Some(row) = (i * stride + u).checked_sub(padding).filter(|r| *r < height) else {
                continue;
            };
            for v in 0..kernel {
                let Some(column) = (j * stride + v).checked_sub(padding).filter(|c| *c < width)
                else {
                    continue;
                };
                for c in 0..channels {
                    *value += x[(b, c, row, column)] * w[(o, c, u, v)];
                }
            }
        }
    }
    out
}

fn add_by_channel(x: &mut Array4<f64>, bias: Option<&Array1<f64>>) {
    let Some(bias) = bias else { return };
    for (c, mut channel) in x.axis_iter_mut(Axis(1)).enumerate() {
        channel.mapv_inplace(|v| v + bias[c]);
    }
}

fn pool(x: &Array4<f64>, rows: usize, columns: usize) -> Array4<f64> {
    let (n, channels, height, width) = x.dim();
    let area = (rows * columns) as f64;
    Array4::from_shape_fn((n, channels, height / rows, width / columns), |(b, c, i, j)| {
        let mut sum = 0.0;
        for u in 0..rows {
            for v in 0..columns {
                sum += x[(b, c, i * rows + u, j * columns + v)];
            }
        }
        sum / area
    })
}

/// Weights as PyTorch starts them, with batch normalisations as if they had been trained.
pub(crate) fn trained(graph: &Graph, seed: u64) -> TensorMap {
    let mut tensors = init::initialise(graph, seed);
    for (index, parameter) in graph.params().enumerate() {
        let [centre, spread] = match parameter.name.rsplit('.').next() {
            _ if !matches!(graph.nodes[parameter.node].op, Op::BatchNorm2d { .. }) => continue,
            Some("weight") => [1.0, 0.5],
            Some("running_var") => [1.2, 1.0],
            _ => [0.0, 0.5],
        };
        let values = uniform(seed + 1, index, tensors[&parameter.name].len(), spread);
        let tensor = tensors.get_mut(&parameter.name).unwrap();
        tensor.iter_mut().zip(values).for_each(|(t, v)| *t = centre + v);
    }
    tensors
}

/// Images of pixels in `[0, 1]`.
pub(crate) fn images(n: usize, input: [usize; 3], seed: u64) -> Array4<f32> {
    let [channels, height, width] = input;
    let pixels = uniform(seed, 0, n * channels * height * width, 0.5);
    let pixels = pixels.into_iter().map(|v| v + 0.5).collect();
    Array4::from_shape_vec((n, channels, height, width), pixels).unwrap()
}

fn uniform(seed: u64, stream: usize, n: usize, spread: f32) -> Vec<f32> {
    let mut values = vec![0.0; n];
    let key = NoiseKey { seed, attack: "test", restart: 0 };
    random_start(&key, stream, Norm::Linf, spread, &mut values);
    values
}
