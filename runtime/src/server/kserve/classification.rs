//! The classification extension: the likeliest classes rather than all logits.

use crate::session::Classifier;

/// The `k` likeliest classes of each image: `value:class`, and `:name` where it has one.
pub(in crate::server) fn labels(classifier: &Classifier, logits: &[f32], k: usize) -> Vec<String> {
    let classes = classifier.classes();
    let names = classifier.class_names();
    let mut labels = Vec::with_capacity(logits.len() / classes * k);
    for logits in logits.chunks_exact(classes) {
        let mut order: Vec<usize> = (0..classes).collect();
        // Stable: among equals the first class wins, as everywhere.
        order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
        labels.extend(order[..k].iter().map(|class| {
            let value = logits[*class];
            match names.and_then(|names| names.get(*class)) {
                Some(name) => format!("{value:.6}:{class}:{name}"),
                None => format!("{value:.6}:{class}"),
            }
        }));
    }
    labels
}
