//! Where the images under attack come from.

use ndarray::{Array2, ArrayView1, ArrayView2, ArrayView4, Axis};
use rift_models::dataset::Dataset;

use super::oracle::prediction;

/// The images under attack.
pub trait Samples: Sync {
    /// Writes the pixels of image `index`, C × H × W, to `out`.
    fn copy(&self, index: usize, out: &mut [f32]);
    /// The true class of image `index`.
    fn label(&self, index: usize) -> usize;
    /// The logits of image `index` as it is.
    fn logits(&self, index: usize) -> ArrayView1<'_, f32>;
}

/// Images of a data set that have been classified as they are.
#[derive(Clone, Copy, Debug)]
pub struct Classified<'a> {
    /// The data set.
    pub data: &'a Dataset,
    /// The index of the first that was classified.
    pub first: usize,
    /// Their logits, N × classes.
    pub logits: &'a Array2<f32>,
}

impl Classified<'_> {
    /// The indices of those that are classified correctly.
    pub fn right(&self) -> Vec<usize> {
        let rows = self.logits.rows().into_iter().enumerate();
        let rows = rows.map(|(row, logits)| (self.first + row, prediction(&logits)));
        rows.filter(|(index, class)| *class == self.data.labels[*index]).map(|(i, _)| i).collect()
    }
}

impl Samples for Classified<'_> {
    fn copy(&self, index: usize, out: &mut [f32]) {
        for (to, from) in out.iter_mut().zip(self.data.batch(index..index + 1)) {
            *to = from;
        }
    }

    fn label(&self, index: usize) -> usize {
        self.data.labels[index]
    }

    fn logits(&self, index: usize) -> ArrayView1<'_, f32> {
        self.logits.row(index - self.first)
    }
}

/// Images held in memory, with their labels and logits.
#[derive(Clone, Copy, Debug)]
pub struct Labelled<'a> {
    /// The images, N × C × H × W.
    pub images: ArrayView4<'a, f32>,
    /// The true classes.
    pub labels: &'a [usize],
    /// The logits of the images as they are, N × classes.
    pub logits: ArrayView2<'a, f32>,
}

impl Samples for Labelled<'_> {
    fn copy(&self, index: usize, out: &mut [f32]) {
        let image = self.images.index_axis(Axis(0), index);
        for (to, from) in out.iter_mut().zip(image) {
            *to = *from;
        }
    }

    fn label(&self, index: usize) -> usize {
        self.labels[index]
    }

    fn logits(&self, index: usize) -> ArrayView1<'_, f32> {
        self.logits.row(index)
    }
}
