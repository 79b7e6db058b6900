//! Which operators have a rule.

use rift_models::onnx::proto::NodeProto;

use super::rule::Rule;
use super::rules;

/// The rule for `node`, if its operator has one.
pub(super) fn rule(node: &NodeProto) -> Option<Rule> {
    if !matches!(node.domain(), "" | "ai.onnx") {
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
}
