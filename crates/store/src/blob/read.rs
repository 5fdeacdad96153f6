//! Reading back: any byte range of a file as a stream, touching only the chunks it needs.

use std::collections::VecDeque;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use weighthouse_format::xet::shard::Term;
use weighthouse_format::xet::xorb::{CHUNK_HEADER_LEN, ChunkDecoder, ChunkHeader, Scheme, XorbChunk, XorbListing};

use super::index::Place;
use crate::Store;
use crate::catalog::Content;
use crate::error::StoreError;

/// A file's bytes, piece by piece.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, StoreError>> + Send>>;

/// Stored bytes that one read of the backend asks for, about.
const READ_BYTES: u32 = 1 << 20;

/// Reads under way for one stream: one being sent, one being fetched.
const READ_AHEAD: usize = 2;

/// Chunks of one xorb that lie together, and the part of their raw bytes that is wanted.
struct Segment {
    place: Arc<Place>,
    chunks: Range<usize>,
    /// Raw bytes to drop at the front, and to keep after that.
    skip: u64,
    take: u64,
}

/// What is left to read.
struct Plan {
    store: Store,
    terms: VecDeque<Term>,
    /// Raw bytes to drop before the first wanted one.
    skip: u64,
    /// Raw bytes still wanted.
    left: u64,
    /// Segments of the term at hand.
    ready: VecDeque<Segment>,
}

impl Store {
    /// Streams bytes `range` of a file, which must lie within it. Every checksum is compared.
    pub fn read(&self, content: &Content, range: Range<u64>) -> ByteStream {
        if self.is_hot(content, &range) { self.read_plain(content, range) } else { self.read_packed(content, range) }
    }

    /// Streams from a plain copy, and from the packs where that is not right.
    fn read_plain(&self, content: &Content, range: Range<u64>) -> ByteStream {
        let step = u64::from(READ_BYTES);
        let (store, content) = (self.clone(), Arc::new(content.clone()));
        let pieces = stream::iter((range.start..range.end).step_by(READ_BYTES as usize))
            .map(move |start| {
                let (store, content) = (store.clone(), Arc::clone(&content));
                let part = start..(start + step).min(range.end);
                async move {
                    match store.read_hot(&content.record.sha256, part.clone()).await {
                        Some(bytes) => Ok(bytes),
                        None => store.read_at_depth(&content, part, 0).await,
                    }
                }
            })
            .buffered(READ_AHEAD);
        Box::pin(pieces)
    }

    /// Streams from the packs.
    pub(super) fn read_packed(&self, content: &Content, range: Range<u64>) -> ByteStream {
        let plan = self.plan(content, range);
        let store = self.clone();
        let segments = stream::try_unfold(plan, |mut plan| async move {
            Ok::<_, StoreError>(plan.next().await?.map(|segment| (segment, plan)))
        });
        let pieces = segments
            .map(move |segment| {
                let store = store.clone();
                async move {
                    let segment = segment?;
                    // A task of its own: what is decoded next does not wait for what is being sent.
                    let fetched = tokio::spawn(async move { fetch(&store, segment, 0).await }).await;
                    fetched.unwrap_or_else(|error| Err(StoreError::Task(error.to_string())))
                }
            })
            .buffered(READ_AHEAD)
            .map_ok(|pieces| stream::iter(pieces.into_iter().map(Ok)))
            .try_flatten();
        Box::pin(pieces)
    }

    fn plan(&self, content: &Content, range: Range<u64>) -> Plan {
        Plan {
            store: self.clone(),
            terms: content.terms.iter().copied().collect(),
            skip: range.start,
            left: range.end.saturating_sub(range.start),
            ready: VecDeque::new(),
        }
    }

    /// Bytes `range` of a file at once, for a block that is coded against them.
    pub(super) async fn read_at_depth(
        &self,
        content: &Content,
        range: Range<u64>,
        depth: u64,
    ) -> Result<Bytes, StoreError> {
        let mut out = BytesMut::with_capacity((range.end - range.start) as usize);
        let mut plan = self.plan(content, range);
        while let Some(segment) = plan.next().await? {
            for piece in fetch(self, segment, depth).await? {
                out.extend_from_slice(&piece);
            }
        }
        Ok(out.freeze())
    }

    /// Streams bytes `range` of a xorb's body, which must lie within it: as they lie in its pack, or as they would if it
    /// was not coded.
    pub fn body_stream(&self, place: Arc<Place>, range: Range<u64>) -> ByteStream {
        let step = u64::from(READ_BYTES);
        let count = (range.end - range.start).div_ceil(step);
        let store = self.clone();
        let pieces = stream::iter(0..count)
            .map(move |i| {
                let (store, place) = (store.clone(), Arc::clone(&place));
                let start = range.start + i * step;
                let end = (start + step).min(range.end);
                async move { store.read_body(&place, start..end).await }
            })
            .buffered(READ_AHEAD);
        Box::pin(pieces)
    }

    /// Bytes `range` of a xorb's body: as they lie in its pack, or as they would if it was not coded.
    pub async fn read_body(&self, place: &Place, range: Range<u64>) -> Result<Bytes, StoreError> {
        match &place.blocks {
            Some(coded) => self.virtual_body(place, coded, range).await,
            None => self.read_stored(place, range).await,
        }
    }

    /// Stored bytes `range` of a xorb, as they lie in its pack.
    pub(super) async fn read_stored(&self, place: &Place, range: Range<u64>) -> Result<Bytes, StoreError> {
        let start = place.record.body_offset;
        self.blobs().read(&place.record.pack.key(), start + range.start..start + range.end).await
    }
}

impl Plan {
    async fn next(&mut self) -> Result<Option<Segment>, StoreError> {
        loop {
            if let Some(segment) = self.ready.pop_front() {
                return Ok(Some(segment));
            }
            if self.left == 0 {
                return Ok(None);
            }
            let term = self.terms.pop_front().ok_or_else(|| StoreError::Corrupt {
                what: "list of a file's chunks".to_owned(),
                detail: format!("{} bytes are missing at its end", self.left),
            })?;
            let len = u64::from(term.unpacked_bytes);
            if self.skip >= len {
                self.skip -= len;
                continue;
            }
            let place = self.store.place(&term.xorb).await?.ok_or_else(|| missing(&term))?;
            self.cut(&term, &place)?;
        }
    }

    /// Cuts a term into segments of about [`READ_BYTES`].
    fn cut(&mut self, term: &Term, place: &Arc<Place>) -> Result<(), StoreError> {
        let (start, end) = (term.start as usize, term.end as usize);
        let mut segment: Option<(Segment, u32)> = None;
        for i in start..end {
            let chunk = place.listing.chunks.get(i).ok_or_else(|| missing(term))?;
            let raw = u64::from(chunk.raw_len);
            if self.skip >= raw {
                self.skip -= raw;
                continue;
            }
            if self.left == 0 {
                break;
            }
            let take = (raw - self.skip).min(self.left);
            match &mut segment {
                Some((segment, stored)) if *stored + chunk.stored_len <= READ_BYTES => {
                    segment.chunks.end = i + 1;
                    segment.take += take;
                    *stored += chunk.stored_len;
                }
                _ => {
                    let next = Segment { place: Arc::clone(place), chunks: i..i + 1, skip: self.skip, take };
                    let full = segment.replace((next, chunk.stored_len));
                    self.ready.extend(full.map(|(segment, _)| segment));
                }
            }
            self.skip = 0;
            self.left -= take;
        }
        self.ready.extend(segment.map(|(segment, _)| segment));
        Ok(())
    }
}

fn missing(term: &Term) -> StoreError {
    StoreError::Corrupt {
        what: format!("xorb {}", term.xorb),
        detail: format!("chunks {}..{} of it are not on record", term.start, term.end),
    }
}

/// Reads a segment. A pack that is gone means that the xorb was coded anew some time ago, by another process perhaps.
async fn fetch(store: &Store, mut segment: Segment, depth: u64) -> Result<Vec<Bytes>, StoreError> {
    let error = match fetch_in(store, &segment, depth).await {
        Err(error @ (StoreError::Corrupt { .. } | StoreError::Storage { .. })) => error,
        fetched => return fetched,
    };
    match store.fresh_place(&segment.place.record.hash).await? {
        Some(place) if place.record.pack != segment.place.record.pack => {
            segment.place = place;
            fetch_in(store, &segment, depth).await
        }
        _ => Err(error),
    }
}

async fn fetch_in(store: &Store, segment: &Segment, depth: u64) -> Result<Vec<Bytes>, StoreError> {
    let raw = Raw { chunks: segment.chunks.clone(), skip: segment.skip, take: segment.take };
    store.read_chunks(&segment.place, raw, depth).await
}

/// Chunks of a xorb, and the part of their raw bytes that is wanted.
pub(super) struct Raw {
    pub chunks: Range<usize>,
    pub skip: u64,
    pub take: u64,
}

impl Raw {
    /// All bytes of these chunks.
    pub fn chunks(listing: &XorbListing, chunks: Range<usize>) -> Self {
        let listed = listing.chunks.get(chunks.clone()).unwrap_or_default();
        Self { chunks, skip: 0, take: listed.iter().map(|chunk| u64::from(chunk.raw_len)).sum() }
    }
}

impl Store {
    /// Raw bytes of chunks that lie together. Every checksum is compared.
    pub(super) async fn read_chunks(&self, place: &Place, raw: Raw, depth: u64) -> Result<Vec<Bytes>, StoreError> {
        let chunks = place.listing.chunks.get(raw.chunks.clone()).unwrap_or_default();
        let (Some(first), Some(last)) = (chunks.first(), chunks.last()) else { return Ok(Vec::new()) };
        if let Some(coded) = &place.blocks {
            let start = u64::from(first.offset) - (raw.chunks.start * CHUNK_HEADER_LEN) as u64 + raw.skip;
            return self.read_blocks(place, coded, start..start + raw.take, depth).await;
        }
        let base = u64::from(first.offset);
        let data = self.read_stored(place, base..u64::from(last.end())).await?;
        let (mut skip, mut take) = (raw.skip, raw.take);
        let mut pieces = Vec::with_capacity(chunks.len());
        let mut decoder = ChunkDecoder::new();
        for chunk in chunks {
            let at = (u64::from(chunk.offset) - base) as usize;
            let record = data.slice(at..at + chunk.stored_len as usize);
            let mut raw = raw_bytes(&mut decoder, place, chunk, record)?;
            let _ = raw.split_to(skip.min(raw.len() as u64) as usize);
            skip = 0;
            raw.truncate(usize::try_from(take).unwrap_or(usize::MAX));
            take -= raw.len() as u64;
            pieces.push(raw);
        }
        Ok(pieces)
    }
}

/// Checks one chunk record and decodes it; an uncompressed one is not copied.
fn raw_bytes(decoder: &mut ChunkDecoder, place: &Place, chunk: &XorbChunk, record: Bytes) -> Result<Bytes, StoreError> {
    let corrupt = |detail: String| StoreError::Corrupt {
        what: format!("chunk {} in pack {}", chunk.hash, place.record.pack),
        detail,
    };
    if crc_fast::crc32_iscsi(&record) != chunk.crc32c {
        return Err(corrupt("its checksum is wrong".to_owned()));
    }
    let head = *record.first_chunk::<CHUNK_HEADER_LEN>().ok_or_else(|| corrupt("it has no header".to_owned()))?;
    let header = ChunkHeader::parse(head).map_err(|e| corrupt(e.to_string()))?;
    let stored = record.slice(CHUNK_HEADER_LEN..);
    if header.scheme() == Scheme::None {
        return Ok(stored);
    }
    let mut raw = Vec::with_capacity(header.raw_len());
    decoder.decode(header, &stored, &mut raw).map_err(|e| corrupt(e.to_string()))?;
    Ok(raw.into())
}
