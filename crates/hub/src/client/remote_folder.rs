//! A revision of a repository as a folder whose files are read by ranges: nothing is downloaded whole.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex};

use http::{StatusCode, header};
use reqwest::Method;
use tokio::runtime::Handle;
use weighthouse::format::source::{FolderFile, ReadAt};
use weighthouse::format::{Folder, FormatError, Section};

use super::api::Api;
use super::error::ClientError;
use super::target::RepoRef;

/// Smallest range that is asked for: headers come in one piece with what follows them.
const WINDOW_BYTES: u64 = 16 << 10;
/// Windows of one file that are kept.
const KEPT: usize = 4;
/// Longest range that is asked for at once; a longer read is several requests.
const MAX_RANGE_BYTES: u64 = 64 << 20;

/// The files of one commit of a repository on a hub.
///
/// Its methods block the thread on network calls: use it on a thread of its own, not on one that runs tasks.
pub struct RemoteFolder {
    api: Api,
    repo: RepoRef,
    commit: String,
    files: Vec<FolderFile>,
    /// SHA-256 of the large files, by path.
    digests: HashMap<String, String>,
    runtime: Handle,
    /// Files that were opened, so that what came of them is not asked for again.
    open: Mutex<HashMap<String, Arc<RemoteFile>>>,
    wire_bytes: Arc<Mutex<u64>>,
}

impl std::fmt::Debug for RemoteFolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.repo, self.commit)
    }
}

impl RemoteFolder {
    /// Lists the files of a revision.
    ///
    /// # Errors
    /// What the hub answers; [`ClientError::Internal`] outside of a runtime.
    pub async fn open(api: &Api, repo: &RepoRef, revision: &str) -> Result<Self, ClientError> {
        let runtime = Handle::try_current().map_err(|error| ClientError::Internal(error.to_string()))?;
        let commit = api.resolve(repo, revision).await?;
        let entries = api.tree(repo, &commit).await?;
        let large = entries.iter().filter_map(|entry| Some((entry.path.clone(), entry.lfs.as_ref()?.oid.clone())));
        let digests = large.collect();
        let mut files: Vec<FolderFile> =
            entries.into_iter().map(|entry| FolderFile { path: entry.path.into(), size_bytes: entry.size }).collect();
        files.sort();
        Ok(Self {
            api: api.clone(),
            repo: repo.clone(),
            commit: commit.to_string(),
            files,
            digests,
            runtime,
            open: Mutex::default(),
            wire_bytes: Arc::default(),
        })
    }

    /// The commit that is read.
    #[must_use]
    pub fn commit(&self) -> &str {
        &self.commit
    }

    pub(super) fn api(&self) -> &Api {
        &self.api
    }

    pub(super) fn repo(&self) -> &RepoRef {
        &self.repo
    }

    /// SHA-256 of a file as the hub states it, in hexadecimal; large files only.
    #[must_use]
    pub fn digest(&self, path: &str) -> Option<&str> {
        self.digests.get(path).map(String::as_str)
    }

    /// Bytes of files that came over the network so far.
    #[must_use]
    pub fn wire_bytes(&self) -> u64 {
        self.wire_bytes.lock().map_or(0, |bytes| *bytes)
    }
}

impl Folder for RemoteFolder {
    fn files(&self) -> &[FolderFile] {
        &self.files
    }

    fn open(&self, path: &str) -> Result<Section, FormatError> {
        let found = self.files.binary_search_by(|file| (*file.path).cmp(path)).ok();
        let Some(file) = found.and_then(|at| self.files.get(at)) else {
            return Err(FormatError::NoFile { path: path.to_owned() });
        };
        let remote = || {
            Arc::new(RemoteFile {
                api: self.api.clone(),
                address: self.repo.file(&self.commit, path),
                len: file.size_bytes,
                runtime: self.runtime.clone(),
                kept: Mutex::default(),
                wire_bytes: Arc::clone(&self.wire_bytes),
            })
        };
        let opened = match self.open.lock() {
            Ok(mut open) => Arc::clone(open.entry(path.to_owned()).or_insert_with(remote)),
            Err(_) => remote(),
        };
        Ok(Section::new(path, opened))
    }
}

struct RemoteFile {
    api: Api,
    address: String,
    len: u64,
    runtime: Handle,
    /// Ranges that came lately, by their first byte.
    kept: Mutex<VecDeque<(u64, Arc<Vec<u8>>)>>,
    wire_bytes: Arc<Mutex<u64>>,
}

impl ReadAt for RemoteFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut at = offset;
        let mut rest = buffer;
        while !rest.is_empty() {
            let (begin, bytes) = self.window(at, rest.len() as u64)?;
            let skip = usize::try_from(at - begin).map_err(|_| io::ErrorKind::UnexpectedEof)?;
            let found = bytes.get(skip..).filter(|found| !found.is_empty()).ok_or(io::ErrorKind::UnexpectedEof)?;
            let len = found.len().min(rest.len());
            let (now, later) = rest.split_at_mut(len);
            now.copy_from_slice(found.get(..len).ok_or(io::ErrorKind::UnexpectedEof)?);
            at += len as u64;
            rest = later;
        }
        Ok(())
    }
}

impl RemoteFile {
    /// Bytes that begin at or before `at` and reach beyond it.
    fn window(&self, at: u64, wanted: u64) -> io::Result<(u64, Arc<Vec<u8>>)> {
        if at >= self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let holds = |(begin, bytes): &&(u64, Arc<Vec<u8>>)| (*begin..begin + bytes.len() as u64).contains(&at);
        if let Ok(kept) = self.kept.lock()
            && let Some((begin, bytes)) = kept.iter().find(holds)
        {
            return Ok((*begin, Arc::clone(bytes)));
        }
        let end = at.saturating_add(wanted.clamp(WINDOW_BYTES, MAX_RANGE_BYTES)).min(self.len);
        let bytes = Arc::new(self.runtime.block_on(self.fetch(at, end)).map_err(io::Error::other)?);
        if let Ok(mut total) = self.wire_bytes.lock() {
            *total += bytes.len() as u64;
        }
        if let Ok(mut kept) = self.kept.lock() {
            // Large reads are weights, which nobody asks for twice.
            if bytes.len() as u64 <= 4 * WINDOW_BYTES {
                kept.push_back((at, Arc::clone(&bytes)));
                if kept.len() > KEPT {
                    kept.pop_front();
                }
            }
        }
        Ok((at, bytes))
    }

    async fn fetch(&self, begin: u64, end: u64) -> Result<Vec<u8>, ClientError> {
        let what = "reading a range of a file";
        let limit = usize::try_from(end - begin).unwrap_or(usize::MAX);
        self.api
            .retrying(async || {
                let range = format!("bytes={begin}-{}", end - 1);
                let request = self.api.request(Method::GET, &self.address).header(header::RANGE, range);
                let answer = self.api.send(what, request).await?;
                if answer.status() != StatusCode::PARTIAL_CONTENT && (begin, end) != (0, self.len) {
                    return Err(ClientError::nonsense(what, "the hub sent the whole file instead"));
                }
                let bytes = self.api.read(what, answer, limit).await?;
                if bytes.len() != limit {
                    return Err(ClientError::nonsense(what, format!("{} bytes came instead of {limit}", bytes.len())));
                }
                Ok(bytes.to_vec())
            })
            .await
    }
}
