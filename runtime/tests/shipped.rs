//! What comes with the program: models by name, pages of the manual, completions.

use std::path::Path;

use rift_models::zoo;

use super::small_models::linear_net;
use super::{Place, ended};

#[test]
fn a_name_that_the_zoo_lacks_is_answered_with_those_that_it_has() {
    let place = Place::with(&linear_net());
    for command in [&["info", "zoo:none"][..], &["serve", "zoo:none"], &["serve", "a=zoo:none"]] {
        let error = place.fails(command);
        assert!(error.contains("the zoo has no `none`"), "{error}");
        for name in zoo::entries().keys() {
            assert!(error.contains(name), "{error}");
        }
    }
}

#[test]
fn every_model_of_the_zoo_is_known_by_its_name() {
    let place = Place::with(&linear_net());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/zoo");
    for name in zoo::entries().keys() {
        let mut command = place.command(&["info", &format!("zoo:{name}")]);
        let ended = ended(command.env("RIFT_ZOO", &folder));
        assert_eq!(ended.code, 0, "{}", ended.err);
        assert!(ended.out.contains("resnet"), "{}", ended.out);
    }
}

#[test]
fn the_manual_has_a_page_for_every_command_and_completions_for_the_shells() {
    let place = Place::with(&linear_net());
    let ended = place.run(&["manual", "--out", "manual"]);
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    let read = |name: &str| std::fs::read_to_string(place.path("manual").join(name)).unwrap();
    assert!(read("rift-runtime.1").contains("audit"));
    assert!(read("rift-runtime-audit.1").contains("min\\-robust\\-accuracy"));
    for completions in ["rift-runtime.bash", "rift-runtime.fish", "_rift-runtime"] {
        assert!(read(completions).contains("min-robust-accuracy"), "{completions}");
    }
    assert!(!place.path("manual").join("rift-runtime-screen-child.1").exists());
}
