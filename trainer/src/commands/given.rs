//! Which flags a user wrote, rather than a default or a variable that stands for every command.

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, FromArgMatches, Id};

/// The flags of the command line, by the names of their fields.
///
/// As a field it stands before those that it is asked about: the others take their values out.
#[derive(Clone, Debug, Default)]
pub(super) struct Given(Vec<Id>);

impl Given {
    /// The first of `flags` that was written.
    pub(super) fn first<'f>(&self, flags: &[&'f str]) -> Option<&'f str> {
        flags.iter().copied().find(|flag| self.0.iter().any(|given| given == *flag))
    }
}

impl FromArgMatches for Given {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let is_written =
            |id: &&Id| matches.value_source(id.as_str()) == Some(ValueSource::CommandLine);
        Ok(Self(matches.ids().filter(is_written).cloned().collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Given {
    fn augment_args(command: Command) -> Command {
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        command
    }
}
