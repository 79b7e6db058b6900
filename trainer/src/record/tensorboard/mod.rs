//! Scalars as TensorBoard's event files.
//!
//! A training that goes on after a kill repeats the steps since its last state. TensorBoard would
//! show them twice, so what was written of them is taken back: the old file is cut at the state's
//! step, and a new one begins with the word that later steps are void, which reaches a TensorBoard
//! that has read them already.

mod event;
mod frame;

use std::fs::OpenOptions;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;
use rift_models::artifact::atomic::{self, AtomicError};

use self::event::{Event, SessionLog, Source, Status, Summary, VERSION, Value, What};

/// What the names of our files end in: those of other programs are left alone.
const ENDING: &str = ".rift";
/// What the names of all event files begin with, before the time.
const BEGINNING: &str = "events.out.tfevents.";

/// The end of a training's record that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Steps done in all.
    pub step: usize,
    /// Whether the step ends an epoch that was not judged yet.
    pub unjudged: bool,
}

impl Cut {
    fn keeps(self, event: &Event) -> bool {
        let step = usize::try_from(event.step).unwrap_or_default();
        let judged = matches!(&event.what, Some(What::Summary(summary))
            if summary.value.iter().any(|value| value.tag.starts_with(EPOCH)));
        step < self.step || (step == self.step && !(self.unjudged && judged))
    }
}

/// What the tags of an epoch's figures begin with.
pub const EPOCH: &str = "epoch/";

/// The event file of a run.
#[derive(Debug)]
pub struct EventLog {
    path: PathBuf,
    /// Bytes of the file that are whole.
    written: u64,
    /// Records that are not in the file yet.
    buffer: Vec<u8>,
}

impl EventLog {
    /// Starts a file in `folder`, and cuts those that a run before left there at `cut`.
    ///
    /// # Errors
    /// If an older file cannot be read or replaced.
    pub fn open(folder: &Path, cut: Cut) -> Result<Self, AtomicError> {
        let older = files(folder);
        for path in &older {
            trim(path, cut)?;
        }
        // TensorBoard reads files in the order of their names, also where the clock stood still.
        let last = older.iter().filter_map(|path| time_of(path)).max();
        let time = (now() as u64).max(last.map_or(0, |last| last + 1));
        let path = folder.join(format!("{BEGINNING}{time:010}{ENDING}"));
        let mut log = Self { path, written: 0, buffer: Vec::new() };
        log.push(0, What::FileVersion(VERSION.to_owned()));
        if cut.step > 0 {
            let start = SessionLog { status: Status::Start.into() };
            log.push(cut.step + 1, What::SessionLog(start));
        }
        Ok(log)
    }

    /// Records scalars of a step; they reach the file with the next [`flush`](Self::flush).
    pub fn scalars(&mut self, step: usize, values: &[(&str, f64)]) {
        let value = values
            .iter()
            .map(|(tag, value)| Value { tag: (*tag).to_owned(), simple_value: Some(*value as f32) })
            .collect();
        self.push(step, What::Summary(Summary { value }));
    }

    fn push(&mut self, step: usize, what: What) {
        let first = matches!(what, What::FileVersion(_));
        let source_metadata = first.then(|| Source { writer: "rift-trainer".to_owned() });
        let event =
            Event { wall_time: now(), step: step as i64, what: Some(what), source_metadata };
        frame::write(&event.encode_to_vec(), &mut self.buffer);
    }

    /// Writes what is recorded, so that a reader sees it.
    ///
    /// # Errors
    /// If the disk is full. Nothing is lost: the next time tries again.
    pub fn flush(&mut self) -> Result<(), AtomicError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.append().map_err(|error| AtomicError::new(&self.path, error))
    }

    /// Writes what is recorded, so that it is there after a loss of power.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub fn sync(&mut self) -> Result<(), AtomicError> {
        self.flush()?;
        let sync = || OpenOptions::new().write(true).open(&self.path)?.sync_data();
        sync().map_err(|error| AtomicError::new(&self.path, error))
    }

    fn append(&mut self) -> io::Result<()> {
        let mut file =
            OpenOptions::new().create(true).truncate(false).write(true).open(&self.path)?;
        // Half a record of an earlier attempt would make the rest unreadable.
        file.set_len(self.written)?;
        file.seek(SeekFrom::End(0))?;
        file.write_all(&self.buffer)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// Our event files in a folder, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<_> =
        entries.map(|entry| entry.path()).filter(|path| time_of(path).is_some()).collect();
    files.sort();
    files
}

fn time_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix(BEGINNING)?.strip_suffix(ENDING)?.parse().ok()
}

/// Takes from a file what the training will say again. A file that says nothing more is removed.
fn trim(path: &Path, cut: Cut) -> Result<(), AtomicError> {
    let failed = |error| AtomicError::new(path, error);
    let bytes = std::fs::read(path).map_err(failed)?;
    let (mut kept, mut scalars) = (Vec::with_capacity(bytes.len()), 0);
    for payload in frame::read(&bytes) {
        let Some(event) = Event::decode(payload).ok().filter(|event| cut.keeps(event)) else {
            continue;
        };
        scalars += usize::from(matches!(event.what, Some(What::Summary(_))));
        frame::write(payload, &mut kept);
    }
    if scalars == 0 {
        return std::fs::remove_file(path).map_err(failed);
    }
    if kept != bytes {
        atomic::write(path, &kept)?;
    }
    Ok(())
}

/// The scalars of a run's event files, in order: step, tag and value.
///
/// # Errors
/// If a file cannot be read.
pub fn read(folder: &Path) -> io::Result<Vec<(usize, String, f32)>> {
    let mut scalars = Vec::new();
    for path in files(folder) {
        let bytes = std::fs::read(path)?;
        for payload in frame::read(&bytes) {
            let Ok(Event { step, what: Some(What::Summary(summary)), .. }) = Event::decode(payload)
            else {
                continue;
            };
            let step = usize::try_from(step).unwrap_or_default();
            scalars.extend(
                summary.value.into_iter().filter_map(|v| Some((step, v.tag, v.simple_value?))),
            );
        }
    }
    Ok(scalars)
}

#[cfg(test)]
mod tests;
