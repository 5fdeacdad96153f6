//! Plain copies of the contents that are read most, so that they are sent without being decoded again and again.
//!
//! A cache and nothing more: the folder is emptied when it is opened, a copy appears only when its SHA-256 was right, and
//! each piece of it is compared with its checksum when it is read. Whatever is wrong with a copy, the bytes then come from
//! the packs.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::TryStreamExt;
use sha2::Digest;

use super::ingest::blocking;
use crate::Store;
use crate::catalog::Content;
use crate::digest::Sha256;
use crate::error::StoreError;

/// Bytes of a piece with a checksum of its own.
const PIECE_BYTES: u64 = 256 << 10;
/// Smaller contents are decoded faster than a file is opened.
const LEAST_BYTES: u64 = 1 << 20;
/// A content is copied when its bytes were asked for this many times over.
const READS: u64 = 2;
/// Contents whose reads are counted; when there are more, counting begins anew.
const COUNTED: usize = 10_000;

/// Plain copies below one folder.
#[derive(Debug)]
pub(crate) struct Hot {
    folder: PathBuf,
    limit_bytes: u64,
    clock: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    copies: HashMap<Sha256, Arc<Copy>>,
    bytes: u64,
    /// Bytes that were asked for.
    heat: HashMap<Sha256, u64>,
    making: HashSet<Sha256>,
}

/// One copy.
#[derive(Debug)]
struct Copy {
    path: PathBuf,
    file: File,
    size_bytes: u64,
    /// CRC-32C of each piece.
    pieces: Vec<u32>,
    /// When it was used last.
    used: AtomicU64,
}

impl Hot {
    /// Copies below `folder`, which is emptied, of at most so many bytes in all.
    pub fn open(folder: &Path, limit_bytes: u64) -> Result<Self, StoreError> {
        let shown = folder.display().to_string();
        match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::storage("emptying the folder", &shown)(error));
            }
            _ => {}
        }
        std::fs::create_dir_all(folder).map_err(StoreError::storage("creating the folder", &shown))?;
        Ok(Self { folder: folder.to_owned(), limit_bytes, clock: AtomicU64::new(0), state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn copy(&self, sha256: &Sha256) -> Option<Arc<Copy>> {
        let copy = self.state().copies.get(sha256).cloned()?;
        copy.used.store(self.clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        Some(copy)
    }

    /// Counts a read. Returns whether the content should be copied now, by whoever asked.
    fn warm(&self, content: &Content, len: u64) -> bool {
        let size = content.record.size_bytes;
        if !(LEAST_BYTES..=self.limit_bytes).contains(&size) {
            return false;
        }
        let mut state = self.state();
        if state.heat.len() >= COUNTED {
            state.heat.clear();
        }
        let heat = state.heat.entry(content.record.sha256).or_default();
        *heat = heat.saturating_add(len);
        if *heat < size.saturating_mul(READS) || state.copies.contains_key(&content.record.sha256) {
            return false;
        }
        state.heat.remove(&content.record.sha256);
        state.making.insert(content.record.sha256)
    }

    /// Takes a copy in; those used longest ago make room.
    fn keep(&self, sha256: Sha256, copy: Copy) {
        let mut state = self.state();
        state.bytes += copy.size_bytes;
        state.copies.insert(sha256, Arc::new(copy));
        while state.bytes > self.limit_bytes {
            let oldest = state.copies.iter().min_by_key(|(_, copy)| copy.used.load(Ordering::Relaxed));
            let Some(oldest) = oldest.map(|(sha256, _)| *sha256) else { break };
            forget(&mut state, &oldest);
        }
    }

    /// Drops a copy that is not what it should be.
    fn drop_copy(&self, sha256: &Sha256) {
        forget(&mut self.state(), sha256);
    }
}

fn forget(state: &mut State, sha256: &Sha256) {
    if let Some(copy) = state.copies.remove(sha256) {
        state.bytes = state.bytes.saturating_sub(copy.size_bytes);
        if let Err(error) = std::fs::remove_file(&copy.path) {
            tracing::debug!(path = %copy.path.display(), %error, "a plain copy was not removed");
        }
    }
}

impl Copy {
    /// The pieces that hold bytes `range`, cut to it.
    fn read(&self, range: Range<u64>) -> std::io::Result<Bytes> {
        let start = range.start / PIECE_BYTES * PIECE_BYTES;
        let end = (range.end.div_ceil(PIECE_BYTES) * PIECE_BYTES).min(self.size_bytes);
        let mut data = vec![0; (end - start) as usize];
        read_at(&self.file, start, &mut data)?;
        for (piece, bytes) in data.chunks(PIECE_BYTES as usize).enumerate() {
            let number = (start / PIECE_BYTES) as usize + piece;
            if self.pieces.get(number) != Some(&crc_fast::crc32_iscsi(bytes)) {
                return Err(std::io::Error::other("a checksum is wrong"));
            }
        }
        Ok(Bytes::from(data).slice((range.start - start) as usize..(range.end - start) as usize))
    }
}

#[cfg(unix)]
fn read_at(file: &File, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_at(file: &File, mut offset: u64, mut buffer: &mut [u8]) -> std::io::Result<()> {
    while !buffer.is_empty() {
        let read = std::os::windows::fs::FileExt::seek_read(file, buffer, offset)?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        offset += read as u64;
        buffer = buffer.split_at_mut(read).1;
    }
    Ok(())
}

impl Store {
    /// Whether bytes of this content may come from a plain copy; notes that they are wanted, and makes one when they are
    /// wanted often.
    pub(super) fn is_hot(&self, content: &Content, range: &Range<u64>) -> bool {
        let Some(hot) = self.hot() else { return false };
        if hot.copy(&content.record.sha256).is_some() {
            return true;
        }
        if hot.warm(content, range.end.saturating_sub(range.start)) {
            let (store, content) = (self.clone(), content.clone());
            tokio::spawn(async move {
                let sha256 = content.record.sha256;
                if let Err(error) = store.copy_out(&content).await {
                    tracing::warn!(%sha256, %error, "no plain copy was made");
                }
                if let Some(hot) = store.hot() {
                    hot.state().making.remove(&sha256);
                }
            });
        }
        false
    }

    /// Bytes of a plain copy, if there is one and it is right.
    pub(super) async fn read_hot(&self, sha256: &Sha256, range: Range<u64>) -> Option<Bytes> {
        let hot = self.hot()?;
        let copy = hot.copy(sha256).filter(|copy| range.start <= range.end && range.end <= copy.size_bytes)?;
        match blocking(move || copy.read(range)).await.ok()? {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                tracing::warn!(%sha256, %error, "a plain copy is damaged; the bytes come from their pack");
                hot.drop_copy(sha256);
                None
            }
        }
    }

    /// Makes a plain copy.
    async fn copy_out(&self, content: &Content) -> Result<(), StoreError> {
        let Some(hot) = self.hot() else { return Ok(()) };
        let (sha256, size_bytes) = (content.record.sha256, content.record.size_bytes);
        let path = hot.folder.join(sha256.to_string());
        let shown = path.display().to_string();
        let failed = |what: &'static str| StoreError::storage(what, &shown);
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .map_err(failed("creating"))?;
        let written: Result<(File, Vec<u32>), StoreError> = async {
            let mut bytes = self.read_packed(content, 0..size_bytes);
            let mut digest = sha2::Sha256::new();
            let mut pieces = Pieces::default();
            while let Some(part) = bytes.try_next().await? {
                digest.update(&part);
                pieces.push(&part);
                file = blocking(move || file.write_all(&part).map(|()| file)).await?.map_err(failed("writing"))?;
            }
            let found = Sha256(digest.finalize().into());
            if found != sha256 {
                return Err(StoreError::Corrupt {
                    what: format!("content {sha256}"),
                    detail: format!("its bytes have the SHA-256 {found}"),
                });
            }
            Ok((file, pieces.finish()))
        }
        .await;
        match written {
            Ok((file, pieces)) => {
                let used = AtomicU64::new(hot.clock.fetch_add(1, Ordering::Relaxed));
                hot.keep(sha256, Copy { path, file, size_bytes, pieces, used });
                Ok(())
            }
            Err(error) => {
                // What is left of it is found when the folder is opened again.
                let _ = std::fs::remove_file(&path);
                Err(error)
            }
        }
    }
}

/// Checksums of pieces, over parts of any length.
#[derive(Default)]
struct Pieces {
    done: Vec<u32>,
    open: Vec<u8>,
}

impl Pieces {
    fn push(&mut self, mut part: &[u8]) {
        while !part.is_empty() {
            let room = PIECE_BYTES as usize - self.open.len();
            let (now, later) = part.split_at(room.min(part.len()));
            self.open.extend_from_slice(now);
            part = later;
            if self.open.len() == PIECE_BYTES as usize {
                self.done.push(crc_fast::crc32_iscsi(&self.open));
                self.open.clear();
            }
        }
    }

    fn finish(mut self) -> Vec<u32> {
        if !self.open.is_empty() {
            self.done.push(crc_fast::crc32_iscsi(&self.open));
        }
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{noise, read, room, take_in};
    use super::*;

    async fn warm(store: &Store, content: &Content) {
        let size = content.record.size_bytes;
        for _ in 0..3 {
            read(store, content, 0..size).await.unwrap();
        }
        for _ in 0..500 {
            if store.hot().unwrap().copy(&content.record.sha256).is_some() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("no copy was made");
    }

    #[tokio::test]
    async fn what_is_read_often_is_served_from_a_copy_that_is_checked() {
        let room = room().await;
        let folder = room.folder.path().join("hot");
        let store = room.store.clone().with_hot(&folder, 10 << 20).unwrap();
        let data = noise(31, 3_000_001);
        let content = take_in(&store, &data, 1 << 20).await;
        warm(&store, &content).await;
        let len = data.len() as u64;
        for range in [0..len, 0..1, len - 1..len, 262_143..262_145, 5..2_000_000] {
            assert!(
                read(&store, &content, range.clone()).await.unwrap() == data[range.start as usize..range.end as usize]
            );
        }
        // A copy that was touched is dropped, and the bytes are right all the same.
        let path = folder.join(content.record.sha256.to_string());
        let mut bad = std::fs::read(&path).unwrap();
        bad[1_000_000] ^= 1;
        std::fs::write(&path, bad).unwrap();
        assert!(read(&store, &content, 0..len).await.unwrap() == data);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn copies_stay_below_their_limit_and_those_used_last_stay() {
        let room = room().await;
        let folder = room.folder.path().join("hot");
        let store = room.store.clone().with_hot(&folder, 5_000_000).unwrap();
        let mut contents = Vec::new();
        for seed in 40..43 {
            contents.push(take_in(&store, &noise(seed, 2_000_000), 1 << 20).await);
        }
        let huge = take_in(&store, &noise(44, 6_000_000), 1 << 20).await;
        warm(&store, &contents[0]).await;
        warm(&store, &contents[1]).await;
        read(&store, &contents[0], 0..10).await.unwrap();
        warm(&store, &contents[2]).await;
        for _ in 0..4 {
            read(&store, &huge, 0..6_000_000).await.unwrap();
        }
        let there = |content: &Content| store.hot().unwrap().copy(&content.record.sha256).is_some();
        assert_eq!([&contents[0], &contents[1], &contents[2], &huge].map(there), [true, false, true, false]);
        // Another start begins without any.
        Hot::open(&folder, 1).unwrap();
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    }
}
