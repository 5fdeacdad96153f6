//! Packs, the xorbs in them, and who holds which xorb.

use std::fmt;

use sqlx::any::AnyRow;
use weighthouse_format::xet::hash::XetHash;

use super::{Catalog, RepoKey, damaged, fresh_id, insert_rows, keep, number, parsed, size, text};
use crate::StoreError;

/// Random name of a pack, 24 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PackId(String);

impl PackId {
    /// A name that came from outside, if it can be one.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = text.len() == 24 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        plain.then(|| Self(text.to_owned()))
    }

    /// The name as it is on record.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Key of the pack's object.
    pub fn key(&self) -> String {
        let folder = self.0.get(..2).unwrap_or("00");
        format!("packs/{folder}/{}", self.0)
    }
}

impl PackId {
    pub(super) fn from_row(row: &AnyRow, column: &str) -> Result<Self, StoreError> {
        Ok(Self(text(row, column)?))
    }
}

impl fmt::Display for PackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How the bytes of a xorb lie in its pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum XorbForm {
    /// As the chunk records that arrived.
    Arrived,
    /// As coded blocks of tensors.
    Coded,
}

impl XorbForm {
    /// As it is on record.
    pub(super) fn number(self) -> i64 {
        match self {
            Self::Arrived => 0,
            Self::Coded => 1,
        }
    }

    fn of(row: &AnyRow) -> Result<Self, StoreError> {
        match number(row, "form")? {
            0 => Ok(Self::Arrived),
            1 => Ok(Self::Coded),
            other => Err(damaged("form", &other.to_string())),
        }
    }
}

/// Where a xorb lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XorbRecord {
    /// Xorb.
    pub hash: XetHash,
    /// Pack that holds it.
    pub pack: PackId,
    /// How its bytes lie there.
    pub form: XorbForm,
    /// Contents that must be read one after the other before its own bytes: 0 for none, at most 2.
    pub depth: u64,
    /// Version of the encoder that looked at it last; 0 when none did.
    pub encoder: u64,
    /// First byte of its body in the pack.
    pub body_offset: u64,
    /// Bytes of its body.
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

/// A pack on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackRecord {
    /// Pack.
    pub id: PackId,
    /// Whether its object is complete.
    pub is_sealed: bool,
    /// Bytes of the object; 0 until it is complete.
    pub size_bytes: u64,
    /// Whether any xorb lies in it.
    pub is_needed: bool,
}

/// Packs and xorbs.
#[derive(Debug)]
pub struct Packs<'a>(pub(super) &'a Catalog);

const COLUMNS: &str = "x.hash, x.pack, x.form, x.depth, x.encoder, x.body_offset, x.body_len, x.index_offset, x.index_len, \
                       x.raw_len, x.chunks";

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
            if added.rows_affected() == 0 {
                sqlx::query("UPDATE xorbs SET condemned_at = 0 WHERE hash = $1 AND condemned_at > 0")
                    .bind(xorb.hash.to_string())
                    .execute(&mut *tx)
                    .await
                    .map_err(StoreError::database(failed))?;
            }
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
        sqlx::query("DELETE FROM pack_checks WHERE pack = $1 AND NOT EXISTS (SELECT 1 FROM packs WHERE id = $1)")
            .bind(&id.0)
            .execute(&self.0.pool)
            .await
            .map_err(StoreError::database("forgetting a pack"))?;
        Ok(())
    }

    /// Places of those of `hashes` that are on record, in no particular order.
    pub async fn xorbs(&self, hashes: &[XetHash]) -> Result<Vec<XorbRecord>, StoreError> {
        let head = format!("SELECT {COLUMNS} FROM xorbs x WHERE x.hash IN");
        self.0.look_up("finding xorbs", (&head, ""), hashes, xorb).await
    }

    /// Xorbs that hold any of these chunks, as far as the chunks are among those kept for that purpose. Xorbs that are to
    /// be removed are not offered any more.
    pub async fn with_chunks(&self, chunks: &[XetHash]) -> Result<Vec<XorbRecord>, StoreError> {
        let head = format!(
            "SELECT {COLUMNS} FROM xorbs x WHERE x.condemned_at = 0
             AND x.hash IN (SELECT d.xorb FROM dedup_chunks d WHERE d.chunk IN"
        );
        self.0.look_up("finding xorbs", (&head, ")"), chunks, xorb).await
    }

    /// Xorbs that come right after `xorb` in some file.
    pub async fn successors(&self, xorb: &XetHash) -> Result<Vec<XetHash>, StoreError> {
        let rows = sqlx::query(
            "SELECT s.next FROM xorb_successors s JOIN xorbs x ON x.hash = s.next
             WHERE s.xorb = $1 AND x.condemned_at = 0 ORDER BY s.next LIMIT 8",
        )
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
    ///
    /// # Errors
    /// [`StoreError::Gone`] when one of them is not on record.
    pub async fn hold(&self, xorbs: &[XetHash], repo: &RepoKey, account: &str) -> Result<(), StoreError> {
        let failed = "recording a holder";
        let mut tx = self.0.write().await?;
        keep::xorbs(&mut tx, xorbs).await?;
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

    /// Packs after an id.
    pub(crate) async fn page(&self, after: &str) -> Result<Vec<PackRecord>, StoreError> {
        let rows = sqlx::query(concat!(
            "SELECT id, sealed, size, (SELECT COUNT(*) FROM xorbs x WHERE x.pack = packs.id) AS needed ",
            "FROM packs WHERE id > $1 ORDER BY id LIMIT 1000"
        ))
        .bind(after)
        .fetch_all(&self.0.pool)
        .await
        .map_err(StoreError::database("listing packs"))?;
        rows.iter().map(pack).collect()
    }

    /// A pack.
    pub(crate) async fn get(&self, id: &PackId) -> Result<Option<PackRecord>, StoreError> {
        let row = sqlx::query(concat!(
            "SELECT id, sealed, size, (SELECT COUNT(*) FROM xorbs x WHERE x.pack = packs.id) AS needed ",
            "FROM packs WHERE id = $1"
        ))
        .bind(&id.0)
        .fetch_optional(&self.0.pool)
        .await
        .map_err(StoreError::database("looking for a pack"))?;
        row.as_ref().map(pack).transpose()
    }

    /// Xorbs after a hash, in the order of hashes.
    pub(crate) async fn xorb_page(&self, after: &str) -> Result<Vec<XorbRecord>, StoreError> {
        let rows = sqlx::query(sql!("SELECT {COLUMNS} FROM xorbs x WHERE x.hash > $1 ORDER BY x.hash LIMIT 1000"))
            .bind(after)
            .fetch_all(&self.0.pool)
            .await
            .map_err(StoreError::database("listing xorbs"))?;
        rows.iter().map(xorb).collect()
    }
}

fn pack(row: &AnyRow) -> Result<PackRecord, StoreError> {
    Ok(PackRecord {
        id: PackId(text(row, "id")?),
        is_sealed: number(row, "sealed")? != 0,
        size_bytes: size(row, "size")?,
        is_needed: number(row, "needed")? != 0,
    })
}

pub(super) fn xorb(row: &AnyRow) -> Result<XorbRecord, StoreError> {
    Ok(XorbRecord {
        hash: parsed(row, "hash")?,
        pack: PackId(text(row, "pack")?),
        form: XorbForm::of(row)?,
        depth: size(row, "depth")?,
        encoder: size(row, "encoder")?,
        body_offset: size(row, "body_offset")?,
        body_len: size(row, "body_len")?,
        index_offset: size(row, "index_offset")?,
        index_len: size(row, "index_len")?,
        raw_len: size(row, "raw_len")?,
        chunks: size(row, "chunks")?,
    })
}
