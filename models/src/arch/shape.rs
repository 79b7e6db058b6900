//! Shape inference.

use super::{Graph, Op, Value};

/// Operators that do not fit together.
#[derive(Debug, thiserror::Error)]
#[error("`{node}` expects {expected}, found an input of shape {found:?}")]
pub struct ShapeError {
    node: String,
    expected: String,
    found: Vec<usize>,
}

impl Graph {
    /// The shape of every node's output for one image, without the batch dimension.
    ///
    /// # Errors
    /// If an operator cannot take what it is given, or the last one does not give the logits.
    pub fn shapes(&self) -> Result<Vec<Vec<usize>>, ShapeError> {
        let mut shapes: Vec<Vec<usize>> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let inputs: Vec<&[usize]> = node
                .inputs
                .iter()
                .map(|value| match value {
                    Value::Input => &self.input[..],
                    Value::Node(index) => &shapes[*index][..],
                })
                .collect();
            let shape = output(&node.op, &inputs).map_err(|expected| ShapeError {
                node: node.name.clone(),
                expected,
                found: inputs.last().map(|s| s.to_vec()).unwrap_or_default(),
            })?;
            shapes.push(shape);
        }
        match (self.nodes.last(), shapes.last()) {
            (Some(node), Some(shape)) if *shape != [self.classes] => Err(ShapeError {
                node: node.name.clone(),
                expected: format!("to give {} logits", self.classes),
                found: shape.clone(),
            }),
            _ => Ok(shapes),
        }
    }
}

fn output(op: &Op, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
    let image = |channels: Option<usize>| match *inputs {
        [&[c, h, w]] if channels.is_none_or(|expected| expected == c) => Ok([c, h, w]),
        _ => Err(match channels {
            Some(channels) => format!("{channels} channels"),
            None => "an image of three dimensions".to_owned(),
        }),
    };
    match *op {
        Op::Normalize { ref mean, .. } => Ok(image(Some(mean.len()))?.to_vec()),
        Op::Conv2d { in_channels, out_channels, kernel, stride, padding, .. } => {
            let [_, h, w] = image(Some(in_channels))?;
            let side = |n: usize| (n + 2 * padding).checked_sub(kernel).map(|n| n / stride + 1);
            match (side(h), side(w)) {
                (Some(h), Some(w)) => Ok(vec![out_channels, h, w]),
                _ => Err(format!("at least {kernel} × {kernel} positions")),
            }
        }
        Op::BatchNorm2d { channels, .. } => Ok(image(Some(channels))?.to_vec()),
        Op::Relu => match *inputs {
            [shape] => Ok(shape.to_vec()),
            _ => Err("one input".to_owned()),
        },
        Op::Add => match *inputs {
            [a, b] if a == b => Ok(a.to_vec()),
            [a, _] => Err(format!("a second summand of shape {a:?}")),
            _ => Err("two inputs".to_owned()),
        },
        Op::AvgPool2d { kernel } => {
            let [c, h, w] = image(None)?;
            match (h / kernel, w / kernel) {
                (0, _) | (_, 0) => Err(format!("at least {kernel} × {kernel} positions")),
                (h, w) => Ok(vec![c, h, w]),
            }
        }
        Op::GlobalAvgPool => Ok(vec![image(None)?[0], 1, 1]),
        Op::Flatten => match *inputs {
            [shape] => Ok(vec![shape.iter().product()]),
            _ => Err("one input".to_owned()),
        },
        Op::Linear { in_features, out_features, .. } => match *inputs {
            [&[features]] if features == in_features => Ok(vec![out_features]),
            _ => Err(format!("{in_features} features")),
        },
    }
}
