//! A closed machine for the pickles of state dicts.
//!
//! A pickle is a program for a stack machine, and Python's own can call any function there is. This
//! one knows the opcodes that `torch.save` writes and the handful of names in
//! [`Callable`](super::value::Callable). Every other opcode is refused; every other name stands for
//! something [foreign](super::value::Foreign), and so does whatever is made of it, as of the settings
//! and schedulers that lie beside weights. Nothing is ever executed. Each opcode makes at most one
//! object, so memory is bounded by the length of the pickle, and nothing recurses.
//!
//! # References
//! The opcodes are described in Python's `Lib/pickletools.py`.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::value::{Callable, Foreign, Heap, Object, Value};

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
    /// A name in the place of the weights, or one that runs code when Python loads it.
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
            b'N' | 0x88 | 0x89 | b'G' | b'K' | b'M' | b'J' | 0x8a | 0x8b => self.number(code),
            b'X' | 0x8c | 0x8d | b'C' | b'B' | 0x8e | 0x96 => self.string(code),
            b'}' | b']' | 0x8f | b')' | b't' | 0x85..=0x87 => self.container(code),
            0x91 => self.frozen_set(),
            b's' | b'u' | b'a' | b'e' | 0x90 => self.insert(code),
            b'c' | 0x93 => self.global(code),
            b'Q' => self.persistent(),
            b'R' | 0x81 | 0x92 => self.call(code),
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
            0x8a | 0x8b => {
                let length = match code {
                    0x8a => usize::from(self.array::<1>()?[0]),
                    _ => u32::from_le_bytes(self.array()?) as usize,
                };
                let bytes = self.take(length)?;
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
            0x8d | 0x8e | 0x96 => {
                usize::try_from(u64::from_le_bytes(self.array()?)).unwrap_or(usize::MAX)
            }
            _ => u32::from_le_bytes(self.array()?) as usize,
        };
        let bytes = self.take(length)?;
        let value = match code {
            b'C' | b'B' | 0x8e | 0x96 => Value::Inert,
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
            b']' | 0x8f => Object::List,
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

    fn frozen_set(&mut self) -> Result<()> {
        self.pop_mark()?;
        self.stack.push(Value::Inert);
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
            (b'a' | b'e' | 0x90, Some(Object::List)) | (_, Some(Object::Foreign(_))) => Ok(()),
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
        let object = match Callable::named(&module, &name) {
            Some(callable) => Object::Callable(callable),
            None => Object::Foreign(Foreign { module, name }),
        };
        match &object {
            Object::Foreign(foreign) if foreign.is_hostile() => {
                return Err(PickleError::Global { name: foreign.to_string() });
            }
            _ => self.push(object),
        }
        Ok(())
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

mod calls;
#[cfg(test)]
mod tests;
