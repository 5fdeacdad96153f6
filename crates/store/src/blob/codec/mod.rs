//! The lossless codec of tensors: a block of one tensor becomes fewer bytes, alone or given the same elements of a base.
//!
//! Pure and synchronous: bytes in, bytes out, the same on every machine. A tensor is cut into blocks of [`BLOCK_BYTES`]
//! (fewer where elements would be cut), each of which is decoded by itself; a block that is coded against a base needs
//! the same elements of the base and no others, so that a read of a range touches only the blocks it crosses.
//!
//! ```text
//!             ┌ planes  rotate left by one, planes of bytes, each raw, constant, or entropy coded          planes, plane
//!  block ─────┼ delta   integer difference in the order of values, coded given exponent and scale    delta, context, rans
//!             ├ derived exactly the cast of the base: a checksum and nothing else                                  cast
//!             ├ given   the exponents coded given scale and exponent of a base (cold level)               given, context
//!             ├ zstd    one frame with matches, for bytes that are no numbers                                     frame
//!             └ raw     what does not pay
//! ```
//!
//! # A block: descriptor and bytes
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 1 | codec: 0 raw, 1 planes, 2 delta, 3 derived, 4 given, 5 zstd |
//! | 1 | 1 | element type, see `kind.rs` |
//! | 2 | 2 | zero |
//! | 4 | 4 | raw length u32, at most 1 MiB |
//! | 8 | 4 | stored length u32, at most the raw length |
//! | 12 | 4 | CRC-32C of the stored bytes u32 |
//!
//! Integers are little-endian. Descriptors and bytes may lie apart; [`container`] puts those of a tensor together.
//! What codecs 1, 2 and 4 store is in the tables of their modules; 3 stores the element type of the base (1) and the CRC-32C
//! of the decoded block (4); 5 stores one zstd frame.
//!
//! # Example
//! ```
//! use weighthouse_format::Dtype;
//! use weighthouse_store::blob::codec::{self, Base, Level};
//!
//! let base: Vec<u8> = (0..40_000u32).flat_map(|i| (i as f32).sin().to_le_bytes()).collect();
//! let tuned: Vec<u8> = (0..40_000u32).flat_map(|i| ((i as f32).sin() * 1.000_01).to_le_bytes()).collect();
//!
//! let blocks = codec::encode_tensor(Dtype::F32, &tuned, Some(Base { dtype: Dtype::F32, data: &base }), Level::Fast)?;
//! assert!(blocks[0].bytes.len() < tuned.len() / 2);
//! assert_eq!(codec::decode_block(&blocks[0].descriptor, &blocks[0].bytes, Some(&base))?, tuned);
//! # Ok::<(), codec::CodecError>(())
//! ```

mod below;
mod bits;
mod cast;
mod choose;
pub mod container;
mod context;
mod delta;
mod drift;
mod error;
mod frame;
mod freq;
mod given;
mod kind;
mod plane;
mod planes;
mod rans;
mod words;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;

pub use choose::{Base, Plan, Sample, encode_tensor};
pub use error::CodecError;

use std::str::FromStr;

use weighthouse_format::Dtype;

use kind::Kind;

/// Bytes of a block before it is coded.
pub const BLOCK_BYTES: usize = 256 << 10;
/// The largest block that is decoded.
pub const MAX_BLOCK_BYTES: usize = 1 << 20;

/// How much time may be spent for size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Level {
    /// For data that is read often: decoding keeps up with a network.
    #[default]
    Fast,
    /// For archives: some per cent smaller, several times slower.
    Cold,
}

impl Level {
    /// The spelling in settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Cold => "cold",
        }
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = [Self::Fast, Self::Cold].into_iter().find(|level| level.as_str() == text);
        found.ok_or_else(|| "it must be `fast` or `cold`".to_owned())
    }
}

/// How a block is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Codec {
    /// As it is.
    Raw,
    /// In planes of bytes.
    Planes,
    /// As the difference to a base.
    Delta,
    /// As the cast of a base, which it equals.
    Derived,
    /// In planes, the top one given a base or the scale of a segment.
    Given,
    /// As a zstd frame with matches.
    Zstd,
}

impl Codec {
    /// Its name on record.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Planes => "planes",
            Self::Delta => "delta",
            Self::Derived => "derived",
            Self::Given => "given",
            Self::Zstd => "zstd",
        }
    }

    const ALL: [Self; 6] = [Self::Raw, Self::Planes, Self::Delta, Self::Derived, Self::Given, Self::Zstd];
}

/// What is known of a stored block without its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// How it is stored.
    pub codec: Codec,
    /// Type of its elements.
    pub dtype: Dtype,
    /// Bytes of the decoded block.
    pub raw_len: u32,
    /// Bytes that are stored.
    pub stored_len: u32,
    /// CRC-32C of the stored bytes.
    pub crc32c: u32,
}

impl Descriptor {
    /// Bytes of a descriptor at rest.
    pub const BYTES: usize = 16;

    /// As it lies at rest.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[0] = self.codec as u8;
        bytes[1] = kind::code(self.dtype);
        bytes[4..8].copy_from_slice(&self.raw_len.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.stored_len.to_le_bytes());
        bytes[12..].copy_from_slice(&self.crc32c.to_le_bytes());
        bytes
    }

    /// Reads a descriptor at rest.
    ///
    /// # Errors
    /// [`CodecError::Unknown`] when codec or type are of a later version, [`CodecError::Damaged`] when the lengths
    /// cannot be.
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Result<Self, CodecError> {
        let [codec, dtype, zero @ ..] = *bytes;
        let number = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let unknown = CodecError::Unknown { what: "codec", found: codec.into() };
        let descriptor = Self {
            codec: *Codec::ALL.get(usize::from(codec)).ok_or(unknown)?,
            dtype: kind::dtype(dtype)?,
            raw_len: number(4),
            stored_len: number(8),
            crc32c: number(12),
        };
        let whole = zero[..2] == [0, 0]
            && descriptor.raw_len as usize <= MAX_BLOCK_BYTES
            && descriptor.stored_len <= descriptor.raw_len;
        if whole { Ok(descriptor) } else { Err(CodecError::Damaged { what: "descriptor" }) }
    }

    /// Whether the block can only be decoded with its base: [`Codec::Given`] may or may not need one, as its first byte
    /// says.
    #[must_use]
    pub fn needs_base(&self, stored: &[u8]) -> bool {
        match self.codec {
            Codec::Raw | Codec::Planes | Codec::Zstd => false,
            Codec::Delta | Codec::Derived => true,
            Codec::Given => stored.first().is_some_and(|&code| code != given::NONE),
        }
    }
}

/// Bytes that cannot be parted: an element, or a quantised block.
#[must_use]
pub fn unit_bytes(dtype: Dtype) -> usize {
    Kind::of(dtype).unit().max(dtype.block_bytes() as usize).max(1)
}

/// Bytes of a number, by which a place in a tensor is found in its base.
#[must_use]
pub fn word_bytes(dtype: Dtype) -> usize {
    Kind::of(dtype).word
}

/// Bytes of the base that a block needs to be decoded; 0 when it needs none.
///
/// # Errors
/// [`CodecError`] when the block names no type of a base that could be.
pub fn base_len(descriptor: &Descriptor, stored: &[u8]) -> Result<usize, CodecError> {
    if !descriptor.needs_base(stored) {
        return Ok(0);
    }
    let (own, base) = (Kind::of(descriptor.dtype), Kind::of(delta::base_dtype(stored)?));
    Ok(descriptor.raw_len as usize / own.word * base.word)
}

/// A coded block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// What is known of it.
    pub descriptor: Descriptor,
    /// What is stored.
    pub bytes: Vec<u8>,
}

/// Bytes of a block of this type: [`BLOCK_BYTES`], or somewhat fewer so that no element is cut.
#[must_use]
pub fn block_bytes(dtype: Dtype) -> usize {
    let unit = unit_bytes(dtype);
    BLOCK_BYTES / unit * unit
}

/// Decodes a block.
///
/// - `base`: the same elements of the base, where the block needs one
///
/// # Errors
/// [`CodecError::Checksum`] and [`CodecError::Damaged`] when the stored bytes are not what was written, or the base is
/// another one; [`CodecError::Base`] when the base has another length.
///
/// # Cost
/// At most twelve times [`MAX_BLOCK_BYTES`] of memory, whatever the bytes say.
pub fn decode_block(descriptor: &Descriptor, stored: &[u8], base: Option<&[u8]>) -> Result<Vec<u8>, CodecError> {
    let len = descriptor.raw_len as usize;
    if stored.len() != descriptor.stored_len as usize || len > MAX_BLOCK_BYTES || stored.len() > len {
        return Err(CodecError::Damaged { what: "length of a block" });
    }
    let found = crc_fast::crc32_iscsi(stored);
    if found != descriptor.crc32c {
        return Err(CodecError::Checksum { what: "stored block", stored: descriptor.crc32c, found });
    }
    let dtype = descriptor.dtype;
    match descriptor.codec {
        Codec::Raw if stored.len() == len => Ok(stored.to_vec()),
        Codec::Raw => Err(CodecError::Damaged { what: "length of a block" }),
        Codec::Planes => planes::decode(stored, Kind::of(dtype), len),
        Codec::Delta => delta::decode(stored, dtype, base.unwrap_or_default(), len),
        Codec::Derived => {
            let (crc32c, []) = stored.get(1..).unwrap_or_default().as_chunks::<4>() else {
                return Err(CodecError::Damaged { what: "recipe" });
            };
            let [crc32c] = crc32c else { return Err(CodecError::Damaged { what: "recipe" }) };
            let raw = delta::cast_base(base.unwrap_or_default(), delta::base_dtype(stored)?, dtype, len)?;
            delta::check(&raw, u32::from_le_bytes(*crc32c))?;
            Ok(raw.into_owned())
        }
        Codec::Given => given::decode(stored, dtype, base, len),
        Codec::Zstd => {
            let mut raw = vec![0; len];
            frame::decompress(stored, &mut raw)?;
            Ok(raw)
        }
    }
}
