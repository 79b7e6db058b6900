//! Audits made again, through the whole program.

use std::fs;

use rift_models::artifact::{Accuracy, AuditReport, Digest};

use crate::small_models::conv_net;
use crate::{Place, audit, report};

/// A way to change a report, and what a replay says of it.
type Tampering = (fn(&mut AuditReport), &'static str);

/// Writes `report` so changed, replays it, and returns the status and what is said of it.
fn replay(place: &Place, report: &AuditReport, tamper: fn(&mut AuditReport)) -> (i32, String) {
    let mut report = report.clone();
    tamper(&mut report);
    fs::write(place.path("b.json"), serde_json::to_vec(&report).unwrap()).unwrap();
    let ended = place.run(&["audit", "--replay", "b.json"]);
    assert_eq!(ended.err, "");
    let said = ended.out.lines().filter(|line| line.starts_with("replay ")).collect::<Vec<_>>();
    (ended.code, said.join("\n"))
}

#[test]
fn whatever_a_replay_finds_otherwise_is_named() {
    let place = Place::with(&conv_net(None));
    assert_eq!(place.run(&audit(&["--json", "a.json"])).code, 0);
    let made = report(&place.path("a.json"));
    let tampered: [Tampering; 7] = [
        (|r| r.clean_accuracy = 0.5, "0 images differ, beside: clean accuracy"),
        (|r| r.interval.lower -= 0.01, "0 images differ, beside: interval"),
        (|r| r.clean_interval.upper = 1.0, "0 images differ, beside: clean interval"),
        (|r| r.attacks[0].robust = Accuracy::new(24, 24), "0 images differ, beside: attacks"),
        (|r| r.threat.eps = "0.5".parse().unwrap(), "0 images differ, beside: threat"),
        (|r| r.attacks[0].settings["steps"] = 40.into(), "0 images differ, beside: attacks"),
        (|r| drop(r.samples.pop()), "1 images differ, beside: nothing else"),
    ];
    for (tamper, expected) in tampered {
        let (code, said) = replay(&place, &made, tamper);
        assert!(code == 1 && said.ends_with(expected), "{expected}: {said}");
    }
    // Neither a clock nor another machine makes another audit.
    let elsewhere = |r: &mut AuditReport| {
        r.attacks[0].seconds = None;
        r.runtime.instruction_set = vec!["abacus".to_owned()];
    };
    let (code, said) = replay(&place, &made, elsewhere);
    assert!(code == 0 && said.ends_with("bit for bit"), "{said}");
}

#[test]
fn corruptions_are_repeated_or_it_is_said_that_they_were_not() {
    let place = Place::with(&conv_net(None));
    let asked = ["--corruptions", "fog,snow", "--severity", "1,5", "--json", "a.json"];
    assert_eq!(place.run(&audit(&asked)).code, 0);
    let made = report(&place.path("a.json"));
    let (code, said) = replay(&place, &made, |_| ());
    assert!(code == 0 && said.ends_with("bit for bit"), "{said}");
    let better = |r: &mut AuditReport| {
        r.corruptions.as_mut().unwrap().rows[1].accuracy = Accuracy::new(24, 24);
    };
    let (code, said) = replay(&place, &made, better);
    assert!(code == 1 && said.ends_with("0 images differ, beside: corruptions"), "{said}");
    let published = |r: &mut AuditReport| {
        r.corruptions.as_mut().unwrap().published = Some(Digest::of_bytes(b"elsewhere"));
    };
    let (code, said) = replay(&place, &made, published);
    assert!(code == 0 && said.ends_with("they were not repeated"), "{said}");
}
