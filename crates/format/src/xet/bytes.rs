//! Reading fixed-width integers from slices without panicking.

use crate::error::FormatError;

/// Takes the first `N` bytes off `input`.
pub(crate) fn take<const N: usize>(input: &mut &[u8], what: &'static str) -> Result<[u8; N], FormatError> {
    let Some((head, tail)) = input.split_first_chunk::<N>() else {
        return Err(FormatError::Truncated { what, needed: N as u64, got: input.len() as u64 });
    };
    *input = tail;
    Ok(*head)
}

/// Takes the first `len` bytes off `input`.
pub(crate) fn take_slice<'a>(input: &mut &'a [u8], len: usize, what: &'static str) -> Result<&'a [u8], FormatError> {
    let Some((head, tail)) = input.split_at_checked(len) else {
        return Err(FormatError::Truncated { what, needed: len as u64, got: input.len() as u64 });
    };
    *input = tail;
    Ok(head)
}

/// Takes a little-endian `u32` off `input`.
pub(crate) fn take_u32(input: &mut &[u8], what: &'static str) -> Result<u32, FormatError> {
    take(input, what).map(u32::from_le_bytes)
}

/// Takes a little-endian `u64` off `input`.
pub(crate) fn take_u64(input: &mut &[u8], what: &'static str) -> Result<u64, FormatError> {
    take(input, what).map(u64::from_le_bytes)
}
