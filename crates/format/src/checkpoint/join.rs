//! From the files of a folder to one checkpoint: read each, group shards, choose one set of weights, add what lies beside.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde_json::{Map, Value};

use super::describe::describe;
use super::readers::{self, Layout, below};
use super::{Checkpoint, FileReport, OtherWeights, config, shards, sniff, unusual};
use crate::contents::{Architecture, Code, CodeWay, Contents, WarningKind};
use crate::error::{ErrorKind, FormatError};
use crate::identity::Format;
use crate::limits::Limits;
use crate::source::Folder;

/// Formats of weights, the one to prefer first when a folder has several.
const PREFERENCE: &[Format] = &[
    Format::Safetensors,
    Format::Dcp,
    Format::TorchZip,
    Format::TorchLegacy,
    Format::DeepSpeed,
    Format::FsdpRanks,
    Format::Megatron,
    Format::StableBaselines3,
    Format::Gguf,
    Format::Keras,
    Format::KerasH5,
    Format::KerasWeights,
    Format::Orbax,
    Format::Flax,
    Format::SavedModel,
    Format::TensorBundle,
    Format::TfV1,
    Format::Npz,
    Format::Npy,
    Format::TorchScript,
    Format::Pt2,
    Format::Onnx,
    Format::Tflite,
];

/// Files of training that hold tensors which are no weights: random states, schedules, scalers.
const TRAINING: &[&str] =
    &["rng_state", "random_states", "scheduler", "scaler", "sampler", "training_args", "dl_state"];

/// Names of weights that libraries load by themselves.
const KNOWN: &[&str] = &[
    "model",
    "pytorch_model",
    "diffusion_pytorch_model",
    "adapter_model",
    "open_clip_pytorch_model",
    "tf_model",
    "flax_model",
];

/// Words in names of what lies beside a model: projectors of images, importance matrices.
const ASIDE: &[&str] = &["mmproj", "imatrix"];

/// Files whose names mean code, whatever they hold.
const SCRIPTS: &[&str] = &[".py", ".pyc", ".so", ".dll", ".dylib", ".sh", ".exe"];

/// Files that belong together and were read.
struct Part {
    folder: String,
    stem: String,
    format: Format,
    files: Vec<String>,
    contents: Contents,
}

pub(super) fn join(folder: &dyn Folder, only: Option<&str>, limits: &Limits) -> Result<Checkpoint, FormatError> {
    let mut checkpoint = Checkpoint::default();
    let mut parts = Vec::new();
    let mut claimed = BTreeSet::new();
    if only.is_none() {
        for (layout, prefix) in readers::layouts(folder) {
            let inside = below(&prefix);
            let first = claimed.range(inside.clone()..).next();
            if !prefix.is_empty() && first.is_some_and(|path: &String| path.starts_with(&inside)) {
                continue;
            }
            read_layout(folder, layout, &prefix, limits, &mut checkpoint, &mut parts, &mut claimed);
        }
    }
    let mut single = Vec::new();
    for file in folder.files() {
        if only.is_some_and(|only| only != &*file.path) {
            continue;
        }
        let path = file.path.to_string();
        let formats = match folder.open(&path).and_then(|section| sniff(&section, limits)) {
            Ok(formats) => formats,
            Err(error) if only.is_some() || error.kind() == ErrorKind::Io => return Err(error.in_file(&path)),
            Err(error) => {
                checkpoint.warn(WarningKind::Unreadable, &path, error.to_string());
                Vec::new()
            }
        };
        if !claimed.contains(&path) {
            single.push((path.clone(), formats.clone()));
        }
        checkpoint.files.push(FileReport { path, size_bytes: file.size_bytes, formats });
    }
    if let Some(only) = only
        && single.is_empty()
    {
        return Err(FormatError::NoFile { path: only.to_owned() });
    }
    read_files(folder, &single, only.is_some(), limits, &mut checkpoint, &mut parts)?;
    let documents = Documents::read(folder, only, limits, &mut checkpoint);
    assemble(&mut checkpoint, parts, &documents);
    look_beside(&mut checkpoint, &documents);
    unusual::look(&mut checkpoint);
    Ok(checkpoint)
}

pub(super) fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn read_layout(
    folder: &dyn Folder,
    layout: &Layout,
    prefix: &str,
    limits: &Limits,
    checkpoint: &mut Checkpoint,
    parts: &mut Vec<Part>,
    claimed: &mut BTreeSet<String>,
) {
    let mut contents = match (layout.read)(folder, prefix, limits) {
        Ok(contents) => contents,
        Err(error) => {
            checkpoint.warn(WarningKind::Unreadable, prefix, format!("this {} folder: {error}", layout.format));
            return;
        }
    };
    let of_optimizer = contents.optimizer.iter().flat_map(|optimizer| &optimizer.tensors);
    let used: BTreeSet<String> = contents
        .tensors
        .iter()
        .chain(of_optimizer)
        .flat_map(|tensor| &tensor.pieces)
        .filter_map(|piece| match &piece.stored {
            crate::tensor::Stored::File { file, .. } => Some(file.to_string()),
            _ => None,
        })
        .collect();
    let folders: BTreeSet<&str> = used.iter().map(|path| folder_of(path)).collect();
    // What lies beside the used files belongs to the layout too, but for the documents that say what the model is.
    let is_document =
        |path: &str| [".json", ".md", ".txt", ".py", ".jinja", ".model"].iter().any(|end| path.ends_with(end));
    let whole = below(prefix);
    for file in folder.under(&whole) {
        let beside = folders.contains(folder_of(&file.path)) && !is_document(&file.path);
        if layout.owns_folder || beside {
            claimed.insert(file.path.to_string());
        }
    }
    claimed.extend(used.iter().cloned());
    if contents.formats.is_empty() {
        contents.formats.push(layout.format);
    }
    let files = used.into_iter().collect();
    parts.push(Part { folder: prefix.to_owned(), stem: String::new(), format: layout.format, files, contents });
}

fn read_files(
    folder: &dyn Folder,
    files: &[(String, Vec<Format>)],
    alone: bool,
    limits: &Limits,
    checkpoint: &mut Checkpoint,
    parts: &mut Vec<Part>,
) -> Result<(), FormatError> {
    let mut groups: BTreeMap<(String, Format, String, Option<u64>), Part> = BTreeMap::new();
    for (path, formats) in files {
        if formats.len() > 1 {
            let list: Vec<&str> = formats.iter().map(|format| format.as_str()).collect();
            checkpoint.warn(WarningKind::Polyglot, path, format!("this file can be read as {}", list.join(" and as ")));
        }
        let Some(&format) = formats.first() else {
            if alone {
                let detail = format!("the bytes of `{path}` match no known format of checkpoints");
                return Err(FormatError::Unsupported { what: "this file", detail });
            }
            continue;
        };
        let contents = match readers::read(folder, path, format, limits) {
            Ok(Some(contents)) => contents,
            Ok(None) => continue,
            Err(error) if alone || error.kind() == ErrorKind::Io => return Err(error.in_file(path)),
            Err(error) => {
                checkpoint.warn(WarningKind::Unreadable, path, error.to_string());
                continue;
            }
        };
        let format = contents.formats.first().copied().unwrap_or(format);
        // A whole file beside its shards, or shards of an older split, are another set of the same weights.
        let (stem, number) = shards::stem(path);
        let stem = stem.to_owned();
        let key = (folder_of(path).to_owned(), format, stem.clone(), number.map(|(_, count)| count));
        match groups.get_mut(&key) {
            Some(part) => part.add(path, contents),
            None => {
                let part = Part { folder: key.0.clone(), stem, format, files: vec![path.clone()], contents };
                groups.insert(key, part);
            }
        }
    }
    parts.extend(groups.into_values().map(|mut part| {
        if !alone {
            shards::check_numbers(&mut part.contents, &part.files);
        }
        part
    }));
    Ok(())
}

impl Part {
    /// Takes in another shard.
    fn add(&mut self, path: &str, other: Contents) {
        self.files.push(path.to_owned());
        let mine = &mut self.contents;
        mine.tensors.extend(other.tensors);
        mine.buffers.extend(other.buffers);
        mine.code.extend(other.code);
        mine.warnings.extend(other.warnings);
        for (key, value) in other.metadata {
            mine.metadata.entry(key).or_insert(value);
        }
        match (&mut mine.optimizer, other.optimizer) {
            (Some(mine), Some(other)) => mine.tensors.extend(other.tensors),
            (mine @ None, other) => *mine = other,
            (Some(_), None) => {}
        }
    }

    fn is_training(&self) -> bool {
        TRAINING.iter().any(|name| self.stem.starts_with(name))
    }

    fn is_weights(&self) -> bool {
        !self.contents.tensors.is_empty() && !self.is_training() && self.stem != "optimizer"
    }

    /// Order of choice, least first: format; what belongs to a model before what lies beside one; the names that
    /// libraries load; of quantisations the most precise; the set with the most elements, so the complete one; plain
    /// names before variants (`model.fp16`); the name.
    fn rank(&self) -> (usize, bool, bool, Reverse<u64>, Reverse<u64>, usize, &str) {
        let format = PREFERENCE.iter().position(|format| *format == self.format).unwrap_or(PREFERENCE.len());
        let aside = ASIDE.iter().any(|word| self.stem.contains(word));
        let known = KNOWN.contains(&self.stem.as_str());
        let bytes = match self.format {
            Format::Gguf => {
                self.contents.tensors.iter().fold(0, |sum: u64, tensor| sum.saturating_add(tensor.size_bytes()))
            }
            _ => 0,
        };
        let variant = self.stem.matches(['.', '_', '-']).count();
        let elements = if known { self.elements() } else { 0 };
        (format, aside, !known, Reverse(bytes), Reverse(elements), variant, &self.stem)
    }

    fn elements(&self) -> u64 {
        self.contents.tensors.iter().fold(0, |sum, tensor| sum.saturating_add(tensor.elements()))
    }
}

/// JSON files that say what the rest is, by path.
pub(super) struct Documents(BTreeMap<String, Map<String, Value>>);

/// Names of documents that are read.
const DOCUMENTS: &[&str] = &[
    "config.json",
    "model_index.json",
    "adapter_config.json",
    "trainer_state.json",
    "generation_config.json",
    "tokenizer_config.json",
    "modules.json",
];

impl Documents {
    fn read(folder: &dyn Folder, only: Option<&str>, limits: &Limits, checkpoint: &mut Checkpoint) -> Self {
        let mut found = BTreeMap::new();
        for file in folder.files() {
            let name = file.path.rsplit('/').next().unwrap_or(&file.path);
            let wanted = DOCUMENTS.contains(&name) || name.ends_with(".index.json");
            if !wanted || only.is_some() {
                continue;
            }
            match read_json(folder, &file.path, limits) {
                Ok(Value::Object(map)) => {
                    found.insert(file.path.to_string(), map);
                }
                // sentence-transformers lists its modules.
                Ok(list @ Value::Array(_)) if name == "modules.json" => {
                    found.insert(file.path.to_string(), Map::from_iter([("modules".to_owned(), list)]));
                }
                Ok(_) => checkpoint.warn(WarningKind::Unreadable, &file.path, "it is JSON, but not an object"),
                Err(error) => checkpoint.warn(WarningKind::Unreadable, &file.path, error.to_string()),
            }
        }
        Self(found)
    }

    pub(super) fn get(&self, folder: &str, name: &str) -> Option<&Map<String, Value>> {
        self.0.get(&format!("{}{name}", below(folder)))
    }

    /// Indexes of shards in a folder.
    fn indexes<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = (&'a String, &'a Map<String, Value>)> {
        self.0.iter().filter(move |(path, _)| path.ends_with(".index.json") && folder_of(path) == folder)
    }
}

fn read_json(folder: &dyn Folder, path: &str, limits: &Limits) -> Result<Value, FormatError> {
    let section = folder.open(path)?;
    Limits::at_most("length of a JSON file, in bytes", section.len(), limits.text_bytes)?;
    let bytes = section.read("JSON file", 0, section.len())?;
    serde_json::from_slice(&bytes).map_err(|source| FormatError::Json { what: "the file", source })
}

/// Chooses the weights among the parts and joins the rest to them.
fn assemble(checkpoint: &mut Checkpoint, mut parts: Vec<Part>, documents: &Documents) {
    for part in &mut parts {
        for (path, index) in documents.indexes(&part.folder) {
            let of_part = path.rsplit('/').next().is_some_and(|name| name.starts_with(&format!("{}.", part.stem)));
            if of_part && part.files.iter().any(|file| shards::stem(file).1.is_some()) {
                let index = Value::Object(index.clone());
                shards::check_index(&mut part.contents, path, &index, &part.folder);
            }
        }
    }
    let mut best: BTreeMap<String, usize> = BTreeMap::new();
    for (number, part) in parts.iter().enumerate().filter(|(_, part)| part.is_weights()) {
        let place = best.entry(part.folder.clone()).or_insert(number);
        if parts.get(*place).is_some_and(|chosen| part.rank() < chosen.rank()) {
            *place = number;
        }
    }
    let components = component_folders(documents, &best);
    // A pipeline is its components; a file beside them is the same again for another program.
    let pipeline = documents.get("", "model_index.json").is_some() && !components.is_empty();
    let main = match best.get("") {
        Some(&number) if !pipeline => Some(number),
        None if components.is_empty() => best.values().copied().max_by_key(|&number| {
            // Of equal sets the newest: `checkpoint-1000` comes after `checkpoint-500`.
            parts.get(number).map(|part| (part.elements(), step_of(&part.folder), number))
        }),
        _ => None,
    };
    let main_folder = main.and_then(|number| parts.get(number)).map(|part| part.folder.clone()).unwrap_or_default();
    let chosen: BTreeMap<usize, String> = components
        .iter()
        .filter_map(|folder| Some((*best.get(folder)?, folder.replace('/', "."))))
        .chain(main.map(|number| (number, String::new())))
        .collect();
    checkpoint.has_weights = !chosen.is_empty();
    let of_chosen = chosen.keys().filter_map(|&number| parts.get(number)).flat_map(|part| &part.contents.tensors);
    let names: HashSet<String> = of_chosen.map(|tensor| tensor.name.clone()).collect();
    for (number, part) in parts.into_iter().enumerate() {
        match chosen.get(&number) {
            Some(prefix) => take_weights(&mut checkpoint.contents, part, prefix),
            None => {
                // What lies in a folder with weights of its own belongs to those.
                let parent = folder_of(&part.folder);
                let beside = parent == main_folder || (parent == folder_of(&main_folder) && part.folder != parent);
                let near = part.folder == main_folder || (beside && !best.contains_key(&part.folder));
                // Another set of weights may be another model, and its optimizer another one's.
                let same =
                    !part.is_weights() || part.contents.tensors.iter().any(|tensor| names.contains(&tensor.name));
                take_rest(checkpoint, part, near, same);
            }
        }
    }
    let first = components.first().filter(|_| !pipeline).and_then(|folder| documents.get(folder, "config.json"));
    let config = documents.get(&main_folder, "config.json").or_else(|| documents.get("", "config.json")).or(first);
    describe(checkpoint, config, documents, &main_folder, pipeline);
}

/// The number at the end of a folder's name: `500` of `checkpoint-500`.
fn step_of(folder: &str) -> u64 {
    let digits = folder.len() - folder.trim_end_matches(|character: char| character.is_ascii_digit()).len();
    folder.get(folder.len() - digits..).and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// Folders that are parts of one model: components of a pipeline, modules of sentence-transformers.
fn component_folders(documents: &Documents, best: &BTreeMap<String, usize>) -> Vec<String> {
    let mut folders: Vec<String> = Vec::new();
    if let Some(index) = documents.get("", "model_index.json") {
        folders.extend(config::components(index).into_iter().map(str::to_owned));
    }
    if let Some(Value::Array(modules)) = documents.get("", "modules.json").and_then(|map| map.get("modules")) {
        let paths = modules.iter().filter_map(|module| module.get("path")?.as_str());
        folders.extend(paths.filter(|path| !path.is_empty()).map(str::to_owned));
    }
    folders.retain(|folder| best.contains_key(folder));
    folders
}

fn take_weights(into: &mut Contents, part: Part, prefix: &str) {
    let mut contents = part.contents;
    if !prefix.is_empty() {
        for tensor in &mut contents.tensors {
            tensor.name = format!("{prefix}.{}", tensor.name);
        }
    }
    for format in contents.formats {
        if !into.formats.contains(&format) {
            into.formats.push(format);
        }
    }
    into.tensors.append(&mut contents.tensors);
    let named = contents.buffers.into_iter();
    into.buffers.extend(named.map(|name| if prefix.is_empty() { name } else { format!("{prefix}.{name}") }));
    into.code.append(&mut contents.code);
    into.warnings.append(&mut contents.warnings);
    if into.optimizer.is_none() {
        into.optimizer = contents.optimizer;
    }
    if prefix.is_empty() {
        into.architecture = contents.architecture;
        into.metadata.append(&mut contents.metadata);
    } else if !contents.metadata.is_empty() {
        into.metadata.insert(prefix.to_owned(), Value::Object(contents.metadata));
    }
}

/// What is not the weights: an optimizer, files of training, the same weights in other forms.
fn take_rest(checkpoint: &mut Checkpoint, part: Part, near: bool, same: bool) {
    let is_weights = part.is_weights();
    let elements = part.elements();
    let mut contents = part.contents;
    checkpoint.contents.code.append(&mut contents.code);
    checkpoint.contents.warnings.append(&mut contents.warnings);
    if near && same && checkpoint.contents.optimizer.is_none() && contents.optimizer.is_some() {
        checkpoint.contents.optimizer = contents.optimizer.take();
        checkpoint.optimizer_apart = true;
    }
    if !checkpoint.has_weights {
        for format in contents.formats {
            if !checkpoint.contents.formats.contains(&format) {
                checkpoint.contents.formats.push(format);
            }
        }
        if checkpoint.contents.architecture == Architecture::default() {
            checkpoint.contents.architecture = contents.architecture;
        }
    }
    if is_weights {
        let tensors = contents.tensors.len() as u64;
        checkpoint.others.push(OtherWeights { format: part.format, files: part.files, tensors, elements });
    } else if near && !contents.metadata.is_empty() {
        let name = if part.stem.is_empty() { part.format.as_str().to_owned() } else { part.stem };
        checkpoint.contents.metadata.entry(name).or_insert(Value::Object(contents.metadata));
    }
}

/// Scripts and cards, by their names.
fn look_beside(checkpoint: &mut Checkpoint, documents: &Documents) {
    for file in &checkpoint.files {
        if SCRIPTS.iter().any(|end| file.path.ends_with(end)) {
            let name = file.path.clone();
            checkpoint.contents.code.push(Code { file: name.clone(), name, way: CodeWay::Script });
        }
    }
    if checkpoint.files.iter().any(|file| file.path == "README.md") {
        checkpoint.card = Some("README.md".to_owned());
    }
    if checkpoint.contents.tensors.is_empty() && !documents.0.is_empty() && checkpoint.contents.optimizer.is_none() {
        checkpoint.warn(WarningKind::Missing, "", "there is a configuration, but no weights");
    }
    checkpoint.contents.code.sort();
    checkpoint.contents.code.dedup();
}
