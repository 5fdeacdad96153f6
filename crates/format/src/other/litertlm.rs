//! LiteRT-LM bundles: a mark, a version, a flatbuffer that lists sections, and the sections.

use serde_json::json;

use crate::contents::{Contents, WarningKind};
use crate::error::FormatError;
use crate::identity::Format;
use crate::limits::Limits;
use crate::source::Section;
use crate::tflite::flat::Flat;

use super::cursor::Cursor;

const MAGIC: &[u8] = b"LITERTLM";
/// Where the list of sections begins.
const LIST: u64 = 32;

/// Describes a `.litertlm` file: its version and sections. A section that is a TFLite model is marked so.
///
/// # Errors
/// [`FormatError::BadMagic`] without the mark, [`FormatError::Truncated`] when the list is not there.
pub fn read(section: &Section, limits: &Limits) -> Result<Contents, FormatError> {
    if section.head("litertlm bundle", 8)? != MAGIC {
        return Err(FormatError::BadMagic { what: "litertlm bundle" });
    }
    let mut contents = Contents::of(Format::LiteRtLm);
    let mut head = Cursor::new("litertlm bundle", section, 8);
    let (major, minor, patch) = (head.u32()?, head.u32()?, head.u32()?);
    contents.metadata.insert("version".into(), format!("{major}.{minor}.{patch}").into());
    head.u32()?;
    let end = head.u64()?;
    let list = section.slice("litertlm list of sections", LIST, end.saturating_sub(LIST))?;
    let parts = parts(&list, section, limits);
    match parts {
        Ok(parts) => {
            contents.metadata.insert("sections".into(), parts.into());
        }
        Err(error) => {
            contents.warn(WarningKind::Unreadable, &**section.file(), format!("sections are not read: {error}"))
        }
    }
    Ok(contents)
}

fn parts(list: &Section, whole: &Section, limits: &Limits) -> Result<Vec<serde_json::Value>, FormatError> {
    let flat = Flat::new("litertlm list of sections", list.clone());
    let missing = FormatError::Empty { what: "litertlm list of sections" };
    let Some(sections) = flat.child(flat.root()?, 1)? else { return Err(missing) };
    let objects = flat.vector(sections, 0, 4)?;
    Limits::at_most("number of sections", objects.len, limits.members)?;
    let mut parts = Vec::new();
    for number in 0..objects.len {
        let object = flat.item(objects, number)?;
        let (begin, end) = (flat.uint(object, 1, 8)?.unwrap_or(0), flat.uint(object, 2, 8)?.unwrap_or(0));
        let part = whole.slice("litertlm section", begin, end.saturating_sub(begin))?;
        let is_model = part.head("litertlm section", 8)?.get(4..) == Some(&crate::tflite::MAGIC);
        let kind = flat.uint(object, 3, 1)?.unwrap_or(0);
        let name = if is_model { "tflite" } else { "data" };
        parts.push(json!({ "begin": begin, "size_bytes": part.len(), "type": kind, "content": name }));
    }
    Ok(parts)
}
