//! Raw bytes to chunk records.

use lz4_flex::block::CompressTable;

use super::header::{CHUNK_HEADER_LEN, ChunkHeader, Scheme};
use super::{bg4, frame};
use crate::error::FormatError;

/// How an encoder picks the scheme of a chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SchemeChoice {
    /// Tries both kinds of compression on one chunk in 32 and keeps the better one for the others.
    #[default]
    Auto,
    /// This scheme wherever it shrinks the chunk.
    Always(Scheme),
}

/// Chunks between two trials.
const TRIAL_INTERVAL: u32 = 32;

/// Encodes chunks one after the other.
///
/// A chunk that does not shrink is stored as it is, whatever the choice.
pub struct ChunkEncoder {
    choice: SchemeChoice,
    /// Best scheme of the last trial.
    tried: Scheme,
    /// Chunks until the next trial.
    until_trial: u32,
    table: CompressTable,
    planes: Vec<u8>,
    trial: Vec<u8>,
}

impl std::fmt::Debug for ChunkEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChunkEncoder").field("choice", &self.choice).field("tried", &self.tried).finish_non_exhaustive()
    }
}

impl Default for ChunkEncoder {
    fn default() -> Self {
        Self::new(SchemeChoice::Auto)
    }
}

impl ChunkEncoder {
    /// An encoder that picks schemes by `choice`.
    #[must_use]
    pub fn new(choice: SchemeChoice) -> Self {
        Self {
            choice,
            tried: Scheme::Lz4,
            until_trial: 0,
            table: CompressTable::large(),
            planes: Vec::new(),
            trial: Vec::new(),
        }
    }

    /// Forgets the last trial, as at the start of another file.
    pub const fn restart(&mut self) {
        self.until_trial = 0;
        self.tried = Scheme::Lz4;
    }

    /// Appends the record of a chunk to `out` and returns its header.
    ///
    /// # Errors
    /// [`FormatError::Empty`] and [`FormatError::TooLarge`] when `raw` is not 1 to 131,072 bytes long; `out` is then
    /// as it was.
    pub fn encode(&mut self, raw: &[u8], out: &mut Vec<u8>) -> Result<ChunkHeader, FormatError> {
        let plain = ChunkHeader::new(Scheme::None, raw.len(), raw.len())?;
        let start = out.len();
        out.extend_from_slice(&plain.to_bytes());
        match self.compress(raw, out) {
            Ok(Some(scheme)) => {
                let stored_len = out.len() - start - CHUNK_HEADER_LEN;
                let header = ChunkHeader::new(scheme, stored_len, raw.len())?;
                if let Some(room) = out.get_mut(start..start + CHUNK_HEADER_LEN) {
                    room.copy_from_slice(&header.to_bytes());
                }
                Ok(header)
            }
            Ok(None) => {
                out.extend_from_slice(raw);
                Ok(plain)
            }
            Err(fault) => {
                out.truncate(start);
                Err(fault)
            }
        }
    }

    fn compress(&mut self, raw: &[u8], out: &mut Vec<u8>) -> Result<Option<Scheme>, FormatError> {
        match self.choice {
            SchemeChoice::Always(scheme) => self.write(scheme, raw, out),
            SchemeChoice::Auto if self.until_trial > 0 => {
                self.until_trial -= 1;
                self.write(self.tried, raw, out)
            }
            SchemeChoice::Auto => {
                self.until_trial = TRIAL_INTERVAL - 1;
                self.try_both(raw, out)
            }
        }
    }

    /// Appends the shorter of both frames, if one is shorter than `raw`.
    fn try_both(&mut self, raw: &[u8], out: &mut Vec<u8>) -> Result<Option<Scheme>, FormatError> {
        let mut trial = std::mem::take(&mut self.trial);
        trial.clear();
        let grouped = self.write(Scheme::Bg4Lz4, raw, &mut trial)?;
        let start = out.len();
        let mut best = self.write(Scheme::Lz4, raw, out)?;
        if grouped.is_some() && (best.is_none() || trial.len() < out.len() - start) {
            out.truncate(start);
            out.extend_from_slice(&trial);
            best = grouped;
        }
        self.trial = trial;
        // A chunk that does not shrink says little about its neighbours.
        self.tried = best.unwrap_or(self.tried);
        Ok(best)
    }

    /// Appends a frame of `raw` to `out` if it is shorter; tells which scheme decodes what was appended.
    fn write(&mut self, scheme: Scheme, raw: &[u8], out: &mut Vec<u8>) -> Result<Option<Scheme>, FormatError> {
        let shrunk = match scheme {
            Scheme::None => false,
            Scheme::Lz4 => frame::write(raw, &mut self.table, out)?,
            Scheme::Bg4Lz4 => {
                self.planes.clear();
                bg4::group(raw, &mut self.planes);
                frame::write(&self.planes, &mut self.table, out)?
            }
        };
        Ok(shrunk.then_some(scheme))
    }
}

/// Appends the record of one chunk to `out`; see [`ChunkEncoder::encode`].
///
/// # Errors
/// Those of [`ChunkEncoder::encode`].
pub fn encode_chunk(raw: &[u8], choice: SchemeChoice, out: &mut Vec<u8>) -> Result<ChunkHeader, FormatError> {
    ChunkEncoder::new(choice).encode(raw, out)
}
