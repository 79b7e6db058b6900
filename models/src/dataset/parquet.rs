//! Parquet files as published on the Hugging Face hub.
//!
//! Images are encoded files (PNG, JPEG …) in a column `img` or `image`, either a struct with a
//! binary field `bytes` or plain binary; labels are integers in `label` or `fine_label`. Class
//! names come from the `huggingface` metadata where there are any. A file belongs to the half that
//! its name (`train-00000-of-00003.parquet`) or its folder's name (`train/0000.parquet`) begins
//! with; `validation` and `valid` serve as the test half where there is no `test`. Files of other
//! names are one labelled part.

use std::fs::{self, File};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use ::parquet::basic::Type as Physical;
use ::parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use ::parquet::data_type::{ByteArray, DataType};
use ::parquet::errors::ParquetError;
use ::parquet::file::reader::{FileReader, SerializedFileReader};

use super::class_names;
use super::error::{DatasetError, Place};
use super::part::{Half, Order, Part};
use super::picture::{self, Shape};
use super::pixels::Pixels;
use super::recognise::{Layout, Listing};

/// The first bytes of a file.
pub(super) const MAGIC: &[u8] = b"PAR1";
/// The most rows that are read: labels compress so well that a small file can hold any number.
const MOST_ROWS: i64 = 1 << 25;
/// The most classes that labels without names may have.
const MOST_CLASSES: usize = 1 << 16;
/// Headers looked at to tell grey data sets from coloured ones.
const SURVEYED: usize = 32;
/// Rows decoded at a time.
const CHUNK: usize = 1024;

/// The files of a data set, by half.
#[derive(Debug)]
pub(super) struct Files {
    train: Vec<PathBuf>,
    test: Vec<PathBuf>,
    /// Of no half: they serve any.
    single: Vec<PathBuf>,
}

/// What the beginning of a name says a file is for.
fn half_of(name: &str) -> Option<&'static str> {
    ["train", "test", "validation", "valid", "val"].into_iter().find(|half| {
        name.strip_prefix(half).is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()))
    })
}

impl Files {
    /// Parquet files in a folder or in its folders `train`, `test`, `validation`.
    pub(super) fn recognise(listing: &Listing) -> Result<Option<Self>, DatasetError> {
        let is_parquet = |name: &&String| {
            Path::new(name).extension().is_some_and(|ext| ext.eq_ignore_ascii_case("parquet"))
        };
        let mut found: Vec<(Option<&'static str>, PathBuf)> = Vec::new();
        for name in listing.files.iter().filter(is_parquet) {
            found.push((half_of(name), listing.join(name)));
        }
        for name in &listing.folders {
            let Some(half) = half_of(name) else { continue };
            let folder = Listing::of(&listing.join(name))?;
            let files = folder.files.iter().filter(is_parquet);
            found.extend(files.map(|file| (Some(half), folder.join(file))));
        }
        let of = |wanted: Option<&str>| -> Vec<PathBuf> {
            let chosen = found.iter().filter(|(half, _)| *half == wanted);
            chosen.map(|(_, path)| path.clone()).collect()
        };
        let first = |names: &[&'static str]| {
            names.iter().map(|half| of(Some(*half))).find(|files| !files.is_empty())
        };
        let train = of(Some("train"));
        let test = first(&["test", "validation", "valid", "val"]).unwrap_or_default();
        let single = if train.is_empty() && test.is_empty() { of(None) } else { Vec::new() };
        Ok((!found.is_empty()).then_some(Self { train, test, single }))
    }

    /// The files of the other half.
    fn others(&self, half: Half) -> &[PathBuf] {
        match half {
            Half::Train => &self.test,
            Half::Test => &self.train,
        }
    }

    /// A single file.
    pub(super) fn of_file(path: &Path) -> Self {
        Self { train: Vec::new(), test: Vec::new(), single: vec![path.to_owned()] }
    }
}

impl Layout for Files {
    fn name(&self) -> &'static str {
        "Parquet"
    }

    fn expected(&self, half: Half) -> String {
        match half {
            Half::Train => "`train-*.parquet`".to_owned(),
            Half::Test => "`test-*.parquet` or `validation-*.parquet`".to_owned(),
        }
    }

    fn is_one_part(&self) -> bool {
        !self.single.is_empty()
    }

    fn part(&self, half: Half) -> Result<Option<Part>, DatasetError> {
        let paths = match half {
            _ if !self.single.is_empty() => &self.single,
            Half::Train => &self.train,
            Half::Test => &self.test,
        };
        let Some(first) = paths.first() else { return Ok(None) };
        let tables = paths.iter().map(|path| Table::open(path)).collect::<Result<Vec<_>, _>>()?;
        let named = class_names_of(&tables[0]).map(class_names::corrected);
        let most = named.as_ref().map_or(MOST_CLASSES, Vec::len);
        let mut labels = Vec::new();
        for table in &tables {
            labels.extend(table.labels(most)?);
        }
        if labels.is_empty() {
            return Err(DatasetError::content(first, "images", "no rows"));
        }
        let (classes, counted) = match named {
            Some(names) => (names, false),
            None => (class_names::numbered(count(&labels, self.others(half))?), true),
        };
        let pixels = Box::new(move |rows: &[usize]| read_pixels(&tables, rows));
        Ok(Some(Part { labels, classes, counted, order: Order::Stored, pixels }))
    }
}

/// How many classes these labels and those in `others` tell of.
fn count(labels: &[usize], others: &[PathBuf]) -> Result<usize, DatasetError> {
    let mut largest = labels.iter().max().copied();
    for path in others {
        let labels = Table::open(path)?.labels(MOST_CLASSES)?;
        largest = largest.max(labels.into_iter().max());
    }
    Ok(largest.map_or(0, |label| label + 1))
}

/// An open file with the two columns that matter.
struct Table {
    path: PathBuf,
    reader: SerializedFileReader<File>,
    image: usize,
    label: usize,
    label_name: String,
    /// The definition levels at which an image and a label are there.
    defined: (i16, i16),
}

impl Table {
    fn open(path: &Path) -> Result<Self, DatasetError> {
        let file = File::open(path).map_err(DatasetError::read(path))?;
        let reader = SerializedFileReader::new(file).map_err(of(path))?;
        let schema = reader.metadata().file_metadata().schema_descr();
        let columns: Vec<String> = schema.columns().iter().map(|c| c.path().string()).collect();
        let find = |names: &[&str]| {
            names.iter().find_map(|name| columns.iter().position(|column| column == name))
        };
        let image = find(&["img.bytes", "image.bytes", "img", "image"]);
        let label = find(&["label", "fine_label"]);
        let (Some(image), Some(label)) = (image, label) else {
            let expected = "columns `img` or `image` and `label` or `fine_label`";
            return Err(DatasetError::content(path, expected, columns.join(", ")));
        };
        let binary = schema.column(image).physical_type() == Physical::BYTE_ARRAY;
        if !binary
            || schema.column(image).max_rep_level() + schema.column(label).max_rep_level() > 0
        {
            return Err(DatasetError::content(path, "one binary image a row", "other columns"));
        }
        let groups = reader.metadata().row_groups().iter();
        let rows: i64 = groups.map(|group| group.num_rows().max(0)).fold(0, i64::saturating_add);
        if !(0..=MOST_ROWS).contains(&rows) {
            let expected = format!("at most {MOST_ROWS} rows");
            return Err(DatasetError::content(path, expected, rows.to_string()));
        }
        check_chunks(path, &reader, [image, label])?;
        let label_name = columns[label].clone();
        let defined = (schema.column(image).max_def_level(), schema.column(label).max_def_level());
        Ok(Self { path: path.to_owned(), reader, image, label, label_name, defined })
    }

    /// The rows in each row group.
    fn groups(&self) -> Vec<usize> {
        let groups = self.reader.metadata().row_groups();
        groups.iter().map(|group| group.num_rows().max(0) as usize).collect()
    }

    fn labels(&self, classes: usize) -> Result<Vec<usize>, DatasetError> {
        let mut labels = Vec::new();
        for (group, rows) in self.groups().into_iter().enumerate() {
            let group = self.reader.get_row_group(group).map_err(of(&self.path))?;
            let column = group.get_column_reader(self.label).map_err(of(&self.path))?;
            let read: Vec<Option<i64>> = match column {
                ColumnReader::Int32ColumnReader(column) => {
                    let read = read_run(&mut Cells::new(column, self.defined.1), rows);
                    read.map(|cells| cells.into_iter().map(|cell| cell.map(i64::from)).collect())
                }
                ColumnReader::Int64ColumnReader(column) => {
                    read_run(&mut Cells::new(column, self.defined.1), rows)
                }
                _ => {
                    let found = format!("another type in `{}`", self.label_name);
                    return Err(DatasetError::content(&self.path, "integer labels", found));
                }
            }
            .map_err(of(&self.path))?;
            for label in read {
                let row = labels.len();
                let Some(label) = label else {
                    let found = format!("none in row {row}");
                    return Err(DatasetError::content(&self.path, "a label in each row", found));
                };
                match usize::try_from(label) {
                    Ok(label) if label < classes => labels.push(label),
                    _ => {
                        let (path, label) = (self.path.clone(), i128::from(label));
                        return Err(DatasetError::Label { path, row, label, classes });
                    }
                }
            }
        }
        Ok(labels)
    }

    /// The encoded images of rising rows of one row group, handed over in chunks with the index of
    /// the first.
    fn images(
        &self,
        group: usize,
        rows: &[usize],
        mut take: impl FnMut(usize, Vec<ByteArray>) -> Result<(), DatasetError>,
    ) -> Result<(), DatasetError> {
        if rows.is_empty() {
            return Ok(());
        }
        let first_row: usize = self.groups()[..group].iter().sum();
        let reader = self.reader.get_row_group(group).map_err(of(&self.path))?;
        let column = reader.get_column_reader(self.image).map_err(of(&self.path))?;
        let ColumnReader::ByteArrayColumnReader(column) = column else {
            return Err(DatasetError::content(&self.path, "binary images", "another type"));
        };
        let mut cells = Cells::new(column, self.defined.0);
        let mut at = 0;
        for (chunk, wanted) in rows.chunks(CHUNK).enumerate() {
            let mut images = Vec::with_capacity(wanted.len());
            for run in wanted.chunk_by(|a, b| a + 1 == *b) {
                guarded(|| cells.column.skip_records(run[0] - at)).map_err(of(&self.path))?;
                at = run[0] + run.len();
                images.extend(read_run(&mut cells, run.len()).map_err(of(&self.path))?);
            }
            let mut found = Vec::with_capacity(images.len());
            for (image, row) in images.into_iter().zip(wanted) {
                found.push(image.ok_or_else(|| {
                    let found = format!("none in row {}", first_row + row);
                    DatasetError::content(&self.path, "an encoded image in each row", found)
                })?);
            }
            take(chunk * CHUNK, found)?;
        }
        Ok(())
    }
}

fn of(path: &Path) -> impl Fn(ParquetError) -> DatasetError + '_ {
    move |source| DatasetError::Parquet { path: path.to_owned(), source }
}

/// Checks that the pages of the columns lie inside the file: the crate panics on negative ranges.
fn check_chunks(
    path: &Path,
    reader: &SerializedFileReader<File>,
    columns: [usize; 2],
) -> Result<(), DatasetError> {
    let length = fs::metadata(path).map_err(DatasetError::read(path))?.len();
    for group in reader.metadata().row_groups() {
        for column in columns.map(|column| group.column(column)) {
            let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
            let end = start.checked_add(column.compressed_size());
            let inside = start >= 0
                && column.compressed_size() >= 0
                && end.is_some_and(|end| end as u64 <= length);
            if !inside {
                let expected = format!("pages inside the file's {length} bytes");
                let found = format!("{} bytes from {start}", column.compressed_size());
                return Err(DatasetError::content(path, expected, found));
            }
        }
    }
    Ok(())
}

/// A column without repetition, read cell by cell.
struct Cells<T: DataType> {
    column: ColumnReaderImpl<T>,
    /// The level at which a cell is not null; levels tell it only where this is above 0.
    defined: i16,
}

impl<T: DataType> Cells<T> {
    fn new(column: ColumnReaderImpl<T>, defined: i16) -> Self {
        Self { column, defined }
    }
}

/// Makes an error of a panic, which the crate answers some damaged pages with.
///
/// The reader is not used again after an error, so a state left half-way is never seen.
fn guarded<T>(read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ParquetError> {
    let damaged = |_| Err(ParquetError::General("a page is damaged".to_owned()));
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(damaged)
}

/// Reads exactly `n` cells.
fn read_run<T: DataType>(
    cells: &mut Cells<T>,
    n: usize,
) -> Result<Vec<Option<T::T>>, ParquetError> {
    let (mut levels, mut values) = (Vec::new(), Vec::new());
    let (read, _, _) =
        guarded(|| cells.column.read_records(n, Some(&mut levels), None, &mut values))?;
    if read != n {
        return Err(ParquetError::General(format!("expected {n} rows, found {read}")));
    }
    if levels.is_empty() {
        return Ok(values.into_iter().map(Some).collect());
    }
    let mut values = values.into_iter();
    let cell = |level: i16| if level == cells.defined { values.next() } else { None };
    Ok(levels.into_iter().map(cell).collect())
}

/// The names in the `huggingface` metadata, `info.features.<label>.names`.
fn class_names_of(table: &Table) -> Option<Vec<String>> {
    let pairs = table.reader.metadata().file_metadata().key_value_metadata()?;
    let text = pairs.iter().find(|pair| pair.key == "huggingface")?.value.as_ref()?;
    let json: serde_json::Value = serde_json::from_str(text).ok()?;
    let names = json["info"]["features"][&table.label_name]["names"].as_array()?;
    let names: Option<Vec<_>> = names.iter().map(|name| name.as_str().map(str::to_owned)).collect();
    names.filter(|names| !names.is_empty())
}

/// Grey where the first images all are; the size is that of the first.
fn survey(table: &Table) -> Result<Shape, DatasetError> {
    let mut survey: Option<Shape> = None;
    let group = table.groups().iter().position(|rows| *rows > 0).unwrap_or(0);
    let rows: Vec<usize> = (0..table.groups()[group].min(SURVEYED)).collect();
    table.images(group, &rows, |_, images| {
        for (row, image) in images.iter().enumerate() {
            let place = Place::Row(table.path.clone(), row);
            let shape = picture::shape(image.data())
                .map_err(|source| DatasetError::Image { place, source })?;
            let survey = survey.get_or_insert(shape);
            survey.channels = survey.channels.max(shape.channels);
        }
        Ok(())
    })?;
    survey.ok_or_else(|| DatasetError::content(&table.path, "images", "no rows"))
}

/// Decodes the given rows, which rise, of all tables.
///
/// Reading is sequential, because clones of a file share their position; decoding, the dear part,
/// is parallel.
fn read_pixels(tables: &[Table], rows: &[usize]) -> Result<Pixels, DatasetError> {
    let full = tables.iter().find(|table| table.groups().iter().any(|rows| *rows > 0));
    let shape = full.map_or(Ok(Shape { channels: 3, height: 0, width: 0 }), survey)?;
    let mut bytes = picture::zeros(rows.len(), shape)?;
    let (mut done, mut first) = (0, 0);
    for table in tables {
        let first_of_table = first;
        for (group, length) in table.groups().into_iter().enumerate() {
            let here = rows[done..].partition_point(|row| *row < first + length);
            let wanted = &rows[done..done + here];
            let inside: Vec<usize> = wanted.iter().map(|row| row - first).collect();
            let out = &mut bytes[done * shape.len()..(done + here) * shape.len()];
            table.images(group, &inside, |start, images| {
                let out = &mut out[start * shape.len()..][..images.len() * shape.len()];
                picture::fill_rows(out, shape, |i, out| {
                    let row = wanted[start + i] - first_of_table;
                    let place = || Place::Row(table.path.clone(), row);
                    picture::decode_into(images[i].data(), shape, place, out)
                })
            })?;
            done += here;
            first += length;
        }
    }
    picture::stack(bytes, rows.len(), shape)
}
