//! Names that nothing else in a graph has.

use std::collections::{BTreeMap, BTreeSet};

use super::proto::{GraphProto, TensorProto, ValueInfoProto};

/// The names that are taken.
#[derive(Clone, Debug, Default)]
pub struct Names {
    taken: BTreeSet<String>,
    /// How often each stem has been asked for, so that long chains of one operator stay cheap.
    counts: BTreeMap<String, usize>,
}

impl Names {
    /// Those of a graph's inputs, initialisers, nodes and values.
    pub fn of(graph: &GraphProto) -> Self {
        let inputs = graph.input.iter().map(ValueInfoProto::name);
        let stored = graph.initializer.iter().map(TensorProto::name);
        let made = graph.node.iter().flat_map(|node| {
            std::iter::once(node.name()).chain(node.output.iter().map(String::as_str))
        });
        inputs.chain(stored).chain(made).map(str::to_owned).collect()
    }

    /// Takes exactly this name; whether it was free.
    pub fn take(&mut self, name: &str) -> bool {
        !name.is_empty() && self.taken.insert(name.to_owned())
    }

    /// Takes a name that nothing has yet: `stem`, or `stem_1`, `stem_2` …
    ///
    /// ```
    /// use rift_models::onnx::Names;
    ///
    /// let mut names: Names = ["relu".to_owned()].into_iter().collect();
    /// assert_eq!([names.fresh("relu"), names.fresh("add")], ["relu_1", "add"]);
    /// ```
    pub fn fresh(&mut self, stem: &str) -> String {
        let count = self.counts.entry(stem.to_owned()).or_insert(0);
        loop {
            let name = if *count == 0 { stem.to_owned() } else { format!("{stem}_{count}") };
            *count += 1;
            if !name.is_empty() && self.taken.insert(name.clone()) {
                return name;
            }
        }
    }
}

impl FromIterator<String> for Names {
    fn from_iter<I: IntoIterator<Item = String>>(names: I) -> Self {
        Self { taken: names.into_iter().collect(), counts: BTreeMap::new() }
    }
}
