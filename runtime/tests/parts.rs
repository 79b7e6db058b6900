//! The parts of an audit and the report that is made of them, through the whole program.

use std::fs;

use rift_models::artifact::AuditReport;

use crate::small_models::{conv_net, linear_net};
use crate::{DATA, Place, report};

const FEW: [&str; 8] = ["audit", "m.onnx", "--data", DATA, "--steps", "2", "--no-timing", "--json"];

/// What a part is told to say of its images that they do not, and how it comes to say it.
type Tampering<'t> = (&'static str, &'t dyn Fn(&mut AuditReport));

/// Writes part `number` of `of`, and returns its report.
fn part(place: &Place, (number, of): (usize, usize), more: &[&str]) -> AuditReport {
    let (name, shard) = (format!("{number}.json"), format!("{number}/{of}"));
    let ended = place.run(&[&FEW[..], &[&name, "--shard", &shard], more].concat());
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    report(&place.path(&name))
}

fn write(place: &Place, name: &str, report: &AuditReport) {
    fs::write(place.path(name), serde_json::to_vec(report).unwrap()).unwrap();
}

#[test]
fn a_part_without_images_is_a_part() {
    // What ends in a softmax is warned of by its answers, of which such a part has none.
    let place = Place::with(&conv_net(Some("Softmax")));
    let more = ["--limit", "3", "--certify", "smoothing", "--sigma", "0.25"];
    let more =
        [&more[..], &["--smoothing-samples", "10,50", "--gradients-from", "m.onnx"]].concat();
    let files = ["--html", "part.html", "--save-adversarial", "part.npz"];
    let sizes = (1..=5).map(|number| {
        let part = part(&place, (number, 5), &[&more[..], &files].concat());
        let page = fs::read_to_string(place.path("part.html")).unwrap();
        assert!(!page.contains("NaN"), "{page}");
        part.n
    });
    assert_eq!(sizes.collect::<Vec<_>>(), [0, 1, 0, 1, 1]);
    let names = ["1.json", "2.json", "3.json", "4.json", "5.json"];
    let merged = place.run(&[&["audit-merge", "--json", "merged.json"], &names[..]].concat());
    assert_eq!((merged.code, merged.err.as_str()), (0, ""));
    let whole = place.run(&[&FEW[..], &["whole.json"], &more].concat());
    assert_eq!((whole.code, whole.err.as_str()), (0, ""));
    let read = |name: &str| fs::read_to_string(place.path(name)).unwrap();
    assert!(read("whole.json").contains("probabilities: "));
    assert_eq!(read("merged.json"), read("whole.json"));
    let ended = place.run(&["audit", "--replay", "1.json"]);
    assert!(ended.out.contains("bit for bit"), "{} {}", ended.out, ended.err);
}

#[test]
fn parts_are_told_apart_by_what_was_done_and_not_by_where() {
    let place = Place::with(&conv_net(None));
    for name in ["twin.onnx", "elsewhere.onnx"] {
        linear_net().write(&place.path(name)).unwrap();
    }
    let more = ["--limit", "12", "--gradients-from"];
    part(&place, (1, 2), &[&more[..], &["twin.onnx"]].concat());
    let mut second = part(&place, (2, 2), &[&more[..], &["elsewhere.onnx"]].concat());
    second.model.path = "/mnt/m.onnx".to_owned();
    second.request.as_mut().unwrap().data = "/mnt/data".to_owned();
    write(&place, "2.json", &second);
    let merged = place.run(&["audit-merge", "1.json", "2.json", "--json", "merged.json"]);
    assert_eq!((merged.code, merged.err.as_str()), (0, ""));
    assert_eq!(report(&place.path("merged.json")).model.path, "m.onnx");

    let mut other = second.clone();
    other.runtime.steering = Some("bf16".to_owned());
    write(&place, "2.json", &other);
    let message = place.fails(&["audit-merge", "1.json", "2.json"]);
    assert!(message.contains("their precisions of the gradients differ"), "{message}");
    other = second;
    other.model.digest = other.model.data.clone();
    write(&place, "2.json", &other);
    let message = place.fails(&["audit-merge", "1.json", "2.json"]);
    assert!(message.contains("their models or data differ"), "{message}");
}

#[test]
fn a_part_that_contradicts_its_images_is_refused() {
    let place = Place::with(&conv_net(None));
    let smoothed = ["--certify", "smoothing", "--sigma", "0.2", "--smoothing-samples", "5,50"];
    let radii = ["--limit", "12", "--norm", "l2", "--eps", "0.1,0.4", "--attack", "fast"];
    let asked = |json: &'static str, more: &[&'static str]| {
        let few = ["audit", "m.onnx", "--data", DATA, "--no-timing", "--json", json];
        let ended = place.run(&[&few[..], &radii, &smoothed, more].concat());
        assert_eq!((ended.code, ended.err.as_str()), (0, ""));
        report(&place.path(json))
    };
    asked("1.json", &["--shard", "1/2"]);
    let honest = asked("2.json", &["--shard", "2/2"]);
    let merge = ["audit-merge", "1.json", "2.json", "--json", "merged.json"];
    assert_eq!(place.run(&merge).code, 0);
    asked("whole.json", &[]);
    assert_eq!(report(&place.path("merged.json")), report(&place.path("whole.json")));
    let broken = honest.samples.iter().position(|sample| sample.broken_at.is_some()).unwrap();
    let tampered: [Tampering<'_>; 6] = [
        ("attacks' counts are", &|r| r.attacks[0].broken += 1),
        ("attacks' counts are", &|r| r.attacks[1].attacked += 1),
        ("robust accuracy is", &|r| r.robust_accuracy = 1.0),
        ("curve is", &|r| r.curve[0].robust.correct += 1),
        ("verdict on an image is", &|r| r.samples[broken].broken_at = None),
        ("certificate is", &|r| r.certified.as_mut().unwrap().abstained += 1),
    ];
    for (what, tamper) in tampered {
        let mut other = honest.clone();
        tamper(&mut other);
        write(&place, "2.json", &other);
        let message = place.fails(&merge);
        let expected = format!("`2.json` contradicts itself: its {what} not what its images");
        assert!(message.contains(&expected), "{message}");
    }
}

#[test]
fn the_page_of_a_later_part_has_pictures() {
    let place = Place::with(&conv_net(None));
    let more = ["--limit", "420", "--eps", "0.2", "--html", "part.html"];
    let last = part(&place, (21, 21), &more);
    assert_eq!((last.n, last.samples[0].index), (20, 400));
    assert!(last.attacks[0].broken > 0);
    let page = fs::read_to_string(place.path("part.html")).unwrap();
    assert!(page.contains("Broken images") && page.contains("data:image/png;base64,"));
}
