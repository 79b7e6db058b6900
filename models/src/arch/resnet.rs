//! Residual networks for small images (He et al. 2016), with the reference implementation's names.
//!
//! Two families share the basic block: `resnet18`, `resnet34` (four stages from width 64, mean over
//! 4 × 4 windows, so that a 64 × 64 image leaves 2 × 2 positions for the linear layer), and the
//! CIFAR family `resnet8`, `resnet20`, `resnet32` (three stages from width 16, global mean), whose
//! shortcuts are 1 × 1 convolutions.

use super::build::Builder;
use super::{ArchSpec, Graph, Op, Value};

/// What distinguishes one residual network from another.
pub(super) struct ResNet {
    /// Blocks in each stage.
    pub(super) blocks: &'static [usize],
    /// Channels of the first stage; every later stage doubles them.
    pub(super) width: usize,
    /// The window of the last pooling, or the whole image.
    pub(super) pool: Option<usize>,
}

impl ResNet {
    /// The network for `spec`.
    pub(super) fn build(&self, spec: &ArchSpec) -> Graph {
        let [channels, height, width] = spec.input;
        let (mut b, x) = Builder::new(spec.input, spec.classes, &spec.mean, &spec.std);
        let x = b.conv("conv1".into(), x, [channels, self.width], 3, 1);
        let x = b.batch_norm("bn1".into(), x, self.width);
        let mut x = b.relu("relu1".into(), x);
        let (mut in_planes, mut size) = (self.width, [height, width]);
        for (stage, &blocks) in self.blocks.iter().enumerate() {
            let planes = self.width << stage;
            for block in 0..blocks {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                let name = format!("layer{}.{block}", stage + 1);
                x = basic_block(&mut b, &name, x, [in_planes, planes], stride);
                in_planes = planes;
                size = size.map(|n| n.div_ceil(stride));
            }
        }
        let (op, positions) = match self.pool {
            Some(kernel) => (Op::AvgPool2d { kernel }, (size[0] / kernel) * (size[1] / kernel)),
            None => (Op::GlobalAvgPool, 1),
        };
        let x = b.push("pool", op, &[x]);
        let x = b.push("flatten", Op::Flatten, &[x]);
        let in_features = in_planes * positions;
        b.push("linear", Op::Linear { in_features, out_features: spec.classes, bias: true }, &[x]);
        b.finish()
    }
}

fn basic_block(b: &mut Builder, name: &str, x: Value, io: [usize; 2], stride: usize) -> Value {
    let [in_planes, planes] = io;
    let out = b.conv(format!("{name}.conv1"), x, io, 3, stride);
    let out = b.batch_norm(format!("{name}.bn1"), out, planes);
    let out = b.relu(format!("{name}.relu1"), out);
    let out = b.conv(format!("{name}.conv2"), out, [planes, planes], 3, 1);
    let out = b.batch_norm(format!("{name}.bn2"), out, planes);
    let shortcut = if stride == 1 && in_planes == planes {
        x
    } else {
        let shortcut = b.conv(format!("{name}.shortcut.0"), x, io, 1, stride);
        b.batch_norm(format!("{name}.shortcut.1"), shortcut, planes)
    };
    let sum = b.push(format!("{name}.add"), Op::Add, &[out, shortcut]);
    b.relu(format!("{name}.relu2"), sum)
}
