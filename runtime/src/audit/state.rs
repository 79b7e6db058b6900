//! What an audit has done so far, in a file that outlives it.
//!
//! The file is a sequence of records: every image that an attack is done with is one. A record that
//! was not written to its end, or was damaged, ends the sequence: what follows is done again. Since
//! an image's result depends on that image alone, an audit that goes on from any such sequence ends
//! as if it had never stopped.
//!
//! ```text
//! file   = "rift audit state 1\n" record*
//! record = length of json, length of blob, CRC-32 of both (u32, little endian), json, blob
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::sanity::Findings;
use super::smoothing::Vote;
use crate::attack::walk::Outcome;

const MAGIC: &[u8] = b"rift audit state 1\n";
/// The bytes before a record's content.
const HEAD: usize = 12;
/// How often what was written is forced onto the disk; a kill loses nothing, a power cut this much.
const SYNC: Duration = Duration::from_secs(5);

/// A state that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file cannot be read or written.
    #[error("cannot keep the audit's state in `{path}`")]
    Io {
        /// The file.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The file is something else.
    #[error("`{path}` is not the state of an audit, expected no file or one that `audit` wrote")]
    Foreign {
        /// The file.
        path: String,
    },
    /// Another process works with it.
    #[error("`{path}` is in use by another audit")]
    Busy {
        /// The file.
        path: String,
    },
    /// It is that of another audit.
    #[error(
        "`{path}` is the state of another audit, whose {what} differ: repeat that one's command, \
         remove the file, or name another by `--state`"
    )]
    Other {
        /// The file.
        path: String,
        /// What is not the same.
        what: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case", deny_unknown_fields)]
enum Record {
    /// What the audit is about; always the first.
    Audit { identity: Value },
    /// Logits of images as they are, rows of the blob.
    Clean { first: usize, classes: usize },
    /// What the checks found.
    Checks { findings: Findings },
    /// One image after one attack; its pixels are the blob, where they are kept.
    Outcome {
        stage: usize,
        index: usize,
        broken: bool,
        prediction: usize,
        /// The bits of the number: text may round, and JSON has no infinity.
        distance: u32,
        gradients: usize,
        forwards: usize,
        blind: bool,
        /// Seconds since the attack began, over all runs.
        seconds: f64,
    },
    /// One image's vote under noise.
    Vote { vote: Vote, seconds: f64 },
}

/// What a file held when it was opened.
#[derive(Debug, Default)]
struct Known {
    clean: BTreeMap<usize, Vec<f32>>,
    findings: Option<Findings>,
    outcomes: BTreeMap<usize, Vec<Outcome>>,
    seconds: BTreeMap<usize, f64>,
    votes: Vec<Vote>,
    vote_seconds: f64,
}

#[derive(Debug)]
struct Journal {
    file: File,
    synced: Instant,
    failure: Option<io::Error>,
    has_records: bool,
}

/// The state of one audit, open for as long as it runs.
#[derive(Debug)]
pub struct State {
    path: PathBuf,
    known: Known,
    journal: Mutex<Journal>,
}

impl State {
    /// Opens the state of the audit that `identity` describes, or begins one.
    ///
    /// # Errors
    /// If the file is not such a state, is another audit's or in use, or cannot be written.
    pub fn open(path: &Path, identity: &Value) -> Result<Self, StateError> {
        let name = || path.display().to_string();
        let io = |source| StateError::Io { path: name(), source };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(io)?;
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(path).map_err(io)?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(StateError::Busy { path: name() }),
            // Some network file systems have no locks.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io)?;
        let (known, end) = match read(&bytes, identity) {
            Ok(found) => found,
            Err(Unreadable::Foreign) => return Err(StateError::Foreign { path: name() }),
            Err(Unreadable::Other(what)) => return Err(StateError::Other { path: name(), what }),
        };
        file.set_len(end as u64).map_err(io)?;
        file.seek(SeekFrom::Start(end as u64)).map_err(io)?;
        if end == 0 {
            let record = Record::Audit { identity: identity.clone() };
            let begin = frame(&record, &[]).map_err(io)?;
            file.write_all(&[MAGIC, &begin].concat()).map_err(io)?;
        }
        let has_records = end > MAGIC.len() + first_record(&bytes);
        let journal = Journal { file, synced: Instant::now(), failure: None, has_records };
        Ok(Self { path: path.to_owned(), known, journal: Mutex::new(journal) })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is anything to go on from.
    pub fn has_records(&self) -> bool {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner).has_records
    }

    /// Removes the file: the audit is over.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn remove(self) -> Result<(), StateError> {
        let path = self.path.display().to_string();
        fs::remove_file(&self.path).map_err(|source| StateError::Io { path, source })
    }

    /// Whether something could not be written.
    pub(super) fn has_failed(&self) -> bool {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner).failure.is_some()
    }

    /// # Errors
    /// If something could not be written.
    pub(super) fn check(&self) -> Result<(), StateError> {
        let journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(failure) = &journal.failure else { return Ok(()) };
        let source = io::Error::new(failure.kind(), failure.to_string());
        Err(StateError::Io { path: self.path.display().to_string(), source })
    }

    /// The logits of these images, if all are known.
    pub(super) fn logits(&self, rows: std::ops::Range<usize>) -> Option<Array2<f32>> {
        let n = rows.len();
        let rows: Option<Vec<&Vec<f32>>> = rows.map(|row| self.known.clean.get(&row)).collect();
        let rows = rows?;
        let classes = rows.first()?.len();
        Array2::from_shape_vec((n, classes), rows.into_iter().flatten().copied().collect()).ok()
    }

    pub(super) fn keep_logits(&self, first: usize, logits: &ArrayView2<f32>) {
        let record = Record::Clean { first, classes: logits.ncols() };
        self.write(&record, logits.iter().copied());
    }

    pub(super) fn findings(&self) -> Option<Findings> {
        self.known.findings.clone()
    }

    pub(super) fn keep_findings(&self, findings: &Findings) {
        self.write(&Record::Checks { findings: findings.clone() }, []);
    }

    /// What is known of an attack: its outcomes, and the seconds that they took.
    pub(super) fn outcomes(&self, stage: usize) -> (Vec<Outcome>, f64) {
        let outcomes = self.known.outcomes.get(&stage).cloned().unwrap_or_default();
        (outcomes, self.known.seconds.get(&stage).copied().unwrap_or(0.0))
    }

    pub(super) fn keep_outcome(&self, stage: usize, outcome: &Outcome, seconds: f64) {
        let record = Record::Outcome {
            stage,
            index: outcome.index,
            broken: outcome.broken,
            prediction: outcome.prediction,
            distance: outcome.distance.to_bits(),
            gradients: outcome.gradients,
            forwards: outcome.forwards,
            blind: outcome.blind,
            seconds,
        };
        self.write(&record, outcome.image.iter().copied());
    }

    /// The votes that are known, and the seconds that they took.
    pub(super) fn votes(&self) -> (&[Vote], f64) {
        (&self.known.votes, self.known.vote_seconds)
    }

    pub(super) fn keep_vote(&self, vote: &Vote, seconds: f64) {
        self.write(&Record::Vote { vote: vote.clone(), seconds }, []);
    }

    /// Appends a record; the first failure is kept for [`check`](Self::check).
    fn write(&self, record: &Record, values: impl IntoIterator<Item = f32>) {
        let blob: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        if journal.failure.is_some() {
            return;
        }
        let mut attempt = || {
            journal.file.write_all(&frame(record, &blob)?)?;
            journal.has_records = true;
            if journal.synced.elapsed() >= SYNC {
                journal.file.sync_data()?;
                journal.synced = Instant::now();
            }
            Ok(())
        };
        journal.failure = attempt().err();
    }
}

fn frame(record: &Record, blob: &[u8]) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(record).map_err(io::Error::other)?;
    let length = |part: &[u8]| u32::try_from(part.len()).map_err(io::Error::other);
    let mut crc = crc32fast::Hasher::new();
    crc.update(&json);
    crc.update(blob);
    let head = [length(&json)?, length(blob)?, crc.finalize()].map(u32::to_le_bytes).concat();
    Ok([&head, json.as_slice(), blob].concat())
}

/// The first record of `bytes`, its numbers, and what follows; nothing if it is not whole.
fn unframe(bytes: &[u8]) -> Option<(Record, Vec<f32>, &[u8])> {
    let (head, rest) = bytes.split_at_checked(HEAD)?;
    let number = |at: usize| {
        let four: [u8; 4] = head[4 * at..4 * at + 4].try_into().ok()?;
        Some(u32::from_le_bytes(four))
    };
    let (json, rest) = rest.split_at_checked(number(0)? as usize)?;
    let (blob, rest) = rest.split_at_checked(number(1)? as usize)?;
    let mut crc = crc32fast::Hasher::new();
    crc.update(json);
    crc.update(blob);
    if crc.finalize() != number(2)? {
        return None;
    }
    let float = |four: &[u8]| four.try_into().map_or(f32::NAN, f32::from_le_bytes);
    Some((serde_json::from_slice(json).ok()?, blob.chunks_exact(4).map(float).collect(), rest))
}

/// The length of the record that says which audit it is.
fn first_record(bytes: &[u8]) -> usize {
    let records = bytes.strip_prefix(MAGIC).unwrap_or_default();
    unframe(records).map_or(0, |(_, _, rest)| records.len() - rest.len())
}

enum Unreadable {
    Foreign,
    Other(String),
}

/// What `bytes` hold of the audit `identity`, and where the last whole record ends.
fn read(bytes: &[u8], identity: &Value) -> Result<(Known, usize), Unreadable> {
    let mut known = Known::default();
    let Some(records) = bytes.strip_prefix(MAGIC) else {
        // A kill may leave the beginning of the first words.
        return if MAGIC.starts_with(bytes) { Ok((known, 0)) } else { Err(Unreadable::Foreign) };
    };
    let Some((first, _, mut rest)) = unframe(records) else { return Ok((known, 0)) };
    let Record::Audit { identity: found } = first else { return Err(Unreadable::Foreign) };
    if let Some(what) = difference(&found, identity) {
        return Err(Unreadable::Other(what));
    }
    while let Some((record, values, after)) = unframe(rest) {
        known.take(record, values);
        rest = after;
    }
    Ok((known, bytes.len() - rest.len()))
}

/// The first part in which two descriptions of audits differ.
fn difference(found: &Value, expected: &Value) -> Option<String> {
    let (Value::Object(found), Value::Object(expected)) = (found, expected) else {
        return (found != expected).then(|| "descriptions".to_owned());
    };
    let names = expected.keys().chain(found.keys());
    names.into_iter().find(|name| found.get(*name) != expected.get(*name)).cloned()
}

impl Known {
    fn take(&mut self, record: Record, values: Vec<f32>) {
        match record {
            Record::Audit { .. } => {}
            Record::Clean { first, classes } => {
                let rows = values.chunks_exact(classes.max(1)).map(<[f32]>::to_vec);
                self.clean.extend((first..).zip(rows));
            }
            Record::Checks { findings } => self.findings = Some(findings),
            Record::Outcome {
                stage,
                index,
                broken,
                prediction,
                distance,
                gradients,
                forwards,
                blind,
                seconds,
            } => {
                let distance = f32::from_bits(distance);
                let image = values;
                self.outcomes.entry(stage).or_default().push(Outcome {
                    index,
                    broken,
                    prediction,
                    distance,
                    image,
                    gradients,
                    forwards,
                    blind,
                });
                let of_stage = self.seconds.entry(stage).or_default();
                *of_stage = of_stage.max(seconds);
            }
            Record::Vote { vote, seconds } => {
                self.votes.push(vote);
                self.vote_seconds = self.vote_seconds.max(seconds);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn outcome(index: usize) -> Outcome {
        Outcome {
            index,
            broken: index.is_multiple_of(2),
            prediction: 3,
            distance: 0.1 + index as f32 / 7.0,
            image: vec![0.25, index as f32 / 3.0, f32::NAN],
            gradients: 5,
            forwards: 2,
            blind: index == 1,
        }
    }

    fn fields(outcome: &Outcome) -> (usize, bool, u32, Vec<u32>, bool) {
        let image = outcome.image.iter().map(|value| value.to_bits()).collect();
        (outcome.index, outcome.broken, outcome.distance.to_bits(), image, outcome.blind)
    }

    #[test]
    fn what_is_kept_comes_back_bit_for_bit_whatever_was_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/a.state");
        let identity = json!({"model": "m", "data": "d"});
        let state = State::open(&path, &identity).unwrap();
        assert!(!state.has_records());
        let logits = ndarray::arr2(&[[0.1_f32, f32::INFINITY], [1.0 / 3.0, -0.0]]);
        state.keep_logits(4, &logits.view());
        (0..3).for_each(|index| state.keep_outcome(1, &outcome(index), index as f64));
        state.check().unwrap();
        drop(state);
        let whole = fs::read(&path).unwrap();
        let mut last = 0;
        for cut in (0..whole.len()).step_by(3).chain([whole.len()]) {
            fs::write(&path, &whole[..cut]).unwrap();
            let state = State::open(&path, &identity).unwrap();
            let (outcomes, _) = state.outcomes(1);
            assert!(outcomes.len() >= last && outcomes.len() <= 3);
            last = outcomes.len();
            for (index, found) in outcomes.iter().enumerate() {
                assert_eq!(fields(found), fields(&outcome(index)));
            }
        }
        let state = State::open(&path, &identity).unwrap();
        assert_eq!((state.outcomes(1).1, state.has_records()), (2.0, true));
        assert_eq!(state.logits(4..6).unwrap(), logits);
        assert!(state.logits(3..6).is_none() && state.outcomes(0).0.is_empty());
        state.remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn damage_ends_what_is_known_and_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.state");
        let identity = json!({"model": "m"});
        let state = State::open(&path, &identity).unwrap();
        (0..3).for_each(|index| state.keep_outcome(0, &outcome(index), 0.0));
        drop(state);
        let mut bytes = fs::read(&path).unwrap();
        let end = bytes.len();
        // Within the last record.
        bytes[end - 2] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let state = State::open(&path, &identity).unwrap();
        assert_eq!(state.outcomes(0).0.len(), 2);
        state.keep_outcome(0, &outcome(5), 0.0);
        drop(state);
        let state = State::open(&path, &identity).unwrap();
        let indices: Vec<usize> = state.outcomes(0).0.iter().map(|o| o.index).collect();
        assert_eq!(indices, [0, 1, 5]);
    }

    #[test]
    fn neither_another_audit_nor_a_foreign_file_is_touched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.state");
        drop(State::open(&path, &json!({"model": "m", "settings": {"seed": 0}})).unwrap());
        let bytes = fs::read(&path).unwrap();
        let error = State::open(&path, &json!({"model": "m", "settings": {"seed": 1}}));
        assert!(error.unwrap_err().to_string().contains("whose settings differ"));
        let open = State::open(&path, &json!({"model": "m", "settings": {"seed": 0}})).unwrap();
        let busy = State::open(&path, &json!({"model": "m", "settings": {"seed": 0}}));
        assert!(matches!(busy, Err(StateError::Busy { .. })));
        drop(open);
        assert_eq!(fs::read(&path).unwrap(), bytes);
        fs::write(&path, b"a thesis").unwrap();
        let foreign = State::open(&path, &json!({}));
        assert!(matches!(foreign, Err(StateError::Foreign { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"a thesis");
    }
}
