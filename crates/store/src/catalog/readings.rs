//! What readers found in trees of files, and histograms of tensors: JSON of the layer above, kept by content.

use super::{Catalog, text};
use crate::StoreError;
use crate::digest::{GitOid, Sha256};

/// What was found.
#[derive(Debug)]
pub struct Readings<'a>(pub(super) &'a Catalog);

impl Readings<'_> {
    /// Keeps what the files of a tree are.
    pub async fn set(&self, tree: &GitOid, version: i64, facts: &str) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO readings (tree, version, facts) VALUES ($1, $2, $3)
             ON CONFLICT (tree) DO UPDATE SET version = excluded.version, facts = excluded.facts",
        )
        .bind(tree.to_string())
        .bind(version)
        .bind(facts)
        .execute(&self.0.pool)
        .await
        .map_err(StoreError::database("keeping what was read"))?;
        Ok(())
    }

    /// What the files of a tree are, as a reader of this version found.
    pub async fn get(&self, tree: &GitOid, version: i64) -> Result<Option<String>, StoreError> {
        let row = sqlx::query("SELECT facts FROM readings WHERE tree = $1 AND version = $2")
            .bind(tree.to_string())
            .bind(version)
            .fetch_optional(&self.0.pool)
            .await
            .map_err(StoreError::database("looking for what was read"))?;
        row.as_ref().map(|row| text(row, "facts")).transpose()
    }

    /// Keeps the histogram of a tensor.
    pub async fn set_histogram(&self, hash: &Sha256, dtype: &str, version: i64, facts: &str) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO tensor_histograms (hash, dtype, version, facts) VALUES ($1, $2, $3, $4)
             ON CONFLICT (hash, dtype) DO UPDATE SET version = excluded.version, facts = excluded.facts",
        )
        .bind(hash.to_string())
        .bind(dtype)
        .bind(version)
        .bind(facts)
        .execute(&self.0.pool)
        .await
        .map_err(StoreError::database("keeping the histogram of a tensor"))?;
        Ok(())
    }

    /// The histogram of a tensor, if it was computed by this version.
    pub async fn histogram(&self, hash: &Sha256, dtype: &str, version: i64) -> Result<Option<String>, StoreError> {
        let row = sqlx::query("SELECT facts FROM tensor_histograms WHERE hash = $1 AND dtype = $2 AND version = $3")
            .bind(hash.to_string())
            .bind(dtype)
            .bind(version)
            .fetch_optional(&self.0.pool)
            .await
            .map_err(StoreError::database("looking for the histogram of a tensor"))?;
        row.as_ref().map(|row| text(row, "facts")).transpose()
    }
}
