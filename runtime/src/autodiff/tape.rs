//! The gradients that have been found, by value.

use std::collections::HashMap;

use rift_models::onnx::GraphBuilder;

/// Collects what each value's readers contribute to its gradient; the one place that adds.
#[derive(Debug, Default)]
pub(super) struct Tape {
    contributions: HashMap<String, Vec<String>>,
}

impl Tape {
    /// Notes that `gradient` is part of the gradient of `value`.
    pub(super) fn contribute(&mut self, value: &str, gradient: String) {
        self.contributions.entry(value.to_owned()).or_default().push(gradient);
    }

    /// The whole gradient of `value`, once all its readers have contributed; `None` if none has.
    pub(super) fn total(&mut self, value: &str, builder: &mut GraphBuilder) -> Option<String> {
        let mut parts = self.contributions.remove(value)?.into_iter();
        let first = parts.next()?;
        Some(parts.fold(first, |sum, part| builder.node("Add", &[&sum, &part], vec![])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_only_where_there_is_more_than_one() {
        let mut builder = GraphBuilder::new("g", 17);
        let mut tape = Tape::default();
        assert_eq!(tape.total("x", &mut builder), None);
        tape.contribute("x", "a".into());
        assert_eq!(tape.total("x", &mut builder), Some("a".into()));
        for part in ["a", "b", "c"] {
            tape.contribute("x", part.into());
        }
        assert_eq!(tape.total("x", &mut builder), Some("add_1".into()));
        assert_eq!(tape.total("x", &mut builder), None);
    }
}
