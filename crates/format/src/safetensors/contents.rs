//! A safetensors file as a part of a checkpoint.

use serde_json::Value;

use super::{Header, header_len};
use crate::contents::Contents;
use crate::error::FormatError;
use crate::identity::Format;
use crate::limits::Limits;
use crate::source::Section;
use crate::tensor::Tensor;

/// First bytes that are read; most headers are shorter.
const FIRST_BYTES: u64 = 64 << 10;

/// Reads the header of a safetensors file.
///
/// # Errors
/// Those of [`Header::parse`], and of reading.
pub fn read(section: &Section, limits: &Limits) -> Result<Contents, FormatError> {
    const WHAT: &str = "safetensors header";
    let mut prefix = section.head(WHAT, FIRST_BYTES)?;
    let needed = header_len(&prefix, limits)?;
    let have = prefix.len() as u64;
    if needed > have {
        prefix.extend(section.read(WHAT, have, needed - have)?);
    }
    let header = Header::parse(&prefix, section.len(), limits)?;
    let mut contents = Contents::of(Format::Safetensors);
    for tensor in header.tensors {
        let stored = section.stored(WHAT, header.data_offset + tensor.begin, tensor.end - tensor.begin)?;
        contents.tensors.push(Tensor::plain(tensor.name, tensor.dtype, tensor.shape, stored));
    }
    contents.metadata = header.metadata.into_iter().map(|(key, value)| (key, Value::String(value))).collect();
    Ok(contents)
}
