//! Taking in plain bytes: cut into chunks, looked up, and only the new ones stored.
//!
//! Files that arrive by Git LFS or inside a commit are cut exactly as Xet clients cut theirs, so identical content is
//! stored once whatever road it took. Nothing is visible before [`Ingest::finish`].

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use sha2::Digest;
use weighthouse_format::xet::chunker::Chunker;
use weighthouse_format::xet::hash::{HashTree, XetHash, chunk_hash};
use weighthouse_format::xet::shard::Term;
use weighthouse_format::xet::xorb::XorbBuilder;

use super::pack::PackWriter;
use crate::Store;
use crate::catalog::{Content, ContentRecord, RepoKey};
use crate::digest::Sha256;
use crate::error::StoreError;

/// Raw bytes gathered before they are looked up and stored together.
const BATCH_BYTES: usize = 1 << 20;
/// Chunks gathered likewise; files can be tiny.
const BATCH_CHUNKS: usize = 1_000;
/// Known chunks remembered, about 80 bytes each.
const KNOWN_CHUNKS: usize = 200_000;
/// Below this a hop to the pool of blocking threads costs more than the work.
const INLINE_BYTES: usize = 64 << 10;

/// A file that has been taken in but not recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IngestedFile {
    /// Digest of its bytes.
    pub sha256: Sha256,
    /// Length in bytes.
    pub size_bytes: u64,
}

/// Takes in any number of files, one after the other, into one pack.
#[derive(Debug)]
pub struct Ingest {
    store: Store,
    cutter: Option<Box<Cutter>>,
    pending: Vec<Pending>,
    pending_bytes: usize,
    files: Vec<File>,
    /// Where a chunk is known to lie.
    known: HashMap<XetHash, (Xorb, u32)>,
    writer: Option<PackWriter>,
    builder: Option<Box<XorbBuilder>>,
    /// Chunks of the xorb being built that begin a file.
    firsts: Vec<u32>,
    /// Hashes of the xorbs built so far.
    built: Vec<XetHash>,
}

/// A xorb on record, or one that this ingest builds (by its number).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Xorb {
    Stored(XetHash),
    Own(usize),
}

#[derive(Debug)]
struct Pending {
    file: usize,
    hash: XetHash,
    raw: Bytes,
}

#[derive(Debug, Default)]
struct File {
    tree: HashTree,
    size_bytes: u64,
    sha256: Option<Sha256>,
    terms: Vec<(Xorb, Term)>,
}

/// The part that only computes.
#[derive(Debug, Default)]
struct Cutter {
    chunker: Chunker,
    /// Beginning of a chunk whose end has not arrived.
    tail: BytesMut,
    sha256: sha2::Sha256,
}

impl Cutter {
    fn feed(&mut self, mut data: Bytes) -> Vec<(XetHash, Bytes)> {
        self.sha256.update(&data);
        let mut chunks = Vec::new();
        while let Some(len) = self.chunker.next_boundary(&data) {
            let mut chunk = data.split_to(len);
            if !self.tail.is_empty() {
                self.tail.extend_from_slice(&chunk);
                chunk = self.tail.split().freeze();
            }
            chunks.push((chunk_hash(&chunk), chunk));
        }
        self.tail.extend_from_slice(&data);
        chunks
    }

    fn end(&mut self) -> (Option<(XetHash, Bytes)>, Sha256) {
        let last = self.chunker.finish().map(|_| {
            let chunk = self.tail.split().freeze();
            (chunk_hash(&chunk), chunk)
        });
        (last, Sha256(self.sha256.finalize_reset().into()))
    }
}

impl Ingest {
    /// Begins without any file.
    pub fn new(store: &Store) -> Self {
        Self {
            store: store.clone(),
            cutter: Some(Box::default()),
            pending: Vec::new(),
            pending_bytes: 0,
            files: vec![File::default()],
            known: HashMap::new(),
            writer: None,
            builder: None,
            firsts: Vec::new(),
            built: Vec::new(),
        }
    }

    /// Takes the next bytes of the present file.
    pub async fn push(&mut self, data: Bytes) -> Result<(), StoreError> {
        let mut cutter = self.cutter.take().ok_or_else(broken)?;
        let (cutter, chunks) = if data.len() < INLINE_BYTES {
            let chunks = cutter.feed(data);
            (cutter, chunks)
        } else {
            blocking(move || {
                let chunks = cutter.feed(data);
                (cutter, chunks)
            })
            .await?
        };
        self.cutter = Some(cutter);
        for (hash, raw) in chunks {
            self.take(hash, raw);
        }
        if self.pending_bytes >= BATCH_BYTES || self.pending.len() >= BATCH_CHUNKS {
            self.flush().await?;
        }
        Ok(())
    }

    /// Ends the present file and begins the next.
    pub async fn end_file(&mut self) -> Result<IngestedFile, StoreError> {
        let (last, sha256) = self.cutter.as_mut().ok_or_else(broken)?.end();
        if let Some((hash, raw)) = last {
            self.take(hash, raw);
        }
        if self.pending_bytes >= BATCH_BYTES || self.pending.len() >= BATCH_CHUNKS {
            self.flush().await?;
        }
        let file = self.files.last_mut().ok_or_else(broken)?;
        file.sha256 = Some(sha256);
        let ended = IngestedFile { sha256, size_bytes: file.size_bytes };
        self.files.push(File::default());
        Ok(ended)
    }

    /// Stores what is new and records all ended files as given to `repo` by `account`.
    pub async fn finish(mut self, repo: &RepoKey, account: &str) -> Result<Vec<Content>, StoreError> {
        let contents = self.seal().await?;
        let mut xorbs: Vec<XetHash> = contents.iter().flat_map(|c| c.terms.iter().map(|t| t.xorb)).collect();
        xorbs.sort_unstable();
        xorbs.dedup();
        self.store.catalog().packs().hold(&xorbs, repo, account).await?;
        self.store.catalog().contents().add(repo, &contents, self.store.clock().now_ms()).await?;
        Ok(contents)
    }

    /// Stores what is new and records all ended files as given to no repository and held by nobody: something else on
    /// record must name them.
    pub async fn finish_apart(mut self) -> Result<Vec<Content>, StoreError> {
        let contents = self.seal().await?;
        self.store.catalog().contents().add_apart(&contents).await?;
        Ok(contents)
    }

    /// Stores what is new, and says what the ended files are made of.
    async fn seal(&mut self) -> Result<Vec<Content>, StoreError> {
        if let Err(error) = self.store_rest().await {
            self.drop_pack().await;
            return Err(error);
        }
        if let Some(writer) = self.writer.take() {
            writer.finish(&self.store).await?;
        }
        let mut contents = Vec::with_capacity(self.files.len());
        for file in std::mem::take(&mut self.files) {
            let Some(sha256) = file.sha256 else { continue };
            let name = |xorb| match xorb {
                Xorb::Stored(hash) => Some(hash),
                Xorb::Own(number) => self.built.get(number).copied(),
            };
            let mut terms = Vec::with_capacity(file.terms.len());
            for (xorb, term) in file.terms {
                terms.push(Term { xorb: name(xorb).ok_or_else(broken)?, ..term });
            }
            let record = ContentRecord { sha256, size_bytes: file.size_bytes, file_hash: file.tree.file_hash() };
            contents.push(Content { record, terms });
        }
        Ok(contents)
    }

    /// Gives everything up; nothing of it stays.
    pub async fn abort(mut self) {
        self.drop_pack().await;
    }

    async fn drop_pack(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.abort(&self.store).await;
        }
    }

    fn take(&mut self, hash: XetHash, raw: Bytes) {
        let file = self.files.len() - 1;
        if let Some(open) = self.files.last_mut() {
            open.size_bytes += raw.len() as u64;
            open.tree.push(hash, raw.len() as u64);
        }
        self.pending_bytes += raw.len();
        self.pending.push(Pending { file, hash, raw });
    }

    async fn store_rest(&mut self) -> Result<(), StoreError> {
        self.flush().await?;
        self.end_xorb().await
    }

    /// Looks the gathered chunks up, stores the new ones, and notes where each lies.
    async fn flush(&mut self) -> Result<(), StoreError> {
        let pending = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        let mut unknown: Vec<XetHash> =
            pending.iter().map(|p| p.hash).filter(|hash| !self.known.contains_key(hash)).collect();
        unknown.sort_unstable();
        unknown.dedup();
        if self.known.len() > KNOWN_CHUNKS {
            let own = |_: &XetHash, place: &mut (Xorb, u32)| place.0 == Xorb::Own(self.built.len());
            self.known.retain(own);
        }
        for record in self.store.catalog().packs().with_chunks(&unknown).await? {
            let place = self.store.load_place(record).await?;
            for (i, chunk) in place.listing.chunks.iter().enumerate() {
                self.known.entry(chunk.hash).or_insert((Xorb::Stored(place.record.hash), i as u32));
            }
        }
        for chunk in pending {
            let (xorb, at) = match self.known.get(&chunk.hash) {
                Some(&place) => place,
                None => self.store_chunk(&chunk).await?,
            };
            let len = chunk.raw.len() as u32;
            let file = self.files.get_mut(chunk.file).ok_or_else(broken)?;
            match file.terms.last_mut() {
                Some((last, term))
                    if *last == xorb && term.end == at && term.unpacked_bytes.checked_add(len).is_some() =>
                {
                    term.end += 1;
                    term.unpacked_bytes += len;
                }
                _ => {
                    let term = Term { xorb: XetHash::ZERO, unpacked_bytes: len, start: at, end: at + 1 };
                    file.terms.push((xorb, term));
                }
            }
        }
        self.write_body().await
    }

    async fn store_chunk(&mut self, chunk: &Pending) -> Result<(Xorb, u32), StoreError> {
        if self.builder.as_ref().is_some_and(|builder| !builder.fits(chunk.raw.len())) {
            self.end_xorb().await?;
        }
        let mut builder = self.builder.take().unwrap_or_default();
        let at = builder.chunks().len() as u32;
        let begins_file = self.files.get(chunk.file).is_some_and(|file| file.terms.is_empty());
        if begins_file {
            builder.start_file();
            self.firsts.push(at);
        }
        let (hash, raw) = (chunk.hash, chunk.raw.clone());
        let builder = if raw.len() < INLINE_BYTES / 8 {
            builder.push_hashed(hash, &raw)?;
            builder
        } else {
            blocking(move || builder.push_hashed(hash, &raw).map(|()| builder)).await??
        };
        self.builder = Some(builder);
        let place = (Xorb::Own(self.built.len()), at);
        self.known.insert(chunk.hash, place);
        Ok(place)
    }

    /// Hands the encoded bytes so far to the pack.
    async fn write_body(&mut self) -> Result<(), StoreError> {
        let Some(builder) = &mut self.builder else { return Ok(()) };
        let body = builder.drain();
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => self.writer.insert(PackWriter::begin(&self.store).await?),
        };
        writer.write(&body).await
    }

    async fn end_xorb(&mut self) -> Result<(), StoreError> {
        self.write_body().await?;
        if let (Some(builder), Some(writer)) = (self.builder.take(), &mut self.writer) {
            let xorb = builder.finish()?;
            self.built.push(xorb.listing.hash);
            writer.end_xorb(xorb.listing, &std::mem::take(&mut self.firsts));
        }
        Ok(())
    }
}

fn broken() -> StoreError {
    StoreError::Task("an upload went on after it had failed".to_owned())
}

pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(|e| StoreError::Task(e.to_string()))
}
