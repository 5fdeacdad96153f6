//! What repositories keep, and what they gave up.

use sqlx::any::AnyRow;

use super::{AuditEntry, Catalog, RepoKey, audit, insert_rows, number, text};
use crate::StoreError;
use crate::digest::{GitOid, Sha256};

/// Rules of retention.
#[derive(Debug)]
pub struct Retention<'a>(pub(super) &'a Catalog);

/// Rules of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionRecord {
    /// Repository.
    pub repo: RepoKey,
    /// The rules: JSON of the layer above.
    pub rules: String,
    /// Account that set them.
    pub account: String,
    /// Milliseconds since 1970.
    pub set_at_ms: i64,
    /// When they were applied last, milliseconds since 1970; 0 before that.
    pub applied_at_ms: i64,
}

impl Retention<'_> {
    /// Sets the rules of a repository, with the row of the audit log about it; `None` removes them.
    pub async fn set(
        &self,
        repo: &RepoKey,
        rules: Option<&str>,
        account: &str,
        now_ms: i64,
        entry: Option<AuditEntry>,
    ) -> Result<(), StoreError> {
        let failed = "setting rules of retention";
        let mut tx = self.0.write().await?;
        let query = match rules {
            Some(rules) => sqlx::query(
                "INSERT INTO retention (repo, rules, account, set_at, applied_at) VALUES ($1, $2, $3, $4, 0)
                 ON CONFLICT (repo) DO UPDATE SET rules = excluded.rules, account = excluded.account,
                     set_at = excluded.set_at, applied_at = 0",
            )
            .bind(repo.as_str())
            .bind(rules)
            .bind(account)
            .bind(now_ms),
            None => sqlx::query("DELETE FROM retention WHERE repo = $1").bind(repo.as_str()),
        };
        query.execute(&mut *tx).await.map_err(StoreError::database(failed))?;
        audit::append(&mut tx, entry).await?;
        tx.commit().await.map_err(StoreError::database(failed))
    }

    /// Rules of a repository.
    pub async fn get(&self, repo: &RepoKey) -> Result<Option<RetentionRecord>, StoreError> {
        let row = sqlx::query("SELECT * FROM retention WHERE repo = $1")
            .bind(repo.as_str())
            .fetch_optional(&self.0.pool)
            .await
            .map_err(StoreError::database("reading rules of retention"))?;
        row.as_ref().map(record).transpose()
    }

    /// Rules that were applied before `before_ms` or never.
    pub async fn due(&self, before_ms: i64) -> Result<Vec<RetentionRecord>, StoreError> {
        let rows = sqlx::query("SELECT * FROM retention WHERE applied_at < $1 ORDER BY applied_at, repo LIMIT 1000")
            .bind(before_ms)
            .fetch_all(&self.0.pool)
            .await
            .map_err(StoreError::database("finding rules of retention"))?;
        rows.iter().map(record).collect()
    }

    /// Gives up the large files of commits and folders, and notes that the rules were applied. Where something is given up
    /// that was not before, the row of the audit log about it is written.
    pub async fn apply(
        &self,
        repo: &RepoKey,
        given_up: &[(GitOid, String)],
        now_ms: i64,
        entry: Option<AuditEntry>,
    ) -> Result<(), StoreError> {
        let failed = "applying rules of retention";
        let mut tx = self.0.write().await?;
        let head = ("INSERT INTO thinned_commits (repo, oid, rule, thinned_at)", 4, "ON CONFLICT DO NOTHING");
        let new = insert_rows(&mut tx, failed, head, given_up, |q, (oid, rule)| {
            q.bind(repo.as_str()).bind(oid.to_string()).bind(rule.as_str()).bind(now_ms)
        })
        .await?;
        sqlx::query("UPDATE retention SET applied_at = $2 WHERE repo = $1")
            .bind(repo.as_str())
            .bind(now_ms)
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database(failed))?;
        if new > 0 {
            audit::append(&mut tx, entry).await?;
        }
        tx.commit().await.map_err(StoreError::database(failed))
    }

    /// Notes that a content was removed by a rule.
    pub(crate) async fn retire(
        &self,
        sha256: &Sha256,
        repo: &RepoKey,
        rule: &str,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO retired_contents (sha256, repo, rule, removed_at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (sha256) DO UPDATE SET repo = excluded.repo, rule = excluded.rule, removed_at = excluded.removed_at",
        )
        .bind(sha256.to_string())
        .bind(repo.as_str())
        .bind(rule)
        .bind(now_ms)
        .execute(&self.0.pool)
        .await
        .map_err(StoreError::database("noting what a rule removed"))?;
        Ok(())
    }

    /// The rule by which a content was removed, if one did.
    pub async fn retired(&self, sha256: &Sha256) -> Result<Option<String>, StoreError> {
        let row = sqlx::query("SELECT rule FROM retired_contents WHERE sha256 = $1")
            .bind(sha256.to_string())
            .fetch_optional(&self.0.pool)
            .await
            .map_err(StoreError::database("looking for what a rule removed"))?;
        row.as_ref().map(|row| text(row, "rule")).transpose()
    }
}

fn record(row: &AnyRow) -> Result<RetentionRecord, StoreError> {
    Ok(RetentionRecord {
        repo: RepoKey::from(text(row, "repo")?),
        rules: text(row, "rules")?,
        account: text(row, "account")?,
        set_at_ms: number(row, "set_at")?,
        applied_at_ms: number(row, "applied_at")?,
    })
}
