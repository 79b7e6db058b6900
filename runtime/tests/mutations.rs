//! Files that were good and have been damaged at random: whatever reads them says so and goes on.
//!
//! `RIFT_MUTATIONS` sets how many there are of each kind; the seed of each is its number, so that one
//! that was found can be made again.

mod requests;

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;

use image::{ImageFormat, Rgb, RgbImage};
use prost::Message;
use rift_models::arch::{ArchSpec, init};
use rift_models::artifact::{Checkpoint, CheckpointMeta, Digest, Lineage};
use rift_models::dataset::{Dataset, Request, Split};
use rift_models::onnx::proto::{GraphProto, TensorProto};
use rift_models::onnx::{DataType, Dim, GraphBuilder, Model, attribute};
use rift_runtime::autodiff;
use rift_runtime::server::screen::{Limits, ScreenError, Trial};
use rift_runtime::session::{Opening, library};

use super::screening::{peak, screen};
use super::small_models::{channels_last, conv_net, linear_net, positions_net};

/// Mutated files of each kind where nobody says how many: what fits in a few seconds.
const FEW: u64 = 300;
/// The most memory that reading damaged files may add to a process, in bytes.
const MEMORY: u64 = 512 << 20;

fn count() -> u64 {
    super::setting("RIFT_MUTATIONS", FEW)
}

/// Changes files at random, the same for the same seed.
pub(crate) struct Mutator(pub(crate) u64);

impl Mutator {
    /// A number below `below`, by the `SplitMix64` generator.
    pub(crate) fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % below.max(1) as u64) as usize
    }

    /// One of `files` with one to four changes.
    fn mutate(&mut self, files: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = files[self.next(files.len())].clone();
        for _ in 0..=self.next(4) {
            self.change(&mut bytes, files);
        }
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, files: &[Vec<u8>]) {
        let length = bytes.len();
        // Headers are short and hold what matters: half of the changes are near the beginning.
        let near = if self.next(2) == 0 { length.min(256) } else { length };
        let at = self.next(near);
        let end = (at + 1 + self.next(64)).min(length);
        match self.next(9) {
            _ if length == 0 => bytes.push(self.next(256) as u8),
            0 | 1 => bytes[at] ^= 1 << self.next(8),
            2 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][self.next(5)],
            3 => bytes[at] = self.next(256) as u8,
            4 => drop(bytes.drain(at..end)),
            5 => {
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            6 => bytes.truncate(at),
            7 => {
                // A number of the largest kind, as protobuf and other formats write lengths.
                let wide = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
                bytes.splice(at..at, wide[..=self.next(8)].iter().copied());
            }
            _ => {
                let other = &files[self.next(files.len())];
                let from = self.next(other.len());
                let to = (from + 1 + self.next(64)).min(other.len());
                bytes.splice(at..end, other[from..to].iter().copied());
            }
        }
    }
}

/// Numbers that shapes, axes and the like are not often.
const ODD: [i64; 14] = [0, 1, -1, 2, 3, 5, 7, 8, 64, -3, 255, 65_536, i64::MAX, i64::MIN];

/// Changes what a model says, so that it is still a model: what damaged bytes seldom are.
impl Mutator {
    fn rewrite(&mut self, models: &[Model]) -> Vec<u8> {
        let mut proto = models[self.next(models.len())].clone().into_proto();
        if let Some(graph) = &mut proto.graph {
            for _ in 0..=self.next(3) {
                match self.next(8) {
                    0..3 => self.rewire(graph),
                    3..5 => self.resettle(graph),
                    _ => self.reshape(graph),
                }
            }
        }
        proto.encode_to_vec()
    }

    /// Another operator, another input or one less.
    fn rewire(&mut self, graph: &mut GraphProto) {
        let [at, other] = [0; 2].map(|_| self.next(graph.node.len()));
        let value = match self.next(2) {
            0 => graph.node[other].output.first().cloned(),
            _ => graph.node[other].input.last().cloned(),
        };
        let node = &mut graph.node[at];
        let which = self.next(node.input.len());
        match (self.next(4), node.input.get_mut(which), value) {
            (0, ..) => {
                let operators = autodiff::operators();
                node.op_type = Some(operators[self.next(operators.len())].to_owned());
            }
            (1, ..) => drop(node.input.pop()),
            (_, Some(input), Some(value)) => *input = value,
            _ => {}
        }
    }

    /// Another number in an attribute or in a row of whole numbers.
    fn resettle(&mut self, graph: &mut GraphProto) {
        let at = self.next(graph.node.len());
        let attributes = &mut graph.node[at].attribute;
        let which = self.next(attributes.len());
        let number = ODD[self.next(ODD.len())];
        if let Some(attribute) = attributes.get_mut(which) {
            attribute.i = attribute.i.map(|_| number);
            let which = self.next(attribute.ints.len());
            match attribute.ints.get_mut(which) {
                Some(setting) if self.next(2) == 0 => *setting = number,
                _ => drop(attribute.ints.pop()),
            }
            return;
        }
        let is_row = |t: &&mut TensorProto| t.data_type() == DataType::Int64 as i32;
        if let Some(raw) =
            graph.initializer.iter_mut().find(is_row).and_then(|t| t.raw_data.as_mut())
        {
            let at = 8 * self.next(raw.len() / 8);
            raw[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
    }

    /// The same stored numbers in another shape.
    fn reshape(&mut self, graph: &mut GraphProto) {
        let which = self.next(graph.initializer.len());
        let dims = &mut graph.initializer[which].dims;
        let (from, to) = (self.next(dims.len()), self.next(dims.len()));
        match self.next(3) {
            0 => dims.push(1),
            1 if !dims.is_empty() => dims.swap(from, to),
            _ => *dims = vec![dims.iter().product()],
        }
    }
}

/// A network in whole numbers, with shapes that are computed.
fn quantized() -> Model {
    let mut builder = GraphBuilder::new("quantized", 17);
    let dims = [Dim::free("N"), Dim::Fixed(3), Dim::Fixed(8), Dim::Fixed(8)];
    let image = builder.input("image", DataType::Float, &dims).unwrap();
    let (scale, zero) = (builder.scalar("scale", 0.02), builder.array("zero", &ndarray::arr0(3u8)));
    let whole = builder.node("QuantizeLinear", &[&image, &scale, &zero], vec![]);
    let real = builder.node("DequantizeLinear", &[&whole, &scale, &zero], vec![]);
    let settings =
        vec![attribute::ints("kernel_shape", &[2, 2]), attribute::ints("strides", &[2, 2])];
    let pooled = builder.node("MaxPool", &[&real], settings);
    let shape = builder.node("Shape", &[&pooled], vec![attribute::int("end", 1)]);
    let rest = builder.integers("rest", &[-1]);
    let both = builder.node("Concat", &[&shape, &rest], vec![attribute::int("axis", 0)]);
    let flat = builder.node("Reshape", &[&pooled, &both], vec![]);
    let weight = builder.array("weight", &ndarray::Array2::from_elem((48, 4), 0.1f32));
    builder.node_making("logits", "MatMul", &[&flat, &weight], vec![]).unwrap();
    builder.output("logits", DataType::Float, &[Dim::free("N"), Dim::Fixed(4)]);
    builder.finish().unwrap()
}

/// How many files ended how.
#[derive(Debug, Default)]
struct Tally(BTreeMap<&'static str, u64>);

impl Tally {
    fn add(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    fn of(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }
}

#[test]
fn damaged_models_are_refused_or_run() {
    if library::load(None).is_err() {
        eprintln!("skipped: ONNX Runtime is absent");
        return;
    }
    let models = [
        conv_net(None),
        conv_net(Some("Softmax")),
        linear_net(),
        positions_net(),
        channels_last(),
        quantized(),
    ];
    let files: Vec<Vec<u8>> = models.iter().map(Model::to_bytes).collect();
    let (before, mut most) = (peak(), 0);
    let screen = screen(Limits::default()).measuring();
    let start = || screen.trial(1 << 20, &Opening::default()).unwrap();
    let (mut trial, mut tally): (Option<Trial>, _) = (None, Tally::default());
    for seed in 0..count() {
        let mut mutator = Mutator(seed);
        let bytes = match mutator.next(2) {
            0 => mutator.mutate(&files),
            _ => mutator.rewrite(&models),
        };
        if screen.inspect(&bytes).is_err() {
            tally.add("refused at sight");
            continue;
        }
        let process = trial.get_or_insert_with(start);
        let what = match process.of(&bytes, &Digest::of_bytes(&bytes)) {
            Ok(()) => "passed",
            Err(ScreenError::Failed { .. }) => "failed when tried",
            Err(ScreenError::Memory { .. }) => "too much memory",
            Err(ScreenError::Time { .. }) => "too much time",
            Err(error) => {
                eprintln!("seed {seed}: {error}");
                "ended the process"
            }
        };
        tally.add(what);
        most = most.max(process.peak().unwrap_or(0));
        if !matches!(what, "passed" | "failed when tried") {
            trial = None;
        }
    }
    let grown = peak() - before;
    eprintln!("{tally:?}, {grown} bytes here, {most} bytes at most there");
    assert!(grown < MEMORY, "{grown} bytes");
    // Each of these is held by the screen, and each would be a fault of a library or of ours.
    assert_eq!((tally.of("ended the process"), tally.of("too much time")), (0, 0), "{tally:?}");
    assert!(tally.of("passed") > 0 && tally.of("refused at sight") > 0, "{tally:?}");
}

#[test]
fn damaged_pictures_are_refused_or_read() {
    let picture = RgbImage::from_fn(24, 20, |x, y| Rgb([x as u8 * 10, y as u8 * 12, 90]));
    let formats = [
        ImageFormat::Png,
        ImageFormat::Jpeg,
        ImageFormat::WebP,
        ImageFormat::Bmp,
        ImageFormat::Gif,
        ImageFormat::Tiff,
        ImageFormat::Pnm,
    ];
    let files = formats.map(|format| {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    });
    let folder = tempfile::tempdir().unwrap();
    let [class, other] = ["cat", "dog"].map(|name| folder.path().join(name));
    for class in [&class, &other] {
        std::fs::create_dir(class).unwrap();
    }
    picture.save(other.join("0.png")).unwrap();
    let (before, mut tally) = (peak(), Tally::default());
    for seed in 0..count() {
        std::fs::write(class.join("0.png"), Mutator(seed).mutate(&files)).unwrap();
        let read = Dataset::open(folder.path(), &Request::new(Split::Test));
        tally.add(if read.is_ok() { "read" } else { "refused" });
    }
    let grown = peak() - before;
    eprintln!("{tally:?}, {grown} bytes");
    assert!(grown < 2 * MEMORY, "{grown} bytes");
    assert!(tally.of("read") > 0 && tally.of("refused") > 0, "{tally:?}");
}

#[test]
fn damaged_checkpoints_are_refused_or_read() {
    let arch = ArchSpec { width: Some(2), ..ArchSpec::new("resnet8", [1, 12, 12], 2) };
    let tensors = init::initialise(&arch.build().unwrap(), 0);
    let classes = vec!["cat".to_owned(), "dog".to_owned()];
    let meta = CheckpointMeta::new(arch, classes, None, Lineage::default());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.safetensors");
    Checkpoint { meta, tensors }.write(&path).unwrap();
    let files = [std::fs::read(&path).unwrap()];
    let (before, mut tally) = (peak(), Tally::default());
    for seed in 0..count() {
        let read = Checkpoint::from_bytes(Path::new("c"), &Mutator(seed).mutate(&files));
        tally.add(if read.is_ok() { "read" } else { "refused" });
    }
    let grown = peak() - before;
    eprintln!("{tally:?}, {grown} bytes");
    assert!(grown < MEMORY, "{grown} bytes");
    assert!(tally.of("read") > 0 && tally.of("refused") > 0, "{tally:?}");
}
