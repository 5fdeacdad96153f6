//! A model in several GGUF files.

use std::collections::HashSet;

use serde_json::Value;

use crate::contents::{Contents, WarningKind};
use crate::error::FormatError;
use crate::gguf::read::read_part;
use crate::limits::Limits;
use crate::source::Folder;

/// Reads the model that the file at `path` belongs to, all parts that are in the folder.
///
/// The parts are those that `split.count` announces, named `NAME-00001-of-00003.gguf`; the metadata is that of the
/// first. A part that is not there is a warning.
///
/// # Errors
/// Those of [`crate::gguf::read()`], with the part they are in; [`FormatError::NoFile`] when there is nothing at `path`.
pub fn read_split(folder: &dyn Folder, path: &str, limits: &Limits) -> Result<Contents, FormatError> {
    let asked = read_named(folder, path, limits)?;
    let count = count(&asked).unwrap_or(1);
    if count <= 1 {
        return Ok(asked);
    }
    let Some(prefix) = prefix(path, count) else {
        let mut contents = asked;
        let message = format!("this is one of {count} parts, and its name does not tell those of the others");
        contents.warn(WarningKind::Missing, path, message);
        return Ok(contents);
    };
    let name = |part: u64| format!("{prefix}-{part:05}-of-{count:05}.gguf");
    let mut asked = Some(asked);
    let mut whole: Option<Contents> = None;
    let (mut missing, mut names) = (Vec::new(), HashSet::new());
    for part in 1..=count {
        let file = name(part);
        let contents = match asked.take_if(|_| file == path) {
            Some(contents) => contents,
            None if folder.has(&file) => read_named(folder, &file, limits)?,
            None => {
                missing.push(file);
                continue;
            }
        };
        for tensor in &contents.tensors {
            if !names.insert(tensor.name.clone()) {
                return Err(FormatError::DuplicateKey { key: tensor.name.clone() }.in_file(&file));
            }
        }
        Limits::at_most("number of tensors", names.len() as u64, limits.tensors)?;
        match &mut whole {
            None => whole = Some(contents),
            Some(whole) => append(whole, contents, &file, part, count),
        }
    }
    let mut whole = whole.or(asked).unwrap_or_default();
    if let [first, ..] = missing.as_slice() {
        let message = format!("{} of {count} parts are missing, `{first}` first", missing.len());
        whole.warn(WarningKind::Missing, first.as_str(), message);
    }
    let announced = whole.metadata.get("split.tensors.count").and_then(Value::as_u64);
    if let Some(announced) = announced.filter(|&announced| announced != names.len() as u64 && missing.is_empty()) {
        let message = format!("{announced} tensors are announced; the parts have {}", names.len());
        whole.warn(WarningKind::Disagreement, path, message);
    }
    Ok(whole)
}

fn read_named(folder: &dyn Folder, path: &str, limits: &Limits) -> Result<Contents, FormatError> {
    read_part(&folder.open(path)?, limits).map_err(|error| error.in_file(path))
}

/// Adds what another part has; its metadata repeats the first part's, or says nothing.
fn append(whole: &mut Contents, part: Contents, file: &str, number: u64, expected: u64) {
    if count(&part) != Some(expected) {
        whole.warn(WarningKind::Disagreement, file, format!("this part does not say that it is one of {expected}"));
    }
    if part.metadata.get("split.no").and_then(Value::as_u64) != Some(number - 1) {
        whole.warn(WarningKind::Disagreement, file, format!("this part does not say that it is number {number}"));
    }
    whole.tensors.extend(part.tensors);
    whole.warnings.extend(part.warnings);
}

fn count(contents: &Contents) -> Option<u64> {
    // The format has a u16 here; more is a lie, and would be looked for name by name.
    contents.metadata.get("split.count").and_then(Value::as_u64).filter(|&count| count <= u64::from(u16::MAX))
}

/// The name of a part without its number.
fn prefix(path: &str, count: u64) -> Option<&str> {
    let (prefix, number) = path.strip_suffix(&format!("-of-{count:05}.gguf"))?.rsplit_once('-')?;
    (number.len() == 5 && number.bytes().all(|byte| byte.is_ascii_digit())).then_some(prefix)
}
