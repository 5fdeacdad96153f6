//! Durability: bytes in packs, history as git objects, everything else in the catalog.
//!
//! ```text
//!   Store ── Blobs      objects on disk, S3 or in memory          (backend)
//!        ├── Catalog    SQLite or PostgreSQL, one set of SQL       (catalog)
//!        ├── blob       ingest, receive, read: chunks in packs
//!        └── repo       git trees and commits
//! ```
//!
//! The order of writes is blobs, then contents, then commits, then refs; deletes run the other way. Nothing here knows
//! about permissions or HTTP, and nothing above writes data by another road.
//!
//! # Example
//! ```
//! # tokio_test(async {
//! use weighthouse_store::blob::Ingest;
//! use weighthouse_store::catalog::{Catalog, RepoKey};
//! use weighthouse_store::{Blobs, Clock, Store};
//!
//! let folder = tempfile::tempdir()?;
//! let catalog = Catalog::sqlite(&folder.path().join("catalog.sqlite")).await?;
//! let store = Store::new(catalog, Blobs::memory(), Clock::system());
//!
//! let mut ingest = Ingest::new(&store);
//! ingest.push(vec![7; 1_000_000].into()).await?;
//! ingest.end_file().await?;
//! let content = ingest.finish(&RepoKey::from("a".repeat(24)), "b").await?.remove(0);
//! assert_eq!(content.record.size_bytes, 1_000_000);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # });
//! # fn tokio_test(f: impl Future<Output = Result<(), Box<dyn std::error::Error>>>) {
//! #     tokio::runtime::Runtime::new().unwrap().block_on(f).unwrap();
//! # }
//! ```

#![forbid(unsafe_code)]

mod backend;
pub mod blob;
pub mod catalog;
mod clock;
pub mod digest;
mod error;
pub mod fsck;
pub mod gc;
mod lock;
pub mod repo;

use std::path::Path;
use std::sync::{Arc, OnceLock};

pub use backend::{Blobs, ObjectWriter};
pub use clock::Clock;
pub use error::{StoreError, StoreErrorKind};
pub use lock::FolderLock;

use catalog::Catalog;

/// Catalog and bytes together; cheap to clone.
#[derive(Clone, Debug)]
pub struct Store(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    catalog: Catalog,
    blobs: Blobs,
    clock: Clock,
    places: blob::PlaceCache,
    blocks: blob::BlockCache,
    contents: blob::ContentCache,
    hot: OnceLock<blob::Hot>,
}

impl Store {
    /// Puts a store together.
    pub fn new(catalog: Catalog, blobs: Blobs, clock: Clock) -> Self {
        Self(Arc::new(Parts {
            catalog,
            blobs,
            clock,
            places: blob::place_cache(),
            blocks: blob::block_cache(),
            contents: blob::content_cache(),
            hot: OnceLock::new(),
        }))
    }

    /// Keeps plain copies of the contents that are read most below `folder`, which is emptied: at most so many bytes.
    ///
    /// # Errors
    /// When the folder cannot be emptied or made.
    pub fn with_hot(self, folder: &Path, limit_bytes: u64) -> Result<Self, StoreError> {
        let hot = blob::Hot::open(folder, limit_bytes)?;
        // Only the first one counts: a store has one.
        let _ = self.0.hot.set(hot);
        Ok(self)
    }

    /// Names, history and locations.
    pub fn catalog(&self) -> &Catalog {
        &self.0.catalog
    }

    /// The bytes.
    pub fn blobs(&self) -> &Blobs {
        &self.0.blobs
    }

    /// The time.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Forgets where a xorb lay.
    pub(crate) fn forget_place(&self, hash: &weighthouse_format::xet::hash::XetHash) {
        self.places().remove(hash);
    }

    fn places(&self) -> &blob::PlaceCache {
        &self.0.places
    }

    fn hot(&self) -> Option<&blob::Hot> {
        self.0.hot.get()
    }

    fn block_cache(&self) -> &blob::BlockCache {
        &self.0.blocks
    }

    fn content_cache(&self) -> &blob::ContentCache {
        &self.0.contents
    }

    /// Removes packs that were begun before `before_ms` and never finished, and what is left of expired uploads.
    /// Returns how many packs it removed.
    ///
    /// With an embedded store, run it at start with the present time: every unfinished pack is then a dead one.
    pub async fn sweep(&self, before_ms: i64) -> Result<usize, StoreError> {
        let packs = self.catalog().packs().unsealed(before_ms).await?;
        for id in &packs {
            blob::remove_pack(self, id).await?;
        }
        for upload in self.catalog().uploads().expired(self.clock().now_ms()).await? {
            self.discard_upload(&upload.id).await?;
        }
        Ok(packs.len())
    }

    /// Removes a multipart upload and its parts.
    pub async fn discard_upload(&self, id: &str) -> Result<(), StoreError> {
        self.blobs().delete_below(&format!("uploads/{id}")).await?;
        self.catalog().uploads().delete(id).await
    }
}
