//! The two halves of a Xet content-addressed store: xorbs and shards in, reconstructions and dedup answers out.
//!
//! Nothing a client says is believed: chunk hashes, xorb hashes, range hashes, file hashes and SHA-256 are all
//! computed here before a file can be served.

mod windows;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, TryStreamExt};
use sha2::Digest;
use weighthouse_format::Limits;
use weighthouse_format::xet::hash::{HashTree, XetHash};
use weighthouse_format::xet::shard::{DedupOptions, Shard, ShardChunk, ShardFile, ShardXorb, Term, write_dedup};
use weighthouse_store::Store;
use weighthouse_store::blob::{ByteStream, Place, ReceivedXorb};
use weighthouse_store::catalog::{Content, ContentRecord};
use weighthouse_store::digest::Sha256;

use crate::access::{Caller, Repo};
use crate::upload::UploadGrant;
use crate::{Error, Hub};

pub use weighthouse_store::catalog::PackId;
pub use windows::ChunkWindows;

/// Bytes gathered from the network before they are verified.
const GATHER_BYTES: usize = 1 << 20;
/// Xorbs that one dedup answer lists: 1 GiB of raw bytes at most.
const ANSWER_XORBS: usize = 16;
/// How long clients may use a dedup answer, in seconds.
const ANSWER_LIFETIME_S: u64 = 24 * 3600;

/// A file as a client is to put it together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconstruction {
    /// Raw bytes of the first term to skip.
    pub offset_into_first_term: u64,
    /// Chunk ranges in file order.
    pub terms: Vec<Term>,
    /// What to fetch of each xorb.
    pub fetches: BTreeMap<XetHash, Fetches>,
}

/// What to fetch of one xorb.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetches {
    /// Where the xorb lay when this was found out: the ranges below hold there, also after it has moved.
    pub pack: PackId,
    /// Ranges that neither overlap nor touch.
    pub runs: Vec<Fetch>,
}

/// A run of chunks of one xorb.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// Chunk indices.
    pub chunks: Range<u32>,
    /// Stored bytes in the xorb's body.
    pub bytes: Range<u64>,
}

/// How far the verification of a shard has come, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Verified.
    pub done_bytes: u64,
    /// In all.
    pub total_bytes: u64,
}

/// A xorb whose bytes may be sent.
#[derive(Debug)]
pub struct Fetchable {
    store: Store,
    place: Arc<Place>,
}

impl Fetchable {
    /// Length of its body in bytes.
    #[must_use]
    pub fn body_len(&self) -> u64 {
        self.place.listing.body_len.into()
    }

    /// Streams a range of its body.
    ///
    /// # Errors
    /// [`Error::RangeNotSatisfiable`] when the range is empty or leaves the body.
    pub fn stream(&self, range: Range<u64>) -> Result<ByteStream, Error> {
        if range.start >= range.end || range.end > self.body_len() {
            return Err(Error::RangeNotSatisfiable { size_bytes: self.body_len() });
        }
        Ok(self.store.body_stream(Arc::clone(&self.place), range))
    }
}

impl Hub {
    /// Takes in a xorb for a repository. Returns whether it was new.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the bytes are not the xorb they are called; nothing of them stays then.
    pub async fn put_xorb<S, E>(&self, caller: &Caller, repo: &Repo, hash: XetHash, body: S) -> Result<bool, Error>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
        E: std::fmt::Display,
    {
        self.put_granted_xorb(&self.upload_grant(caller, repo)?, hash, body).await
    }

    /// What an address must prove so that its bearer may upload to a repository.
    pub fn upload_grant(&self, caller: &Caller, repo: &Repo) -> Result<UploadGrant, Error> {
        repo.require_write(caller, "upload")?;
        let account = caller.require_write("upload")?;
        Ok(UploadGrant { repo: repo.record.key.clone(), account: account.id.clone() })
    }

    /// The same as [`Hub::put_xorb`] for the bearer of a signed address.
    pub async fn put_granted_xorb<S, E>(&self, grant: &UploadGrant, hash: XetHash, mut body: S) -> Result<bool, Error>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
        E: std::fmt::Display,
    {
        let mut xorb = ReceivedXorb::begin(self.store(), hash).await?;
        let taken: Result<(), Error> = async {
            let mut gathered = BytesMut::with_capacity(GATHER_BYTES);
            while let Some(piece) = body.next().await {
                let piece = piece.map_err(|e| Error::Malformed(format!("the upload broke off: {e}")))?;
                gathered.extend_from_slice(&piece);
                if gathered.len() >= GATHER_BYTES {
                    xorb.push(gathered.split().freeze()).await?;
                    gathered.reserve(GATHER_BYTES);
                }
            }
            Ok(xorb.push(gathered.freeze()).await?)
        }
        .await;
        if let Err(error) = taken {
            xorb.abort().await;
            return Err(error);
        }
        Ok(xorb.finish(&grant.repo, &grant.account).await?)
    }

    /// Verifies a shard and registers its files for a repository. Returns whether any of them was new.
    ///
    /// # Errors
    /// [`Error::Malformed`] when it names xorbs that are not stored or that the caller never had, or when any length
    /// or hash in it is wrong.
    pub async fn put_shard(
        &self,
        caller: &Caller,
        repo: &Repo,
        bytes: Bytes,
        progress: impl Fn(Progress) + Send,
    ) -> Result<bool, Error> {
        repo.require_write(caller, "upload")?;
        let account = caller.require_write("upload")?;
        let shard = tokio::task::spawn_blocking(move || Shard::parse(&bytes, &Limits::default()))
            .await
            .map_err(|e| weighthouse_store::StoreError::Task(e.to_string()))??;
        let used: BTreeSet<XetHash> = shard.files.iter().flat_map(|f| f.terms.iter().map(|t| t.xorb)).collect();
        let used: Vec<XetHash> = used.into_iter().collect();
        self.check_held(caller, &used).await?;
        for xorb in &shard.xorbs {
            self.check_listing(xorb).await?;
        }
        let total_bytes = shard.file_bytes();
        let mut done_bytes = 0;
        let mut contents = Vec::new();
        let mut firsts = Vec::new();
        let mut new = false;
        for file in &shard.files {
            progress(Progress { done_bytes, total_bytes });
            if file.terms.is_empty() {
                continue;
            }
            let (first, size_bytes) = self.check_file(file).await?;
            firsts.extend(file.terms.first().map(|term| (first, term.xorb)));
            let content = match self.catalog().contents().by_file_hash(&file.file_hash).await? {
                Some(known) => known,
                None => {
                    new = true;
                    let record = ContentRecord { sha256: Sha256([0; 32]), size_bytes, file_hash: file.file_hash };
                    let mut content = Content { record, terms: file.terms.clone() };
                    let report = |bytes| progress(Progress { done_bytes: done_bytes + bytes, total_bytes });
                    content.record.sha256 = self.digest(&content, report).await?;
                    content
                }
            };
            if let Some(claimed) = file.sha256
                && claimed != content.record.sha256.0
            {
                return Err(Error::Mismatch {
                    what: "SHA-256 of a file in the shard",
                    expected: Sha256(claimed).to_string(),
                    actual: content.record.sha256.to_string(),
                });
            }
            done_bytes += size_bytes;
            contents.push(content);
        }
        progress(Progress { done_bytes, total_bytes });
        let packs = self.catalog().packs();
        packs.add_dedup(&firsts).await?;
        packs.hold(&used, &repo.record.key, &account.id).await?;
        self.catalog().contents().add(&repo.record.key, &contents, self.now_ms()).await?;
        Ok(new)
    }

    /// Plan for putting bytes `range` of a file together.
    ///
    /// - `range`: first byte and last byte, inclusive; the last may lie beyond the end
    ///
    /// # Errors
    /// [`Error::NotFound`] for a file that this repository was not given; [`Error::RangeNotSatisfiable`];
    /// [`Error::Blocked`] when a policy keeps it from the caller.
    pub async fn reconstruction(
        &self,
        caller: &Caller,
        repo: &Repo,
        file: &XetHash,
        range: Option<(u64, Option<u64>)>,
    ) -> Result<Reconstruction, Error> {
        let content = self.content_of(repo, file).await?;
        let size_bytes = content.record.size_bytes;
        self.pass_content(caller, repo, &content.record.sha256, size_bytes).await?;
        let (start, last) = range.unwrap_or((0, None));
        let end = last.map_or(size_bytes, |last| last.saturating_add(1)).min(size_bytes);
        if start >= end {
            return Err(Error::RangeNotSatisfiable { size_bytes });
        }
        let (mut first_offset, mut terms) = (0, Vec::new());
        let mut wanted: BTreeMap<XetHash, Vec<Fetch>> = BTreeMap::new();
        let mut position = 0;
        for term in &content.terms {
            let from = position;
            position += u64::from(term.unpacked_bytes);
            if position <= start {
                continue;
            }
            if from >= end {
                break;
            }
            let place = self.place(&term.xorb).await?;
            let (trimmed, skipped) = trim(term, &place, start.saturating_sub(from), end - from)?;
            if terms.is_empty() {
                first_offset = start.saturating_sub(from + skipped);
            }
            terms.push(trimmed);
            wanted.entry(term.xorb).or_default().push(Fetch { chunks: trimmed.start..trimmed.end, bytes: 0..0 });
        }
        let mut fetches = BTreeMap::new();
        for (xorb, mut runs) in wanted {
            merge(&mut runs);
            let place = self.place(&xorb).await?;
            for fetch in &mut runs {
                let bytes = place.listing.body_range(fetch.chunks.clone()).ok_or_else(|| out_of_bounds(&xorb))?;
                fetch.bytes = u64::from(bytes.start)..u64::from(bytes.end);
            }
            fetches.insert(xorb, Fetches { pack: place.record.pack.clone(), runs });
        }
        Ok(Reconstruction { offset_into_first_term: first_offset, terms, fetches })
    }

    /// A xorb as it lies, or lay, in a pack. The caller has been shown the way by a reconstruction.
    pub async fn fetchable(&self, xorb: &XetHash, pack: &PackId) -> Result<Fetchable, Error> {
        let place = self.store().place_in(xorb, pack).await?;
        let gone = || Error::NotFound { what: "address of stored bytes", name: format!("{xorb} in {pack}") };
        Ok(Fetchable { store: self.store().clone(), place: place.ok_or_else(gone)? })
    }

    /// Length of a xorb's body in bytes, if it is stored and the caller may read it.
    pub async fn xorb_len(&self, caller: &Caller, xorb: &XetHash) -> Result<Option<u64>, Error> {
        let seen = self.catalog().repos().visible_xorbs(&[xorb.to_string()], &caller.viewer()).await?;
        if seen.is_empty() {
            return Ok(None);
        }
        Ok(self.store().place(xorb).await?.map(|place| place.listing.body_len.into()))
    }

    /// Answer to "do you have this chunk?": a shard that lists xorbs which the caller may read and which hold the
    /// chunk or follow those that do. Chunk hashes in it are keyed.
    pub async fn dedup_answer(&self, caller: &Caller, chunk: &XetHash) -> Result<Option<Vec<u8>>, Error> {
        let packs = self.catalog().packs();
        let found = packs.with_chunks(std::slice::from_ref(chunk)).await?;
        let mut queue: VecDeque<XetHash> = found.into_iter().map(|record| record.hash).collect();
        let mut seen: BTreeSet<XetHash> = queue.iter().copied().collect();
        let mut xorbs = Vec::new();
        while let Some(hash) = queue.pop_front() {
            if xorbs.len() >= ANSWER_XORBS {
                break;
            }
            let text = [hash.to_string()];
            if self.catalog().repos().visible_xorbs(&text, &caller.viewer()).await?.is_empty() {
                continue;
            }
            xorbs.push(listed(&*self.place(&hash).await?));
            for next in packs.successors(&hash).await? {
                if seen.insert(next) {
                    queue.push_back(next);
                }
            }
        }
        if xorbs.is_empty() {
            return Ok(None);
        }
        let now_s = u64::try_from(self.now_ms() / 1_000).unwrap_or(0);
        let mut options = DedupOptions::default();
        options.hmac_key = Some(self.key(&format!("dedup {}", now_s / (7 * ANSWER_LIFETIME_S))));
        options.created_s = now_s;
        options.expires_s = now_s + ANSWER_LIFETIME_S;
        Ok(Some(write_dedup(&xorbs, &options)?))
    }

    /// Content of a file that a repository was given; the answer is the same for one that it was not and for one that
    /// does not exist.
    async fn content_of(&self, repo: &Repo, file: &XetHash) -> Result<Content, Error> {
        let missing = || Error::NotFound { what: "file", name: file.to_string() };
        let content = self.catalog().contents().by_file_hash(file).await?.ok_or_else(missing)?;
        if !self.catalog().contents().given(&repo.record.key, &content.record.sha256).await? {
            return Err(missing());
        }
        Ok(content)
    }

    async fn place(&self, xorb: &XetHash) -> Result<Arc<Place>, Error> {
        let place = self.store().place(xorb).await?;
        place.ok_or_else(|| Error::Malformed(format!("xorb {xorb} is not stored here: upload it first")))
    }

    /// Fails unless the caller uploaded each xorb or may read it. The answer is the same for one that does not exist.
    async fn check_held(&self, caller: &Caller, xorbs: &[XetHash]) -> Result<(), Error> {
        let names: Vec<String> = xorbs.iter().map(ToString::to_string).collect();
        let visible: BTreeSet<String> =
            self.catalog().repos().visible_xorbs(&names, &caller.viewer()).await?.into_iter().collect();
        for name in &names {
            if !visible.contains(name) {
                return Err(Error::Malformed(format!("xorb {name} is not stored here: upload it first")));
            }
        }
        Ok(())
    }

    /// Fails unless a listing says of a stored xorb what its bytes say.
    async fn check_listing(&self, claimed: &ShardXorb) -> Result<(), Error> {
        let place = self.place(&claimed.hash).await?;
        let stored = &place.listing.chunks;
        let same = stored.len() == claimed.chunks.len()
            && stored.iter().zip(&claimed.chunks).all(|(a, b)| a.hash == b.hash && a.raw_len == b.raw_len);
        if !same {
            return Err(Error::Malformed(format!(
                "the shard's list of xorb {} is not what was uploaded",
                claimed.hash
            )));
        }
        Ok(())
    }

    /// Recomputes every length and hash of a file entry. Returns the first chunk and the size in bytes.
    async fn check_file(&self, file: &ShardFile) -> Result<(XetHash, u64), Error> {
        let wrong = |what: &str| Error::Malformed(format!("file {} in the shard: {what}", file.file_hash));
        let mut tree = HashTree::new();
        let (mut first, mut size_bytes) = (None, 0u64);
        // Terms of one file come back to few xorbs again and again.
        let mut places: HashMap<XetHash, Arc<Place>> = HashMap::new();
        for (i, term) in file.terms.iter().enumerate() {
            let place = match places.get(&term.xorb) {
                Some(place) => Arc::clone(place),
                None => {
                    let place = self.place(&term.xorb).await?;
                    if places.len() >= 64 {
                        places.clear();
                    }
                    places.insert(term.xorb, Arc::clone(&place));
                    place
                }
            };
            let chunks = place.listing.chunks(term.start..term.end).ok_or_else(|| wrong("a term leaves its xorb"))?;
            let mut len = 0u64;
            for chunk in chunks {
                first.get_or_insert(chunk.hash);
                tree.push(chunk.hash, chunk.raw_len.into());
                len += u64::from(chunk.raw_len);
            }
            if len != u64::from(term.unpacked_bytes) {
                return Err(wrong("a term has the wrong length"));
            }
            let claimed = file.range_hashes.as_ref().and_then(|hashes| hashes.get(i));
            if claimed.is_some_and(|claimed| place.listing.range_hash(term.start..term.end).as_ref() != Some(claimed)) {
                return Err(wrong("a range hash is wrong"));
            }
            size_bytes += len;
        }
        if tree.file_hash() != file.file_hash {
            return Err(wrong("its chunks have another file hash"));
        }
        if size_bytes > self.options().max_file_bytes {
            return Err(Error::TooLarge { what: "file".to_owned(), limit_bytes: self.options().max_file_bytes });
        }
        Ok((first.ok_or_else(|| wrong("it has no chunks"))?, size_bytes))
    }

    async fn digest(&self, content: &Content, report: impl Fn(u64)) -> Result<Sha256, Error> {
        let mut hasher = sha2::Sha256::new();
        let mut stream = self.store().read(content, 0..content.record.size_bytes).chunks(16);
        let mut done = 0;
        while let Some(pieces) = stream.next().await {
            let pieces: Vec<Bytes> = futures::stream::iter(pieces).try_collect().await?;
            done += pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
            hasher = tokio::task::spawn_blocking(move || {
                pieces.iter().for_each(|piece| hasher.update(piece));
                hasher
            })
            .await
            .map_err(|e| weighthouse_store::StoreError::Task(e.to_string()))?;
            report(done);
        }
        Ok(Sha256(hasher.finalize().into()))
    }
}

/// Narrows a term to the chunks that hold raw bytes `from..to` of it. Returns how many raw bytes were cut in front.
fn trim(term: &Term, place: &Place, from: u64, to: u64) -> Result<(Term, u64), Error> {
    let chunks = place.listing.chunks(term.start..term.end).ok_or_else(|| out_of_bounds(&term.xorb))?;
    let mut trimmed = Term { start: term.start, end: term.start, unpacked_bytes: 0, xorb: term.xorb };
    let (mut position, mut skipped) = (0u64, 0u64);
    for chunk in chunks {
        let len = u64::from(chunk.raw_len);
        if position + len <= from {
            trimmed.start += 1;
            trimmed.end += 1;
            skipped += len;
        } else if position < to {
            trimmed.end += 1;
            trimmed.unpacked_bytes += chunk.raw_len;
        }
        position += len;
    }
    Ok((trimmed, skipped))
}

/// Sorts runs of chunks and joins those that overlap or touch.
fn merge(fetches: &mut Vec<Fetch>) {
    fetches.sort_by_key(|fetch| fetch.chunks.start);
    fetches.dedup_by(|next, last| {
        let joined = next.chunks.start <= last.chunks.end;
        if joined {
            last.chunks.end = last.chunks.end.max(next.chunks.end);
        }
        joined
    });
}

fn listed(place: &Place) -> ShardXorb {
    let mut offset = 0;
    let chunks = place.listing.chunks.iter().map(|chunk| {
        let at = offset;
        offset += chunk.raw_len;
        ShardChunk {
            hash: chunk.hash,
            offset: at,
            raw_len: chunk.raw_len,
            dedup_candidate: chunk.hash.is_global_dedup_eligible(),
        }
    });
    ShardXorb {
        hash: place.listing.hash,
        chunks: chunks.collect(),
        raw_bytes: place.listing.raw_len,
        stored_bytes: place.listing.body_len,
    }
}

fn out_of_bounds(xorb: &XetHash) -> Error {
    Error::Store(weighthouse_store::StoreError::Corrupt {
        what: format!("xorb {xorb}"),
        detail: "a file names chunks beyond its end".to_owned(),
    })
}
