//! Commits: files come in one after the other, one commit comes out, or nothing at all.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use sha2::Digest;
use weighthouse_store::StoreError;
use weighthouse_store::blob::Ingest;
use weighthouse_store::catalog::{Account, BlobRecord, ContentRecord, NewCommit};
use weighthouse_store::digest::{GitOid, Sha256};
use weighthouse_store::repo::commit::{Commit, Signature};
use weighthouse_store::repo::edit::TreeEdit;
use weighthouse_store::repo::object::{ObjectKind, lfs_pointer, object_id};

use crate::access::{Caller, Repo};
use crate::gate::Arriving;
use crate::jobs::Line;
use crate::preupload::{ATTRIBUTES, LfsRules};
use crate::revision::{MAIN, Revision};
use crate::{Error, Hub, card, names};

/// How long a repeated request is answered with the commit it made, in milliseconds.
const REPEAT_MS: i64 = 10 * 60_000;
/// Tries against other processes that commit to the same branch at the same time.
const TRIES: usize = 100;

/// Title and body of a commit message.
#[derive(Debug, Clone, Default)]
pub struct CommitMessage {
    /// First line.
    pub title: String,
    /// The rest; may be empty.
    pub body: String,
}

/// Where a commit goes.
#[derive(Debug, Clone)]
pub struct Target {
    /// Full name of the ref.
    pub(crate) ref_name: String,
    /// Begin the ref with a commit without parents and files.
    pub(crate) orphan: bool,
    /// Commit that the ref must point at, as (a prefix of) its id.
    pub(crate) parent: Option<String>,
}

impl Target {
    /// A branch, by its name or its full name, which must point at `parent` if one is given.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a tag or a commit id.
    pub fn branch(revision: &str, parent: Option<String>) -> Result<Self, Error> {
        let name = revision.strip_prefix("refs/heads/").unwrap_or(revision);
        if name.starts_with("refs/") {
            return Err(Error::Malformed(format!("`{}` is not a branch", names::shorten(revision))));
        }
        Ok(Self { ref_name: format!("refs/heads/{name}"), orphan: false, parent })
    }

    pub(crate) fn new_main() -> Self {
        Self { ref_name: format!("refs/heads/{MAIN}"), orphan: true, parent: None }
    }
}

/// A commit being put together. Nothing is visible before [`PendingCommit::finish`].
#[derive(Debug)]
pub struct PendingCommit {
    hub: Hub,
    caller: Caller,
    account: Account,
    repo: Repo,
    target: Target,
    message: CommitMessage,
    ingest: Ingest,
    operations: Vec<Operation>,
    /// New text of `.gitattributes`, when this commit brings one.
    attributes: Option<Bytes>,
    /// Whether the repository comes into being with this commit.
    founds: bool,
    fingerprint: sha2::Sha256,
}

#[derive(Debug)]
enum Operation {
    Put { path: String, blob: BlobRecord },
    PutLfs { path: String, sha256: Sha256, size_bytes: Option<u64> },
    Copy { from: String, path: String },
    Remove { path: String },
}

impl Hub {
    /// Begins a commit.
    ///
    /// # Errors
    /// [`Error::Denied`] and [`Error::Unauthenticated`] when the caller may not write.
    pub fn begin_commit(
        &self,
        caller: &Caller,
        repo: &Repo,
        target: Target,
        message: CommitMessage,
    ) -> Result<PendingCommit, Error> {
        repo.require_write(caller, "commit")?;
        let account = caller.require_write("commit")?.clone();
        let mut fingerprint = sha2::Sha256::new();
        let parent = target.parent.as_deref().unwrap_or("");
        for part in [account.id.as_str(), &target.ref_name, parent, &message.title, &message.body] {
            mark(&mut fingerprint, part.as_bytes());
        }
        Ok(PendingCommit {
            hub: self.clone(),
            caller: caller.clone(),
            account,
            repo: repo.clone(),
            target,
            message,
            ingest: Ingest::new(self.store()),
            operations: Vec::new(),
            attributes: None,
            founds: false,
            fingerprint,
        })
    }
}

impl PendingCommit {
    /// Lets the repository, which is not on record yet, come into being with this commit, its first.
    pub(crate) fn founding(self) -> Self {
        Self { founds: true, ..self }
    }

    /// Adds or replaces a file whose bytes go into git's history.
    ///
    /// # Errors
    /// [`Error::IllegalPath`]; [`Error::TooLarge`] beyond the limit for such files; [`Error::Malformed`] for a
    /// `README.md` whose metadata cannot be read.
    pub async fn put(&mut self, path: &str, data: Bytes) -> Result<(), Error> {
        names::check_path(path)?;
        let limit_bytes = self.hub.options().max_regular_bytes;
        if data.len() as u64 > limit_bytes {
            return Err(Error::TooLarge { what: format!("`{}`", names::shorten(path)), limit_bytes });
        }
        if path == card::CARD_PATH {
            card::check(&data)?;
        }
        if path == ATTRIBUTES {
            self.attributes = Some(data.clone());
        }
        let oid = object_id(ObjectKind::Blob, &data);
        self.note("put", path, &oid.0);
        self.ingest.push(data).await?;
        let file = self.ingest.end_file().await?;
        let blob = BlobRecord { oid, sha256: file.sha256, size_bytes: file.size_bytes, lfs: false };
        self.operations.push(Operation::Put { path: path.to_owned(), blob });
        Ok(())
    }

    /// Adds or replaces a file whose bytes were uploaded before.
    pub fn put_lfs(&mut self, path: &str, sha256: Sha256, size_bytes: Option<u64>) -> Result<(), Error> {
        names::check_path(path)?;
        self.note("lfs", path, &sha256.0);
        self.operations.push(Operation::PutLfs { path: path.to_owned(), sha256, size_bytes });
        Ok(())
    }

    /// Copies a file of the branch to another path.
    pub fn copy(&mut self, from: &str, path: &str) -> Result<(), Error> {
        names::check_path(path)?;
        self.note("copy", path, from.as_bytes());
        self.operations.push(Operation::Copy { from: from.to_owned(), path: path.to_owned() });
        Ok(())
    }

    /// Removes a file or a folder.
    pub fn remove(&mut self, path: &str) -> Result<(), Error> {
        let path = path.trim_end_matches('/');
        if path.is_empty() {
            return Err(Error::IllegalPath { path: String::new(), reason: "it is empty".to_owned() });
        }
        if path == ATTRIBUTES {
            self.attributes = None;
        }
        self.note("remove", path, b"");
        self.operations.push(Operation::Remove { path: path.to_owned() });
        Ok(())
    }

    /// Gives the commit up; nothing of it stays.
    pub async fn abort(self) {
        self.ingest.abort().await;
    }

    /// Makes the commit and returns it. A commit that changes nothing, and a repeated one, return what is there.
    ///
    /// # Errors
    /// [`Error::StaleParent`], [`Error::MissingFile`], [`Error::MissingContent`], [`Error::IllegalPath`];
    /// [`Error::Blocked`] when a policy forbids a file.
    pub async fn finish(mut self) -> Result<Revision, Error> {
        let fingerprint = hex::encode(self.fingerprint.finalize_reset());
        let _turn = self.hub.commit_turn(&self.repo.record.key).await;
        if let Some(revision) = self.repeated(&fingerprint).await? {
            self.ingest.abort().await;
            return Ok(revision);
        }
        if let Err(error) = self.pass().await {
            self.ingest.abort().await;
            return Err(error);
        }
        // The bytes of all files go first, so that no commit can name what is not stored.
        let ingest = std::mem::replace(&mut self.ingest, Ingest::new(self.hub.store()));
        ingest.finish(&self.repo.record.key, &self.account.id).await?;
        let uploaded = self.uploaded().await?;
        for _ in 0..TRIES {
            match self.attempt(&uploaded, &fingerprint).await {
                Err(Error::Store(StoreError::RefMoved { .. })) if self.target.parent.is_none() => {}
                Err(Error::Store(StoreError::RefMoved { .. })) => return Err(Error::StaleParent),
                Ok(revision) => {
                    if self.target.ref_name == format!("refs/heads/{MAIN}") {
                        self.hub.refresh_facts(&self.repo, &revision).await;
                    }
                    self.hub.work_waits(Line::Judging).notify_one();
                    self.hub.work_waits(Line::Reading).notify_one();
                    return Ok(revision);
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::StaleParent)
    }

    /// Asks the policies, by what is known of the files.
    async fn pass(&self) -> Result<(), Error> {
        let mut files = Vec::with_capacity(self.operations.len());
        for operation in &self.operations {
            files.push(match operation {
                Operation::Put { path, blob } => {
                    Arriving { path, sha256: blob.sha256, size_bytes: blob.size_bytes, large: false }
                }
                Operation::PutLfs { path, sha256, size_bytes } => {
                    Arriving { path, sha256: *sha256, size_bytes: size_bytes.unwrap_or(0), large: true }
                }
                // Its bytes have been let in before, and its name has not.
                Operation::Copy { path, .. } => Arriving { path, sha256: Sha256([0; 32]), size_bytes: 0, large: false },
                Operation::Remove { .. } => continue,
            });
        }
        self.hub.pass_commit(&self.caller, &self.repo, &files).await
    }

    async fn attempt(&self, uploaded: &BTreeMap<Sha256, ContentRecord>, fingerprint: &str) -> Result<Revision, Error> {
        let key = &self.repo.record.key;
        let head = self.head().await?;
        let old = match (&head, self.target.orphan) {
            (Some(head), _) => Some(head.oid),
            (None, true) => self.hub.catalog().refs().read(key, &self.target.ref_name).await?,
            (None, false) => None,
        };
        if let (Some(parent), Some(head)) = (&self.target.parent, &head)
            && !head.oid.to_string().starts_with(parent.as_str())
        {
            return Err(Error::StaleParent);
        }
        let catalog = self.hub.catalog();
        let mut edit = TreeEdit::new(head.as_ref().map(|head| head.commit.tree));
        let mut blobs = Vec::new();
        let mut waiting = Vec::new();
        let mut copied = Vec::new();
        for operation in &self.operations {
            match operation {
                Operation::Put { path, blob } => {
                    edit.put(catalog, path, blob.oid).await?;
                    blobs.push(*blob);
                }
                Operation::PutLfs { path, sha256, .. } => {
                    let content = uploaded.get(sha256).ok_or_else(|| missing(path, sha256))?;
                    let pointer = lfs_pointer(sha256, content.size_bytes);
                    let oid = object_id(ObjectKind::Blob, pointer.as_bytes());
                    edit.put(catalog, path, oid).await?;
                    blobs.push(BlobRecord { oid, sha256: *sha256, size_bytes: content.size_bytes, lfs: true });
                    waiting.push((*sha256, path.clone()));
                }
                Operation::Copy { from, path } => {
                    let found = edit.file(catalog, from).await?;
                    let oid = found.ok_or_else(|| Error::MissingFile { path: names::shorten(from) })?;
                    edit.put(catalog, path, oid).await?;
                    copied.push((oid, path.clone()));
                }
                Operation::Remove { path } => edit.remove(catalog, path).await?,
            }
        }
        blobs.extend(self.extend_attributes(&mut edit).await?);
        let oids: Vec<GitOid> = copied.iter().map(|(oid, _)| *oid).collect();
        for blob in catalog.contents().blobs(&oids).await?.iter().filter(|blob| blob.lfs) {
            let here = copied.iter().filter(|(oid, _)| *oid == blob.oid);
            waiting.extend(here.map(|(_, path)| (blob.sha256, path.clone())));
        }
        let (tree, trees) = edit.finish();
        if let Some(head) = &head
            && head.commit.tree == tree
        {
            return Ok(head.clone());
        }
        let now_ms = self.hub.now_ms();
        let message = match self.message.body.is_empty() {
            true => self.message.title.clone(),
            false => format!("{}\n\n{}", self.message.title, self.message.body),
        };
        let commit = Commit {
            tree,
            parents: head.iter().map(|head| head.oid).collect(),
            author: signature(&self.account, now_ms),
            message,
        };
        let data = commit.encode();
        let oid = object_id(ObjectKind::Commit, &data);
        let new = NewCommit {
            repo: key.clone(),
            ref_name: self.target.ref_name.clone(),
            old,
            oid,
            data,
            trees,
            blobs,
            waiting,
            fingerprint: fingerprint.to_owned(),
            now_ms,
        };
        if self.founds {
            let entry = self.hub.repo_created(&self.caller, &self.repo.record);
            catalog.commits().found(&self.repo.record, &new, Some(entry)).await?;
        } else {
            catalog.commits().add(&new).await?;
        }
        self.hub.known_commit(key, oid).await
    }

    /// Commit that the ref points at; `None` for a ref that this commit begins.
    async fn head(&self) -> Result<Option<Revision>, Error> {
        let key = &self.repo.record.key;
        if self.target.orphan {
            return Ok(None);
        }
        match self.hub.catalog().refs().read(key, &self.target.ref_name).await? {
            Some(oid) => Ok(Some(self.hub.known_commit(key, oid).await?)),
            None => {
                let name = self.target.ref_name.trim_start_matches("refs/heads/");
                // A tag or a commit id is a revision, but not one that can grow.
                match self.hub.revision(&self.repo, name).await {
                    Ok(_) => Err(Error::Malformed(format!("`{}` is not a branch", names::shorten(name)))),
                    Err(error) => Err(error),
                }
            }
        }
    }

    /// Commit that an earlier copy of this very request made, if it stands for what this one would do.
    async fn repeated(&self, fingerprint: &str) -> Result<Option<Revision>, Error> {
        if self.target.orphan {
            return Ok(None);
        }
        let key = &self.repo.record.key;
        let since_ms = self.hub.now_ms() - REPEAT_MS;
        let Some(made) = self.hub.catalog().commits().requested(key, fingerprint, since_ms).await? else {
            return Ok(None);
        };
        let made = self.hub.known_commit(key, made).await?;
        let head = self.head().await?.map(|head| head.oid);
        // With the same parent it can only be the same commit. Without one, somebody may really want to do the
        // same thing again after others changed it.
        let same = self.target.parent.is_some() || head == Some(made.oid);
        Ok(same.then_some(made))
    }

    /// Contents that the LFS files name, all of which must have been given to this repository or be readable.
    async fn uploaded(&self) -> Result<BTreeMap<Sha256, ContentRecord>, Error> {
        let mut wanted: BTreeMap<Sha256, (&str, Option<u64>)> = BTreeMap::new();
        for operation in &self.operations {
            if let Operation::PutLfs { path, sha256, size_bytes } = operation {
                wanted.insert(*sha256, (path, *size_bytes));
            }
        }
        let digests: Vec<Sha256> = wanted.keys().copied().collect();
        let records = self.hub.catalog().contents().records(&digests).await?;
        let found: BTreeMap<Sha256, ContentRecord> = records.into_iter().map(|r| (r.sha256, r)).collect();
        for (sha256, (path, size_bytes)) in wanted {
            let content = found.get(&sha256).ok_or_else(|| missing(path, &sha256))?;
            if !self.hub.give(&self.caller, &self.repo, &self.account, &sha256).await? {
                return Err(missing(path, &sha256));
            }
            if let Some(announced) = size_bytes
                && announced != content.size_bytes
            {
                return Err(Error::Mismatch {
                    what: "size of an LFS file",
                    expected: format!("{announced} bytes"),
                    actual: format!("{} bytes", content.size_bytes),
                });
            }
        }
        Ok(found)
    }

    /// Adds the paths of LFS files to `.gitattributes` that no pattern there covers, as git would need them.
    async fn extend_attributes(&self, edit: &mut TreeEdit) -> Result<Option<BlobRecord>, Error> {
        let mut paths = BTreeSet::new();
        for operation in &self.operations {
            match operation {
                Operation::PutLfs { path, .. } => paths.insert(path.as_str()),
                Operation::Put { path, .. } | Operation::Copy { path, .. } | Operation::Remove { path } => {
                    paths.remove(path.as_str())
                }
            };
        }
        if paths.is_empty() {
            return Ok(None);
        }
        let mut text = match &self.attributes {
            Some(text) => text.to_vec(),
            None => match edit.file(self.hub.catalog(), ATTRIBUTES).await? {
                Some(oid) => self.hub.read_blob(&oid).await?,
                None => Vec::new(),
            },
        };
        let rules = LfsRules::parse(&text);
        let before = text.len();
        for path in paths.into_iter().filter(|path| !rules.matches(path)) {
            if text.last().is_some_and(|&last| last != b'\n') {
                text.push(b'\n');
            }
            text.extend_from_slice(LfsRules::line_for(path).as_bytes());
        }
        if text.len() == before {
            return Ok(None);
        }
        let mut ingest = Ingest::new(self.hub.store());
        let oid = object_id(ObjectKind::Blob, &text);
        ingest.push(text.into()).await?;
        let file = ingest.end_file().await?;
        ingest.finish(&self.repo.record.key, &self.account.id).await?;
        edit.put(self.hub.catalog(), ATTRIBUTES, oid).await?;
        Ok(Some(BlobRecord { oid, sha256: file.sha256, size_bytes: file.size_bytes, lfs: false }))
    }

    fn note(&mut self, verb: &str, path: &str, id: &[u8]) {
        for part in [verb.as_bytes(), path.as_bytes(), id] {
            mark(&mut self.fingerprint, part);
        }
    }
}

/// Feeds one delimited part into a fingerprint.
fn mark(fingerprint: &mut sha2::Sha256, part: &[u8]) {
    fingerprint.update((part.len() as u64).to_le_bytes());
    fingerprint.update(part);
}

fn missing(path: &str, sha256: &Sha256) -> Error {
    Error::MissingContent { path: names::shorten(path), sha256: *sha256 }
}

/// An account as the author of a commit.
pub(crate) fn signature(account: &Account, now_ms: i64) -> Signature {
    let email = account.email.clone().unwrap_or_else(|| format!("{}@users.noreply.weighthouse", account.name));
    Signature { name: account.name.clone(), email, time_s: now_ms.div_euclid(1_000) }
}

impl Hub {
    /// Bytes of a small regular file by its blob.
    pub(crate) async fn read_blob(&self, oid: &GitOid) -> Result<Vec<u8>, Error> {
        use futures::TryStreamExt;
        let Some(blob) = self.catalog().contents().blobs(&[*oid]).await?.pop() else { return Ok(Vec::new()) };
        let content = self.content(&blob.sha256).await?;
        let len = content.record.size_bytes.min(self.options().max_regular_bytes);
        let pieces: Vec<Bytes> = self.store().read(&content, 0..len).try_collect().await?;
        Ok(pieces.concat())
    }
}
