//! What the folders are: an item, a step with items, or steps.

use std::collections::BTreeSet;

use crate::source::Folder;

/// Marks the folder of a save that was not finished.
const UNFINISHED: &str = ".orbax-checkpoint-tmp";

/// Whether the folder `prefix` is one of Orbax, or a zarr array or group, or an OCDBT database.
#[must_use]
pub fn is(folder: &dyn Folder, prefix: &str) -> bool {
    let root = slashed(prefix);
    is_item(folder, &root) || is_step(folder, &root) || !steps(folder, &root).is_empty()
}

/// The prefix of paths below a folder: empty, or with a slash at its end.
pub(super) fn slashed(prefix: &str) -> String {
    match prefix.trim_end_matches('/') {
        "" => String::new(),
        prefix => format!("{prefix}/"),
    }
}

/// Paths below `root`, without it.
pub(super) fn below<'a>(folder: &'a dyn Folder, root: &'a str) -> impl Iterator<Item = &'a str> {
    // The files are sorted, so that those below one folder follow each other.
    let begin = folder.files().partition_point(|file| *file.path < *root);
    let files = folder.files().get(begin..).unwrap_or_default();
    files.iter().map_while(move |file| file.path.strip_prefix(root))
}

/// Names of the folders in `root`.
pub(super) fn children<'a>(folder: &'a dyn Folder, root: &'a str) -> BTreeSet<&'a str> {
    below(folder, root).filter_map(|path| path.split_once('/')).map(|(child, _)| child).collect()
}

/// Whether there are arrays here.
pub(super) fn is_item(folder: &dyn Folder, root: &str) -> bool {
    let array = |name: &str| matches!(name, ".zarray" | ".zgroup" | "zarr.json");
    let found = below(folder, root).any(|path| match path.split_once('/') {
        None => array(path) || matches!(path, "_METADATA" | "manifest.ocdbt"),
        Some((child, name)) => array(name) || (name == "manifest.ocdbt" && child.starts_with("ocdbt.process_")),
    });
    found || is_aggregate(folder, root)
}

/// Whether there is a msgpack file of small leaves; TensorFlow has a text of the same name.
pub(super) fn is_aggregate(folder: &dyn Folder, root: &str) -> bool {
    let path = format!("{root}checkpoint");
    if !folder.has(&path) {
        return false;
    }
    let head = folder.open(&path).and_then(|section| section.head("checkpoint", 1));
    head.is_ok_and(|head| matches!(head.as_slice(), [0x80..=0x8F | 0xDE | 0xDF]))
}

/// Whether this is a step: it says so, or has items.
pub(super) fn is_step(folder: &dyn Folder, root: &str) -> bool {
    let items = || {
        // Steps of a manager would be items of its root.
        children(folder, root)
            .iter()
            .any(|child| number(child).is_none() && is_item(folder, &format!("{root}{child}/")))
    };
    folder.has(&format!("{root}_CHECKPOINT_METADATA")) || items()
}

/// Steps in the folder of a manager: number, name, and whether the save was finished; the newest last.
pub(super) fn steps(folder: &dyn Folder, root: &str) -> Vec<(u64, String, bool)> {
    let mut steps = Vec::new();
    for child in children(folder, root) {
        let Some(step) = number(child) else { continue };
        let path = format!("{root}{child}/");
        if is_step(folder, &path) || is_item(folder, &path) {
            steps.push((step, child.to_owned(), !is_unfinished(child)));
        }
    }
    steps.sort();
    steps
}

/// Whether the name is that of a save that was not finished.
pub(super) fn is_unfinished(name: &str) -> bool {
    name.contains(UNFINISHED)
}

/// The number of a step out of a name such as `10`, `step_10` or `10.orbax-checkpoint-tmp-7`.
fn number(name: &str) -> Option<u64> {
    let name = name.split(UNFINISHED).next().unwrap_or(name);
    let digits = name.rsplit(['_', '-']).next().filter(|digits| !digits.is_empty())?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}
