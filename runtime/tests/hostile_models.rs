//! Models made to harm whoever opens them.

use rift_models::onnx::proto::attribute_proto::AttributeType;
use rift_models::onnx::proto::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    StringStringEntryProto, TensorProto, TypeProto, type_proto,
};
use rift_models::onnx::{DataType, Dim, GraphBuilder, Model, attribute};

use super::small_models::{conv_net, linear_net};

/// A classifier behind `front`, which makes of the image what is added to it.
fn behind(front: impl FnOnce(&mut GraphBuilder, &str) -> String) -> Model {
    let mut builder = GraphBuilder::new("hostile", 17);
    let dims = [Dim::free("N"), Dim::Fixed(3), Dim::Fixed(8), Dim::Fixed(8)];
    let image = builder.input("image", DataType::Float, &dims).unwrap();
    let made = front(&mut builder, &image);
    let one = builder.node("ReduceMax", &[&made], vec![attribute::int("keepdims", 0)]);
    let flat = builder.node("Flatten", &[&image], vec![]);
    builder.node_making("logits", "Add", &[&flat, &one], vec![]).unwrap();
    builder.output("logits", DataType::Float, &[Dim::free("N"), Dim::Fixed(192)]);
    builder.finish().unwrap()
}

fn changed(change: impl FnOnce(&mut ModelProto)) -> Vec<u8> {
    use prost::Message;
    let mut proto = conv_net(None).into_proto();
    change(&mut proto);
    proto.encode_to_vec()
}

fn graph(proto: &mut ModelProto) -> &mut GraphProto {
    proto.graph.as_mut().unwrap()
}

/// A tensor of this shape whose numbers are those of `location`.
pub(crate) fn outside(location: &str) -> Vec<u8> {
    let entry = |key: &str, value: &str| StringStringEntryProto {
        key: Some(key.to_owned()),
        value: Some(value.to_owned()),
    };
    changed(|model| {
        let tensor = &mut graph(model).initializer[0];
        tensor.raw_data = None;
        tensor.data_location = Some(1);
        tensor.external_data = vec![entry("location", location), entry("length", "864")];
    })
}

/// One `ConstantOfShape` of these dimensions.
pub(crate) fn constant_of_shape(dims: &[i64]) -> Vec<u8> {
    behind(|builder, _| {
        let shape = builder.integers("shape", dims);
        builder.node("ConstantOfShape", &[&shape], vec![])
    })
    .to_bytes()
}

/// The same, with a shape that only who computes can know.
pub(crate) fn computed_shape(dims: &[i64]) -> Vec<u8> {
    let zeros = vec![0; dims.len()];
    behind(|builder, _| {
        let shape = builder.integers("shape", dims);
        let zeros = builder.integers("zeros", &zeros);
        let sum = builder.node("Add", &[&shape, &zeros], vec![]);
        builder.node("ConstantOfShape", &[&sum], vec![])
    })
    .to_bytes()
}

/// A tensor of `times` the image's dimensions, each: gigabytes, but only when it runs.
pub(crate) fn grows_when_run(times: [i64; 4]) -> Vec<u8> {
    behind(|builder, image| {
        let shape = builder.node("Shape", &[image], vec![]);
        let times = builder.integers("times", &times);
        let large = builder.node("Mul", &[&shape, &times], vec![]);
        builder.node("ConstantOfShape", &[&large], vec![])
    })
    .to_bytes()
}

/// A tensor whose size is what the image shows.
pub(crate) fn size_from_pixels() -> Vec<u8> {
    behind(|builder, image| {
        let brightest = builder.node("ReduceMax", &[image], vec![attribute::int("keepdims", 0)]);
        let many = builder.scalar("many", 1e9);
        let scaled = builder.node("Mul", &[&brightest, &many], vec![]);
        let whole = builder.node("Cast", &[&scaled], vec![attribute::int("to", 7)]);
        let row = builder.integers("row", &[-1]);
        let shape = builder.node("Reshape", &[&whole, &row], vec![]);
        builder.named_node("trigger", "ConstantOfShape", &[&shape], vec![])
    })
    .to_bytes()
}

/// `times` products of two square matrices.
pub(crate) fn works(side: i64, times: usize) -> Vec<u8> {
    behind(|builder, image| {
        // One that depends on the image's size, so that nothing is computed ahead.
        let shape = builder.node("Shape", &[image], vec![]);
        let first = builder.integers("first", &[1]);
        let channels = builder.node("Gather", &[&shape, &first], vec![]);
        let sides = builder.integers("sides", &[side, side]);
        let third = builder.integers("third", &[3]);
        let one = builder.node("Div", &[&channels, &third], vec![]);
        let sides = builder.node("Mul", &[&sides, &one], vec![]);
        let mut value = builder.node("ConstantOfShape", &[&sides], vec![]);
        for _ in 0..times {
            value = builder.node("MatMul", &[&value, &value], vec![]);
        }
        value
    })
    .to_bytes()
}

/// A loop of 2^40 turns.
pub(crate) fn turns() -> Vec<u8> {
    changed(|model| {
        let graph = graph(model);
        let count = (1i64 << 40).to_le_bytes().to_vec();
        graph.initializer.push(TensorProto {
            name: Some("turns".into()),
            data_type: Some(DataType::Int64 as i32),
            raw_data: Some(count),
            ..TensorProto::default()
        });
        let body = AttributeProto {
            name: Some("body".into()),
            r#type: Some(AttributeType::Graph as i32),
            g: Some(GraphProto::default()),
            ..AttributeProto::default()
        };
        graph.node.push(NodeProto {
            name: Some("for_ever".into()),
            op_type: Some("Loop".into()),
            input: vec!["turns".into()],
            output: vec!["end".into()],
            attribute: vec![body],
            ..NodeProto::default()
        });
    })
}

/// A chain of so many nodes.
pub(crate) fn chain(nodes: usize) -> Vec<u8> {
    changed(|model| {
        let graph = graph(model);
        graph.node[0].input[0] = nodes.to_string();
        let link = |at: usize| NodeProto {
            op_type: Some("Relu".into()),
            input: vec![if at == 0 { "image".to_owned() } else { at.to_string() }],
            output: vec![(at + 1).to_string()],
            ..NodeProto::default()
        };
        graph.node.splice(0..0, (0..nodes).map(link));
    })
}

/// A sequence of sequences, `depth` deep.
pub(crate) fn nested(depth: usize) -> Vec<u8> {
    // From the inside out, and by hand: whatever encodes a message of this depth recurses as deep.
    use prost::encoding::bytes::encode;
    let mut heads: Vec<Vec<u8>> = Vec::new();
    let mut length = 0u64;
    for level in 0..2 * depth {
        let field = if level % 2 == 0 { 1 } else { 4 };
        let mut head = vec![field << 3 | 2];
        prost::encoding::encode_varint(length, &mut head);
        length += head.len() as u64;
        heads.push(head);
    }
    let inner: Vec<u8> = heads.into_iter().rev().flatten().collect();
    let mut info = Vec::new();
    encode(2, &inner, &mut info);
    let mut graph = Vec::new();
    encode(13, &info, &mut graph);
    let mut model = linear_net().to_bytes();
    encode(7, &graph, &mut model);
    model
}

/// A model of what no classifier needs: another domain, a function, a sequence.
pub(crate) fn foreign() -> Vec<u8> {
    changed(|model| {
        let node = NodeProto {
            name: Some("mine".into()),
            op_type: Some("Mine".into()),
            domain: Some("com.example".into()),
            ..NodeProto::default()
        };
        model
            .opset_import
            .push(OperatorSetIdProto { domain: Some("com.example".into()), version: Some(1) });
        model.functions.push(FunctionProto { name: Some("f".into()), ..Default::default() });
        let graph = graph(model);
        graph.node.push(node);
        graph.node.push(NodeProto {
            name: Some("dice".into()),
            op_type: Some("RandomNormal".into()),
            ..NodeProto::default()
        });
        graph.value_info.push(rift_models::onnx::proto::ValueInfoProto {
            name: Some("many".into()),
            r#type: Some(TypeProto {
                value: Some(type_proto::Value::SequenceType(Box::default())),
                ..Default::default()
            }),
            ..Default::default()
        });
    })
}

/// An initialiser of more numbers than there are.
pub(crate) fn overflowing(dims: &[i64]) -> Vec<u8> {
    changed(|model| graph(model).initializer[0].dims = dims.to_vec())
}
