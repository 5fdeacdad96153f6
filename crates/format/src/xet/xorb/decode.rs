//! Stored bytes back to raw bytes.

use super::header::{ChunkHeader, Scheme};
use super::{bg4, frame};
use crate::error::FormatError;

/// Decodes chunks and keeps a work buffer between them.
#[derive(Clone, Debug, Default)]
pub struct ChunkDecoder {
    planes: Vec<u8>,
}

impl ChunkDecoder {
    /// A decoder without a buffer yet; it grows to at most one raw chunk.
    #[must_use]
    pub const fn new() -> Self {
        Self { planes: Vec::new() }
    }

    /// Appends the raw bytes of a chunk to `out`: exactly `header.raw_len()` bytes, or none on an error.
    ///
    /// Never produces or allocates more than the announced raw length, whatever the stored bytes say.
    ///
    /// # Errors
    /// Every [`FormatError`] of LZ4 frames; [`FormatError::LengthMismatch`] when `stored` has another length than the
    /// header says or decodes to another length; [`FormatError::TrailingBytes`] when bytes follow the frame.
    pub fn decode(&mut self, header: ChunkHeader, stored: &[u8], out: &mut Vec<u8>) -> Result<(), FormatError> {
        if stored.len() != header.stored_len() {
            return Err(FormatError::LengthMismatch {
                what: "stored chunk in bytes",
                expected: header.stored_len() as u64,
                actual: stored.len() as u64,
            });
        }
        let start = out.len();
        if header.scheme() == Scheme::None {
            out.extend_from_slice(stored);
            return Ok(());
        }
        out.resize(start + header.raw_len(), 0);
        let raw = out.get_mut(start..).unwrap_or_default();
        let done = if header.scheme() == Scheme::Lz4 {
            frame::read(stored, raw)
        } else {
            self.planes.resize(header.raw_len(), 0);
            frame::read(stored, &mut self.planes).map(|()| bg4::ungroup(&self.planes, raw))
        };
        if done.is_err() {
            out.truncate(start);
        }
        done
    }
}

/// Appends the raw bytes of one chunk to `out`; see [`ChunkDecoder::decode`].
///
/// # Errors
/// Those of [`ChunkHeader::new`] and [`ChunkDecoder::decode`].
pub fn decode_chunk(scheme: Scheme, stored: &[u8], raw_len: usize, out: &mut Vec<u8>) -> Result<(), FormatError> {
    let header = ChunkHeader::new(scheme, stored.len(), raw_len)?;
    ChunkDecoder::new().decode(header, stored, out)
}
