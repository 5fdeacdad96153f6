//! Policies of the hub and of organisations, with all their versions.

use sqlx::any::AnyRow;
use sqlx::{Any, Transaction};

use super::{AuditEntry, Catalog, audit, number, text};
use crate::StoreError;

/// Level of the hub's own policies; every other level is the id of an organisation.
pub const HUB_LEVEL: &str = "";
/// The row that counts changes.
const CHANGES: &str = "*";

/// A version of a level's policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyRecord {
    /// [`HUB_LEVEL`], or the id of an organisation.
    pub level: String,
    /// Counted from 1.
    pub version: i64,
    /// The text.
    pub text: String,
    /// Id of the account that saved it; empty for an order given on the machine itself.
    pub account: String,
    /// Name of the account at that time.
    pub account_name: String,
    /// What the change is for.
    pub note: String,
    /// Milliseconds since 1970.
    pub saved_at_ms: i64,
}

/// Policies.
#[derive(Debug)]
pub struct Policies<'a>(pub(super) &'a Catalog);

impl Policies<'_> {
    /// Number of changes of policies and overrides so far: what was read before and has the same number still holds.
    pub async fn changes(&self) -> Result<i64, StoreError> {
        sqlx::query_scalar("SELECT version FROM policy_heads WHERE level = $1")
            .bind(CHANGES)
            .fetch_one(&self.0.pool)
            .await
            .map_err(StoreError::database("asking for changes of policies"))
    }

    /// What decides on a level now; none as long as nobody saved any.
    pub async fn current(&self, level: &str) -> Result<Option<PolicyRecord>, StoreError> {
        let row = sqlx::query(
            "SELECT p.level, p.version, p.body, p.account, p.account_name, p.note, p.saved_at
             FROM policy_heads h JOIN policies p ON p.level = h.level AND p.version = h.version WHERE h.level = $1",
        )
        .bind(level)
        .fetch_optional(&self.0.pool)
        .await
        .map_err(StoreError::database("reading policies"))?;
        row.as_ref().map(record).transpose()
    }

    /// Saves the version after `record.version`, which must be the one that decides, and `entry` about it; returns the new
    /// version.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when another version decides by now.
    pub async fn save(&self, record: &PolicyRecord, entry: Option<AuditEntry>) -> Result<i64, StoreError> {
        let failed = "saving policies";
        let mut tx = self.0.write().await?;
        let version = record.version + 1;
        let moved = if record.version == 0 {
            sqlx::query("INSERT INTO policy_heads (level, version) VALUES ($1, $2) ON CONFLICT (level) DO NOTHING")
                .bind(&record.level)
                .bind(version)
                .execute(&mut *tx)
                .await
        } else {
            sqlx::query("UPDATE policy_heads SET version = $2 WHERE level = $1 AND version = $3")
                .bind(&record.level)
                .bind(version)
                .bind(record.version)
                .execute(&mut *tx)
                .await
        };
        if moved.map_err(StoreError::database(failed))?.rows_affected() == 0 {
            return Err(StoreError::Exists { what: format!("a version of these policies after {}", record.version) });
        }
        sqlx::query(
            "INSERT INTO policies (level, version, body, account, account_name, note, saved_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(&record.level)
        .bind(version)
        .bind(&record.text)
        .bind(&record.account)
        .bind(&record.account_name)
        .bind(&record.note)
        .bind(record.saved_at_ms)
        .execute(&mut *tx)
        .await
        .map_err(StoreError::database(failed))?;
        count_change(&mut tx).await?;
        audit::append(&mut tx, entry).await?;
        tx.commit().await.map_err(StoreError::database(failed))?;
        Ok(version)
    }

    /// Versions of a level, the newest first.
    pub async fn history(&self, level: &str, limit: u32) -> Result<Vec<PolicyRecord>, StoreError> {
        let rows = sqlx::query(
            "SELECT level, version, body, account, account_name, note, saved_at FROM policies
             WHERE level = $1 ORDER BY version DESC LIMIT $2",
        )
        .bind(level)
        .bind(i64::from(limit))
        .fetch_all(&self.0.pool)
        .await
        .map_err(StoreError::database("listing versions of policies"))?;
        rows.iter().map(record).collect()
    }
}

/// Tells every server that what it remembers of policies and overrides holds no longer.
pub(super) async fn count_change(tx: &mut Transaction<'static, Any>) -> Result<(), StoreError> {
    sqlx::query("UPDATE policy_heads SET version = version + 1 WHERE level = $1")
        .bind(CHANGES)
        .execute(&mut **tx)
        .await
        .map_err(StoreError::database("counting a change of policies"))?;
    Ok(())
}

fn record(row: &AnyRow) -> Result<PolicyRecord, StoreError> {
    Ok(PolicyRecord {
        level: text(row, "level")?,
        version: number(row, "version")?,
        text: text(row, "body")?,
        account: text(row, "account")?,
        account_name: text(row, "account_name")?,
        note: text(row, "note")?,
        saved_at_ms: number(row, "saved_at")?,
    })
}
