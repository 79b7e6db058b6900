//! A bar on standard error.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Shows how many images are done, how fast and how long it will take; nothing where standard
/// error is no terminal.
#[derive(Debug)]
pub struct Progress(ProgressBar);

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
        Self(bar)
    }

    /// No bar.
    pub fn hidden() -> Self {
        Self(ProgressBar::hidden())
    }

    /// `images` more are done.
    pub fn advance(&self, images: usize) {
        self.0.inc(images as u64);
    }

    /// What to say behind the bar.
    pub fn say(&self, message: impl Into<String>) {
        self.0.set_message(message.into());
    }

    /// `images` were done before the bar began; they do not count for rate and time left.
    pub fn start_at(&self, images: usize) {
        self.0.set_position(images as u64);
        self.0.reset_eta();
    }

    /// Puts a line above the bar; nothing where there is no bar.
    pub fn line(&self, line: impl AsRef<str>) {
        self.0.println(line);
    }

    /// Warns of something, above the bar where there is one.
    pub fn warn(&self, line: impl AsRef<str>) {
        self.0.suspend(|| tracing::warn!("{}", line.as_ref()));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
