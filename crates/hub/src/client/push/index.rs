//! Which chunks the hub has, as far as this push knows.

use std::collections::HashMap;

use weighthouse::format::xet::hash::XetHash;
use weighthouse::format::xet::shard::ShardXorb;

use super::journal::Chunk;

/// Most chunks that are known at once; some 100 bytes each.
pub(super) const MAX_CHUNKS: usize = 500_000;
/// Most keys under which hubs name chunks at one time.
const MAX_KEYS: usize = 4;

/// Number of a xorb within one push; its hash may not be known yet.
pub(super) type Slot = u32;

/// Where a chunk is: xorb, and position in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At {
    pub(super) slot: Slot,
    pub(super) index: u32,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    at: At,
    raw_len: u32,
}

/// Finds chunks by hash. The oldest half is forgotten when there are too many.
#[derive(Debug)]
pub(super) struct ChunkIndex {
    /// Hash and number of chunks of each xorb, once it is sealed.
    slots: Vec<Option<(XetHash, u32)>>,
    chunks: HashMap<XetHash, Entry>,
    /// Chunks that a hub names under a key only.
    keyed: Vec<([u8; 32], HashMap<XetHash, Entry>)>,
    /// Slots below this one were forgotten.
    floor: Slot,
    most: usize,
}

impl ChunkIndex {
    pub(super) fn new() -> Self {
        Self { slots: Vec::new(), chunks: HashMap::new(), keyed: Vec::new(), floor: 0, most: MAX_CHUNKS }
    }

    /// A number for a xorb that is being filled.
    pub(super) fn open_slot(&mut self) -> Slot {
        self.slots.push(None);
        Slot::try_from(self.slots.len() - 1).unwrap_or(Slot::MAX)
    }

    /// Names a xorb that is full, and has `chunks` chunks.
    pub(super) fn seal(&mut self, slot: Slot, hash: XetHash, chunks: usize) {
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = Some((hash, u32::try_from(chunks).unwrap_or(u32::MAX)));
        }
    }

    /// Hash of a sealed xorb.
    pub(super) fn hash_of(&self, slot: Slot) -> Option<XetHash> {
        self.slots.get(slot as usize).copied().flatten().map(|(hash, _)| hash)
    }

    /// Whether nothing follows in the xorb: whoever comes after this chunk in a file is in another one.
    pub(super) fn is_last(&self, at: At) -> bool {
        let sealed = self.slots.get(at.slot as usize).copied().flatten();
        sealed.is_some_and(|(_, chunks)| at.index + 1 == chunks)
    }

    /// Adds a chunk of a xorb that is being filled.
    pub(super) fn add(&mut self, hash: XetHash, raw_len: u32, at: At) {
        self.chunks.entry(hash).or_insert(Entry { at, raw_len });
        self.shrink();
    }

    /// Adds a xorb from the journal.
    pub(super) fn add_list(&mut self, xorb: XetHash, chunks: &[Chunk]) {
        let slot = self.open_slot();
        self.seal(slot, xorb, chunks.len());
        for (index, &(hash, raw_len)) in (0u32..).zip(chunks) {
            self.chunks.entry(hash).or_insert(Entry { at: At { slot, index }, raw_len });
        }
        self.shrink();
    }

    /// Adds an answer of the hub, whose chunk hashes may be keyed.
    pub(super) fn add_answer(&mut self, key: Option<[u8; 32]>, xorbs: &[ShardXorb]) {
        for xorb in xorbs {
            let slot = self.open_slot();
            self.seal(slot, xorb.hash, xorb.chunks.len());
            let chunks = match key {
                None => &mut self.chunks,
                Some(key) => under(&mut self.keyed, key),
            };
            for (index, chunk) in (0u32..).zip(&xorb.chunks) {
                chunks.entry(chunk.hash).or_insert(Entry { at: At { slot, index }, raw_len: chunk.raw_len });
            }
            self.shrink();
        }
    }

    /// Where a chunk of this length is.
    pub(super) fn find(&self, hash: &XetHash, raw_len: u32) -> Option<At> {
        let open = self.chunks.get(hash);
        let found = open.or_else(|| self.keyed.iter().rev().find_map(|(key, chunks)| chunks.get(&hash.keyed(key))));
        found.filter(|entry| entry.raw_len == raw_len).map(|entry| entry.at)
    }

    fn len(&self) -> usize {
        self.chunks.len() + self.keyed.iter().map(|(_, chunks)| chunks.len()).sum::<usize>()
    }

    fn shrink(&mut self) {
        let next = Slot::try_from(self.slots.len()).unwrap_or(Slot::MAX);
        while self.len() > self.most && self.floor + 1 < next {
            self.floor += (next - self.floor) / 2;
            let floor = self.floor;
            self.chunks.retain(|_, entry| entry.at.slot >= floor);
            self.keyed.iter_mut().for_each(|(_, chunks)| chunks.retain(|_, entry| entry.at.slot >= floor));
            self.keyed.retain(|(_, chunks)| !chunks.is_empty());
        }
    }
}

/// The chunks under a key; the key used longest ago makes room.
fn under(keyed: &mut Vec<([u8; 32], HashMap<XetHash, Entry>)>, key: [u8; 32]) -> &mut HashMap<XetHash, Entry> {
    let at = match keyed.iter().position(|(known, _)| *known == key) {
        Some(at) => at,
        None => {
            if keyed.len() >= MAX_KEYS {
                keyed.remove(0);
            }
            keyed.push((key, HashMap::new()));
            keyed.len() - 1
        }
    };
    &mut keyed[at].1
}

#[cfg(test)]
mod tests {
    use weighthouse::format::xet::hash::chunk_hash;
    use weighthouse::format::xet::shard::ShardChunk;

    use super::*;

    fn hash(number: u32) -> XetHash {
        chunk_hash(&number.to_le_bytes())
    }

    #[test]
    fn keyed_chunks_are_found_by_their_open_hash_and_length() {
        let mut index = ChunkIndex::new();
        let key = [7; 32];
        let chunk = ShardChunk { hash: hash(1).keyed(&key), offset: 0, raw_len: 50, dedup_candidate: false };
        let xorb = ShardXorb { hash: hash(9), raw_bytes: 50, stored_bytes: 0, chunks: vec![chunk] };
        index.add_answer(Some(key), &[xorb]);
        let at = index.find(&hash(1), 50).unwrap();
        assert_eq!((index.hash_of(at.slot), at.index), (Some(hash(9)), 0));
        assert!(index.is_last(at) && !index.is_last(At { slot: at.slot, index: 1 }));
        assert_eq!(index.find(&hash(1), 51), None, "another length cannot be the same chunk");
        assert_eq!(index.find(&hash(2), 50), None);
    }

    #[test]
    fn what_is_known_is_bounded_and_the_newest_stays() {
        let mut index = ChunkIndex { most: 100, ..ChunkIndex::new() };
        for xorb in 0..50 {
            let chunks: Vec<Chunk> = (0..10).map(|i| (hash(xorb * 10 + i), 1)).collect();
            index.add_list(hash(1_000_000 + xorb), &chunks);
            assert!(index.len() <= 100);
            assert!(index.find(&hash(xorb * 10), 1).is_some());
        }
        for key in 0..20 {
            let chunk = ShardChunk { hash: hash(key), offset: 0, raw_len: 1, dedup_candidate: false };
            let xorb = ShardXorb { hash: hash(9), raw_bytes: 1, stored_bytes: 0, chunks: vec![chunk] };
            index.add_answer(Some([key as u8; 32]), &[xorb]);
        }
        assert_eq!(index.keyed.len(), MAX_KEYS);
    }
}
