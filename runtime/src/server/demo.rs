//! `POST /v1/attack`: the attack on a picture, on demand, by the very model that is served.
//!
//! One at a time, few steps, at the lowest priority: serving must not be hurt. The adversarial picture
//! is one of whole bytes, so that it can be saved as it is shown and be classified again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ndarray::{Array2, Array4, ArrayView4};
use rift_models::artifact::Digest;
use rift_models::threat::{AttackSpec, Epsilon, Norm};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::app::{App, Route};
use super::error::{finite, json};
use super::gate::yield_to_others;
use super::registry::in_one_line;
use super::served::Served;
use super::{ServeError, body, classify, pictures, watch};
use crate::attack::gradient::{Attacker, Graphs};
use crate::attack::oracle::{Gradient, Oracle, OracleError, prediction};
use crate::attack::pgd::Pgd;
use crate::attack::samples::Labelled;
use crate::attack::walk::{Carrier, Outcome, Queue};
use crate::audit::html::Exhibit;
use crate::autodiff::Head;
use crate::prediction::{Prediction, rank};

/// Gradient steps.
const STEPS: usize = 20;
/// The time for the steps; making the gradient's graph comes before.
const TIME: Duration = Duration::from_secs(10);
/// The levels of a picture's pixels.
const LEVELS: f32 = 255.0;
/// Classes that are shown.
const SHOWN: usize = 5;

/// What attacks on demand share.
#[derive(Debug)]
pub(super) struct Demo {
    permits: Arc<Semaphore>,
    /// The gradient of the model that was attacked last.
    graphs: Mutex<Option<(Digest, Arc<Graphs>)>>,
}

#[derive(Deserialize)]
struct Asked {
    model: Option<String>,
    version: Option<String>,
    eps: Option<String>,
}

#[derive(Serialize)]
struct Report<'a> {
    model: &'a Digest,
    model_name: &'a str,
    model_version: String,
    norm: Norm,
    eps: Epsilon,
    /// Whether the adversarial picture is another class to the model.
    flipped: bool,
    /// Whether the first gradient told the attack nothing: that none was found means nothing then.
    blind: bool,
    /// How far it is from the original, in the norm.
    distance: f32,
    /// Gradients that were taken.
    gradients: usize,
    /// Seconds that the attack took.
    seconds: f64,
    original: Shown,
    perturbation: Magnified,
    adversarial: Shown,
}

/// A picture as the model sees it and what it makes of it.
#[derive(Serialize)]
struct Shown {
    /// A PNG, in base64.
    picture: String,
    predictions: Vec<Prediction>,
}

/// The perturbation around grey.
#[derive(Serialize)]
struct Magnified {
    /// A PNG, in base64.
    picture: String,
    /// By how much the changes are magnified: the largest is full scale.
    times: f32,
}

/// What is done to a picture.
struct Job {
    served: Arc<Served>,
    pixels: Array4<f32>,
    spec: AttackSpec,
    stop: Arc<AtomicBool>,
    _permit: OwnedSemaphorePermit,
}

/// The logits of the picture as it is and as it became.
struct Found {
    logits: Array2<f32>,
    after: Array2<f32>,
    outcome: Outcome,
    pixels: Array4<f32>,
}

/// Ends the attack when nobody waits for it any more.
struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Demo {
    /// So many attacks at once.
    pub(super) fn new(attacks: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(attacks)), graphs: Mutex::default() }
    }

    /// The gradient of a model, made if it was another's turn.
    fn graphs(&self, served: &Served) -> Result<Arc<Graphs>, ServeError> {
        let classifier = served.classifier();
        let mut last = self.graphs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((digest, graphs)) = &*last
            && digest == classifier.digest()
        {
            return Ok(Arc::clone(graphs));
        }
        let graphs = Graphs::build(classifier, [Head::LogOdds])
            .map_err(|error| ServeError::Unsupported { what: in_one_line(&error) })?;
        let graphs = Arc::new(graphs);
        *last = Some((classifier.digest().clone(), Arc::clone(&graphs)));
        Ok(graphs)
    }
}

/// The path.
pub(super) fn routes() -> Vec<Route> {
    vec![("/v1/attack", post(attack))]
}

/// The largest radius that is attacked, in pixel units.
pub(super) fn largest(norm: Norm) -> f32 {
    match norm {
        Norm::Linf => 32.0 / 255.0,
        Norm::L2 => 4.0,
    }
}

async fn attack(
    State(app): State<Arc<App>>,
    asked: Result<Query<Asked>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ServeError> {
    if app.limits.attacks == 0 {
        body::discard(&app, body).await;
        let what = "attacks on demand are off, expected a server with `--enable-attack-demo`";
        return Err(ServeError::Forbidden { what: what.to_owned() });
    }
    let content = body::read(&app, &headers, body).await?;
    let Query(asked) = asked.map_err(|error| ServeError::invalid(error.body_text()))?;
    let model = classify::named(&app, asked.model)?;
    let served = app.registry.find(&model, asked.version.as_deref())?;
    let spec = spec(&served, asked.eps.as_deref())?;
    let files = classify::files(&headers, content.bytes.clone()).await?;
    let n = files.len();
    let Ok([(_, file)]) = <[_; 1]>::try_from(files) else {
        return Err(ServeError::invalid(format!("expected one picture, found {n}")));
    };
    let permit = Arc::clone(&app.demo.permits).try_acquire_owned();
    let permit = permit.map_err(|_| ServeError::Occupied)?;
    let packed = pictures::decode(&app, &served, vec![file]).await?;
    let waiting = Waiting(Arc::default());
    let job = Job {
        pixels: served.packer().unpack(&packed.bytes),
        served: Arc::clone(&served),
        spec: spec.clone(),
        stop: Arc::clone(&waiting.0),
        _permit: permit,
    };
    let started = Instant::now();
    let (sender, found) = oneshot::channel();
    let own = Arc::clone(&app);
    let work = move || {
        yield_to_others();
        let _ = sender.send(job.run(&own.demo));
    };
    std::thread::Builder::new()
        .name("rift attack".to_owned())
        .spawn(work)
        .map_err(|_| ServeError::Internal)?;
    let found = found.await.map_err(|_| ServeError::Internal)??;
    report(&served, &spec, &found, started.elapsed().as_secs_f64())
}

/// PGD within the model's threat model, or another radius.
fn spec(served: &Served, eps: Option<&str>) -> Result<AttackSpec, ServeError> {
    let (norm, usual) = watch::threat(served.classifier());
    let invalid = |error: &dyn std::fmt::Display| ServeError::invalid(error.to_string());
    let eps: Epsilon = eps.map_or(Ok(usual), str::parse).map_err(|error| invalid(&error))?;
    let most = largest(norm);
    if eps.value() <= 0.0 || eps.value() > most {
        let what =
            format!("eps `{eps}`, expected more than 0 and at most {most} for norm `{norm}`");
        return Err(ServeError::invalid(what));
    }
    let step = format!("{}", eps.value() / 4.0).parse().map_err(|error| invalid(&error))?;
    Ok(AttackSpec { norm, eps, step, steps: STEPS, ..AttackSpec::paper() })
}

impl Job {
    fn run(self, demo: &Demo) -> Result<Found, ServeError> {
        let graphs = demo.graphs(&self.served)?;
        let classifier = self.served.classifier();
        let failed = |error: OracleError| {
            tracing::warn!(error = %error, "an attack on demand failed");
            ServeError::Internal
        };
        let attacker = Attacker::new(classifier, &graphs, 1)
            .map_err(|error| ServeError::Failed(Arc::new(error)))?;
        let mut oracle = WholeBytes(attacker);
        let logits = oracle.logits(&self.pixels.view()).map_err(failed)?;
        let label = prediction(&logits.row(0));
        let samples =
            Labelled { images: self.pixels.view(), labels: &[label], logits: logits.view() };
        let carrier = Carrier { input: classifier.input(), batch: 1 };
        let queue = Queue::new(vec![0]).until(Some(Instant::now() + TIME)).unless(Some(self.stop));
        let mut outcome = None;
        let keep = |one| outcome = Some(one);
        carrier.run(&Pgd::new(self.spec), &mut oracle, (&samples, &queue), keep).map_err(failed)?;
        let milliseconds = u64::try_from(TIME.as_millis()).unwrap_or(u64::MAX);
        let outcome = outcome.ok_or(ServeError::Deadline { milliseconds })?;
        let [c, h, w] = classifier.input();
        let image = ArrayView4::from_shape((1, c, h, w), &outcome.image);
        let image = image.map_err(|_| ServeError::Internal)?;
        let after = oracle.logits(&image).map_err(failed)?;
        Ok(Found { logits, after, outcome, pixels: self.pixels })
    }
}

fn report(
    served: &Served,
    spec: &AttackSpec,
    found: &Found,
    seconds: f64,
) -> Result<Response, ServeError> {
    finite(found.logits.iter().chain(&found.after))?;
    let classifier = served.classifier();
    let unsupported = || ServeError::Unsupported {
        what: format!("a picture of {} channels cannot be shown", classifier.input()[0]),
    };
    let original: Vec<f32> = found.pixels.iter().copied().collect();
    let image = &found.outcome.image;
    let exhibit = Exhibit::of(0, &original, image, classifier.input()).ok_or_else(unsupported)?;
    let shown = |picture: &[u8], logits: &Array2<f32>| {
        let mut predictions = rank(classifier, &logits.row(0));
        predictions.truncate(SHOWN);
        Shown { picture: STANDARD.encode(picture), predictions }
    };
    let largest = Norm::Linf.of(image.iter().zip(&original).map(|(a, b)| a - b));
    Ok(json(&Report {
        model: classifier.digest(),
        model_name: served.name(),
        model_version: served.version().to_string(),
        norm: spec.norm,
        eps: spec.eps.clone(),
        flipped: found.outcome.broken,
        blind: found.outcome.blind,
        distance: found.outcome.distance,
        gradients: found.outcome.gradients,
        seconds,
        original: shown(&exhibit.original, &found.logits),
        perturbation: Magnified {
            picture: STANDARD.encode(&exhibit.perturbation),
            times: if largest > 0.0 { 0.5 / largest } else { 1.0 },
        },
        adversarial: shown(&exhibit.adversarial, &found.after),
    }))
}

/// A model that is shown pictures of whole bytes only.
struct WholeBytes<'c>(Attacker<'c>);

impl Oracle for WholeBytes<'_> {
    fn doubt(&self) -> f32 {
        self.0.doubt()
    }

    fn levels(&self) -> Option<f32> {
        Some(LEVELS)
    }

    fn logits(&mut self, images: &ArrayView4<f32>) -> Result<Array2<f32>, OracleError> {
        self.0.logits(images)
    }

    fn follow(&mut self, head: Head) -> Result<(), OracleError> {
        self.0.follow(head)
    }

    fn gradient(
        &mut self,
        images: &ArrayView4<f32>,
        labels: &[usize],
        targets: &[usize],
    ) -> Result<Gradient, OracleError> {
        self.0.gradient(images, labels, targets)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::ImageFormat;

    use super::*;
    use crate::server::{Limits, Registry, Serving, Source, Watching};
    use crate::session::Opening;
    use crate::small_models::{conv_net, image_like};

    #[test]
    fn one_attack_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.onnx");
        conv_net(None).write(&path).unwrap();
        let serving =
            Serving { threads: 1, batch: 1, together: 1, queue: 1, watching: Watching::default() };
        let registry = Registry::new(serving, Opening::default());
        registry.load(&Source { name: "m".to_owned(), version: 1, path }).unwrap();
        let app = App::new(registry, None, Limits { attacks: 1, ..Limits::default() });
        let mut png = Cursor::new(Vec::new());
        image_like(8, 8).write_to(&mut png, ImageFormat::Png).unwrap();
        let ask = || {
            let asked = Asked { model: None, version: None, eps: None };
            let body = Body::from(png.get_ref().clone());
            attack(State(Arc::clone(&app)), Ok(Query(asked)), HeaderMap::new(), body)
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let under_way = Arc::clone(&app.demo.permits).try_acquire_owned().unwrap();
            assert!(matches!(ask().await, Err(ServeError::Occupied)));
            drop(under_way);
            assert!(ask().await.is_ok());
            // The thread that attacked gives its place back as it ends.
            let _place = app.demo.permits.acquire().await.unwrap();
        });
        app.registry.close();
    }
}
