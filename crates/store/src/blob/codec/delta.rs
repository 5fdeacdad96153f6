//! A block as its difference to the same elements of a base.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 1 | element type of the base, see [`super::kind`] |
//! | 1 | 4 | CRC-32C of the decoded block |
//! | 5 | | drift of the base, see [`super::drift`] |
//! | | | symbols of the differences given the exponents of the base, see [`super::context`] |
//! | | | for each symbol that leaves bits out these bits, low end first; the last byte is filled up with zeros |
//!
//! Both sides are numbers whose order is that of the values, so that a small step is a small difference, also across zero.
//! A difference becomes its zigzag; a zigzag becomes a symbol that names the place of its leading bit and the next few
//! bits, and what is below is stored as it is. A base of another type is cast first. The checksum finds a base that is
//! not the one the block was made from.
//!
//! What weight decay does to all weights is done to the base first, where that saves bytes.

use std::borrow::Cow;
use std::cell::RefCell;

use weighthouse_format::Dtype;

use super::below::{Below, BelowReader};
use super::context::{self, QUIET, SEGMENT, Symbols};
use super::drift::Drift;
use super::error::CodecError;
use super::kind::{self, Kind, Number};
use super::words::{Word, symbol, value};
use super::{Level, cast};

const DAMAGED: CodecError = CodecError::Damaged { what: "difference" };

/// Appends the difference of `raw` to `base`, which has as many elements; nothing when `base` cannot be cast.
pub fn encode(raw: &[u8], dtype: Dtype, base: (&[u8], Dtype), drift: &Drift, level: Level, out: &mut Vec<u8>) -> bool {
    let (base, base_dtype) = base;
    let Some(base) = cast::cast(base, base_dtype, dtype).filter(|base| base.len() == raw.len()) else { return false };
    out.push(kind::code(base_dtype));
    out.extend(crc_fast::crc32_iscsi(raw).to_le_bytes());
    drift.write(out);
    let kind = Kind::of(dtype);
    match kind.word {
        2 => encode_words::<u16>(raw, &base, kind, drift, level, out),
        4 => encode_words::<u32>(raw, &base, kind, drift, level, out),
        8 => encode_words::<u64>(raw, &base, kind, drift, level, out),
        _ => encode_words::<u8>(raw, &base, kind, drift, level, out),
    }
    true
}

/// What is made of a block while it is coded. Fresh memory for each block would cost more than most of the work.
#[derive(Default)]
struct Kept {
    symbols: Vec<u8>,
    exponents: Vec<u8>,
    below: Vec<u8>,
}

thread_local! {
    static KEPT: RefCell<Kept> = RefCell::default();
    static SYMBOLS: RefCell<Symbols> = RefCell::default();
}

fn encode_words<W: Word>(raw: &[u8], base: &[u8], kind: Kind, drift: &Drift, level: Level, out: &mut Vec<u8>) {
    KEPT.with_borrow_mut(|kept| {
        let bytes = size_of::<W>();
        kept.symbols.resize(raw.len() / bytes, 0);
        kept.exponents.resize(raw.len() / bytes, 0);
        let mut below = Below::new(&mut kept.below, raw.len());
        let (mut words, mut bases) = ([W::narrow(0); SEGMENT], [W::narrow(0); SEGMENT]);
        let mut sizes = Vec::with_capacity(raw.len() / bytes / SEGMENT + 1);
        let segments = raw.chunks(SEGMENT * bytes).zip(base.chunks(SEGMENT * bytes));
        let kept_segments = kept.symbols.chunks_mut(SEGMENT).zip(kept.exponents.chunks_mut(SEGMENT));
        for ((raw, base), (symbols, exponents)) in segments.zip(kept_segments) {
            W::fill(&mut words, raw);
            W::fill(&mut bases, base);
            let mut units = [0f32; SEGMENT];
            if let Number::Float { mantissa } = kind.number {
                for (exponent, base) in exponents.iter_mut().zip(&bases) {
                    *exponent = base.exponent_above(mantissa);
                }
                drift.apply(&mut bases, kind);
                for (word, base) in words.iter_mut().zip(&bases) {
                    *word = word.ordered().difference(base.ordered());
                }
            } else {
                exponents.fill(0);
                for (word, base) in words.iter_mut().zip(&bases) {
                    *word = word.difference(*base);
                }
            }
            // What an earlier segment left behind the end of the last one.
            words[symbols.len()..].fill(W::narrow(0));
            for (unit, &exponent) in units.iter_mut().zip(&*exponents) {
                *unit = context::unit(exponent, kind);
            }
            sizes.push((moved(&words, &units), words.iter().fold(0, |all, word| all | word.wide()) > 0));
            cut(&words, symbols, &mut below);
        }
        let mut scales = context::scales(sizes.iter().map(|size| size.0));
        for (scale, (_, moved)) in scales.iter_mut().zip(sizes) {
            // Sums of very large ones may cancel each other.
            if *scale == QUIET && moved {
                *scale -= 1;
            }
        }
        context::encode(&kept.symbols, &kept.exponents, &scales, level, out);
        below.finish(out);
    });
}

/// How far the values of a segment moved, in a unit that is the same for all of the block; four sums, so that none waits.
#[inline(always)]
fn moved<W: Word>(differences: &[W; SEGMENT], units: &[f32; SEGMENT]) -> f32 {
    let mut sums = [0f32; 4];
    for (differences, units) in differences.as_chunks::<4>().0.iter().zip(units.as_chunks::<4>().0) {
        for lane in 0..4 {
            sums[lane] += differences[lane].halved() * units[lane];
        }
    }
    sums.iter().sum()
}

/// Writes the symbols of a segment, and the bits that they leave out.
#[inline(always)]
fn cut<W: Word>(differences: &[W; SEGMENT], symbols: &mut [u8], below: &mut Below) {
    // Most differences are their own symbols.
    let own = 2u64 << W::KEPT;
    let mut others = [0u8; SEGMENT];
    for ((other, symbol), difference) in others.iter_mut().zip(&mut *symbols).zip(differences) {
        *symbol = difference.wide() as u8;
        *other = u8::from(difference.wide() >= own);
    }
    let mut one = |place: usize, symbol_at: &mut u8| {
        let difference = differences[place % SEGMENT];
        let (symbol, left_out) = symbol(difference);
        below.put(difference.wide(), left_out);
        *symbol_at = symbol;
    };
    if is_most(&others) {
        symbols.iter_mut().enumerate().for_each(|(place, symbol)| one(place, symbol));
    } else {
        for_each_marked(&others, |place| {
            if let Some(symbol) = symbols.get_mut(place) {
                one(place, symbol);
            }
        });
    }
}

/// Whether more than half of the elements of a segment are marked by a one.
#[inline(always)]
fn is_most(marks: &[u8; SEGMENT]) -> bool {
    usize::from(marks.iter().sum::<u8>()) * 2 > SEGMENT
}

/// Takes the places that are marked by a one, eight elements at a time: most have none.
#[inline(always)]
fn for_each_marked(marks: &[u8; SEGMENT], mut take: impl FnMut(usize)) {
    for (eight, marks) in marks.as_chunks::<8>().0.iter().enumerate() {
        let mut marks = u64::from_le_bytes(*marks);
        while marks != 0 {
            take(eight * 8 + marks.trailing_zeros() as usize / 8);
            marks &= marks - 1;
        }
    }
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
    let mut rest = rest;
    let drift = Drift::read(&mut rest)?;
    let kind = Kind::of(dtype);
    let raw = match kind.word {
        2 => decode_words::<u16>(rest, &base, kind, &drift)?,
        4 => decode_words::<u32>(rest, &base, kind, &drift)?,
        8 => decode_words::<u64>(rest, &base, kind, &drift)?,
        _ => decode_words::<u8>(rest, &base, kind, &drift)?,
    };
    check(&raw, u32::from_le_bytes(*stored))?;
    Ok(raw)
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

fn decode_words<W: Word>(data: &[u8], base: &[u8], kind: Kind, drift: &Drift) -> Result<Vec<u8>, CodecError> {
    SYMBOLS.with_borrow_mut(|symbols| decode_with::<W>(data, base, kind, drift, symbols))
}

fn decode_with<W: Word>(
    mut data: &[u8],
    base: &[u8],
    kind: Kind,
    drift: &Drift,
    symbols: &mut Symbols,
) -> Result<Vec<u8>, CodecError> {
    let bytes = size_of::<W>();
    let mut words = [W::narrow(0); SEGMENT];
    let scales = context::decode(&mut data, base.len() / bytes, symbols, |segment, exponents| {
        if let Number::Float { mantissa } = kind.number {
            W::fill(&mut words, base.get(segment * SEGMENT * bytes..).unwrap_or_default());
            for (exponent, word) in exponents.iter_mut().zip(words) {
                *exponent = word.exponent_above(mantissa);
            }
        }
    })?;
    let mut raw = base.to_vec();
    let mut live = &*symbols.live;
    let mut below = BelowReader::new(data);
    let float = matches!(kind.number, Number::Float { .. });
    let values: [(u32, u64); 256] = std::array::from_fn(|symbol| value::<W>(symbol as u8));
    let first_cut = values.iter().position(|value| value.0 > 0).map_or(u8::MAX, |at| at as u8);
    let mut differences = [W::narrow(0); SEGMENT];
    for (raw, &scale) in raw.chunks_mut(SEGMENT * bytes).zip(&scales) {
        if scale == QUIET {
            // The base as it is, or as it has become by itself.
            if float && !drift.is_none() {
                W::fill(&mut words, raw);
                drift.apply(&mut words, kind);
                W::spill(&words, raw);
            }
            continue;
        }
        let (symbols, rest) = live.split_at_checked(raw.len() / bytes).ok_or(DAMAGED)?;
        live = rest;
        W::fill(&mut words, raw);
        for (difference, &symbol) in differences.iter_mut().zip(symbols) {
            *difference = W::narrow(symbol.into());
        }
        let mut cut = [0u8; SEGMENT];
        for (cut, &symbol) in cut.iter_mut().zip(symbols) {
            *cut = u8::from(symbol >= first_cut);
        }
        if is_most(&cut) {
            for (difference, &symbol) in differences.iter_mut().zip(symbols) {
                let (left_out, value) = values[usize::from(symbol)];
                *difference = W::narrow(value | below.take::<W>(left_out));
            }
        } else {
            for_each_marked(&cut, |place| {
                let (left_out, value) = values[usize::from(symbols.get(place).copied().unwrap_or(0))];
                differences[place % SEGMENT] = W::narrow(value | below.take::<W>(left_out));
            });
        }
        if float {
            drift.apply(&mut words, kind);
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
