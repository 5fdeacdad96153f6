//! Keys of slices: numbers and text spelled so that bytes sort as the values do.
//!
//! Source: `ordered_code.cc` and `saved_tensor_slice_util.cc` of TensorFlow.

/// One axis of a slice; a length of −1 is all of it.
pub(super) type Extent = (i64, i64);

/// The key of a slice of the tensor with this name.
pub(super) fn slice_key(name: &[u8], extents: &[Extent]) -> Vec<u8> {
    let mut key = Vec::new();
    number(&mut key, 0);
    for &byte in name {
        match byte {
            0 => key.extend([0, 0xff]),
            0xff => key.extend([0xff, 0]),
            _ => key.push(byte),
        }
    }
    key.extend([0, 1]);
    number(&mut key, extents.len() as u64);
    for &(start, length) in extents {
        signed(&mut key, start);
        signed(&mut key, length);
    }
    key
}

/// Length in one byte, then the bytes, largest first.
fn number(key: &mut Vec<u8>, value: u64) {
    let bytes = value.to_be_bytes();
    let skip = value.leading_zeros() as usize / 8;
    key.push((bytes.len() - skip) as u8);
    key.extend(bytes.get(skip..).unwrap_or_default());
}

/// As many leading ones as the number has bytes, inverted for negative ones.
fn signed(key: &mut Vec<u8>, value: i64) {
    let bits = 64 - (if value < 0 { !value } else { value }).leading_zeros() as usize;
    let len = bits / 7 + 1;
    let mut bytes = [if value < 0 { 0xff } else { 0 }; 10];
    for (slot, byte) in bytes.iter_mut().skip(2).zip(value.to_be_bytes()) {
        *slot = byte;
    }
    let header = if len <= 8 { 0xff00u16 << (8 - len) & 0xff00 } else { 0xffffu16 << (16 - len) };
    let [first, second] = header.to_be_bytes();
    let mut masks = [first, second].into_iter().chain(std::iter::repeat(0));
    for &byte in bytes.get(10 - len..).unwrap_or_default() {
        key.push(byte ^ masks.next().unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use super::{signed, slice_key};

    #[test]
    fn signed_numbers_keep_their_order() {
        let spell = |value| {
            let mut key = Vec::new();
            signed(&mut key, value);
            key
        };
        assert_eq!(spell(0), [0x80]);
        assert_eq!(spell(-1), [0x7f]);
        assert_eq!(spell(63), [0xbf]);
        assert_eq!(spell(64), [0xc0, 64]);
        let values =
            [i64::MIN, i64::MIN + 1, -(1 << 56), -8193, -8192, -65, -64, -1, 0, 63, 64, 8191, 8192, 1 << 55, i64::MAX];
        for pair in values.windows(2) {
            assert!(spell(pair[0]) < spell(pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn names_are_escaped_and_ended() {
        assert_eq!(slice_key(b"a\0\xff", &[(0, -1)]), [0, b'a', 0, 0xff, 0xff, 0, 0, 1, 1, 1, 0x80, 0x7f]);
    }
}
