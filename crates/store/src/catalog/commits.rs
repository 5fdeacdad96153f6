//! Commits of repositories, and the one transaction that makes a new one.

use std::ops::ControlFlow;

use sqlx::{Any, Row, Transaction};

use super::contents::GIVEN;
use super::{
    AuditEntry, BlobRecord, Catalog, RepoKey, RepoRecord, audit, insert_rows, jobs, keep, parsed, refs, repos, verdicts,
};
use crate::StoreError;
use crate::digest::{GitOid, Sha256};
use crate::repo::commit::Commit;

/// Everything a commit adds to the catalog.
#[derive(Debug)]
pub struct NewCommit {
    /// Repository.
    pub repo: RepoKey,
    /// Full name of the ref it moves.
    pub ref_name: String,
    /// Where the ref points before; `None` creates it.
    pub old: Option<GitOid>,
    /// Id of the commit.
    pub oid: GitOid,
    /// The commit as git encodes it.
    pub data: Vec<u8>,
    /// New trees as git encodes them.
    pub trees: Vec<(GitOid, Vec<u8>)>,
    /// New blobs.
    pub blobs: Vec<BlobRecord>,
    /// Contents and paths of new LFS files: roads that name contents only must know that these wait for a verdict.
    pub waiting: Vec<(Sha256, String)>,
    /// Fingerprint of the request, to answer a repeated one alike.
    pub fingerprint: String,
    /// Milliseconds since 1970.
    pub now_ms: i64,
}

/// Commits of repositories.
#[derive(Debug)]
pub struct Commits<'a>(pub(super) &'a Catalog);

const FAILED: &str = "recording a commit";

impl Commits<'_> {
    /// Records blobs, trees, the commit and the moved ref, in that order, in one transaction, and asks for the commit
    /// to be judged and to be read.
    ///
    /// # Errors
    /// [`StoreError::RefMoved`] when the ref points elsewhere than `old`, [`StoreError::Gone`] when the bytes of a blob were
    /// removed; nothing is recorded then.
    pub async fn add(&self, new: &NewCommit) -> Result<(), StoreError> {
        let mut tx = self.0.write().await?;
        record(&mut tx, new).await?;
        tx.commit().await.map_err(StoreError::database(FAILED))
    }

    /// Records a repository with its first commit, and `entry` about it, in one transaction: whoever sees a repository
    /// sees its branch.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the id is taken in any case; otherwise as [`Commits::add`].
    pub async fn found(
        &self,
        repo: &RepoRecord,
        first: &NewCommit,
        entry: Option<AuditEntry>,
    ) -> Result<(), StoreError> {
        let mut tx = self.0.write().await?;
        repos::insert(&mut tx, repo).await?;
        record(&mut tx, first).await?;
        audit::append(&mut tx, entry).await?;
        tx.commit().await.map_err(StoreError::database(FAILED))
    }

    /// Commit that an earlier request with this fingerprint made, unless it is older than `since_ms`.
    pub async fn requested(
        &self,
        repo: &RepoKey,
        fingerprint: &str,
        since_ms: i64,
    ) -> Result<Option<GitOid>, StoreError> {
        let row =
            sqlx::query("SELECT commit_oid FROM requests WHERE repo = $1 AND fingerprint = $2 AND created_at >= $3")
                .bind(repo.as_str())
                .bind(fingerprint)
                .bind(since_ms)
                .fetch_optional(&self.0.pool)
                .await
                .map_err(StoreError::database("looking for a repeated request"))?;
        row.as_ref().map(|row| parsed(row, "commit_oid")).transpose()
    }

    /// Forgets requests older than `before_ms`.
    pub async fn forget_requests(&self, before_ms: i64) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM requests WHERE created_at < $1")
            .bind(before_ms)
            .execute(&self.0.pool)
            .await
            .map_err(StoreError::database("forgetting old requests"))?;
        Ok(())
    }

    /// A commit of a repository.
    pub async fn get(&self, repo: &RepoKey, oid: &GitOid) -> Result<Option<Commit>, StoreError> {
        let failed = "reading a commit";
        let row = sqlx::query("SELECT data FROM commits WHERE repo = $1 AND oid = $2")
            .bind(repo.as_str())
            .bind(oid.to_string())
            .fetch_optional(&self.0.pool)
            .await
            .map_err(StoreError::database(failed))?;
        row.map(|row| {
            let data: Vec<u8> = row.try_get("data").map_err(StoreError::database(failed))?;
            Commit::decode(oid, &data)
        })
        .transpose()
    }

    /// Commits of a repository after an id, as they are stored.
    pub(crate) async fn page(&self, repo: &RepoKey, after: &str) -> Result<Vec<(GitOid, Vec<u8>)>, StoreError> {
        let failed = "listing commits";
        let rows = sqlx::query("SELECT oid, data FROM commits WHERE repo = $1 AND oid > $2 ORDER BY oid LIMIT 1000")
            .bind(repo.as_str())
            .bind(after)
            .fetch_all(&self.0.pool)
            .await
            .map_err(StoreError::database(failed))?;
        rows.iter()
            .map(|row| Ok((parsed(row, "oid")?, row.try_get("data").map_err(StoreError::database(failed))?)))
            .collect()
    }

    /// The commits whose id begins with `prefix`; two are enough to know that it is not unique.
    pub async fn by_prefix(&self, repo: &RepoKey, prefix: &str) -> Result<Vec<GitOid>, StoreError> {
        let rows = sqlx::query("SELECT oid FROM commits WHERE repo = $1 AND oid >= $2 AND oid < $3 LIMIT 2")
            .bind(repo.as_str())
            .bind(prefix)
            .bind(format!("{prefix}g"))
            .fetch_all(&self.0.pool)
            .await
            .map_err(StoreError::database("finding a commit"))?;
        rows.iter().map(|row| parsed(row, "oid")).collect()
    }

    /// Walks from `start` along first parents, newest first, until `visit` breaks.
    pub async fn walk(
        &self,
        repo: &RepoKey,
        start: GitOid,
        mut visit: impl FnMut(GitOid, &Commit) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let mut next = Some(start);
        while let Some(oid) = next {
            let commit = self.get(repo, &oid).await?.ok_or_else(|| StoreError::Corrupt {
                what: format!("commit {oid}"),
                detail: "it is missing from the history".to_owned(),
            })?;
            if visit(oid, &commit).is_break() {
                break;
            }
            next = commit.parents.first().copied();
        }
        Ok(())
    }
}

/// Adds everything that a commit brings.
async fn record(tx: &mut Transaction<'static, Any>, new: &NewCommit) -> Result<(), StoreError> {
    // In the order of the indexes: neighbours fall on one page, and each page is written once.
    let mut blobs: Vec<&BlobRecord> = new.blobs.iter().collect();
    blobs.sort_unstable_by_key(|blob| blob.oid);
    keep::history(tx, "blob", blobs.iter().map(|blob| blob.oid)).await?;
    let head = ("INSERT INTO blobs (oid, sha256, size, lfs)", 4, "ON CONFLICT DO NOTHING");
    insert_rows(tx, FAILED, head, &blobs, |q, blob| {
        q.bind(blob.oid.to_string())
            .bind(blob.sha256.to_string())
            .bind(blob.size_bytes.cast_signed())
            .bind(i64::from(blob.lfs))
    })
    .await?;
    let mut contents: Vec<Sha256> = new.blobs.iter().map(|blob| blob.sha256).collect();
    contents.sort_unstable();
    contents.dedup();
    keep::contents(tx, &contents).await?;
    insert_rows(tx, FAILED, GIVEN, &contents, |q, sha256| {
        q.bind(new.repo.as_str()).bind(sha256.to_string()).bind(new.now_ms)
    })
    .await?;
    keep::history(tx, "tree", new.trees.iter().map(|(oid, _)| *oid)).await?;
    // A tree can be megabytes long, so each goes alone.
    for (oid, data) in &new.trees {
        sqlx::query("INSERT INTO trees (oid, data) VALUES ($1, $2) ON CONFLICT (oid) DO NOTHING")
            .bind(oid.to_string())
            .bind(data.as_slice())
            .execute(&mut **tx)
            .await
            .map_err(StoreError::database(FAILED))?;
    }
    sqlx::query("INSERT INTO commits (repo, oid, data) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
        .bind(new.repo.as_str())
        .bind(new.oid.to_string())
        .bind(new.data.as_slice())
        .execute(&mut **tx)
        .await
        .map_err(StoreError::database(FAILED))?;
    refs::swing(tx, &new.repo, &new.ref_name, new.old, new.oid).await?;
    sqlx::query(
        "INSERT INTO requests (repo, fingerprint, commit_oid, created_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (repo, fingerprint) DO UPDATE SET commit_oid = excluded.commit_oid, created_at = excluded.created_at",
    )
    .bind(new.repo.as_str())
    .bind(&new.fingerprint)
    .bind(new.oid.to_string())
    .bind(new.now_ms)
    .execute(&mut **tx)
    .await
    .map_err(StoreError::database(FAILED))?;
    verdicts::wait(tx, &new.repo, &new.waiting).await?;
    jobs::add(tx, jobs::SCAN, &format!("{} {}", new.repo, new.oid), new.now_ms).await?;
    jobs::add(tx, jobs::READ, &format!("{} {}", new.repo, new.oid), new.now_ms).await?;
    sqlx::query("UPDATE repos SET updated_at = $2 WHERE key = $1")
        .bind(new.repo.as_str())
        .bind(new.now_ms)
        .execute(&mut **tx)
        .await
        .map_err(StoreError::database(FAILED))?;
    Ok(())
}
