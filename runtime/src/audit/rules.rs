//! What an audit can warn of: the names that reports and dashboards know.

/// How much a warning takes from the figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// The robust accuracy may be far too high, or means nothing.
    Distrust,
    /// Something that the reader should know.
    Note,
}

/// One kind of warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name, which never changes.
    pub name: &'static str,
    /// What it says, in a few words.
    pub says: &'static str,
    /// What it takes from the figures.
    pub weight: Weight,
}

const fn distrust(name: &'static str, says: &'static str) -> Rule {
    Rule { name, says, weight: Weight::Distrust }
}

const fn note(name: &'static str, says: &'static str) -> Rule {
    Rule { name, says, weight: Weight::Note }
}

/// The threshold of the gate, which is no warning but is told of in the same places.
pub const GATE: Rule =
    distrust("min-robust-accuracy", "the robust accuracy was not found to be what is asked for");

/// Every kind of warning.
pub const RULES: [Rule; 23] = [
    distrust("zero-gradients", "many attacked images have no usable gradient"),
    distrust("blind-gradients", "many checked images have no usable gradient"),
    distrust("one-step-beats-many", "one step of the gradient breaks more than many"),
    distrust("steps-do-not-help", "following the gradient gets no nearer to another class"),
    distrust("survives-any-eps", "accuracy does not fall to zero as eps grows"),
    distrust("black-box-beats-gradient", "a short random search breaks what the gradient does not"),
    distrust("black-box-wins", "random search breaks what every attack by gradient has left"),
    distrust("hard-outputs", "the logits tell next to nothing but the class"),
    distrust("random-outputs", "the model draws at random"),
    distrust("batch-dependence", "an answer depends on what else is in the batch"),
    distrust("not-finite", "some logits are not finite"),
    distrust("unreached", "the time was up before every image was attacked to the end"),
    distrust("weak-attack", "the attack is too weak for a claim"),
    distrust("short-steps", "the steps do not reach the edge of the ball"),
    note("saturated-logits", "cross-entropy has no gradient in float32"),
    note("probabilities", "the model gives probabilities, not logits"),
    note("large-eps", "eps is very large for images"),
    note("small-eps", "eps is very small for images"),
    note("easier-than-training", "eps is less than the network was trained against"),
    note("training-data", "the images are from the training split"),
    note("class-names", "model and data name their classes differently"),
    note("model", "something about the model's file"),
    note("other", "something else"),
];

/// The kind of a warning `name: sentence`; the last of [`RULES`] where the name is not known.
pub fn of(warning: &str) -> &'static Rule {
    let name = warning.split_once(": ").map_or("", |(name, _)| name);
    RULES.iter().find(|rule| rule.name == name).unwrap_or(&RULES[RULES.len() - 1])
}

/// A warning without its name.
pub fn sentence(warning: &str) -> &str {
    warning.split_once(": ").map_or(warning, |(_, sentence)| sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names in the program text of the warnings: what follows a quotation mark up to `: `.
    fn names_in(text: &str) -> Vec<String> {
        let starts = text.split('"').filter_map(|part| part.split_once(": "));
        let is_name = |name: &str| {
            name.len() > 4
                && name.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-')
        };
        starts.map(|(name, _)| name.to_owned()).filter(|name| is_name(name)).collect()
    }

    #[test]
    fn every_warning_has_a_rule_of_its_own() {
        let names = names_in(include_str!("summary.rs"));
        assert!(names.len() > 15, "{names:?}");
        for name in names {
            let rule = of(&format!("{name}: so it is"));
            assert_eq!(rule.name, name, "`{name}` has no rule");
        }
        assert_eq!((of("unheard-of: x").name, sentence("a: b: c")), ("other", "b: c"));
        let formats = include_str!("../../../docs/formats.md");
        for rule in &RULES[..RULES.len() - 1] {
            assert!(formats.contains(&format!("`{}`", rule.name)), "{} is not in docs", rule.name);
        }
        let mut names: Vec<&str> = RULES.iter().map(|rule| rule.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), RULES.len());
    }
}
