//! The examples of `docs/scale.md`, run as they stand with a scheduler's variables.
#![cfg(unix)]

use std::fs;
use std::path::Path;
use std::process::Command;

use super::small_models::conv_net;
use super::{Ended, Place, ended, report};

/// Images of every part together.
const IMAGES: usize = 24;
const DATA: &str = "synthetic:4x3x8x8,test=24";

/// The blocks of a language, in order.
fn blocks(language: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/scale.md");
    let text = fs::read_to_string(path).unwrap();
    let start = format!("```{language}\n");
    let blocks = text.split(&start).skip(1);
    blocks.map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// A folder with a model and one for the parts, where the program is on the path and its audits are
/// short.
fn place() -> Place {
    let place = Place::with(&conv_net(None));
    fs::create_dir(place.path("parts")).unwrap();
    place
}

fn set(place: &Place, command: &mut Command) {
    let program = Path::new(env!("CARGO_BIN_EXE_rift-runtime"));
    let mut paths = vec![program.parent().unwrap().to_owned()];
    paths.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap()));
    command.env("PATH", std::env::join_paths(paths).unwrap()).current_dir(place.folder.path());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("RIFT_")) {
        command.env_remove(name);
    }
    command.envs([("MODEL", "m.onnx"), ("DATA", DATA), ("RIFT_EPS", "2/255")]);
}

fn shell(place: &Place, script: &str, variables: &[(&str, &str)]) -> Ended {
    let mut command = Command::new("bash");
    set(place, &mut command);
    // The standard attack is what the examples show; here it would only take time.
    let script = script.replace("--attack autoattack", "--attack fgsm");
    command.args(["-e", "-c", &script]).envs(variables.iter().copied());
    ended(&mut command)
}

/// The merged report is that of all images.
fn is_whole(place: &Place, json: &str) {
    let report = report(&place.path(json));
    assert_eq!((report.n, report.shard), (IMAGES, None));
    let indices: Vec<usize> = report.samples.iter().map(|sample| sample.index).collect();
    assert_eq!(indices, (0..IMAGES).collect::<Vec<_>>());
}

#[test]
fn a_slurm_array_makes_one_report() {
    let [part, merge] = <[String; 2]>::try_from(blocks("sh")).unwrap();
    let place = place();
    for id in 1..=8 {
        let id = id.to_string();
        let variables = [
            ("SLURM_ARRAY_TASK_ID", id.as_str()),
            ("SLURM_ARRAY_TASK_MIN", "1"),
            ("SLURM_ARRAY_TASK_MAX", "8"),
            ("SLURM_ARRAY_TASK_STEP", "1"),
            ("SLURM_ARRAY_TASK_COUNT", "8"),
            ("SLURM_CPUS_PER_TASK", "1"),
        ];
        let made = shell(&place, &part, &variables);
        assert_eq!((made.code, made.err.as_str()), (0, ""));
        assert!(made.out.contains(&format!("{id} of 8, of {IMAGES} images")), "{}", made.out);
        // Submitted again, it finds its part and does nothing.
        let again = shell(&place, &part, &variables);
        assert_eq!((again.code, again.out.as_str()), (0, ""));
    }
    let merged = shell(&place, &merge, &[]);
    // The threshold is not met or met: either way the report is there.
    assert!((0..=1).contains(&merged.code), "{}", merged.err);
    is_whole(&place, "audit.json");
    assert!(fs::read_to_string(place.path("audit.xml")).unwrap().contains("<testsuite "));
    assert!(fs::read_to_string(place.path("audit.html")).unwrap().contains("</html>"));
}

#[test]
fn an_indexed_job_makes_every_part() {
    let manifest = blocks("yaml").remove(0);
    let (before, script) = manifest.split_once("            - |\n").unwrap();
    let lines = script.lines().take_while(|line| line.starts_with("              "));
    let script: Vec<&str> = lines.map(str::trim_start).collect();
    let completions = before.lines().find_map(|l| l.trim().strip_prefix("completions: ")).unwrap();
    // The number that Kubernetes counts to is the one that the pods are told.
    assert!(before.contains(&format!("JOB_COMPLETIONS, value: \"{completions}\"")));
    let place = place();
    let of: usize = completions.parse().unwrap();
    for index in 0..of {
        let index = index.to_string();
        let variables =
            [("JOB_COMPLETION_INDEX", index.as_str()), ("JOB_COMPLETIONS", completions)];
        let made = shell(&place, &script.join("\n"), &variables);
        assert_eq!((made.code, made.err.as_str()), (0, ""));
    }
    let names: Vec<String> = (0..of).map(|index| format!("parts/{index}.json")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let merged = place.run(&[&["audit-merge", "--json", "audit.json"], &names[..]].concat());
    assert_eq!((merged.code, merged.err.as_str()), (0, ""));
    is_whole(&place, "audit.json");
}

/// As much of Ray as the example uses, one task after another.
const RAY: &str = "
def init():
    pass

def get(results):
    return results

def remote(**options):
    assert options['retry_exceptions'], options
    class Task:
        def __init__(self, function):
            self.remote = function
    return Task
";

#[test]
fn ray_tasks_make_one_report() {
    let place = place();
    fs::write(place.path("ray.py"), RAY).unwrap();
    let script = blocks("python").remove(0).replace("\"autoattack\"", "\"fgsm\"");
    fs::write(place.path("example.py"), script).unwrap();
    let mut command = Command::new("python3");
    set(&place, &mut command);
    if command.arg("--version").output().is_err() {
        eprintln!("skipped: there is no python3");
        return;
    }
    let mut command = Command::new("python3");
    set(&place, &mut command);
    let made = ended(command.arg("example.py"));
    assert_eq!((made.code, made.err.as_str()), (0, ""));
    is_whole(&place, "audit.json");
}

#[test]
fn a_part_is_never_made_unasked_and_a_scheduler_that_says_nothing_is_an_error() {
    let place = place();
    let script = "rift-runtime audit m.onnx --data \"$DATA\" --attack fgsm --json a.json";
    let slurm = [("SLURM_ARRAY_TASK_ID", "2"), ("SLURM_ARRAY_TASK_COUNT", "8")];
    assert_eq!(shell(&place, script, &slurm).code, 0);
    is_whole(&place, "a.json");
    let nobody = shell(&place, &format!("{script} --shard"), &[]);
    assert_eq!((nobody.code, nobody.err.lines().count()), (2, 1), "{}", nobody.err);
    assert!(nobody.err.contains("SLURM_ARRAY_TASK_ID"), "{}", nobody.err);
}
