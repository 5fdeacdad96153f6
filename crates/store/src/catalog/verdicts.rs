//! What the scanner says of files and of trees; the sentences are JSON of the layer above.
//!
//! A verdict belongs to a content and the path under which it was judged, and to the surroundings when the scanner looked at
//! files beside it: then it holds in that tree only. Nothing here decides anything; what has no row waits.

use sqlx::AssertSqlSafe;
use sqlx::any::AnyRow;

use super::{Catalog, LOOKUP_KEYS, RepoKey, damaged, insert_rows, jobs, number, parsed, text};
use crate::StoreError;
use crate::digest::{GitOid, Sha256};

/// Surroundings of what waits.
const WAITS: &str = "-";
/// Setting with the newest rules that everything was asked to be judged by.
const SETTING: &str = "judged_by_rules";

/// Verdicts.
#[derive(Debug)]
pub struct Verdicts<'a>(pub(super) &'a Catalog);

/// The verdict on a file, without its report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerdictRecord {
    /// The content.
    pub sha256: Sha256,
    /// Path under which it was judged.
    pub path: String,
    /// Tree that it was judged in, when files beside it were looked at.
    pub surroundings: Option<GitOid>,
    /// The verdict, in the spelling of the layer above.
    pub verdict: String,
    /// Version of the rules.
    pub rules: u32,
    /// Version of the scanner.
    pub scanner: String,
    /// When it was judged, in milliseconds since 1970.
    pub judged_at_ms: i64,
    /// JSON of the layer above, short.
    pub facts: String,
}

/// A verdict and its report, to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewVerdict {
    /// The verdict.
    pub record: VerdictRecord,
    /// JSON of the layer above; empty when it says no more than the facts.
    pub report: String,
}

const COLUMNS: &str = "v.sha256, v.path, v.surroundings, v.verdict, v.rules, v.scanner, v.judged_at, v.facts";

impl Verdicts<'_> {
    /// Records verdicts, and that a repository has these contents under these paths, all together. A verdict of newer rules
    /// than these stays.
    pub async fn add(&self, repo: &RepoKey, new: &[NewVerdict]) -> Result<(), StoreError> {
        let failed = "recording verdicts";
        let mut sorted: Vec<&NewVerdict> = new.iter().collect();
        sorted.sort_unstable_by_key(|new| (new.record.sha256, &new.record.path));
        let mut tx = self.0.write().await?;
        let head = "INSERT INTO verdicts
            (sha256, path, surroundings, verdict, rules, scanner, judged_at, facts, report)";
        let tail = "ON CONFLICT (sha256, path, surroundings) DO UPDATE SET
                verdict = excluded.verdict, rules = excluded.rules, scanner = excluded.scanner,
                judged_at = excluded.judged_at, facts = excluded.facts, report = excluded.report
            WHERE excluded.rules >= verdicts.rules";
        insert_rows(&mut tx, failed, (head, 9, tail), &sorted, |q, new| {
            q.bind(new.record.sha256.to_string())
                .bind(&new.record.path)
                .bind(surroundings(new.record.surroundings))
                .bind(&new.record.verdict)
                .bind(i64::from(new.record.rules))
                .bind(&new.record.scanner)
                .bind(new.record.judged_at_ms)
                .bind(&new.record.facts)
                .bind(&new.report)
        })
        .await?;
        let head = "INSERT INTO repo_files (repo, sha256, path, surroundings)";
        let tail = "ON CONFLICT (repo, sha256, path) DO UPDATE SET surroundings = excluded.surroundings";
        insert_rows(&mut tx, failed, (head, 4, tail), &sorted, |q, new| {
            q.bind(repo.as_str())
                .bind(new.record.sha256.to_string())
                .bind(&new.record.path)
                .bind(surroundings(new.record.surroundings))
        })
        .await?;
        tx.commit().await.map_err(StoreError::database(failed))
    }

    /// Notes that a repository has contents under paths whose verdicts are on record.
    pub async fn note(&self, repo: &RepoKey, found: &[VerdictRecord]) -> Result<(), StoreError> {
        let failed = "recording what was judged";
        let mut tx = self.0.write().await?;
        let head = "INSERT INTO repo_files (repo, sha256, path, surroundings)";
        let tail = "ON CONFLICT (repo, sha256, path) DO UPDATE SET surroundings = excluded.surroundings";
        insert_rows(&mut tx, failed, (head, 4, tail), found, |q, record| {
            q.bind(repo.as_str())
                .bind(record.sha256.to_string())
                .bind(&record.path)
                .bind(surroundings(record.surroundings))
        })
        .await?;
        tx.commit().await.map_err(StoreError::database(failed))
    }

    /// The verdicts that hold for files of a tree, in no particular order; files without one are left out.
    pub async fn of_files(&self, tree: &GitOid, files: &[(Sha256, &str)]) -> Result<Vec<VerdictRecord>, StoreError> {
        let mut found = Vec::with_capacity(files.len());
        for batch in files.chunks(LOOKUP_KEYS / 2) {
            let pairs: Vec<String> = (0..batch.len()).map(|i| format!("(${}, ${})", 2 * i + 2, 2 * i + 3)).collect();
            let sql = format!(
                "SELECT {COLUMNS} FROM verdicts v
                 WHERE (v.sha256, v.path) IN (VALUES {}) AND (v.surroundings = '' OR v.surroundings = $1)",
                pairs.join(",")
            );
            let mut query = sqlx::query(AssertSqlSafe(sql)).persistent(batch.len() == 1).bind(tree.to_string());
            for (sha256, path) in batch {
                query = query.bind(sha256.to_string()).bind((*path).to_owned());
            }
            let rows = query.fetch_all(&self.0.pool).await.map_err(StoreError::database("looking for verdicts"))?;
            for row in &rows {
                found.push(record(row)?);
            }
        }
        Ok(found)
    }

    /// The paths under which a repository has had a content, and the verdict under each; `None` while it waits.
    pub async fn of_content(
        &self,
        repo: &RepoKey,
        sha256: &Sha256,
    ) -> Result<Vec<(String, Option<VerdictRecord>)>, StoreError> {
        let rows = sqlx::query(sql!(
            "SELECT f.path AS had_path, v.verdict AS judged, {COLUMNS} FROM repo_files f LEFT JOIN verdicts v
                ON v.sha256 = f.sha256 AND v.path = f.path AND v.surroundings = f.surroundings
             WHERE f.repo = $1 AND f.sha256 = $2"
        ))
        .bind(repo.as_str())
        .bind(sha256.to_string())
        .fetch_all(&self.0.pool)
        .await
        .map_err(StoreError::database("looking for verdicts"))?;
        let read = |row: &AnyRow| {
            use sqlx::Row;
            let judged: Option<String> = row.try_get("judged").map_err(StoreError::database("reading verdicts"))?;
            Ok((text(row, "had_path")?, judged.map(|_| record(row)).transpose()?))
        };
        rows.iter().map(read).collect()
    }

    /// A verdict by which a content is unsafe under some path, if there is one.
    pub async fn unsafe_anywhere(&self, sha256: &Sha256) -> Result<Option<VerdictRecord>, StoreError> {
        let row =
            sqlx::query(sql!("SELECT {COLUMNS} FROM verdicts v WHERE v.sha256 = $1 AND v.verdict = 'unsafe' LIMIT 1"))
                .bind(sha256.to_string())
                .fetch_optional(&self.0.pool)
                .await
                .map_err(StoreError::database("looking for verdicts"))?;
        row.as_ref().map(record).transpose()
    }

    /// Notes that contents of a repository wait for a verdict under these paths, unless they have one.
    pub async fn wait(&self, repo: &RepoKey, files: &[(Sha256, String)]) -> Result<(), StoreError> {
        let mut tx = self.0.write().await?;
        wait(&mut tx, repo, files).await?;
        tx.commit().await.map_err(StoreError::database("recording what waits for a verdict"))
    }

    /// The report that belongs to a verdict.
    pub async fn report(&self, of: &VerdictRecord) -> Result<Option<String>, StoreError> {
        let row = sqlx::query("SELECT report FROM verdicts WHERE sha256 = $1 AND path = $2 AND surroundings = $3")
            .bind(of.sha256.to_string())
            .bind(&of.path)
            .bind(surroundings(of.surroundings))
            .fetch_optional(&self.0.pool)
            .await
            .map_err(StoreError::database("reading a report"))?;
        row.as_ref().map(|row| text(row, "report")).transpose()
    }

    /// Keeps the verdict on a tree, unless there is one of newer rules.
    pub async fn set_tree(&self, tree: &GitOid, rules: u32, facts: &str) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO tree_verdicts (tree, rules, facts) VALUES ($1, $2, $3)
             ON CONFLICT (tree) DO UPDATE SET rules = excluded.rules, facts = excluded.facts
             WHERE excluded.rules >= tree_verdicts.rules",
        )
        .bind(tree.to_string())
        .bind(i64::from(rules))
        .bind(facts)
        .execute(&self.0.pool)
        .await
        .map_err(StoreError::database("recording the verdict on a tree"))?;
        Ok(())
    }

    /// The verdict on a tree, and the rules that it was made by.
    pub async fn tree(&self, tree: &GitOid) -> Result<Option<(u32, String)>, StoreError> {
        let row = sqlx::query("SELECT rules, facts FROM tree_verdicts WHERE tree = $1")
            .bind(tree.to_string())
            .fetch_optional(&self.0.pool)
            .await
            .map_err(StoreError::database("looking for the verdict on a tree"))?;
        row.as_ref().map(|row| Ok((version(row)?, text(row, "facts")?))).transpose()
    }

    /// Asks for every commit to be judged, the newest heads first, unless that was asked for by these rules or newer ones.
    /// Several servers may ask at once. Returns how many commits there are, 0 when nothing was asked for.
    pub async fn ask_for_all(&self, rules: u32) -> Result<u64, StoreError> {
        let failed = "asking for everything to be judged";
        let mut tx = self.0.write().await?;
        let newer = sqlx::query(
            "INSERT INTO settings (name, value) VALUES ($1, $2)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value
             WHERE CAST(settings.value AS BIGINT) < CAST(excluded.value AS BIGINT)",
        )
        .bind(SETTING)
        .bind(rules.to_string())
        .execute(&mut *tx)
        .await
        .map_err(StoreError::database(failed))?;
        if newer.rows_affected() == 0 {
            return Ok(0);
        }
        let asked = sqlx::query(
            "INSERT INTO jobs (kind, subject, attempts, due_at, held, error)
             SELECT $1, c.repo || ' ' || c.oid, 0,
                 CASE WHEN f.target IS NULL OR r.key IS NULL THEN 0 ELSE -r.updated_at END, 0, ''
             FROM commits c
             LEFT JOIN (SELECT DISTINCT repo, target FROM refs) f ON f.repo = c.repo AND f.target = c.oid
             LEFT JOIN repos r ON r.key = c.repo
             WHERE 1 = 1
             ON CONFLICT (kind, subject) DO UPDATE SET attempts = 0",
        )
        .bind(jobs::RESCAN)
        .execute(&mut *tx)
        .await
        .map_err(StoreError::database(failed))?;
        tx.commit().await.map_err(StoreError::database(failed))?;
        Ok(asked.rows_affected())
    }
}

/// Notes as a part of a commit which contents a repository has under which paths: they wait for a verdict.
pub(super) async fn wait(
    tx: &mut sqlx::Transaction<'static, sqlx::Any>,
    repo: &RepoKey,
    files: &[(Sha256, String)],
) -> Result<(), StoreError> {
    let head = ("INSERT INTO repo_files (repo, sha256, path, surroundings)", 4, "ON CONFLICT DO NOTHING");
    insert_rows(tx, "recording what waits for a verdict", head, files, |q, (sha256, path)| {
        q.bind(repo.as_str()).bind(sha256.to_string()).bind(path).bind(WAITS)
    })
    .await
    .map(drop)
}

fn surroundings(tree: Option<GitOid>) -> String {
    tree.map(|tree| tree.to_string()).unwrap_or_default()
}

fn version(row: &AnyRow) -> Result<u32, StoreError> {
    let value = number(row, "rules")?;
    u32::try_from(value).map_err(|_| damaged("rules", &value.to_string()))
}

fn record(row: &AnyRow) -> Result<VerdictRecord, StoreError> {
    let around = text(row, "surroundings")?;
    Ok(VerdictRecord {
        sha256: parsed(row, "sha256")?,
        path: text(row, "path")?,
        surroundings: match around.as_str() {
            "" => None,
            _ => Some(parsed(row, "surroundings")?),
        },
        verdict: text(row, "verdict")?,
        rules: version(row)?,
        scanner: text(row, "scanner")?,
        judged_at_ms: number(row, "judged_at")?,
        facts: text(row, "facts")?,
    })
}
