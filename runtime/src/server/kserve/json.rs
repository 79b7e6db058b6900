//! Tensors inside the JSON: one list, or a list of lists.

use std::fmt;

use axum::body::Bytes;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::server::ServeError;
use crate::session::Element;

/// The deepest that lists may lie in lists.
const DEEPEST: usize = 8;

/// `numbers` numbers as the model's input holds them.
pub(super) fn tensor(
    data: &RawValue,
    element: Element,
    numbers: usize,
) -> Result<Vec<u8>, ServeError> {
    // Every number takes two characters at least: no more memory than was sent.
    let room = numbers.min(data.get().len());
    let mut bytes = Vec::with_capacity(room * element.size());
    let count = match element {
        Element::Uint8 => flatten(data, numbers, &mut |value| {
            let is_byte = (0.0..=255.0).contains(&value) && value.fract() == 0.0;
            bytes.push(value as u8);
            is_byte.then_some(()).ok_or("a whole number from 0 to 255")
        })?,
        Element::Float32 => flatten(data, numbers, &mut |value| {
            let narrow = value as f32;
            bytes.extend_from_slice(&narrow.to_le_bytes());
            narrow.is_finite().then_some(()).ok_or("a number that FP32 holds")
        })?,
        Element::Float64 => flatten(data, numbers, &mut |value| {
            bytes.extend_from_slice(&value.to_le_bytes());
            Ok(())
        })?,
        Element::Float16 | Element::Bfloat16 => {
            let what = "numbers of 16 bits cannot be sent as JSON, expected binary data";
            return Err(ServeError::invalid(what));
        }
    };
    if count == numbers {
        Ok(bytes)
    } else {
        Err(ServeError::invalid(format!("expected {numbers} numbers as data, found {count}")))
    }
}

/// `n` pictures, each in base64.
pub(super) fn pictures(data: &RawValue, n: usize) -> Result<Vec<Bytes>, ServeError> {
    let texts: Vec<&str> = serde_json::from_str(data.get()).map_err(|error| {
        ServeError::invalid(format!("expected a list of pictures in base64: {error}"))
    })?;
    if texts.len() != n {
        let found = texts.len();
        return Err(ServeError::invalid(format!("expected {n} pictures as data, found {found}")));
    }
    let decode = |text: &&str| STANDARD.decode(text).map(Bytes::from);
    texts
        .iter()
        .map(decode)
        .collect::<Result<_, _>>()
        .map_err(|error| ServeError::invalid(format!("a picture is not in base64: {error}")))
}

/// Takes the numbers one by one, at most one more than `most`; returns how many there are.
fn flatten(
    data: &RawValue,
    most: usize,
    take: &mut dyn FnMut(f64) -> Result<(), &'static str>,
) -> Result<usize, ServeError> {
    let mut count = 0;
    let list = List { take, count: &mut count, most, depth: DEEPEST };
    let mut deserializer = serde_json::Deserializer::from_str(data.get());
    list.deserialize(&mut deserializer).map_err(|error| {
        ServeError::invalid(format!("the data is not a list of numbers: {error}"))
    })?;
    Ok(count)
}

struct List<'a> {
    take: &'a mut dyn FnMut(f64) -> Result<(), &'static str>,
    count: &'a mut usize,
    most: usize,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for List<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("numbers, or lists of them")
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        *self.count += 1;
        if *self.count > self.most {
            return Err(E::custom(format!("more than {} numbers", self.most)));
        }
        (self.take)(value).map_err(|expected| E::custom(format!("expected {expected}")))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.visit_f64(value as f64)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.visit_f64(value as f64)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Some(depth) = self.depth.checked_sub(1) else {
            return Err(A::Error::custom(format!("lists lie deeper than {DEEPEST}")));
        };
        let Self { take, count, most, .. } = self;
        while list
            .next_element_seed(List { take: &mut *take, count: &mut *count, most, depth })?
            .is_some()
        {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, element: Element, n: usize) -> Result<Vec<u8>, ServeError> {
        tensor(&RawValue::from_string(text.to_owned()).unwrap(), element, n)
    }

    #[test]
    fn nested_and_flat_lists_are_the_same() {
        let flat = of("[1, 2.5, -3e-1, 4]", Element::Float32, 4).unwrap();
        assert_eq!(of("[[1, 2.5], [[-0.3], 4.0]]", Element::Float32, 4).unwrap(), flat);
        assert_eq!(flat[4..8], 2.5f32.to_le_bytes());
        assert_eq!(of("[0, [255]]", Element::Uint8, 2).unwrap(), [0, 255]);
        assert_eq!(of("[0.5]", Element::Float64, 1).unwrap(), 0.5f64.to_le_bytes());
    }

    #[test]
    fn what_is_no_tensor_is_refused() {
        let deep = format!("{}1{}", "[".repeat(9), "]".repeat(9));
        for (text, element, n, part) in [
            ("[1, 2, 3]", Element::Float32, 2, "more than 2"),
            ("[1]", Element::Float32, 2, "found 1"),
            ("[1, \"2\"]", Element::Float32, 2, "list of numbers"),
            ("[1, null]", Element::Float32, 2, "list of numbers"),
            ("{}", Element::Float32, 2, "list of numbers"),
            ("[256]", Element::Uint8, 1, "from 0 to 255"),
            ("[0.5]", Element::Uint8, 1, "from 0 to 255"),
            ("[1e39]", Element::Float32, 1, "that FP32 holds"),
            ("[-1e39]", Element::Float32, 1, "that FP32 holds"),
            ("[1e400]", Element::Float64, 1, "out of range"),
            ("[1]", Element::Float16, 1, "binary"),
            (&deep, Element::Float32, 1, "deeper"),
        ] {
            let message = of(text, element, n).unwrap_err().to_string();
            assert!(message.contains(part), "{text}: {message}");
        }
    }

    #[test]
    fn pictures_are_in_base64() {
        let data = RawValue::from_string(r#"["aGk=", ""]"#.to_owned()).unwrap();
        assert_eq!(pictures(&data, 2).unwrap(), ["hi", ""]);
        assert!(pictures(&data, 1).is_err());
        let data = RawValue::from_string(r#"["%"]"#.to_owned()).unwrap();
        assert!(pictures(&data, 1).unwrap_err().to_string().contains("base64"));
    }
}
