//! Filters from stored bytes to elements, each bounded by the length that its output may have.

use std::io::Read;

use miniz_oxide::inflate::{self, TINFLStatus};

use super::blosc;
use crate::error::FormatError;
use crate::tensor::Filter;

/// Applies `filters` in turn; the result has at most `limit` bytes. A stream that decodes to more is cut there: a piece
/// may be the beginning of one.
pub(crate) fn decode(mut bytes: Vec<u8>, filters: &[Filter], limit: u64) -> Result<Vec<u8>, FormatError> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    for (number, &filter) in filters.iter().enumerate() {
        // A checksum is dropped after, four bytes more than the result.
        let more = filters.get(number + 1..).unwrap_or_default().iter();
        let more = more.filter(|later| matches!(later, Filter::DropChecksum)).count() * 4;
        // A later filter may still shrink what this one gives.
        let shrinks = filters.get(number + 1..).unwrap_or_default().iter().map(|later| match later {
            Filter::Narrow { from, to } => (*from as usize).div_ceil((*to).max(1) as usize),
            Filter::Varint { .. } => 10,
            Filter::Latin1 => 2,
            _ => 1,
        });
        let limit = shrinks.fold(limit, usize::saturating_mul).saturating_add(more);
        bytes = apply(bytes, filter, limit)?;
    }
    Ok(bytes)
}

fn apply(mut bytes: Vec<u8>, filter: Filter, limit: usize) -> Result<Vec<u8>, FormatError> {
    match filter {
        Filter::Deflate => inflated(inflate::decompress_to_vec_with_limit(&bytes, limit), "deflate stream", limit),
        Filter::Zlib => inflated(inflate::decompress_to_vec_zlib_with_limit(&bytes, limit), "zlib stream", limit),
        Filter::Gzip => {
            let body = gzip_body(&bytes).ok_or_else(|| broken("gzip stream", "its header is damaged"))?;
            inflated(inflate::decompress_to_vec_with_limit(body, limit), "gzip stream", limit)
        }
        Filter::Zstd => zstd(&bytes, limit),
        Filter::Snappy => {
            let len = snap::raw::decompress_len(&bytes).map_err(|error| broken("snappy block", error))?;
            at_most("decoded size of a snappy block, in bytes", len, limit)?;
            snap::raw::Decoder::new().decompress_vec(&bytes).map_err(|error| broken("snappy block", error))
        }
        Filter::Lz4 => {
            let (len, body) = bytes.split_first_chunk::<4>().ok_or_else(|| broken("LZ4 block", "it has no length"))?;
            let len = u32::from_le_bytes(*len) as usize;
            at_most("decoded size of an LZ4 block, in bytes", len, limit)?;
            lz4_flex::block::decompress(body, len).map_err(|source| FormatError::Lz4 { source })
        }
        Filter::Blosc => blosc::decode(&bytes, limit),
        Filter::Unshuffle { width } => Ok(unshuffle(&bytes, width as usize)),
        Filter::DropChecksum => {
            bytes.truncate(bytes.len().saturating_sub(4));
            Ok(bytes)
        }
        Filter::SwapBytes { width } => {
            for number in bytes.chunks_exact_mut((width as usize).max(1)) {
                number.reverse();
            }
            Ok(bytes)
        }
        Filter::Narrow { from, to } => {
            let kept = bytes.chunks_exact((from as usize).max(1)).filter_map(|number| number.get(..to as usize));
            Ok(kept.flatten().copied().collect())
        }
        Filter::Latin1 => {
            let text = std::str::from_utf8(&bytes).map_err(|error| broken("text of bytes", error))?;
            let byte = |character: char| u8::try_from(u32::from(character)).ok();
            let decoded: Option<Vec<u8>> = text.chars().map(byte).collect();
            decoded.ok_or_else(|| broken("text of bytes", "a character is above U+00FF"))
        }
        Filter::Varint { width } => varints(&bytes, width as usize, limit),
        Filter::Conjugate { width } => {
            let width = (width as usize).max(1);
            for number in bytes.chunks_exact_mut(2 * width) {
                flip_sign(number.get_mut(width..));
            }
            Ok(bytes)
        }
        Filter::Negate { width } => {
            for number in bytes.chunks_exact_mut((width as usize).max(1)) {
                flip_sign(Some(number));
            }
            Ok(bytes)
        }
    }
}

/// Flips the highest bit of a little-endian floating-point number.
fn flip_sign(number: Option<&mut [u8]>) {
    if let Some(last) = number.and_then(|bytes| bytes.last_mut()) {
        *last ^= 0x80;
    }
}

pub(super) fn broken(what: &'static str, detail: impl ToString) -> FormatError {
    FormatError::Broken { what, at: 0, detail: detail.to_string() }
}

pub(super) fn at_most(what: &'static str, size: usize, limit: usize) -> Result<(), FormatError> {
    crate::Limits::at_most(what, size as u64, limit as u64)
}

pub(super) fn inflated(
    outcome: Result<Vec<u8>, inflate::DecompressError>,
    what: &'static str,
    limit: usize,
) -> Result<Vec<u8>, FormatError> {
    outcome.or_else(|error| match error.status {
        TINFLStatus::HasMoreOutput => {
            let mut decoded = error.output;
            decoded.truncate(limit);
            Ok(decoded)
        }
        _ => Err(broken(what, "it cannot be decoded")),
    })
}

pub(super) fn zstd(bytes: &[u8], limit: usize) -> Result<Vec<u8>, FormatError> {
    const WHAT: &str = "zstd frame";
    let decoder = ruzstd::decoding::StreamingDecoder::new(bytes).map_err(|error| broken(WHAT, error))?;
    let mut decoded = Vec::new();
    decoder.take(limit as u64).read_to_end(&mut decoded).map_err(|error| broken(WHAT, error))?;
    Ok(decoded)
}

/// The deflate stream of a gzip member (RFC 1952, section 2.3).
pub(crate) fn gzip_body(bytes: &[u8]) -> Option<&[u8]> {
    let (header, mut rest) = bytes.split_at_checked(10)?;
    let flags = *header.get(3)?;
    if header.get(..3)? != [0x1f, 0x8b, 8] || flags & 0xe0 != 0 {
        return None;
    }
    if flags & 4 != 0 {
        let (len, body) = rest.split_first_chunk::<2>()?;
        rest = body.get(usize::from(u16::from_le_bytes(*len))..)?;
    }
    for flag in [8, 16] {
        if flags & flag != 0 {
            let end = rest.iter().position(|&byte| byte == 0)?;
            rest = rest.get(end + 1..)?;
        }
    }
    if flags & 2 != 0 { rest.get(2..) } else { Some(rest) }
}

/// Puts byte planes of elements `width` bytes wide together; bytes after the last whole element stay where they are.
pub(super) fn unshuffle(bytes: &[u8], width: usize) -> Vec<u8> {
    let count = bytes.len().checked_div(width).unwrap_or(0);
    let (planes, rest) = bytes.split_at(count * width);
    let mut out = Vec::with_capacity(bytes.len());
    for element in 0..count {
        out.extend((0..width).filter_map(|plane| planes.get(plane * count + element)));
    }
    out.extend_from_slice(rest);
    out
}

fn varints(bytes: &[u8], width: usize, limit: usize) -> Result<Vec<u8>, FormatError> {
    const WHAT: &str = "packed varints";
    let mut out = Vec::new();
    let (mut number, mut shift) = (0u64, 0u32);
    for &byte in bytes {
        if shift > 63 {
            return Err(broken(WHAT, "a number is longer than ten bytes"));
        }
        number |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            out.extend(number.to_le_bytes().iter().take(width));
            at_most("decoded size of packed varints, in bytes", out.len(), limit)?;
            (number, shift) = (0, 0);
        }
    }
    if shift != 0 {
        return Err(broken(WHAT, "the last number ends early"));
    }
    Ok(out)
}
