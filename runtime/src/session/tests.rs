//! Classifiers and pools on small models built here.

use std::path::PathBuf;

use ndarray::{Array2, Array4, Axis, concatenate};
use prost::Message;
use rift_models::onnx::Model;
use rift_models::onnx::proto::StringStringEntryProto;

use super::{Classifier, Pool, Precaution, SessionError, SessionOptions, spread};
use crate::small_models::{
    CLASSES, INPUT, NAMES, bundle, channels_last, conv_net, image_to_image, images, linear_net,
    numbers, positions_net,
};

fn written(model: &Model) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    model.write(&path).unwrap();
    (folder, path)
}

fn logits(
    classifier: &Classifier,
    images: &Array4<f32>,
    threads: usize,
    batch: usize,
) -> Array2<f32> {
    let options = SessionOptions { threads, batch };
    let mut pool = Pool::new(classifier, &options, images.len_of(Axis(0))).unwrap();
    pool.logits(&images.view()).unwrap()
}

#[test]
fn knows_a_bare_classifier() {
    let (_folder, path) = written(&conv_net(None));
    let classifier = Classifier::open(&path).unwrap();
    assert_eq!(classifier.input(), INPUT);
    assert_eq!(classifier.classes(), CLASSES);
    assert_eq!(classifier.class_names().unwrap(), NAMES);
    assert_eq!(classifier.class_name(2), "frog");
    assert_eq!(classifier.precautions(), [Precaution::NoBundle]);
    assert_eq!(classifier.fixed_batch(), None);
}

#[test]
fn what_lies_beside_a_model_is_part_of_it() {
    let mut proto = conv_net(None).into_proto();
    let weight = &mut proto.graph.as_mut().unwrap().initializer[0];
    let raw = weight.raw_data.take().unwrap();
    let (key, value) = (Some("location".to_owned()), Some("model.onnx.data".to_owned()));
    weight.external_data = vec![StringStringEntryProto { key, value }];
    weight.data_location = Some(1);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, proto.encode_to_vec()).unwrap();
    let data = path.with_file_name("model.onnx.data");
    std::fs::write(&data, &raw).unwrap();
    let split = Classifier::open(&path).unwrap();
    let (_folder, whole) = written(&conv_net(None));
    let whole = Classifier::open(&whole).unwrap();
    assert_eq!((split.model(), split.digest()), (whole.model(), whole.digest()));
    let pixels = images(3);
    assert_eq!(logits(&split, &pixels, 1, 2), logits(&whole, &pixels, 1, 2));
    std::fs::write(&data, vec![0; raw.len()]).unwrap();
    assert_ne!(Classifier::open(&path).unwrap().digest(), whole.digest());
    std::fs::write(&data, &raw[1..]).unwrap();
    let error = Classifier::open(&path).unwrap_err();
    assert!(matches!(error, SessionError::Onnx { .. }), "{error}");
}

#[test]
fn holds_a_bundle_against_its_card() {
    let folder = tempfile::tempdir().unwrap();
    let path = bundle(folder.path(), &conv_net(None));
    let classifier = Classifier::open(&path).unwrap();
    assert_eq!(classifier.bundle().unwrap().card.name, "small");
    assert!(classifier.precautions().is_empty());
    let model = path.join("model.onnx");
    let mut bytes = std::fs::read(&model).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&model, bytes).unwrap();
    let error = Classifier::open(&path).unwrap_err();
    assert!(matches!(error, SessionError::Bundle(_)) && error.to_string().contains("was changed"));
}

#[test]
fn what_is_no_classifier_is_said_to_be_none() {
    let (_folder, path) = written(&image_to_image());
    let message = Classifier::open(&path).unwrap_err().to_string();
    assert!(
        message.contains("is not an image classifier") && message.contains("relu"),
        "{message}"
    );
    std::fs::write(&path, b"GIF89a").unwrap();
    assert!(matches!(Classifier::open(&path), Err(SessionError::Onnx { .. })));
    let nothing = path.with_file_name("nothing.onnx");
    assert!(matches!(Classifier::open(&nothing), Err(SessionError::Read { .. })));
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(Classifier::open(empty.path()), Err(SessionError::Bundle(_))));
}

#[test]
fn channels_last_are_the_same_to_whoever_asks() {
    let (_folder, path) = written(&channels_last());
    let classifier = Classifier::open(&path).unwrap();
    assert_eq!((classifier.input(), classifier.dims()), (INPUT, [8, 8, 3]));
    assert_eq!(classifier.interface().unwrap().layout, classifier.layout());
    let first = logits(&classifier, &images(9), 2, 4);
    let turned = images(9).permuted_axes([0, 2, 3, 1]).as_standard_layout().into_owned();
    let flat = turned.into_shape_with_order((9, 192)).unwrap();
    let (_folder, path) = written(&conv_net(None));
    assert_eq!(Classifier::open(&path).unwrap().dims(), INPUT);
    // What the model computes of the numbers in its own order.
    let weight = Array2::from_shape_vec((CLASSES, 192), numbers(5, CLASSES * 192, 0.5)).unwrap();
    let bias = ndarray::Array1::from(numbers(6, CLASSES, 0.1));
    let expected = flat.dot(&weight.t()) + bias;
    assert!((&first - &expected).iter().all(|difference| difference.abs() < 1e-4));
}

#[test]
fn a_softmax_is_a_precaution() {
    let (_folder, path) = written(&conv_net(Some("Softmax")));
    let classifier = Classifier::open(&path).unwrap();
    assert!(classifier.precautions().contains(&Precaution::Softmax));
}

#[test]
fn logits_depend_neither_on_the_batch_nor_on_the_threads() {
    for model in [conv_net(None), linear_net(), positions_net()] {
        let (_folder, path) = written(&model);
        let classifier = Classifier::open(&path).unwrap();
        let images = images(37);
        let first = logits(&classifier, &images, 1, 16);
        assert_eq!(first.dim(), (37, CLASSES));
        assert!(first.iter().all(|logit| logit.is_finite()));
        for (threads, batch) in [(1, 1), (2, 1), (1, 2), (3, 5), (2, 8), (1, 13), (2, 64)] {
            assert_eq!(first, logits(&classifier, &images, threads, batch), "{threads} {batch}");
        }
        let halves = [
            images.slice_axis(Axis(0), (20..37).into()),
            images.slice_axis(Axis(0), (0..20).into()),
        ];
        let turned = logits(&classifier, &concatenate(Axis(0), &halves).unwrap(), 2, 16);
        assert_eq!(first.row(0), turned.row(17));
        assert_eq!(first.row(36), turned.row(16));
    }
}

#[test]
fn images_of_another_shape_are_refused() {
    let (_folder, path) = written(&linear_net());
    let classifier = Classifier::open(&path).unwrap();
    let mut pool = Pool::new(&classifier, &SessionOptions::default(), 1).unwrap();
    let error = pool.logits(&Array4::zeros((1, 3, 9, 8)).view()).unwrap_err();
    assert!(error.to_string().contains("found [3, 9, 8]"), "{error}");
}

#[test]
fn spread_keeps_the_order_and_stops_at_an_error() {
    let mut workers = [0, 0, 0];
    let squares = spread(&mut workers, 10, 3, |_, rows| {
        Ok::<_, String>(rows.map(|row| row * row).collect::<Vec<_>>())
    });
    assert_eq!(squares.unwrap().concat(), (0..10).map(|i| i * i).collect::<Vec<_>>());
    let failing = spread(&mut workers, 1000, 1, |done, rows| {
        *done += 1;
        if rows.start >= 5 { Err(rows.start) } else { Ok(()) }
    });
    assert!(failing.unwrap_err() >= 5);
    assert!(workers.iter().sum::<i32>() < 1000);
    let nothing = spread(&mut workers, 0, 4, |_, _| Ok::<_, String>(()));
    assert!(nothing.unwrap().is_empty());
}
