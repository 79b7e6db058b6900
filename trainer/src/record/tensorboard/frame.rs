//! The records of an event file: `TFRecord`, a length and a payload, each with its masked CRC-32C.
//!
//! ```text
//! u64 length   u32 masked_crc(length)   payload   u32 masked_crc(payload)      (little-endian)
//! ```

/// Bytes around a payload.
const HEAD: usize = 12;
const TAIL: usize = 4;

/// `TFRecord`'s mask: a CRC over data that holds CRCs says little, so they are stored rotated and
/// shifted.
fn masked_crc(bytes: &[u8]) -> [u8; 4] {
    let crc = crc32c::crc32c(bytes);
    crc.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// Appends a record.
pub(super) fn write(payload: &[u8], to: &mut Vec<u8>) {
    let length = (payload.len() as u64).to_le_bytes();
    to.extend_from_slice(&length);
    to.extend_from_slice(&masked_crc(&length));
    to.extend_from_slice(payload);
    to.extend_from_slice(&masked_crc(payload));
}

/// The payloads of all whole records from the first; a torn or broken one ends them.
pub(super) fn read(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut payloads = Vec::new();
    while let Some((payload, rest)) = split(bytes) {
        payloads.push(payload);
        bytes = rest;
    }
    payloads
}

fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, rest) = bytes.split_at_checked(HEAD)?;
    let (length, crc) = head.split_at(8);
    let size = usize::try_from(u64::from_le_bytes(length.try_into().ok()?)).ok()?;
    let (payload, rest) = rest.split_at_checked(size)?;
    let (tail, rest) = rest.split_at_checked(TAIL)?;
    let whole = crc == masked_crc(length) && tail == masked_crc(payload);
    whole.then_some((payload, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_or_changed_record_ends_the_file() {
        let mut bytes = Vec::new();
        for payload in ["first", "", "third"] {
            write(payload.as_bytes(), &mut bytes);
        }
        assert_eq!(read(&bytes), [b"first".as_slice(), b"", b"third"]);
        for cut in bytes.len() - 20..bytes.len() {
            assert_eq!(read(&bytes[..cut]), [b"first".as_slice(), b""], "cut at {cut}");
        }
        let second = 5 + HEAD + TAIL;
        for place in [second, second + 8, second + HEAD] {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            assert_eq!(read(&changed), [b"first"], "changed at {place}");
        }
        let mut huge = u64::MAX.to_le_bytes().to_vec();
        huge.extend_from_slice(&masked_crc(&u64::MAX.to_le_bytes()));
        assert!(read(&huge).is_empty(), "a length beyond the file is not believed");
    }
}
