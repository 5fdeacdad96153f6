//! Differential tests against the reference implementation of the Xet formats.
//!
//! What we write, it must read; what it writes, we must read; what both compute must be equal. Its chunker is not part
//! of the crate used here; the chunker is held to vectors that its chunker produced.

#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]

use std::io::Cursor;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};
use weighthouse_format::Limits;
use weighthouse_format::xet::chunker::{Chunker, MAX_CHUNK};
use weighthouse_format::xet::hash::{self, XetHash};
use weighthouse_format::xet::shard::{
    DedupOptions, Shard, ShardChunk, ShardFile, ShardFooter, ShardXorb, Term, write_dedup,
};
use weighthouse_format::xet::subtree::{Subtree, SubtreeBuilder};
use weighthouse_format::xet::xorb::{
    Scheme, SchemeChoice, Xorb, XorbBuilder, XorbListing, XorbVerifier, decode_chunk, encode_chunk, write_footer,
};
use xet_core_structures::merklehash::{self, HMACKey, MerkleHash, MerkleHashSubtree};
use xet_core_structures::metadata_shard::chunk_verification::range_hash_from_chunks;
use xet_core_structures::metadata_shard::file_structs::{
    FileDataSequenceEntry, FileDataSequenceHeader, FileMetadataExt, FileVerificationEntry, MDBFileInfo,
};
use xet_core_structures::metadata_shard::hash_is_global_dedup_eligible;
use xet_core_structures::metadata_shard::shard_in_memory::MDBInMemoryShard;
use xet_core_structures::metadata_shard::streaming_shard::MDBMinimalShard;
use xet_core_structures::metadata_shard::xorb_structs::{MDBXorbInfo, XorbChunkSequenceEntry, XorbChunkSequenceHeader};
use xet_core_structures::metadata_shard::{ChunkIndexSizeEnforcement, MDBShardInfo, ShardFileManager};
use xet_core_structures::xorb_object::{
    Chunk, CompressionScheme, RawXorbData, SerializedXorbObject, XorbObject, deserialize_chunk,
    reconstruct_xorb_with_footer, serialize_chunk,
};
use xet_runtime::core::XetContext;

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut state = seed;
    for byte in &mut bytes {
        // A linear congruential generator; its high byte is noisy enough for a compressor.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *byte = (state >> 56) as u8;
    }
    bytes
}

fn theirs(hash: &XetHash) -> MerkleHash {
    MerkleHash::from(hash.as_bytes())
}

fn ours(hash: &MerkleHash) -> XetHash {
    XetHash::from_bytes((*hash).into())
}

fn hashes() -> impl Strategy<Value = XetHash> {
    any::<[u8; 32]>().prop_map(XetHash::from_bytes)
}

/// Chunks that compress not at all, well, and only when grouped.
fn raw_chunk() -> impl Strategy<Value = Vec<u8>> {
    let len = prop_oneof![1usize..40, 1usize..=MAX_CHUNK];
    (any::<u64>(), len, 0..3).prop_map(|(seed, len, kind)| {
        let mut raw = noise(seed, len);
        match kind {
            0 => {}
            1 => raw.iter_mut().for_each(|byte| *byte &= 1),
            _ => raw.iter_mut().skip(3).step_by(4).for_each(|byte| *byte = 0x3D),
        }
        raw
    })
}

fn schemes() -> impl Strategy<Value = (Scheme, CompressionScheme)> {
    prop::sample::select(vec![
        (Scheme::None, CompressionScheme::None),
        (Scheme::Lz4, CompressionScheme::LZ4),
        (Scheme::Bg4Lz4, CompressionScheme::ByteGrouping4LZ4),
    ])
}

fn our_xorb(chunks: &[Vec<u8>], choice: SchemeChoice) -> Xorb {
    let mut builder = XorbBuilder::new(choice);
    for raw in chunks {
        builder.push(raw).unwrap();
    }
    builder.finish().unwrap()
}

fn their_xorb(chunks: &[Vec<u8>], scheme: CompressionScheme, footer: bool) -> SerializedXorbObject {
    let chunks: Vec<_> = chunks.iter().map(|raw| Chunk::new(Bytes::from(raw.clone()))).collect();
    let raw = RawXorbData::from_chunks(&chunks, vec![0]);
    SerializedXorbObject::from_xorb_with_compression(raw, scheme, footer, 32).unwrap()
}

fn verified(bytes: &[u8], piece: usize) -> (Vec<u8>, XorbListing) {
    let mut verifier = XorbVerifier::new();
    let mut body = Vec::new();
    for piece in bytes.chunks(piece) {
        let len = verifier.push(piece).unwrap();
        body.extend_from_slice(&piece[..len]);
    }
    (body, verifier.finish_unnamed().unwrap())
}

/// Made by the chunker of xet-data 1.8.0 over `noise(seed, 1_000_000)`.
const CUTS: &[(u64, &[usize])] = &[
    (
        0,
        &[
            126665, 17166, 21362, 116488, 27293, 27282, 84392, 11430, 76004, 67956, 45352, 44923, 15778, 38694, 14341,
            17701, 10612, 91469, 96534, 14402, 27899, 6257,
        ],
    ),
    (
        1,
        &[
            64662, 131072, 23091, 131072, 32553, 131072, 31896, 10763, 80309, 84001, 14949, 59885, 39598, 24612, 8209,
            65611, 45996, 20649,
        ],
    ),
    (42, &[118216, 65914, 17827, 39666, 109948, 15794, 131072, 131072, 38954, 51910, 26942, 131072, 93911, 27702]),
];

#[test]
fn cuts_agree_with_vectors() {
    for &(seed, expected) in CUTS {
        let data = noise(seed, 1_000_000);
        let mut chunker = Chunker::new();
        let mut found = Vec::new();
        let mut rest = data.as_slice();
        while let Some(len) = chunker.next_boundary(rest) {
            found.push(len);
            rest = &rest[len..];
        }
        found.extend(chunker.finish());
        assert_eq!(found, expected);
    }
}

proptest! {
    #[test]
    fn hashes_and_their_text_agree(raw: Vec<u8>, hash in hashes(), key: [u8; 32]) {
        prop_assert_eq!(hash::chunk_hash(&raw), ours(&merklehash::compute_data_hash(&raw)));
        prop_assert_eq!(hash.to_string(), theirs(&hash).hex());
        prop_assert_eq!(MerkleHash::from_hex(&hash.to_string()).unwrap(), theirs(&hash));
        prop_assert_eq!(hash.keyed(&key), ours(&theirs(&hash).hmac(HMACKey::from(key))));
        prop_assert_eq!(hash.is_global_dedup_eligible(), hash_is_global_dedup_eligible(&theirs(&hash)));
    }

    #[test]
    fn sha256_digests_are_swapped_alike(digest: [u8; 32]) {
        let text: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        prop_assert_eq!(XetHash::from_sha256(&digest), ours(&MerkleHash::from_hex(&text).unwrap()));
        prop_assert_eq!(XetHash::from_sha256(&digest), ours(&MerkleHash::from_be_bytes(digest)));
    }

    #[test]
    fn roots_agree(seeds in prop::collection::vec((hashes(), any::<u64>()), 0..400), mask: u8) {
        let chunks: Vec<_> = seeds
            .iter()
            .map(|(hash, size)| {
                let mut bytes = *hash.as_bytes();
                bytes[24] |= mask & 3;
                (XetHash::from_bytes(bytes), size >> 12)
            })
            .collect();
        let list: Vec<_> = chunks.iter().map(|(hash, size)| (theirs(hash), *size)).collect();
        prop_assert_eq!(hash::xorb_hash(&chunks), ours(&merklehash::xorb_hash(&list)));
        prop_assert_eq!(hash::file_hash(&chunks), ours(&merklehash::file_hash(&list)));
        let only: Vec<_> = list.iter().map(|(hash, _)| *hash).collect();
        let range = hash::range_hash(chunks.iter().map(|(hash, _)| hash));
        prop_assert_eq!(range, ours(&range_hash_from_chunks(&only)));
    }
}

/// A subtree as it travels; an empty one does not.
fn subtree_json(subtree: &Subtree) -> Value {
    let lefts = subtree.levels.iter().flat_map(|level| &level.left);
    let rights = subtree.levels.iter().rev().flat_map(|level| &level.right);
    let nodes: Vec<_> = lefts.chain(rights).map(|(hash, size)| json!({ "hash": hash, "size": size })).collect();
    let levels: Vec<_> = subtree.levels.iter().map(|level| (level.left.len(), level.right.len())).collect();
    json!({ "nodes": nodes, "levels": levels, "at_start": subtree.at_start, "at_end": subtree.at_end })
}

/// Sums a run of chunks up on both sides, and compares.
fn summed_up(at_start: bool, run: &[(XetHash, u64)], at_end: bool) -> MerkleHashSubtree {
    let list: Vec<_> = run.iter().map(|(hash, size)| (theirs(hash), *size)).collect();
    let expected = MerkleHashSubtree::from_chunks(at_start, &list, at_end);
    let mut builder = SubtreeBuilder::new(at_start);
    run.iter().for_each(|(hash, size)| builder.push(*hash, *size));
    let Some(found) = builder.finish(at_end) else {
        assert!(expected.is_empty());
        return expected;
    };
    let found = subtree_json(&found);
    assert_eq!(found, serde_json::to_value(&expected).unwrap(), "{at_start} {} {at_end}", run.len());
    serde_json::from_value(found).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// `mask` says how many nodes end groups: one in four by nature, none, or all.
    #[test]
    fn runs_of_chunks_are_summed_up_alike(
        seeds in prop::collection::vec((hashes(), any::<u32>()), 0..1500),
        at: [prop::sample::Index; 2],
        mask in prop::sample::select(vec![(3, 0), (0, 0), (3, 1), (1, 0), (0, 1)]),
    ) {
        let (keep, set) = mask;
        let chunks: Vec<_> = seeds
            .iter()
            .map(|(hash, size)| {
                let mut bytes = *hash.as_bytes();
                bytes[24] = bytes[24] & (0xFC | keep) | set;
                (XetHash::from_bytes(bytes), u64::from(*size))
            })
            .collect();
        let mut cuts = at.map(|at| at.index(chunks.len() + 1));
        cuts.sort_unstable();
        let [first, second] = cuts;
        summed_up(true, &chunks, true);
        let runs = [
            summed_up(true, &chunks[..first], false),
            summed_up(false, &chunks[first..second], false),
            summed_up(false, &chunks[second..], true),
        ];
        let joined = MerkleHashSubtree::merge(&runs).unwrap();
        prop_assert_eq!(joined.final_hash().map(|root| ours(&root)), Some(hash::root(&chunks)));
    }
}

#[test]
fn roots_of_large_lists_agree() {
    for count in [10_000, 100_000] {
        let chunks: Vec<_> = (0..count).map(|i| (hash::chunk_hash(&u64::to_le_bytes(i)), i)).collect();
        let list: Vec<_> = chunks.iter().map(|(hash, size)| (theirs(hash), *size)).collect();
        assert_eq!(hash::file_hash(&chunks), ours(&merklehash::file_hash(&list)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn chunks_are_read_both_ways(raw in raw_chunk(), (our_scheme, their_scheme) in schemes()) {
        let mut record = Vec::new();
        encode_chunk(&raw, SchemeChoice::Always(our_scheme), &mut record).unwrap();
        let (back, stored, _) = deserialize_chunk(&mut Cursor::new(&record)).unwrap();
        prop_assert_eq!(&back, &raw);
        prop_assert_eq!(stored, record.len());

        let mut their_record = Vec::new();
        serialize_chunk(&raw, &mut their_record, their_scheme).unwrap();
        let (head, stored) = their_record.split_first_chunk().unwrap();
        let header = weighthouse_format::xet::xorb::ChunkHeader::parse(*head).unwrap();
        let mut back = Vec::new();
        decode_chunk(header.scheme(), stored, header.raw_len(), &mut back).unwrap();
        prop_assert_eq!(&back, &raw);
        // Frames need not be equal, but both sides must agree on whether they are worth it.
        prop_assert_eq!(record[4], their_record[4]);
    }

    #[test]
    fn our_xorbs_are_valid_there(
        chunks in prop::collection::vec(raw_chunk(), 1..8),
        (scheme, _) in schemes(),
        auto: bool,
    ) {
        let choice = if auto { SchemeChoice::Auto } else { SchemeChoice::Always(scheme) };
        let xorb = our_xorb(&chunks, choice);
        let mut with_footer = xorb.body.clone();
        write_footer(&xorb.listing, &mut with_footer);

        let mut rebuilt = Vec::new();
        let (_, name) = reconstruct_xorb_with_footer(&mut rebuilt, &xorb.body).unwrap();
        prop_assert_eq!(ours(&name), xorb.listing.hash);
        prop_assert!(rebuilt == with_footer, "footers are equal byte for byte");

        let mut reader = Cursor::new(&with_footer);
        let object = XorbObject::validate_xorb_object(&mut reader, &theirs(&xorb.listing.hash)).unwrap();
        let object = object.expect("valid");
        prop_assert_eq!(object.get_all_bytes(&mut reader).unwrap(), chunks.concat());
        let count = chunks.len() as u32;
        let range = xorb.listing.body_range(0..count).unwrap();
        prop_assert_eq!(object.get_byte_offset(0, count).unwrap(), (range.start, range.end));
        let range_hash = object.generate_chunk_range_hash(0, count).unwrap();
        prop_assert_eq!(xorb.listing.range_hash(0..count).unwrap(), ours(&range_hash));
    }

    #[test]
    fn their_xorbs_are_valid_here(
        chunks in prop::collection::vec(raw_chunk(), 1..8),
        (_, scheme) in schemes(),
        auto: bool,
        footer: bool,
        piece in 1usize..200_000,
    ) {
        let scheme = if auto { CompressionScheme::Auto } else { scheme };
        let xorb = their_xorb(&chunks, scheme, footer);
        let (body, listing) = verified(&xorb.serialized_data, piece);
        prop_assert_eq!(listing.hash, ours(&xorb.hash));
        prop_assert_eq!(listing.raw_len as u64, xorb.raw_num_bytes);
        let end = xorb.footer_start.map_or(xorb.serialized_data.len(), |start| start as usize);
        prop_assert_eq!(&body, &xorb.serialized_data[..end]);
        prop_assert_eq!(listing.footer_len as usize, xorb.serialized_data.len() - end);
        for (chunk, raw) in listing.chunks.iter().zip(&chunks) {
            prop_assert_eq!(chunk.hash, ours(&merklehash::compute_data_hash(raw)));
        }
    }
}

fn shard_xorb() -> impl Strategy<Value = ShardXorb> {
    let chunk = (hashes(), 1u32..=131_072, any::<bool>());
    (hashes(), 1u32..1_000_000, prop::collection::vec(chunk, 1..30)).prop_map(|(hash, stored_bytes, list)| {
        let mut raw_bytes = 0;
        let mut chunks = Vec::new();
        for (hash, raw_len, dedup_candidate) in list {
            chunks.push(ShardChunk { hash, offset: raw_bytes, raw_len, dedup_candidate });
            raw_bytes += raw_len;
        }
        ShardXorb { hash, raw_bytes, stored_bytes, chunks }
    })
}

fn shard_file(with_ranges: bool) -> impl Strategy<Value = ShardFile> {
    let term = (hashes(), 200u32..1_000_000, 0u32..8000, 1u32..190, hashes());
    (hashes(), prop::collection::vec(term, 1..6), any::<Option<[u8; 32]>>()).prop_map(
        move |(file_hash, list, sha256)| {
            let (mut terms, mut ranges) = (Vec::new(), Vec::new());
            for (xorb, unpacked_bytes, start, len, range) in list {
                terms.push(Term { xorb, unpacked_bytes, start, end: start + len });
                ranges.push(range);
            }
            ShardFile { file_hash, terms, range_hashes: with_ranges.then_some(ranges), sha256 }
        },
    )
}

/// Sorted by hash, as the reference keeps its shards.
fn shard() -> impl Strategy<Value = Shard> {
    any::<bool>().prop_flat_map(|with_ranges| {
        let files = prop::collection::vec(shard_file(with_ranges), 0..5);
        (files, prop::collection::vec(shard_xorb(), 0..5)).prop_map(|(mut files, mut xorbs)| {
            files.sort_by_key(|file| theirs(&file.file_hash));
            xorbs.sort_by_key(|xorb| theirs(&xorb.hash));
            Shard { files, xorbs }
        })
    })
}

fn their_file(file: &ShardFile) -> MDBFileInfo {
    let ranges = file.range_hashes.iter().flatten();
    MDBFileInfo {
        metadata: FileDataSequenceHeader::new(
            theirs(&file.file_hash),
            file.terms.len(),
            file.range_hashes.is_some(),
            file.sha256.is_some(),
        ),
        segments: file
            .terms
            .iter()
            .map(|term| FileDataSequenceEntry::new(theirs(&term.xorb), term.unpacked_bytes, term.start, term.end))
            .collect(),
        verification: ranges.map(|range| FileVerificationEntry::new(theirs(range))).collect(),
        metadata_ext: file.sha256.map(|digest| FileMetadataExt::new(MerkleHash::from_be_bytes(digest))),
    }
}

fn their_listing(xorb: &ShardXorb) -> MDBXorbInfo {
    let mut metadata = XorbChunkSequenceHeader::new(theirs(&xorb.hash), xorb.chunks.len(), xorb.raw_bytes);
    metadata.num_bytes_on_disk = xorb.stored_bytes;
    let chunks = xorb.chunks.iter().map(|chunk| {
        XorbChunkSequenceEntry::new(theirs(&chunk.hash), chunk.raw_len, chunk.offset)
            .with_global_dedup_flag(chunk.dedup_candidate)
    });
    MDBXorbInfo { metadata, chunks: chunks.collect() }
}

fn their_shard(shard: &Shard) -> MDBInMemoryShard {
    let mut memory = MDBInMemoryShard::default();
    for file in &shard.files {
        memory.add_file_reconstruction_info(their_file(file)).unwrap();
    }
    for xorb in &shard.xorbs {
        memory.add_xorb_block(their_listing(xorb)).unwrap();
    }
    memory
}

fn parse(bytes: &[u8]) -> Shard {
    Shard::parse(bytes, &Limits::default()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn shards_are_equal_byte_for_byte(shard in shard()) {
        let with_footer = their_shard(&shard).to_bytes().unwrap();
        prop_assert_eq!(&parse(&with_footer), &shard);

        let upload = shard.to_upload().unwrap();
        // All but the footer size in the header.
        prop_assert_eq!(&upload[..40], &with_footer[..40]);
        prop_assert_eq!(&upload[48..], &with_footer[48..upload.len()]);

        let minimal = MDBMinimalShard::from_reader(&mut Cursor::new(&upload), true, true).unwrap();
        prop_assert_eq!(minimal.num_files(), shard.files.len());
        prop_assert_eq!(minimal.num_xorb(), shard.xorbs.len());
        for (i, file) in shard.files.iter().enumerate() {
            let view = minimal.file(i).unwrap();
            prop_assert_eq!(ours(&view.file_hash()), file.file_hash);
            prop_assert_eq!(view.num_entries(), file.terms.len());
            let sha256 = view.metadata_ext().map(|ext| ours(&ext.sha256).to_sha256());
            prop_assert_eq!(sha256, file.sha256);
        }
    }

    #[test]
    fn keyed_answers_are_equal_to_theirs(shard in shard(), hmac_key: Option<[u8; 32]>, lookup_tables: bool) {
        let mut exported = Vec::new();
        let no_files = their_shard(&Shard { files: Vec::new(), xorbs: shard.xorbs.clone() }).to_bytes().unwrap();
        MDBShardInfo::export_as_keyed_shard_streaming(
            &mut Cursor::new(&no_files),
            &mut exported,
            hmac_key.map(HMACKey::from).unwrap_or_default(),
            Duration::from_secs(1000),
            false,
            lookup_tables,
            lookup_tables,
        )
        .unwrap();
        let footer = ShardFooter::parse(&exported).unwrap();
        prop_assert_eq!(footer.hmac_key, hmac_key);
        let mut options = DedupOptions::default();
        options.hmac_key = hmac_key;
        options.created_s = footer.created_s;
        options.expires_s = footer.expires_s;
        options.lookup_tables = lookup_tables;
        let answer = write_dedup(&shard.xorbs, &options).unwrap();
        prop_assert!(answer == exported, "answers are equal byte for byte");
    }

    #[test]
    fn answers_are_loaded_and_searched(
        xorbs in prop::collection::vec(shard_xorb(), 1..5),
        hmac_key: Option<[u8; 32]>,
        lookup_tables: bool,
        at: prop::sample::Index,
    ) {
        let mut options = DedupOptions::default();
        options.hmac_key = hmac_key;
        options.lookup_tables = lookup_tables;
        let answer = write_dedup(&xorbs, &options).unwrap();

        let mut reader = Cursor::new(&answer);
        let info = MDBShardInfo::load_from_reader(&mut reader).unwrap();
        prop_assert_eq!(info.num_bytes(), answer.len() as u64);
        prop_assert_eq!(info.chunk_hmac_key(), hmac_key.map(HMACKey::from));
        prop_assert_eq!(info.stored_bytes(), xorbs.iter().map(|xorb| u64::from(xorb.raw_bytes)).sum::<u64>());
        prop_assert_eq!(info.read_all_xorb_blocks_full(&mut reader).unwrap().len(), xorbs.len());
        let locations = info.read_all_truncated_hashes(&mut reader).unwrap();
        prop_assert_eq!(locations.len(), xorbs.iter().map(|xorb| xorb.chunks.len()).sum::<usize>());

        let xorb = at.get(&xorbs);
        let from = at.index(xorb.chunks.len());
        let query: Vec<_> = xorb.chunks[from..].iter().map(|chunk| theirs(&chunk.hash)).collect();
        let found = info.chunk_hash_dedup_query(&mut reader, &query).unwrap();
        if lookup_tables {
            let (count, term) = found.expect("the chunks are listed");
            prop_assert_eq!(count, query.len());
            prop_assert_eq!(ours(&term.xorb_hash), xorb.hash);
            prop_assert_eq!(term.chunk_index_start as usize, from);
        }
    }
}

/// What a client does with an answer: it stores the file, registers it, and asks it for chunks.
#[test]
fn the_client_finds_chunks_in_our_answers() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for hmac_key in [None, Some([7; 32])] {
        for lookup_tables in [false, true] {
            let chunks: Vec<_> = (0..40).map(|seed| noise(seed, 1000)).collect();
            let xorb = our_xorb(&chunks, SchemeChoice::Auto).listing;
            let listing = ShardXorb {
                hash: xorb.hash,
                raw_bytes: xorb.raw_len,
                stored_bytes: xorb.body_len,
                chunks: (0..)
                    .zip(&xorb.chunks)
                    .map(|(i, chunk)| ShardChunk {
                        hash: chunk.hash,
                        offset: i * 1000,
                        raw_len: chunk.raw_len,
                        dedup_candidate: i == 0,
                    })
                    .collect(),
            };
            let mut options = DedupOptions::default();
            options.hmac_key = hmac_key;
            options.lookup_tables = lookup_tables;
            let answer = write_dedup(&[listing], &options).unwrap();
            let query: Vec<_> = xorb.chunks[3..9].iter().map(|chunk| theirs(&chunk.hash)).collect();
            let folder = tempfile::tempdir().unwrap();
            runtime.block_on(async {
                let context = XetContext::default().unwrap();
                let manager = ShardFileManager::new_in_cache_directory(&context, folder.path()).await.unwrap();
                let how = ChunkIndexSizeEnforcement::StopAtCap;
                manager.import_shard_from_bytes(&answer, how).await.unwrap();
                let (count, term) = manager.chunk_hash_dedup_query(&query).await.unwrap().expect("found");
                assert_eq!((count, term.chunk_index_start, term.chunk_index_end), (6, 3, 9));
                assert_eq!(term.unpacked_segment_bytes, 6000);
                assert_eq!(ours(&term.xorb_hash), xorb.hash);
                let other = [MerkleHash::random_from_seed(1)];
                assert!(manager.chunk_hash_dedup_query(&other).await.unwrap().is_none());
            });
        }
    }
}
