//! A network printed as ONNX.
//!
//! The file speaks in pixels: its first nodes are the network's normalisation. Nodes and the values
//! that they make have the names of the modules (`layer1.0.conv1`), initialisers those of the
//! parameters (`layer1.0.conv1.weight`), so that what a tool shows of the file is what the paper's
//! tables speak of. The same network gives the same bytes.

mod operator;

use std::collections::BTreeMap;

use rift_models::arch::{Graph, ShapeError, Value};
use rift_models::artifact::{ApplyError, TensorMap, apply};
use rift_models::onnx::{DataType, Dim, GraphBuilder, GraphError, Model, OnnxError};

/// The operator set of the files, which ONNX Runtime reads since 1.13; newer ones have nothing that
/// these networks need.
pub const OPSET: i64 = 17;
/// The name of the files' input.
pub const INPUT: &str = "input";
/// The name of the files' output.
pub const OUTPUT: &str = "logits";
/// The name of the first dimension of both.
const BATCH: &str = "N";
/// The program that the files name as their maker.
const PRODUCER: &str = env!("CARGO_PKG_NAME");

/// A network that cannot be printed.
#[derive(Debug, thiserror::Error)]
pub enum LowerError {
    /// There is nothing to print.
    #[error("the network has no operator")]
    Empty,
    /// The operators do not fit together.
    #[error("the network does not fit together")]
    Shape(#[from] ShapeError),
    /// The tensors are not the network's.
    #[error("the tensors are not the network's")]
    Tensors(#[from] ApplyError),
    /// The names do not make an ONNX graph.
    #[error("the network gives no ONNX graph")]
    Graph(#[from] GraphError),
    /// What was printed is not a model.
    #[error("the network gives no ONNX model")]
    Onnx(#[from] OnnxError),
}

/// Prints `graph` with `tensors` as an ONNX model that says `metadata` about itself.
///
/// # Shapes
/// `input` is float32 `N × C × H × W` with pixels in `[0, 1]`, `logits` float32 `N × classes`; `N`
/// is free.
///
/// # Errors
/// If the operators do not fit together or the tensors are not exactly the network's.
pub fn lower(
    name: &str,
    graph: &Graph,
    tensors: &TensorMap,
    metadata: &BTreeMap<String, String>,
) -> Result<Model, LowerError> {
    graph.shapes()?;
    apply::check(graph, tensors)?;
    let last = graph.nodes.len().checked_sub(1).ok_or(LowerError::Empty)?;
    let mut builder = GraphBuilder::new(name, OPSET);
    let [channels, height, width] = graph.input;
    let image = [Dim::free(BATCH), Dim::Fixed(channels), Dim::Fixed(height), Dim::Fixed(width)];
    let input = builder.input(INPUT, DataType::Float, &image)?;
    let mut values: Vec<String> = Vec::with_capacity(graph.nodes.len());
    for (index, node) in graph.nodes.iter().enumerate() {
        let inputs: Vec<&str> = node
            .inputs
            .iter()
            .map(|value| match *value {
                Value::Input => input.as_str(),
                Value::Node(index) => values[index].as_str(),
            })
            .collect();
        let value = match node.name.as_str() {
            _ if index == last => OUTPUT,
            // The output's name is kept for the output.
            OUTPUT => "logits.inner",
            name => name,
        };
        let value = operator::lower(&mut builder, node, &inputs, tensors, value);
        values.push(value);
    }
    let logits = [Dim::free(BATCH), Dim::Fixed(graph.classes)];
    builder.output(OUTPUT, DataType::Float, &logits);
    builder.metadata(metadata);
    signed(builder.finish()?, &graph.nodes[last].name)
}

/// `model` with this program as its maker, and its last node called `module`.
fn signed(model: Model, module: &str) -> Result<Model, LowerError> {
    let mut proto = model.into_proto();
    proto.producer_name = Some(PRODUCER.to_owned());
    proto.producer_version = Some(env!("CARGO_PKG_VERSION").to_owned());
    if let Some(node) = proto.graph.as_mut().and_then(|graph| graph.node.last_mut()) {
        node.name = Some(module.to_owned());
    }
    Ok(Model::from_proto(proto)?)
}

#[cfg(test)]
mod tests {
    use rift_models::arch::{ArchSpec, Node, Op, init};
    use rift_models::onnx::GraphIndex;
    use rift_models::onnx::proto::NodeProto;

    use super::*;

    fn print(graph: &Graph) -> Model {
        let metadata = BTreeMap::from([("classes".to_owned(), "[]".to_owned())]);
        lower("network", graph, &init::initialise(graph, 0), &metadata).unwrap()
    }

    #[test]
    fn nodes_are_called_as_the_modules() {
        let graph = ArchSpec::new("resnet8", [3, 32, 32], 10).build().unwrap();
        let model = print(&graph);
        let index = GraphIndex::new(&model).unwrap();
        let names: Vec<&str> = index.nodes().iter().map(NodeProto::name).collect();
        assert_eq!(names[..3], ["normalize.subtract", "normalize", "conv1"]);
        assert_eq!(names.last(), Some(&"linear"));
        assert_eq!(names.len(), graph.nodes.len() + 1);
        assert_eq!(index.nodes()[2].output, ["conv1"]);
        assert_eq!(index.nodes()[2].input, ["normalize", "conv1.weight"]);
        assert_eq!(index.outputs()[0].name(), "logits");
        assert_eq!(model.to_bytes(), print(&graph).to_bytes());
    }

    #[test]
    fn modules_called_as_the_interface_do_not_collide_with_it() {
        let node = |name: &str, op: Op, input| Node { name: name.into(), op, inputs: vec![input] };
        let linear = Op::Linear { in_features: 4, out_features: 4, bias: false };
        let graph = Graph {
            input: [1, 2, 2],
            classes: 4,
            nodes: vec![
                node("input", Op::Flatten, Value::Input),
                node("logits", linear.clone(), Value::Node(0)),
                node("logits.weight", Op::Relu, Value::Node(1)),
                node("logits.inner", Op::Relu, Value::Node(2)),
                node("end", linear, Value::Node(3)),
            ],
        };
        let model = print(&graph);
        let index = GraphIndex::new(&model).unwrap();
        let made: Vec<&str> = index.nodes().iter().map(|node| node.output[0].as_str()).collect();
        assert_eq!(
            made,
            ["input_1", "logits.inner", "logits.weight_1", "logits.inner_1", "logits"]
        );
        assert!(index.constant("logits.weight").is_some());
    }

    #[test]
    fn refuses_tensors_of_another_network() {
        let [graph, other] = [[3, 32, 32], [1, 32, 32]]
            .map(|input| ArchSpec::new("resnet8", input, 10).build().unwrap());
        let error = lower("n", &graph, &init::initialise(&other, 0), &BTreeMap::new()).unwrap_err();
        assert!(matches!(error, LowerError::Tensors(_)));
        let empty = Graph { nodes: Vec::new(), ..graph };
        let error = lower("n", &empty, &TensorMap::new(), &BTreeMap::new()).unwrap_err();
        assert!(matches!(error, LowerError::Empty));
    }
}
