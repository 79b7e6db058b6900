//! What an audit, or the merger of its parts, hands to other programs, and the threshold.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, ValueEnum};
use rift_models::artifact::{AuditReport, atomic};
use rift_runtime::audit::format::{Threshold, check_robustbench, junit, robustbench, sarif};
use rift_runtime::audit::{Plan, report};

use super::super::Answer;
use super::super::output::Named;
use super::flags::{Gate, fraction};

/// What goes to standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// A table for people
    Table,
    /// The report, as `--json` writes it
    Json,
    /// An entry of the `RobustBench` leaderboard; needs `--attack autoattack` and one eps
    Robustbench,
    /// SARIF 2.1.0, for code-scanning dashboards
    Sarif,
}

#[derive(Debug, Args)]
pub(super) struct FormatArgs {
    /// What goes to standard output
    #[arg(long, value_enum, env = "RIFT_FORMAT", default_value = "table")]
    pub(super) format: Format,
    /// Write threshold and warnings as test cases, for CI
    #[arg(long, value_name = "PATH", env = "RIFT_JUNIT")]
    junit: Option<PathBuf>,
    /// End with status 1 if the robust accuracy is below this fraction, or images were not reached
    #[arg(long, value_name = "X", env = "RIFT_MIN_ROBUST_ACCURACY", value_parser = fraction)]
    min_robust_accuracy: Option<f64>,
    /// What must not be below it
    #[arg(long, value_enum, env = "RIFT_GATE", default_value = "interval")]
    gate: Gate,
}

impl FormatArgs {
    /// The files that will be written.
    pub(super) fn paths(&self) -> impl Iterator<Item = Named<'_>> {
        self.junit.as_deref().map(|path| ("--junit", path)).into_iter()
    }

    /// Fails now where the report could not be written in the form that is asked for.
    pub(super) fn check(&self, plan: &Plan) -> anyhow::Result<()> {
        if self.format == Format::Robustbench {
            check_robustbench(&plan.methods, plan.eps.len())?;
        }
        Ok(())
    }

    fn threshold(&self, report: &AuditReport) -> Option<Threshold> {
        let (found, what) = match self.gate {
            Gate::Interval => (report.interval.lower, "lower bound of the robust accuracy"),
            Gate::Point => (report.robust_accuracy, "robust accuracy"),
        };
        let unreached = report.unreached();
        self.min_robust_accuracy.map(|least| Threshold { what, found, least, unreached })
    }

    /// Writes the report in the form that is asked for; what is said beside it, such as `notes`,
    /// follows a table and goes to standard error beside a document.
    pub(super) fn write(
        &self,
        report: &AuditReport,
        data: &str,
        notes: &[String],
        out: &mut dyn Write,
    ) -> anyhow::Result<Answer> {
        let threshold = self.threshold(report);
        if let Some(path) = &self.junit {
            atomic::write(path, junit(report, threshold.as_ref()).as_bytes())?;
        }
        let document = match self.format {
            Format::Table => None,
            Format::Json => Some(serde_json::to_string_pretty(report)?),
            Format::Robustbench => {
                let entry = robustbench(report).context("no leaderboard entry")?;
                Some(serde_json::to_string_pretty(&entry)?)
            }
            Format::Sarif => {
                Some(serde_json::to_string_pretty(&sarif(report, threshold.as_ref()))?)
            }
        };
        let missed = threshold.filter(|threshold| !threshold.is_met());
        let said = missed.map(|missed| {
            let name = if missed.is_below() { "too low" } else { "unreached" };
            format!("{name:<9} {}", missed.sentence())
        });
        let notes = notes.iter().chain(&said);
        if let Some(document) = document {
            writeln!(out, "{document}")?;
            for note in notes {
                // Where standard error is gone there is nobody left to tell.
                let _ = writeln!(std::io::stderr(), "{note}");
            }
        } else {
            out.write_all(report::table(report, data).as_bytes())?;
            for note in notes {
                writeln!(out, "{note}")?;
            }
        }
        Ok(if missed.is_some() { Answer::No } else { Answer::Yes })
    }
}
