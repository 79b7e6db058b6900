//! The Parquet reader on small files.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use ::parquet::basic::Compression;
use ::parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use ::parquet::file::metadata::KeyValue;
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;
use image::ImageFormat;

use super::class_names::CIFAR100;
use super::test_files::{add, failure, folder, grey, open, png};
use super::{Dataset, Request, Split};

const HUB: &str = "message schema {
    optional group img { optional binary bytes; optional binary path (UTF8); }
    optional int64 label;
}";
const PLAIN: &str = "message schema { required binary image; required int64 fine_label; }";

/// An encoded image and a label; a row without one of them has a null there.
type Row = (Option<Vec<u8>>, Option<i64>);

/// Writes rows in groups of two.
fn write(path: &Path, schema: &str, names: Option<&str>, rows: &[Row]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let metadata =
        names.map(|names| vec![KeyValue::new("huggingface".to_owned(), names.to_owned())]);
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_key_value_metadata(metadata)
        .build();
    let file = File::create(path).unwrap();
    let optional = schema.get_fields()[0].is_group();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).unwrap();
    for rows in rows.chunks(2) {
        let mut group = writer.next_row_group().unwrap();
        let levels = |there: Vec<bool>, defined: i16| -> Vec<i16> {
            there.into_iter().map(|there| if there { defined } else { 0 }).collect()
        };
        let images: Vec<ByteArray> =
            rows.iter().filter_map(|row| row.0.clone()).map(Into::into).collect();
        let image_levels = levels(rows.iter().map(|row| row.0.is_some()).collect(), 2);
        let mut column = group.next_column().unwrap().unwrap();
        let image_levels = optional.then_some(image_levels.as_slice());
        column.typed::<ByteArrayType>().write_batch(&images, image_levels, None).unwrap();
        column.close().unwrap();
        if optional {
            let mut column = group.next_column().unwrap().unwrap();
            let none = vec![1; rows.len()];
            column.typed::<ByteArrayType>().write_batch(&[], Some(&none), None).unwrap();
            column.close().unwrap();
        }
        let labels: Vec<i64> = rows.iter().filter_map(|row| row.1).collect();
        let label_levels = levels(rows.iter().map(|row| row.1.is_some()).collect(), 1);
        let mut column = group.next_column().unwrap().unwrap();
        let label_levels = optional.then_some(label_levels.as_slice());
        column.typed::<Int64Type>().write_batch(&labels, label_levels, None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
    }
    writer.close().unwrap();
}

fn row(value: u8, label: i64) -> Row {
    (Some(png(2, 3, [value, 0, 255])), Some(label))
}

const NAMES: &str =
    r#"{"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}"#;

#[test]
fn the_hubs_layout_with_class_names() {
    let folder = folder(&[]);
    let rows: Vec<Row> = (0..7).map(|i| row(i, i64::from(i % 2))).collect();
    write(&folder.path().join("data/train-00000-of-00002.parquet"), HUB, Some(NAMES), &rows[..3]);
    write(&folder.path().join("data/train-00001-of-00002.parquet"), HUB, Some(NAMES), &rows[3..]);
    write(&folder.path().join("data/validation-0.parquet"), HUB, Some(NAMES), &rows[6..]);
    let request = Request {
        draw: super::ValidationDraw { at_least: 2, ..Default::default() },
        ..Request::new(Split::Train)
    };
    let train = Dataset::open(folder.path(), &request).unwrap();
    assert_eq!((train.len(), train.input(), train.class_count()), (5, [3, 3, 2], 2));
    let validation =
        Dataset::open(folder.path(), &Request { split: Split::Validation, ..request }).unwrap();
    // Each image holds its row as red: together they are all rows, in order.
    let red = |images: &Dataset| -> Vec<u8> {
        images
            .batch(0..images.len())
            .outer_iter()
            .map(|x| (x[[0, 0, 0]] * 255.0).round() as u8)
            .collect()
    };
    let mut all = [red(&train), red(&validation)].concat();
    assert!(
        red(&train).is_sorted()
            && train.labels.iter().zip(red(&train)).all(|(y, x)| *y == usize::from(x % 2))
    );
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3, 4, 5, 6]);
    let test = open(folder.path(), Split::Test).unwrap();
    assert_eq!(
        (red(&test), test.classes.clone()),
        (vec![6], vec!["cat".to_owned(), "dog".to_owned()])
    );
}

#[test]
fn plain_binary_grey_images_without_names() {
    let folder = folder(&[]);
    let image = |value| Some(grey(2, 2, value, ImageFormat::Png));
    let path = folder.path().join("digits.parquet");
    write(&path, PLAIN, None, &[(image(51), Some(3)), (image(255), Some(0)), (image(0), Some(1))]);
    for path in [path, folder.path().to_owned()] {
        let test = open(&path, Split::Test).unwrap();
        assert_eq!((test.labels.as_slice(), test.input()), (&[3, 0, 1][..], [1, 2, 2]));
        assert_eq!(test.classes, ["0", "1", "2", "3"]);
        assert_eq!(test.rows(&[1, 0])[[1, 0, 1, 1]], 0.2);
    }
}

#[test]
fn folders_can_name_the_split() {
    let folder = folder(&[]);
    write(&folder.path().join("default/train/0000.parquet"), PLAIN, None, &[row(1, 0), row(2, 1)]);
    write(&folder.path().join("default/test/0000.parquet"), PLAIN, None, &[row(3, 1)]);
    let (train, test) =
        (open(folder.path(), Split::Train).unwrap(), open(folder.path(), Split::Test).unwrap());
    assert_eq!((train.len(), test.labels.as_slice()), (2, &[1][..]));
    // Without names the classes are those of the labels of both halves.
    write(&folder.path().join("default/test/0000.parquet"), PLAIN, None, &[row(3, 4)]);
    let counts = [Split::Train, Split::Test].map(|split| open(folder.path(), split).unwrap());
    assert_eq!(counts.map(|set| set.class_count()), [5, 5]);
}

#[test]
fn the_hubs_crab_is_a_crab() {
    let folder = folder(&[]);
    let path = folder.path().join("test.parquet");
    let names: Vec<String> = CIFAR100.iter().map(|name| name.replace("crab", "cra")).collect();
    let names = serde_json::json!({ "info": { "features": { "label": { "names": names } } } });
    write(&path, HUB, Some(&names.to_string()), &[row(1, 26)]);
    assert_eq!(open(&path, Split::Test).unwrap().classes, CIFAR100);
}

#[test]
fn what_is_wrong_is_named() {
    let folder = folder(&[]);
    let path = folder.path().join("train.parquet");
    let fails = |rows: &[Row], expected: &str| {
        write(&path, HUB, Some(NAMES), rows);
        let text = failure(folder.path());
        assert!(text.contains(expected), "{text}");
    };
    let good = || row(1, 1);
    fails(&[good(), good(), row(1, 2)], "label `2` in row 2 of `");
    fails(&[good(), row(1, -1)], "out of range, expected 0 to 1");
    fails(&[good(), (good().0, None)], "expected a label in each row, found none in row 1");
    fails(&[good(), good(), good(), (None, Some(0)), good(), good()], "found none in row 3");
    fails(
        &[good(), good(), (Some(b"not a picture".to_vec()), Some(0)), good()],
        "cannot decode the image in row 2 of `",
    );
    fails(
        &[good(), good(), (Some(png(3, 3, [0; 3])), Some(0)), good()],
        "is 3×3×3, expected 3×3×2 as the others",
    );
    fails(&[], "expected images, found no rows");
    let text = open(folder.path(), Split::Test).unwrap_err().to_string();
    assert!(text.contains("`test-*.parquet` or `validation-*.parquet`"), "{text}");
    write(&path, "message schema { required binary text; required int64 label; }", None, &[]);
    assert!(failure(folder.path()).contains("`label` or `fine_label`, found text, label"));
    let whole = {
        write(&path, HUB, Some(NAMES), &[good(), good()]);
        std::fs::read(&path).unwrap()
    };
    for length in [0, 3, 20, whole.len() - 1] {
        add(folder.path(), "train.parquet", &whole[..length]);
        assert!(failure(folder.path()).starts_with("cannot read the Parquet file `"));
    }
}

#[test]
fn damaged_bytes_are_errors_or_other_images_but_never_a_panic() {
    let folder = folder(&[]);
    let path = folder.path().join("test.parquet");
    write(&path, HUB, Some(NAMES), &[row(1, 0), row(2, 1), row(3, 1)]);
    let whole = std::fs::read(&path).unwrap();
    let mut errors = 0;
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        for damage in [0xff, 0x01, 0x80] {
            bytes[at] = whole[at] ^ damage;
            std::fs::write(&path, &bytes).unwrap();
            errors += usize::from(open(&path, Split::Test).is_err());
        }
    }
    assert!(errors > whole.len(), "{errors} of {}", 3 * whole.len());
}
