//! A model repository of NVIDIA's Triton Inference Server.
//!
//! ```text
//! DIR/NAME/config.pbtxt  labels.txt  1/model.onnx
//! ```
//!
//! # References
//! `model_config.proto` of <https://github.com/triton-inference-server/common>.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use rift_models::artifact::atomic::{self, StagedFolder};
use rift_models::artifact::{Bundle, Card};
use rift_models::onnx::proto::ValueInfoProto;
use rift_models::onnx::{DataType, GraphIndex, Model, TensorType};

use super::{LayoutError, identifier};

/// The file by which a folder is known as a model of a repository.
pub const CONFIG: &str = "config.pbtxt";
/// How the configurations that are written here begin: without it a model is somebody else's.
const SIGN: &str = "# Written by rift-exporter.\n";
/// The file of the class names, a line each.
pub const LABELS: &str = "labels.txt";

/// The model's file.
const MODEL: &str = "1/model.onnx";
/// All files of a model, the one by which it is known first.
const FILES: [&str; 3] = [CONFIG, LABELS, MODEL];
/// How the line begins that names the bundle.
const OF_BUNDLE: &str = "# bundle: ";

/// How Triton is to run the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// The most images of one run.
    pub max_batch: usize,
    /// How long an image may wait for others, in microseconds.
    pub queue_delay: u64,
    /// Threads of one run.
    pub threads: usize,
}

/// A model that is ready to be put into a repository.
pub struct Entry {
    target: PathBuf,
    model: Model,
    config: String,
    labels: String,
}

impl Entry {
    /// The model of `bundle`, for the repository `folder`.
    ///
    /// # Errors
    /// If the model's interface is not that of a classifier, the repository has a model of this name
    /// that was not written here or is of another bundle, or the folder cannot be written.
    pub fn new(bundle: &Bundle, folder: &Path, service: Service) -> Result<Self, LayoutError> {
        let name = identifier(&bundle.card.name);
        let model = Model::read(&bundle.model())?;
        let interface = Interface::of(&model, &bundle.path)?;
        let target = folder.join(&name);
        check_older(&target, &bundle.card.name)?;
        let config = config(&name, &interface, service) + &origin(&bundle.card.name);
        Ok(Self { target, model, config, labels: labels(&bundle.card) })
    }

    /// Writes the model, whole or not at all; returns its folder.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(self) -> Result<PathBuf, LayoutError> {
        let staged = StagedFolder::new(&self.target, &FILES)?;
        atomic::write(&staged.path().join(CONFIG), self.config.as_bytes())?;
        atomic::write(&staged.path().join(LABELS), self.labels.as_bytes())?;
        self.model.write(&staged.path().join(MODEL))?;
        staged.commit()?;
        Ok(self.target)
    }
}

/// Whether the model at `target` may be replaced: one that was written here for a bundle of this name.
fn check_older(target: &Path, bundle: &str) -> Result<(), LayoutError> {
    let path = || target.display().to_string();
    if let Ok(config) = std::fs::read_to_string(target.join(CONFIG)) {
        if !config.starts_with(SIGN) {
            return Err(LayoutError::Foreign { path: path() });
        }
        let other = config.lines().find_map(|line| line.strip_prefix(OF_BUNDLE));
        if let Some(other) = other.filter(|other| *other != quoted(bundle)) {
            let (found, expected) = (other.to_owned(), quoted(bundle));
            return Err(LayoutError::OtherBundle { path: path(), found, expected });
        }
    }
    Ok(StagedFolder::check(target, &FILES)?)
}

/// The line that says of which bundle a model is: several names can come to the same identifier.
fn origin(bundle: &str) -> String {
    format!("{OF_BUNDLE}{}\n", quoted(bundle))
}

/// A line for each class: what would end the line is replaced.
fn labels(card: &Card) -> String {
    let line = |name: &String| name.replace(['\n', '\r'], " ") + "\n";
    card.classes.iter().map(line).collect()
}

/// What the model takes and gives, without the number of images.
struct Interface {
    input: (String, Vec<usize>),
    output: (String, Vec<usize>),
}

impl Interface {
    fn of(model: &Model, bundle: &Path) -> Result<Self, LayoutError> {
        let index = GraphIndex::new(model).map_err(rift_models::onnx::OnnxError::from)?;
        let side = |values: &[&ValueInfoProto]| -> Result<(String, Vec<usize>), LayoutError> {
            let wrong = |found: String| LayoutError::Interface {
                bundle: bundle.display().to_string(),
                expected: "one input and one output of float32 with fixed sizes after a free batch",
                found,
            };
            let [value] = values else { return Err(wrong(format!("{} values", values.len()))) };
            let declared = TensorType::of(value).ok_or_else(|| wrong("no type".to_owned()))?;
            let dims: Option<Vec<usize>> = declared
                .dims
                .as_deref()
                .and_then(<[_]>::split_first)
                .filter(|(batch, _)| batch.fixed().is_none())
                .and_then(|(_, rest)| rest.iter().map(rift_models::onnx::Dim::fixed).collect());
            match dims {
                Some(dims) if declared.element == DataType::Float => {
                    Ok((value.name().to_owned(), dims))
                }
                _ => Err(wrong(format!("`{}` {declared}", value.name()))),
            }
        };
        let outputs: Vec<&ValueInfoProto> = index.outputs().iter().collect();
        Ok(Self { input: side(index.inputs())?, output: side(&outputs)? })
    }
}

fn config(name: &str, interface: &Interface, service: Service) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_config(&mut text, name, interface, service);
    text
}

fn write_config(
    text: &mut String,
    name: &str,
    Interface { input, output }: &Interface,
    Service { max_batch, queue_delay, threads }: Service,
) -> std::fmt::Result {
    let dims = |dims: &[usize]| {
        let dims: Vec<String> = dims.iter().map(ToString::to_string).collect();
        format!("[ {} ]", dims.join(", "))
    };
    let (shape, classes) = (dims(&input.1), dims(&output.1));
    let [input, output] = [&input.0, &output.0].map(|name| quoted(name));
    writeln!(text, "{SIGN}name: {}", quoted(name))?;
    writeln!(text, "backend: \"onnxruntime\"\nmax_batch_size: {max_batch}")?;
    writeln!(text, "input [\n  {{ name: {input} data_type: TYPE_FP32 dims: {shape} }}\n]")?;
    writeln!(
        text,
        "output [\n  {{ name: {output} data_type: TYPE_FP32 dims: {classes} label_filename: \
         \"{LABELS}\" }}\n]"
    )?;
    writeln!(text, "dynamic_batching {{\n  max_queue_delay_microseconds: {queue_delay}\n}}")?;
    writeln!(text, "instance_group [\n  {{ count: 1 kind: KIND_CPU }}\n]")?;
    writeln!(text, "version_policy {{ latest {{ num_versions: 1 }} }}")?;
    writeln!(text, "model_warmup [")?;
    let sizes = if max_batch > 1 { vec![1, max_batch] } else { vec![1] };
    for (at, batch) in sizes.iter().enumerate() {
        let comma = if at + 1 < sizes.len() { "," } else { "" };
        writeln!(
            text,
            "  {{\n    name: \"batch of {batch}\"\n    batch_size: {batch}\n    inputs {{\n      \
             key: {input}\n      value {{ data_type: TYPE_FP32 dims: {shape} random_data: true }}\n    \
             }}\n  }}{comma}"
        )?;
    }
    writeln!(text, "]")?;
    writeln!(
        text,
        "parameters {{\n  key: \"intra_op_thread_count\"\n  value {{ string_value: \"{threads}\" }}\n}}"
    )
}

/// A text as protobuf's text format writes it.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    let _ = write!(quoted, "\\{byte:03o}");
                }
            }
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_the_model_takes_and_gives() {
        let interface = Interface {
            input: ("input".to_owned(), vec![3, 32, 32]),
            output: ("logits".to_owned(), vec![10]),
        };
        let service = Service { max_batch: 32, queue_delay: 500, threads: 2 };
        let text = config("resnet20", &interface, service);
        for part in [
            "name: \"resnet20\"\nbackend: \"onnxruntime\"\nmax_batch_size: 32\n",
            "{ name: \"input\" data_type: TYPE_FP32 dims: [ 3, 32, 32 ] }",
            "label_filename: \"labels.txt\"",
            "max_queue_delay_microseconds: 500",
            "name: \"batch of 32\"",
            "string_value: \"2\"",
        ] {
            assert!(text.contains(part), "`{part}` is not in\n{text}");
        }
        let alone = config("m", &interface, Service { max_batch: 1, ..service });
        assert_eq!(alone.matches("batch_size: 1").count(), 2, "{alone}");
    }

    #[test]
    fn texts_are_escaped() {
        assert_eq!(quoted("a\"b\\c\n"), "\"a\\\"b\\\\c\\012\"");
    }
}
