//! The audit log: rows that are only ever added, each of which seals the one before.
//!
//! A row about a change is added by the transaction of the change, as its last step: neither is there without the other,
//! and whoever holds the head of the log waits for nobody.

use std::fmt;

use sqlx::any::AnyRow;
use sqlx::{Any, Transaction};

use super::{Catalog, number, text};
use crate::StoreError;
use crate::digest::Sha256;

/// A row to add. Its columns are copies of what the body says, to search by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAudit {
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// `scope.action`.
    pub event: String,
    /// Name of whoever did it.
    pub actor: String,
    /// Id of the account that owns what it was done to; empty for the hub as a whole.
    pub org: String,
    /// Id of the repository as it was called; empty without one.
    pub repo: String,
    /// `done`, `allowed` or `refused`.
    pub outcome: String,
}

/// Makes the text of a row from its number and the hash of the row before.
type Body = Box<dyn FnOnce(i64, &str) -> String + Send>;

/// A row to add, with its text.
pub struct AuditEntry {
    row: NewAudit,
    body: Body,
}

impl AuditEntry {
    /// `body` makes the text from the number of the row and the hash of the row before.
    pub fn new(row: NewAudit, body: impl FnOnce(i64, &str) -> String + Send + 'static) -> Self {
        Self { row, body: Box::new(body) }
    }
}

impl fmt::Debug for AuditEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditEntry").field("row", &self.row).finish_non_exhaustive()
    }
}

/// A row on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// Counted from 1, without gaps.
    pub seq: i64,
    /// The columns.
    pub row: NewAudit,
    /// JSON object of the layer above.
    pub body: String,
    /// SHA-256 of the body, in hexadecimal digits.
    pub hash: String,
}

/// Which rows.
#[derive(Debug, Clone, Default)]
pub struct AuditQuery {
    /// Events that are this, or begin with it and a dot.
    pub event: Option<String>,
    /// Name of whoever did it.
    pub actor: Option<String>,
    /// Id of the account that owns what it was done to.
    pub org: Option<String>,
    /// Id of the repository.
    pub repo: Option<String>,
    /// `done`, `allowed` or `refused`.
    pub outcome: Option<String>,
    /// Milliseconds since 1970; nothing before.
    pub since_ms: i64,
    /// Only rows before this number; 0 for all.
    pub before_seq: i64,
    /// At most so many.
    pub limit: u32,
}

/// The audit log.
#[derive(Debug)]
pub struct Audit<'a>(pub(super) &'a Catalog);

const COLUMNS: &str = "seq, at, event, actor, org, repo, outcome, body, hash";

impl Audit<'_> {
    /// Adds rows in order, about what changes nothing in the catalog.
    pub async fn append(&self, entries: Vec<AuditEntry>) -> Result<(), StoreError> {
        if entries.is_empty() {
            return Ok(());
        }
        let mut tx = self.0.write().await?;
        append(&mut tx, entries).await?;
        tx.commit().await.map_err(StoreError::database("writing the audit log"))
    }

    /// Number and hash of the newest row; 0 and nothing when there is none.
    pub async fn head(&self) -> Result<(i64, String), StoreError> {
        let row = sqlx::query("SELECT seq, hash FROM audit_head WHERE id = 0")
            .fetch_one(&self.0.pool)
            .await
            .map_err(StoreError::database("reading the audit log"))?;
        Ok((number(&row, "seq")?, text(&row, "hash")?))
    }

    /// Rows that a query asks for, the newest first.
    pub async fn list(&self, query: &AuditQuery) -> Result<Vec<AuditRecord>, StoreError> {
        let rows = sqlx::query(sql!(
            "SELECT {COLUMNS} FROM audit
             WHERE ($1 = '' OR event = $1 OR substr(event, 1, length($1) + 1) = $1 || '.')
               AND ($2 = '' OR actor = $2) AND ($3 = '' OR org = $3) AND ($4 = '' OR repo = $4)
               AND ($5 = '' OR outcome = $5) AND at >= $6 AND ($7 = 0 OR seq < $7)
             ORDER BY seq DESC LIMIT $8"
        ))
        .bind(query.event.as_deref().unwrap_or_default())
        .bind(query.actor.as_deref().unwrap_or_default())
        .bind(query.org.as_deref().unwrap_or_default())
        .bind(query.repo.as_deref().unwrap_or_default())
        .bind(query.outcome.as_deref().unwrap_or_default())
        .bind(query.since_ms)
        .bind(query.before_seq)
        .bind(i64::from(query.limit))
        .fetch_all(&self.0.pool)
        .await
        .map_err(StoreError::database("reading the audit log"))?;
        rows.iter().map(record).collect()
    }

    /// Rows after a number, in order.
    pub async fn after(&self, seq: i64, limit: u32) -> Result<Vec<AuditRecord>, StoreError> {
        let rows = sqlx::query(sql!("SELECT {COLUMNS} FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2"))
            .bind(seq)
            .bind(i64::from(limit))
            .fetch_all(&self.0.pool)
            .await
            .map_err(StoreError::database("reading the audit log"))?;
        rows.iter().map(record).collect()
    }
}

/// Adds rows in order, as the last step of a change.
///
/// Servers take turns at the row of the head, so that the chain never forks.
pub(super) async fn append(
    tx: &mut Transaction<'static, Any>,
    entries: impl IntoIterator<Item = AuditEntry, IntoIter: ExactSizeIterator>,
) -> Result<(), StoreError> {
    let failed = "writing the audit log";
    let entries = entries.into_iter();
    if entries.len() == 0 {
        return Ok(());
    }
    let count = i64::try_from(entries.len()).unwrap_or(i64::MAX);
    let head = sqlx::query("UPDATE audit_head SET seq = seq + $1 WHERE id = 0 RETURNING seq, hash")
        .bind(count)
        .fetch_one(&mut **tx)
        .await
        .map_err(StoreError::database(failed))?;
    let mut seq = number(&head, "seq")? - count;
    let mut hash = text(&head, "hash")?;
    for AuditEntry { row, body } in entries {
        seq += 1;
        let body = body(seq, &hash);
        hash = Sha256::of(body.as_bytes()).to_string();
        sqlx::query(sql!("INSERT INTO audit ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"))
            .bind(seq)
            .bind(row.at_ms)
            .bind(row.event)
            .bind(row.actor)
            .bind(row.org)
            .bind(row.repo)
            .bind(row.outcome)
            .bind(body)
            .bind(&hash)
            .execute(&mut **tx)
            .await
            .map_err(StoreError::database(failed))?;
    }
    sqlx::query("UPDATE audit_head SET hash = $1 WHERE id = 0")
        .bind(&hash)
        .execute(&mut **tx)
        .await
        .map_err(StoreError::database(failed))?;
    Ok(())
}

fn record(row: &AnyRow) -> Result<AuditRecord, StoreError> {
    Ok(AuditRecord {
        seq: number(row, "seq")?,
        row: NewAudit {
            at_ms: number(row, "at")?,
            event: text(row, "event")?,
            actor: text(row, "actor")?,
            org: text(row, "org")?,
            repo: text(row, "repo")?,
            outcome: text(row, "outcome")?,
        },
        body: text(row, "body")?,
        hash: text(row, "hash")?,
    })
}
