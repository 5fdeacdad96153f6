//! What one file may cost, whatever is nested in it.

use weighthouse_format::Limits;

/// Deepest nesting of archives.
pub(super) const MAX_DEPTH: u32 = 8;
/// Most bytes that are unpacked of one file.
const UNPACKED_BYTES: u64 = 1 << 30;
/// Most bytes of text and headers that are parsed.
const PARSED_BYTES: u64 = 1 << 30;
/// Most opcodes of all pickles of a file.
const PICKLE_OPS: u64 = 200_000_000;
/// Most pickles of a file.
const PICKLES: u64 = 20_000;

/// What is left.
#[derive(Debug)]
pub(super) struct Budget {
    pub(super) members: u64,
    pub(super) unpacked_bytes: u64,
    pub(super) parsed_bytes: u64,
    pub(super) pickle_ops: u64,
    pub(super) pickles: u64,
}

impl Budget {
    pub(super) const fn new(limits: &Limits) -> Self {
        Self {
            members: limits.members,
            unpacked_bytes: UNPACKED_BYTES,
            parsed_bytes: PARSED_BYTES,
            pickle_ops: PICKLE_OPS,
            pickles: PICKLES,
        }
    }
}

/// Takes from a count; `false` when there is not enough.
pub(super) const fn take(left: &mut u64, amount: u64) -> bool {
    match left.checked_sub(amount) {
        Some(rest) => {
            *left = rest;
            true
        }
        None => {
            *left = 0;
            false
        }
    }
}
