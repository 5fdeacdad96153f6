//! Which reader reads what.

use crate::contents::Contents;
use crate::error::FormatError;
use crate::identity::Format;
use crate::limits::Limits;
use crate::safetensors;
use crate::source::Folder;

/// A layout of several files that belong together.
pub(super) struct Layout {
    /// Its name.
    pub format: Format,
    /// Whether everything below the folder is its own.
    pub owns_folder: bool,
    /// Whether a folder has this layout; cheap.
    pub is: fn(&dyn Folder, &str) -> bool,
    /// Reads the folder.
    pub read: fn(&dyn Folder, &str, &Limits) -> Result<Contents, FormatError>,
}

const LAYOUTS: &[Layout] = &[];

/// Folders with a layout, the outermost first.
pub(super) fn layouts(folder: &dyn Folder) -> Vec<(&'static Layout, String)> {
    let mut prefixes = std::collections::BTreeSet::from([String::new()]);
    for file in folder.files() {
        let mut path = &*file.path;
        while let Some((parent, _)) = path.rsplit_once('/') {
            if !prefixes.insert(parent.to_owned()) {
                break;
            }
            path = parent;
        }
    }
    let found = prefixes.into_iter().filter_map(|prefix| {
        let layout = LAYOUTS.iter().find(|layout| (layout.is)(folder, &prefix))?;
        Some((layout, prefix))
    });
    found.collect()
}

/// Reads one file as `format`; `None` for formats that hold no part of a checkpoint by themselves.
pub(super) fn read(
    folder: &dyn Folder,
    path: &str,
    format: Format,
    limits: &Limits,
) -> Result<Option<Contents>, FormatError> {
    let section = folder.open(path)?;
    Ok(Some(match format {
        Format::Safetensors => safetensors::read(&section, limits)?,
        _ => return Ok(None),
    }))
}
