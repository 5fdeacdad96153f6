//! A GGUF file to [`Contents`].

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::contents::{Contents, WarningKind};
use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::gguf::header::{WHAT, Words};
use crate::gguf::model;
use crate::gguf::types::{ElementType, element_type};
use crate::gguf::value::Values;
use crate::identity::Format;
use crate::limits::Limits;
use crate::source::Section;
use crate::tensor::Tensor;

const ALIGNMENT: u64 = 32;

/// Most dimensions that ggml has.
const RANK: u64 = 4;

/// A tensor as the header describes it.
struct Info {
    name: String,
    dtype: Dtype,
    /// Outermost first.
    shape: Vec<u64>,
    /// Offset in the data.
    begin: u64,
    size_bytes: u64,
}

/// Reads one GGUF file: header and metadata; of the data only where it lies.
///
/// Of a model in several files this gives one part, with a warning; see [`crate::gguf::read_split`].
///
/// # Errors
/// [`FormatError::BadMagic`], [`FormatError::UnknownVersion`], [`FormatError::Truncated`], [`FormatError::TooLarge`],
/// [`FormatError::DuplicateKey`] for keys and tensor names, [`FormatError::UnknownDtype`],
/// [`FormatError::Unsupported`] for element types that ggml has removed, [`FormatError::SizeOverflow`],
/// [`FormatError::OutOfBounds`], and [`FormatError::Broken`] for the rest.
pub fn read(section: &Section, limits: &Limits) -> Result<Contents, FormatError> {
    let mut contents = read_part(section, limits)?;
    if let Some(count) = contents.metadata.get("split.count").and_then(Value::as_u64).filter(|&count| count > 1) {
        let part = contents.metadata.get("split.no").and_then(Value::as_u64).unwrap_or(0).saturating_add(1);
        contents.warn(
            WarningKind::Missing,
            &**section.file(),
            format!("this is part {part} of {count}; the tensors of the other parts are missing"),
        );
    }
    Ok(contents)
}

/// Reads a file without a look at the parts that belong to it.
pub(super) fn read_part(section: &Section, limits: &Limits) -> Result<Contents, FormatError> {
    let mut words = Words::open(section, limits)?;
    let lengths = words.length_bytes();
    let tensors = words.length()?;
    let entries = words.length()?;
    // A tensor has a name, rank, type and offset; an entry has a key, type and a value of at least a byte.
    words.fits(tensors, lengths + 4 + 4 + 8)?;
    words.fits(entries, lengths + 4 + 1)?;
    Limits::at_most("number of tensors", tensors, limits.tensors)?;
    Limits::at_most("number of metadata entries", entries, limits.metadata_entries)?;

    let mut contents = Contents::of(Format::Gguf);
    let mut values = Values::new(limits);
    for _ in 0..entries {
        let (key, value) = (words.name("gguf key length in bytes")?, values.read(&mut words)?);
        words.check_header()?;
        if contents.metadata.contains_key(&key) {
            return Err(FormatError::DuplicateKey { key });
        }
        contents.metadata.insert(key, value);
    }
    if values.broken_text {
        contents.warn(WarningKind::Unreadable, &**section.file(), "some text of the metadata is not UTF-8");
    }

    let alignment = alignment(&contents.metadata, &words)?;
    let mut infos = Vec::new();
    let mut names = HashSet::new();
    for _ in 0..tensors {
        let info = tensor_info(&mut words, alignment)?;
        words.check_header()?;
        if !names.insert(info.name.clone()) {
            return Err(FormatError::DuplicateKey { key: info.name });
        }
        infos.push(info);
    }
    let header_end = words.cursor.at();
    let data = if infos.is_empty() {
        // A first part may hold metadata only, and then nothing has to be padded.
        header_end.next_multiple_of(alignment).min(section.len())
    } else {
        header_end.next_multiple_of(alignment)
    };
    let data = section.slice("gguf data", data, section.len().saturating_sub(data))?;

    check_places(&infos, &data, alignment, &mut contents)?;
    place(infos, &data, words.big_endian, &mut contents)?;
    contents.metadata.insert("GGUF.version".to_owned(), words.version.into());
    if words.big_endian {
        contents.metadata.insert("GGUF.byte_order".to_owned(), "big".into());
    }
    model::describe(&mut contents);
    Ok(contents)
}

fn alignment(metadata: &Map<String, Value>, words: &Words<'_>) -> Result<u64, FormatError> {
    let Some(value) = metadata.get("general.alignment") else { return Ok(ALIGNMENT) };
    match value.as_u64() {
        Some(alignment) if alignment.is_power_of_two() && alignment <= 1 << 31 => Ok(alignment),
        _ => Err(words.cursor.broken(words.cursor.at(), format!("alignment `{value}` is no power of two"))),
    }
}

fn tensor_info(words: &mut Words<'_>, alignment: u64) -> Result<Info, FormatError> {
    let begin = words.cursor.at();
    let name = words.name("tensor name length in bytes")?;
    let rank = words.u32()?;
    Limits::at_most("rank of a tensor", rank.into(), words.limits.rank.min(RANK))?;
    let mut shape = Vec::new();
    for _ in 0..rank {
        shape.push(words.length()?);
    }
    shape.reverse();
    let id = words.u32()?;
    let dtype = match element_type(id) {
        ElementType::Known(dtype) => dtype,
        ElementType::Removed(removed) => {
            return Err(FormatError::Unsupported {
                what: "element type that ggml has removed",
                detail: format!("`{removed}` of tensor `{name}`; convert the model again from its source"),
            });
        }
        ElementType::Unknown => return Err(FormatError::UnknownDtype { tensor: name, dtype: id.to_string() }),
    };
    let offset = words.u64()?;
    // Rows are quantised one by one: a block never reaches into the next row.
    let row = shape.last().copied().unwrap_or(1);
    if !row.is_multiple_of(dtype.block_elements()) {
        let detail = format!("rows of `{row}` elements of tensor `{name}` are not whole blocks of `{dtype}`");
        return Err(words.cursor.broken(begin, detail));
    }
    let size = Tensor::checked_elements(&shape).and_then(|elements| dtype.size_bytes(elements));
    let Some(size_bytes) = size else { return Err(FormatError::SizeOverflow { tensor: name }) };
    if !offset.is_multiple_of(alignment) {
        let detail = format!("offset `{offset}` of tensor `{name}` is no multiple of the alignment {alignment}");
        return Err(words.cursor.broken(begin, detail));
    }
    Ok(Info { name, dtype, shape, begin: offset, size_bytes })
}

/// Checks that the tensors lie in the data, and not on each other; notes bytes that belong to none.
fn check_places(infos: &[Info], data: &Section, alignment: u64, contents: &mut Contents) -> Result<(), FormatError> {
    let len = data.len();
    let mut order: Vec<&Info> = Vec::with_capacity(infos.len());
    for info in infos {
        let end = info.begin.checked_add(info.size_bytes).filter(|&end| end <= len);
        if end.is_none() {
            let end = info.begin.saturating_add(info.size_bytes);
            return Err(FormatError::OutOfBounds { tensor: info.name.clone(), begin: info.begin, end, len });
        }
        order.push(info);
    }
    order.sort_by_key(|info| (info.begin, info.size_bytes));
    let (mut end, mut gap) = (0u64, 0u64);
    for info in order {
        if info.begin < end && info.size_bytes > 0 {
            let detail = format!("tensor `{}` begins at byte {} of the data, inside another", info.name, info.begin);
            return Err(FormatError::Broken { what: WHAT, at: data.begin().saturating_add(info.begin), detail });
        }
        gap += info.begin.saturating_sub(end.next_multiple_of(alignment));
        end = end.max(info.begin + info.size_bytes);
    }
    // Writers pad the last tensor, or do not.
    gap += len.saturating_sub(end.checked_next_multiple_of(alignment).unwrap_or(u64::MAX));
    if gap > 0 {
        contents.warn(WarningKind::Extra, &**data.file(), format!("{gap} bytes of the data belong to no tensor"));
    }
    Ok(())
}

fn place(infos: Vec<Info>, data: &Section, big_endian: bool, contents: &mut Contents) -> Result<(), FormatError> {
    let mut swapped_blocks = false;
    for Info { name, dtype, shape, begin, size_bytes } in infos {
        let stored = data.stored("gguf data", begin, size_bytes)?;
        let width = u32::try_from(dtype.block_bytes()).unwrap_or(1);
        swapped_blocks |= big_endian && dtype.is_quantised();
        contents.tensors.push(if big_endian && !dtype.is_quantised() && width > 1 {
            Tensor::big_endian(name, dtype, shape, stored, width)
        } else {
            Tensor::plain(name, dtype, shape, stored)
        });
    }
    if swapped_blocks {
        contents.warn(
            WarningKind::Other,
            &**data.file(),
            "scales inside quantised blocks are big-endian; the blocks are shown as they are stored",
        );
    }
    Ok(())
}
