//! From the files of a folder to one checkpoint: read each, group shards, choose one set of weights, add what lies beside.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::readers::{self, Layout, below};
use super::{Checkpoint, FileReport, OtherWeights, config, names, shards, sniff, unusual};
use crate::contents::{Architecture, Code, CodeWay, Contents, WarningKind};
use crate::error::{ErrorKind, FormatError};
use crate::identity::Format;
use crate::limits::Limits;
use crate::source::Folder;
use crate::torch;

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
            if claimed.iter().any(|path: &String| path.starts_with(&below(&prefix)) && !prefix.is_empty()) {
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

fn folder_of(path: &str) -> &str {
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
    for file in folder.files() {
        let beside = folders.contains(folder_of(&file.path)) && file.path.starts_with(&whole);
        let of_layout = (layout.owns_folder && file.path.starts_with(&whole)) || beside;
        if used.contains(&*file.path) || (of_layout && (!is_document(&file.path) || layout.owns_folder)) {
            claimed.insert(file.path.to_string());
        }
    }
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
    let mut groups: BTreeMap<(String, Format, String), Part> = BTreeMap::new();
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
        let stem = shards::stem(path).0.to_owned();
        let key = (folder_of(path).to_owned(), format, stem.clone());
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

    /// Order of choice: format, then plain names before variants (`model.fp16`), then the name.
    fn rank(&self) -> (usize, usize, &str) {
        let format = PREFERENCE.iter().position(|format| *format == self.format).unwrap_or(PREFERENCE.len());
        (format, self.stem.matches(['.', '_', '-']).count(), &self.stem)
    }

    fn elements(&self) -> u64 {
        self.contents.tensors.iter().fold(0, |sum, tensor| sum.saturating_add(tensor.elements()))
    }
}

/// JSON files that say what the rest is, by path.
struct Documents(BTreeMap<String, Map<String, Value>>);

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

    fn get(&self, folder: &str, name: &str) -> Option<&Map<String, Value>> {
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
            if of_part && part.files.len() > 1 {
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
    let main = match best.get("") {
        Some(&number) => Some(number),
        None if components.is_empty() => {
            best.values().copied().max_by_key(|&number| parts.get(number).map(|part| (part.elements(), number)))
        }
        None => None,
    };
    let main_folder = main.and_then(|number| parts.get(number)).map(|part| part.folder.clone()).unwrap_or_default();
    let chosen: BTreeMap<usize, String> = components
        .iter()
        .filter_map(|folder| Some((*best.get(folder)?, folder.replace('/', "."))))
        .chain(main.map(|number| (number, String::new())))
        .collect();
    checkpoint.has_weights = !chosen.is_empty();
    for (number, part) in parts.into_iter().enumerate() {
        match chosen.get(&number) {
            Some(prefix) => take_weights(&mut checkpoint.contents, part, prefix),
            None => take_rest(checkpoint, part, &main_folder),
        }
    }
    let config = documents.get(&main_folder, "config.json").or_else(|| documents.get("", "config.json"));
    describe(checkpoint, config, documents, &main_folder, !components.is_empty());
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
fn take_rest(checkpoint: &mut Checkpoint, part: Part, main_folder: &str) {
    let is_weights = part.is_weights();
    let elements = part.elements();
    let mut contents = part.contents;
    checkpoint.contents.code.append(&mut contents.code);
    checkpoint.contents.warnings.append(&mut contents.warnings);
    let near = part.folder == main_folder || folder_of(&part.folder) == main_folder;
    if near && checkpoint.contents.optimizer.is_none() && contents.optimizer.is_some() {
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

/// Architecture, metadata and layouts from the documents.
fn describe(
    checkpoint: &mut Checkpoint,
    config: Option<&Map<String, Value>>,
    documents: &Documents,
    main_folder: &str,
    pipeline: bool,
) {
    let contents = &mut checkpoint.contents;
    let index = documents.get("", "model_index.json").filter(|_| pipeline);
    let adapter = documents.get(main_folder, "adapter_config.json");
    let stated = match (index, config) {
        (Some(index), _) => Some(config::pipeline(index)),
        (None, Some(config)) => Some(config::architecture(config)),
        (None, None) => None,
    };
    if let Some(stated) = stated {
        contents.architecture = merge(stated, std::mem::take(&mut contents.architecture));
    }
    let by_names = names::family(&contents.tensors);
    if contents.architecture.family.is_none() {
        contents.architecture.family = by_names.map(str::to_owned);
    }
    let mut layouts = Vec::new();
    if contents.tensors.iter().any(|tensor| tensor.name.starts_with("model.diffusion_model.")) {
        layouts.push(Format::StableDiffusion);
    }
    if let Some(index) = index {
        layouts.push(Format::Diffusers);
        contents.code.extend(config::code("model_index.json", index));
    }
    if let Some(config) = config {
        let path = format!("{}config.json", below(main_folder));
        contents.code.extend(config::code(&path, config));
        let has = |key: &str| config.contains_key(key);
        if has("pretrained_cfg") || (has("architecture") && has("num_features")) {
            layouts.push(Format::Timm);
        } else if has("model_type") || has("architectures") {
            layouts.push(Format::HfModel);
        }
        if let Some(quantisation) = config.get("quantization_config").or_else(|| config.get("quantization")) {
            contents.metadata.insert("quantization".to_owned(), quantisation.clone());
        }
    }
    if let Some(adapter) = adapter {
        layouts.push(Format::Peft);
        contents.code.extend(config::code(&format!("{}adapter_config.json", below(main_folder)), adapter));
        contents.metadata.insert("adapter".to_owned(), Value::Object(adapter.clone()));
        if let Some(base) = adapter.get("base_model_name_or_path").filter(|base| base.is_string()) {
            contents.metadata.insert("base_model".to_owned(), base.clone());
        }
    }
    if contents.metadata.get("format").and_then(Value::as_str) == Some("mlx")
        || config.is_some_and(|c| c.contains_key("quantization") && !c.contains_key("quantization_config"))
    {
        layouts.push(Format::Mlx);
    }
    if let Some(state) = documents.get(main_folder, "trainer_state.json") {
        layouts.push(Format::HfTrainer);
        if let Some(optimizer) = &mut contents.optimizer
            && optimizer.step.is_none()
        {
            optimizer.step = state.get("global_step").and_then(Value::as_u64);
        }
        contents.metadata.insert("trainer_state".to_owned(), Value::Object(state.clone()));
    }
    for (document, key) in [("generation_config.json", "generation_config"), ("tokenizer_config.json", "tokenizer")] {
        if let Some(map) = documents.get(main_folder, document) {
            contents.metadata.insert(key.to_owned(), Value::Object(map.clone()));
        }
    }
    let has = |name: &str| {
        checkpoint.files.iter().any(|file| {
            folder_of(&file.path) == main_folder
                && file.path.rsplit('/').next().is_some_and(|file| file.starts_with(name))
        })
    };
    if has("random_states_") && !layouts.contains(&Format::HfTrainer) {
        layouts.push(Format::Accelerate);
    }
    for layout in layouts {
        if !contents.formats.contains(&layout) {
            contents.formats.push(layout);
        }
    }
    // safetensors sorts its tensors: beside it the numbers of an optimizer tell no names.
    if checkpoint.optimizer_apart
        && !contents.formats.contains(&Format::Safetensors)
        && let Some(optimizer) = &mut contents.optimizer
    {
        torch::name_parameters(optimizer, &contents.tensors);
    }
}

/// What a document states, completed by what the file itself says.
fn merge(stated: Architecture, found: Architecture) -> Architecture {
    let mut sizes = found.sizes;
    sizes.extend(stated.sizes);
    Architecture {
        family: stated.family.or(found.family),
        class: stated.class.or(found.class),
        sizes,
        config: if stated.config.is_empty() { found.config } else { stated.config },
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
