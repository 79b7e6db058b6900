//! Where the values of a model lie, by images that go through it.
//!
//! The images go through twice: once to find how far each value reaches, once to count what lies
//! where. Only counts are kept, so the number of images costs no memory.

use std::collections::BTreeMap;

use ndarray::Array4;
use rift_models::dataset::Dataset;
use rift_runtime::session::{Classifier, Observer, SessionError, SessionOptions, spread};

use super::QuantizeError;
use super::range::{Histogram, Method, Range};

/// The ranges of `values` of `classifier` over the images of `data`, chosen by `method`.
///
/// # Errors
/// If the model fails, or a value is not finite.
pub fn calibrate(
    classifier: &Classifier,
    values: &[String],
    (data, method): (&Dataset, Method),
    options: &SessionOptions,
) -> Result<BTreeMap<String, Range>, QuantizeError> {
    if let Some(batch) = classifier.fixed_batch().filter(|batch| *batch > data.len()) {
        return Err(QuantizeError::Batch { expected: batch, found: data.len() });
    }
    let mut camera = Camera::new(classifier, values, options, data.len())?;
    let ranges = camera.extremes(data)?;
    if method == Method::MinMax {
        return Ok(ranges);
    }
    let histograms = camera.histograms(data, &ranges)?;
    Ok(histograms.into_iter().map(|(name, counts)| (name, counts.range(method))).collect())
}

/// Observers of the same values, one a thread.
struct Camera {
    observers: Vec<Observer>,
    /// The name of the input, where it is among the values: no node makes it.
    input: Option<String>,
    /// Whether only whole batches can be looked at.
    whole: bool,
}

impl Camera {
    fn new(
        classifier: &Classifier,
        values: &[String],
        options: &SessionOptions,
        n: usize,
    ) -> Result<Self, SessionError> {
        let (inputs, made): (Vec<String>, Vec<String>) =
            values.iter().cloned().partition(|value| value == classifier.input_name());
        let useful = n.div_ceil(options.batch.max(1)).max(1);
        let observers = (0..options.threads.clamp(1, useful))
            .map(|_| Observer::new(classifier, &made, options.batch))
            .collect::<Result<_, _>>()?;
        let whole = classifier.fixed_batch().is_some();
        Ok(Self { observers, input: inputs.into_iter().next(), whole })
    }

    /// Shows `see` every value of every image; what it makes of each batch, in order.
    fn film<T: Default + Send>(
        &mut self,
        data: &Dataset,
        see: impl Fn(&mut T, &str, &[f32]) + Sync,
    ) -> Result<Vec<T>, SessionError> {
        let batch = self.observers.first().map_or(1, Observer::batch);
        let n = if self.whole { data.len() / batch * batch } else { data.len() };
        let input = self.input.as_deref();
        spread(&mut self.observers, n, batch, |observer, rows| {
            let images: Array4<f32> = data.batch(rows);
            let mut seen = T::default();
            if let (Some(name), Some(pixels)) = (input, images.as_slice()) {
                see(&mut seen, name, pixels);
            }
            observer.look(&images.view(), |name, numbers| see(&mut seen, name, numbers))?;
            Ok(seen)
        })
    }

    fn extremes(&mut self, data: &Dataset) -> Result<BTreeMap<String, Range>, QuantizeError> {
        type Seen = BTreeMap<String, (Range, bool)>;
        let parts = self.film(data, |seen: &mut Seen, name, numbers| {
            let (mut range, mut is_finite) = (Range::default(), true);
            for number in numbers {
                range = range.with(*number);
                is_finite &= number.is_finite();
            }
            seen.insert(name.to_owned(), (range, is_finite));
        })?;
        let mut ranges: BTreeMap<String, Range> = BTreeMap::new();
        for (name, (range, is_finite)) in parts.into_iter().flatten() {
            if !is_finite {
                return Err(QuantizeError::NotFinite { value: name });
            }
            let known = ranges.entry(name).or_default();
            *known = known.union(range);
        }
        Ok(ranges)
    }

    fn histograms(
        &mut self,
        data: &Dataset,
        ranges: &BTreeMap<String, Range>,
    ) -> Result<BTreeMap<String, Histogram>, QuantizeError> {
        type Seen = BTreeMap<String, Histogram>;
        let parts = self.film(data, |seen: &mut Seen, name, numbers| {
            let range = ranges.get(name).copied().unwrap_or_default();
            let mut histogram = Histogram::new(range);
            histogram.add(numbers);
            seen.insert(name.to_owned(), histogram);
        })?;
        let mut histograms: BTreeMap<String, Histogram> = BTreeMap::new();
        for (name, part) in parts.into_iter().flatten() {
            match histograms.get_mut(&name) {
                Some(all) => all.merge(&part),
                None => drop(histograms.insert(name, part)),
            }
        }
        Ok(histograms)
    }
}
