//! The server's parts: so far what a model must pass before it is served.

pub mod screen;
