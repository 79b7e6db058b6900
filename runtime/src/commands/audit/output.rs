//! What an audit shows while it runs and leaves behind beside its report.

use std::io::{self, Cursor, IsTerminal, Write};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use ndarray::{Array1, Array4, ArrayView3, Axis};
use ndarray_npy::NpzWriter;
use rift_models::artifact::atomic;
use rift_models::dataset::Dataset;
use rift_runtime::audit::{Measured, Step};

/// How often a line is written where no bar can be drawn.
const LINE: Duration = Duration::from_mins(1);

/// A bar that is renamed as the audit goes on; a line from time to time where standard error is no
/// terminal.
pub(super) struct Bar {
    drawn: ProgressBar,
    shown: Mutex<Shown>,
    writes_lines: bool,
}

struct Shown {
    name: String,
    done: usize,
    written: Instant,
}

impl Bar {
    pub(super) fn new(is_quiet: bool) -> Self {
        let bar = if is_quiet { ProgressBar::hidden() } else { ProgressBar::new(0) };
        if let Ok(style) = ProgressStyle::with_template("{msg:>14} {wide_bar} {pos}/{len} {prefix}")
        {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        let shown = Shown { name: String::new(), done: 0, written: Instant::now() };
        let writes_lines = !is_quiet && !io::stderr().is_terminal();
        Self { drawn: bar, shown: Mutex::new(shown), writes_lines }
    }

    pub(super) fn tell(&self, step: Step<'_>) {
        let Ok(mut shown) = self.shown.lock() else { return };
        if shown.name != step.name {
            step.name.clone_into(&mut shown.name);
            shown.done = 0;
            self.drawn.set_message(step.name.to_owned());
            self.drawn.set_position(0);
            self.drawn.set_length(step.of as u64);
            self.drawn.set_prefix("");
        }
        shown.done += step.done;
        self.drawn.inc(step.done as u64);
        let left = step.left.map(|left| format!("at most {} left", words(left)));
        if let Some(left) = &left {
            self.drawn.set_prefix(left.clone());
        }
        if self.writes_lines && shown.written.elapsed() >= LINE {
            shown.written = Instant::now();
            let left = left.map_or_else(String::new, |left| format!(", {left}"));
            let line = format!("{}: {} of {} images{left}", step.name, shown.done, step.of);
            // Where standard error is gone there is nobody left to tell.
            let _ = writeln!(io::stderr(), "{line}");
        }
    }

    pub(super) fn finish(&self) {
        self.drawn.finish_and_clear();
    }
}

/// A time as people say it: `40 s`, `12 min`, `3 h 20 min`.
fn words(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..=89 => format!("{seconds} s"),
        90..=5399 => format!("{} min", (seconds + 30) / 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Writes every image as the attacks left it: adversarial where it was broken, the last attempt where
/// not, and as it is where it was misclassified to begin with.
///
/// Pixels stay as Rift has them everywhere, not as the model takes them, so that the file is data for
/// the next audit.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_in_words() {
        for (seconds, text) in [(40, "40 s"), (720, "12 min"), (12_000, "3 h 20 min")] {
            assert_eq!(words(Duration::from_secs(seconds)), text);
        }
    }
}
