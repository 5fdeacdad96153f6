//! Whatever fails while xorbs are coded anew, every file stays what it was, and what was begun can be swept.

use std::sync::atomic::{AtomicI64, Ordering};

use super::super::tests::{faulty, read, take_in};
use super::tests::{bf16, file, source, tuned, weights};
use super::*;
use crate::catalog::Catalog;
use crate::{Blobs, Clock, StoreErrorKind};

/// A base and a fine-tune of it.
fn family() -> [Vec<u8>; 2] {
    let values = weights(21, 300_000);
    [file(11, &bf16(&values)), file(22, &bf16(&tuned(&values, 22)))]
}

async fn recode_both(store: &Store, contents: &[Content]) -> Result<Recoded, StoreError> {
    let [base, tune] = contents else { unreachable!() };
    let sources = [source(base, Dtype::BF16, 11, None), source(tune, Dtype::BF16, 22, Some((base, 11, Dtype::BF16)))];
    store.recode(&sources, Level::Fast, false, &Pace::full()).await
}

async fn all_exact(store: &Store, contents: &[Content], files: &[Vec<u8>]) {
    for (content, bytes) in contents.iter().zip(files) {
        assert!(read(store, content, 0..content.record.size_bytes).await.unwrap() == *bytes);
        for term in &content.terms {
            store.check_xorb(&term.xorb).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_storage_that_is_full_at_any_write_leaves_the_old_bytes() {
    let files = family();
    let folder = tempfile::tempdir().unwrap();
    let left = Arc::new(AtomicI64::new(i64::MAX));
    let objects = Arc::new(faulty::Faulty { inner: object_store::memory::InMemory::new(), left: Arc::clone(&left) });
    let catalog = Catalog::sqlite(&folder.path().join("c")).await.unwrap();
    let blobs = Blobs::over(objects);
    let reopened = || Store::new(catalog.clone(), blobs.clone(), Clock::from_fn(|| 5));
    let mut contents = Vec::new();
    for bytes in &files {
        contents.push(take_in(&reopened(), bytes, 1 << 20).await);
    }
    let packs = blobs.list("packs").await.unwrap().len();
    for n in 0.. {
        left.store(n, Ordering::SeqCst);
        let done = recode_both(&reopened(), &contents).await;
        left.store(i64::MAX, Ordering::SeqCst);
        // A process that knows nothing of what happened.
        let store = reopened();
        store.sweep(6).await.unwrap();
        all_exact(&store, &contents, &files).await;
        match done {
            Ok(done) => {
                assert_eq!(done.xorbs, 2);
                assert!(n >= 3, "the writes were not counted");
                break;
            }
            Err(error) => {
                assert_eq!(error.kind(), StoreErrorKind::Full, "{error}");
                assert_eq!(blobs.list("packs").await.unwrap().len(), packs, "something was left behind");
            }
        }
    }
}

#[tokio::test]
async fn a_swap_of_which_any_statement_fails_did_not_happen() {
    let files = family();
    let statements = [
        "UPDATE ON xorbs",
        "INSERT ON former_xorbs",
        "INSERT ON xorb_makeup",
        "INSERT ON base_xorbs",
        "UPDATE ON packs",
        "UPDATE ON contents",
    ];
    for statement in statements {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c");
        let catalog = Catalog::sqlite(&path).await.unwrap();
        let blobs = Blobs::memory();
        let store = Store::new(catalog.clone(), blobs.clone(), Clock::from_fn(|| 5));
        let mut contents = Vec::new();
        for bytes in &files {
            contents.push(take_in(&store, bytes, 1 << 20).await);
        }
        let before: Vec<_> = blobs.list("packs").await.unwrap();
        let other = sqlx::SqlitePool::connect(&format!("sqlite://{}", path.display())).await.unwrap();
        let trigger = format!("CREATE TRIGGER fault BEFORE {statement} BEGIN SELECT RAISE(ABORT, 'fault'); END");
        sqlx::query(sqlx::AssertSqlSafe(trigger)).execute(&other).await.unwrap();
        recode_both(&store, &contents).await.unwrap_err();
        sqlx::query("DROP TRIGGER fault").execute(&other).await.unwrap();
        let store = Store::new(catalog, blobs.clone(), Clock::from_fn(|| 5));
        all_exact(&store, &contents, &files).await;
        assert_eq!(blobs.list("packs").await.unwrap(), before, "{statement}");
        // The same work succeeds later.
        assert_eq!(recode_both(&store, &contents).await.unwrap().xorbs, 2, "{statement}");
        all_exact(&store, &contents, &files).await;
    }
}

#[tokio::test]
async fn readers_beside_the_swap_see_the_bytes_all_the_time() {
    let files = family();
    let folder = tempfile::tempdir().unwrap();
    let catalog = Catalog::sqlite(&folder.path().join("c")).await.unwrap();
    let store = Store::new(catalog.clone(), Blobs::memory(), Clock::from_fn(|| 5));
    let mut contents = Vec::new();
    for bytes in &files {
        contents.push(take_in(&store, bytes, 1 << 20).await);
    }
    // Another process of the same hub, which is told nothing.
    let other = Store::new(catalog, store.blobs().clone(), Clock::from_fn(|| 5));
    all_exact(&other, &contents, &files).await;
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = [store.clone(), other.clone()]
        .into_iter()
        .map(|store| {
            let (stop, contents, files) = (Arc::clone(&stop), contents.clone(), files.clone());
            tokio::spawn(async move {
                let mut rounds = 0;
                while !stop.load(Ordering::Relaxed) {
                    for (content, bytes) in contents.iter().zip(&files) {
                        assert!(read(&store, content, 0..content.record.size_bytes).await.unwrap() == *bytes);
                    }
                    rounds += 1;
                }
                rounds
            })
        })
        .collect();
    for _ in 0..4 {
        let sources = [
            source(&contents[0], Dtype::BF16, 11, None),
            source(&contents[1], Dtype::BF16, 22, Some((&contents[0], 11, Dtype::BF16))),
        ];
        store.recode(&sources, Level::Fast, true, &Pace::full()).await.unwrap();
    }
    // What lay before is gone for good; the other process still believes that it lies there.
    for (key, _) in store.blobs().list("packs").await.unwrap() {
        let mut used = false;
        for content in &contents {
            for term in &content.terms {
                used |= store.fresh_place(&term.xorb).await.unwrap().unwrap().record.pack.key() == key;
            }
        }
        if !used {
            store.blobs().delete(&key).await.unwrap();
        }
    }
    all_exact(&other, &contents, &files).await;
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        assert!(reader.await.unwrap() > 0);
    }
}
