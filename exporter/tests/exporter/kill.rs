//! A bundle is whole whenever the program that writes it is killed.

use std::process::Stdio;
use std::time::{Duration, Instant};

use rift_models::artifact::Bundle;

use crate::fixture::{Run, program};

const EXPORT: [&str; 5] = ["export", "--checkpoint", "rift.safetensors", "--out", "bundle"];

#[test]
fn a_kill_leaves_the_old_bundle_or_the_new_one() {
    let run = Run::new();
    run.exported();
    let started = Instant::now();
    run.exported();
    let whole = started.elapsed();
    // Two bundles that differ, so that a mixture of both would be seen: its digests do not agree.
    let names = ["one", "two"];
    let moments = 24;
    for moment in 0..moments {
        let mut child = program(&run.path(""))
            .args(EXPORT)
            .args(["--name", names[moment % 2]])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // From the beginning to past the end of what a run takes, the last part more closely.
        let share = (moment as f64 / f64::from(moments as u32)).sqrt() * 1.2;
        std::thread::sleep(Duration::from_secs_f64(whole.as_secs_f64() * share));
        child.kill().unwrap();
        child.wait().unwrap();
        let bundle = Bundle::open(&run.path("bundle"));
        assert!(bundle.is_ok(), "killed after {share:.2} of a run: {bundle:?}");
    }
    run.exported();
    assert!(Bundle::open(&run.path("bundle")).is_ok());
}
