//! The models that ship with Rift, by name.
//!
//! They lie in `models/zoo/` of the source and in `share/rift/zoo/` of an installation. What each one
//! is, and the commands that made it, stands beside it. [`locate`] trusts no folder: a bundle is the
//! one of that name if its card has the digest that this program was built with, and the card in turn
//! names the digest of every other file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde::Deserialize;

use crate::artifact::{Bundle, Digest, DigestError};

/// What is before a name of the zoo where a path could be.
const SCHEME: &str = "zoo:";
/// The folder of the zoo, where it is not beside the program.
const FOLDER: &str = "RIFT_ZOO";
/// Where the zoo lies below a folder that the program is in: installed, and in a checkout.
const PLACES: [&str; 2] = ["share/rift/zoo", "models/zoo"];

/// A model of the zoo.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The bundle, below the zoo's folder.
    pub bundle: PathBuf,
    /// The digest of its card.
    pub card: Digest,
}

/// A model of the zoo that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ZooError {
    /// No model has the name.
    #[error("the zoo has no `{name}`, expected {}", listing())]
    Unknown {
        /// The name.
        name: String,
    },
    /// The zoo is not where it could be.
    #[error(
        "cannot find the zoo beside the program, expected a folder `{}` or `{}`; RIFT_ZOO names \
         another",
        PLACES[0],
        PLACES[1]
    )]
    Absent,
    /// The zoo that was found lacks the model.
    #[error(transparent)]
    Card(#[from] DigestError),
    /// It is another version's, or was changed.
    #[error("`{path}` is not the model of this version: expected a card {expected}, found {found}")]
    Changed {
        /// The card.
        path: String,
        /// The digest that this program knows.
        expected: Digest,
        /// The file's.
        found: Digest,
    },
}

/// The models by name.
///
/// # Panics
/// Never: the index is part of the program, and a test reads it.
#[expect(clippy::expect_used, reason = "the file is compiled in")]
pub fn entries() -> &'static BTreeMap<String, Entry> {
    static ENTRIES: LazyLock<BTreeMap<String, Entry>> = LazyLock::new(|| {
        serde_json::from_str(include_str!("../zoo/index.json")).expect("a valid index")
    });
    &ENTRIES
}

/// NAME of `zoo:NAME`.
pub fn name(model: &str) -> Option<&str> {
    model.strip_prefix(SCHEME)
}

/// The bundle that `model` means: the folder of `zoo:NAME`, any other path as it is.
///
/// # Errors
/// If there is no such name, no zoo beside the program, or another bundle under that name.
pub fn locate(model: PathBuf) -> Result<PathBuf, ZooError> {
    let Some(name) = model.to_str().and_then(name) else {
        return Ok(model);
    };
    let entry = entries().get(name).ok_or_else(|| ZooError::Unknown { name: name.to_owned() })?;
    let zoo = std::env::var_os(FOLDER).map(PathBuf::from).or_else(beside_program);
    open(&zoo.ok_or(ZooError::Absent)?, entry)
}

/// The bundle of `entry` in the folder `zoo`.
fn open(zoo: &Path, entry: &Entry) -> Result<PathBuf, ZooError> {
    let bundle = zoo.join(&entry.bundle);
    let card = bundle.join(Bundle::CARD);
    let (expected, found) = (entry.card.clone(), Digest::of_file(&card)?);
    if found == expected {
        Ok(bundle)
    } else {
        Err(ZooError::Changed { path: card.display().to_string(), expected, found })
    }
}

/// The zoo in a folder that the program is in, the nearest first.
fn beside_program() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let places = program.ancestors().skip(1).flat_map(|dir| PLACES.map(|place| dir.join(place)));
    places.into_iter().find(|place| place.is_dir())
}

fn listing() -> String {
    let names: Vec<_> = entries().keys().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_left_as_it_is() {
        let path = PathBuf::from("runs/zoo/bundle");
        assert_eq!(locate(path.clone()).unwrap(), path);
    }

    #[test]
    fn an_unknown_name_is_answered_with_those_that_there_are() {
        let error = locate("zoo:none".into()).unwrap_err().to_string();
        assert!(error.starts_with("the zoo has no `none`, expected "), "{error}");
    }

    #[test]
    fn a_bundle_is_known_by_its_card() {
        let zoo = tempfile::tempdir().unwrap();
        let bundle = zoo.path().join("mine/bundle");
        std::fs::create_dir_all(&bundle).unwrap();
        let entry = Entry { bundle: "mine/bundle".into(), card: Digest::of_bytes(b"{}") };
        assert!(matches!(open(zoo.path(), &entry), Err(ZooError::Card(_))));
        std::fs::write(bundle.join(Bundle::CARD), "{}").unwrap();
        assert_eq!(open(zoo.path(), &entry).unwrap(), bundle);
        std::fs::write(bundle.join(Bundle::CARD), "{ }").unwrap();
        assert!(matches!(open(zoo.path(), &entry), Err(ZooError::Changed { .. })));
    }

    /// Every bundle of the folder is in the index and the other way round, whole, and small enough to
    /// be kept in a repository.
    #[test]
    fn the_index_is_the_folder() {
        const LARGEST: u64 = 8_000_000;
        let zoo = Path::new(env!("CARGO_MANIFEST_DIR")).join("zoo");
        let mut bytes = 0;
        let mut found = Vec::new();
        let mut folders = vec![zoo.clone()];
        while let Some(folder) = folders.pop() {
            for file in std::fs::read_dir(&folder).unwrap() {
                let file = file.unwrap();
                let metadata = file.metadata().unwrap();
                bytes += metadata.len();
                if metadata.is_dir() {
                    folders.push(file.path());
                } else if file.file_name() == Bundle::CARD {
                    found.push(folder.strip_prefix(&zoo).unwrap().to_owned());
                }
            }
        }
        found.sort();
        let mut named: Vec<_> = entries().values().map(|entry| entry.bundle.clone()).collect();
        named.sort();
        assert_eq!(found, named);
        assert!(bytes < LARGEST, "{bytes} bytes");
        for entry in entries().values() {
            Bundle::open(&open(&zoo, entry).unwrap()).unwrap();
        }
    }
}
