//! How xorbs are coded: how deep they lie, what they need, and what coding them saved.

use std::collections::BTreeMap;

use sqlx::any::AnyRow;
use weighthouse_format::xet::hash::XetHash;

use super::{Catalog, number, parsed, size, text};
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
        let statement = ("SELECT hash, encoder, depth FROM xorbs WHERE hash IN", "");
        let standing = |row: &AnyRow| {
            Ok(Standing { xorb: parsed(row, "hash")?, encoder: size(row, "encoder")?, depth: size(row, "depth")? })
        };
        self.0.look_up("reading how xorbs are coded", statement, xorbs, standing).await
    }

    /// Contents that these xorbs need, those first that more of their bytes need.
    pub async fn bases(&self, xorbs: &[XetHash]) -> Result<Vec<Sha256>, StoreError> {
        let head = "SELECT base, CAST(SUM(raw) AS BIGINT) AS raw FROM xorb_makeup WHERE base <> '' AND xorb IN";
        let needed = |row: &AnyRow| Ok((parsed(row, "base")?, number(row, "raw")?));
        let statement = (head, " GROUP BY base");
        let mut sum: BTreeMap<Sha256, i64> = BTreeMap::new();
        for (base, raw) in self.0.look_up("reading how xorbs are coded", statement, xorbs, needed).await? {
            *sum.entry(base).or_default() += raw;
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
