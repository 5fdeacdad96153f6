//! Content-defined chunking: where a file is cut so that an edit moves few cuts.
//!
//! A rolling gear hash runs over the bytes; a chunk ends after the byte at which the top 16 bits of the hash are zero.
//! A match before [`MIN_CHUNK`] does not count, and at [`MAX_CHUNK`] the chunk ends in any case. The first
//! `MIN_CHUNK - 65` bytes of a chunk cannot matter (the hash sees 64 bytes) and are skipped unhashed.
//!
//! **Invariant:** the cuts depend on the bytes alone, never on how they were split over calls.
//!
//! # Source
//! Xia et al., *FastCDC*, USENIX ATC 2016, with the parameters and the gear table of the Xet protocol.

/// Shortest chunk in bytes, except for the last of a file.
pub const MIN_CHUNK: usize = TARGET_CHUNK / 8;
/// Mean length in bytes at which chunks aim.
pub const TARGET_CHUNK: usize = 64 << 10;
/// Longest chunk in bytes.
pub const MAX_CHUNK: usize = TARGET_CHUNK * 2;

/// The hash bits that are zero at a cut: 16, for a mean of 2¹⁶ bytes.
const MASK: u64 = 0xFFFF_0000_0000_0000;

/// Bytes at the start of a chunk that no cut depends on.
const SKIP: usize = MIN_CHUNK - 64 - 1;

/// Finds the cuts of one file, fed in pieces of any size.
///
/// # Example
/// ```
/// use weighthouse_format::xet::chunker::{Chunker, MAX_CHUNK};
///
/// let mut chunker = Chunker::new();
/// let zeros = vec![0; MAX_CHUNK];
/// assert_eq!(chunker.next_boundary(&zeros[..100]), None);
/// assert_eq!(chunker.next_boundary(&zeros), Some(MAX_CHUNK - 100));
/// assert_eq!(chunker.finish(), None);
/// ```
#[derive(Clone, Debug)]
pub struct Chunker {
    hasher: gearhash::Hasher<'static>,
    /// Bytes of the current chunk seen so far; always below [`MAX_CHUNK`].
    len: usize,
}

impl Default for Chunker {
    fn default() -> Self {
        Self::new()
    }
}

impl Chunker {
    /// A chunker at the start of a file.
    #[must_use]
    pub fn new() -> Self {
        Self { hasher: gearhash::Hasher::default(), len: 0 }
    }

    /// Takes the bytes that follow those of earlier calls, up to the end of the current chunk.
    ///
    /// `Some(n)`: the first `n` bytes (1 ≤ `n` ≤ `data.len()`) complete the chunk; call again with the rest.
    /// `None`: all of `data` was taken and the chunk is still open.
    pub fn next_boundary(&mut self, data: &[u8]) -> Option<usize> {
        let room = MAX_CHUNK - self.len;
        let window = data.get(..room).unwrap_or(data);
        let mut taken = SKIP.saturating_sub(self.len).min(window.len());
        while let Some(step) = self.hasher.next_match(window.get(taken..).unwrap_or_default(), MASK) {
            taken += step;
            if self.len + taken >= MIN_CHUNK {
                return Some(self.cut(taken));
            }
        }
        if window.len() == room {
            return Some(self.cut(room));
        }
        self.len += window.len();
        None
    }

    /// Ends the file: the length in bytes of its last, still open chunk, if there is one.
    ///
    /// The chunker is then ready for another file.
    pub fn finish(&mut self) -> Option<usize> {
        let len = self.len;
        self.cut(0);
        (len > 0).then_some(len)
    }

    /// Bytes of the current chunk taken so far.
    #[must_use]
    pub const fn pending(&self) -> usize {
        self.len
    }

    fn cut(&mut self, taken: usize) -> usize {
        self.hasher.set_hash(0);
        self.len = 0;
        taken
    }
}

#[cfg(test)]
mod tests;
