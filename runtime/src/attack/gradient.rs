//! The gradient graphs of a classifier, made from the very file that is served.

use std::collections::BTreeMap;

use ndarray::{Array2, ArrayView4};
use rift_models::onnx::Model;

use super::doubt;
use super::oracle::{Gradient, Oracle, OracleError};
use crate::autodiff::{self, AutodiffError, Form, Head, Interface};
use crate::session::trace::{Trace, TraceError};
use crate::session::{Classifier, Provider, SessionError, Worker};

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

/// What is known of the values inside a classifier, for images of the size that it takes.
fn measured(classifier: &Classifier) -> Result<(Trace, Interface), GradientError> {
    let environment = classifier.library().environment();
    let trace = Trace::measure_at(environment, classifier.model(), Some(&classifier.dims()))?;
    Ok((trace, classifier.interface()?))
}

/// The fastest form where the classifier's sessions compute.
fn form(classifier: &Classifier) -> Form {
    match classifier.engine().provider() {
        Provider::OpenVino => Form::Convolutions,
        Provider::Cpu | Provider::Cuda | Provider::Xnnpack => Form::Mixed,
    }
}

/// Says whether the classifier can be differentiated.
///
/// # Errors
/// As [`loss_gradient`], which does more.
pub fn support(classifier: &Classifier) -> Result<(), GradientError> {
    let (trace, interface) = measured(classifier)?;
    Ok(autodiff::support_at(classifier.model(), &trace, &interface)?)
}

/// The classifier with the cross-entropy of `labels` and its gradient by the image.
///
/// # Errors
/// If an operator between image and logits has no rule; all of them are named.
pub fn loss_gradient(classifier: &Classifier) -> Result<Model, GradientError> {
    let (trace, interface) = measured(classifier)?;
    let head = Head::CrossEntropy;
    Ok(autodiff::loss_gradient_at(
        classifier.model(),
        &trace,
        &interface,
        (head, form(classifier)),
    )?)
}

/// The classifier with the product of `cotangent` and its Jacobian.
///
/// # Errors
/// As [`loss_gradient`].
pub fn vector_jacobian(classifier: &Classifier) -> Result<Model, GradientError> {
    let (trace, interface) = measured(classifier)?;
    Ok(autodiff::vector_jacobian_at(classifier.model(), &trace, &interface, Form::default())?)
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
        let mut known = None;
        let form = form(classifier);
        for head in heads {
            if graphs.contains_key(&head) {
                continue;
            }
            let (trace, interface) = match &mut known {
                Some(known) => known,
                none => none.insert(measured(classifier)?),
            };
            let graph =
                autodiff::loss_gradient_at(classifier.model(), trace, interface, (head, form))?;
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
    /// What the graphs were made from.
    source: &'c Classifier,
    graphs: &'c Graphs,
    head: Option<Head>,
    doubt: f32,
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
        let worker = Worker::new(classifier, batch)?;
        let doubt = doubt::of_own_graphs(classifier);
        Ok(Self { worker, classifier, source: classifier, graphs, head: None, doubt })
    }

    /// The attacker with graphs that were made from `twin` rather than from the classifier.
    pub fn steered_by(mut self, twin: &'c Classifier) -> Self {
        if !std::ptr::eq(twin, self.classifier) {
            // What a twin says of an image says nothing about the served model.
            self.doubt = f32::INFINITY;
        }
        self.source = twin;
        self.head = None;
        self
    }

    /// Follows the first of the losses, if there is one.
    pub(super) fn follow_any(&mut self) -> Result<bool, OracleError> {
        match self.graphs.0.keys().next().copied() {
            Some(head) => self.follow(head).map(|()| true),
            None => Ok(false),
        }
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
        let useful = n.div_ceil(classifier.batch(options.batch)).max(1);
        let one = |_| Self::new(classifier, graphs, options.batch);
        (0..options.threads.clamp(1, useful)).map(one).collect()
    }
}

impl Oracle for Attacker<'_> {
    fn doubt(&self) -> f32 {
        self.doubt
    }

    fn follows_itself(&self) -> bool {
        std::ptr::eq(self.source, self.classifier)
    }

    fn is_coarse(&self) -> bool {
        doubt::is_coarse(self.classifier.model())
    }

    fn fixed_batch(&self) -> Option<usize> {
        self.classifier.fixed_batch()
    }

    fn levels(&self) -> Option<f32> {
        self.classifier.levels()
    }

    fn set_batch(&mut self, batch: usize) {
        self.worker.set_batch(batch);
    }

    fn logits(&mut self, images: &ArrayView4<f32>) -> Result<Array2<f32>, OracleError> {
        Ok(self.worker.logits(images)?)
    }

    fn follow(&mut self, head: Head) -> Result<(), OracleError> {
        if self.head != Some(head) {
            let graph = self.graphs.0.get(&head).ok_or(GradientError::Missing(head))?;
            self.head = None;
            self.worker.set_gradient(self.source, graph)?;
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
