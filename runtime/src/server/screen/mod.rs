//! What a model must pass before it is opened here: it may come from a stranger.
//!
//! A [`Screen`] looks at the file itself first: operators that classifiers are made of and no
//! others, nothing outside the file, nothing that a few bytes could grow to. What is left is loaded
//! and run once in a process of its own that can open nothing, write nothing and reach nobody, and
//! whose memory and time are limited. Only then, and from the very bytes that were tried, is the
//! model opened by the process that serves or audits it.
//!
//! `docs/threats.md` says what this does not promise.

mod child;
mod confine;
mod error;
mod growth;
mod inspect;
mod limits;
mod message;
mod operators;
mod trial;

pub use child::serve;
pub use error::{ScreenError, Violation};
pub use limits::Limits;
pub use message::Protections;
pub use trial::Trial;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rift_models::artifact::Digest;
use rift_models::onnx::Model;

use crate::session::{Classifier, ModelFile, Opening, library};
use message::Order;

/// The subcommand of the program that [`serve`]s as the process in which models are tried.
pub const COMMAND: &str = "screen-child";

/// What models must pass.
#[derive(Clone, Debug)]
pub struct Screen {
    limits: Limits,
    program: PathBuf,
    measure: bool,
}

/// The bytes of a model that has passed.
#[derive(Debug)]
pub struct Screened {
    /// What was tried.
    pub file: ModelFile,
    /// How it was tried.
    pub record: Record,
}

/// How a model was tried.
#[derive(Clone, Debug)]
pub struct Record {
    /// SHA-256 of the bytes that were checked, as both processes found it.
    pub digest: Digest,
    /// How the process that tried it was confined.
    pub protections: Protections,
    /// The most memory that it had, in bytes, where the system says it.
    pub peak: Option<u64>,
    /// How long all of it took.
    pub took: Duration,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "passed in {:.2} s", self.took.as_secs_f64())?;
        if let Some(peak) = self.peak {
            write!(f, " and {} MiB", peak >> 20)?;
        }
        write!(f, "; tried within {}", self.protections)
    }
}

impl Screen {
    /// A screen whose trials are processes of the program that is running, which must call [`serve`]
    /// on the subcommand [`COMMAND`].
    pub fn new(limits: Limits) -> Self {
        // Also where the file was replaced meanwhile, the same program.
        let program = if cfg!(target_os = "linux") {
            PathBuf::from("/proc/self/exe")
        } else {
            std::env::current_exe().unwrap_or_default()
        };
        Self { limits, program, measure: false }
    }

    /// The largest file that passes, in bytes.
    pub fn largest(&self) -> u64 {
        self.limits.file
    }

    /// Has trials be processes of `program`.
    pub fn with_program(mut self, program: &Path) -> Self {
        program.clone_into(&mut self.program);
        self
    }

    /// Has the values of the graph be measured too in a trial, as an audit by gradients does.
    pub fn measuring(mut self) -> Self {
        self.measure = true;
        self
    }

    /// Looks at the file alone, without a trial.
    ///
    /// # Errors
    /// If it is no model, or there is something in it that a classifier does not need; everything is
    /// named.
    pub fn inspect(&self, bytes: &[u8]) -> Result<Model, ScreenError> {
        inspect::inspect(bytes, &self.limits)
    }

    /// Starts a process that tries models of up to `largest` bytes, opened as `opening` says.
    ///
    /// It ends, at the latest, with the thread that calls this.
    ///
    /// One process a model is safer: who has taken it over can lie about the next one.
    ///
    /// # Errors
    /// If it does not start or loads another library than this program.
    pub fn trial(&self, largest: u64, opening: &Opening) -> Result<Trial, ScreenError> {
        let order = Order {
            limits: self.limits.clone(),
            largest,
            library: library::loaded().map(|library| library.path().to_owned()),
            reading: opening.reading.clone(),
            role: opening.role,
            image: opening.image,
            measure: self.measure,
        };
        Trial::start(&self.program, &order)
    }

    /// Lets a model's bytes pass, or says why not.
    ///
    /// # Errors
    /// If the file is refused at sight, or the model fails when it is tried.
    pub fn check(&self, file: ModelFile, opening: &Opening) -> Result<Screened, ScreenError> {
        let begun = Instant::now();
        let bytes = file.bytes();
        let digest = Digest::of_bytes(bytes);
        // The process loads its library while the file is looked at here.
        let (trial, seen) = std::thread::scope(|scope| {
            let looking = scope.spawn(|| self.inspect(bytes).map(|_| ()));
            (self.trial(bytes.len() as u64, opening), looking.join())
        });
        seen.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let mut trial = trial?;
        trial.of(bytes, &digest)?;
        trial.check_library()?;
        let (protections, peak) = (trial.protections().clone(), trial.peak());
        drop(trial);
        let record = Record { digest, protections, peak, took: begun.elapsed() };
        Ok(Screened { file, record })
    }

    /// Reads a model as [`Classifier::open_with`] does, and opens it when it has passed.
    ///
    /// # Errors
    /// If it cannot be read, is refused or cannot be opened.
    pub fn open(
        &self,
        path: &Path,
        opening: &Opening,
    ) -> Result<(Classifier, Record), ScreenError> {
        let Screened { file, record } =
            self.check(ModelFile::read_within(path, self.limits.file)?, opening)?;
        let classifier = Classifier::of_file(file, opening)?;
        Ok((classifier, record))
    }
}
