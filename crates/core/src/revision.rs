//! Revisions: what a name or a number stands for, branches, tags and history.

use std::sync::Arc;

use weighthouse_store::catalog::{RefRecord, RepoKey, RepoKind};
use weighthouse_store::digest::GitOid;
use weighthouse_store::repo::commit::Commit;
use weighthouse_store::repo::object::{ObjectKind, object_id};
use weighthouse_store::{StoreError, catalog};

use crate::access::{Caller, Repo};
use crate::commit::{CommitMessage, Target, signature};
use crate::{Error, Hub, names};

/// Name of the branch that every repository has.
pub const MAIN: &str = "main";
/// Shortest unique prefix of a commit id that is accepted as a revision.
const MIN_PREFIX: usize = 7;

/// A commit of a repository.
#[derive(Debug, Clone)]
pub struct Revision {
    /// Commit id.
    pub oid: GitOid,
    /// The commit.
    pub commit: Arc<Commit>,
}

/// A page of history.
#[derive(Debug)]
pub struct History {
    /// Commits, newest first.
    pub commits: Vec<Revision>,
    /// Commits in all, as far as they were counted.
    pub total: u64,
}

/// How a new branch begins.
#[derive(Debug, Clone, Default)]
pub struct NewBranch {
    /// Revision it begins at; the head of the default branch if absent.
    pub starting_point: Option<String>,
    /// Begin with an empty commit instead.
    pub empty: bool,
    /// Move an existing branch.
    pub overwrite: bool,
}

impl Hub {
    /// Opens a repository and finds a revision in it, with one question to the catalog for a branch.
    pub async fn repo_at(
        &self,
        caller: &Caller,
        kind: RepoKind,
        id: &str,
        revision: &str,
    ) -> Result<(Repo, Revision), Error> {
        let revision = named(revision);
        let guess = if revision.starts_with("refs/") { revision.to_owned() } else { format!("refs/heads/{revision}") };
        let found = self.catalog().repos().find_with_ref(kind, id, &guess).await?;
        let (record, target) = found.unzip();
        let repo = self.opened(caller, kind, id, record).await?;
        // A full commit id is itself, even if somebody names a branch like one.
        if !is_commit_id(revision)
            && let Some(target) = target.flatten()
        {
            let oid = target.parse().map_err(|_| StoreError::Corrupt {
                what: format!("ref `{guess}`"),
                detail: format!("it points at `{target}`"),
            })?;
            let revision = self.known_commit(&repo.record.key, oid).await?;
            return Ok((repo, revision));
        }
        let revision = self.revision(&repo, revision).await?;
        Ok((repo, revision))
    }

    /// Finds a revision: a commit id, a full ref, a branch, a tag, or a unique prefix of a commit id.
    ///
    /// # Errors
    /// [`Error::RevisionNotFound`] when it is none of these.
    pub async fn revision(&self, repo: &Repo, revision: &str) -> Result<Revision, Error> {
        let key = &repo.record.key;
        let revision = named(revision);
        if is_commit_id(revision) {
            let oid = revision.parse().map_err(|_| not_found(revision))?;
            return self.commit_of(key, oid).await?.ok_or_else(|| not_found(revision));
        }
        let refs = self.catalog().refs();
        let candidates = if revision.starts_with("refs/") {
            vec![revision.to_owned()]
        } else {
            vec![format!("refs/heads/{revision}"), format!("refs/tags/{revision}")]
        };
        for name in candidates {
            if let Some(oid) = refs.read(key, &name).await? {
                return self.known_commit(key, oid).await;
            }
        }
        if revision.len() >= MIN_PREFIX && revision.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            let found = self.catalog().commits().by_prefix(key, revision).await?;
            if let [oid] = found.as_slice() {
                return self.known_commit(key, *oid).await;
            }
        }
        Err(not_found(revision))
    }

    async fn commit_of(&self, repo: &RepoKey, oid: GitOid) -> Result<Option<Revision>, Error> {
        let key = (repo.clone(), oid);
        if let Some(commit) = self.commit_cache().get(&key) {
            return Ok(Some(Revision { oid, commit }));
        }
        let Some(commit) = self.catalog().commits().get(repo, &oid).await? else { return Ok(None) };
        let commit = Arc::new(commit);
        self.commit_cache().insert(key, Arc::clone(&commit));
        Ok(Some(Revision { oid, commit }))
    }

    pub(crate) async fn known_commit(&self, repo: &RepoKey, oid: GitOid) -> Result<Revision, Error> {
        self.commit_of(repo, oid).await?.ok_or_else(|| {
            Error::Store(StoreError::Corrupt {
                what: format!("commit {oid}"),
                detail: "a ref points at it and it is missing".to_owned(),
            })
        })
    }

    /// All refs, by name.
    pub async fn refs(&self, repo: &Repo) -> Result<Vec<RefRecord>, Error> {
        Ok(self.catalog().refs().list(&repo.record.key).await?)
    }

    /// A page of the history that ends in `start`, newest first, along first parents.
    pub async fn history(&self, repo: &Repo, start: &Revision, skip: u64, limit: usize) -> Result<History, Error> {
        let mut history = History { commits: Vec::new(), total: 0 };
        let mut next = Some(start.oid);
        while let Some(oid) = next {
            let revision = self.known_commit(&repo.record.key, oid).await?;
            next = revision.commit.parents.first().copied();
            if history.total >= skip && history.commits.len() < limit {
                history.commits.push(revision);
            }
            history.total += 1;
        }
        Ok(history)
    }

    /// Creates a branch.
    ///
    /// # Errors
    /// [`Error::Exists`] when it exists and may not be moved; [`Error::RevisionNotFound`] for its starting point;
    /// [`Error::Blocked`] when a policy forbids to move a branch there.
    pub async fn create_branch(&self, caller: &Caller, repo: &Repo, name: &str, new: NewBranch) -> Result<(), Error> {
        repo.require_write(caller, "create a branch")?;
        let full = format!("refs/heads/{name}");
        if name.starts_with("refs/") || names::check_ref_name(name).is_err() {
            return Err(Error::Malformed(format!("Invalid reference for a branch: {}", names::shorten(&full))));
        }
        let start = self.revision(repo, new.starting_point.as_deref().unwrap_or(MAIN)).await?;
        let old = self.catalog().refs().read(&repo.record.key, &full).await?;
        if old.is_some() && !new.overwrite {
            return Err(Error::Exists { what: format!("Reference {full} already exists") });
        }
        if old.is_some() && !new.empty {
            self.pass_merge(caller, repo, &start).await?;
        }
        if new.empty {
            let message = CommitMessage { title: "initial commit".to_owned(), body: String::new() };
            let target = Target { ref_name: full, orphan: true, parent: None };
            self.begin_commit(caller, repo, target, message)?.finish().await?;
            return Ok(());
        }
        self.catalog().refs().swing(&repo.record.key, &full, old, start.oid).await.map_err(|error| match error {
            StoreError::RefMoved { .. } => Error::Exists { what: format!("Reference {full} already exists") },
            error => error.into(),
        })
    }

    /// Deletes a branch other than the default one.
    pub async fn delete_branch(&self, caller: &Caller, repo: &Repo, name: &str) -> Result<(), Error> {
        repo.require_write(caller, "delete a branch")?;
        if name == MAIN {
            return Err(Error::Malformed(format!("Cannot delete refs/heads/{MAIN}")));
        }
        if !self.catalog().refs().delete(&repo.record.key, &format!("refs/heads/{name}")).await? {
            return Err(not_found(name));
        }
        Ok(())
    }

    /// Creates a tag at a revision.
    pub async fn create_tag(&self, caller: &Caller, repo: &Repo, name: &str, revision: &str) -> Result<(), Error> {
        repo.require_write(caller, "create a tag")?;
        names::check_ref_name(name)?;
        let target = self.revision(repo, revision).await?;
        let full = format!("refs/tags/{name}");
        let exists = || Error::Exists { what: format!("Reference {full} already exists") };
        if self.catalog().refs().read(&repo.record.key, &full).await?.is_some() {
            return Err(exists());
        }
        self.catalog().refs().swing(&repo.record.key, &full, None, target.oid).await.map_err(|error| match error {
            StoreError::RefMoved { .. } => exists(),
            error => error.into(),
        })
    }

    /// Deletes a tag.
    pub async fn delete_tag(&self, caller: &Caller, repo: &Repo, name: &str) -> Result<(), Error> {
        repo.require_write(caller, "delete a tag")?;
        if !self.catalog().refs().delete(&repo.record.key, &format!("refs/tags/{name}")).await? {
            return Err(not_found(name));
        }
        Ok(())
    }

    /// Replaces the history of a branch by one commit with the same files.
    pub async fn squash(&self, caller: &Caller, repo: &Repo, branch: &str, message: &str) -> Result<GitOid, Error> {
        repo.require_write(caller, "rewrite a branch")?;
        let account = caller.require_write("rewrite a branch")?;
        let full = if branch.starts_with("refs/") { branch.to_owned() } else { format!("refs/heads/{branch}") };
        let head = self.catalog().refs().read(&repo.record.key, &full).await?.ok_or_else(|| not_found(branch))?;
        let head = self.known_commit(&repo.record.key, head).await?;
        let now_ms = self.now_ms();
        let commit = Commit {
            tree: head.commit.tree,
            parents: Vec::new(),
            author: signature(account, now_ms),
            message: message.to_owned(),
        };
        let data = commit.encode();
        let oid = object_id(ObjectKind::Commit, &data);
        let new = catalog::NewCommit {
            repo: repo.record.key.clone(),
            ref_name: full,
            old: Some(head.oid),
            oid,
            data,
            trees: Vec::new(),
            blobs: Vec::new(),
            waiting: Vec::new(),
            fingerprint: oid.to_string(),
            now_ms,
        };
        self.catalog().commits().add(&new).await.map_err(|error| match error {
            StoreError::RefMoved { .. } => Error::StaleParent,
            error => error.into(),
        })?;
        Ok(oid)
    }
}

/// `HEAD` is the default branch, as in git.
fn named(revision: &str) -> &str {
    if revision == "HEAD" { MAIN } else { revision }
}

fn is_commit_id(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn not_found(revision: &str) -> Error {
    Error::RevisionNotFound { revision: names::shorten(revision) }
}
