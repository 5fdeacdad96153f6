//! A block taken apart into planes of bytes.
//!
//! Words are rotated left by one bit first, so that the sign goes to the low end and the exponent fills the top byte. The
//! planes follow each other from the top byte down, each as [`super::plane`] writes it; those of quantised blocks in the
//! order of their fields. Bytes behind the last whole element, which only text has, are a last plane.

use std::cell::RefCell;

use super::Level;
use super::error::CodecError;
use super::kind::Kind;
use super::plane;

thread_local! {
    /// Planes of the block that is being coded. Fresh memory for each would cost more than taking it apart.
    static SPLIT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Appends the planes of a block.
pub fn encode(raw: &[u8], kind: Kind, level: Level, out: &mut Vec<u8>) {
    encode_from(raw, kind, level, 0, out);
}

/// Appends the planes but for the first `skip`.
pub fn encode_from(raw: &[u8], kind: Kind, level: Level, skip: usize, out: &mut Vec<u8>) {
    if kind.word == 1 && kind.runs.is_empty() && skip == 0 {
        // It is its own only plane.
        return plane::encode(raw, level, out);
    }
    SPLIT.with_borrow_mut(|split| {
        split.resize(raw.len(), 0);
        for plane in split_into(split, raw, kind).into_iter().skip(skip) {
            plane::encode(plane, level, out);
        }
    });
}

/// The top plane of a block.
pub fn top(raw: &[u8], kind: Kind) -> Vec<u8> {
    let mut split = vec![0; raw.len()];
    let len = split_into(&mut split, raw, kind).first().map_or(0, |plane| plane.len());
    split.truncate(len);
    split
}

/// Writes the planes of a block to `split`, which is as long, one after another from the top byte down.
fn split_into<'a>(split: &'a mut [u8], raw: &[u8], kind: Kind) -> Vec<&'a mut [u8]> {
    let mut rest = split;
    let cut = |len| rest.split_off_mut(..len).unwrap_or_default();
    let mut planes: Vec<&mut [u8]> = lens(kind, raw.len()).into_iter().map(cut).collect();
    match (kind.runs, kind.word, planes.as_mut_slice()) {
        ([], 2, [a, b, ..]) => {
            for ((word, a), b) in raw.as_chunks::<2>().0.iter().zip(&mut **a).zip(&mut **b) {
                [*a, *b] = u16::from_le_bytes(*word).rotate_left(1).to_be_bytes();
            }
        }
        ([], 4, planes) => {
            // Four passes, each of which the compiler does many words at a time, are faster than one.
            for (at, plane) in (0..4).zip(planes) {
                for (byte, word) in plane.iter_mut().zip(raw.as_chunks::<4>().0) {
                    *byte = (u32::from_le_bytes(*word).rotate_left(1) >> (24 - 8 * at)) as u8;
                }
            }
        }
        ([], 8, planes) => {
            for (i, word) in raw.as_chunks::<8>().0.iter().enumerate() {
                for (plane, byte) in planes.iter_mut().zip(u64::from_le_bytes(*word).rotate_left(1).to_be_bytes()) {
                    plane[i] = byte;
                }
            }
        }
        ([], _, planes) => planes.iter_mut().for_each(|plane| plane.copy_from_slice(&raw[..plane.len()])),
        (runs, ..) => {
            let mut begin = 0;
            for (&run, plane) in runs.iter().zip(&mut planes) {
                for (bytes, block) in plane.chunks_exact_mut(run).zip(raw.chunks_exact(kind.unit())) {
                    bytes.copy_from_slice(&block[begin..begin + run]);
                }
                begin += run;
            }
        }
    }
    let rest = raw.len() % kind.unit();
    if rest > 0
        && let Some(last) = planes.last_mut()
    {
        last.copy_from_slice(&raw[raw.len() - rest..]);
    }
    planes
}

/// Decodes a block of `len` bytes.
///
/// # Errors
/// [`CodecError::Damaged`] when `data` holds no such planes.
pub fn decode(data: &[u8], kind: Kind, len: usize) -> Result<Vec<u8>, CodecError> {
    decode_after(data, kind, len, Vec::new())
}

/// Decodes a block of which the first planes are there already.
///
/// # Errors
/// [`CodecError::Damaged`] when `data` does not hold the other planes.
pub fn decode_after(mut data: &[u8], kind: Kind, len: usize, known: Vec<Vec<u8>>) -> Result<Vec<u8>, CodecError> {
    let mut owned = known;
    let first = owned.len();
    let lens = lens(kind, len);
    let mut borrowed: Vec<Option<&[u8]>> = vec![None; first];
    for &len in &lens[first.min(lens.len())..] {
        let raw = plane::raw(&mut data, len);
        let mut bytes = Vec::new();
        if raw.is_none() {
            bytes = vec![0; len];
            plane::decode(&mut data, &mut bytes)?;
        }
        owned.push(bytes);
        borrowed.push(raw);
    }
    if !data.is_empty() || owned.len() != lens.len() {
        return Err(CodecError::Damaged { what: "block, which has more than its planes" });
    }
    let planes: Vec<&[u8]> = owned.iter().zip(&borrowed).map(|(own, raw)| raw.unwrap_or(own)).collect();
    if let ([_], true) = (&*planes, kind.word == 1 && kind.runs.is_empty()) {
        return Ok(borrowed[0].map_or_else(|| std::mem::take(&mut owned[0]), <[u8]>::to_vec));
    }
    Ok(join(&planes, kind, len))
}

/// Lengths of the planes of a block of `len` bytes.
fn lens(kind: Kind, len: usize) -> Vec<usize> {
    let units = len / kind.unit();
    let mut lens: Vec<usize> = match kind.runs {
        [] => vec![units; kind.word],
        runs => runs.iter().map(|run| run * units).collect(),
    };
    if !len.is_multiple_of(kind.unit()) {
        lens.push(len % kind.unit());
    }
    lens
}

fn join(planes: &[&[u8]], kind: Kind, len: usize) -> Vec<u8> {
    let mut raw = vec![0u8; len];
    match (kind.runs, kind.word) {
        ([], 2) => {
            for ((word, &a), &b) in raw.as_chunks_mut::<2>().0.iter_mut().zip(planes[0]).zip(planes[1]) {
                *word = (u16::from(a) << 8 | u16::from(b)).rotate_right(1).to_le_bytes();
            }
        }
        ([], 4) => {
            // Halves of words, which the compiler makes of many bytes at a time, and then words of halves.
            let half =
                |high: u8, low: u8, next: u8| (u16::from(high) << 8 | u16::from(low)) >> 1 | u16::from(next) << 15;
            let parts: [&[[u8; 16]]; 4] = std::array::from_fn(|plane| planes[plane].as_chunks().0);
            for (i, words) in raw.as_chunks_mut::<64>().0.iter_mut().enumerate() {
                let [a, b, c, d] = parts.map(|part| part[i]);
                let high: [u16; 16] = std::array::from_fn(|i| half(a[i], b[i], d[i]));
                let low: [u16; 16] = std::array::from_fn(|i| half(c[i], d[i], b[i]));
                for (i, word) in words.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                    *word = (u32::from(high[i]) << 16 | u32::from(low[i])).to_le_bytes();
                }
            }
            let done = raw.len() / 64 * 16;
            for (i, word) in raw.as_chunks_mut::<4>().0.iter_mut().enumerate().skip(done) {
                *word = u32::from_be_bytes(std::array::from_fn(|plane| planes[plane][i])).rotate_right(1).to_le_bytes();
            }
        }
        ([], 8) => {
            for (i, word) in raw.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                let parts = std::array::from_fn(|plane| planes[plane][i]);
                *word = u64::from_be_bytes(parts).rotate_right(1).to_le_bytes();
            }
        }
        ([], _) => raw.copy_from_slice(planes[0]),
        (runs, _) => {
            let mut begin = 0;
            for (&run, plane) in runs.iter().zip(planes) {
                for (block, bytes) in raw.chunks_exact_mut(kind.unit()).zip(plane.chunks_exact(run)) {
                    block[begin..begin + run].copy_from_slice(bytes);
                }
                begin += run;
            }
        }
    }
    let rest = len % kind.unit();
    if rest > 0
        && let Some(last) = planes.last()
    {
        raw[len - rest..].copy_from_slice(last);
    }
    raw
}
