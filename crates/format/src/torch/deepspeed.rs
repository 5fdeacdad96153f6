//! Folders of DeepSpeed: ZeRO stages 1 to 3 and universal checkpoints.
//!
//! ZeRO cuts the parameters, laid one after the other in a flat vector, over the data-parallel ranks. Stages 1 and 2 cut
//! each group's vector into one run for each rank; stage 3 cuts every parameter by itself. The tensors here are put together from
//! those runs; nothing is copied.
//!
//! | file below the step's folder | content |
//! |---|---|
//! | `mp_rank_TT_model_states.pt`, stage 3: `zero_pp_rank_D_mp_rank_TT_model_states.pt` | module, shapes, counters |
//! | `[bf16_]zero_pp_rank_D_mp_rank_TT_optim_states.pt` | flat groups of FP32 weights and optimizer state |
//! | universal: `zero/NAME/{fp32,exp_avg,exp_avg_sq,step}.pt` | one torch file for each parameter and slot |
//!
//! Source: DeepSpeed, `deepspeed/utils/zero_to_fp32.py`, `deepspeed/checkpoint`.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::contents::{Contents, Optimizer, WarningKind};
use crate::error::FormatError;
use crate::identity::Format;
use crate::limits::Limits;
use crate::pickle::NodeId;
use crate::source::Folder;
use crate::tensor::Tensor;

use super::loaded::Loaded;
use super::pieces::Flat;
use super::{assemble, optim, ranks, universal};

const MODEL_STATES: &str = "_model_states.pt";
const OPTIM_STATES: &str = "_optim_states.pt";

/// Whether the folder `prefix` (empty, or with `/` at its end) is a DeepSpeed checkpoint, or one step of it.
#[must_use]
pub fn is(folder: &dyn Folder, prefix: &str) -> bool {
    step(folder, prefix).is_ok_and(|step| step.is_some())
}

/// The folder of the newest step, with `/` at its end.
fn step(folder: &dyn Folder, prefix: &str) -> Result<Option<String>, FormatError> {
    let holds = |path: &str| {
        let states =
            ranks::names(folder, path).any(|name| name.ends_with(MODEL_STATES) || name.ends_with(OPTIM_STATES));
        states || universal::is(folder, path)
    };
    for name in ["latest_universal", "latest"] {
        if let Some(tag) = ranks::pointer(folder, &format!("{prefix}{name}"))? {
            let path = format!("{prefix}{tag}/");
            if holds(&path) {
                return Ok(Some(path));
            }
        }
    }
    if holds(prefix) {
        return Ok(Some(prefix.to_owned()));
    }
    let steps = ranks::folders(folder, prefix).into_iter();
    let steps = steps.filter_map(|name| Some((ranks::number_after(name, "global_step")?, name)));
    let newest = steps.max().map(|(_, name)| format!("{prefix}{name}/"));
    Ok(newest.filter(|path| holds(path)))
}

/// Files of one kind by model-parallel rank, then by data-parallel rank.
fn by_rank(folder: &dyn Folder, path: &str, end: &str) -> BTreeMap<u64, BTreeMap<u64, String>> {
    let mut found: BTreeMap<u64, BTreeMap<u64, String>> = BTreeMap::new();
    for name in ranks::names(folder, path).filter(|name| name.ends_with(end)) {
        let data = ranks::number_after(name, "pp_rank_").unwrap_or(0);
        if let Some(model) = ranks::number_after(name, "mp_rank_") {
            found.entry(model).or_default().insert(data, format!("{path}{name}"));
        }
    }
    found
}

/// Reads the newest step below `prefix`.
///
/// # Errors
/// [`FormatError::BadMagic`] when there is none, [`FormatError::Rule`] and [`FormatError::OutOfBounds`] when partitions and
/// shapes do not fit each other, and whatever is wrong with a file.
pub fn read(folder: &dyn Folder, prefix: &str, limits: &Limits) -> Result<Contents, FormatError> {
    let Some(path) = step(folder, prefix)? else { return Err(FormatError::BadMagic { what: "DeepSpeed checkpoint" }) };
    let mut contents = ranks::begin(Format::DeepSpeed);
    ranks::scripts(folder, prefix, &mut contents);
    let models = by_rank(folder, &path, MODEL_STATES);
    let optims = by_rank(folder, &path, OPTIM_STATES);
    let several = models.len() > 1;
    if several {
        let message = format!("{} model-parallel ranks are listed one by one, not merged", models.len());
        contents.warn(WarningKind::Other, &*path, message);
    }
    for (rank, files) in &models {
        let mut one = Contents::default();
        let states = optims.get(rank);
        read_rank(folder, files, states, &path, limits, &mut one)?;
        if several {
            let prefix = format!("mp_rank_{rank:02}.");
            let optimizer = one.optimizer.iter_mut().flat_map(|optimizer| &mut optimizer.tensors);
            for tensor in one.tensors.iter_mut().chain(optimizer) {
                tensor.name.insert_str(0, &prefix);
            }
        }
        contents.tensors.append(&mut one.tensors);
        let buffers = one.buffers.into_iter();
        contents.buffers.extend(buffers.map(|name| if several { format!("mp_rank_{rank:02}.{name}") } else { name }));
        contents.metadata.extend(one.metadata);
        contents.code.append(&mut one.code);
        contents.warnings.append(&mut one.warnings);
        match (&mut contents.optimizer, one.optimizer) {
            (Some(first), Some(next)) => first.tensors.extend(next.tensors),
            (slot @ None, next) => *slot = next,
            _ => {}
        }
    }
    contents.code.sort();
    contents.code.dedup();
    ranks::holes(&mut contents);
    Ok(contents)
}

/// Reads the files of one model-parallel rank.
fn read_rank(
    folder: &dyn Folder,
    models: &BTreeMap<u64, String>,
    optims: Option<&BTreeMap<u64, String>>,
    path: &str,
    limits: &Limits,
    contents: &mut Contents,
) -> Result<(), FormatError> {
    let Some(first) = models.values().next() else { return Ok(()) };
    let mut model = ranks::open(folder, first, limits)?;
    let mut named = module(&mut model, contents)?;
    metadata(&model, contents);
    if universal::is(folder, path) {
        universal::read(folder, path, limits, &mut named, contents)?;
    } else if let Some(optims) = optims {
        let mut states = Vec::new();
        for file in optims.values() {
            states.push(ranks::open(folder, file, limits)?);
        }
        let known = optims.keys().copied().eq(0..optims.len() as u64);
        if !known {
            contents.warn(WarningKind::Missing, path, "files of some data-parallel ranks are missing");
        }
        Zero { model: &model, states: &states, limits }.read(&mut named, contents)?;
        frozen(folder, models, &model, limits, &mut named, contents)?;
        for state in &mut states {
            ranks::note(state, contents);
        }
    } else {
        let root = model.root;
        if let Some(node) = model.graph.get(root, "optimizer").filter(|&node| model.is_optimizer(node)) {
            contents.optimizer = Some(model.optimizer(node, &named)?);
        }
    }
    ties(&model, &mut named);
    contents.tensors = named;
    let buffers = model.graph.get(model.root, "buffer_names").map(|names| model.graph.items(names)).unwrap_or_default();
    contents.buffers.extend(buffers.iter().filter_map(|&name| model.text(name)));
    ranks::note(&mut model, contents);
    Ok(())
}

/// Tensors of the module, which stage 3 leaves empty but for buffers.
fn module(model: &mut Loaded, contents: &mut Contents) -> Result<Vec<Tensor>, FormatError> {
    let Some(module) = model.graph.get(model.root, "module") else { return Ok(Vec::new()) };
    let named = model.collect(module, &Default::default())?;
    assemble::tensors(model, named, &mut contents.metadata)
}

fn metadata(model: &Loaded, contents: &mut Contents) {
    let skipped = ["module", "optimizer", "param_shapes", "frozen_param_fragments", "frozen_param_shapes"];
    let skip: HashSet<NodeId> = skipped.iter().filter_map(|key| model.graph.get(model.root, key)).collect();
    if let Some(serde_json::Value::Object(map)) = model.json(model.root, &skip) {
        contents.metadata.extend(map);
    }
}

/// Gives parameters that share the bytes of another their names.
fn ties(model: &Loaded, named: &mut Vec<Tensor>) {
    let Some(shared) = model.graph.get(model.root, "shared_params") else { return };
    let by_name: HashMap<&str, &Tensor> = named.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let alias = |(alias, original): (NodeId, NodeId)| {
        let of = *by_name.get(model.text(original)?.as_str())?;
        Some(Tensor { name: model.text(alias)?, ..of.clone() })
    };
    let aliases: Vec<_> = model.entries(shared).into_iter().filter_map(alias).collect();
    put(named, aliases);
}

/// Puts tensors in the places of those with their names, or at the end.
pub(super) fn put(named: &mut Vec<Tensor>, tensors: impl IntoIterator<Item = Tensor>) {
    let mut places: HashMap<String, usize> =
        named.iter().enumerate().map(|(place, tensor)| (tensor.name.clone(), place)).collect();
    for tensor in tensors {
        let place = *places.entry(tensor.name.clone()).or_insert(named.len());
        match named.get_mut(place) {
            Some(slot) => *slot = tensor,
            None => named.push(tensor),
        }
    }
}

/// Parameters that were not trained: stages 1 and 2 have them whole, stage 3 a run of each on every rank.
fn frozen(
    folder: &dyn Folder,
    models: &BTreeMap<u64, String>,
    model: &Loaded,
    limits: &Limits,
    named: &mut Vec<Tensor>,
    contents: &mut Contents,
) -> Result<(), FormatError> {
    let Some(shapes) = model.graph.get(model.root, "frozen_param_shapes") else { return Ok(()) };
    let shapes = shapes_of(model, shapes);
    if shapes.is_empty() {
        return Ok(());
    }
    let mut flats: HashMap<String, Flat> = HashMap::new();
    for file in models.values() {
        let loaded = ranks::open(folder, file, limits)?;
        let Some(fragments) = loaded.graph.get(loaded.root, "frozen_param_fragments") else { continue };
        for (key, value) in loaded.entries(fragments) {
            if let (Some(name), Some(part)) = (loaded.text(key), one_tensor(&loaded, value)?) {
                flats.entry(name).or_default().push(part)?;
            }
        }
    }
    let mut found = Vec::new();
    for (name, shape) in shapes {
        let (Some(flat), Some(elements)) = (flats.get(&name), Tensor::checked_elements(&shape)) else {
            contents.warn(WarningKind::Missing, "", format!("frozen parameter `{name}` has no bytes"));
            continue;
        };
        let Some(dtype) = flat.dtype() else { continue };
        let pieces = flat.cut(&name, 0, elements, 0)?;
        found.push(Tensor { name, dtype, shape, pieces });
    }
    put(named, found);
    Ok(())
}

/// Names and shapes in a dictionary.
fn shapes_of(loaded: &Loaded, dict: NodeId) -> Vec<(String, Vec<u64>)> {
    let entries = loaded.entries(dict).into_iter();
    entries.filter_map(|(key, shape)| Some((loaded.text(key)?, loaded.numbers(shape)?))).collect()
}

/// The tensor that the node is.
pub(super) fn one_tensor(loaded: &Loaded, node: NodeId) -> Result<Option<Tensor>, FormatError> {
    Ok(loaded.tensor(node).transpose()?.and_then(|parts| parts.tensors.into_iter().next()).map(|(_, tensor)| tensor))
}

/// The flat groups of one model-parallel rank.
struct Zero<'a> {
    model: &'a Loaded,
    /// One for each data-parallel rank.
    states: &'a [Loaded],
    limits: &'a Limits,
}

/// A slot of the optimizer, or the weights themselves where it has no name: one vector for each group.
type Vectors = BTreeMap<Option<String>, Vec<Flat>>;

/// Tensors by slot; the weights where it has no name.
type Slots = Vec<(Option<String>, Vec<Tensor>)>;

impl Zero<'_> {
    fn read(&self, named: &mut Vec<Tensor>, contents: &mut Contents) -> Result<(), FormatError> {
        let groups = self.model.graph.get(self.model.root, "param_shapes");
        let groups = groups.map(|groups| self.model.graph.items(groups)).unwrap_or_default();
        let groups: Vec<Vec<(String, Vec<u64>)>> = groups.iter().map(|&group| shapes_of(self.model, group)).collect();
        let count: usize = groups.iter().map(Vec::len).sum();
        Limits::at_most("number of tensors", count as u64, self.limits.tensors)?;
        let mut optimizer = Optimizer::default();
        let slots = match self.stage() {
            3 => self.stage3(&groups, &mut optimizer)?,
            _ => self.stage12(&groups, &mut optimizer)?,
        };
        let (mut entries, mut known) = (Vec::<optim::Entry>::new(), HashMap::new());
        for (slot, tensors) in slots {
            let Some(slot) = slot else {
                put(named, tensors);
                continue;
            };
            for tensor in tensors {
                let key = tensor.name.clone();
                let at = *known.entry(key.clone()).or_insert_with(|| {
                    entries.push(optim::Entry { key, number: None, slots: Vec::new() });
                    entries.len() - 1
                });
                if let Some(entry) = entries.get_mut(at) {
                    entry.slots.push((slot.clone(), tensor));
                }
            }
        }
        contents.optimizer = Some(optim::build(optimizer, &[], HashMap::new(), entries, named));
        Ok(())
    }

    /// `zero_stage`: a number, or a member of an enumeration.
    fn stage(&self) -> i64 {
        let number = |loaded: &Loaded| {
            let stage = loaded.at(loaded.root, &["optimizer_state_dict", "zero_stage"])?;
            let inner = loaded.graph.object(stage).and_then(|object| loaded.graph.items(object.args).first().copied());
            loaded.graph.int(inner.unwrap_or(stage))
        };
        self.states.first().and_then(number).unwrap_or(1)
    }

    /// Stages 1 and 2: the ranks' runs of a group make up its vector.
    fn stage12(&self, groups: &[Vec<(String, Vec<u64>)>], optimizer: &mut Optimizer) -> Result<Slots, FormatError> {
        let mut vectors = Vectors::new();
        for loaded in self.states {
            let Some(state) = loaded.graph.get(loaded.root, "optimizer_state_dict") else { continue };
            let weights = loaded.graph.get(state, "single_partition_of_fp32_groups");
            let weights = weights.map(|weights| loaded.graph.items(weights)).unwrap_or_default();
            for (index, &part) in weights.iter().enumerate() {
                push(&mut vectors, None, index, loaded, part)?;
            }
            if let Some(base) = loaded.graph.get(state, "base_optimizer_state") {
                base_state(loaded, base, &mut vectors, optimizer)?;
            }
        }
        let cut = |flats: &Vec<Flat>| -> Result<Vec<Tensor>, FormatError> {
            let mut tensors = Vec::new();
            for (flat, group) in flats.iter().zip(groups) {
                let mut from = 0u64;
                for (name, shape) in group {
                    let elements = elements(name, shape)?;
                    let pieces = flat.cut(name, from, elements, 0)?;
                    from += elements;
                    let Some(dtype) = flat.dtype() else { continue };
                    tensors.push(Tensor { name: name.clone(), dtype, shape: shape.clone(), pieces });
                }
            }
            Ok(tensors)
        };
        vectors.iter().map(|(slot, flats)| Ok((slot.clone(), cut(flats)?))).collect()
    }

    /// Stage 3: every rank has a run of each parameter, equally long, the last one padded.
    fn stage3(&self, groups: &[Vec<(String, Vec<u64>)>], optimizer: &mut Optimizer) -> Result<Slots, FormatError> {
        // One vector for each rank, out of all its groups.
        let mut slots: BTreeMap<Option<String>, Vec<Flat>> = BTreeMap::new();
        for (rank, loaded) in self.states.iter().enumerate() {
            let Some(state) = loaded.graph.get(loaded.root, "optimizer_state_dict") else { continue };
            let mut vectors = Vectors::new();
            let weights = loaded.graph.get(state, "fp32_flat_groups");
            for (index, &part) in
                weights.map(|weights| loaded.graph.items(weights)).unwrap_or_default().iter().enumerate()
            {
                push(&mut vectors, None, index, loaded, part)?;
            }
            if let Some(base) = loaded.graph.get(state, "optimizer_state_dict") {
                base_state(loaded, base, &mut vectors, optimizer)?;
            }
            for (slot, groups) in vectors {
                let mut whole = Flat::default();
                for group in groups {
                    whole.append(group)?;
                }
                let ranks = slots.entry(slot).or_default();
                // A rank without the slot leaves holes.
                ranks.resize_with(rank, Flat::default);
                ranks.push(whole);
            }
        }
        let world = self.states.len().max(1) as u64;
        let cut = |ranks: &Vec<Flat>| -> Result<Vec<Tensor>, FormatError> {
            let (mut tensors, mut from) = (Vec::new(), 0u64);
            for (name, shape) in groups.iter().flatten() {
                let elements = elements(name, shape)?;
                let share = elements.div_ceil(world);
                let mut pieces = Vec::new();
                for (flat, rank) in ranks.iter().zip(0u64..) {
                    let first = share.saturating_mul(rank).min(elements);
                    let len = share.min(elements - first);
                    if len > 0 && flat.len() > 0 {
                        pieces.extend(flat.cut(name, from, len, first)?);
                    }
                }
                from += share;
                let Some(dtype) = ranks.iter().find_map(Flat::dtype) else { continue };
                tensors.push(Tensor { name: name.clone(), dtype, shape: shape.clone(), pieces });
            }
            Ok(tensors)
        };
        slots.iter().map(|(slot, ranks)| Ok((slot.clone(), cut(ranks)?))).collect()
    }
}

fn elements(name: &str, shape: &[u64]) -> Result<u64, FormatError> {
    Tensor::checked_elements(shape).ok_or_else(|| FormatError::SizeOverflow { tensor: name.to_owned() })
}

/// State of the optimizer inside: one entry for each group's vector.
fn base_state(
    loaded: &Loaded,
    base: NodeId,
    vectors: &mut Vectors,
    optimizer: &mut Optimizer,
) -> Result<(), FormatError> {
    let groups = loaded.graph.get(base, "param_groups").map(|groups| loaded.graph.items(groups)).unwrap_or_default();
    if optimizer.groups.is_empty() {
        optimizer.groups = groups.iter().map(|&group| loaded.group(group).0).collect();
    }
    // A dictionary by number, or older a list.
    let state = loaded.graph.get(base, "state").unwrap_or(base);
    let listed = loaded.graph.items(state).iter().copied();
    let keyed = loaded.entries(state).into_iter().map(|(_, slots)| slots);
    let mut visits = loaded.visits();
    for (index, slots) in listed.chain(keyed).enumerate() {
        loaded.spend(&mut visits, slots)?;
        for (slot, value) in loaded.entries(slots) {
            let Some(slot) = loaded.key(slot) else { continue };
            if slot == "step" {
                optimizer.step = optimizer.step.max(loaded.step(value));
            } else if loaded.is_tensor(value) {
                push(vectors, Some(slot), index, loaded, value)?;
            }
        }
    }
    Ok(())
}

/// Puts a part at the end of a group's vector.
fn push(
    vectors: &mut Vectors,
    slot: Option<String>,
    group: usize,
    loaded: &Loaded,
    part: NodeId,
) -> Result<(), FormatError> {
    let Some(part) = one_tensor(loaded, part)? else { return Ok(()) };
    let groups = vectors.entry(slot).or_default();
    if groups.len() <= group {
        groups.resize_with(group + 1, Flat::default);
    }
    match groups.get_mut(group) {
        // State that is one number for the whole group is no vector.
        Some(flat) if !part.shape.is_empty() => flat.push(part),
        _ => Ok(()),
    }
}
