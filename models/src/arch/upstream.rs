//! Names in published checkpoints.

/// Prefixes that wrappers put before every name: `DataParallel`, and models that keep the network
/// in a field.
const PREFIXES: [&str; 4] = ["module.", "net.", "model.", "backbone."];

/// The name that a published tensor has here, or `None` if the tensor is known to be of no use.
///
/// Published WRN-34-10 checkpoints of the TRADES lineage carry a `sub_block1` that no forward pass
/// ever reads, PyTorch counts batches, and some models keep the normalisation as buffers, which
/// here is part of the architecture.
///
/// ```
/// use rift_models::arch::upstream::canonical;
/// assert_eq!(canonical("module.layer1.0.conv1.weight").as_deref(), Some("layer1.0.conv1.weight"));
/// assert_eq!(canonical("module.sub_block1.layer.0.conv1.weight"), None);
/// assert_eq!(canonical("bn1.num_batches_tracked"), None);
/// ```
pub fn canonical(name: &str) -> Option<String> {
    let mut name = name;
    while let Some(rest) = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)) {
        name = rest;
    }
    let dead = name.starts_with("sub_block1.")
        || name.ends_with(".num_batches_tracked")
        || matches!(name, "mean" | "std" | "mu" | "sigma" | "normalize.mean" | "normalize.std");
    (!dead).then(|| name.to_owned())
}
