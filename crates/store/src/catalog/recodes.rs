//! Xorbs coded anew: where they lay before, what they are made of, and what they need to be decoded.
//!
//! A xorb of depth d needs only contents whose xorbs are all of smaller depth, so that no chain closes on itself. A xorb
//! that is a part of a base may come to lie deeper where all that needs it can lie deeper too: that is so where nothing
//! needs those in turn. [`Recodes::swap`] holds the rows of all xorbs concerned while it looks, so that two of them side by
//! side cannot break this either.

use std::collections::BTreeSet;

use sqlx::{Any, AssertSqlSafe, Row, Transaction};
use weighthouse_format::xet::hash::XetHash;

use super::packs::{SealedPack, XorbRecord, xorb};
use super::{Catalog, LOOKUP_KEYS, PackId, insert_rows, keep, parsed, placeholders, size, text};
use crate::StoreError;
use crate::digest::Sha256;

/// Raw and stored bytes of one codec in a xorb.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Makeup {
    /// Name of the codec.
    pub codec: String,
    /// The content that the blocks need to be decoded.
    pub base: Option<Sha256>,
    /// Bytes of the decoded blocks.
    pub raw_bytes: u64,
    /// Bytes that are stored.
    pub stored_bytes: u64,
}

/// A xorb that was coded, in a pack that is complete.
#[derive(Clone, Debug)]
pub struct NewPlace {
    /// Where it lay when it was read.
    pub former: XorbRecord,
    /// What it is made of now.
    pub makeup: Vec<Makeup>,
    /// The contents it needs, each with all of its xorbs.
    pub bases: Vec<(Sha256, Vec<XetHash>)>,
}

/// Xorbs coded anew.
#[derive(Debug)]
pub struct Recodes<'a>(pub(super) &'a Catalog);

/// Bases that are needed one for another: what a xorb needs may need something itself, and no more.
pub const MAX_DEPTH: u64 = 2;

const FAILED: &str = "moving xorbs to a coded pack";
/// Xorbs that are coded against any content that xorb `$1` is a part of.
const LEANING: &str =
    "SELECT DISTINCT m.xorb AS xorb FROM base_xorbs b JOIN xorb_makeup m ON m.base = b.base WHERE b.xorb = $1";

impl Recodes<'_> {
    /// Puts a pack of coded xorbs on record and lets the xorbs lie there; all or none of them.
    ///
    /// # Errors
    /// [`StoreError::Moved`] when a xorb lies elsewhere by now, or when it may not need what it needs any more.
    pub async fn swap(&self, pack: &SealedPack, places: &[NewPlace], now_ms: i64) -> Result<(), StoreError> {
        let mut tx = self.0.write().await?;
        let mut held: BTreeSet<XetHash> = pack.xorbs.iter().map(|xorb| xorb.hash).collect();
        held.extend(places.iter().flat_map(|place| place.bases.iter().flat_map(|(_, xorbs)| xorbs.iter().copied())));
        for (xorb, _) in pack.xorbs.iter().zip(places).filter(|(xorb, place)| xorb.depth > place.former.depth) {
            held.extend(leaning(&mut tx, &xorb.hash).await?);
        }
        let rows: Vec<XetHash> = held.iter().copied().collect();
        hold(&mut tx, &rows).await?;
        let mut left = BTreeSet::new();
        for (xorb, place) in pack.xorbs.iter().zip(places) {
            if xorb.depth > place.former.depth {
                lift(&mut tx, xorb, &held).await?;
            }
            check(&mut tx, xorb, place).await?;
            move_to(&mut tx, xorb, place, now_ms).await?;
            left.insert(&place.former.pack);
        }
        sqlx::query("UPDATE packs SET sealed = 1, size = $2 WHERE id = $1")
            .bind(pack.id.as_str())
            .bind(pack.size_bytes.cast_signed())
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database(FAILED))?;
        for pack in left {
            sqlx::query(
                "UPDATE packs SET retired_at = $2 WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM xorbs WHERE pack = $1)",
            )
            .bind(pack.as_str())
            .bind(now_ms)
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database(FAILED))?;
        }
        tx.commit().await.map_err(StoreError::database(FAILED))
    }

    /// Notes that an encoder looked at a xorb and left it where it lies.
    pub async fn keep(&self, record: &XorbRecord, encoder: u64) -> Result<(), StoreError> {
        sqlx::query("UPDATE xorbs SET encoder = $3 WHERE hash = $1 AND pack = $2")
            .bind(record.hash.to_string())
            .bind(record.pack.as_str())
            .bind(encoder.cast_signed())
            .execute(&self.0.pool)
            .await
            .map_err(StoreError::database(FAILED))?;
        Ok(())
    }

    /// How deep a xorb may come to lie: so deep that what is coded against it can lie deeper still.
    pub async fn most_depth(&self, xorb: &XorbRecord) -> Result<u64, StoreError> {
        let sql = format!(
            "SELECT COUNT(*) AS leaning, COUNT(CASE WHEN EXISTS (SELECT 1 FROM base_xorbs p WHERE p.xorb = l.xorb)
             THEN 1 END) AS pinned FROM ({LEANING}) l"
        );
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(xorb.hash.to_string())
            .fetch_one(&self.0.pool)
            .await
            .map_err(StoreError::database("looking for dependants"))?;
        Ok(match (size(&row, "leaning")?, size(&row, "pinned")?) {
            (0, _) => MAX_DEPTH,
            (_, 0) => xorb.depth.max(MAX_DEPTH - 1),
            _ => xorb.depth,
        })
    }

    /// Where a xorb lay before, if its pack is still there.
    pub async fn former(&self, xorb: &XetHash, pack: &PackId) -> Result<Option<XorbRecord>, StoreError> {
        let row = sqlx::query("SELECT *, 0 AS depth, 0 AS encoder FROM former_xorbs WHERE hash = $1 AND pack = $2")
            .bind(xorb.to_string())
            .bind(pack.as_str())
            .fetch_optional(&self.0.pool)
            .await
            .map_err(StoreError::database("finding xorbs"))?;
        row.as_ref().map(self::xorb).transpose()
    }

    /// What a coded xorb is made of; empty for one that lies as it arrived.
    pub async fn makeup(&self, xorb: &XetHash) -> Result<Vec<Makeup>, StoreError> {
        let rows = sqlx::query("SELECT codec, base, raw, stored FROM xorb_makeup WHERE xorb = $1 ORDER BY codec, base")
            .bind(xorb.to_string())
            .fetch_all(&self.0.pool)
            .await
            .map_err(StoreError::database("reading what xorbs are made of"))?;
        let makeup = |row| {
            let base = if text(row, "base")?.is_empty() { None } else { Some(parsed(row, "base")?) };
            Ok(Makeup {
                codec: text(row, "codec")?,
                base,
                raw_bytes: size(row, "raw")?,
                stored_bytes: size(row, "stored")?,
            })
        };
        rows.iter().map(makeup).collect()
    }

    /// Xorbs that need a content to be decoded.
    pub async fn dependants(&self, base: &Sha256) -> Result<Vec<XetHash>, StoreError> {
        let rows = sqlx::query("SELECT DISTINCT xorb FROM xorb_makeup WHERE base = $1 ORDER BY xorb")
            .bind(base.to_string())
            .fetch_all(&self.0.pool)
            .await
            .map_err(StoreError::database("looking for dependants"))?;
        rows.iter().map(|row| parsed(row, "xorb")).collect()
    }

    /// Contents that something is coded against, among these.
    pub async fn bases_among(&self, contents: &[Sha256]) -> Result<Vec<Sha256>, StoreError> {
        let statement = ("SELECT DISTINCT base FROM base_xorbs WHERE base IN", "");
        self.0.look_up("looking for dependants", statement, contents, |row| parsed(row, "base")).await
    }
}

/// Forgets what a xorb is made of, and lets go of bases that nothing else needs.
pub(super) async fn forget_makeup(tx: &mut Transaction<'static, Any>, xorb: &XetHash) -> Result<(), StoreError> {
    let bases = take_makeup(tx, xorb).await?;
    let_go(tx, &bases).await
}

/// Forgets what a xorb is made of. Returns the bases that it needed.
async fn take_makeup(tx: &mut Transaction<'static, Any>, xorb: &XetHash) -> Result<Vec<String>, StoreError> {
    let failed = || StoreError::database("forgetting what a xorb is made of");
    let rows = sqlx::query("SELECT DISTINCT base FROM xorb_makeup WHERE xorb = $1 AND base <> ''")
        .bind(xorb.to_string())
        .fetch_all(&mut **tx)
        .await
        .map_err(failed())?;
    sqlx::query("DELETE FROM xorb_makeup WHERE xorb = $1")
        .bind(xorb.to_string())
        .execute(&mut **tx)
        .await
        .map_err(failed())?;
    rows.iter().map(|row| text(row, "base")).collect()
}

/// Lets go of those bases that nothing needs.
async fn let_go(tx: &mut Transaction<'static, Any>, bases: &[String]) -> Result<(), StoreError> {
    let failed = || StoreError::database("letting go of bases");
    for base in bases {
        // Held, so that nobody comes to need it between the question and the deletion.
        sqlx::query("UPDATE contents SET condemned_at = condemned_at WHERE sha256 = $1")
            .bind(base)
            .execute(&mut **tx)
            .await
            .map_err(failed())?;
        sqlx::query(
            "DELETE FROM base_xorbs WHERE base = $1 AND NOT EXISTS (SELECT 1 FROM xorb_makeup WHERE base = $1)",
        )
        .bind(base)
        .execute(&mut **tx)
        .await
        .map_err(failed())?;
    }
    Ok(())
}

/// Holds rows until the end of the transaction, in one order for everybody.
async fn hold(tx: &mut Transaction<'static, Any>, xorbs: &[XetHash]) -> Result<(), StoreError> {
    if tx.backend_name() == "SQLite" {
        // The whole file is held already.
        return Ok(());
    }
    for batch in xorbs.chunks(LOOKUP_KEYS) {
        let list = placeholders(1, batch.len());
        let sql = format!("SELECT hash FROM xorbs WHERE hash IN ({list}) ORDER BY hash FOR UPDATE");
        batch
            .iter()
            .fold(sqlx::query(AssertSqlSafe(sql)).persistent(false), |q, xorb| q.bind(xorb.to_string()))
            .fetch_all(&mut **tx)
            .await
            .map_err(StoreError::database(FAILED))?;
    }
    Ok(())
}

/// Xorbs that are coded against a content that this one is a part of.
async fn leaning(tx: &mut Transaction<'static, Any>, xorb: &XetHash) -> Result<Vec<XetHash>, StoreError> {
    let rows =
        sqlx::query(LEANING).bind(xorb.to_string()).fetch_all(&mut **tx).await.map_err(StoreError::database(FAILED))?;
    rows.iter().map(|row| parsed(row, "xorb")).collect()
}

/// Lets what is coded against a xorb that comes to lie deeper lie deeper than that; fails where something needs it in turn.
async fn lift(
    tx: &mut Transaction<'static, Any>,
    xorb: &XorbRecord,
    held: &BTreeSet<XetHash>,
) -> Result<(), StoreError> {
    let leaning = leaning(tx, &xorb.hash).await?;
    if leaning.is_empty() {
        return Ok(());
    }
    let became = || StoreError::Moved { what: format!("xorb {} has become a part of a base", xorb.hash) };
    if xorb.depth >= MAX_DEPTH || leaning.iter().any(|leaning| !held.contains(leaning)) {
        return Err(became());
    }
    let shallow = format!("FROM xorbs WHERE depth < $2 AND hash IN ({LEANING})");
    let below = (xorb.depth + 1).cast_signed();
    let pinned = format!("SELECT 1 AS found {shallow} AND hash IN (SELECT xorb FROM base_xorbs) LIMIT 1");
    let pinned = sqlx::query(AssertSqlSafe(pinned))
        .bind(xorb.hash.to_string())
        .bind(below)
        .fetch_optional(&mut **tx)
        .await
        .map_err(StoreError::database(FAILED))?;
    if pinned.is_some() {
        return Err(became());
    }
    let lifted = format!("UPDATE xorbs SET depth = $2 WHERE hash IN (SELECT hash {shallow})");
    sqlx::query(AssertSqlSafe(lifted))
        .bind(xorb.hash.to_string())
        .bind(below)
        .execute(&mut **tx)
        .await
        .map_err(StoreError::database(FAILED))?;
    Ok(())
}

/// Fails unless a xorb may need what it needs.
async fn check(tx: &mut Transaction<'static, Any>, xorb: &XorbRecord, place: &NewPlace) -> Result<(), StoreError> {
    let moved = |what: String| StoreError::Moved { what };
    for (base, xorbs) in &place.bases {
        keep::contents(tx, &[*base]).await?;
        // Whoever removes contents sees that this one is wanted.
        let there = sqlx::query("UPDATE contents SET condemned_at = 0 WHERE sha256 = $1")
            .bind(base.to_string())
            .execute(&mut **tx)
            .await
            .map_err(StoreError::database(FAILED))?;
        if there.rows_affected() != 1 {
            return Err(moved(format!("content {base}, which was to be a base, is gone")));
        }
        let rows: Vec<(&Sha256, &XetHash)> = xorbs.iter().map(|xorb| (base, xorb)).collect();
        let head = ("INSERT INTO base_xorbs (base, xorb)", 2, "ON CONFLICT DO NOTHING");
        insert_rows(tx, FAILED, head, &rows, |q, (base, xorb)| q.bind(base.to_string()).bind(xorb.to_string())).await?;
        let deepest: Option<i64> = sqlx::query(
            "SELECT MAX(CASE WHEN x.hash = $2 THEN 9 ELSE x.depth END) AS depth
             FROM base_xorbs b JOIN xorbs x ON x.hash = b.xorb WHERE b.base = $1",
        )
        .bind(base.to_string())
        .bind(xorb.hash.to_string())
        .fetch_one(&mut **tx)
        .await
        .and_then(|row| row.try_get("depth"))
        .map_err(StoreError::database(FAILED))?;
        if deepest.unwrap_or(0) >= xorb.depth.cast_signed() {
            return Err(moved(format!("content {base}, which was to be a base, needs bases itself by now")));
        }
    }
    Ok(())
}

/// Lets a xorb lie in its new pack and notes where it lay.
async fn move_to(
    tx: &mut Transaction<'static, Any>,
    xorb: &XorbRecord,
    place: &NewPlace,
    now_ms: i64,
) -> Result<(), StoreError> {
    let failed = || StoreError::database(FAILED);
    let former = &place.former;
    let moved = sqlx::query(
        "UPDATE xorbs SET pack = $3, form = $4, depth = $5, encoder = $6, body_offset = $7, body_len = $8,
         index_offset = $9, index_len = $10 WHERE hash = $1 AND pack = $2",
    )
    .bind(xorb.hash.to_string())
    .bind(former.pack.as_str())
    .bind(xorb.pack.as_str())
    .bind(xorb.form.number())
    .bind(xorb.depth.cast_signed())
    .bind(xorb.encoder.cast_signed())
    .bind(xorb.body_offset.cast_signed())
    .bind(xorb.body_len.cast_signed())
    .bind(xorb.index_offset.cast_signed())
    .bind(xorb.index_len.cast_signed())
    .execute(&mut **tx)
    .await
    .map_err(failed())?;
    if moved.rows_affected() != 1 {
        return Err(StoreError::Moved { what: format!("xorb {} lies elsewhere by now", xorb.hash) });
    }
    sqlx::query(
        "INSERT INTO former_xorbs (hash, pack, body_offset, body_len, index_offset, index_len, raw_len, chunks, form,
         retired_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING",
    )
    .bind(former.hash.to_string())
    .bind(former.pack.as_str())
    .bind(former.body_offset.cast_signed())
    .bind(former.body_len.cast_signed())
    .bind(former.index_offset.cast_signed())
    .bind(former.index_len.cast_signed())
    .bind(former.raw_len.cast_signed())
    .bind(former.chunks.cast_signed())
    .bind(former.form.number())
    .bind(now_ms)
    .execute(&mut **tx)
    .await
    .map_err(failed())?;
    let former_bases = take_makeup(tx, &xorb.hash).await?;
    let head = ("INSERT INTO xorb_makeup (xorb, codec, base, raw, stored)", 5, "ON CONFLICT DO NOTHING");
    let name = xorb.hash.to_string();
    insert_rows(tx, FAILED, head, &place.makeup, |q, makeup| {
        q.bind(name.clone())
            .bind(makeup.codec.clone())
            .bind(makeup.base.map(|base| base.to_string()).unwrap_or_default())
            .bind(makeup.raw_bytes.cast_signed())
            .bind(makeup.stored_bytes.cast_signed())
    })
    .await?;
    // Those that are needed still are named again by now.
    let_go(tx, &former_bases).await
}
