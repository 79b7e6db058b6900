//! Images with the logits that a checkpoint gives them: what an exported model is held against.

use std::collections::BTreeMap;
use std::path::Path;

use ndarray::{Array2, Array4, ArrayD, Ix2, Ix4, IxDyn};

use super::tensors::{self, TensorFileError, TensorMap};
use super::{Digest, DigestError};

/// A few images with labels, and the logits of the network that made them.
///
/// # Shapes
/// `images` is `N × C × H × W` in pixels, `labels` has `N` entries, `logits` is `N × classes`.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// The images, in pixel units.
    pub images: Array4<f32>,
    /// The true classes.
    pub labels: Vec<usize>,
    /// The logits in evaluation mode, float32.
    pub logits: Array2<f32>,
    /// The digest of the checkpoint that gave the logits.
    pub checkpoint: Digest,
}

/// A probe that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] TensorFileError),
    /// The file holds something else.
    #[error("`{path}` is not a probe: {reason}")]
    Content {
        /// The file.
        path: String,
        /// What is missing or does not fit.
        reason: String,
    },
    /// The checkpoint's digest is not a digest.
    #[error("the checkpoint's digest in `{path}` is not valid")]
    Digest {
        /// The file.
        path: String,
        /// Why not.
        #[source]
        source: DigestError,
    },
}

impl Probe {
    /// Reads a probe.
    ///
    /// # Errors
    /// If the file lacks a part or the parts do not fit together.
    pub fn read(path: &Path) -> Result<(Self, Digest), ProbeError> {
        let name = || path.display().to_string();
        let content = |reason: String| ProbeError::Content { path: name(), reason };
        let mut file = tensors::read(path)?;
        let mut take = |part: &str| {
            let missing = || content(format!("it has no tensor `{part}`"));
            file.tensors.remove(part).ok_or_else(missing)
        };
        let shape = |e: ndarray::ShapeError| content(e.to_string());
        let images = take("images")?.into_dimensionality::<Ix4>().map_err(shape)?;
        let logits = take("logits")?.into_dimensionality::<Ix2>().map_err(shape)?;
        let labels: Vec<usize> = take("labels")?.iter().map(|label| *label as usize).collect();
        let n = images.shape()[0];
        if n == 0 || labels.len() != n || logits.nrows() != n {
            let (labels, logits) = (labels.len(), logits.nrows());
            return Err(content(format!("{n} images, {labels} labels and {logits} logits")));
        }
        if let Some(label) = labels.iter().find(|label| **label >= logits.ncols()) {
            return Err(content(format!("label {label} of {} classes", logits.ncols())));
        }
        let digest = file.metadata.remove("checkpoint").unwrap_or_default();
        let checkpoint = Digest::try_from(digest)
            .map_err(|source| ProbeError::Digest { path: name(), source })?;
        Ok((Self { images, labels, logits, checkpoint }, file.digest))
    }

    /// Writes the probe; the same content gives the same bytes.
    ///
    /// # Errors
    /// If the disk is full or the path cannot be written.
    pub fn write(&self, path: &Path) -> Result<Digest, ProbeError> {
        let labels = self.labels.iter().map(|label| *label as f32);
        let labels = ArrayD::from_shape_fn(IxDyn(&[self.labels.len()]), {
            let labels: Vec<f32> = labels.collect();
            move |index| labels[index[0]]
        });
        let tensors = TensorMap::from([
            ("images".to_owned(), self.images.clone().into_dyn()),
            ("labels".to_owned(), labels),
            ("logits".to_owned(), self.logits.clone().into_dyn()),
        ]);
        let metadata = BTreeMap::from([("checkpoint".to_owned(), self.checkpoint.to_string())]);
        Ok(tensors::write(path, &tensors, metadata)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe() -> Probe {
        Probe {
            images: Array4::from_shape_fn((2, 1, 2, 2), |(n, _, h, w)| (n + h + w) as f32 / 8.0),
            labels: vec![2, 0],
            logits: Array2::from_shape_fn((2, 3), |(n, c)| n as f32 - c as f32),
            checkpoint: Digest::of_bytes(b"checkpoint"),
        }
    }

    #[test]
    fn comes_back_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("probe.safetensors");
        let digest = probe().write(&path).unwrap();
        assert_eq!(Probe::read(&path).unwrap(), (probe(), digest));
    }

    #[test]
    fn refuses_what_does_not_fit_together() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("probe.safetensors");
        Probe { labels: vec![3, 0], ..probe() }.write(&path).unwrap();
        assert!(Probe::read(&path).unwrap_err().to_string().contains("label 3 of 3 classes"));
        Probe { labels: vec![1], ..probe() }.write(&path).unwrap();
        assert!(Probe::read(&path).unwrap_err().to_string().contains("1 labels"));
    }
}
