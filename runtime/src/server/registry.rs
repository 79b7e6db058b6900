//! The models that are served, by name and version.

mod refused;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use rift_models::onnx::MAX_BYTES;

use super::ServeError;
use super::gate::{Audits, Gate};
use super::metrics::Metrics;
use super::schedule::Schedule;
use super::screen::Screen;
use super::served::{Served, Serving};
use super::signatory::Signatory;
use crate::session::{Classifier, ModelFile, Opening};

pub use refused::Refused;
pub(super) use refused::in_one_line;

/// A model that is to be served.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// The name under which it is served.
    pub name: String,
    /// Its version.
    pub version: u64,
    /// The bundle or the `.onnx` file.
    pub path: PathBuf,
}

/// What a model must pass before it is served; one that fails leaves the old one where it is.
pub trait Condition: Send + Sync {
    /// Looks at a model, in whatever time it takes.
    ///
    /// # Errors
    /// Why it must not be served.
    fn check(&self, source: &Source, classifier: &Classifier) -> Result<(), Refused>;
}

/// Where a version of a model is on its way.
#[derive(Clone, Debug)]
pub enum State {
    /// It is being opened and checked.
    Loading,
    /// It is served.
    Ready(Arc<Served>),
    /// It is not served, and why.
    Unavailable(String),
    /// Nobody asks for it any more.
    Unloaded,
}

/// A line of the repository's index.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The model.
    pub name: String,
    /// Its version.
    pub version: u64,
    /// Where it is on its way.
    pub state: State,
}

/// The models that are served.
pub struct Registry {
    models: RwLock<BTreeMap<String, BTreeMap<u64, Entry>>>,
    schedule: Arc<Schedule>,
    serving: Serving,
    opening: Opening,
    signatory: Option<Signatory>,
    screen: Option<Screen>,
    conditions: Vec<Box<dyn Condition>>,
    audits: Option<Arc<Audits>>,
    metrics: Arc<Metrics>,
    /// One model is opened at a time.
    opening_now: Mutex<()>,
    /// The last [`Wish`].
    wishes: AtomicU64,
}

#[derive(Debug)]
struct Entry {
    source: Source,
    state: State,
    wish: Wish,
}

/// That a version be served, from when it is asked for until it is unloaded or forgotten: what is opened
/// for another wish than the version's is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish(u64);

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("serving", &self.serving).finish_non_exhaustive()
    }
}

impl Registry {
    /// Without models.
    pub fn new(serving: Serving, opening: Opening) -> Self {
        Self {
            models: RwLock::default(),
            schedule: Schedule::new(serving.threads),
            serving,
            opening,
            signatory: None,
            screen: None,
            conditions: Vec::new(),
            audits: None,
            metrics: Metrics::new(false),
            opening_now: Mutex::default(),
            wishes: AtomicU64::new(0),
        }
    }

    /// Lets a model in only after it has passed `screen`.
    #[must_use]
    pub fn with_screen(self, screen: Screen) -> Self {
        Self { screen: Some(screen), ..self }
    }

    /// Lets a model in only if `signatory` has signed it.
    #[must_use]
    pub fn with_signatory(self, signatory: Signatory) -> Self {
        Self { signatory: Some(signatory), ..self }
    }

    /// Lets a model in only if it meets `condition` too.
    #[must_use]
    pub fn with_condition(mut self, condition: Box<dyn Condition>) -> Self {
        self.conditions.push(condition);
        self
    }

    /// Lets a model in only if it passes `gate`, and shows what that found.
    #[must_use]
    pub fn with_gate(self, gate: &Arc<Gate>) -> Self {
        let audits = Some(gate.audits());
        Self { audits, ..self.with_condition(Box::new(Arc::clone(gate))) }
    }

    /// What the audit gate found, where there is one.
    pub fn audits(&self) -> Option<&Audits> {
        self.audits.as_deref()
    }

    /// Counts in `metrics`.
    #[must_use]
    pub fn with_metrics(self, metrics: Arc<Metrics>) -> Self {
        Self { metrics, ..self }
    }

    /// Where it is counted.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Cores that compute, or are about to.
    pub fn busy(&self) -> usize {
        self.schedule.busy()
    }

    /// Whether a run has taken longer than `longest`.
    pub(super) fn is_stuck(&self, longest: Duration) -> bool {
        self.schedule.is_stuck(longest)
    }

    /// How models are served.
    pub fn serving(&self) -> Serving {
        self.serving
    }

    /// Knows a model from now on, without opening it: [`fulfil`](Self::fulfil) does.
    pub fn announce(&self, source: &Source) -> Wish {
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        let versions = models.entry(source.name.clone()).or_default();
        let new = || Entry { source: source.clone(), state: State::Loading, wish: self.wish() };
        let entry = versions.entry(source.version).or_insert_with(new);
        entry.source = source.clone();
        // What is ready stays so meanwhile.
        if !matches!(entry.state, State::Ready(_)) {
            entry.state = State::Loading;
        }
        entry.wish
    }

    /// Opens a model, holds it against the conditions and serves it, in the place of what was served
    /// under its name and version. If that fails, what was served is served on.
    ///
    /// It blocks as long as that takes.
    ///
    /// # Errors
    /// Why the model is not served; the index says so too.
    pub fn load(&self, source: &Source) -> Result<Arc<Served>, Refused> {
        self.fulfil(source, self.announce(source))
    }

    /// [Loads](Self::load) what was announced, if nobody has unloaded it since.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn fulfil(&self, source: &Source, wish: Wish) -> Result<Arc<Served>, Refused> {
        let _one_at_a_time = self.opening_now.lock().unwrap_or_else(PoisonError::into_inner);
        let mut opened = Err(Refused::Withdrawn(source.name.clone()));
        if self.settle(source, wish, |_| ()).is_some() {
            opened = self.open(source);
        }
        let state = |old: &mut State| {
            let is_other = opened.is_err() && matches!(old, State::Ready(_));
            self.with_audits(source, |audits, of| audits.settle(of, !is_other));
            match &opened {
                Ok(served) => *old = State::Ready(Arc::clone(served)),
                Err(_) if is_other => {}
                Err(error) => *old = State::Unavailable(in_one_line(error)),
            }
        };
        if self.settle(source, wish, state).is_none() {
            self.with_audits(source, |audits, of| audits.settle(of, false));
            opened = Err(Refused::Withdrawn(source.name.clone()));
        }
        let (model, version) = (&source.name, source.version);
        match &opened {
            Ok(_) => tracing::info!(model, version, "the model is ready"),
            Err(error @ Refused::Withdrawn(_)) => tracing::info!(version, "{error}"),
            Err(error) => {
                tracing::error!(model, version, reason = in_one_line(error), "refused");
            }
        }
        opened
    }

    fn open(&self, source: &Source) -> Result<Arc<Served>, Refused> {
        // Whoever looks at the model below looks at these bytes.
        // What lies beside a model is read before it is screened, so no more than the screen lets by.
        let limit = self.screen.as_ref().map_or(MAX_BYTES, Screen::largest);
        let mut file = ModelFile::read_within(&source.path, limit)?;
        if let Some(signatory) = &self.signatory {
            signatory.check(&file)?;
        }
        if let Some(screen) = &self.screen {
            let screened = screen.check(file, &self.opening)?;
            tracing::info!(model = source.name, "screen: {}", screened.record);
            file = screened.file;
        }
        let classifier = Classifier::of_file(file, &self.opening)?;
        for condition in &self.conditions {
            condition.check(source, &classifier)?;
        }
        let meters = self.metrics.meters(&source.name, source.version);
        let of = (source.name.clone(), source.version);
        Served::start(of, (classifier, meters), self.serving, &self.schedule)
    }

    /// Opens what is known under `name` again.
    ///
    /// # Errors
    /// As [`load`](Self::load), or if nothing is known under that name.
    pub fn reload(&self, name: &str) -> Result<(), Refused> {
        let sources: Vec<Source> = {
            let models = self.models.read().unwrap_or_else(PoisonError::into_inner);
            let versions = models.get(name).ok_or_else(|| unknown(name, &models))?;
            versions.values().map(|entry| entry.source.clone()).collect()
        };
        sources.iter().try_for_each(|source| self.load(source).map(drop))
    }

    /// Serves nothing more under `name`; requests that wait are still answered.
    ///
    /// # Errors
    /// If nothing is known under that name.
    pub fn unload(&self, name: &str) -> Result<(), Refused> {
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        if !models.contains_key(name) {
            return Err(unknown(name, &models));
        }
        for entry in models.get_mut(name).into_iter().flat_map(BTreeMap::values_mut) {
            entry.state = State::Unloaded;
            entry.wish = self.wish();
            self.with_audits(&entry.source, Audits::forget);
        }
        Ok(())
    }

    /// Forgets a version of a model; requests that wait are still answered.
    pub fn forget(&self, name: &str, version: u64) {
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        let Some(versions) = models.get_mut(name) else { return };
        if let Some(entry) = versions.remove(&version) {
            self.with_audits(&entry.source, Audits::forget);
        }
        if versions.is_empty() {
            models.remove(name);
        }
    }

    /// A version of a model, the newest that is ready where none is named.
    ///
    /// # Errors
    /// If there is no such model, or it is not ready.
    pub fn find(&self, name: &str, version: Option<&str>) -> Result<Arc<Served>, ServeError> {
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner);
        let none = || ServeError::NotFound { what: format!("there is no model `{name}`") };
        let versions = models.get(name).ok_or_else(none)?;
        let mut reason = "";
        let wanted = version.map(str::parse::<u64>);
        for (number, entry) in versions.iter().rev() {
            if wanted.as_ref().is_some_and(|wanted| wanted.as_ref() != Ok(number)) {
                continue;
            }
            match &entry.state {
                State::Ready(served) => return Ok(Arc::clone(served)),
                State::Loading if reason.is_empty() => reason = "it is being loaded",
                State::Unavailable(why) if reason.is_empty() => reason = why,
                State::Unloaded if reason.is_empty() => reason = "it is unloaded",
                _ => {}
            }
        }
        Err(match version {
            Some(version) if reason.is_empty() => {
                let what = format!("model `{name}` has no version `{version}`");
                ServeError::NotFound { what }
            }
            _ => ServeError::Unavailable { what: format!("model `{name}` is not ready: {reason}") },
        })
    }

    /// The versions of a model that are ready, the oldest first.
    pub fn ready_versions(&self, name: &str) -> Vec<u64> {
        let is_ready = |listed: &Listed| matches!(listed.state, State::Ready(_));
        let all = self.index().into_iter().filter(|listed| listed.name == name && is_ready(listed));
        all.map(|listed| listed.version).collect()
    }

    /// Every version of every model that is known.
    pub fn index(&self) -> Vec<Listed> {
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner);
        let listed = |(version, entry): (&u64, &Entry)| Listed {
            name: entry.source.name.clone(),
            version: *version,
            state: entry.state.clone(),
        };
        models.values().flat_map(|versions| versions.iter().map(listed)).collect()
    }

    /// The only model that is known, where there is one.
    pub fn only(&self) -> Option<String> {
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner);
        let mut names = models.keys();
        names.next().filter(|_| names.next().is_none()).cloned()
    }

    /// Why not every model that was asked for is served.
    ///
    /// # Errors
    /// The first reason.
    pub fn is_ready(&self) -> Result<(), String> {
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner);
        for (name, versions) in &*models {
            let states = || versions.values().map(|entry| &entry.state);
            if states().any(|state| matches!(state, State::Ready(_))) {
                continue;
            }
            for state in states() {
                match state {
                    State::Loading => return Err(format!("model `{name}` is being loaded")),
                    State::Unavailable(reason) => {
                        return Err(format!("model `{name}` is not served: {reason}"));
                    }
                    State::Ready(_) | State::Unloaded => {}
                }
            }
        }
        Ok(())
    }

    /// Whether every model has been tried and one at least is served.
    pub(super) fn is_settled(&self) -> bool {
        let index = self.index();
        let any = |is: fn(&State) -> bool| index.iter().any(|listed| is(&listed.state));
        any(|state| matches!(state, State::Ready(_))) && !any(|s| matches!(s, State::Loading))
    }

    /// Takes no more requests, answers those that wait, and ends the workers.
    pub(super) fn close(&self) {
        let index = self.index();
        let ready = || {
            index.iter().filter_map(|listed| match &listed.state {
                State::Ready(served) => Some(served),
                _ => None,
            })
        };
        ready().for_each(|served| served.close());
        ready().for_each(|served| served.join());
    }

    fn wish(&self) -> Wish {
        Wish(self.wishes.fetch_add(1, Ordering::Relaxed))
    }

    fn with_audits(&self, of: &Source, tell: impl FnOnce(&Audits, &(String, u64))) {
        if let Some(audits) = &self.audits {
            tell(audits, &(of.name.clone(), of.version));
        }
    }

    /// Changes the state of a version, if `wish` is still the one that it has.
    fn settle(&self, source: &Source, wish: Wish, change: impl FnOnce(&mut State)) -> Option<()> {
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        let entry = models.get_mut(&source.name).and_then(|of| of.get_mut(&source.version));
        let entry = entry.filter(|entry| entry.wish == wish)?;
        // Who still holds the old one gets the answer from it.
        change(&mut entry.state);
        Some(())
    }
}

fn unknown(name: &str, models: &BTreeMap<String, BTreeMap<u64, Entry>>) -> Refused {
    let known: Vec<String> = models.keys().map(|name| format!("`{name}`")).collect();
    Refused::Unknown { name: name.to_owned(), known: known.join(", ") }
}

/// The name under which a path is served if nobody gives one: that of the bundle or of the file.
pub fn name_of(path: &Path) -> String {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let name = stem.strip_suffix(".tar").unwrap_or(stem);
    if name.is_empty() { "model".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests;
