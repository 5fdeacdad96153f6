//! Coded packs give back the bytes that were taken in, and nothing else.

use proptest::prelude::*;
use weighthouse_format::xet::xorb::XorbVerifier;

use super::super::tests::{Room, noise, read, room, take_in};
use super::*;
use crate::catalog::{PackId, XorbForm};

/// Weights of a layer: about normal, from a seed.
pub(super) fn weights(seed: u64, count: usize) -> Vec<f32> {
    let noise = noise(seed, count * 4);
    noise
        .as_chunks::<4>()
        .0
        .iter()
        .map(|bytes| bytes.iter().map(|byte| f32::from(*byte) - 127.5).sum::<f32>() / 4000.0)
        .collect()
}

/// Rounded to the nearest, and to even between two.
pub(super) fn bf16(values: &[f32]) -> Vec<u8> {
    let round = |bits: u32| ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16;
    values.iter().flat_map(|value| round(value.to_bits()).to_le_bytes()).collect()
}

fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Small steps away from some weights.
pub(super) fn tuned(values: &[f32], seed: u64) -> Vec<f32> {
    let steps = noise(seed, values.len());
    values.iter().zip(steps).map(|(value, step)| value * (1.0 + (f32::from(step) - 127.5) * 1e-4)).collect()
}

/// A file of one tensor behind a header of an odd length.
pub(super) fn file(header: usize, tensor: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..header).map(|i| b"{\"dtype\":\"BF16\"}"[i % 16]).collect();
    bytes.extend_from_slice(tensor);
    bytes
}

pub(super) fn source(
    content: &Content,
    dtype: Dtype,
    header: u64,
    base: Option<(&Content, u64, Dtype)>,
) -> RecodeSource {
    let base = base.map(|(base, offset, dtype)| RunBase { sha256: base.record.sha256, offset, dtype });
    let range = header..content.record.size_bytes;
    RecodeSource { content: content.clone(), runs: vec![TensorRun { range, dtype, base }] }
}

async fn recode(room: &Room, source: RecodeSource) -> Recoded {
    room.store.recode(&[source], Level::Fast, false, &Pace::full()).await.unwrap()
}

async fn whole(room: &Room, content: &Content) -> Vec<u8> {
    read(&room.store, content, 0..content.record.size_bytes).await.unwrap()
}

async fn place(room: &Room, content: &Content) -> Arc<Place> {
    room.store.fresh_place(&content.terms[0].xorb).await.unwrap().unwrap()
}

async fn checked(room: &Room, content: &Content, bytes: &[u8]) {
    assert!(whole(room, content).await == bytes);
    for term in &content.terms {
        room.store.check_xorb(&term.xorb).await.unwrap();
    }
}

#[tokio::test]
async fn a_fine_tune_takes_a_fraction_and_reads_back_in_every_range() {
    let room = room().await;
    let values = weights(1, 1_500_000);
    let (base, tune) = (file(1_001, &bf16(&values)), file(777, &bf16(&tuned(&values, 2))));
    let first = take_in(&room.store, &base, 1 << 20).await;
    let second = take_in(&room.store, &tune, 1 << 20).await;
    let done = recode(&room, source(&first, Dtype::BF16, 1_001, None)).await;
    assert_eq!((done.xorbs, done.kept), (1, 0));
    assert!(done.after_bytes * 10 < done.before_bytes * 8, "{done:?}");
    let done = recode(&room, source(&second, Dtype::BF16, 777, Some((&first, 1_001, Dtype::BF16)))).await;
    assert!(done.after_bytes * 2 < done.before_bytes, "{done:?}");
    checked(&room, &first, &base).await;
    checked(&room, &second, &tune).await;
    let len = tune.len() as u64;
    for range in [0..1, 700..800, 776..778, 262_000..1_300_001, len - 1..len, 65_535..65_537] {
        let expected = &tune[range.start as usize..range.end as usize];
        assert!(read(&room.store, &second, range.clone()).await.unwrap() == expected, "{range:?}");
    }
    let makeup = room.store.catalog().recodes().makeup(&second.terms[0].xorb).await.unwrap();
    let delta = makeup.iter().find(|part| part.codec == "delta").unwrap();
    assert_eq!(delta.base, Some(first.record.sha256));
    assert_eq!(makeup.iter().map(|part| part.raw_bytes).sum::<u64>(), len);
    // Another look finds nothing to do.
    assert_eq!(recode(&room, source(&second, Dtype::BF16, 777, None)).await, Recoded::default());
}

#[tokio::test]
async fn a_copy_in_another_container_and_precision_is_derived() {
    let room = room().await;
    let values = weights(3, 700_000);
    let (master, half, copy) = (file(40, &f32s(&values)), file(333, &bf16(&values)), file(9, &f32s(&values)));
    let first = take_in(&room.store, &master, 1 << 20).await;
    let second = take_in(&room.store, &half, 1 << 20).await;
    recode(&room, source(&first, Dtype::F32, 40, None)).await;
    let done = recode(&room, source(&second, Dtype::BF16, 333, Some((&first, 40, Dtype::F32)))).await;
    assert!(done.after_bytes * 50 < done.before_bytes, "{done:?}");
    checked(&room, &second, &half).await;
    let third = take_in(&room.store, &copy, 1 << 20).await;
    recode(&room, source(&third, Dtype::F32, 9, Some((&first, 40, Dtype::F32)))).await;
    checked(&room, &third, &copy).await;
}

#[tokio::test]
async fn a_difference_of_a_difference_is_the_end_of_a_chain() {
    let room = room().await;
    let values = weights(4, 400_000);
    let step = tuned(&values, 5);
    let next = tuned(&step, 6);
    let files = [(10, &values), (20, &step), (30, &next), (40, &tuned(&next, 7))];
    let files = files.map(|(head, values)| file(head, &bf16(values)));
    let mut contents = Vec::new();
    for bytes in &files {
        contents.push(take_in(&room.store, bytes, 1 << 20).await);
    }
    let [a, b, c, d] = &contents[..] else { unreachable!() };
    recode(&room, source(b, Dtype::BF16, 20, Some((a, 10, Dtype::BF16)))).await;
    recode(&room, source(c, Dtype::BF16, 30, Some((b, 20, Dtype::BF16)))).await;
    assert_eq!(place(&room, b).await.record.depth, 1);
    assert_eq!(place(&room, c).await.record.depth, 2);
    recode(&room, source(d, Dtype::BF16, 40, Some((c, 30, Dtype::BF16)))).await;
    assert_eq!(place(&room, d).await.record.depth, 0);
    // A base stays what it is: `a` may not come to need `c`.
    recode(&room, source(a, Dtype::BF16, 10, Some((c, 30, Dtype::BF16)))).await;
    assert_eq!(place(&room, a).await.record.depth, 0);
    for (content, bytes) in contents.iter().zip(&files) {
        checked(&room, content, bytes).await;
    }
}

#[tokio::test]
async fn a_base_may_come_to_need_one_itself_where_that_makes_no_chain_too_long() {
    let room = room().await;
    let values = weights(14, 400_000);
    let step = tuned(&values, 15);
    let files = [(10, &values), (20, &step), (30, &tuned(&step, 16))].map(|(head, values)| file(head, &bf16(values)));
    let mut contents = Vec::new();
    for bytes in &files {
        contents.push(take_in(&room.store, bytes, 1 << 20).await);
    }
    let [a, b, c] = &contents[..] else { unreachable!() };
    let depths = async || {
        let mut depths = Vec::new();
        for content in &contents {
            depths.push(room.store.fresh_place(&content.terms[0].xorb).await.unwrap().unwrap().record.depth);
        }
        depths
    };
    // The newest is coded first, and the one that it was made of after it.
    recode(&room, source(c, Dtype::BF16, 30, Some((b, 20, Dtype::BF16)))).await;
    assert_eq!(depths().await, [0, 0, 1]);
    let done = recode(&room, source(b, Dtype::BF16, 20, Some((a, 10, Dtype::BF16)))).await;
    assert!(done.after_bytes * 2 < done.before_bytes, "{done:?}");
    assert_eq!(depths().await, [0, 1, 2]);
    // No further, and not round in a circle.
    recode(&room, source(a, Dtype::BF16, 10, Some((c, 30, Dtype::BF16)))).await;
    assert_eq!(depths().await, [0, 1, 2]);
    for (content, bytes) in contents.iter().zip(&files) {
        checked(&room, content, bytes).await;
    }
}

#[tokio::test]
async fn a_content_is_no_base_of_its_own_chunks() {
    let room = room().await;
    let values = weights(7, 300_000);
    let bytes = file(10, &bf16(&values));
    let content = take_in(&room.store, &bytes, 1 << 20).await;
    recode(&room, source(&content, Dtype::BF16, 10, Some((&content, 10, Dtype::BF16)))).await;
    assert_eq!(place(&room, &content).await.record.depth, 0);
    checked(&room, &content, &bytes).await;
}

#[tokio::test]
async fn clients_get_a_xorb_that_is_what_it_is_called_before_and_after() {
    let room = room().await;
    let bytes = file(55, &bf16(&weights(8, 500_000)));
    let content = take_in(&room.store, &bytes, 1 << 20).await;
    let before = place(&room, &content).await;
    let body = room.store.read_body(&before, 0..before.listing.body_len.into()).await.unwrap();
    recode(&room, source(&content, Dtype::BF16, 55, None)).await;
    let after = place(&room, &content).await;
    assert_eq!((before.record.form, after.record.form), (XorbForm::Arrived, XorbForm::Coded));
    let len = u64::from(after.listing.body_len);
    let made_up = room.store.read_body(&after, 0..len).await.unwrap();
    for bytes in [&body, &made_up] {
        let mut verifier = XorbVerifier::new();
        verifier.push(bytes).unwrap();
        let listing = verifier.finish(&content.terms[0].xorb).unwrap();
        assert_eq!(listing.chunks.len(), after.listing.chunks.len());
    }
    for range in [0..1, 7..9, 5..200_000, len - 3..len, 65_000..65_001] {
        let part = room.store.read_body(&after, range.clone()).await.unwrap();
        assert!(part == made_up.slice(range.start as usize..range.end as usize), "{range:?}");
    }
    // Who was shown the old place still finds the old bytes there.
    let old = room.store.place_in(&content.terms[0].xorb, &before.record.pack).await.unwrap().unwrap();
    assert_eq!(room.store.read_body(&old, 0..body.len() as u64).await.unwrap(), body);
    let elsewhere = PackId::parse(&"a".repeat(24)).unwrap();
    assert!(room.store.place_in(&content.terms[0].xorb, &elsewhere).await.unwrap().is_none());
}

#[tokio::test]
async fn work_that_is_stopped_leaves_everything_as_it_was() {
    let room = room().await;
    let bytes = file(55, &bf16(&weights(9, 200_000)));
    let content = take_in(&room.store, &bytes, 1 << 20).await;
    let pace = Pace::full();
    pace.stop.store(true, Ordering::Relaxed);
    let done = room.store.recode(&[source(&content, Dtype::BF16, 55, None)], Level::Fast, false, &pace).await.unwrap();
    assert_eq!(done, Recoded { stopped: true, ..Recoded::default() });
    assert_eq!(place(&room, &content).await.record.encoder, 0);
    checked(&room, &content, &bytes).await;
}

#[tokio::test]
async fn what_does_not_pay_stays_and_is_not_tried_again() {
    let room = room().await;
    let bytes = noise(10, 3_000_000);
    let content = take_in(&room.store, &bytes, 1 << 20).await;
    let done = recode(&room, source(&content, Dtype::U8, 0, None)).await;
    assert_eq!((done.xorbs, done.kept), (0, 1));
    let found = place(&room, &content).await;
    assert_eq!((found.record.form, found.record.encoder), (XorbForm::Arrived, ENCODER));
    assert_eq!(recode(&room, source(&content, Dtype::U8, 0, None)).await, Recoded::default());
}

#[tokio::test]
async fn a_damaged_coded_pack_is_refused_and_never_served() {
    let room = room().await;
    let values = weights(11, 400_000);
    let (base, tune) = (file(10, &bf16(&values)), file(20, &bf16(&tuned(&values, 12))));
    let first = take_in(&room.store, &base, 1 << 20).await;
    let second = take_in(&room.store, &tune, 1 << 20).await;
    recode(&room, source(&first, Dtype::BF16, 10, None)).await;
    recode(&room, source(&second, Dtype::BF16, 20, Some((&first, 10, Dtype::BF16)))).await;
    let record = place(&room, &second).await.record.clone();
    let path = room.folder.path().join("blobs").join(record.pack.key());
    let good = std::fs::read(&path).unwrap();
    let reopened = || Store::new(room.store.catalog().clone(), room.store.blobs().clone(), room.store.clock().clone());
    for at in
        [record.body_offset + record.body_len / 2, record.index_offset + 40, record.index_offset + record.index_len - 9]
    {
        let mut bad = good.clone();
        bad[at as usize] ^= 4;
        std::fs::write(&path, bad).unwrap();
        let error = read(&reopened(), &second, 0..second.record.size_bytes).await.unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
        assert!(error.to_string().contains(&record.pack.to_string()), "{error}");
    }
    std::fs::write(&path, &good[..good.len() / 2]).unwrap();
    assert!(read(&reopened(), &second, 0..second.record.size_bytes).await.is_err());
    std::fs::write(&path, &good).unwrap();
    // A base that is damaged is named.
    let of_base = place(&room, &first).await.record.clone();
    let path = room.folder.path().join("blobs").join(of_base.pack.key());
    let mut bad = std::fs::read(&path).unwrap();
    bad[(of_base.body_offset + of_base.body_len / 2) as usize] ^= 1;
    std::fs::write(&path, bad).unwrap();
    let error = reopened().read_run(&second.record.sha256, 0..second.record.size_bytes, 0).await.unwrap_err();
    assert!(error.to_string().contains(&first.record.sha256.to_string()), "{error}");
}

#[tokio::test]
async fn a_swap_that_came_too_late_changes_nothing() {
    let room = room().await;
    let bytes = file(3, &bf16(&weights(13, 200_000)));
    let content = take_in(&room.store, &bytes, 1 << 20).await;
    let former = place(&room, &content).await.record.clone();
    recode(&room, source(&content, Dtype::BF16, 3, None)).await;
    let now = place(&room, &content).await.record.clone();
    let sealed =
        crate::catalog::SealedPack { id: now.pack.clone(), size_bytes: 1, xorbs: vec![now.clone()], dedup: vec![] };
    let late = [NewPlace { former, makeup: vec![], bases: vec![] }];
    let error = room.store.catalog().recodes().swap(&sealed, &late, 9).await.unwrap_err();
    assert!(matches!(error, StoreError::Moved { .. }), "{error}");
    assert_eq!(place(&room, &content).await.record, now);
    assert!(!room.store.catalog().recodes().makeup(&now.hash).await.unwrap().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Runs that lie about everything cost size and never bytes.
    #[test]
    fn any_claim_about_a_file_leaves_its_bytes_alone(
        seed in 0u64..1_000,
        cuts in prop::collection::btree_set(0u64..900_000, 0..12),
        dtypes in prop::collection::vec(prop::sample::select(vec![Dtype::F32, Dtype::BF16, Dtype::F64, Dtype::Q80, Dtype::I8, Dtype::Q4K, Dtype::Bool]), 12),
        offsets in prop::collection::vec(0u64..2_000_000, 12),
    ) {
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let room = room().await;
            let (base, bytes) = (bf16(&weights(seed, 450_000)), f32s(&weights(seed + 1, 225_000)));
            let first = take_in(&room.store, &base, 1 << 20).await;
            let content = take_in(&room.store, &bytes, 1 << 20).await;
            let cuts: Vec<u64> = cuts.into_iter().collect();
            let runs = cuts.windows(2).enumerate().map(|(i, pair)| TensorRun {
                range: pair[0]..pair[1],
                dtype: dtypes[i % dtypes.len()],
                base: (i % 3 > 0).then(|| RunBase {
                    sha256: if i % 5 == 4 { Sha256([7; 32]) } else { first.record.sha256 },
                    offset: offsets[i % offsets.len()],
                    dtype: dtypes[(i + 5) % dtypes.len()],
                }),
            });
            let source = RecodeSource { content: content.clone(), runs: runs.collect() };
            for level in [Level::Fast, Level::Cold] {
                room.store.recode(std::slice::from_ref(&source), level, true, &Pace::full()).await.unwrap();
                checked(&room, &content, &bytes).await;
                checked(&room, &first, &base).await;
            }
        });
    }
}
