//! ExecuTorch programs: a flatbuffer, then segments.
//!
//! Source: `program.fbs` and `extended_header.h` of ExecuTorch.

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};

use crate::contents::{Code, CodeWay, Contents};
use crate::error::FormatError;
use crate::identity::Format;
use crate::limits::Limits;
use crate::source::Section;
use crate::tflite::flat::Flat;

use super::cursor::Cursor;

/// Describes a `.pte` file: methods, operators, delegates, segments.
///
/// # Errors
/// [`FormatError::BadMagic`] without the mark, [`FormatError::Broken`] and its kin for offsets that lie.
pub fn read(section: &Section, limits: &Limits) -> Result<Contents, FormatError> {
    let head = section.head("executorch program", 12)?;
    if head.get(4..6) != Some(b"ET") {
        return Err(FormatError::BadMagic { what: "executorch program" });
    }
    let mut contents = Contents::of(Format::ExecuTorch);
    let mut base = 0;
    if head.get(8..12) == Some(b"eh00") {
        let mut header = Cursor::new("executorch header", section, 12);
        let len = header.u32()?;
        let program = header.u64()?;
        base = header.u64()?;
        contents.metadata.insert("program_bytes".into(), program.into());
        contents.metadata.insert("header_bytes".into(), len.into());
    }
    let flat = Flat::new("executorch program", section.clone());
    let root = flat.root()?;
    contents.metadata.insert("version".into(), flat.uint(root, 0, 4)?.unwrap_or(0).into());
    let plans = flat.vector(root, 1, 4)?;
    Limits::at_most("number of methods", plans.len, limits.metadata_entries)?;
    let (mut methods, mut operators, mut delegates) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    let mut seen = 0u64;
    for number in 0..plans.len {
        let plan = flat.item(plans, number)?;
        methods.push(Json::from(flat.text(plan, 0, limits.name_bytes)?));
        // Plans may share lists, so it is the sum that counts.
        let (list, backends) = (flat.vector(plan, 6, 4)?, flat.vector(plan, 7, 4)?);
        seen = seen.saturating_add(list.len).saturating_add(backends.len);
        Limits::at_most("number of operators", seen, limits.metadata_entries)?;
        for index in 0..list.len {
            let operator = flat.item(list, index)?;
            let (name, overload) =
                (flat.text(operator, 0, limits.name_bytes)?, flat.text(operator, 1, limits.name_bytes)?);
            operators.insert(if overload.is_empty() { name } else { format!("{name}.{overload}") });
        }
        for index in 0..backends.len {
            delegates.insert(flat.text(flat.item(backends, index)?, 0, limits.name_bytes)?);
        }
    }
    let segments = flat.vector(root, 4, 4)?;
    Limits::at_most("number of segments", segments.len, limits.members)?;
    let mut parts = Vec::new();
    for number in 0..segments.len {
        let segment = flat.item(segments, number)?;
        let (offset, size) = (flat.uint(segment, 0, 8)?.unwrap_or(0), flat.uint(segment, 1, 8)?.unwrap_or(0));
        section.slice("executorch segment", base.saturating_add(offset), size)?;
        parts.push(json!({ "offset": offset, "size_bytes": size }));
    }
    // Operators of other libraries than torch must be linked into the runtime.
    let custom = operators.iter().filter(|name| !name.starts_with("aten::") && !name.starts_with("prim::"));
    let code = |name: &String| Code { file: section.file().to_string(), name: name.clone(), way: CodeWay::Operator };
    contents.code.extend(custom.map(code));
    contents.metadata.insert("methods".into(), methods.into());
    contents.metadata.insert("operators".into(), operators.into_iter().collect());
    contents.metadata.insert("delegates".into(), delegates.into_iter().collect());
    contents.metadata.insert("segments".into(), parts.into());
    Ok(contents)
}
