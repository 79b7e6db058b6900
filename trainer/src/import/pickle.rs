//! A closed machine for the pickles of state dicts.
//!
//! A pickle is a program for a stack machine, and Python's own can call any function there is. This
//! one knows the opcodes that `torch.save` writes and the handful of names in
//! [`Callable`](super::value::Callable); every other opcode and name is refused, nothing is ever
//! executed. Each opcode makes at most one object, so memory is bounded by the length of the
//! pickle, and nothing recurses.
//!
//! # References
//! The opcodes are described in Python's `Lib/pickletools.py`.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::value::{Callable, Heap, Object, Storage, Value, View};

/// A pickle that is not that of a state dict.
#[derive(Debug, thiserror::Error)]
pub enum PickleError {
    /// The pickle ends too early.
    #[error("the pickle is truncated at byte {at}")]
    Truncated {
        /// Where.
        at: usize,
    },
    /// An opcode that no state dict needs.
    #[error("pickle opcode 0x{code:02x} at byte {at} is not one that a state dict needs")]
    Opcode {
        /// The opcode.
        code: u8,
        /// Where.
        at: usize,
    },
    /// A name that no state dict needs: loading it in Python could run any code.
    #[error(
        "the pickle refers to `{name}`, which is no part of a state dict (save \
         `model.state_dict()` alone, with `torch.save`)"
    )]
    Global {
        /// Module and name.
        name: String,
    },
    /// Opcodes in an order that makes no state dict.
    #[error("the pickle is malformed at byte {at}: {reason}")]
    Structure {
        /// Where.
        at: usize,
        /// What is wrong.
        reason: &'static str,
    },
}

/// Weights have four; nothing that is saved has many more.
const MAX_DIMENSIONS: usize = 8;

type Result<T, E = PickleError> = std::result::Result<T, E>;

/// Interprets `bytes`.
///
/// # Errors
/// If the pickle is truncated or holds anything that a state dict does not need.
pub(super) fn interpret(bytes: &[u8]) -> Result<(Heap, Value)> {
    let mut machine = Machine {
        bytes,
        at: 0,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: BTreeMap::new(),
        heap: Heap::default(),
    };
    loop {
        let [code] = machine.array()?;
        if code == b'.' {
            let root = machine.pop()?;
            return Ok((machine.heap, root));
        }
        machine.step(code)?;
    }
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    /// Heights of the stack at the open marks.
    marks: Vec<usize>,
    memo: BTreeMap<usize, Value>,
    heap: Heap,
}

impl Machine<'_> {
    fn step(&mut self, code: u8) -> Result<()> {
        match code {
            // PROTO and FRAME say nothing that we need.
            0x80 => self.take(1).map(|_| ()),
            0x95 => self.take(8).map(|_| ()),
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' => self.pop().map(|_| ()),
            b'1' => self.pop_mark().map(|_| ()),
            b'q' | b'r' | 0x94 => self.remember(code),
            b'h' | b'j' => self.recall(code),
            b'N' | 0x88 | 0x89 | b'G' | b'K' | b'M' | b'J' | 0x8a => self.number(code),
            b'X' | 0x8c | 0x8d | b'C' | b'B' => self.string(code),
            b'}' | b']' | b')' | b't' | 0x85..=0x87 => self.container(code),
            b's' | b'u' | b'a' | b'e' => self.insert(code),
            b'c' | 0x93 => self.global(code),
            b'Q' => self.persistent(),
            b'R' => self.reduce(),
            b'b' => self.build(),
            _ => Err(PickleError::Opcode { code, at: self.at - 1 }),
        }
    }

    fn malformed(&self, reason: &'static str) -> PickleError {
        PickleError::Structure { at: self.at, reason }
    }

    fn take(&mut self, n: usize) -> Result<&[u8]> {
        let end = self.at.checked_add(n).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or(PickleError::Truncated { at: self.at })?;
        let bytes = &self.bytes[self.at..end];
        self.at = end;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let at = self.at;
        self.take(N)?.try_into().map_err(|_| PickleError::Truncated { at })
    }

    fn line(&mut self) -> Result<String> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|b| *b == b'\n');
        let end = end.ok_or(PickleError::Truncated { at: self.at })?;
        let line = String::from_utf8_lossy(&rest[..end]).into_owned();
        self.at += end + 1;
        Ok(line)
    }

    /// Takes the top of the stack, never from below an open mark.
    fn pop(&mut self) -> Result<Value> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.pop() {
            Some(value) if self.stack.len() >= floor => Ok(value),
            _ => Err(self.malformed("the stack is empty")),
        }
    }

    /// Takes all that was put on the stack since the last mark.
    fn pop_mark(&mut self) -> Result<Vec<Value>> {
        let mark = self.marks.pop().ok_or_else(|| self.malformed("there is no mark"))?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn push(&mut self, object: Object) {
        let value = self.heap.add(object);
        self.stack.push(value);
    }

    fn remember(&mut self, code: u8) -> Result<()> {
        let slot = match code {
            b'q' => usize::from(self.array::<1>()?[0]),
            b'r' => u32::from_le_bytes(self.array()?) as usize,
            _ => self.memo.len(),
        };
        let top = self.stack.last().cloned();
        let top = top.ok_or_else(|| self.malformed("the stack is empty"))?;
        self.memo.insert(slot, top);
        Ok(())
    }

    fn recall(&mut self, code: u8) -> Result<()> {
        let slot = match code {
            b'h' => usize::from(self.array::<1>()?[0]),
            _ => u32::from_le_bytes(self.array()?) as usize,
        };
        let value = self.memo.get(&slot).cloned();
        let value = value.ok_or_else(|| self.malformed("nothing was memorised there"))?;
        self.stack.push(value);
        Ok(())
    }

    fn number(&mut self, code: u8) -> Result<()> {
        let value = match code {
            b'K' => Value::Int(i64::from(self.array::<1>()?[0])),
            b'M' => Value::Int(i64::from(u16::from_le_bytes(self.array()?))),
            b'J' => Value::Int(i64::from(i32::from_le_bytes(self.array()?))),
            0x8a => {
                let [length] = self.array()?;
                let bytes = self.take(usize::from(length))?;
                // Larger numbers exist (random seeds), but none of them is a size.
                match two_complement(bytes) {
                    Some(value) => Value::Int(value),
                    None => Value::Inert,
                }
            }
            b'G' => self.take(8).map(|_| Value::Inert)?,
            _ => Value::Inert,
        };
        self.stack.push(value);
        Ok(())
    }

    fn string(&mut self, code: u8) -> Result<()> {
        let length = match code {
            b'C' | 0x8c => usize::from(self.array::<1>()?[0]),
            0x8d => usize::try_from(u64::from_le_bytes(self.array()?)).unwrap_or(usize::MAX),
            _ => u32::from_le_bytes(self.array()?) as usize,
        };
        let bytes = self.take(length)?;
        let value = match code {
            b'C' | b'B' => Value::Inert,
            _ => match std::str::from_utf8(bytes) {
                Ok(text) => Value::Text(text.into()),
                Err(_) => return Err(self.malformed("a text is not valid UTF-8")),
            },
        };
        self.stack.push(value);
        Ok(())
    }

    fn container(&mut self, code: u8) -> Result<()> {
        let object = match code {
            b'}' => Object::Dict(Vec::new()),
            b']' => Object::List,
            b')' => Object::Tuple(Vec::new()),
            b't' => Object::Tuple(self.pop_mark()?),
            _ => {
                let mut items = Vec::new();
                for _ in 0..=(code - 0x85) {
                    items.push(self.pop()?);
                }
                items.reverse();
                Object::Tuple(items)
            }
        };
        self.push(object);
        Ok(())
    }

    fn insert(&mut self, code: u8) -> Result<()> {
        let items = match code {
            b'a' => vec![self.pop()?],
            b's' => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
            _ => self.pop_mark()?,
        };
        let target = self.stack.last().cloned().unwrap_or(Value::Inert);
        match (code, self.heap.get_mut(&target)) {
            (b'a' | b'e', Some(Object::List)) => Ok(()),
            (b's' | b'u', Some(Object::Dict(dict))) if items.len().is_multiple_of(2) => {
                let mut items = items.into_iter();
                while let (Some(key), Some(value)) = (items.next(), items.next()) {
                    dict.push((key, value));
                }
                Ok(())
            }
            _ => Err(self.malformed("items for something that takes none")),
        }
    }

    fn global(&mut self, code: u8) -> Result<()> {
        let (module, name) = if code == b'c' {
            (Rc::from(self.line()?), Rc::from(self.line()?))
        } else {
            let name = self.pop()?;
            match (self.pop()?, name) {
                (Value::Text(module), Value::Text(name)) => (module, name),
                _ => return Err(self.malformed("a name that is no text")),
            }
        };
        let callable = Callable::named(&module, &name)
            .ok_or_else(|| PickleError::Global { name: format!("{module}.{name}") })?;
        self.push(Object::Callable(callable));
        Ok(())
    }

    /// `('storage', FloatStorage, key, device, length)` becomes a storage.
    fn persistent(&mut self) -> Result<()> {
        let id = self.pop()?;
        let storage = match self.heap.get(&id) {
            Some(Object::Tuple(parts)) => match &parts[..] {
                [Value::Text(kind), class, Value::Text(key), _, Value::Int(len)]
                    if &**kind == "storage" =>
                {
                    let class = self.heap.get(class);
                    match (class, usize::try_from(*len)) {
                        (Some(Object::Callable(Callable::Storage(dtype))), Ok(len)) => {
                            Some(Storage { dtype: *dtype, key: key.clone(), len })
                        }
                        _ => None,
                    }
                }
                _ => None,
            },
            _ => None,
        };
        let storage = storage.ok_or_else(|| self.malformed("a storage of an unknown kind"))?;
        self.push(Object::Storage(storage));
        Ok(())
    }

    fn reduce(&mut self) -> Result<()> {
        let arguments = self.pop()?;
        let callable = self.pop()?;
        let arguments = match self.heap.get(&arguments) {
            Some(Object::Tuple(items)) => items.as_slice(),
            _ => return Err(self.malformed("arguments that are no tuple")),
        };
        let result = match self.heap.get(&callable) {
            // `OrderedDict()`; the pairs of older pickles, `OrderedDict([[key, value], …])`, are
            // not written by any `torch.save` with an archive.
            Some(Object::Callable(Callable::OrderedDict)) if arguments.is_empty() => {
                Some(Object::Dict(Vec::new()))
            }
            Some(Object::Callable(Callable::RebuildTensor)) => {
                self.view(arguments).map(Object::Tensor)
            }
            Some(Object::Callable(Callable::RebuildParameter)) => {
                match arguments.first().and_then(|data| self.heap.get(data)) {
                    Some(Object::Tensor(view)) => Some(Object::Tensor(view.clone())),
                    _ => None,
                }
            }
            Some(Object::Callable(Callable::Inert)) => {
                self.stack.push(Value::Inert);
                return Ok(());
            }
            _ => None,
        };
        let result = result.ok_or_else(|| self.malformed("a call that makes no tensor"))?;
        self.push(result);
        Ok(())
    }

    /// `_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks)`.
    fn view(&self, arguments: &[Value]) -> Option<View> {
        let [storage, Value::Int(offset), shape, strides, ..] = arguments else { return None };
        let sizes = |value: &Value| match self.heap.get(value)? {
            // The bound keeps a pickle from multiplying one long shape by many tensors.
            Object::Tuple(items) if items.len() <= MAX_DIMENSIONS => items
                .iter()
                .map(|item| match item {
                    Value::Int(size) => usize::try_from(*size).ok(),
                    _ => None,
                })
                .collect::<Option<Vec<_>>>(),
            _ => None,
        };
        match self.heap.get(storage)? {
            Object::Storage(storage) => Some(View {
                storage: storage.clone(),
                offset: usize::try_from(*offset).ok()?,
                shape: sizes(shape)?,
                strides: sizes(strides)?,
            }),
            _ => None,
        }
    }

    /// Attributes of a dictionary (`_metadata`) or a tensor: forgotten.
    fn build(&mut self) -> Result<()> {
        self.pop()?;
        let target = self.stack.last().cloned().unwrap_or(Value::Inert);
        match self.heap.get(&target) {
            Some(Object::Dict(_) | Object::Tensor(_)) => Ok(()),
            _ => Err(self.malformed("attributes for something that has none")),
        }
    }
}

/// A little-endian number in two's complement of at most eight bytes.
fn two_complement(bytes: &[u8]) -> Option<i64> {
    if bytes.len() > 8 {
        return None;
    }
    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let mut full = [if negative { 0xff } else { 0 }; 8];
    full[..bytes.len()].copy_from_slice(bytes);
    Some(i64::from_le_bytes(full))
}

#[cfg(test)]
mod tests;
