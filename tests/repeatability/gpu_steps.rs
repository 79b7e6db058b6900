//! The steps of `gpu/gpu-run.sh` on a processor: stopped, gone on with, and moved to another
//! machine. What only happens on a GPU, and the comparison with PyTorch, is not in here.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use rift_models::artifact::Checkpoint;
use rift_tests::program::{Finished, Program, finish};

const DATA: &str = "synthetic:4x3x8x8,train=120,test=20";

/// What `make gpu` packs, with this build's program, and a Python that has libtorch and no PyTorch.
fn pack(folder: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    fs::create_dir_all(folder.join("bin")).unwrap();
    symlink(Program::Trainer.path(), folder.join("bin/rift-trainer")).unwrap();
    for script in ["gpu-run.sh", "join.sh"] {
        fs::copy(root.join("gpu").join(script), folder.join(script)).unwrap();
    }
    let torch = std::env::var("LIBTORCH").unwrap_or_default();
    let python = folder.join("python");
    let answer = format!("case $2 in *path*) echo '{torch}' ;; *) echo 2.11.0+test ;; esac");
    fs::write(&python, format!("#!/bin/sh\n{answer}\n")).unwrap();
    fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).unwrap();
}

fn run(folder: &Path, step: &str, seconds: &str, arguments: &str) -> Finished {
    let mut command = Command::new(folder.join("gpu-run.sh"));
    command.args([step, seconds]);
    for (name, value) in [
        ("RIFT_GPU_DEVICE", "cpu"),
        ("RIFT_GPU_ARCH", "resnet8"),
        ("RIFT_GPU_DATA", DATA),
        ("RIFT_GPU_ARGUMENTS", arguments),
        ("RIFT_GPU_PYTHON", "./python"),
        // Every file in parts.
        ("RIFT_GPU_PART", "20000"),
        ("RIFT_THREADS", "1"),
    ] {
        command.env(name, value);
    }
    finish(&mut command)
}

#[test]
fn the_steps_for_a_gpu_are_restartable_and_their_results_small() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
    pack(&first);
    let _ = run(&first, "check", "100", "--width 4 --batch-size 8").success();
    assert!(first.join("results/check-bf16.json").exists());
    let early = run(&first, "rift", "100", "");
    assert_eq!(early.code, Some(2), "{early:?}");
    // A second is hardly enough to start; whatever there is after it is gone on from.
    let settings = "--width 4 --batch-size 30 --steps 2 --epochs 12 --validation-limit 20";
    let stopped = run(&first, "train", "1", settings);
    assert!(matches!(stopped.code, Some(0 | 3)), "{stopped:?}");
    assert_eq!(first.join("results/train/done").exists(), stopped.code == Some(0));

    // Another machine, with nothing but the results.
    pack(&second);
    let moved = Command::new("cp").arg("-r").arg(first.join("results")).arg(&second).status();
    assert!(moved.unwrap().success());
    let _ = run(&second, "train", "300", settings).success();
    let metrics = fs::read_to_string(second.join("results/train/metrics.jsonl")).unwrap();
    assert_eq!(metrics.lines().count(), 12);
    let _ = run(&second, "train", "300", "--no-such-flag").success();
    let _ = run(&second, "rift", "300", "--epochs 1 --alphas 0,1 --ascent-steps 1").success();
    let _ = run(&second, "evaluate", "300", "--limit 10").success();
    for report in ["rift/rift.json", "evaluate/at-pgd100.json", "evaluate/rift-pgd20.json"] {
        assert!(second.join("results").join(report).exists(), "{report}");
    }
    assert!(second.join("results/train/at.safetensors.part-001").exists(), "in parts");

    let joined = finish(Command::new(second.join("join.sh")).arg(second.join("results")));
    let _ = joined.success();
    Checkpoint::read(&second.join("results/train/at.safetensors")).unwrap();
    let part = second.join("results/train/at.safetensors.part-000");
    fs::write(&part, b"other").unwrap();
    let broken = finish(Command::new(second.join("join.sh")).arg(second.join("results")));
    assert_eq!(broken.code, Some(2), "{broken:?}");
}
