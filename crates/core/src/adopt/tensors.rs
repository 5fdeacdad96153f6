//! Weights that lie on the disk more than once in other files: other formats, other shards, fine-tunes that share tensors.
//!
//! The unit is a *set*: the shards of one checkpoint in one folder. Every file is read once, its tensors are hashed over
//! their row-major elements, those of F32 also as they become when they are rounded to BF16 and to F16, and sets that have
//! tensors in common form a group. A tensor that is one number throughout says nothing and is left out. Memory: some 50
//! bytes for each tensor, and 120 for one of F32.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::Digest as _;
use weighthouse_format::checkpoint::{self, Checkpoint};
use weighthouse_format::data::Elements;
use weighthouse_format::{Dtype, Folder, Limits, Tensor, cast, stats};

use super::digest::{Progress, side_by_side};
use super::problem::Problems;
use crate::local::LocalFolder;

/// Bytes of a tensor that are read at once.
const BAND_BYTES: u64 = 4 << 20;
/// Smallest tensor that counts, in bytes: small ones are alike by chance.
const MIN_TENSOR_BYTES: u64 = 1 << 10;
/// Sets of a group that are named.
const MAX_NAMED: usize = 1_000;

/// Sets of weights that have tensors in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Near {
    /// The sets, by path.
    pub sets: Vec<WeightSet>,
    /// Whether all of them have exactly the same tensors.
    pub same: bool,
    /// Bytes of the files of all sets.
    pub size_bytes: u64,
    /// Bytes of tensors that lie there a second time, or a first time rounded.
    pub repeated_bytes: u64,
}

/// The weights of one checkpoint, in one file or in shards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WeightSet {
    /// The file, or the pattern of its shards.
    pub path: String,
    /// Format.
    pub format: String,
    /// Files.
    pub files: u64,
    /// Bytes of the files.
    pub size_bytes: u64,
    /// Tensors that count.
    pub tensors: u64,
    /// Their bytes.
    pub tensor_bytes: u64,
    /// Bytes of tensors that another set of the group has too.
    pub shared_bytes: u64,
    /// Bytes of tensors that no other set has as they are, and another set has in F32.
    pub rounded_bytes: u64,
}

/// A file whose tensors are to be told, under the name that people know it by.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    /// Where its bytes are.
    pub place: PathBuf,
    /// Names it goes by: its own, or the links of snapshots.
    pub shown: Vec<PathBuf>,
    pub size_bytes: u64,
}

/// SHA-256 of a tensor's elements.
type Digest = [u8; 32];

/// What tensors of F32 are rounded to.
const ROUNDED: [Dtype; 2] = [Dtype::BF16, Dtype::F16];

/// Tensors of a file.
#[derive(Debug)]
struct Told {
    format: String,
    /// Digest and length in bytes.
    tensors: Vec<(Digest, u64)>,
    /// Digests of tensors that these become when they are rounded.
    rounded: Vec<Digest>,
}

/// A tensor that was read.
struct Read {
    digest: Digest,
    bytes: u64,
    rounded: Vec<Digest>,
}

/// Groups of sets, the most bytes first.
pub(super) fn near(candidates: &[Candidate], problems: &mut Problems, progress: Progress<'_>) -> Vec<Near> {
    let total = candidates.iter().fold(0u64, |sum, file| sum.saturating_add(file.size_bytes));
    let limits = Limits::default();
    let mut told: Vec<Option<Told>> = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| tell(candidate, total, &limits, progress)));
        told.push(match read {
            Ok(told) => told,
            Err(_) => {
                problems.add(&candidate.place, "a fault of ours: its reader failed");
                None
            }
        });
    }
    let mut sets: BTreeMap<(PathBuf, String), Vec<usize>> = BTreeMap::new();
    for (number, told) in told.iter().enumerate() {
        let (Some(told), Some(candidate)) = (told, candidates.get(number)) else { continue };
        for shown in &candidate.shown {
            sets.entry((pattern(shown), told.format.clone())).or_default().push(number);
        }
    }
    // The same files under other names are copies, and told as such.
    let mut known = HashSet::new();
    sets.retain(|_, files| {
        files.sort_unstable();
        files.dedup();
        known.insert(files.clone())
    });
    group(&sets, &told, candidates)
}

/// Reads the tensors of a file; `None` for one that holds no weights.
fn tell(file: &Candidate, total: u64, limits: &Limits, progress: Progress<'_>) -> Option<Told> {
    // A name that is not UTF-8, or a file that went away: nothing can be said of its tensors.
    let (folder, name) = LocalFolder::alone(&file.place).ok()?;
    let Ok(read) = checkpoint::read_file(&folder, &name, limits) else {
        progress(file.size_bytes, total);
        return None;
    };
    let format = format_of(&read)?;
    let tensors: Vec<&Tensor> = read.tensors().filter(|tensor| tensor.size_bytes() >= MIN_TENSOR_BYTES).collect();
    // What shares its bytes in the file counts once.
    let mut seen = HashSet::new();
    let tensors: Vec<&Tensor> = tensors.into_iter().filter(|tensor| seen.insert(&tensor.pieces)).collect();
    let hashes = side_by_side(tensors.len(), |number| {
        let tensor = tensors.get(number)?;
        hash(&folder, tensor, limits, &|bytes| progress(bytes, total)).ok().flatten()
    });
    let read: Vec<Read> = hashes.into_iter().flatten().collect();
    let tensors = read.iter().map(|read| (read.digest, read.bytes)).collect();
    Some(Told { format, tensors, rounded: read.into_iter().flat_map(|read| read.rounded).collect() })
}

fn format_of(read: &Checkpoint) -> Option<String> {
    let format = read.files.iter().find_map(|file| file.formats.first()).or_else(|| read.contents.formats.first());
    (!read.contents.tensors.is_empty()).then(|| format.map_or_else(|| "weights".to_owned(), ToString::to_string))
}

/// Digests over the elements; `None` for one number throughout.
fn hash(
    folder: &dyn Folder,
    tensor: &Tensor,
    limits: &Limits,
    progress: &dyn Fn(u64),
) -> Result<Option<Read>, weighthouse_format::FormatError> {
    stats::check_stored(tensor)?;
    let mut elements = Elements::new(folder, tensor, limits)?;
    let (unit, units) = (elements.unit_bytes().max(1), elements.units());
    let step = (BAND_BYTES / unit).max(1);
    let mut hasher = sha2::Sha256::new();
    let targets = if tensor.dtype == Dtype::F32 { &ROUNDED[..] } else { &[] };
    let mut rounded: Vec<(Dtype, sha2::Sha256)> = targets.iter().map(|to| (*to, sha2::Sha256::new())).collect();
    let mut first: Option<Vec<u8>> = None;
    let (mut plain, mut at, mut bytes) = (true, 0, 0);
    let (mut band, mut cast) = (Vec::new(), Vec::new());
    while at < units {
        let count = step.min(units - at);
        let unit_bytes = usize::try_from(unit).unwrap_or(usize::MAX);
        band.resize(usize::try_from(count.saturating_mul(unit)).unwrap_or(usize::MAX), 0);
        elements.read(at, &mut band)?;
        hasher.update(&band);
        for (to, hasher) in &mut rounded {
            cast.clear();
            cast::cast(tensor.dtype, &band, &[], *to, &mut cast)?;
            hasher.update(&cast);
        }
        let first = first.get_or_insert_with(|| band.get(..unit_bytes).unwrap_or_default().to_vec());
        plain = plain && band.chunks(unit_bytes).all(|unit| unit == first.as_slice());
        bytes += band.len() as u64;
        progress(band.len() as u64);
        at += count;
    }
    Ok((!plain).then(|| Read {
        digest: hasher.finalize().into(),
        bytes,
        rounded: rounded.into_iter().map(|(_, hasher)| hasher.finalize().into()).collect(),
    }))
}

/// The path of a file with the number of its shard left out: `model-*-of-00003.safetensors`.
fn pattern(path: &Path) -> PathBuf {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return path.to_owned() };
    let Some(at) = name.find("-of-") else { return path.to_owned() };
    let (before, after) = name.split_at(at);
    let stem = before.trim_end_matches(|digit: char| digit.is_ascii_digit());
    if stem.len() == before.len() { path.to_owned() } else { path.with_file_name(format!("{stem}*{after}")) }
}

/// Joins sets that have tensors in common.
fn group(sets: &BTreeMap<(PathBuf, String), Vec<usize>>, told: &[Option<Told>], candidates: &[Candidate]) -> Vec<Near> {
    let of_files = |files: &[usize]| files.iter().filter_map(|&file| told.get(file)?.as_ref()).collect::<Vec<_>>();
    let tensors_of = |files: &[usize]| -> HashMap<Digest, u64> {
        of_files(files).into_iter().flat_map(|told| told.tensors.iter().copied()).collect()
    };
    // The first set that has a tensor stands for all that have it.
    let mut parents: Vec<usize> = (0..sets.len()).collect();
    let mut join = |one: usize, other: usize| {
        let (one, other) = (top(&parents, one), top(&parents, other));
        if let Some(parent) = parents.get_mut(one.max(other)) {
            *parent = one.min(other);
        }
    };
    let mut holders: HashMap<Digest, (usize, u32)> = HashMap::new();
    for (number, files) in sets.values().enumerate() {
        for digest in tensors_of(files).keys() {
            let holder = holders.entry(*digest).or_insert((number, 0));
            holder.1 += 1;
            join(holder.0, number);
        }
    }
    // Tensors that are another one, rounded.
    let mut rounded: HashSet<Digest> = HashSet::new();
    for (number, files) in sets.values().enumerate() {
        for digest in of_files(files).into_iter().flat_map(|told| &told.rounded) {
            if let Some((holder, _)) = holders.get(digest) {
                rounded.insert(*digest);
                join(*holder, number);
            }
        }
    }
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for number in 0..sets.len() {
        groups.entry(top(&parents, number)).or_default().push(number);
    }
    let all: Vec<_> = sets.iter().collect();
    let mut found: Vec<Near> = Vec::new();
    for members in groups.into_values().filter(|members| members.len() > 1) {
        let (mut files, mut unique): (HashSet<usize>, HashMap<Digest, u64>) = Default::default();
        let (mut near, mut every) = (Vec::new(), 0u64);
        let mut sizes = HashSet::new();
        for &(name, set) in members.iter().filter_map(|&number| all.get(number)) {
            let tensors = tensors_of(set);
            let shared = |digest: &Digest| holders.get(digest).is_some_and(|(_, count)| *count > 1);
            let bytes = |holds: &dyn Fn(&Digest) -> bool| -> u64 {
                tensors.iter().filter(|(digest, _)| holds(digest)).map(|(_, bytes)| bytes).sum()
            };
            sizes.insert(tensors.len());
            near.push(WeightSet {
                path: name.0.display().to_string(),
                format: name.1.clone(),
                files: set.len() as u64,
                size_bytes: set.iter().filter_map(|&file| candidates.get(file)).map(|file| file.size_bytes).sum(),
                tensors: tensors.len() as u64,
                tensor_bytes: tensors.values().sum(),
                shared_bytes: bytes(&shared),
                rounded_bytes: bytes(&|digest| !shared(digest) && rounded.contains(digest)),
            });
            // A shard that two sets have is there once.
            for &file in set.iter().filter(|file| !files.contains(*file)) {
                every += tensors_of(&[file]).values().sum::<u64>();
            }
            files.extend(set);
            unique.extend(tensors);
        }
        let distinct: u64 =
            unique.iter().filter(|(digest, _)| !rounded.contains(*digest)).map(|(_, bytes)| bytes).sum();
        near.truncate(MAX_NAMED);
        found.push(Near {
            same: sizes.len() == 1 && sizes.contains(&unique.len()),
            sets: near,
            size_bytes: files.iter().filter_map(|&file| candidates.get(file)).map(|file| file.size_bytes).sum(),
            repeated_bytes: every.saturating_sub(distinct),
        });
    }
    found.retain(|near| near.repeated_bytes > 0);
    found.sort_by_key(|near| std::cmp::Reverse(near.repeated_bytes));
    found
}

/// The set that stands for the group of `number`. Parents come before their children, so this ends.
fn top(parents: &[usize], mut number: usize) -> usize {
    while let Some(&parent) = parents.get(number).filter(|&&parent| parent != number) {
        number = parent;
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_go_by_one_name() {
        let of = |path: &str| pattern(Path::new(path)).display().to_string();
        assert_eq!(of("a/model-00001-of-00003.safetensors"), "a/model-*-of-00003.safetensors");
        assert_eq!(of("a/best-of-breed.bin"), "a/best-of-breed.bin");
        assert_eq!(of("a/model.bin"), "a/model.bin");
    }
}
