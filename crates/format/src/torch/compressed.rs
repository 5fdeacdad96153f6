//! Pickles that joblib compresses whole: zlib and gzip. Others are told by name only.

use crate::contents::{Contents, WarningKind};
use crate::error::FormatError;
use crate::identity::Format;
use crate::limits::Limits;
use crate::source::Section;
use crate::tensor::{Filter, Piece, Stored, Tensor};

use super::bare;

/// The filter that decodes a file with this beginning; `None` when it has none that we have.
pub(super) fn filter(head: &[u8]) -> Option<Filter> {
    match head {
        // A zlib header is a multiple of 31; no pickle begins with `x`.
        [0x78, flags, ..] if (0x7800 + u16::from(*flags)).is_multiple_of(31) => Some(Filter::Zlib),
        [0x1f, 0x8b, ..] => Some(Filter::Gzip),
        _ => None,
    }
}

/// Name of the compressor that a file with this beginning comes from, and that we do not have.
pub(super) fn unknown(head: &[u8]) -> Option<&'static str> {
    match head {
        [0xfd, b'7', b'z', b'X', b'Z', ..] => Some("xz"),
        [b'B', b'Z', b'h', ..] => Some("bzip2"),
        [0x04, 0x22, 0x4d, 0x18, ..] => Some("lz4"),
        [0x5d, 0, 0, ..] => Some("lzma"),
        _ => None,
    }
}

/// Names a file that we cannot look into: what it holds and what it would run stay unknown.
pub(super) fn sealed(section: &Section, compressor: &str) -> Contents {
    let mut contents = Contents::of(Format::Joblib);
    let message = format!("it is compressed with `{compressor}`, and was not looked into; decompress it first");
    contents.warn(WarningKind::Unreadable, section.file().to_string(), message);
    contents.metadata.insert("compression".to_owned(), compressor.into());
    contents
}

/// Reads a compressed pickle: decoded in memory once, and its arrays described as ranges behind the filter.
pub(super) fn read(section: &Section, filter: Filter, limits: &Limits) -> Result<Contents, FormatError> {
    Limits::at_most("compressed pickle in bytes", section.len(), limits.decoded_bytes)?;
    let bytes = section.read("compressed pickle", 0, section.len())?;
    let deflated = match filter {
        Filter::Gzip => bytes.get(gzip_header(&bytes)?..).unwrap_or_default(),
        _ => bytes.get(2..).unwrap_or_default(),
    };
    let most = limits.decoded_bytes.min((bytes.len() as u64).saturating_mul(limits.inflate_ratio).max(16 << 20));
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let decoded = miniz_oxide::inflate::decompress_to_vec_with_limit(deflated, most)
        .map_err(|error| FormatError::Broken { what: "compressed pickle", at: 0, detail: error.to_string() })?;
    let decoded = Section::of_bytes(section.file().to_string(), decoded);
    let mut contents = bare::read_plain(&decoded, limits)?;
    if filter == Filter::Gzip && contents.formats.first() == Some(&Format::Pickle) {
        contents.formats.insert(0, Format::Gzip);
    }
    let whole = section.stored("compressed pickle", 0, section.len())?;
    for tensor in &mut contents.tensors {
        behind(tensor, &whole, filter, &decoded)?;
    }
    Ok(contents)
}

/// Moves a tensor from the decoded bytes behind the filter.
pub(crate) fn behind(
    tensor: &mut Tensor,
    whole: &Stored,
    filter: Filter,
    decoded: &Section,
) -> Result<(), FormatError> {
    for piece in &mut tensor.pieces {
        let &Stored::File { begin, end, .. } = &piece.stored else { continue };
        let width = super::dtype::number_bytes(tensor.dtype);
        // A filter over single numbers must meet their beginnings; one over text needs exactly the text.
        let movable = piece.filters.iter().all(|filter| match filter {
            Filter::SwapBytes { .. } => begin.is_multiple_of(width.into()),
            _ => false,
        });
        if movable {
            let mut filters = vec![filter];
            filters.append(&mut piece.filters);
            *piece = Piece {
                stored: whole.clone(),
                filters,
                decoded_bytes: end,
                first_byte: piece.first_byte + begin,
                ..piece.clone()
            };
        } else {
            piece.stored = Stored::inline(&decoded.read("array of a compressed pickle", begin, end - begin)?);
        }
    }
    Ok(())
}

/// Length of the header of a gzip member (RFC 1952).
fn gzip_header(bytes: &[u8]) -> Result<usize, FormatError> {
    let short = FormatError::Truncated { what: "gzip header", needed: 10, got: bytes.len() as u64 };
    let find = || {
        let &flags = bytes.get(3)?;
        let mut at = 10;
        if flags & 4 != 0 {
            let len = bytes.get(at..)?.first_chunk().map(|&len| u16::from_le_bytes(len))?;
            at += 2 + usize::from(len);
        }
        for bit in [8, 16] {
            if flags & bit != 0 {
                at += bytes.get(at..)?.iter().position(|&byte| byte == 0)? + 1;
            }
        }
        Some(at + if flags & 2 != 0 { 2 } else { 0 })
    };
    find().ok_or(short)
}
