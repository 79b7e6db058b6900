//! What the pickle of a state dict can hold, and nothing else.

use std::rc::Rc;

/// How the numbers of a storage are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dtype {
    F64,
    F32,
    F16,
    Bf16,
    /// Whole numbers and booleans: counters, never weights.
    Integer {
        bytes: usize,
    },
}

impl Dtype {
    /// Bytes of one number.
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Integer { bytes } => bytes,
        }
    }
}

/// The numbers behind one or more tensors: an entry of the archive.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Storage {
    pub(super) dtype: Dtype,
    /// The entry's name below `data/`.
    pub(super) key: Rc<str>,
    /// How many numbers it holds.
    pub(super) len: usize,
}

/// A tensor as a window onto a storage; nothing is read yet.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct View {
    pub(super) storage: Storage,
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// The names that a pickle may call, each with a meaning of our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Callable {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    /// `torch.Size` and `torch.device`: made of inert things, inert.
    Inert,
    Storage(Dtype),
}

impl Callable {
    /// The callable with this module and name, if it is one of those of a state dict.
    pub(super) fn named(module: &str, name: &str) -> Option<Self> {
        Some(match (module, name) {
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2") => Self::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => Self::RebuildParameter,
            ("torch", "Size" | "device") => Self::Inert,
            ("torch", storage) => Self::Storage(match storage {
                "DoubleStorage" => Dtype::F64,
                "FloatStorage" => Dtype::F32,
                "HalfStorage" => Dtype::F16,
                "BFloat16Storage" => Dtype::Bf16,
                "LongStorage" => Dtype::Integer { bytes: 8 },
                "IntStorage" => Dtype::Integer { bytes: 4 },
                "ShortStorage" => Dtype::Integer { bytes: 2 },
                "CharStorage" | "ByteStorage" | "BoolStorage" => Dtype::Integer { bytes: 1 },
                _ => return None,
            }),
            _ => return None,
        })
    }
}

/// A value on the machine's stack. Cheap to copy: what is large lives in the [`Heap`].
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// `None`, a boolean, a float or bytes: nothing that a state dict is made of.
    Inert,
    Int(i64),
    Text(Rc<str>),
    Object(usize),
}

/// What lives in the heap.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Object {
    Tuple(Vec<Value>),
    /// A list; its items are no part of a state dict and are forgotten.
    List,
    Dict(Vec<(Value, Value)>),
    Callable(Callable),
    Storage(Storage),
    Tensor(View),
}

/// All objects that a pickle made; they refer to one another by index, so that no chain of
/// references, however deep or circular, is ever followed by recursion.
#[derive(Debug, Default)]
pub(super) struct Heap {
    objects: Vec<Object>,
}

/// The keys under which training scripts keep the weights; where there are a `best` and a `last`, the
/// published figures are of the last (RobustBench's loader).
const WRAPPERS: [&str; 5] = ["state_dict", "model_state_dict", "net", "model", "last"];
/// The key of averaged weights, which are taken where there are no others.
const AVERAGED: &str = "ema_state_dict";
/// How many wrappers are opened, one inside the other.
const DEPTH: usize = 4;

impl Heap {
    pub(super) fn add(&mut self, object: Object) -> Value {
        self.objects.push(object);
        Value::Object(self.objects.len() - 1)
    }

    pub(super) fn get(&self, value: &Value) -> Option<&Object> {
        match value {
            Value::Object(index) => self.objects.get(*index),
            _ => None,
        }
    }

    pub(super) fn get_mut(&mut self, value: &Value) -> Option<&mut Object> {
        match value {
            Value::Object(index) => self.objects.get_mut(*index),
            _ => None,
        }
    }

    fn dict(&self, value: &Value) -> Option<&[(Value, Value)]> {
        match self.get(value)? {
            Object::Dict(items) => Some(items),
            _ => None,
        }
    }

    /// The tensors of the first dictionary that has some, going through [`WRAPPERS`]; or the keys
    /// of the outermost one, for the error.
    pub(super) fn state_dict(&self, root: &Value) -> Result<StateDict, Vec<String>> {
        self.unwrap(root, DEPTH).ok_or_else(|| {
            let items = self.dict(root).unwrap_or_default();
            items.iter().filter_map(|(key, _)| text(key)).take(8).map(str::to_owned).collect()
        })
    }

    fn unwrap(&self, value: &Value, depth: usize) -> Option<StateDict> {
        let items = self.dict(value)?;
        if depth > 0 {
            for wrapper in WRAPPERS {
                let inner = items.iter().find(|(key, _)| text(key) == Some(wrapper));
                if let Some(found) = inner.and_then(|(_, value)| self.unwrap(value, depth - 1)) {
                    return Some(found);
                }
            }
        }
        let mut state = StateDict::default();
        for (key, value) in items {
            match (text(key), self.get(value)) {
                (Some(name), Some(Object::Tensor(view))) => {
                    state.tensors.push((name.to_owned(), view.clone()));
                }
                (Some(name), _) => state.others.push(name.to_owned()),
                (None, _) => {}
            }
        }
        if state.tensors.is_empty() && depth > 0 {
            let inner = items.iter().find(|(key, _)| text(key) == Some(AVERAGED));
            return inner.and_then(|(_, value)| self.unwrap(value, depth - 1));
        }
        (!state.tensors.is_empty()).then_some(state)
    }
}

/// A dictionary that has tensors.
#[derive(Debug, Default)]
pub(super) struct StateDict {
    pub(super) tensors: Vec<(String, View)>,
    /// Keys of what is no tensor.
    pub(super) others: Vec<String>,
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}
