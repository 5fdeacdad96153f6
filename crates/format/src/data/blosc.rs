//! Blosc 1 chunks, the default compressor of zarr 2.
//!
//! | bytes | meaning |
//! |---|---|
//! | 0 | version of the format, 1 or 2 |
//! | 1 | version of the inner codec |
//! | 2 | flags: 1 byte shuffle, 2 stored plain, 4 bit shuffle, 16 blocks are not split; bits 5–7 the inner codec |
//! | 3 | bytes of one element |
//! | 4–7 | decoded length, u32 |
//! | 8–11 | bytes of one block, u32 |
//! | 12–15 | length of the chunk, header included, u32 |
//! | 16– | for each block its offset in the chunk, u32; then blocks |
//!
//! A block is split into as many streams as an element has bytes, unless it is small or flagged; each stream is a u32
//! length and that many bytes, plain when it is as long as what it decodes to. Source: README_CHUNK_FORMAT of c-blosc 1.

use miniz_oxide::inflate;

use super::filter::{at_most, broken, inflated, unshuffle, zstd};
use crate::error::FormatError;

const WHAT: &str = "blosc chunk";
const MAX_SPLITS: usize = 16;
const MIN_SPLIT_BYTES: usize = 128;

/// Decodes a chunk of at most `limit` bytes.
pub(super) fn decode(chunk: &[u8], limit: usize) -> Result<Vec<u8>, FormatError> {
    let early = || broken(WHAT, "it ends early");
    let header = chunk.first_chunk::<16>().ok_or_else(early)?;
    let word = |at: usize| chunk.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
    let [version, _, flags, width, ..] = *header;
    let (Some(len), Some(block), Some(stored)) = (word(4), word(8), word(12)) else { return Err(early()) };
    let (len, block, width) = (len as usize, block as usize, usize::from(width));
    if !(1..=2).contains(&version) {
        return Err(FormatError::UnknownVersion { what: WHAT, version: version.into() });
    }
    if stored as usize != chunk.len() {
        return Err(broken(WHAT, format!("it says that it has {stored} bytes; there are {}", chunk.len())));
    }
    at_most("decoded size of a blosc chunk, in bytes", len, limit)?;
    if flags & 2 != 0 {
        return chunk.get(16..16 + len).map(<[u8]>::to_vec).ok_or_else(early);
    }
    if len == 0 {
        return Ok(Vec::new());
    }
    if block == 0 || width == 0 {
        return Err(broken(WHAT, "its blocks or elements have no bytes"));
    }
    let mut out = Vec::new();
    for number in 0..len.div_ceil(block) {
        let size = block.min(len - number * block);
        let at = number.checked_mul(4).and_then(|at| word(at.checked_add(16)?)).ok_or_else(early)? as usize;
        let body = chunk.get(at..).filter(|_| at >= 16).ok_or_else(early)?;
        let decoded = decode_block(body, flags, width, size, size < block)?;
        out.extend(match flags & 5 {
            0 => decoded,
            1 => unshuffle(&decoded, width),
            _ => unshuffle_bits(&decoded, width),
        });
    }
    Ok(out)
}

fn decode_block(mut body: &[u8], flags: u8, width: usize, size: usize, last: bool) -> Result<Vec<u8>, FormatError> {
    let early = || broken(WHAT, "it ends early");
    // The last, shorter block is never split (c-blosc, blosc_d).
    let split = flags & 16 == 0 && !last && width <= MAX_SPLITS && size / width >= MIN_SPLIT_BYTES;
    let streams = if split { width } else { 1 };
    let each = size / streams;
    let mut out = Vec::new();
    for _ in 0..streams {
        let (len, rest) = body.split_first_chunk::<4>().ok_or_else(early)?;
        let (stream, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize).ok_or_else(early)?;
        body = rest;
        let decoded = if stream.len() == each { stream.to_vec() } else { decode_stream(stream, flags >> 5, each)? };
        if decoded.len() != each {
            return Err(broken(WHAT, format!("a stream decodes to {} bytes instead of {each}", decoded.len())));
        }
        out.extend_from_slice(&decoded);
    }
    Ok(out)
}

fn decode_stream(stream: &[u8], codec: u8, len: usize) -> Result<Vec<u8>, FormatError> {
    match codec {
        0 => blosclz(stream, len).ok_or_else(|| broken(WHAT, "a BloscLZ stream is damaged")),
        1 => lz4_flex::block::decompress(stream, len).map_err(|source| FormatError::Lz4 { source }),
        2 => {
            let found = snap::raw::decompress_len(stream).map_err(|error| broken(WHAT, error))?;
            at_most("decoded size of a snappy block, in bytes", found, len)?;
            snap::raw::Decoder::new().decompress_vec(stream).map_err(|error| broken(WHAT, error))
        }
        3 => inflated(inflate::decompress_to_vec_zlib_with_limit(stream, len), WHAT, len),
        4 => zstd(stream, len),
        other => Err(FormatError::Unsupported { what: "this blosc codec", detail: format!("number {other}") }),
    }
}

/// BloscLZ: literals and matches as in FastLZ level 2, with distances from 8,191 on in two bytes more.
fn blosclz(stream: &[u8], len: usize) -> Option<Vec<u8>> {
    const FAR: usize = 8191;
    let mut out = Vec::with_capacity(len.min(1 << 20));
    let mut bytes = stream.iter().copied();
    let mut control = usize::from(bytes.next()? & 31);
    loop {
        if control >= 32 {
            let mut count = (control >> 5) - 1;
            let mut distance = (control & 31) << 8;
            if count == 6 {
                loop {
                    let more = bytes.next()?;
                    count += usize::from(more);
                    if more != 255 {
                        break;
                    }
                }
            }
            let low = bytes.next()?;
            distance += usize::from(low);
            if low == 255 && distance == FAR {
                distance = (usize::from(bytes.next()?) << 8) + usize::from(bytes.next()?) + FAR;
            }
            let count = count + 3;
            let from = out.len().checked_sub(distance + 1)?;
            if out.len() + count > len {
                return None;
            }
            for at in from..from + count {
                out.push(*out.get(at)?);
            }
        } else {
            for _ in 0..=control {
                out.push(bytes.next()?);
            }
            if out.len() > len {
                return None;
            }
        }
        match bytes.next() {
            Some(next) => control = usize::from(next),
            None => return Some(out),
        }
    }
}

/// Puts bit planes together: of each eight elements, bit by bit of each byte. Blocks of another number of elements are
/// not shuffled (c-blosc 1, `blosc_internal_bitunshuffle`).
fn unshuffle_bits(bytes: &[u8], width: usize) -> Vec<u8> {
    let count = bytes.len() / width;
    if !count.is_multiple_of(8) {
        return bytes.to_vec();
    }
    let (planes, rest) = bytes.split_at(count * width);
    let mut out = vec![0u8; planes.len()];
    let row = (count / 8).max(1);
    for (at, &packed) in planes.iter().enumerate() {
        let (plane, group) = (at / row, at % row);
        let (byte, bit) = (plane / 8, plane % 8);
        for element in 0..8 {
            if let Some(place) = out.get_mut((group * 8 + element) * width + byte) {
                *place |= (packed >> element & 1) << bit;
            }
        }
    }
    out.extend_from_slice(rest);
    out
}
