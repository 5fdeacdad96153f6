//! Leases: work that one process at a time may do, and what it found when it was done last.

use sqlx::Row;

use super::{Catalog, fresh_id, number, text};
use crate::StoreError;

/// Leases and the records of what was done under them.
#[derive(Debug)]
pub struct Leases<'a>(pub(super) &'a Catalog);

/// A lease that is held. It ends by itself when nobody holds it for longer.
#[derive(Debug)]
pub struct Lease {
    name: &'static str,
    holder: String,
}

impl Leases<'_> {
    /// Takes a lease until `until_ms`; `None` while somebody else has it.
    pub async fn take(&self, name: &'static str, now_ms: i64, until_ms: i64) -> Result<Option<Lease>, StoreError> {
        let lease = Lease { name, holder: fresh_id()? };
        let taken = sqlx::query(
            "INSERT INTO leases (name, holder, until_ms) VALUES ($1, $2, $3)
             ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until_ms = excluded.until_ms
             WHERE leases.until_ms <= $4",
        )
        .bind(name)
        .bind(&lease.holder)
        .bind(until_ms)
        .bind(now_ms)
        .execute(&self.0.pool)
        .await
        .map_err(StoreError::database("taking a lease"))?;
        Ok((taken.rows_affected() == 1).then_some(lease))
    }

    /// Holds a lease for longer; `false` when somebody else took it.
    pub async fn extend(&self, lease: &Lease, until_ms: i64) -> Result<bool, StoreError> {
        let held = sqlx::query("UPDATE leases SET until_ms = $3 WHERE name = $1 AND holder = $2")
            .bind(lease.name)
            .bind(&lease.holder)
            .bind(until_ms)
            .execute(&self.0.pool)
            .await
            .map_err(StoreError::database("holding a lease"))?;
        Ok(held.rows_affected() == 1)
    }

    /// Gives a lease back.
    pub async fn give_back(&self, lease: Lease) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM leases WHERE name = $1 AND holder = $2")
            .bind(lease.name)
            .bind(&lease.holder)
            .execute(&self.0.pool)
            .await
            .map_err(StoreError::database("giving a lease back"))?;
        Ok(())
    }

    /// Notes what a run found; `facts` is JSON of the layer above.
    pub async fn note(&self, name: &str, ran_at_ms: i64, facts: &str) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO upkeep (name, ran_at, facts) VALUES ($1, $2, $3)
             ON CONFLICT (name) DO UPDATE SET ran_at = excluded.ran_at, facts = excluded.facts",
        )
        .bind(name)
        .bind(ran_at_ms)
        .bind(facts)
        .execute(&self.0.pool)
        .await
        .map_err(StoreError::database("noting a run"))?;
        Ok(())
    }

    /// When a kind of run ended last, and what it found.
    pub async fn noted(&self, name: &str) -> Result<Option<(i64, String)>, StoreError> {
        let row = sqlx::query("SELECT ran_at, facts FROM upkeep WHERE name = $1")
            .bind(name)
            .fetch_optional(&self.0.pool)
            .await
            .map_err(StoreError::database("looking for a run"))?;
        row.map(|row| Ok((number(&row, "ran_at")?, text(&row, "facts")?))).transpose()
    }

    /// Whether anybody holds a lease now.
    pub async fn is_held(&self, name: &str, now_ms: i64) -> Result<bool, StoreError> {
        let row = sqlx::query("SELECT COUNT(*) AS found FROM leases WHERE name = $1 AND until_ms > $2")
            .bind(name)
            .bind(now_ms)
            .fetch_one(&self.0.pool)
            .await
            .map_err(StoreError::database("looking for a lease"))?;
        Ok(row.try_get::<i64, _>("found").map_err(StoreError::database("looking for a lease"))? > 0)
    }
}
