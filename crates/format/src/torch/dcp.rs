//! Folders of PyTorch's distributed checkpoints.
//!
//! `.metadata` is a pickle: for each tensor its type, shape and chunks; for each chunk a file, an offset and a length. A
//! chunk is a complete torch zip at that place of a `.distcp` file. What is no tensor is a torch zip too.
//!
//! The safetensors variant has no `.metadata`: every file has parts of the tensors under their names, and in its
//! `__metadata__` under `DCP_SHARDING_INFO` where each part begins.
//!
//! Source: PyTorch, `torch/distributed/checkpoint/{metadata,filesystem,hf_storage}.py`.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value};

use crate::contents::{Contents, Optimizer, WarningKind};
use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::identity::Format;
use crate::limits::Limits;
use crate::pickle::{self, NodeId};
use crate::safetensors;
use crate::source::{Folder, Section};
use crate::tensor::{Filter, Stored, Tensor};

use super::loaded::Loaded;
use super::{assemble, model, optim, pieces, ranks};

const METADATA: &str = ".metadata";
const SHARDING: &str = "DCP_SHARDING_INFO";

/// Where a chunk or value lies.
#[derive(Clone, Debug)]
struct Info {
    file: String,
    offset: u64,
    len: u64,
    transforms: Vec<String>,
}

/// Whether the files directly under `prefix` (empty, or with `/` at its end) are a distributed checkpoint.
#[must_use]
pub fn is(folder: &dyn Folder, prefix: &str) -> bool {
    let path = format!("{prefix}{METADATA}");
    let mut names = ranks::names(folder, prefix);
    if folder.has(&path) && names.any(|name| name.ends_with(".distcp")) {
        return true;
    }
    let mut files = ranks::names(folder, prefix).filter(|name| name.ends_with(".safetensors"));
    files.next().is_some_and(|name| is_sharded(folder, &format!("{prefix}{name}")).unwrap_or(false))
}

/// Whether a safetensors file says where its parts lie in the whole tensors.
fn is_sharded(folder: &dyn Folder, path: &str) -> Result<bool, FormatError> {
    // The entry stands at the beginning of the header, as the writer sorts it.
    let head = folder.open(path)?.head("safetensors header", 1 << 16)?;
    Ok(head.windows(SHARDING.len()).any(|window| window == SHARDING.as_bytes()))
}

/// Reads the checkpoint under `prefix`.
///
/// # Errors
/// [`FormatError::BadMagic`] when there is none, [`FormatError::Broken`] and others when `.metadata` cannot be read. A
/// chunk that cannot be read is a warning and leaves a hole.
pub fn read(folder: &dyn Folder, prefix: &str, limits: &Limits) -> Result<Contents, FormatError> {
    if !folder.has(&format!("{prefix}{METADATA}")) {
        return read_safetensors(folder, prefix, limits);
    }
    let section = folder.open(&format!("{prefix}{METADATA}"))?;
    let label = section.file().to_string();
    let read = pickle::read(&section, 0, limits);
    if read.trace.error.is_some() {
        let mut contents = ranks::begin(Format::Dcp);
        assemble::failed(&label, &read.trace, read.graph.globals(), &mut contents);
        forget_own(&mut contents);
        if !contents.code.is_empty() {
            return Ok(contents);
        }
    }
    let mut loaded = Loaded::of(read, section, label.clone(), limits).map_err(|error| error.in_file(&label))?;
    let mut contents = ranks::begin(Format::Dcp);
    let reader = Reader { folder, prefix, limits, infos: infos(&loaded), paths: paths(&loaded) };
    let attributes = loaded.attributes(loaded.root).unwrap_or(loaded.root);
    let Some(state) = loaded.graph.get(attributes, "state_dict_metadata") else {
        ranks::note(&mut loaded, &mut contents);
        if !contents.code.is_empty() {
            // What it does is worth knowing, more than what it lacks.
            contents.warn(WarningKind::Unreadable, &*label, "it describes no tensors");
            return Ok(contents);
        }
        return Err(FormatError::Rule { what: "metadata of a distributed checkpoint", rule: "it describes tensors" });
    };
    let mut found = Found::default();
    let mut chunks = 0u64;
    for (key, entry) in loaded.entries(state) {
        let Some(name) = loaded.text(key) else { continue };
        Limits::at_most("number of tensors", found.tensors.len() as u64 + 1, limits.tensors)?;
        Limits::at_most("tensor name length in bytes", name.len() as u64, limits.name_bytes)?;
        let path = reader.paths.get(&name).cloned().unwrap_or_else(|| vec![name.clone()]);
        match loaded.attributes(entry).filter(|&entry| loaded.graph.get(entry, "chunks").is_some()) {
            Some(entry) => match reader.tensor(&loaded, &name, entry, &mut chunks, &mut contents) {
                Ok(tensor) => found.tensors.push((path, tensor)),
                Err(error) => contents.warn(WarningKind::Unreadable, &*label, assemble::told(&name, error)),
            },
            None => {
                if (found.values.len() as u64) < limits.metadata_entries
                    && let Some(value) = reader.value(&name, &mut contents)
                {
                    found.values.push((path, value));
                }
            }
        }
    }
    found.sort_out(folder, &mut contents);
    ranks::note(&mut loaded, &mut contents);
    forget_own(&mut contents);
    ranks::holes(&mut contents);
    Ok(contents)
}

/// Takes the classes of the metadata itself off the list: they are known, and only named.
fn forget_own(contents: &mut Contents) {
    contents.code.retain(|code| !code.name.starts_with("torch.distributed.checkpoint."));
}

struct Reader<'a> {
    folder: &'a dyn Folder,
    prefix: &'a str,
    limits: &'a Limits,
    infos: HashMap<(String, Vec<u64>), Info>,
    paths: HashMap<String, Vec<String>>,
}

/// Where everything lies, by name and by the offsets of the chunk.
fn infos(loaded: &Loaded) -> HashMap<(String, Vec<u64>), Info> {
    let attributes = loaded.attributes(loaded.root).unwrap_or(loaded.root);
    let Some(storage) = loaded.graph.get(attributes, "storage_data") else { return HashMap::new() };
    let one = |(key, value): (NodeId, NodeId)| {
        let (key, value) = (loaded.attributes(key)?, loaded.attributes(value)?);
        let name = loaded.text(loaded.graph.get(key, "fqn")?)?;
        let offsets = loaded.graph.get(key, "offset").and_then(|offset| loaded.numbers(offset)).unwrap_or_default();
        let transforms = loaded.graph.get(value, "transform_descriptors");
        let transforms = transforms.map(|list| loaded.graph.items(list)).unwrap_or_default().iter();
        let info = Info {
            file: loaded.text(loaded.graph.get(value, "relative_path")?)?,
            offset: loaded.graph.unsigned(loaded.graph.get(value, "offset")?)?,
            len: loaded.graph.unsigned(loaded.graph.get(value, "length")?)?,
            transforms: transforms.filter_map(|&name| loaded.text(name)).collect(),
        };
        Some(((name, offsets), info))
    };
    loaded.graph.pairs(storage).filter_map(one).collect()
}

/// The path of keys of each name.
fn paths(loaded: &Loaded) -> HashMap<String, Vec<String>> {
    let attributes = loaded.attributes(loaded.root).unwrap_or(loaded.root);
    let Some(planner) = loaded.graph.get(attributes, "planner_data") else { return HashMap::new() };
    let one = |(key, value): (NodeId, NodeId)| {
        let path: Option<Vec<_>> = loaded.graph.items(value).iter().map(|&part| loaded.key(part)).collect();
        Some((loaded.text(key)?, path.filter(|path| !path.is_empty())?))
    };
    loaded.graph.pairs(planner).filter_map(one).collect()
}

impl Reader<'_> {
    fn tensor(
        &self,
        loaded: &Loaded,
        name: &str,
        entry: NodeId,
        total: &mut u64,
        contents: &mut Contents,
    ) -> Result<Tensor, FormatError> {
        let rule = |rule| FormatError::Rule { what: "description of a tensor", rule };
        let size = loaded.graph.get(entry, "size").and_then(|size| loaded.numbers(size));
        let shape = size.ok_or_else(|| rule("it has a size"))?;
        Limits::at_most("rank of a tensor", shape.len() as u64, self.limits.rank)?;
        if Tensor::checked_elements(&shape).is_none() {
            return Err(FormatError::SizeOverflow { tensor: name.to_owned() });
        }
        let dtype = self.dtype(loaded, entry)?;
        let mut tensor = Tensor { name: name.to_owned(), dtype, shape, pieces: Vec::new() };
        if dtype == Dtype::F4 {
            return Err(FormatError::Unsupported { what: "packed type in chunks", detail: format!("`{dtype}`") });
        }
        let chunks = loaded.graph.get(entry, "chunks").map(|chunks| loaded.graph.items(chunks)).unwrap_or_default();
        // One list of chunks can stand under any number of names.
        *total = total.saturating_add(chunks.len() as u64);
        Limits::at_most("number of chunks", *total, self.limits.tensors.saturating_mul(4))?;
        for &chunk in chunks {
            let part = |key| {
                let chunk = loaded.attributes(chunk)?;
                loaded.numbers(loaded.graph.get(chunk, key)?)
            };
            let (Some(offsets), Some(sizes)) = (part("offsets"), part("sizes")) else {
                return Err(rule("its chunks have offsets and sizes"));
            };
            match self.chunk(name, &offsets, &sizes, dtype) {
                Ok(pieces) => tensor.pieces.extend(pieces),
                Err(error) => {
                    contents.warn(WarningKind::Unreadable, self.prefix, format!("a chunk of tensor `{name}`: {error}"));
                }
            }
        }
        pieces::check(&tensor)?;
        Ok(tensor)
    }

    /// The dtype: first part of the properties' state, which older versions write as a dictionary.
    fn dtype(&self, loaded: &Loaded, entry: NodeId) -> Result<Dtype, FormatError> {
        let properties = loaded.graph.get(entry, "properties");
        let state = properties.and_then(|properties| loaded.graph.object(properties)).and_then(|object| object.state);
        let dtype = state
            .and_then(|state| loaded.graph.get(state, "dtype").or_else(|| loaded.graph.items(state).first().copied()));
        match dtype {
            Some(dtype) => loaded.dtype(dtype),
            None => Err(FormatError::Rule { what: "description of a tensor", rule: "it has a dtype" }),
        }
    }

    fn chunk(
        &self,
        name: &str,
        offsets: &[u64],
        sizes: &[u64],
        dtype: Dtype,
    ) -> Result<Vec<crate::tensor::Piece>, FormatError> {
        let Some(info) = self.infos.get(&(name.to_owned(), offsets.to_vec())) else {
            return Err(FormatError::NoFile { path: format!("chunk at {offsets:?}") });
        };
        let loaded = self.load(info)?;
        let found = loaded.tensor(loaded.root).transpose()?.and_then(|parts| parts.tensors.into_iter().next());
        let Some((_, part)) = found else {
            return Err(FormatError::Rule { what: "chunk", rule: "it is a tensor" });
        };
        if part.shape != sizes || part.dtype != dtype {
            return Err(FormatError::Rule { what: "chunk", rule: "it has the shape and dtype that `.metadata` says" });
        }
        let part = self.unpacked(info, part)?;
        pieces::placed(part, offsets).ok_or(FormatError::Rule { what: "chunk", rule: "it is one box" })
    }

    /// The torch file of a chunk or value.
    fn load(&self, info: &Info) -> Result<Loaded, FormatError> {
        ranks::load(&self.section(info)?, self.limits)
    }

    fn section(&self, info: &Info) -> Result<Section, FormatError> {
        let bad = info.file.starts_with('/') || info.file.contains(['\\', '\0']);
        if bad || info.file.split('/').any(|part| part == "..") {
            return Err(FormatError::Rule { what: "name of a chunk's file", rule: "it stays inside the folder" });
        }
        let file = self.folder.open(&format!("{}{}", self.prefix, info.file))?;
        let stored = file.slice("chunk", info.offset, info.len)?;
        match info.transforms.as_slice() {
            [] => Ok(stored),
            [one] if one == "zstd" => {
                let bytes = zstd(&stored.read("chunk", 0, stored.len())?, self.limits)?;
                Ok(Section::of_bytes(info.file.as_str(), bytes))
            }
            other => Err(FormatError::Unsupported { what: "transform of a chunk", detail: format!("`{other:?}`") }),
        }
    }

    /// Ranges of a decoded chunk become ranges behind a filter over the stored chunk.
    fn unpacked(&self, info: &Info, mut part: Tensor) -> Result<Tensor, FormatError> {
        if info.transforms.is_empty() {
            return Ok(part);
        }
        let file = self.folder.open(&format!("{}{}", self.prefix, info.file))?;
        let whole = file.slice("chunk", info.offset, info.len)?.stored("chunk", 0, info.len)?;
        for piece in &mut part.pieces {
            if let Stored::File { begin, end, .. } = &piece.stored {
                (piece.first_byte, piece.decoded_bytes) = (piece.first_byte + begin, *end);
                piece.stored = whole.clone();
                piece.filters.insert(0, Filter::Zstd);
            }
        }
        Ok(part)
    }

    /// A value that is no tensor, as JSON.
    fn value(&self, name: &str, contents: &mut Contents) -> Option<Value> {
        let info = self.infos.get(&(name.to_owned(), Vec::new()))?;
        match self.load(info) {
            Ok(mut loaded) => {
                loaded.label = format!("{}{}!{name}", self.prefix, info.file);
                let value = loaded.json(loaded.root, &Default::default());
                ranks::note(&mut loaded, contents);
                value
            }
            Err(error) => {
                contents.warn(WarningKind::Unreadable, info.file.as_str(), format!("value `{name}`: {error}"));
                None
            }
        }
    }
}

/// Decodes a zstd frame within the limits.
fn zstd(bytes: &[u8], limits: &Limits) -> Result<Vec<u8>, FormatError> {
    use std::io::Read;
    const WHAT: &str = "zstd frame of a chunk";
    let wrong = |detail: String| FormatError::Broken { what: WHAT, at: 0, detail };
    let mut decoder = ruzstd::decoding::StreamingDecoder::new(bytes).map_err(|error| wrong(error.to_string()))?;
    let mut out = Vec::new();
    let most = limits.decoded_bytes;
    decoder.by_ref().take(most + 1).read_to_end(&mut out).map_err(|error| wrong(error.to_string()))?;
    Limits::at_most("decoded chunk in bytes", out.len() as u64, most)?;
    Ok(out)
}

/// Everything that was found, with paths of keys.
#[derive(Default)]
struct Found {
    tensors: Vec<(Vec<String>, Tensor)>,
    values: Vec<(Vec<String>, Value)>,
}

impl Found {
    /// Tells the model from the optimizer by the paths.
    fn sort_out(self, folder: &dyn Folder, contents: &mut Contents) {
        let mut state: BTreeMap<String, Vec<(String, Tensor)>> = BTreeMap::new();
        let mut order = Vec::new();
        let mut rest = Vec::new();
        let mut optimizer = Optimizer::default();
        for (path, tensor) in self.tensors {
            match optimizer_path(&path) {
                Some((parameter, slot)) => {
                    let slots = state.entry(parameter.clone()).or_insert_with(|| {
                        order.push(parameter);
                        Vec::new()
                    });
                    match slot.as_str() {
                        "step" => optimizer.step = optimizer.step.max(ranks::number(folder, &tensor)),
                        _ => slots.push((slot, tensor)),
                    }
                }
                None => rest.push((path, tensor)),
            }
        }
        model::unwrap_paths(&mut rest);
        contents.tensors = rest.into_iter().map(|(path, tensor)| Tensor { name: path.join("."), ..tensor }).collect();
        let mut groups: BTreeMap<u64, Map<String, Value>> = BTreeMap::new();
        let mut members: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        for (path, value) in self.values {
            match path.as_slice() {
                [.., key, group, setting] if key == "param_groups" => {
                    let group = group.parse().unwrap_or(0);
                    let settings = groups.entry(group).or_default();
                    // The parameters themselves are not kept, only their number.
                    let value = match (setting.as_str(), &value) {
                        ("params", Value::Array(params)) => {
                            let word = |param: &Value| param.as_str().map_or_else(|| param.to_string(), str::to_owned);
                            members.insert(group, params.iter().map(word).collect());
                            params.len().into()
                        }
                        _ => value,
                    };
                    settings.insert(setting.clone(), value);
                }
                path => _ = insert(&mut contents.metadata, path, value),
            }
        }
        if order.is_empty() && groups.is_empty() {
            return;
        }
        optimizer.groups = groups.into_values().collect();
        let mut entries = Vec::new();
        for key in order {
            let slots = state.remove(&key).unwrap_or_default();
            entries.push(optim::Entry { number: key.parse().ok(), key, slots });
        }
        let numbered = |list: &Vec<String>| list.iter().map(|member| member.parse().ok()).collect::<Option<Vec<u64>>>();
        let by_number: Option<Vec<Vec<u64>>> = members.values().map(numbered).collect();
        let all: Vec<u64> = entries.iter().filter_map(|entry| entry.number).collect();
        let complete = members.len() == optimizer.groups.len();
        let numbers = by_number.filter(|lists| complete && !lists.is_empty() && !all.is_empty());
        let numbers = numbers.unwrap_or_else(|| vec![all]);
        let mut optimizer = optim::build(optimizer, &numbers, HashMap::new(), entries, &contents.tensors);
        if complete && members.values().flatten().any(|member| member.parse::<u64>().is_err()) {
            optimizer.members = members.into_values().collect();
        }
        contents.optimizer = Some(optimizer);
    }
}

/// Parameter and slot, when the path leads into the state of an optimizer.
fn optimizer_path(path: &[String]) -> Option<(String, String)> {
    let at = path.iter().position(|part| part == "state" || part.starts_with("state."))?;
    let is_optimizer =
        at.checked_sub(1).and_then(|before| path.get(before)).is_some_and(|key| key.starts_with("optim"));
    if !is_optimizer {
        return None;
    }
    let rest = path.get(at..)?;
    match rest {
        [state, parameter, slot @ ..] if state == "state" && !slot.is_empty() => {
            Some((parameter.clone(), slot.join(".")))
        }
        // Flattened by the optimizer itself: one key with dots.
        [flat] => {
            let (parameter, slot) = flat.strip_prefix("state.")?.rsplit_once('.')?;
            Some((parameter.to_owned(), slot.to_owned()))
        }
        _ => None,
    }
}

/// Puts a value under a path of keys.
fn insert(map: &mut Map<String, Value>, path: &[String], value: Value) -> Option<()> {
    let (last, parents) = path.split_last()?;
    let mut map = map;
    for parent in parents.iter().take(64) {
        let next = map.entry(parent.clone()).or_insert_with(|| Value::Object(Map::new()));
        map = next.as_object_mut()?;
    }
    map.insert(last.clone(), value);
    Some(())
}

/// Reads the safetensors variant.
fn read_safetensors(folder: &dyn Folder, prefix: &str, limits: &Limits) -> Result<Contents, FormatError> {
    let mut contents = ranks::begin(Format::Dcp);
    contents.formats.push(Format::Safetensors);
    let mut tensors: Vec<Tensor> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let names: Vec<_> = ranks::names(folder, prefix).filter(|name| name.ends_with(".safetensors")).collect();
    if names.is_empty() {
        return Err(FormatError::BadMagic { what: "distributed checkpoint" });
    }
    for name in names {
        let section = folder.open(&format!("{prefix}{name}"))?;
        let header = header(&section, limits).map_err(|error| error.in_file(name))?;
        let sharding: Value = header
            .metadata
            .get(SHARDING)
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_else(|| Value::Object(Map::new()));
        for (key, value) in header.metadata.iter().filter(|(key, _)| key.as_str() != SHARDING) {
            contents.metadata.insert(key.clone(), Value::String(value.clone()));
        }
        for info in &header.tensors {
            let offsets = sharding.get(&info.name).and_then(|entry| entry.get("saved_offsets"));
            let offsets: Option<Vec<u64>> =
                offsets.and_then(Value::as_array).map(|list| list.iter().filter_map(Value::as_u64).collect());
            let offsets = offsets.filter(|offsets| offsets.len() == info.shape.len());
            let offsets = offsets.unwrap_or_else(|| vec![0; info.shape.len()]);
            let stored = section.stored("tensor", header.data_offset + info.begin, info.end - info.begin)?;
            let part = Tensor::plain(&*info.name, info.dtype, info.shape.clone(), stored);
            let extents: Option<Vec<u64>> =
                offsets.iter().zip(&info.shape).map(|(offset, extent)| offset.checked_add(*extent)).collect();
            let extents = extents.ok_or_else(|| FormatError::SizeOverflow { tensor: info.name.clone() })?;
            let pieces = pieces::placed(part, &offsets).unwrap_or_default();
            let place = *places.entry(info.name.clone()).or_insert(tensors.len());
            match tensors.get_mut(place) {
                None => {
                    let (name, dtype) = (info.name.clone(), info.dtype);
                    tensors.push(Tensor { name, dtype, shape: extents, pieces });
                }
                Some(tensor) => {
                    if tensor.dtype != info.dtype || tensor.shape.len() != extents.len() {
                        let message = format!("parts of tensor `{}` differ in dtype or rank", info.name);
                        contents.warn(WarningKind::Disagreement, name, message);
                        continue;
                    }
                    // Ranks that hold a copy of the same part add nothing.
                    if tensor
                        .pieces
                        .iter()
                        .any(|known| Some(&known.region) == pieces.first().map(|piece| &piece.region))
                    {
                        continue;
                    }
                    tensor.shape.iter_mut().zip(extents).for_each(|(extent, end)| *extent = (*extent).max(end));
                    tensor.pieces.extend(pieces);
                }
            }
        }
    }
    for tensor in &tensors {
        pieces::check(tensor)?;
    }
    contents.tensors = tensors;
    ranks::holes(&mut contents);
    Ok(contents)
}

fn header(section: &Section, limits: &Limits) -> Result<safetensors::Header, FormatError> {
    let len = safetensors::header_len(&section.head("safetensors header", 8)?, limits)?;
    safetensors::Header::parse(&section.head("safetensors header", len)?, section.len(), limits)
}
