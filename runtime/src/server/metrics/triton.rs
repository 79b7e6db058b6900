//! The names that Triton's users have in their dashboards.

use std::fmt::{self, Write};

use crate::server::registry::{Listed, State};
use crate::server::statistics::Counts;

/// A series: its name, what it says, and where it is read from.
type Series = (&'static str, &'static str, fn(&Counts) -> u64);

const COUNTERS: [Series; 9] = [
    ("nv_inference_request_success", "Requests that were answered", |c| c.stages.success.count),
    ("nv_inference_request_failure", "Requests that were not", |c| c.stages.fail.count),
    ("nv_inference_count", "Images", |c| c.images),
    ("nv_inference_exec_count", "Runs", |c| c.runs),
    ("nv_inference_request_duration_us", "Time of requests", |c| c.stages.success.ns / 1000),
    ("nv_inference_queue_duration_us", "Time in the queue", |c| c.stages.queue.ns / 1000),
    ("nv_inference_compute_input_duration_us", "Time of inputs", |c| {
        c.stages.compute_input.ns / 1000
    }),
    ("nv_inference_compute_infer_duration_us", "Time of the model", |c| {
        c.stages.compute_infer.ns / 1000
    }),
    ("nv_inference_compute_output_duration_us", "Time of outputs", |c| {
        c.stages.compute_output.ns / 1000
    }),
];

/// Appends Triton's series of every model that is ready.
pub(super) fn write(text: &mut String, index: &[Listed]) -> fmt::Result {
    let models: Vec<_> = index
        .iter()
        .filter_map(|listed| match &listed.state {
            State::Ready(served) => Some((listed, served.counts(), served.waiting())),
            _ => None,
        })
        .collect();
    for (name, help, value) in COUNTERS {
        writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter")?;
        for (listed, counts, _) in &models {
            writeln!(text, "{name}{} {}", labels(listed), value(counts))?;
        }
    }
    let name = "nv_inference_pending_request_count";
    writeln!(text, "# HELP {name} Requests that wait\n# TYPE {name} gauge")?;
    for (listed, _, waiting) in &models {
        writeln!(text, "{name}{} {waiting}", labels(listed))?;
    }
    Ok(())
}

fn labels(listed: &Listed) -> String {
    let name = listed.name.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("{{model=\"{name}\",version=\"{}\"}}", listed.version)
}
