//! Folders of Megatron-LM: one torch file for each tensor- and pipeline-parallel rank, or a distributed checkpoint.
//!
//! | file | content |
//! |---|---|
//! | `latest_checkpointed_iteration.txt` | number of the newest iteration, or `release` |
//! | `iter_NNNNNNN/mp_rank_TT[_PPP][_EEE]/model_optim_rng.pt` | `args`, `model`, `optimizer`, counters |
//! | `iter_NNNNNNN/.metadata`, `common.pt` | the newer format: see [`super::dcp`] |
//!
//! Tensor-parallel ranks are merged: layers that are parallel by column along the first axis, by row along the second,
//! embeddings by vocabulary, everything else is the same on every rank. With a gated activation each rank has its part of the
//! gate above its part of the other half. Pipeline ranks number their layers from 0 each.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::contents::{Contents, WarningKind};
use crate::error::FormatError;
use crate::identity::Format;
use crate::limits::Limits;
use crate::source::Folder;
use crate::tensor::Tensor;

use super::loaded::Loaded;
use super::{assemble, dcp, pieces, ranks};

const LATEST: &str = "latest_checkpointed_iteration.txt";
const FILES: &[&str] = &["model_optim_rng.pt", "model_rng.pt"];

/// Sizes in `args`, and our words for them.
const SIZES: &[(&str, &str)] = &[
    ("hidden_size", "hidden_size"),
    ("num_layers", "num_hidden_layers"),
    ("num_attention_heads", "num_attention_heads"),
    ("num_query_groups", "num_key_value_heads"),
    ("ffn_hidden_size", "intermediate_size"),
    ("padded_vocab_size", "vocab_size"),
    ("max_position_embeddings", "max_position_embeddings"),
];

/// Tensor, pipeline, and expert rank.
type Rank = (u64, u64, u64);

/// Whether the folder `prefix` (empty, or with `/` at its end) is a Megatron checkpoint, or one iteration of it.
#[must_use]
pub fn is(folder: &dyn Folder, prefix: &str) -> bool {
    iteration(folder, prefix).is_some()
}

/// The folder of the newest iteration, with `/` at its end.
fn iteration(folder: &dyn Folder, prefix: &str) -> Option<String> {
    let holds = |path: &str| !files(folder, path).is_empty() || is_distributed(folder, path);
    if let Ok(Some(tag)) = ranks::pointer(folder, &format!("{prefix}{LATEST}")) {
        let path = match tag.parse::<u64>() {
            Ok(number) => format!("{prefix}iter_{number:07}/"),
            Err(_) => format!("{prefix}{tag}/"),
        };
        if holds(&path) {
            return Some(path);
        }
    }
    // One iteration by itself.
    holds(prefix).then(|| prefix.to_owned())
}

/// `torch_dist`: a distributed checkpoint with Megatron's own files beside it.
fn is_distributed(folder: &dyn Folder, path: &str) -> bool {
    folder.has(&format!("{path}common.pt")) && dcp::is(folder, path)
}

fn files(folder: &dyn Folder, path: &str) -> BTreeMap<Rank, String> {
    let mut found = BTreeMap::new();
    for name in ranks::folders(folder, path) {
        let Some(rest) = name.strip_prefix("mp_rank_") else { continue };
        let numbers: Option<Vec<u64>> = rest.split('_').map(|part| part.parse().ok()).collect();
        let rank = match numbers.as_deref() {
            Some([tensor]) => (*tensor, 0, 0),
            Some([tensor, pipeline]) => (*tensor, *pipeline, 0),
            Some([tensor, pipeline, expert]) => (*tensor, *pipeline, *expert),
            _ => continue,
        };
        let file = FILES.iter().map(|file| format!("{path}{name}/{file}")).find(|file| folder.has(file));
        if let Some(file) = file {
            found.insert(rank, file);
        }
    }
    found
}

/// Reads the newest iteration below `prefix`.
///
/// # Errors
/// [`FormatError::BadMagic`] when there is none, and whatever is wrong with a file. What cannot be merged is listed rank by
/// rank, with a warning.
pub fn read(folder: &dyn Folder, prefix: &str, limits: &Limits) -> Result<Contents, FormatError> {
    let Some(path) = iteration(folder, prefix) else {
        return Err(FormatError::BadMagic { what: "Megatron checkpoint" });
    };
    if is_distributed(folder, &path) {
        return distributed(folder, &path, limits);
    }
    let mut contents = ranks::begin(Format::Megatron);
    let mut by_rank: BTreeMap<Rank, Vec<Tensor>> = BTreeMap::new();
    let files = files(folder, &path);
    let mut args = None;
    for (&rank, file) in &files {
        let mut loaded = ranks::open(folder, file, limits)?;
        if args.is_none() {
            args = Some(Args::read(&loaded, &mut contents));
        }
        by_rank.insert(rank, weights(&mut loaded, &mut contents)?);
        if files.len() == 1 {
            let places = loaded.places();
            if let Some(&node) = places.optimizers.first() {
                let known = by_rank.get(&rank).map(Vec::as_slice).unwrap_or_default();
                contents.optimizer = Some(loaded.optimizer(node, known)?);
            }
        }
        ranks::note(&mut loaded, &mut contents);
    }
    if files.len() > 1 {
        contents.warn(WarningKind::Other, &*path, "optimizer state of several ranks is not merged");
    }
    let args = args.unwrap_or_default();
    contents.tensors = merge(by_rank, &args, &path, &mut contents);
    ranks::holes(&mut contents);
    Ok(contents)
}

fn distributed(folder: &dyn Folder, path: &str, limits: &Limits) -> Result<Contents, FormatError> {
    let mut contents = dcp::read(folder, path, limits)?;
    contents.formats.insert(0, Format::Megatron);
    let mut common = ranks::open(folder, &format!("{path}common.pt"), limits)?;
    Args::read(&common, &mut contents);
    ranks::note(&mut common, &mut contents);
    Ok(contents)
}

/// What `args` says that merging needs.
#[derive(Default)]
struct Args {
    gated: bool,
    layers: Option<u64>,
}

impl Args {
    /// Reads `args` and the counters, and takes the architecture from them.
    fn read(loaded: &Loaded, contents: &mut Contents) -> Self {
        let (graph, root) = (&loaded.graph, loaded.root);
        let skip = ["args", "model", "optimizer", "rng_state"].iter().filter_map(|key| graph.get(root, key)).collect();
        if let Some(Value::Object(map)) = loaded.json(root, &skip) {
            contents.metadata.extend(map);
        }
        let args = graph.get(root, "args");
        let Some(args) = args.map(|args| loaded.attributes(args).unwrap_or(args)) else { return Self::default() };
        if let Some(Value::Object(config)) = loaded.json(args, &Default::default()) {
            contents.metadata.insert("args".into(), Value::Object(config.clone()));
            contents.architecture.config = config;
        }
        for (theirs, ours) in SIZES {
            let value = graph.get(args, theirs).and_then(|value| graph.unsigned(value));
            contents.architecture.sizes.extend(value.map(|value| ((*ours).to_owned(), value)));
        }
        let is_set = |key| graph.get(args, key).and_then(|value| graph.int(value)) == Some(1);
        Self {
            gated: is_set("swiglu") || is_set("gated_linear_unit") || is_set("geglu"),
            layers: graph.get(args, "num_layers").and_then(|layers| graph.unsigned(layers)),
        }
    }
}

/// Tensors of the model, or of its virtual stages.
fn weights(loaded: &mut Loaded, contents: &mut Contents) -> Result<Vec<Tensor>, FormatError> {
    let mut tensors = Vec::new();
    for (key, node) in loaded.children(loaded.root) {
        let stage = key.strip_prefix("model").filter(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()));
        let Some(stage) = stage else { continue };
        let named = loaded.collect(node, &Default::default())?;
        let mut part = assemble::tensors(loaded, named, &mut contents.metadata)?;
        if !stage.is_empty() {
            part.iter_mut().for_each(|tensor| tensor.name = format!("{key}.{}", tensor.name));
            contents.warn(WarningKind::Other, &*loaded.label, "virtual stages are listed one by one, not merged");
        }
        tensors.append(&mut part);
    }
    Ok(tensors)
}

/// Along which axis the ranks' parts follow each other; `None` when every rank has the same.
fn axis(name: &str) -> Option<usize> {
    let (layer, kind) = name.rsplit_once('.')?;
    let last = layer.rsplit('.').next()?;
    match (last, kind) {
        (
            "linear_qkv" | "query_key_value" | "query" | "key_value" | "linear_fc1" | "dense_h_to_4h",
            "weight" | "bias",
        )
        | ("word_embeddings" | "output_layer" | "lm_head", "weight" | "bias") => Some(0),
        ("linear_proj" | "linear_fc2" | "dense_4h_to_h", "weight") => Some(1),
        ("dense", "weight") if layer.ends_with("attention.dense") => Some(1),
        _ => None,
    }
}

/// Whether a rank's rows are a part of the gate and a part of the other half.
fn is_gated(name: &str, args: &Args) -> bool {
    args.gated && (name.contains("linear_fc1.") || name.contains("dense_h_to_4h."))
}

fn merge(by_rank: BTreeMap<Rank, Vec<Tensor>>, args: &Args, path: &str, contents: &mut Contents) -> Vec<Tensor> {
    let experts = by_rank.keys().any(|rank| rank.2 > 0);
    let stages = by_rank.keys().map(|rank| rank.1).max().unwrap_or(0) + 1;
    // Layers are numbered from 0 on every stage; where they belong is known when all stages have equally many.
    let per_stage = args.layers.filter(|layers| layers.is_multiple_of(stages)).map(|layers| layers / stages);
    if experts || stages > 1 && per_stage.is_none() {
        contents.warn(WarningKind::Other, path, "ranks are listed one by one: how they belong together is not known");
        return one_by_one(by_rank);
    }
    let mut merged = Vec::new();
    for stage in 0..stages {
        let ranks: Vec<Vec<Tensor>> =
            by_rank.iter().filter(|(rank, _)| rank.1 == stage).map(|(_, one)| one.clone()).collect();
        let Some((first, others)) = ranks.split_first() else {
            contents.warn(WarningKind::Missing, path, format!("pipeline rank {stage} is missing"));
            continue;
        };
        for tensor in first {
            let same = others.iter().map(|rank| rank.iter().find(|other| other.name == tensor.name));
            let Some(rest) = same.collect::<Option<Vec<_>>>() else {
                contents.warn(
                    WarningKind::Missing,
                    path,
                    format!("some rank lacks a part of tensor `{}`", tensor.name),
                );
                continue;
            };
            let parts: Vec<&Tensor> = std::iter::once(tensor).chain(rest).collect();
            let mut whole = join(&parts, args).unwrap_or_else(|| {
                let message = format!("parts of tensor `{}` do not fit each other; the first is listed", tensor.name);
                contents.warn(WarningKind::Disagreement, path, message);
                tensor.clone()
            });
            if stage > 0 {
                whole.name = renumbered(&whole.name, stage * per_stage.unwrap_or(0));
            }
            merged.push(whole);
        }
    }
    merged
}

/// Puts the parts of the tensor-parallel ranks together; `None` when they do not fit.
fn join(parts: &[&Tensor], args: &Args) -> Option<Tensor> {
    let first = *parts.first()?;
    if parts.iter().any(|part| part.dtype != first.dtype || part.shape != first.shape) {
        return None;
    }
    let (Some(axis), true) = (axis(&first.name), parts.len() > 1) else { return Some(first.clone()) };
    let Some(&extent) = first.shape.get(axis) else { return Some(first.clone()) };
    let mut whole = Tensor { pieces: Vec::new(), ..first.clone() };
    *whole.shape.get_mut(axis)? = extent.checked_mul(parts.len() as u64)?;
    let mut offsets = vec![0; first.shape.len()];
    for (part, rank) in parts.iter().zip(0u64..) {
        if !is_gated(&first.name, args) {
            *offsets.get_mut(axis)? = extent * rank;
            whole.pieces.extend(pieces::placed((*part).clone(), &offsets)?);
            continue;
        }
        let half = extent.is_multiple_of(2).then_some(extent / 2)?;
        for (begin, base) in [(0, 0), (half, half * parts.len() as u64)] {
            *offsets.get_mut(axis)? = base + half * rank;
            whole.pieces.extend(pieces::placed(pieces::band(part, axis, begin, half)?, &offsets)?);
        }
    }
    pieces::check(&whole).ok().map(|()| whole)
}

/// The name with `layers.N` counted from the first layer of the model.
fn renumbered(name: &str, first: u64) -> String {
    let mut parts: Vec<String> = name.split('.').map(ToOwned::to_owned).collect();
    let place = parts.iter().position(|part| part == "layers").map(|at| at + 1);
    if let Some(part) = place.and_then(|at| parts.get_mut(at))
        && let Ok(number) = part.parse::<u64>()
    {
        *part = number.saturating_add(first).to_string();
    }
    parts.join(".")
}

fn one_by_one(by_rank: BTreeMap<Rank, Vec<Tensor>>) -> Vec<Tensor> {
    let name = |(tensor, pipeline, expert): Rank| format!("mp_rank_{tensor:02}_{pipeline:03}_{expert:03}");
    let ranks = by_rank.into_iter().map(|(rank, tensors)| (name(rank), tensors));
    ranks
        .flat_map(|(rank, tensors)| {
            tensors.into_iter().map(move |tensor| Tensor { name: format!("{rank}.{}", tensor.name), ..tensor })
        })
        .collect()
}
