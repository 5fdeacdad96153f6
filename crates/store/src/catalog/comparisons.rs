//! Comparisons of two checkpoints, kept by content: like readings, they are the same for whoever has both trees.

use sqlx::any::AnyRow;

use super::{Catalog, RepoKey, jobs, number, parsed, size, text};
use crate::StoreError;
use crate::digest::{GitOid, Sha256};

/// A checkpoint to compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComparedSide {
    /// Repository in which its files are found.
    pub repo: RepoKey,
    /// Commit.
    pub commit: GitOid,
    /// Folder or file; empty for all files.
    pub path: String,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewComparison {
    /// Digest over both trees and paths.
    pub key: Sha256,
    /// What was before.
    pub a: ComparedSide,
    /// What came after.
    pub b: ComparedSide,
    /// Account that asks.
    pub account: String,
}

/// A comparison on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComparisonRecord {
    /// What was asked for.
    pub asked: NewComparison,
    /// Bytes that are done.
    pub done_bytes: u64,
    /// Bytes in all, as far as it is known.
    pub total_bytes: u64,
    /// The result as JSON; empty until it is done.
    pub document: String,
    /// Why it cannot be done; empty as long as it may.
    pub error: String,
    /// Milliseconds since 1970 at which it was asked for.
    pub asked_at_ms: i64,
}

/// Comparisons.
#[derive(Debug)]
pub struct Comparisons<'a>(pub(super) &'a Catalog);

impl Comparisons<'_> {
    /// Asks for a comparison: puts it on record and asks for the work. One that is done or under way stays as it is; one
    /// that had failed is tried again, in the repositories that are named now.
    pub async fn ask(&self, new: &NewComparison, now_ms: i64) -> Result<(), StoreError> {
        let failed = "asking for a comparison";
        let mut tx = self.0.write().await?;
        let key = new.key.to_string();
        // What failed, or was given up, may have failed for want of a repository that is gone.
        sqlx::query("DELETE FROM comparisons WHERE key = $1 AND error <> ''")
            .bind(&key)
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database(failed))?;
        let mut query = sqlx::query(
            "INSERT INTO comparisons (key, a_repo, a_commit, a_path, b_repo, b_commit, b_path, account, done_bytes,
                                      total_bytes, document, error, asked_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, 0, '', '', $9)
             ON CONFLICT (key) DO UPDATE SET asked_at = excluded.asked_at WHERE comparisons.document = ''",
        )
        .bind(&key);
        for side in [&new.a, &new.b] {
            query = query.bind(side.repo.as_str()).bind(side.commit.to_string()).bind(&side.path);
        }
        let asked =
            query.bind(&new.account).bind(now_ms).execute(&mut *tx).await.map_err(StoreError::database(failed))?;
        if asked.rows_affected() > 0 {
            jobs::add(&mut tx, jobs::COMPARE, &key, now_ms).await?;
        }
        tx.commit().await.map_err(StoreError::database(failed))
    }

    /// A comparison.
    pub async fn get(&self, key: &Sha256) -> Result<Option<ComparisonRecord>, StoreError> {
        let row = sqlx::query("SELECT * FROM comparisons WHERE key = $1")
            .bind(key.to_string())
            .fetch_optional(&self.0.pool)
            .await
            .map_err(StoreError::database("looking for a comparison"))?;
        row.as_ref().map(comparison).transpose()
    }

    /// How many comparisons wait or are under way: those of an account, and all. What was tried `most_attempts` times is
    /// given up.
    pub async fn unfinished(&self, account: &str, most_attempts: i64) -> Result<(u64, u64), StoreError> {
        let row = sqlx::query(
            "SELECT COUNT(*) AS every,
                    CAST(COALESCE(SUM(CASE WHEN c.account = $1 THEN 1 ELSE 0 END), 0) AS BIGINT) AS own
             FROM jobs j JOIN comparisons c ON j.subject = c.key
             WHERE j.kind = $2 AND (j.attempts < $3 OR j.held = 1) AND c.document = '' AND c.error = ''",
        )
        .bind(account)
        .bind(jobs::COMPARE)
        .bind(most_attempts)
        .fetch_one(&self.0.pool)
        .await
        .map_err(StoreError::database("counting comparisons"))?;
        Ok((size(&row, "own")?, size(&row, "every")?))
    }

    /// Notes how far a comparison is.
    pub async fn advance(&self, key: &Sha256, done_bytes: u64, total_bytes: u64) -> Result<(), StoreError> {
        sqlx::query("UPDATE comparisons SET done_bytes = $2, total_bytes = $3 WHERE key = $1")
            .bind(key.to_string())
            .bind(done_bytes.cast_signed())
            .bind(total_bytes.cast_signed())
            .execute(&self.0.pool)
            .await
            .map_err(StoreError::database("noting how far a comparison is"))?;
        Ok(())
    }

    /// Puts the result of a comparison on record.
    pub async fn finish(&self, key: &Sha256, document: &str) -> Result<(), StoreError> {
        sqlx::query("UPDATE comparisons SET document = $2, error = '', done_bytes = total_bytes WHERE key = $1")
            .bind(key.to_string())
            .bind(document)
            .execute(&self.0.pool)
            .await
            .map_err(StoreError::database("recording a comparison"))?;
        Ok(())
    }

    /// Notes why a comparison cannot be done.
    pub async fn refuse(&self, key: &Sha256, error: &str) -> Result<(), StoreError> {
        sqlx::query("UPDATE comparisons SET error = $2 WHERE key = $1 AND document = ''")
            .bind(key.to_string())
            .bind(error)
            .execute(&self.0.pool)
            .await
            .map_err(StoreError::database("noting why a comparison failed"))?;
        Ok(())
    }
}

fn comparison(row: &AnyRow) -> Result<ComparisonRecord, StoreError> {
    let side = |repo: &str, commit: &str, path: &str| {
        Ok::<_, StoreError>(ComparedSide {
            repo: RepoKey::from(text(row, repo)?),
            commit: parsed(row, commit)?,
            path: text(row, path)?,
        })
    };
    Ok(ComparisonRecord {
        asked: NewComparison {
            key: parsed(row, "key")?,
            a: side("a_repo", "a_commit", "a_path")?,
            b: side("b_repo", "b_commit", "b_path")?,
            account: text(row, "account")?,
        },
        done_bytes: size(row, "done_bytes")?,
        total_bytes: size(row, "total_bytes")?,
        document: text(row, "document")?,
        error: text(row, "error")?,
        asked_at_ms: number(row, "asked_at")?,
    })
}
