use half::f16;
use ndarray::{ArrayD, arr0, array};

use super::*;
use crate::onnx::proto::NodeProto;
use crate::onnx::{Attributes, DataType, Dim, GraphBuilder, GraphIndex, attribute, tensor};

fn model(opset: i64, build: impl FnOnce(&mut GraphBuilder, &str) -> String) -> Model {
    let mut builder = GraphBuilder::new("old", opset);
    let dims = [Dim::free("N"), Dim::Fixed(2), Dim::Fixed(4), Dim::Fixed(4)];
    let x = builder.input("x", DataType::Float, &dims).unwrap();
    let y = build(&mut builder, &x);
    builder.output(&y, DataType::Float, &dims);
    builder.finish().unwrap()
}

fn operators(model: &Model) -> Vec<&str> {
    model.graph().node.iter().map(NodeProto::op_type).collect()
}

#[test]
fn what_is_plain_is_not_copied() {
    let new = model(18, |b, x| b.node("Relu", &[x], vec![]));
    assert!(matches!(plain(&new).unwrap(), Cow::Borrowed(_)));
    let old = model(6, |b, x| b.node("Relu", &[x], vec![]));
    let error = plain(&old).unwrap_err().to_string();
    assert!(error.contains("operator set 6"), "{error}");
}

#[test]
fn attributes_become_inputs() {
    let old = model(9, |b, x| {
        let bounds = vec![attribute::float("min", 0.0), attribute::float("max", 6.0)];
        let x = b.node("Clip", &[x], bounds);
        let pads = attribute::ints("pads", &[0, 0, 1, 1, 0, 0, 1, 1]);
        let x = b.node("Pad", &[&x], vec![pads]);
        let cut = vec![attribute::ints("starts", &[1, 1]), attribute::ints("ends", &[5, 5])];
        let cut = [cut, vec![attribute::ints("axes", &[2, 3])]].concat();
        let x = b.node("Slice", &[&x], cut);
        b.node("Dropout", &[&x], vec![attribute::float("ratio", 0.5)])
    });
    let lifted = plain(&old).unwrap();
    assert_eq!(lifted.opset(), PLAIN_OPSET);
    assert_eq!(operators(&lifted), ["Clip", "Pad", "Slice", "Dropout"]);
    let index = GraphIndex::new(&lifted).unwrap();
    let whole = |node: usize, slot: usize| {
        let stored = index.constant_input(&index.nodes()[node], slot).unwrap();
        tensor::load_integers(stored).unwrap()
    };
    let number = |node: usize, slot: usize| {
        tensor::load::<f32>(index.constant_input(&index.nodes()[node], slot).unwrap()).unwrap()
    };
    assert_eq!(number(0, 1), arr0(0.0).into_dyn());
    assert_eq!(number(0, 2), arr0(6.0).into_dyn());
    assert_eq!(whole(1, 1), [0, 0, 1, 1, 0, 0, 1, 1]);
    assert_eq!([whole(2, 1), whole(2, 2), whole(2, 3)], [vec![1, 1], vec![5, 5], vec![2, 3]]);
    assert!(lifted.graph().node[0].attribute.is_empty());
    assert!(lifted.graph().node[3].attribute.is_empty());
}

#[test]
fn a_softmax_over_several_dimensions_is_one_over_a_row() {
    let old = model(11, |b, x| b.named_node("y", "Softmax", &[x], vec![]));
    let lifted = plain(&old).unwrap();
    assert_eq!(operators(&lifted), ["Flatten", "Softmax", "Shape", "Reshape"]);
    assert_eq!(lifted.graph().node[3].output, ["y"]);
    let last = model(11, |b, x| b.node("Softmax", &[x], vec![attribute::int("axis", -1)]));
    assert_eq!(operators(&plain(&last).unwrap()), ["Softmax"]);
}

#[test]
fn half_precision_and_bytes_become_float() {
    let mut builder = GraphBuilder::new("half", 18);
    let dims = [Dim::free("N"), Dim::Fixed(2)];
    let x = builder.input("x", DataType::Uint8, &dims).unwrap();
    let half = vec![attribute::int("to", DataType::Float16 as i64)];
    let x = builder.node("Cast", &[&x], half);
    let weight = array![[f16::from_f32(0.5), f16::ONE], [f16::ONE, f16::ONE]];
    let weight = builder.array("weight", &weight);
    let y = builder.node("MatMul", &[&x, &weight], vec![]);
    builder.output(&y, DataType::Float16, &dims);
    let narrow = builder.finish().unwrap();
    let wide = plain(&narrow).unwrap();
    let graph = wide.graph();
    let weight: ArrayD<f32> = tensor::load(&graph.initializer[0]).unwrap();
    assert_eq!(weight, array![[0.5, 1.0], [1.0, 1.0]].into_dyn());
    let elements = [&graph.input[0], &graph.output[0]]
        .map(|info| crate::onnx::TensorType::of(info).unwrap().element);
    assert_eq!(elements, [DataType::Float; 2]);
    assert_eq!(graph.node[0].attribute[0].i(), DataType::Float as i64);
    assert_eq!(plain(&wide).unwrap().into_owned(), wide.into_owned());
}

#[test]
fn a_resize_that_rounds_both_ways_is_two() {
    let resize = |scales: &[f32], mode: &str| {
        let old = model(10, |b, x| {
            let scales = b.floats("scales", scales);
            b.named_node("y", "Resize", &[x, &scales], vec![attribute::string("mode", mode)])
        });
        let lifted = plain(&old).unwrap().into_owned();
        assert_eq!(lifted.graph().node.last().unwrap().output, ["y"]);
        let way = |node: &NodeProto| {
            let way = Attributes::of(node).string("nearest_mode").unwrap();
            format!("{} {}", node.op_type(), way.unwrap_or_default())
        };
        lifted.graph().node.iter().map(way).collect::<Vec<_>>()
    };
    assert_eq!(resize(&[1.0, 1.0, 0.5, 0.5], "nearest"), ["Resize ceil"]);
    assert_eq!(resize(&[1.0, 1.0, 2.0, 1.0], "nearest"), ["Resize floor"]);
    let both = resize(&[1.0, 1.0, 0.5, 2.0], "nearest");
    assert_eq!(both, ["Min ", "Max ", "Resize ceil", "Resize floor"]);
    assert_eq!(resize(&[1.0, 1.0, 0.5, 2.0], "linear").len(), 1);
}

#[test]
fn images_of_bytes_stay_bytes_for_what_needs_them() {
    let readers = |read: &dyn Fn(&mut GraphBuilder, &str) -> String| {
        let mut builder = GraphBuilder::new("bytes", 17);
        let dims = [Dim::free("N"), Dim::Fixed(2)];
        let x = builder.input("x", DataType::Uint8, &dims).unwrap();
        let y = read(&mut builder, &x);
        builder.output(&y, DataType::Float, &dims);
        let wide = plain(&builder.finish().unwrap()).unwrap().into_owned();
        assert!(GraphIndex::new(&wide).is_ok());
        operators(&wide).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let cast = |b: &mut GraphBuilder, x: &str| {
        b.node("Cast", &[x], vec![attribute::int("to", DataType::Float as i64)])
    };
    assert_eq!(readers(&cast), ["Cast"]);
    let turned = readers(&|b, x| {
        let turned = b.node("Identity", &[x], vec![]);
        cast(b, &turned)
    });
    assert_eq!(turned, ["QuantizeLinear", "Identity", "Cast"]);
}

#[test]
fn a_normalisation_that_was_born_deprecated_is_written_out() {
    let grouped = |opset| {
        let new = model(opset, |b, x| {
            let row = b.floats("row", &[1.0, 2.0]);
            let groups = vec![attribute::int("num_groups", 2), attribute::float("epsilon", 0.1)];
            b.named_node("y", "GroupNormalization", &[x, &row, &row], groups)
        });
        let plain = plain(&new).unwrap().into_owned();
        assert_eq!(plain.opset(), opset);
        operators(&plain).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    for opset in [18, 20] {
        assert_eq!(grouped(opset), ["Reshape", "InstanceNormalization", "Shape", "Reshape"]);
    }
    assert_eq!(grouped(21), ["GroupNormalization"]);
}

#[test]
fn quantised_operators_that_do_not_say_their_result_stay() {
    let written = |slots: &[Option<f32>], settings: Vec<_>| {
        let quantised = model(17, |b, x| {
            let mut inputs = vec![x.to_owned()];
            for slot in slots {
                inputs.push(slot.map(|value| b.scalar("how", value)).unwrap_or_default());
            }
            let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
            b.node("QLinearSigmoid", &inputs, settings)
        });
        let mut proto = quantised.into_proto();
        proto.graph.as_mut().unwrap().node[0].domain = Some("com.microsoft".to_owned());
        let quantised = Model::from_proto(proto).unwrap();
        let plain = plain(&quantised).unwrap().into_owned();
        assert!(plain == quantised || plain.graph().node.iter().all(|n| n.domain().is_empty()));
        operators(&plain).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let (there, none) = (Some(1.0), None);
    let all = [there; 4];
    assert_eq!(written(&all, vec![]), ["DequantizeLinear", "Sigmoid", "QuantizeLinear"]);
    assert_eq!(written(&[there, none, there], vec![]), ["QLinearSigmoid"]);
    let last = vec![attribute::int("channels_last", 1)];
    assert_eq!(written(&all, last), ["QLinearSigmoid"]);
}

#[test]
fn what_has_no_counterpart_is_named() {
    let old = model(8, |b, x| {
        let row = b.floats("row", &[1.0, 1.0]);
        let spatial = vec![attribute::int("spatial", 0)];
        b.named_node("odd", "BatchNormalization", &[x, &row, &row, &row, &row], spatial)
    });
    let error = plain(&old).unwrap_err().to_string();
    assert!(error.contains("`odd` (BatchNormalization)"), "{error}");
}
