//! Weights in HDF5, of both generations.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value as Json};

use crate::contents::{Contents, Optimizer, WarningKind};
use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::h5;
use crate::identity::Format;
use crate::limits::Limits;
use crate::source::Section;
use crate::tensor::{Filter, Stored, Tensor};

use super::config;

/// Groups of the legacy file.
const MODEL: &str = "model_weights/";
const STATE: &str = "optimizer_weights/";
/// Group of the optimizer in Keras 3 files.
const OPTIMIZER: &str = "optimizer/";

pub(super) fn read(section: &Section, limits: &Limits) -> Result<Contents, FormatError> {
    let file = h5::File::open(section, limits)?;
    let root = file.attributes(&file.object(file.root())?)?;
    let root = file.json(&root);
    let mut contents = Contents::default();
    let tree = file.walk(&mut contents.warnings)?;
    let has = |prefix: &str| tree.tensors.iter().any(|tensor| tensor.name.starts_with(prefix));
    let is_legacy =
        ["model_config", "layer_names", "layer_names0"].iter().any(|key| root.contains_key(*key)) || has(MODEL);
    let is_keras = tree.tensors.iter().any(|tensor| tensor.name.starts_with("vars/") || tensor.name.contains("/vars/"));
    if is_legacy {
        contents.formats = vec![Format::KerasH5];
        legacy(section, tree, root, &mut contents);
    } else if is_keras {
        contents.formats = vec![Format::KerasWeights];
        third(section, tree, &mut contents);
        contents.metadata.extend(root);
    } else {
        return h5::read(section, limits);
    }
    Ok(contents)
}

/// Weights in several files; `open` gives a shard, or nothing when it is missing.
pub(super) fn sharded(
    index: &[u8],
    limits: &Limits,
    open: &mut dyn FnMut(&str) -> Result<Option<Section>, FormatError>,
) -> Result<Contents, FormatError> {
    let source = |source| FormatError::Json { what: "index of shards", source };
    let index: Map<String, Json> = serde_json::from_slice(index).map_err(source)?;
    let map = index.get("weight_map").and_then(Json::as_object);
    let map = map.ok_or(FormatError::Rule { what: "index of shards", rule: "it has a weight_map" })?;
    let listed = |value: &Json| match value {
        Json::Array(names) => names.iter().filter_map(Json::as_str).map(str::to_owned).collect(),
        value => value.as_str().map(str::to_owned).into_iter().collect::<Vec<_>>(),
    };
    let mut names: Vec<String> = map.values().flat_map(listed).collect();
    names.sort();
    names.dedup();
    Limits::at_most("number of shards", names.len() as u64, limits.members)?;
    let mut whole = Contents::of(Format::KerasWeights);
    let mut seen = HashSet::new();
    for name in names {
        if name.contains(['/', '\\', '\0', ':']) || name == ".." {
            return Err(FormatError::Rule { what: "index of shards", rule: "shards lie beside it" });
        }
        let Some(section) = open(&name)? else {
            whole.warn(WarningKind::Missing, "", format!("shard `{name}` is not there"));
            continue;
        };
        let part = read(&section, limits).map_err(|error| error.in_file(&name))?;
        for tensor in part.tensors {
            if !seen.insert(tensor.name.clone()) {
                let text = format!("`{}` is in several shards; the first counts", tensor.name);
                whole.warn(WarningKind::Duplicate, name.clone(), text);
            } else {
                whole.tensors.push(tensor);
            }
        }
        whole.warnings.extend(part.warnings);
        whole.metadata.extend(part.metadata);
        match (&mut whole.optimizer, part.optimizer) {
            (Some(whole), Some(part)) => {
                whole.kind = whole.kind.take().or(part.kind);
                whole.step = whole.step.or(part.step);
                whole.tensors.extend(part.tensors);
            }
            (whole, part) => *whole = part,
        }
    }
    Ok(whole)
}

/// The file that Keras 1 and 2 wrote, and Keras 3 still writes.
fn legacy(section: &Section, tree: h5::Tree, mut root: Map<String, Json>, contents: &mut Contents) {
    let file = section.file().to_string();
    if let Some(Json::String(text)) = root.remove("model_config") {
        config::take(&text, &file, contents);
    }
    let mut training = Map::new();
    if let Some(Json::String(text)) = root.remove("training_config")
        && let Some(config) = config::read(&text, &file, contents)
    {
        if let Json::Object(config) = &config {
            training = config.clone();
        }
        contents.metadata.insert("training_config".into(), config);
    }
    let order = order(&tree, &root);
    let (mut state, mut extra) = (Vec::new(), Vec::new());
    for mut tensor in tree.tensors {
        if let Some(name) = tensor.name.strip_prefix(STATE) {
            tensor.name = name.to_owned();
            state.push(tensor);
        } else {
            tensor.name = tensor.name.strip_prefix(MODEL).unwrap_or(&tensor.name).to_owned();
            let is_known = order.is_empty() || order.contains_key(&tensor.name);
            if !is_known {
                extra.push(tensor.name.clone());
            }
            contents.tensors.push(tensor);
        }
    }
    // The order of the model's layers; what they do not name comes last.
    contents.tensors.sort_by_key(|tensor| order.get(&tensor.name).copied().unwrap_or(usize::MAX));
    for name in extra {
        contents.warn(WarningKind::Extra, file.clone(), format!("no layer names the dataset `{name}`"));
    }
    let there: HashSet<&str> = contents.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    let mut missing: Vec<String> = order.keys().filter(|name| !there.contains(name.as_str())).cloned().collect();
    missing.sort();
    for name in missing {
        contents.warn(WarningKind::Missing, file.clone(), format!("the dataset `{name}` of a layer is not there"));
    }
    root.retain(|key, _| !key.starts_with("layer_names"));
    contents.metadata.extend(root);
    if !state.is_empty() {
        let iteration = |tensor: &&Tensor| {
            let last = tensor.name.rsplit('/').next().unwrap_or_default();
            matches!(last.split(':').next(), Some("iteration" | "iter" | "iterations"))
        };
        let step = state.iter().find(iteration).and_then(|tensor| scalar(section, tensor));
        let kind = config::optimizer(&training);
        contents.optimizer = Some(Optimizer { kind, step, tensors: state, ..Optimizer::default() });
    }
}

/// Place of each weight by its name, as the layers list them.
fn order(tree: &h5::Tree, root: &Map<String, Json>) -> HashMap<String, usize> {
    let mut order = HashMap::new();
    let attributes = |path: &str| tree.attributes.get(path).and_then(Json::as_object);
    let (prefix, model) = match attributes(MODEL.trim_end_matches('/')) {
        Some(model) => (MODEL, model),
        None => ("", root),
    };
    let layers = listed(model, "layer_names");
    for layer in layers.iter().map(String::as_str).chain(["top_level_model_weights"]) {
        let Some(group) = attributes(&format!("{prefix}{layer}")) else { continue };
        for weight in listed(group, "weight_names") {
            let place = order.len();
            order.insert(format!("{layer}/{weight}"), place);
        }
    }
    order
}

/// A list of text that may be split, because attributes end at 64 KiB: `name`, or `name0`, `name1`, ….
fn listed(attributes: &Map<String, Json>, name: &str) -> Vec<String> {
    let texts = |value: &Json| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Json::as_str).map(str::to_owned).collect()
    };
    if let Some(value) = attributes.get(name) {
        return texts(value);
    }
    let parts = (0..).map_while(|number| attributes.get(&format!("{name}{number}")));
    parts.flat_map(texts).collect()
}

/// The weights of Keras 3.
fn third(section: &Section, tree: h5::Tree, contents: &mut Contents) {
    let name_of = |path: &str| tree.attributes.get(path)?.get("name")?.as_str();
    let kind = name_of("optimizer/vars").and_then(crate::tf::keras_kind);
    let mut layers = Map::new();
    for (path, attributes) in &tree.attributes {
        if let (Some(layer), Some(name)) = (path.strip_suffix("/vars"), attributes.get("name"))
            && layer != "optimizer"
        {
            layers.insert(layer.to_owned(), name.clone());
        }
    }
    if !layers.is_empty() {
        contents.metadata.insert("layers".into(), Json::Object(layers));
    }
    let (state, model): (Vec<_>, Vec<_>) =
        tree.tensors.into_iter().partition(|tensor| tensor.name.starts_with(OPTIMIZER));
    contents.tensors = model;
    if !state.is_empty() {
        // The first variable of every optimizer counts its steps.
        let first = state.iter().find(|tensor| tensor.name == "optimizer/vars/0");
        let step = first.and_then(|tensor| scalar(section, tensor));
        contents.optimizer = Some(Optimizer { kind, step, tensors: state, ..Optimizer::default() });
    }
}

/// The value of a whole number that lies plainly in the file.
fn scalar(section: &Section, tensor: &Tensor) -> Option<u64> {
    let [piece] = tensor.pieces.as_slice() else { return None };
    let Stored::File { begin, end, .. } = &piece.stored else { return None };
    let len = end.checked_sub(*begin).filter(|len| *len <= 8 && tensor.shape.is_empty())?;
    if !matches!(tensor.dtype, Dtype::I64 | Dtype::I32 | Dtype::U64 | Dtype::U32) {
        return None;
    }
    let mut bytes = section.read("scalar", begin.checked_sub(section.begin())?, len).ok()?;
    if matches!(piece.filters.as_slice(), [Filter::SwapBytes { .. }]) {
        bytes.reverse();
    } else if !piece.filters.is_empty() {
        return None;
    }
    Some(bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
}
