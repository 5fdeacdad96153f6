use proptest::prelude::*;

use super::*;
use crate::error::FormatError;
use crate::limits::Limits;
use crate::xet::hash::XetHash;

fn parse(bytes: &[u8]) -> Result<Shard, FormatError> {
    Shard::parse(bytes, &Limits::default())
}

fn hash() -> impl Strategy<Value = XetHash> {
    any::<[u8; 32]>().prop_map(XetHash::from_bytes)
}

fn term() -> impl Strategy<Value = Term> {
    (hash(), 1u32..2_000_000, 0u32..8000, 1u32..192).prop_map(|(xorb, bytes, start, len)| Term {
        xorb,
        unpacked_bytes: bytes.max(len),
        start,
        end: start + len,
    })
}

fn file(with_ranges: bool) -> impl Strategy<Value = ShardFile> {
    (hash(), prop::collection::vec((term(), hash()), 0..5), any::<Option<[u8; 32]>>()).prop_map(
        move |(file_hash, terms, sha256)| {
            let (terms, hashes): (Vec<_>, Vec<_>) = terms.into_iter().unzip();
            ShardFile { file_hash, terms, range_hashes: with_ranges.then_some(hashes), sha256 }
        },
    )
}

fn xorb() -> impl Strategy<Value = ShardXorb> {
    let chunk = (hash(), 1u32..=131_072, any::<bool>());
    (hash(), any::<u32>(), prop::collection::vec(chunk, 1..20)).prop_map(|(hash, stored_bytes, list)| {
        let mut raw_bytes = 0;
        let mut chunks = Vec::new();
        for (hash, raw_len, dedup_candidate) in list {
            chunks.push(ShardChunk { hash, offset: raw_bytes, raw_len, dedup_candidate });
            raw_bytes += raw_len;
        }
        ShardXorb { hash, raw_bytes, stored_bytes, chunks }
    })
}

fn shard() -> impl Strategy<Value = Shard> {
    any::<bool>().prop_flat_map(|with_ranges| {
        (prop::collection::vec(file(with_ranges), 0..4), prop::collection::vec(xorb(), 0..4))
            .prop_map(|(files, xorbs)| Shard { files, xorbs })
    })
}

/// A shard from raw records.
fn raw(records: &[([u8; 32], [u32; 4])]) -> Vec<u8> {
    let mut bytes = TAG.to_vec();
    bytes.extend(2u64.to_le_bytes());
    bytes.extend(0u64.to_le_bytes());
    for (hash, words) in records {
        bytes.extend(hash);
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    }
    bytes
}

const END: ([u8; 32], [u32; 4]) = ([0xFF; 32], [0; 4]);

#[test]
fn an_empty_shard_is_three_records() {
    let bytes = Shard::default().to_upload().unwrap();
    assert_eq!(bytes.len(), 3 * RECORD_LEN);
    assert_eq!(parse(&bytes).unwrap(), Shard::default());
}

#[test]
fn other_tags_and_versions_are_refused() {
    let mut bytes = Shard::default().to_upload().unwrap();
    bytes[0] ^= 1;
    assert!(matches!(parse(&bytes), Err(FormatError::BadMagic { .. })));
    bytes[0] ^= 1;
    bytes[32] = 3;
    assert!(matches!(parse(&bytes), Err(FormatError::UnknownVersion { version: 3, .. })));
}

#[test]
fn counts_without_bytes_are_refused_at_once() {
    for flags in [0, WITH_RANGE_HASHES, WITH_SHA256, WITH_RANGE_HASHES | WITH_SHA256, u32::MAX] {
        for count in [1, 5, u32::MAX - 1, u32::MAX] {
            let bytes = raw(&[([1; 32], [flags, count, 0, 0])]);
            assert!(matches!(parse(&bytes), Err(FormatError::Truncated { .. })));
        }
    }
    let bytes = raw(&[END, ([1; 32], [0, 8192, 1, 1])]);
    assert!(matches!(parse(&bytes), Err(FormatError::Truncated { .. })));
    let bytes = raw(&[END, ([1; 32], [0, u32::MAX, 1, 1])]);
    assert!(matches!(parse(&bytes), Err(FormatError::TooLarge { .. })));
}

#[test]
fn terms_outside_the_bounds_are_refused() {
    for words in [[0, 1, 5, 5], [0, 1, 6, 5], [0, 1, 0, 8193], [0, (64 << 20) + 1, 0, 2], [0, 1, 0, 2], [0, 0, 0, 1]] {
        let bytes = raw(&[([1; 32], [0, 1, 0, 0]), ([2; 32], words), END, END]);
        assert!(parse(&bytes).is_err(), "{words:?}");
    }
    let bytes = raw(&[([1; 32], [0, 1, 0, 0]), ([2; 32], [7, 2, 0, 2]), END, END]);
    assert_eq!(parse(&bytes).unwrap().files[0].terms[0].end, 2);
}

#[test]
fn listings_that_contradict_themselves_are_refused() {
    let xorb = |raw_bytes, chunks: &[[u32; 4]]| {
        let mut records = vec![END, ([1; 32], [0, chunks.len() as u32, raw_bytes, 9])];
        records.extend(chunks.iter().map(|&words| ([2; 32], words)));
        records.push(END);
        parse(&raw(&records))
    };
    assert!(xorb(30, &[[0, 10, 0, 0], [10, 20, 0, 0]]).is_ok());
    assert!(xorb(31, &[[0, 10, 0, 0], [10, 20, 0, 0]]).is_err(), "another sum");
    assert!(xorb(30, &[[1, 10, 0, 0], [11, 20, 0, 0]]).is_err(), "does not begin at 0");
    assert!(xorb(30, &[[0, 10, 0, 0], [9, 20, 0, 0]]).is_err(), "overlap");
    assert!(xorb(10, &[[0, 10, 0, 0], [10, 0, 0, 0]]).is_err(), "empty chunk");
    assert!(xorb(131_073, &[[0, 131_073, 0, 0]]).is_err(), "long chunk");
    assert!(xorb(0, &[]).is_err(), "empty xorb");
    let many: Vec<_> = (0..1024).map(|i| [i * 131_072, 131_072, 0, 0]).collect();
    assert!(xorb(1024 * 131_072, &many).is_err(), "long xorb");
}

#[test]
fn range_hashes_belong_to_all_files_or_none() {
    let with = ([1; 32], [WITH_RANGE_HASHES, 0, 0, 0]);
    let without = ([2; 32], [0, 0, 0, 0]);
    assert!(parse(&raw(&[with, with, END, END])).is_ok());
    assert!(parse(&raw(&[with, without, END, END])).is_err());
    assert!(parse(&raw(&[without, with, END, END])).is_err());
}

#[test]
fn the_byte_budget_holds() {
    let bytes = Shard::default().to_upload().unwrap();
    let limits = Limits { shard_bytes: bytes.len() as u64 - 1, ..Limits::default() };
    assert!(matches!(Shard::parse(&bytes, &limits), Err(FormatError::TooLarge { .. })));
}

#[test]
fn a_file_with_other_numbers_of_terms_and_range_hashes_is_not_written() {
    let file = ShardFile { range_hashes: Some(vec![XetHash::ZERO]), ..ShardFile::default() };
    assert!(Shard { files: vec![file], xorbs: Vec::new() }.to_upload().is_err());
}

#[test]
fn a_hash_that_would_end_a_section_is_not_written() {
    let file = ShardFile { file_hash: XetHash::BOOKEND, ..ShardFile::default() };
    let xorb = ShardXorb { hash: XetHash::BOOKEND, ..ShardXorb::default() };
    assert!(write_dedup(std::slice::from_ref(&xorb), &DedupOptions::default()).is_err());
    assert!(Shard { files: vec![file], xorbs: Vec::new() }.to_upload().is_err());
    assert!(Shard { files: Vec::new(), xorbs: vec![xorb] }.to_upload().is_err());
}

#[test]
fn chunks_are_eligible_by_mark_or_by_hash() {
    let mut chunk = ShardChunk { hash: XetHash::from_bytes([1; 32]), ..ShardChunk::default() };
    assert!(!chunk.is_eligible());
    chunk.dedup_candidate = true;
    assert!(chunk.is_eligible());
    assert!(ShardChunk::default().is_eligible());
}

proptest! {
    #[test]
    fn an_upload_comes_back(shard in shard(), tail: Vec<u8>) {
        let bytes = shard.to_upload().unwrap();
        prop_assert_eq!(&parse(&bytes).unwrap(), &shard);
        prop_assert!(ShardFooter::parse(&bytes).is_err());
        let followed = [bytes, tail].concat();
        prop_assert_eq!(&parse(&followed).unwrap(), &shard);
    }

    #[test]
    fn a_dedup_answer_comes_back(
        xorbs in prop::collection::vec(xorb(), 0..4),
        hmac_key: Option<[u8; 32]>,
        created_s: u64,
        expires_s: u64,
        lookup_tables: bool,
    ) {
        let options = DedupOptions { hmac_key, created_s, expires_s, lookup_tables };
        let bytes = write_dedup(&xorbs, &options).unwrap();
        let footer = ShardFooter::parse(&bytes).unwrap();
        prop_assert_eq!(footer, ShardFooter { hmac_key, created_s, expires_s });
        let mut expected = xorbs;
        if let Some(key) = hmac_key {
            expected.iter_mut().flat_map(|xorb| &mut xorb.chunks).for_each(|chunk| chunk.hash = chunk.hash.keyed(&key));
        }
        prop_assert_eq!(parse(&bytes).unwrap(), Shard { files: Vec::new(), xorbs: expected });
    }

    #[test]
    fn a_cut_shard_is_refused(shard in shard(), at: prop::sample::Index) {
        let bytes = shard.to_upload().unwrap();
        prop_assert!(parse(&bytes[..at.index(bytes.len())]).is_err());
    }

    #[test]
    fn a_damaged_shard_never_panics(
        shard in shard(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = shard.to_upload().unwrap();
        for (at, byte) in damage {
            *at.get_mut(&mut bytes) = byte;
        }
        if let Ok(shard) = parse(&bytes) {
            prop_assert_eq!(parse(&shard.to_upload().unwrap()).unwrap(), shard);
        }
    }

    #[test]
    fn arbitrary_records_never_panic(words in prop::collection::vec((any::<bool>(), any::<[u32; 4]>()), 0..30)) {
        let records: Vec<_> = words.into_iter().map(|(end, words)| ([if end { 0xFF } else { 1 }; 32], words)).collect();
        let _ = parse(&raw(&records));
        let small: Vec<_> = records.iter().map(|&(hash, words)| (hash, words.map(|word| word % 5))).collect();
        let _ = parse(&raw(&small));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        let _ = parse(&bytes);
        let _ = ShardFooter::parse(&bytes);
    }
}
