//! Where bytes lie: a local folder, an S3-compatible service, or memory.
//!
//! One concrete type over the `object_store` crate. A written object is durable when the call returns: the
//! local backend writes under a staging name (`KEY#N`), fsyncs, renames and fsyncs the folder.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload};

use tokio::sync::Mutex;

use crate::StoreError;

#[cfg(test)]
mod tests;

/// Bytes buffered before they are handed to the backend; S3 wants parts of at least 5 MiB.
const PART_BYTES: usize = 5 << 20;

/// Objects by key.
#[derive(Clone, Debug)]
pub struct Blobs {
    objects: Arc<dyn ObjectStore>,
    /// Root folder of the local backend, which alone leaves staging files behind after a kill.
    folder: Option<PathBuf>,
}

impl Blobs {
    /// Objects as files below `folder`, which is created when missing.
    pub fn local(folder: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let folder = folder.into();
        let shown = folder.display().to_string();
        std::fs::create_dir_all(&folder).map_err(StoreError::storage("creating the folder", &shown))?;
        let objects = LocalFileSystem::new_with_prefix(&folder)
            .map_err(StoreError::storage("opening the folder", &shown))?
            .with_fsync(true);
        Ok(Self { objects: Arc::new(objects), folder: Some(folder) })
    }

    /// Objects in memory, for tests.
    pub fn memory() -> Self {
        Self { objects: Arc::new(InMemory::new()), folder: None }
    }

    /// Objects in any store of the `object_store` crate.
    pub fn over(objects: Arc<dyn ObjectStore>) -> Self {
        Self { objects, folder: None }
    }

    /// Objects below `s3://BUCKET[/PREFIX]`; credentials, region and endpoint are the usual `AWS_*` variables.
    ///
    /// What a killed process was writing is invisible, but the service keeps it: give the bucket a rule that ends
    /// incomplete multipart uploads after a day (`AbortIncompleteMultipartUpload`).
    ///
    /// # Errors
    /// [`StoreError::Setting`] when the address or the variables do not describe a bucket.
    pub fn s3(url: &str) -> Result<Self, StoreError> {
        let wrong = |reason: String| StoreError::Setting { setting: "storage", value: url.to_owned(), reason };
        let rest = url.strip_prefix("s3://").ok_or_else(|| wrong("it must begin with `s3://`".to_owned()))?;
        let prefix = rest.split_once('/').map_or("", |(_, prefix)| prefix.trim_matches('/'));
        let bucket = AmazonS3Builder::from_env().with_url(url).build().map_err(|e| wrong(e.to_string()))?;
        let objects: Arc<dyn ObjectStore> =
            if prefix.is_empty() { Arc::new(bucket) } else { Arc::new(PrefixStore::new(bucket, prefix)) };
        Ok(Self { objects, folder: None })
    }

    /// Writes a whole object.
    pub async fn put(&self, key: &str, data: Bytes) -> Result<(), StoreError> {
        self.objects.put(&path(key)?, PutPayload::from(data)).await.map_err(StoreError::storage("writing", key))?;
        Ok(())
    }

    /// Begins an object that is written piece by piece; nothing appears under `key` before [`ObjectWriter::finish`].
    pub async fn begin(&self, key: &str) -> Result<ObjectWriter, StoreError> {
        let upload = self.objects.put_multipart(&path(key)?).await.map_err(StoreError::storage("creating", key))?;
        Ok(ObjectWriter { key: key.to_owned(), upload: Mutex::new(upload), buffer: BytesMut::new(), written: 0 })
    }

    /// Reads `range` (bytes) of an object.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when the object is missing or shorter than asked.
    pub async fn read(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let wanted = range.end.saturating_sub(range.start);
        let end = range.end;
        let data = match self.objects.get_range(&path(key)?, range).await {
            Ok(data) => data,
            Err(object_store::Error::NotFound { .. }) => {
                return Err(StoreError::Corrupt { what: format!("object `{key}`"), detail: "it is missing".into() });
            }
            // Backends have words of their own for a range that begins beyond the end.
            Err(error) => match self.objects.head(&path(key)?).await {
                Ok(object) if object.size < end => return Err(short(key, object.size, end)),
                _ => return Err(StoreError::storage("reading", key)(error)),
            },
        };
        if data.len() as u64 != wanted {
            return Err(short(key, data.len() as u64, wanted));
        }
        Ok(data)
    }

    /// Bytes of an object; `None` when there is none.
    pub async fn size_bytes(&self, key: &str) -> Result<Option<u64>, StoreError> {
        match self.objects.head(&path(key)?).await {
            Ok(object) => Ok(Some(object.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(StoreError::storage("looking at", key)(error)),
        }
    }

    /// Removes an object, and what an interrupted write of it left; a missing one is fine.
    pub async fn delete(&self, key: &str) -> Result<(), StoreError> {
        match self.objects.delete(&path(key)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(StoreError::storage("deleting", key)(error)),
        }
        if let Some(folder) = &self.folder {
            let file = folder.join(key);
            let staged = file.file_name().map(|n| format!("{}#", n.to_string_lossy()));
            let siblings = file.parent().and_then(|parent| std::fs::read_dir(parent).ok());
            for sibling in siblings.into_iter().flatten().flatten() {
                if staged.as_ref().is_some_and(|s| sibling.file_name().to_string_lossy().starts_with(s)) {
                    std::fs::remove_file(sibling.path()).map_err(StoreError::storage("deleting", key))?;
                }
            }
        }
        Ok(())
    }

    /// Removes all objects below `prefix`, which names a folder, and what interrupted writes of them left.
    pub async fn delete_below(&self, prefix: &str) -> Result<(), StoreError> {
        for (key, _) in self.list(prefix).await? {
            self.delete(&key).await?;
        }
        if let Some(folder) = &self.folder {
            // Staging files of objects that never appeared are in no listing.
            match std::fs::remove_dir_all(folder.join(prefix)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StoreError::storage("deleting", prefix)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Keys and sizes (bytes) below a prefix.
    pub async fn list(&self, prefix: &str) -> Result<Vec<(String, u64)>, StoreError> {
        self.objects
            .list(Some(&path(prefix)?))
            .map_ok(|object| (object.location.to_string(), object.size))
            .try_collect()
            .await
            .map_err(StoreError::storage("listing", prefix))
    }
}

fn short(key: &str, there: u64, wanted: u64) -> StoreError {
    StoreError::Corrupt { what: format!("object `{key}`"), detail: format!("{there} of {wanted} bytes are there") }
}

fn path(key: &str) -> Result<Path, StoreError> {
    Path::parse(key).map_err(StoreError::storage("naming", key))
}

/// An object being written.
#[derive(Debug)]
pub struct ObjectWriter {
    key: String,
    /// In a mutex, which nobody locks, only because the trait object is not `Sync`.
    upload: Mutex<Box<dyn MultipartUpload>>,
    buffer: BytesMut,
    written: u64,
}

impl ObjectWriter {
    /// Appends bytes; full parts go to the backend at once.
    pub async fn write(&mut self, data: &[u8]) -> Result<(), StoreError> {
        self.buffer.extend_from_slice(data);
        self.written += data.len() as u64;
        if self.buffer.len() >= PART_BYTES {
            self.send_part().await?;
        }
        Ok(())
    }

    /// Bytes appended so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Makes the object appear, durably.
    pub async fn finish(mut self) -> Result<(), StoreError> {
        if !self.buffer.is_empty() {
            self.send_part().await?;
        }
        match self.upload.get_mut().complete().await {
            Ok(_) => Ok(()),
            Err(error) => {
                let failed = StoreError::storage("finishing", &self.key)(error);
                self.abort().await;
                Err(failed)
            }
        }
    }

    /// Gives the object up. A failure to clean up is left to the sweep at the next start.
    pub async fn abort(mut self) {
        if let Err(error) = self.upload.get_mut().abort().await {
            tracing::debug!(blob.key = %self.key, %error, "abandoned object left for the sweep");
        }
    }

    async fn send_part(&mut self) -> Result<(), StoreError> {
        let part = std::mem::take(&mut self.buffer).freeze();
        self.upload.get_mut().put_part(PutPayload::from(part)).await.map_err(StoreError::storage("writing", &self.key))
    }
}
