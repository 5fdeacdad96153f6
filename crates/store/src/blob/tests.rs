//! Bytes in, the same bytes out, whatever road they take.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use futures::TryStreamExt;
use weighthouse_format::xet::hash::XetHash;
use weighthouse_format::xet::xorb::{SchemeChoice, XorbBuilder};

use super::*;
use crate::catalog::{Catalog, Content, RepoKey, Viewer};
use crate::digest::Sha256;
use crate::{Blobs, Clock, Store, StoreError};

pub(super) struct Room {
    pub folder: tempfile::TempDir,
    pub store: Store,
}

pub(super) async fn room() -> Room {
    let folder = tempfile::tempdir().unwrap();
    let catalog = Catalog::sqlite(&folder.path().join("catalog.sqlite")).await.unwrap();
    let blobs = Blobs::local(folder.path().join("blobs")).unwrap();
    Room { store: Store::new(catalog, blobs, Clock::from_fn(|| 5)), folder }
}

pub(super) fn repo() -> RepoKey {
    RepoKey::from("repo".to_owned())
}

/// Bytes that do not compress and never repeat, from a seed.
pub(super) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out
}

pub(super) async fn take_in(store: &Store, data: &[u8], piece: usize) -> Content {
    let mut ingest = Ingest::new(store);
    for part in data.chunks(piece) {
        ingest.push(Bytes::copy_from_slice(part)).await.unwrap();
    }
    let file = ingest.end_file().await.unwrap();
    assert_eq!(file.sha256, Sha256::of(data));
    ingest.finish(&repo(), "me").await.unwrap().remove(0)
}

pub(super) async fn read(store: &Store, content: &Content, range: std::ops::Range<u64>) -> Result<Vec<u8>, StoreError> {
    let pieces: Vec<Bytes> = store.read(content, range).try_collect().await?;
    Ok(pieces.concat())
}

#[tokio::test]
async fn every_range_reads_back_what_was_taken_in() {
    let room = room().await;
    let mut data = noise(1, 3_000_000);
    data.extend(vec![b'x'; 700_000]);
    data.extend(noise(2, 1_000_000));
    let content = take_in(&room.store, &data, 77_777).await;
    let len = data.len() as u64;
    let ranges = [0..len, 0..1, len - 1..len, 100..100, 65_535..65_537, 1_000_000..3_500_001, 2_999_999..len];
    for range in ranges {
        let expected = &data[range.start as usize..range.end as usize];
        assert!(read(&room.store, &content, range.clone()).await.unwrap() == expected, "{range:?}");
    }
}

#[tokio::test]
async fn identical_bytes_are_stored_once_and_an_insertion_costs_little() {
    let room = room().await;
    let data = noise(3, 20_000_000);
    take_in(&room.store, &data, 1 << 20).await;
    let (packs, bytes) = room.store.catalog().packs().totals().await.unwrap();
    let again = take_in(&room.store, &data, 333_333).await;
    assert_eq!(room.store.catalog().packs().totals().await.unwrap(), (packs, bytes));
    let mut longer = data.clone();
    longer.splice(10_000_000..10_000_000, *b"eighteen bytes....");
    let longer_content = take_in(&room.store, &longer, 1 << 20).await;
    let (_, grown) = room.store.catalog().packs().totals().await.unwrap();
    assert!(grown - bytes < 400_000, "{} bytes for an insertion of 18", grown - bytes);
    assert!(read(&room.store, &longer_content, 0..longer.len() as u64).await.unwrap() == longer);
    assert!(read(&room.store, &again, 0..data.len() as u64).await.unwrap() == data);
}

#[tokio::test]
async fn many_small_files_share_one_pack() {
    let room = room().await;
    let mut ingest = Ingest::new(&room.store);
    let files: Vec<Vec<u8>> = (0..500).map(|i| format!("file {i}").into_bytes()).chain([vec![]]).collect();
    for file in &files {
        ingest.push(Bytes::copy_from_slice(file)).await.unwrap();
        ingest.end_file().await.unwrap();
    }
    let contents = ingest.finish(&repo(), "me").await.unwrap();
    assert_eq!(room.store.catalog().packs().totals().await.unwrap().0, 1);
    for (file, content) in files.iter().zip(&contents) {
        let recorded = room.store.catalog().contents().get(&content.record.sha256).await.unwrap().unwrap();
        assert_eq!(&read(&room.store, &recorded, 0..file.len() as u64).await.unwrap(), file);
    }
}

#[tokio::test]
async fn an_abandoned_ingest_leaves_nothing() {
    let room = room().await;
    let mut ingest = Ingest::new(&room.store);
    ingest.push(noise(4, 12_000_000).into()).await.unwrap();
    ingest.abort().await;
    assert_eq!(files_below(room.folder.path().join("blobs")), 0);
    assert!(room.store.catalog().packs().unsealed(i64::MAX).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_is_kept_apart_is_given_to_nobody() {
    let room = room().await;
    let data = noise(3, 300_000);
    let mut ingest = Ingest::new(&room.store);
    ingest.push(Bytes::copy_from_slice(&data)).await.unwrap();
    ingest.end_file().await.unwrap();
    let content = ingest.finish_apart().await.unwrap().remove(0);
    assert_eq!(read(&room.store, &content, 0..data.len() as u64).await.unwrap(), data);
    let catalog = room.store.catalog();
    assert_eq!(catalog.contents().get(&content.record.sha256).await.unwrap().as_ref(), Some(&content));
    assert!(!catalog.contents().given(&repo(), &content.record.sha256).await.unwrap());
    let xorbs = [content.terms[0].xorb.to_string()];
    let everybody = Viewer { admin: true, ..Viewer::default() };
    assert!(catalog.repos().visible_xorbs(&xorbs, &everybody).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_killed_upload_is_swept() {
    let room = room().await;
    let mut ingest = Ingest::new(&room.store);
    ingest.push(noise(5, 12_000_000).into()).await.unwrap();
    std::mem::forget(ingest);
    assert_eq!(files_below(room.folder.path().join("blobs")), 1);
    assert_eq!(room.store.sweep(6).await.unwrap(), 1);
    assert_eq!(files_below(room.folder.path().join("blobs")), 0);
}

#[tokio::test]
async fn a_received_xorb_must_be_what_it_is_called() {
    let room = room().await;
    let mut builder = XorbBuilder::new(SchemeChoice::Auto);
    for seed in 0..40 {
        builder.push(&noise(seed, 60_000)).unwrap();
    }
    let xorb = builder.finish().unwrap();
    let send = async |name: XetHash, body: &[u8]| {
        let mut received = ReceivedXorb::begin(&room.store, name).await.unwrap();
        for part in body.chunks(10_000) {
            if let Err(error) = received.push(Bytes::copy_from_slice(part)).await {
                received.abort().await;
                return Err(error);
            }
        }
        received.finish(&repo(), "me").await
    };
    let mut damaged = xorb.body.clone();
    damaged[30_000] ^= 1;
    assert!(matches!(send(xorb.listing.hash, &damaged).await, Err(ReceiveError::Malformed(_))));
    assert!(matches!(send(XetHash::ZERO, &xorb.body).await, Err(ReceiveError::Malformed(_))));
    assert!(matches!(send(xorb.listing.hash, &xorb.body[..70_000]).await, Err(ReceiveError::Malformed(_))));
    assert_eq!(files_below(room.folder.path().join("blobs")), 0);
    assert!(send(xorb.listing.hash, &xorb.body).await.unwrap());
    assert!(!send(xorb.listing.hash, &xorb.body).await.unwrap());
    let place = room.store.place(&xorb.listing.hash).await.unwrap().unwrap();
    assert_eq!(place.listing, xorb.listing);
    assert_eq!(room.store.read_body(&place, 0..xorb.body.len() as u64).await.unwrap(), xorb.body);
}

#[tokio::test]
async fn flipped_bits_at_rest_are_noticed() {
    let room = room().await;
    let data = noise(6, 500_000);
    let content = take_in(&room.store, &data, 1 << 20).await;
    for file in walk(room.folder.path().join("blobs")) {
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[200_000] ^= 4;
        std::fs::write(&file, bytes).unwrap();
    }
    let read = read(&room.store, &content, 0..data.len() as u64).await;
    assert!(matches!(read, Err(StoreError::Corrupt { .. })), "{read:?}");
}

/// Every write to the object store, cut off in turn: the ingest fails or its content is whole.
#[tokio::test]
async fn a_storage_that_fails_at_any_write_loses_nothing_acknowledged() {
    let data = noise(7, 12_000_000);
    for n in 0.. {
        let folder = tempfile::tempdir().unwrap();
        let left = Arc::new(AtomicI64::new(n));
        let inner = object_store::memory::InMemory::new();
        let faulty = Arc::new(faulty::Faulty { inner, left: Arc::clone(&left) });
        let catalog = Catalog::sqlite(&folder.path().join("c")).await.unwrap();
        let store = Store::new(catalog, Blobs::over(faulty), Clock::from_fn(|| 5));
        let mut ingest = Ingest::new(&store);
        let done = async {
            for part in data.chunks(1 << 20) {
                ingest.push(Bytes::copy_from_slice(part)).await?;
            }
            ingest.end_file().await?;
            ingest.finish(&repo(), "me").await
        }
        .await;
        left.store(i64::MAX, Ordering::SeqCst);
        store.sweep(6).await.unwrap();
        let recorded = store.catalog().contents().get(&Sha256::of(&data)).await.unwrap();
        assert_eq!(recorded.is_some(), done.is_ok());
        if let Some(content) = recorded {
            assert!(read(&store, &content, 0..data.len() as u64).await.unwrap() == data);
            assert!(n >= 3, "the writes were not counted");
            break;
        }
    }
}

fn walk(folder: std::path::PathBuf) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() { found.extend(walk(entry.path())) } else { found.push(entry.path()) }
    }
    found
}

fn files_below(folder: std::path::PathBuf) -> usize {
    walk(folder).len()
}

pub(super) mod faulty {
    //! A memory store whose writes and deletions fail after a number of them.

    use std::fmt;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use async_trait::async_trait;
    use futures::stream::BoxStream;
    use futures::{FutureExt, StreamExt};
    use object_store::memory::InMemory;
    use object_store::path::Path;
    use object_store::*;

    #[derive(Debug)]
    pub struct Faulty {
        pub inner: InMemory,
        pub left: Arc<AtomicI64>,
    }

    impl fmt::Display for Faulty {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("faulty")
        }
    }

    fn count(left: &AtomicI64) -> Result<()> {
        if left.fetch_sub(1, Ordering::SeqCst) > 0 {
            return Ok(());
        }
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        Err(Error::Generic { store: "faulty", source: Box::new(full) })
    }

    #[derive(Debug)]
    struct Upload {
        inner: Box<dyn MultipartUpload>,
        left: Arc<AtomicI64>,
    }

    #[async_trait]
    impl MultipartUpload for Upload {
        fn put_part(&mut self, data: PutPayload) -> UploadPart {
            match count(&self.left) {
                Ok(()) => self.inner.put_part(data),
                Err(error) => async { Err(error) }.boxed(),
            }
        }

        async fn complete(&mut self) -> Result<PutResult> {
            count(&self.left)?;
            self.inner.complete().await
        }

        async fn abort(&mut self) -> Result<()> {
            self.inner.abort().await
        }
    }

    #[async_trait]
    impl ObjectStore for Faulty {
        async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
            count(&self.left)?;
            self.inner.put_opts(location, payload, opts).await
        }

        async fn put_multipart_opts(
            &self,
            location: &Path,
            opts: PutMultipartOptions,
        ) -> Result<Box<dyn MultipartUpload>> {
            count(&self.left)?;
            let inner = self.inner.put_multipart_opts(location, opts).await?;
            Ok(Box::new(Upload { inner, left: Arc::clone(&self.left) }))
        }

        async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
            self.inner.get_opts(location, options).await
        }

        fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
            if let Err(error) = count(&self.left) {
                return futures::stream::once(async { Err(error) }).boxed();
            }
            self.inner.delete_stream(locations)
        }

        fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
            self.inner.list(prefix)
        }

        async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
            self.inner.list_with_delimiter(prefix).await
        }

        async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
            self.inner.copy_opts(from, to, options).await
        }
    }
}
