//! A block in planes, of which the top one is coded given what stands beside it: the scale of its segment, and the
//! exponent of the same element of a base. The cold level only, since decoding takes several times as long as of planes.
//!
//! The exponents of Adam's first moment are coded given those of its second moment, and those of weights given the scale
//! of their row.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 1 | element type of the base, see [`super::kind`]; 255 for none |
//! | 1 | 4 | CRC-32C of the decoded block |
//! | 5 | | the top plane, see [`super::context`] |
//! | | | the other planes, see [`super::planes`] |

use weighthouse_format::Dtype;

use super::context::{self, SEGMENT, Symbols};
use super::error::CodecError;
use super::kind::{self, Kind};
use super::words::{self, Word};
use super::{Level, delta, planes};

/// In place of the type of a base.
pub const NONE: u8 = 255;

const DAMAGED: CodecError = CodecError::Damaged { what: "planes given a base" };

/// Appends the block; `base` has as many elements. False when there is nothing to be given, as with quantised blocks.
pub fn encode(raw: &[u8], dtype: Dtype, base: Option<(&[u8], Dtype)>, out: &mut Vec<u8>) -> bool {
    let kind = Kind::of(dtype);
    if !kind.runs.is_empty() || !raw.len().is_multiple_of(kind.word) {
        return false;
    }
    out.push(base.map_or(NONE, |(_, dtype)| kind::code(dtype)));
    out.extend(crc_fast::crc32_iscsi(raw).to_le_bytes());
    let top = planes::top(raw, kind);
    let given = base.map_or_else(|| vec![0; top.len()], |(base, dtype)| exponents(base, Kind::of(dtype)));
    if given.len() != top.len() {
        return false;
    }
    let own = exponents(raw, kind);
    let sizes = own.chunks(SEGMENT).map(|segment| segment.iter().map(|&e| context::unit(e, kind)).sum::<f32>());
    let scales = context::scales(sizes);
    let (mut with, mut without) = (Vec::new(), Vec::new());
    let one_scale = vec![0; scales.len()];
    for (scales, out) in [(&scales, &mut with), (&one_scale, &mut without)] {
        context::encode(&top, &given, scales, Level::Cold, out);
    }
    out.extend(if with.len() < without.len() { with } else { without });
    planes::encode_from(raw, kind, Level::Cold, 1, out);
    true
}

/// Exponents of all elements of a block.
fn exponents(raw: &[u8], kind: Kind) -> Vec<u8> {
    fn of<W: Word>(raw: &[u8], kind: Kind) -> Vec<u8> {
        words::exponents(&W::read_all(raw), kind)
    }
    match kind.word {
        2 => of::<u16>(raw, kind),
        4 => of::<u32>(raw, kind),
        8 => of::<u64>(raw, kind),
        _ => of::<u8>(raw, kind),
    }
}

/// Decodes a block of `len` bytes.
///
/// # Errors
/// [`CodecError::Base`] when a base is needed and `base` is not of its length, [`CodecError::Checksum`] when it is
/// another base, and [`CodecError::Damaged`] when `data` is no such block.
pub fn decode(data: &[u8], dtype: Dtype, base: Option<&[u8]>, len: usize) -> Result<Vec<u8>, CodecError> {
    let kind = Kind::of(dtype);
    let units = len / kind.word;
    if !kind.runs.is_empty() || !len.is_multiple_of(kind.word) {
        return Err(DAMAGED);
    }
    let (&code, rest) = data.split_first().ok_or(DAMAGED)?;
    let (stored, mut rest) = rest.split_first_chunk::<4>().ok_or(DAMAGED)?;
    let given = match code {
        NONE => Vec::new(),
        code => {
            let base_kind = Kind::of(kind::dtype(code)?);
            let (base, wanted) = (base.unwrap_or_default(), units * base_kind.word);
            if base.len() != wanted {
                return Err(CodecError::Base { wanted: wanted as u64, found: base.len() as u64 });
            }
            exponents(base, base_kind)
        }
    };
    let mut symbols = Symbols::default();
    context::decode(&mut rest, units, &mut symbols, |segment, exponents| {
        for (exponent, &given) in exponents.iter_mut().zip(given.get(segment * SEGMENT..).unwrap_or_default()) {
            *exponent = given;
        }
    })?;
    // The exponents of a segment never add up to nothing.
    let top = Some(symbols.live).filter(|top| top.len() == units).ok_or(DAMAGED)?;
    let raw = planes::decode_after(rest, kind, len, vec![top])?;
    delta::check(&raw, u32::from_le_bytes(*stored))?;
    Ok(raw)
}
