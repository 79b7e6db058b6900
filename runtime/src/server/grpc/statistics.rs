//! What models have done.

use super::proto::{InferBatchStatistics, InferStatistics, ModelStatistics, StatisticDuration};
use crate::server::registry::{Listed, State};
use crate::server::served::Served;
use crate::server::statistics::Span;

/// Of a model that is served.
pub(super) fn of_ready(listed: &Listed) -> Option<ModelStatistics> {
    match &listed.state {
        State::Ready(served) => Some(of(served)),
        _ => None,
    }
}

/// Of one version of a model.
pub(super) fn of(served: &Served) -> ModelStatistics {
    let counts = served.counts();
    let stages = counts.stages;
    let batch = |batch: &crate::server::BatchStages| InferBatchStatistics {
        batch_size: batch.batch_size as u64,
        compute_input: Some(duration(batch.compute_input)),
        compute_infer: Some(duration(batch.compute_infer)),
        compute_output: Some(duration(batch.compute_output)),
    };
    ModelStatistics {
        name: served.name().to_owned(),
        version: served.version().to_string(),
        last_inference: counts.last_inference,
        inference_count: counts.images,
        execution_count: counts.runs,
        inference_stats: Some(InferStatistics {
            success: Some(duration(stages.success)),
            fail: Some(duration(stages.fail)),
            queue: Some(duration(stages.queue)),
            compute_input: Some(duration(stages.compute_input)),
            compute_infer: Some(duration(stages.compute_infer)),
            compute_output: Some(duration(stages.compute_output)),
            cache_hit: Some(duration(stages.cache_hit)),
            cache_miss: Some(duration(stages.cache_miss)),
        }),
        batch_stats: counts.batches.values().map(batch).collect(),
    }
}

fn duration(span: Span) -> StatisticDuration {
    StatisticDuration { count: span.count, ns: span.ns }
}
