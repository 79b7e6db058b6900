//! Passes over the adversarial images, from a module on.

use std::collections::BTreeMap;

use rift_models::arch::Role;
use rift_models::artifact::MrcRow;
use tch::{Kind, Reduction, Tensor};

use super::{MrcError, MrcSettings, noise};
use crate::attack::craft;
use crate::data::Batch;
use crate::network::{Activations, Mode, Network, TorchError, cross_entropy};
use crate::record::Progress;

/// Images as they are, and attacked at the network's own weights.
pub(super) struct Attacked {
    pub(super) clean: Batch,
    pub(super) adversarial: Batch,
}

/// What all modules share.
#[derive(Clone, Copy)]
pub(super) struct Stage<'a> {
    pub(super) network: &'a Network,
    pub(super) batches: &'a [Attacked],
    pub(super) settings: &'a MrcSettings,
    pub(super) progress: &'a Progress,
}

/// The network on all adversarial images at its own weights.
pub(super) struct Start {
    /// Mean loss.
    pub(super) loss: f64,
    pub(super) accuracy: f64,
    /// The summed loss's gradient with respect to the weight of each module, by node.
    pub(super) gradients: BTreeMap<usize, Tensor>,
}

/// The network on all adversarial images at perturbed weights.
pub(super) struct Pass {
    /// Mean loss.
    pub(super) loss: f64,
    pub(super) accuracy: f64,
    /// The summed loss's gradient with respect to the module's weight, where it was asked for.
    pub(super) gradient: Option<Tensor>,
}

/// The activations that enter a module, of as many batches as there is memory for.
#[derive(Default)]
pub(super) struct Prefix {
    kept: Vec<Activations>,
}

impl Prefix {
    /// Goes on to `node`, which is not before the last one: from where a batch's activations are, or
    /// from its images.
    fn advance(&mut self, stage: &Stage<'_>, node: usize) -> Result<(), TorchError> {
        let mut before = std::mem::take(&mut self.kept).into_iter();
        let mut bytes = 0;
        for batch in stage.batches {
            let activations = match before.next() {
                Some(kept) => stage.network.forward_between(kept, node, Mode::Eval)?,
                None => stage.network.forward_until(&batch.adversarial.images, node, Mode::Eval)?,
            };
            bytes += activations.values().values().map(|t| t.numel() * 4).sum::<usize>();
            if bytes > stage.settings.cache_bytes {
                break;
            }
            self.kept.push(activations);
        }
        Ok(())
    }
}

/// Sums over batches.
#[derive(Default)]
struct Tally {
    n: usize,
    loss: f64,
    correct: i64,
}

impl Tally {
    /// Counts a batch; gives its summed loss.
    fn add(&mut self, logits: &Tensor, labels: &Tensor) -> Result<Tensor, TorchError> {
        let sum = cross_entropy(logits, labels, Reduction::Sum)?;
        self.loss += sum.f_double_value(&[])?;
        let right = logits.f_argmax(1, false)?.f_eq_tensor(labels)?;
        self.correct += right.f_sum(Kind::Int64)?.f_int64_value(&[])?;
        self.n += labels.numel();
        Ok(sum)
    }

    fn mean(&self) -> (f64, f64) {
        let n = self.n.max(1) as f64;
        (self.loss / n, self.correct as f64 / n)
    }
}

/// Adds what grew to what there was.
fn accumulate(total: Option<Tensor>, grown: Tensor) -> Result<Tensor, TorchError> {
    match total {
        Some(mut total) => Ok(total.f_add_(&grown)?),
        None => Ok(grown),
    }
}

impl Stage<'_> {
    /// The number of images.
    pub(super) fn n(&self) -> usize {
        self.batches.iter().map(|batch| batch.clean.indices.len()).sum()
    }

    /// The weight of a node, if it has one.
    pub(super) fn weight(&self, node: usize) -> Option<&Tensor> {
        let parameter = self.network.graph().parameter_of(node, Role::Weight)?;
        self.network.tensor(&parameter.name)
    }

    /// One pass for loss, accuracy and the gradients of all nodes' weights.
    pub(super) fn start(&self, nodes: &[usize]) -> Result<Start, TorchError> {
        let weights: BTreeMap<usize, &Tensor> =
            nodes.iter().filter_map(|node| Some((*node, self.weight(*node)?))).collect();
        self.network
            .train_where(|p| p.spec.role == Role::Weight && weights.contains_key(&p.node))?;
        let (mut tally, mut gradients) = (Tally::default(), BTreeMap::new());
        let tensors: Vec<&Tensor> = weights.values().copied().collect();
        for Attacked { adversarial, .. } in self.batches {
            let logits = self.network.forward(&adversarial.images, Mode::Eval)?;
            let sum = tally.add(&logits, &adversarial.labels)?;
            if tensors.is_empty() {
                continue;
            }
            let grown = Tensor::f_run_backward(&[&sum], &tensors, false, false)?;
            for (node, grown) in weights.keys().zip(grown) {
                let total = accumulate(gradients.remove(node), grown)?;
                gradients.insert(*node, total);
            }
        }
        self.network.freeze()?;
        let (loss, accuracy) = tally.mean();
        Ok(Start { loss, accuracy, gradients })
    }

    /// Measures the module at `node` and puts its weights back.
    pub(super) fn module(
        &self,
        node: usize,
        start: &Start,
        prefix: &mut Prefix,
    ) -> Result<MrcRow, MrcError> {
        let mut row = MrcRow {
            module: self.network.graph().nodes[node].name.clone(),
            weights: 0,
            mrc: 0.0,
            robust_accuracy_drop: 0.0,
            step: 0,
            rejected: 0,
        };
        let Some(weight) = self.weight(node) else { return Ok(row) };
        row.weights = weight.numel();
        // The images of a perturbed network are others, and so are their activations.
        if !self.settings.joint {
            tch::no_grad(|| prefix.advance(self, node))?;
        }
        let original = weight.f_detach()?.f_to_dtype(Kind::Float, false, true)?;
        self.network.train_where(|p| p.node == node && p.spec.role == Role::Weight)?;
        let module = Module { stage: self, node, weight, original: &original, prefix };
        let ascended = module.ascend(&mut row, start);
        tch::no_grad(|| weight.shallow_clone().f_copy_(&original))?;
        self.network.freeze()?;
        ascended?;
        Ok(row)
    }
}

/// A module whose weights move.
pub(super) struct Module<'a> {
    pub(super) stage: &'a Stage<'a>,
    pub(super) node: usize,
    pub(super) weight: &'a Tensor,
    /// Its weights before.
    pub(super) original: &'a Tensor,
    prefix: &'a Prefix,
}

impl Module<'_> {
    /// The network from the module on, over all batches.
    pub(super) fn pass(&self, with_gradient: bool) -> Result<Pass, TorchError> {
        let (mut tally, mut gradient) = (Tally::default(), None);
        for (index, Attacked { adversarial, .. }) in self.stage.batches.iter().enumerate() {
            // An attack needs gradients, also where the pass itself does without.
            let entry = self.entry(index)?;
            let mut batch = || tally.add(&self.logits(&entry)?, &adversarial.labels);
            if with_gradient {
                let grown = self.gradient(&batch()?)?;
                gradient = Some(accumulate(gradient.take(), grown)?);
            } else {
                let _ = tch::no_grad(batch)?;
            }
        }
        let (loss, accuracy) = tally.mean();
        Ok(Pass { loss, accuracy, gradient })
    }

    /// The gradient of the mean loss of one batch.
    pub(super) fn batch_gradient(&self, index: usize) -> Result<Tensor, TorchError> {
        let logits = self.logits(&self.entry(index)?)?;
        let labels = &self.stage.batches[index].adversarial.labels;
        self.gradient(&cross_entropy(&logits, labels, Reduction::Mean)?)
    }

    fn gradient(&self, loss: &Tensor) -> Result<Tensor, TorchError> {
        let grown = Tensor::f_run_backward(&[loss], &[self.weight], false, false)?;
        grown.into_iter().next().ok_or_else(|| TorchError::missing("gradient"))
    }

    /// Where the network is entered with a batch.
    fn entry(&self, index: usize) -> Result<Entry<'_>, TorchError> {
        let Stage { network, settings, .. } = self.stage;
        let Attacked { clean, adversarial } = &self.stage.batches[index];
        if settings.joint {
            return Ok(Entry::Images(craft(network, clean, &settings.threat, &noise(settings))?));
        }
        if let Some(kept) = self.prefix.kept.get(index) {
            return Ok(Entry::Kept(kept));
        }
        let before = || network.forward_until(&adversarial.images, self.node, Mode::Eval);
        Ok(Entry::Made(tch::no_grad(before)?))
    }

    fn logits(&self, entry: &Entry<'_>) -> Result<Tensor, TorchError> {
        let network = self.stage.network;
        match entry {
            Entry::Images(images) => network.forward(images, Mode::Eval),
            Entry::Kept(activations) => network.forward_from(activations, Mode::Eval),
            Entry::Made(activations) => network.forward_from(activations, Mode::Eval),
        }
    }
}

/// Where the network is entered.
enum Entry<'a> {
    /// At its images.
    Images(Tensor),
    /// At the module, with activations that are kept.
    Kept(&'a Activations),
    /// At the module, with activations that there was no memory to keep.
    Made(Activations),
}
