//! What is served while a repository changes; a model is good here if its file says so.

use std::cell::RefCell;
use std::fs;

use super::*;

/// A shelf that serves files which hold `good`, and writes down what it is asked.
#[derive(Default)]
struct Books {
    ready: RefCell<BTreeMap<(String, u64), String>>,
    /// What is not served, with a reason.
    refused: RefCell<BTreeSet<(String, u64)>>,
    loads: RefCell<Vec<(String, u64)>>,
}

impl Shelf for Books {
    fn load(&self, version: &Source) -> Result<(), String> {
        let key = (version.name.clone(), version.version);
        self.loads.borrow_mut().push(key.clone());
        let content = fs::read_to_string(&version.path).unwrap_or_default();
        if !content.starts_with("good") {
            self.refused.borrow_mut().insert(key);
            return Err(content);
        }
        self.refused.borrow_mut().remove(&key);
        self.ready.borrow_mut().insert(key, content);
        Ok(())
    }

    fn forget(&self, name: &str, version: u64) {
        self.ready.borrow_mut().remove(&(name.to_owned(), version));
        self.refused.borrow_mut().remove(&(name.to_owned(), version));
    }

    fn ready(&self, name: &str) -> Vec<u64> {
        let ready = self.ready.borrow();
        ready.keys().filter(|(other, _)| other == name).map(|(_, version)| *version).collect()
    }
}

struct Place {
    folder: tempfile::TempDir,
    repository: Repository,
    books: Books,
}

impl Place {
    fn with(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let repository = Repository::new(folder.path());
        let mut place = Self { folder, repository, books: Books::default() };
        place.put(files);
        place.repository.open(&place.books).unwrap();
        place
    }

    /// Writes files by replacing them, as who deploys does.
    fn put(&mut self, files: &[(&str, &str)]) {
        for (path, content) in files {
            let path = self.folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let new = path.with_extension("new");
            fs::write(&new, content).unwrap();
            fs::rename(new, path).unwrap();
        }
    }

    fn poll(&mut self, times: usize) {
        for _ in 0..times {
            self.repository.poll(&self.books).unwrap();
        }
    }

    /// The versions of `m` that are served, and how often something was opened.
    fn state(&self) -> (Vec<u64>, usize) {
        (self.books.ready("m"), self.books.loads.borrow().len())
    }
}

#[test]
fn the_newest_version_is_served_and_replaced_when_a_newer_one_is_ready() {
    let mut place = Place::with(&[("m/1/model.onnx", "good"), ("m/2/model.onnx", "good")]);
    assert_eq!(place.state(), (vec![2], 1));
    place.put(&[("m/3/model.onnx", "good")]);
    place.poll(1);
    assert_eq!(place.state(), (vec![2], 1), "a file that is new may still be growing");
    place.poll(1);
    assert_eq!(place.state(), (vec![3], 2));
    place.poll(3);
    assert_eq!(place.state(), (vec![3], 2), "nothing is opened twice");
}

#[test]
fn a_bad_version_leaves_the_good_one_and_is_tried_once() {
    let mut place = Place::with(&[("m/1/model.onnx", "good")]);
    place.put(&[("m/2/model.onnx", "garbage")]);
    place.poll(5);
    assert_eq!(place.state(), (vec![1], 2));
    place.put(&[("m/2/model.onnx", "good at last")]);
    place.poll(2);
    assert_eq!(place.state(), (vec![2], 3));
}

#[test]
fn a_version_that_is_replaced_by_garbage_is_served_on() {
    let mut place = Place::with(&[("m/1/model.onnx", "good")]);
    place.put(&[("m/1/model.onnx", "garbage, and longer")]);
    place.poll(3);
    assert_eq!(place.state(), (vec![1], 2));
    assert_eq!(place.books.ready.borrow()[&("m".to_owned(), 1)], "good");
}

#[test]
fn what_is_deleted_is_taken_down_when_it_stays_away() {
    let mut place = Place::with(&[("m/1/model.onnx", "good")]);
    let aside = place.folder.path().with_extension("aside");
    fs::rename(place.folder.path().join("m"), &aside).unwrap();
    place.poll(1);
    assert_eq!(place.state().0, [1]);
    fs::rename(&aside, place.folder.path().join("m")).unwrap();
    place.poll(3);
    assert_eq!(place.state(), (vec![1], 1), "it came back as it was");
    fs::remove_dir_all(place.folder.path().join("m")).unwrap();
    place.poll(2);
    assert_eq!(place.state().0, [0; 0]);
}

#[test]
fn what_was_refused_is_forgotten_with_its_file() {
    let mut place = Place::with(&[("m/1/model.onnx", "good"), ("bad/1/model.onnx", "garbage")]);
    let refused = |place: &Place| place.books.refused.borrow().len();
    assert_eq!(refused(&place), 1);
    fs::remove_dir_all(place.folder.path().join("bad")).unwrap();
    place.poll(1);
    assert_eq!((refused(&place), place.state().0), (0, vec![1]));
    // So it is where another version, or none, is left.
    place.put(&[("m/2/model.onnx", "garbage"), ("bad/1/model.onnx", "garbage")]);
    place.poll(2);
    assert_eq!((refused(&place), place.state().0), (2, vec![1]));
    fs::remove_dir_all(place.folder.path().join("m/2")).unwrap();
    fs::remove_dir_all(place.folder.path().join("bad/1")).unwrap();
    place.poll(1);
    assert_eq!((refused(&place), place.state().0), (0, vec![1]));
}

#[test]
fn a_bundle_is_tried_again_whichever_file_comes_late() {
    let mut place = Place::with(&[("m/1/model.onnx", "good")]);
    place.put(&[("m/2/card.json", "{}"), ("m/2/model.onnx", "good")]);
    place.poll(3);
    assert_eq!(place.state(), (vec![1], 2), "a folder is no text that says that it is good");
    for (tries, file) in [(3, "model.sig"), (4, "optimized.onnx"), (5, "preprocessing.json")] {
        place.put(&[(format!("m/2/{file}").as_str(), "late")]);
        place.poll(3);
        assert_eq!(place.state().1, tries, "{file}");
    }
}

#[test]
fn a_lost_file_or_folder_takes_nothing_down() {
    let mut place = Place::with(&[("m/1/model.onnx", "good")]);
    fs::remove_file(place.folder.path().join("m/1/model.onnx")).unwrap();
    place.poll(3);
    assert_eq!(place.state().0, [1], "a folder without a version says nothing of what is served");
    place.put(&[("m/config.pbtxt", "name: \"other\"")]);
    place.poll(3);
    assert_eq!(place.state().0, [1]);
    fs::remove_dir_all(place.folder.path()).unwrap();
    assert!(place.repository.poll(&place.books).is_err());
    assert_eq!(place.state().0, [1]);
}

#[test]
fn a_policy_chooses_and_changes() {
    let all = "version_policy { all {} }";
    let mut place = Place::with(&[
        ("m/1/model.onnx", "good"),
        ("m/2/model.onnx", "good"),
        ("m/config.pbtxt", all),
    ]);
    assert_eq!(place.state(), (vec![1, 2], 2));
    place.put(&[("m/config.pbtxt", "version_policy { specific { versions: [1] } }")]);
    place.poll(1);
    assert_eq!(place.state(), (vec![1], 2));
}

#[test]
fn a_model_is_loaded_when_it_is_asked_for() {
    let mut place = Place::with(&[("m/1/model.onnx", "good")]);
    place.put(&[("m/2/model.onnx", "good")]);
    place.repository.load("m", &place.books).unwrap();
    assert_eq!(place.state(), (vec![2], 2));
    place.put(&[("m/3/model.onnx", "bad")]);
    assert_eq!(place.repository.load("m", &place.books), Err("bad".to_owned()));
    assert_eq!(place.state().0, [2]);
    for name in ["none", "..", ""] {
        assert!(place.repository.load(name, &place.books).is_err(), "{name}");
    }
}
