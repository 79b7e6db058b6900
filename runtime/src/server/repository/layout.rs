//! What lies in a model repository.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rift_models::artifact::Bundle;

use super::text::{self, Value};

/// The file of a model's settings.
const CONFIG: &str = "config.pbtxt";
/// The largest file of settings, in bytes.
const LARGEST_CONFIG: u64 = 1 << 20;

/// What is asked for of one model.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Its versions that are to be served, the oldest first.
    pub(super) versions: BTreeMap<u64, Found>,
}

/// A version as it lies on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The bundle or the file.
    pub(super) path: PathBuf,
    /// What changes when the file does.
    pub(super) print: Fingerprint,
}

/// Of each file in a version's folder, in the order of their names, what tells it from another one.
pub(super) type Fingerprint = Vec<Print>;

/// A file's name, length, time of change and, where there is one, its number.
type Print = (OsString, u64, Option<SystemTime>, u64);

/// Every model of the repository, with what is wrong with it where something is.
pub(super) fn scan(folder: &Path) -> io::Result<BTreeMap<String, Result<Wanted, String>>> {
    let mut models = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if path.is_dir() && is_name(name) {
            models.insert(name.to_owned(), model(&path, name));
        }
    }
    Ok(models)
}

/// What is asked for of the model `name`.
pub(super) fn one(folder: &Path, name: &str) -> Result<Wanted, String> {
    if has(folder, name) {
        return model(&folder.join(name), name);
    }
    Err(format!("`{}` has no folder of that name", folder.display()))
}

/// Whether there is a folder for the model `name`.
pub(super) fn has(folder: &Path, name: &str) -> bool {
    is_name(name) && folder.join(name).is_dir()
}

/// Letters, digits, `.`, `_` and `-`; no way out of the folder, nothing hidden.
fn is_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !name.is_empty() && !name.starts_with('.') && name.chars().all(is_plain)
}

fn model(folder: &Path, name: &str) -> Result<Wanted, String> {
    let settings = Settings::read(&folder.join(CONFIG), name)?;
    let mut versions = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(|error| error.to_string())? {
        let path = entry.map_err(|error| error.to_string())?.path();
        // As Triton does: other folders are none of its business.
        let number = path.file_name().and_then(|name| name.to_str());
        let number = number.filter(|name| !name.starts_with(['0', '+']));
        let Some(number) = number.and_then(|name| name.parse().ok()) else { continue };
        if let Some(found) = version(&path, &settings.file) {
            versions.insert(number, found);
        }
    }
    if versions.is_empty() {
        return Err(format!("it has no version with a `{}`", settings.file));
    }
    settings.policy.choose(&mut versions);
    Ok(Wanted { versions })
}

/// The version in `folder`, if its file is there; a bundle where a card says so.
fn version(folder: &Path, file: &str) -> Option<Found> {
    let (model, card) = (folder.join(file), folder.join(Bundle::CARD));
    if !model.is_file() {
        return None;
    }
    let is_bundle = file == Bundle::MODEL && card.is_file();
    let path = if is_bundle { folder.to_owned() } else { model };
    // What the first look found wrong, any file that comes later may mend: a signature covers all.
    Some(Found { path, print: prints(folder).unwrap_or_default() })
}

fn prints(folder: &Path) -> io::Result<Fingerprint> {
    let mut prints = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        prints.extend(print(&entry.path(), entry.file_name()));
    }
    prints.sort();
    Ok(prints)
}

/// Nothing for what is no file, or is gone by now.
fn print(file: &Path, name: OsString) -> Option<Print> {
    let metadata = fs::metadata(file).ok().filter(fs::Metadata::is_file)?;
    #[cfg(unix)]
    let number = std::os::unix::fs::MetadataExt::ino(&metadata);
    #[cfg(not(unix))]
    let number = 0;
    Some((name, metadata.len(), metadata.modified().ok(), number))
}

/// Which versions are served.
#[derive(Debug, PartialEq, Eq)]
enum Policy {
    Latest(usize),
    All,
    Specific(Vec<u64>),
}

impl Policy {
    fn choose(&self, versions: &mut BTreeMap<u64, Found>) {
        match self {
            Self::All => {}
            Self::Latest(count) => {
                while versions.len() > *count {
                    versions.pop_first();
                }
            }
            Self::Specific(numbers) => versions.retain(|number, _| numbers.contains(number)),
        }
    }
}

/// What of Triton's settings says which file is served; the others are about how Triton runs it.
#[derive(Debug, PartialEq, Eq)]
struct Settings {
    file: String,
    policy: Policy,
}

impl Settings {
    fn read(path: &Path, name: &str) -> Result<Self, String> {
        let fail = |why: String| format!("`{}`: {why}", path.display());
        match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Self::of(&Value::Message(Vec::new()), name);
            }
            Err(error) => return Err(fail(error.to_string())),
            Ok(metadata) if metadata.len() > LARGEST_CONFIG => {
                let found = metadata.len();
                return Err(fail(format!("{found} bytes, expected at most {LARGEST_CONFIG}")));
            }
            Ok(_) => {}
        }
        let text = fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
        let value = text::parse(&text).map_err(fail)?;
        Self::of(&value, name).map_err(fail)
    }

    fn of(config: &Value, name: &str) -> Result<Self, String> {
        let scalar = |field| config.one(field).and_then(Value::scalar).filter(|s| !s.is_empty());
        if let Some(other) = scalar("name").filter(|other| *other != name) {
            return Err(format!("expected the name `{name}` of its folder, found `{other}`"));
        }
        for field in ["backend", "platform"] {
            if let Some(other) = scalar(field).filter(|other| !other.starts_with("onnxruntime")) {
                return Err(format!("expected the {field} `onnxruntime`, found `{other}`"));
            }
        }
        let file = scalar("default_model_filename").unwrap_or(Bundle::MODEL);
        if !is_name(file) {
            return Err(format!("expected the name of a file, found `{file}`"));
        }
        Ok(Self { file: file.to_owned(), policy: policy(config)? })
    }
}

fn policy(config: &Value) -> Result<Policy, String> {
    let Some(policy) = config.one("version_policy") else { return Ok(Policy::Latest(1)) };
    let number = |value: &Value| {
        let text = value.scalar().unwrap_or_default();
        text.parse::<u64>().map_err(|_| format!("expected a version's number, found `{text}`"))
    };
    if policy.one("all").is_some() {
        return Ok(Policy::All);
    }
    if let Some(specific) = policy.one("specific") {
        let numbers = specific.all("versions").into_iter().map(number);
        return Ok(Policy::Specific(numbers.collect::<Result<_, _>>()?));
    }
    let count = policy.one("latest").and_then(|latest| latest.one("num_versions"));
    let count = count.map_or(Ok(1), number)?.max(1);
    Ok(Policy::Latest(usize::try_from(count).unwrap_or(usize::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Result<Settings, String> {
        Settings::of(&text::parse(text).unwrap(), "m")
    }

    #[test]
    fn settings_say_which_file_and_which_versions() {
        let latest = |count| Policy::Latest(count);
        for (text, expected) in [
            ("", latest(1)),
            ("name: \"m\" backend: \"onnxruntime\"", latest(1)),
            ("version_policy: { latest { num_versions: 2 } }", latest(2)),
            ("version_policy { all { } }", Policy::All),
            ("version_policy: { specific: { versions: [ 1, 4 ] } }", Policy::Specific(vec![1, 4])),
            (
                "version_policy: { specific { versions: 1 versions: 4 } }",
                Policy::Specific(vec![1, 4]),
            ),
        ] {
            assert_eq!(settings(text).unwrap().policy, expected, "{text}");
        }
        assert_eq!(settings("default_model_filename: \"a.onnx\"").unwrap().file, "a.onnx");
    }

    #[test]
    fn settings_for_others_are_refused() {
        for (text, expected) in [
            ("name: \"n\"", "found `n`"),
            ("platform: \"tensorrt_plan\"", "found `tensorrt_plan`"),
            ("default_model_filename: \"../../etc/passwd\"", "the name of a file"),
            ("version_policy { specific { versions: [ x ] } }", "a version's number"),
        ] {
            let message = settings(text).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn versions_are_folders_with_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let put = |path: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"x").unwrap();
        };
        for path in ["m/1/model.onnx", "m/9/model.onnx", "m/10/model.onnx", "m/010/model.onnx"] {
            put(path);
        }
        put("m/11/other.onnx");
        put("m/notes/model.onnx");
        put(".hidden/1/model.onnx");
        put("empty/README");
        put("m/10/card.json");
        let models = scan(folder.path()).unwrap();
        assert_eq!(models.keys().collect::<Vec<_>>(), ["empty", "m"]);
        let versions = &models["m"].as_ref().unwrap().versions;
        assert_eq!(versions.keys().collect::<Vec<_>>(), [&10]);
        assert_eq!(versions[&10].path, folder.path().join("m/10"));
        assert!(models["empty"].as_ref().unwrap_err().contains("no version"));
        assert!(one(folder.path(), "../m").is_err());
    }
}
