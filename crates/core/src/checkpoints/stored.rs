//! Files of a revision as the readers want them: synchronous ranges over bytes that lie in packs.
//!
//! A reader runs on a blocking thread and asks for ranges; each becomes one asynchronous read of the store. Short ranges
//! come from blocks, of which a few are kept, so that a header read word by word costs one read of the store.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures::TryStreamExt;
use tokio::runtime::Handle;
use weighthouse_format::source::FolderFile;
use weighthouse_format::{Folder, FormatError, ReadAt, Section};
use weighthouse_store::catalog::Content;
use weighthouse_store::{StoreError, StoreErrorKind};

use crate::browse::{FileRecord, PathRecord};
use crate::revision::Revision;
use crate::{Error, Hub};

/// Bytes of a block.
const BLOCK_BYTES: u64 = 128 << 10;
/// Blocks that are kept for each open file.
const BLOCKS: usize = 8;
/// Files that are kept open.
const OPEN_FILES: usize = 16;

/// Files of a revision, or of a folder of it.
pub(crate) struct StoredFolder {
    hub: Hub,
    runtime: Handle,
    files: Arc<[FolderFile]>,
    records: Arc<[Arc<FileRecord>]>,
    open: Mutex<VecDeque<(usize, Section)>>,
    /// Bytes that may still be read.
    left_bytes: Arc<AtomicU64>,
    failure: Arc<Failure>,
}

/// The first failure of the store. Whoever reads turns errors into sentences about files, and of those this is none.
type Failure = Mutex<Option<StoreError>>;

impl StoredFolder {
    /// These files, by their path below the folder. Must be made inside a runtime, whose threads then do the reading.
    pub fn new(hub: &Hub, mut records: Vec<(Arc<str>, Arc<FileRecord>)>, budget_bytes: u64) -> Self {
        records.sort_by(|(one, _), (other, _)| one.cmp(other));
        let (paths, records): (Vec<_>, Vec<_>) = records.into_iter().unzip();
        let files = paths.into_iter().zip(&records);
        Self {
            hub: hub.clone(),
            runtime: Handle::current(),
            files: files.map(|(path, record)| FolderFile { path, size_bytes: record.size_bytes }).collect(),
            records: records.into(),
            open: Mutex::default(),
            left_bytes: Arc::new(AtomicU64::new(budget_bytes)),
            failure: Arc::default(),
        }
    }

    /// The same files with a budget of their own, and nothing open.
    pub fn anew(&self, budget_bytes: u64) -> Self {
        Self {
            hub: self.hub.clone(),
            runtime: self.runtime.clone(),
            files: Arc::clone(&self.files),
            records: Arc::clone(&self.records),
            open: Mutex::default(),
            left_bytes: Arc::new(AtomicU64::new(budget_bytes)),
            failure: Arc::default(),
        }
    }

    /// What the catalog says of all files, by path.
    pub fn records(&self) -> &[Arc<FileRecord>] {
        &self.records
    }

    /// Ends the reading: nothing more can be read.
    pub fn give_up(&self) {
        self.left_bytes.store(0, Ordering::Relaxed);
    }

    /// What went wrong in the store while files were read, if anything did.
    pub fn failure(&self) -> Option<Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take().map(Error::Store)
    }

    /// All files of a revision below `prefix`, which is empty or ends in a slash.
    pub async fn of(hub: &Hub, revision: &Revision, prefix: &str, budget_bytes: u64) -> Result<Self, Error> {
        let name = revision.oid.to_string();
        let entries = hub.list(revision, &name, prefix.trim_end_matches('/'), true).await?;
        let files = entries.into_iter().filter_map(|entry| match entry {
            PathRecord::File(file) => {
                let path = Arc::from(file.path.strip_prefix(prefix)?);
                Some((path, Arc::new(file)))
            }
            PathRecord::Folder { .. } => None,
        });
        Ok(Self::new(hub, files.collect(), budget_bytes))
    }

    /// What the catalog says of a file.
    pub fn record(&self, path: &str) -> Option<&Arc<FileRecord>> {
        let number = self.files.binary_search_by(|file| (*file.path).cmp(path)).ok()?;
        self.records.get(number)
    }
}

impl Folder for StoredFolder {
    fn files(&self) -> &[FolderFile] {
        &self.files
    }

    fn open(&self, path: &str) -> Result<Section, FormatError> {
        let missing = || FormatError::NoFile { path: path.to_owned() };
        let number = self.files.binary_search_by(|file| (*file.path).cmp(path)).map_err(|_| missing())?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, section)) = open.iter().find(|(found, _)| *found == number) {
            return Ok(section.clone());
        }
        let (file, record) = self.files.get(number).zip(self.records.get(number)).ok_or_else(missing)?;
        let content = self.runtime.block_on(self.hub.content(&record.sha256));
        let content = content.map_err(|error| {
            note(&self.failure, &error);
            FormatError::Io { what: "a stored file", source: io_error(error) }
        })?;
        let stored = StoredFile {
            hub: self.hub.clone(),
            runtime: self.runtime.clone(),
            content,
            blocks: Mutex::default(),
            left_bytes: Arc::clone(&self.left_bytes),
            failure: Arc::clone(&self.failure),
        };
        let section = Section::new(Arc::clone(&file.path), Arc::new(stored));
        if open.len() >= OPEN_FILES {
            open.pop_front();
        }
        open.push_back((number, section.clone()));
        Ok(section)
    }
}

/// One file.
struct StoredFile {
    hub: Hub,
    runtime: Handle,
    content: Content,
    /// Blocks by their number, oldest first.
    blocks: Mutex<VecDeque<(u64, Arc<Vec<u8>>)>>,
    left_bytes: Arc<AtomicU64>,
    failure: Arc<Failure>,
}

impl ReadAt for StoredFile {
    fn len(&self) -> u64 {
        self.content.record.size_bytes
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64).filter(|&end| end <= self.len());
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        if buffer.len() as u64 >= BLOCK_BYTES {
            return self.fetch(offset, buffer);
        }
        let mut at = offset;
        let mut rest = buffer;
        while at < end {
            let number = at / BLOCK_BYTES;
            let block = self.block(number)?;
            let from = block.get((at - number * BLOCK_BYTES) as usize..).unwrap_or_default();
            let len = from.len().min(rest.len());
            let (target, tail) = rest.split_at_mut(len);
            target.copy_from_slice(from.get(..len).unwrap_or_default());
            if len == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            rest = tail;
            at += len as u64;
        }
        Ok(())
    }
}

impl StoredFile {
    fn block(&self, number: u64) -> io::Result<Arc<Vec<u8>>> {
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = blocks.iter().position(|(kept, _)| *kept == number)
            && let Some(found) = blocks.remove(at)
        {
            // Back to the end, as the one used last.
            blocks.push_back(found.clone());
            return Ok(found.1);
        }
        let begin = number * BLOCK_BYTES;
        let mut block = vec![0; BLOCK_BYTES.min(self.len().saturating_sub(begin)) as usize];
        self.fetch(begin, &mut block)?;
        let block = Arc::new(block);
        if blocks.len() >= BLOCKS {
            blocks.pop_front();
        }
        blocks.push_back((number, Arc::clone(&block)));
        Ok(block)
    }

    /// Reads from the store.
    fn fetch(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        if self.hub.is_stopping() {
            return Err(io::Error::other("the hub is stopping"));
        }
        let wanted = buffer.len() as u64;
        let spend = |left: u64| left.checked_sub(wanted);
        if self.left_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_err() {
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, TooDear));
        }
        self.runtime.block_on(async {
            let mut stream = self.hub.store().read(&self.content, offset..offset + wanted);
            let mut rest = buffer;
            while let Some(piece) = stream.try_next().await.map_err(|error| {
                let error = error.into();
                note(&self.failure, &error);
                io_error(error)
            })? {
                let (target, tail) = rest.split_at_mut_checked(piece.len()).ok_or(io::ErrorKind::InvalidData)?;
                target.copy_from_slice(&piece);
                rest = tail;
            }
            if rest.is_empty() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
        })
    }
}

/// More bytes would have to be read than this question is worth.
#[derive(Debug, thiserror::Error)]
#[error("it would take too many bytes to answer this at once")]
struct TooDear;

/// Keeps what can be said of a failure of the store, for whoever asks later.
fn note(failure: &Failure, error: &Error) {
    let Error::Store(error) = error else { return };
    let text = error.to_string();
    let kept = match error.kind() {
        StoreErrorKind::Transient => {
            StoreError::Storage { what: "reading stored files", key: text.clone(), source: text.into() }
        }
        StoreErrorKind::Corrupt => StoreError::Corrupt { what: "a stored file".to_owned(), detail: text },
        _ => StoreError::Task(text),
    };
    failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(kept);
}

fn io_error(error: Error) -> io::Error {
    match error {
        Error::Store(error) => io::Error::other(error),
        error => io::Error::other(error.to_string()),
    }
}

/// What a reader says, for whoever asked: a failed store is no fault of the file.
pub(crate) fn explain(error: FormatError) -> Error {
    match error {
        FormatError::In { source, .. } if source.kind() == weighthouse_format::ErrorKind::Io => explain(*source),
        FormatError::Io { what, source } => {
            let text = format!("reading {what}: {source}");
            match source.into_inner().map(|inner| inner.downcast::<StoreError>()) {
                Some(Ok(error)) => Error::Store(*error),
                Some(Err(other)) if other.is::<TooDear>() => Error::Malformed(other.to_string()),
                _ => Error::Store(StoreError::Task(text)),
            }
        }
        error => Error::Malformed(error.to_string()),
    }
}
