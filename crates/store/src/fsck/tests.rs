//! Damage of every kind is found, named and, where something is left to mend it from, mended.

use super::*;
use crate::Blobs;
use crate::gc::tests::{Bench, bytes_of};

const CHECK: FsckOptions = FsckOptions { deep: true, repair: false };
const MEND: FsckOptions = FsckOptions { deep: true, repair: true };

/// A store on a disk, with a file in it, and the path of its only pack.
async fn on_disk() -> (Bench, tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::over(Blobs::local(folder.path()).unwrap()).await;
    let lab = bench.repo("lab/model").await;
    bench.commit(&lab, "main", &[("folder/a.bin", 1)]).await;
    let (key, _) = bench.store.blobs().list("packs").await.unwrap().remove(0);
    let path = folder.path().join(key);
    (bench, folder, path)
}

fn flip(path: &std::path::Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_whole_store_is_clean() {
    let (bench, _folder, _) = on_disk().await;
    let report = bench.store.fsck(&CHECK).await.unwrap();
    assert!(report.is_clean(), "{report:?}");
    let checked = report.checked;
    assert_eq!((checked.repos, checked.commits, checked.trees, checked.blobs), (1, 1, 2, 1));
    assert_eq!((checked.contents, checked.xorbs, checked.packs, checked.file_bytes), (1, 1, 1, 288_000));
    assert_eq!(report.unknown_objects, (0, 0));
}

#[tokio::test]
async fn a_flipped_bit_is_found_and_told_to_the_byte() {
    let (bench, _folder, path) = on_disk().await;
    flip(&path, 1_000);
    let shallow = bench.store.fsck(&FsckOptions::default()).await.unwrap();
    assert!(shallow.is_clean(), "only a deep check reads the bytes");
    let report = bench.store.fsck(&CHECK).await.unwrap();
    assert!(!report.is_clean());
    let [loss] = report.losses.as_slice() else { panic!("{:?}", report.losses) };
    assert_eq!((loss.repo.as_deref(), loss.path.as_str()), (Some("lab/model"), "folder/a.bin"));
    assert_eq!(loss.revision.len(), 40);
    let [range] = loss.ranges.as_slice() else { panic!("{:?}", loss.ranges) };
    assert!(range.start == 0 && range.end < 288_000, "one chunk of several: {range:?}");
    assert!(report.problems.iter().any(|p| p.part == Part::Xorb && p.detail.contains("1 of")), "{:?}", report.problems);
    // Nothing is left to mend it from, and nothing is made up.
    let report = bench.store.fsck(&MEND).await.unwrap();
    assert!(!report.is_clean() && report.problems.iter().all(|problem| problem.repaired.is_none()));
}

#[tokio::test]
async fn a_missing_or_short_pack_is_found() {
    for cut in [None, Some(100_000), Some(10)] {
        let (bench, _folder, path) = on_disk().await;
        match cut {
            None => std::fs::remove_file(&path).unwrap(),
            Some(len) => std::fs::File::options().write(true).open(&path).unwrap().set_len(len).unwrap(),
        }
        for options in [FsckOptions::default(), CHECK, MEND] {
            let report = bench.store.fsck(&options).await.unwrap();
            assert!(report.problems.iter().any(|problem| problem.part == Part::Pack), "{:?}", report.problems);
            assert_eq!(report.losses.len(), 1, "{cut:?}");
            assert_eq!((report.losses[0].ranges.len(), &report.losses[0].ranges[0]), (1, &(0..288_000)));
        }
    }
}

#[tokio::test]
async fn every_flipped_bit_of_a_pack_is_found_without_a_crash() {
    let (bench, _folder, path) = on_disk().await;
    let whole = std::fs::read(&path).unwrap();
    // Around the header, in the body, in the index and in the table.
    let len = whole.len();
    for at in
        [0, 3, 20, 5_000, len - 80, len - 70, len - 60, len - 30, len - 18, len - 14, len - 10, len - 2, len - 400]
    {
        flip(&path, at);
        let report = bench.store.fsck(&CHECK).await.unwrap();
        assert!(!report.is_clean(), "byte {at} of {len}");
        std::fs::write(&path, &whole).unwrap();
    }
    assert!(bench.store.fsck(&CHECK).await.unwrap().is_clean());
}

#[tokio::test]
async fn a_lost_row_comes_back_from_the_table_of_its_pack() {
    let (bench, _folder, _) = on_disk().await;
    bench.store.catalog().run_sql("DELETE FROM xorbs").await;
    bench.store.catalog().run_sql("DELETE FROM dedup_chunks").await;
    let before = bench.store.fsck(&CHECK).await.unwrap();
    assert_eq!(before.losses.len(), 1);
    let report = bench.store.fsck(&MEND).await.unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert!(report.problems[0].repaired.as_deref().unwrap().contains("table"));
    assert!(bench.store.fsck(&CHECK).await.unwrap().problems.is_empty());
    assert!(bench.count("dedup_chunks").await > 0, "it serves to find duplicates again");
    assert_eq!(bench.check().await.len(), 1);
}

#[tokio::test]
async fn a_damaged_index_is_computed_anew() {
    let (bench, _folder, path) = on_disk().await;
    let len = std::fs::metadata(&path).unwrap().len() as usize;
    flip(&path, len - 16 - 60 - 30);
    let broken = bench.store.fsck(&FsckOptions::default()).await.unwrap();
    assert_eq!(broken.losses.len(), 1);
    let report = bench.store.fsck(&MEND).await.unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert!(bench.store.fsck(&CHECK).await.unwrap().problems.iter().all(|p| p.part != Part::Xorb));
    assert_eq!(bench.check().await.len(), 1);
}

#[tokio::test]
async fn a_xorb_is_put_together_from_others_with_its_chunks() {
    let (bench, _folder, path) = on_disk().await;
    let other = bench.repo("lab/other").await;
    // The same bytes once more, in a xorb that begins differently, as a client without our answers sends them.
    bench.store.catalog().run_sql("DELETE FROM dedup_chunks").await;
    bench.commit(&other, "main", &[("0.bin", 100), ("b.bin", 1)]).await;
    assert_eq!(bench.count("xorbs").await, 2);
    flip(&path, 1_000);
    assert!(!bench.store.fsck(&CHECK).await.unwrap().is_clean());
    let report = bench.store.fsck(&MEND).await.unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert!(report.problems[0].repaired.as_deref().unwrap().contains("same chunks"), "{:?}", report.problems);
    assert_eq!(bench.check().await.len(), 2);
    assert!(bench.store.fsck(&CHECK).await.unwrap().is_clean());
}

#[tokio::test]
async fn rows_that_cannot_be_true_neither_crash_nor_allocate() {
    for damage in [
        "UPDATE xorbs SET index_len = 9223372036854775807",
        "UPDATE xorbs SET body_offset = 9223372036854775807",
        "UPDATE xorbs SET body_len = 9223372036854775807, raw_len = 9223372036854775807",
        "UPDATE xorbs SET index_offset = -1",
        "UPDATE xorbs SET chunks = 9223372036854775807",
        "UPDATE xorbs SET hash = 'no hash'",
        "UPDATE packs SET size = 9223372036854775807",
        "UPDATE packs SET size = 20",
        "UPDATE contents SET size = 9223372036854775807",
        "UPDATE contents SET terms = x'00'",
        "UPDATE trees SET data = x'31'",
        "UPDATE commits SET data = x'31'",
        "UPDATE blobs SET size = 5",
        "DELETE FROM contents",
        "DELETE FROM blobs",
        "DELETE FROM trees",
        "DELETE FROM commits",
        "DELETE FROM packs",
    ] {
        for options in [FsckOptions::default(), MEND] {
            let (bench, _folder, _) = on_disk().await;
            bench.store.catalog().run_sql(damage).await;
            match bench.store.fsck(&options).await {
                Ok(report) => assert!(!report.problems.is_empty(), "{damage}"),
                Err(error) => assert!(matches!(error, StoreError::Corrupt { .. }), "{damage}: {error}"),
            }
        }
    }
}

#[tokio::test]
async fn a_pack_of_another_catalog_is_told_and_left() {
    let (bench, folder, path) = on_disk().await;
    let other = folder.path().join("packs/zz/zzzzzzzzzzzzzzzzzzzzzzzz");
    std::fs::create_dir_all(other.parent().unwrap()).unwrap();
    std::fs::copy(&path, &other).unwrap();
    let report = bench.store.fsck(&MEND).await.unwrap();
    assert_eq!(report.unknown_objects, (1, std::fs::metadata(&path).unwrap().len()));
    assert!(report.is_clean() && other.exists());
    assert_eq!(bytes_of(1).len(), 288_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_beside_uploads_finds_nothing() {
    let (bench, _folder, _) = on_disk().await;
    let (bench, done) = (std::sync::Arc::new(bench), std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false)));
    let lab = bench.repo("ada/model").await;
    let uploads = tokio::spawn({
        let (bench, done) = (bench.clone(), done.clone());
        async move {
            for seed in 0..40 {
                bench.commit(&lab, "main", &[("a.bin", 1_000 + seed * 10)]).await;
            }
            done.store(true, std::sync::atomic::Ordering::SeqCst);
        }
    });
    while !done.load(std::sync::atomic::Ordering::SeqCst) {
        let report = bench.store.fsck(&FsckOptions::default()).await.unwrap();
        assert!(report.is_clean(), "{report:?}");
    }
    uploads.await.unwrap();
}
