//! A bundle in the form that other people's servers take.

pub mod kserve;
pub mod triton;

use rift_models::artifact::atomic::AtomicError;
use rift_models::artifact::{ArchiveError, BundleError};

/// A layout that was not written; nothing was.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The bundle cannot be used.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The model does not say what it takes and gives.
    #[error("the model of `{bundle}` declares {found}, expected {expected}")]
    Interface {
        /// The bundle.
        bundle: String,
        /// What is needed.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// The model cannot be read.
    #[error(transparent)]
    Onnx(#[from] rift_models::onnx::OnnxError),
    /// The archive cannot be written.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A file cannot be written.
    #[error(transparent)]
    Write(#[from] AtomicError),
}

/// `name` as a model's name in a repository or a cluster: small letters, digits and `-`.
pub fn identifier(name: &str) -> String {
    let plain: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .collect();
    let short: String = plain.trim_matches('-').chars().take(63).collect();
    match short.trim_end_matches('-') {
        "" => "model".to_owned(),
        short => short.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_domain_name_system() {
        assert_eq!(identifier("ResNet20 (int8)"), "resnet20--int8");
        assert_eq!(identifier("..."), "model");
        assert_eq!(identifier(&"a".repeat(80)).len(), 63);
    }
}
