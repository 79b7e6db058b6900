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
        compute_input: duration(batch.compute_input),
        compute_infer: duration(batch.compute_infer),
        compute_output: duration(batch.compute_output),
    };
    ModelStatistics {
        name: served.name().to_owned(),
        version: served.version().to_string(),
        last_inference: counts.last_inference,
        inference_count: counts.images,
        execution_count: counts.runs,
        inference_stats: Some(InferStatistics {
            success: duration(stages.success),
            fail: duration(stages.fail),
            queue: duration(stages.queue),
            compute_input: duration(stages.compute_input),
            compute_infer: duration(stages.compute_infer),
            compute_output: duration(stages.compute_output),
            cache_hit: duration(stages.cache_hit),
            cache_miss: duration(stages.cache_miss),
        }),
        batch_stats: counts.batches.values().map(batch).collect(),
    }
}

fn duration(span: Span) -> Option<StatisticDuration> {
    Some(StatisticDuration { count: span.count, ns: span.ns })
}
