//! Names in published checkpoints.

/// Prefixes that wrappers put before every name: `DataParallel`, `torch.compile`, and models that keep
/// the network in a field.
const PREFIXES: [&str; 8] =
    ["module.", "net.", "model.", "backbone.", "network.", "base_model.", "ema.", "_orig_mod."];

/// What published checkpoints hold beside the network that they classify with.
const DEAD: [&str; 2] = ["sub_block1.", "model_preact_hl1."];

/// The name that a published tensor has here, or `None` if the tensor is known to be of no use.
///
/// Published wide residual networks of the TRADES lineage carry a `sub_block1` that no forward pass
/// ever reads, those of Andriushchenko & Flammarion (2020) their first layers a second time as
/// `model_preact_hl1`, PyTorch counts batches, and some models keep the normalisation as buffers, on
/// themselves or in a layer before the network, which here is part of the architecture.
///
/// ```
/// use rift_models::arch::upstream::canonical;
/// assert_eq!(canonical("module.layer1.0.conv1.weight").as_deref(), Some("layer1.0.conv1.weight"));
/// assert_eq!(canonical("module.1.layer1.0.bn1.bias").as_deref(), Some("layer1.0.bn1.bias"));
/// assert_eq!(canonical("module.sub_block1.layer.0.conv1.weight"), None);
/// assert_eq!(canonical("bn1.num_batches_tracked"), None);
/// assert_eq!(canonical("0.mean"), None);
/// ```
pub fn canonical(name: &str) -> Option<String> {
    let mut name = name;
    while let Some(rest) = without_prefix(name) {
        name = rest;
    }
    let dead = DEAD.iter().any(|dead| name.starts_with(dead))
        || name.ends_with(".num_batches_tracked")
        || matches!(name.rsplit('.').next(), Some("mean" | "std" | "mu" | "sigma"));
    (!dead).then(|| name.to_owned())
}

/// The name without the first of its prefixes, or without the place in an `nn.Sequential` of
/// normalisation and network.
fn without_prefix(name: &str) -> Option<&str> {
    let place = || match name.split_once('.') {
        Some(("0" | "1" | "2", rest)) => Some(rest),
        _ => None,
    };
    PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)).or_else(place)
}

#[cfg(test)]
mod tests {
    use super::super::ArchSpec;
    use super::super::spec::NAMES;
    use super::*;

    #[test]
    fn every_name_survives_every_wrapping() {
        for arch in NAMES {
            let graph = ArchSpec::new(arch, [3, 32, 32], 10).build().unwrap();
            for parameter in graph.params() {
                for wrapping in
                    ["", "module.", "model.", "1.", "module.1.", "module.model.", "_orig_mod.0."]
                {
                    let found = canonical(&format!("{wrapping}{}", parameter.name));
                    assert_eq!(found.as_ref(), Some(&parameter.name), "{arch}, {wrapping}");
                }
            }
        }
    }

    #[test]
    fn what_no_forward_pass_reads_is_dropped() {
        for name in [
            "module.sub_block1.layer.4.convShortcut.weight",
            "1.sub_block1.layer.0.bn1.weight",
            "model_preact_hl1.1.weight",
            "module.model_preact_hl1.2.running_var",
            "module.0.mean",
            "normalize.std",
            "module.normalizer.mean",
            "model.mu",
            "sigma",
            "module.1.bn1.num_batches_tracked",
        ] {
            assert_eq!(canonical(name), None, "{name}");
        }
        assert!(canonical("bn1.running_mean").is_some(), "the end of a name is not a name");
    }
}
