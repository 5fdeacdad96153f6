//! One plane: bytes of the same place in every element, coded alone.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 1 | 0 raw, 1 constant, 2 zstd frame, 3 range coder |
//! | 1 | 4 | length of what follows u32 |
//! | 5 | | raw: the bytes; constant: one byte; zstd: one frame; range coder: table of [`super::freq`], then the stream of [`super::rans`] |

use std::borrow::Cow;
use std::cell::RefCell;

use super::bits::{BitReader, BitWriter};
use super::error::CodecError;
use super::frame::{self, Style};
use super::freq::{self, Levels};
use super::{Level, rans};

const RAW: u8 = 0;
const CONSTANT: u8 = 1;
const ZSTD: u8 = 2;
const RANGE: u8 = 3;

const DAMAGED: CodecError = CodecError::Damaged { what: "plane" };

/// A plane is coded when it gets smaller than this share of itself; below that, decoding costs more than it saves.
const WORTH_PERCENT: f64 = 98.5;

/// How often each byte occurs.
pub fn count(bytes: &[u8]) -> [u32; 256] {
    // Four counters of each, so that equal neighbours do not wait for one another.
    let mut counts = [[0u32; 256]; 4];
    let (groups, rest) = bytes.as_chunks::<4>();
    for group in groups {
        for (counts, &byte) in counts.iter_mut().zip(group) {
            counts[usize::from(byte)] += 1;
        }
    }
    for &byte in rest {
        counts[0][usize::from(byte)] += 1;
    }
    std::array::from_fn(|byte| counts.iter().map(|counts| counts[byte]).sum())
}

/// Appends the plane, coded in the way that pays.
pub fn encode(plane: &[u8], level: Level, out: &mut Vec<u8>) {
    let at = out.len();
    let mode = match plane.split_first() {
        Some((first, rest)) if rest.iter().all(|byte| byte == first) => {
            out.extend([CONSTANT, 0, 0, 0, 0, *first]);
            CONSTANT
        }
        _ => {
            out.extend([RAW, 0, 0, 0, 0]);
            encode_varied(plane, level, out)
        }
    };
    let len = (out.len() - at - 5) as u32;
    out[at] = mode;
    out[at + 1..at + 5].copy_from_slice(&len.to_le_bytes());
}

thread_local! {
    /// The frame that is being tried.
    static FRAME: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

fn encode_varied(plane: &[u8], level: Level, out: &mut Vec<u8>) -> u8 {
    FRAME.with_borrow_mut(|zstd| encode_with(zstd, plane, level, out))
}

fn encode_with(zstd: &mut Vec<u8>, plane: &[u8], level: Level, out: &mut Vec<u8>) -> u8 {
    let at = out.len();
    zstd.clear();
    let sample = sample(plane);
    let counts = count(&sample);
    let ideal = freq::entropy_bits(&counts) / 8.0;
    if ideal * 100.0 < sample.len() as f64 * WORTH_PERCENT {
        // Where one byte has most of a plane there are runs of it, and Huffman codes lose most.
        let skewed = counts.iter().any(|&count| count as usize > sample.len() * 6 / 10);
        if level == Level::Fast || skewed {
            frame::compress_to(plane, if skewed { Style::Runs } else { Style::Literals }, zstd);
        }
        if level == Level::Cold || skewed {
            range(plane, out);
        }
        // The range coder takes four times as long to decode.
        let percent = if level == Level::Cold { 100 } else { 85 };
        let ranged = out.len() - at;
        if ranged > 0 && ranged < plane.len() && (zstd.is_empty() || ranged * 100 < zstd.len() * percent) {
            return RANGE;
        }
        out.truncate(at);
        if !zstd.is_empty() && zstd.len() < plane.len() {
            out.extend_from_slice(zstd);
            return ZSTD;
        }
    }
    out.truncate(at);
    out.extend_from_slice(plane);
    RAW
}

/// Four pieces of a long plane, or all of a short one.
fn sample(plane: &[u8]) -> Cow<'_, [u8]> {
    const PIECE: usize = 4 << 10;
    if plane.len() <= 8 * PIECE {
        return plane.into();
    }
    plane.chunks(plane.len() / 4).flat_map(|part| &part[..PIECE.min(part.len())]).copied().collect()
}

/// Appends table and stream of the range coder.
fn range(plane: &[u8], out: &mut Vec<u8>) {
    let levels = Levels::of(&count(plane));
    let mut bits = BitWriter::new();
    levels.write(&mut bits);
    out.extend(bits.finish());
    let symbols: Vec<u16> = plane.iter().map(|&byte| byte.into()).collect();
    rans::encode(&[levels.frequencies()], &symbols, out);
}

/// Takes the coded plane off the front of `data` and writes its bytes to `plane`, whose length says how many there are.
///
/// # Errors
/// [`CodecError::Damaged`] when it is no coded plane of that length.
pub fn decode(data: &mut &[u8], plane: &mut [u8]) -> Result<(), CodecError> {
    let (mode, coded) = split(data)?;
    match mode {
        RAW if coded.len() == plane.len() => plane.copy_from_slice(coded),
        CONSTANT if coded.len() == 1 => plane.fill(coded[0]),
        ZSTD => frame::decompress(coded, plane)?,
        RANGE => {
            let mut bits = BitReader::new(coded);
            let frequencies = Levels::read(&mut bits)?.frequencies();
            let stream = &coded[bits.used_bytes()..];
            rans::decode(&[frequencies], stream, &vec![0; plane.len()], plane)?;
        }
        _ => return Err(DAMAGED),
    }
    Ok(())
}

/// Takes a plane that is stored raw off the front of `data` without a copy; `None` leaves `data` as it is.
pub fn raw<'a>(data: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let mut rest = *data;
    match split(&mut rest) {
        Ok((RAW, bytes)) if bytes.len() == len => {
            *data = rest;
            Some(bytes)
        }
        _ => None,
    }
}

fn split<'a>(data: &mut &'a [u8]) -> Result<(u8, &'a [u8]), CodecError> {
    let (head, rest) = data.split_first_chunk::<5>().ok_or(DAMAGED)?;
    let [mode, len @ ..] = *head;
    let (coded, rest) = rest.split_at_checked(u32::from_le_bytes(len) as usize).ok_or(DAMAGED)?;
    *data = rest;
    Ok((mode, coded))
}
