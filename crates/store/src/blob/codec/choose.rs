//! Which codec a tensor gets: tried on samples, with a block as it is where nothing pays.

use std::cell::RefCell;

use weighthouse_format::Dtype;

use super::drift::{self, Drift};
use super::error::CodecError;
use super::frame::{self, Style};
use super::kind::{self, Kind};
use super::{Block, Codec, Descriptor, Level, block_bytes, cast, delta, given, planes};

/// A delta is taken when it has at most this share of the size that planes have.
const DELTA_PERCENT: u64 = 85;
/// Given planes of the cold level are taken from this share on.
const GIVEN_PER_MILLE: u64 = 997;
/// Quantised blocks are coded when this share of them or less is left.
const QUANTISED_PERCENT: u64 = 95;
/// Samples that are tried, and bytes of each.
const SAMPLES: usize = 3;
const SAMPLE_BYTES: usize = 32 << 10;

thread_local! {
    /// The block that is being coded; what becomes of it is mostly much smaller than its memory must be.
    static CODED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The same tensor elsewhere, with as many elements.
#[derive(Clone, Copy, Debug)]
pub struct Base<'a> {
    /// Type of its elements.
    pub dtype: Dtype,
    /// All of its bytes.
    pub data: &'a [u8],
}

impl<'a> Base<'a> {
    /// The elements beside `len` bytes of a tensor of `dtype` from `begin` on.
    #[must_use]
    pub fn beside(&self, dtype: Dtype, begin: usize, len: usize) -> Option<&'a [u8]> {
        let scaled = |at: usize| at / Kind::of(dtype).word * Kind::of(self.dtype).word;
        self.data.get(scaled(begin)..scaled(begin + len))
    }
}

/// A run of elements of a tensor, and the same elements of its base.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// The tensor's bytes.
    pub raw: &'a [u8],
    /// The base's bytes.
    pub base: Option<&'a [u8]>,
}

/// How the blocks of one tensor are coded.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    dtype: Dtype,
    base: Option<Dtype>,
    level: Level,
    codec: Codec,
    drift: Drift,
}

impl Plan {
    /// For bytes that are no numbers: headers, text, records between tensors. Each block becomes a zstd frame or planes,
    /// whichever is smaller.
    #[must_use]
    pub fn bytes(level: Level) -> Self {
        Self { dtype: Dtype::U8, base: None, level, codec: Codec::Zstd, drift: Drift::NONE }
    }

    /// Tries all codecs on samples. Without samples the plan is planes; for bytes, and text among them, each block then
    /// becomes what is smaller of planes and a zstd frame.
    #[must_use]
    pub fn choose(dtype: Dtype, base: Option<Dtype>, level: Level, samples: &[Sample]) -> Self {
        let plan = |codec, drift| Self { dtype, base, level, codec, drift };
        let bytes = Kind::of(dtype).unit() == 1;
        if samples.is_empty() {
            return plan(if bytes { Codec::Zstd } else { Codec::Planes }, Drift::NONE);
        }
        if base.is_none() && level == Level::Fast && !dtype.is_quantised() && !bytes {
            return plan(Codec::Planes, Drift::NONE);
        }
        let raw: u64 = samples.iter().map(|sample| sample.raw.len() as u64).sum();
        // More than any sample, and little enough to be added and multiplied: what cannot be coded never wins.
        let never = 1 << 40;
        let size = |codec, drift| -> u64 {
            let coded = samples.iter().map(|sample| plan(codec, drift).code(sample.raw, sample.base));
            coded.map(|coded| coded.map_or(never, |coded| coded.len() as u64)).sum()
        };
        let alone = size(Codec::Planes, Drift::NONE);
        let mut best = (Codec::Planes, alone);
        if dtype.is_quantised() && alone * 100 > raw * QUANTISED_PERCENT {
            best = (Codec::Raw, raw);
        }
        if level == Level::Cold && !dtype.is_quantised() {
            let size = size(Codec::Given, Drift::NONE);
            if size * 1000 < best.1 * GIVEN_PER_MILLE {
                best = (Codec::Given, size);
            }
        }
        // Numbers of several bytes repeat where they are indices or masks, and their planes show it.
        if bytes || dtype.is_quantised() || level == Level::Cold {
            let size = size(Codec::Zstd, Drift::NONE);
            if size * 100 <= raw * QUANTISED_PERCENT && size < best.1 {
                best = (Codec::Zstd, size);
            }
        }
        let mut drift = Drift::NONE;
        if base.is_some() {
            let mut smallest = size(Codec::Delta, drift);
            for Sample { raw, base: beside } in samples.iter().filter(|_| base == Some(dtype)) {
                for guess in beside.map_or_else(Vec::new, |base| drift::guesses(raw, base, Kind::of(dtype))) {
                    let size = if guess == drift { smallest } else { size(Codec::Delta, guess) };
                    if size < smallest {
                        (smallest, drift) = (size, guess);
                    }
                }
            }
            let size = smallest;
            if size * 100 < alone * DELTA_PERCENT && size < best.1 {
                best = (Codec::Delta, size);
            }
        }
        plan(best.0, drift)
    }

    /// Tries all codecs on samples of a tensor that is in memory.
    ///
    /// # Errors
    /// [`CodecError::Base`] when the base has not as many elements.
    pub fn of_tensor(dtype: Dtype, data: &[u8], base: Option<Base>, level: Level) -> Result<Self, CodecError> {
        let kind = Kind::of(dtype);
        if let Some(base) = base {
            let wanted = data.len() / kind.word * Kind::of(base.dtype).word;
            if base.data.len() != wanted {
                return Err(CodecError::Base { wanted: wanted as u64, found: base.data.len() as u64 });
            }
        }
        let sample_bytes = SAMPLE_BYTES / kind.unit() * kind.unit();
        let samples: Vec<Sample> = (0..SAMPLES)
            .map(|i| data.len().saturating_sub(sample_bytes) / kind.unit() * i / (SAMPLES - 1) * kind.unit())
            .take(if data.len() <= sample_bytes { 1 } else { SAMPLES })
            .map(|begin| {
                let raw = &data[begin..(begin + sample_bytes).min(data.len())];
                Sample { raw, base: base.and_then(|base| base.beside(dtype, begin, raw.len())) }
            })
            .collect();
        Ok(Self::choose(dtype, base.map(|base| base.dtype), level, &samples))
    }

    /// The codec that won.
    #[must_use]
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Codes one block of at most [`super::MAX_BLOCK_BYTES`].
    ///
    /// - `base`: the same elements of the base
    #[must_use]
    pub fn encode_block(&self, raw: &[u8], base: Option<&[u8]>) -> Block {
        let (codec, bytes) = self.derive(raw, base).map(|recipe| (Codec::Derived, recipe)).unwrap_or_else(|| {
            // Given planes without a base are those of the scale alone.
            let mut coded = self.code(raw, base).map(|coded| (self.codec, coded));
            if self.codec == Codec::Zstd {
                // What lies between tensors is of many kinds, and a sample tells little.
                let planes = Self { codec: Codec::Planes, ..*self }.code(raw, base);
                let smaller = |planes: &Vec<u8>| coded.as_ref().is_none_or(|(_, zstd)| planes.len() < zstd.len());
                coded = planes.filter(smaller).map(|planes| (Codec::Planes, planes)).or(coded);
            }
            coded.filter(|(_, coded)| coded.len() < raw.len()).unwrap_or_else(|| (Codec::Raw, raw.to_vec()))
        });
        let descriptor = Descriptor {
            codec,
            dtype: self.dtype,
            raw_len: raw.len() as u32,
            stored_len: bytes.len() as u32,
            crc32c: crc_fast::crc32_iscsi(&bytes),
        };
        Block { descriptor, bytes }
    }

    /// The recipe of a block that is the cast of its base.
    fn derive(&self, raw: &[u8], base: Option<&[u8]>) -> Option<Vec<u8>> {
        const RECIPE_BYTES: usize = 5;
        let (base, base_dtype) = (base?, self.base?);
        let first = Kind::of(self.dtype).word.min(raw.len());
        // One element tells most blocks that are not derived.
        let start = base.get(..Kind::of(base_dtype).word)?;
        if raw.len() <= RECIPE_BYTES || *cast::cast(start, base_dtype, self.dtype)? != raw[..first] {
            return None;
        }
        (*cast::cast(base, base_dtype, self.dtype)? == *raw).then(|| {
            let mut recipe = vec![kind::code(base_dtype)];
            recipe.extend(crc_fast::crc32_iscsi(raw).to_le_bytes());
            recipe
        })
    }

    /// The bytes of the chosen codec, if it can be used at all.
    fn code(&self, raw: &[u8], base: Option<&[u8]>) -> Option<Vec<u8>> {
        CODED.with_borrow_mut(|out| {
            out.clear();
            out.reserve(raw.len() + raw.len() / 8 + 64);
            self.code_to(raw, base, out).then(|| out.to_vec())
        })
    }

    fn code_to(&self, raw: &[u8], base: Option<&[u8]>, out: &mut Vec<u8>) -> bool {
        let kind = Kind::of(self.dtype);
        let base = base.zip(self.base);
        match self.codec {
            Codec::Raw => false,
            Codec::Planes | Codec::Derived => {
                planes::encode(raw, kind, self.level, out);
                true
            }
            Codec::Delta => match base {
                Some((base, base_dtype)) if raw.len().is_multiple_of(kind.word) => {
                    delta::encode(raw, self.dtype, (base, base_dtype), &self.drift, self.level, out)
                }
                _ => false,
            },
            Codec::Given => given::encode(raw, self.dtype, base, out),
            Codec::Zstd => {
                frame::compress_to(raw, Style::Text(self.level), out);
                !out.is_empty()
            }
        }
    }
}

/// Codes a tensor that is in memory; see [`Plan`] for one that is not.
///
/// # Errors
/// [`CodecError::Base`] when the base has not as many elements.
pub fn encode_tensor(dtype: Dtype, data: &[u8], base: Option<Base>, level: Level) -> Result<Vec<Block>, CodecError> {
    let plan = Plan::of_tensor(dtype, data, base, level)?;
    let step = block_bytes(dtype);
    let blocks = data.chunks(step).enumerate().map(|(i, raw)| {
        let base = base.and_then(|base| base.beside(dtype, i * step, raw.len()));
        plan.encode_block(raw, base)
    });
    Ok(blocks.collect())
}
