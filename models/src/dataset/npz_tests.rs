//! The readers of NumPy's files on small ones.

use std::io::Write;
use std::path::Path;

use zip::write::SimpleFileOptions;

use super::class_names::{CIFAR100, numbered};
use super::test_files::{add, failure, folder, npy, open};
use super::{ClassesError, Dataset, Pixels, Request, Split, ValidationDraw};

/// Writes an archive of arrays.
fn npz(folder: &Path, name: &str, arrays: &[(&str, Vec<u8>)]) {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in arrays {
        writer.start_file(format!("{name}.npy"), SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    add(folder, name, &writer.finish().unwrap().into_inner());
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[test]
fn bytes_with_channels_last() {
    let folder = folder(&[]);
    let values: Vec<u8> = (0..12).collect();
    let classes: Vec<u8> = "catdog".chars().flat_map(|c| (c as u32).to_le_bytes()).collect();
    let arrays = [
        ("x", npy("|u1", "(2, 1, 2, 3)", &values)),
        ("y", npy(">i2", "(2,)", &[0, 1, 0, 0])),
        ("classes", npy("<U3", "(2,)", &classes)),
    ];
    npz(folder.path(), "images.npz", &arrays);
    for path in [folder.path().to_owned(), folder.path().join("images.npz")] {
        let test = open(&path, Split::Test).unwrap();
        assert_eq!((test.labels.as_slice(), test.input()), (&[1, 0][..], [3, 1, 2]));
        assert_eq!(test.classes, ["cat", "dog"]);
        let Pixels::Bytes(bytes) = &test.pixels else { panic!() };
        let stored: Vec<u8> = bytes.iter().copied().collect();
        assert_eq!(stored, [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]);
    }
    // As published sets of generated images name them.
    let [(_, x), (_, y), _] = arrays.clone();
    npz(folder.path(), "generated.npz", &[("image", x), ("label", y)]);
    let generated = open(&folder.path().join("generated.npz"), Split::Test).unwrap();
    assert_eq!((generated.labels.as_slice(), generated.input()), (&[1, 0][..], [3, 1, 2]));
    npz(folder.path(), "train.npz", &arrays);
    assert!(open(folder.path(), Split::Test).unwrap_err().to_string().contains("`test.npz`"));
}

#[test]
fn both_halves_tell_the_classes() {
    let x = || npy("|u1", "(2, 1, 1, 1)", &[1, 2]);
    let y = |labels: &[u8; 2]| npy("|u1", "(2,)", labels);
    let counts = |train: &[u8; 2], test: &[u8; 2]| {
        let folder = folder(&[]);
        npz(folder.path(), "train.npz", &[("x", x()), ("y", y(train))]);
        npz(folder.path(), "test.npz", &[("x", x()), ("y", y(test))]);
        [Split::Train, Split::Test].map(|split| {
            // Two images are too few to cut a validation from.
            let draw = ValidationDraw { fraction: 0.0, at_least: 0, seed: 0 };
            let request = Request { draw, ..Request::new(split) };
            let set = Dataset::open(folder.path(), &request).unwrap();
            assert!(set.counted);
            set.class_count()
        })
    };
    assert_eq!(counts(&[0, 8], &[3, 9]), [10, 10]);
    assert_eq!(counts(&[0, 9], &[3, 8]), [10, 10]);
    // Names of one half are those of the other.
    let folder = folder(&[]);
    let names: Vec<u8> = "abc".chars().flat_map(|c| (c as u32).to_le_bytes()).collect();
    let named = [("x", x()), ("y", y(&[0, 1])), ("classes", npy("<U1", "(3,)", &names))];
    npz(folder.path(), "train.npz", &named);
    for (labels, classes) in [([0, 1], &["a", "b", "c"][..]), ([0, 3], &["0", "1", "2", "3"])] {
        npz(folder.path(), "test.npz", &[("x", x()), ("y", y(&labels))]);
        assert_eq!(open(folder.path(), Split::Test).unwrap().classes, classes);
    }
}

#[test]
fn floats_with_channels_first() {
    let folder = folder(&[]);
    let write = |values: &[f32]| {
        let arrays = [
            ("x", npy("<f4", "(2, 1, 1, 2)", &floats(values))),
            ("y", npy("|u1", "(2,)", &[0, 2])),
        ];
        npz(folder.path(), "a.npz", &arrays);
        open(folder.path(), Split::Test)
    };
    let test = write(&[0.0, 0.25, 0.5, 1.0]).unwrap();
    assert_eq!((test.input(), test.classes.as_slice().len()), ([1, 1, 2], 3));
    assert_eq!(test.batch(0..2).into_raw_vec_and_offset().0, [0.0, 0.25, 0.5, 1.0]);
    let (mean, std) = test.mean_and_std();
    assert!((mean[0] - 0.4375).abs() < 1e-6 && (std[0] - 0.369_755).abs() < 1e-5);
    for (bad, shown) in [(1.5, "1.5"), (-0.1, "-0.1"), (f32::NAN, "NaN")] {
        let text = write(&[0.0, 0.0, 0.5, bad]).unwrap_err().to_string();
        assert!(text.contains(&format!("pixel value `{shown}` in row 1 of `")), "{text}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    let folder = folder(&[]);
    let fails = |x: Vec<u8>, y: Vec<u8>, expected: &str| {
        npz(folder.path(), "a.npz", &[("x", x), ("y", y)]);
        let text = failure(folder.path());
        assert!(text.contains(expected), "{text}");
    };
    let x = || npy("|u1", "(2, 1, 1, 1)", &[1, 2]);
    let y = |bytes: &[u8]| npy("|i1", &format!("({},)", bytes.len()), bytes);
    fails(x(), y(&[0, 1, 1]), "has 3 labels, expected 2, as many as images");
    fails(x(), y(&[0, 255]), "label `-1` in row 1 of `");
    fails(x(), npy("<i8", "(2,)", &[0; 16])[..70].to_vec(), "truncated or damaged");
    fails(x(), npy("<f4", "(2,)", &[0; 8]), "expected labels, integers of one dimension");
    fails(npy("<f8", "(2, 1, 1, 1)", &[0; 16]), y(&[0, 0]), "found f8 of shape [2, 1, 1, 1]");
    // Bytes with the channels first.
    fails(npy("|u1", "(2, 3, 8, 8)", &[0; 384]), y(&[0, 0]), "N×H×W×C");
    let huge = "(18446744073709551615, 18446744073709551615, 1, 1)";
    fails(npy("|u1", huge, &[0]), y(&[0, 0]), "expected an array of shape [18446744073709551615");
    fails(npy("|u1", "(4000000000, 32, 32, 3)", &[0]), y(&[0, 0]), "expected an array of shape");
    fails(npy("|O", "(2,)", &[0]), y(&[0, 0]), "a NumPy header with a plain type");
    npz(folder.path(), "a.npz", &[("images", x())]);
    let expected = "expected arrays `x` and `y`, or `image` and `label`, found `images.npy`";
    assert!(failure(folder.path()).contains(expected));
    add(folder.path(), "a.npz", b"PK\x03\x04 and nothing else");
    assert!(failure(folder.path()).contains("cannot read the archive `"));
}

#[test]
fn corruptions_are_chosen_by_name() {
    let values = vec![7; 10 * 3072];
    let fog = npy("|u1", "(10, 32, 32, 3)", &values);
    let labels: Vec<u8> = (0..10).collect();
    let folder = folder(&[
        ("CIFAR-10-C/fog.npy", &fog),
        ("CIFAR-10-C/snow.npy", &fog),
        ("CIFAR-10-C/labels.npy", &npy("|u1", "(10,)", &labels)),
    ]);
    let text = failure(folder.path());
    assert!(text.ends_with("one `.npy` a corruption, name one of them: `fog.npy`, `snow.npy`"));
    let fog = open(&folder.path().join("CIFAR-10-C/fog.npy"), Split::Test).unwrap();
    assert_eq!((fog.len(), fog.input(), fog.classes[9].as_str()), (10, [3, 32, 32], "truck"));
    std::fs::remove_file(folder.path().join("CIFAR-10-C/labels.npy")).unwrap();
    let text = failure(&folder.path().join("CIFAR-10-C/fog.npy"));
    assert!(text.starts_with("no such file or folder") && text.contains("labels.npy"), "{text}");
}

#[test]
fn counted_classes_may_be_fewer_than_a_networks() {
    let folder = folder(&[]);
    let x = npy("|u1", "(2, 1, 1, 1)", &[1, 2]);
    npz(folder.path(), "a.npz", &[("x", x), ("y", npy("|u1", "(2,)", &[0, 2]))]);
    let counted = open(folder.path(), Split::Test).unwrap();
    for known in [3, 4, 10] {
        counted.check_classes(&numbered(known)).unwrap();
        counted.check_classes(&CIFAR100.map(str::to_owned)[..known]).unwrap();
    }
    let error = counted.check_classes(&numbered(2)).unwrap_err();
    assert_eq!(error, ClassesError::Count { expected: 2, found: 3 });
    // What is made up has as many as it says.
    let made = "synthetic:4x1x8x8".parse().unwrap();
    let made = Dataset::synthetic(&made, &Request::new(Split::Test)).unwrap();
    made.check_classes(&numbered(4)).unwrap();
    assert!(made.check_classes(&numbered(5)).is_err());
}
