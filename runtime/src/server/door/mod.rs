//! Who comes in, and how.

pub(super) mod listener;
