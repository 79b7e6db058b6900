//! A network: operators and what feeds them.

use super::{Op, ParamSpec, Role};

/// What an operator reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// The image.
    Input,
    /// The output of the node with this index.
    Node(usize),
}

/// One operator with its name and inputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The module's name as in the reference implementation: `layer1.0.conv1`. Operators without
    /// parameters have names of the same kind, unique in the graph.
    pub name: String,
    /// The operator.
    pub op: Op,
    /// What it reads; every [`Value::Node`] comes before this node.
    pub inputs: Vec<Value>,
}

/// A network as data: nodes in topological order, of which the last gives the logits.
///
/// # Shapes
/// The input is `N × C × H × W` with pixels in `[0, 1]`, the output `N × classes`.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    /// Channels, height and width of an image.
    pub input: [usize; 3],
    /// The number of logits.
    pub classes: usize,
    /// The operators.
    pub nodes: Vec<Node>,
}

/// A parameter or buffer of a graph, with its full name.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// The module's name and the parameter's suffix: `layer1.0.conv1.weight`.
    pub name: String,
    /// The node it belongs to.
    pub node: usize,
    /// What it is.
    pub spec: ParamSpec,
}

impl Graph {
    /// All parameters and buffers, in the order of the nodes.
    pub fn params(&self) -> impl Iterator<Item = Parameter> + '_ {
        self.nodes.iter().enumerate().flat_map(|(index, node)| {
            node.op.params().into_iter().map(move |spec| Parameter {
                name: format!("{}.{}", node.name, spec.suffix),
                node: index,
                spec,
            })
        })
    }

    /// The number of trained parameters; running statistics do not count.
    pub fn parameter_count(&self) -> usize {
        self.params()
            .filter(|p| p.spec.role.is_trained())
            .map(|p| p.spec.shape.iter().product::<usize>())
            .sum()
    }

    /// The names of the convolutions and linear layers, in network order: the modules of which
    /// criticality is measured.
    pub fn modules(&self) -> impl Iterator<Item = &str> + '_ {
        self.nodes.iter().filter(|n| n.op.is_module()).map(|n| n.name.as_str())
    }

    /// The node with exactly this name.
    ///
    /// # Errors
    /// If there is none; the error offers the names nearest to it.
    pub fn module(&self, name: &str) -> Result<usize, UnknownModule> {
        self.nodes.iter().position(|n| n.op.is_module() && n.name == name).ok_or_else(|| {
            let named = self.nodes.iter().any(|node| node.name == name);
            UnknownModule { name: name.to_owned(), near: nearest(name, self.modules()), named }
        })
    }

    /// The full names of the trained parameters of the module at `node` that have `role`.
    pub fn parameter_of(&self, node: usize, role: Role) -> Option<Parameter> {
        self.params().find(|p| p.node == node && p.spec.role == role)
    }
}

/// A module name that the network does not have.
#[derive(Debug, thiserror::Error)]
#[error("{}{}", complaint(name, *named), offer(near))]
pub struct UnknownModule {
    /// The name that was asked for.
    pub name: String,
    /// Whether the network has something of this name that is neither a convolution nor a linear
    /// layer.
    pub named: bool,
    /// The names nearest to it, the best first.
    pub near: Vec<String>,
}

fn complaint(name: &str, named: bool) -> String {
    if named {
        return format!(
            "`{name}` has no weights that could move, expected a convolution or a linear layer"
        );
    }
    format!("no module `{name}`")
}

fn offer(near: &[String]) -> String {
    if near.is_empty() {
        return String::new();
    }
    format!(
        ", did you mean {}?",
        near.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")
    )
}

/// The up to three `candidates` most like `name`, the best first.
pub(crate) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut scored: Vec<(f64, &str)> =
        candidates.map(|c| (strsim::normalized_damerau_levenshtein(name, c), c)).collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.into_iter().filter(|(s, _)| *s > 0.4).take(3).map(|(_, c)| c.to_owned()).collect()
}
