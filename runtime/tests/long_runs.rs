//! Audits that are killed, stopped, cut short and continued.

use std::fs;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::small_models::{conv_net, linear_net};
use super::{DATA, Ended, Place, report};

/// Kills during one audit.
const KILLS: usize = 30;

/// An audit of several attacks at two radii, with a certificate and every output, whose report holds
/// no times.
fn long<'a>(json: &'a str, html: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let all = [
        "audit",
        "m.onnx",
        "--data",
        DATA,
        "--limit",
        "30",
        "--attack",
        "autoattack",
        "--eps",
        "4/255,10/255",
        "--certify",
        "smoothing",
        "--sigma",
        "0.1",
        "--smoothing-samples",
        "20,200",
        "--no-timing",
        "--json",
        json,
        "--html",
        html,
    ];
    [&all[..], more].concat()
}

/// Numbers that look random, the same in every run.
struct Draws(u64);

impl Draws {
    fn below(&mut self, n: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

fn size(place: &Place, name: &str) -> u64 {
    fs::metadata(place.path(name)).map_or(0, |found| found.len())
}

/// Starts the audit and kills it once its state has grown by `growth` bytes; whether it was killed
/// before its end.
fn kill_after(place: &Place, arguments: &[&str], growth: u64, wait: Duration) -> bool {
    let mut child = start(place, arguments);
    let before = size(place, "killed.json.state");
    sleep(wait);
    let started = Instant::now();
    while size(place, "killed.json.state") < before + growth {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        assert!(started.elapsed() < Duration::from_mins(5), "no progress in five minutes");
        sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    let status = child.wait().unwrap();
    status.code().is_none()
}

fn start(place: &Place, arguments: &[&str]) -> Child {
    let mut command = place.command(arguments);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

#[test]
fn thirty_kills_change_no_byte() {
    let place = Place::with(&conv_net(None));
    let whole = place.run(&long("whole.json", "whole.html", &["--threads", "2"]));
    assert_eq!((whole.code, whole.err.as_str()), (0, ""));
    // A run that was stopped in order tells how large the state becomes.
    let cut = place.run(&long("killed.json", "killed.html", &["--time-budget", "0s"]));
    assert_eq!((cut.code, cut.err.as_str()), (0, ""));
    fs::remove_file(place.path("killed.json.state")).unwrap();
    let outcomes: usize =
        report(&place.path("whole.json")).attacks.iter().map(|a| a.attacked).sum();
    let size_of_all = outcomes as u64 * 200;
    let mut draws = Draws(7);
    let mut kills = 0;
    let mut runs = 0;
    while kills < KILLS {
        // Another spread of the work each time: no result depends on it.
        let threads = (1 + draws.below(3)).to_string();
        let batch = (1 + draws.below(16)).to_string();
        let spread = ["--threads", threads.as_str(), "--batch-size", batch.as_str()];
        let arguments = long("killed.json", "killed.html", &spread);
        let growth = draws.below(2 * size_of_all / KILLS as u64);
        let wait = Duration::from_millis(if draws.below(4) == 0 { draws.below(60) } else { 0 });
        if kill_after(&place, &arguments, growth, wait) {
            kills += 1;
        } else {
            same(&place);
            runs += 1;
            assert!(runs < 5, "the audit ends before it is killed");
            for end in ["json", "html"] {
                fs::remove_file(place.path(&format!("killed.{end}"))).unwrap();
            }
        }
    }
    let end = place.run(&long("killed.json", "killed.html", &[]));
    assert_eq!((end.code, end.err.as_str()), (0, ""));
    same(&place);
    assert!(!place.path("killed.json.state").exists());
    let whole = report(&place.path("whole.json"));
    assert!(0.0 < whole.robust_accuracy && whole.robust_accuracy < whole.clean_accuracy);
    let broken = |end: &str| whole.attacks.iter().any(|a| a.name == end && a.attacked > 0);
    assert!(broken("apgd-ce") && broken("square"));
}

/// Report and page are those of the run that nobody stopped.
fn same(place: &Place) {
    for end in ["json", "html"] {
        let [whole, killed] =
            ["whole", "killed"].map(|name| fs::read(place.path(&format!("{name}.{end}"))).unwrap());
        assert!(whole == killed, "{end} differs");
    }
}

#[test]
fn parts_that_were_killed_make_the_same_bytes() {
    let place = Place::with(&conv_net(None));
    let few = |more: &[&'static str]| -> Vec<&'static str> {
        let few = [
            "audit",
            "m.onnx",
            "--data",
            DATA,
            "--limit",
            "28",
            "--attack",
            "pgd",
            "--steps",
            "8",
            "--eps",
            "2/255,6/255",
            "--certify",
            "smoothing",
            "--sigma",
            "0.2",
            "--smoothing-samples",
            "10,60",
            "--no-timing",
        ];
        [&few[..], more].concat()
    };
    assert_eq!(place.run(&few(&["--json", "whole.json"])).code, 0);
    for (of, json) in [(1, "one.json"), (7, "seven.json")] {
        let names: Vec<String> = (1..=of).map(|part| format!("{part}of{of}.json")).collect();
        for (part, name) in names.iter().enumerate() {
            let shard = format!("{}/{of}", part + 1);
            let more = ["--shard", shard.as_str(), "--json", name.as_str()];
            let arguments = [&few(&[])[..], &more].concat();
            let mut child = start(&place, &arguments);
            sleep(Duration::from_millis(60 * part as u64));
            child.kill().unwrap();
            child.wait().unwrap();
            let ended = place.run(&arguments);
            assert_eq!((ended.code, ended.err.as_str()), (0, ""));
        }
        let names: Vec<&str> = names.iter().rev().map(String::as_str).collect();
        let ended = place.run(&[&["audit-merge", "--json", json], &names[..]].concat());
        assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    }
    let bytes = |name: &str| fs::read(place.path(name)).unwrap();
    assert!(bytes("one.json") == bytes("whole.json"), "one part");
    assert!(bytes("seven.json") == bytes("whole.json"), "seven parts");
}

#[test]
fn a_time_budget_is_continued_by_the_same_command() {
    let place = Place::with(&conv_net(None));
    let arguments = |more: &[&'static str]| {
        let few = ["audit", "m.onnx", "--data", DATA, "--limit", "24", "--no-timing", "--json"];
        [&few[..], more].concat()
    };
    let first = place.run(&arguments(&["a.json", "--time-budget", "0s"]));
    assert_eq!((first.code, first.err.as_str()), (0, ""));
    assert!(first.out.contains("the same command goes on from a.json.state"), "{}", first.out);
    let second = place.run(&arguments(&["a.json", "--time-budget", "1h"]));
    assert_eq!((second.code, second.err.as_str()), (0, ""));
    assert!(!place.path("a.json.state").exists());
    assert_eq!(place.run(&arguments(&["b.json"])).code, 0);
    assert_eq!(fs::read(place.path("a.json")).unwrap(), fs::read(place.path("b.json")).unwrap());
}

/// An audit that takes long enough to be caught at it.
fn slow<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let slow = [
        "audit",
        "m.onnx",
        "--data",
        DATA,
        "--limit",
        "400",
        "--attack",
        "square",
        "--queries",
        "1000000",
        "--eps",
        "1/255",
    ];
    [&slow[..], more].concat()
}

/// Starts it and sends a signal once it is at work.
#[cfg(unix)]
fn interrupted(place: &Place, arguments: &[&str], signal: &str, state: Option<&str>) -> Ended {
    let child = start(place, arguments);
    match state {
        Some(state) => {
            let started = Instant::now();
            while size(place, state) < 1000 {
                assert!(started.elapsed() < Duration::from_mins(2), "it never began");
                sleep(Duration::from_millis(2));
            }
        }
        None => sleep(Duration::from_secs(2)),
    }
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args([signal, &pid]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let code = output.status.code().unwrap();
    Ended { code, out: String::new(), err: String::from_utf8(output.stderr).unwrap() }
}

#[cfg(unix)]
#[test]
fn a_signal_stops_it_in_order() {
    for (signal, code) in [("-TERM", 143), ("-INT", 130)] {
        let place = Place::with(&linear_net());
        let arguments = slow(&["--state", "mine"]);
        let ended = interrupted(&place, &arguments, signal, Some("mine"));
        assert_eq!((ended.code, ended.err.lines().count()), (code, 1), "{}", ended.err);
        assert!(ended.err.contains("goes on from `mine`"), "{}", ended.err);
        assert_eq!(place.names(), ["m.onnx", "mine"]);
    }
}

#[test]
fn the_state_of_another_audit_is_refused_and_kept() {
    let place = Place::with(&conv_net(None));
    let few = ["audit", "m.onnx", "--data", DATA, "--limit", "24", "--json", "a.json"];
    let with = |more: &[&'static str]| [&few[..], more].concat();
    assert_eq!(place.run(&with(&["--time-budget", "0s"])).code, 0);
    fs::remove_file(place.path("a.json")).unwrap();
    let state = fs::read(place.path("a.json.state")).unwrap();
    for (more, what) in [
        (&["--seed", "1"][..], "settings"),
        (&["--eps", "1/255"], "settings"),
        (&["--norm", "l2"], "settings"),
        (&["--shard", "1/2"], "part"),
        (&["--html", "a.html"], "outputs"),
    ] {
        let message = place.fails(&with(more));
        assert!(message.contains("another audit") && message.contains(what), "{message}");
    }
    let mut fewer = few;
    fewer[5] = "23";
    let message = place.fails(&fewer);
    assert!(message.contains("whose data differ"), "{message}");
    linear_net().write(&place.path("m.onnx")).unwrap();
    let message = place.fails(&few);
    assert!(message.contains("whose model differ") && message.contains("--state"), "{message}");
    assert_eq!(fs::read(place.path("a.json.state")).unwrap(), state);
    fs::write(place.path("thesis.tex"), b"my thesis").unwrap();
    let message = place.fails(&with(&["--state", "thesis.tex"]));
    assert!(message.contains("not the state of an audit"), "{message}");
    assert_eq!(fs::read(place.path("thesis.tex")).unwrap(), b"my thesis");
}
