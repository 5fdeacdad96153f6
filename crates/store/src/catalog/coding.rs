//! How xorbs are coded: how deep they lie, what they need, and what coding them saved.

use std::collections::BTreeMap;

use sqlx::AssertSqlSafe;
use weighthouse_format::xet::hash::XetHash;

use super::{Catalog, LOOKUP_KEYS, number, parsed, placeholders, size, text};
use crate::StoreError;
use crate::digest::Sha256;

/// How a xorb is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Xorb.
    pub xorb: XetHash,
    /// Version of the encoder that looked at it last; 0 when none did.
    pub encoder: u64,
    /// How many other contents must be read one after the other before its own bytes.
    pub depth: u64,
}

/// What the coding of all xorbs came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CodingTotals {
    /// Xorbs, and those of them that an encoder of this version has looked at.
    pub xorbs: u64,
    /// Xorbs that an encoder of this version has looked at.
    pub seen: u64,
    /// Xorbs that are stored coded.
    pub coded: u64,
    /// Bytes of all xorbs when decoded.
    pub raw_bytes: u64,
    /// Bytes of all xorbs as they are stored.
    pub stored_bytes: u64,
    /// Raw and stored bytes of coded xorbs by codec.
    pub by_codec: BTreeMap<String, (u64, u64)>,
}

/// How xorbs are coded.
#[derive(Debug)]
pub struct Coding<'a>(pub(super) &'a Catalog);

impl Coding<'_> {
    /// How those of `xorbs` that are on record are coded, in no particular order.
    pub async fn several(&self, xorbs: &[XetHash]) -> Result<Vec<Standing>, StoreError> {
        let mut found = Vec::with_capacity(xorbs.len());
        for batch in xorbs.chunks(LOOKUP_KEYS) {
            let list = placeholders(1, batch.len());
            let sql = format!("SELECT hash, encoder, depth FROM xorbs WHERE hash IN ({list})");
            let rows = batch
                .iter()
                .fold(sqlx::query(AssertSqlSafe(sql)).persistent(batch.len() == 1), |q, hash| q.bind(hash.to_string()))
                .fetch_all(&self.0.pool)
                .await
                .map_err(StoreError::database("reading how xorbs are coded"))?;
            for row in &rows {
                let (encoder, depth) = (size(row, "encoder")?, size(row, "depth")?);
                found.push(Standing { xorb: parsed(row, "hash")?, encoder, depth });
            }
        }
        Ok(found)
    }

    /// Contents that these xorbs need, those first that more of their bytes need.
    pub async fn bases(&self, xorbs: &[XetHash]) -> Result<Vec<Sha256>, StoreError> {
        let mut sum: BTreeMap<Sha256, i64> = BTreeMap::new();
        for batch in xorbs.chunks(LOOKUP_KEYS) {
            let list = placeholders(1, batch.len());
            let sql = format!(
                "SELECT base, CAST(SUM(raw) AS BIGINT) AS raw FROM xorb_makeup
                 WHERE base <> '' AND xorb IN ({list}) GROUP BY base"
            );
            let rows = batch
                .iter()
                .fold(sqlx::query(AssertSqlSafe(sql)).persistent(false), |q, hash| q.bind(hash.to_string()))
                .fetch_all(&self.0.pool)
                .await
                .map_err(StoreError::database("reading how xorbs are coded"))?;
            for row in &rows {
                *sum.entry(parsed(row, "base")?).or_default() += number(row, "raw")?;
            }
        }
        let mut bases: Vec<(Sha256, i64)> = sum.into_iter().collect();
        bases.sort_by_key(|(base, raw)| (std::cmp::Reverse(*raw), *base));
        Ok(bases.into_iter().map(|(base, _)| base).collect())
    }

    /// What the coding of all xorbs came to; `encoder` is the version whose looks count.
    pub async fn totals(&self, encoder: u64) -> Result<CodingTotals, StoreError> {
        let failed = "measuring how xorbs are coded";
        let row = sqlx::query(
            "SELECT COUNT(*) AS xorbs, COUNT(CASE WHEN encoder >= $1 THEN 1 END) AS seen,
                    COUNT(CASE WHEN form = 1 THEN 1 END) AS coded,
                    CAST(COALESCE(SUM(raw_len), 0) AS BIGINT) AS raw,
                    CAST(COALESCE(SUM(body_len + index_len), 0) AS BIGINT) AS stored FROM xorbs",
        )
        .bind(encoder.cast_signed())
        .fetch_one(&self.0.pool)
        .await
        .map_err(StoreError::database(failed))?;
        let rows = sqlx::query(
            "SELECT codec, CAST(SUM(raw) AS BIGINT) AS raw, CAST(SUM(stored) AS BIGINT) AS stored
             FROM xorb_makeup GROUP BY codec",
        )
        .fetch_all(&self.0.pool)
        .await
        .map_err(StoreError::database(failed))?;
        let by_codec = rows.iter().map(|row| Ok((text(row, "codec")?, (size(row, "raw")?, size(row, "stored")?))));
        Ok(CodingTotals {
            xorbs: size(&row, "xorbs")?,
            seen: size(&row, "seen")?,
            coded: size(&row, "coded")?,
            raw_bytes: size(&row, "raw")?,
            stored_bytes: size(&row, "stored")?,
            by_codec: by_codec.collect::<Result<_, StoreError>>()?,
        })
    }

    /// Forgets which encoder looked at which xorb, so that all are looked at again. Returns how many there are.
    pub async fn forget_looks(&self) -> Result<u64, StoreError> {
        let done = sqlx::query("UPDATE xorbs SET encoder = 0 WHERE encoder <> 0")
            .execute(&self.0.pool)
            .await
            .map_err(StoreError::database("forgetting how xorbs were coded"))?;
        Ok(done.rows_affected())
    }
}
