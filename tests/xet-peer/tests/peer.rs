//! What the hub answers is what the test server of the reference answers.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;

use anyhow::Result;
use xet_client::cas_types::{
    BatchQueryReconstructionResponse, ChunkWindow, FileRange, QueryReconstructionResponseV2, XorbReconstructionTerm,
};
use xet_core_structures::merklehash::{HMACKey, MerkleHash};
use xet_core_structures::metadata_shard::MDBShardInfo;
use xet_core_structures::metadata_shard::file_structs::MDBFileInfo;
use xet_data::deduplication::Chunker;
use xet_peer::{Edit, Hub, Side, noise};

/// Both servers; the hub's side speaks for the repository `m`.
async fn both() -> Result<(Hub, Side, Side)> {
    let hub = Hub::start().await?;
    hub.create("m").await?;
    let (ours, theirs) = (Side::hub(&hub, "m").await?, Side::reference().await?);
    Ok((hub, ours, theirs))
}

/// Files in an order in which later ones reuse parts of earlier ones.
fn files() -> Vec<Vec<u8>> {
    let large = noise(1, 3_000_000);
    let (front, back) = large.split_at(1_200_000);
    let words: Vec<u8> = (0..200_000).flat_map(|i: u32| format!("{} ", i % 1_000).into_bytes()).collect();
    vec![
        vec![7],
        noise(2, 5_000),
        words,
        large.clone(),
        [front, &noise(3, 50_000), back].concat(),
        [&noise(4, 700_000), &large[500_000..2_500_000], &noise(5, 10)].concat(),
        vec![0; 2_000_000],
    ]
}

/// A plan without addresses, which no two servers share.
#[derive(Debug, PartialEq)]
struct Plan {
    skip: u64,
    terms: Vec<(String, u32, (u32, u32))>,
    fetches: BTreeMap<String, Vec<((u32, u32), (u64, u64))>>,
}

fn plan(found: Option<QueryReconstructionResponseV2>) -> Option<Plan> {
    let found = found?;
    let term = |term: &XorbReconstructionTerm| {
        (format!("{:?}", term.hash), term.unpacked_length, (term.range.start, term.range.end))
    };
    let fetches = found.xorbs.iter().map(|(xorb, fetches)| {
        let ranges = fetches.iter().flat_map(|fetch| &fetch.ranges);
        let ranges = ranges.map(|r| ((r.chunks.start, r.chunks.end), (r.bytes.start, r.bytes.end)));
        (format!("{xorb:?}"), ranges.collect())
    });
    Some(Plan {
        skip: found.offset_into_first_range,
        terms: found.terms.iter().map(term).collect(),
        fetches: fetches.collect(),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_uploads_make_the_same_files_and_plans() -> Result<()> {
    let (hub, ours, theirs) = both().await?;
    let mut hashes = Vec::new();
    for data in files() {
        let (here, there) = (ours.upload(&data).await?, theirs.upload(&data).await?);
        assert_eq!(here, there, "file hash, and bytes that the server lacked");
        let (file, size) = (here.0, data.len() as u64);
        let layout = |info: Option<(MDBFileInfo, Option<MerkleHash>)>| info.map(|(info, _)| info.segments);
        assert_eq!(
            layout(ours.client.get_file_reconstruction_info(&file).await?),
            layout(theirs.client.get_file_reconstruction_info(&file).await?),
        );
        let middle = FileRange::new(size / 3, size / 2 + 1);
        let ends = [FileRange::new(0, 1), FileRange::new(size - 1, size), FileRange::new(size / 2, u64::MAX)];
        for range in [None, Some(middle)].into_iter().chain(ends.map(Some)) {
            let (here, there) = (
                ours.client.get_reconstruction(&file, range).await?,
                theirs.client.get_reconstruction(&file, range).await?,
            );
            assert_eq!(plan(here), plan(there), "{size} bytes, {range:?}");
        }
        let past = Some(FileRange::new(size, size + 10));
        assert_eq!(plan(ours.client.get_reconstruction(&file, past).await?), None);
        assert_eq!(plan(theirs.client.get_reconstruction(&file, past).await?), None);
        assert!(ours.download(&file, size).await? == data);
        assert!(hub.commit_and_read("m", &data).await? == data, "the SHA-256 is known");
        hashes.push(file);
    }
    hashes.push(MerkleHash::random_from_seed(1));
    let terms = |found: BatchQueryReconstructionResponse| -> BTreeMap<String, String> {
        found.files.iter().map(|(file, terms)| (format!("{file:?}"), format!("{terms:?}"))).collect()
    };
    let here = terms(ours.client.batch_get_reconstruction(&hashes).await?);
    assert_eq!(here.len(), hashes.len() - 1, "a file that is not there is left out");
    hashes.pop();
    assert_eq!(here, terms(theirs.client.batch_get_reconstruction(&hashes).await?));
    Ok(())
}

/// Xorbs of a dedup answer with their chunks; chunk hashes keyed with `key`, if the answer does not do so itself.
fn listed(answer: &[u8], key: Option<HMACKey>) -> Result<BTreeMap<String, Vec<(MerkleHash, u32)>>> {
    let mut reader = Cursor::new(answer);
    let info = MDBShardInfo::load_from_reader(&mut reader)?;
    let keyed = info.chunk_hmac_key().is_some();
    let blocks = info.read_all_xorb_blocks_full(&mut reader)?;
    Ok(blocks
        .into_iter()
        .map(|block| {
            let hash = |hash: MerkleHash| key.filter(|_| !keyed).map_or(hash, |key| hash.hmac(key));
            let chunks = block.chunks.iter().map(|c| (hash(c.chunk_hash), c.unpacked_segment_bytes)).collect();
            (block.metadata.xorb_hash.hex(), chunks)
        })
        .collect())
}

fn chunk_hashes(data: &[u8]) -> Vec<MerkleHash> {
    Chunker::default().next_block(data, true).iter().map(|chunk| chunk.hash).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_chunks_are_known() -> Result<()> {
    let (_hub, ours, theirs) = both().await?;
    let files = files();
    for data in &files {
        ours.upload(data).await?;
        theirs.upload(data).await?;
    }
    let mut firsts = BTreeSet::new();
    for data in &files {
        let chunks = chunk_hashes(data);
        firsts.insert(chunks[0]);
        for (index, chunk) in chunks.iter().enumerate().filter(|(index, _)| index % 7 == 0) {
            // The hub knows the first chunk of each xorb too.
            let Some(there) = theirs.client.query_for_global_dedup_shard("default", chunk).await? else { continue };
            let here = ours.client.query_for_global_dedup_shard("default", chunk).await?.expect("known here as well");
            let key = MDBShardInfo::load_from_reader(&mut Cursor::new(&here))?.chunk_hmac_key();
            assert!(key.is_some(), "chunk hashes are told under a key only");
            let (here, there) = (listed(&here, key)?, listed(&there, key)?);
            let known =
                there.iter().filter(|(_, chunks)| chunks.iter().any(|(hash, _)| *hash == chunk.hmac(key.unwrap())));
            for (xorb, chunks) in known {
                assert_eq!(here.get(xorb), Some(chunks), "the xorb with chunk {index}");
            }
        }
    }
    for first in firsts {
        assert!(ours.client.query_for_global_dedup_shard("default", &first).await?.is_some());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_file_is_replaced_as_if_the_whole_had_been_sent() -> Result<()> {
    let (hub, ours, theirs) = both().await?;
    let large = noise(11, 4_000_000);
    ours.upload(&large).await?;
    theirs.upload(&large).await?;
    // A file of several terms: old, new, old, new, old.
    let data = [
        &large[..1_000_000],
        &noise(12, 90_000),
        &large[1_000_000..2_000_000],
        &noise(13, 80_000),
        &large[2_000_000..],
    ]
    .concat();
    let (file, _) = ours.upload(&data).await?;
    assert_eq!(theirs.upload(&data).await?.0, file);
    let terms = ours.client.get_file_reconstruction_info(&file).await?.unwrap().0.segments;
    assert!(terms.len() >= 5, "{terms:?}");
    let size = data.len();
    let edit = |range: std::ops::Range<usize>, len: usize| Edit { bytes: noise(range.start as u64 + 99, len), range };
    let second = terms[0].unpacked_segment_bytes as usize;
    let cases: Vec<Vec<Edit>> = vec![
        vec![edit(0..1, 1)],
        vec![edit(100..5_000, 4_900)],
        vec![edit(1_040_000..1_041_000, 1_000)],
        vec![edit(1_500_000..1_600_000, 3)],
        vec![edit(2_000_000..2_000_000, 30_000)],
        vec![edit(second..second, 20)],
        vec![edit(size - 1..size, 1)],
        vec![edit(size..size, 200_000)],
        vec![edit(3_000_000..size, 0)],
        vec![edit(0..1_000_000, 0)],
        vec![edit(10..20, 10), edit(1_050_000..1_050_001, 1), edit(2_150_000..2_150_100, 50), edit(size..size, 9)],
    ];
    // Where the two rules for the end of a window meet, the answers are equal to the last hash.
    let last = (size - terms.last().unwrap().unpacked_segment_bytes as usize) as u64;
    for asked in [FileRange::new(last, size as u64), FileRange::new(0, size as u64)] {
        let here = ours.client.get_file_chunk_hashes(&file, vec![asked]).await?;
        let there = theirs.client.get_file_chunk_hashes(&file, vec![asked]).await?;
        assert_eq!(serde_json::to_value(&here)?, serde_json::to_value(&there)?, "{asked:?}");
    }
    for edits in cases {
        let made = Edit::apply(&edits, &data);
        let place = |edit: &Edit| {
            FileRange::new(edit.range.start as u64, (edit.range.end as u64).max(edit.range.start as u64 + 1))
        };
        let asked: Vec<FileRange> = edits.iter().map(place).filter(|range| range.start < size as u64).collect();
        if !asked.is_empty() {
            let here = ours.client.get_file_chunk_hashes(&file, asked.clone()).await?;
            let there = theirs.client.get_file_chunk_hashes(&file, asked).await?;
            assert_eq!((here.total_chunks, here.file_size), (there.total_chunks, there.file_size));
            for window in &there.windows {
                let [start, end] = window.dirty_byte_range;
                let holds = |w: &&ChunkWindow| w.dirty_byte_range[0] <= start && end <= w.dirty_byte_range[1];
                assert!(here.windows.iter().any(|w| holds(&w)), "{start}..{end} is in {:?}", here.windows);
            }
        }
        let edited = ours.edit(file, size as u64, &edits).await?;
        let (whole, _) = theirs.upload(&made).await?;
        assert_eq!(edited, whole, "{:?}", edits.iter().map(|edit| &edit.range).collect::<Vec<_>>());
        assert!(ours.download(&edited, made.len() as u64).await? == made);
        assert!(hub.commit_and_read("m", &made).await? == made);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_others_cannot_be_asked_about_or_edited() -> Result<()> {
    let (hub, ours, _) = both().await?;
    let data = noise(21, 500_000);
    let (file, _) = ours.upload(&data).await?;
    hub.create("other").await?;
    let other = Side::hub(&hub, "other").await?;
    assert!(other.client.get_file_chunk_hashes(&file, vec![FileRange::new(0, 10)]).await.is_err());
    let edit = Edit { range: 0..10, bytes: vec![1; 10] };
    assert!(other.edit(file, data.len() as u64, &[edit.clone()]).await.is_err());
    assert!(ours.edit(file, data.len() as u64, &[edit]).await.is_ok());
    Ok(())
}
