//! One report from those of its parts.

use rift_models::artifact::{AuditReport, AuditRequest, ModelIdentity};

use super::recount::{contradiction, recount};
use super::{certificate, summary};

/// Reports that are not the parts of one audit.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// There is nothing to merge.
    #[error("found no report, expected the parts of an audit")]
    None,
    /// A report is not a part.
    #[error("`{path}` is a whole audit, expected a part made with `--shard`")]
    Whole {
        /// The report.
        path: String,
    },
    /// Two parts are of different audits.
    #[error("`{path}` and `{first}` are parts of different audits: their {what} differ")]
    Different {
        /// The first report.
        first: String,
        /// The other.
        path: String,
        /// What is not the same.
        what: &'static str,
    },
    /// A part is there twice.
    #[error("part {number} of {of} is there twice, the second time as `{path}`")]
    Twice {
        /// The part.
        number: usize,
        /// Parts.
        of: usize,
        /// The second report.
        path: String,
    },
    /// A part is not there.
    #[error("part {number} of {of} is missing")]
    Missing {
        /// The part.
        number: usize,
        /// Parts.
        of: usize,
    },
    /// A part's figures are not those of its images.
    #[error("`{path}` contradicts itself: its {what} not what its images come to")]
    Contradiction {
        /// The report.
        path: String,
        /// What is not.
        what: &'static str,
    },
    /// The images of the parts are not those of the whole.
    #[error("the parts hold image {found} where image {expected} is expected")]
    Images {
        /// The index that should follow.
        expected: usize,
        /// The index that does.
        found: usize,
    },
}

/// Merges the parts of an audit, in any order, each with the path that names it in errors.
///
/// Everything that is counted is counted anew from the images; seconds are added up.
///
/// # Errors
/// If they are not the parts of one audit, or not all of them, or one says something else of its
/// images in figures than one by one.
pub fn merge(parts: Vec<(String, AuditReport)>) -> Result<AuditReport, MergeError> {
    let mut parts = parts;
    for (path, part) in &parts {
        if part.shard.is_none() {
            return Err(MergeError::Whole { path: path.clone() });
        }
        if let Some(what) = contradiction(part) {
            return Err(MergeError::Contradiction { path: path.clone(), what });
        }
    }
    parts.sort_by_key(|(_, part)| part.shard.map(|shard| shard.number));
    let Some(((first_path, first), rest)) = parts.split_first() else {
        return Err(MergeError::None);
    };
    for (path, part) in rest {
        if let Some(what) = difference(first, part) {
            let (first, path) = (first_path.clone(), path.clone());
            return Err(MergeError::Different { first, path, what });
        }
    }
    let of = first.shard.map_or(0, |shard| shard.of);
    for (at, (path, part)) in parts.iter().enumerate() {
        let number = part.shard.map_or(0, |shard| shard.number);
        if number <= at {
            return Err(MergeError::Twice { number, of, path: path.clone() });
        }
        if number > at + 1 {
            return Err(MergeError::Missing { number: at + 1, of });
        }
    }
    if parts.len() < of {
        return Err(MergeError::Missing { number: parts.len() + 1, of });
    }
    join(parts.into_iter().map(|(_, part)| part).collect())
}

/// What two reports of one audit cannot differ in.
fn difference(a: &AuditReport, b: &AuditReport) -> Option<&'static str> {
    let names = |report: &AuditReport| -> Vec<_> {
        let attacks = report.attacks.iter();
        attacks.map(|x| (x.name.clone(), x.eps.clone(), x.settings.clone())).collect()
    };
    // Parts may be made on machines of different kinds.
    let runtime = |report: &AuditReport| {
        let runtime = report.runtime.clone();
        (runtime.program, runtime.onnxruntime, runtime.provider, runtime.seed)
    };
    let twin = |report: &AuditReport| report.twin.as_ref().map(|twin| twin.digest.clone());
    let whole = |report: &AuditReport| report.shard.map(|shard| (shard.of, shard.total));
    [
        (subject(a) != subject(b), "models or data"),
        (twin(a) != twin(b), "models that gave the gradients"),
        (a.threat != b.threat, "threat models"),
        (asked(a) != asked(b) || names(a) != names(b), "attacks"),
        (a.split != b.split, "splits"),
        (runtime(a) != runtime(b), "versions or seeds"),
        (a.runtime.steering != b.runtime.steering, "precisions of the gradients"),
        (whole(a) != whole(b), "numbers of parts or images"),
    ]
    .into_iter()
    .find_map(|(differs, what)| differs.then_some(what))
}

/// Model and data; what counts is what is in a file, wherever a machine has it.
fn subject(report: &AuditReport) -> ModelIdentity {
    ModelIdentity { path: String::new(), ..report.model.clone() }
}

/// What was asked for, but for where a machine has its files.
fn asked(report: &AuditReport) -> Option<AuditRequest> {
    let request = report.request.clone()?;
    Some(AuditRequest { data: String::new(), gradients_from: None, ..request })
}

fn join(parts: Vec<AuditReport>) -> Result<AuditReport, MergeError> {
    let mut parts = parts;
    // One without images knows less of the model than the others, and adds nothing to them.
    if parts.iter().any(|part| part.n > 0) {
        parts.retain(|part| part.n > 0);
    }
    let mut parts = parts.into_iter();
    let Some(mut whole) = parts.next() else { return Err(MergeError::None) };
    let total = whole.shard.take().map_or(0, |shard| shard.total);
    whole.warnings.retain(|warning| !summary::is_counted(warning));
    for part in parts {
        for (sum, attack) in whole.attacks.iter_mut().zip(&part.attacks) {
            sum.unreached += attack.unreached;
            sum.seconds = sum.seconds.zip(attack.seconds).map(|(a, b)| a + b);
            sum.gradients += attack.gradients;
            sum.forwards += attack.forwards;
        }
        for warning in part.warnings {
            if !summary::is_counted(&warning) && !whole.warnings.contains(&warning) {
                whole.warnings.push(warning);
            }
        }
        certificate::join(&mut whole.certified, part.certified);
        whole.samples.extend(part.samples);
    }
    let indices = whole.samples.iter().map(|sample| Some(sample.index)).chain([None]);
    for (expected, found) in (0..=total).zip(indices) {
        let found = found.unwrap_or(total);
        if found != expected {
            return Err(MergeError::Images { expected, found });
        }
    }
    recount(&mut whole);
    let counted = summary::counted(&whole);
    whole.warnings.extend(counted);
    Ok(whole)
}
