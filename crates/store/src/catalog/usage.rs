//! How much is stored, and what for.

use std::collections::HashMap;

use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};
use weighthouse_format::xet::hash::XetHash;
use weighthouse_format::xet::shard::Term;

use super::contents::decode_terms;
use super::{Catalog, LOOKUP_KEYS, Makeup, RepoKey, RepoKind, parsed, placeholders, size, text};
use crate::StoreError;
use crate::digest::Sha256;

/// Sizes of what is stored, in bytes.
#[derive(Debug)]
pub struct Usage<'a>(pub(super) &'a Catalog);

/// A xorb as a part of an account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct XorbUse {
    /// Bytes of its chunks when decoded.
    pub raw_bytes: u64,
    /// Bytes in its pack.
    pub stored_bytes: u64,
    /// What it is made of; empty for one that lies as it arrived.
    pub makeup: Vec<Makeup>,
}

/// A repository in the hub's account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoTotal {
    /// Kind.
    pub kind: RepoKind,
    /// Id.
    pub id: String,
    /// Files, each content once.
    pub files: u64,
    /// Their bytes.
    pub logical_bytes: u64,
}

/// What the whole hub stores.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HubTotals {
    /// Repositories.
    pub repos: u64,
    /// Bytes of the files of all repositories, each content once for each repository.
    pub logical_bytes: u64,
    /// Bytes of all contents, each once.
    pub unique_bytes: u64,
    /// Bytes of conversions that are kept, among those.
    pub converted_bytes: u64,
    /// Bytes of all chunks when decoded, each once.
    pub raw_bytes: u64,
    /// Bytes of xorbs in packs.
    pub xorb_bytes: u64,
    /// Bytes of xorbs that wait to be removed, among those.
    pub condemned_bytes: u64,
    /// Raw and stored bytes of xorbs that lie as they arrived.
    pub arrived: (u64, u64),
    /// Raw and stored bytes of coded xorbs by codec.
    pub coded: Vec<(String, u64, u64)>,
    /// Complete packs.
    pub packs: u64,
    /// Their bytes.
    pub pack_bytes: u64,
    /// Bytes of packs that wait to be removed, among those.
    pub retired_bytes: u64,
    /// Bytes of those packs in whole blocks of a file system, and the folders that they lie in.
    pub pack_blocks: (u64, u64),
}

/// Bytes of a block of a file system, nearly everywhere.
pub const BLOCK_BYTES: u64 = 4_096;

impl Usage<'_> {
    /// Contents that a repository was given, after a digest, with their sizes and terms; a page without any is the last.
    pub async fn contents(&self, repo: &RepoKey, after: &str) -> Result<Vec<(Sha256, u64, Vec<Term>)>, StoreError> {
        let failed = "measuring a repository";
        let rows = sqlx::query(
            "SELECT c.sha256, c.size, c.terms FROM repo_contents r JOIN contents c ON c.sha256 = r.sha256
             WHERE r.repo = $1 AND r.sha256 > $2 ORDER BY r.sha256 LIMIT 1000",
        )
        .bind(repo.as_str())
        .bind(after)
        .fetch_all(&self.0.pool)
        .await
        .map_err(StoreError::database(failed))?;
        rows.iter()
            .map(|row| {
                let terms: Vec<u8> = row.try_get("terms").map_err(StoreError::database(failed))?;
                Ok((parsed(row, "sha256")?, size(row, "size")?, decode_terms(&terms)?))
            })
            .collect()
    }

    /// Repositories that have had a content, each with a path of it; at most `limit` of them.
    pub async fn places(&self, sha256: &Sha256, limit: u32) -> Result<Vec<(RepoKey, String)>, StoreError> {
        let failed = "looking for who has a file";
        let rows = sqlx::query(
            "SELECT repo, min(path) AS path FROM repo_files WHERE sha256 = $1 GROUP BY repo ORDER BY repo LIMIT $2",
        )
        .bind(sha256.to_string())
        .bind(i64::from(limit))
        .fetch_all(&self.0.pool)
        .await
        .map_err(StoreError::database(failed))?;
        rows.iter().map(|row| Ok((RepoKey::from(text(row, "repo")?), text(row, "path")?))).collect()
    }

    /// Sizes of xorbs, and what they are made of.
    pub async fn xorbs(&self, hashes: &[XetHash]) -> Result<HashMap<XetHash, XorbUse>, StoreError> {
        let failed = "measuring xorbs";
        let mut found: HashMap<XetHash, XorbUse> = HashMap::with_capacity(hashes.len());
        for batch in hashes.chunks(LOOKUP_KEYS) {
            let list = placeholders(1, batch.len());
            let ask = async |sql: String| -> Result<Vec<AnyRow>, StoreError> {
                batch
                    .iter()
                    .fold(sqlx::query(AssertSqlSafe(sql)).persistent(false), |q, hash| q.bind(hash.to_string()))
                    .fetch_all(&self.0.pool)
                    .await
                    .map_err(StoreError::database(failed))
            };
            let sizes = "SELECT hash, raw_len, body_len + index_len AS stored FROM xorbs WHERE hash IN";
            for row in &ask(format!("{sizes} ({list})")).await? {
                let xorb =
                    XorbUse { raw_bytes: size(row, "raw_len")?, stored_bytes: size(row, "stored")?, makeup: vec![] };
                found.insert(parsed(row, "hash")?, xorb);
            }
            for row in
                &ask(format!("SELECT xorb, codec, base, raw, stored FROM xorb_makeup WHERE xorb IN ({list})")).await?
            {
                let base = if text(row, "base")?.is_empty() { None } else { Some(parsed(row, "base")?) };
                if let Some(xorb) = found.get_mut(&parsed(row, "xorb")?) {
                    xorb.makeup.push(Makeup {
                        codec: text(row, "codec")?,
                        base,
                        raw_bytes: size(row, "raw")?,
                        stored_bytes: size(row, "stored")?,
                    });
                }
            }
        }
        Ok(found)
    }

    /// Repositories that hold xorbs.
    pub async fn holders(&self, hashes: &[XetHash]) -> Result<Vec<(XetHash, RepoKey)>, StoreError> {
        self.0.garbage().holders(hashes).await
    }

    /// What the whole hub stores. Goes through all rows: not for every view of a page.
    pub async fn totals(&self) -> Result<HubTotals, StoreError> {
        let one = async |sql: &'static str| {
            sqlx::query(sql).fetch_one(&self.0.pool).await.map_err(StoreError::database("measuring the hub"))
        };
        let repos = one("SELECT COUNT(*) AS repos FROM repos").await?;
        let logical = one(
            "SELECT CAST(COALESCE(SUM(c.size), 0) AS BIGINT) AS bytes FROM repo_contents r JOIN contents c ON c.sha256 = r.sha256",
        )
        .await?;
        let unique = one("SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT) AS bytes FROM contents").await?;
        let converted = one("SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT) AS bytes FROM conversion_outputs").await?;
        let xorbs = one(
            "SELECT CAST(COALESCE(SUM(raw_len), 0) AS BIGINT) AS raw,
                    CAST(COALESCE(SUM(body_len + index_len), 0) AS BIGINT) AS stored,
                    CAST(COALESCE(SUM(CASE WHEN condemned_at > 0 THEN body_len + index_len ELSE 0 END), 0) AS BIGINT) AS condemned,
                    CAST(COALESCE(SUM(CASE WHEN form = 0 THEN raw_len ELSE 0 END), 0) AS BIGINT) AS arrived_raw,
                    CAST(COALESCE(SUM(CASE WHEN form = 0 THEN body_len + index_len ELSE 0 END), 0) AS BIGINT) AS arrived
             FROM xorbs",
        )
        .await?;
        let packs = one("SELECT COUNT(*) AS packs, CAST(COALESCE(SUM(size), 0) AS BIGINT) AS bytes,
                    CAST(COALESCE(SUM(CASE WHEN retired_at > 0 THEN size ELSE 0 END), 0) AS BIGINT) AS retired,
                    CAST(COALESCE(SUM((size + 4095) / 4096), 0) AS BIGINT) AS blocks,
                    COUNT(DISTINCT SUBSTR(id, 1, 2)) AS folders FROM packs WHERE sealed = 1")
        .await?;
        let coded = sqlx::query(
            "SELECT codec, CAST(SUM(raw) AS BIGINT) AS raw, CAST(SUM(stored) AS BIGINT) AS stored
             FROM xorb_makeup GROUP BY codec ORDER BY codec",
        )
        .fetch_all(&self.0.pool)
        .await
        .map_err(StoreError::database("measuring the hub"))?;
        Ok(HubTotals {
            repos: size(&repos, "repos")?,
            logical_bytes: size(&logical, "bytes")?,
            unique_bytes: size(&unique, "bytes")?,
            converted_bytes: size(&converted, "bytes")?,
            raw_bytes: size(&xorbs, "raw")?,
            xorb_bytes: size(&xorbs, "stored")?,
            condemned_bytes: size(&xorbs, "condemned")?,
            arrived: (size(&xorbs, "arrived_raw")?, size(&xorbs, "arrived")?),
            coded: coded
                .iter()
                .map(|row| Ok((text(row, "codec")?, size(row, "raw")?, size(row, "stored")?)))
                .collect::<Result<_, StoreError>>()?,
            packs: size(&packs, "packs")?,
            pack_bytes: size(&packs, "bytes")?,
            retired_bytes: size(&packs, "retired")?,
            pack_blocks: (size(&packs, "blocks")?.saturating_mul(BLOCK_BYTES), size(&packs, "folders")?),
        })
    }

    /// The repositories with most bytes.
    pub async fn largest(&self, limit: u32) -> Result<Vec<RepoTotal>, StoreError> {
        let rows = sqlx::query(
            "SELECT p.kind, p.id, COUNT(*) AS files, CAST(SUM(c.size) AS BIGINT) AS bytes
             FROM repo_contents r JOIN contents c ON c.sha256 = r.sha256 JOIN repos p ON p.key = r.repo
             GROUP BY p.kind, p.id ORDER BY 4 DESC, p.id LIMIT $1",
        )
        .bind(i64::from(limit))
        .fetch_all(&self.0.pool)
        .await
        .map_err(StoreError::database("measuring repositories"))?;
        rows.iter()
            .map(|row| {
                Ok(RepoTotal {
                    kind: parsed(row, "kind")?,
                    id: text(row, "id")?,
                    files: size(row, "files")?,
                    logical_bytes: size(row, "bytes")?,
                })
            })
            .collect()
    }

    /// Bytes of a PostgreSQL database; `None` on SQLite, whose files lie in the data folder.
    pub async fn database_bytes(&self) -> Result<Option<u64>, StoreError> {
        if self.0.engine == super::Engine::Sqlite {
            return Ok(None);
        }
        let row = sqlx::query("SELECT pg_database_size(current_database()) AS bytes")
            .fetch_one(&self.0.pool)
            .await
            .map_err(StoreError::database("measuring the database"))?;
        size(&row, "bytes").map(Some)
    }
}
