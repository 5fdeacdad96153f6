//! Files that are one compressed stream: told by their first bytes, and decoded whole within limits.
//!
//! Streams may follow each other in one file, and every reader of them goes on to the next; so does this one.

use std::io::Read;

use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZError, MZFlush, MZStatus};

use crate::error::FormatError;
use crate::limits::Limits;
use crate::source::Section;

/// What a stream was compressed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Compressor {
    /// gzip.
    Gzip,
    /// zlib.
    Zlib,
    /// Zstandard.
    Zstd,
    /// LZ4 in frames.
    Lz4,
    /// bzip2; not decoded.
    Bzip2,
    /// xz; not decoded.
    Xz,
    /// The format that xz replaced; not decoded.
    Lzma,
}

impl Compressor {
    /// The compressor that a file with this beginning comes from.
    #[must_use]
    pub fn of(head: &[u8]) -> Option<Self> {
        Some(match head {
            [0x1f, 0x8b, 8, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            [4, 0x22, 0x4d, 0x18, ..] => Self::Lz4,
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, 0x53, 0x59, ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [0x5d, 0, 0, _, _, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, ..] => Self::Lzma,
            // A zlib header is a multiple of 31; the window is 32 KiB at most.
            [0x78, flags, ..] if (0x7800 + u16::from(*flags)).is_multiple_of(31) => Self::Zlib,
            _ => return None,
        })
    }

    /// The spelling in our output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zlib => "zlib",
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
            Self::Lzma => "lzma",
        }
    }
}

/// Decodes the section, which is a stream of this compressor, or several; bytes that follow the last are counted.
///
/// # Errors
/// [`FormatError::TooLarge`] when there are more than `limits.decoded_bytes` on either side, or more than
/// `limits.inflate_ratio` times as many as are stored; [`FormatError::Broken`] for a damaged stream;
/// [`FormatError::Unsupported`] for a compressor that is not decoded here.
pub fn unpack(section: &Section, compressor: Compressor, limits: &Limits) -> Result<(Section, u64), FormatError> {
    const WHAT: &str = "compressed file in bytes";
    Limits::at_most(WHAT, section.len(), limits.decoded_bytes)?;
    let bytes = section.read("compressed file", 0, section.len())?;
    let most = limits.decoded_bytes.min(section.len().saturating_mul(limits.inflate_ratio).max(16 << 20));
    let mut out = Vec::new();
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        // What does not begin as a stream does is no further stream.
        if !out.is_empty() && Compressor::of(rest) != Some(compressor) {
            break;
        }
        rest = match compressor {
            Compressor::Gzip => gzip(rest, most, &mut out)?,
            Compressor::Zlib => deflated(rest, DataFormat::Zlib, most, &mut out)?,
            Compressor::Zstd => zstd(rest, most, &mut out)?,
            Compressor::Lz4 => lz4(rest, most, &mut out)?,
            other => {
                let detail = format!("`{}`; decompress it first", other.as_str());
                return Err(FormatError::Unsupported { what: "compression", detail });
            }
        };
        if out.is_empty() {
            break;
        }
    }
    Ok((Section::of_bytes(section.file().to_string(), out), rest.len() as u64))
}

fn gzip<'a>(bytes: &'a [u8], most: u64, out: &mut Vec<u8>) -> Result<&'a [u8], FormatError> {
    let broken = || FormatError::Broken { what: "gzip stream", at: 0, detail: "its header is damaged".to_owned() };
    let body = crate::data::filter::gzip_body(bytes).ok_or_else(broken)?;
    let rest = deflated(body, DataFormat::Raw, most, out)?;
    // A checksum and a length follow.
    Ok(rest.get(8..).unwrap_or_default())
}

fn deflated<'a>(bytes: &'a [u8], format: DataFormat, most: u64, out: &mut Vec<u8>) -> Result<&'a [u8], FormatError> {
    let mut state = InflateState::new_boxed(format);
    let mut window = vec![0; 64 << 10];
    let mut rest = bytes;
    loop {
        let step = inflate(&mut state, rest, &mut window, MZFlush::None);
        rest = rest.get(step.bytes_consumed..).unwrap_or_default();
        out.extend_from_slice(window.get(..step.bytes_written).unwrap_or_default());
        Limits::at_most("decompressed file in bytes", out.len() as u64, most)?;
        match step.status {
            Ok(MZStatus::StreamEnd) => return Ok(rest),
            Ok(_) if step.bytes_consumed + step.bytes_written > 0 => {}
            Ok(_) | Err(MZError::Buf) => {
                let detail = format!("it ends early, after {} bytes", out.len());
                return Err(FormatError::Broken { what: "deflate stream", at: bytes.len() as u64, detail });
            }
            Err(error) => {
                let at = (bytes.len() - rest.len()) as u64;
                return Err(FormatError::Broken { what: "deflate stream", at, detail: format!("{error:?}") });
            }
        }
    }
}

fn zstd<'a>(bytes: &'a [u8], most: u64, out: &mut Vec<u8>) -> Result<&'a [u8], FormatError> {
    let broken = |detail: String| FormatError::Broken { what: "zstd frame", at: 0, detail };
    let mut rest = bytes;
    let decoder = ruzstd::decoding::StreamingDecoder::new(&mut rest).map_err(|error| broken(error.to_string()))?;
    taken(decoder, most, out).map_err(|error| error.unwrap_or_else(broken))?;
    Ok(rest)
}

fn lz4<'a>(bytes: &'a [u8], most: u64, out: &mut Vec<u8>) -> Result<&'a [u8], FormatError> {
    let broken = |detail: String| FormatError::Broken { what: "lz4 frame", at: 0, detail };
    let mut rest = bytes;
    taken(lz4_flex::frame::FrameDecoder::new(&mut rest), most, out).map_err(|error| error.unwrap_or_else(broken))?;
    Ok(rest)
}

/// Why a stream was not taken: the limit, or what its decoder says.
enum Refusal {
    Limit(FormatError),
    Decoder(String),
}

impl Refusal {
    fn unwrap_or_else(self, broken: impl FnOnce(String) -> FormatError) -> FormatError {
        match self {
            Self::Limit(error) => error,
            Self::Decoder(detail) => broken(detail),
        }
    }
}

/// Adds what the decoder gives, up to one byte more than is allowed.
fn taken(decoder: impl Read, most: u64, out: &mut Vec<u8>) -> Result<(), Refusal> {
    let room = most.saturating_sub(out.len() as u64).saturating_add(1);
    decoder.take(room).read_to_end(out).map_err(|error| Refusal::Decoder(error.to_string()))?;
    Limits::at_most("decompressed file in bytes", out.len() as u64, most).map_err(Refusal::Limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(decoded_bytes: u64) -> Limits {
        Limits { decoded_bytes, ..Limits::default() }
    }

    fn unpacked(bytes: &[u8], limit: u64) -> Result<(Vec<u8>, u64), FormatError> {
        let section = Section::of_bytes("f", bytes);
        let compressor = Compressor::of(bytes).expect("a compressor");
        unpack(&section, compressor, &limits(limit))
            .map(|(section, rest)| (section.read("all", 0, section.len()).unwrap(), rest))
    }

    fn gzipped(data: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x1f\x8b\x08\0\0\0\0\0\0\xff".to_vec();
        bytes.extend(miniz_oxide::deflate::compress_to_vec(data, 6));
        bytes.extend([0; 8]);
        bytes
    }

    #[test]
    fn streams_that_follow_each_other_are_one_file() {
        let both = [gzipped(b"first "), gzipped(b"second")].concat();
        assert_eq!(unpacked(&both, 1 << 20).unwrap(), (b"first second".to_vec(), 0));
        let more = [gzipped(b"first"), b"hidden".to_vec()].concat();
        assert_eq!(unpacked(&more, 1 << 20).unwrap(), (b"first".to_vec(), 6));
        let zlib = miniz_oxide::deflate::compress_to_vec_zlib(b"text", 6);
        assert_eq!(unpacked(&zlib, 1 << 20).unwrap(), (b"text".to_vec(), 0));
    }

    #[test]
    fn lz4_frames_are_decoded() {
        let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
        std::io::Write::write_all(&mut encoder, b"some text").unwrap();
        assert_eq!(unpacked(&encoder.finish().unwrap(), 1 << 20).unwrap(), (b"some text".to_vec(), 0));
    }

    #[test]
    fn bombs_and_broken_streams_are_errors() {
        let bomb = gzipped(&vec![0; 40 << 20]);
        assert!(matches!(unpacked(&bomb, 32 << 20), Err(FormatError::TooLarge { .. })));
        let short = gzipped(&(0..=255).cycle().take(9999).collect::<Vec<u8>>());
        for end in 10..short.len() - 9 {
            assert!(unpacked(&short[..end], 1 << 20).is_err(), "cut at {end}");
        }
        let xz = b"\xfd7zXZ\0\0\0";
        assert!(matches!(unpacked(xz, 1 << 20), Err(FormatError::Unsupported { .. })));
    }
}
