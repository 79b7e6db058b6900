//! Where an artifact comes from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Digest;

/// What made an artifact, and from what.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Lineage {
    /// Program, version and command: `rift-trainer 0.1.0 train`.
    pub made_by: String,
    /// The digests of what it was made from, by role: `data`, `checkpoint`, `from`, `to`, `mrc`.
    pub parents: BTreeMap<String, Digest>,
    /// The settings that made it.
    pub settings: serde_json::Value,
    /// The lineage of the parents that have one, by role.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ancestors: BTreeMap<String, Lineage>,
}
