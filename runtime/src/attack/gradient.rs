//! The gradient graphs of a classifier, made from the very file that is served.

use std::collections::BTreeMap;

use ndarray::{Array2, ArrayView4};
use rift_models::onnx::Model;

use super::oracle::{Gradient, Oracle, OracleError};
use crate::autodiff::{self, AutodiffError, Head};
use crate::session::trace::{Trace, TraceError};
use crate::session::{Classifier, SessionError, Worker};

/// A classifier that cannot be differentiated.
#[derive(Debug, thiserror::Error)]
pub enum GradientError {
    /// Its shapes cannot be measured.
    #[error("the shapes inside the model cannot be measured")]
    Trace(#[from] TraceError),
    /// An operator has no gradient.
    #[error("the model cannot be differentiated")]
    Autodiff(#[from] AutodiffError),
    /// An attack asks for a loss whose graph was not made.
    #[error("there is no gradient graph for the loss {0:?}")]
    Missing(Head),
}

/// Says whether the classifier can be differentiated.
///
/// # Errors
/// As [`loss_gradient`], which does more.
pub fn support(classifier: &Classifier) -> Result<(), GradientError> {
    let trace = Trace::measure(classifier.library().environment(), classifier.model())?;
    Ok(autodiff::support(classifier.model(), &trace)?)
}

/// The classifier with the cross-entropy of `labels` and its gradient by the image.
///
/// # Errors
/// If an operator between image and logits has no rule; all of them are named.
pub fn loss_gradient(classifier: &Classifier) -> Result<Model, GradientError> {
    let trace = Trace::measure(classifier.library().environment(), classifier.model())?;
    Ok(autodiff::loss_gradient(classifier.model(), &trace, Head::CrossEntropy)?)
}

/// The classifier with the product of `cotangent` and its Jacobian.
///
/// # Errors
/// As [`loss_gradient`].
pub fn vector_jacobian(classifier: &Classifier) -> Result<Model, GradientError> {
    let trace = Trace::measure(classifier.library().environment(), classifier.model())?;
    Ok(autodiff::vector_jacobian(classifier.model(), &trace)?)
}

/// Gradient graphs of one classifier, a loss each.
#[derive(Clone, Debug, Default)]
pub struct Graphs(BTreeMap<Head, Vec<u8>>);

impl Graphs {
    /// The graphs of these losses.
    ///
    /// # Errors
    /// If an operator between image and logits has no rule; all of them are named.
    pub fn build(
        classifier: &Classifier,
        heads: impl IntoIterator<Item = Head>,
    ) -> Result<Self, GradientError> {
        let mut graphs = BTreeMap::new();
        let mut trace = None;
        for head in heads {
            if graphs.contains_key(&head) {
                continue;
            }
            let trace = match &mut trace {
                Some(trace) => trace,
                none => none.insert(Trace::measure(
                    classifier.library().environment(),
                    classifier.model(),
                )?),
            };
            let graph = autodiff::loss_gradient(classifier.model(), trace, head)?;
            graphs.insert(head, graph.to_bytes());
        }
        Ok(Self(graphs))
    }
}

/// One thread's sessions, with that of the loss that is followed.
#[derive(Debug)]
pub struct Attacker<'c> {
    worker: Worker,
    classifier: &'c Classifier,
    graphs: &'c Graphs,
    head: Option<Head>,
}

impl<'c> Attacker<'c> {
    /// An attacker of `classifier` that asks about `batch` images at once.
    ///
    /// # Errors
    /// If ONNX Runtime refuses the model.
    pub fn new(
        classifier: &'c Classifier,
        graphs: &'c Graphs,
        batch: usize,
    ) -> Result<Self, SessionError> {
        Ok(Self { worker: Worker::new(classifier, batch)?, classifier, graphs, head: None })
    }

    /// As many as `threads` says, but no more than there is work of `n` images for.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn several(
        classifier: &'c Classifier,
        graphs: &'c Graphs,
        options: &crate::session::SessionOptions,
        n: usize,
    ) -> Result<Vec<Self>, SessionError> {
        let useful = n.div_ceil(options.batch.max(1)).max(1);
        let one = |_| Self::new(classifier, graphs, options.batch);
        (0..options.threads.clamp(1, useful)).map(one).collect()
    }
}

impl Oracle for Attacker<'_> {
    fn logits(&mut self, images: &ArrayView4<f32>) -> Result<Array2<f32>, OracleError> {
        Ok(self.worker.logits(images)?)
    }

    fn follow(&mut self, head: Head) -> Result<(), OracleError> {
        if self.head != Some(head) {
            let graph = self.graphs.0.get(&head).ok_or(GradientError::Missing(head))?;
            self.head = None;
            self.worker.set_gradient(self.classifier, graph)?;
            self.head = Some(head);
        }
        Ok(())
    }

    fn gradient(
        &mut self,
        images: &ArrayView4<f32>,
        labels: &[usize],
        targets: &[usize],
    ) -> Result<Gradient, OracleError> {
        Ok(self.worker.gradient(images, labels, targets)?)
    }
}
