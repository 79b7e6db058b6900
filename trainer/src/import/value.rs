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

/// The names that mean something to a state dict, each with a meaning of our own.
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

/// A name that means nothing here, and whatever a pickle makes of it: a scheduler's counter, the
/// settings of a program. It is never looked up, called or filled; only the name is kept, for messages.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Foreign {
    pub(super) module: Rc<str>,
    pub(super) name: Rc<str>,
}

impl std::fmt::Display for Foreign {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.module, self.name)
    }
}

impl Foreign {
    /// Whether the name runs code or programs that its arguments tell, in Python. Nothing that is saved
    /// of a training refers to these: the file is an attack on whoever loads it there.
    pub(super) fn is_hostile(&self) -> bool {
        let module = self.module.split('.').next().unwrap_or_default();
        match module {
            "os" | "posix" | "nt" | "subprocess" | "pty" | "runpy" => true,
            "builtins" | "__builtin__" => {
                let name: &str = &self.name;
                matches!(name, "eval" | "exec" | "execfile" | "compile" | "__import__" | "open")
            }
            _ => false,
        }
    }
}

/// What lives in the heap.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Object {
    Tuple(Vec<Value>),
    /// A list or set; its items are no part of a state dict and are forgotten.
    List,
    Dict(Vec<(Value, Value)>),
    Callable(Callable),
    Storage(Storage),
    Tensor(View),
    Foreign(Foreign),
}

/// All objects that a pickle made; they refer to one another by index, so that no chain of
/// references, however deep or circular, is ever followed by recursion.
#[derive(Debug, Default)]
pub(super) struct Heap {
    objects: Vec<Object>,
}

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
}
