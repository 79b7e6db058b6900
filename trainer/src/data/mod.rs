//! Images on the device, in batches.

mod augment;
mod image_set;
mod loader;

pub use augment::Augment;
pub use image_set::{Batch, ImageSet, ImageSetError};
pub use loader::{Extra, Loader};
