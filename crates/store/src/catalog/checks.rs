//! When packs were checked, and what was found.

use super::{Catalog, PackId, number, size, text};
use crate::StoreError;

/// Checks of packs.
#[derive(Debug)]
pub struct Checks<'a>(pub(super) &'a Catalog);

/// How far the checks are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckState {
    /// Complete packs.
    pub packs: u64,
    /// Packs that were checked since they were written.
    pub checked: u64,
    /// When the pack that waits for longest was checked, milliseconds since 1970; 0 while one never was.
    pub oldest_ms: i64,
    /// Packs with problems, and the problems; at most a hundred.
    pub problems: Vec<(PackId, String)>,
}

impl Checks<'_> {
    /// Complete packs, those first whose last check is longest ago, with their bytes.
    pub async fn due(&self, limit: u32) -> Result<Vec<(PackId, u64)>, StoreError> {
        let rows = sqlx::query(
            "SELECT p.id, p.size FROM packs p LEFT JOIN pack_checks c ON c.pack = p.id
             WHERE p.sealed = 1 AND p.retired_at = 0 ORDER BY COALESCE(c.checked_at, 0), p.id LIMIT $1",
        )
        .bind(i64::from(limit))
        .fetch_all(&self.0.pool)
        .await
        .map_err(StoreError::database("finding packs to check"))?;
        rows.iter().map(|row| Ok((PackId::from_row(row, "id")?, size(row, "size")?))).collect()
    }

    /// Notes what the check of a pack found; empty when all was well.
    pub async fn note(&self, pack: &PackId, now_ms: i64, problem: &str) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO pack_checks (pack, checked_at, problem) VALUES ($1, $2, $3)
             ON CONFLICT (pack) DO UPDATE SET checked_at = excluded.checked_at, problem = excluded.problem",
        )
        .bind(pack.as_str())
        .bind(now_ms)
        .bind(problem)
        .execute(&self.0.pool)
        .await
        .map_err(StoreError::database("noting a check"))?;
        Ok(())
    }

    /// How far the checks are.
    pub async fn state(&self) -> Result<CheckState, StoreError> {
        let failed = "reading the state of checks";
        let row = sqlx::query(
            "SELECT COUNT(*) AS packs, COUNT(c.pack) AS checked, MIN(COALESCE(c.checked_at, 0)) AS oldest
             FROM packs p LEFT JOIN pack_checks c ON c.pack = p.id WHERE p.sealed = 1 AND p.retired_at = 0",
        )
        .fetch_one(&self.0.pool)
        .await
        .map_err(StoreError::database(failed))?;
        let packs = size(&row, "packs")?;
        let problems = sqlx::query(
            "SELECT c.pack, c.problem FROM pack_checks c JOIN packs p ON p.id = c.pack
             WHERE c.problem <> '' ORDER BY c.pack LIMIT 100",
        )
        .fetch_all(&self.0.pool)
        .await
        .map_err(StoreError::database(failed))?;
        Ok(CheckState {
            packs,
            checked: size(&row, "checked")?,
            oldest_ms: if packs == 0 { 0 } else { number(&row, "oldest")? },
            problems: problems
                .iter()
                .map(|row| Ok((PackId::from_row(row, "pack")?, text(row, "problem")?)))
                .collect::<Result<_, StoreError>>()?,
        })
    }
}
