//! Statements: something that is said of files, which are named by their digests.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::artifact::Digest;

/// A file, or what else has a digest, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// Its name, for people.
    pub name: String,
    /// Its digests by algorithm, in hexadecimal.
    pub digest: BTreeMap<String, String>,
}

impl Resource {
    /// The name of the algorithm of every digest here.
    pub const ALGORITHM: &'static str = "sha256";

    /// A resource of this digest.
    pub fn new(name: impl Into<String>, digest: &Digest) -> Self {
        let digest = (Self::ALGORITHM.to_owned(), digest.hex().to_owned());
        Self { name: name.into(), digest: BTreeMap::from([digest]) }
    }

    /// Its SHA-256, if it has one.
    pub fn sha256(&self) -> Option<Digest> {
        Digest::from_hex(self.digest.get(Self::ALGORITHM)?).ok()
    }
}

/// What is signed: a predicate of some type about some subjects.
///
/// Readers of a statement ignore fields that they do not know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Statement {
    /// [`Statement::TYPE`].
    #[serde(rename = "_type")]
    pub kind: String,
    /// What it is about.
    pub subject: Vec<Resource>,
    /// Which kind of thing is said.
    #[serde(rename = "predicateType")]
    pub predicate_type: String,
    /// What is said.
    pub predicate: Value,
}

impl Statement {
    /// The type of every statement.
    pub const TYPE: &'static str = "https://in-toto.io/Statement/v1";

    /// A statement of `predicate`.
    pub fn new(subject: Vec<Resource>, predicate_type: &str, predicate: Value) -> Self {
        let [kind, predicate_type] = [Self::TYPE, predicate_type].map(str::to_owned);
        Self { kind, subject, predicate_type, predicate }
    }
}
