//! Advisories, the feeds that they come from, and the commits that they concern.

use sqlx::any::AnyRow;
use sqlx::{Any, AssertSqlSafe, Transaction};

use super::{AuditEntry, Catalog, LOOKUP_KEYS, RepoKey, audit, insert_rows, jobs, number, parsed, placeholders, text};
use crate::StoreError;
use crate::digest::{GitOid, Sha256};

/// Subject of the job that matches all advisories with everything that is stored.
pub const EVERYTHING: &str = "everything";

/// A feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedRecord {
    /// Name, unique.
    pub name: String,
    /// Where it is read from, in the words of whoever asked for it.
    pub place: String,
    /// Repository of this hub that it is read from.
    pub repo: Option<RepoKey>,
    /// Digest over what was read.
    pub digest: Sha256,
    /// Number of its advisories.
    pub advisories: u64,
    /// Milliseconds since 1970 at which it was taken in.
    pub imported_at_ms: i64,
}

/// An advisory on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdvisoryRecord {
    /// Id, unique.
    pub id: String,
    /// Feed that it comes from.
    pub feed: String,
    /// One JSON object.
    pub document: String,
}

/// That an advisory concerns a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatchRecord {
    /// Repository.
    pub repo: RepoKey,
    /// Commit.
    pub commit: GitOid,
    /// Id of the advisory.
    pub advisory: String,
    /// How grave it is.
    pub severity: String,
    /// JSON of the layer above.
    pub evidence: String,
    /// Milliseconds since 1970 at which it was found first.
    pub found_at_ms: i64,
}

/// How much the advisories of a feed concern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedReach {
    /// Name of the feed.
    pub feed: String,
    /// Repositories.
    pub repos: u64,
    /// Commits.
    pub commits: u64,
}

/// What the owners of a repository are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticeRecord {
    /// Repository.
    pub repo: RepoKey,
    /// Id of the advisory.
    pub advisory: String,
    /// Milliseconds since 1970 at which it was found first.
    pub noticed_at_ms: i64,
    /// When somebody took note; `None` before that.
    pub seen_at_ms: Option<i64>,
}

/// Advisories.
#[derive(Debug)]
pub struct Advisories<'a>(pub(super) &'a Catalog);

impl Advisories<'_> {
    /// Takes a feed in, in the place of what it said before, asks for everything to be matched again, and records `entry`.
    /// `false` when it says what it said before: nothing is changed then.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when another feed has an advisory of the same id; nothing is changed then.
    pub async fn put_feed(
        &self,
        feed: &FeedRecord,
        advisories: &[AdvisoryRecord],
        entry: Option<AuditEntry>,
    ) -> Result<bool, StoreError> {
        let failed = "taking in advisories";
        let mut tx = self.0.write().await?;
        let known: Option<String> =
            sqlx::query_scalar("SELECT digest FROM advisory_feeds WHERE name = $1 AND place = $2")
                .bind(&feed.name)
                .bind(&feed.place)
                .fetch_optional(&mut *tx)
                .await
                .map_err(StoreError::database(failed))?;
        if known == Some(feed.digest.to_string()) {
            return Ok(false);
        }
        remove(&mut tx, &feed.name).await?;
        for batch in advisories.chunks(LOOKUP_KEYS) {
            let list = placeholders(1, batch.len());
            let query =
                sqlx::query_scalar(AssertSqlSafe(format!("SELECT MIN(id) FROM advisories WHERE id IN ({list})")));
            let query = batch.iter().fold(query.persistent(false), |query, advisory| query.bind(&advisory.id));
            let taken: Option<String> = query.fetch_one(&mut *tx).await.map_err(StoreError::database(failed))?;
            if let Some(id) = taken {
                return Err(StoreError::Exists { what: format!("advisory `{id}` of another feed") });
            }
        }
        sqlx::query(
            "INSERT INTO advisory_feeds (name, place, repo, digest, advisories, imported_at) VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(&feed.name)
        .bind(&feed.place)
        .bind(feed.repo.as_ref().map_or("", RepoKey::as_str))
        .bind(feed.digest.to_string())
        .bind(feed.advisories.cast_signed())
        .bind(feed.imported_at_ms)
        .execute(&mut *tx)
        .await
        .map_err(StoreError::database(failed))?;
        let head = ("INSERT INTO advisories (id, feed, document)", 3, "");
        insert_rows(&mut tx, failed, head, advisories, |query, advisory| {
            query.bind(&advisory.id).bind(&advisory.feed).bind(&advisory.document)
        })
        .await?;
        jobs::add(&mut tx, jobs::ADVISE, EVERYTHING, feed.imported_at_ms).await?;
        audit::append(&mut tx, entry).await?;
        tx.commit().await.map_err(StoreError::database(failed))?;
        Ok(true)
    }

    /// Removes a feed with its advisories, asks for everything to be matched again, and records `entry`; `false` when there
    /// is none.
    pub async fn remove_feed(&self, name: &str, now_ms: i64, entry: Option<AuditEntry>) -> Result<bool, StoreError> {
        let mut tx = self.0.write().await?;
        if !remove(&mut tx, name).await? {
            return Ok(false);
        }
        jobs::add(&mut tx, jobs::ADVISE, EVERYTHING, now_ms).await?;
        audit::append(&mut tx, entry).await?;
        tx.commit().await.map_err(StoreError::database("removing a feed"))?;
        Ok(true)
    }

    /// All feeds, by name.
    pub async fn feeds(&self) -> Result<Vec<FeedRecord>, StoreError> {
        let rows = sqlx::query("SELECT * FROM advisory_feeds ORDER BY name").fetch_all(&self.0.pool).await;
        rows.map_err(StoreError::database("listing feeds"))?.iter().map(feed).collect()
    }

    /// Whether there is any advisory, or any feed in this repository.
    pub async fn concern(&self, repo: &RepoKey) -> Result<bool, StoreError> {
        let found = sqlx::query(
            "SELECT 1 AS one WHERE EXISTS (SELECT 1 FROM advisories) OR EXISTS (SELECT 1 FROM advisory_feeds WHERE repo = $1)",
        )
        .bind(repo.as_str())
        .fetch_optional(&self.0.pool)
        .await
        .map_err(StoreError::database("looking for advisories"))?;
        Ok(found.is_some())
    }

    /// All advisories, by id.
    pub async fn all(&self) -> Result<Vec<AdvisoryRecord>, StoreError> {
        let rows = sqlx::query("SELECT * FROM advisories ORDER BY id").fetch_all(&self.0.pool).await;
        rows.map_err(StoreError::database("reading advisories"))?.iter().map(advisory).collect()
    }

    /// An advisory.
    pub async fn get(&self, id: &str) -> Result<Option<AdvisoryRecord>, StoreError> {
        let row = sqlx::query("SELECT * FROM advisories WHERE id = $1").bind(id).fetch_optional(&self.0.pool).await;
        row.map_err(StoreError::database("looking for an advisory"))?.as_ref().map(advisory).transpose()
    }

    /// Records which advisories concern a commit, in the place of what was found before. Owners are told once of each.
    pub async fn set_matches(
        &self,
        repo: &RepoKey,
        commit: &GitOid,
        found: &[MatchRecord],
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let failed = "recording what advisories concern";
        let mut tx = self.0.write().await?;
        let known = sqlx::query("SELECT advisory, found_at FROM advisory_matches WHERE repo = $1 AND commit_oid = $2")
            .bind(repo.as_str())
            .bind(commit.to_string())
            .fetch_all(&mut *tx)
            .await
            .map_err(StoreError::database(failed))?;
        let known: Vec<(String, i64)> = known
            .iter()
            .map(|row| Ok((text(row, "advisory")?, number(row, "found_at")?)))
            .collect::<Result<_, StoreError>>()?;
        sqlx::query("DELETE FROM advisory_matches WHERE repo = $1 AND commit_oid = $2")
            .bind(repo.as_str())
            .bind(commit.to_string())
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database(failed))?;
        let head = ("INSERT INTO advisory_matches (repo, commit_oid, advisory, severity, evidence, found_at)", 6, "");
        insert_rows(&mut tx, failed, head, found, |query, found| {
            let since = known.iter().find(|(advisory, _)| *advisory == found.advisory).map_or(now_ms, |known| known.1);
            query
                .bind(repo.as_str())
                .bind(commit.to_string())
                .bind(&found.advisory)
                .bind(&found.severity)
                .bind(&found.evidence)
                .bind(since)
        })
        .await?;
        let head = (
            "INSERT INTO advisory_notices (repo, advisory, noticed_at, seen_at)",
            4,
            "ON CONFLICT (repo, advisory) DO NOTHING",
        );
        insert_rows(&mut tx, failed, head, found, |query, found| {
            query.bind(repo.as_str()).bind(&found.advisory).bind(now_ms).bind(0i64)
        })
        .await?;
        // What concerns no commit any more is no news.
        sqlx::query(
            "DELETE FROM advisory_notices WHERE repo = $1
             AND advisory NOT IN (SELECT advisory FROM advisory_matches WHERE repo = $1)",
        )
        .bind(repo.as_str())
        .execute(&mut *tx)
        .await
        .map_err(StoreError::database(failed))?;
        tx.commit().await.map_err(StoreError::database(failed))
    }

    /// What concerns a repository: one commit of it, or any.
    pub async fn matches(&self, repo: &RepoKey, commit: Option<&GitOid>) -> Result<Vec<MatchRecord>, StoreError> {
        let one = commit.map(GitOid::to_string).unwrap_or_default();
        let rows = sqlx::query(
            "SELECT * FROM advisory_matches WHERE repo = $1 AND ($2 = '' OR commit_oid = $2) ORDER BY advisory, commit_oid",
        )
        .bind(repo.as_str())
        .bind(one)
        .fetch_all(&self.0.pool)
        .await
        .map_err(StoreError::database("reading what advisories concern"))?;
        rows.iter().map(matched).collect()
    }

    /// What concerns any repository, by advisory, repository and commit; those after `after`, at most `limit`.
    pub async fn all_matches(
        &self,
        after: Option<(&str, &RepoKey, &GitOid)>,
        limit: u32,
    ) -> Result<Vec<MatchRecord>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM advisory_matches WHERE (advisory, repo, commit_oid) > ($1, $2, $3)
             ORDER BY advisory, repo, commit_oid LIMIT $4",
        )
        .bind(after.map_or("", |(advisory, ..)| advisory))
        .bind(after.map_or("", |(_, repo, _)| repo.as_str()))
        .bind(after.map(|(.., commit)| commit.to_string()).unwrap_or_default())
        .bind(i64::from(limit))
        .fetch_all(&self.0.pool)
        .await;
        rows.map_err(StoreError::database("reading what advisories concern"))?.iter().map(matched).collect()
    }

    /// How much the advisories of each feed concern; feeds that concern nothing are left out.
    pub async fn concerned_by_feed(&self) -> Result<Vec<FeedReach>, StoreError> {
        let rows = sqlx::query(
            "SELECT a.feed AS feed, COUNT(DISTINCT m.repo) AS repos, COUNT(DISTINCT m.repo || m.commit_oid) AS commits
             FROM advisory_matches m JOIN advisories a ON a.id = m.advisory GROUP BY a.feed",
        )
        .fetch_all(&self.0.pool)
        .await
        .map_err(StoreError::database("counting what advisories concern"))?;
        let reach = |row: &AnyRow| {
            Ok(FeedReach {
                feed: text(row, "feed")?,
                repos: super::size(row, "repos")?,
                commits: super::size(row, "commits")?,
            })
        };
        rows.iter().map(reach).collect()
    }

    /// What the owners of a repository are told.
    pub async fn notices(&self, repo: &RepoKey) -> Result<Vec<NoticeRecord>, StoreError> {
        let rows = sqlx::query("SELECT * FROM advisory_notices WHERE repo = $1 ORDER BY advisory")
            .bind(repo.as_str())
            .fetch_all(&self.0.pool)
            .await
            .map_err(StoreError::database("reading notices"))?;
        rows.iter().map(notice).collect()
    }

    /// Notes that an owner has taken note; `false` when there is no such notice.
    pub async fn see_notice(&self, repo: &RepoKey, advisory: &str, now_ms: i64) -> Result<bool, StoreError> {
        let done = sqlx::query("UPDATE advisory_notices SET seen_at = $3 WHERE repo = $1 AND advisory = $2")
            .bind(repo.as_str())
            .bind(advisory)
            .bind(now_ms)
            .execute(&self.0.pool)
            .await
            .map_err(StoreError::database("taking note"))?;
        Ok(done.rows_affected() > 0)
    }

    /// Repositories behind `after`, by key.
    pub async fn repos_after(&self, after: &str, limit: u32) -> Result<Vec<RepoKey>, StoreError> {
        let sql = format!("SELECT key FROM repos WHERE key > $1 ORDER BY key LIMIT {limit}");
        let rows = sqlx::query(AssertSqlSafe(sql)).bind(after).fetch_all(&self.0.pool).await;
        let rows = rows.map_err(StoreError::database("listing repositories"))?;
        rows.iter().map(|row| Ok(RepoKey::from(text(row, "key")?))).collect()
    }

    /// Repositories that have been given one of these contents.
    pub async fn repos_with_files(&self, digests: &[String]) -> Result<Vec<RepoKey>, StoreError> {
        self.repos_with("SELECT DISTINCT repo FROM repo_contents WHERE sha256 IN", digests).await
    }

    /// Repositories that have one of these tensors.
    pub async fn repos_with_tensors(&self, digests: &[String]) -> Result<Vec<RepoKey>, StoreError> {
        self.repos_with(
            "SELECT DISTINCT p.repo AS repo FROM tensors t JOIN repo_sources p ON p.source = t.source WHERE t.hash IN",
            digests,
        )
        .await
    }

    async fn repos_with(&self, head: &'static str, digests: &[String]) -> Result<Vec<RepoKey>, StoreError> {
        let repo = |row: &AnyRow| Ok(RepoKey::from(text(row, "repo")?));
        let mut found = self.0.look_up("looking for what is named", (head, ""), digests, repo).await?;
        found.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        found.dedup();
        Ok(found)
    }

    /// Commits of a repository: those that refs point at, those that an advisory concerned, and with `all` the others too,
    /// at most `limit` of each.
    pub async fn commits_of(&self, repo: &RepoKey, all: bool, limit: u32) -> Result<Vec<GitOid>, StoreError> {
        let every = if all { "UNION SELECT oid AS target FROM commits WHERE repo = $1" } else { "" };
        let sql = format!(
            "SELECT target FROM (SELECT target FROM refs WHERE repo = $1
             UNION SELECT commit_oid AS target FROM advisory_matches WHERE repo = $1 {every}) AS found
             ORDER BY target LIMIT {limit}"
        );
        let rows = sqlx::query(AssertSqlSafe(sql)).bind(repo.as_str()).fetch_all(&self.0.pool).await;
        let rows = rows.map_err(StoreError::database("listing commits"))?;
        rows.iter().map(|row| parsed(row, "target")).collect()
    }

    /// Those of these tensors that a repository has: digest of the source, the commit where it was seen last, hash, name.
    pub async fn named_tensors(
        &self,
        repo: &RepoKey,
        hashes: &[String],
    ) -> Result<Vec<(Sha256, GitOid, String, String)>, StoreError> {
        let head = "SELECT s.digest AS digest, p.commit_oid AS commit_oid, t.hash AS hash, t.name AS name
                    FROM repo_sources p JOIN tensor_sources s ON s.id = p.source JOIN tensors t ON t.source = p.source
                    WHERE p.repo = $1 AND t.hash IN";
        let statement = (head, " LIMIT 10000");
        let named = |row: &AnyRow| {
            Ok((parsed(row, "digest")?, parsed(row, "commit_oid")?, text(row, "hash")?, text(row, "name")?))
        };
        self.0.look_up_in("looking for tensors that are named", statement, &[repo.as_str()], hashes, named).await
    }
}

async fn remove(tx: &mut Transaction<'static, Any>, name: &str) -> Result<bool, StoreError> {
    let failed = "removing a feed";
    sqlx::query("DELETE FROM advisories WHERE feed = $1")
        .bind(name)
        .execute(&mut **tx)
        .await
        .map_err(StoreError::database(failed))?;
    let removed = sqlx::query("DELETE FROM advisory_feeds WHERE name = $1")
        .bind(name)
        .execute(&mut **tx)
        .await
        .map_err(StoreError::database(failed))?;
    Ok(removed.rows_affected() > 0)
}

fn feed(row: &AnyRow) -> Result<FeedRecord, StoreError> {
    Ok(FeedRecord {
        name: text(row, "name")?,
        place: text(row, "place")?,
        repo: Some(text(row, "repo")?).filter(|repo| !repo.is_empty()).map(RepoKey::from),
        digest: parsed(row, "digest")?,
        advisories: super::size(row, "advisories")?,
        imported_at_ms: number(row, "imported_at")?,
    })
}

fn advisory(row: &AnyRow) -> Result<AdvisoryRecord, StoreError> {
    Ok(AdvisoryRecord { id: text(row, "id")?, feed: text(row, "feed")?, document: text(row, "document")? })
}

fn matched(row: &AnyRow) -> Result<MatchRecord, StoreError> {
    Ok(MatchRecord {
        repo: RepoKey::from(text(row, "repo")?),
        commit: parsed(row, "commit_oid")?,
        advisory: text(row, "advisory")?,
        severity: text(row, "severity")?,
        evidence: text(row, "evidence")?,
        found_at_ms: number(row, "found_at")?,
    })
}

fn notice(row: &AnyRow) -> Result<NoticeRecord, StoreError> {
    Ok(NoticeRecord {
        repo: RepoKey::from(text(row, "repo")?),
        advisory: text(row, "advisory")?,
        noticed_at_ms: number(row, "noticed_at")?,
        seen_at_ms: Some(number(row, "seen_at")?).filter(|&at| at != 0),
    })
}
