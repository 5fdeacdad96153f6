//! One item: a tree of arrays.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::layout::{below, children, is_aggregate};
use super::ocdbt::{self, MANIFEST};
use super::store::{self, Store};
use super::zarr::{self, Array, Budget};
use crate::contents::{Contents, WarningKind};
use crate::error::{ErrorKind, FormatError};
use crate::flax::tree::{Entry, SEPARATOR, name};
use crate::flax::{Leaf, walk};
use crate::identity::Format;
use crate::limits::Limits;
use crate::source::Folder;
use crate::tensor::Tensor;

/// Old versions put this, and the name of the folder, where an array is stored by itself.
const PLACEHOLDER: &str = "PLACEHOLDER://";

/// Reads the arrays of the item in the folder `root`.
pub(super) fn read(
    folder: &dyn Folder,
    root: &str,
    limits: &Limits,
    budget: &mut Budget,
    contents: &mut Contents,
) -> Result<Vec<Entry>, FormatError> {
    let tree = Tree::read(folder, root, limits, contents)?;
    let store = open_store(folder, root, limits, contents)?;
    let mut entries = Vec::new();
    let mut seen = BTreeSet::new();
    let mut extra = Vec::new();
    for (key, stored) in &store {
        let Some((array, version)) = array_of(key) else { continue };
        let file = format!("{root}{key}");
        let bytes = store::value(folder, stored, limits)?;
        let parsed = match version {
            2 => zarr::parse_v2(&bytes, limits).map(Some),
            _ => zarr::parse_v3(&bytes, limits),
        };
        let described = match parsed {
            Ok(Some(described)) => described,
            Ok(None) => continue,
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                seen.insert(array.to_owned());
                contents.warn(WarningKind::Unreadable, file, error.to_string());
                continue;
            }
            Err(error) => return Err(error.in_file(&file)),
        };
        let pieces = zarr::pieces(&described, array, &store, folder, limits, budget)
            .map_err(|error| error.in_file(&format!("{root}{array}")))?;
        if let Some(odd) = &described.odd {
            let message = format!("tensor `{array}` has the type `{odd}`; it is shown as the bytes that hold it");
            contents.warn(WarningKind::Other, file, message);
        }
        let path = tree.paths.get(array).cloned().unwrap_or_else(|| parts(array));
        if !tree.paths.is_empty() && !tree.paths.contains_key(array) {
            extra.push(array.to_owned());
        }
        seen.insert(array.to_owned());
        let Array { dtype, shape, .. } = described;
        entries.push(Entry { tensor: Tensor { name: name(&path), dtype, shape, pieces }, path });
        Limits::at_most("number of tensors", entries.len() as u64, limits.tensors)?;
    }
    if !entries.is_empty() {
        add_format(contents, Format::Zarr);
    }
    if is_aggregate(folder, root) {
        aggregate(folder, root, limits, contents, &mut entries)?;
    }
    let found: BTreeSet<String> = entries.iter().map(|entry| entry.tensor.name.clone()).collect();
    let missing = tree
        .paths
        .iter()
        .filter(|(array, path)| tree.wanted.contains(*array) && !seen.contains(*array) && !found.contains(&name(path)));
    let missing: Vec<String> = missing.map(|(array, _)| array.clone()).collect();
    summary(contents, WarningKind::Missing, root, &missing, "of the tree have no array");
    summary(contents, WarningKind::Extra, root, &extra, "have an array and are not in the tree");
    compare_shapes(folder, root, limits, &entries, contents)?;
    Ok(entries)
}

fn add_format(contents: &mut Contents, format: Format) {
    if !contents.formats.contains(&format) {
        contents.formats.push(format);
    }
}

fn summary(contents: &mut Contents, kind: WarningKind, root: &str, names: &[String], what: &str) {
    if let [first, ..] = names {
        contents.warn(kind, root, format!("{} names {what}, `{first}` first", names.len()));
    }
}

/// The array whose metadata has this key, and the version of zarr.
fn array_of(key: &str) -> Option<(&str, u8)> {
    let (array, file) = key.rsplit_once('/').unwrap_or(("", key));
    match file {
        ".zarray" => Some((array, 2)),
        "zarr.json" => Some((array, 3)),
        _ => None,
    }
}

/// The parts of a name that no tree tells.
fn parts(array: &str) -> Vec<String> {
    // In a zarr hierarchy the folders are the parts; Orbax has one folder for each whole path.
    let separator = if array.contains('/') { "/" } else { SEPARATOR };
    array.split(separator).map(str::to_owned).collect()
}

/// Opens the database, or the databases of the processes, or takes the files themselves.
fn open_store(folder: &dyn Folder, root: &str, limits: &Limits, contents: &mut Contents) -> Result<Store, FormatError> {
    let mut store = Store::new();
    if folder.has(&format!("{root}{MANIFEST}")) {
        store = ocdbt::read(folder, root, limits)?;
    } else {
        for child in children(folder, root).into_iter().filter(|child| child.starts_with("ocdbt.process_")) {
            let path = format!("{root}{child}/");
            if folder.has(&format!("{path}{MANIFEST}")) {
                let message = "the databases of the processes were not joined: the save was not finished";
                contents.warn(WarningKind::Missing, path.as_str(), message);
                store.extend(ocdbt::read(folder, &path, limits)?);
            }
        }
        if store.is_empty() {
            return Ok(store::of_files(folder, root));
        }
    }
    add_format(contents, Format::Ocdbt);
    for file in ocdbt::missing_files(folder, &store)? {
        contents.warn(WarningKind::Missing, &*file, "values lie in this file, and it is not there");
    }
    Ok(store)
}

/// What `_METADATA` says.
#[derive(Default)]
struct Tree {
    /// Paths by the names of arrays.
    paths: BTreeMap<String, Vec<String>>,
    /// Arrays that must be there.
    wanted: BTreeSet<String>,
}

impl Tree {
    fn read(folder: &dyn Folder, root: &str, limits: &Limits, contents: &mut Contents) -> Result<Self, FormatError> {
        let mut tree = Self::default();
        let Some(json) = json(folder, &format!("{root}_METADATA"), limits)? else { return Ok(tree) };
        if let Some(custom) = json.get("custom_metadata").filter(|custom| !custom.is_null()) {
            contents.metadata.insert("custom_metadata".to_owned(), custom.clone());
        }
        let leaves = json.get("tree_metadata").and_then(Value::as_object);
        for leaf in leaves.into_iter().flat_map(Map::values) {
            let keys = leaf.get("key_metadata").and_then(Value::as_array);
            let part = |key: &Value| match key.get("key")? {
                Value::String(text) => Some(text.clone()),
                Value::Number(number) => Some(number.to_string()),
                _ => None,
            };
            let Some(path) = keys.and_then(|keys| keys.iter().map(part).collect::<Option<Vec<_>>>()) else { continue };
            let array = name(&path);
            let value = leaf.get("value_metadata");
            let skipped = value.and_then(|value| value.get("skip_deserialize")).and_then(Value::as_bool);
            let kind = value.and_then(|value| value.get("value_type")).and_then(Value::as_str).unwrap_or_default();
            // Empty containers have a leaf, and texts a file of their own.
            let is_array = matches!(kind, "jax.Array" | "np.ndarray" | "scalar" | "int" | "float" | "numpy.ndarray");
            if is_array && skipped != Some(true) {
                tree.wanted.insert(array.clone());
            }
            tree.paths.insert(array, path);
        }
        Ok(tree)
    }
}

/// Reads a JSON object, if the file is there.
pub(super) fn json(
    folder: &dyn Folder,
    path: &str,
    limits: &Limits,
) -> Result<Option<Map<String, Value>>, FormatError> {
    if !folder.has(path) {
        return Ok(None);
    }
    let section = folder.open(path)?;
    Limits::at_most("length of a small file in bytes", section.len(), limits.text_bytes)?;
    let bytes = section.read("orbax metadata", 0, section.len())?;
    let parsed = serde_json::from_slice(&bytes);
    parsed.map(Some).map_err(|source| FormatError::Json { what: "orbax metadata", source }.in_file(path))
}

/// Adds the leaves that old versions wrote into one msgpack file.
fn aggregate(
    folder: &dyn Folder,
    root: &str,
    limits: &Limits,
    contents: &mut Contents,
    entries: &mut Vec<Entry>,
) -> Result<(), FormatError> {
    let path = format!("{root}checkpoint");
    let section = folder.open(&path)?;
    let mut name_bytes = 0u64;
    let mut stored_alone = Vec::new();
    let known: BTreeSet<String> = entries.iter().map(|entry| entry.tensor.name.clone()).collect();
    let walked = walk(&section, limits, |parts, leaf| {
        name_bytes = name_bytes.saturating_add(parts.iter().map(|part| part.len() as u64 + 32).sum());
        Limits::at_most("length of all names in bytes", name_bytes, limits.header_bytes)?;
        match leaf {
            Leaf::Array { dtype, shape, stored, .. } => {
                Limits::at_most("number of tensors", entries.len() as u64 + 1, limits.tensors)?;
                let tensor = Tensor::plain(name(parts), dtype, shape, stored);
                entries.push(Entry { path: parts.to_vec(), tensor });
            }
            Leaf::Scalar(Value::String(text)) if text.starts_with(PLACEHOLDER) => {
                let array = text.strip_prefix(PLACEHOLDER).unwrap_or_default();
                if !known.contains(array) && !known.contains(&name(parts)) {
                    stored_alone.push(array.to_owned());
                }
            }
            Leaf::Scalar(Value::Null) => {}
            Leaf::Scalar(value) => {
                let entries = contents.metadata.len() as u64 + 1;
                Limits::at_most("number of metadata entries", entries, limits.metadata_entries)?;
                contents.metadata.insert(name(parts), value);
            }
        }
        Ok(())
    });
    walked.map_err(|error| error.in_file(&path))?;
    summary(contents, WarningKind::Missing, root, &stored_alone, "of the tree have no array");
    Ok(())
}

/// Compares the shapes that each process noted with those of the arrays.
fn compare_shapes(
    folder: &dyn Folder,
    root: &str,
    limits: &Limits,
    entries: &[Entry],
    contents: &mut Contents,
) -> Result<(), FormatError> {
    let shapes: BTreeMap<&str, &[u64]> =
        entries.iter().map(|entry| (entry.tensor.name.as_str(), entry.tensor.shape.as_slice())).collect();
    let mut different = BTreeSet::new();
    let files: Vec<String> = below(folder, root)
        .filter(|path| path.starts_with("array_metadatas/"))
        .map(|path| format!("{root}{path}"))
        .collect();
    for file in files {
        let Some(json) = json(folder, &file, limits)? else { continue };
        let noted = json.get("array_metadatas").and_then(Value::as_array);
        for array in noted.into_iter().flatten().filter_map(|noted| noted.get("array_metadata")) {
            let Some(name) = array.get("param_name").and_then(Value::as_str) else { continue };
            let shape = array.get("write_shape").and_then(Value::as_array);
            let (Some(shape), Some(found)) = (shape, shapes.get(name)) else { continue };
            if !shape.iter().map(Value::as_u64).eq(found.iter().copied().map(Some)) {
                different.insert(name.to_owned());
            }
        }
    }
    let different: Vec<String> = different.into_iter().collect();
    summary(contents, WarningKind::Disagreement, root, &different, "have another shape than was noted");
    Ok(())
}
