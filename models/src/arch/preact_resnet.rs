//! The pre-activation residual network (He et al. 2016b) of 18 layers in the two forms in which robust
//! training knows it, with the names of both.
//!
//! Each block normalises and rectifies before it convolves. Where the size changes, the shortcut is a
//! bare 1 × 1 convolution; elsewhere it carries the raw input. The forms differ in what that
//! convolution reads, which no name tells, and in what comes before the mean over 4 × 4 windows:
//!
//! | name | from | the convolution reads | before the mean |
//! |---|---|---|---|
//! | `preactresnet18` | Rice et al. 2020, AWP | the activated input | `bn`, a rectifier |
//! | `preactresnet18-fast-at` | Wong et al. 2020, Andriushchenko & Flammarion 2020 | the raw one | nothing |
//!
//! RobustBench has them as `PreActResNet` with and without `bn_before_fc` and `out_shortcut`.

use super::build::Builder;
use super::{ArchSpec, Graph, Op, Value};

/// Blocks in each of the four stages.
const BLOCKS: usize = 2;
/// The window of the last pooling.
const POOL: usize = 4;

/// What distinguishes one pre-activation network from another.
pub(super) struct PreActResNet {
    /// Channels of the first stage; every later stage doubles them.
    pub(super) width: usize,
    /// Whether the shortcuts' convolutions read the activated input of their block, not the raw one.
    pub(super) activated_shortcut: bool,
    /// Whether a normalisation and a rectifier come before the last pooling.
    pub(super) last_norm: bool,
}

impl PreActResNet {
    /// The network for `spec`.
    pub(super) fn build(&self, spec: &ArchSpec) -> Graph {
        let [channels, height, width] = spec.input;
        let (mut b, x) = Builder::new(spec.input, spec.classes, &spec.mean, &spec.std);
        let mut x = b.conv("conv1".into(), x, [channels, self.width], 3, 1);
        let (mut in_planes, mut size) = (self.width, [height, width]);
        for stage in 0..4 {
            for block in 0..BLOCKS {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                let name = format!("layer{}.{block}", stage + 1);
                x = self.block(&mut b, &name, x, [in_planes, self.width << stage], stride);
                in_planes = self.width << stage;
                size = size.map(|n| n.div_ceil(stride));
            }
        }
        if self.last_norm {
            x = b.batch_norm("bn".into(), x, in_planes);
            x = b.relu("relu".into(), x);
        }
        let x = b.push("pool", Op::AvgPool2d { kernel: POOL }, &[x]);
        let x = b.push("flatten", Op::Flatten, &[x]);
        let in_features = in_planes * (size[0] / POOL) * (size[1] / POOL);
        b.push("linear", Op::Linear { in_features, out_features: spec.classes, bias: true }, &[x]);
        b.finish()
    }

    fn block(&self, b: &mut Builder, name: &str, x: Value, io: [usize; 2], stride: usize) -> Value {
        let [in_planes, planes] = io;
        let act = b.batch_norm(format!("{name}.bn1"), x, in_planes);
        let act = b.relu(format!("{name}.relu1"), act);
        let shortcut = if stride == 1 && in_planes == planes {
            x
        } else {
            let read = if self.activated_shortcut { act } else { x };
            b.conv(format!("{name}.shortcut.0"), read, io, 1, stride)
        };
        let out = b.conv(format!("{name}.conv1"), act, io, 3, stride);
        let out = b.batch_norm(format!("{name}.bn2"), out, planes);
        let out = b.relu(format!("{name}.relu2"), out);
        let out = b.conv(format!("{name}.conv2"), out, [planes, planes], 3, 1);
        b.push(format!("{name}.add"), Op::Add, &[out, shortcut])
    }
}
