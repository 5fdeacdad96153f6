//! Bits of small headers, low end first. The hot loops of the coders have windows of their own.

use super::error::CodecError;

/// Collects bits.
#[derive(Debug, Default)]
pub struct BitWriter {
    bytes: Vec<u8>,
    window: u64,
    held: u32,
}

impl BitWriter {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the low `count` bits of `value`, at most 32; the others must be zero.
    pub fn put(&mut self, value: u64, count: u32) {
        self.window |= value << self.held;
        self.held += count;
        while self.held >= 8 {
            self.bytes.push(self.window as u8);
            self.window >>= 8;
            self.held -= 8;
        }
    }

    /// Appends a number by Elias's gamma code: small ones are short.
    pub fn put_gamma(&mut self, value: u32) {
        let value = u64::from(value) + 1;
        let bits = value.ilog2();
        self.put(0, bits);
        self.put(1, 1);
        self.put(value & !(1 << bits), bits);
    }

    /// The bytes, the last filled up with zeros.
    pub fn finish(mut self) -> Vec<u8> {
        if self.held > 0 {
            self.bytes.push(self.window as u8);
        }
        self.bytes
    }
}

/// Takes bits from bytes that may be anything.
#[derive(Debug)]
pub struct BitReader<'a> {
    data: &'a [u8],
    at: usize,
    window: u64,
    held: u32,
}

impl<'a> BitReader<'a> {
    /// From the first bit on.
    pub fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0, window: 0, held: 0 }
    }

    /// The next `count` bits, at most 32.
    ///
    /// # Errors
    /// [`CodecError::Damaged`] when the bytes end before.
    pub fn take(&mut self, count: u32) -> Result<u64, CodecError> {
        while self.held < count {
            let byte = *self.data.get(self.at).ok_or(CodecError::Damaged { what: "table, which is cut off" })?;
            self.window |= u64::from(byte) << self.held;
            self.at += 1;
            self.held += 8;
        }
        let value = self.window & ((1 << count) - 1);
        self.window >>= count;
        self.held -= count;
        Ok(value)
    }

    /// The next number in Elias's gamma code.
    ///
    /// # Errors
    /// [`CodecError::Damaged`] when the bytes end before, or the number has more than 32 bits.
    pub fn take_gamma(&mut self) -> Result<u32, CodecError> {
        let mut bits = 0;
        while self.take(1)? == 0 {
            bits += 1;
            if bits > 31 {
                return Err(CodecError::Damaged { what: "number in a table" });
            }
        }
        let value = (1 << bits | self.take(bits)?) - 1;
        Ok(value as u32)
    }

    /// Bytes of which at least one bit was taken.
    pub fn used_bytes(&self) -> usize {
        self.at - (self.held / 8) as usize
    }
}
