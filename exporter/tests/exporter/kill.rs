//! What the program writes is whole whenever it is killed: what was there before, or what was asked
//! for.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rift_models::artifact::{Bundle, Digest};

use crate::fixture::{Finished, Run, program};
use crate::quantize::with_data;

/// The digests of all files at `path`, which are those of one run and no mixture of two.
fn contents(path: &Path) -> BTreeMap<String, Digest> {
    if path.is_file() {
        return BTreeMap::from([(String::new(), Digest::of_file(path).unwrap())]);
    }
    let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let below = |entry: std::path::PathBuf| {
        let name = entry.file_name().unwrap().to_string_lossy().into_owned();
        contents(&entry).into_iter().map(move |(file, digest)| (format!("{name}/{file}"), digest))
    };
    entries.flat_map(below).collect()
}

/// Kills the program at `moments` from the beginning to past the end of what a run takes, with one of
/// two commands in turn that write the same places differently.
fn killed(run: &Run, commands: [&[&str]; 2], moments: u32, places: &[&str]) {
    let mut wholes = Vec::new();
    let mut longest = Duration::ZERO;
    for command in commands {
        let started = Instant::now();
        let done = Finished::of(program(&run.path("")).args(command));
        assert_eq!(done.code, 0, "{done:?}");
        longest = longest.max(started.elapsed());
        wholes.push(places.iter().map(|place| contents(&run.path(place))).collect::<Vec<_>>());
    }
    let same = places.iter().enumerate().find(|(at, _)| wholes[0][*at] == wholes[1][*at]);
    assert!(same.is_none(), "the commands write the same: {same:?}");
    for moment in 0..moments {
        let mut child = program(&run.path(""))
            .args(commands[moment as usize % 2])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // The last part, in which files are written, more closely.
        let share = (f64::from(moment) / f64::from(moments)).sqrt() * 1.2;
        std::thread::sleep(longest.mul_f64(share));
        child.kill().unwrap();
        child.wait().unwrap();
        for (at, place) in places.iter().enumerate() {
            let left = contents(&run.path(place));
            let is_whole = wholes.iter().any(|whole| whole[at] == left);
            assert!(is_whole, "`{place}`, killed after {share:.2} of a run: {left:?}");
        }
    }
}

#[test]
fn an_export_that_is_killed() {
    let run = Run::new();
    let export = ["export", "--checkpoint", "rift.safetensors", "--out", "bundle", "--name"];
    let [one, two] = ["one", "two"].map(|name| [&export[..], &[name]].concat());
    killed(&run, [&one, &two], 24, &["bundle"]);
    assert!(Bundle::open(&run.path("bundle")).is_ok());
}

#[test]
fn a_quantisation_that_is_killed() {
    let run = with_data();
    let quantize = [
        "quantize",
        "bundle",
        "--data",
        "data.npz",
        "--out",
        "small",
        "--steps",
        "1",
        "--images",
        "24",
        "--calibration-images",
        "24",
        "--max-drop",
        "100",
        "--threads",
        "1",
        "--name",
    ];
    let [one, two] = ["one", "two"].map(|name| [&quantize[..], &[name]].concat());
    killed(&run, [&one, &two], 16, &["small"]);
    assert!(Bundle::open(&run.path("small")).is_ok());
}

#[test]
fn a_deployment_that_is_killed() {
    let run = Run::new();
    for (out, tolerance) in [("first", "1e-4"), ("second", "2e-4")] {
        let export = ["export", "--checkpoint", "rift.safetensors", "--name", "m", "--out", out];
        let done = run.rift(&[&export[..], &["--tolerance", tolerance]].concat());
        assert_eq!(done.code, 0, "{done:?}");
    }
    let deploy = ["--triton", "repository", "--kserve", "manifests", "--archive", "m.tar.zst"];
    let of = |bundle, batch, image| {
        let command = ["deploy", bundle, "--max-batch", batch, "--image", image];
        [&command[..], &deploy].concat()
    };
    let commands = [of("first", "8", "rift:1"), of("second", "16", "rift:2")];
    let places = ["repository/m", "manifests/rift-runtime.yaml", "m.tar.zst"];
    killed(&run, [&commands[0], &commands[1]], 16, &places);
}

#[test]
fn a_signing_that_is_killed() {
    let run = crate::sign::signed();
    assert_eq!(run.rift(&["keygen", "--out", "other"]).code, 0);
    let sign = |key| ["sign", "bundle", "--key", key, "--out", "signature"];
    killed(&run, [&sign("rift.key"), &sign("other.key")], 12, &["signature"]);
}
