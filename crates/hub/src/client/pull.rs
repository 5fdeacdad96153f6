//! A revision to a folder, or to the cache of the Hugging Face clients.
//!
//! 1. resolve the revision to a commit; list its files; refuse the whole of it if one path is not safe to write
//! 2. leave out what is here already, told by content
//! 3. fetch the rest in ranges over several connections; hash each file as it grows; move it into place when it is right
//!
//! A pull that was killed goes on where it was: partial files stay beside a note about what is in them. No file in
//! place is ever incomplete.

mod cache;
mod fetch;
mod folder;
mod partial;
mod plan;
mod ranges;

use std::collections::HashSet;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use tokio::sync::Semaphore;
use weighthouse::GitOid;

use self::cache::RepoCache;
use self::fetch::Fetcher;
use self::folder::Folder;
use self::plan::RemoteFile;
use super::api::Api;
use super::error::ClientError;
use super::filter::Filter;
use super::meter::{Meter, Phase};
use super::paths;
use super::target::RepoRef;

/// Where a pull goes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Target {
    /// A folder of plain files; what else is in it stays.
    Folder(PathBuf),
    /// The folder `hub` of the Hugging Face clients' home.
    Cache(PathBuf),
}

/// How to pull.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PullOptions {
    /// Branch, tag or commit.
    pub revision: String,
    /// Which files take part.
    pub filter: Filter,
    /// Connections in all.
    pub streams: usize,
}

impl Default for PullOptions {
    /// All files of the default branch, over 8 connections.
    fn default() -> Self {
        Self { revision: "main".to_owned(), filter: Filter::default(), streams: 8 }
    }
}

/// What a pull did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pulled {
    /// Commit that the revision stands for.
    pub commit: GitOid,
    /// Folder with the files.
    pub folder: PathBuf,
    /// Files that take part.
    pub files: u64,
    /// Files that were fetched.
    pub files_fetched: u64,
    /// Files that were here already.
    pub files_unchanged: u64,
    /// Content bytes of all files that take part.
    pub bytes: u64,
    /// Content bytes that were fetched, now or by a run that broke off.
    pub bytes_fetched: u64,
    /// Bytes that went over the wire, repeats included.
    pub wire_bytes: u64,
}

/// Pulls a revision.
///
/// # Errors
/// Any [`ClientError`]; files that were complete by then are in place, the others wait for the next pull.
pub async fn pull(
    api: &Api,
    repo: &RepoRef,
    target: &Target,
    options: &PullOptions,
    meter: &Meter,
) -> Result<Pulled, ClientError> {
    meter.begin(Phase::Planning, 0, 0);
    let commit = api.resolve(repo, &options.revision).await?;
    let files = plan::plan(api.tree(repo, &commit).await?, &options.filter)?;
    let fetcher = Fetcher {
        api: api.clone(),
        meter: meter.clone(),
        streams: Arc::new(Semaphore::new(options.streams.max(1))),
        parallel: options.streams.max(1),
    };
    let pull = Pull { repo, commit, fetcher, streams: options.streams.max(1) };
    let (folder, fetched) = match target {
        Target::Folder(root) => pull.to_folder(root, &files).await?,
        Target::Cache(cache) => pull.to_cache(cache, &options.revision, &files).await?,
    };
    Ok(Pulled {
        commit,
        folder,
        files: files.len() as u64,
        files_fetched: fetched.len() as u64,
        files_unchanged: (files.len() - fetched.len()) as u64,
        bytes: files.iter().map(|file| file.size_bytes).sum(),
        bytes_fetched: fetched.iter().map(|file| file.size_bytes).sum(),
        wire_bytes: meter.snapshot().wire_bytes,
    })
}

struct Pull<'a> {
    repo: &'a RepoRef,
    commit: GitOid,
    fetcher: Fetcher,
    streams: usize,
}

impl Pull<'_> {
    async fn to_folder(&self, root: &Path, files: &[RemoteFile]) -> Result<(PathBuf, Vec<RemoteFile>), ClientError> {
        let root = root.to_owned();
        let folder = Arc::new(blocking(move || Folder::open(&root)).await?);
        let pulled = Arc::new(folder.pulled());
        self.fetcher.meter.begin(Phase::Checking, files.len() as u64, files.iter().map(|file| file.size_bytes).sum());
        let threads = std::thread::available_parallelism().map_or(2, NonZero::get);
        let checked = futures::stream::iter(files.iter().cloned()).map(|file| {
            let (pulled, root, meter) = (Arc::clone(&pulled), folder.root.clone(), self.fetcher.meter.clone());
            blocking(move || {
                let here = pulled.has(&root, &file)?;
                meter.add_file();
                meter.add_bytes(file.size_bytes);
                Ok((file, here))
            })
        });
        let checked: Vec<(RemoteFile, bool)> = checked.buffered(threads).try_collect().await?;
        let missing: Vec<RemoteFile> = checked.into_iter().filter(|(_, here)| !here).map(|(file, _)| file).collect();
        let place = |file: RemoteFile| {
            let root = folder.root.clone();
            blocking(move || paths::place(&root, &file.path))
        };
        let fetched = self.fetch_all(&missing, &folder.parts(), place).await;
        let (all, to_settle, done) = (files.to_vec(), missing.clone(), fetched.is_ok());
        let settled = blocking(move || {
            // What is in place is noted even if the rest failed.
            let mut pulled = Arc::into_inner(pulled).unwrap_or_default();
            let doubtful: HashSet<&str> =
                if done { HashSet::new() } else { to_settle.iter().map(|file| file.path.as_str()).collect() };
            let in_place = all.iter().filter(|file| !doubtful.contains(file.path.as_str()));
            in_place.for_each(|file| pulled.add(&folder.root, file));
            if done {
                folder.settle(to_settle.iter().map(|file| file.path.as_str()))?;
            }
            folder.write_pulled(&pulled)?;
            Ok(folder.root.clone())
        })
        .await;
        fetched?;
        Ok((settled?, missing))
    }

    async fn to_cache(
        &self,
        cache: &Path,
        revision: &str,
        files: &[RemoteFile],
    ) -> Result<(PathBuf, Vec<RemoteFile>), ClientError> {
        let (root, repo) = (cache.to_owned(), self.repo.clone());
        let here = Arc::new(blocking(move || RepoCache::open(&root, &repo)).await?);
        let mut missing: Vec<RemoteFile> = files.iter().filter(|file| !here.has_blob(file)).cloned().collect();
        // Equal content is fetched once.
        missing.sort_by_key(|file| file.digest.to_string());
        missing.dedup_by(|a, b| a.digest == b.digest);
        let place = |file: RemoteFile| std::future::ready(Ok(here.blob(&file)));
        self.fetch_all(&missing, &here.parts(), place).await?;
        self.fetcher.meter.begin(Phase::Committing, files.len() as u64, 0);
        let (commit, revision, files) = (self.commit, revision.to_owned(), files.to_vec());
        let folder = blocking(move || {
            here.publish(&commit, &revision, &files)?;
            Ok(here.snapshot(&commit))
        });
        Ok((folder.await?, missing))
    }

    async fn fetch_all<F>(
        &self,
        files: &[RemoteFile],
        parts: &Path,
        place: impl Fn(RemoteFile) -> F,
    ) -> Result<(), ClientError>
    where
        F: Future<Output = Result<PathBuf, ClientError>>,
    {
        let meter = &self.fetcher.meter;
        meter.begin(Phase::Moving, files.len() as u64, files.iter().map(|file| file.size_bytes).sum());
        let fetches = futures::stream::iter(files.to_vec()).map(|file| {
            let place = place(file.clone());
            async move {
                let to = place.await?;
                let address = self.repo.file(&self.commit.to_string(), &file.path);
                self.fetcher.fetch(&address, &file, parts, &Folder::part_name(&file), &to).await?;
                meter.add_file();
                Ok(())
            }
        });
        fetches.buffer_unordered(self.streams).try_collect().await
    }
}

/// Runs work that blocks where it may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ClientError> + Send + 'static,
) -> Result<T, ClientError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| ClientError::task(&error))?
}
