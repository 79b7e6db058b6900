//! A bar on standard error.

use std::io::Write;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Shows how many images are done, how fast and how long it will take. Where standard error is no
/// terminal but a log, there is no bar, only the lines that are worth keeping.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    quiet: bool,
}

impl Progress {
    /// A bar of `images` steps with a `label` in front; hidden if `quiet`.
    pub fn new(label: impl Into<String>, images: usize, quiet: bool) -> Self {
        let target = if quiet {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr_with_hz(5)
        };
        let bar = ProgressBar::with_draw_target(Some(images as u64), target);
        let template = "{prefix} [{bar:24}] {pos}/{len} images, {per_sec}, {eta} left {msg}";
        let style = ProgressStyle::with_template(template)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> ");
        bar.set_style(style);
        bar.set_prefix(label.into());
        Self { bar, quiet }
    }

    /// No bar.
    pub fn hidden() -> Self {
        Self { bar: ProgressBar::hidden(), quiet: true }
    }

    /// `images` more are done.
    pub fn advance(&self, images: usize) {
        self.bar.inc(images as u64);
    }

    /// What to say behind the bar.
    pub fn say(&self, message: impl Into<String>) {
        self.bar.set_message(message.into());
    }

    /// `images` were done before the bar began; they do not count for rate and time left.
    pub fn start_at(&self, images: usize) {
        self.bar.set_position(images as u64);
        self.bar.reset_eta();
    }

    /// Puts a line above the bar, or into the log; nothing if it is to be quiet.
    pub fn line(&self, line: impl AsRef<str>) {
        if !self.bar.is_hidden() {
            self.bar.println(line);
        } else if !self.quiet {
            // A log that cannot be written is no reason to stop.
            let _ = writeln!(std::io::stderr().lock(), "{}", line.as_ref());
        }
    }

    /// Warns of something, above the bar where there is one.
    pub fn warn(&self, line: impl AsRef<str>) {
        self.bar.suspend(|| tracing::warn!("{}", line.as_ref()));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
