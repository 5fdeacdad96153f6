//! One torch file for each rank, with DTensors inside: each rank's part of every tensor, and how the tensor was cut.
//!
//! Files are named `KIND_world_size_W_rank_R.pt`; `model`, `optim` and `extra_state` are the usual kinds.
//!
//! Source: PyTorch, `torch/distributed/tensor/{_dtensor_spec,placement_types,device_mesh}.py`.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::contents::{Contents, Optimizer, WarningKind};
use crate::error::FormatError;
use crate::identity::Format;
use crate::limits::Limits;
use crate::pickle::NodeId;
use crate::source::Folder;
use crate::tensor::Tensor;

use super::loaded::Loaded;
use super::values::Parts;
use super::{optim, pieces, ranks};

/// Most ranks of a mesh.
const MOST_RANKS: u64 = 1 << 16;

/// Files of one kind, by rank.
type Ranks = BTreeMap<u64, String>;

/// Whether there are files of ranks directly under `prefix` (empty, or with `/` at its end).
#[must_use]
pub fn is(folder: &dyn Folder, prefix: &str) -> bool {
    files(folder, prefix).keys().any(|(kind, _)| kind == "model")
}

/// Files by kind and world size, then by rank.
fn files(folder: &dyn Folder, prefix: &str) -> BTreeMap<(String, u64), Ranks> {
    let mut found: BTreeMap<(String, u64), Ranks> = BTreeMap::new();
    for name in ranks::names(folder, prefix).filter(|name| name.ends_with(".pt")) {
        let (world, rank) = (ranks::number_after(name, "world_size_"), ranks::number_after(name, "_rank_"));
        if let (Some(world), Some(rank), Some(kind)) = (world, rank, name.split("_world_size_").next()) {
            found.entry((kind.to_owned(), world)).or_default().insert(rank, format!("{prefix}{name}"));
        }
    }
    found
}

/// Reads the files of all ranks, and puts the tensors together.
///
/// # Errors
/// [`FormatError::BadMagic`] when there are no such files, and whatever is wrong with one of them. Tensors that cannot be
/// put together are warnings.
pub fn read(folder: &dyn Folder, prefix: &str, limits: &Limits) -> Result<Contents, FormatError> {
    let mut contents = ranks::begin(Format::FsdpRanks);
    let files = files(folder, prefix);
    let worlds = files.keys().filter(|(kind, _)| kind == "model").map(|(_, world)| *world).max();
    let Some(world) = worlds else { return Err(FormatError::BadMagic { what: "folder of ranks" }) };
    for (kind, other) in files.keys().filter(|(_, other)| *other != world) {
        contents.warn(WarningKind::Extra, prefix, format!("files `{kind}` of {other} ranks are not read"));
    }
    let open = |kind: &str, contents: &mut Contents| -> Result<Vec<(u64, Loaded)>, FormatError> {
        let Some(files) = files.get(&(kind.to_owned(), world)) else { return Ok(Vec::new()) };
        for rank in (0..world.min(limits.members)).filter(|rank| !files.contains_key(rank)) {
            contents.warn(WarningKind::Missing, prefix, format!("file `{kind}` of rank {rank} is missing"));
        }
        files.iter().map(|(&rank, path)| Ok((rank, ranks::open(folder, path, limits)?))).collect()
    };
    let mut models = open("model", &mut contents)?;
    let mut merged = Merge::default();
    for (rank, loaded) in &mut models {
        let root = loaded.places().model.unwrap_or(loaded.root);
        for (name, id) in loaded.collect(root, &Default::default())? {
            merged.add(*rank, name, loaded, id);
        }
        ranks::note(loaded, &mut contents);
    }
    contents.tensors = merged.finish(&mut contents);
    let mut optimizers = open("optim", &mut contents)?;
    if !optimizers.is_empty() {
        contents.optimizer = Some(optimizer(&mut optimizers, &mut contents)?);
    }
    if let Ok(mut extra) = open("extra_state", &mut contents)
        && let Some((_, loaded)) = extra.first_mut()
    {
        if let Some(serde_json::Value::Object(map)) = loaded.json(loaded.root, &Default::default()) {
            contents.metadata.extend(map);
        }
        ranks::note(loaded, &mut contents);
    }
    // What describes a mesh is known, and only named.
    contents.code.retain(|code| !code.name.starts_with("torch.distributed."));
    ranks::holes(&mut contents);
    Ok(contents)
}

fn optimizer(files: &mut [(u64, Loaded)], contents: &mut Contents) -> Result<Optimizer, FormatError> {
    let (mut built, mut groups) = (Optimizer::default(), Vec::new());
    let mut merged = Merge::default();
    let mut keys: Vec<(String, Option<u64>)> = Vec::new();
    let mut seen = HashSet::new();
    for (rank, loaded) in files.iter_mut() {
        let Some(&node) = loaded.places().optimizers.first() else { continue };
        if groups.is_empty() {
            let list = loaded.graph.get(node, "param_groups").map(|list| loaded.graph.items(list)).unwrap_or_default();
            for &group in list {
                let (settings, numbers, _) = loaded.group(group);
                built.groups.push(settings);
                groups.push(numbers);
            }
        }
        let Some(state) = loaded.graph.get(node, "state") else { continue };
        let mut visits = loaded.visits();
        for (key, slots) in loaded.entries(state) {
            let (number, Some(key)) = (loaded.graph.unsigned(key), loaded.key(key)) else { continue };
            loaded.spend(&mut visits, slots)?;
            for (slot, value) in loaded.entries(slots) {
                let Some(slot) = loaded.key(slot) else { continue };
                if slot == "step" {
                    built.step = built.step.max(loaded.step(value));
                } else if loaded.is_tensor(value) {
                    merged.add(*rank, format!("{key}\n{slot}"), loaded, value);
                }
            }
            if seen.insert(key.clone()) {
                keys.push((key, number));
            }
        }
        ranks::note(loaded, contents);
    }
    let mut by_key: HashMap<String, Vec<(String, Tensor)>> = HashMap::new();
    for tensor in merged.finish(contents) {
        if let Some((key, slot)) = tensor.name.clone().split_once('\n') {
            by_key.entry(key.to_owned()).or_default().push((slot.to_owned(), tensor));
        }
    }
    let entry = |(key, number): (String, Option<u64>)| {
        let slots = by_key.remove(&key).unwrap_or_default();
        optim::Entry { key, number, slots }
    };
    let entries = keys.into_iter().map(entry).collect();
    Ok(optim::build(built, &groups, HashMap::new(), entries, &contents.tensors))
}

/// Tensors that are being put together, in the order in which their names came.
#[derive(Default)]
struct Merge {
    tensors: Vec<Tensor>,
    places: HashMap<String, usize>,
    faults: Vec<String>,
}

impl Merge {
    /// Adds one rank's part.
    fn add(&mut self, rank: u64, name: String, loaded: &Loaded, id: NodeId) {
        let parts = match loaded.tensor(id) {
            Some(Ok(parts)) => parts,
            Some(Err(error)) => return self.faults.push(format!("tensor `{name}` of rank {rank}: {error}")),
            None => return self.faults.push(format!("tensor `{name}` of rank {rank} is made in an unknown way")),
        };
        if let Err(detail) = self.add_parts(rank, &name, loaded, parts) {
            self.faults.push(format!("tensor `{name}` of rank {rank}: {detail}"));
        }
    }

    fn add_parts(&mut self, rank: u64, name: &str, loaded: &Loaded, parts: Parts) -> Result<(), String> {
        let spec = match parts.spec {
            None => None,
            Some(spec) => Some(Spec::read(loaded, spec).ok_or("how it is cut is not understood")?),
        };
        for (end, part) in parts.tensors {
            let name = format!("{name}{end}");
            let known = self.places.contains_key(&name);
            let Some(spec) = &spec else {
                // Every rank has the same.
                if !known {
                    self.places.insert(name.clone(), self.tensors.len());
                    self.tensors.push(Tensor { name, ..part });
                }
                continue;
            };
            let place = *self.places.entry(name.clone()).or_insert_with(|| {
                let (dtype, shape) = (part.dtype, spec.shape.clone());
                self.tensors.push(Tensor { name, dtype, shape, pieces: Vec::new() });
                self.tensors.len() - 1
            });
            let Some((offsets, extents)) = spec.part(rank)? else { continue };
            if extents.contains(&0) {
                continue;
            }
            let Some(tensor) = self.tensors.get_mut(place) else { continue };
            if extents != part.shape || tensor.dtype != part.dtype || tensor.shape != spec.shape {
                return Err(format!("it has the shape {:?}; {extents:?} is its part", part.shape));
            }
            tensor.pieces.extend(pieces::placed(part, &offsets).ok_or("it is in pieces")?);
        }
        Ok(())
    }

    fn finish(self, contents: &mut Contents) -> Vec<Tensor> {
        for fault in self.faults.into_iter().take(1000) {
            contents.warn(WarningKind::Unreadable, "", fault);
        }
        let mut tensors = self.tensors;
        tensors.retain(|tensor| match pieces::check(tensor) {
            Ok(()) => true,
            Err(error) => {
                contents.warn(WarningKind::Disagreement, "", format!("tensor `{}`: {error}", tensor.name));
                false
            }
        });
        tensors
    }
}

/// Offsets and extents of a part.
type Span = (Vec<u64>, Vec<u64>);

/// How a tensor is cut over a mesh of ranks.
struct Spec {
    shape: Vec<u64>,
    /// Ranks along each axis of the mesh.
    mesh: Vec<u64>,
    /// Numbers of the ranks, row-major over the mesh.
    ranks: Vec<u64>,
    placements: Vec<Placement>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Placement {
    Replicate,
    Shard(usize),
    Other,
}

impl Spec {
    fn read(loaded: &Loaded, spec: NodeId) -> Option<Self> {
        let graph = &loaded.graph;
        let attributes = loaded.attributes(spec)?;
        let meta = graph.object(graph.get(attributes, "tensor_meta")?)?;
        let shape = loaded.numbers(*graph.items(meta.args).first()?)?;
        let placement = |&id: &NodeId| match &*graph.class(id)?.name {
            "Replicate" => Some(Placement::Replicate),
            "Shard" => {
                let dim = loaded.attributes(id).and_then(|state| graph.get(state, "dim"));
                let dim = dim.or_else(|| graph.items(graph.object(id)?.args).first().copied())?;
                let axis = graph.int(dim)?;
                let axis = if axis < 0 { axis + shape.len() as i64 } else { axis };
                Some(Placement::Shard(usize::try_from(axis).ok().filter(|&axis| axis < shape.len())?))
            }
            _ => Some(Placement::Other),
        };
        let placements: Vec<_> =
            graph.items(graph.get(attributes, "placements")?).iter().map(placement).collect::<Option<_>>()?;
        let mesh = loaded.attributes(graph.get(attributes, "mesh")?)?;
        let ranks = ["_flatten_rank_map", "mesh", "_mesh", "_rank_map"].iter().find_map(|key| {
            let value = graph.get(mesh, key)?;
            loaded
                .many_numbers(value, MOST_RANKS)
                .or_else(|| Some(loaded.floats(value)?.into_iter().map(|rank| rank as u64).collect()))
        });
        let mesh = mesh_shape(loaded, mesh, placements.len(), ranks.as_ref().map_or(0, Vec::len) as u64)?;
        let count = mesh.iter().try_fold(1u64, |count, &extent| count.checked_mul(extent))?;
        let ranks = ranks.filter(|ranks| ranks.len() as u64 == count)?;
        Some(Self { shape, mesh, ranks, placements })
    }

    /// Offsets and extents of a rank's part; `None` when another rank gives the same.
    fn part(&self, rank: u64) -> Result<Option<Span>, String> {
        let Some(mut place) = self.ranks.iter().position(|&known| known == rank).map(|at| at as u64) else {
            return Err("its mesh does not have that rank".to_owned());
        };
        let mut coordinates = vec![0; self.mesh.len()];
        for (slot, &extent) in coordinates.iter_mut().zip(&self.mesh).rev() {
            *slot = place % extent.max(1);
            place /= extent.max(1);
        }
        let (mut offsets, mut extents) = (vec![0; self.shape.len()], self.shape.clone());
        for ((&placement, &coordinate), &count) in self.placements.iter().zip(&coordinates).zip(&self.mesh) {
            match placement {
                Placement::Replicate if coordinate > 0 => return Ok(None),
                Placement::Replicate => {}
                Placement::Other => return Err("its placement is not supported".to_owned()),
                Placement::Shard(axis) => {
                    let (Some(offset), Some(extent)) = (offsets.get_mut(axis), extents.get_mut(axis)) else {
                        return Err("it is cut along an axis that it has not".to_owned());
                    };
                    // As `torch.chunk` cuts: equal parts rounded up, the last ones shorter or empty.
                    let chunk = extent.div_ceil(count.max(1));
                    let begin = chunk.saturating_mul(coordinate).min(*extent);
                    *offset += begin;
                    *extent = chunk.min(*extent - begin);
                }
            }
        }
        Ok(Some((offsets, extents)))
    }
}

/// Ranks along each axis of the mesh. One axis needs no statement; of more, versions of torch differ in what they write.
fn mesh_shape(loaded: &Loaded, mesh: NodeId, axes: usize, count: u64) -> Option<Vec<u64>> {
    if axes == 1 {
        return Some(vec![count]);
    }
    let graph = &loaded.graph;
    if let Some(layout) = graph.get(mesh, "_layout").and_then(|layout| loaded.attributes(layout)) {
        if let Some(list) = graph.get(layout, "axes") {
            let extent = |&axis: &NodeId| {
                let shape = loaded.numbers(graph.get(loaded.attributes(axis)?, "shape")?)?;
                shape.iter().try_fold(1u64, |count, &extent| count.checked_mul(extent))
            };
            return graph.items(list).iter().map(extent).collect();
        }
        return loaded.numbers(graph.get(layout, "shape")?);
    }
    let tensor = graph.get(mesh, "mesh").or_else(|| graph.get(mesh, "_mesh"))?;
    let (_, tensor) = loaded.tensor(tensor)?.ok()?.tensors.into_iter().next()?;
    Some(tensor.shape)
}
