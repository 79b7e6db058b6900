//! What an audit shows while it runs and leaves behind beside its report.

use std::io::Cursor;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use ndarray::{Array1, Array4, ArrayView3, Axis};
use ndarray_npy::NpzWriter;
use rift_models::artifact::atomic;
use rift_models::dataset::Dataset;
use rift_runtime::audit::Measured;

/// A bar that is renamed as the audit goes on.
pub(super) struct Bar {
    bar: ProgressBar,
    name: Mutex<String>,
}

impl Bar {
    pub(super) fn new(is_quiet: bool) -> Self {
        let bar = if is_quiet { ProgressBar::hidden() } else { ProgressBar::new(0) };
        if let Ok(style) = ProgressStyle::with_template("{msg:>14} {wide_bar} {pos}/{len} {eta}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, name: Mutex::new(String::new()) }
    }

    pub(super) fn tell(&self, name: &str, done: usize, of: usize) {
        if let Ok(mut last) = self.name.lock()
            && *last != name
        {
            name.clone_into(&mut last);
            self.bar.set_message(name.to_owned());
            self.bar.set_position(0);
            self.bar.set_length(of as u64);
            self.bar.reset_eta();
        }
        self.bar.inc(done as u64);
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// Writes every image as the attacks left it: adversarial where it was broken, the last attempt where
/// not, and as it is where it was misclassified to begin with.
pub(super) fn save(path: &Path, data: &Dataset, measured: &Measured) -> anyhow::Result<()> {
    let [c, h, w] = data.input();
    let rows = measured.rows.clone();
    let mut x = Array4::<f32>::zeros((rows.len(), c, h, w));
    for (index, mut image) in rows.clone().zip(x.outer_iter_mut()) {
        image.assign(&data.batch(index..index + 1).index_axis(Axis(0), 0));
    }
    for fate in &measured.fates {
        let outcome = &fate.outcome;
        let image = ArrayView3::from_shape((c, h, w), &outcome.image)?;
        x.index_axis_mut(Axis(0), outcome.index - rows.start).assign(&image);
    }
    let y: Array1<i64> = data.labels[rows.clone()].iter().map(|label| *label as i64).collect();
    let index: Array1<i64> = rows.map(|index| index as i64).collect();
    // In memory first: the archive's writer complains on standard error when a disk is full.
    let mut npz = NpzWriter::new_compressed(Cursor::new(Vec::new()));
    npz.add_array("x", &x)?;
    npz.add_array("y", &y)?;
    npz.add_array("index", &index)?;
    atomic::write(path, npz.finish()?.get_ref())?;
    Ok(())
}
