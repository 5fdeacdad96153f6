//! Large files: read once, cut, hashed, asked about, packed, sent, registered – all at the same time.
//!
//! ```text
//!  reader thread ─► hash, ask ×n ─► packer ─► xorbs ×n ─► shard ─► registered
//!       └─► SHA-256
//! ```
//! Memory: one xorb being filled and `parallel` on their way (32 MiB each), some blocks of 4 MiB in between, and the
//! index of known chunks; nothing grows with the size of the files but the runs they are made of.

use std::num::NonZero;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use weighthouse::Sha256;
use weighthouse::format::xet::hash::{XetHash, chunk_hash};
use weighthouse::format::xet::shard::{Shard, ShardFile, ShardXorb, Term};

use super::super::cas::Cas;
use super::super::error::ClientError;
use super::super::meter::Meter;
use super::blocking;
use super::index::{At, ChunkIndex};
use super::journal::{Journal, Known};
use super::pack::{Packer, Piece, Placed, Sealed, Tally};
use super::read::{ReadEvent, read_all};
use super::walk::LocalFile;

/// Length of a shard at which it is sent, in bytes.
const SHARD_TARGET: usize = 16 << 20;
/// Raw bytes of finished files at which they are registered while others are still read.
const REGISTER_BYTES: u64 = 4 << 30;
/// Length of a record in a shard.
const RECORD: usize = 48;
/// Dedup questions for one block of chunks.
const MAX_QUESTIONS: usize = 4;

/// What large files are sent with.
pub(super) struct Lane {
    pub(super) cas: Arc<Cas>,
    pub(super) journal: Journal,
    pub(super) meter: Meter,
    pub(super) now_ms: i64,
    /// Xorbs on their way at a time.
    pub(super) parallel: usize,
    /// Whether notes and answers about known chunks are used.
    pub(super) trust: bool,
}

/// What became of the files.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// Digest of each file, in order.
    pub(super) digests: Vec<Sha256>,
    pub(super) tally: Tally,
}

/// Chunks with their hashes, or the end of a file.
enum Prepared {
    Chunks(Vec<Piece>),
    End(Sha256),
}

impl Lane {
    /// Sends files so that a commit can name them by their SHA-256.
    ///
    /// # Errors
    /// [`ClientError::Forgotten`] when the hub refuses what notes or its own answers promised; without trust that
    /// cannot happen.
    pub(super) async fn send(self, files: Vec<LocalFile>) -> Result<Sent, ClientError> {
        let mut index = ChunkIndex::new();
        if self.trust {
            let journal = self.journal.clone();
            let lists = blocking(move || Ok(journal.xorbs(std::time::SystemTime::now(), super::index::MAX_CHUNKS / 2)));
            // Newest last, so that the oldest are forgotten first.
            lists.await?.into_iter().rev().for_each(|(xorb, chunks)| index.add_list(xorb, &chunks));
        }
        let index = Arc::new(Mutex::new(index));
        let (events, received) = mpsc::channel(2);
        let to_read = files.clone();
        let reader = tokio::task::spawn_blocking(move || read_all(&to_read, &events));
        let threads = std::thread::available_parallelism().map_or(2, NonZero::get).clamp(2, 8);
        let prepared = futures::stream::unfold(received, |mut received| async move {
            received.recv().await.map(|event| (event, received))
        });
        let (cas, trust) = (Arc::clone(&self.cas), self.trust);
        let prepared = prepared.map(|event| prepare(event, &cas, &index, trust)).buffered(threads);
        let mut prepared = std::pin::pin!(prepared);
        let mut session = Session::new(&self, &files, Arc::clone(&index));
        while let Some(next) = prepared.next().await {
            match next? {
                Prepared::Chunks(pieces) => session.take(pieces).await?,
                Prepared::End(sha256) => session.end_file(sha256).await?,
            }
        }
        reader.await.map_err(|error| ClientError::task(&error))?;
        session.finish().await
    }
}

/// Hashes chunks, and asks the hub about those that are worth a question.
async fn prepare(
    event: Result<ReadEvent, ClientError>,
    cas: &Cas,
    index: &Mutex<ChunkIndex>,
    trust: bool,
) -> Result<Prepared, ClientError> {
    let (data, ends, before) = match event? {
        ReadEvent::Chunks { data, ends, before } => (data, ends, before),
        ReadEvent::End { sha256 } => return Ok(Prepared::End(sha256)),
    };
    let (pieces, before) = blocking(move || {
        let mut start = 0;
        let pieces = ends.into_iter().map(|end| {
            let raw = data.slice(start..end);
            start = end;
            (chunk_hash(&raw), raw)
        });
        let before = before.map(|raw| (chunk_hash(&raw), raw.len()));
        Ok((pieces.collect::<Vec<Piece>>(), before))
    })
    .await?;
    if trust {
        ask(&pieces, before, cas, index).await;
    }
    Ok(Prepared::Chunks(pieces))
}

/// Asks about chunks that the hub may know: the first of a file, those eligible by their hash, and the one that
/// follows the end of a known xorb – for hubs answer to the first chunk of each xorb.
async fn ask(pieces: &[Piece], before: Option<(XetHash, usize)>, cas: &Cas, index: &Mutex<ChunkIndex>) {
    let find = |hash: &XetHash, len: usize| lock(index).find(hash, u32::try_from(len).unwrap_or(u32::MAX));
    let is_end = |at: Option<At>| at.is_some_and(|at| lock(index).is_last(at));
    let mut worth = before.is_none_or(|(hash, len)| is_end(find(&hash, len)));
    let mut left = MAX_QUESTIONS;
    for (hash, raw) in pieces {
        let mut known = find(hash, raw.len());
        if known.is_none() && left > 0 && (worth || hash.is_global_dedup_eligible()) {
            left -= 1;
            match cas.dedup(hash).await {
                Ok(Some((shard, footer))) => lock(index).add_answer(footer.hmac_key, &shard.xorbs),
                Ok(None) => {}
                // Sending the chunks again is always right.
                Err(error) => tracing::debug!(%error, "no answer about known chunks"),
            }
            known = find(hash, raw.len());
        }
        worth = is_end(known);
    }
}

fn lock(index: &Mutex<ChunkIndex>) -> std::sync::MutexGuard<'_, ChunkIndex> {
    index.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One pass over the files.
struct Session<'a> {
    lane: &'a Lane,
    files: &'a [LocalFile],
    index: Arc<Mutex<ChunkIndex>>,
    /// Away while it works on another thread.
    packer: Option<Packer>,
    uploads: JoinSet<Result<ShardXorb, ClientError>>,
    registrations: JoinSet<Result<(), ClientError>>,
    /// Xorbs that are stored and not listed yet.
    stored: Vec<ShardXorb>,
    /// Files that are placed and not registered yet, with their number.
    placed: Vec<(usize, Sha256, Placed)>,
    shard_bytes: usize,
    placed_bytes: u64,
    sent: Sent,
}

impl<'a> Session<'a> {
    fn new(lane: &'a Lane, files: &'a [LocalFile], index: Arc<Mutex<ChunkIndex>>) -> Self {
        Self {
            lane,
            files,
            packer: Some(Packer::new(Arc::clone(&index))),
            index,
            uploads: JoinSet::new(),
            registrations: JoinSet::new(),
            stored: Vec::new(),
            placed: Vec::new(),
            shard_bytes: 0,
            placed_bytes: 0,
            sent: Sent::default(),
        }
    }

    async fn with_packer<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Packer) -> Result<T, ClientError> + Send + 'static,
    ) -> Result<T, ClientError> {
        let mut packer = self.packer.take().ok_or_else(|| ClientError::Internal("the packer is gone".to_owned()))?;
        let (packer, done) = blocking(move || {
            let done = work(&mut packer);
            Ok((packer, done))
        })
        .await?;
        self.packer = Some(packer);
        done
    }

    async fn take(&mut self, pieces: Vec<Piece>) -> Result<(), ClientError> {
        let (tally, sealed) = self
            .with_packer(move |packer| {
                let mut sealed = Vec::new();
                Ok((packer.take(&pieces, &mut sealed)?, sealed))
            })
            .await?;
        self.sent.tally.new_bytes += tally.new_bytes;
        self.sent.tally.reused_bytes += tally.reused_bytes;
        self.lane.meter.add_bytes(tally.reused_bytes);
        for xorb in sealed {
            self.upload(xorb).await?;
        }
        if self.shard_bytes >= SHARD_TARGET {
            // Xorbs alone: the files they belong to are not complete.
            let xorbs = std::mem::take(&mut self.stored);
            self.shard_bytes = 0;
            self.register(Shard { files: Vec::new(), xorbs }, Vec::new()).await?;
        }
        Ok(())
    }

    async fn end_file(&mut self, sha256: Sha256) -> Result<(), ClientError> {
        let (placed, sealed) = self
            .with_packer(|packer| {
                let mut sealed = Vec::new();
                Ok((packer.end_file(&mut sealed)?, sealed))
            })
            .await?;
        for xorb in sealed {
            self.upload(xorb).await?;
        }
        let number = self.sent.digests.len();
        self.shard_bytes += (2 + placed.runs.len() * 2) * RECORD;
        self.placed_bytes += placed.runs.iter().map(|run| u64::from(run.raw_len)).sum::<u64>();
        self.placed.push((number, sha256, placed));
        self.sent.digests.push(sha256);
        if self.shard_bytes >= SHARD_TARGET || self.placed_bytes >= REGISTER_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    /// Starts to send a xorb as soon as fewer than the limit are on their way.
    async fn upload(&mut self, xorb: Sealed) -> Result<(), ClientError> {
        while self.uploads.len() >= self.lane.parallel.max(1) {
            self.await_upload().await?;
        }
        let (cas, journal, meter) = (Arc::clone(&self.lane.cas), self.lane.journal.clone(), self.lane.meter.clone());
        self.uploads.spawn(async move {
            let Sealed { listing, pieces } = xorb;
            cas.put_xorb(&listing.hash, &pieces, &meter).await?;
            drop::<Vec<Bytes>>(pieces);
            meter.add_bytes(listing.raw_bytes.into());
            blocking(move || {
                let chunks = listing.chunks.iter().map(|chunk| (chunk.hash, chunk.raw_len));
                if let Err(error) = journal.note_xorb(&listing.hash, chunks) {
                    tracing::debug!(%error, "the journal cannot be written");
                }
                Ok(listing)
            })
            .await
        });
        Ok(())
    }

    async fn await_upload(&mut self) -> Result<(), ClientError> {
        if let Some(done) = self.uploads.join_next().await {
            let listing = done.map_err(|error| ClientError::task(&error))??;
            self.shard_bytes += (1 + listing.chunks.len()) * RECORD;
            self.stored.push(listing);
        }
        Ok(())
    }

    /// Registers all files placed so far.
    async fn flush(&mut self) -> Result<(), ClientError> {
        if let Some(xorb) = self.with_packer(|packer| Ok(packer.seal()?)).await? {
            self.upload(xorb).await?;
        }
        while !self.uploads.is_empty() {
            self.await_upload().await?;
        }
        let placed = std::mem::take(&mut self.placed);
        if placed.is_empty() {
            return Ok(());
        }
        (self.shard_bytes, self.placed_bytes) = (0, 0);
        let files = {
            let index = lock(&self.index);
            placed.iter().map(|(_, sha256, placed)| in_shard(&index, sha256, placed)).collect::<Result<_, _>>()?
        };
        let shard = Shard { files, xorbs: std::mem::take(&mut self.stored) };
        self.register(shard, placed.into_iter().map(|(number, sha256, _)| (number, sha256)).collect()).await
    }

    async fn register(&mut self, shard: Shard, files: Vec<(usize, Sha256)>) -> Result<(), ClientError> {
        // One at a time: they are verified on the other side, and read here meanwhile.
        while let Some(done) = self.registrations.join_next().await {
            done.map_err(|error| ClientError::task(&error))??;
        }
        let bytes = Bytes::from(shard.to_upload()?);
        let (cas, journal, meter) = (Arc::clone(&self.lane.cas), self.lane.journal.clone(), self.lane.meter.clone());
        let (now_ms, built_on_trust) = (self.lane.now_ms, self.lane.trust && self.sent.tally.reused_bytes > 0);
        let files: Vec<(LocalFile, Sha256)> =
            files.into_iter().filter_map(|(number, sha256)| Some((self.files.get(number)?.clone(), sha256))).collect();
        self.registrations.spawn(async move {
            cas.put_shard(&bytes, &meter).await.map_err(|error| forgotten(error, built_on_trust))?;
            files.iter().for_each(|_| meter.add_file());
            blocking(move || {
                for (file, sha256) in files {
                    let known = Known { sha256, registered: true };
                    if let Err(error) = journal.note(&file.path, &file.stamp, known, now_ms) {
                        tracing::debug!(%error, "the journal cannot be written");
                    }
                }
                Ok(())
            })
            .await
        });
        Ok(())
    }

    async fn finish(mut self) -> Result<Sent, ClientError> {
        self.flush().await?;
        while let Some(done) = self.registrations.join_next().await {
            done.map_err(|error| ClientError::task(&error))??;
        }
        if self.sent.digests.len() == self.files.len() {
            Ok(self.sent)
        } else {
            Err(ClientError::Internal("some files were not read to their end".to_owned()))
        }
    }
}

fn in_shard(index: &ChunkIndex, sha256: &Sha256, placed: &Placed) -> Result<ShardFile, ClientError> {
    let term = |run: &super::pack::Run| -> Result<Term, ClientError> {
        let xorb: XetHash =
            index.hash_of(run.slot).ok_or_else(|| ClientError::Internal("a xorb was never sealed".to_owned()))?;
        Ok(Term { xorb, unpacked_bytes: run.raw_len, start: run.start, end: run.end })
    };
    Ok(ShardFile {
        file_hash: placed.file_hash,
        terms: placed.runs.iter().map(term).collect::<Result<_, _>>()?,
        range_hashes: Some(placed.runs.iter().map(|run| run.range_hash).collect()),
        sha256: Some(sha256.0),
    })
}

/// A refusal that is due to what the hub promised before, if the shard was built on that.
fn forgotten(error: ClientError, built_on_trust: bool) -> ClientError {
    match &error {
        ClientError::Answered { status: 400 | 422, message, .. } if built_on_trust => {
            ClientError::Forgotten(message.clone())
        }
        _ => error,
    }
}
