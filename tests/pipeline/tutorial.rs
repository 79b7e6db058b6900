//! `docs/tutorial.md`, done as it says, with small settings where it offers them.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use rift_models::artifact::{AuditReport, Bundle, Digest, read_json};
use rift_models::dataset::{Dataset, Request, Split};
use rift_tests::document::Page;
use rift_tests::program::{finish, folder_of_programs};
use rift_tests::skipped;

/// Classes and photos of each.
const PHOTOS: [usize; 2] = [5, 40];

/// A folder of class folders, as users have them.
fn photograph(folder: &Path) {
    let [classes, each] = PHOTOS;
    let images = format!("synthetic:{classes}x3x24x24,train=10,test={}", classes * each);
    let images = Dataset::open(Path::new(&images), &Request::new(Split::Test)).unwrap();
    let [channels, height, width] = images.input();
    for (index, label) in images.labels.iter().enumerate() {
        let class = folder.join(&images.classes[*label]);
        std::fs::create_dir_all(&class).unwrap();
        let planes = images.batch(index..index + 1);
        let photo = image::RgbImage::from_fn(width as u32, height as u32, |x, y| {
            let level = |c: usize| (planes[[0, c, y as usize, x as usize]] * 255.0).round() as u8;
            image::Rgb([0, 1, 2].map(|c| level(c.min(channels - 1))))
        });
        photo.save(class.join(format!("{index}.png"))).unwrap();
    }
}

/// The commands of the page as one script, in a process that has the programs on its path.
fn script(page: &Page, folder: &Path) -> Command {
    let commands = page.commands().concat();
    assert!(commands.contains("rift-runtime serve"), "{commands}");
    // Whatever fails, no server stays behind.
    let guard = "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n";
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let paths = [folder_of_programs()].into_iter().chain(std::env::split_paths(&paths));
    let mut command = Command::new("bash");
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("RIFT_") && name != "RIFT_ONNXRUNTIME" {
            command.env_remove(name);
        }
    }
    command.args(["-eu", "-o", "pipefail", "-c"]).arg(format!("{guard}{commands}"));
    command.env("PATH", std::env::join_paths(paths).unwrap()).current_dir(folder);
    command.env("RIFT_THREADS", "1").env("RIFT_QUIET", "1");
    // What little a network of four epochs knows, int8 may lose on some machine or other.
    command.env("EPOCHS", "4").env("DROP", "100").env("ATTACK", "pgd");
    command.env("PORT", port.to_string());
    command
}

#[test]
fn the_tutorial_ends_with_an_answer() {
    for program in ["bash", "curl"] {
        if Command::new(program).arg("--version").output().is_err() {
            return skipped(format_args!("no `{program}`, by which the tutorial is followed"));
        }
    }
    let folder = tempfile::tempdir().unwrap();
    photograph(&folder.path().join("photos"));
    let done = finish(&mut script(&Page::read("docs/tutorial.md"), folder.path())).success();

    let [classes, each] = PHOTOS;
    let bundle = Bundle::open(&folder.path().join("run/bundle8")).unwrap();
    assert!(bundle.card.quantization.is_some());
    assert_eq!(bundle.card.classes.len(), classes);
    let audit: AuditReport = read_json(&folder.path().join("audit.json"), "audit").unwrap();
    assert_eq!(audit.n, classes * each / 4);
    assert_eq!(audit.model.digest, Digest::of_file(&bundle.model()).unwrap());
    assert!(audit.twin.is_some());
    for page in ["audit.html", "run/rift/rift.html", "run/train/training.svg"] {
        assert!(folder.path().join(page).is_file(), "{page}");
    }
    let answer = done.stdout.lines().rfind(|line| line.starts_with('{')).unwrap();
    let answer: serde_json::Value = serde_json::from_str(answer).unwrap();
    let predictions = answer["images"][0]["predictions"].as_array().unwrap();
    assert_eq!(predictions.len(), 3);
    let name = predictions[0]["name"].as_str().unwrap();
    assert!(bundle.card.classes.iter().any(|class| class == name), "{answer}");
}
