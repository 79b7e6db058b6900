//! The program from outside: what it prints, what it writes, how it ends.
#![expect(clippy::unwrap_used, reason = "a test says what it expects with `unwrap`")]

mod bad_input;
mod engines;
mod formats;
mod hostile_models;
mod inputs;
mod long_runs;
mod mutations;
mod parts;
mod replays;
mod scale;
mod screening;
mod serving;
mod shipped;
mod small_models;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use image::{Rgb, RgbImage};
use ndarray::{Array1, Array4};
use ndarray_npy::NpzReader;
use rift_models::artifact::AuditReport;
use rift_models::dataset::{Dataset, Request, Split};
use rift_models::onnx::Model;
use small_models::{bundle, conv_net, image_to_image, linear_net, rounding_net};

const DATA: &str = "synthetic:4x3x8x8";

/// A folder with a model in it, and how the program is run there.
struct Place {
    folder: tempfile::TempDir,
}

/// The program, or the one that `RIFT_PROGRAM` names: an optimised one, for instance.
fn program() -> PathBuf {
    let named = std::env::var_os("RIFT_PROGRAM").map(PathBuf::from);
    named.unwrap_or_else(|| env!("CARGO_BIN_EXE_rift-runtime").into())
}

/// A number that the environment may set.
fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(otherwise)
}

struct Ended {
    code: i32,
    out: String,
    err: String,
}

impl Place {
    fn with(model: &Model) -> Self {
        let folder = tempfile::tempdir().unwrap();
        model.write(&folder.path().join("m.onnx")).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.args(arguments).current_dir(self.folder.path());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("RIFT_")) {
            command.env_remove(name);
        }
        command
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        ended(&mut self.command(arguments))
    }

    /// Runs what must fail: one line on standard error, status 2, and no file.
    fn fails(&self, arguments: &[&str]) -> String {
        let before = self.names();
        let ended = self.run(arguments);
        assert_eq!(ended.code, 2, "{arguments:?}: {} {}", ended.out, ended.err);
        assert_eq!(ended.err.lines().count(), 1, "{}", ended.err);
        assert!(ended.err.starts_with("error: "), "{}", ended.err);
        assert_eq!(ended.out, "");
        assert_eq!(self.names(), before);
        ended.err
    }
}

fn ended(command: &mut Command) -> Ended {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap();
    Ended { code, out: text(output.stdout), err: text(output.stderr) }
}

fn report(path: &Path) -> AuditReport {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The arguments of an audit that is over in no time.
fn audit<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let few = ["audit", "m.onnx", "--data", DATA, "--limit", "24", "--steps", "4"];
    [&few, more].concat()
}

#[test]
fn info_tells_what_a_model_is() {
    let place = Place::with(&conv_net(None));
    let ended = place.run(&["info", "m.onnx", "--json", "info.json"]);
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    assert!(ended.out.contains("cat, dog, frog, ship"), "{}", ended.out);
    assert!(ended.out.contains("bare file"), "{}", ended.out);
    let json: serde_json::Value =
        serde_json::from_slice(&fs::read(place.path("info.json")).unwrap()).unwrap();
    assert_eq!(json["input"], serde_json::json!([3, 8, 8]));
    bundle(place.folder.path(), &conv_net(None));
    let ended = place.run(&["info", "bundle"]);
    assert!(ended.code == 0 && ended.out.contains("files match the card"), "{}", ended.out);
    assert!(!ended.out.contains("warning"), "{}", ended.out);
}

#[test]
fn classify_ranks_the_classes_of_pictures() {
    let place = Place::with(&conv_net(None));
    let picture = RgbImage::from_fn(20, 14, |x, y| Rgb([x as u8 * 12, y as u8 * 18, 90]));
    let names = ["a.png", "b.jpg", "c.webp", "d.bmp", "really-a.png.txt"];
    for name in &names[..4] {
        picture.save(place.path(name)).unwrap();
    }
    fs::copy(place.path("a.png"), place.path(names[4])).unwrap();
    let arguments =
        [&["classify", "m.onnx", "--top", "2", "--json", "c.json"], &names[..]].concat();
    let ended = place.run(&arguments);
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    assert_eq!(ended.out.lines().count(), 5 * 3, "{}", ended.out);
    let json: serde_json::Value =
        serde_json::from_slice(&fs::read(place.path("c.json")).unwrap()).unwrap();
    let probabilities: Vec<f64> = json["images"][0]["predictions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["probability"].as_f64().unwrap())
        .collect();
    assert_eq!(probabilities.len(), 4);
    assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    assert!(probabilities.is_sorted_by(|a, b| a >= b));
    // Without loss the same picture is the same in every format.
    assert_eq!(json["images"][0]["predictions"], json["images"][3]["predictions"]);
    assert_eq!(json["images"][0]["predictions"], json["images"][4]["predictions"]);
}

#[test]
fn an_audit_is_the_same_for_any_batch_and_threads() {
    let place = Place::with(&conv_net(None));
    for (name, threads, batch) in [("a.json", "1", "16"), ("b.json", "2", "5")] {
        let more = ["--json", name, "--threads", threads, "--batch-size", batch];
        let ended = place.run(&audit(&more));
        assert_eq!((ended.code, ended.err.as_str()), (0, ""));
        assert!(ended.out.contains("robust"), "{}", ended.out);
    }
    let (a, b) = (report(&place.path("a.json")), report(&place.path("b.json")));
    assert_eq!(a.samples, b.samples);
    // Without a word about the batch, one is found by trying.
    assert_eq!(place.run(&audit(&["--json", "c.json"])).code, 0);
    assert_eq!(report(&place.path("c.json")).samples, a.samples);
    assert_eq!((a.n, a.samples.len()), (24, 24));
    assert_eq!(a.model.digest, b.model.digest);
    assert!(a.warnings.iter().any(|w| w.contains("bare file")), "{:?}", a.warnings);
}

#[test]
fn saved_images_lie_in_ball_and_box() {
    let place = Place::with(&linear_net());
    let more =
        ["--save-adversarial", "adv.npz", "--norm", "l2", "--eps", "0.3", "--json", "a.json"];
    let ended = place.run(&audit(&more));
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    let mut npz = NpzReader::new(fs::File::open(place.path("adv.npz")).unwrap()).unwrap();
    let x: Array4<f32> = npz.by_name("x").unwrap();
    let y: Array1<i64> = npz.by_name("y").unwrap();
    let index: Array1<i64> = npz.by_name("index").unwrap();
    let request = Request::new(Split::Test).limit(24);
    let data = Dataset::open(Path::new(DATA), &request).unwrap();
    let report = report(&place.path("a.json"));
    assert_eq!(x.dim(), (24, 3, 8, 8));
    assert!(x.iter().all(|pixel| (0.0..=1.0).contains(pixel)));
    for (row, image) in x.outer_iter().enumerate() {
        assert_eq!((index[row], y[row]), (row as i64, data.labels[row] as i64));
        let clean = data.batch(row..row + 1);
        let squares = image.iter().zip(&clean).map(|(a, b)| f64::from(a - b).powi(2));
        let distance = squares.sum::<f64>().sqrt();
        assert!(distance <= 0.3 + 1e-6, "{distance}");
        if report.samples[row].broken_by.as_deref() == Some("pgd") {
            assert!((distance - f64::from(report.samples[row].distance)).abs() < 1e-6);
        }
    }
}

#[test]
fn a_threshold_that_is_missed_is_status_1() {
    let place = Place::with(&linear_net());
    let ended = place.run(&audit(&["--min-robust-accuracy", "1", "--json", "a.json"]));
    assert_eq!(ended.code, 1, "{}", ended.err);
    assert!(ended.out.contains("at least 1 is asked for"), "{}", ended.out);
    assert!(place.path("a.json").is_file());
    let ended = place.run(&audit(&["--min-robust-accuracy", "0"]));
    assert_eq!(ended.code, 0, "{}", ended.err);
}

#[test]
fn the_interval_decides_unless_the_point_is_asked_for() {
    let place = Place::with(&linear_net());
    assert_eq!(place.run(&audit(&["--eps", "1/255", "--json", "a.json"])).code, 0);
    let report = report(&place.path("a.json"));
    assert!(report.interval.lower < report.robust_accuracy);
    let between = f64::midpoint(report.interval.lower, report.robust_accuracy).to_string();
    let least = ["--eps", "1/255", "--min-robust-accuracy", &between];
    let ended = place.run(&audit(&least));
    assert!(ended.code == 1 && ended.out.contains("lower bound"), "{}", ended.out);
    assert_eq!(place.run(&audit(&[&least[..], &["--gate", "point"]].concat())).code, 0);
}

/// A composition of attacks over two radii, quickly.
const CURVE: [&str; 10] = [
    "audit",
    "m.onnx",
    "--data",
    DATA,
    "--limit",
    "30",
    "--attack",
    "fast",
    "--eps",
    "2/255,6/255",
];

#[test]
fn a_replay_is_the_same_and_says_so() {
    let place = Place::with(&conv_net(None));
    let ended = place.run(&[&CURVE[..], &["--json", "a.json", "--html", "a.html"]].concat());
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    let page = fs::read_to_string(place.path("a.html")).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("data:image/png;base64,"));
    assert!(page.contains("ε 6/255") && page.contains("apgd-t") && page.contains("cat"));
    assert!(!page.contains("<script") && !page.contains("http"), "something from elsewhere");
    let ended = place.run(&["audit", "--replay", "a.json", "--batch-size", "5", "--threads", "1"]);
    assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{}", ended.out);
    assert!(ended.out.contains("bit for bit"), "{}", ended.out);
    let mut other = report(&place.path("a.json"));
    let at = other.samples.iter().position(|s| s.distance > 0.0).unwrap();
    other.samples[at].distance += 1e-4;
    fs::write(place.path("b.json"), serde_json::to_vec(&other).unwrap()).unwrap();
    let ended = place.run(&["audit", "--replay", "b.json"]);
    assert!(ended.code == 1 && ended.out.contains("1 images differ"), "{}", ended.out);
    linear_net().write(&place.path("m.onnx")).unwrap();
    let message = place.fails(&["audit", "--replay", "a.json"]);
    assert!(message.contains("the model has digest"), "{message}");
}

#[test]
fn parts_make_the_same_whole_in_any_number() {
    let place = Place::with(&conv_net(None));
    for (of, json) in [(1, "one.json"), (7, "seven.json")] {
        let names: Vec<String> = (1..=of).map(|part| format!("part{part}of{of}.json")).collect();
        for (part, name) in names.iter().enumerate() {
            let shard = format!("{}/{of}", part + 1);
            let ended = place.run(&[&CURVE[..], &["--shard", &shard, "--json", name]].concat());
            assert_eq!((ended.code, ended.err.as_str()), (0, ""));
        }
        let names: Vec<&str> = names.iter().rev().map(String::as_str).collect();
        let ended = place.run(&[&["audit-merge", "--json", json], &names[..]].concat());
        assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    }
    let timeless = |name: &str| {
        let mut report = report(&place.path(name));
        report.attacks.iter_mut().for_each(|attack| attack.seconds = None);
        report
    };
    assert_eq!(timeless("one.json"), timeless("seven.json"));
    let ended = place.run(&[&CURVE[..], &["--json", "whole.json"]].concat());
    assert_eq!(ended.code, 0);
    assert_eq!(timeless("one.json"), timeless("whole.json"));
    for (names, part) in [
        (vec!["part1of7.json", "part3of7.json"], "part 2 of 7 is missing"),
        (vec!["part1of7.json"], "part 2 of 7 is missing"),
        (vec!["part1of7.json", "part1of7.json"], "there twice"),
        (vec!["part1of7.json", "part1of1.json"], "different audits"),
        (vec!["whole.json"], "whole audit"),
    ] {
        let message = place.fails(&[&["audit-merge"], &names[..]].concat());
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn an_audit_measures_common_corruptions_too() {
    let place = Place::with(&conv_net(None));
    let asked =
        ["--corruptions", "snow,fog", "--severity", "1,5", "--json", "a.json", "--html", "a.html"];
    let ended = place.run(&audit(&asked));
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    assert!(
        ended.out.contains("accuracy, %         sev. 1  sev. 5    mean\nsnow "),
        "{}",
        ended.out
    );
    let first = report(&place.path("a.json"));
    let corruptions = first.corruptions.unwrap();
    assert_eq!((corruptions.rows.len(), corruptions.n, corruptions.seed), (4, 24, 0));
    assert_eq!(corruptions.averages[0].name, "chosen");
    let page = fs::read_to_string(place.path("a.html")).unwrap();
    assert!(page.contains("<h2>Common corruptions</h2>") && page.contains("<th>snow</th>"));
    let spread = ["--batch-size", "5", "--threads", "1", "--json", "b.json"];
    let ended = place.run(&audit(&[&asked[..4], &spread].concat()));
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!(report(&place.path("b.json")).corruptions.unwrap(), corruptions);
    for (wrong, named) in [
        (["--corruptions", "smog"], "unknown corruption `smog`"),
        (["--severity", "6"], "severity `6` is not one of 1 to 5"),
    ] {
        let text = place.fails(&audit(&wrong));
        assert!(text.contains(named), "{text}");
    }
}

#[test]
fn a_model_without_a_gradient_can_be_searched() {
    let place = Place::with(&rounding_net());
    let message = place.fails(&audit(&["--json", "a.json"]));
    assert!(message.contains("Round") && message.contains("--attack square"), "{message}");
    let arguments = [
        "audit",
        "m.onnx",
        "--data",
        DATA,
        "--limit",
        "24",
        "--attack",
        "square",
        "--queries",
        "50",
        "--json",
        "a.json",
    ];
    let ended = place.run(&arguments);
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    let report = report(&place.path("a.json"));
    assert_eq!((report.attacks[0].name.as_str(), report.attacks[0].gradients), ("square", 0));
    assert!(report.attacks[0].forwards > 0);
}

#[test]
fn a_time_budget_that_is_up_says_what_was_not_reached() {
    let place = Place::with(&conv_net(None));
    let ended = place.run(&audit(&["--time-budget", "0s", "--json", "a.json"]));
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    assert!(ended.out.contains("upper bound"), "{}", ended.out);
    assert_eq!(report(&place.path("a.json")).attacks[0].broken, 0);
}

#[test]
fn gradient_ends_well() {
    let place = Place::with(&conv_net(None));
    let ended = place.run(&["gradient", "m.onnx", "--out", "g.onnx"]);
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    let graph = Model::read(&place.path("g.onnx")).unwrap();
    let names = |infos: &[rift_models::onnx::proto::ValueInfoProto]| {
        infos.iter().map(|info| info.name().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&graph.graph().input), ["image", "cotangent"]);
    assert_eq!(names(&graph.graph().output), ["logits", "input_gradient"]);
}

#[test]
fn a_bad_model_is_one_line() {
    let place = Place::with(&image_to_image());
    let message = place.fails(&["info", "none.onnx"]);
    assert!(message.contains("`none.onnx`") && message.contains("No such file"), "{message}");
    let message = place.fails(&audit(&["--json", "a.json"]));
    assert!(message.contains("not an image classifier"), "{message}");
    assert!(message.contains("[N, 3, 8, 8]") || message.contains("N, 3, 8, 8"), "{message}");
    fs::write(place.path("m.onnx"), b"\x08\x08garbage").unwrap();
    let message = place.fails(&["classify", "m.onnx", "x.png"]);
    assert!(message.contains("not a usable ONNX model"), "{message}");
    fs::create_dir(place.path("empty")).unwrap();
    let message = place.fails(&["info", "empty"]);
    assert!(message.contains("`card.json`"), "{message}");
}

#[test]
fn operators_without_a_gradient_are_named() {
    let place = Place::with(&rounding_net());
    let message = place.fails(&audit(&["--json", "a.json"]));
    assert!(message.contains("rounding") && message.contains("Round"), "{message}");
    place.fails(&["gradient", "m.onnx", "--out", "g.onnx"]);
    let ended = place.run(&["info", "m.onnx"]);
    assert!(ended.code == 0 && ended.out.contains("gradient    none"), "{}", ended.out);
}

#[test]
fn a_bad_picture_is_one_line() {
    let place = Place::with(&conv_net(None));
    let message = place.fails(&["classify", "m.onnx", "none.png"]);
    assert!(message.contains("none.png"), "{message}");
    fs::write(place.path("text.png"), b"no picture at all").unwrap();
    let message = place.fails(&["classify", "m.onnx", "text.png"]);
    assert!(message.contains("text.png"), "{message}");
    RgbImage::new(64, 64).save(place.path("cut.png")).unwrap();
    let bytes = fs::read(place.path("cut.png")).unwrap();
    fs::write(place.path("cut.png"), &bytes[..bytes.len() / 2]).unwrap();
    let message = place.fails(&["classify", "m.onnx", "cut.png", "--json", "c.json"]);
    assert!(message.contains("cut.png"), "{message}");
}

#[test]
fn bad_arguments_are_one_line() {
    let place = Place::with(&conv_net(None));
    for (argument, value, part) in [
        ("--eps", "8/0", "denominator"),
        ("--eps", "8", "8/255"),
        ("--step", "0", "moves nothing"),
        ("--norm", "l3", "linf"),
        ("--split", "tset", "tset"),
        ("--threads", "0", "from 1 to 1024"),
        ("--batch-size", "1000000000000", "from 1 to 1024"),
        ("--restarts", "0", "at least 1"),
        ("--attack", "cw", "pgd"),
        ("--eps", "2/255,1/255", "expected radii that rise"),
        ("--queries", "5", "only to square"),
        ("--shard", "3/2", "2/7"),
        ("--time-budget", "30", "30m"),
        ("--min-robust-accuracy", "45", "from 0 to 1"),
    ] {
        let message = place.fails(&audit(&[argument, value, "--json", "a.json"]));
        assert!(message.contains(part), "{argument} {value}: {message}");
    }
    let message = place.fails(&["audit", "m.onnx"]);
    assert!(message.contains("--data"), "{message}");
    let message = place.fails(&["audit", "m.onnx", "--data", "nowhere"]);
    assert!(message.contains("nowhere"), "{message}");
    let message = place.fails(&["audit", "m.onnx", "--data", "synthetic:9x3x8x8"]);
    assert!(message.contains("4 classes"), "{message}");
    let mut by_variable = place.command(&audit(&[]));
    let by_variable = ended(by_variable.env("RIFT_EPS", "8/0"));
    assert!(
        by_variable.code == 2 && by_variable.err.contains("denominator"),
        "{}",
        by_variable.err
    );
}

#[test]
fn an_output_that_cannot_be_written_is_found_out_first() {
    let place = Place::with(&conv_net(None));
    let message = place.fails(&audit(&["--json", "m.onnx/a.json"]));
    assert!(message.contains("m.onnx/a.json"), "{message}");
    let message = place.fails(&audit(&["--save-adversarial", "/proc/a.npz"]));
    assert!(message.contains("/proc/a.npz"), "{message}");
    let message = place.fails(&["gradient", "m.onnx", "--out", "."]);
    assert!(message.contains("folder"), "{message}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_one_line() {
    let place = Place::with(&conv_net(None));
    for arguments in [
        audit(&["--json", "/dev/full"]),
        audit(&["--save-adversarial", "/dev/full"]),
        vec!["gradient", "m.onnx", "--out", "/dev/full"],
    ] {
        let message = place.fails(&arguments);
        assert!(message.contains("No space left"), "{message}");
    }
    let mut command = place.command(&["info", "m.onnx"]);
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let child = command.stdout(full).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("No space left"));
}

#[test]
fn a_missing_library_says_where_it_was_looked_for() {
    let place = Place::with(&conv_net(None));
    let message = place.fails(&["info", "m.onnx", "--onnxruntime", "nowhere/lib.so"]);
    assert!(message.contains("nowhere/lib.so") && message.contains("--onnxruntime"), "{message}");
    // From a copy elsewhere, so that no `.venv` lies above the program.
    let copy = place.path("rift-runtime");
    fs::copy(env!("CARGO_BIN_EXE_rift-runtime"), &copy).unwrap();
    let mut command = Command::new(&copy);
    command.args(["info", "m.onnx"]).current_dir(place.folder.path());
    for name in ["RIFT_ONNXRUNTIME", "ORT_DYLIB_PATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH"] {
        command.env_remove(name);
    }
    let ended = ended(&mut command);
    if ended.code == 0 {
        eprintln!("skipped: the system's loader finds an ONNX Runtime of its own");
        return;
    }
    assert_eq!((ended.code, ended.err.lines().count()), (2, 1), "{}", ended.err);
    for part in [".venv", "libonnxruntime.so", "make setup", "RIFT_ONNXRUNTIME"] {
        assert!(ended.err.contains(part), "{part}: {}", ended.err);
    }
}

#[test]
fn nothing_is_sent_or_noted_about_its_use() {
    let place = Place::with(&conv_net(None));
    let home = tempfile::tempdir().unwrap();
    for arguments in [vec!["info", "m.onnx"], audit(&[])] {
        let mut command = place.command(&arguments);
        // ONNX Runtime keeps them in `.cache/Microsoft` of the home folder, but not under CI.
        command.env("HOME", home.path());
        for name in ["CI", "GITHUB_ACTIONS", "TF_BUILD", "XDG_CACHE_HOME"] {
            command.env_remove(name);
        }
        command.env("ORT_DISABLE_TELEMETRY", "0");
        assert_eq!(ended(&mut command).code, 0);
        assert!(fs::read_dir(home.path()).unwrap().next().is_none(), "{arguments:?}");
    }
    assert_eq!(place.names(), ["m.onnx"]);
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let place = Place::with(&conv_net(None));
    let mut command = place.command(&["info", "m.onnx"]);
    let mut child = command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
}
