//! Which codec a tensor gets: tried on samples, with a block as it is where nothing pays.

use weighthouse_format::Dtype;

use super::error::CodecError;
use super::kind::{self, Kind};
use super::{Block, Codec, Descriptor, Level, block_bytes, cast, delta, given, planes};

/// A delta is taken when it has at most this share of the size that planes have.
const DELTA_PERCENT: usize = 85;
/// Given planes of the cold level are taken from this share on.
const GIVEN_PER_MILLE: usize = 997;
/// Quantised blocks are coded when this share of them or less is left.
const QUANTISED_PERCENT: usize = 95;
/// Samples that are tried, and bytes of each.
const SAMPLES: usize = 3;
const SAMPLE_BYTES: usize = 32 << 10;

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
    shrinkage: u32,
}

impl Plan {
    /// Tries all codecs on samples. Without samples the plan is planes.
    #[must_use]
    pub fn choose(dtype: Dtype, base: Option<Dtype>, level: Level, samples: &[Sample]) -> Self {
        let plan = |codec, shrinkage| Self { dtype, base, level, codec, shrinkage };
        if base.is_none() && level == Level::Fast && !dtype.is_quantised() {
            return plan(Codec::Planes, 0);
        }
        let raw: usize = samples.iter().map(|sample| sample.raw.len()).sum();
        let size = |codec, shrinkage| -> usize {
            let coded = samples.iter().map(|sample| plan(codec, shrinkage).code(sample.raw, sample.base));
            coded.map(|coded| coded.map_or(usize::MAX >> 8, |coded| coded.len())).sum()
        };
        let alone = size(Codec::Planes, 0);
        let mut best = (Codec::Planes, alone);
        if dtype.is_quantised() && alone * 100 > raw * QUANTISED_PERCENT {
            best = (Codec::Raw, raw);
        }
        if level == Level::Cold && !dtype.is_quantised() {
            let size = size(Codec::Given, 0);
            if size * 1000 < best.1 * GIVEN_PER_MILLE {
                best = (Codec::Given, size);
            }
        }
        let mut shrinkage = 0;
        if base.is_some() {
            let mut smallest = size(Codec::Delta, 0);
            for sample in samples.iter().filter(|_| base == Some(dtype)) {
                let tried = sample.base.map_or(0, |base| delta::shrinkage(sample.raw, base, dtype));
                let size = if tried > 0 { size(Codec::Delta, tried) } else { smallest };
                if size < smallest {
                    (smallest, shrinkage) = (size, tried);
                }
            }
            let size = smallest;
            if size * 100 < alone * DELTA_PERCENT && size < best.1 {
                best = (Codec::Delta, size);
            }
        }
        plan(best.0, shrinkage)
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
            let coded = self.code(raw, base).map(|coded| (self.codec, coded));
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
        let mut out = Vec::with_capacity(raw.len() + raw.len() / 8 + 64);
        let kind = Kind::of(self.dtype);
        let base = base.zip(self.base);
        let done = match self.codec {
            Codec::Raw => return None,
            Codec::Planes | Codec::Derived => {
                planes::encode(raw, kind, self.level, &mut out);
                true
            }
            Codec::Delta => match base {
                Some((base, base_dtype)) if raw.len().is_multiple_of(kind.word) => {
                    delta::encode(raw, self.dtype, (base, base_dtype), self.shrinkage, self.level, &mut out)
                }
                _ => false,
            },
            Codec::Given => given::encode(raw, self.dtype, base, &mut out),
        };
        done.then_some(out)
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
