//! TensorFlow checkpoints: TensorBundle, SavedModel, the first saver.
//!
//! | what | files | entry |
//! |---|---|---|
//! | TensorBundle | `P.index`, `P.data-00000-of-00001`, … | [`read_bundle`] |
//! | SavedModel | `saved_model.pb`, `variables/`, `assets/`, … | [`read_saved_model`] |
//! | the first saver's checkpoint | one file | [`read_v1`] |
//!
//! The index, and the whole file of the first saver, is a table of LevelDB: sorted keys in checked blocks.
//!
//! # Names
//! A tensor is called by its key in the checkpoint, without the ending `/.ATTRIBUTES/VARIABLE_VALUE` that every key of an
//! object-based checkpoint has. A slot of an optimizer is `parameter.slot`: the object graph, the key
//! (`…/.OPTIMIZER_SLOT/…`) or the ending that the first version's graphs give it (`/Adam`, `/Adam_1`) tell which.

mod bundle;
mod graph;
mod names;
mod objects;
mod ordered;
mod proto;
mod saved_model;
mod table;
mod v1;

#[cfg(test)]
mod tests;

pub use bundle::read as read_bundle;
pub use saved_model::read as read_saved_model;
pub use v1::read as read_v1;

pub(crate) use names::keras_kind;

use crate::source::{Folder, Section};

/// Whether the file ends as a table of LevelDB does: a bundle's index or a checkpoint of the first saver.
#[must_use]
pub fn is_table(section: &Section) -> bool {
    section.tail("table footer", 8).is_ok_and(|tail| tail == table::MAGIC)
}

/// Indexes of the bundles in a folder, in the order of their paths.
#[must_use]
pub fn bundles(folder: &dyn Folder) -> Vec<String> {
    let data = |path: &str| {
        // A bundle has data; `.index` alone is anyone's ending.
        let prefix = format!("{}.data-", path.strip_suffix(".index").unwrap_or(path));
        let at = folder.files().partition_point(|file| *file.path < *prefix);
        folder.files().get(at).is_some_and(|file| file.path.starts_with(&prefix))
    };
    let paths = folder.files().iter().map(|file| &*file.path);
    paths.filter(|path| path.ends_with(".index") && data(path)).map(str::to_owned).collect()
}

/// The index that the `checkpoint` file of a folder calls the latest; the last one without such a file.
///
/// Paths in that file may be absolute and of another machine: only the last part counts.
#[must_use]
pub fn latest(folder: &dyn Folder) -> Option<String> {
    let bundles = bundles(folder);
    let named = folder.open("checkpoint").ok().and_then(|section| section.head("checkpoint state", 64 << 10).ok());
    let named = named.and_then(|bytes| {
        let text = String::from_utf8(bytes).ok()?;
        let line = text.lines().find_map(|line| line.trim().strip_prefix("model_checkpoint_path:"))?;
        let path = line.trim().trim_matches('"');
        Some(format!("{}.index", path.rsplit(['/', '\\']).next().unwrap_or(path)))
    });
    named.filter(|name| bundles.contains(name)).or_else(|| bundles.last().cloned())
}

/// Folders that hold a SavedModel, each as a path below the folder (`""` is the folder itself).
#[must_use]
pub fn saved_models(folder: &dyn Folder) -> Vec<String> {
    let graph = |path: &str| {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        saved_model::GRAPHS.contains(&name).then(|| parent.to_owned())
    };
    let mut found: Vec<_> = folder.files().iter().filter_map(|file| graph(&file.path)).collect();
    found.dedup();
    found
}
