//! The bits that symbols of differences leave out, one after another, low end first.

use super::error::CodecError;
use super::words::Word;

/// Collects them.
pub struct Below<'a> {
    bytes: &'a mut Vec<u8>,
    at: usize,
    window: u64,
    held: u32,
}

impl<'a> Below<'a> {
    /// In memory that is kept, for at most so many bytes.
    pub fn new(bytes: &'a mut Vec<u8>, most: usize) -> Self {
        bytes.resize(bytes.len().max(most + 16), 0);
        Self { bytes, at: 0, window: 0, held: 0 }
    }

    /// Appends the low `count` bits of `value`.
    #[inline(always)]
    pub fn put(&mut self, value: u64, count: u32) {
        // At most seven bits are held, so that 56 more fit.
        if count > 32 {
            self.put_few(value & 0xffff_ffff, 32);
            return self.put_few(value >> 32, count - 32);
        }
        self.put_few(value, count);
    }

    #[inline(always)]
    fn put_few(&mut self, value: u64, count: u32) {
        self.window |= (value & ((1 << count) - 1)) << self.held;
        self.held += count;
        if let Some(bytes) = self.bytes.get_mut(self.at..).and_then(|rest| rest.first_chunk_mut()) {
            *bytes = self.window.to_le_bytes();
        }
        self.at += (self.held / 8) as usize;
        self.window >>= self.held & !7;
        self.held &= 7;
    }

    /// Appends the bytes, the last filled up with zeros.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        self.put_few(0, 0);
        let len = self.at + usize::from(self.held > 0);
        out.extend_from_slice(&self.bytes[..len.min(self.bytes.len())]);
    }
}

/// Reads what [`Below`] wrote. Beyond the end come zeros, and [`BelowReader::finish`] tells.
pub struct BelowReader<'a> {
    data: &'a [u8],
    bit: usize,
}

impl<'a> BelowReader<'a> {
    /// From the first bit on.
    pub fn new(data: &'a [u8]) -> Self {
        Self { data, bit: 0 }
    }

    /// The next `count` bits, fewer than a word of `W` has.
    #[inline(always)]
    pub fn take<W: Word>(&mut self, count: u32) -> u64 {
        let (at, shift) = (self.bit / 8, self.bit % 8);
        self.bit += count as usize;
        let window = match self.data.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
            Some(window) if W::BITS < 64 => u64::from_le_bytes(*window) >> shift,
            // A ninth byte, for the widest words.
            Some(window) => {
                let next = self.data.get(at + 8).copied().unwrap_or(0);
                u64::from_le_bytes(*window) >> shift | (u64::from(next) << 1 << (63 - shift))
            }
            None => self.last_window(at, shift),
        };
        window & !(u64::MAX << count)
    }

    #[cold]
    fn last_window(&self, at: usize, shift: usize) -> u64 {
        let mut window = [0u8; 8];
        let rest = self.data.get(at..).unwrap_or_default();
        for (byte, &rest) in window.iter_mut().zip(rest) {
            *byte = rest;
        }
        u64::from_le_bytes(window) >> shift
    }

    /// Whether exactly all bytes were used.
    ///
    /// # Errors
    /// [`CodecError::Damaged`] when not.
    pub fn finish(self) -> Result<(), CodecError> {
        const DAMAGED: CodecError = CodecError::Damaged { what: "bits below the symbols" };
        if self.bit.div_ceil(8) == self.data.len() { Ok(()) } else { Err(DAMAGED) }
    }
}
