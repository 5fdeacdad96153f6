//! The small files beside the weights: configuration, tokenizer, card. Some are copied, some written anew.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value};
use weighthouse_format::checkpoint::Checkpoint;
use weighthouse_format::output::{OutputFile, OutputTensor, Part};
use weighthouse_format::tensor::{Stored, Tensor};
use weighthouse_format::{Dtype, Folder, Limits};

use super::{Plan, json};
use crate::Error;
use crate::convert::record;

/// Endings of files that say what a model is, or belong to its tokenizer.
const DOCUMENTS: &[&str] = &[".json", ".txt", ".model", ".jinja", ".md", ".tiktoken", ".yaml", ".yml", ".metadata"];
/// Documents of training, which say nothing of the model.
const OF_TRAINING: &[&str] =
    &["trainer_state.json", "latest", "all_results.json", "train_results.json", "eval_results.json"];
/// Longest document that is copied, in bytes.
const MAX_BYTES: u64 = 256 << 20;

/// Whether a file, by its name, says what the model is.
pub(super) fn says_what_it_is(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let index = name.ends_with(".index.json");
    (DOCUMENTS.iter().any(|ending| name.ends_with(ending)) || name.starts_with("LICENSE"))
        && !OF_TRAINING.contains(&name)
        && !name.ends_with(record::NAME)
        && !index
}

/// Folder of the source in which the model's documents lie, with a slash at its end: the one of its weights.
pub(super) fn root_of(checkpoint: &Checkpoint) -> String {
    let has = |path: &str| checkpoint.files.iter().any(|file| file.path == path);
    if has("config.json") || has("model_index.json") || has("adapter_config.json") {
        return String::new();
    }
    let place = checkpoint.contents.tensors.iter().find_map(weighthouse_format::Tensor::place);
    match place.and_then(|(file, _)| file.rsplit_once('/')) {
        Some((folder, _)) if has(&format!("{folder}/config.json")) => format!("{folder}/"),
        _ => String::new(),
    }
}

/// Name without ending of the file of weights that a component is written as: the one that its library looks for.
pub(super) fn stem_of(tensor: &Tensor, folder: &str) -> String {
    const STEMS: &[&str] = &["diffusion_pytorch_model", "model", "adapter_model", "pytorch_lora_weights"];
    let file = tensor.place().map_or("", |(file, _)| file.rsplit('/').next().unwrap_or(file));
    let known = STEMS.iter().find(|stem| file.starts_with(**stem));
    // Models of transformers inside a pipeline were `pytorch_model.bin` once.
    let fallback =
        if folder.contains("encoder") || folder.contains("checker") { "model" } else { "diffusion_pytorch_model" };
    known.map_or_else(|| fallback.to_owned(), |stem| (*stem).to_owned())
}

/// Adds the documents of the source that are not written anew.
///
/// `components` are the folders of a pipeline; without any, all folders count that hold no other weights. `root` is what
/// all paths begin with.
pub(super) fn copy(
    plan: &mut Plan,
    folder: &dyn Folder,
    checkpoint: &Checkpoint,
    components: Option<&BTreeSet<String>>,
    root: &str,
) {
    let written: BTreeSet<String> = plan.files.iter().map(|file| file.path.clone()).collect();
    let folder_of = |path: &str| path.rsplit_once('/').map_or(String::new(), |(of, _)| of.to_owned());
    let others: BTreeSet<String> =
        checkpoint.others.iter().flat_map(|other| &other.files).map(|path| folder_of(path)).collect();
    for file in &checkpoint.files {
        let Some(path) = file.path.strip_prefix(root) else { continue };
        let of = folder_of(path);
        let belongs = of.is_empty()
            || match components {
                // A tokenizer or a scheduler is a component without weights.
                Some(_) => !of.contains('/'),
                None => !others.contains(&folder_of(&file.path)),
            };
        let wanted = belongs && says_what_it_is(path) && path != ".metadata" && file.formats.is_empty();
        if !wanted || written.contains(path) || file.size_bytes == 0 || !folder.has(&file.path) {
            continue;
        }
        if file.size_bytes > MAX_BYTES {
            plan.notes.push(format!("`{path}` is left out: it is longer than {} MiB", MAX_BYTES >> 20));
            continue;
        }
        let stored = Stored::File { file: Arc::from(file.path.as_str()), begin: 0, end: file.size_bytes };
        let tensor = Tensor::plain(path, Dtype::U8, vec![file.size_bytes], stored);
        let output = OutputFile { path: path.to_owned(), parts: vec![Part::Tensor(0)] };
        plan.add(vec![OutputTensor::same(&tensor)], vec![output], "");
    }
}

/// Adds a JSON file.
pub(super) fn add(plan: &mut Plan, path: &str, value: &Value) {
    plan.files.push(OutputFile { path: path.to_owned(), parts: vec![Part::bytes(json(value))] });
}

/// A JSON object of the source; `None` when it is not there.
pub(super) fn object(folder: &dyn Folder, path: &str) -> Result<Option<Map<String, Value>>, Error> {
    if !folder.has(path) {
        return Ok(None);
    }
    let limits = Limits::default();
    let section = folder.open(path)?;
    if section.len() > limits.text_bytes {
        return Err(Error::TooLarge { what: format!("`{path}`"), limit_bytes: limits.text_bytes });
    }
    let bytes = section.read("JSON file", 0, section.len())?;
    let value = serde_json::from_slice(&bytes).map_err(|error| Error::Malformed(format!("`{path}`: {error}")))?;
    Ok(Some(value))
}

/// The configuration with the dtype that the weights have now; in the spelling it has, `dtype` or `torch_dtype`.
pub(super) fn with_dtype(mut config: Map<String, Value>, dtype: Option<Dtype>) -> Map<String, Value> {
    let word = match dtype {
        Some(Dtype::F64) => "float64",
        Some(Dtype::F32) => "float32",
        Some(Dtype::F16) => "float16",
        Some(Dtype::BF16) => "bfloat16",
        _ => return config,
    };
    let old = config.contains_key("torch_dtype");
    if old {
        config.insert("torch_dtype".to_owned(), word.into());
    }
    if !old || config.contains_key("dtype") {
        config.insert("dtype".to_owned(), word.into());
    }
    config
}
