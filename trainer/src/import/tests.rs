use std::io::Write;
use std::path::PathBuf;

use ndarray::ArrayD;
use rift_models::arch::{ArchSpec, init};
use rift_models::artifact::Checkpoint;
use zip::write::SimpleFileOptions;

use super::*;
use crate::network::{Mode, Network, to_array, to_tensor};

fn golden(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src/import/goldens")).join(name)
}

fn settings() -> Settings {
    Settings {
        arch: "resnet8".to_owned(),
        input: [1, 8, 8],
        width: Some(2),
        classes: None,
        mean: None,
        std: None,
        made_by: "test".to_owned(),
    }
}

/// As `value` of `goldens/make.py`.
fn value(name: &str, position: usize) -> f32 {
    let value = ((position + 7 * name.len()) % 251) as f32 / 128.0;
    if name.ends_with("running_var") { value + 0.5 } else { value - 1.0 }
}

fn all(path: &Path) -> Result<TensorMap, ImportError> {
    read(path, |_| true).map(|foreign| foreign.tensors)
}

fn chain(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {}", chain(cause)))
}

fn refusal(path: &Path) -> String {
    chain(&all(path).unwrap_err())
}

#[test]
fn imports_what_a_training_script_saved() {
    let imported = import(&golden("wrapped.pth"), &settings()).unwrap();
    let Checkpoint { meta, tensors } = &imported.checkpoint;
    let graph = meta.arch.build().unwrap();
    assert_eq!(imported.applied, graph.params().count());
    // Every name lost `module.`; nine counters and the normalisation are no parameters.
    assert_eq!(imported.renamed, imported.applied);
    assert_eq!(imported.dropped.len(), 9 + 2, "{:?}", imported.dropped);
    assert_eq!((&meta.arch.mean, &meta.arch.std), (&vec![0.25], &vec![0.5]));
    assert_eq!(meta.classes, ["0", "1", "2", "3", "4"]);
    for (name, tensor) in tensors {
        for (position, found) in tensor.iter().enumerate() {
            assert_eq!(*found, value(name, position), "{name} at {position}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.safetensors");
    imported.checkpoint.write(&path).unwrap();
    assert_eq!(Checkpoint::read(&path).unwrap().0, imported.checkpoint);
}

#[test]
fn gives_the_logits_that_pytorch_gives() {
    let Checkpoint { meta, tensors } =
        import(&golden("wrapped.pth"), &settings()).unwrap().checkpoint;
    let network =
        Network::from_tensors(meta.arch.build().unwrap(), &tensors, tch::Device::Cpu).unwrap();
    let theirs = all(&golden("logits.pth")).unwrap();
    let images = to_tensor(&theirs["images"], tch::Device::Cpu).unwrap();
    let ours = to_array(&tch::no_grad(|| network.forward(&images, Mode::Eval)).unwrap()).unwrap();
    let largest = theirs["logits"].iter().fold(0_f32, |most, logit| most.max(logit.abs()));
    assert!(largest > 0.1, "{largest}");
    for (a, b) in ours.iter().zip(&theirs["logits"]) {
        assert!((a - b).abs() <= 1e-5 * largest, "{ours} {}", theirs["logits"]);
    }
}

#[test]
fn takes_normalisation_from_a_layer_before_the_network() {
    let [alone, before] =
        ["wrapped.pth", "sequential.pth"].map(|name| import(&golden(name), &settings()).unwrap());
    assert_eq!(before.checkpoint.tensors, alone.checkpoint.tensors);
    assert_eq!(before.checkpoint.meta.arch, alone.checkpoint.meta.arch);
    assert_eq!(before.renamed, before.applied);
    assert!(before.dropped.contains(&"module.0.mean".to_owned()), "{:?}", before.dropped);
}

fn preact_settings(arch: &str) -> Settings {
    Settings { arch: arch.to_owned(), input: [1, 32, 32], width: Some(1), ..settings() }
}

/// Imports `NAME.pth` and holds the logits of two images against those in `NAME-logits.pth`.
fn gives_the_logits_that_pytorch_gave(name: &str, arch: &str) -> Imported {
    let imported = import(&golden(&format!("{name}.pth")), &preact_settings(arch)).unwrap();
    let Checkpoint { meta, tensors } = &imported.checkpoint;
    let graph = meta.arch.build().unwrap();
    assert_eq!((imported.applied, meta.classes.len()), (graph.params().count(), 3));
    let network = Network::from_tensors(graph, tensors, tch::Device::Cpu).unwrap();
    let pixels = (0..2048).map(|i| (i % 37) as f32 / 36.0).collect();
    let images = ArrayD::from_shape_vec(vec![2, 1, 32, 32], pixels).unwrap();
    let images = to_tensor(&images, tch::Device::Cpu).unwrap();
    let ours = to_array(&tch::no_grad(|| network.forward(&images, Mode::Eval)).unwrap()).unwrap();
    let theirs = &all(&golden(&format!("{name}-logits.pth"))).unwrap()["logits"];
    let largest = theirs.iter().fold(0_f32, |most, logit| most.max(logit.abs()));
    assert!(largest > 0.1, "{largest}");
    for (a, b) in ours.iter().zip(theirs) {
        assert!((a - b).abs() <= 1e-5 * largest, "{ours} {theirs}");
    }
    imported
}

#[test]
fn a_published_preactresnet_gives_the_logits_that_pytorch_gives() {
    let arch = gives_the_logits_that_pytorch_gave("preact", "preactresnet18").checkpoint.meta.arch;
    assert_eq!((arch.mean, arch.std), (vec![0.25], vec![0.5]));
}

#[test]
fn the_preactresnet_of_fast_adversarial_training_is_the_last_of_its_file() {
    // Were it the best, it would have one tensor; its first layers are there a second time.
    let imported = gives_the_logits_that_pytorch_gave("fast-at", "preactresnet18-fast-at");
    let twice = imported.dropped.iter().filter(|name| name.starts_with("model_preact_hl1."));
    assert_eq!(twice.count(), 2, "{:?}", imported.dropped);
    assert_eq!(imported.checkpoint.meta.arch.mean, [0.0]);
}

#[test]
fn the_architecture_that_fits_is_offered() {
    for (file, arch, expected) in [
        (
            "fast-at.pth",
            "preactresnet18",
            "does not fit `preactresnet18` but fits `preactresnet18-fast-at`: missing: `bn.weight`, ",
        ),
        (
            "preact.pth",
            "preactresnet18-fast-at",
            "does not fit `preactresnet18-fast-at` but fits `preactresnet18`: not in the network: \
             `bn.bias`, ",
        ),
        ("preact.pth", "resnet18", "does not fit `resnet18` but fits `preactresnet18`: "),
    ] {
        let message = chain(&import(&golden(file), &preact_settings(arch)).unwrap_err());
        assert!(message.contains(expected), "{message}");
    }
    let other_size = Settings { width: Some(2), ..preact_settings("preactresnet18-fast-at") };
    let message = chain(&import(&golden("fast-at.pth"), &other_size).unwrap_err());
    assert!(message.contains("does not fit `preactresnet18-fast-at`: of another"), "{message}");
}

/// The state dict of a network with random weights, under the names of a wrapping.
fn wrapped_state(path: &Path, arch: &ArchSpec, wrapping: &str) -> TensorMap {
    let ours = init::initialise(&arch.build().unwrap(), 3);
    let named =
        |(name, tensor): (&String, &ArrayD<f32>)| (format!("{wrapping}{name}"), tensor.clone());
    let mut theirs: TensorMap = ours.iter().map(named).collect();
    // What published files hold beside the network.
    for dead in ["sub_block1.layer.0.conv1.weight", "sub_block1.layer.0.bn1.running_mean"] {
        theirs.insert(format!("{wrapping}{dead}"), ArrayD::zeros(vec![1]));
    }
    theirs.insert("module.0.mean".to_owned(), ArrayD::from_elem(vec![1, 3, 1, 1], 0.25));
    theirs.insert("module.0.std".to_owned(), ArrayD::from_elem(vec![1, 3, 1, 1], 0.5));
    tensors::write(path, &theirs, std::collections::BTreeMap::new()).unwrap();
    ours
}

#[test]
fn published_layouts_are_taken_in_every_wrapping() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("published.safetensors");
    for (name, wrapping) in [("resnet18", "module.1."), ("resnet34", "model.")] {
        let arch = ArchSpec { width: Some(2), ..ArchSpec::new(name, [3, 32, 32], 4) };
        let ours = wrapped_state(&path, &arch, wrapping);
        let settings = Settings { arch: name.to_owned(), input: arch.input, ..settings() };
        let imported = import(&path, &settings).unwrap();
        assert_eq!(imported.checkpoint.tensors, ours, "{name}");
        let arch = &imported.checkpoint.meta.arch;
        assert_eq!((arch.mean.as_slice(), arch.std.as_slice()), (&[0.25; 3][..], &[0.5; 3][..]));
        assert_eq!(imported.dropped.len(), 4, "{:?}", imported.dropped);
    }
}

#[test]
fn flags_come_before_the_file() {
    let classes = ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec();
    let given = Settings { classes: Some(classes.clone()), mean: Some(vec![0.1]), ..settings() };
    let meta = import(&golden("wrapped.pth"), &given).unwrap().checkpoint.meta;
    assert_eq!((meta.arch.mean, meta.arch.std, meta.classes), (vec![0.1], vec![0.5], classes));
    let twice = ["a", "b", "c", "b", "e"].map(str::to_owned).to_vec();
    let twice = Settings { classes: Some(twice), ..settings() };
    let message = import(&golden("wrapped.pth"), &twice).unwrap_err().to_string();
    assert!(message.contains("class name `b` is given twice"), "{message}");
    let four = Settings { classes: Some(vec![String::new(); 4]), ..settings() };
    let message = import(&golden("wrapped.pth"), &four).unwrap_err().to_string();
    assert!(message.starts_with("expected 5 class names"), "{message}");
}

#[test]
fn another_architecture_is_named_with_the_first_mismatches() {
    let deeper = Settings { arch: "resnet20".to_owned(), ..settings() };
    let message = chain(&import(&golden("wrapped.pth"), &deeper).unwrap_err());
    assert!(message.contains("`resnet20` but fits `resnet8`: missing: `layer1.1."), "{message}");
    let wider = Settings { width: Some(4), ..settings() };
    let message = chain(&import(&golden("wrapped.pth"), &wider).unwrap_err());
    assert!(message.contains("(expected [4, 1, 3, 3], found [2, 1, 3, 3])"), "{message}");
    let wide =
        Settings { arch: "wrn34-10".to_owned(), width: None, input: [1, 32, 32], ..settings() };
    let message = import(&golden("wrapped.pth"), &wide).unwrap_err().to_string();
    assert!(message.contains("no `fc.weight`") && message.contains("`bn1.bias`"), "{message}");
}

#[test]
fn follows_strides_offsets_and_types() {
    for name in ["views.pth", "views-protocol4.pth"] {
        let read = read(&golden(name), |name| name != "counter").unwrap();
        assert_eq!(read.others, ["counter"]);
        let tensor = |name: &str| &read.tensors[name];
        let count = |n: usize| (0..n).map(|i| i as f32).collect::<Vec<_>>();
        let values = |name: &str| tensor(name).iter().copied().collect::<Vec<_>>();
        for same in ["plain", "half", "bfloat16", "double", "channels_last"] {
            assert_eq!(values(same), count(24), "{same}");
        }
        assert_eq!(tensor("channels_last").shape(), [1, 2, 3, 4]);
        let transposed = ArrayD::from_shape_vec(vec![4, 6], count(24)).unwrap();
        assert_eq!(*tensor("transposed"), transposed.t());
        assert_eq!(values("offset"), [5.0, 6.0, 7.0, 8.0, 9.0, 10.0]);
        assert_eq!(values("strided"), [1.0, 6.0, 11.0, 16.0, 21.0]);
        assert_eq!(values("expanded"), [3.0; 6]);
        assert_eq!(values("parameter"), [0.0, 1.0]);
        assert_eq!((tensor("scalar").ndim(), values("scalar")), (0, vec![2.5]));
        assert_eq!(tensor("empty").shape(), [0, 3]);
    }
    let message = refusal(&golden("views.pth"));
    assert!(message.contains("`counter`") && message.contains("whole"), "{message}");
}

#[test]
fn every_foreign_kind_of_file_is_explained() {
    for (file, expected) in [
        ("legacy.pth", "from before version 1.6; convert it once"),
        ("module.pth", "refers to `torch.nn.modules.linear.Linear`"),
        ("torchscript.pth", "is a TorchScript program"),
        ("nan.pth", "not finite"),
        ("make.py", "not a PyTorch file"),
        ("absent.pth", "cannot read"),
    ] {
        let message = refusal(&golden(file));
        assert!(message.contains(expected) && !message.contains('\n'), "{file}: {message}");
    }
}

#[test]
fn what_lies_beside_the_weights_does_not_matter() {
    // `argparse.Namespace`.
    assert_eq!(all(&golden("namespace.pth")).unwrap()["weight"].shape(), [2]);
    // Schedulers, settings and results in types of Python, NumPy and PyTorch.
    let beside = import(&golden("beside.pth"), &settings()).unwrap().checkpoint;
    let alone = import(&golden("wrapped.pth"), &settings()).unwrap().checkpoint;
    assert_eq!((beside.tensors, beside.meta.arch), (alone.tensors, alone.meta.arch));
    // But a weight must be a tensor.
    let message = chain(&import(&golden("no-tensor.pth"), &settings()).unwrap_err());
    let expected = "expected a tensor";
    assert!(message.contains("`linear.weight` of `") && message.contains(expected), "{message}");
    assert!(message.contains("is made of `numpy."), "{message}");
}

/// An archive with this pickle and one storage of four numbers.
fn archive(pickle: &[u8], method: zip::CompressionMethod) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut zip = zip::ZipWriter::new(file.reopen().unwrap());
    let options = SimpleFileOptions::default().compression_method(method);
    zip.start_file("a/data.pkl", options).unwrap();
    zip.write_all(pickle).unwrap();
    zip.start_file("a/data/0", options).unwrap();
    zip.write_all(&[0; 16]).unwrap();
    zip.finish().unwrap();
    file
}

/// `{'w': _rebuild_tensor_v2(storage of `len`, offset, (size,), (stride,), False, None)}`.
fn pickle(key: &str, len: u32, [offset, size, stride]: [i32; 3]) -> Vec<u8> {
    let int = |n: i32| [b"J".as_slice(), &n.to_le_bytes()].concat();
    let text = |t: &str| [b"X".as_slice(), &(t.len() as u32).to_le_bytes(), t.as_bytes()].concat();
    [
        b"\x80\x02}".to_vec(),
        text("w"),
        b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
        text("storage"),
        b"ctorch\nFloatStorage\n".to_vec(),
        text(key),
        text("cpu"),
        int(len as i32),
        b"tQ".to_vec(),
        int(offset),
        int(size),
        b"\x85".to_vec(),
        int(stride),
        b"\x85\x89NtRs.".to_vec(),
    ]
    .concat()
}

#[test]
fn nothing_outside_a_storage_is_read() {
    let stored = zip::CompressionMethod::Stored;
    let read = |key: &str, len: u32, window: [i32; 3]| {
        all(archive(&pickle(key, len, window), stored).path())
    };
    assert_eq!(read("0", 4, [1, 3, 1]).unwrap()["w"].len(), 3);
    for (window, reason) in [
        ([2, 3, 1], "beyond its storage"),
        ([0, 3, 2], "beyond its storage"),
        ([0, i32::MAX, i32::MAX], "too many numbers"),
        ([i32::MAX, 2, i32::MAX], "beyond its storage"),
        ([-1, 2, 1], "makes no tensor"),
        ([0, -2, 1], "makes no tensor"),
        ([3, 2, -1], "makes no tensor"),
    ] {
        let message = chain(&read("0", 4, window).unwrap_err());
        assert!(message.contains(reason), "{window:?}: {message}");
    }
    let message = chain(&read("0", 5, [0, 1, 1]).unwrap_err());
    assert!(message.contains("shorter than it says"), "{message}");
    let message = chain(&read("0", 3, [0, 1, 1]).unwrap_err());
    assert!(message.contains("has 16 bytes, expected at most 12"), "{message}");
    let message = chain(&read("../../etc/passwd", 4, [0, 1, 1]).unwrap_err());
    assert!(message.contains("has no entry `a/data/../../etc/passwd`"), "{message}");
    let compressed = archive(&pickle("0", 4, [0, 4, 1]), zip::CompressionMethod::Deflated);
    assert!(refusal(compressed.path()).contains("compressed"));
}

#[test]
fn truncated_and_flipped_files_never_panic() {
    let good = std::fs::read(golden("views.pth")).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    for cut in (0..good.len()).step_by(97) {
        std::fs::write(file.path(), &good[..cut]).unwrap();
        assert!(all(file.path()).is_err(), "cut at {cut}");
    }
    for at in (0..good.len()).step_by(13) {
        let mut bad = good.clone();
        bad[at] ^= 0x55;
        std::fs::write(file.path(), &bad).unwrap();
        // Padding may be anything; whatever is read must be finite.
        if let Ok(tensors) = read(file.path(), |name| name != "counter") {
            assert!(tensors.tensors.values().flatten().all(|v| v.is_finite()));
        }
    }
}

#[test]
fn foreign_safetensors_are_taken_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let spec = ArchSpec { width: Some(2), ..ArchSpec::new("resnet8", [1, 8, 8], 5) };
    let ours = init::initialise(&spec.build().unwrap(), 3);
    let theirs = ours.iter().map(|(name, t)| (format!("model.{name}"), t.clone())).collect();
    tensors::write(&path, &theirs, std::collections::BTreeMap::new()).unwrap();
    let imported = import(&path, &settings()).unwrap();
    assert_eq!(imported.checkpoint.tensors, ours);
    assert_eq!(imported.renamed, ours.len());
    assert_eq!((&imported.checkpoint.meta.arch.mean, imported.dropped.len()), (&vec![0.0], 0));
    // The same tensor with and without its prefix.
    let mut twice = theirs;
    twice.insert("bn1.bias".to_owned(), ours["bn1.bias"].clone());
    tensors::write(&path, &twice, std::collections::BTreeMap::new()).unwrap();
    assert!(matches!(import(&path, &settings()), Err(ImportError::Collision { .. })));
}
