//! A checkpoint with its probe in a folder, and the program that is run on it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ndarray::Array2;
use rift_exporter::bundle::evidence;
use rift_models::arch::{ArchSpec, Graph};
use rift_models::artifact::{
    Bundle, Card, Checkpoint, CheckpointMeta, Digest, Lineage, Probe, TensorMap, atomic, read_json,
};
use rift_models::threat::AttackSpec;
use tempfile::TempDir;

use crate::reference;

/// A folder with `rift.safetensors` and `probe.safetensors`, as the trainer leaves them.
pub(crate) struct Run {
    folder: TempDir,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) digest: Digest,
    pub(crate) probe: Probe,
}

impl Run {
    /// A trained-looking `resnet8` with a probe whose logits are the reference's.
    pub(crate) fn new() -> Self {
        Self::with(|_, _| {})
    }

    /// The same with other weights.
    pub(crate) fn with(change: impl FnOnce(&Graph, &mut TensorMap)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let arch = ArchSpec {
            width: Some(4),
            mean: vec![0.286],
            std: vec![0.353],
            ..ArchSpec::new("resnet8", [1, 12, 12], 3)
        };
        let graph = arch.build().unwrap();
        let classes = ["shirt", "bag", "boot"].map(str::to_owned).to_vec();
        let lineage = Lineage { made_by: "rift-trainer 0.1.0 train".into(), ..Lineage::default() };
        let meta = CheckpointMeta::new(arch, classes, Some(AttackSpec::paper()), lineage);
        let mut tensors = reference::trained(&graph, 3);
        change(&graph, &mut tensors);
        let checkpoint = Checkpoint { meta, tensors };
        let digest = checkpoint.write(&folder.path().join("rift.safetensors")).unwrap();
        let images = reference::images(5, graph.input, 9);
        let logits = reference::logits(&graph, &checkpoint.tensors, &images);
        let labels = vec![0, 1, 2, 0, 1];
        let probe = Probe { images, labels, logits, checkpoint: digest.clone() };
        let run = Self { folder, checkpoint, digest, probe };
        run.probe.write(&run.path(Bundle::PROBE)).unwrap();
        run
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs the program in the folder.
    pub(crate) fn rift(&self, arguments: &[&str]) -> Finished {
        Finished::of(program(self.folder.path()).args(arguments))
    }

    /// Exports to `bundle` and expects that to succeed.
    pub(crate) fn exported(&self) -> Finished {
        let done = self.rift(&["export", "--checkpoint", "rift.safetensors", "--out", "bundle"]);
        assert_eq!(done.code, 0, "{done:?}");
        done
    }

    /// Everything in the folder, hidden files too.
    pub(crate) fn names(&self) -> Vec<String> {
        names(self.folder.path())
    }

    /// The network of the checkpoint.
    pub(crate) fn graph(&self) -> Graph {
        self.checkpoint.meta.arch.build().unwrap()
    }

    /// The probe with other logits.
    pub(crate) fn write_probe_with(&self, name: &str, logits: Array2<f32>) {
        let probe = Probe { logits, ..self.probe.clone() };
        probe.write(&self.path(name)).unwrap();
    }
}

/// Changes the card of a bundle, and with it all that says the same.
pub(crate) fn rewrite(bundle: &Path, change: impl FnOnce(&mut Card)) {
    let mut card: Card = read_json(&bundle.join(Bundle::CARD), "card").unwrap();
    change(&mut card);
    evidence::write(bundle, &card).unwrap();
}

/// Changes the card of a bundle alone.
pub(crate) fn tamper(bundle: &Path, change: impl FnOnce(&mut Card)) {
    let path = bundle.join(Bundle::CARD);
    let mut card: Card = read_json(&path, "card").unwrap();
    change(&mut card);
    atomic::write_json(&path, &card).unwrap();
}

/// The names in a folder, sorted.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// The program, to be run in `folder` with none of the caller's settings, able to find the library
/// of the workspace.
pub(crate) fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rift-exporter"));
    command.current_dir(folder);
    for (name, _) in std::env::vars_os() {
        let settings = name.to_string_lossy().starts_with("RIFT_");
        if settings && name != "RIFT_ONNXRUNTIME" {
            command.env_remove(&name);
        }
    }
    command.env_remove("ORT_DISABLE_TELEMETRY");
    command
}

/// What a process came to.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Finished {
    /// Runs a command to its end.
    pub(crate) fn of(command: &mut Command) -> Self {
        let Output { status, stdout, stderr } = command.output().unwrap();
        let [stdout, stderr] =
            [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Self { code: status.code().unwrap(), stdout, stderr }
    }

    /// Expects an error of this exit code in one line that holds every one of `parts`.
    pub(crate) fn fails(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        let lines: Vec<&str> = self.stderr.lines().collect();
        let [line] = lines[..] else { panic!("expected one line: {self:?}") };
        assert!(line.starts_with("error: "), "{line}");
        for part in parts {
            assert!(line.contains(part), "`{part}` is not in `{line}`");
        }
    }
}
