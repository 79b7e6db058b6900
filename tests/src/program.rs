//! The three programs as processes.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// One of the programs under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `rift-trainer`.
    Trainer,
    /// `rift-exporter`.
    Exporter,
    /// `rift-runtime`.
    Runtime,
}

impl Program {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Trainer, Self::Exporter, Self::Runtime];

    /// The name of the executable.
    pub fn name(self) -> &'static str {
        match self {
            Self::Trainer => "rift-trainer",
            Self::Exporter => "rift-exporter",
            Self::Runtime => "rift-runtime",
        }
    }

    /// Where the executable is: beside the folder of this test's own, `target/<profile>/`.
    ///
    /// # Panics
    /// If it has not been built; the message says how to.
    pub fn path(self) -> PathBuf {
        let path = folder_of_programs().join(self.name());
        assert!(
            path.is_file(),
            "`{}` is missing: run `make test`, or first `cargo build --workspace --bins`",
            path.display()
        );
        path
    }

    /// A command that starts the program with `arguments`, without settings of the developer's
    /// own environment, and with one thread so that tests that run side by side leave each other
    /// room.
    pub fn command<A: AsRef<OsStr>>(self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(self.path());
        for (name, _) in std::env::vars_os() {
            let ours = name.to_string_lossy().starts_with("RIFT_") && name != "RIFT_ONNXRUNTIME";
            if ours {
                command.env_remove(name);
            }
        }
        command.env("RIFT_THREADS", "1").args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs the program to its end.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn run<A: AsRef<OsStr>>(self, arguments: impl IntoIterator<Item = A>) -> Finished {
        finish(&mut self.command(arguments))
    }
}

/// The folder of the executables that were built with this test.
///
/// # Panics
/// If the test's own path is not known.
pub fn folder_of_programs() -> PathBuf {
    let test = match std::env::current_exe() {
        Ok(test) => test,
        Err(error) => panic!("the path of this test is not known: {error}"),
    };
    // target/<profile>/deps/<test>
    match test.parent().and_then(Path::parent) {
        Some(folder) => folder.to_owned(),
        None => panic!("`{}` lies in no target folder", test.display()),
    }
}

/// Runs a command to its end.
///
/// # Panics
/// If it cannot be started.
pub fn finish(command: &mut Command) -> Finished {
    let line = format!("{command:?}");
    match command.output() {
        Ok(output) => Finished {
            line,
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        },
        Err(error) => panic!("cannot start {line}: {error}"),
    }
}

/// A process that has ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The command line, for messages.
    pub line: String,
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Finished {
    /// Itself, if it ended with code 0.
    ///
    /// # Panics
    /// If it did not; the message holds what it wrote.
    #[must_use = "the output is there to be looked at; `let _ =` where it is not"]
    pub fn success(self) -> Self {
        assert_eq!(self.code, Some(0), "{}\n{}{}", self.line, self.stdout, self.stderr);
        self
    }

    /// The message of an error: code 2, nothing on standard output, and on standard error one line
    /// that begins with `error: `.
    ///
    /// # Panics
    /// If it ended in any other way.
    pub fn refusal(self) -> String {
        let all = format!("{}\n{}{}", self.line, self.stdout, self.stderr);
        assert_eq!(self.code, Some(2), "{all}");
        assert_eq!(self.stdout, "", "{all}");
        let message = self.stderr.strip_suffix('\n').unwrap_or(&self.stderr);
        assert!(message.starts_with("error: ") && !message.contains('\n'), "{all}");
        message.to_owned()
    }
}
