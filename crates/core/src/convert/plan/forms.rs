//! One function for each format that can be written: which tensors, how arranged, with which documents.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use weighthouse_format::checkpoint::Checkpoint;
use weighthouse_format::output::{OutputFile, OutputTensor, Part};
use weighthouse_format::remap::Affine;
use weighthouse_format::{Dtype, Format, numpy, safetensors, torch};

use super::naming::{Component, Named, named};
use super::{Plan, documents, gguf, state, weights};
use crate::Error;
use crate::convert::Form;
use crate::convert::options::is_floating;
use crate::source::Source;

/// Longest file of a folder in bytes, where none is asked for: as transformers splits.
const SHARD_BYTES: u64 = 50_000_000_000;

/// Fills a plan with tensors and files.
pub(super) fn fill(
    plan: &mut Plan,
    source: &Source<'_>,
    checkpoint: &Checkpoint,
    name: Option<&str>,
) -> Result<(), Error> {
    if plan.options.to == Form::Gguf {
        return gguf::fill(plan, source, checkpoint, name);
    }
    let Named { mut components, documents, files, envelope, notes } = named(source, checkpoint, &plan.options)?;
    plan.notes.extend(notes);
    if !plan.options.parts.model {
        components.iter_mut().for_each(|component| component.tensors.clear());
        components.retain(|component| component.folder.is_empty());
    }
    for component in &mut components {
        weights::set_dtypes(&mut component.tensors, &plan.options)?;
        weights::check_names(&component.tensors)?;
    }
    match plan.options.to {
        Form::Folder => folder(plan, source, checkpoint, components, &documents, files),
        Form::Dcp | Form::Torch if components.iter().any(|component| !component.affine.is_empty()) => {
            let text =
                "MLX's packed weights are computed into safetensors, npz or a folder first; convert the result again";
            Err(Error::Unsupported(text.to_owned()))
        }
        Form::Dcp => {
            let (tensors, state) = state::of(&plan.options, checkpoint, one(components)?, envelope)?;
            plan.weights = tensors.len();
            let (cut, files) = torch::dcp_write::plan(&state, &tensors, plan.options.ranks)?;
            plan.add(cut, files, "");
            Ok(())
        }
        Form::Torch => {
            let name = name.unwrap_or("pytorch_model.bin");
            let (tensors, state) = state::of(&plan.options, checkpoint, one(components)?, envelope)?;
            plan.weights = tensors.len();
            let file = torch::write::plan(name, &state, &tensors)?;
            plan.add(tensors, vec![file], "");
            Ok(())
        }
        form => {
            let affine: BTreeMap<String, Affine> =
                components.iter_mut().flat_map(|component| std::mem::take(&mut component.affine)).collect();
            let of_components: BTreeMap<String, String> =
                components.iter_mut().flat_map(|component| std::mem::take(&mut component.metadata)).collect();
            let mut tensors = one(components)?;
            let dropped = weights::keep_one(&mut tensors, checkpoint);
            say_dropped(plan, &dropped);
            state::append(&plan.options, checkpoint, &mut tensors)?;
            plan.weights = tensors.len();
            let name = name.unwrap_or(match form {
                Form::Npz => "model.npz",
                Form::Npy => "model.npy",
                _ => "model.safetensors",
            });
            let file = match form {
                Form::Npz => numpy::write::npz(name, &tensors)?,
                Form::Npy => numpy::write::npy(name, the_one(&tensors)?)?,
                _ => {
                    let mut metadata = metadata(checkpoint, &dropped, &plan.options);
                    metadata.extend(of_components);
                    safetensors::write::file(name, &tensors, &metadata)?
                }
            };
            plan.add(tensors, vec![file], "");
            plan.compute(0, &affine);
            Ok(())
        }
    }
}

/// The tensors of a model that is one component, or of a pipeline with the component's name in front of each.
fn one(components: Vec<Component>) -> Result<Vec<OutputTensor>, Error> {
    let mut tensors = Vec::new();
    for component in components {
        tensors.extend(component.tensors.into_iter().map(|mut tensor| {
            if !component.folder.is_empty() {
                tensor.name = format!("{}.{}", component.folder.replace('/', "."), tensor.name);
            }
            tensor
        }));
    }
    weights::check_names(&tensors)?;
    Ok(tensors)
}

fn the_one(tensors: &[OutputTensor]) -> Result<&OutputTensor, Error> {
    match tensors {
        [tensor] => Ok(tensor),
        _ => Err(Error::Unsupported(format!(
            "an npy file holds one tensor; there are {}: give the destination a name that ends in `.npz`",
            tensors.len()
        ))),
    }
}

fn folder(
    plan: &mut Plan,
    source: &Source<'_>,
    checkpoint: &Checkpoint,
    components: Vec<Component>,
    made: &BTreeMap<String, Value>,
    files: Vec<(String, Vec<u8>)>,
) -> Result<(), Error> {
    let mut kept = BTreeMap::new();
    let folders: BTreeSet<String> = components.iter().map(|component| component.folder.clone()).collect();
    let pipeline = folders.iter().any(|folder| !folder.is_empty());
    let mut dtypes = BTreeMap::new();
    let mut placed = Vec::new();
    for component in components {
        let mut tensors = component.tensors;
        let dropped = weights::keep_one(&mut tensors, checkpoint);
        say_dropped(plan, &dropped);
        dtypes.insert(component.folder.clone(), main_dtype(&tensors));
        let mut options = safetensors::write::Options::default();
        options.max_shard_bytes = Some(plan.options.max_shard_bytes.unwrap_or(SHARD_BYTES));
        options.stem.clone_from(&component.stem);
        if tensors.is_empty() && !plan.options.parts.model {
            continue;
        }
        let mut metadata = metadata(checkpoint, &dropped, &plan.options);
        metadata.extend(component.metadata);
        let files = safetensors::write::plan(&tensors, &metadata, &options)?;
        placed.push((component.folder, tensors, files, component.affine));
        kept.extend(dropped);
    }
    for (folder, tensors, files, affine) in placed {
        let first = plan.tensors.len();
        plan.add(tensors, files, &folder);
        plan.compute(first, &affine);
    }
    plan.weights = plan.tensors.len();
    if let Some(optimizer) = checkpoint.contents.optimizer.as_ref().filter(|_| plan.options.parts.optimizer) {
        let (tensors, state) = state::of_optimizer(optimizer)?;
        plan.weights += tensors.len();
        let file = torch::write::plan("optimizer.pt", &state, &tensors)?;
        plan.add(tensors, vec![file], "");
    }
    for (path, value) in made {
        documents::add(plan, path, value);
    }
    plan.files.extend(files.into_iter().map(|(path, bytes)| OutputFile { path, parts: vec![Part::bytes(bytes)] }));
    let root = documents::root_of(checkpoint);
    for (folder, dtype) in &dtypes {
        let path = if folder.is_empty() { "config.json".to_owned() } else { format!("{folder}/config.json") };
        if plan.options.dtype.is_none() || made.contains_key(&path) {
            continue;
        }
        if let Some(config) = documents::object(source.folder, &format!("{root}{path}"))? {
            // diffusers states no dtype in the configurations of its components.
            let own = config.contains_key("dtype") || config.contains_key("torch_dtype");
            if own || config.contains_key("model_type") {
                documents::add(plan, &path, &Value::Object(documents::with_dtype(config, *dtype)));
            }
        }
    }
    documents::copy(plan, source.folder, checkpoint, pipeline.then_some(&folders), &root);
    Ok(())
}

/// The floating-point type that holds most elements.
fn main_dtype(tensors: &[OutputTensor]) -> Option<Dtype> {
    let mut sums: BTreeMap<Dtype, u64> = BTreeMap::new();
    for tensor in tensors.iter().filter(|tensor| is_floating(tensor.dtype)) {
        let sum = sums.entry(tensor.dtype).or_default();
        *sum = sum.saturating_add(tensor.elements());
    }
    sums.into_iter().max_by_key(|(_, elements)| *elements).map(|(dtype, _)| dtype)
}

fn say_dropped(plan: &mut Plan, dropped: &BTreeMap<String, String>) {
    for (name, kept) in dropped.iter().take(20) {
        let (name, kept) = (name.escape_default(), kept.escape_default());
        plan.notes.push(format!("`{name}` shares its bytes with `{kept}` and is written once, under that name"));
    }
    if dropped.len() > 20 {
        plan.notes.push(format!("{} more share their bytes with others", dropped.len() - 20));
    }
}

/// Metadata of a safetensors file: the source's own if it is safetensors, which library the names are of, and which
/// names share the bytes of others, as the reference writer notes it.
fn metadata(
    checkpoint: &Checkpoint,
    dropped: &BTreeMap<String, String>,
    options: &crate::convert::Options,
) -> BTreeMap<String, String> {
    let contents = &checkpoint.contents;
    let mut metadata: BTreeMap<String, String> = BTreeMap::new();
    if contents.formats.contains(&Format::Safetensors) && options.naming.is_none() {
        metadata.extend(texts(&contents.metadata));
        metadata.retain(|key, _| !key.starts_with("DCP_"));
    }
    if options.naming.as_deref() == Some("mlx") {
        metadata.insert("format".to_owned(), "mlx".to_owned());
    }
    metadata.entry("format".to_owned()).or_insert_with(|| "pt".to_owned());
    metadata.extend(dropped.iter().map(|(name, kept)| (name.clone(), kept.clone())));
    metadata
}

fn texts(map: &Map<String, Value>) -> impl Iterator<Item = (String, String)> {
    map.iter().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
}
