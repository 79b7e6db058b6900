//! Wide residual networks (Zagoruyko & Komodakis 2016), with the names of the reference
//! implementation, which are those of TRADES.

use super::build::Builder;
use super::{ArchSpec, Graph, Op, Value};

/// A wide residual network of a depth and a widening factor.
pub(super) struct WideResNet {
    /// Layers: `6n + 4`.
    pub(super) depth: usize,
    /// Factor on the widths 16, 32, 64.
    pub(super) widen: usize,
}

impl WideResNet {
    /// The network for `spec`.
    pub(super) fn build(&self, spec: &ArchSpec) -> Graph {
        let blocks = (self.depth - 4) / 6;
        let [channels, height, width] = spec.input;
        let (mut b, x) = Builder::new(spec.input, spec.classes, &spec.mean, &spec.std);
        let mut x = b.conv("conv1".into(), x, [channels, 16], 3, 1);
        let (mut in_planes, mut size) = (16, [height, width]);
        for stage in 0..3 {
            let planes = (16 * self.widen) << stage;
            for block in 0..blocks {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                let name = format!("block{}.layer.{block}", stage + 1);
                x = pre_activation_block(&mut b, &name, x, [in_planes, planes], stride);
                in_planes = planes;
                size = size.map(|n| n.div_ceil(stride));
            }
        }
        let x = b.batch_norm("bn1".into(), x, in_planes);
        let x = b.relu("relu".into(), x);
        let x = b.push("pool", Op::AvgPool2d { kernel: 8 }, &[x]);
        let x = b.push("flatten", Op::Flatten, &[x]);
        let in_features = in_planes * (size[0] / 8) * (size[1] / 8);
        b.push("fc", Op::Linear { in_features, out_features: spec.classes, bias: true }, &[x]);
        b.finish()
    }
}

fn pre_activation_block(
    b: &mut Builder,
    name: &str,
    x: Value,
    io: [usize; 2],
    stride: usize,
) -> Value {
    let [in_planes, planes] = io;
    let act = b.batch_norm(format!("{name}.bn1"), x, in_planes);
    let act = b.relu(format!("{name}.relu1"), act);
    let out = b.conv(format!("{name}.conv1"), act, io, 3, stride);
    let out = b.batch_norm(format!("{name}.bn2"), out, planes);
    let out = b.relu(format!("{name}.relu2"), out);
    let out = b.conv(format!("{name}.conv2"), out, [planes, planes], 3, 1);
    // Where the width changes, the reference's shortcut reads the activated input, not the raw one.
    let shortcut = if in_planes == planes {
        x
    } else {
        b.conv(format!("{name}.convShortcut"), act, io, 1, stride)
    };
    b.push(format!("{name}.add"), Op::Add, &[shortcut, out])
}
