//! Chunks into xorbs and terms.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use weighthouse::format::FormatError;
use weighthouse::format::xet::hash::{HashTree, XetHash, range_hash};
use weighthouse::format::xet::shard::{ShardChunk, ShardXorb};
use weighthouse::format::xet::xorb::{MAX_XORB_RAW, XorbBuilder};

use super::index::{At, ChunkIndex, Slot};

/// Raw bytes at which a xorb is sent. Half of what is allowed: several are in memory at a time.
const XORB_TARGET: u64 = 32 << 20;
/// Size of a file, in bytes, from which on nothing else lies in its last xorb. The hub codes a xorb as a difference to files
/// that have no part of it: one model could not be the base of the next one that is sent with it.
const APART_BYTES: u64 = 4 << 20;
/// Raw bytes after which the body encoded so far is taken over.
const PIECE_BYTES: usize = 1 << 20;
/// Terms of one file above which known chunks are used only where they come in runs.
const MANY_TERMS: usize = 50_000;
/// Mean chunks of a term below which a file counts as scattered.
const SCATTERED: u64 = 4;

/// A chunk of a file: its hash and its bytes.
pub(super) type Piece = (XetHash, Bytes);

/// A run of chunks, in a xorb that may not be named yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) slot: Slot,
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) raw_len: u32,
    pub(super) range_hash: XetHash,
}

/// A xorb ready to be sent.
#[derive(Debug)]
pub(super) struct Sealed {
    /// What the shard says of it.
    pub(super) listing: ShardXorb,
    /// Its body.
    pub(super) pieces: Vec<Bytes>,
}

/// A file whose chunks have all been placed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) file_hash: XetHash,
    pub(super) runs: Vec<Run>,
}

/// Places chunks file by file: in xorbs the hub has, or in new ones.
#[derive(Debug)]
pub(super) struct Packer {
    index: Arc<Mutex<ChunkIndex>>,
    open: Option<Open>,
    file: File,
}

/// A xorb that is being filled.
#[derive(Debug)]
struct Open {
    slot: Slot,
    builder: XorbBuilder,
    pieces: Vec<Bytes>,
    /// Raw bytes added since the body was last drained.
    drained_bytes: usize,
    /// Chunks that begin a file: hubs are asked for those whatever their hash.
    firsts: Vec<usize>,
}

/// The file whose chunks arrive.
#[derive(Debug, Default)]
struct File {
    tree: HashTree,
    runs: Vec<Run>,
    chunks: u64,
    bytes: u64,
    /// Chunk hashes of the last run, whose range hash is still due.
    last: Vec<XetHash>,
}

/// What became of some chunks, in raw bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// The hub had them, or this push sends them already.
    pub(super) reused_bytes: u64,
    /// They must be sent.
    pub(super) new_bytes: u64,
}

impl Packer {
    pub(super) fn new(index: Arc<Mutex<ChunkIndex>>) -> Self {
        Self { index, open: None, file: File::default() }
    }

    fn index(&self) -> std::sync::MutexGuard<'_, ChunkIndex> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Places the next chunks of the current file. Xorbs that are full go to `sealed`.
    pub(super) fn take(&mut self, pieces: &[Piece], sealed: &mut Vec<Sealed>) -> Result<Tally, FormatError> {
        let mut tally = Tally::default();
        for (hash, raw) in pieces {
            let raw_len = raw.len() as u32;
            let known = self.index().find(hash, raw_len).filter(|at| self.file.welcomes(*at));
            let at = match known {
                Some(at) => {
                    tally.reused_bytes += u64::from(raw_len);
                    at
                }
                None => {
                    tally.new_bytes += u64::from(raw_len);
                    self.add(*hash, raw, sealed)?
                }
            };
            self.file.push(*hash, raw_len, at);
        }
        Ok(tally)
    }

    fn add(&mut self, hash: XetHash, raw: &Bytes, sealed: &mut Vec<Sealed>) -> Result<At, FormatError> {
        let is_full =
            |open: &Open| !open.builder.fits(raw.len()) || open.builder.raw_len() + raw.len() as u64 > XORB_TARGET;
        if self.open.as_ref().is_some_and(is_full) {
            sealed.extend(self.seal()?);
        }
        if self.open.is_none() {
            let slot = self.index().open_slot();
            self.open = Some(Open::new(slot));
        }
        let Some(open) = &mut self.open else { return Err(FormatError::Empty { what: "xorb" }) };
        let index = open.builder.chunks().len();
        if self.file.chunks == 0 {
            open.builder.start_file();
            open.firsts.push(index);
        }
        open.builder.push_hashed(hash, raw)?;
        open.drained_bytes += raw.len();
        if open.drained_bytes >= PIECE_BYTES {
            open.drain();
        }
        let at = At { slot: open.slot, index: index as u32 };
        self.index().add(hash, raw.len() as u32, at);
        Ok(at)
    }

    /// Ends the current file; the next chunk belongs to another. The xorb of a large one is full with it.
    pub(super) fn end_file(&mut self, sealed: &mut Vec<Sealed>) -> Result<Placed, FormatError> {
        let mut file = std::mem::take(&mut self.file);
        file.close_run();
        if file.bytes >= APART_BYTES {
            sealed.extend(self.seal()?);
        }
        Ok(Placed { file_hash: file.tree.file_hash(), runs: file.runs })
    }

    /// Ends the xorb that is being filled, if there is one.
    pub(super) fn seal(&mut self) -> Result<Option<Sealed>, FormatError> {
        let Some(mut open) = self.open.take() else { return Ok(None) };
        open.drain();
        let listing = open.builder.finish()?.listing;
        self.index().seal(open.slot, listing.hash, listing.chunks.len());
        let mut offset = 0;
        let chunks = listing.chunks.iter().enumerate().map(|(index, chunk)| {
            let at = offset;
            offset += chunk.raw_len;
            let dedup_candidate = chunk.hash.is_global_dedup_eligible() || open.firsts.binary_search(&index).is_ok();
            ShardChunk { hash: chunk.hash, offset: at, raw_len: chunk.raw_len, dedup_candidate }
        });
        let chunks = chunks.collect();
        let listing =
            ShardXorb { hash: listing.hash, raw_bytes: listing.raw_len, stored_bytes: listing.body_len, chunks };
        Ok(Some(Sealed { listing, pieces: open.pieces }))
    }
}

impl Open {
    fn new(slot: Slot) -> Self {
        Self { slot, builder: XorbBuilder::default(), pieces: Vec::new(), drained_bytes: 0, firsts: Vec::new() }
    }

    /// Takes over what the builder has encoded, without the room it kept for more.
    fn drain(&mut self) {
        self.drained_bytes = 0;
        self.pieces.push(self.builder.drain().into_boxed_slice().into());
    }
}

impl File {
    /// Whether a known chunk is used: always, unless the file is in too many pieces already and this is one more.
    fn welcomes(&self, at: At) -> bool {
        let continues = self.runs.last().is_some_and(|last| last.slot == at.slot && last.end == at.index);
        continues || self.runs.len() < MANY_TERMS || self.chunks / (self.runs.len() as u64) >= SCATTERED
    }

    fn push(&mut self, hash: XetHash, raw_len: u32, at: At) {
        self.tree.push(hash, raw_len.into());
        self.chunks += 1;
        self.bytes += u64::from(raw_len);
        if let Some(last) = self.runs.last_mut()
            && last.slot == at.slot
            && last.end == at.index
            && u64::from(last.raw_len) + u64::from(raw_len) <= MAX_XORB_RAW
        {
            last.end += 1;
            last.raw_len += raw_len;
        } else {
            self.close_run();
            let range_hash = XetHash::ZERO;
            self.runs.push(Run { slot: at.slot, start: at.index, end: at.index + 1, raw_len, range_hash });
        }
        self.last.push(hash);
    }

    fn close_run(&mut self) {
        if let Some(last) = self.runs.last_mut() {
            last.range_hash = range_hash(&self.last);
        }
        self.last.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weighthouse::format::xet::hash::{chunk_hash, file_hash, xorb_hash};

    use super::*;

    fn piece(seed: u64, len: usize) -> Piece {
        let mut state = seed * 2 + 1;
        let bytes: Vec<u8> = (0..len)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state as u8
            })
            .collect();
        (chunk_hash(&bytes), bytes.into())
    }

    fn packer() -> (Packer, Arc<Mutex<ChunkIndex>>) {
        let index = Arc::new(Mutex::new(ChunkIndex::new()));
        (Packer::new(Arc::clone(&index)), index)
    }

    #[test]
    fn a_second_copy_is_one_run_of_the_first() {
        let (mut packer, _) = packer();
        let pieces: Vec<Piece> = (0..20).map(|i| piece(i, 10_000)).collect();
        let mut sealed = Vec::new();
        let first = packer.take(&pieces, &mut sealed).unwrap();
        let one = packer.end_file(&mut sealed).unwrap();
        let second = packer.take(&pieces, &mut sealed).unwrap();
        let two = packer.end_file(&mut sealed).unwrap();
        assert_eq!((first.new_bytes, second.new_bytes, second.reused_bytes), (200_000, 0, 200_000));
        assert_eq!((one.file_hash, one.runs.len()), (two.file_hash, 1));
        assert_eq!(one.runs, two.runs);
        let xorb = packer.seal().unwrap().unwrap();
        let body: usize = xorb.pieces.iter().map(Bytes::len).sum();
        assert_eq!((body as u32, xorb.listing.chunks.len()), (xorb.listing.stored_bytes, 20));
        assert!(xorb.listing.chunks[0].dedup_candidate);
        assert!(packer.seal().unwrap().is_none() && sealed.is_empty());
    }

    #[test]
    fn xorbs_are_sent_before_they_grow_too_large() {
        let (mut packer, index) = packer();
        let mut sealed = Vec::new();
        for i in 0..300 {
            packer.take(&[piece(i, 131_072)], &mut sealed).unwrap();
        }
        assert_eq!(sealed.len(), 1);
        assert_eq!(u64::from(sealed[0].listing.raw_bytes), XORB_TARGET);
        let placed = packer.end_file(&mut sealed).unwrap();
        assert_eq!(placed.runs.len(), 2);
        let index = index.lock().unwrap();
        let hashes = placed.runs.iter().map(|run| index.hash_of(run.slot).unwrap());
        assert!(hashes.eq(sealed.iter().map(|xorb| xorb.listing.hash)));
    }

    #[test]
    fn large_files_share_no_xorb_and_small_ones_do() {
        let (mut packer, _) = packer();
        let mut sealed = Vec::new();
        let mut slots = Vec::new();
        for (file, chunks) in [1, 2, 64, 64, 1].into_iter().enumerate() {
            for i in 0..chunks {
                packer.take(&[piece((file * 1000 + i) as u64, 65_536)], &mut sealed).unwrap();
            }
            let placed = packer.end_file(&mut sealed).unwrap();
            slots.push(placed.runs.iter().map(|run| run.slot).collect::<Vec<_>>());
        }
        assert_eq!(sealed.len(), 2);
        assert_eq!((&slots[0], &slots[0]), (&slots[1], &slots[2]), "what comes before a large file may lie with it");
        assert!(slots[3] != slots[2] && slots[4] != slots[3]);
    }

    proptest! {
        #[test]
        fn runs_name_exactly_the_chunks_of_the_file(picks in proptest::collection::vec(0u64..12, 1..60), cut in 1usize..20) {
            let (mut packer, index) = packer();
            let pieces: Vec<Piece> = picks.iter().map(|&seed| piece(seed + 1, 100 + seed as usize)).collect();
            let mut sealed = Vec::new();
            for some in pieces.chunks(cut) {
                packer.take(some, &mut sealed).unwrap();
            }
            let placed = packer.end_file(&mut sealed).unwrap();
            sealed.extend(packer.seal().unwrap());
            let mut rebuilt = Vec::new();
            for run in &placed.runs {
                let hash = index.lock().unwrap().hash_of(run.slot).unwrap();
                let xorb = &sealed.iter().find(|xorb| xorb.listing.hash == hash).unwrap().listing;
                let chunks = &xorb.chunks[run.start as usize..run.end as usize];
                prop_assert_eq!(run.raw_len, chunks.iter().map(|chunk| chunk.raw_len).sum::<u32>());
                prop_assert_eq!(run.range_hash, range_hash(chunks.iter().map(|chunk| &chunk.hash)));
                rebuilt.extend(chunks.iter().map(|chunk| chunk.hash));
            }
            let expected: Vec<XetHash> = pieces.iter().map(|(hash, _)| *hash).collect();
            prop_assert_eq!(rebuilt, expected);
            let sized: Vec<_> = pieces.iter().map(|(hash, raw)| (*hash, raw.len() as u64)).collect();
            prop_assert_eq!(placed.file_hash, file_hash(&sized));
            for xorb in &sealed {
                let sized: Vec<_> = xorb.listing.chunks.iter().map(|chunk| (chunk.hash, u64::from(chunk.raw_len))).collect();
                prop_assert_eq!(xorb.listing.hash, xorb_hash(&sized));
            }
        }
    }
}
