//! The trainer's PGD and the runtime's, from the same specification and noise on the same weights.

use std::fs::File;
use std::path::Path;

use ndarray::{Array1, Array4};
use ndarray_npy::NpzReader;
use rift_models::artifact::{Accuracy, AuditReport, read_json};
use rift_models::dataset::{Dataset, Request, Split};
use rift_models::threat::Norm;
use rift_tests::Program;
use rift_tests::images::TINY;
use rift_tests::program::finish;
use rift_tests::small::Trained;

const TOLERANCE: f32 = 1e-6;

/// Adversarial images as `--save-adversarial` writes them.
struct Adversarial {
    x: Array4<f32>,
    y: Vec<i64>,
}

impl Adversarial {
    fn read(path: &Path) -> Self {
        let mut npz = NpzReader::new(File::open(path).unwrap()).unwrap();
        let x: Array4<f32> = npz.by_name("x").unwrap();
        let y: Array1<i64> = npz.by_name("y").unwrap();
        let index: Array1<i64> = npz.by_name("index").unwrap();
        assert_eq!(index.to_vec(), (0..x.shape()[0] as i64).collect::<Vec<_>>());
        Self { x, y: y.to_vec() }
    }

    fn is_inside(&self, data: &Dataset, norm: Norm, eps: f32) {
        let originals = data.batch(0..data.len());
        assert_eq!(self.x.shape(), originals.shape());
        assert!(self.y.iter().zip(&data.labels).all(|(y, label)| *y == *label as i64));
        assert!(self.x.iter().all(|v| (-TOLERANCE..=1.0 + TOLERANCE).contains(v)));
        let mut farthest = 0.0f32;
        for (x, original) in self.x.outer_iter().zip(originals.outer_iter()) {
            farthest = farthest.max(norm.of(x.iter().zip(&original).map(|(x, o)| x - o)));
        }
        assert!(farthest <= eps + TOLERANCE, "{norm}: {farthest} from the original");
        assert!(farthest > 0.9 * eps, "{norm}: the attack went no farther than {farthest}");
    }
}

fn agree(norm: Norm, flags: [&str; 6], eps: f32) {
    let folder = tempfile::tempdir().unwrap();
    let trained = Trained::new(folder.path());
    let [eval, audit, theirs, ours] =
        ["eval.json", "audit.json", "eval.npz", "audit.npz"].map(|name| folder.path().join(name));
    let shared = ["--data", TINY, "--attack", "pgd", "--steps", "10", "--seed", "3"];

    let mut command = Program::Trainer.command(["eval", "--split", "test"]);
    command.args(shared).args(flags).arg("--checkpoint").arg(&trained.checkpoint);
    command.arg("--json").arg(&eval).arg("--save-adversarial").arg(&theirs);
    let _ = finish(&mut command).success();

    let mut command = Program::Runtime.command(["audit"]);
    command.arg(&trained.bundle).args(shared).args(flags);
    command.arg("--json").arg(&audit).arg("--save-adversarial").arg(&ours);
    let _ = finish(&mut command).success();

    let eval: serde_json::Value = read_json(&eval, "evaluation").unwrap();
    let accuracy = |part: &str| -> Accuracy { serde_json::from_value(eval[part].clone()).unwrap() };
    let audit: AuditReport = read_json(&audit, "audit").unwrap();
    let (clean, robust) = (accuracy("clean"), accuracy("robust"));
    println!("{norm}: trainer {robust}, runtime {}", audit.robust_accuracy);
    assert_eq!((audit.n, clean.n, robust.n), (1000, 1000, 1000));
    assert!((audit.clean_accuracy - clean.fraction).abs() <= 0.002);
    assert!((audit.robust_accuracy - robust.fraction).abs() <= 0.002);
    // Neither attack did nothing.
    assert!(robust.fraction < clean.fraction && clean.fraction > 0.5);

    let data = Dataset::open(Path::new(TINY), &Request::new(Split::Test)).unwrap();
    Adversarial::read(&theirs).is_inside(&data, norm, eps);
    Adversarial::read(&ours).is_inside(&data, norm, eps);
}

#[test]
fn trainer_and_runtime_agree_within_linf() {
    let flags = ["--norm", "linf", "--eps", "16/255", "--step", "4/255"];
    agree(Norm::Linf, flags, 16.0 / 255.0);
}

#[test]
fn trainer_and_runtime_agree_within_l2() {
    agree(Norm::L2, ["--norm", "l2", "--eps", "0.5", "--step", "0.125"], 0.5);
}
