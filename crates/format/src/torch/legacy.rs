//! What `torch.save` wrote before 1.6: five pickles, and the storages.
//!
//! | part | content |
//! |---|---|
//! | pickle | magic number 0x1950a86a20f9469cfc6c |
//! | pickle | protocol 1001 |
//! | pickle | `{protocol_version, little_endian, type_sizes}` |
//! | pickle | the object; storages are persistent ids |
//! | pickle | list of storage keys |
//! | for each key | u64 little-endian number of elements, then the elements |

use std::collections::HashMap;

use crate::contents::WarningKind;
use crate::error::FormatError;
use crate::limits::Limits;
use crate::pickle::{self, Data, Graph, NodeId, TextKind};
use crate::source::Section;

use super::dtype::Held;
use super::loaded::Loaded;
use super::storages::{StorageId, Storages};

/// The magic number, little-endian.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// Whether a value is the magic number.
pub(super) fn is_magic(graph: &Graph, root: NodeId) -> bool {
    match graph.data(root) {
        Some((TextKind::Integer, Data::Near(bytes))) => {
            bytes.strip_prefix(&MAGIC).is_some_and(|rest| rest.iter().all(|&byte| byte == 0))
        }
        _ => false,
    }
}

/// Whether the section begins with the magic number, pickled.
pub(super) fn is(section: &Section, limits: &Limits) -> bool {
    let mut limits = *limits;
    limits.pickle_ops = 8;
    let head = pickle::read(section, 0, &limits);
    head.root.is_some_and(|root| is_magic(&head.graph, root))
}

/// Reads the five pickles, and finds the storages.
pub(super) fn load(section: &Section, limits: &Limits) -> Result<Loaded, FormatError> {
    const WHAT: &str = "legacy torch file";
    let (graph, root, magic) = pickle::read(section, 0, limits).finish()?;
    if !is_magic(&graph, root) {
        return Err(FormatError::BadMagic { what: WHAT });
    }
    let (graph, root, protocol) = pickle::read(section, magic.end, limits).finish()?;
    if graph.int(root) != Some(1001) {
        let version = graph.unsigned(root).unwrap_or(0);
        return Err(FormatError::UnknownVersion { what: WHAT, version });
    }
    let (info, info_root, info_trace) = pickle::read(section, protocol.end, limits).finish()?;
    let little = info.get(info_root, "little_endian").and_then(|value| info.int(value));
    let object = pickle::read(section, info_trace.end, limits);
    let object_end = object.trace.end;
    let mut loaded = Loaded::of(object, section.clone(), section.file().to_string(), limits)?;
    for (name, globals) in [("first", graph.globals()), ("third", info.globals())] {
        if !globals.is_empty() {
            loaded.warn(WarningKind::Other, format!("the {name} pickle imports names, which torch never writes"));
        }
    }
    let (keys, keys_root, keys_trace) = pickle::read(section, object_end, limits).finish()?;
    let by_key = storages(section, &keys, keys_root, keys_trace.end, &mut loaded)?;
    loaded.storages = Storages { by_key, big_endian: little == Some(0), ..Storages::default() };
    super::bare::inner_storages(&mut loaded);
    Ok(loaded)
}

/// Ranges of the storages, one after the other.
fn storages(
    section: &Section,
    keys: &Graph,
    root: NodeId,
    mut at: u64,
    loaded: &mut Loaded,
) -> Result<HashMap<String, Section>, FormatError> {
    const WHAT: &str = "storage of a legacy torch file";
    let mut held: HashMap<String, Held> = HashMap::new();
    for id in loaded.graph.ids().filter_map(|id| StorageId::read(&loaded.graph, id)) {
        held.insert(id.key, id.held);
    }
    let mut by_key = HashMap::new();
    for &key in keys.items(root) {
        let text = match keys.str(key) {
            Some(text) => text.to_owned(),
            None => keys.int(key).map(|key| key.to_string()).unwrap_or_default(),
        };
        let count = section.read(WHAT, at, 8)?;
        let count = count.first_chunk().map_or(0, |&bytes| u64::from_le_bytes(bytes));
        let size = match held.get(&text) {
            Some(Held::Bytes) => Some(count),
            Some(Held::Elements(dtype)) => dtype.size_bytes(count),
            None => {
                let message = format!("nothing says what storage `{text}` holds; it and what follows is not read");
                loaded.warn(WarningKind::Unreadable, message);
                return Ok(by_key);
            }
        };
        let size = size.ok_or_else(|| FormatError::SizeOverflow { tensor: format!("storage {text}") })?;
        by_key.insert(text, section.slice(WHAT, at + 8, size)?);
        at += 8 + size;
    }
    if at < section.len() {
        loaded.warn(WarningKind::Extra, format!("{} bytes follow the last storage", section.len() - at));
    }
    Ok(by_key)
}
