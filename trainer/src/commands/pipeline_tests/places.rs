//! What a command reads stays as it is, and what it cannot write it says before it works.

use super::refusals::archive;
use super::*;

/// A command that is refused, with the files of the folder as they were.
fn refused(folder: &Path, arguments: &[&str], paths: &[(&str, &Path)], expected: &str) {
    let files = || -> Vec<(PathBuf, Option<Digest>)> {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> =
            entries.map(|path| (path.clone(), Digest::of_file(&path).ok())).collect();
        files.sort();
        files
    };
    let before = files();
    let error = run(arguments, paths).unwrap_err();
    assert!(error.contains(expected), "{arguments:?} {paths:?}: {error}");
    assert!(!error.contains('\n'), "{error}");
    assert_eq!(files(), before, "{arguments:?} {paths:?}");
}

#[test]
fn inputs_are_not_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let at = checkpoint(folder);
    let [rift, json, data] = ["rift.safetensors", "rift.json", "d.npz"].map(|n| folder.join(n));
    std::fs::copy(&at, &rift).unwrap();
    archive(&data, Split::Test, 0..20);
    let from = ("--checkpoint", at.as_path());
    let with =
        |command: &'static str, more: &[&'static str]| [&[command, "--data", DATA], more].concat();
    let refused = |arguments: &[&str], paths: &[(&str, &Path)], expected: &str| {
        refused(folder, arguments, paths, expected);
    };
    let finetune = with("finetune", &["--scope", "last"]);
    refused(&finetune, &[from, ("--out", &at)], "which `--checkpoint` names");
    let beside = folder.join("f");
    let copy = [from, ("--out", beside.as_path()), ("--json", &beside)];
    refused(&finetune, &copy, "`--out` and `--json` would both write");
    for flag in ["--out", "--json"] {
        refused(&with("mrc", &[]), &[from, (flag, &at)], "`--out` would overwrite");
    }
    for flag in ["--json", "--probe", "--save-adversarial"] {
        let expected = format!("`{flag}` would overwrite");
        refused(&with("eval", &[]), &[from, (flag, &at)], &expected);
    }
    let own = [from, ("--data", data.as_path()), ("--save-adversarial", &data)];
    refused(&["eval"], &own, "which `--data` names");
    let ends = [("--from", rift.as_path()), ("--to", &at), ("--out", folder)];
    refused(&with("interpolate", &[]), &ends, "which `--from` names");
    for flags in [&[][..], &["--seeds", "1"]] {
        let run = folder.join("seed-1");
        let (start, page) = match flags {
            [] => (rift.clone(), folder.join("rift.html")),
            _ => (run.join("finetuned.safetensors"), run.join("rift.html")),
        };
        let paths = [("--checkpoint", start.as_path()), ("--out", folder)];
        refused(&with("rift", flags), &paths, "which `--checkpoint` names");
        let paths = [from, ("--out", folder), ("--json", &page)];
        refused(&with("rift", flags), &paths, "would both write");
    }
    let row = folder.join("rows/last/rift.safetensors");
    let paths = [("--checkpoint", row.as_path()), ("--out", folder)];
    refused(&with("ablate", &[]), &paths, "which `--checkpoint` names");
    let train = ["train", "--data", DATA, "--arch", "resnet8", "--epochs", "1"];
    let run = [("--out", folder), ("--json", at.as_path())];
    refused(&train, &run, "`--out` and `--json` would both write");
    // A folder may hold its own inputs, where nothing of it is written over.
    assert!(!json.exists());
    let flags = [&["rift"][..], &SHORT, &["--epochs", "1", "--module", "linear"]].concat();
    run_in_own_folder(&flags, &at, folder);
    assert!(json.exists());
}

fn run_in_own_folder(flags: &[&str], at: &Path, folder: &Path) {
    let before = digest(at);
    run(flags, &[("--checkpoint", at), ("--out", folder)]).unwrap();
    assert_eq!(digest(at), before);
}

#[test]
fn weights_are_not_imported_over_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let weights = folder.path().join("w.pth");
    std::fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/src/import/goldens/wrapped.pth"), &weights)
        .unwrap();
    let before = digest(&weights);
    let file = weights.to_str().unwrap();
    let words = ["rift-trainer", "import", file, "--arch", "resnet8", "--out", file];
    let error = Cli::try_parse_from(words).unwrap().command.run().unwrap_err().to_string();
    assert!(error.contains("would overwrite") && error.contains("`FILE` names"), "{error}");
    assert_eq!(digest(&weights), before);
}

#[test]
fn what_cannot_be_written_is_refused_before_the_work() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let at = checkpoint(folder);
    let [out, sub, below] = ["out", "sub", "at.safetensors/x.json"].map(|name| folder.join(name));
    std::fs::create_dir(&sub).unwrap();
    let from = ("--checkpoint", at.as_path());
    // Ten thousand images and epochs are more than these tests would wait for.
    let data = "synthetic:4x1x12x12,train=9999,test=9999";
    let with =
        |command: &'static str, more: &[&'static str]| [&[command, "--data", data], more].concat();
    let finetune = with("finetune", &["--scope", "last", "--epochs", "9999"]);
    let mrc = with("mrc", &["--ascent-steps", "9999"]);
    let eval = with("eval", &["--steps", "9999"]);
    let rift = with("rift", &["--epochs", "9999"]);
    let ablate = with("ablate", &["--epochs", "9999"]);
    let train = with("train", &["--arch", "resnet8", "--epochs", "9999"]);
    for (arguments, paths) in [
        (&finetune, vec![from, ("--out", sub.as_path())]),
        (&finetune, vec![from, ("--out", &below)]),
        (&finetune, vec![from, ("--out", &out), ("--json", &below)]),
        (&mrc, vec![from, ("--out", &sub)]),
        (&eval, vec![from, ("--json", &sub)]),
        (&eval, vec![from, ("--probe", &below)]),
        (&eval, vec![from, ("--save-adversarial", &sub)]),
        (&rift, vec![from, ("--out", &at)]),
        (&rift, vec![from, ("--out", &out), ("--json", &below)]),
        (&ablate, vec![from, ("--out", &below)]),
        (&train, vec![("--out", &at)]),
        (&train, vec![("--out", &out), ("--json", &sub)]),
    ] {
        refused(folder, arguments, &paths, "`");
    }
}
