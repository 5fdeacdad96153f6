//! Models that lie on a disk already: what is there twice, what could be freed, and how it comes into a store.
//!
//! ```text
//!   roots ──► walk ──► files by size ──► SHA-256 ──► duplicates ──► link     one copy of the bytes, every path readable
//!               └────► models (layout) ─► tensors ──► near-duplicates
//!                          └────► content ──► (a hub takes it, and it is read back) ──► free ──► record ──► restore
//! ```
//! - [`look`] only reads; its [`Report`] is the plan of everything else
//! - [`link`](mod@link) replaces identical files by reflinks or hard links
//! - [`content`] says which files make up a model; [`free`](mod@free) removes them once a hub has them; [`restore`] brings
//!   them back from the record that was left
//!
//! **Invariants:** no symbolic link is followed; nothing outside the roots is read or written; no byte is removed before
//! an identical one was read elsewhere in the same call; every path is at every moment what it was or what replaces it.

pub mod content;
mod digest;
pub mod free;
mod layout;
pub mod link;
mod problem;
pub mod record;
pub mod restore;
mod shared;
mod stamp;
mod tensors;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

pub use digest::{Progress, sha256};
pub use layout::{Layout, Model};
pub use problem::{Problem, Problems};
pub use stamp::Stamp;
pub use tensors::{Near, WeightSet};
pub use walk::Looked;

use self::walk::{Seen, SeenFile};
use crate::{Error, Sha256};

/// Beginning of the names under which files are prepared.
const TEMPORARY: &str = ".wh-adopt-";

/// What to look for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Smallest file that is compared, in bytes.
    pub min_bytes: u64,
    /// Whether tensors are compared too; reads all weights once.
    pub tensors: bool,
}

impl Default for Options {
    /// Files from 4 KiB on, and tensors.
    fn default() -> Self {
        Self { min_bytes: 4 << 10, tensors: true }
    }
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Folders that were looked at; those inside others are left out.
    #[serde(serialize_with = "shown_all")]
    pub roots: Vec<PathBuf>,
    /// What was counted.
    pub looked: Looked,
    /// Models.
    pub models: Vec<Model>,
    /// Files with the same bytes, the most bytes first.
    pub duplicates: Vec<Duplicate>,
    /// Weights with tensors in common, the most bytes first.
    pub near: Vec<Near>,
    /// What could be freed.
    pub freeable: Freeable,
    /// What was left out.
    pub problems: Problems,
    /// Temporary names of runs that were killed; see [`link::sweep`].
    #[serde(skip)]
    pub leftovers: Vec<PathBuf>,
}

/// Bytes that could be freed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Freeable {
    /// By links between identical files of one file system.
    pub link_bytes: u64,
    /// By keeping every file once, wherever it lies.
    pub duplicate_bytes: u64,
    /// On top of that, by keeping every tensor once.
    pub tensor_bytes: u64,
    /// By a store that does both; what it compresses comes on top and is not guessed.
    pub store_bytes: u64,
}

/// Files with the same bytes.
#[derive(Clone, Debug, Serialize)]
pub struct Duplicate {
    /// Digest of the bytes.
    #[serde(serialize_with = "digest_text")]
    pub sha256: Sha256,
    /// Length of one copy in bytes.
    pub size_bytes: u64,
    /// The copies, the one to keep first.
    pub copies: Vec<Copy>,
    /// Bytes that links would free.
    pub link_bytes: u64,
}

/// A file with all names that it has below the roots.
#[derive(Clone, Debug, Serialize)]
pub struct Copy {
    /// Its names; more than one are hard links.
    #[serde(serialize_with = "shown_all")]
    pub paths: Vec<PathBuf>,
    /// What it was like when its bytes were read.
    #[serde(skip)]
    pub stamp: Stamp,
    /// Whether it has further names outside the roots, so that replacing these frees nothing.
    pub names_outside: bool,
    /// Whether a link to the first copy could replace it.
    pub linkable: bool,
}

fn digest_text<S: serde::Serializer>(digest: &Sha256, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(digest)
}

fn shown_all<S: serde::Serializer>(paths: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(paths.iter().map(|path| path.to_string_lossy()))
}

/// Looks at everything below the roots and changes nothing. Blocks the thread.
///
/// `progress` is told the bytes that are read, from any thread; the total is that of the present pass.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Local`] or [`Error::Malformed`] for a root that is no folder. What cannot be read below
/// one is a line in [`Report::problems`].
pub fn look(
    roots: &[PathBuf],
    options: &Options,
    reading: Progress<'_>,
    comparing: Progress<'_>,
) -> Result<Report, Error> {
    let mut seen = walk::walk(roots, options.min_bytes)?;
    let files = std::mem::take(&mut seen.files);
    let (duplicates, single) = duplicates(&inodes(&files), &mut seen.problems, reading);
    let near = if options.tensors { nearly(&duplicates, &single, &files, &mut seen, comparing) } else { Vec::new() };
    let duplicate_bytes = duplicates.iter().map(|group| group.size_bytes * (group.copies.len() as u64 - 1)).sum();
    let tensor_bytes = near.iter().map(|near| near.repeated_bytes).sum();
    let freeable = Freeable {
        link_bytes: duplicates.iter().map(|group| group.link_bytes).sum(),
        duplicate_bytes,
        tensor_bytes,
        store_bytes: duplicate_bytes + tensor_bytes,
    };
    let Seen { roots, models, looked, problems, leftovers, .. } = seen;
    Ok(Report { roots, looked, models, duplicates, near, freeable, problems, leftovers })
}

/// Every model of an Ollama cache, those included that nobody asked for.
#[must_use]
pub fn ollama(cache: &std::path::Path) -> Vec<Model> {
    layout::ollama_models(cache, &mut Problems::default())
}

/// Files with all their names, in the order of the first.
fn inodes(files: &[SeenFile]) -> Vec<Vec<&SeenFile>> {
    let mut by_file: BTreeMap<(u64, u64), Vec<&SeenFile>> = BTreeMap::new();
    for file in files {
        by_file.entry(file.stamp.file()).or_default().push(file);
    }
    by_file.into_values().collect()
}

/// Finds files with the same bytes: only those are read that have the length of another. The second list has one of each
/// content that is there once.
fn duplicates(
    inodes: &[Vec<&SeenFile>],
    problems: &mut Problems,
    progress: Progress<'_>,
) -> (Vec<Duplicate>, Vec<PathBuf>) {
    let mut by_size: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (number, names) in inodes.iter().enumerate() {
        let size = names.first().map_or(0, |file| file.stamp.size_bytes);
        by_size.entry(size).or_default().push(number);
    }
    let mut single = Vec::new();
    let mut doubtful: Vec<(&SeenFile, usize)> = Vec::new();
    for numbers in by_size.into_values() {
        let files = numbers.iter().filter_map(|&number| Some((*inodes.get(number)?.first()?, number)));
        if numbers.len() > 1 { doubtful.extend(files) } else { single.extend(files.map(|(file, _)| file.path.clone())) }
    }
    let total = doubtful.iter().map(|(file, _)| file.stamp.size_bytes).sum();
    // The longest first, so that no thread is left with one at the end.
    doubtful.sort_by_key(|(file, _)| std::cmp::Reverse(file.stamp.size_bytes));
    let digests = digest::side_by_side(doubtful.len(), |number| {
        let (file, _) = doubtful.get(number)?;
        Some(sha256(&file.path, &file.stamp, &|bytes| progress(bytes, total)))
    });
    let mut same: BTreeMap<(u64, [u8; 32]), Vec<usize>> = BTreeMap::new();
    for ((file, number), digest) in doubtful.into_iter().zip(digests) {
        match digest {
            Some(Ok(digest)) => same.entry((file.stamp.size_bytes, digest.0)).or_default().push(number),
            Some(Err(message)) => problems.add(&file.path, message),
            None => {}
        }
    }
    let mut found = Vec::new();
    for ((size_bytes, digest), numbers) in same {
        let names = numbers.iter().filter_map(|&number| inodes.get(number));
        if numbers.len() == 1 {
            single.extend(names.filter_map(|names| Some(names.first()?.path.clone())));
            continue;
        }
        found.push(Duplicate::new(Sha256(digest), size_bytes, names.map(Vec::as_slice)));
    }
    found.sort_by_key(|group| std::cmp::Reverse(group.size_bytes * (group.copies.len() as u64 - 1)));
    (found, single)
}

impl Duplicate {
    fn new<'a>(sha256: Sha256, size_bytes: u64, files: impl Iterator<Item = &'a [&'a SeenFile]>) -> Self {
        let mut copies: Vec<Copy> = files
            .filter_map(|names| {
                let first = names.first()?;
                Some(Copy {
                    paths: names.iter().map(|file| file.path.clone()).collect(),
                    stamp: first.stamp,
                    names_outside: first.names > names.len() as u64,
                    linkable: false,
                })
            })
            .collect();
        // What cannot be replaced to advantage is kept; else what has most names, else what is oldest.
        copies.sort_by(|a, b| {
            let rank = |copy: &Copy| (!copy.names_outside, std::cmp::Reverse(copy.paths.len()), copy.stamp.modified_ns);
            rank(a).cmp(&rank(b)).then_with(|| a.paths.cmp(&b.paths))
        });
        let device = copies.first().map(|copy| copy.stamp.device);
        for copy in copies.iter_mut().skip(1) {
            copy.linkable = Some(copy.stamp.device) == device && !copy.names_outside;
        }
        let link_bytes = size_bytes * copies.iter().filter(|copy| copy.linkable).count() as u64;
        Self { sha256, size_bytes, copies, link_bytes }
    }
}

/// Compares the tensors of one file of each content.
fn nearly(
    duplicates: &[Duplicate],
    single: &[PathBuf],
    files: &[SeenFile],
    seen: &mut Seen,
    progress: Progress<'_>,
) -> Vec<Near> {
    let sizes: BTreeMap<&PathBuf, u64> = files.iter().map(|file| (&file.path, file.stamp.size_bytes)).collect();
    let known_as = |path: &PathBuf| seen.shown.get(path).unwrap_or(path).clone();
    let mut candidates: Vec<tensors::Candidate> = single
        .iter()
        .map(|path| tensors::Candidate {
            place: path.clone(),
            shown: vec![known_as(path)],
            size_bytes: sizes.get(path).copied().unwrap_or(0),
        })
        .collect();
    candidates.extend(duplicates.iter().filter_map(|group| {
        let paths: Vec<&PathBuf> = group.copies.iter().flat_map(|copy| &copy.paths).collect();
        Some(tensors::Candidate {
            place: (*paths.first()?).clone(),
            shown: paths.into_iter().map(known_as).collect(),
            size_bytes: group.size_bytes,
        })
    }));
    candidates.sort_by(|a, b| a.place.cmp(&b.place));
    tensors::near(&candidates, &mut seen.problems, progress)
}
