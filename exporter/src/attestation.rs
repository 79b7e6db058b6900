//! What an audit found, as a statement that can be signed.
//!
//! The subjects are the model's file, the images, and the checkpoint where it is known; the predicate
//! names the report by its digest and repeats it without the single images.

use std::path::Path;

use rift_models::artifact::{AuditReport, Digest};
use rift_models::signature::{Resource, Statement};
use rift_runtime::audit::contradiction;
use serde_json::{Value, json};

/// The type of the predicate.
pub const PREDICATE_TYPE: &str = "https://rift/robustness-audit/v1";

/// The name of the subject that was attacked.
const MODEL: &str = "model";
/// The name of the report in the predicate.
const REPORT: &str = "report";

/// The statement about the audit whose report has the bytes `report`.
///
/// # Errors
/// If they are no report, only a part of one, or one whose figures are not those of its images.
pub fn describe(path: &Path, report: &[u8]) -> Result<Statement, AttestationError> {
    let name = || path.display().to_string();
    let audit: AuditReport = serde_json::from_slice(report)
        .map_err(|source| AttestationError::Parse { path: name(), source })?;
    if audit.format != AuditReport::FORMAT {
        return Err(AttestationError::Format { path: name(), found: audit.format });
    }
    if let Some(shard) = audit.shard {
        return Err(AttestationError::Part { path: name(), number: shard.number, of: shard.of });
    }
    if let Some(what) = contradiction(&audit) {
        return Err(AttestationError::Contradiction { path: name(), what });
    }
    let mut found = json!(audit);
    found.as_object_mut().map(|found| found.remove("samples"));
    let mut subjects = vec![
        Resource::new(MODEL, &audit.model.digest),
        // Of the images as they were decoded and their labels: the digest that every artifact has.
        Resource::new(format!("data, {} split", audit.split), &audit.model.data),
    ];
    subjects.extend(audit.model.checkpoint.iter().map(|of| Resource::new("checkpoint", of)));
    let file = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into());
    let predicate = json!({
        REPORT: Resource::new(file, &Digest::of_bytes(report)),
        "audit": found,
    });
    Ok(Statement::new(subjects, PREDICATE_TYPE, predicate))
}

/// Whether a statement is of this kind and about the model of this digest.
pub fn is_of_model(statement: &Statement, model: &Digest) -> bool {
    let mut subjects = statement.subject.iter().filter(|subject| subject.name == MODEL);
    subjects.any(|subject| subject.sha256().as_ref() == Some(model))
}

/// Whether a statement is of this kind and about the report of this digest.
pub fn is_of_report(statement: &Statement, report: &Digest) -> bool {
    statement.predicate[REPORT]["digest"][Resource::ALGORITHM] == report.hex()
}

/// What a statement says, in a line: the accuracies and how they were found.
pub fn summary(statement: &Statement) -> Option<String> {
    let audit = &statement.predicate["audit"];
    let percent = |value: &Value| value.as_f64().map(|fraction| fraction * 100.0);
    let bound = |name: &str| percent(&audit["interval"][name]);
    let attacks: Option<Vec<&str>> =
        audit["attacks"].as_array()?.iter().map(|attack| attack["name"].as_str()).collect();
    Some(format!(
        "robust {:.2} % ({:.2} to {:.2}), clean {:.2} % on {} images of the {} split, {} {}, by {}",
        percent(&audit["robust_accuracy"])?,
        bound("lower")?,
        bound("upper")?,
        percent(&audit["clean_accuracy"])?,
        audit["n"].as_u64()?,
        audit["split"].as_str()?,
        audit["threat"]["norm"].as_str()?,
        audit["threat"]["eps"].as_str()?,
        attacks?.join(", "),
    ))
}

/// A report of which nothing can be stated.
#[derive(Debug, thiserror::Error)]
pub enum AttestationError {
    /// It is no report.
    #[error("`{path}` is not a valid audit report")]
    Parse {
        /// The report.
        path: String,
        /// Where it fails.
        #[source]
        source: serde_json::Error,
    },
    /// A newer format.
    #[error("`{path}` has report format {found}, this version reads {}", AuditReport::FORMAT)]
    Format {
        /// The report.
        path: String,
        /// Its format.
        found: u32,
    },
    /// It is of some of the images.
    #[error(
        "`{path}` is part {number} of {of} of an audit, expected all of it: merge the parts first"
    )]
    Part {
        /// The report.
        path: String,
        /// Which part.
        number: usize,
        /// Of how many.
        of: usize,
    },
    /// Its figures are not those of its images.
    #[error("`{path}` contradicts itself: its {what} not what its images come to")]
    Contradiction {
        /// The report.
        path: String,
        /// What is not.
        what: &'static str,
    },
}
