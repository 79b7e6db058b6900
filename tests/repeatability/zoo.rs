//! The models that ship give the verdicts that their audits record.

use std::path::{Path, PathBuf};

use rift_models::artifact::{AuditReport, Bundle, read_json};
use rift_models::zoo;
use rift_tests::document::root;
use rift_tests::program::finish;
use rift_tests::{Program, images, skipped};

/// As many as the four attacks of AutoAttack take a minute for.
const IMAGES: usize = 4;

/// The models that ship, or none with a note that the test is skipped.
fn shipped() -> impl Iterator<Item = (&'static String, &'static zoo::Entry)> {
    if zoo::entries().is_empty() {
        skipped("no model ships yet");
    }
    zoo::entries().iter()
}

/// Where the images of an audit are on this machine, if they are.
fn data(report: &AuditReport) -> Option<PathBuf> {
    let request = report.request.as_ref().unwrap();
    let fetched = root().join(&request.data);
    if fetched.exists() {
        return Some(fetched);
    }
    images::shared(Path::new(&request.data).file_name().unwrap().to_str().unwrap())
}

fn audited_again(name: &str, data: &Path) -> AuditReport {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("audit.json");
    let mut command = Program::Runtime.command(["audit", &format!("zoo:{name}"), "--quiet"]);
    command.args(["--attack", "autoattack", "--limit", &IMAGES.to_string()]);
    command.arg("--data").arg(data).arg("--json").arg(&json);
    if let Some(float) = name.strip_suffix("-int8") {
        command.args(["--gradients-from", &format!("zoo:{float}")]);
    }
    let _ = finish(&mut command).success();
    read_json(&json, "audit").unwrap()
}

#[test]
fn every_model_has_the_audit_of_its_file() {
    for (name, entry) in shipped() {
        let folder = root().join("models/zoo").join(&entry.bundle);
        let report: AuditReport = read_json(&folder.join("../audit.json"), "audit").unwrap();
        let bundle = Bundle::open(&folder).unwrap();
        assert_eq!(report.model.digest, bundle.card.model, "{name}");
        assert_eq!((report.n, report.samples.len()), (1000, 1000), "{name}");
        let attacks: Vec<&str> = report.attacks.iter().map(|ran| ran.name.as_str()).collect();
        assert_eq!(attacks, ["apgd-ce", "apgd-t", "fab-t", "square"], "{name}");
    }
}

#[test]
fn an_audit_from_scratch_gives_the_recorded_verdicts() {
    for (name, entry) in shipped() {
        let folder = root().join("models/zoo").join(&entry.bundle);
        let recorded: AuditReport = read_json(&folder.join("../audit.json"), "audit").unwrap();
        let Some(data) = data(&recorded) else {
            skipped(format!("zoo:{name} is not audited"));
            continue;
        };
        let found = audited_again(name, &data);
        assert_eq!(found.samples, recorded.samples[..IMAGES], "{name}");
    }
}
