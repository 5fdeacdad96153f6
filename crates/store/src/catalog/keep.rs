//! Taking back what was condemned: whoever names a thing keeps it, or learns that it is gone.
//!
//! Everything here runs inside the transaction that names. A row that is not condemned cannot be collected before it is
//! condemned and the grace has passed; on PostgreSQL a lock, which only a removal minds, closes the gap until the commit.

use std::collections::BTreeSet;

use sqlx::{Any, AssertSqlSafe, Row, Transaction};
use weighthouse_format::xet::hash::XetHash;

use super::contents::decode_terms;
use super::{LOOKUP_KEYS, RepoKey, parsed, placeholders, text};
use crate::StoreError;
use crate::digest::{GitOid, Sha256};

/// Contents whose blocks need contents whose blocks need contents: deeper than any encoder goes.
const MOST_DEPTH: usize = 8;

/// Keeps xorbs.
///
/// # Errors
/// [`StoreError::Gone`] when one is not on record.
pub(super) async fn xorbs(tx: &mut Transaction<'static, Any>, hashes: &[XetHash]) -> Result<(), StoreError> {
    let sorted: BTreeSet<XetHash> = hashes.iter().copied().collect();
    let sorted: Vec<String> = sorted.iter().map(ToString::to_string).collect();
    keep(tx, ("xorbs", "hash", "xorb"), &sorted).await.map(drop)
}

/// Keeps contents, and what their bytes need.
///
/// # Errors
/// [`StoreError::Gone`] when one is not on record, or its bytes are not.
pub(super) async fn contents(tx: &mut Transaction<'static, Any>, digests: &[Sha256]) -> Result<(), StoreError> {
    let failed = "keeping file contents";
    let mut wanted: BTreeSet<String> = digests.iter().map(ToString::to_string).collect();
    for _ in 0..MOST_DEPTH {
        let sorted: Vec<String> = std::mem::take(&mut wanted).into_iter().collect();
        let revived = keep(tx, ("contents", "sha256", "content"), &sorted).await?;
        // Seldom: what had been given up is named again, and what it is made of may have been given up with it.
        for sha256 in revived {
            let row = sqlx::query("SELECT terms FROM contents WHERE sha256 = $1")
                .bind(&sha256)
                .fetch_one(&mut **tx)
                .await
                .map_err(StoreError::database(failed))?;
            let terms: Vec<u8> = row.try_get("terms").map_err(StoreError::database(failed))?;
            let hashes: Vec<XetHash> = decode_terms(&terms)?.iter().map(|term| term.xorb).collect();
            xorbs(tx, &hashes).await?;
            wanted.extend(bases(tx, &hashes).await?);
        }
        if wanted.is_empty() {
            return Ok(());
        }
    }
    Err(StoreError::Corrupt { what: "bases of contents".to_owned(), detail: "they need each other".to_owned() })
}

/// Keeps a commit of a repository, and the repository's history as it is until the transaction ends.
///
/// # Errors
/// [`StoreError::Gone`] when it is not on record.
pub(super) async fn commit(tx: &mut Transaction<'static, Any>, repo: &RepoKey, oid: &GitOid) -> Result<(), StoreError> {
    let failed = "keeping a commit";
    let lock = lock(tx);
    sqlx::query(AssertSqlSafe(format!("SELECT key FROM repos WHERE key = $1{lock}")))
        .bind(repo.as_str())
        .fetch_optional(&mut **tx)
        .await
        .map_err(StoreError::database(failed))?;
    sqlx::query("DELETE FROM condemned_history WHERE kind = 'commit' AND repo = $1 AND oid = $2")
        .bind(repo.as_str())
        .bind(oid.to_string())
        .execute(&mut **tx)
        .await
        .map_err(StoreError::database(failed))?;
    let found = sqlx::query("SELECT 1 AS found FROM commits WHERE repo = $1 AND oid = $2")
        .bind(repo.as_str())
        .bind(oid.to_string())
        .fetch_optional(&mut **tx)
        .await
        .map_err(StoreError::database(failed))?;
    match found {
        Some(_) => Ok(()),
        None => Err(StoreError::Gone { what: format!("commit {oid}") }),
    }
}

/// Keeps trees or blobs that are about to be recorded, whether they are there or not.
pub(super) async fn history(
    tx: &mut Transaction<'static, Any>,
    kind: &'static str,
    oids: impl Iterator<Item = GitOid>,
) -> Result<(), StoreError> {
    let oids: Vec<String> = oids.map(|oid| oid.to_string()).collect();
    for batch in oids.chunks(LOOKUP_KEYS) {
        let list = placeholders(2, batch.len());
        let sql = format!("DELETE FROM condemned_history WHERE kind = $1 AND repo = '' AND oid IN ({list})");
        let query = sqlx::query(AssertSqlSafe(sql)).persistent(batch.len() == 1).bind(kind);
        batch
            .iter()
            .fold(query, |q, oid| q.bind(oid))
            .execute(&mut **tx)
            .await
            .map_err(StoreError::database("keeping history"))?;
    }
    Ok(())
}

/// Contents that the blocks of xorbs need.
async fn bases(tx: &mut Transaction<'static, Any>, hashes: &[XetHash]) -> Result<Vec<String>, StoreError> {
    let mut found = Vec::new();
    for batch in hashes.chunks(LOOKUP_KEYS) {
        let list = placeholders(1, batch.len());
        let sql = format!("SELECT DISTINCT base FROM xorb_makeup WHERE base <> '' AND xorb IN ({list})");
        let query = sqlx::query(AssertSqlSafe(sql)).persistent(false);
        let rows = batch
            .iter()
            .fold(query, |q, hash| q.bind(hash.to_string()))
            .fetch_all(&mut **tx)
            .await
            .map_err(StoreError::database("keeping bases"))?;
        for row in &rows {
            found.push(parsed::<Sha256>(row, "base")?.to_string());
        }
    }
    Ok(found)
}

/// Keeps rows of a table. Returns those that had been condemned.
async fn keep(
    tx: &mut Transaction<'static, Any>,
    (table, column, what): (&'static str, &'static str, &'static str),
    keys: &[String],
) -> Result<Vec<String>, StoreError> {
    let failed = "keeping what is named";
    let lock = lock(tx);
    let mut revived = Vec::new();
    for batch in keys.chunks(LOOKUP_KEYS) {
        let list = placeholders(1, batch.len());
        // The lock comes first: whoever waits for it sees what is true afterwards.
        let sql =
            format!("SELECT {column}, condemned_at FROM {table} WHERE {column} IN ({list}) ORDER BY {column}{lock}");
        let query = sqlx::query(AssertSqlSafe(sql)).persistent(batch.len() == 1);
        let rows = batch
            .iter()
            .fold(query, |q, key| q.bind(key))
            .fetch_all(&mut **tx)
            .await
            .map_err(StoreError::database(failed))?;
        let mut found = BTreeSet::new();
        for row in &rows {
            let key = text(row, column)?;
            if super::number(row, "condemned_at")? > 0 {
                sqlx::query(AssertSqlSafe(format!("UPDATE {table} SET condemned_at = 0 WHERE {column} = $1")))
                    .bind(&key)
                    .execute(&mut **tx)
                    .await
                    .map_err(StoreError::database(failed))?;
                revived.push(key.clone());
            }
            found.insert(key);
        }
        if let Some(missing) = batch.iter().find(|key| !found.contains(*key)) {
            return Err(StoreError::Gone { what: format!("{what} {missing}") });
        }
    }
    Ok(revived)
}

/// What makes a removal wait for this transaction. SQLite has one writer at a time and needs nothing.
fn lock(tx: &Transaction<'static, Any>) -> &'static str {
    if tx.backend_name() == "SQLite" { "" } else { " FOR KEY SHARE" }
}
