//! The series of watched inputs.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Labels;
use crate::server::served::Served;
use crate::server::watch::DRAWS;

/// The model, its version, the noise's norm and radius, and the draws.
type Noise = [(&'static str, String); 5];
type Number<L> = Family<L, Gauge<f64, AtomicU64>>;

/// What watching inputs finds and costs.
#[derive(Debug, Default)]
pub(super) struct WatchMeters {
    pub(super) watched: Family<Labels, Counter>,
    pub(super) unstable: Family<Labels, Counter>,
    pub(super) copies: Family<Labels, Counter>,
    recent: Family<Labels, Gauge>,
    threshold: Number<Noise>,
    rate: Number<Labels>,
}

impl WatchMeters {
    pub(super) fn register(&self, to: &mut Registry) {
        to.register("rift_watched_images", "Images that were watched", self.watched.clone());
        let copies = "Noisy copies of them that went through the model";
        to.register("rift_watch_copies", copies, self.copies.clone());
        let unstable = "Watched images whose stability was below the threshold";
        to.register("rift_unstable_images", unstable, self.unstable.clone());
        let recent = "Such images among the last 1000 that were watched";
        to.register("rift_unstable_recent", recent, self.recent.clone());
        let threshold = "Stability below which an image is unstable, in logits";
        to.register("rift_watch_threshold", threshold, self.threshold.clone());
        let rate = "Bound of the share of ordinary images below the threshold";
        to.register("rift_watch_false_alarm_rate", rate, self.rate.clone());
    }

    pub(super) fn clear(&self) {
        self.recent.clear();
        self.threshold.clear();
        self.rate.clear();
    }

    pub(super) fn set(&self, labels: &Labels, served: &Served) {
        let watch = served.watch();
        let Some(Ok(threshold)) = watch.threshold() else { return };
        let [model, version] = labels.clone();
        let noise = [
            model,
            version,
            ("norm", watch.noise.norm.to_string()),
            ("eps", watch.noise.eps.to_string()),
            ("draws", DRAWS.to_string()),
        ];
        self.threshold.get_or_create(&noise).set(threshold.value.into());
        self.rate.get_or_create(labels).set(threshold.rate);
        self.recent.get_or_create(labels).set(watch.recent() as i64);
    }
}
