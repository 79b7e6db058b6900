//! The pre-activation residual network (He et al. 2016b) as robust training knows it
//! (`PreActResNet18` of Rice et al. 2020, of AWP and of fast adversarial training), with its names.
//!
//! Each block normalises and rectifies before it convolves. Where the size changes, the shortcut is a
//! bare 1 × 1 convolution of the activated input; elsewhere it carries the raw one. A last `bn` and a
//! rectifier come before the mean over 4 × 4 windows.

use super::build::Builder;
use super::{ArchSpec, Graph, Op, Value};

/// Blocks in each of the four stages.
const BLOCKS: usize = 2;
/// The window of the last pooling.
const POOL: usize = 4;

/// The network for `spec`, of `planes` channels in the first stage.
pub(super) fn build(spec: &ArchSpec, planes: usize) -> Graph {
    let [channels, height, width] = spec.input;
    let (mut b, x) = Builder::new(spec.input, spec.classes, &spec.mean, &spec.std);
    let mut x = b.conv("conv1".into(), x, [channels, planes], 3, 1);
    let (mut in_planes, mut size) = (planes, [height, width]);
    for stage in 0..4 {
        for block in 0..BLOCKS {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let name = format!("layer{}.{block}", stage + 1);
            x = self::block(&mut b, &name, x, [in_planes, planes << stage], stride);
            in_planes = planes << stage;
            size = size.map(|n| n.div_ceil(stride));
        }
    }
    let x = b.batch_norm("bn".into(), x, in_planes);
    let x = b.relu("relu".into(), x);
    let x = b.push("pool", Op::AvgPool2d { kernel: POOL }, &[x]);
    let x = b.push("flatten", Op::Flatten, &[x]);
    let in_features = in_planes * (size[0] / POOL) * (size[1] / POOL);
    b.push("linear", Op::Linear { in_features, out_features: spec.classes, bias: true }, &[x]);
    b.finish()
}

fn block(b: &mut Builder, name: &str, x: Value, io: [usize; 2], stride: usize) -> Value {
    let [in_planes, planes] = io;
    let act = b.batch_norm(format!("{name}.bn1"), x, in_planes);
    let act = b.relu(format!("{name}.relu1"), act);
    let shortcut = if stride == 1 && in_planes == planes {
        x
    } else {
        b.conv(format!("{name}.shortcut.0"), act, io, 1, stride)
    };
    let out = b.conv(format!("{name}.conv1"), act, io, 3, stride);
    let out = b.batch_norm(format!("{name}.bn2"), out, planes);
    let out = b.relu(format!("{name}.relu2"), out);
    let out = b.conv(format!("{name}.conv2"), out, [planes, planes], 3, 1);
    b.push(format!("{name}.add"), Op::Add, &[out, shortcut])
}
