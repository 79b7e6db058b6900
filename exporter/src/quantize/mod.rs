//! Models on integers: a quarter of the size, several times the speed.
//!
//! The float model of a bundle is brought into one form ([`prepare`]), calibrated on training images
//! ([`mod@calibrate`], [`range`]), written anew on integers ([`mod@layers`], [`plan`], [`weights`],
//! [`mod@rewrite`], [`mod@correct`]) and held against itself on validation images, as they are and
//! under attack, before anything is written. What loses more than was accepted is refused.

pub mod calibrate;
pub mod correct;
mod error;
pub mod half;
pub mod layers;
pub mod plan;
pub mod prepare;
pub mod range;
mod request;
pub mod rewrite;
mod search;
mod tail;
pub mod weights;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ndarray::Array2;
use rift_models::artifact::{Bundle, Calibration, Digest, Pair, Quantization, WeightFormat};
use rift_models::dataset::{Dataset, Request as DataRequest, Split};
use rift_models::onnx::{GraphIndex, Model};
use rift_runtime::attack::gradient::Graphs;
use rift_runtime::session::{Classifier, SessionOptions};

pub use error::QuantizeError;
pub use request::{KeepFloat, Request};

use crate::verify::robustness::{HEAD, Steered, Trial, Verdicts};
use correct::Last;
use layers::{Layer, always_float, layers};
use plan::Plan;
use range::Range;
use rewrite::rewrite;
use search::{Exam, Search};

/// A model of more than this share of its twin's size has gained nothing worth the loss.
const LITTLE_GAIN: f64 = 0.9;

/// A quantised model that has been measured and found good enough.
#[derive(Debug)]
pub struct Quantized {
    /// The bundle of the float model.
    pub twin: Bundle,
    /// The model.
    pub model: Model,
    /// What was measured of it.
    pub quantization: Quantization,
}

/// Quantises the model of a bundle.
///
/// # Errors
/// If something cannot be read or run, or more is lost than is accepted.
pub fn quantize(request: &Request, options: &SessionOptions) -> Result<Quantized, QuantizeError> {
    let work = Work::begin(request, options)?;
    tracing::info!("measuring the float model on {} images", work.exam.len());
    let float = work.try_out(&work.twin)?;
    let ranges = work.calibrate()?;
    let float_layers = work.float_layers(&ranges, &float)?;
    let model = work.model(&ranges, &float_layers)?;
    let served = Classifier::from_bytes(&request.bundle, model.to_bytes())?;
    tracing::info!("measuring the quantised model on {} images", work.exam.len());
    let found = work.try_out(&served)?;
    let quantization = work.describe((&model, &float_layers), &float, &found)?;
    // A loss of exactly what is accepted is accepted, whatever the last bit says.
    if quantization.clean.drop().max(quantization.robust.drop()) > request.max_drop + 1e-9 {
        return Err(QuantizeError::Drop(Box::new(quantization)));
    }
    warn_of_size(&quantization);
    Ok(Quantized { twin: work.bundle, model, quantization })
}

/// Says so where a model is hardly smaller than its twin.
fn warn_of_size(quantization: &Quantization) {
    let ratio = quantization.bytes as f64 / quantization.twin_bytes as f64;
    if ratio > LITTLE_GAIN {
        let names = quantization.float_layers.iter().map(|name| format!("`{name}`"));
        let kept = match names.collect::<Vec<_>>().join(", ") {
            names if names.is_empty() => names,
            names => format!("; in float stay {names}"),
        };
        tracing::warn!("the model has {ratio:.3} of the float model's size{kept}");
    }
}

/// What is needed throughout.
struct Work<'a> {
    request: &'a Request,
    options: &'a SessionOptions,
    twin: Classifier,
    /// The twin in the form of which the plan knows most, where it is not in that form already.
    prepared: Option<Classifier>,
    bundle: Bundle,
    graphs: Graphs,
    calibration: Option<Dataset>,
    /// The last layer and its logits of the calibration images, where they are to be kept on average.
    expected: Option<(Last, Array2<f32>)>,
    exam: Dataset,
}

impl<'a> Work<'a> {
    fn begin(request: &'a Request, options: &'a SessionOptions) -> Result<Self, QuantizeError> {
        let path = || request.bundle.display().to_string();
        let twin = Classifier::open(&request.bundle)?;
        let bundle =
            twin.bundle().ok_or_else(|| QuantizeError::NotBundle { path: path() })?.clone();
        request.attack.validate(twin.input().iter().product())?;
        let index = GraphIndex::new(twin.model())?;
        if let Some(op) = plan::already_quantized(&index) {
            return Err(QuantizeError::AlreadyQuantized { path: path(), op: op.to_owned() });
        }
        if bundle.card.quantization.is_some() {
            let op = "Cast".to_owned();
            return Err(QuantizeError::AlreadyQuantized { path: path(), op });
        }
        let prepared = prepare::prepare(twin.model(), request.weights == WeightFormat::Int8)?
            .map(|model| Classifier::from_bytes(&request.bundle, model.to_bytes()))
            .transpose()?;
        let source = prepared.as_ref().map_or(twin.model(), Classifier::model);
        if layers(&GraphIndex::new(source)?).is_empty() {
            return Err(QuantizeError::NoLayers { path: path() });
        }
        let calibration = match request.weights {
            WeightFormat::Int8 => Some(images(
                &twin,
                &request.data,
                (Split::Train, request.calibration_images, "--calibration-images"),
            )?),
            WeightFormat::Fp16 => None,
        };
        let exam = images(&twin, &request.data, (Split::Validation, request.images, "--images"))?;
        let graphs = Graphs::build(&twin, [HEAD])?;
        let mut work = Self {
            request,
            options,
            twin,
            prepared,
            bundle,
            graphs,
            calibration,
            expected: None,
            exam,
        };
        work.expected = work.expect()?;
        Ok(work)
    }

    /// The float model that becomes integers.
    fn source(&self) -> &Classifier {
        self.prepared.as_ref().unwrap_or(&self.twin)
    }

    /// What the last layer gives for the calibration images, where its bias is to be corrected.
    fn expect(&self) -> Result<Option<(Last, Array2<f32>)>, QuantizeError> {
        let Some(data) = self.calibration.as_ref().filter(|_| self.request.bias_correction) else {
            return Ok(None);
        };
        let source = self.source();
        let Some(last) = Last::of(source.model(), source.output_name())? else {
            tracing::info!(
                "no bias is corrected: no linear layer with a bias of its own comes last"
            );
            return Ok(None);
        };
        let logits = self.logits(source, &last, data)?;
        Ok(Some((last, logits)))
    }

    /// What the last layer gives, whatever stands behind it.
    fn logits(
        &self,
        classifier: &Classifier,
        last: &Last,
        data: &Dataset,
    ) -> Result<Array2<f32>, QuantizeError> {
        let trial = self.trial(data);
        Ok(match last.bare(classifier.model())? {
            Some(bare) => {
                trial.logits(&Classifier::from_bytes(&self.request.bundle, bare.to_bytes())?)?
            }
            None => trial.logits(classifier)?,
        })
    }

    fn try_out(&self, served: &Classifier) -> Result<Verdicts, QuantizeError> {
        let steered = Steered { served, twin: &self.twin, graphs: &self.graphs };
        Ok(self.trial(&self.exam).run(steered)?)
    }

    fn trial<'t>(&'t self, data: &'t Dataset) -> Trial<'t> {
        Trial { data, spec: &self.request.attack, options: self.options }
    }

    /// The ranges of all values that any plan needs; none where activations stay float.
    fn calibrate(&self) -> Result<BTreeMap<String, Range>, QuantizeError> {
        let Some(data) = &self.calibration else { return Ok(BTreeMap::new()) };
        let index = GraphIndex::new(self.source().model())?;
        let whole = Plan::new(&index, &BTreeSet::new());
        let values: BTreeSet<String> = whole.values.into_values().collect();
        let values: Vec<String> = values.into_iter().collect();
        tracing::info!("calibrating {} values on {} images", values.len(), data.len());
        calibrate::calibrate(self.source(), &values, (data, self.request.method), self.options)
    }

    fn float_layers(
        &self,
        ranges: &BTreeMap<String, Range>,
        float: &Verdicts,
    ) -> Result<BTreeSet<String>, QuantizeError> {
        let index = GraphIndex::new(self.source().model())?;
        let (layers, always) = (layers(&index), always_float(&index));
        let mut all: Vec<&Layer> = layers.iter().chain(&always).collect();
        all.sort_by_key(|layer| layer.node);
        let mut kept = BTreeSet::new();
        if self.request.first_float {
            kept.extend(all.first().map(|layer| layer.name.clone()));
        }
        if self.request.last_float {
            kept.extend(all.last().map(|layer| layer.name.clone()));
        }
        match &self.request.keep_float {
            KeepFloat::Named(names) => {
                for name in names {
                    if all.iter().all(|layer| layer.name != *name) {
                        let known: Vec<String> =
                            all.iter().map(|layer| format!("`{}`", layer.name)).collect();
                        let known = known.join(", ");
                        return Err(QuantizeError::UnknownLayer { name: name.clone(), known });
                    }
                }
                kept.extend(names.iter().cloned());
            }
            KeepFloat::Auto if self.calibration.is_some() => {
                kept = self.search(ranges, float, &kept)?;
            }
            KeepFloat::Auto => {}
        }
        if layers.iter().all(|layer| kept.contains(&layer.name)) {
            return Err(QuantizeError::AllFloat);
        }
        Ok(kept)
    }

    fn search(
        &self,
        ranges: &BTreeMap<String, Range>,
        float: &Verdicts,
        fixed: &BTreeSet<String>,
    ) -> Result<BTreeSet<String>, QuantizeError> {
        let images = (self.exam.batch(0..self.exam.len()), self.exam.labels.clone());
        let exam = Exam::new(&self.twin, images, float, self.options)?;
        let search = Search {
            model: self.source().model(),
            write: &|float_layers| self.model(ranges, float_layers),
            options: self.options,
            exam: &exam,
            // The attack on the final file is a little stronger than the images that the float model
            // left, so half of what is accepted is kept in hand.
            target: self.request.max_drop / 2.0,
        };
        search.run(fixed)
    }

    fn model(
        &self,
        ranges: &BTreeMap<String, Range>,
        float_layers: &BTreeSet<String>,
    ) -> Result<Model, QuantizeError> {
        let model = self.source().model();
        match self.request.weights {
            WeightFormat::Int8 => {
                let plan = Plan::new(&GraphIndex::new(model)?, float_layers);
                let rounded = rewrite(model, &plan, ranges, self.request.style)?;
                match self.corrected(&rounded)? {
                    Some(model) => rewrite(&model, &plan, ranges, self.request.style),
                    None => Ok(rounded),
                }
            }
            WeightFormat::Fp16 => half::halve(model, float_layers),
        }
    }

    /// The float model that makes up for what `rounded` gets wrong on average, where that is wanted.
    fn corrected(&self, rounded: &Model) -> Result<Option<Model>, QuantizeError> {
        let (Some(data), Some((last, expected))) = (&self.calibration, &self.expected) else {
            return Ok(None);
        };
        let served = Classifier::from_bytes(&self.request.bundle, rounded.to_bytes())?;
        let error = correct::mean_error(&self.logits(&served, last, data)?, expected);
        last.correct(self.source().model(), &error)
    }

    fn describe(
        &self,
        (model, float_layers): (&Model, &BTreeSet<String>),
        float: &Verdicts,
        found: &Verdicts,
    ) -> Result<Quantization, QuantizeError> {
        let index = GraphIndex::new(self.source().model())?;
        let always = always_float(&index).into_iter().map(|layer| layer.name);
        let float_layers: BTreeSet<String> = float_layers.iter().cloned().chain(always).collect();
        let request = self.request;
        let [clean, robust] = float.accuracies();
        let [clean_found, robust_found] = found.accuracies();
        let calibration = self.calibration.as_ref().map(|data| Calibration {
            method: request.method.to_string(),
            split: data.split.to_string(),
            n: data.len(),
            data: data.digest.clone(),
        });
        Ok(Quantization {
            weights: request.weights,
            activations: calibration.as_ref().map(|_| request.style.activations),
            calibration,
            float_layers: float_layers.into_iter().collect(),
            twin: self.twin.digest().clone(),
            twin_bytes: self.twin.model().to_bytes().len() as u64,
            bytes: model.to_bytes().len() as u64,
            split: self.exam.split.to_string(),
            data: self.exam.digest.clone(),
            attack: request.attack.clone(),
            clean: Pair { float: clean, quantized: clean_found },
            robust: Pair { float: robust, quantized: robust_found },
            max_drop: request.max_drop,
        })
    }
}

/// Images that the model takes, as many as are asked for.
fn images(
    classifier: &Classifier,
    path: &Path,
    (split, n, flag): (Split, usize, &'static str),
) -> Result<Dataset, QuantizeError> {
    let data = Dataset::open(path, &DataRequest::new(split).limit(Some(n)))?;
    let name = || path.display().to_string();
    if data.input() != classifier.input() {
        let (expected, found) = (classifier.input(), data.input());
        return Err(QuantizeError::Input { path: name(), expected, found });
    }
    if data.len() < n {
        let (split, found) = (split.to_string(), data.len());
        return Err(QuantizeError::FewImages { path: name(), split, flag, expected: n, found });
    }
    if data.labels.iter().any(|label| *label >= classifier.classes()) {
        let (expected, found) = (classifier.classes(), data.class_count());
        return Err(QuantizeError::Classes { path: name(), expected, found });
    }
    Ok(data)
}

/// The digest of a model's file.
pub(crate) fn digest(model: &Model) -> Digest {
    Digest::of_bytes(&model.to_bytes())
}
