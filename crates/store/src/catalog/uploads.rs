//! Git LFS multipart uploads under way.

use sqlx::any::AnyRow;

use super::{Catalog, RepoKey, number, parsed, size, text};
use crate::StoreError;
use crate::digest::Sha256;

/// A multipart upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadRecord {
    /// Random id, which is also the folder of its parts.
    pub id: String,
    /// Repository it is for.
    pub repo: RepoKey,
    /// Account that uploads.
    pub account: String,
    /// Promised digest.
    pub sha256: Sha256,
    /// Promised size in bytes.
    pub size_bytes: u64,
    /// Bytes of each part but the last.
    pub part_size_bytes: u64,
    /// Milliseconds since 1970 after which it may be swept.
    pub expires_at_ms: i64,
}

/// Uploads under way.
#[derive(Debug)]
pub struct Uploads<'a>(pub(super) &'a Catalog);

impl Uploads<'_> {
    /// Notes a new upload.
    pub async fn add(&self, upload: &UploadRecord) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO uploads (id, repo, account, sha256, size, part_size, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(&upload.id)
        .bind(upload.repo.as_str())
        .bind(&upload.account)
        .bind(upload.sha256.to_string())
        .bind(upload.size_bytes.cast_signed())
        .bind(upload.part_size_bytes.cast_signed())
        .bind(upload.expires_at_ms)
        .execute(&self.0.pool)
        .await
        .map_err(StoreError::database("noting an upload"))?;
        Ok(())
    }

    /// An upload by id.
    pub async fn get(&self, id: &str) -> Result<Option<UploadRecord>, StoreError> {
        let row = sqlx::query("SELECT * FROM uploads WHERE id = $1")
            .bind(id)
            .fetch_optional(&self.0.pool)
            .await
            .map_err(StoreError::database("reading an upload"))?;
        row.as_ref().map(upload).transpose()
    }

    /// Uploads that expired before `now_ms`.
    pub async fn expired(&self, now_ms: i64) -> Result<Vec<UploadRecord>, StoreError> {
        let rows = sqlx::query("SELECT * FROM uploads WHERE expires_at < $1")
            .bind(now_ms)
            .fetch_all(&self.0.pool)
            .await
            .map_err(StoreError::database("listing uploads"))?;
        rows.iter().map(upload).collect()
    }

    /// Forgets an upload.
    pub async fn delete(&self, id: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM uploads WHERE id = $1")
            .bind(id)
            .execute(&self.0.pool)
            .await
            .map_err(StoreError::database("forgetting an upload"))?;
        Ok(())
    }
}

fn upload(row: &AnyRow) -> Result<UploadRecord, StoreError> {
    Ok(UploadRecord {
        id: text(row, "id")?,
        repo: RepoKey::from(text(row, "repo")?),
        account: text(row, "account")?,
        sha256: parsed(row, "sha256")?,
        size_bytes: size(row, "size")?,
        part_size_bytes: size(row, "part_size")?,
        expires_at_ms: number(row, "expires_at")?,
    })
}
