//! What an inference request asks for, however it was written.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;

use super::{binary, datatype};
use crate::server::app::App;
use crate::server::body::{Content, Room};
use crate::server::served::Served;
use crate::server::watch::{self, Seen};
use crate::server::{ServeError, pictures};
use crate::session::Classifier;

/// The most images that one request may hold.
const MOST_IMAGES: usize = 1 << 20;

/// What an inference request asks of a model.
#[derive(Debug)]
pub(in crate::server) struct Request {
    /// The time in which it wants an answer.
    pub(in crate::server) within: Option<Duration>,
    pub(in crate::server) images: Images,
    /// Their number.
    pub(in crate::server) n: usize,
    /// Only the likeliest classes of each image, so many, with their names.
    pub(in crate::server) classes: Option<usize>,
    /// Whether the images are to be watched.
    pub(in crate::server) watch: bool,
}

/// Images in one of two forms.
#[derive(Debug)]
pub(in crate::server) enum Images {
    /// The model's input as it is.
    Tensor(Bytes),
    /// Encoded pictures.
    Pictures(Vec<Bytes>),
}

/// What a request says of an input, besides its data.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct Described<'a> {
    pub(in crate::server) name: &'a str,
    pub(in crate::server) datatype: &'a str,
    pub(in crate::server) shape: &'a [i64],
}

impl Request {
    /// The logits of its images, and what is seen of each where they are watched.
    pub(in crate::server) async fn logits(
        self,
        app: &App,
        served: &Arc<Served>,
    ) -> Result<(Vec<f32>, Option<Vec<Seen>>), ServeError> {
        let content = match self.images {
            // What came with the request has room already.
            Images::Tensor(tensor) => Content::new(tensor, Room::default()),
            Images::Pictures(files) => {
                served.counting(pictures::decode(app, served, files).await)?
            }
        };
        let images = content.bytes.clone();
        let within = self.within.map_or(app.limits.answer, |within| within.min(app.limits.answer));
        let (answer, seen) =
            watch::infer(app, served, (images, self.n), (within, self.watch)).await?;
        Ok((answer.logits, seen))
    }
}

impl Described<'_> {
    /// Whether it is encoded pictures rather than the model's own input, and how many images.
    pub(in crate::server) fn count(
        self,
        classifier: &Classifier,
    ) -> Result<(bool, usize), ServeError> {
        let name = classifier.input_name();
        if self.name != name {
            let what = format!("unknown input `{}`, expected `{name}`", self.name);
            return Err(ServeError::invalid(what));
        }
        let is_pictures = self.datatype == datatype::BYTES;
        let expected = datatype::name(classifier.element());
        if !is_pictures && self.datatype != expected {
            return Err(ServeError::invalid(format!(
                "input `{name}` has datatype `{}`, expected `{expected}`, or `BYTES` for pictures",
                self.datatype
            )));
        }
        let dims = classifier.dims().map(|d| d as i64);
        let (n, fits) = match *self.shape {
            [n] | [n, 1] if is_pictures => (n, true),
            [n, ref rest @ ..] => (n, !is_pictures && rest == dims),
            [] => (0, false),
        };
        let n = usize::try_from(n).unwrap_or(0);
        if fits && (1..=MOST_IMAGES).contains(&n) {
            return Ok((is_pictures, n));
        }
        let [first, second, third] = dims;
        let shape =
            if is_pictures { "[N]".to_owned() } else { format!("[N, {first}, {second}, {third}]") };
        Err(ServeError::invalid(format!(
            "input `{name}` has shape {:?}, expected {shape} with N from 1 to {MOST_IMAGES}",
            self.shape
        )))
    }

    /// The images of a tensor in binary, as [`count`](Self::count) understands them.
    pub(in crate::server) fn binary(
        self,
        tensor: Bytes,
        (is_pictures, n): (bool, usize),
        classifier: &Classifier,
    ) -> Result<Images, ServeError> {
        if is_pictures {
            return Ok(Images::Pictures(binary::strings(&tensor, n)?));
        }
        let (expected, found) = (n * image_bytes(classifier), tensor.len());
        if expected == found {
            return Ok(Images::Tensor(tensor));
        }
        Err(ServeError::invalid(format!(
            "input `{}` of shape {:?} takes {expected} bytes, found {found}",
            self.name, self.shape
        )))
    }
}

/// The one input or output that there must be.
pub(in crate::server) fn only<'a, T>(what: &str, all: &'a [T]) -> Result<&'a T, ServeError> {
    match all {
        [one] => Ok(one),
        _ => Err(ServeError::invalid(format!("expected one {what}, found {}", all.len()))),
    }
}

/// How many classes are wanted of each image where an output asks for `classes` of them, if it does.
pub(in crate::server) fn classes(
    output: &str,
    classes: Option<u64>,
    classifier: &Classifier,
) -> Result<Option<usize>, ServeError> {
    let name = classifier.output_name();
    if output != name {
        let what = format!("unknown output `{output}`, expected `{name}`");
        return Err(ServeError::invalid(what));
    }
    // Triton's clients say 0 where they want none.
    let classes = classes.filter(|k| *k > 0);
    Ok(classes.map(|k| usize::try_from(k).unwrap_or(usize::MAX).min(classifier.classes())))
}

/// Bytes of one image as the model's input holds it.
pub(super) fn image_bytes(classifier: &Classifier) -> usize {
    classifier.dims().iter().product::<usize>() * classifier.element().size()
}
