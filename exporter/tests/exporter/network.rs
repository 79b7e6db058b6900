//! Small networks, written node by node as exporters do.

use ndarray::{Array, Array1, Array2, Dimension, IntoDimension};
use rift_models::onnx::{DataType, Dim, GraphBuilder, Model, attribute};

pub(crate) const CLASSES: usize = 3;

/// Numbers between -1 and 1 that look like none in particular.
pub(crate) fn numbers<D: Dimension>(
    shape: impl IntoDimension<Dim = D>,
    seed: u64,
) -> Array<f32, D> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    Array::from_shape_simple_fn(shape.into_dimension(), || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    })
}

/// A network in the making.
pub(crate) struct Net {
    pub(crate) builder: GraphBuilder,
    pub(crate) image: String,
}

impl Net {
    pub(crate) fn new() -> Self {
        let mut builder = GraphBuilder::new("foreign", 17);
        let dims = [Dim::free("N"), Dim::Fixed(1), Dim::Fixed(12), Dim::Fixed(12)];
        let image = builder.input("input", DataType::Float, &dims).unwrap();
        Self { builder, image }
    }

    pub(crate) fn node(&mut self, op: &str, inputs: &[&str]) -> String {
        self.builder.node(op, inputs, vec![])
    }

    /// A convolution of 3 by 3 with these parameters.
    pub(crate) fn conv_of(&mut self, name: &str, inputs: &[&str]) -> String {
        let pads = attribute::ints("pads", &[1, 1, 1, 1]);
        self.builder.named_node(name, "Conv", inputs, vec![pads])
    }

    /// The weight and the bias of a convolution.
    pub(crate) fn parameters(&mut self, name: &str, [from, to]: [usize; 2]) -> [String; 2] {
        let seed = name.bytes().map(u64::from).sum();
        let weight = numbers((to, from, 3, 3), seed) / (from as f32).sqrt();
        let weight = self.builder.array(&format!("{name}.weight"), &weight);
        let bias = self.builder.array(&format!("{name}.bias"), &(numbers(to, seed + 1) / 4.0));
        [weight, bias]
    }

    pub(crate) fn conv(&mut self, name: &str, x: &str, channels: [usize; 2]) -> String {
        let [weight, bias] = self.parameters(name, channels);
        self.conv_of(name, &[x, &weight, &bias])
    }

    /// Two convolutions with activations: eight channels.
    pub(crate) fn body(&mut self, activate: impl Fn(&mut Self, &str) -> String) -> String {
        let image = self.image.clone();
        let x = self.conv("conv1", &image, [1, 8]);
        let x = activate(self, &x);
        let x = self.conv("conv2", &x, [8, 8]);
        activate(self, &x)
    }

    /// The mean of each channel, a row.
    pub(crate) fn pooled(&mut self, x: &str) -> String {
        let x = self.node("GlobalAveragePool", &[x]);
        self.node("Flatten", &[&x])
    }

    pub(crate) fn linear(&mut self, x: &str) -> String {
        let weight = self.builder.array("fc.weight", &matrix());
        let bias = self.builder.array("fc.bias", &row());
        self.builder.named_node("fc", "Gemm", &[x, &weight, &bias], vec![])
    }

    /// The model whose logits are `x`.
    pub(crate) fn ends(mut self, x: &str) -> Model {
        self.builder.node_making("logits", "Identity", &[x], vec![]).unwrap();
        let dims = [Dim::free("N"), Dim::Fixed(CLASSES)];
        self.builder.output("logits", DataType::Float, &dims);
        self.builder.finish().unwrap()
    }
}

pub(crate) fn relu(net: &mut Net, x: &str) -> String {
    net.node("Relu", &[x])
}

pub(crate) fn matrix() -> Array2<f32> {
    numbers((8, CLASSES), 5)
}

pub(crate) fn row() -> Array1<f32> {
    numbers(CLASSES, 6)
}

/// The network that all others are written after.
pub(crate) fn plain() -> Model {
    plain_with(|_, x| x.to_owned())
}

pub(crate) fn plain_with(end: impl FnOnce(&mut Net, &str) -> String) -> Model {
    let mut net = Net::new();
    let x = net.body(relu);
    let x = net.pooled(&x);
    let x = net.linear(&x);
    let x = end(&mut net, &x);
    net.ends(&x)
}
