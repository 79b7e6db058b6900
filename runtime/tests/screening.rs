//! What the screen lets pass, what it refuses, and that the refusal costs this process nothing.

use std::path::Path;
use std::time::Duration;

use rift_models::artifact::Digest;
use rift_runtime::server::screen::{Limits, Record, Screen, ScreenError};
use rift_runtime::session::{ModelFile, Opening};

use super::hostile_models::{self as hostile};
use super::small_models::{bundle, conv_net, linear_net};
use super::{Place, audit};

pub(crate) fn screen(limits: Limits) -> Screen {
    Screen::new(limits).with_program(Path::new(env!("CARGO_BIN_EXE_rift-runtime")))
}

fn check(limits: Limits, bytes: &[u8]) -> Result<Record, ScreenError> {
    let file = ModelFile::bare(Path::new("m.onnx"), bytes.to_vec());
    screen(limits).check(file, &Opening::default()).map(|screened| screened.record)
}

/// The error of a model that must not pass, which is one line.
fn refused(bytes: &[u8]) -> String {
    let error = check(Limits::default(), bytes).unwrap_err();
    let message = format!("{:#}", anyhow::Error::from(error));
    assert_eq!(message.lines().count(), 1, "{message}");
    message
}

/// The most memory that this process had, in bytes.
pub(crate) fn peak() -> u64 {
    memory("self", "VmHWM:")
}

/// A line of a process' status, in bytes; 0 where the system does not say.
pub(crate) fn memory(process: &str, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0 kB");
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() << 10
}

#[test]
fn an_honest_model_passes_and_the_record_says_how() {
    let bytes = conv_net(None).to_bytes();
    let record = check(Limits::default(), &bytes).unwrap();
    assert_eq!(record.digest, Digest::of_bytes(&bytes));
    let held = &record.protections;
    if cfg!(target_os = "linux") {
        assert!(held.no_new_files && held.no_writing && held.no_new_privileges, "{held}");
        let limit = Limits::default().memory_for(bytes.len() as u64);
        assert_eq!((held.memory, held.processor), (Some(limit), Some(30)));
        assert!(record.peak.is_some_and(|peak| peak < limit), "{record}");
    }
    assert!(record.to_string().contains("landlock: "), "{record}");
}

#[test]
#[cfg(target_os = "linux")]
fn the_process_of_a_trial_is_confined() {
    let trial = screen(Limits::default()).trial(1000, &Opening::default()).unwrap();
    let read = |name: &str| {
        std::fs::read_to_string(format!("/proc/{}/{name}", trial.id())).unwrap_or_default()
    };
    let (status, limits) = (read("status"), read("limits"));
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    for (limit, most) in [("Max open files", "0"), ("Max file size", "0")] {
        let line = limits.lines().find(|line| line.starts_with(limit)).unwrap();
        let row: Vec<&str> = line.trim_start_matches(limit).split_whitespace().collect();
        assert_eq!(row[..2], [most, most], "{line}");
    }
}

#[test]
fn data_outside_the_file_is_refused() {
    let place = Place::with(&linear_net());
    let secret = place.path("secret.bin");
    std::fs::write(&secret, vec![0; 864]).unwrap();
    std::fs::hard_link(&secret, place.path("hard.bin")).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(&secret, place.path("soft.bin")).unwrap();
    let absolute = secret.display().to_string();
    for location in ["../secret.bin", &absolute, "hard.bin", "soft.bin", "secret.bin"] {
        let bytes = hostile::outside(location);
        let message = refused(&bytes);
        assert!(message.contains("`conv_weight` lies in another file"), "{message}");
        std::fs::write(place.path("m.onnx"), bytes).unwrap();
        for command in [&["info", "m.onnx"][..], &["info", "m.onnx", "--screen"]] {
            assert!(place.fails(command).contains("lies in another file"));
        }
    }
}

#[test]
fn what_grows_out_of_a_few_bytes_is_refused() {
    let before = peak();
    for dims in [&[1 << 28][..], &[1 << 44], &[1 << 20, 1 << 20, 1 << 20, 1 << 20]] {
        let message = refused(&hostile::constant_of_shape(dims));
        assert!(message.contains("`constantofshape` (ConstantOfShape) makes"), "{message}");
        // What is computed is not known at sight, and found out by the trial.
        let error = check(Limits::default(), &hostile::computed_shape(dims)).unwrap_err();
        let is_stopped = matches!(error, ScreenError::Memory { .. } | ScreenError::Failed { .. });
        assert!(is_stopped, "{error}");
    }
    let error = check(Limits::default(), &hostile::computed_shape(&[1 << 28])).unwrap_err();
    assert!(matches!(error, ScreenError::Memory { .. }), "{error}");
    assert!(error.to_string().lines().count() == 1, "{error}");
    let error = check(Limits::default(), &hostile::grows_when_run([1, 900, 900, 1])).unwrap_err();
    assert!(matches!(error, ScreenError::Memory { .. }), "{error}");
    for dims in [[i64::MAX, i64::MAX, 1, 1], [-1, 3, 3, 3], [1 << 40, 3, 3, 3]] {
        let message = refused(&hostile::overflowing(&dims));
        assert!(message.contains("`conv_weight`"), "{message}");
    }
    let grown = peak() - before;
    assert!(grown < 64 << 20, "refusing took {grown} bytes here");
}

#[test]
fn a_size_that_a_picture_decides_is_refused() {
    let message = refused(&hostile::size_from_pixels());
    assert!(message.contains("`trigger` (ConstantOfShape)"), "{message}");
    assert!(message.contains("depends on what the image shows"), "{message}");
}

#[test]
fn what_takes_for_ever_is_stopped() {
    let message = refused(&hostile::turns());
    assert!(message.contains("node `for_ever` (Loop)"), "{message}");
    let endless = hostile::works(1024, 5000);
    let limits = Limits { processor: Duration::from_secs(1), ..Limits::default() };
    let error = check(limits, &endless).unwrap_err();
    assert!(matches!(error, ScreenError::Time { what: "processor time", seconds: 1 }), "{error}");
    let limits = Limits { wall: Duration::from_secs(1), ..Limits::default() };
    let error = check(limits, &endless).unwrap_err();
    assert!(matches!(error, ScreenError::Time { what: "time", seconds: 1 }), "{error}");
}

#[test]
fn what_is_deep_or_long_is_refused() {
    let before = peak();
    let message = refused(&hostile::chain(100_000));
    assert!(message.contains("nodes, expected at most 20000"), "{message}");
    assert!(!refused(&hostile::nested(100_000)).is_empty());
    // As long as it may be: whatever ONNX Runtime makes of it, it does so over there.
    if let Err(error) = check(Limits::default(), &hostile::chain(19_000)) {
        eprintln!("{error}");
    }
    let grown = peak() - before;
    assert!(grown < 512 << 20, "refusing took {grown} bytes here");
}

#[test]
fn every_fault_is_named_with_its_node() {
    let message = refused(&hostile::foreign());
    for fault in [
        "the function `f`",
        "node `mine` (Mine) is of the domain `com.example`",
        "node `dice` (RandomNormal) is no operator",
        "the value `many` is a sequence",
    ] {
        assert!(message.contains(fault), "{message}");
    }
}

#[test]
fn what_another_reader_would_see_differently_is_refused() {
    let mut bytes = b"\x12\x06xxORTM".to_vec();
    bytes.extend(conv_net(None).to_bytes());
    assert!(refused(&bytes).contains("ONNX Runtime's own format"));
    let mut bytes = conv_net(None).to_bytes();
    prost::encoding::int64::encode(77, &1, &mut bytes);
    assert!(refused(&bytes).contains("unknown field 77 of the model"));
}

#[test]
fn a_truncated_file_is_refused() {
    let bytes = conv_net(None).to_bytes();
    let screen = screen(Limits::default());
    for cut in (0..bytes.len()).step_by(7) {
        // A cut between two fields can leave a whole model, but none with these outputs.
        if let Err(error) = screen.inspect(&bytes[..cut]) {
            assert_eq!(error.to_string().lines().count(), 1, "{error}");
        }
    }
    assert!(!refused(&bytes[..bytes.len() / 2]).is_empty());
    assert!(!refused(b"").is_empty());
}

#[test]
#[cfg(unix)]
fn what_is_no_file_is_not_waited_for() {
    let place = Place::with(&conv_net(None));
    std::fs::remove_file(place.path("m.onnx")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(place.path("m.onnx")).status().unwrap();
    assert!(made.success());
    assert!(place.fails(&["info", "m.onnx"]).contains("no plain file"));
    assert!(place.fails(&["info", "/dev/zero", "--screen"]).contains("no plain file"));
}

#[test]
fn commands_screen_where_they_are_asked_to() {
    let place = Place::with(&conv_net(None));
    bundle(place.folder.path(), &conv_net(None));
    for model in ["m.onnx", "bundle"] {
        let ended = place.run(&["info", model, "--screen"]);
        assert_eq!(ended.code, 0, "{}", ended.err);
        assert!(ended.err.starts_with("screen      passed in "), "{}", ended.err);
    }
    let ended = place.run(&audit(&["--screen", "--quiet"]));
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    let ended = place.run(&audit(&[]));
    assert!(!ended.err.contains("screen"), "{}", ended.err);
    std::fs::write(place.path("m.onnx"), hostile::grows_when_run([1, 900, 900, 1])).unwrap();
    let message = place.fails(&["info", "m.onnx", "--screen"]);
    assert!(message.contains("bytes of memory when it is tried"), "{message}");
}
