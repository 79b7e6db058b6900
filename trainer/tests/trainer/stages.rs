//! The stages after training, as a user sees them.

use crate::program::{run, succeed};

const DATA: &str = "synthetic:4x3x16x16,train=60,test=20";

#[test]
fn a_report_of_another_checkpoint_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    for seed in ["1", "2"] {
        let settings = "--arch resnet8 --width 2 --preset quick --epochs 1 --steps 1 \
                        --validation-limit 10 --validation-steps 1 --batch-size 20";
        let out = path(seed);
        let mut arguments = vec!["train", "--data", DATA, "--seed", seed, "--out", &out];
        arguments.extend(settings.split_whitespace());
        succeed(&arguments);
    }
    let [first, second] = ["1/at.safetensors", "2/at.safetensors"].map(path);
    let (mrc, out) = (path("mrc.json"), path("finetuned.safetensors"));
    let quick = ["--data", DATA, "--steps", "1", "--ascent-steps", "1", "--quiet"];
    succeed(&[&["mrc", "--checkpoint", &first, "--out", &mrc], &quick[..]].concat());
    for (checkpoint, warned) in [(&first, false), (&second, true)] {
        let quick = ["--data", DATA, "--epochs", "1", "--quiet"];
        let stage = ["finetune", "--checkpoint", checkpoint, "--mrc", &mrc, "--out", &out];
        let output = run(&[&stage[..], &quick].concat());
        assert!(output.status.success());
        let said = String::from_utf8(output.stderr).unwrap();
        let expected = "report of `mrc` was made of another checkpoint than `--checkpoint`";
        assert_eq!(said.contains(expected), warned, "{said}");
    }
}
