//! Files of folders: opened as one object each, with the rank in the name.

use crate::contents::{CodeWay, Contents, WarningKind};
use crate::error::FormatError;
use crate::identity::Format;
use crate::limits::Limits;
use crate::source::{Folder, Section};
use crate::tensor::{Stored, Tensor};
use crate::zip::Archive;

use super::loaded::Loaded;
use super::{archive, legacy};

/// Loads the object of a torch file, zip or legacy.
pub(super) fn load(section: &Section, limits: &Limits) -> Result<Loaded, FormatError> {
    let file = section.file().to_string();
    let loaded = match section.head("torch file", 4)?.as_slice() {
        b"PK\x03\x04" => {
            let mut zip = Archive::read(section, limits)?;
            let folder = archive::folder_of(&zip, "data.pkl").ok_or(FormatError::BadMagic { what: "torch file" })?;
            let mut loaded = archive::load(&mut zip, &folder, "data", &file, limits)?;
            loaded.warnings.extend(zip.take_warnings());
            Ok(loaded)
        }
        _ => legacy::load(section, limits),
    };
    loaded.map_err(|error| error.in_file(&file))
}

/// Loads a file of a folder.
pub(super) fn open(folder: &dyn Folder, path: &str, limits: &Limits) -> Result<Loaded, FormatError> {
    load(&folder.open(path)?, limits)
}

/// Takes over what the loading of a file found: code and warnings.
pub(super) fn note(loaded: &mut Loaded, contents: &mut Contents) {
    loaded.hand_over(contents);
}

/// Names of the files directly in a folder, without the folder; sorted.
pub(super) fn names<'a>(folder: &'a dyn Folder, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    let inside = folder.under(prefix).iter().filter_map(move |file| file.path.strip_prefix(prefix));
    inside.filter(|name| !name.contains('/'))
}

/// Names of the folders directly in a folder; sorted.
pub(super) fn folders<'a>(folder: &'a dyn Folder, prefix: &'a str) -> Vec<&'a str> {
    let inside = folder.under(prefix).iter().filter_map(|file| file.path.strip_prefix(prefix)?.split_once('/'));
    let mut names: Vec<_> = inside.map(|(name, _)| name).collect();
    names.dedup();
    names
}

/// The number after `key` in a name: `rank_` in `zero_pp_rank_12_mp_rank_00` gives 12.
pub(super) fn number_after(name: &str, key: &str) -> Option<u64> {
    let rest = &name.get(name.find(key)? + key.len()..)?;
    let digits = rest.len() - rest.trim_start_matches(|char: char| char.is_ascii_digit()).len();
    rest.get(..digits)?.parse().ok()
}

/// A small text file that names a folder, such as `latest`; `None` when it is not there or names no plain folder.
pub(super) fn pointer(folder: &dyn Folder, path: &str) -> Result<Option<String>, FormatError> {
    if !folder.has(path) {
        return Ok(None);
    }
    let text = folder.open(path)?.head("name of the newest step", 256)?;
    let name = String::from_utf8_lossy(&text).trim().to_owned();
    let plain = !name.is_empty() && !name.contains(['/', '\\', '\0']) && name != "." && name != "..";
    Ok(plain.then_some(name))
}

/// The number in a tensor of one element, such as a step counter.
pub(super) fn number(folder: &dyn Folder, tensor: &Tensor) -> Option<u64> {
    let [piece] = tensor.pieces.as_slice() else { return None };
    let Stored::File { file, begin, .. } = &piece.stored else { return None };
    if tensor.elements() != 1 || !piece.filters.is_empty() {
        return None;
    }
    let at = begin.checked_add(piece.first_byte)?;
    let bytes = folder.open(file).ok()?.read("step counter", at, tensor.dtype.block_bytes()).ok()?;
    let value = super::values::numbers(tensor.dtype, &bytes)?.first().copied()?;
    (0.0..1e18).contains(&value).then_some(value as u64)
}

/// Notes scripts that lie beside the files; nobody runs them here.
pub(super) fn scripts(folder: &dyn Folder, prefix: &str, contents: &mut Contents) {
    for name in names(folder, prefix).filter(|name| name.ends_with(".py")) {
        let file = format!("{prefix}{name}");
        contents.code.push(crate::contents::Code { file, name: name.to_owned(), way: CodeWay::Script });
    }
}

/// Begins the contents of a folder.
pub(super) fn begin(format: Format) -> Contents {
    Contents::of(format)
}

/// Warns of tensors that have holes.
pub(super) fn holes(contents: &mut Contents) {
    let optimizer = contents.optimizer.iter().flat_map(|optimizer| &optimizer.tensors);
    let all = contents.tensors.iter().chain(optimizer);
    let holes: Vec<_> = all.filter(|tensor| !tensor.is_complete()).map(|tensor| tensor.name.clone()).collect();
    for name in holes {
        contents.warn(WarningKind::Missing, "", format!("parts of tensor `{name}` are missing"));
    }
}
