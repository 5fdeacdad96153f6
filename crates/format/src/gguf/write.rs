//! Files to be written: GGUF version 3, little-endian.
//!
//! The bytes are those of gguf-py's writer for the same entries and tensors: tensors in the given order, each padded to
//! the alignment, the last one too.

use std::collections::HashSet;

use crate::error::FormatError;
use crate::gguf::metadata::Value;
use crate::gguf::types::{ElementType, element_type};
use crate::output::{OutputFile, OutputTensor, Part};

/// Alignment when no entry gives another, in bytes.
pub const ALIGNMENT: u64 = 32;

/// Longest name of a tensor in bytes: ggml holds 64 with the byte that ends them.
pub const NAME_BYTES: usize = 63;

/// Most dimensions of a tensor.
pub const RANK: usize = 4;

const VERSION: u32 = 3;

/// Largest alignment that is written; padding is held in memory.
const MAX_ALIGNMENT: u64 = 1 << 20;

/// How files are written.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Path of the file, or of what the parts are named after; ends in `.gguf`.
    pub path: String,
    /// Every tensor begins at a multiple of this many bytes: a power of two and a multiple of 8. Another one than
    /// [`ALIGNMENT`] is announced as `general.alignment`.
    pub alignment: u64,
    /// A new part begins before the tensors of one would be longer than this, in bytes.
    pub split_bytes: Option<u64>,
}

impl Options {
    /// One file at this path.
    #[must_use]
    pub fn new(path: impl Into<String>) -> Self {
        Self { path: path.into(), alignment: ALIGNMENT, split_bytes: None }
    }
}

/// Arranges tensors in a file, or in several named `NAME-00001-of-00003.gguf`: all entries are in the first, `split.*` in
/// each.
///
/// # Errors
/// [`FormatError::Unsupported`] for what GGUF cannot hold, with the tensor's name: types that it has not, more than four
/// dimensions, names of more than 63 bytes, rows that are not whole blocks; more than 65,535 parts.
/// [`FormatError::DuplicateKey`] for keys and names, [`FormatError::SizeOverflow`], [`FormatError::Rule`] for the
/// alignment.
pub fn plan(
    metadata: &[(String, Value)],
    tensors: &[OutputTensor],
    options: &Options,
) -> Result<Vec<OutputFile>, FormatError> {
    let alignment = alignment(metadata, options)?;
    check_keys(metadata)?;
    let infos = infos(tensors)?;
    let parts = cut(&infos, options.split_bytes);
    let announced = (alignment != ALIGNMENT && !metadata.iter().any(|(key, _)| key == "general.alignment"))
        .then(|| ("general.alignment".to_owned(), Value::U32(u32::try_from(alignment).unwrap_or(u32::MAX))));
    let count = u16::try_from(parts.len())
        .map_err(|_| unsupported("a GGUF model of so many parts", format!("{} of them", parts.len())))?;
    let total = i32::try_from(tensors.len())
        .map_err(|_| unsupported("a GGUF model of so many tensors", tensors.len().to_string()))?;
    let mut files = Vec::new();
    for (number, part) in (0u16..).zip(&parts) {
        let mut entries: Vec<(&str, &Value)> = Vec::new();
        if number == 0 {
            entries.extend(metadata.iter().chain(&announced).map(|(key, value)| (key.as_str(), value)));
        }
        let split = [
            ("split.no", Value::U16(number)),
            ("split.count", Value::U16(count)),
            ("split.tensors.count", Value::I32(total)),
        ];
        if count > 1 {
            entries.extend(split.iter().map(|(key, value)| (*key, value)));
        }
        files.push(file(path(&options.path, number, count), &entries, part, alignment)?);
    }
    Ok(files)
}

/// A tensor, with what the header says of it.
struct Info<'a> {
    number: usize,
    tensor: &'a OutputTensor,
    kind: u32,
    size_bytes: u64,
}

fn alignment(metadata: &[(String, Value)], options: &Options) -> Result<u64, FormatError> {
    let announced = metadata.iter().find(|(key, _)| key == "general.alignment");
    let alignment = match announced {
        Some((_, value)) => value.as_u64().unwrap_or(0),
        None => options.alignment,
    };
    if !alignment.is_power_of_two() || !alignment.is_multiple_of(8) || alignment > MAX_ALIGNMENT {
        let rule = "it is a power of two, a multiple of 8, and at most 1,048,576";
        return Err(FormatError::Rule { what: "the alignment of a GGUF file", rule });
    }
    if announced.is_some() && options.alignment != ALIGNMENT && options.alignment != alignment {
        return Err(FormatError::LengthMismatch {
            what: "alignment in bytes",
            expected: alignment,
            actual: options.alignment,
        });
    }
    Ok(alignment)
}

fn check_keys(metadata: &[(String, Value)]) -> Result<(), FormatError> {
    let mut keys = HashSet::new();
    for (key, _) in metadata {
        if !keys.insert(key.as_str()) {
            return Err(FormatError::DuplicateKey { key: key.clone() });
        }
    }
    Ok(())
}

fn infos(tensors: &[OutputTensor]) -> Result<Vec<Info<'_>>, FormatError> {
    let mut names = HashSet::new();
    let mut infos = Vec::new();
    for (number, tensor) in tensors.iter().enumerate() {
        let OutputTensor { name, dtype, shape, .. } = tensor;
        if name.is_empty() || name.len() > NAME_BYTES {
            let detail = format!("`{name}` has {} bytes; 1 to {NAME_BYTES} are possible", name.len());
            return Err(unsupported("this name of a tensor in GGUF", detail));
        }
        if !names.insert(name.as_str()) {
            return Err(FormatError::DuplicateKey { key: name.clone() });
        }
        if shape.len() > RANK {
            let detail = format!("tensor `{name}` has {} dimensions; at most {RANK} are possible", shape.len());
            return Err(unsupported("this rank in GGUF", detail));
        }
        let kind = number_of(*dtype).ok_or_else(|| {
            unsupported("this element type in GGUF", format!("`{dtype}` of tensor `{name}`; floats can become `F32`"))
        })?;
        let row = shape.last().copied().unwrap_or(1);
        if !row.is_multiple_of(dtype.block_elements()) {
            let detail = format!("rows of {row} elements of tensor `{name}` are not whole blocks of `{dtype}`");
            return Err(unsupported("this shape for a quantised type", detail));
        }
        let size_bytes = tensor.size_bytes().ok_or_else(|| FormatError::SizeOverflow { tensor: name.clone() })?;
        infos.push(Info { number, tensor, kind, size_bytes });
    }
    Ok(infos)
}

/// The number that GGUF has for a type.
fn number_of(dtype: crate::dtype::Dtype) -> Option<u32> {
    // Types have small numbers; a table the other way round could disagree with the one that reads.
    (0..64).find(|&id| matches!(element_type(id), ElementType::Known(known) if known == dtype))
}

/// Cuts before a part would be too long; every part but that of an empty model has a tensor.
fn cut<'a, 'b>(infos: &'b [Info<'a>], limit: Option<u64>) -> Vec<&'b [Info<'a>]> {
    let mut parts = Vec::new();
    let (mut begin, mut size) = (0, 0u64);
    for (at, info) in infos.iter().enumerate() {
        let longer = size.saturating_add(info.size_bytes);
        if at > begin && limit.is_some_and(|limit| longer > limit) {
            parts.push(infos.get(begin..at).unwrap_or_default());
            (begin, size) = (at, info.size_bytes);
        } else {
            size = longer;
        }
    }
    parts.push(infos.get(begin..).unwrap_or_default());
    parts
}

fn path(path: &str, number: u16, count: u16) -> String {
    if count <= 1 {
        return path.to_owned();
    }
    let stem = path.strip_suffix(".gguf").unwrap_or(path);
    format!("{stem}-{:05}-of-{count:05}.gguf", u32::from(number) + 1)
}

fn file(
    path: String,
    entries: &[(&str, &Value)],
    infos: &[Info<'_>],
    alignment: u64,
) -> Result<OutputFile, FormatError> {
    let mut header = b"GGUF".to_vec();
    header.extend_from_slice(&VERSION.to_le_bytes());
    header.extend_from_slice(&(infos.len() as u64).to_le_bytes());
    header.extend_from_slice(&(entries.len() as u64).to_le_bytes());
    for (key, value) in entries {
        text(&mut header, key);
        value.write(&mut header);
    }
    let mut offset = 0u64;
    for info in infos {
        let overflow = || FormatError::SizeOverflow { tensor: info.tensor.name.clone() };
        text(&mut header, &info.tensor.name);
        header.extend_from_slice(&(info.tensor.shape.len() as u32).to_le_bytes());
        for extent in info.tensor.shape.iter().rev() {
            header.extend_from_slice(&extent.to_le_bytes());
        }
        header.extend_from_slice(&info.kind.to_le_bytes());
        header.extend_from_slice(&offset.to_le_bytes());
        let padded = info.size_bytes.checked_next_multiple_of(alignment).ok_or_else(overflow)?;
        offset = offset.checked_add(padded).ok_or_else(overflow)?;
    }
    let padded = (header.len() as u64).next_multiple_of(alignment);
    header.resize(usize::try_from(padded).unwrap_or(header.len()), 0);
    let mut parts = vec![Part::bytes(header)];
    for info in infos {
        parts.push(Part::Tensor(info.number));
        let padding = info.size_bytes.next_multiple_of(alignment) - info.size_bytes;
        if padding > 0 {
            parts.push(Part::bytes(vec![0; usize::try_from(padding).unwrap_or(0)]));
        }
    }
    Ok(OutputFile { path, parts })
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

fn unsupported(what: &'static str, detail: String) -> FormatError {
    FormatError::Unsupported { what, detail }
}
