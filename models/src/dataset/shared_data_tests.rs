//! The readers on real data, where it lies beside the repository.

use std::path::PathBuf;

use super::{Dataset, Request, Split};

/// A folder of the shared data, or a word on standard error that the test is skipped.
fn shared(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data")).join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: `{}` is not there", path.display());
    None
}

fn close(found: &[f32], expected: [f32; 3]) {
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 6e-5, "{found} {expected}");
    }
}

#[test]
fn cifar10_test_images_have_the_published_statistics() {
    let Some(path) = shared("cifar10") else { return };
    let images = Dataset::open(&path, &Request::new(Split::Test)).unwrap();
    assert_eq!((images.len(), images.input(), images.class_count()), (10_000, [3, 32, 32], 10));
    assert_eq!((images.classes[0].as_str(), images.classes[9].as_str()), ("airplane", "truck"));
    let (mean, std) = images.mean_and_std();
    close(&mean, [0.4942, 0.4851, 0.4504]);
    close(&std, [0.2467, 0.2429, 0.2616]);
}

#[test]
fn cifar10_splits_add_up() {
    let Some(path) = shared("cifar10") else { return };
    let train = Dataset::open(&path, &Request::new(Split::Train)).unwrap();
    let validation = Dataset::open(&path, &Request::new(Split::Validation)).unwrap();
    assert_eq!((train.len(), validation.len()), (49_000, 1_000));
    for class in 0..10 {
        assert_eq!(validation.labels.iter().filter(|label| **label == class).count(), 100);
    }
    let few = Dataset::open(&path, &Request::new(Split::Train).limit(70)).unwrap();
    assert_eq!(few.labels, train.labels[..70]);
    assert_eq!(few.batch(0..70), train.batch(0..70));
    assert_ne!(few.digest, train.digest);
}

#[test]
fn cifar100_has_its_hundred_classes() {
    let Some(path) = shared("cifar-100-binary") else { return };
    for (split, images, each) in
        [(Split::Train, 9_500, 95), (Split::Validation, 500, 5), (Split::Test, 2_000, 20)]
    {
        let found = Dataset::open(&path, &Request::new(split)).unwrap();
        assert_eq!((found.len(), found.input(), found.class_count()), (images, [3, 32, 32], 100));
        for class in 0..100 {
            assert_eq!(found.labels.iter().filter(|label| **label == class).count(), each);
        }
    }
}

#[test]
fn tiny_imagenet_validation_labels_are_the_annotated_ones() {
    let Some(path) = shared("tiny-imagenet-200") else { return };
    let test = Dataset::open(&path, &Request::new(Split::Test)).unwrap();
    assert_eq!((test.len(), test.input(), test.class_count()), (1000, [3, 64, 64], 200));
    let read = |name: &str| std::fs::read_to_string(path.join(name)).unwrap();
    let (wnids, annotations) = (read("wnids.txt"), read("val/val_annotations.txt"));
    let mut wnids: Vec<&str> = wnids.lines().collect();
    wnids.sort_unstable();
    // The classes take turns, in the order of the annotations.
    let mut labels = Vec::new();
    for turn in 0..5 {
        for wnid in &wnids {
            let of = annotations.lines().filter(|line| line.split('\t').nth(1) == Some(*wnid));
            labels.push(of.map(|line| (line, *wnid)).nth(turn).unwrap());
        }
    }
    for row in [0, 1, 199, 200, 777, 999] {
        let (line, wnid) = labels[row];
        assert_eq!(wnids[test.labels[row]], wnid);
        let file = path.join("val/images").join(line.split('\t').next().unwrap());
        let picture = image::open(file).unwrap().to_rgb8();
        let image = test.rows(&[row]);
        for (x, y) in [(0, 0), (63, 0), (10, 40)] {
            let pixel = picture.get_pixel(x, y).0;
            for (channel, byte) in pixel.into_iter().enumerate() {
                let found = image[[0, channel, y as usize, x as usize]];
                assert_eq!((found * 255.0).round() as u8, byte);
            }
        }
    }
    assert_eq!(test.classes[0], "goldfish, Carassius auratus");
}

#[test]
fn tiny_imagenet_training_images_are_balanced_in_every_prefix() {
    let Some(path) = shared("tiny-imagenet-200") else { return };
    let train = Dataset::open(&path, &Request::new(Split::Train).limit(400)).unwrap();
    let expected: Vec<usize> = (0..200).chain(0..200).collect();
    assert_eq!((train.labels, train.pixels.shape()[0]), (expected, 400));
}

#[test]
fn several_data_sets_below_one_folder_are_named() {
    let Some(path) = shared("") else { return };
    let error = Dataset::open(&path, &Request::new(Split::Test)).unwrap_err().to_string();
    assert!(error.contains("`cifar-100-binary`, `cifar10/plain_text`, `tiny-imagenet-200`"));
}
