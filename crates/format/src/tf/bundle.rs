//! TensorBundle: an index of tensors, and shards of their bytes.
//!
//! Source: `tensor_bundle.proto` and `tensor_bundle.h` of TensorFlow.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::contents::{Contents, WarningKind};
use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::identity::Format;
use crate::limits::Limits;
use crate::protobuf::{Message, Value, broken, varint};
use crate::source::{Folder, Section};
use crate::tensor::{Filter, Piece, Region, Stored, Tensor};

use super::names::{self, Objects};
use super::ordered::{Extent, slice_key};
use super::{objects, proto, table};

/// Describes the checkpoint whose index is at `index` of the folder.
///
/// # Errors
/// [`FormatError::BadMagic`] and its kin when the file is no index, [`FormatError::ShapeMismatch`] and
/// [`FormatError::Truncated`] when tensors do not fit their bytes, [`FormatError::TooLarge`] beyond the limits.
pub fn read(folder: &dyn Folder, index: &str, limits: &Limits) -> Result<Contents, FormatError> {
    let mut contents = Contents::of(Format::TensorBundle);
    let bundle = Bundle::open(&folder.open(index)?, limits).map_err(|error| error.in_file(index))?;
    let prefix = index.strip_suffix(".index").unwrap_or(index);
    let mut shards = Shards { folder, prefix, count: bundle.shards, open: HashMap::new(), missing: BTreeSet::new() };
    let mut graph = Objects::default();
    let mut tensors = Vec::new();
    for (key, entry) in &bundle.entries {
        if key == objects::KEY {
            match object_graph(entry, &mut shards, limits) {
                Ok(found) => graph = found.unwrap_or_default(),
                Err(error) => {
                    contents.warn(WarningKind::Unreadable, index, format!("the object graph is not read: {error}"))
                }
            }
            continue;
        }
        let Some(dtype) = proto::dtype(entry.code) else {
            let text = format!("`{key}` has data type `{}`, which is no tensor of numbers", entry.code);
            contents.warn(WarningKind::Unreadable, index, text);
            continue;
        };
        let pieces = bundle.pieces(key, entry, dtype, &mut shards)?;
        tensors.push(Tensor { name: key.clone(), dtype, shape: entry.shape.clone(), pieces });
    }
    for path in std::mem::take(&mut shards.missing) {
        contents.warn(WarningKind::Missing, index, format!("shard `{path}` is not there"));
    }
    let step = step(&tensors, &mut shards);
    names::divide(&mut contents, tensors, &graph);
    if let Some((name, step)) = step {
        contents.metadata.insert(name, step.into());
        if let Some(optimizer) = &mut contents.optimizer {
            optimizer.step = Some(step);
        }
    }
    contents.metadata.insert("num_shards".into(), bundle.shards.into());
    if bundle.is_big_endian {
        contents.metadata.insert("endianness".into(), "big".into());
    }
    Ok(contents)
}

/// The index, read.
struct Bundle {
    shards: u64,
    is_big_endian: bool,
    entries: BTreeMap<String, Entry>,
    slices: HashMap<Vec<u8>, Entry>,
}

/// A `BundleEntryProto`.
#[derive(Default)]
struct Entry {
    code: u64,
    shape: Vec<u64>,
    shard: u64,
    offset: u64,
    size: u64,
    slices: Vec<Vec<Extent>>,
}

impl Bundle {
    fn open(index: &Section, limits: &Limits) -> Result<Self, FormatError> {
        let mut header = None;
        let (mut entries, mut slices) = (BTreeMap::new(), HashMap::new());
        table::entries(index, limits, &mut |key, value| {
            let at = value.section.begin();
            let message = Message::new(value.section);
            if header.is_none() {
                if !key.is_empty() {
                    return Err(FormatError::Rule { what: "bundle index", rule: "its first key is empty" });
                }
                header = Some(read_header(&message)?);
                return Ok(());
            }
            let entry = read_entry(&message, limits)?;
            if key.first() == Some(&0) {
                slices.insert(key.to_vec(), entry);
            } else {
                let name = str::from_utf8(key).map_err(|_| broken("bundle index", at, "a key is not UTF-8"))?;
                if entries.insert(name.to_owned(), entry).is_some() {
                    return Err(FormatError::DuplicateKey { key: name.to_owned() });
                }
            }
            Ok(())
        })?;
        let (shards, is_big_endian) = header.ok_or(FormatError::Empty { what: "bundle index" })?;
        Limits::at_most("number of shards", shards, limits.members)?;
        Ok(Self { shards, is_big_endian, entries, slices })
    }

    fn pieces(&self, key: &str, entry: &Entry, dtype: Dtype, shards: &mut Shards) -> Result<Vec<Piece>, FormatError> {
        proto::size(key, dtype, &entry.shape)?;
        if entry.slices.is_empty() {
            return Ok(self.piece(key, entry, dtype, Region::Whole, shards)?.into_iter().collect());
        }
        let mut boxes = Vec::new();
        let mut pieces = Vec::new();
        for extents in &entry.slices {
            let (offsets, shape) = proto::slice_box(key, extents, &entry.shape)?;
            let slice = self.slices.get(&slice_key(key.as_bytes(), extents));
            let slice = slice.ok_or_else(|| broken("bundle index", 0, format!("a slice of `{key}` has no entry")))?;
            if slice.code != entry.code || slice.shape != shape {
                return Err(broken("bundle index", 0, format!("a slice of `{key}` has another shape or data type")));
            }
            boxes.push((offsets.clone(), shape.clone()));
            pieces.extend(self.piece(key, slice, dtype, Region::Box { offsets, shape }, shards)?);
        }
        proto::check_disjoint(key, &boxes)?;
        Ok(pieces)
    }

    fn piece(
        &self,
        key: &str,
        entry: &Entry,
        dtype: Dtype,
        region: Region,
        shards: &mut Shards,
    ) -> Result<Option<Piece>, FormatError> {
        let (elements, size) = proto::size(key, dtype, &entry.shape)?;
        if dtype != Dtype::Text && size != entry.size {
            let expected = elements.saturating_mul(dtype.bits());
            return Err(FormatError::ShapeMismatch { tensor: key.to_owned(), expected, actual: entry.size });
        }
        let Some(stored) = shards.stored(entry)? else { return Ok(None) };
        let filters: Vec<Filter> = proto::swap(dtype, self.is_big_endian).into_iter().collect();
        Ok(Some(Piece { filters, ..Piece::plain(region, stored) }))
    }
}

/// The data files.
struct Shards<'a> {
    folder: &'a dyn Folder,
    prefix: &'a str,
    count: u64,
    open: HashMap<u64, Option<Section>>,
    missing: BTreeSet<String>,
}

impl Shards<'_> {
    fn section(&mut self, shard: u64) -> Result<Option<Section>, FormatError> {
        if shard >= self.count {
            return Err(broken("bundle index", 0, format!("shard `{shard}` of {} does not exist", self.count)));
        }
        if let Some(known) = self.open.get(&shard) {
            return Ok(known.clone());
        }
        let path = format!("{}.data-{shard:05}-of-{:05}", self.prefix, self.count);
        let section = if self.folder.has(&path) { Some(self.folder.open(&path)?) } else { None };
        if section.is_none() {
            self.missing.insert(path);
        }
        self.open.insert(shard, section.clone());
        Ok(section)
    }

    /// The entry's bytes, unless their shard is missing.
    fn bytes(&mut self, entry: &Entry) -> Result<Option<Section>, FormatError> {
        let Some(section) = self.section(entry.shard)? else { return Ok(None) };
        let part = section.slice("tensor in a shard", entry.offset, entry.size);
        part.map(Some).map_err(|error| error.in_file(section.file()))
    }

    fn stored(&mut self, entry: &Entry) -> Result<Option<Stored>, FormatError> {
        let part = self.bytes(entry)?;
        part.map(|part| part.stored("tensor in a shard", 0, part.len())).transpose()
    }
}

/// Number of shards, and whether numbers are big-endian.
fn read_header(message: &Message) -> Result<(u64, bool), FormatError> {
    let (mut shards, mut is_big_endian) = (0, false);
    for field in message.fields("bundle header")? {
        match field.map(|field| (field.number, field.value))? {
            (1, Value::Varint(count)) => shards = count,
            (2, Value::Varint(order)) => is_big_endian = order == 1,
            _ => {}
        }
    }
    Ok((shards, is_big_endian))
}

fn read_entry(message: &Message, limits: &Limits) -> Result<Entry, FormatError> {
    let mut entry = Entry::default();
    for field in message.fields("bundle entry")? {
        match field.map(|field| (field.number, field.value))? {
            (1, Value::Varint(code)) => entry.code = code,
            (2, Value::Bytes(shape)) => entry.shape = proto::shape(&shape, limits)?,
            (3, Value::Varint(shard)) => entry.shard = shard,
            (4, Value::Varint(offset)) => entry.offset = offset,
            (5, Value::Varint(size)) => entry.size = size,
            (7, Value::Bytes(slice)) => entry.slices.push(proto::slice(&slice, limits)?),
            _ => {}
        }
    }
    Ok(entry)
}

/// The object graph: a scalar of text, which is its length, a checksum of the length, and the text.
fn object_graph(entry: &Entry, shards: &mut Shards, limits: &Limits) -> Result<Option<Objects>, FormatError> {
    let Some(bytes) = shards.bytes(entry)? else { return Ok(None) };
    let head = bytes.head("object graph", 10)?;
    let (len, used) = varint(&head).ok_or_else(|| broken("object graph", bytes.begin(), "a varint does not end"))?;
    Limits::at_most("object graph in bytes", len, limits.header_bytes)?;
    let text = bytes.slice("object graph", used as u64 + 4, len)?;
    objects::read(&Message::new(text), limits).map(Some)
}

/// Name and value of the step counter, if there is one.
fn step(tensors: &[Tensor], shards: &mut Shards) -> Option<(String, u64)> {
    let counter =
        tensors.iter().find(|tensor| names::is_step(names::plain(&tensor.name)) && tensor.shape.is_empty())?;
    let [piece] = counter.pieces.as_slice() else { return None };
    let Stored::File { file, begin, end } = &piece.stored else { return None };
    let bytes = shards.folder.open(file).ok()?.read("step", *begin, end - begin).ok()?;
    let bytes: [u8; 8] = bytes.try_into().ok().filter(|_| matches!(counter.dtype, Dtype::I64 | Dtype::U64))?;
    let step = if piece.filters.is_empty() { u64::from_le_bytes(bytes) } else { u64::from_be_bytes(bytes) };
    Some((names::plain(&counter.name).to_owned(), step))
}
