//! What a push remembers, so that the next one need not begin anew.
//!
//! One folder for each hub and repository, below the cache folder:
//!
//! | file | content |
//! |---|---|
//! | `files/<digest of the path>` | JSON: stamp, SHA-256, whether the hub has registered it |
//! | `xorbs/<xorb hash>` | `WHXORB1\n`, then for each chunk its hash (32 bytes) and raw length (u32, little-endian) |
//!
//! Notes are written durably and believed little: a file's note counts only while its stamp is the same, a xorb's list
//! only if it hashes to its name, and if the hub refuses what was built from notes, the push starts over without them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use weighthouse::Sha256;
use weighthouse::format::xet::chunker::MAX_CHUNK;
use weighthouse::format::xet::hash::{XetHash, xorb_hash};
use weighthouse::format::xet::xorb::MAX_XORB_CHUNKS;

use super::super::stamp::Stamp;
use super::super::target::RepoRef;
use weighthouse::atomic;

const MAGIC: &[u8; 8] = b"WHXORB1\n";
const ENTRY: usize = 36;
/// Lists older than this are dropped: a hub may have collected the chunks by then.
const KEEP: Duration = Duration::from_secs(14 * 24 * 3600);
/// Files below this size get no note: reading them again is cheap.
const MIN_NOTED_BYTES: u64 = 4 << 20;
/// Longest note of a file that is read, in bytes.
const MAX_NOTE_BYTES: u64 = 64 << 10;

/// A chunk as the journal lists it: hash and raw length in bytes.
pub(super) type Chunk = (XetHash, u32);

/// What is known of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    path: String,
    stamp: Stamp,
    sha256: String,
    registered: bool,
}

/// A file that was read before and has not changed since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// Digest of its content.
    pub(super) sha256: Sha256,
    /// Whether the hub has put it together already.
    pub(super) registered: bool,
}

/// The notes for one repository of one hub. Without a folder it remembers nothing.
#[derive(Clone, Debug)]
pub(super) struct Journal {
    folder: Option<PathBuf>,
}

impl Journal {
    pub(super) fn open(cache: Option<&Path>, base: &str, repo: &RepoRef) -> Self {
        let key = Sha256::of(format!("{base}\n{}\n{}", repo.kind(), repo.id().to_lowercase()).as_bytes()).to_string();
        Self { folder: cache.map(|cache| cache.join("push").join(key.get(..32).unwrap_or(&key))) }
    }

    fn note_place(&self, path: &str) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join("files").join(Sha256::of(path.as_bytes()).to_string()))
    }

    /// What is known of a file, if it still looks the same.
    pub(super) fn known(&self, path: &str, stamp: &Stamp) -> Option<Known> {
        let note: Note = serde_json::from_slice(&read_bounded(&self.note_place(path)?, MAX_NOTE_BYTES)?).ok()?;
        let same = note.path == path && note.stamp == *stamp;
        same.then(|| Some(Known { sha256: note.sha256.parse().ok()?, registered: note.registered })).flatten()
    }

    /// Remembers a file, unless it is small or was written to a moment ago.
    pub(super) fn note(&self, path: &str, stamp: &Stamp, known: Known, now_ms: i64) -> io::Result<()> {
        let Some(place) = self.note_place(path) else { return Ok(()) };
        if stamp.size_bytes < MIN_NOTED_BYTES || !stamp.is_settled(now_ms) {
            return Ok(());
        }
        let Known { sha256, registered } = known;
        let note = Note { path: path.to_owned(), stamp: *stamp, sha256: sha256.to_string(), registered };
        atomic::write(&place, &serde_json::to_vec(&note)?)
    }

    /// Remembers a xorb that the hub has acknowledged.
    pub(super) fn note_xorb(&self, hash: &XetHash, chunks: impl ExactSizeIterator<Item = Chunk>) -> io::Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let mut bytes = Vec::with_capacity(MAGIC.len() + chunks.len() * ENTRY);
        bytes.extend_from_slice(MAGIC);
        for (hash, raw_len) in chunks {
            bytes.extend_from_slice(hash.as_bytes());
            bytes.extend_from_slice(&raw_len.to_le_bytes());
        }
        atomic::write(&folder.join("xorbs").join(hash.to_string()), &bytes)
    }

    /// Reads the lists of xorbs, newest first, until `most_chunks` are reached. Damaged and old ones are removed.
    pub(super) fn xorbs(&self, now: SystemTime, most_chunks: usize) -> Vec<(XetHash, Vec<Chunk>)> {
        let Some(folder) = &self.folder else { return Vec::new() };
        let Ok(entries) = fs::read_dir(folder.join("xorbs")) else { return Vec::new() };
        let mut files: Vec<(SystemTime, PathBuf)> = entries
            .filter_map(|entry| {
                let entry = entry.ok()?;
                Some((entry.metadata().ok()?.modified().ok()?, entry.path()))
            })
            .collect();
        files.sort_unstable_by(|a, b| b.cmp(a));
        let (mut lists, mut chunks) = (Vec::new(), 0);
        for (written, path) in files {
            let old = now.duration_since(written).is_ok_and(|age| age > KEEP);
            let list = if old || chunks >= most_chunks { None } else { read_list(&path) };
            match list {
                Some(list) => {
                    chunks += list.1.len();
                    lists.push(list);
                }
                // What does not fit is no use to later pushes either: it is the oldest.
                None => {
                    let _ = fs::remove_file(&path);
                }
            }
        }
        lists
    }

    /// Drops all notes.
    pub(super) fn forget(&self) {
        if let Some(folder) = &self.folder {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

fn read_bounded(path: &Path, limit: u64) -> Option<Vec<u8>> {
    let fits = fs::metadata(path).ok()?.len() <= limit;
    fits.then(|| fs::read(path).ok()).flatten()
}

/// Reads a list and proves it: the chunks must hash to the name of the file.
fn read_list(path: &Path) -> Option<(XetHash, Vec<Chunk>)> {
    let name: XetHash = path.file_name()?.to_str()?.parse().ok()?;
    let bytes = read_bounded(path, (MAGIC.len() + MAX_XORB_CHUNKS * ENTRY) as u64)?;
    let (entries, rest) = bytes.strip_prefix(MAGIC)?.as_chunks::<ENTRY>();
    let entry = |entry: &[u8; ENTRY]| {
        let (hash, raw_len) = entry.split_first_chunk::<32>()?;
        let raw_len = u32::from_le_bytes(*raw_len.first_chunk::<4>()?);
        (1..=MAX_CHUNK as u32).contains(&raw_len).then_some((XetHash::from_bytes(*hash), raw_len))
    };
    let chunks: Vec<Chunk> = entries.iter().map(entry).collect::<Option<_>>()?;
    let sized: Vec<(XetHash, u64)> = chunks.iter().map(|&(hash, len)| (hash, len.into())).collect();
    (rest.is_empty() && !chunks.is_empty() && xorb_hash(&sized) == name).then_some((name, chunks))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weighthouse::format::xet::hash::chunk_hash;

    use super::*;

    fn journal(cache: &Path) -> Journal {
        Journal::open(Some(cache), "http://hub", &"team/m".parse().unwrap())
    }

    fn list(count: usize) -> (XetHash, Vec<Chunk>) {
        let chunks: Vec<Chunk> = (0..count as u32).map(|i| (chunk_hash(&i.to_le_bytes()), i + 1)).collect();
        let sized: Vec<_> = chunks.iter().map(|&(hash, len)| (hash, u64::from(len))).collect();
        (xorb_hash(&sized), chunks)
    }

    fn big_file(folder: &Path) -> (PathBuf, Stamp) {
        let path = folder.join("big");
        let file = fs::File::create(&path).unwrap();
        file.set_len(MIN_NOTED_BYTES).unwrap();
        let stamp = Stamp::of(&file.metadata().unwrap());
        (path, stamp)
    }

    #[test]
    fn a_file_is_known_until_it_changes() {
        let cache = tempfile::tempdir().unwrap();
        let (path, stamp) = big_file(cache.path());
        let known = Known { sha256: Sha256::of(b"x"), registered: true };
        let later = weighthouse::Clock::system().now_ms() + 10_000;
        let notes = journal(cache.path());
        notes.note("big", &stamp, known, later - 10_000).unwrap();
        assert_eq!(notes.known("big", &stamp), None, "it was written a moment ago");
        notes.note("big", &stamp, known, later).unwrap();
        assert_eq!(notes.known("big", &stamp), Some(known));
        assert_eq!(notes.known("other", &stamp), None);
        let elsewhere = Journal::open(Some(cache.path()), "http://hub2", &"team/m".parse().unwrap());
        assert_eq!(elsewhere.known("big", &stamp), None);
        fs::write(&path, b"new").unwrap();
        assert_eq!(notes.known("big", &Stamp::of(&path.metadata().unwrap())), None);
    }

    #[test]
    fn lists_read_back_and_damaged_ones_do_not() {
        let cache = tempfile::tempdir().unwrap();
        let notes = journal(cache.path());
        let (hash, chunks) = list(9);
        notes.note_xorb(&hash, chunks.iter().copied()).unwrap();
        let now = SystemTime::now();
        assert_eq!(notes.xorbs(now, 100), [(hash, chunks.clone())]);
        let path = notes.folder.as_ref().unwrap().join("xorbs").join(hash.to_string());
        let mut bytes = fs::read(&path).unwrap();
        bytes[20] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(notes.xorbs(now, 100), []);
        assert!(!path.exists(), "a damaged list is removed");
        notes.note_xorb(&hash, chunks.iter().copied()).unwrap();
        assert_eq!(notes.xorbs(now + KEEP * 2, 100), [], "an old list is removed");
    }

    #[test]
    fn without_a_cache_nothing_is_remembered() {
        let notes = Journal::open(None, "http://hub", &"team/m".parse().unwrap());
        let (hash, chunks) = list(2);
        notes.note_xorb(&hash, chunks.into_iter()).unwrap();
        assert_eq!(notes.xorbs(SystemTime::now(), 100), []);
    }

    proptest! {
        #[test]
        fn any_bytes_in_the_journal_are_survived(bytes: Vec<u8>) {
            let cache = tempfile::tempdir().unwrap();
            let notes = journal(cache.path());
            let (_, stamp) = big_file(cache.path());
            for place in [notes.note_place("big").unwrap(), notes.folder.as_ref().unwrap().join("xorbs").join(list(1).0.to_string())] {
                atomic::write(&place, &bytes).unwrap();
            }
            prop_assert_eq!(notes.known("big", &stamp), None);
            prop_assert_eq!(notes.xorbs(SystemTime::now(), 100), []);
        }
    }
}
