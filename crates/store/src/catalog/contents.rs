//! File contents, and the git blobs that stand for them.

use std::collections::BTreeSet;

use sqlx::Row;
use sqlx::any::AnyRow;
use weighthouse_format::xet::{hash::XetHash, shard::Term};

use super::{Catalog, RepoKey, damaged, insert_rows, keep, number, parsed, size, text};
use crate::StoreError;
use crate::digest::{GitOid, Sha256};

/// Bytes of one term on record: xorb hash, first chunk, end chunk, raw bytes (u32, little-endian each).
const TERM_BYTES: usize = 44;

/// Pairs of neighbouring xorbs noted at once; a file pieced together from many xorbs has too many to be of use.
const MAX_SUCCESSORS: usize = 10_000;

/// How it is put on record that a repository was given a content.
pub(super) const GIVEN: (&str, usize, &str) = (
    "INSERT INTO repo_contents (repo, sha256, given_at)",
    3,
    "ON CONFLICT (repo, sha256) DO UPDATE SET given_at = excluded.given_at",
);

/// Identity of a file's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentRecord {
    /// SHA-256, verified.
    pub sha256: Sha256,
    /// Length in bytes.
    pub size_bytes: u64,
    /// Xet file hash.
    pub file_hash: XetHash,
}

/// A file's bytes and where they come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Identity.
    pub record: ContentRecord,
    /// Chunk ranges of xorbs, in file order.
    pub terms: Vec<Term>,
}

/// What a git blob stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobRecord {
    /// Git id of the blob: of the bytes, or of the LFS pointer.
    pub oid: GitOid,
    /// The file's SHA-256.
    pub sha256: Sha256,
    /// The file's length in bytes.
    pub size_bytes: u64,
    /// Whether the blob is an LFS pointer.
    pub lfs: bool,
}

/// File contents.
#[derive(Debug)]
pub struct Contents<'a>(pub(super) &'a Catalog);

impl Contents<'_> {
    /// Records verified contents and that a repository was given them.
    ///
    /// # Errors
    /// [`StoreError::Gone`] when a xorb that a content is made of is not on record.
    pub async fn add(&self, repo: &RepoKey, contents: &[Content], now_ms: i64) -> Result<(), StoreError> {
        self.record(Some((repo, now_ms)), contents).await
    }

    /// Records verified contents that belong to no repository; something else on record must name them.
    pub async fn add_apart(&self, contents: &[Content]) -> Result<(), StoreError> {
        self.record(None, contents).await
    }

    async fn record(&self, given: Option<(&RepoKey, i64)>, contents: &[Content]) -> Result<(), StoreError> {
        let failed = "recording file contents";
        // In the order of the index: neighbours fall on one page, and each page is written once.
        let mut sorted: Vec<&Content> = contents.iter().collect();
        sorted.sort_unstable_by_key(|content| content.record.sha256);
        let xorbs: BTreeSet<XetHash> = contents.iter().flat_map(|c| c.terms.iter().map(|term| term.xorb)).collect();
        let xorbs: Vec<XetHash> = xorbs.into_iter().collect();
        let mut tx = self.0.write().await?;
        keep::xorbs(&mut tx, &xorbs).await?;
        let head = ("INSERT INTO contents (sha256, size, file_hash, terms)", 4, "ON CONFLICT DO NOTHING");
        insert_rows(&mut tx, failed, head, &sorted, |q, content| {
            q.bind(content.record.sha256.to_string())
                .bind(content.record.size_bytes.cast_signed())
                .bind(content.record.file_hash.to_string())
                .bind(encode_terms(&content.terms))
        })
        .await?;
        // One that was on record is made of xorbs of its own, which must stay as well.
        let digests: Vec<Sha256> = sorted.iter().map(|content| content.record.sha256).collect();
        keep::contents(&mut tx, &digests).await?;
        let successors: BTreeSet<(XetHash, XetHash)> = contents
            .iter()
            .flat_map(|content| content.terms.windows(2))
            .filter_map(|pair| match pair {
                [a, b] if a.xorb != b.xorb => Some((a.xorb, b.xorb)),
                _ => None,
            })
            .take(MAX_SUCCESSORS)
            .collect();
        let successors: Vec<_> = successors.into_iter().collect();
        let head = ("INSERT INTO xorb_successors (xorb, next)", 2, "ON CONFLICT DO NOTHING");
        insert_rows(&mut tx, failed, head, &successors, |q, (xorb, next)| {
            q.bind(xorb.to_string()).bind(next.to_string())
        })
        .await?;
        if let Some((repo, now_ms)) = given {
            let mut digests = digests;
            digests.dedup();
            insert_rows(&mut tx, failed, GIVEN, &digests, |q, sha256| {
                q.bind(repo.as_str()).bind(sha256.to_string()).bind(now_ms)
            })
            .await?;
        }
        tx.commit().await.map_err(StoreError::database(failed))
    }

    /// Notes that a repository was given content that is on record.
    ///
    /// # Errors
    /// [`StoreError::Gone`] when it is not on record.
    pub async fn give(&self, repo: &RepoKey, sha256: &Sha256, now_ms: i64) -> Result<(), StoreError> {
        let failed = "recording file contents";
        let mut tx = self.0.write().await?;
        keep::contents(&mut tx, &[*sha256]).await?;
        insert_rows(&mut tx, failed, GIVEN, &[*sha256], |q, sha256| {
            q.bind(repo.as_str()).bind(sha256.to_string()).bind(now_ms)
        })
        .await?;
        tx.commit().await.map_err(StoreError::database(failed))
    }

    /// Whether a repository was given this content.
    pub async fn given(&self, repo: &RepoKey, sha256: &Sha256) -> Result<bool, StoreError> {
        let row = sqlx::query("SELECT 1 AS found FROM repo_contents WHERE repo = $1 AND sha256 = $2")
            .bind(repo.as_str())
            .bind(sha256.to_string())
            .fetch_optional(&self.0.pool)
            .await
            .map_err(StoreError::database("looking for file contents"))?;
        Ok(row.is_some())
    }

    /// Content of a SHA-256.
    pub async fn get(&self, sha256: &Sha256) -> Result<Option<Content>, StoreError> {
        self.one("SELECT sha256, size, file_hash, terms FROM contents WHERE sha256 = $1", sha256.to_string()).await
    }

    /// Content of a Xet file hash.
    pub async fn by_file_hash(&self, hash: &XetHash) -> Result<Option<Content>, StoreError> {
        self.one("SELECT sha256, size, file_hash, terms FROM contents WHERE file_hash = $1", hash.to_string()).await
    }

    /// Contents after one, in the order of their SHA-256; at most `limit`.
    pub async fn page(&self, after: Option<&Sha256>, limit: u32) -> Result<Vec<Content>, StoreError> {
        let failed = "reading file contents";
        let rows = sqlx::query(
            "SELECT sha256, size, file_hash, terms FROM contents WHERE sha256 > $1 ORDER BY sha256 LIMIT $2",
        )
        .bind(after.map(ToString::to_string).unwrap_or_default())
        .bind(i64::from(limit))
        .fetch_all(&self.0.pool)
        .await
        .map_err(StoreError::database(failed))?;
        rows.iter().map(content).collect()
    }

    /// Repositories that were given a content.
    pub async fn holders(&self, sha256: &Sha256) -> Result<Vec<RepoKey>, StoreError> {
        let rows = sqlx::query("SELECT repo FROM repo_contents WHERE sha256 = $1 ORDER BY repo")
            .bind(sha256.to_string())
            .fetch_all(&self.0.pool)
            .await
            .map_err(StoreError::database("looking for who has a content"))?;
        rows.iter().map(|row| Ok(RepoKey::from(text(row, "repo")?))).collect()
    }

    /// Identities of those of `digests` that are on record, in no particular order.
    pub async fn records(&self, digests: &[Sha256]) -> Result<Vec<ContentRecord>, StoreError> {
        let statement = ("SELECT sha256, size, file_hash FROM contents WHERE sha256 IN", "");
        self.0.look_up("looking for file contents", statement, digests, record).await
    }

    /// What git blobs stand for, in no particular order.
    pub async fn blobs(&self, oids: &[GitOid]) -> Result<Vec<BlobRecord>, StoreError> {
        let statement = ("SELECT oid, sha256, size, lfs FROM blobs WHERE oid IN", "");
        let blob = |row: &AnyRow| {
            Ok(BlobRecord {
                oid: parsed(row, "oid")?,
                sha256: parsed(row, "sha256")?,
                size_bytes: size(row, "size")?,
                lfs: number(row, "lfs")? != 0,
            })
        };
        self.0.look_up("reading blobs", statement, oids, blob).await
    }

    /// Size in bytes of all contents a repository was given.
    pub async fn given_bytes(&self, repo: &RepoKey) -> Result<u64, StoreError> {
        let row = sqlx::query(
            "SELECT CAST(COALESCE(SUM(c.size), 0) AS BIGINT) AS size
             FROM repo_contents r JOIN contents c ON c.sha256 = r.sha256 WHERE r.repo = $1",
        )
        .bind(repo.as_str())
        .fetch_one(&self.0.pool)
        .await
        .map_err(StoreError::database("measuring a repository"))?;
        size(&row, "size")
    }

    /// Contents after a digest, each with its terms or why they cannot be read; a page without any is the last.
    pub(crate) async fn checked_page(&self, after: &str) -> Result<Vec<(Sha256, Result<Content, String>)>, StoreError> {
        let failed = "listing contents";
        let rows = sqlx::query(
            "SELECT sha256, size, file_hash, terms FROM contents WHERE sha256 > $1 ORDER BY sha256 LIMIT 200",
        )
        .bind(after)
        .fetch_all(&self.0.pool)
        .await
        .map_err(StoreError::database(failed))?;
        rows.iter()
            .map(|row| {
                // A row that cannot be fetched is a fault of the catalog; one that makes no sense is a finding.
                let bytes: Vec<u8> = row.try_get("terms").map_err(StoreError::database(failed))?;
                let content = record(row).and_then(|record| Ok(Content { record, terms: decode_terms(&bytes)? }));
                Ok((parsed(row, "sha256")?, content.map_err(|error| error.to_string())))
            })
            .collect()
    }

    async fn one(&self, sql: &'static str, key: String) -> Result<Option<Content>, StoreError> {
        let failed = "reading file contents";
        let row =
            sqlx::query(sql).bind(key).fetch_optional(&self.0.pool).await.map_err(StoreError::database(failed))?;
        row.as_ref().map(content).transpose()
    }
}

fn content(row: &AnyRow) -> Result<Content, StoreError> {
    let terms: Vec<u8> = row.try_get("terms").map_err(StoreError::database("reading file contents"))?;
    Ok(Content { record: record(row)?, terms: decode_terms(&terms)? })
}

fn record(row: &AnyRow) -> Result<ContentRecord, StoreError> {
    Ok(ContentRecord {
        sha256: parsed(row, "sha256")?,
        size_bytes: size(row, "size")?,
        file_hash: parsed(row, "file_hash")?,
    })
}

fn encode_terms(terms: &[Term]) -> Vec<u8> {
    let mut out = Vec::with_capacity(terms.len() * TERM_BYTES);
    for term in terms {
        out.extend_from_slice(term.xorb.as_bytes());
        for number in [term.start, term.end, term.unpacked_bytes] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }
    out
}

pub(super) fn decode_terms(data: &[u8]) -> Result<Vec<Term>, StoreError> {
    let (records, []) = data.as_chunks::<TERM_BYTES>() else {
        return Err(damaged("terms", &format!("{} bytes", data.len())));
    };
    let word = |record: &[u8; TERM_BYTES], at: usize| {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&record[at..at + 4]);
        u32::from_le_bytes(bytes)
    };
    Ok(records
        .iter()
        .map(|record| {
            let mut xorb = [0; 32];
            xorb.copy_from_slice(&record[..32]);
            Term {
                xorb: XetHash::from_bytes(xorb),
                start: word(record, 32),
                end: word(record, 36),
                unpacked_bytes: word(record, 40),
            }
        })
        .collect())
}
