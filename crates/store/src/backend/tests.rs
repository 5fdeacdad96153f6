//! One suite on every backend: a folder and memory always, S3 where `WH_TEST_S3` names a bucket (`s3://…`, with the
//! `AWS_*` variables to reach it).

use futures::TryStreamExt;

use super::*;
use crate::blob::Ingest;
use crate::catalog::{Catalog, RepoKey, fresh_id};
use crate::{Clock, Store, StoreErrorKind};

/// Runs a test on each backend, each time on an empty one.
macro_rules! on_every_backend {
    ($($name:ident)+) => { $(
        mod $name {
            use super::super::Blobs;

            #[tokio::test]
            async fn folder() {
                let folder = tempfile::tempdir().unwrap();
                super::$name(Blobs::local(folder.path()).unwrap()).await;
                let left = super::files_below(folder.path());
                assert!(left.is_empty(), "nothing may stay: {left:?}");
            }

            #[tokio::test]
            async fn memory() {
                super::$name(Blobs::memory()).await;
            }

            #[tokio::test]
            async fn s3() {
                if let Some(blobs) = super::empty_bucket() {
                    super::$name(blobs).await;
                }
            }
        }
    )+ };
}

// Each cleans up behind itself.
on_every_backend! {
    objects_come_back_as_they_were_written
    an_object_appears_when_it_is_finished_and_not_before
    listings_name_what_lies_below_a_folder_and_nothing_else
    what_is_missing_or_short_is_damage
    a_store_works_on_it
}

/// A part of the bucket that no other test uses.
fn empty_bucket() -> Option<Blobs> {
    let Ok(url) = std::env::var("WH_TEST_S3") else {
        eprintln!("WH_TEST_S3 is not set: not run on S3");
        return None;
    };
    // The client for S3 speaks TLS where it must, and wants to know by which library.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Some(Blobs::s3(&format!("{url}/{}", fresh_id().unwrap())).unwrap())
}

fn files_below(folder: &std::path::Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    entries.flat_map(|e| if e.path().is_dir() { files_below(&e.path()) } else { vec![e.path()] }).collect()
}

/// Bytes that tell their place.
fn pattern(len: usize) -> Bytes {
    (0..len).map(|i| (i ^ i >> 8 ^ i >> 16) as u8).collect()
}

async fn write(blobs: &Blobs, key: &str, data: &[u8], piece: usize) -> ObjectWriter {
    let mut object = blobs.begin(key).await.unwrap();
    for piece in data.chunks(piece) {
        object.write(piece).await.unwrap();
    }
    assert_eq!(object.written(), data.len() as u64);
    object
}

async fn objects_come_back_as_they_were_written(blobs: Blobs) {
    // Several parts, the last one short.
    let large = pattern(3 * PART_BYTES + 12_345);
    blobs.put("a/small", Bytes::from_static(b"small")).await.unwrap();
    blobs.put("a/empty", Bytes::new()).await.unwrap();
    write(&blobs, "a/large", &large, 1 << 20).await.finish().await.unwrap();
    write(&blobs, "a/short", &large[..7], 3).await.finish().await.unwrap();
    assert_eq!(blobs.read("a/small", 0..5).await.unwrap(), "small");
    assert_eq!(blobs.read("a/short", 0..7).await.unwrap(), large[..7]);
    let len = large.len() as u64;
    for range in [0..len, 0..1, len - 1..len, PART_BYTES as u64 - 3..PART_BYTES as u64 + 3] {
        let expected = &large[range.start as usize..range.end as usize];
        assert!(blobs.read("a/large", range.clone()).await.unwrap() == expected, "{range:?}");
    }
    blobs.put("a/small", Bytes::from_static(b"other")).await.unwrap();
    assert_eq!(blobs.read("a/small", 0..5).await.unwrap(), "other", "a second write replaces the first");
    for key in ["a/small", "a/empty", "a/large", "a/short"] {
        blobs.delete(key).await.unwrap();
        blobs.delete(key).await.unwrap();
    }
    assert_eq!(blobs.list("a").await.unwrap(), []);
}

async fn an_object_appears_when_it_is_finished_and_not_before(blobs: Blobs) {
    let data = pattern(2 * PART_BYTES);
    let object = write(&blobs, "b/late", &data, PART_BYTES).await;
    assert_eq!(blobs.list("b").await.unwrap(), []);
    object.finish().await.unwrap();
    assert_eq!(blobs.list("b").await.unwrap(), [("b/late".to_owned(), data.len() as u64)]);
    write(&blobs, "b/never", &data, PART_BYTES).await.abort().await;
    assert_eq!(blobs.list("b").await.unwrap().len(), 1);
    // A killed process drops nothing and aborts nothing.
    std::mem::forget(write(&blobs, "b/killed", &data, PART_BYTES).await);
    blobs.delete("b/killed").await.unwrap();
    std::mem::forget(write(&blobs, "b/deep/killed", &data, PART_BYTES).await);
    blobs.delete_below("b").await.unwrap();
    assert_eq!(blobs.list("b").await.unwrap(), []);
}

async fn listings_name_what_lies_below_a_folder_and_nothing_else(blobs: Blobs) {
    for key in ["c/1", "c/d/2", "cc/3", "e"] {
        blobs.put(key, Bytes::from_static(b"x")).await.unwrap();
    }
    let mut below = blobs.list("c").await.unwrap();
    below.sort();
    assert_eq!(below, [("c/1".to_owned(), 1), ("c/d/2".to_owned(), 1)]);
    blobs.delete_below("c").await.unwrap();
    assert_eq!(blobs.list("c").await.unwrap(), []);
    assert_eq!(blobs.list("cc").await.unwrap().len(), 1);
    blobs.delete_below("never").await.unwrap();
    blobs.delete("cc/3").await.unwrap();
    blobs.delete("e").await.unwrap();
}

async fn what_is_missing_or_short_is_damage(blobs: Blobs) {
    blobs.put("f", Bytes::from_static(b"12345")).await.unwrap();
    for (key, range) in [("f", 3..9), ("g", 0..1)] {
        let error = blobs.read(key, range).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error:?}");
    }
    blobs.delete("f").await.unwrap();
}

async fn a_store_works_on_it(blobs: Blobs) {
    let folder = tempfile::tempdir().unwrap();
    let catalog = Catalog::sqlite(&folder.path().join("catalog.sqlite")).await.unwrap();
    let store = Store::new(catalog, blobs.clone(), Clock::from_fn(|| 5));
    let data: Bytes =
        (0..2_000_000u64).flat_map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40).to_le_bytes()).collect();
    let take_in = async || {
        let mut ingest = Ingest::new(&store);
        for piece in data.chunks(1 << 20) {
            ingest.push(data.slice_ref(piece)).await.unwrap();
        }
        ingest.end_file().await.unwrap();
        ingest
    };
    take_in().await.abort().await;
    std::mem::forget(take_in().await);
    assert_eq!(store.sweep(6).await.unwrap(), 1);
    assert_eq!(blobs.list("packs").await.unwrap(), [], "abandoned and killed uploads leave nothing");
    let content = take_in().await.finish(&RepoKey::from("repo".to_owned()), "me").await.unwrap().remove(0);
    for range in [0..data.len() as u64, 1_000_000..1_000_001, 5_000_000..15_000_000] {
        let pieces: Vec<Bytes> = store.read(&content, range.clone()).try_collect().await.unwrap();
        assert!(pieces.concat() == data[range.start as usize..range.end as usize], "{range:?}");
    }
    blobs.delete_below("packs").await.unwrap();
}
