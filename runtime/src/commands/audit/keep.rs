//! Where an audit's state is kept, and of which audit it is.

use std::path::{Path, PathBuf};

use rift_models::artifact::{AuditReport, AuditRequest, Shard};
use rift_runtime::audit::state::State;
use rift_runtime::audit::{Keep, Plan, report};
use serde_json::{Value, json};

use super::subject::Subject;

/// Where it is asked to be, or beside the report; nowhere if the report goes to a device.
pub(super) fn path(state: Option<&Path>, json: Option<&Path>) -> Option<PathBuf> {
    let beside = || {
        let json = json.filter(|path| !path.exists() || path.is_file())?;
        let mut name = json.file_name()?.to_owned();
        name.push(".state");
        Some(json.with_file_name(name))
    };
    state.map(Path::to_owned).or_else(beside)
}

/// All that two runs must have in common for one to go on where the other stopped; how the work is
/// spread, and for how long, is no part of it.
pub(super) fn identity(
    subject: &Subject,
    plan: &Plan,
    request: &AuditRequest,
    shard: Option<Shard>,
) -> anyhow::Result<Value> {
    let Subject { classifier, twin, data, .. } = subject;
    let engine = classifier.engine();
    let mut settings = serde_json::to_value(request)?;
    if let Some(settings) = settings.as_object_mut() {
        // The same images may lie elsewhere.
        settings.remove("data");
        settings.insert("norm".to_owned(), serde_json::to_value(plan.norm)?);
        settings.insert("seed".to_owned(), json!(plan.seed));
    }
    let kept = match plan.keep {
        Keep::All => json!("all"),
        Keep::First(many) => json!(many),
    };
    Ok(json!({
        "model": classifier.digest().to_string(),
        "data": [data.digest.to_string(), data.split.to_string()],
        "settings": settings,
        "part": shard,
        "gradients": twin.as_ref().map(|twin| twin.digest().to_string()),
        "versions": [report::PROGRAM, classifier.library().version()],
        "engine": [engine.provider().name(), &engine.steering().to_string()],
        "outputs": kept,
    }))
}

/// Removes the state of an audit that failed before it did anything: there is nothing to go on from.
pub(super) fn or_discard<T>(
    measured: anyhow::Result<T>,
    state: Option<&State>,
) -> anyhow::Result<T> {
    if let (Err(_), Some(state)) = (&measured, state.filter(|state| !state.has_records())) {
        // What went wrong matters more than a file that cannot be removed.
        let _ = std::fs::remove_file(state.path());
    }
    measured
}

/// Removes the state of an audit that is over; keeps it where the time was up, since the same command
/// then goes on, and says so.
pub(super) fn close(state: Option<State>, report: &AuditReport) -> anyhow::Result<Option<String>> {
    let Some(state) = state else { return Ok(None) };
    let unreached = report.attacks.iter().any(|attack| attack.unreached > 0)
        || report.certified.as_ref().is_some_and(|certificate| certificate.unreached > 0);
    if unreached {
        let path = state.path().display();
        return Ok(Some(format!("state     the same command goes on from {path}")));
    }
    state.remove()?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_lies_beside_the_report_unless_told_otherwise() {
        let path = |state: Option<&str>, json: Option<&str>| {
            let path = path(state.map(Path::new), json.map(Path::new));
            path.map(|path| path.display().to_string())
        };
        assert_eq!(path(None, Some("runs/audit.json")).unwrap(), "runs/audit.json.state");
        assert_eq!(path(Some("s"), Some("runs/audit.json")).unwrap(), "s");
        assert_eq!(path(None, None), None);
        assert_eq!(path(None, Some("/dev/null")), None);
    }
}
