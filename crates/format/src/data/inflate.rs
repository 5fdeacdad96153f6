//! Long deflate streams, decoded as far as they are read and not kept.

use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZError, MZFlush, MZStatus};

use crate::error::FormatError;
use crate::source::Section;
use crate::tensor::{Filter, Piece};

const WHAT: &str = "deflate stream";
/// Bytes that are read, or skipped, at once.
const STEP: usize = 64 << 10;

/// A stream, decoded up to some place.
pub(super) struct Inflated {
    /// Number of the piece.
    pub(super) piece: usize,
    format: DataFormat,
    state: Box<InflateState>,
    stored: Section,
    /// Stored bytes that were read.
    read: u64,
    input: Vec<u8>,
    /// Bytes of `input` that were taken.
    taken: usize,
    /// Decoded bytes so far.
    at: u64,
}

/// The stream of a piece, if it is nothing else.
pub(super) fn format(piece: &Piece) -> Option<DataFormat> {
    match piece.filters.as_slice() {
        [Filter::Deflate] => Some(DataFormat::Raw),
        [Filter::Zlib] => Some(DataFormat::Zlib),
        _ => None,
    }
}

impl Inflated {
    pub(super) fn new(piece: usize, format: DataFormat, stored: Section) -> Self {
        let state = InflateState::new_boxed(format);
        Self { piece, format, state, stored, read: 0, input: Vec::new(), taken: 0, at: 0 }
    }

    /// Fills `out` with the decoded bytes from `begin` on; going back begins anew.
    pub(super) fn fill(&mut self, begin: u64, out: &mut [u8]) -> Result<(), FormatError> {
        if begin < self.at {
            *self = Self::new(self.piece, self.format, self.stored.clone());
        }
        let mut skipped = [0; STEP];
        while self.at < begin {
            let step = STEP.min(usize::try_from(begin - self.at).unwrap_or(STEP));
            self.decode(skipped.get_mut(..step).unwrap_or_default())?;
        }
        self.decode(out)
    }

    /// Decodes exactly `out.len()` bytes.
    fn decode(&mut self, mut out: &mut [u8]) -> Result<(), FormatError> {
        let wrong = |detail: &str| FormatError::Broken { what: WHAT, at: 0, detail: detail.to_owned() };
        while !out.is_empty() {
            if self.taken == self.input.len() && self.read < self.stored.len() {
                let step = (STEP as u64).min(self.stored.len() - self.read);
                self.input = self.stored.read(WHAT, self.read, step)?;
                self.read += step;
                self.taken = 0;
            }
            let input = self.input.get(self.taken..).unwrap_or_default();
            let done = inflate(&mut self.state, input, out, MZFlush::None);
            self.taken += done.bytes_consumed;
            self.at += done.bytes_written as u64;
            out = out.get_mut(done.bytes_written..).unwrap_or_default();
            let stuck = done.bytes_consumed == 0 && done.bytes_written == 0;
            match done.status {
                Ok(MZStatus::StreamEnd) if !out.is_empty() => return Err(wrong("it ends early")),
                Ok(_) | Err(MZError::Buf) if !stuck => {}
                Ok(_) | Err(MZError::Buf) if out.is_empty() => {}
                Ok(_) | Err(MZError::Buf) => return Err(wrong("it ends early")),
                Err(_) => return Err(wrong("it is damaged")),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes() -> Vec<u8> {
        (0u32..400_000).flat_map(|at| (at / 7).to_le_bytes()).collect()
    }

    #[test]
    fn any_part_of_a_stream_is_what_was_compressed() {
        let all = bytes();
        let stored = miniz_oxide::deflate::compress_to_vec_zlib(&all, 6);
        let mut stream = Inflated::new(0, DataFormat::Zlib, Section::of_bytes("w", stored));
        for (begin, len) in [(0, 10), (10, 300_000), (900_000, 1), (5, 70_000), (1_599_990, 10), (0, all.len())] {
            let mut out = vec![0; len];
            stream.fill(begin as u64, &mut out).unwrap();
            assert_eq!(out, all[begin..begin + len]);
        }
        assert!(stream.fill(all.len() as u64, &mut [0]).is_err(), "there is nothing behind the end");
    }

    #[test]
    fn a_stream_that_is_cut_or_damaged_is_refused() {
        let all = bytes();
        let stored = miniz_oxide::deflate::compress_to_vec(&all, 6);
        for end in [0, 1, 100, stored.len() / 2] {
            let mut stream = Inflated::new(0, DataFormat::Raw, Section::of_bytes("w", &stored[..end]));
            assert!(stream.fill(0, &mut vec![0; all.len()]).is_err(), "cut at {end}");
        }
        let mut stream = Inflated::new(0, DataFormat::Raw, Section::of_bytes("w", vec![0xff; 1000]));
        assert!(stream.fill(0, &mut [0; 10]).is_err());
    }
}
