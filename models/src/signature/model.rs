//! The statement about all files of a model: OpenSSF model signing, version 1.0.
//!
//! The predicate lists every file with its SHA-256, in the order of their paths; the subject's
//! digest is the SHA-256 over these digests one after the other. A model is a folder, or a single
//! file, which is then listed as `.`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Difference, Mismatch, Resource, SignatureError, Statement};
use crate::artifact::{Bundle, Digest, DigestBuilder};

/// The type of the predicate.
pub const PREDICATE_TYPE: &str = "https://model_signing/signature/v1.0";
/// How a file that is signed alone is listed.
const ALONE: &str = ".";
/// What version control keeps beside a model, which belongs to no signature.
const VERSION_CONTROL: [&str; 4] = [".git", ".gitattributes", ".github", ".gitignore"];

#[derive(Debug, Deserialize)]
struct Predicate {
    serialization: Serialization,
    resources: Vec<Listed>,
}

#[derive(Debug, Deserialize)]
struct Serialization {
    method: String,
    hash_type: String,
    #[serde(default)]
    ignore_paths: Vec<PathBuf>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Listed {
    algorithm: String,
    digest: String,
    name: String,
}

/// The statement about the model at `path`, a folder or a file, as it is now.
///
/// The signature that may lie in the folder ([`Bundle::SIGNATURE`], or `signature` if that is where it
/// will be) and what version control keeps there are left out.
///
/// # Errors
/// If a file cannot be read, or the folder holds something else than folders and plain files.
pub fn describe(path: &Path, signature: &Path) -> Result<Statement, SignatureError> {
    let mut ignored: BTreeSet<PathBuf> =
        [Bundle::SIGNATURE].iter().chain(&VERSION_CONTROL).map(PathBuf::from).collect();
    ignored.extend(inside(path, signature));
    let Found { files, not_plain } = Found::at(path, &ignored)?;
    if let Some(odd) = not_plain.first() {
        let what = format!("expected plain files, found `{odd}`");
        return Err(SignatureError::Content { path: path.display().to_string(), what });
    }
    let resources: Vec<Listed> = files
        .iter()
        .map(|(name, digest)| Listed {
            algorithm: Resource::ALGORITHM.to_owned(),
            digest: digest.hex().to_owned(),
            name: name_of(name),
        })
        .collect();
    let predicate = json!({
        "resources": resources,
        "serialization": {
            "method": "files",
            "hash_type": Resource::ALGORITHM,
            "allow_symlinks": false,
            "ignore_paths": ignored,
        },
    });
    let mut all = DigestBuilder::default();
    for digest in files.values() {
        all.update(&digest.bytes());
    }
    let subject = Resource::new(model_name(path)?, &all.finish());
    Ok(Statement::new(vec![subject], PREDICATE_TYPE, predicate))
}

/// Whether a statement is about the file itself, where the model is one.
pub fn is_of_a_single_file(statement: &Statement) -> bool {
    let resources = statement.predicate.get("resources").and_then(serde_json::Value::as_array);
    resources.is_some_and(|all| matches!(&all[..], [one] if one["name"] == ALONE))
}

/// Holds the model at `path` against a statement about it; returns the number of files.
///
/// Paths that the statement leaves out are not looked at, except for the files that make a bundle:
/// those are always signed.
///
/// # Errors
/// [`SignatureError::DoesNotHold`] with every file that differs; another one if the statement is not
/// of this kind or a file cannot be read. `signature` names the statement's file.
pub fn compare(
    path: &Path,
    statement: &Statement,
    signature: &Path,
) -> Result<usize, SignatureError> {
    let wrong = |expected, found: String| SignatureError::Format {
        path: signature.display().to_string(),
        expected,
        found,
    };
    if statement.predicate_type != PREDICATE_TYPE {
        return Err(wrong(PREDICATE_TYPE, format!("`{}`", statement.predicate_type)));
    }
    let predicate = Predicate::deserialize(&statement.predicate)
        .map_err(|error| wrong("a list of files", error.to_string()))?;
    let Serialization { method, hash_type, ignore_paths } = predicate.serialization;
    if (method.as_str(), hash_type.as_str()) != ("files", Resource::ALGORITHM) {
        return Err(wrong("files with their sha256", format!("{method} with their {hash_type}")));
    }
    let mut signed = BTreeMap::new();
    let mut all = DigestBuilder::default();
    for Listed { algorithm, digest, name } in &predicate.resources {
        let digest = Digest::from_hex(digest).ok().filter(|_| algorithm == Resource::ALGORITHM);
        let digest = digest.ok_or_else(|| wrong("a sha256", format!("that of `{name}`")))?;
        all.update(&digest.bytes());
        if signed.insert(PathBuf::from(name), digest).is_some() {
            return Err(wrong("each file once", format!("`{name}` twice")));
        }
    }
    if statement.subject.first().and_then(Resource::sha256) != Some(all.finish()) {
        return Err(wrong("the digest of all files", "another".to_owned()));
    }
    let mut ignored: BTreeSet<PathBuf> = ignore_paths.into_iter().collect();
    ignored.extend(VERSION_CONTROL.iter().map(PathBuf::from));
    // The signature cannot be among what it signs.
    ignored.extend(inside(path, signature));
    let differences = differences(&signed, Found::at(path, &ignored)?);
    if differences.is_empty() {
        Ok(signed.len())
    } else {
        Err(SignatureError::DoesNotHold(Mismatch::Files(differences)))
    }
}

/// Whether a statement that [`compare`] has accepted lists a file, by its path below the model, with this
/// digest.
pub fn lists(statement: &Statement, name: &str, digest: &Digest) -> bool {
    let resources = statement.predicate.get("resources").and_then(serde_json::Value::as_array);
    let is_it = |file: &serde_json::Value| file["name"] == name && file["digest"] == digest.hex();
    resources.is_some_and(|all| all.iter().any(is_it))
}

fn differences(signed: &BTreeMap<PathBuf, Digest>, found: Found) -> Vec<Difference> {
    let Found { files, not_plain } = found;
    let mut differences: Vec<Difference> = signed
        .iter()
        .filter_map(|(name, digest)| match files.get(name) {
            None => Some(Difference::Missing(name_of(name))),
            Some(found) if found != digest => Some(Difference::Changed(name_of(name))),
            Some(_) => None,
        })
        .collect();
    let unsigned = files.keys().filter(|name| !signed.contains_key(*name));
    differences.extend(unsigned.map(|name| Difference::Unsigned(name_of(name))));
    differences.extend(not_plain.into_iter().map(Difference::NotPlain));
    differences
}

/// What lies at a path.
struct Found {
    /// The digests of plain files, by their path in the folder.
    files: BTreeMap<PathBuf, Digest>,
    /// Links, devices and names that are no text.
    not_plain: Vec<String>,
}

impl Found {
    fn at(path: &Path, ignored: &BTreeSet<PathBuf>) -> Result<Self, SignatureError> {
        let mut found = Self { files: BTreeMap::new(), not_plain: Vec::new() };
        if path.is_file() {
            found.files.insert(PathBuf::from(ALONE), Digest::of_file(path)?);
        } else {
            found.walk(path, Path::new(""), ignored)?;
        }
        Ok(found)
    }

    fn walk(
        &mut self,
        root: &Path,
        below: &Path,
        ignored: &BTreeSet<PathBuf>,
    ) -> Result<(), SignatureError> {
        let folder = root.join(below);
        let failed = |source| SignatureError::Read { path: folder.display().to_string(), source };
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = below.join(entry.file_name());
            let is_bundles = Bundle::FILES.iter().any(|file| Path::new(file) == name);
            if !is_bundles && ignored.iter().any(|ignored| name.starts_with(ignored)) {
                continue;
            }
            // Of the entry itself: a link is not followed.
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() {
                self.walk(root, &name, ignored)?;
            } else if kind.is_file() && name.to_str().is_some() {
                self.files.insert(name, Digest::of_file(&entry.path())?);
            } else {
                self.not_plain.push(name_of(&name));
            }
        }
        Ok(())
    }
}

/// The path of `file` in `folder`, however the two are spelled; `None` if it is elsewhere.
fn inside(folder: &Path, file: &Path) -> Option<PathBuf> {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new(".")).canonicalize().ok()?;
    let below = parent.strip_prefix(folder.canonicalize().ok()?).ok()?;
    Some(below.join(file.file_name()?))
}

/// A path as it is listed: its parts with `/` between them.
fn name_of(path: &Path) -> String {
    let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
    parts.join("/")
}

/// The last part of a path, also of `.`.
fn model_name(path: &Path) -> Result<String, SignatureError> {
    let last = path.components().next_back();
    let full = match last {
        Some(Component::Normal(_)) => path.to_owned(),
        _ => path
            .canonicalize()
            .map_err(|source| SignatureError::Read { path: path.display().to_string(), source })?,
    };
    let name = full.file_name().map_or_else(|| ALONE.into(), |name| name.to_string_lossy());
    Ok(name.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with a model and what may be left out.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        for name in [Bundle::MODEL, "a/b/c", "a-b", ".gitignore", Bundle::SIGNATURE] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        folder
    }

    fn refusal(path: &Path, statement: &Statement) -> String {
        compare(path, statement, &path.join(Bundle::SIGNATURE)).unwrap_err().to_string()
    }

    #[test]
    fn every_file_is_listed_in_the_order_of_paths() {
        let folder = folder();
        let statement = describe(folder.path(), Path::new("elsewhere.sig")).unwrap();
        let listed = statement.predicate["resources"].as_array().unwrap();
        let names: Vec<&str> = listed.iter().map(|file| file["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["a/b/c", "a-b", "model.onnx"]);
        let signature = folder.path().join(Bundle::SIGNATURE);
        assert_eq!(compare(folder.path(), &statement, &signature).unwrap(), 3);
        let digest = |content: &str| Digest::of_bytes(content.as_bytes());
        assert!(lists(&statement, "a/b/c", &digest("a/b/c")));
        assert!(!lists(&statement, "a/b/c", &digest("a-b")));
        assert!(!lists(&statement, ".gitignore", &digest(".gitignore")));
        fs::write(folder.path().join("a/b/c"), "d").unwrap();
        fs::rename(folder.path().join("a-b"), folder.path().join("a-c")).unwrap();
        let why = "`a/b/c` was changed, `a-b` is missing, `a-c` is not signed";
        assert!(refusal(folder.path(), &statement).ends_with(why));
    }

    #[test]
    fn a_signature_that_leaves_the_model_out_does_not_hold() {
        let folder = folder();
        let mut statement = describe(folder.path(), Path::new("elsewhere.sig")).unwrap();
        let listed = statement.predicate["resources"].as_array_mut().unwrap();
        listed.retain(|file| file["name"] != Bundle::MODEL);
        let mut all = DigestBuilder::default();
        for name in ["a/b/c", "a-b"] {
            all.update(&Digest::of_bytes(name.as_bytes()).bytes());
        }
        statement.subject = vec![Resource::new("m", &all.finish())];
        statement.predicate["serialization"]["ignore_paths"] = json!([Bundle::MODEL, ".", ""]);
        assert!(refusal(folder.path(), &statement).contains("`model.onnx` is not signed"));
    }

    #[test]
    fn statements_that_contradict_themselves_are_refused() {
        let folder = folder();
        let good = describe(folder.path(), Path::new("elsewhere.sig")).unwrap();
        let changed = |change: &dyn Fn(&mut Statement)| {
            let mut statement = good.clone();
            change(&mut statement);
            refusal(folder.path(), &statement)
        };
        let why = changed(&|statement| statement.subject.clear());
        assert!(why.contains("expected the digest of all files"), "{why}");
        let why = changed(&|s| s.predicate["resources"][1] = s.predicate["resources"][0].clone());
        assert!(why.contains("found `a/b/c` twice"), "{why}");
        let why = changed(&|s| s.predicate["serialization"]["hash_type"] = json!("blake3"));
        assert!(why.contains("expected files with their sha256"), "{why}");
        let why = changed(&|statement| statement.predicate_type = "other".to_owned());
        assert!(why.contains("found `other`"), "{why}");
    }
}
