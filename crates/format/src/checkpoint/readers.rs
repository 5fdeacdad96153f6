//! Which reader reads what.

use crate::contents::Contents;
use crate::error::FormatError;
use crate::identity::Format;
use crate::limits::Limits;
use crate::source::{Folder, Section};
use crate::zip::Archive;
use crate::{flax, gguf, h5, numpy, onnx, orbax, safetensors, tf, torch};

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

const LAYOUTS: &[Layout] = &[
    Layout { format: Format::Orbax, owns_folder: true, is: orbax::is, read: orbax::read },
    Layout { format: Format::SavedModel, owns_folder: true, is: is_saved_model, read: tf::read_saved_model },
];

fn is_saved_model(folder: &dyn Folder, prefix: &str) -> bool {
    let path = |name: &str| if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
    ["saved_model.pb", "saved_model.pbtxt", "saved_model.cpb"].iter().any(|name| folder.has(&path(name)))
}

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
        Format::Zip => return read_zip(&section, limits),
        Format::TorchLegacy | Format::TorchTar | Format::Pickle => torch::read(&section, limits)?,
        Format::Gguf => gguf::read(&section, limits)?,
        Format::Npy => numpy::read_npy(&section, limits)?,
        Format::Flax => flax::read(&section, limits)?,
        Format::Onnx => onnx::read(folder, path, limits)?,
        Format::TensorBundle => read_table(folder, path, &section, limits)?,
        Format::Hdf5 => h5::read(&section, limits)?,
        _ => return Ok(None),
    }))
}

/// A zip is what its members make it.
fn read_zip(section: &Section, limits: &Limits) -> Result<Option<Contents>, FormatError> {
    let archive = Archive::read(section, limits)?;
    let names: Vec<&str> = archive.entries().iter().map(|entry| entry.name.as_str()).collect();
    let has = |name: &str| names.contains(&name);
    let ends = |end: &str| names.iter().any(|name| name.ends_with(end));
    Ok(Some(if has("_stable_baselines3_version") || ends("/data.pkl") || ends("archive_format") {
        torch::read(section, limits)?
    } else if !names.is_empty() && names.iter().all(|name| name.ends_with(".npy")) {
        numpy::read_npz(section, limits)?
    } else {
        return Ok(None);
    }))
}

/// The index of a bundle has data beside it; a checkpoint of the first saver has everything inside.
fn read_table(folder: &dyn Folder, path: &str, section: &Section, limits: &Limits) -> Result<Contents, FormatError> {
    let data = format!("{}.data-", path.strip_suffix(".index").unwrap_or(path));
    if folder.files().iter().any(|file| file.path.starts_with(&data)) {
        return tf::read_bundle(folder, path, limits);
    }
    tf::read_v1(section, limits)
}
