//! What the documentation says, held against the programs and the files that it names.

mod flags;
mod formats;
mod links;
mod zoo;
