//! Branches, tags and other refs.

use sqlx::{Any, Transaction};

use super::{Catalog, RepoKey, keep, parsed, text};
use crate::StoreError;
use crate::digest::GitOid;

/// A name and the commit it points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefRecord {
    /// Full name, such as `refs/heads/main`.
    pub name: String,
    /// Commit.
    pub target: GitOid,
}

/// Refs of repositories.
#[derive(Debug)]
pub struct Refs<'a>(pub(super) &'a Catalog);

impl Refs<'_> {
    /// Commit a ref points at, if the ref exists.
    pub async fn read(&self, repo: &RepoKey, name: &str) -> Result<Option<GitOid>, StoreError> {
        let row = sqlx::query("SELECT target FROM refs WHERE repo = $1 AND name = $2")
            .bind(repo.as_str())
            .bind(name)
            .fetch_optional(&self.0.pool)
            .await
            .map_err(StoreError::database("reading a ref"))?;
        row.as_ref().map(|row| parsed(row, "target")).transpose()
    }

    /// All refs of a repository, by name.
    pub async fn list(&self, repo: &RepoKey) -> Result<Vec<RefRecord>, StoreError> {
        let rows = sqlx::query("SELECT name, target FROM refs WHERE repo = $1 ORDER BY name")
            .bind(repo.as_str())
            .fetch_all(&self.0.pool)
            .await
            .map_err(StoreError::database("listing refs"))?;
        rows.iter().map(|row| Ok(RefRecord { name: text(row, "name")?, target: parsed(row, "target")? })).collect()
    }

    /// Repositories that have refs, in the order of their keys.
    pub async fn repos(&self) -> Result<Vec<RepoKey>, StoreError> {
        let rows = sqlx::query("SELECT DISTINCT repo FROM refs ORDER BY repo")
            .fetch_all(&self.0.pool)
            .await
            .map_err(StoreError::database("listing refs"))?;
        rows.iter().map(|row| Ok(RepoKey::from(text(row, "repo")?))).collect()
    }

    /// Moves `name` from `old` to `new` in one step; repeating the same move succeeds.
    ///
    /// # Errors
    /// [`StoreError::RefMoved`] when `name` points at neither `old` nor `new`; [`StoreError::Gone`] when there is no commit
    /// `new`.
    pub async fn swing(&self, repo: &RepoKey, name: &str, old: Option<GitOid>, new: GitOid) -> Result<(), StoreError> {
        let mut tx = self.0.write().await?;
        swing(&mut tx, repo, name, old, new).await?;
        tx.commit().await.map_err(StoreError::database("moving a ref"))
    }

    /// Removes a ref; `false` when there is none.
    pub async fn delete(&self, repo: &RepoKey, name: &str) -> Result<bool, StoreError> {
        let removed = sqlx::query("DELETE FROM refs WHERE repo = $1 AND name = $2")
            .bind(repo.as_str())
            .bind(name)
            .execute(&self.0.pool)
            .await
            .map_err(StoreError::database("deleting a ref"))?;
        Ok(removed.rows_affected() > 0)
    }
}

pub(super) async fn swing(
    tx: &mut Transaction<'static, Any>,
    repo: &RepoKey,
    name: &str,
    old: Option<GitOid>,
    new: GitOid,
) -> Result<(), StoreError> {
    let failed = "moving a ref";
    keep::commit(tx, repo, &new).await?;
    let moved = match old {
        // The target may be `new` already, when an earlier answer was lost.
        Some(old) => sqlx::query("UPDATE refs SET target = $3 WHERE repo = $1 AND name = $2 AND target IN ($3, $4)")
            .bind(repo.as_str())
            .bind(name)
            .bind(new.to_string())
            .bind(old.to_string()),
        None => sqlx::query(
            "INSERT INTO refs (repo, name, target) VALUES ($1, $2, $3)
             ON CONFLICT (repo, name) DO UPDATE SET target = excluded.target WHERE refs.target = excluded.target",
        )
        .bind(repo.as_str())
        .bind(name)
        .bind(new.to_string()),
    };
    let moved = moved.execute(&mut **tx).await.map_err(StoreError::database(failed))?;
    if moved.rows_affected() == 0 {
        return Err(StoreError::RefMoved { name: name.to_owned() });
    }
    Ok(())
}
