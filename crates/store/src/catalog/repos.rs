//! Repositories.

use std::fmt;

use sqlx::any::AnyRow;
use sqlx::{Any, Row, Transaction};

use super::accounts::choice;
use super::{AuditEntry, Catalog, audit, insert_rows, number, parsed, placeholders, text};
use crate::StoreError;
use std::str::FromStr;

choice!(
    /// Kinds of repository.
    RepoKind {
        /// A model: the kind without a prefix in its URLs.
        Model = "model",
        /// A dataset, which differs only in its URL prefix.
        Dataset = "dataset",
    }
);

/// Stable internal id of a repository, 24 hexadecimal digits; survives renames.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepoKey(String);

impl RepoKey {
    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for RepoKey {
    fn from(key: String) -> Self {
        Self(key)
    }
}

impl fmt::Display for RepoKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoRecord {
    /// Internal id.
    pub key: RepoKey,
    /// Model or dataset.
    pub kind: RepoKind,
    /// `namespace/name`, or a legacy id of one segment, in the case it was created with.
    pub id: String,
    /// Id of the owning account.
    pub owner: String,
    /// Whether only its owner's people see it.
    pub private: bool,
    /// Milliseconds since 1970.
    pub created_at_ms: i64,
    /// Milliseconds since 1970 of the last commit or settings change.
    pub updated_at_ms: i64,
    /// Downloads counted.
    pub downloads: i64,
    /// What the card and the file names of the default branch say: one JSON object, written by the layer above.
    pub facts: String,
}

choice!(
    /// Orders of a listing, all descending.
    RepoSort {
        /// Last change first.
        Updated = "updated_at",
        /// Newest first.
        Created = "created_at",
        /// Most downloaded first.
        Downloads = "downloads",
    }
);

/// Who is looking: decides which private repositories exist for them.
#[derive(Debug, Clone, Default)]
pub struct Viewer {
    /// Account, unless anonymous.
    pub account: Option<String>,
    /// Sees everything.
    pub admin: bool,
    /// Private repositories are limited to these.
    pub only: Option<Vec<RepoKey>>,
}

/// A listing of repositories.
#[derive(Debug, Clone)]
pub struct RepoQuery {
    /// Model or dataset.
    pub kind: RepoKind,
    /// Text that the id contains, in any case.
    pub search: Option<String>,
    /// Namespace, in any case.
    pub author: Option<String>,
    /// Tags that must all be there.
    pub tags: Vec<String>,
    /// Fewest parameters; repositories of unknown size have none.
    pub min_parameters: Option<u64>,
    /// Most parameters.
    pub max_parameters: Option<u64>,
    /// Order.
    pub sort: RepoSort,
    /// Page size.
    pub limit: u32,
    /// Rows to skip.
    pub offset: u64,
}

/// Repositories.
#[derive(Debug)]
pub struct Repos<'a>(pub(super) &'a Catalog);

const ADDING: &str = "adding a repository";
const COLUMNS: &str = "r.key, r.kind, r.id, r.owner, r.private, r.created_at, r.updated_at, r.downloads, r.facts";

impl Repos<'_> {
    /// Adds a repository without any commit, which only tests want, and `entry` about it.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the id is taken in any case.
    #[cfg(test)]
    pub async fn add(&self, repo: &RepoRecord, entry: Option<AuditEntry>) -> Result<(), StoreError> {
        let mut tx = self.0.write().await?;
        insert(&mut tx, repo).await?;
        audit::append(&mut tx, entry).await?;
        tx.commit().await.map_err(StoreError::database(ADDING))
    }

    /// Repository of an id, in any case.
    pub async fn find(&self, kind: RepoKind, id: &str) -> Result<Option<RepoRecord>, StoreError> {
        let row = sqlx::query(sql!("SELECT {COLUMNS} FROM repos r WHERE r.kind = $1 AND r.folded = $2"))
            .bind(kind.as_str())
            .bind(id.to_lowercase())
            .fetch_optional(&self.0.pool)
            .await
            .map_err(StoreError::database("finding a repository"))?;
        row.as_ref().map(repo).transpose()
    }

    /// Repository of an internal id.
    pub async fn get(&self, key: &RepoKey) -> Result<Option<RepoRecord>, StoreError> {
        let row = sqlx::query(sql!("SELECT {COLUMNS} FROM repos r WHERE r.key = $1"))
            .bind(key.as_str())
            .fetch_optional(&self.0.pool)
            .await
            .map_err(StoreError::database("finding a repository"))?;
        row.as_ref().map(repo).transpose()
    }

    /// Repository of an id and where one of its refs points, in one question: the hot path of downloads.
    pub async fn find_with_ref(
        &self,
        kind: RepoKind,
        id: &str,
        ref_name: &str,
    ) -> Result<Option<(RepoRecord, Option<String>)>, StoreError> {
        let failed = "finding a repository";
        let row = sqlx::query(sql!(
            "SELECT {COLUMNS}, f.target FROM repos r LEFT JOIN refs f ON f.repo = r.key AND f.name = $3
             WHERE r.kind = $1 AND r.folded = $2"
        ))
        .bind(kind.as_str())
        .bind(id.to_lowercase())
        .bind(ref_name)
        .fetch_optional(&self.0.pool)
        .await
        .map_err(StoreError::database(failed))?;
        row.as_ref()
            .map(|row| Ok((repo(row)?, row.try_get("target").map_err(StoreError::database(failed))?)))
            .transpose()
    }

    /// Present id of the repository that once had this one.
    pub async fn redirect(&self, kind: RepoKind, id: &str) -> Result<Option<String>, StoreError> {
        sqlx::query_scalar(
            "SELECT r.id FROM redirects d JOIN repos r ON r.key = d.repo WHERE d.kind = $1 AND d.folded = $2",
        )
        .bind(kind.as_str())
        .bind(id.to_lowercase())
        .fetch_optional(&self.0.pool)
        .await
        .map_err(StoreError::database("finding a moved repository"))
    }

    /// Gives a repository a new id and owner, and records `entry`; the old id redirects.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the new id is taken.
    pub async fn rename(
        &self,
        repo: &RepoRecord,
        id: &str,
        owner: &str,
        entry: Option<AuditEntry>,
    ) -> Result<(), StoreError> {
        let failed = "moving a repository";
        let mut tx = self.0.write().await?;
        let moved = sqlx::query("UPDATE repos SET id = $2, folded = $3, owner = $4 WHERE key = $1")
            .bind(repo.key.as_str())
            .bind(id)
            .bind(id.to_lowercase())
            .bind(owner)
            .execute(&mut *tx)
            .await;
        match moved.map_err(StoreError::database(failed)) {
            Ok(_) => {}
            Err(StoreError::Exists { .. }) => {
                return Err(StoreError::Exists { what: format!("{} `{id}`", repo.kind) });
            }
            Err(error) => return Err(error),
        }
        sqlx::query("DELETE FROM redirects WHERE kind = $1 AND folded = $2")
            .bind(repo.kind.as_str())
            .bind(id.to_lowercase())
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database(failed))?;
        if id.to_lowercase() != repo.id.to_lowercase() {
            sqlx::query(
                "INSERT INTO redirects (kind, folded, repo) VALUES ($1, $2, $3)
                 ON CONFLICT (kind, folded) DO UPDATE SET repo = excluded.repo",
            )
            .bind(repo.kind.as_str())
            .bind(repo.id.to_lowercase())
            .bind(repo.key.as_str())
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database(failed))?;
        }
        audit::append(&mut tx, entry).await?;
        tx.commit().await.map_err(StoreError::database(failed))
    }

    /// Makes a repository private or public, and records `entry`; one that is gone stays gone.
    pub async fn set_private(
        &self,
        key: &RepoKey,
        private: bool,
        now_ms: i64,
        entry: Option<AuditEntry>,
    ) -> Result<(), StoreError> {
        let failed = "changing a repository";
        let mut tx = self.0.write().await?;
        let changed = sqlx::query("UPDATE repos SET private = $2, updated_at = $3 WHERE key = $1")
            .bind(key.as_str())
            .bind(i64::from(private))
            .bind(now_ms)
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database(failed))?;
        if changed.rows_affected() > 0 {
            audit::append(&mut tx, entry).await?;
        }
        tx.commit().await.map_err(StoreError::database(failed))
    }

    /// Replaces what the listing knows about a repository; `parameters` is 0 where the number is not known.
    pub async fn set_facts(
        &self,
        key: &RepoKey,
        facts: &str,
        tags: &[String],
        parameters: u64,
    ) -> Result<(), StoreError> {
        let failed = "describing a repository";
        let mut tx = self.0.write().await?;
        sqlx::query("UPDATE repos SET facts = $2, parameters = $3 WHERE key = $1")
            .bind(key.as_str())
            .bind(facts)
            .bind(i64::try_from(parameters).unwrap_or(i64::MAX))
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database(failed))?;
        sqlx::query("DELETE FROM repo_tags WHERE repo = $1")
            .bind(key.as_str())
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database(failed))?;
        let head = ("INSERT INTO repo_tags (repo, tag)", 2, "ON CONFLICT DO NOTHING");
        insert_rows(&mut tx, failed, head, tags, |q, tag| q.bind(key.as_str()).bind(tag)).await?;
        tx.commit().await.map_err(StoreError::database(failed))
    }

    /// Counts downloads.
    pub async fn add_downloads(&self, key: &RepoKey, count: i64) -> Result<(), StoreError> {
        sqlx::query("UPDATE repos SET downloads = downloads + $2 WHERE key = $1")
            .bind(key.as_str())
            .bind(count)
            .execute(&self.0.pool)
            .await
            .map_err(StoreError::database("counting downloads"))?;
        Ok(())
    }

    /// Removes a repository's names and history, and records `entry` when it was there; shared bytes stay for the garbage
    /// collector.
    pub async fn delete(&self, key: &RepoKey, entry: Option<AuditEntry>) -> Result<(), StoreError> {
        let failed = "deleting a repository";
        let mut tx = self.0.write().await?;
        for statement in [
            "DELETE FROM refs WHERE repo = $1",
            "DELETE FROM commits WHERE repo = $1",
            "DELETE FROM requests WHERE repo = $1",
            "DELETE FROM repo_contents WHERE repo = $1",
            "DELETE FROM repo_tags WHERE repo = $1",
            "DELETE FROM repo_sources WHERE repo = $1",
            "DELETE FROM repo_files WHERE repo = $1",
            "DELETE FROM conversion_outputs WHERE repo = $1",
            "DELETE FROM conversions WHERE repo = $1",
            "DELETE FROM advisory_matches WHERE repo = $1",
            "DELETE FROM advisory_notices WHERE repo = $1",
            "DELETE FROM condemned_history WHERE repo = $1",
            "DELETE FROM retention WHERE repo = $1",
            "DELETE FROM thinned_commits WHERE repo = $1",
            "DELETE FROM redirects WHERE repo = $1",
            "DELETE FROM token_repos WHERE repo = $1",
        ] {
            sqlx::query(statement).bind(key.as_str()).execute(&mut *tx).await.map_err(StoreError::database(failed))?;
        }
        let gone = sqlx::query("DELETE FROM repos WHERE key = $1").bind(key.as_str()).execute(&mut *tx).await;
        if gone.map_err(StoreError::database(failed))?.rows_affected() > 0 {
            audit::append(&mut tx, entry).await?;
        }
        tx.commit().await.map_err(StoreError::database(failed))
    }

    /// One page of the repositories that a viewer may see.
    pub async fn list(&self, query: &RepoQuery, viewer: &Viewer) -> Result<Vec<RepoRecord>, StoreError> {
        let mut binds = vec![query.kind.as_str().to_owned()];
        let mut sql = format!("SELECT {COLUMNS} FROM repos r WHERE r.kind = $1");
        if let Some(search) = &query.search {
            binds.push(format!("%{}%", escape_like(&search.to_lowercase())));
            sql += &format!(" AND r.folded LIKE ${} ESCAPE '!'", binds.len());
        }
        if let Some(author) = &query.author {
            binds.push(format!("{}/%", escape_like(&author.to_lowercase())));
            sql += &format!(" AND r.folded LIKE ${} ESCAPE '!'", binds.len());
        }
        for tag in &query.tags {
            binds.push(tag.clone());
            sql +=
                &format!(" AND EXISTS (SELECT 1 FROM repo_tags t WHERE t.repo = r.key AND t.tag = ${})", binds.len());
        }
        for (compare, bound) in [(">=", query.min_parameters), ("<=", query.max_parameters)] {
            // A number of this program's own making; what has no known size is in no range.
            if let Some(bound) = bound.map(|bound| i64::try_from(bound).unwrap_or(i64::MAX)) {
                sql += &format!(" AND r.parameters > 0 AND r.parameters {compare} {bound}");
            }
        }
        sql += &format!(" AND {}", viewer.sees(&mut binds));
        sql += &format!(
            " ORDER BY r.{} DESC, r.key LIMIT {} OFFSET {}",
            query.sort,
            query.limit,
            i64::try_from(query.offset).unwrap_or(i64::MAX)
        );
        let rows = self.0.ask("listing repositories", sql, &binds).await?;
        rows.iter().map(repo).collect()
    }

    /// Whether any repository that was given this content is visible to a viewer.
    pub async fn content_visible(&self, sha256: &str, viewer: &Viewer) -> Result<bool, StoreError> {
        let mut binds = vec![sha256.to_owned()];
        let sees = viewer.sees(&mut binds);
        let sql = format!(
            "SELECT 1 AS found FROM repo_contents c JOIN repos r ON r.key = c.repo WHERE c.sha256 = $1 AND {sees} LIMIT 1"
        );
        Ok(!self.0.ask("checking access", sql, &binds).await?.is_empty())
    }

    /// Those of `xorbs` whose bytes a viewer holds or may read.
    pub async fn visible_xorbs(&self, xorbs: &[String], viewer: &Viewer) -> Result<Vec<String>, StoreError> {
        let mut seen = Vec::new();
        for batch in xorbs.chunks(1_000) {
            let mut binds = batch.to_vec();
            let list = placeholders(1, batch.len());
            let mut own = "1 = 0".to_owned();
            if let (Some(account), None) = (&viewer.account, &viewer.only) {
                binds.push(account.clone());
                own = format!("h.account = ${}", binds.len());
            }
            let sees = viewer.sees(&mut binds);
            let sql = format!(
                "SELECT DISTINCT h.xorb FROM xorb_holders h LEFT JOIN repos r ON r.key = h.repo
                 WHERE h.xorb IN ({list}) AND ({own} OR (r.key IS NOT NULL AND {sees}))"
            );
            for row in &self.0.ask("checking access to chunks", sql, &binds).await? {
                seen.push(text(row, "xorb")?);
            }
        }
        Ok(seen)
    }
}

/// Adds the row of a repository.
///
/// # Errors
/// [`StoreError::Exists`] when the id is taken in any case.
pub(super) async fn insert(tx: &mut Transaction<'static, Any>, repo: &RepoRecord) -> Result<(), StoreError> {
    let added = sqlx::query(
        "INSERT INTO repos (key, kind, id, folded, owner, private, created_at, updated_at, downloads, facts)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (kind, folded) DO NOTHING",
    )
    .bind(repo.key.as_str())
    .bind(repo.kind.as_str())
    .bind(&repo.id)
    .bind(repo.id.to_lowercase())
    .bind(&repo.owner)
    .bind(i64::from(repo.private))
    .bind(repo.created_at_ms)
    .bind(repo.updated_at_ms)
    .bind(repo.downloads)
    .bind(&repo.facts)
    .execute(&mut **tx)
    .await
    .map_err(StoreError::database(ADDING))?;
    if added.rows_affected() == 0 {
        return Err(StoreError::Exists { what: format!("{} `{}`", repo.kind, repo.id) });
    }
    // A new repository takes over an id that a moved one left behind.
    sqlx::query("DELETE FROM redirects WHERE kind = $1 AND folded = $2")
        .bind(repo.kind.as_str())
        .bind(repo.id.to_lowercase())
        .execute(&mut **tx)
        .await
        .map_err(StoreError::database(ADDING))?;
    Ok(())
}

impl Viewer {
    /// Condition on `repos r`; appends what it binds.
    pub(super) fn sees(&self, binds: &mut Vec<String>) -> String {
        let mut private = match &self.account {
            _ if self.admin => "1 = 1".to_owned(),
            None => "1 = 0".to_owned(),
            Some(account) => {
                binds.push(account.clone());
                let n = binds.len();
                format!("(r.owner = ${n} OR r.owner IN (SELECT m.org FROM members m WHERE m.account = ${n}))")
            }
        };
        if let Some(only) = &self.only {
            let first = binds.len() + 1;
            binds.extend(only.iter().map(|key| key.as_str().to_owned()));
            let list = if only.is_empty() { "''".to_owned() } else { placeholders(first, only.len()) };
            private = format!("({private} AND r.key IN ({list}))");
        }
        format!("(r.private = 0 OR {private})")
    }
}

fn escape_like(text: &str) -> String {
    text.replace('!', "!!").replace('%', "!%").replace('_', "!_")
}

fn repo(row: &AnyRow) -> Result<RepoRecord, StoreError> {
    Ok(RepoRecord {
        key: RepoKey(text(row, "key")?),
        kind: parsed(row, "kind")?,
        id: text(row, "id")?,
        owner: text(row, "owner")?,
        private: number(row, "private")? != 0,
        created_at_ms: number(row, "created_at")?,
        updated_at_ms: number(row, "updated_at")?,
        downloads: number(row, "downloads")?,
        facts: text(row, "facts")?,
    })
}
