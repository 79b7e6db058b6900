//! Manifests for KServe: an `InferenceService` that runs `rift-runtime`, and one that runs Triton.
//!
//! # References
//! `serving.kserve.io/v1beta1`, <https://kserve.github.io/website>.

use std::path::{Path, PathBuf};

use rift_models::artifact::Bundle;
use rift_models::artifact::atomic::{self, AtomicError};
use serde_json::{Value, json};

use super::{LayoutError, identifier};
use crate::yaml::yaml;

/// The file of the manifest that runs `rift-runtime`.
pub const RIFT: &str = "rift-runtime.yaml";
/// The file of the manifest that runs Triton.
pub const TRITON: &str = "triton.yaml";
/// How the manifests that are written here begin: without it a file is somebody else's.
const SIGN: &str = "# Written by rift-exporter.\n";
/// Where a manifest names its model: the sign of those that were written before there was one.
const ANNOTATION: &str = "rift/model";
/// Where KServe puts a model.
const MOUNT: &str = "/mnt/models";

/// From where the cluster fetches what it runs.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'a> {
    /// The address of the bundle.
    pub bundle: &'a str,
    /// The address of Triton's model repository.
    pub repository: &'a str,
    /// The container image of `rift-runtime`.
    pub image: &'a str,
}

/// Both manifests, ready to be written. The service that runs Triton has a name of its own, so that the
/// folder can be applied as a whole; the model has the same name in both.
pub struct Manifests([(PathBuf, String); 2]);

impl Manifests {
    /// The manifests for `bundle`, for the folder `folder`.
    ///
    /// # Errors
    /// If a file there was not written here, or cannot be written.
    pub fn new(bundle: &Bundle, folder: &Path, sources: Sources<'_>) -> Result<Self, LayoutError> {
        let name = identifier(&bundle.card.name);
        let digest = bundle.card.model.as_str();
        let manifest = |name: &str, predictor: &Value| {
            let manifest = json!({
                "apiVersion": "serving.kserve.io/v1beta1",
                "kind": "InferenceService",
                "metadata": {
                    "name": name,
                    "annotations": { (ANNOTATION): digest, "prometheus.kserve.io/port": "8080",
                                     "prometheus.kserve.io/path": "/metrics" },
                },
                "spec": { "predictor": predictor },
            });
            SIGN.to_owned() + &yaml(&manifest)
        };
        let rift = json!({ "containers": [container(&name, sources)] });
        let triton = json!({ "model": triton(sources.repository) });
        let files = [
            (folder.join(RIFT), manifest(&name, &rift)),
            (folder.join(TRITON), manifest(&format!("{name}-triton"), &triton)),
        ];
        for (path, _) in &files {
            let is_ours = |text: &str| text.starts_with(SIGN) || text.contains(ANNOTATION);
            if std::fs::read(path).is_ok_and(|text| !is_ours(&String::from_utf8_lossy(&text))) {
                return Err(LayoutError::ForeignManifest { path: path.display().to_string() });
            }
            atomic::check_writable(path)?;
        }
        Ok(Self(files))
    }

    /// Writes both; returns where they are.
    ///
    /// # Errors
    /// If one cannot be written.
    pub fn write(self) -> Result<[PathBuf; 2], AtomicError> {
        for (path, text) in &self.0 {
            atomic::write(path, text.as_bytes())?;
        }
        Ok(self.0.map(|(path, _)| path))
    }
}

/// `rift-runtime serve` on the bundle, without any right that it does not need.
fn container(name: &str, sources: Sources<'_>) -> Value {
    let probe = |path: &str| json!({ "httpGet": { "path": path, "port": 8080 } });
    json!({
        "name": "kserve-container",
        "image": sources.image,
        // Whoever reaches the pod may ask: the mesh that KServe runs in asks who comes.
        "args": ["serve", format!("{name}={MOUNT}"), "--listen", "0.0.0.0:8080", "--insecure"],
        "env": [
            { "name": "STORAGE_URI", "value": sources.bundle },
            { "name": "ORT_DISABLE_TELEMETRY", "value": "1" },
        ],
        "ports": [{ "name": "http1", "containerPort": 8080, "protocol": "TCP" }],
        "livenessProbe": probe("/v2/health/live"),
        "readinessProbe": probe("/v2/health/ready"),
        "resources": {
            "requests": { "cpu": "1", "memory": "512Mi" },
            "limits": { "cpu": "2", "memory": "1Gi" },
        },
        "securityContext": {
            "runAsNonRoot": true,
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        },
    })
}

fn triton(repository: &str) -> Value {
    json!({
        "modelFormat": { "name": "triton" },
        "protocolVersion": "v2",
        "storageUri": repository,
        "env": [{ "name": "ORT_DISABLE_TELEMETRY", "value": "1" }],
        "resources": {
            "requests": { "cpu": "1", "memory": "1Gi" },
            "limits": { "cpu": "2", "memory": "2Gi" },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_container_has_no_right_that_it_does_not_need() {
        let sources = Sources {
            bundle: "pvc://models/m",
            repository: "pvc://triton",
            image: "rift-runtime:1",
        };
        let container = container("m", sources);
        let security = &container["securityContext"];
        assert_eq!(security["runAsNonRoot"], true);
        assert_eq!(security["capabilities"]["drop"][0], "ALL");
        assert_eq!(container["args"][1], "m=/mnt/models");
    }
}
