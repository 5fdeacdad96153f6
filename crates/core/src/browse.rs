//! Looking into a revision: files, folders, and who touched them last.

mod changes;
mod page;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use quick_cache::sync::Cache;
use weighthouse_format::xet::hash::XetHash;
use weighthouse_store::StoreError;
use weighthouse_store::blob::ByteStream;
use weighthouse_store::catalog::{BlobRecord, Content};
use weighthouse_store::digest::{GitOid, Sha256};
use weighthouse_store::repo::commit::Commit;
use weighthouse_store::repo::object::lfs_pointer;
use weighthouse_store::repo::tree::{Entry, EntryKind, Tree};

use crate::access::Repo;
use crate::revision::Revision;
use crate::{Error, Hub, names};

pub use changes::{Change, Changes};
pub use page::FolderPage;

/// Commits searched for the last change of an entry before the search is given up.
const LAST_COMMIT_DEPTH: usize = 5_000;

pub(crate) type FileCache = Cache<(GitOid, String), Arc<FileRecord>>;

/// A file in a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRecord {
    /// Path from the root.
    pub path: String,
    /// Git blob id: of the content, or of the LFS pointer.
    pub oid: GitOid,
    /// Length of the content in bytes.
    pub size_bytes: u64,
    /// Whether git's history holds a pointer instead of the content.
    pub lfs: bool,
    /// SHA-256 of the content.
    pub sha256: Sha256,
    /// Xet hash of the content; all zeros when its bytes are gone.
    pub file_hash: XetHash,
    /// The rule of retention by which the bytes were removed, if one did.
    pub retired: Option<String>,
}

/// A file or a folder in a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathRecord {
    /// A file.
    File(FileRecord),
    /// A folder.
    Folder {
        /// Path from the root.
        path: String,
        /// Git tree id.
        oid: GitOid,
    },
}

/// The last commit that touched an entry.
#[derive(Debug, Clone)]
pub struct LastCommit {
    /// Commit id.
    pub oid: GitOid,
    /// The commit.
    pub commit: Arc<Commit>,
}

impl PathRecord {
    /// Path from the root.
    pub fn path(&self) -> &str {
        match self {
            Self::File(file) => &file.path,
            Self::Folder { path, .. } => path,
        }
    }
}

impl FileRecord {
    /// Length of the LFS pointer in bytes.
    pub fn pointer_bytes(&self) -> u64 {
        lfs_pointer(&self.sha256, self.size_bytes).len() as u64
    }

    /// Text that git's history holds for an LFS file.
    pub fn pointer(&self) -> String {
        lfs_pointer(&self.sha256, self.size_bytes)
    }

    /// Entity tag without quotes: the SHA-256 of an LFS file, the git id of any other.
    pub fn etag(&self) -> String {
        if self.lfs { self.sha256.to_string() } else { self.oid.to_string() }
    }
}

impl Hub {
    /// A file of a revision.
    ///
    /// # Errors
    /// [`Error::EntryNotFound`] when the path is no file; [`Error::Retired`] when its bytes were removed by a rule.
    pub async fn file(&self, revision: &Revision, name: &str, path: &str) -> Result<Arc<FileRecord>, Error> {
        let key = (revision.oid, path.to_owned());
        if let Some(file) = self.files().get(&key) {
            return Ok(file);
        }
        let entry = self.entry(revision, path).await?.filter(|entry| entry.kind == EntryKind::File);
        let entry = entry.ok_or_else(|| entry_not_found(revision, name, path))?;
        let file = self.files_of(vec![(path.to_owned(), entry.oid)]).await?.pop();
        let file = Arc::new(file.ok_or_else(|| lost(&entry.oid))?);
        if let Some(rule) = &file.retired {
            return Err(Error::Retired { sha256: file.sha256, rule: rule.clone() });
        }
        self.files().insert(key, Arc::clone(&file));
        Ok(file)
    }

    /// Streams bytes `range` of a file, which must lie within it.
    pub async fn read(&self, file: &FileRecord, range: Range<u64>) -> Result<ByteStream, Error> {
        Ok(self.store().read(&self.content(&file.sha256).await?, range))
    }

    /// Reads a whole file of at most `limit_bytes` into memory; `None` when it is longer.
    pub async fn read_small(&self, file: &FileRecord, limit_bytes: u64) -> Result<Option<Vec<u8>>, Error> {
        use futures::TryStreamExt;
        if file.size_bytes > limit_bytes {
            return Ok(None);
        }
        let mut stream = self.read(file, 0..file.size_bytes).await?;
        let mut data = Vec::new();
        while let Some(piece) = stream.try_next().await? {
            data.extend_from_slice(&piece);
        }
        Ok(Some(data))
    }

    pub(crate) async fn content(&self, sha256: &Sha256) -> Result<Content, Error> {
        if let Some(content) = self.catalog().contents().get(sha256).await? {
            return Ok(content);
        }
        if let Some(rule) = self.catalog().retention().retired(sha256).await? {
            return Err(Error::Retired { sha256: *sha256, rule });
        }
        Err(Error::Store(StoreError::Corrupt {
            what: format!("content {sha256}"),
            detail: "a commit names it and it is not on record".to_owned(),
        }))
    }

    /// All files of a revision, by path.
    pub(crate) async fn all_files(&self, revision: &Revision) -> Result<Vec<FileRecord>, Error> {
        let entries = self.list(revision, &revision.oid.to_string(), "", true).await?;
        let file = |entry| match entry {
            PathRecord::File(file) => Some(file),
            PathRecord::Folder { .. } => None,
        };
        Ok(entries.into_iter().filter_map(file).collect())
    }

    /// Entries of a folder (the root is `""`), in git's order; with `recursive` everything below it, folders too.
    ///
    /// # Errors
    /// [`Error::EntryNotFound`] when the path is no folder.
    pub async fn list(
        &self,
        revision: &Revision,
        name: &str,
        folder: &str,
        recursive: bool,
    ) -> Result<Vec<PathRecord>, Error> {
        Ok(self.list_page(revision, name, folder, recursive, 0..usize::MAX).await?.entries)
    }

    /// Those of `paths` that exist, in the order given; a trailing slash is tolerated.
    pub async fn paths(&self, revision: &Revision, paths: &[String]) -> Result<Vec<PathRecord>, Error> {
        let mut found = Vec::new();
        for path in paths {
            let path = path.trim_matches('/');
            if let Some(entry) = self.entry(revision, path).await? {
                found.push((path.to_owned(), entry));
            }
        }
        self.records(found).await
    }

    /// Last commit that touched each of `entries`, which all lie in one folder, along first parents. Entries whose
    /// last change lies deeper than 5,000 commits are left out.
    pub async fn last_commits(
        &self,
        repo: &Repo,
        revision: &Revision,
        folder: &str,
        entries: &[PathRecord],
    ) -> Result<HashMap<String, LastCommit>, Error> {
        let folder = folder.trim_matches('/');
        let mut open: HashMap<&str, GitOid> = HashMap::new();
        for entry in entries {
            let name = entry.path().rsplit('/').next().unwrap_or_default();
            let oid = match entry {
                PathRecord::File(file) => file.oid,
                PathRecord::Folder { oid, .. } => *oid,
            };
            open.insert(name, oid);
        }
        let mut found = HashMap::new();
        let mut at = revision.clone();
        for _ in 0..LAST_COMMIT_DEPTH {
            let parent = match at.commit.parents.first() {
                Some(&oid) => Some(self.known_commit(&repo.record.key, oid).await?),
                None => None,
            };
            let before = match &parent {
                Some(parent) if parent.commit.tree == at.commit.tree => None,
                Some(parent) => Some(self.tree_at(&parent.commit.tree, folder).await?.unwrap_or_default()),
                None => Some(Arc::default()),
            };
            if let Some(before) = before {
                open.retain(|name, oid| {
                    let same = before.get(name).is_some_and(|entry| entry.oid == *oid);
                    if !same {
                        found.insert((*name).to_owned(), LastCommit { oid: at.oid, commit: Arc::clone(&at.commit) });
                    }
                    same
                });
            }
            match parent {
                Some(parent) if !open.is_empty() => at = parent,
                _ => break,
            }
        }
        Ok(found)
    }

    /// Entry at a path, the root excepted.
    pub(crate) async fn entry(&self, revision: &Revision, path: &str) -> Result<Option<Entry>, Error> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let tree = self.tree_at(&revision.commit.tree, folder).await?;
        Ok(tree.and_then(|tree| tree.get(name).cloned()))
    }

    async fn tree_at(&self, root: &GitOid, folder: &str) -> Result<Option<Arc<Tree>>, Error> {
        let mut tree = self.catalog().objects().tree(root).await?;
        for name in folder.split('/').filter(|name| !name.is_empty()) {
            match tree.get(name) {
                Some(entry) if entry.kind == EntryKind::Folder => {
                    tree = self.catalog().objects().tree(&entry.oid).await?;
                }
                _ => return Ok(None),
            }
        }
        Ok(Some(tree))
    }

    async fn records(&self, entries: Vec<(String, Entry)>) -> Result<Vec<PathRecord>, Error> {
        let named =
            |kind| move |(path, entry): &(String, Entry)| (entry.kind == kind).then(|| (path.clone(), entry.oid));
        let mut files = self.files_of(entries.iter().filter_map(named(EntryKind::File)).collect()).await?.into_iter();
        let mut records = Vec::with_capacity(entries.len());
        for (path, entry) in entries {
            records.push(match entry.kind {
                EntryKind::Folder => PathRecord::Folder { path, oid: entry.oid },
                EntryKind::File => PathRecord::File(files.next().ok_or_else(|| lost(&entry.oid))?),
            });
        }
        Ok(records)
    }

    /// Records of files, in the order given.
    async fn files_of(&self, files: Vec<(String, GitOid)>) -> Result<Vec<FileRecord>, Error> {
        let mut oids: Vec<GitOid> = files.iter().map(|(_, oid)| *oid).collect();
        oids.sort_unstable();
        oids.dedup();
        let contents = self.catalog().contents();
        let blobs: HashMap<GitOid, BlobRecord> =
            contents.blobs(&oids).await?.into_iter().map(|blob| (blob.oid, blob)).collect();
        let digests: Vec<Sha256> = blobs.values().map(|blob| blob.sha256).collect();
        let hashes: HashMap<Sha256, XetHash> =
            contents.records(&digests).await?.into_iter().map(|r| (r.sha256, r.file_hash)).collect();
        let mut records = Vec::with_capacity(files.len());
        for (path, oid) in files {
            let blob = blobs.get(&oid).ok_or_else(|| lost(&oid))?;
            let (file_hash, retired) = match hashes.get(&blob.sha256) {
                Some(hash) => (*hash, None),
                None => match self.catalog().retention().retired(&blob.sha256).await? {
                    Some(rule) => (XetHash::ZERO, Some(rule)),
                    None => return Err(lost(&oid)),
                },
            };
            records.push(FileRecord {
                path,
                oid,
                size_bytes: blob.size_bytes,
                lfs: blob.lfs,
                sha256: blob.sha256,
                file_hash,
                retired,
            });
        }
        Ok(records)
    }
}

fn entry_not_found(revision: &Revision, name: &str, path: &str) -> Error {
    Error::EntryNotFound { path: names::shorten(path), revision: names::shorten(name), commit: revision.oid }
}

fn lost(oid: &GitOid) -> Error {
    Error::Store(StoreError::Corrupt { what: format!("blob {oid}"), detail: "it is not on record".to_owned() })
}
