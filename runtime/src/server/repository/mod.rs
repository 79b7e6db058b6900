//! A model repository in Triton's layout, and what is served of it.
//!
//! ```text
//! REPOSITORY/NAME/config.pbtxt   (may be absent)
//! REPOSITORY/NAME/1/model.onnx   or a bundle: card.json and probe.safetensors beside it
//! REPOSITORY/NAME/2/model.onnx
//! ```
//!
//! Of each model the newest version is served, or those that `version_policy` names. A version is
//! opened when its file is there and has stopped changing; until one of those that are asked for
//! is ready, what was served before is served on. So a bad version, a half-copied file or a
//! repository that is gone for a moment takes nothing down.
//!
//! # References
//! Triton Inference Server, `docs/user_guide/model_repository.md` and `model_configuration.md`.

mod layout;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use layout::{Fingerprint, Found};

use super::registry::{Registry, Source, in_one_line};

/// Where the models of a repository are served.
pub trait Shelf {
    /// Opens a version, in the place of what is served under its name and number; if that fails,
    /// what is served is served on.
    ///
    /// # Errors
    /// Why it is not served.
    fn load(&self, source: &Source) -> Result<(), String>;
    /// Serves a version no more.
    fn forget(&self, name: &str, version: u64);
    /// The versions of a model that are served.
    fn ready(&self, name: &str) -> Vec<u64>;
}

impl Shelf for Registry {
    fn load(&self, source: &Source) -> Result<(), String> {
        self.load(source).map(drop).map_err(|refused| in_one_line(&refused))
    }

    fn forget(&self, name: &str, version: u64) {
        self.forget(name, version);
    }

    fn ready(&self, name: &str) -> Vec<u64> {
        self.ready_versions(name)
    }
}

/// A repository, with what has been made of it so far.
#[derive(Debug)]
pub struct Repository {
    folder: PathBuf,
    seen: BTreeMap<String, BTreeMap<u64, Seen>>,
    /// Models that were not there when it was last looked.
    missing: BTreeSet<String>,
    /// What was last said of each model that cannot be read.
    complaints: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Seen {
    print: Fingerprint,
    /// Whether this content has been opened, well or not.
    is_tried: bool,
}

impl Repository {
    /// The repository in `folder`, of which nothing is served yet.
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            seen: BTreeMap::new(),
            missing: BTreeSet::new(),
            complaints: BTreeMap::new(),
        }
    }

    /// Opens what is there now, whether or not its files have stopped changing: what a server does when it
    /// starts.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn open(&mut self, shelf: &dyn Shelf) -> std::io::Result<()> {
        self.update(shelf, true)
    }

    /// Looks for what is new and changed, opens it, and takes off the shelf what was replaced or is
    /// gone.
    ///
    /// # Errors
    /// If the folder cannot be read; everything is then served on.
    pub fn poll(&mut self, shelf: &dyn Shelf) -> std::io::Result<()> {
        self.update(shelf, false)
    }

    /// Opens the versions that are asked for of the model `name`, changed or not.
    ///
    /// # Errors
    /// If there is no such model, its settings cannot be read or one of the versions is not served.
    pub fn load(&mut self, name: &str, shelf: &dyn Shelf) -> Result<(), String> {
        let wanted = layout::one(&self.folder, name)?;
        let seen = self.seen.get_mut(name).into_iter().flat_map(BTreeMap::values_mut);
        seen.for_each(|seen| seen.is_tried = false);
        self.serve(name, &wanted.versions, (shelf, true))
    }

    /// Whether there is a folder for the model `name`.
    pub fn has(&self, name: &str) -> bool {
        layout::has(&self.folder, name)
    }

    fn update(&mut self, shelf: &dyn Shelf, at_once: bool) -> std::io::Result<()> {
        let models = layout::scan(&self.folder)?;
        let gone: BTreeSet<String> =
            self.seen.keys().filter(|name| !models.contains_key(*name)).cloned().collect();
        for (name, wanted) in &models {
            match wanted {
                Ok(wanted) => {
                    self.complaints.remove(name);
                    // The index of the shelf says what was wrong.
                    let _ = self.serve(name, &wanted.versions, (shelf, at_once));
                }
                Err(why) => {
                    self.complain(name, why);
                    self.clear(name, &BTreeMap::new(), shelf);
                }
            }
        }
        for name in &gone {
            let ready = shelf.ready(name);
            // Whoever replaces a folder takes it away first: what is served must be missing twice.
            if ready.is_empty() || self.missing.contains(name) {
                let known = self.seen.remove(name).unwrap_or_default().into_keys();
                known.chain(ready).for_each(|version| shelf.forget(name, version));
            }
        }
        self.missing = gone;
        Ok(())
    }

    /// Opens what is new of one model, and forgets what is replaced by something that is ready.
    fn serve(
        &mut self,
        name: &str,
        wanted: &BTreeMap<u64, Found>,
        (shelf, at_once): (&dyn Shelf, bool),
    ) -> Result<(), String> {
        let mut outcome = Ok(());
        let seen = self.seen.entry(name.to_owned()).or_default();
        for (&version, found) in wanted {
            let is_same = seen.get(&version).is_some_and(|seen| seen.print == found.print);
            let is_tried = is_same && seen.get(&version).is_some_and(|seen| seen.is_tried);
            // A file that is being written changes between two looks.
            let is_due = !is_tried && (is_same || at_once);
            if is_due {
                let path = found.path.clone();
                let loaded = shelf.load(&Source { name: name.to_owned(), version, path });
                outcome = outcome.and(loaded);
            }
            let print = found.print.clone();
            seen.insert(version, Seen { print, is_tried: is_tried || is_due });
        }
        self.clear(name, wanted, shelf);
        outcome
    }

    /// Forgets the versions of one model that are not asked for: those that are served when one that is
    /// asked for is ready, the others, of which there is only a reason, at once.
    fn clear(&mut self, name: &str, wanted: &BTreeMap<u64, Found>, shelf: &dyn Shelf) {
        let Some(seen) = self.seen.get_mut(name) else { return };
        let ready = shelf.ready(name);
        let is_replaced = ready.iter().any(|version| wanted.contains_key(version));
        let stays = |version: &u64| {
            wanted.contains_key(version) || (!is_replaced && ready.contains(version))
        };
        for version in seen.keys().chain(&ready).filter(|version| !stays(version)) {
            shelf.forget(name, *version);
        }
        seen.retain(|version, _| stays(version));
    }

    /// Says what is wrong with a model, once.
    fn complain(&mut self, name: &str, why: &str) {
        if self.complaints.get(name).is_none_or(|said| said != why) {
            tracing::warn!(model = name, "not served from the repository: {why}");
            self.complaints.insert(name.to_owned(), why.to_owned());
        }
    }
}

#[cfg(test)]
mod tests;
