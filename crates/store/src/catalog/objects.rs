//! Git trees, with a cache: they never change.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use sqlx::Row;

use super::Catalog;
use crate::StoreError;
use crate::digest::GitOid;
use crate::repo::tree::Tree;

/// Memory for cached trees, in bytes.
const TREE_CACHE_BYTES: u64 = 16 << 20;

pub(super) type TreeCache = Cache<GitOid, Arc<Tree>, ByBytes>;

#[derive(Clone)]
pub(super) struct ByBytes;

impl Weighter<GitOid, Arc<Tree>> for ByBytes {
    fn weight(&self, _: &GitOid, tree: &Arc<Tree>) -> u64 {
        tree.entries().iter().map(|entry| entry.name.len() as u64 + 64).sum::<u64>() + 128
    }
}

pub(super) fn tree_cache() -> TreeCache {
    Cache::with_weighter(10_000, TREE_CACHE_BYTES, ByBytes)
}

/// Git trees.
#[derive(Debug)]
pub struct Objects<'a>(pub(super) &'a Catalog);

impl Objects<'_> {
    /// Trees after an id, as they are stored; a page without any is the last.
    pub(crate) async fn page(&self, after: &str) -> Result<Vec<(GitOid, Vec<u8>)>, StoreError> {
        let failed = "listing trees";
        let rows = sqlx::query("SELECT oid, data FROM trees WHERE oid > $1 ORDER BY oid LIMIT 200")
            .bind(after)
            .fetch_all(&self.0.pool)
            .await
            .map_err(StoreError::database(failed))?;
        rows.iter()
            .map(|row| Ok((super::parsed(row, "oid")?, row.try_get("data").map_err(StoreError::database(failed))?)))
            .collect()
    }

    /// Whether a tree is on record.
    pub(crate) async fn has(&self, oid: &GitOid) -> Result<bool, StoreError> {
        let row = sqlx::query("SELECT 1 AS found FROM trees WHERE oid = $1")
            .bind(oid.to_string())
            .fetch_optional(&self.0.pool)
            .await
            .map_err(StoreError::database("looking for a tree"))?;
        Ok(row.is_some())
    }

    /// A tree by id.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when it is missing or does not parse.
    pub async fn tree(&self, oid: &GitOid) -> Result<Arc<Tree>, StoreError> {
        if let Some(tree) = self.0.trees.get(oid) {
            return Ok(tree);
        }
        let failed = "reading a tree";
        let row = sqlx::query("SELECT data FROM trees WHERE oid = $1")
            .bind(oid.to_string())
            .fetch_optional(&self.0.pool)
            .await
            .map_err(StoreError::database(failed))?
            .ok_or_else(|| StoreError::Corrupt { what: format!("tree {oid}"), detail: "it is missing".to_owned() })?;
        let data: Vec<u8> = row.try_get("data").map_err(StoreError::database(failed))?;
        let tree = Arc::new(Tree::decode(oid, &data)?);
        self.0.trees.insert(*oid, Arc::clone(&tree));
        Ok(tree)
    }
}
