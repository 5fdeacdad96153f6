//! Pickles without torch's container: objects of scikit-learn, joblib files, tensors pickled the plain way.

use crate::contents::{Contents, WarningKind};
use crate::error::FormatError;
use crate::identity::Format;
use crate::limits::Limits;
use crate::pickle::{self, Coding, Data, NodeId};
use crate::source::Section;
use crate::zip::Archive;

use super::dtype::Held;
use super::loaded::Loaded;
use super::storages::StorageId;
use super::strided::Bytes;
use super::{archive, assemble, compressed, legacy, numpy};

/// Pickles that may follow each other in one file.
const MOST_PICKLES: usize = 64;

/// Reads a file that begins with a pickle, or a compressed one as joblib writes it.
pub(super) fn read(section: &Section, limits: &Limits) -> Result<Contents, FormatError> {
    let head = section.head("pickle", 6)?;
    if let Some(filter) = compressed::filter(&head) {
        return compressed::read(section, filter, limits);
    }
    if let Some(compressor) = compressed::unknown(&head) {
        return Ok(compressed::sealed(section, compressor));
    }
    read_plain(section, limits)
}

/// Reads a file that begins with a pickle.
pub(super) fn read_plain(section: &Section, limits: &Limits) -> Result<Contents, FormatError> {
    let (mut pickles, end) = pickle::read_all(section, limits, MOST_PICKLES);
    let label = section.file().to_string();
    if pickles.is_empty() {
        return Err(FormatError::Empty { what: "pickle" });
    }
    let first = pickles.remove(0);
    if first.trace.error.is_some() {
        let mut contents = Contents::of(Format::Pickle);
        assemble::failed(&label, &first.trace, first.graph.globals(), &mut contents);
        return if contents.code.is_empty() { first.finish().map(|_| contents) } else { Ok(contents) };
    }
    let joblib = first.graph.globals().iter().any(|global| global.module.starts_with("joblib."));
    let mut loaded = Loaded::of(first, section.clone(), label.clone(), limits)?;
    inner_storages(&mut loaded);
    let mut contents = assemble::contents(loaded, if joblib { Format::Joblib } else { Format::Pickle })?;
    if !pickles.is_empty() {
        contents.warn(WarningKind::Extra, &*label, format!("{} more pickles follow the first", pickles.len()));
    }
    for pickle in &pickles {
        assemble::code(&label, &pickle.trace, pickle.graph.globals(), &mut contents);
    }
    if end < section.len() {
        contents.warn(WarningKind::Extra, &*label, format!("{} bytes follow the pickle", section.len() - end));
    }
    Ok(contents)
}

/// What the pickle of a torch archive does before its error.
pub(super) fn broken_pickle(archive: &mut Archive, folder: &str, file: &str, limits: &Limits) -> Option<Contents> {
    let path = format!("{folder}/data.pkl");
    let section = archive.open_named(&path).ok()?.unpacked(limits).ok()?;
    let pickle = pickle::read(&section, 0, limits);
    pickle.trace.error.as_ref()?;
    let mut contents = Contents::of(Format::TorchZip);
    assemble::failed(&format!("{file}!{path}"), &pickle.trace, pickle.graph.globals(), &mut contents);
    contents.warnings.extend(archive.take_warnings());
    Some(contents)
}

/// Finds storages that are pickled as the bytes of a torch file of their own (`torch.storage._load_from_bytes`).
pub(super) fn inner_storages(loaded: &mut Loaded) {
    let is_one = |global: &pickle::Global| global.is("torch.storage", "_load_from_bytes");
    if !loaded.graph.globals().iter().any(is_one) {
        return;
    }
    let ids: Vec<NodeId> = loaded.graph.ids().filter(|&id| loaded.graph.class(id).is_some_and(is_one)).collect();
    for id in ids {
        match inner(loaded, id) {
            Ok((bytes, held)) => _ = loaded.storages.inner.insert(id, (bytes, held)),
            Err(error) => loaded.warn(WarningKind::Unreadable, format!("a storage pickled as bytes: {error}")),
        }
    }
}

fn inner(loaded: &Loaded, id: NodeId) -> Result<(Bytes, Held), FormatError> {
    let rule = FormatError::Rule { what: "pickled storage", rule: "it is bytes" };
    let (graph, limits) = (&loaded.graph, &loaded.limits);
    let argument = |id: NodeId| graph.object(id).and_then(|object| graph.items(object.args).first().copied());
    let Some(mut data) = argument(id) else { return Err(rule) };
    let encoded = graph.class(data).is_some_and(|class| class.is("_codecs", "encode"));
    if encoded {
        data = argument(data).unwrap_or(data);
    }
    let Some((_, found)) = graph.data(data) else { return Err(rule) };
    let (section, in_file) = match found {
        Data::Far { begin, len, coding: Coding::Plain } if !encoded => {
            (loaded.section.slice("pickled storage", begin, len)?, true)
        }
        found => {
            let bytes = graph.bytes(found, &loaded.section, limits.decoded_bytes)?;
            let bytes = if encoded { numpy::latin1(&bytes).ok_or(rule)? } else { bytes };
            (Section::of_bytes(loaded.label.as_str(), bytes), false)
        }
    };
    // The bytes are a torch file whose object is a storage.
    let inner = match section.head("pickled storage", 4)?.as_slice() {
        b"PK\x03\x04" => {
            let mut zip = Archive::read(&section, limits)?;
            let folder = archive::folder_of(&zip, "data.pkl").ok_or(FormatError::BadMagic { what: "torch file" })?;
            // A file inside a file inside a file is not looked for: one level is all that torch writes.
            archive::load(&mut zip, &folder, "data", &loaded.label, limits)?
        }
        _ => legacy::load(&section, limits)?,
    };
    let storage = inner.graph.walk(inner.root).find_map(|id| Some((id, StorageId::read(&inner.graph, id)?)));
    let Some((node, id)) = storage else {
        return Err(FormatError::Rule { what: "pickled storage", rule: "its object is a storage" });
    };
    let (bytes, _) = inner.storages.find(&inner.graph, node)?;
    let bytes = if in_file { bytes } else { Bytes::Memory(bytes.read(0, bytes.len())?) };
    Ok((bytes, id.held))
}
