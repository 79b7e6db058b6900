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
    /// The repository has a model of this name that is somebody else's.
    #[error(
        "`{path}` is a model that rift-exporter did not write: expected another repository, or another \
         name of the bundle"
    )]
    Foreign {
        /// The model's folder.
        path: String,
    },
    /// The repository has a model of this name that is another bundle's.
    #[error(
        "`{path}` is the model of the bundle {found}, whose name comes to the same as {expected}: \
         expected another repository, or another name of the bundle"
    )]
    OtherBundle {
        /// The model's folder.
        path: String,
        /// The bundle's name there.
        found: String,
        /// The name of the bundle that is to be written.
        expected: String,
    },
    /// A file there is somebody else's.
    #[error("`{path}` is a manifest that rift-exporter did not write: expected another folder")]
    ForeignManifest {
        /// The file.
        path: String,
    },
    /// A file cannot be written.
    #[error(transparent)]
    Write(#[from] AtomicError),
}

/// The longest name of a service: 63 letters with the `-triton` of ours and the `-predictor` of KServe's.
const LONGEST: usize = 63 - "-triton".len() - "-predictor".len();

/// `name` as a model's name in a repository or a cluster: small letters, digits and `-`, a letter first.
pub fn identifier(name: &str) -> String {
    let plain: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .collect();
    let plain = plain.trim_matches('-');
    let begins = plain.starts_with(|first: char| first.is_ascii_lowercase());
    let named = if begins { plain.to_owned() } else { format!("model-{plain}") };
    let short: String = named.chars().take(LONGEST).collect();
    short.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_domain_name_system() {
        assert_eq!(identifier("ResNet20 (int8)"), "resnet20--int8");
        assert_eq!(identifier("..."), "model");
        assert_eq!(identifier("2026 robust"), "model-2026-robust");
        assert_eq!(identifier(&"a".repeat(80)).len(), 46);
    }
}
