//! What the collector of garbage reads: everything on record, page by page, so that no statement runs for long.

use std::collections::HashMap;

use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};
use weighthouse_format::xet::hash::XetHash;

use super::contents::decode_terms;
use super::{Catalog, PackId, RefRecord, RepoKey, RepoKind, number, parsed, size, text};
use crate::StoreError;
use crate::digest::{GitOid, Sha256};
use crate::repo::commit::Commit;
use crate::repo::tree::Tree;

/// Rows of one page.
pub(crate) const PAGE: usize = 1_000;

/// What the collector reads.
#[derive(Debug)]
pub struct Garbage<'a>(pub(super) &'a Catalog);

/// A repository by its names.
#[derive(Debug, Clone)]
pub(crate) struct RepoName {
    pub key: RepoKey,
    pub kind: RepoKind,
    pub id: String,
}

/// A commit as far as reachability goes.
#[derive(Debug, Clone)]
pub(crate) struct CommitLinks {
    pub oid: GitOid,
    pub tree: GitOid,
    pub parents: Vec<GitOid>,
}

/// The history of a repository.
#[derive(Debug)]
pub(crate) struct RepoHistory {
    pub refs: Vec<RefRecord>,
    pub commits: Vec<CommitLinks>,
    /// Commits that were condemned, and when.
    pub condemned: HashMap<GitOid, i64>,
    /// Commits whose large files are not kept.
    pub thinned: HashMap<GitOid, String>,
}

/// A content as far as reachability goes.
#[derive(Debug)]
pub(crate) struct ContentRow {
    pub sha256: Sha256,
    pub size_bytes: u64,
    pub condemned_at_ms: i64,
    /// Each xorb once.
    pub xorbs: Vec<XetHash>,
}

/// A xorb as far as space goes.
#[derive(Debug)]
pub(crate) struct XorbRow {
    pub hash: XetHash,
    pub pack: PackId,
    pub stored_bytes: u64,
    pub condemned_at_ms: i64,
}

/// A xorb that needs a content to be decoded.
#[derive(Debug, Clone)]
pub(crate) struct BaseRow {
    pub xorb: XetHash,
    pub codec: String,
    pub base: Sha256,
    /// When the xorb was condemned.
    pub condemned_at_ms: i64,
}

/// A row of history, and when it was condemned.
#[derive(Debug)]
pub(crate) struct HistoryRow {
    pub oid: GitOid,
    pub condemned_at_ms: i64,
}

impl Garbage<'_> {
    /// Repositories after a key, in the order of keys.
    pub(crate) async fn repos(&self, after: &str) -> Result<Vec<RepoName>, StoreError> {
        let rows = sqlx::query("SELECT key, kind, id FROM repos WHERE key > $1 ORDER BY key LIMIT 1000")
            .bind(after)
            .fetch_all(&self.0.pool)
            .await
            .map_err(StoreError::database("listing repositories"))?;
        rows.iter()
            .map(|row| {
                Ok(RepoName { key: RepoKey::from(text(row, "key")?), kind: parsed(row, "kind")?, id: text(row, "id")? })
            })
            .collect()
    }

    /// Refs and commits of a repository.
    pub(crate) async fn history(&self, repo: &RepoKey) -> Result<RepoHistory, StoreError> {
        let failed = "reading a history";
        // Commits first: what a ref names later than this is found missing and read again.
        let mut commits = Vec::new();
        let mut after = String::new();
        loop {
            let rows =
                sqlx::query("SELECT oid, data FROM commits WHERE repo = $1 AND oid > $2 ORDER BY oid LIMIT 1000")
                    .bind(repo.as_str())
                    .bind(&after)
                    .fetch_all(&self.0.pool)
                    .await
                    .map_err(StoreError::database(failed))?;
            for row in &rows {
                let oid: GitOid = parsed(row, "oid")?;
                let data: Vec<u8> = row.try_get("data").map_err(StoreError::database(failed))?;
                let commit = Commit::decode(&oid, &data)?;
                commits.push(CommitLinks { oid, tree: commit.tree, parents: commit.parents });
            }
            match rows.last() {
                Some(last) if rows.len() == PAGE => after = text(last, "oid")?,
                _ => break,
            }
        }
        let condemned =
            sqlx::query("SELECT oid, condemned_at FROM condemned_history WHERE kind = 'commit' AND repo = $1")
                .bind(repo.as_str())
                .fetch_all(&self.0.pool)
                .await
                .map_err(StoreError::database(failed))?;
        let thinned = sqlx::query("SELECT oid, rule FROM thinned_commits WHERE repo = $1")
            .bind(repo.as_str())
            .fetch_all(&self.0.pool)
            .await
            .map_err(StoreError::database(failed))?;
        Ok(RepoHistory {
            refs: self.0.refs().list(repo).await?,
            commits,
            condemned: condemned
                .iter()
                .map(|row| Ok((parsed(row, "oid")?, number(row, "condemned_at")?)))
                .collect::<Result<_, StoreError>>()?,
            thinned: thinned
                .iter()
                .map(|row| Ok((parsed(row, "oid")?, text(row, "rule")?)))
                .collect::<Result<_, StoreError>>()?,
        })
    }

    /// Trees by their ids, past the cache.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when one is missing or does not parse.
    pub(crate) async fn trees(&self, oids: &[GitOid]) -> Result<Vec<(GitOid, Tree)>, StoreError> {
        let failed = "reading trees";
        let tree = |row: &AnyRow| {
            let oid: GitOid = parsed(row, "oid")?;
            let data: Vec<u8> = row.try_get("data").map_err(StoreError::database(failed))?;
            Ok((oid, Tree::decode(&oid, &data)?))
        };
        let found = self.0.look_up(failed, ("SELECT oid, data FROM trees WHERE oid IN", ""), oids, tree).await?;
        if found.len() != oids.len() {
            let seen: std::collections::HashSet<GitOid> = found.iter().map(|(oid, _)| *oid).collect();
            if let Some(missing) = oids.iter().find(|oid| !seen.contains(oid)) {
                return Err(StoreError::Corrupt {
                    what: format!("tree {missing}"),
                    detail: "it is missing".to_owned(),
                });
            }
        }
        Ok(found)
    }

    /// Contents that a repository was given, after a digest, and when.
    pub(crate) async fn given(&self, repo: &RepoKey, after: &str) -> Result<Vec<(Sha256, i64)>, StoreError> {
        let rows = sqlx::query(
            "SELECT sha256, given_at FROM repo_contents WHERE repo = $1 AND sha256 > $2 ORDER BY sha256 LIMIT 1000",
        )
        .bind(repo.as_str())
        .bind(after)
        .fetch_all(&self.0.pool)
        .await
        .map_err(StoreError::database("listing what a repository was given"))?;
        rows.iter().map(|row| Ok((parsed(row, "sha256")?, number(row, "given_at")?))).collect()
    }

    /// Contents of conversions that are kept, after a position.
    pub(crate) async fn converted(
        &self,
        after: &(String, String, i64),
        unused_before_ms: i64,
    ) -> Result<Vec<((String, String, i64), Sha256)>, StoreError> {
        let rows = sqlx::query(
            "SELECT o.repo, o.key, o.number, o.sha256 FROM conversion_outputs o
             JOIN conversions c ON c.repo = o.repo AND c.key = o.key
             WHERE c.used_at >= $4 AND (o.repo, o.key, o.number) > ($1, $2, $3)
             ORDER BY o.repo, o.key, o.number LIMIT 1000",
        )
        .bind(&after.0)
        .bind(&after.1)
        .bind(after.2)
        .bind(unused_before_ms)
        .fetch_all(&self.0.pool)
        .await
        .map_err(StoreError::database("listing what was converted"))?;
        rows.iter()
            .map(|row| Ok(((text(row, "repo")?, text(row, "key")?, number(row, "number")?), parsed(row, "sha256")?)))
            .collect()
    }

    /// Contents that uploads under way will bring.
    pub(crate) async fn uploading(&self) -> Result<Vec<Sha256>, StoreError> {
        let rows = sqlx::query("SELECT sha256 FROM uploads")
            .fetch_all(&self.0.pool)
            .await
            .map_err(StoreError::database("listing uploads"))?;
        rows.iter().map(|row| parsed(row, "sha256")).collect()
    }

    /// Contents after a digest.
    pub(crate) async fn contents(&self, after: &str) -> Result<Vec<ContentRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT sha256, size, condemned_at, terms FROM contents WHERE sha256 > $1 ORDER BY sha256 LIMIT 1000",
        )
        .bind(after)
        .fetch_all(&self.0.pool)
        .await
        .map_err(StoreError::database("listing contents"))?;
        rows.iter().map(content).collect()
    }

    /// Those of `digests` that are on record.
    pub(crate) async fn some_contents(&self, digests: &[Sha256]) -> Result<Vec<ContentRow>, StoreError> {
        let statement = ("SELECT sha256, size, condemned_at, terms FROM contents WHERE sha256 IN", "");
        self.0.look_up("listing contents", statement, digests, content).await
    }

    /// Xorbs after a hash.
    pub(crate) async fn xorbs(&self, after: &str) -> Result<Vec<XorbRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT hash, pack, body_len + index_len AS stored, condemned_at FROM xorbs
             WHERE hash > $1 ORDER BY hash LIMIT 1000",
        )
        .bind(after)
        .fetch_all(&self.0.pool)
        .await
        .map_err(StoreError::database("listing xorbs"))?;
        rows.iter()
            .map(|row| {
                Ok(XorbRow {
                    hash: parsed(row, "hash")?,
                    pack: PackId::from_row(row, "pack")?,
                    stored_bytes: size(row, "stored")?,
                    condemned_at_ms: number(row, "condemned_at")?,
                })
            })
            .collect()
    }

    /// Xorbs that need a content, after one of them.
    pub(crate) async fn bases(&self, after: Option<&BaseRow>) -> Result<Vec<BaseRow>, StoreError> {
        let (xorb, codec, base) = match after {
            Some(row) => (row.xorb.to_string(), row.codec.clone(), row.base.to_string()),
            None => Default::default(),
        };
        let rows = sqlx::query(
            "SELECT m.xorb, m.codec, m.base, x.condemned_at FROM xorb_makeup m JOIN xorbs x ON x.hash = m.xorb
             WHERE m.base <> '' AND (m.xorb, m.codec, m.base) > ($1, $2, $3)
             ORDER BY m.xorb, m.codec, m.base LIMIT 1000",
        )
        .bind(xorb)
        .bind(codec)
        .bind(base)
        .fetch_all(&self.0.pool)
        .await
        .map_err(StoreError::database("listing bases"))?;
        rows.iter()
            .map(|row| {
                Ok(BaseRow {
                    xorb: parsed(row, "xorb")?,
                    codec: text(row, "codec")?,
                    base: parsed(row, "base")?,
                    condemned_at_ms: number(row, "condemned_at")?,
                })
            })
            .collect()
    }

    /// Repositories that hold xorbs.
    pub(crate) async fn holders(&self, xorbs: &[XetHash]) -> Result<Vec<(XetHash, RepoKey)>, StoreError> {
        let statement = ("SELECT DISTINCT xorb, repo FROM xorb_holders WHERE xorb IN", " ORDER BY xorb, repo");
        let holder = |row: &AnyRow| Ok((parsed(row, "xorb")?, RepoKey::from(text(row, "repo")?)));
        self.0.look_up("finding holders", statement, xorbs, holder).await
    }

    /// Trees or blobs after an id, and when they were condemned.
    pub(crate) async fn history_rows(&self, kind: HistoryKind, after: &str) -> Result<Vec<HistoryRow>, StoreError> {
        let (name, table) = kind.names();
        let sql = format!(
            "SELECT t.oid, COALESCE(c.condemned_at, 0) AS condemned_at FROM {table} t
             LEFT JOIN condemned_history c ON c.kind = $1 AND c.repo = '' AND c.oid = t.oid
             WHERE t.oid > $2 ORDER BY t.oid LIMIT 1000"
        );
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(name)
            .bind(after)
            .fetch_all(&self.0.pool)
            .await
            .map_err(StoreError::database("listing history"))?;
        rows.iter()
            .map(|row| Ok(HistoryRow { oid: parsed(row, "oid")?, condemned_at_ms: number(row, "condemned_at")? }))
            .collect()
    }
}

/// Kinds of history that repositories share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HistoryKind {
    Tree,
    Blob,
}

impl HistoryKind {
    /// Name in `condemned_history`, and the table.
    pub(super) fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Tree => ("tree", "trees"),
            Self::Blob => ("blob", "blobs"),
        }
    }
}

fn content(row: &AnyRow) -> Result<ContentRow, StoreError> {
    let terms: Vec<u8> = row.try_get("terms").map_err(StoreError::database("listing contents"))?;
    let mut xorbs: Vec<XetHash> = decode_terms(&terms)?.iter().map(|term| term.xorb).collect();
    xorbs.sort_unstable();
    xorbs.dedup();
    Ok(ContentRow {
        sha256: parsed(row, "sha256")?,
        size_bytes: size(row, "size")?,
        condemned_at_ms: number(row, "condemned_at")?,
        xorbs,
    })
}
