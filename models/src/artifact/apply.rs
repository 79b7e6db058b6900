//! Which tensors of a file fit a network, and which do not.

use crate::arch::Graph;
use crate::arch::nearest;

use super::TensorMap;

/// A tensor whose shape is not the network's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Its name.
    pub name: String,
    /// The shape that the network has.
    pub expected: Vec<usize>,
    /// The shape in the file.
    pub found: Vec<usize>,
}

/// What loading a file into a network comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Tensors that fit.
    pub applied: Vec<String>,
    /// What the network has and the file lacks, with the nearest name among the unused.
    pub missing: Vec<(String, Option<String>)>,
    /// What the file has and the network lacks.
    pub unused: Vec<String>,
    /// Tensors of another shape.
    pub mismatched: Vec<Mismatch>,
}

impl LoadReport {
    /// Compares `tensors` with the parameters and buffers of `graph`.
    pub fn new(graph: &Graph, tensors: &TensorMap) -> Self {
        let mut report = Self::default();
        let expected: std::collections::BTreeSet<String> = graph.params().map(|p| p.name).collect();
        report.unused = tensors.keys().filter(|n| !expected.contains(*n)).cloned().collect();
        for parameter in graph.params() {
            match tensors.get(&parameter.name) {
                None => {
                    let unused = report.unused.iter().map(String::as_str);
                    let near = nearest(&parameter.name, unused).into_iter().next();
                    report.missing.push((parameter.name, near));
                }
                Some(tensor) if tensor.shape() != parameter.spec.shape => {
                    report.mismatched.push(Mismatch {
                        name: parameter.name,
                        expected: parameter.spec.shape,
                        found: tensor.shape().to_vec(),
                    });
                }
                Some(_) => report.applied.push(parameter.name),
            }
        }
        report
    }

    /// Whether every tensor fits and none is left over.
    pub fn is_exact(&self) -> bool {
        self.missing.is_empty() && self.unused.is_empty() && self.mismatched.is_empty()
    }
}

/// Tensors that are not exactly the network's.
#[derive(Debug, thiserror::Error)]
#[error("{}", describe(.0))]
pub struct ApplyError(
    /// What fits and what does not.
    pub Box<LoadReport>,
);

/// Checks that `tensors` are exactly the parameters and buffers of `graph`.
///
/// # Errors
/// If one is missing, left over or of another shape; the message names the first of each.
pub fn check(graph: &Graph, tensors: &TensorMap) -> Result<(), ApplyError> {
    let report = LoadReport::new(graph, tensors);
    if report.is_exact() { Ok(()) } else { Err(ApplyError(Box::new(report))) }
}

/// How many offenders of each kind a message names.
const NAMED: usize = 3;

fn describe(report: &LoadReport) -> String {
    let missing = report.missing.iter().map(|(name, near)| match near {
        Some(near) => format!("`{name}` (did you mean `{near}`?)"),
        None => format!("`{name}`"),
    });
    let mismatched = report
        .mismatched
        .iter()
        .map(|m| format!("`{}` (expected {:?}, found {:?})", m.name, m.expected, m.found));
    let unused = report.unused.iter().map(|name| format!("`{name}`"));
    [
        list("of another shape", mismatched.collect()),
        list("missing", missing.collect()),
        list("not in the network", unused.collect()),
    ]
    .into_iter()
    .flatten()
    .collect::<Vec<_>>()
    .join("; ")
}

fn list(kind: &str, items: Vec<String>) -> Option<String> {
    let more = match items.len() {
        0 => return None,
        n if n > NAMED => format!(" and {} more", n - NAMED),
        _ => String::new(),
    };
    let named = items.into_iter().take(NAMED).collect::<Vec<_>>().join(", ");
    Some(format!("{kind}: {named}{more}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::{ArchSpec, init};

    #[test]
    fn names_what_is_missing_unused_and_mismatched() {
        let graph = ArchSpec::new("resnet8", [3, 32, 32], 10).build().unwrap();
        let mut tensors = init::initialise(&graph, 0);
        assert!(check(&graph, &tensors).is_ok());
        let weight = tensors.remove("linear.weight").unwrap();
        tensors.insert("fc.weight".to_owned(), weight);
        let stem = init::initialise(&ArchSpec::new("resnet8", [1, 32, 32], 10).build().unwrap(), 0);
        tensors.insert("conv1.weight".to_owned(), stem["conv1.weight"].clone());
        let message = check(&graph, &tensors).unwrap_err().to_string();
        assert_eq!(
            message,
            "of another shape: `conv1.weight` (expected [16, 3, 3, 3], found [16, 1, 3, 3]); \
             missing: `linear.weight` (did you mean `fc.weight`?); not in the network: `fc.weight`"
        );
    }
}
