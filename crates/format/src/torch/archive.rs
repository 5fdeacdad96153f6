//! Zip of `torch.save`: one pickle and a member for each storage.
//!
//! | member below the one top folder | content |
//! |---|---|
//! | `data.pkl` | the object; storages are persistent ids |
//! | `data/KEY` | bytes of a storage, stored, aligned to 64 bytes |
//! | `version`, `byteorder`, `.format_version`, `.storage_alignment`, `.data/serialization_id` | a line each |

use std::collections::HashMap;

use crate::contents::{Contents, Warning, WarningKind};
use crate::error::FormatError;
use crate::identity::Format;
use crate::limits::Limits;
use crate::pickle;
use crate::source::Section;
use crate::zip::Archive;

use super::loaded::Loaded;
use super::storages::{StorageId, Storages};

/// The top folder of an archive that has this member directly in one.
pub(super) fn folder_of(archive: &Archive, member: &str) -> Option<String> {
    archive.entries().iter().find_map(|entry| {
        let folder = entry.name.strip_suffix(member)?.strip_suffix('/')?;
        (!folder.contains('/')).then(|| folder.to_owned())
    })
}

/// Reads the object in `FOLDER/NAME.pkl`, whose storages are the members `FOLDER/NAME/KEY`.
pub(super) fn load(
    archive: &mut Archive,
    folder: &str,
    name: &str,
    file: &str,
    limits: &Limits,
) -> Result<Loaded, FormatError> {
    let path = format!("{folder}/{name}.pkl");
    let label = format!("{file}!{path}");
    let member = archive.open_named(&path)?;
    let section = member.unpacked(limits)?;
    let mut warnings = Vec::new();
    if member.method == 0 && member.crc != 0 && section.len() <= limits.text_bytes {
        let actual = crate::zip::crc(&section.read("pickle", 0, section.len())?);
        if actual != member.crc {
            let message = format!("its checksum is {actual:#010x}; {:#010x} is announced", member.crc);
            warnings.push(Warning { kind: WarningKind::Disagreement, file: label.clone(), message });
        }
    }
    let pickle = pickle::read(&section, 0, limits);
    let end = pickle.trace.end;
    let mut loaded = Loaded::of(pickle, section.clone(), label, limits)?;
    loaded.warnings = warnings;
    if end < section.len() {
        loaded.warn(WarningKind::Extra, format!("{} bytes follow the pickle", section.len() - end));
    }
    let big_endian = match archive.open_named(&format!("{folder}/byteorder")) {
        Ok(member) if member.size_bytes <= 16 => member.bytes(limits)?.trim_ascii() == b"big",
        _ => false,
    };
    let by_key = storages(archive, &format!("{folder}/{name}"), &mut loaded);
    loaded.storages = Storages { by_key, big_endian, ..Storages::default() };
    super::bare::inner_storages(&mut loaded);
    Ok(loaded)
}

/// Opens the members of all storages that the pickle names.
fn storages(archive: &mut Archive, folder: &str, loaded: &mut Loaded) -> HashMap<String, Section> {
    let mut by_key = HashMap::new();
    let mut sizes: HashMap<String, u64> = HashMap::new();
    let ids: Vec<_> = loaded.graph.ids().filter_map(|id| StorageId::read(&loaded.graph, id)).collect();
    for id in ids {
        let Some(size) = id.size_bytes() else { continue };
        if let Some(&known) = sizes.get(&id.key) {
            if known != size {
                loaded.warn(WarningKind::Disagreement, format!("storage `{}` is said to have two sizes", id.key));
            }
            continue;
        }
        sizes.insert(id.key.clone(), size);
        match archive.open_named(&format!("{folder}/{}", id.key)).and_then(|member| member.section()) {
            Ok(section) => {
                if section.len() != size {
                    let message = format!("storage `{}` has {} bytes; {size} are announced", id.key, section.len());
                    loaded.warn(WarningKind::Disagreement, message);
                }
                by_key.insert(id.key, section);
            }
            Err(error) => loaded.warn(WarningKind::Missing, format!("storage `{}`: {error}", id.key)),
        }
    }
    by_key
}

/// Reads a torch zip whose top folder is known.
pub(super) fn read(
    section: &Section,
    mut archive: Archive,
    folder: &str,
    limits: &Limits,
) -> Result<Contents, FormatError> {
    let file = section.file().to_string();
    let loaded = match load(&mut archive, folder, "data", &file, limits) {
        Ok(loaded) => loaded,
        Err(error) => {
            // What runs before the error is worth knowing, more than that there is an error.
            let contents = super::bare::broken_pickle(&mut archive, folder, &file, limits);
            return contents.filter(|contents| !contents.code.is_empty()).ok_or(error);
        }
    };
    let mut contents = super::assemble::contents(loaded, Format::TorchZip)?;
    stray(&mut archive, folder, &file, &mut contents);
    archive.check();
    contents.warnings.extend(archive.take_warnings());
    Ok(contents)
}

/// Tells of members that no torch file has.
fn stray(archive: &mut Archive, folder: &str, file: &str, contents: &mut Contents) {
    const KNOWN: &[&str] = &["data.pkl", "version", "byteorder", ".format_version", ".storage_alignment"];
    for entry in archive.entries() {
        let inner = entry.name.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/'));
        let known = inner.is_some_and(|inner| {
            KNOWN.contains(&inner) || inner.starts_with("data/") || inner.starts_with(".data/") || inner.is_empty()
        });
        if !known {
            let message = "a torch file has no such member".to_owned();
            contents.warn(WarningKind::Extra, format!("{file}!{}", entry.name), message);
        }
    }
}
