//! The stages, each with the checks that hold on any images.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use rift_models::artifact::{
    AuditReport, Bundle, Checkpoint, Digest, MrcReport, SweepReport, read_json, sweep,
};
use rift_tests::Program;
use rift_tests::program::finish;

/// A pipeline on some images.
pub(crate) struct Pipeline<'a> {
    /// The data set.
    pub(crate) data: &'a Path,
    /// Flags of `train` that name the network.
    pub(crate) arch: &'a [&'a str],
    /// Images of a split that are used.
    pub(crate) limit: &'a str,
    /// Where everything goes.
    pub(crate) folder: &'a Path,
}

const THREAT: [&str; 6] = ["--eps", "8/255", "--step", "4/255", "--steps", "2"];

fn digest(path: &Path) -> Digest {
    Digest::of_file(path).unwrap()
}

impl Pipeline<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A command on the images.
    fn on_images(&self, program: Program, command: &str) -> Command {
        let mut command = program.command([command, "--limit", self.limit, "--data"]);
        command.arg(self.data);
        command
    }

    /// All stages, the result of the audit.
    pub(crate) fn run(&self) -> AuditReport {
        let at = self.train();
        let mrc = self.criticality(&at);
        let finetuned = self.finetune(&at, &mrc);
        let rift = self.interpolate(&at, &finetuned);
        let bundle = self.export(&rift);
        self.audit(&bundle)
    }

    pub(crate) fn train(&self) -> PathBuf {
        let run = self.path("train");
        let mut command = self.on_images(Program::Trainer, "train");
        command.args(["--method", "at", "--epochs", "1"]).args(self.arch).args(THREAT);
        let _ = finish(command.arg("--out").arg(&run)).success();
        let metrics = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
        assert_eq!(metrics.lines().count(), 1, "{metrics}");
        let _: serde_json::Value = serde_json::from_str(metrics.trim()).unwrap();
        run.join("at.safetensors")
    }

    pub(crate) fn criticality(&self, at: &Path) -> PathBuf {
        let out = self.path("mrc.json");
        let mut command = self.on_images(Program::Trainer, "mrc");
        command.args(["--steps", "2"]);
        let _ = finish(command.arg("--checkpoint").arg(at).arg("--out").arg(&out)).success();
        let report: MrcReport = read_json(&out, "report").unwrap();
        let (_, graph, _) = Checkpoint::read(at).unwrap();
        let modules: BTreeSet<&str> = report.rows.iter().map(|row| row.module.as_str()).collect();
        assert_eq!(modules, graph.modules().collect::<BTreeSet<_>>());
        assert!(report.rows.is_sorted_by(|a, b| a.mrc <= b.mrc));
        assert!(report.rows.iter().all(|row| row.mrc >= 0.0 && row.mrc.is_finite()));
        assert_eq!(report.lineage.parents["checkpoint"], digest(at));
        out
    }

    pub(crate) fn finetune(&self, at: &Path, mrc: &Path) -> PathBuf {
        let out = self.path("finetuned.safetensors");
        let mut command = self.on_images(Program::Trainer, "finetune");
        command.arg("--checkpoint").arg(at).arg("--mrc").arg(mrc).args(["--epochs", "1"]);
        let _ = finish(command.arg("--out").arg(&out)).success();
        let report: MrcReport = read_json(mrc, "report").unwrap();
        let chosen = format!("{}.weight", report.least_critical().unwrap().module);
        let [before, after] = [at, &out].map(|path| Checkpoint::read(path).unwrap().0);
        for (name, tensor) in &before.tensors {
            let running = name.ends_with("running_mean") || name.ends_with("running_var");
            let changed = *tensor != after.tensors[name];
            if *name == chosen {
                assert!(changed, "`{name}` was to be trained");
            } else if !running && !name.starts_with(chosen.trim_end_matches("weight")) {
                assert!(!changed, "`{name}` was to stay");
            }
        }
        out
    }

    pub(crate) fn interpolate(&self, at: &Path, finetuned: &Path) -> PathBuf {
        let out = self.path("sweep");
        let mut command = self.on_images(Program::Trainer, "interpolate");
        command.args(["--steps", "2", "--alphas", "0,0.5,1"]);
        command.arg("--from").arg(at).arg("--to").arg(finetuned);
        let _ = finish(command.arg("--out").arg(&out)).success();
        let rift = out.join("rift.safetensors");
        let report: SweepReport = read_json(&out.join("sweep.json"), "sweep").unwrap();
        assert_eq!(report.split, "validation");
        assert_eq!(report.points[0].alpha, 0.0);
        assert!(report.points.is_sorted_by(|a, b| a.alpha < b.alpha));
        let chosen = sweep::choose(&report.points, report.tolerance).unwrap();
        assert_eq!(report.chosen, chosen.alpha);
        let [a, b, mix] = [at, finetuned, &rift].map(|path| Checkpoint::read(path).unwrap().0);
        for (name, tensor) in &mix.tensors {
            for ((mixed, a), b) in tensor.iter().zip(&a.tensors[name]).zip(&b.tensors[name]) {
                let expected =
                    (1.0 - report.chosen) * f64::from(*a) + report.chosen * f64::from(*b);
                let error = (f64::from(*mixed) - expected).abs();
                assert!(error <= 1e-6 * expected.abs().max(1.0), "`{name}`: {mixed}, {expected}");
            }
        }
        rift
    }

    pub(crate) fn export(&self, rift: &Path) -> PathBuf {
        let bundle = self.path("bundle");
        let mut command = Program::Exporter.command(["export", "--checkpoint"]);
        let _ = finish(command.arg(rift).arg("--out").arg(&bundle)).success();
        let card = Bundle::open(&bundle).unwrap().card;
        assert_eq!(card.checkpoint, digest(rift));
        assert!(card.parity.max_abs_difference <= 1e-4, "{:?}", card.parity);
        let verified = finish(Program::Exporter.command(["verify"]).arg(&bundle)).success();
        assert!(!verified.stdout.is_empty());
        bundle
    }

    pub(crate) fn audit(&self, bundle: &Path) -> AuditReport {
        let json = self.path("audit.json");
        let mut command = self.on_images(Program::Runtime, "audit");
        command.arg(bundle).args(["--split", "test"]).args(THREAT).arg("--json").arg(&json);
        let _ = finish(&mut command).success();
        let report: AuditReport = read_json(&json, "audit").unwrap();
        assert_eq!(report.model.digest, digest(&bundle.join("model.onnx")));
        assert_eq!(report.samples.len(), report.n);
        assert!(report.robust_accuracy <= report.clean_accuracy);
        for (index, sample) in report.samples.iter().enumerate() {
            let robust = sample.adversarial_prediction == sample.label;
            assert_eq!(sample.index, index);
            assert_eq!(robust, sample.broken_by.is_none(), "{sample:?}");
            assert!(sample.distance <= report.threat.eps.value() + 1e-6, "{sample:?}");
        }
        report
    }
}
