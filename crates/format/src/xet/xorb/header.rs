//! The eight bytes before every stored chunk.

use crate::error::FormatError;
use crate::xet::chunker::MAX_CHUNK;

/// Bytes of a chunk header.
pub const CHUNK_HEADER_LEN: usize = 8;

/// How the stored bytes of a chunk become its raw bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Scheme {
    /// Stored bytes are the raw bytes.
    None = 0,
    /// One LZ4 frame.
    Lz4 = 1,
    /// One LZ4 frame over the bytes grouped by their position modulo four.
    Bg4Lz4 = 2,
}

impl Scheme {
    /// Scheme for the byte in a header.
    ///
    /// # Errors
    /// [`FormatError::UnknownScheme`] for any byte but 0, 1 and 2.
    pub const fn from_byte(byte: u8) -> Result<Self, FormatError> {
        match byte {
            0 => Ok(Self::None),
            1 => Ok(Self::Lz4),
            2 => Ok(Self::Bg4Lz4),
            scheme => Err(FormatError::UnknownScheme { scheme }),
        }
    }
}

/// A checked chunk header.
///
/// The fields are private because their bounds hold: the raw length is 1 to 131,072 bytes, the stored length is 1 to
/// the raw length, and equal to it without compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkHeader {
    stored_len: u32,
    raw_len: u32,
    scheme: Scheme,
}

impl ChunkHeader {
    /// A header for `stored_len` bytes that become `raw_len` bytes.
    ///
    /// # Errors
    /// [`FormatError::Empty`], [`FormatError::TooLarge`] and [`FormatError::LengthMismatch`] when the bounds do not
    /// hold.
    pub const fn new(scheme: Scheme, stored_len: usize, raw_len: usize) -> Result<Self, FormatError> {
        if raw_len == 0 || stored_len == 0 {
            return Err(FormatError::Empty { what: "chunk" });
        }
        if raw_len > MAX_CHUNK {
            return Err(FormatError::TooLarge {
                what: "raw chunk length in bytes",
                size: raw_len as u64,
                limit: MAX_CHUNK as u64,
            });
        }
        if stored_len > raw_len {
            return Err(FormatError::TooLarge {
                what: "stored chunk length in bytes",
                size: stored_len as u64,
                limit: raw_len as u64,
            });
        }
        if matches!(scheme, Scheme::None) && stored_len != raw_len {
            return Err(FormatError::LengthMismatch {
                what: "stored length of an uncompressed chunk",
                expected: raw_len as u64,
                actual: stored_len as u64,
            });
        }
        Ok(Self { stored_len: stored_len as u32, raw_len: raw_len as u32, scheme })
    }

    /// Reads and checks a header.
    ///
    /// # Errors
    /// [`FormatError::UnknownVersion`], [`FormatError::UnknownScheme`], and those of [`ChunkHeader::new`].
    pub fn parse(bytes: [u8; CHUNK_HEADER_LEN]) -> Result<Self, FormatError> {
        let [version, s0, s1, s2, scheme, r0, r1, r2] = bytes;
        if version != 0 {
            return Err(FormatError::UnknownVersion { what: "chunk header", version: version.into() });
        }
        let scheme = Scheme::from_byte(scheme)?;
        let stored_len = u32::from_le_bytes([s0, s1, s2, 0]) as usize;
        let raw_len = u32::from_le_bytes([r0, r1, r2, 0]) as usize;
        Self::new(scheme, stored_len, raw_len)
    }

    /// The bytes of this header.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; CHUNK_HEADER_LEN] {
        let [s0, s1, s2, _] = self.stored_len.to_le_bytes();
        let [r0, r1, r2, _] = self.raw_len.to_le_bytes();
        [0, s0, s1, s2, self.scheme as u8, r0, r1, r2]
    }

    /// Bytes stored after this header.
    #[must_use]
    pub const fn stored_len(self) -> usize {
        self.stored_len as usize
    }

    /// Bytes of this header and of what is stored after it.
    #[must_use]
    pub const fn record_len(self) -> usize {
        CHUNK_HEADER_LEN + self.stored_len as usize
    }

    /// Bytes after decoding.
    #[must_use]
    pub const fn raw_len(self) -> usize {
        self.raw_len as usize
    }

    /// How to decode.
    #[must_use]
    pub const fn scheme(self) -> Scheme {
        self.scheme
    }
}
