//! An Orbax folder to [`Contents`].

use serde_json::Value;

use super::item;
use super::layout::{children, is_item, is_step, is_unfinished, slashed, steps};
use super::zarr::Budget;
use crate::contents::{Contents, WarningKind};
use crate::data::Elements;
use crate::error::FormatError;
use crate::flax::number;
use crate::flax::tree::{Entry, name, sort_out};
use crate::identity::Format;
use crate::limits::Limits;
use crate::source::Folder;
use crate::tensor::Tensor;

/// Reads the folder `prefix`, empty for the whole: an item, a step, or the newest finished step of several.
///
/// # Errors
/// [`FormatError::BadMagic`] when nothing of Orbax is there; [`FormatError::Json`], [`FormatError::Broken`],
/// [`FormatError::Truncated`], [`FormatError::ChecksumMismatch`] and [`FormatError::TooLarge`] for metadata, databases
/// and shards, with the file they are in. What is missing, or of a kind that is not known, is a warning.
pub fn read(folder: &dyn Folder, prefix: &str, limits: &Limits) -> Result<Contents, FormatError> {
    Limits::at_most("number of files of a folder", folder.files().len() as u64, limits.members)?;
    let mut contents = Contents::default();
    let mut root = slashed(prefix);
    if !is_item(folder, &root) && !is_step(folder, &root) {
        root = newest(folder, root, &mut contents)?;
    }
    if is_unfinished(&root) {
        contents.warn(WarningKind::Missing, root.as_str(), "the save into this folder was not finished");
    }
    let mut is_orbax = folder.has(&format!("{root}_METADATA"));
    if let Some(step) = item::json(folder, &format!("{root}_CHECKPOINT_METADATA"), limits)? {
        is_orbax = true;
        if step.get("commit_timestamp_nsecs").is_some_and(Value::is_null) {
            contents.warn(WarningKind::Missing, root.as_str(), "the save into this folder was not finished");
        }
        contents.metadata.extend(step.into_iter().filter(|(_, value)| !is_empty(value)));
    }
    let mut budget = Budget::default();
    let entries = if is_item(folder, &root) {
        item::read(folder, &root, limits, &mut budget, &mut contents)?
    } else {
        is_orbax = true;
        items(folder, &root, limits, &mut budget, &mut contents)?
    };
    if is_orbax || contents.formats.is_empty() {
        contents.formats.insert(0, Format::Orbax);
    }
    if budget.missing > 0 {
        let message = format!("{} chunks are not stored; their elements are the fill value", budget.missing);
        contents.warn(WarningKind::Values, root.as_str(), message);
    }
    let count = |tensor: &Tensor| {
        let bytes = Elements::new(folder, tensor, limits).and_then(|mut elements| elements.read_all()).ok()?;
        number(tensor.dtype, &bytes)
    };
    sort_out(entries, &mut contents, count)?;
    Ok(contents)
}

/// Whether a value says nothing.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// The folder of the newest finished step; of the newest one if none was finished.
fn newest(folder: &dyn Folder, root: String, contents: &mut Contents) -> Result<String, FormatError> {
    let steps = steps(folder, &root);
    let finished = steps.iter().rev().find(|(_, _, finished)| *finished);
    let Some((step, child, _)) = finished.or(steps.last()) else {
        return Err(FormatError::BadMagic { what: "orbax folder" });
    };
    for (_, other, _) in steps.iter().filter(|(_, other, finished)| !finished && other != child) {
        contents.warn(WarningKind::Missing, format!("{root}{other}"), "the save into this folder was not finished");
    }
    contents.metadata.insert("step".to_owned(), (*step).into());
    if steps.len() > 1 {
        let all: Vec<u64> = steps.iter().filter(|(_, _, finished)| *finished).map(|(step, ..)| *step).collect();
        contents.metadata.insert("steps".to_owned(), all.into());
    }
    Ok(format!("{root}{child}/"))
}

/// Reads the items of a step.
fn items(
    folder: &dyn Folder,
    root: &str,
    limits: &Limits,
    budget: &mut Budget,
    contents: &mut Contents,
) -> Result<Vec<Entry>, FormatError> {
    let mut items = Vec::new();
    for child in children(folder, root) {
        let path = format!("{root}{child}/");
        if is_unfinished(child) {
            contents.warn(WarningKind::Missing, path, "the save into this folder was not finished");
        } else if is_item(folder, &path) {
            let entries = item::read(folder, &path, limits, budget, contents)?;
            if !entries.is_empty() {
                items.push((child, entries));
            }
        } else if let Some(json) = item::json(folder, &format!("{path}metadata"), limits)? {
            contents.metadata.insert(child.to_owned(), Value::Object(json));
        }
    }
    let several = items.len() > 1;
    let mut all = Vec::new();
    for (child, entries) in items {
        for mut entry in entries {
            if several {
                entry.path.insert(0, child.to_owned());
                entry.tensor.name = name(&entry.path);
            }
            all.push(entry);
        }
    }
    Ok(all)
}
