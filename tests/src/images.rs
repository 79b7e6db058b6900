//! The images that tests run on: made up, or real where they are on this machine.

use std::path::PathBuf;

/// A folder of the shared data beside the workspace, or `None` with a note that the test is
/// skipped.
///
/// ```
/// assert!(rift_tests::images::shared("no-such-data").is_none());
/// ```
pub fn shared(name: &str) -> Option<PathBuf> {
    let folder =
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data")).join(name);
    if folder.exists() {
        return folder.canonicalize().ok();
    }
    eprintln!("skipped: no data at `{}`", folder.display());
    None
}

/// Grey images of 12 × 12 pixels in 3 classes: the smallest that every network here takes and learns.
pub const TINY: &str = "synthetic:3x1x12x12,train=600,test=1000";

/// The architecture that goes with [`TINY`], as flags.
pub const TINY_ARCH: [&str; 4] = ["--arch", "resnet8", "--width", "8"];
