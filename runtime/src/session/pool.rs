//! Work spread over workers, in order.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use ndarray::{Array2, ArrayView4, Axis, Slice};

use super::{Classifier, SessionError, SessionOptions, Worker};

/// Several workers of one classifier.
#[derive(Debug)]
pub struct Pool {
    workers: Vec<Worker>,
    classes: usize,
}

impl Pool {
    /// A pool as `options` says, with no more workers than there is work of `n` images for.
    ///
    /// # Errors
    /// If ONNX Runtime refuses the model.
    pub fn new(
        classifier: &Classifier,
        options: &SessionOptions,
        n: usize,
    ) -> Result<Self, SessionError> {
        let useful = n.div_ceil(options.batch.max(1)).max(1);
        let workers = (0..options.threads.clamp(1, useful))
            .map(|_| Worker::new(classifier, options.batch))
            .collect::<Result<_, _>>()?;
        Ok(Self { workers, classes: classifier.classes() })
    }

    /// The pool with sessions of the classifier's gradient graph as well.
    ///
    /// # Errors
    /// If ONNX Runtime refuses the graph.
    pub fn with_gradient(
        self,
        classifier: &Classifier,
        graph: &[u8],
    ) -> Result<Self, SessionError> {
        let with = |worker: Worker| worker.with_gradient(classifier, graph);
        let workers = self.workers.into_iter().map(with).collect::<Result<_, _>>()?;
        Ok(Self { workers, ..self })
    }

    /// The workers, for those who bring their own threads.
    pub fn workers(&mut self) -> &mut [Worker] {
        &mut self.workers
    }

    /// The logits of images, in their order.
    ///
    /// # Shapes
    /// `N × C × H × W` in pixels to `N × classes`.
    ///
    /// # Errors
    /// If the images do not fit the model or it fails.
    pub fn logits(&mut self, images: &ArrayView4<f32>) -> Result<Array2<f32>, SessionError> {
        let batch = self.workers.first().map_or(1, Worker::batch);
        let classes = self.classes;
        let parts = spread(&mut self.workers, images.len_of(Axis(0)), batch, |worker, rows| {
            worker.logits(&images.slice_axis(Axis(0), Slice::from(rows)))
        })?;
        let mut logits = Array2::zeros((0, classes));
        for part in &parts {
            logits.append(Axis(0), part.view()).map_err(|_| SessionError::Output {
                output: "logits".to_owned(),
                found: vec![part.ncols() as i64],
                expected: vec![classes as i64],
            })?;
        }
        Ok(logits)
    }
}

/// Cuts `0..n` into ranges of `chunk` and lets each worker, on a thread of its own, take the next;
/// returns what `work` made of each range, in order.
///
/// # Errors
/// The first failure in the order of the ranges that were worked on; the other workers stop.
pub fn spread<W: Send, T: Send, E: Send>(
    workers: &mut [W],
    n: usize,
    chunk: usize,
    work: impl Fn(&mut W, Range<usize>) -> Result<T, E> + Sync,
) -> Result<Vec<T>, E> {
    let chunk = chunk.max(1);
    let chunks = n.div_ceil(chunk);
    let next = AtomicUsize::new(0);
    let run = |worker: &mut W| {
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= chunks {
                return done;
            }
            let result = work(worker, number * chunk..n.min((number + 1) * chunk));
            if result.is_err() {
                next.store(chunks, Ordering::Relaxed);
            }
            done.push((number, result));
        }
    };
    let mut parts: Vec<(usize, Result<T, E>)> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            workers.iter_mut().map(|worker| scope.spawn(|| run(worker))).collect();
        let join = |thread: std::thread::ScopedJoinHandle<_>| match thread.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        threads.into_iter().flat_map(join).collect()
    });
    parts.sort_by_key(|(number, _)| *number);
    parts.into_iter().map(|(_, part)| part).collect()
}
