//! The stages through the command line, on images made up on the spot.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Parser;
use ndarray::{Axis, s};
use rift_models::arch::{ArchSpec, init};
use rift_models::artifact::{
    Checkpoint, CheckpointMeta, CorruptionReport, Digest, Lineage, MrcReport, Probe, SweepReport,
    read_json,
};
use rift_models::dataset::{Dataset, Request, Split};
use rift_models::threat::AttackSpec;
use tch::Device;

use crate::cli::Cli;
use crate::data::ImageSet;
use crate::network::{Mode, Network, device, to_array, to_tensor};
use crate::optim::SgdSettings;
use crate::record::Progress;
use crate::stage::ablate::{self, AblateReport};
use crate::stage::finetune::{BatchNormPolicy, FinetuneSettings, Scope, finetune};
use crate::stage::rift::{RiftReport, SeedsReport};

mod again;
mod classes;
mod diverged;
mod places;
mod refusals;

const DATA: &str = "synthetic:4x1x12x12,train=240,test=60";

/// Runs a command; in an error, all causes in one line.
fn run(arguments: &[&str], paths: &[(&str, &Path)]) -> Result<(), String> {
    let flags = paths.iter().flat_map(|(flag, path)| [OsString::from(flag), path.into()]);
    let words = ["rift-trainer"].iter().chain(arguments).map(OsString::from).chain(flags);
    let words = words.chain(["--quiet", "--threads", "1"].map(OsString::from));
    let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
    cli.command.run().map(|_| ()).map_err(|error| format!("{error:#}"))
}

/// A checkpoint that can tell the images apart, somewhat.
fn checkpoint(folder: &Path) -> PathBuf {
    device::set_threads(Some(1));
    let path = folder.join("at.safetensors");
    let arch = ArchSpec { width: Some(4), ..ArchSpec::new("resnet8", [1, 12, 12], 4) };
    let graph = arch.build().unwrap();
    let network = Network::initialise(graph, 0, Device::Cpu).unwrap();
    let sets = [Split::Train, Split::Validation].map(|split| {
        let dataset = Dataset::open(Path::new(DATA), &Request::new(split)).unwrap();
        ImageSet::new(&dataset, Device::Cpu).unwrap()
    });
    let paper = FinetuneSettings::paper(Scope::All, arch.input);
    let sgd = SgdSettings { weight_decay: 0.0, ..paper.sgd };
    let settings = FinetuneSettings { lr: 0.1, epochs: 4, batch: 20, sgd, ..paper };
    let trained = finetune(&network, [&sets[0], &sets[1]], &settings, &Progress::hidden()).unwrap();
    let classes = (0..4).map(|class| class.to_string()).collect();
    let threat = AttackSpec { eps: "4/255".parse().unwrap(), ..AttackSpec::paper() };
    let lineage = Lineage { made_by: "test".to_owned(), ..Lineage::default() };
    let meta = CheckpointMeta::new(arch, classes, Some(threat), lineage);
    Checkpoint { meta, tensors: trained.state }.write(&path).unwrap();
    path
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

fn digest(path: &Path) -> Digest {
    Digest::of_file(path).unwrap()
}

const QUICK: [&str; 2] = ["--steps", "3"];

fn separately(at: &Path, out: &Path) {
    let [mrc, tuned] = ["mrc.json", "finetuned.safetensors"].map(|name| out.join(name));
    let arguments = [&["mrc", "--data", DATA, "--ascent-steps", "3", "--limit", "60"], &QUICK[..]];
    run(&arguments.concat(), &[("--checkpoint", at), ("--out", &mrc)]).unwrap();
    let arguments = ["finetune", "--data", DATA, "--epochs", "2", "--batch-size", "20"];
    let paths = [("--checkpoint", at), ("--mrc", &mrc), ("--out", &tuned)];
    run(&arguments, &paths).unwrap();
    let arguments = [&["interpolate", "--data", DATA, "--alphas", "0,0.5..1"], &QUICK[..]].concat();
    run(&arguments, &[("--from", at), ("--to", &tuned), ("--out", out)]).unwrap();
}

fn together(at: &Path, out: &Path) {
    let arguments = [
        &["rift", "--data", DATA, "--ascent-steps", "3", "--mrc-limit", "60", "--epochs", "2"],
        &["--batch-size", "20", "--alphas", "0,0.5..1"][..],
        &QUICK[..],
    ];
    let json = out.join("copy.json");
    let paths = [("--checkpoint", at), ("--out", out), ("--json", &json)];
    run(&arguments.concat(), &paths).unwrap();
    assert_eq!(digest(&json), digest(&out.join("rift.json")));
}

#[test]
fn rift_is_its_three_stages_and_a_report() {
    let folder = tempfile::tempdir().unwrap();
    let at = checkpoint(folder.path());
    let [alone, all] = ["alone", "all"].map(|name| folder.path().join(name));
    separately(&at, &alone);
    together(&at, &all);
    for name in ["finetuned.safetensors", "rift.safetensors"] {
        let read = |out: &Path| Checkpoint::read(&out.join(name)).unwrap().0.tensors;
        assert_eq!(read(&alone), read(&all), "{name}");
    }
    let [mrc, again]: [MrcReport; 2] =
        [&alone, &all].map(|out| read_json(&out.join("mrc.json"), "report").unwrap());
    assert_eq!(mrc.rows, again.rows);
    assert!(mrc.rows.is_sorted_by(|a, b| a.mrc <= b.mrc));
    assert_eq!((mrc.n, mrc.split.as_str(), mrc.rows.len()), (60, "train", 10));
    assert_eq!(
        (mrc.threat.label().as_str(), mrc.threat.step.to_string().as_str()),
        ("pgd-3 linf 4/255", "1/255")
    );
    let report: RiftReport = read_json(&all.join("rift.json"), "report").unwrap();
    assert_eq!(report.module, mrc.rows[0]);
    assert_eq!((report.split.as_str(), report.n), ("test", 60));
    assert!(report.result.before.clean.fraction > 0.3, "{:?}", report.result.before);
    let change = report.result.after.clean.correct + report.result.clean_test.lost;
    assert_eq!(change, report.result.before.clean.correct + report.result.clean_test.gained);
    lineage(&at, &all, &report);
}

/// Flags that make a run of `rift` or `ablate` short.
const SHORT: [&str; 12] = [
    "--data",
    DATA,
    "--ascent-steps",
    "1",
    "--mrc-limit",
    "30",
    "--alphas",
    "0,1",
    "--steps",
    "1",
    "--batch-size",
    "20",
];

#[test]
fn several_ways_are_tried_and_the_best_one_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let at = checkpoint(folder.path());
    let out = folder.path().join("out");
    let arguments = [&["rift"][..], &SHORT, &["--search", "0.0001x1,0.01x2", "--test-steps", "2"]];
    let arguments = [&arguments.concat(), &["--top", "2"][..]].concat();
    run(&arguments, &[("--checkpoint", &at), ("--out", &out)]).unwrap();
    let report: RiftReport = read_json(&out.join("rift.json"), "report").unwrap();
    let tried: Vec<(f64, usize)> = report.candidates.iter().map(|c| (c.lr, c.epochs)).collect();
    assert_eq!(tried, [(0.0001, 1), (0.01, 2)]);
    let kept: Vec<_> = report.candidates.iter().filter(|c| c.chosen).collect();
    assert_eq!((kept.len(), kept[0].alpha), (1, report.alpha));
    assert!(report.candidates.iter().all(|c| c.clean.correct <= kept[0].clean.correct));
    let name = format!("lr-{}-epochs-{}", kept[0].lr, kept[0].epochs);
    let folder = out.join("candidates").join(name);
    let read = |path: &Path| std::fs::read(path).unwrap();
    for name in ["finetuned.safetensors", "sweep.json"] {
        assert_eq!(read(&out.join(name)), read(&folder.join(name)), "{name}");
    }
    assert_eq!(report.threat.label(), "pgd-2 linf 4/255");
    assert_eq!((report.tuned.len(), report.modules.len()), (2, 10));
    let page = std::fs::read_to_string(out.join("rift.html")).unwrap();
    for part in ["<h1>RiFT of", "tried", "layer2.0.shortcut.0", "change of accuracy over alpha"] {
        assert!(page.contains(part), "{part}");
    }
    for outside in ["<script", "src=", "@import", "NaN"] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn seeds_are_done_once_each_and_summed_up() {
    let folder = tempfile::tempdir().unwrap();
    let at = checkpoint(folder.path());
    let out = folder.path().join("out");
    let paths = [("--checkpoint", at.as_path()), ("--out", &out)];
    let arguments = [&["rift"][..], &SHORT, &["--epochs", "1", "--seeds"]].concat();
    run(&[&arguments, &["3"][..]].concat(), &paths).unwrap();
    let first = out.join("seed-3").join("rift.safetensors");
    let written = std::fs::metadata(&first).unwrap().modified().unwrap();
    run(&[&arguments, &["3,4"][..]].concat(), &paths).unwrap();
    assert_eq!(std::fs::metadata(&first).unwrap().modified().unwrap(), written, "done again");
    let report: SeedsReport = read_json(&out.join("seeds.json"), "report").unwrap();
    assert_eq!((&report.seeds, report.runs.len()), (&vec![3, 4], 2));
    let changes = report.runs.iter().map(|run| run.result.points()[0]);
    assert!((changes.sum::<f64>() / 2.0 - report.clean_change.mean).abs() < 1e-9);
    assert_ne!(digest(&first), digest(&out.join("seed-4").join("rift.safetensors")));
    let page = std::fs::read_to_string(out.join("rift.html")).unwrap();
    assert!(page.contains("seeds 3, 4"));
    for run in &report.runs {
        let before = &run.result.before;
        for accuracy in [&before.clean, &before.robust] {
            let [low, high] = [accuracy.interval.lower, accuracy.interval.upper].map(|b| b * 100.0);
            let cell = format!("{:.2} %<small>{low:.2} to {high:.2}</small>", accuracy.percent());
            assert!(page.contains(&cell), "{cell}");
        }
    }
    let error = run(&[&arguments, &["3", "--tolerance", "0.2"][..]].concat(), &paths).unwrap_err();
    assert!(error.contains("other settings"), "{error}");
    let error = run(&[&arguments, &["3,4,3"][..]].concat(), &paths).unwrap_err();
    assert!(error.contains("expected different seeds in `--seeds`, found 3 more"), "{error}");
}

#[test]
fn the_figures_under_corruptions_are_those_of_eval() {
    let folder = tempfile::tempdir().unwrap();
    let at = checkpoint(folder.path());
    let out = folder.path().join("out");
    let corruptions = ["--corruptions", "fog,contrast", "--severity", "2,5"];
    let long = ["--epochs", "2", "--lr", "0.05", "--tolerance", "1", "--seeds", "3,4"];
    let arguments =
        [&["rift"][..], &SHORT, &long, &corruptions, &["--corruption-limit", "30"]].concat();
    run(&arguments, &[("--checkpoint", &at), ("--out", &out)]).unwrap();
    let report: SeedsReport = read_json(&out.join("seeds.json"), "report").unwrap();
    let eval = |checkpoint: &Path| -> CorruptionReport {
        let json = folder.path().join("eval.json");
        let arguments = ["eval", "--data", DATA, "--limit", "30", "--attack", "none"];
        let arguments = [&arguments[..], &corruptions].concat();
        run(&arguments, &[("--checkpoint", checkpoint), ("--json", &json)]).unwrap();
        let report: serde_json::Value = read_json(&json, "evaluation").unwrap();
        serde_json::from_value(report["corruptions"].clone()).unwrap()
    };
    let start = eval(&at);
    let mut changes = Vec::new();
    for run in &report.runs {
        let found = run.result.corruptions.as_ref().unwrap();
        assert_eq!((found.before.n, found.before.rows.len()), (30, 4));
        assert_eq!(found.before, start);
        let folder = out.join(format!("seed-{}", run.seed));
        assert_eq!(found.after, eval(&folder.join("rift.safetensors")));
        let page = std::fs::read_to_string(folder.join("rift.html")).unwrap();
        assert!(page.contains("2 corruptions at severity 2, 5<small>chosen, 30 images"), "{page}");
        changes.push(run.result.corrupted_points().unwrap());
    }
    let mean = report.corrupted_change.unwrap().mean;
    assert!((changes.iter().sum::<f64>() / 2.0 - mean).abs() < 1e-9);
}

#[test]
fn ablate_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let at = checkpoint(folder.path());
    let out = folder.path().join("out");
    let paths = [("--checkpoint", at.as_path()), ("--out", &out)];
    let corruptions = ["--corruptions", "contrast", "--severity", "5", "--corruption-limit", "20"];
    let ablate = [&["ablate"][..], &SHORT, &["--epochs", "1"], &corruptions].concat();
    run(&[&ablate, &["--rows", "last,statistics"][..]].concat(), &paths).unwrap();
    let row = out.join("rows").join("last").join("row.json");
    let written = std::fs::metadata(&row).unwrap().modified().unwrap();
    run(&ablate, &paths).unwrap();
    assert_eq!(std::fs::metadata(&row).unwrap().modified().unwrap(), written, "done again");
    let report: AblateReport = read_json(&out.join("ablate.json"), "report").unwrap();
    let rows: Vec<&str> = report.rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(rows, ablate::NAMES);
    let row = |name: &str| report.rows.iter().find(|row| row.name == name).unwrap();
    assert_eq!(row("last").modules, ["linear"]);
    assert_eq!(row("all").modules.len(), 10);
    assert_eq!(row("least-3").modules.len(), 3);
    assert!(row("statistics").modules.is_empty());
    assert_eq!(row("least-1-frozen").batch_norm, BatchNormPolicy::Frozen);
    let start = report.rows[0].chosen.before;
    for row in &report.rows {
        assert_eq!((row.chosen.before, row.tuned.before), (start, start), "{}", row.name);
        let folder = out.join("rows").join(&row.name);
        assert!(names(&folder).contains("rift.safetensors"), "{}", row.name);
        if row.alpha == 0.0 {
            assert_eq!(row.chosen.after, start);
        }
        for found in [&row.chosen, &row.tuned] {
            let found = found.corruptions.as_ref().unwrap();
            assert_eq!((found.before.n, found.before.rows.len()), (20, 1), "{}", row.name);
        }
    }
    let error = run(&[&ablate, &["--batch-norm", "frozen"][..]].concat(), &paths).unwrap_err();
    assert!(error.contains("other settings"), "{error}");
    // Criticality that is measured in other numbers is not taken for this one's.
    let error = run(&[&ablate, &["--precision", "bf16"][..]].concat(), &paths).unwrap_err();
    assert!(error.contains("mrc.json` was made with other settings"), "{error}");
}

/// Everything can be traced back to what it was made from.
fn lineage(at: &Path, out: &Path, report: &RiftReport) {
    let sweep: SweepReport = read_json(&out.join("sweep.json"), "sweep").unwrap();
    assert_eq!((sweep.split.as_str(), sweep.chosen), ("validation", report.alpha));
    assert_eq!(sweep.modules, [report.module.module.as_str()]);
    let tuned = out.join("finetuned.safetensors");
    let rift = out.join("rift.safetensors");
    assert_eq!(report.checkpoint, digest(&rift));
    let (checkpoint, graph, _) = Checkpoint::read(&rift).unwrap();
    let parents = &checkpoint.meta.lineage.parents;
    assert_eq!((&parents["from"], &parents["to"]), (&digest(at), &digest(&tuned)));
    let fine = &checkpoint.meta.lineage.ancestors["to"];
    assert_eq!(fine.parents["mrc"], digest(&out.join("mrc.json")));
    assert_eq!(fine.ancestors["checkpoint"].made_by, "test");
    assert_eq!(checkpoint.meta.threat.unwrap().label(), "pgd-10 linf 4/255");

    let (probe, _) = Probe::read(&out.join("probe.safetensors")).unwrap();
    assert_eq!((&probe.checkpoint, probe.images.len_of(Axis(0))), (&digest(&rift), 32));
    let request = Request::new(Split::Validation);
    let validation = Dataset::open(Path::new(DATA), &request).unwrap();
    assert_eq!(probe.images, validation.batch(0..32));
    let network = Network::from_tensors(graph, &checkpoint.tensors, Device::Cpu).unwrap();
    let some = probe.images.slice(s![3..5, .., .., ..]).to_owned().into_dyn();
    let some = to_tensor(&some, Device::Cpu).unwrap();
    let logits = tch::no_grad(|| network.forward(&some, Mode::Eval)).unwrap();
    let expected = probe.logits.slice(s![3..5, ..]).to_owned().into_dyn();
    let found = to_array(&logits).unwrap();
    assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-4), "{found} {expected}");
}

/// A folder of CIFAR-10 that has no test images at all.
fn without_test_images(folder: &Path) -> PathBuf {
    let data = folder.join("cifar");
    std::fs::create_dir(&data).unwrap();
    let records: Vec<u8> = (0..40_usize)
        .flat_map(|row| {
            let pixels = (0..3072).map(move |pixel| ((row * 7919 + pixel * 31) % 251) as u8);
            std::iter::once((row % 10) as u8).chain(pixels)
        })
        .collect();
    std::fs::write(data.join("data_batch_1.bin"), records).unwrap();
    data
}

#[test]
fn nothing_is_ever_chosen_by_test_images() {
    let folder = tempfile::tempdir().unwrap();
    let data = without_test_images(folder.path());
    let arch = ArchSpec { width: Some(2), ..ArchSpec::new("resnet8", [3, 32, 32], 10) };
    let tensors = init::initialise(&arch.build().unwrap(), 0);
    let classes = (0..10).map(|class| class.to_string()).collect();
    let meta = CheckpointMeta::new(arch, classes, None, Lineage::default());
    let [at, tuned, out] = ["at", "tuned", "out"].map(|name| folder.path().join(name));
    Checkpoint { meta, tensors }.write(&at).unwrap();
    let with = |flag, path| [("--data", data.as_path()), ("--checkpoint", &at), (flag, path)];
    let mrc = folder.path().join("mrc.json");
    let short = ["--ascent-steps", "1", "--steps", "1"];
    run(&[&["mrc"], &short[..]].concat(), &with("--out", &mrc)).unwrap();
    let arguments = ["finetune", "--module", "linear", "--epochs", "1"];
    run(&arguments, &with("--out", &tuned)).unwrap();
    let paths = [("--data", data.as_path()), ("--from", &at), ("--to", &tuned), ("--out", &out)];
    run(&["interpolate", "--alphas", "0,1", "--steps", "1"], &paths).unwrap();
    let written = ["probe.safetensors", "rift.safetensors", "sweep.json", "sweep.svg"];
    assert_eq!(names(&out), written.map(str::to_owned).into());

    // Whoever asks for the test images gets an error, before anything is done or written.
    let other = folder.path().join("other");
    let error = run(&["rift"], &with("--out", &other)).unwrap_err();
    assert!(error.contains("test_batch.bin"), "{error}");
    let error = run(&["mrc", "--split", "test"], &with("--out", &other)).unwrap_err();
    assert!(error.contains("nothing is chosen by the test images"), "{error}");
    assert!(!other.exists());
}

#[test]
fn mistakes_are_explained_and_write_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let arch = ArchSpec { width: Some(4), ..ArchSpec::new("resnet8", [1, 12, 12], 4) };
    let save = |name: &str, arch: &ArchSpec| {
        let classes = (0..arch.classes).map(|class| class.to_string()).collect();
        let tensors = init::initialise(&arch.build().unwrap(), 0);
        let meta = CheckpointMeta::new(arch.clone(), classes, None, Lineage::default());
        let path = folder.path().join(name);
        Checkpoint { meta, tensors }.write(&path).unwrap();
        path
    };
    let at = save("at", &arch);
    let five = save("five", &ArchSpec { classes: 5, ..arch });
    let out = folder.path().join("out");
    let finetune = ["finetune", "--data", DATA, "--module"];
    let mrc = ["mrc", "--data", DATA];
    let from = [("--checkpoint", at.as_path()), ("--out", &out)];
    let wrong = [("--checkpoint", five.as_path()), ("--out", &out)];
    let ends = [("--from", at.as_path()), ("--to", &five), ("--out", &out)];
    for (arguments, paths, expected) in [
        (vec![finetune.to_vec(), vec!["layer1.0.conv3"]], &from[..], "did you mean `layer1.0.conv"),
        (vec![finetune.to_vec(), vec!["linear", "--lr", "0"]], &from, "expected a number above 0"),
        (vec![finetune[..3].to_vec()], &from, "--module"),
        (vec![vec!["rift", "--data", DATA, "--module", "fc"]], &from, "no module `fc`"),
        (vec![mrc.to_vec()], &wrong, "has 5 classes, the data has 4"),
        (vec![mrc.to_vec(), vec!["--eps", "8/0"]], &from, "denominator other than 0"),
        (vec![mrc.to_vec(), vec!["--norm", "l2"]], &from, "needs a radius"),
        (vec![mrc.to_vec(), vec!["--limit", "0"]], &from, "limit"),
        (vec![vec!["mrc", "--data", "/nonexistent"]], &from, "/nonexistent"),
        (vec![vec!["interpolate", "--data", DATA]], &ends, "of different networks"),
        (vec![vec!["interpolate", "--data", DATA, "--alphas", "2"]], &ends, "go beyond 1"),
    ] {
        let error = run(&arguments.concat(), paths).unwrap_err();
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
    assert!(!out.exists());
}

#[test]
fn import_makes_a_checkpoint_that_the_stages_read() {
    let folder = tempfile::tempdir().unwrap();
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/src/import/goldens/wrapped.pth");
    let [out, mrc] = ["c.safetensors", "mrc.json"].map(|name| folder.path().join(name));
    let arguments = ["import", golden, "--arch", "resnet8", "--input", "1x8x8", "--width", "2"];
    let import = |more: &[&str]| {
        let written = ["--out", out.to_str().unwrap()];
        let words = ["rift-trainer"].iter().chain(&arguments).chain(more).chain(&written);
        let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
        cli.command.run().map(|_| ()).map_err(|error| format!("{error:#}"))
    };
    let error = import(&["--num-classes", "10"]).unwrap_err();
    assert!(error.contains("expected 5 class names") && !out.exists(), "{error}");
    import(&["--classes", "a,b,c,d,e"]).unwrap();
    let (checkpoint, _, _) = Checkpoint::read(&out).unwrap();
    assert_eq!(checkpoint.meta.classes, ["a", "b", "c", "d", "e"]);
    assert!(checkpoint.meta.lineage.parents.contains_key("weights"));
    let data = "synthetic:5x1x8x8,train=20,test=10";
    let arguments = ["mrc", "--data", data, "--ascent-steps", "1", "--steps", "1"];
    run(&arguments, &[("--checkpoint", &out), ("--out", &mrc)]).unwrap();
    assert!(mrc.exists() && mrc.with_extension("svg").exists());
}

#[test]
fn rift_goes_on_from_weights_that_somebody_else_trained() {
    let folder = tempfile::tempdir().unwrap();
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/src/import/goldens/preact.pth");
    let [at, out] = ["at", "out"].map(|name| folder.path().join(name));
    let words =
        ["import", golden, "--arch", "preactresnet18", "--input", "1x32x32", "--width", "1"];
    let words = ["rift-trainer"].iter().chain(&words).map(OsString::from);
    let words = words.chain(["--out".into(), at.clone().into()]);
    Cli::try_parse_from(words).unwrap().command.run().unwrap();
    let data = "synthetic:3x1x32x32,train=40,test=20";
    let arguments = [
        &["rift", "--data", data, "--ascent-steps", "2", "--steps", "1", "--epochs", "1"],
        &["--batch-size", "10", "--alphas", "0,1", "--tolerance", "1"][..],
    ];
    run(&arguments.concat(), &[("--checkpoint", &at), ("--out", &out)]).unwrap();
    let report: RiftReport = read_json(&out.join("rift.json"), "report").unwrap();
    assert_eq!((report.n, report.modules.len()), (20, 21));
    let (checkpoint, _, _) = Checkpoint::read(&out.join("rift.safetensors")).unwrap();
    assert_eq!(checkpoint.meta.arch.name, "preactresnet18");
    let origin = &checkpoint.meta.lineage.ancestors["from"];
    assert!(origin.parents.contains_key("weights"), "{origin:?}");
}
