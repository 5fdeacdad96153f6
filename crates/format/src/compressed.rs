//! Files that are one compressed stream: told by their first bytes, and decoded whole within limits.
//!
//! Streams may follow each other in one file, and every reader of them goes on to the next; so does this one. Loaders read
//! as a stream comes out of its decoder, so that what stands before damage has an effect: it is an answer too.

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
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
    /// The format that xz replaced.
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
            // The length is unknown or below a terabyte, and what follows begins with a zero.
            [0x5d, 0, _, _, _, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, ..]
            | [0x5d, 0, _, _, _, _, _, _, _, _, 0, 0, 0, 0, ..] => Self::Lzma,
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

/// What a file of compressed streams holds.
#[derive(Debug)]
pub struct Unpacked {
    /// The bytes; those before the damage, where there is some.
    pub section: Section,
    /// Bytes that follow the last stream.
    pub rest: u64,
    /// Why there are not all bytes.
    pub error: Option<FormatError>,
}

/// Memory that a decoder of LZMA may take, in KiB: enough for dictionaries of 128 MiB, twice what the best preset has.
const LZMA_KIB: u32 = 160 << 10;

/// Decodes the section, which is a stream of this compressor, or several; bytes that follow the last are counted.
///
/// [`Unpacked::error`] is [`FormatError::TooLarge`] when there are more than `limits.decoded_bytes` on either side, more
/// than `limits.inflate_ratio` times as many as are stored, or a dictionary that is too large, and
/// [`FormatError::Broken`] for a damaged stream.
///
/// # Errors
/// When the section cannot be read, or is too long.
pub fn unpack(section: &Section, compressor: Compressor, limits: &Limits) -> Result<Unpacked, FormatError> {
    const WHAT: &str = "compressed file in bytes";
    Limits::at_most(WHAT, section.len(), limits.decoded_bytes)?;
    let bytes = section.read("compressed file", 0, section.len())?;
    let most = limits.decoded_bytes.min(section.len().saturating_mul(limits.inflate_ratio).max(16 << 20));
    let (mut out, mut error) = (Vec::new(), None);
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        // What does not begin as a stream does is no further stream.
        if !out.is_empty() && Compressor::of(rest) != Some(compressor) {
            break;
        }
        let before = rest.len();
        let decoded = match compressor {
            Compressor::Gzip => gzip(rest, most, &mut out),
            Compressor::Zlib => deflated(rest, DataFormat::Zlib, most, &mut out),
            Compressor::Zstd => zstd(rest, most, &mut out),
            Compressor::Lz4 => lz4(rest, most, &mut out),
            Compressor::Bzip2 => bzip2(rest, most, &mut out),
            Compressor::Xz => xz(rest, most, &mut out),
            Compressor::Lzma => lzma(rest, most, &mut out),
        };
        match decoded {
            Ok(left) => rest = left,
            Err(found) => {
                error = Some(found);
                break;
            }
        }
        if out.is_empty() || rest.len() == before {
            break;
        }
    }
    out.truncate(usize::try_from(most).unwrap_or(usize::MAX));
    Ok(Unpacked { section: Section::of_bytes(section.file().to_string(), out), rest: rest.len() as u64, error })
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
    const WHAT: &str = "zstd frame";
    let mut rest = bytes;
    let decoder = ruzstd::decoding::StreamingDecoder::new(&mut rest).map_err(|error| FormatError::Broken {
        what: WHAT,
        at: 0,
        detail: error.to_string(),
    })?;
    taken(WHAT, decoder, most, out)?;
    Ok(rest)
}

fn lz4<'a>(bytes: &'a [u8], most: u64, out: &mut Vec<u8>) -> Result<&'a [u8], FormatError> {
    let mut rest = bytes;
    taken("lz4 frame", lz4_flex::frame::FrameDecoder::new(&mut rest), most, out)?;
    Ok(rest)
}

fn bzip2<'a>(bytes: &'a [u8], most: u64, out: &mut Vec<u8>) -> Result<&'a [u8], FormatError> {
    let mut rest = bytes;
    taken("bzip2 stream", bzip2::bufread::BzDecoder::new(&mut rest), most, out)?;
    Ok(rest)
}

fn xz<'a>(bytes: &'a [u8], most: u64, out: &mut Vec<u8>) -> Result<&'a [u8], FormatError> {
    let mut rest = bytes;
    taken("xz stream", lzma_rust2::XzReader::new_mem_limit(&mut rest, false, LZMA_KIB), most, out)?;
    Ok(rest)
}

fn lzma<'a>(bytes: &'a [u8], most: u64, out: &mut Vec<u8>) -> Result<&'a [u8], FormatError> {
    const WHAT: &str = "lzma stream";
    let mut decoder =
        lzma_rust2::LzmaReader::new_mem_limit(bytes, LZMA_KIB, None).map_err(|error| refused(WHAT, &error, 0))?;
    taken(WHAT, &mut decoder, most, out)?;
    // It reads ahead.
    let (rest, ahead) = decoder.into_parts();
    Ok(bytes.get(bytes.len().saturating_sub(rest.len() + ahead.len())..).unwrap_or_default())
}

/// Adds what the decoder gives, up to one byte more than is allowed.
fn taken(what: &'static str, decoder: impl Read, most: u64, out: &mut Vec<u8>) -> Result<(), FormatError> {
    let room = most.saturating_sub(out.len() as u64).saturating_add(1);
    decoder.take(room).read_to_end(out).map_err(|error| refused(what, &error, out.len()))?;
    Limits::at_most("decompressed file in bytes", out.len() as u64, most)
}

/// What a decoder says, as our error.
fn refused(what: &'static str, error: &std::io::Error, decoded: usize) -> FormatError {
    if error.kind() == std::io::ErrorKind::OutOfMemory {
        let limit = u64::from(LZMA_KIB) << 10;
        return FormatError::TooLarge { what: "dictionary of a compressed file in bytes", size: limit + 1, limit };
    }
    FormatError::Broken { what, at: 0, detail: format!("after {decoded} decoded bytes: {error}") }
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
        let found = unpack(&section, compressor, &limits(limit))?;
        match found.error {
            Some(error) => Err(error),
            None => Ok((found.section.read("all", 0, found.section.len()).unwrap(), found.rest)),
        }
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
    }

    /// `b"some text"`, compressed by Python's `bz2.compress`.
    const BZIP2: &[u8] = &[
        0x42, 0x5a, 0x68, 0x39, 0x31, 0x41, 0x59, 0x26, 0x53, 0x59, 0xfb, 0x2c, 0xe7, 0xc2, 0x00, 0x00, 0x02, 0x91,
        0x80, 0x40, 0x00, 0x02, 0x02, 0x8c, 0x40, 0x20, 0x00, 0x31, 0x0c, 0x01, 0x06, 0x4f, 0x47, 0x23, 0xc4, 0x49,
        0x45, 0xdc, 0x91, 0x4e, 0x14, 0x24, 0x3e, 0xcb, 0x39, 0xf0, 0x80,
    ];
    /// By `lzma.compress`.
    const XZ: &[u8] = &[
        0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00, 0x00, 0x04, 0xe6, 0xd6, 0xb4, 0x46, 0x02, 0x00, 0x21, 0x01, 0x16, 0x00,
        0x00, 0x00, 0x74, 0x2f, 0xe5, 0xa3, 0x01, 0x00, 0x08, 0x73, 0x6f, 0x6d, 0x65, 0x20, 0x74, 0x65, 0x78, 0x74,
        0x00, 0x00, 0x00, 0x00, 0x91, 0x80, 0x54, 0x63, 0xbb, 0x2f, 0x70, 0xaf, 0x00, 0x01, 0x21, 0x09, 0x6c, 0x18,
        0xc5, 0xd5, 0x1f, 0xb6, 0xf3, 0x7d, 0x01, 0x00, 0x00, 0x00, 0x00, 0x04, 0x59, 0x5a,
    ];
    /// By `lzma.compress(…, lzma.FORMAT_ALONE)`.
    const LZMA: &[u8] = &[
        0x5d, 0x00, 0x00, 0x80, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00, 0x39, 0x9b, 0xc9, 0xf2,
        0xe7, 0x50, 0xb8, 0xc5, 0xe2, 0x5d, 0xac, 0xf1, 0x35, 0xff, 0xff, 0x86, 0x72, 0x00, 0x00,
    ];

    #[test]
    fn bzip2_xz_and_lzma_are_decoded_and_end_where_they_end() {
        for stream in [BZIP2, XZ, LZMA] {
            assert_eq!(unpacked(stream, 1 << 20).unwrap(), (b"some text".to_vec(), 0));
            let twice = [stream, stream, b"hidden"].concat();
            assert_eq!(unpacked(&twice, 1 << 20).unwrap(), (b"some textsome text".to_vec(), 6));
            assert!(matches!(unpacked(stream, 8), Err(FormatError::TooLarge { .. })));
            for end in 14..stream.len() {
                // What comes out before the damage is an answer, and that there is damage too.
                let section = Section::of_bytes("f", &stream[..end]);
                let found = unpack(&section, Compressor::of(stream).unwrap(), &limits(1 << 20)).unwrap();
                assert!(found.error.is_some(), "cut at {end}");
                let part = found.section.read("part", 0, found.section.len()).unwrap();
                assert!(b"some text".starts_with(&part), "cut at {end}");
            }
        }
    }

    #[test]
    fn a_dictionary_that_does_not_fit_into_memory_is_refused() {
        let mut lzma = LZMA.to_vec();
        lzma[1..5].copy_from_slice(&0xf000_0000u32.to_le_bytes());
        lzma[1] = 0;
        assert!(matches!(unpacked(&lzma, 1 << 20), Err(FormatError::TooLarge { .. })));
    }

    proptest::proptest! {
        #[test]
        fn damaged_streams_end(which in 0usize..3, at in 0usize..200, value: u8, more: u8) {
            let mut bytes = [BZIP2, XZ, LZMA][which].to_vec();
            let compressor = Compressor::of(&bytes).unwrap();
            let len = bytes.len();
            bytes[at % len] = value;
            bytes[(at * 7 + 3) % len] ^= more;
            let found = unpack(&Section::of_bytes("f", bytes), compressor, &limits(1 << 16)).unwrap();
            proptest::prop_assert!(found.section.len() <= 1 << 16);
        }
    }
}
