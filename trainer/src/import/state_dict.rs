//! Where in a file the weights are.

use std::collections::{BTreeMap, BTreeSet};

use super::value::{Dtype, Foreign, Heap, Object, Value, View};

/// The keys under which training scripts keep the weights; where there are a `best` and a `last`, the
/// published figures are of the last (RobustBench's loader).
const WRAPPERS: [&str; 5] = ["state_dict", "model_state_dict", "net", "model", "last"];
/// The key of averaged weights, which are taken where there are no others.
const AVERAGED: &str = "ema_state_dict";
/// How many wrappers are opened, one inside the other.
const DEPTH: usize = 4;
/// So many keys are named in an error.
const NAMED: usize = 8;
/// So many characters of each are shown.
const SHOWN: usize = 64;

/// A dictionary that has tensors.
#[derive(Debug, Default)]
pub(super) struct StateDict {
    pub(super) tensors: Vec<(String, View)>,
    /// Keys of what is no tensor.
    pub(super) others: Vec<String>,
    /// Those of them that are made of a name which means nothing here, with that name.
    pub(super) foreign: Vec<(String, Foreign)>,
}

impl StateDict {
    /// Whether it has weights. Single numbers and the states of generators lie beside them, too.
    fn has_weights(&self) -> bool {
        self.tensors.iter().any(|(_, view)| {
            !matches!(view.storage.dtype, Dtype::Integer { .. }) && !view.shape.is_empty()
        })
    }
}

/// Why no dictionary is that of the weights.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoState {
    /// None has tensors; the keys of the outermost one.
    None(Vec<String>),
    /// Several have, under these keys, none of which is known.
    Several(Vec<String>),
    /// In their place is something made of this name.
    Foreign(String),
}

impl Heap {
    /// The tensors of the file's dictionary of weights: under one of [`WRAPPERS`], in the outermost
    /// dictionary itself, or under the only key that has some.
    pub(super) fn state_dict(&self, root: &Value) -> Result<StateDict, NoState> {
        let mut search = Search { heap: self, seen: BTreeSet::new() };
        if let Some(found) = search.open(root, DEPTH)? {
            return Ok(found);
        }
        let items = match self.get(root) {
            Some(Object::Dict(items)) => items.as_slice(),
            Some(Object::Foreign(name)) => return Err(NoState::Foreign(name.to_string())),
            _ => &[],
        };
        let state = self.tensors_of(items);
        if state.tensors.is_empty() { Err(self.nothing(items)) } else { Ok(state) }
    }

    fn nothing(&self, items: &[(Value, Value)]) -> NoState {
        let wrapped = items.iter().find_map(|(key, value)| {
            let known = text(key).is_some_and(|key| WRAPPERS.contains(&key) || key == AVERAGED);
            match self.get(value) {
                Some(Object::Foreign(name)) if known => Some(NoState::Foreign(name.to_string())),
                _ => None,
            }
        });
        let keys = items.iter().filter_map(|(key, _)| text(key)).take(NAMED).map(in_short);
        wrapped.unwrap_or_else(|| NoState::None(keys.collect()))
    }

    /// What a dictionary holds; of entries with one key the last, as in Python, so that names take no
    /// more room than in the file.
    fn tensors_of(&self, items: &[(Value, Value)]) -> StateDict {
        let named = items.iter().filter_map(|(key, value)| Some((text(key)?, value)));
        let mut state = StateDict::default();
        for (name, value) in named.collect::<BTreeMap<_, _>>() {
            match self.get(value) {
                Some(Object::Tensor(view)) => state.tensors.push((name.to_owned(), view.clone())),
                Some(Object::Foreign(made_of)) => {
                    state.others.push(name.to_owned());
                    state.foreign.push((name.to_owned(), made_of.clone()));
                }
                _ => state.others.push(name.to_owned()),
            }
        }
        state
    }
}

/// A search for the weights. No dictionary is opened twice, so that its time is bounded by the file,
/// however its dictionaries refer to one another.
struct Search<'a> {
    heap: &'a Heap,
    seen: BTreeSet<usize>,
}

impl Search<'_> {
    fn open(&mut self, value: &Value, depth: usize) -> Result<Option<StateDict>, NoState> {
        let (Value::Object(index), Some(Object::Dict(items))) = (value, self.heap.get(value))
        else {
            return Ok(None);
        };
        if !self.seen.insert(*index) {
            return Ok(None);
        }
        if depth > 0 {
            for wrapper in WRAPPERS {
                if let Some(found) = self.under(items, wrapper, depth)? {
                    return Ok(Some(found));
                }
            }
        }
        let state = self.heap.tensors_of(items);
        if state.has_weights() {
            return Ok(Some(state));
        }
        if depth == 0 {
            return Ok(None);
        }
        match self.under(items, AVERAGED, depth)? {
            Some(found) => Ok(Some(found)),
            None => self.only(items, depth),
        }
    }

    /// The weights under a key.
    fn under(
        &mut self,
        items: &[(Value, Value)],
        wrapper: &str,
        depth: usize,
    ) -> Result<Option<StateDict>, NoState> {
        match items.iter().find(|(key, _)| text(key) == Some(wrapper)) {
            Some((_, value)) => self.open(value, depth - 1),
            None => Ok(None),
        }
    }

    /// The weights under the only key that has some.
    fn only(
        &mut self,
        items: &[(Value, Value)],
        depth: usize,
    ) -> Result<Option<StateDict>, NoState> {
        let (mut keys, mut found) = (Vec::new(), None);
        for (key, value) in items {
            let Some(key) = text(key) else { continue };
            if let Some(state) = self.open(value, depth - 1)? {
                found.get_or_insert(state);
                if keys.len() == NAMED {
                    break;
                }
                keys.push(in_short(key));
            }
        }
        if keys.len() > 1 {
            return Err(NoState::Several(keys));
        }
        Ok(found)
    }
}

/// A key as far as a message has room for it.
fn in_short(key: &str) -> String {
    key.chars().take(SHOWN).collect()
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
