//! Checkpoints in another form, made on demand and kept.
//!
//! A conversion belongs to the repository that it was asked for: what another one has is neither shown nor confirmed. Its
//! contents are kept by its rows alone, so that they count for no repository and go with the conversion.

use sqlx::any::AnyRow;

use super::{Catalog, RepoKey, jobs, keep, number, parsed, size, text};
use crate::StoreError;
use crate::digest::{GitOid, Sha256};

/// Which conversion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversionKey {
    /// Repository.
    pub repo: RepoKey,
    /// Digest over everything that decides what comes out.
    pub digest: Sha256,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewConversion {
    /// Which conversion.
    pub key: ConversionKey,
    /// Tree of the files.
    pub tree: GitOid,
    /// Folder or file of the tree; empty for all of it.
    pub path: String,
    /// A commit with this tree.
    pub commit: GitOid,
    /// Name of the file to write.
    pub name: String,
    /// Options, JSON of the layer above.
    pub options: String,
    /// Account that asks.
    pub account: String,
    /// Bytes that will be written.
    pub total_bytes: u64,
}

/// A file that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversionOutput {
    /// Name.
    pub path: String,
    /// Length in bytes.
    pub size_bytes: u64,
    /// Content.
    pub sha256: Sha256,
}

/// A conversion on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversionRecord {
    /// What was asked for.
    pub asked: NewConversion,
    /// Bytes that are done.
    pub done_bytes: u64,
    /// The record of the conversion as JSON; empty until it is done.
    pub record: String,
    /// Why it cannot be done; empty as long as it may.
    pub error: String,
    /// Milliseconds since 1970 at which it was asked for.
    pub asked_at_ms: i64,
    /// Milliseconds since 1970 at which it was last used.
    pub used_at_ms: i64,
}

/// Conversions.
#[derive(Debug)]
pub struct Conversions<'a>(pub(super) &'a Catalog);

const COLUMNS: &str = "c.repo, c.key, c.tree, c.path, c.commit_oid, c.name, c.options, c.account, c.done_bytes, \
                       c.total_bytes, c.record, c.error, c.asked_at, c.used_at";

impl ConversionKey {
    /// Subject of the job that does it.
    #[must_use]
    pub fn subject(&self) -> String {
        format!("{} {}", self.repo, self.digest)
    }

    /// The conversion that a job is about.
    #[must_use]
    pub fn of_subject(subject: &str) -> Option<Self> {
        let (repo, digest) = subject.split_once(' ')?;
        Some(Self { repo: RepoKey::from(repo.to_owned()), digest: digest.parse().ok()? })
    }
}

impl Conversions<'_> {
    /// Asks for a conversion: puts it on record and asks for the work. One that is done or under way stays as it is; one
    /// that had failed is tried again.
    pub async fn ask(&self, new: &NewConversion, now_ms: i64) -> Result<(), StoreError> {
        let failed = "asking for a conversion";
        let mut tx = self.0.write().await?;
        let asked = sqlx::query(
            "INSERT INTO conversions (repo, key, tree, path, commit_oid, name, options, account, done_bytes, total_bytes,
                                      record, error, asked_at, used_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, $9, '', '', $10, $10)
             ON CONFLICT (repo, key) DO UPDATE SET error = '', asked_at = excluded.asked_at,
                 account = CASE WHEN conversions.error = '' THEN conversions.account ELSE excluded.account END
             WHERE conversions.record = ''",
        )
        .bind(new.key.repo.as_str())
        .bind(new.key.digest.to_string())
        .bind(new.tree.to_string())
        .bind(&new.path)
        .bind(new.commit.to_string())
        .bind(&new.name)
        .bind(&new.options)
        .bind(&new.account)
        .bind(new.total_bytes.cast_signed())
        .bind(now_ms)
        .execute(&mut *tx)
        .await
        .map_err(StoreError::database(failed))?;
        if asked.rows_affected() > 0 {
            jobs::add(&mut tx, jobs::CONVERT, &new.key.subject(), now_ms).await?;
        }
        tx.commit().await.map_err(StoreError::database(failed))
    }

    /// A conversion.
    pub async fn get(&self, key: &ConversionKey) -> Result<Option<ConversionRecord>, StoreError> {
        let row = sqlx::query(sql!("SELECT {COLUMNS} FROM conversions c WHERE c.repo = $1 AND c.key = $2"))
            .bind(key.repo.as_str())
            .bind(key.digest.to_string())
            .fetch_optional(&self.0.pool)
            .await
            .map_err(StoreError::database("looking for a conversion"))?;
        row.as_ref().map(conversion).transpose()
    }

    /// Those of several conversions of a repository that were asked for, in no particular order.
    pub async fn several(&self, repo: &RepoKey, digests: &[Sha256]) -> Result<Vec<ConversionRecord>, StoreError> {
        let head = format!("SELECT {COLUMNS} FROM conversions c WHERE c.repo = $1 AND c.key IN");
        self.0.look_up_in("looking for conversions", (&head, ""), &[repo.as_str()], digests, conversion).await
    }

    /// Files of a conversion that is done, in their order.
    pub async fn outputs(&self, key: &ConversionKey) -> Result<Vec<ConversionOutput>, StoreError> {
        let rows = sqlx::query(
            "SELECT path, size, sha256 FROM conversion_outputs WHERE repo = $1 AND key = $2 ORDER BY number",
        )
        .bind(key.repo.as_str())
        .bind(key.digest.to_string())
        .fetch_all(&self.0.pool)
        .await
        .map_err(StoreError::database("listing what was converted"))?;
        let output = |row: &AnyRow| {
            Ok(ConversionOutput {
                path: text(row, "path")?,
                size_bytes: size(row, "size")?,
                sha256: parsed(row, "sha256")?,
            })
        };
        rows.iter().map(output).collect()
    }

    /// How many conversions wait or are under way: those of an account, and all. What was tried `most_attempts` times is
    /// given up.
    pub async fn unfinished(&self, account: &str, most_attempts: i64) -> Result<(u64, u64), StoreError> {
        let row = sqlx::query(
            "SELECT COUNT(*) AS every,
                    CAST(COALESCE(SUM(CASE WHEN c.account = $1 THEN 1 ELSE 0 END), 0) AS BIGINT) AS own
             FROM jobs j JOIN conversions c ON j.subject = c.repo || ' ' || c.key
             WHERE j.kind = $2 AND (j.attempts < $3 OR j.held = 1) AND c.record = '' AND c.error = ''",
        )
        .bind(account)
        .bind(jobs::CONVERT)
        .bind(most_attempts)
        .fetch_one(&self.0.pool)
        .await
        .map_err(StoreError::database("counting conversions"))?;
        Ok((size(&row, "own")?, size(&row, "every")?))
    }

    /// Notes how far a conversion is.
    pub async fn advance(&self, key: &ConversionKey, done_bytes: u64, total_bytes: u64) -> Result<(), StoreError> {
        sqlx::query("UPDATE conversions SET done_bytes = $3, total_bytes = $4 WHERE repo = $1 AND key = $2")
            .bind(key.repo.as_str())
            .bind(key.digest.to_string())
            .bind(done_bytes.cast_signed())
            .bind(total_bytes.cast_signed())
            .execute(&self.0.pool)
            .await
            .map_err(StoreError::database("noting how far a conversion is"))?;
        Ok(())
    }

    /// Puts the result of a conversion on record; its contents must be on record already. One that was deleted meanwhile
    /// stays deleted.
    ///
    /// # Errors
    /// [`StoreError::Gone`] when a content was removed meanwhile.
    pub async fn finish(
        &self,
        key: &ConversionKey,
        outputs: &[ConversionOutput],
        record: &str,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let failed = "recording a conversion";
        let mut tx = self.0.write().await?;
        let (repo, digest) = (key.repo.as_str(), key.digest.to_string());
        let known = sqlx::query(
            "UPDATE conversions SET record = $3, error = '', done_bytes = total_bytes, used_at = $4
             WHERE repo = $1 AND key = $2",
        )
        .bind(repo)
        .bind(&digest)
        .bind(record)
        .bind(now_ms)
        .execute(&mut *tx)
        .await
        .map_err(StoreError::database(failed))?;
        if known.rows_affected() == 0 {
            return Ok(());
        }
        let digests: Vec<Sha256> = outputs.iter().map(|output| output.sha256).collect();
        keep::contents(&mut tx, &digests).await?;
        sqlx::query("DELETE FROM conversion_outputs WHERE repo = $1 AND key = $2")
            .bind(repo)
            .bind(&digest)
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database(failed))?;
        for (number, output) in (0i64..).zip(outputs) {
            sqlx::query(
                "INSERT INTO conversion_outputs (repo, key, number, path, size, sha256) VALUES ($1, $2, $3, $4, $5, $6)",
            )
            .bind(repo)
            .bind(&digest)
            .bind(number)
            .bind(&output.path)
            .bind(output.size_bytes.cast_signed())
            .bind(output.sha256.to_string())
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database(failed))?;
        }
        tx.commit().await.map_err(StoreError::database(failed))
    }

    /// Notes why a conversion cannot be done.
    pub async fn refuse(&self, key: &ConversionKey, error: &str) -> Result<(), StoreError> {
        sqlx::query("UPDATE conversions SET error = $3 WHERE repo = $1 AND key = $2 AND record = ''")
            .bind(key.repo.as_str())
            .bind(key.digest.to_string())
            .bind(error)
            .execute(&self.0.pool)
            .await
            .map_err(StoreError::database("noting why a conversion failed"))?;
        Ok(())
    }

    /// Notes that a result was used.
    pub async fn touch(&self, key: &ConversionKey, now_ms: i64) -> Result<(), StoreError> {
        sqlx::query("UPDATE conversions SET used_at = $3 WHERE repo = $1 AND key = $2")
            .bind(key.repo.as_str())
            .bind(key.digest.to_string())
            .bind(now_ms)
            .execute(&self.0.pool)
            .await
            .map_err(StoreError::database("noting the use of a conversion"))?;
        Ok(())
    }
}

fn conversion(row: &AnyRow) -> Result<ConversionRecord, StoreError> {
    Ok(ConversionRecord {
        asked: NewConversion {
            key: ConversionKey { repo: RepoKey::from(text(row, "repo")?), digest: parsed(row, "key")? },
            tree: parsed(row, "tree")?,
            path: text(row, "path")?,
            commit: parsed(row, "commit_oid")?,
            name: text(row, "name")?,
            options: text(row, "options")?,
            account: text(row, "account")?,
            total_bytes: size(row, "total_bytes")?,
        },
        done_bytes: size(row, "done_bytes")?,
        record: text(row, "record")?,
        error: text(row, "error")?,
        asked_at_ms: number(row, "asked_at")?,
        used_at_ms: number(row, "used_at")?,
    })
}
