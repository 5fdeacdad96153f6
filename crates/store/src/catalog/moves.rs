//! Xorbs that move to another place, and the places that they left.

use sqlx::any::AnyRow;
use weighthouse_format::xet::hash::XetHash;

use super::packs::xorb;
use super::recodes::forget_makeup;
use super::{Catalog, PackId, SealedPack, XorbForm, XorbRecord, insert_rows, size, text};
use crate::StoreError;

/// Places of xorbs as they change.
#[derive(Debug)]
pub struct Moves<'a>(pub(super) &'a Catalog);

impl Moves<'_> {
    /// Puts a complete pack on record whose xorbs take the place of the same xorbs elsewhere. With `from` only those that
    /// lie in that pack move, and their former places stay on record. Returns how many moved.
    pub(crate) async fn swap(&self, pack: &SealedPack, from: Option<(&PackId, i64)>) -> Result<u64, StoreError> {
        let failed = "moving xorbs";
        let mut tx = self.0.write().await?;
        let mut moved = 0;
        for record in &pack.xorbs {
            let hash = record.hash.to_string();
            if let Some((from, now_ms)) = from {
                sqlx::query(
                    "INSERT INTO former_xorbs (hash, pack, body_offset, body_len, index_offset, index_len, raw_len, chunks,
                                               form, retired_at)
                     SELECT hash, pack, body_offset, body_len, index_offset, index_len, raw_len, chunks, form, CAST($3 AS BIGINT)
                     FROM xorbs WHERE hash = $1 AND pack = $2 ON CONFLICT DO NOTHING",
                )
                .bind(&hash)
                .bind(from.to_string())
                .bind(now_ms)
                .execute(&mut *tx)
                .await
                .map_err(StoreError::database(failed))?;
            }
            let done = sqlx::query(
                "UPDATE xorbs SET pack = $2, body_offset = $3, body_len = $4, index_offset = $5, index_len = $6, form = $8
                 WHERE hash = $1 AND pack = $7",
            )
            .bind(&hash)
            .bind(pack.id.to_string())
            .bind(record.body_offset.cast_signed())
            .bind(record.body_len.cast_signed())
            .bind(record.index_offset.cast_signed())
            .bind(record.index_len.cast_signed());
            let old = match from {
                Some((from, _)) => from.to_string(),
                None => match place_of(&mut tx, &hash).await? {
                    Some(pack) => pack,
                    None => continue,
                },
            };
            if record.form == XorbForm::Arrived {
                forget_makeup(&mut tx, &record.hash).await?;
            }
            let done = done
                .bind(old)
                .bind(record.form.number())
                .execute(&mut *tx)
                .await
                .map_err(StoreError::database(failed))?;
            moved += done.rows_affected();
        }
        sqlx::query("UPDATE packs SET sealed = 1, size = $2 WHERE id = $1")
            .bind(pack.id.to_string())
            .bind(pack.size_bytes.cast_signed())
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database(failed))?;
        if let Some((from, now_ms)) = from {
            sqlx::query(
                "UPDATE packs SET retired_at = $2 WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM xorbs x WHERE x.pack = $1)",
            )
            .bind(from.to_string())
            .bind(now_ms)
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database(failed))?;
        }
        tx.commit().await.map_err(StoreError::database(failed))?;
        Ok(moved)
    }

    /// Puts a xorb on record that has no row. Returns whether it had none.
    pub(crate) async fn put_back(&self, record: &XorbRecord, dedup: &[XetHash]) -> Result<bool, StoreError> {
        let failed = "putting a xorb back";
        let mut tx = self.0.write().await?;
        let done = sqlx::query(
            "INSERT INTO xorbs (hash, pack, body_offset, body_len, index_offset, index_len, raw_len, chunks, form, depth)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (hash) DO NOTHING",
        )
        .bind(record.hash.to_string())
        .bind(record.pack.to_string())
        .bind(record.body_offset.cast_signed())
        .bind(record.body_len.cast_signed())
        .bind(record.index_offset.cast_signed())
        .bind(record.index_len.cast_signed())
        .bind(record.raw_len.cast_signed())
        .bind(record.chunks.cast_signed())
        .bind(record.form.number())
        .bind(record.depth.cast_signed())
        .execute(&mut *tx)
        .await
        .map_err(StoreError::database(failed))?;
        let head = ("INSERT INTO dedup_chunks (chunk, xorb)", 2, "ON CONFLICT DO NOTHING");
        insert_rows(&mut tx, failed, head, dedup, |q, chunk| q.bind(chunk.to_string()).bind(record.hash.to_string()))
            .await?;
        tx.commit().await.map_err(StoreError::database(failed))?;
        Ok(done.rows_affected() == 1)
    }

    /// Places where a xorb once lay as it had arrived, as long as their packs are still there, the latest first.
    pub(crate) async fn former(&self, hash: &XetHash) -> Result<Vec<XorbRecord>, StoreError> {
        let rows = sqlx::query(
            "SELECT x.*, CAST(0 AS BIGINT) AS depth, CAST(0 AS BIGINT) AS encoder FROM former_xorbs x
             JOIN packs p ON p.id = x.pack WHERE x.hash = $1 AND x.form = 0 ORDER BY x.retired_at DESC",
        )
        .bind(hash.to_string())
        .fetch_all(&self.0.pool)
        .await
        .map_err(StoreError::database("finding former places"))?;
        rows.iter().map(xorb).collect()
    }

    /// Gives a xorb its former place again.
    pub(crate) async fn back(&self, former: &XorbRecord) -> Result<(), StoreError> {
        let failed = "using a former place again";
        let (hash, pack) = (former.hash.to_string(), former.pack.to_string());
        let mut tx = self.0.write().await?;
        sqlx::query(
            "UPDATE xorbs SET pack = $2, body_offset = $3, body_len = $4, index_offset = $5, index_len = $6, depth = 0, form = 0
             WHERE hash = $1",
        )
        .bind(&hash)
        .bind(&pack)
        .bind(former.body_offset.cast_signed())
        .bind(former.body_len.cast_signed())
        .bind(former.index_offset.cast_signed())
        .bind(former.index_len.cast_signed())
        .execute(&mut *tx)
        .await
        .map_err(StoreError::database(failed))?;
        forget_makeup(&mut tx, &former.hash).await?;
        sqlx::query("DELETE FROM former_xorbs WHERE hash = $1 AND pack = $2")
            .bind(&hash)
            .bind(&pack)
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database(failed))?;
        sqlx::query("UPDATE packs SET retired_at = 0 WHERE id = $1")
            .bind(&pack)
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database(failed))?;
        tx.commit().await.map_err(StoreError::database(failed))
    }

    /// Complete packs in use of which less than half is needed, and nothing is about to go; with their bytes.
    pub(crate) async fn sparse(&self) -> Result<Vec<(PackId, u64)>, StoreError> {
        let rows = sqlx::query(
            "SELECT p.id, p.size FROM packs p JOIN xorbs x ON x.pack = p.id
             WHERE p.sealed = 1 AND p.retired_at = 0
             GROUP BY p.id, p.size
             HAVING SUM(x.body_len + x.index_len + 60) * 2 < p.size AND MAX(x.condemned_at) = 0 ORDER BY p.id",
        )
        .fetch_all(&self.0.pool)
        .await
        .map_err(StoreError::database("finding sparse packs"))?;
        rows.iter().map(|row| Ok((PackId::from_row(row, "id")?, size(row, "size")?))).collect()
    }

    /// Xorbs that lie in a pack, in their order there.
    pub(crate) async fn xorbs_in(&self, pack: &PackId) -> Result<Vec<XorbRecord>, StoreError> {
        let rows = sqlx::query("SELECT x.* FROM xorbs x WHERE x.pack = $1 ORDER BY x.body_offset")
            .bind(pack.to_string())
            .fetch_all(&self.0.pool)
            .await
            .map_err(StoreError::database("listing the xorbs of a pack"))?;
        rows.iter().map(xorb).collect()
    }
}

async fn place_of(tx: &mut sqlx::Transaction<'static, sqlx::Any>, hash: &str) -> Result<Option<String>, StoreError> {
    let row: Option<AnyRow> = sqlx::query("SELECT pack FROM xorbs WHERE hash = $1")
        .bind(hash)
        .fetch_optional(&mut **tx)
        .await
        .map_err(StoreError::database("moving xorbs"))?;
    row.as_ref().map(|row| text(row, "pack")).transpose()
}
