//! Coding stored xorbs anew: bytes as they arrived become blocks of tensors.
//!
//! ```text
//!   contents, runs of elements ─► map.rs: runs of each xorb ─► block.rs: coded blocks ─► a pack of its own
//!                                                                                          │ read back, all chunks hashed
//!   old place ◄──────── serves until ──────── one transaction (catalog::recodes) ◄─────────┘
//! ```
//!
//! The unit is the xorb, because everything above names bytes by xorb and chunk: it does not learn that they moved. What
//! is proved before the swap is that each chunk, read back from the finished pack, has the hash that is its name; files are
//! lists of chunks by these names.

mod bases;
mod block;
mod map;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use weighthouse_format::Dtype;
use weighthouse_format::xet::hash::XetHash;

use super::ENCODER;
use super::codec::Level;
use super::index::Place;
use super::pack::{self, PackWriter};
use super::read::Raw;
use crate::Store;
use crate::catalog::{Content, NewPlace};
use crate::digest::Sha256;
use crate::error::StoreError;

use bases::Bases;

/// Xorbs that share a pack: half a gigabyte of raw bytes at most.
const PACK_XORBS: usize = 8;
/// A xorb is moved when this share of its bytes or less is left.
const WORTH_PER_MILLE: u64 = 985;

/// Elements of a tensor that lie in a file one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorRun {
    /// Bytes of the file: elements in row-major order, or blocks of a quantised type.
    pub range: Range<u64>,
    /// Their type.
    pub dtype: Dtype,
    /// The same elements elsewhere.
    pub base: Option<RunBase>,
}

/// Where the same elements of another tensor lie, or of the same one in another file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunBase {
    /// Content on record.
    pub sha256: Sha256,
    /// First byte in it.
    pub offset: u64,
    /// Type of the elements there.
    pub dtype: Dtype,
}

/// A file, and what is known of its bytes.
#[derive(Clone, Debug)]
pub struct RecodeSource {
    /// The file.
    pub content: Content,
    /// Runs of elements, in order and without overlap; what is in none of them is bytes.
    pub runs: Vec<TensorRun>,
}

/// How hard to work.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Share of one core, more than 0 and at most 1.
    pub share: f64,
    /// Set by whoever wants the work to end soon.
    pub stop: Arc<AtomicBool>,
}

impl Pace {
    /// As fast as it goes, to the end.
    #[must_use]
    pub fn full() -> Self {
        Self { share: 1.0, stop: Arc::default() }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Rests after work that took so long.
    async fn rest(&self, began: Instant) {
        let share = self.share.clamp(0.01, 1.0);
        let rest = began.elapsed().mul_f64((1.0 - share) / share).min(Duration::from_secs(30));
        if rest > Duration::ZERO {
            tokio::time::sleep(rest).await;
        }
    }
}

/// What became of the xorbs of some contents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recoded {
    /// Xorbs that lie in coded packs now.
    pub xorbs: u64,
    /// Bytes of their chunks when decoded.
    pub raw_bytes: u64,
    /// Bytes that they took before.
    pub before_bytes: u64,
    /// Bytes that they take now.
    pub after_bytes: u64,
    /// Xorbs that were left as they were, since it would not pay.
    pub kept: u64,
    /// Whether the work was ended before it was done.
    pub stopped: bool,
}

impl Store {
    /// Codes the xorbs of these contents anew, those that this encoder has not seen, or with `again` all of them.
    ///
    /// # Errors
    /// [`StoreError::Moved`] when something changed meanwhile: what was done is kept, and the rest can be asked for again.
    pub async fn recode(
        &self,
        sources: &[RecodeSource],
        level: Level,
        again: bool,
        pace: &Pace,
    ) -> Result<Recoded, StoreError> {
        self.recode_some(sources, None, level, again, pace).await
    }

    /// Codes some xorbs of these contents anew, even if they take more room then: for xorbs that are to let go of a base
    /// which no run of the sources names.
    ///
    /// # Errors
    /// As [`Store::recode`].
    pub async fn recode_without(
        &self,
        sources: &[RecodeSource],
        xorbs: &BTreeSet<XetHash>,
        level: Level,
        pace: &Pace,
    ) -> Result<Recoded, StoreError> {
        self.recode_some(sources, Some(xorbs), level, true, pace).await
    }

    async fn recode_some(
        &self,
        sources: &[RecodeSource],
        only: Option<&BTreeSet<XetHash>>,
        level: Level,
        again: bool,
        pace: &Pace,
    ) -> Result<Recoded, StoreError> {
        let mut done = Recoded::default();
        let mut bases = Bases::new(self);
        let mut pack: Option<(PackWriter, Vec<NewPlace>)> = None;
        for (hash, parts) in
            map::xorbs(sources).into_iter().filter(|(hash, _)| only.is_none_or(|only| only.contains(hash)))
        {
            if pace.stopped() {
                done.stopped = true;
                break;
            }
            let Some(place) = self.fresh_place(&hash).await? else { continue };
            if place.record.encoder == ENCODER && !again {
                continue;
            }
            let coded =
                self.code_xorb(&place, &map::runs(sources, &parts, &place.listing), level, &mut bases, pace).await;
            let coded = match coded {
                Ok(coded) => coded,
                Err(error) => {
                    give_up(self, pack).await;
                    return Err(error);
                }
            };
            let before = place.record.body_len + place.record.index_len;
            let Some(coded) = coded.filter(|coded| only.is_some() || coded.len() * 1000 <= before * WORTH_PER_MILLE)
            else {
                if pace.stopped() {
                    done.stopped = true;
                    break;
                }
                self.catalog().recodes().keep(&place.record, ENCODER).await?;
                done.kept += 1;
                continue;
            };
            let (writer, places) = match &mut pack {
                Some(open) => open,
                None => pack.insert((PackWriter::begin_coded(self).await?, Vec::new())),
            };
            for block in &coded.bytes {
                if let Err(error) = writer.write(block).await {
                    give_up(self, pack).await;
                    return Err(error);
                }
            }
            places.push(NewPlace { former: place.record.clone(), makeup: coded.makeup(), bases: coded.needs });
            writer.end_coded(coded.listing, coded.blocks, coded.depth);
            if places.len() >= PACK_XORBS
                && let Some((writer, places)) = pack.take()
            {
                self.swap(writer, places, &mut done).await?;
            }
        }
        if let Some((writer, places)) = pack {
            self.swap(writer, places, &mut done).await?;
        }
        Ok(done)
    }

    /// Ends a pack, proves what is in it, and lets the xorbs lie there.
    async fn swap(&self, writer: PackWriter, places: Vec<NewPlace>, done: &mut Recoded) -> Result<(), StoreError> {
        let sealed = writer.finish_apart(self).await?;
        let swapped: Result<(), StoreError> = async {
            for record in &sealed.xorbs {
                self.check_place(&self.read_place(record.clone()).await?).await?;
            }
            self.catalog().recodes().swap(&sealed, &places, self.clock().now_ms()).await
        }
        .await;
        if let Err(error) = swapped {
            pack::remove(self, &sealed.id).await?;
            return Err(error);
        }
        for (record, place) in sealed.xorbs.iter().zip(&places) {
            self.places().remove(&record.hash);
            done.xorbs += 1;
            done.raw_bytes += record.raw_len;
            done.before_bytes += place.former.body_len + place.former.index_len;
            done.after_bytes += record.body_len + record.index_len;
        }
        Ok(())
    }

    /// All raw bytes of a xorb.
    async fn raw_xorb(&self, place: &Place) -> Result<Vec<u8>, StoreError> {
        const CHUNKS_AT_ONCE: usize = 64;
        let mut raw = Vec::with_capacity(place.listing.raw_len as usize);
        let chunks = place.listing.chunks.len();
        for start in (0..chunks).step_by(CHUNKS_AT_ONCE) {
            let end = (start + CHUNKS_AT_ONCE).min(chunks);
            for piece in self.read_chunks(place, Raw::chunks(&place.listing, start..end), 0).await? {
                raw.extend_from_slice(&piece);
            }
        }
        Ok(raw)
    }
}

async fn give_up(store: &Store, pack: Option<(PackWriter, Vec<NewPlace>)>) {
    if let Some((writer, _)) = pack {
        writer.abort(store).await;
    }
}

#[cfg(test)]
mod faults;
#[cfg(test)]
mod tests;
