//! What a pickle makes by calling names.

use super::super::value::{Callable, Object, Storage, Value, View};
use super::{Machine, Result};

/// Weights have four; nothing that is saved has many more.
const MAX_DIMENSIONS: usize = 8;

impl Machine<'_> {
    /// `('storage', FloatStorage, key, device, length)` becomes a storage.
    pub(super) fn persistent(&mut self) -> Result<()> {
        let id = self.pop()?;
        let parts = match self.heap.get(&id) {
            Some(Object::Tuple(parts)) => parts.as_slice(),
            _ => &[],
        };
        let object = match parts {
            [Value::Text(kind), class, Value::Text(key), _, Value::Int(len)]
                if &**kind == "storage" =>
            {
                match (self.heap.get(class), usize::try_from(*len)) {
                    (Some(Object::Callable(Callable::Storage(dtype))), Ok(len)) => {
                        Some(Object::Storage(Storage { dtype: *dtype, key: key.clone(), len }))
                    }
                    // Of numbers of another type.
                    (Some(Object::Foreign(class)), Ok(_)) => Some(Object::Foreign(class.clone())),
                    _ => None,
                }
            }
            _ => None,
        };
        let object = object.ok_or_else(|| self.malformed("a storage of an unknown kind"))?;
        self.push(object);
        Ok(())
    }

    /// A call, or a new object of a class, which comes to the same here.
    pub(super) fn call(&mut self, code: u8) -> Result<()> {
        if code == 0x92 {
            // Arguments by name come last.
            self.pop()?;
        }
        let arguments = self.pop()?;
        let callable = self.pop()?;
        let arguments = match self.heap.get(&arguments) {
            Some(Object::Tuple(items)) => items.as_slice(),
            _ => return Err(self.malformed("arguments that are no tuple")),
        };
        let object = match self.heap.get(&callable) {
            Some(Object::Foreign(foreign)) => Some(Object::Foreign(foreign.clone())),
            Some(Object::Callable(Callable::Inert)) => {
                self.stack.push(Value::Inert);
                return Ok(());
            }
            Some(Object::Callable(callable)) => self.made(*callable, arguments),
            _ => None,
        };
        let object = object.ok_or_else(|| self.malformed("a call that makes no tensor"))?;
        self.push(object);
        Ok(())
    }

    /// What a name of a state dict makes of its arguments.
    fn made(&self, callable: Callable, arguments: &[Value]) -> Option<Object> {
        let first = arguments.first().and_then(|first| self.heap.get(first));
        match (callable, first) {
            // `OrderedDict()`; the pairs of older pickles, `OrderedDict([[key, value], …])`, are
            // not written by any `torch.save` with an archive.
            (Callable::OrderedDict, None) if arguments.is_empty() => Some(Object::Dict(Vec::new())),
            (
                Callable::RebuildTensor | Callable::RebuildParameter,
                Some(Object::Foreign(made_of)),
            ) => Some(Object::Foreign(made_of.clone())),
            (Callable::RebuildTensor, _) => self.view(arguments).map(Object::Tensor),
            (Callable::RebuildParameter, Some(Object::Tensor(view))) => {
                Some(Object::Tensor(view.clone()))
            }
            _ => None,
        }
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

    /// Attributes of a dictionary (`_metadata`), a tensor or something foreign: forgotten.
    pub(super) fn build(&mut self) -> Result<()> {
        self.pop()?;
        let target = self.stack.last().cloned().unwrap_or(Value::Inert);
        match self.heap.get(&target) {
            Some(Object::Dict(_) | Object::Tensor(_) | Object::Foreign(_)) => Ok(()),
            _ => Err(self.malformed("attributes for something that has none")),
        }
    }
}
