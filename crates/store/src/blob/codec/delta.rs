//! A block as its difference to the same elements of a base.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 1 | element type of the base, see [`super::kind`] |
//! | 1 | 4 | CRC-32C of the decoded block |
//! | 5 | 4 | shrinkage u32, in units of 2⁻³² of the base's value |
//! | 9 | | symbols of the differences given the exponents of the base, see [`super::context`] |
//! | | | for each symbol that leaves bits out these bits, low end first; the last byte is filled up with zeros |
//!
//! Both sides are numbers whose order is that of the values, so that a small step is a small difference, also across zero.
//! A difference becomes its zigzag; a zigzag becomes a symbol that names the place of its leading bit and the next few
//! bits, and what is below is stored as it is. A base of another type is cast first. The checksum finds a base that is
//! not the one the block was made from.
//!
//! AdamW makes every weight smaller by the same share at every step, also those whose gradient is zero, as those of words
//! that no text had. So the base is first brought nearer to zero by a share, the shrinkage, where that saves bytes.

use std::borrow::Cow;

use weighthouse_format::Dtype;

use super::context::{self, SEGMENT};
use super::error::CodecError;
use super::kind::{self, Kind, Number};
use super::words::{Word, exponents, symbol, value};
use super::{Level, cast};

const DAMAGED: CodecError = CodecError::Damaged { what: "difference" };

/// Appends the difference of `raw` to `base`, which has as many elements; nothing when `base` cannot be cast.
pub fn encode(raw: &[u8], dtype: Dtype, base: (&[u8], Dtype), shrinkage: u32, level: Level, out: &mut Vec<u8>) -> bool {
    let (base, base_dtype) = base;
    let Some(base) = cast::cast(base, base_dtype, dtype).filter(|base| base.len() == raw.len()) else { return false };
    out.push(kind::code(base_dtype));
    out.extend(crc_fast::crc32_iscsi(raw).to_le_bytes());
    out.extend(shrinkage.to_le_bytes());
    let kind = Kind::of(dtype);
    match kind.word {
        2 => encode_words::<u16>(raw, &base, kind, shrinkage, level, out),
        4 => encode_words::<u32>(raw, &base, kind, shrinkage, level, out),
        8 => encode_words::<u64>(raw, &base, kind, shrinkage, level, out),
        _ => encode_words::<u8>(raw, &base, kind, shrinkage, level, out),
    }
    true
}

fn encode_words<W: Word>(raw: &[u8], base: &[u8], kind: Kind, shrinkage: u32, level: Level, out: &mut Vec<u8>) {
    let (raw, mut base) = (W::read_all(raw), W::read_all(base));
    let exponents = exponents(&base, kind);
    let differences: Vec<W> = match kind.number {
        Number::Float { .. } => {
            shrink(&mut base, kind, shrinkage);
            raw.iter().zip(&base).map(|(raw, base)| raw.ordered().difference(base.ordered())).collect()
        }
        Number::Integer => raw.iter().zip(&base).map(|(raw, base)| raw.difference(*base)).collect(),
    };
    // How far the values moved, in a unit that is the same for all of the block; four sums, so that none waits.
    let size = |(differences, exponents): (&[W], &[u8])| {
        let mut sums = [0f32; 4];
        for (i, (difference, &exponent)) in differences.iter().zip(exponents).enumerate() {
            sums[i % 4] += difference.wide().div_ceil(2) as i64 as f32 * context::unit(exponent, kind);
        }
        sums.iter().sum()
    };
    let scales = context::scales(differences.chunks(SEGMENT).zip(exponents.chunks(SEGMENT)).map(size));
    let mut below = Below::new(differences.len() * size_of::<W>());
    let cut = |difference: &W| {
        let (symbol, left_out) = symbol(*difference);
        below.put(difference.wide(), left_out);
        symbol
    };
    let symbols: Vec<u8> = differences.iter().map(cut).collect();
    context::encode(&symbols, &exponents, &scales, level, out);
    below.finish(out);
}

/// The type of the base that a block was coded against.
///
/// # Errors
/// [`CodecError`] when the block says none.
pub fn base_dtype(data: &[u8]) -> Result<Dtype, CodecError> {
    kind::dtype(*data.first().ok_or(DAMAGED)?)
}

/// Decodes a block of `len` bytes given the same elements of its base.
///
/// # Errors
/// [`CodecError::Base`] when `base` has another length, [`CodecError::Checksum`] when it is another base, and
/// [`CodecError::Damaged`] when `data` is no difference.
pub fn decode(data: &[u8], dtype: Dtype, base: &[u8], len: usize) -> Result<Vec<u8>, CodecError> {
    let base = cast_base(base, base_dtype(data)?, dtype, len)?;
    let (stored, rest) = data[1..].split_first_chunk::<4>().ok_or(DAMAGED)?;
    let (shrinkage, rest) = rest.split_first_chunk::<4>().ok_or(DAMAGED)?;
    let shrinkage = u32::from_le_bytes(*shrinkage);
    let kind = Kind::of(dtype);
    let raw = match kind.word {
        2 => decode_words::<u16>(rest, &base, kind, shrinkage)?,
        4 => decode_words::<u32>(rest, &base, kind, shrinkage)?,
        8 => decode_words::<u64>(rest, &base, kind, shrinkage)?,
        _ => decode_words::<u8>(rest, &base, kind, shrinkage)?,
    };
    check(&raw, u32::from_le_bytes(*stored))?;
    Ok(raw)
}

/// Brings words nearer to zero by a share of their own values, in units of 2⁻³²; exponents stay.
fn shrink<W: Word>(words: &mut [W], kind: Kind, shrinkage: u32) {
    let Number::Float { mantissa } = kind.number else { return };
    if shrinkage == 0 {
        return;
    }
    let mask = (1u64 << mantissa) - 1;
    for word in words {
        let own = word.wide() & mask;
        let less = (u128::from(own | 1 << mantissa) * u128::from(shrinkage) + (1 << 31)) >> 32;
        *word = W::narrow(word.wide() & !mask | own.saturating_sub(less as u64));
    }
}

/// The shrinkage that most of the quiet segments of a block have; 0 for types so narrow that it makes no difference.
pub fn shrinkage(raw: &[u8], base: &[u8], dtype: Dtype) -> u32 {
    fn shares<W: Word>(raw: &[u8], base: &[u8], mantissa: u32) -> Vec<(f64, f64)> {
        let (raw, base) = (W::read_all(raw), W::read_all(base));
        let segments = raw.chunks_exact(SEGMENT).zip(base.chunks_exact(SEGMENT));
        let share = |(raw, base): (&[W], &[W])| {
            let value = |word: W| (word.wide() << (65 - W::BITS) >> (65 - W::BITS)) as f64;
            let share = |(raw, base): (&W, &W)| {
                let own = (base.wide() & ((1 << mantissa) - 1) | 1 << mantissa) as f64;
                (value(*base) - value(*raw)) / own
            };
            let mut shares: Vec<f64> = raw.iter().zip(base).map(share).collect();
            shares.sort_by(f64::total_cmp);
            (shares[SEGMENT * 3 / 4] - shares[SEGMENT / 4], shares[SEGMENT / 2])
        };
        segments.map(share).collect()
    }
    let kind = Kind::of(dtype);
    let mut shares = match kind.number {
        Number::Float { mantissa: mantissa @ 23 } => shares::<u32>(raw, base, mantissa),
        Number::Float { mantissa: mantissa @ 52 } => shares::<u64>(raw, base, mantissa),
        _ => return 0,
    };
    // Those whose elements agree most, of which some did not change at all.
    shares.sort_by(|a, b| a.0.total_cmp(&b.0));
    let moved: Vec<f64> = shares.into_iter().map(|(_, middle)| middle).filter(|&middle| middle > 0.0).collect();
    let quiet = &moved[..moved.len().div_ceil(4)];
    let mut quiet = quiet.to_vec();
    quiet.sort_by(f64::total_cmp);
    let middle = quiet.get(quiet.len() / 2).copied().unwrap_or(0.0);
    (middle * (1u64 << 32) as f64) as u32
}

/// The base of a block of `len` bytes as a block of its own type.
pub fn cast_base(base: &[u8], from: Dtype, to: Dtype, len: usize) -> Result<Cow<'_, [u8]>, CodecError> {
    let wanted = (len / Kind::of(to).word * Kind::of(from).word) as u64;
    if base.len() as u64 != wanted {
        return Err(CodecError::Base { wanted, found: base.len() as u64 });
    }
    cast::cast(base, from, to).filter(|base| base.len() == len).ok_or(DAMAGED)
}

/// Compares a decoded block with its checksum.
pub fn check(raw: &[u8], stored: u32) -> Result<(), CodecError> {
    let found = crc_fast::crc32_iscsi(raw);
    if found == stored { Ok(()) } else { Err(CodecError::Checksum { what: "decoded block", stored, found }) }
}

fn decode_words<W: Word>(mut data: &[u8], base: &[u8], kind: Kind, shrinkage: u32) -> Result<Vec<u8>, CodecError> {
    let bytes = size_of::<W>();
    let mut words = [W::narrow(0); SEGMENT];
    let mut exponents = vec![0; base.len() / bytes];
    if let Number::Float { mantissa } = kind.number {
        for (exponents, base) in exponents.chunks_mut(SEGMENT).zip(base.chunks(SEGMENT * bytes)) {
            W::fill(&mut words, base);
            for (exponent, word) in exponents.iter_mut().zip(words) {
                *exponent = word.exponent_above(mantissa);
            }
        }
    }
    let symbols = context::decode(&mut data, exponents)?;
    let mut raw = vec![0; base.len()];
    let mut below = BelowReader::new(data);
    let float = matches!(kind.number, Number::Float { .. });
    let values: [(u32, u64); 256] = std::array::from_fn(|symbol| value::<W>(symbol as u8));
    let first_cut = values.iter().position(|value| value.0 > 0).unwrap_or(256);
    let mut differences = [W::narrow(0); SEGMENT];
    let segments = symbols.chunks(SEGMENT).zip(base.chunks(SEGMENT * bytes)).zip(raw.chunks_mut(SEGMENT * bytes));
    for ((symbols, base), raw) in segments {
        W::fill(&mut words, base);
        for (difference, &symbol) in differences.iter_mut().zip(symbols) {
            *difference = W::narrow(symbol.into());
        }
        if symbols.iter().copied().max().is_some_and(|symbol| usize::from(symbol) >= first_cut) {
            let groups = symbols.chunks(below.at_once::<W>());
            for (symbols, differences) in groups.zip(differences.chunks_mut(below.at_once::<W>())) {
                let mut window = below.window();
                for (&symbol, difference) in symbols.iter().zip(differences) {
                    let (left_out, value) = values[usize::from(symbol)];
                    *difference = W::narrow(value | window & ((1 << left_out) - 1));
                    window >>= left_out;
                    below.bit += left_out as usize;
                }
            }
        }
        if float {
            shrink(&mut words, kind, shrinkage);
            for (word, difference) in words.iter_mut().zip(differences) {
                *word = difference.undo(word.ordered()).unordered();
            }
        } else {
            for (word, difference) in words.iter_mut().zip(differences) {
                *word = difference.undo(*word);
            }
        }
        W::spill(&words, raw);
    }
    below.finish()?;
    Ok(raw)
}

/// The bits that symbols leave out.
struct Below {
    bytes: Vec<u8>,
    at: usize,
    window: u64,
    held: u32,
}

impl Below {
    /// For at most so many bytes.
    fn new(most: usize) -> Self {
        Self { bytes: vec![0; most + 16], at: 0, window: 0, held: 0 }
    }

    #[inline(always)]
    fn put(&mut self, value: u64, count: u32) {
        // At most seven bits are held, so that 56 more fit.
        if count > 32 {
            self.put(value & 0xffff_ffff, 32);
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

    fn finish(mut self, out: &mut Vec<u8>) {
        self.put_few(0, 0);
        let len = self.at + usize::from(self.held > 0);
        out.extend_from_slice(&self.bytes[..len.min(self.bytes.len())]);
    }
}

/// Reads what [`Below`] wrote. Beyond the end come zeros, and [`BelowReader::finish`] tells.
struct BelowReader<'a> {
    data: &'a [u8],
    bit: usize,
}

impl<'a> BelowReader<'a> {
    fn new(data: &'a [u8]) -> Self {
        Self { data, bit: 0 }
    }

    /// Words of which a window holds what their symbols leave out.
    fn at_once<W: Word>(&self) -> usize {
        (57 / (W::BITS - 1 - W::KEPT).max(1)).clamp(1, 4) as usize
    }

    /// The next bits: 57, or all that there are.
    #[inline(always)]
    fn window(&self) -> u64 {
        let at = self.bit / 8;
        let shift = self.bit % 8;
        match self.data.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
            // A ninth byte, for the widest words.
            Some(window) => {
                let next = self.data.get(at + 8).copied().unwrap_or(0);
                u64::from_le_bytes(*window) >> shift | (u64::from(next) << 1 << (63 - shift))
            }
            None => self.last_window(at, shift),
        }
    }

    fn last_window(&self, at: usize, shift: usize) -> u64 {
        let mut window = [0u8; 8];
        let rest = self.data.get(at..).unwrap_or_default();
        for (byte, &rest) in window.iter_mut().zip(rest) {
            *byte = rest;
        }
        u64::from_le_bytes(window) >> shift
    }

    /// Whether exactly all bytes were used.
    fn finish(self) -> Result<(), CodecError> {
        if self.bit.div_ceil(8) == self.data.len() { Ok(()) } else { Err(DAMAGED) }
    }
}
