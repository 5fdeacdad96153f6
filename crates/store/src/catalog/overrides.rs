//! Files that an administrator vouched for.

use sqlx::any::AnyRow;

use super::policies::count_change;
use super::{AuditEntry, Catalog, RepoKey, audit, number, text};
use crate::StoreError;

/// An override: exactly these bytes, in this repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverrideRecord {
    /// Stable id, 24 hexadecimal digits.
    pub id: String,
    /// Repository.
    pub repo: RepoKey,
    /// SHA-256 or git id of the bytes.
    pub digest: String,
    /// Where the file was when it was vouched for.
    pub path: String,
    /// Id of the administrator.
    pub account: String,
    /// Name of the administrator at that time.
    pub account_name: String,
    /// Why.
    pub reason: String,
    /// Milliseconds since 1970.
    pub made_at_ms: i64,
    /// Milliseconds since 1970 from which it no longer counts.
    pub expires_at_ms: Option<i64>,
    /// Milliseconds since 1970 at which it was taken back.
    pub ended_at_ms: Option<i64>,
}

/// Overrides.
#[derive(Debug)]
pub struct Overrides<'a>(pub(super) &'a Catalog);

const COLUMNS: &str = "id, repo, digest, path, account, account_name, reason, made_at, expires_at, ended_at";

impl Overrides<'_> {
    /// Puts an override on record, and `entry` about it.
    pub async fn add(&self, new: &OverrideRecord, entry: Option<AuditEntry>) -> Result<(), StoreError> {
        let failed = "adding an override";
        let mut tx = self.0.write().await?;
        sqlx::query(sql!("INSERT INTO overrides ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0)"))
            .bind(&new.id)
            .bind(new.repo.as_str())
            .bind(&new.digest)
            .bind(&new.path)
            .bind(&new.account)
            .bind(&new.account_name)
            .bind(&new.reason)
            .bind(new.made_at_ms)
            .bind(new.expires_at_ms.unwrap_or(0))
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database(failed))?;
        count_change(&mut tx).await?;
        audit::append(&mut tx, entry).await?;
        tx.commit().await.map_err(StoreError::database(failed))
    }

    /// An override, in force or not.
    pub async fn get(&self, id: &str) -> Result<Option<OverrideRecord>, StoreError> {
        let row = sqlx::query(sql!("SELECT {COLUMNS} FROM overrides WHERE id = $1"))
            .bind(id)
            .fetch_optional(&self.0.pool)
            .await
            .map_err(StoreError::database("reading an override"))?;
        row.as_ref().map(record).transpose()
    }

    /// Takes an override back; the record of it if there was one that had not been. `entry` is about that, and is left out
    /// when there was none.
    pub async fn end(
        &self,
        id: &str,
        now_ms: i64,
        entry: Option<AuditEntry>,
    ) -> Result<Option<OverrideRecord>, StoreError> {
        let failed = "ending an override";
        let mut tx = self.0.write().await?;
        let row =
            sqlx::query(sql!("UPDATE overrides SET ended_at = $2 WHERE id = $1 AND ended_at = 0 RETURNING {COLUMNS}"))
                .bind(id)
                .bind(now_ms)
                .fetch_optional(&mut *tx)
                .await
                .map_err(StoreError::database(failed))?;
        let Some(row) = row else { return Ok(None) };
        let ended = record(&row)?;
        count_change(&mut tx).await?;
        audit::append(&mut tx, entry).await?;
        tx.commit().await.map_err(StoreError::database(failed))?;
        Ok(Some(ended))
    }

    /// Overrides of a repository that were not taken back, expired ones included.
    pub async fn of_repo(&self, repo: &RepoKey) -> Result<Vec<OverrideRecord>, StoreError> {
        let rows =
            sqlx::query(sql!("SELECT {COLUMNS} FROM overrides WHERE repo = $1 AND ended_at = 0 ORDER BY made_at, id"))
                .bind(repo.as_str())
                .fetch_all(&self.0.pool)
                .await
                .map_err(StoreError::database("reading overrides"))?;
        rows.iter().map(record).collect()
    }

    /// The newest overrides of all repositories, those that ended included.
    pub async fn list(&self, limit: u32) -> Result<Vec<OverrideRecord>, StoreError> {
        let rows = sqlx::query(sql!("SELECT {COLUMNS} FROM overrides ORDER BY made_at DESC, id LIMIT $1"))
            .bind(i64::from(limit))
            .fetch_all(&self.0.pool)
            .await
            .map_err(StoreError::database("listing overrides"))?;
        rows.iter().map(record).collect()
    }
}

fn record(row: &AnyRow) -> Result<OverrideRecord, StoreError> {
    let some = |ms: i64| (ms != 0).then_some(ms);
    Ok(OverrideRecord {
        id: text(row, "id")?,
        repo: RepoKey::from(text(row, "repo")?),
        digest: text(row, "digest")?,
        path: text(row, "path")?,
        account: text(row, "account")?,
        account_name: text(row, "account_name")?,
        reason: text(row, "reason")?,
        made_at_ms: number(row, "made_at")?,
        expires_at_ms: some(number(row, "expires_at")?),
        ended_at_ms: some(number(row, "ended_at")?),
    })
}
