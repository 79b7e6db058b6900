//! Which operators have a rule.

use rift_models::onnx::is_default_domain;
use rift_models::onnx::proto::NodeProto;

use super::rule::Rule;
use super::rules;

/// The rule for `node`, if its operator has one.
pub(super) fn rule(node: &NodeProto) -> Option<Rule> {
    if !is_default_domain(node) {
        return None;
    }
    all().find(|rule| rule.op == node.op_type())
}

fn all() -> impl Iterator<Item = Rule> {
    rules::FAMILIES.iter().copied().flatten().copied()
}

/// The operators through which gradients flow, in alphabetical order.
pub fn operators() -> Vec<&'static str> {
    let mut names: Vec<_> = all().map(|rule| rule.op).collect();
    names.sort_unstable();
    names
}

/// Whether gradients flow through the operator `name` of ONNX's default domain.
pub fn has_rule(name: &str) -> bool {
    all().any(|rule| rule.op == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_operator_has_two_rules() {
        let names = operators();
        let mut unique = names.clone();
        unique.dedup();
        assert_eq!(names, unique);
    }

    #[test]
    fn another_domain_has_other_operators() {
        let node = |domain: &str| NodeProto {
            op_type: Some("Conv".into()),
            domain: Some(domain.into()),
            ..Default::default()
        };
        assert!(rule(&node("")).is_some() && rule(&node("ai.onnx")).is_some());
        assert!(rule(&node("com.microsoft")).is_none());
    }

    /// The rows of the table in `docs/coverage.md`.
    fn listed() -> String {
        let rows: Vec<String> = operators()
            .chunks(8)
            .map(|row| row.iter().map(|op| format!("`{op}`")).collect::<Vec<_>>().join(", "))
            .collect();
        rows.join(",\n")
    }

    #[test]
    fn the_document_lists_the_operators() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/coverage.md");
        let document = std::fs::read_to_string(path).unwrap();
        let (_, rest) = document.split_once("<!-- operators -->\n").unwrap();
        let (found, _) = rest.split_once("\n<!-- end of operators -->").unwrap();
        let expected = listed();
        assert_eq!(found, expected, "docs/coverage.md is out of date; expected:\n{expected}");
    }
}
