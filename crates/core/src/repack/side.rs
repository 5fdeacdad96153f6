//! A checkpoint of some revision as tensors that can be coded or be a base: names, hashes, and runs in stored contents.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use weighthouse_format::{Dtype, Tensor};
use weighthouse_store::catalog::RepoKey;
use weighthouse_store::digest::{GitOid, Sha256};

use super::map::{Extent, extents};
use crate::browse::FileRecord;
use crate::checkpoints::{Inside, Part, TensorStats, task};
use crate::diff;
use crate::revision::Revision;
use crate::{Error, ErrorKind, Hub};

/// Files of a revision that are read one by one, beside the checkpoint that is read of all of them.
const MOST_ALONE: usize = 1_000;
/// Tensors of a side that are told by their values when names do not tell.
const MOST_ALIGNED: usize = 20_000;

/// Which checkpoint a side is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct SideKey {
    pub repo: RepoKey,
    pub commit: GitOid,
    /// File or folder; empty for the checkpoint of all files.
    pub page: String,
}

/// The tensors of a checkpoint.
#[derive(Debug)]
pub(super) struct Side {
    pub key: SideKey,
    pub inside: Arc<Inside>,
    pub tensors: Vec<Located>,
    by_name: HashMap<(Part, String), usize>,
    by_hash: HashMap<Sha256, usize>,
}

/// A tensor and where it lies.
#[derive(Debug)]
pub(super) struct Located {
    pub part: Part,
    /// Number in its part.
    pub number: usize,
    pub dtype: Dtype,
    pub shape: Vec<u64>,
    pub size_bytes: u64,
    /// SHA-256 of its elements, if it was read whole.
    pub hash: Option<Sha256>,
    /// Mean and standard deviation, if they are known.
    pub spread: Option<(f64, f64)>,
    /// Runs, each with the content that it is in.
    pub runs: Vec<(Sha256, Extent)>,
}

impl Side {
    /// Reads the headers of a checkpoint; `None` when there is nothing to read.
    pub async fn load(hub: &Hub, repo: &RepoKey, revision: &Revision, page: &str) -> Result<Option<Self>, Error> {
        let inside = match hub.read_inside(revision, page, u64::MAX).await {
            Ok(inside) => inside,
            // The files are what is wrong, or they are not there any more.
            Err(error) if matches!(error.kind(), ErrorKind::Malformed | ErrorKind::NotFound) => return Ok(None),
            Err(error) => return Err(error),
        };
        let tensors: Vec<&Tensor> = inside.checkpoint.tensors().collect();
        if tensors.is_empty() {
            return Ok(None);
        }
        let indexed = hub.indexed_all(&inside, &tensors).await?;
        let weights = inside.tensors(Part::Weights).len();
        let size = |path: &str| inside.file(path).map(|record| record.size_bytes);
        let mut located = Vec::with_capacity(tensors.len());
        let (mut by_name, mut by_hash) = (HashMap::new(), HashMap::new());
        for (at, (tensor, indexed)) in tensors.into_iter().zip(indexed).enumerate() {
            let (part, number) = if at < weights { (Part::Weights, at) } else { (Part::Optimizer, at - weights) };
            let runs = extents(tensor, size).into_iter();
            let runs = runs.filter_map(|run| Some((inside.file(&run.file)?.sha256, run))).collect();
            let hash = indexed.as_ref().map(|indexed| indexed.hash);
            let spread = indexed.and_then(|indexed| spread(&indexed.stats?));
            by_name.entry((part, tensor.name.clone())).or_insert(at);
            if let Some(hash) = hash {
                by_hash.entry(hash).or_insert(at);
            }
            let (dtype, size_bytes) = (tensor.dtype, tensor.size_bytes());
            located.push(Located {
                part,
                number,
                dtype,
                shape: squeezed(&tensor.shape),
                size_bytes,
                hash,
                spread,
                runs,
            });
        }
        let key = SideKey { repo: repo.clone(), commit: revision.oid, page: page.to_owned() };
        Ok(Some(Self { key, inside, tensors: located, by_name, by_hash }))
    }

    /// Name of a tensor.
    pub fn name(&self, at: usize) -> &str {
        let found = self.tensors.get(at).and_then(|found| self.inside.tensors(found.part).get(found.number));
        found.map_or("", |tensor| tensor.name.as_str())
    }

    /// The tensor with these elements.
    pub fn with_hash(&self, hash: &Sha256) -> Option<usize> {
        self.by_hash.get(hash).copied()
    }

    /// The tensor of this name, of a shape that has rows in common.
    pub fn named(&self, part: Part, name: &str, shape: &[u64]) -> Option<usize> {
        let at = *self.by_name.get(&(part, name.to_owned()))?;
        let found = self.tensors.get(at)?;
        let rows = match (found.shape.split_first(), shape.split_first()) {
            (Some((_, one)), Some((_, other))) => one == other,
            _ => false,
        };
        (found.shape == shape || rows).then_some(at)
    }

    /// Contents that hold its tensors.
    pub fn contents(&self) -> BTreeSet<Sha256> {
        self.tensors.iter().flat_map(|tensor| tensor.runs.iter().map(|(content, _)| *content)).collect()
    }

    /// Which weights of this side are which of another, by names where they tell and by values where they do not.
    pub async fn partners(&self, hub: &Hub, other: &Self) -> Result<HashMap<usize, usize>, Error> {
        if self.tensors.len().max(other.tensors.len()) > MOST_ALIGNED {
            return Ok(HashMap::new());
        }
        let (one, two) = (Arc::clone(&self.inside), Arc::clone(&other.inside));
        let (folder, others) = (one.stored(hub, u64::MAX), two.stored(hub, u64::MAX));
        let work = move || {
            let side = diff::Side::new(&folder, &one.checkpoint);
            diff::partners(side, diff::Side::new(&others, &two.checkpoint))
        };
        let pairs = tokio::task::spawn_blocking(work).await.map_err(task)?;
        Ok(pairs.into_iter().collect())
    }
}

/// All checkpoints in the files of a revision: that of all files first, then what it leaves out.
pub(super) async fn sides_of(
    hub: &Hub,
    repo: &RepoKey,
    revision: &Revision,
    files: &[FileRecord],
    most: usize,
) -> Result<Vec<Side>, Error> {
    let mut sides = Vec::new();
    let mut alone: Vec<String> = Vec::new();
    let mut covered: HashSet<String> = HashSet::new();
    if let Some(side) = Side::load(hub, repo, revision, "").await? {
        let held = side.tensors.iter().flat_map(|tensor| tensor.runs.iter().map(|(_, run)| run.file.to_string()));
        covered.extend(held);
        let known = side.inside.checkpoint.files.iter().filter(|file| !file.formats.is_empty());
        alone.extend(known.map(|file| file.path.clone()));
        sides.push(side);
    } else {
        alone.extend(files.iter().map(|file| file.path.clone()));
    }
    alone.retain(|path| !covered.contains(path));
    // A folder is read as a whole before its files are: layouts of several files mean nothing apart.
    let mut folders: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for path in alone {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        folders.entry(folder.to_owned()).or_default().push(path);
    }
    let mut read = 0;
    for (folder, mut paths) in folders {
        if !folder.is_empty() && read < MOST_ALONE && sides.len() < most {
            read += 1;
            if let Some(side) = Side::load(hub, repo, revision, &folder).await? {
                let inside = |run: &Extent| format!("{folder}/{}", run.file);
                let held: HashSet<String> =
                    side.tensors.iter().flat_map(|tensor| tensor.runs.iter().map(|(_, run)| inside(run))).collect();
                paths.retain(|path| !held.contains(path));
                sides.push(side);
            }
        }
        for path in paths {
            if read >= MOST_ALONE || sides.len() >= most {
                break;
            }
            read += 1;
            sides.extend(Side::load(hub, repo, revision, &path).await?);
        }
    }
    Ok(sides)
}

/// Mean and standard deviation of numbers that are not all the same.
pub(super) fn spread(stats: &TensorStats) -> Option<(f64, f64)> {
    Some((stats.mean?, stats.std.filter(|std| *std > 0.0)?))
}

/// Extents but those of one.
fn squeezed(shape: &[u64]) -> Vec<u64> {
    shape.iter().copied().filter(|&extent| extent != 1).collect()
}

/// Whether elements of one type can be coded given those of another.
pub(super) fn may_code(dtype: Dtype, base: Dtype) -> bool {
    let short = |dtype| matches!(dtype, Dtype::F32 | Dtype::BF16 | Dtype::F16);
    let long = |dtype| matches!(dtype, Dtype::F64 | Dtype::F32);
    dtype == base || (short(dtype) && short(base)) || (long(dtype) && long(base))
}
