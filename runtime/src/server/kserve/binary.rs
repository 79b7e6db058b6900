//! Tensors that follow the JSON: little-endian, row by row.

use axum::body::Bytes;

use crate::server::ServeError;

/// The elements of a tensor of `BYTES`: each a length in four bytes, then so many bytes.
pub(super) fn strings(tensor: &Bytes, n: usize) -> Result<Vec<Bytes>, ServeError> {
    let breaks_off = || {
        let found = tensor.len();
        ServeError::invalid(format!("the BYTES tensor of {found} bytes does not hold {n} elements"))
    };
    // An element takes four bytes at least: no more memory than was sent.
    if tensor.len() / 4 < n {
        return Err(breaks_off());
    }
    let mut elements = Vec::with_capacity(n);
    let mut at = 0;
    for _ in 0..n {
        let length = tensor.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        let length = u32::from_le_bytes(length.ok_or_else(breaks_off)?) as usize;
        at += 4;
        if tensor.len() - at < length {
            return Err(breaks_off());
        }
        elements.push(tensor.slice(at..at + length));
        at += length;
    }
    if at == tensor.len() { Ok(elements) } else { Err(breaks_off()) }
}

/// Appends an element of a tensor of `BYTES`.
pub(in crate::server) fn push_string(to: &mut Vec<u8>, element: &str) {
    let length = u32::try_from(element.len()).unwrap_or(u32::MAX);
    to.extend_from_slice(&length.to_le_bytes());
    to.extend_from_slice(element.as_bytes());
}

/// Appends a tensor of `FP32`.
pub(in crate::server) fn push_floats(to: &mut Vec<u8>, values: &[f32]) {
    to.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_come_back_and_broken_ones_are_refused() {
        let mut tensor = Vec::new();
        for element in ["one", "", "three"] {
            push_string(&mut tensor, element);
        }
        let tensor = Bytes::from(tensor);
        assert_eq!(strings(&tensor, 3).unwrap(), ["one", "", "three"]);
        for n in [0, 2, 4, usize::MAX] {
            assert!(strings(&tensor, n).is_err(), "{n}");
        }
        assert!(strings(&tensor.slice(..tensor.len() - 1), 3).is_err());
        assert!(strings(&Bytes::from_static(&[255, 255, 255, 255, 1]), 1).is_err());
    }
}
