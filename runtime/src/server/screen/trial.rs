//! The process in which models are tried, from outside.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rift_models::artifact::Digest;
use serde::de::DeserializeOwned;

use super::child::one_line;
use super::message::{Order, Protections, Ready, Verdict};
use super::{Limits, ScreenError};
use crate::session::library;

/// The most that is read of an answer and of what the process says on standard error, in bytes.
const LONGEST_ANSWER: u64 = 64 << 10;
/// How long an end that was announced may take.
const GRACE: Duration = Duration::from_secs(5);
/// What the process keeps of the environment: where libraries are found.
const KEPT: [&str; 5] =
    ["RIFT_ONNXRUNTIME", "ORT_DYLIB_PATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "RUST_BACKTRACE"];

/// A process of this program that tries models, one after the other; it ends with this value.
#[derive(Debug)]
pub struct Trial {
    limits: Limits,
    largest: u64,
    process: Child,
    input: Option<ChildStdin>,
    answers: Receiver<io::Result<String>>,
    said: Option<JoinHandle<String>>,
    library: PathBuf,
    protections: Protections,
}

/// What a model did to the process that tried it.
#[derive(Debug)]
enum Ending {
    Answer(String),
    Over,
    Late,
}

impl Trial {
    /// Starts `program` as the process; files of up to `order.largest` bytes can be tried in it.
    pub(super) fn start(program: &Path, order: &Order) -> Result<Self, ScreenError> {
        let begun = Instant::now();
        let failed =
            |reason: &str, source| ScreenError::Start { reason: reason.to_owned(), source };
        let mut command = Command::new(program);
        command.arg(super::COMMAND).env_clear();
        command.envs(KEPT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().map_err(|source| {
            failed(&format!("`{}` cannot be run", program.display()), Some(source))
        })?;
        let (input, output, errors) =
            (process.stdin.take(), process.stdout.take(), process.stderr.take());
        let (answer, answers) = channel();
        if let Some(output) = output {
            thread::spawn(move || {
                let mut output = BufReader::new(output);
                // Ends when there is nothing to read any more, or nobody waits for it.
                while let Some(line) = line(&mut output) {
                    if answer.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        let said = errors.map(|mut errors| {
            thread::spawn(move || {
                let mut said = Vec::new();
                let _ = errors.by_ref().take(LONGEST_ANSWER).read_to_end(&mut said);
                let _ = io::copy(&mut errors, &mut io::sink());
                String::from_utf8_lossy(&said).into_owned()
            })
        });
        let (limits, largest) = (order.limits.clone(), order.largest);
        let mut trial = Self {
            limits,
            largest,
            process,
            input,
            answers,
            said,
            library: PathBuf::new(),
            protections: Protections::default(),
        };
        let mut line = serde_json::to_vec(order).map_err(|e| failed("", Some(e.into())))?;
        line.push(b'\n');
        trial.write(&line);
        let ready: Ready = match trial.wait(begun + trial.limits.wall) {
            Ending::Answer(line) => parse(&line)?,
            Ending::Over => {
                let (_, said) = trial.end();
                return Err(failed(&one_line(&said), None));
            }
            Ending::Late => return Err(trial.late()),
        };
        (trial.library, trial.protections) = (ready.library, ready.protections);
        Ok(trial)
    }

    /// How the process is confined.
    pub fn protections(&self) -> &Protections {
        &self.protections
    }

    /// Tries one model. After any error but [`ScreenError::Failed`] the process is gone.
    ///
    /// # Errors
    /// If the model is larger than was announced, fails, ends the process or exceeds its limits.
    pub fn of(&mut self, bytes: &[u8], digest: &Digest) -> Result<(), ScreenError> {
        let deadline = Instant::now() + self.limits.wall;
        let found = bytes.len() as u64;
        if found > self.largest {
            let reason = format!("it has {found} bytes, at most {} were announced", self.largest);
            return Err(ScreenError::Failed { reason });
        }
        let input = self.input.take();
        let (input, ending) = thread::scope(|scope| {
            // The process may never read it; when it is ended, writing ends too.
            let writing = scope.spawn(move || {
                let mut input = input?;
                let length = found.to_le_bytes();
                let written = input.write_all(&length).and_then(|()| input.write_all(bytes));
                written.is_ok().then_some(input)
            });
            let ending = self.wait(deadline);
            if matches!(ending, Ending::Late) {
                let _ = self.process.kill();
            }
            (writing.join().ok().flatten(), ending)
        });
        self.input = input;
        match ending {
            Ending::Answer(line) => {
                let verdict: Verdict = parse(&line)?;
                if verdict.digest != *digest {
                    let reason = format!("it has tried {}, not {digest}", verdict.digest);
                    return Err(ScreenError::Died { reason });
                }
                verdict.error.map_or(Ok(()), |reason| Err(self.failed(&reason)))
            }
            Ending::Over => Err(self.died()),
            Ending::Late => Err(self.late()),
        }
    }

    /// The number of the process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The most memory that the process had, in bytes, where the system says it.
    pub fn peak(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib << 10)
    }

    /// Whether the process tries models on the library that this program has loaded.
    pub(super) fn check_library(&self) -> Result<(), ScreenError> {
        let ours = library::load(None)?.path();
        if ours == self.library {
            return Ok(());
        }
        let (ours, theirs) = (ours.display(), self.library.display());
        let reason = format!("it has loaded `{theirs}`, this program `{ours}`");
        Err(ScreenError::Start { reason, source: None })
    }

    fn write(&mut self, bytes: &[u8]) {
        // Where nobody reads, the answer that is missing tells more than this error.
        if let Some(input) = &mut self.input {
            let _ = input.write_all(bytes).and_then(|()| input.flush());
        }
    }

    fn wait(&self, deadline: Instant) -> Ending {
        match self.answers.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Ok(line)) => Ending::Answer(line),
            Err(RecvTimeoutError::Timeout) => Ending::Late,
            Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) => Ending::Over,
        }
    }

    fn late(&self) -> ScreenError {
        ScreenError::Time { what: "time", seconds: self.limits.wall.as_secs() }
    }

    fn failed(&self, reason: &str) -> ScreenError {
        let reason = one_line(reason);
        let is_memory = ["bad_alloc", "Failed to allocate memory", "memory allocation"];
        if is_memory.iter().any(|sign| reason.contains(sign)) {
            return ScreenError::Memory { limit: self.limits.memory_for(self.largest), reason };
        }
        ScreenError::Failed { reason }
    }

    fn died(&mut self) -> ScreenError {
        let (status, said) = self.end();
        let reason = match status {
            Some(status) if is_processor_limit(status) => {
                let seconds = self.limits.processor.as_secs().max(1);
                return ScreenError::Time { what: "processor time", seconds };
            }
            Some(status) => status.to_string(),
            None => "it closed its output".to_owned(),
        };
        let said = one_line(&said);
        let reason = if said.is_empty() { reason } else { format!("{reason}, {said}") };
        match self.failed(&reason) {
            ScreenError::Failed { reason } => ScreenError::Died { reason },
            memory => memory,
        }
    }

    /// How the process ended and what it said; if it does not end by itself it is made to.
    fn end(&mut self) -> (Option<ExitStatus>, String) {
        self.input = None;
        let begun = Instant::now();
        let mut status = self.process.try_wait().ok().flatten();
        while status.is_none() && begun.elapsed() < GRACE {
            thread::sleep(Duration::from_millis(2));
            status = self.process.try_wait().ok().flatten();
        }
        if status.is_none() {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
        let said = self.said.take().and_then(|said| said.join().ok());
        (status, said.unwrap_or_default())
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[cfg(unix)]
fn is_processor_limit(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    status.signal() == Some(rustix::process::Signal::XCPU.as_raw())
}

#[cfg(not(unix))]
fn is_processor_limit(_: ExitStatus) -> bool {
    false
}

/// The next line, of which no more is kept than an answer can have.
fn line(output: &mut impl BufRead) -> Option<io::Result<String>> {
    let mut line = String::new();
    match output.take(LONGEST_ANSWER).read_line(&mut line) {
        Ok(0) => None,
        Ok(_) if line.ends_with('\n') => Some(Ok(line)),
        Ok(_) => Some(Err(io::ErrorKind::UnexpectedEof.into())),
        Err(error) => Some(Err(error)),
    }
}

fn parse<T: DeserializeOwned>(line: &str) -> Result<T, ScreenError> {
    let reason = |error| format!("its answer cannot be read ({error})");
    serde_json::from_str(line).map_err(|error| ScreenError::Died { reason: reason(error) })
}
