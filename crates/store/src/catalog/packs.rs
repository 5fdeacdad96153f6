//! Packs, the xorbs in them, and who holds which xorb.

use std::fmt;

use sqlx::AssertSqlSafe;
use sqlx::any::AnyRow;
use weighthouse_format::xet::hash::XetHash;

use super::{Catalog, LOOKUP_KEYS, RepoKey, fresh_id, insert_rows, parsed, placeholders, size, text};
use crate::StoreError;

/// Random name of a pack, 24 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PackId(String);

impl PackId {
    /// Key of the pack's object.
    pub fn key(&self) -> String {
        let folder = self.0.get(..2).unwrap_or("00");
        format!("packs/{folder}/{}", self.0)
    }
}

impl fmt::Display for PackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a xorb lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XorbRecord {
    /// Xorb.
    pub hash: XetHash,
    /// Pack that holds it.
    pub pack: PackId,
    /// First byte of its chunk records in the pack.
    pub body_offset: u64,
    /// Bytes of its chunk records.
    pub body_len: u64,
    /// First byte of its index in the pack.
    pub index_offset: u64,
    /// Bytes of its index.
    pub index_len: u64,
    /// Bytes of its chunks when decoded.
    pub raw_len: u64,
    /// Chunks in it.
    pub chunks: u64,
}

/// A pack whose object is complete.
#[derive(Debug)]
pub struct SealedPack {
    /// Pack.
    pub id: PackId,
    /// Bytes of the object.
    pub size_bytes: u64,
    /// Xorbs in it.
    pub xorbs: Vec<XorbRecord>,
    /// Chunks by which duplicates are found, with their xorbs.
    pub dedup: Vec<(XetHash, XetHash)>,
}

/// Packs and xorbs.
#[derive(Debug)]
pub struct Packs<'a>(pub(super) &'a Catalog);

const COLUMNS: &str = "x.hash, x.pack, x.body_offset, x.body_len, x.index_offset, x.index_len, x.raw_len, x.chunks";

impl Packs<'_> {
    /// Notes that a pack is about to be written, so that a sweep finds it if the writer dies.
    pub async fn begin(&self, now_ms: i64) -> Result<PackId, StoreError> {
        let id = PackId(fresh_id()?);
        sqlx::query("INSERT INTO packs (id, sealed, size, created_at) VALUES ($1, 0, 0, $2)")
            .bind(&id.0)
            .bind(now_ms)
            .execute(&self.0.pool)
            .await
            .map_err(StoreError::database("noting a pack"))?;
        Ok(id)
    }

    /// Puts a complete pack on record. Returns how many of its xorbs were not on record before; the others
    /// keep their older place.
    pub async fn seal(&self, pack: &SealedPack) -> Result<u64, StoreError> {
        let failed = "recording a pack";
        let mut tx = self.0.write().await?;
        let mut fresh = 0;
        for xorb in &pack.xorbs {
            let added = sqlx::query(
                "INSERT INTO xorbs (hash, pack, body_offset, body_len, index_offset, index_len, raw_len, chunks)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (hash) DO NOTHING",
            )
            .bind(xorb.hash.to_string())
            .bind(&xorb.pack.0)
            .bind(xorb.body_offset.cast_signed())
            .bind(xorb.body_len.cast_signed())
            .bind(xorb.index_offset.cast_signed())
            .bind(xorb.index_len.cast_signed())
            .bind(xorb.raw_len.cast_signed())
            .bind(xorb.chunks.cast_signed())
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database(failed))?;
            fresh += added.rows_affected();
        }
        // In the order of the index: neighbours fall on one page, and each page is written once.
        let mut dedup: Vec<&(XetHash, XetHash)> = pack.dedup.iter().collect();
        dedup.sort_unstable();
        let head = ("INSERT INTO dedup_chunks (chunk, xorb)", 2, "ON CONFLICT DO NOTHING");
        insert_rows(&mut tx, failed, head, &dedup, |q, (chunk, xorb)| q.bind(chunk.to_string()).bind(xorb.to_string()))
            .await?;
        sqlx::query("UPDATE packs SET sealed = 1, size = $2 WHERE id = $1")
            .bind(&pack.id.0)
            .bind(pack.size_bytes.cast_signed())
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database(failed))?;
        tx.commit().await.map_err(StoreError::database(failed))?;
        Ok(fresh)
    }

    /// Packs begun before `before_ms` and never sealed.
    pub async fn unsealed(&self, before_ms: i64) -> Result<Vec<PackId>, StoreError> {
        let rows = sqlx::query("SELECT id FROM packs WHERE sealed = 0 AND created_at < $1")
            .bind(before_ms)
            .fetch_all(&self.0.pool)
            .await
            .map_err(StoreError::database("listing unfinished packs"))?;
        rows.iter().map(|row| Ok(PackId(text(row, "id")?))).collect()
    }

    /// Takes a pack off the record; its object must be gone already, and no xorb may lie in it.
    pub async fn forget(&self, id: &PackId) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM packs WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM xorbs WHERE pack = $1)")
            .bind(&id.0)
            .execute(&self.0.pool)
            .await
            .map_err(StoreError::database("forgetting a pack"))?;
        Ok(())
    }

    /// Places of those of `hashes` that are on record, in no particular order.
    pub async fn xorbs(&self, hashes: &[XetHash]) -> Result<Vec<XorbRecord>, StoreError> {
        let mut found = Vec::with_capacity(hashes.len());
        for batch in hashes.chunks(LOOKUP_KEYS) {
            let list = placeholders(1, batch.len());
            let sql = format!("SELECT {COLUMNS} FROM xorbs x WHERE x.hash IN ({list})");
            found.extend(self.rows(sql, batch.iter().map(ToString::to_string)).await?);
        }
        Ok(found)
    }

    /// Xorbs that hold any of these chunks, as far as the chunks are among those kept for that purpose.
    pub async fn with_chunks(&self, chunks: &[XetHash]) -> Result<Vec<XorbRecord>, StoreError> {
        let mut found = Vec::new();
        for batch in chunks.chunks(LOOKUP_KEYS) {
            let list = placeholders(1, batch.len());
            let sql = format!(
                "SELECT {COLUMNS} FROM xorbs x WHERE x.hash IN (SELECT d.xorb FROM dedup_chunks d WHERE d.chunk IN ({list}))"
            );
            found.extend(self.rows(sql, batch.iter().map(ToString::to_string)).await?);
        }
        Ok(found)
    }

    /// Xorbs that come right after `xorb` in some file.
    pub async fn successors(&self, xorb: &XetHash) -> Result<Vec<XetHash>, StoreError> {
        let rows = sqlx::query("SELECT next FROM xorb_successors WHERE xorb = $1 ORDER BY next LIMIT 8")
            .bind(xorb.to_string())
            .fetch_all(&self.0.pool)
            .await
            .map_err(StoreError::database("finding neighbouring xorbs"))?;
        rows.iter().map(|row| parsed(row, "next")).collect()
    }

    /// Marks chunks as ones to find duplicates by.
    pub async fn add_dedup(&self, chunks: &[(XetHash, XetHash)]) -> Result<(), StoreError> {
        let failed = "recording chunks";
        let mut tx = self.0.write().await?;
        let head = ("INSERT INTO dedup_chunks (chunk, xorb)", 2, "ON CONFLICT DO NOTHING");
        insert_rows(&mut tx, failed, head, chunks, |q, (chunk, xorb)| q.bind(chunk.to_string()).bind(xorb.to_string()))
            .await?;
        tx.commit().await.map_err(StoreError::database(failed))
    }

    /// Notes that an account has shown to hold the bytes of xorbs, for a repository.
    pub async fn hold(&self, xorbs: &[XetHash], repo: &RepoKey, account: &str) -> Result<(), StoreError> {
        let failed = "recording a holder";
        let mut tx = self.0.write().await?;
        let head = ("INSERT INTO xorb_holders (xorb, repo, account)", 3, "ON CONFLICT DO NOTHING");
        insert_rows(&mut tx, failed, head, xorbs, |q, xorb| q.bind(xorb.to_string()).bind(repo.as_str()).bind(account))
            .await?;
        tx.commit().await.map_err(StoreError::database(failed))
    }

    /// Packs and their bytes, sealed ones only.
    pub async fn totals(&self) -> Result<(u64, u64), StoreError> {
        let row = sqlx::query(
            "SELECT COUNT(*) AS packs, CAST(COALESCE(SUM(size), 0) AS BIGINT) AS bytes FROM packs WHERE sealed = 1",
        )
        .fetch_one(&self.0.pool)
        .await
        .map_err(StoreError::database("measuring the store"))?;
        Ok((size(&row, "packs")?, size(&row, "bytes")?))
    }

    async fn rows(&self, sql: String, binds: impl Iterator<Item = String>) -> Result<Vec<XorbRecord>, StoreError> {
        let rows = binds
            .fold(sqlx::query(AssertSqlSafe(sql)).persistent(false), |q, value| q.bind(value))
            .fetch_all(&self.0.pool)
            .await
            .map_err(StoreError::database("finding xorbs"))?;
        rows.iter().map(xorb).collect()
    }
}

fn xorb(row: &AnyRow) -> Result<XorbRecord, StoreError> {
    Ok(XorbRecord {
        hash: parsed(row, "hash")?,
        pack: PackId(text(row, "pack")?),
        body_offset: size(row, "body_offset")?,
        body_len: size(row, "body_len")?,
        index_offset: size(row, "index_offset")?,
        index_len: size(row, "index_len")?,
        raw_len: size(row, "raw_len")?,
        chunks: size(row, "chunks")?,
    })
}
