//! What the three programs have in common: how they fail, and how they describe themselves.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap_complete::Shell;

/// Prints an error in one line on standard error; the exit code says that there was one.
pub fn fail(message: &str) -> ExitCode {
    let words: Vec<&str> = message.split_whitespace().collect();
    // Where standard error is gone there is nobody left to tell.
    let _ = writeln!(io::stderr(), "error: {}", words.join(" "));
    ExitCode::from(2)
}

/// Shows help and version as they are, and what is wrong with the arguments in one line.
pub fn refuse(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = error.print();
            ExitCode::SUCCESS
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            ExitCode::from(2)
        }
        _ => {
            let text = error.to_string();
            let ends = ["\n\nUsage:", "\n\nFor more information"];
            let end = ends.iter().filter_map(|part| text.find(part)).min();
            let what = &text[..end.unwrap_or(text.len())];
            fail(&format!("{}; see `--help`", what.trim_start_matches("error: ")))
        }
    }
}

/// What is wrong with the environment variables of a program's flags: each is to have one of its own
/// name, `RIFT_EVAL_BATCH_SIZE` for `--eval-batch-size`.
///
/// ```
/// let program = clap::Command::new("p").arg(clap::Arg::new("eps").long("eps"));
/// assert_eq!(rift_models::program::misnamed_variables(&program), ["p --eps: RIFT_EPS"]);
/// ```
pub fn misnamed_variables(program: &clap::Command) -> Vec<String> {
    let mut faults = Vec::new();
    for command in std::iter::once(program).chain(program.get_subcommands()) {
        for argument in command.get_arguments() {
            let Some(long) = argument.get_long() else { continue };
            let expected = format!("RIFT_{}", long.to_uppercase().replace('-', "_"));
            let is_named = argument.get_env().is_some_and(|variable| *variable == *expected);
            if !is_named && !matches!(long, "help" | "version") {
                faults.push(format!("{} --{long}: {expected}", command.get_name()));
            }
        }
    }
    faults
}

/// The arguments of `manual`.
#[derive(Debug, clap::Args)]
pub struct ManualArgs {
    /// The folder to write them to
    #[arg(long, value_name = "DIR", env = "RIFT_OUT")]
    out: PathBuf,
}

/// Writes a program's manual pages, one a command, and its completions for bash, fish and zsh.
///
/// # Errors
/// If the folder cannot be written.
pub fn manual(program: clap::Command, args: &ManualArgs) -> io::Result<()> {
    let folder: &Path = &args.out;
    std::fs::create_dir_all(folder)?;
    let (name, mut described) = (program.get_name().to_owned(), program.clone());
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        clap_complete::generate_to(shell, &mut described, &name, folder)?;
    }
    clap_mangen::generate_to(program, folder)
}
