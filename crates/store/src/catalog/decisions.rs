//! What was decided, each question once a day: what a dry run asks again.

use sqlx::any::AnyRow;

use super::{Catalog, number, size, text};
use crate::StoreError;

/// A question that was asked on a day, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionRecord {
    /// Days since 1970.
    pub day: i64,
    /// Digest of the question.
    pub key: String,
    /// Id of the account that owns the repository.
    pub owner: String,
    /// JSON of the layer above.
    pub question: String,
    /// What was answered last.
    pub allowed: bool,
    /// How often it was asked.
    pub times: u64,
    /// Milliseconds since 1970 at which it was last asked.
    pub last_at_ms: i64,
}

/// Decisions of the last days.
#[derive(Debug)]
pub struct Decisions<'a>(pub(super) &'a Catalog);

impl Decisions<'_> {
    /// Counts questions. A question that is new today is taken only while there are fewer than `most` of that day;
    /// returns how many were not taken.
    pub async fn count(&self, questions: &[DecisionRecord], most: u64) -> Result<u64, StoreError> {
        let failed = "counting decisions";
        let mut tx = self.0.write().await?;
        let mut left_out = 0;
        let mut room: Option<(i64, u64)> = None;
        for one in questions {
            let times = i64::try_from(one.times).unwrap_or(i64::MAX);
            let known = sqlx::query(
                "UPDATE decisions SET times = times + $3, last_at = $4, allowed = $5 WHERE day = $1 AND key = $2",
            )
            .bind(one.day)
            .bind(&one.key)
            .bind(times)
            .bind(one.last_at_ms)
            .bind(i64::from(one.allowed))
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database(failed))?;
            if known.rows_affected() > 0 {
                continue;
            }
            let here = match room {
                Some((day, here)) if day == one.day => here,
                _ => {
                    let held: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM decisions WHERE day = $1")
                        .bind(one.day)
                        .fetch_one(&mut *tx)
                        .await
                        .map_err(StoreError::database(failed))?;
                    most.saturating_sub(u64::try_from(held).unwrap_or(0))
                }
            };
            if here == 0 {
                room = Some((one.day, 0));
                left_out += 1;
                continue;
            }
            room = Some((one.day, here - 1));
            sqlx::query(
                "INSERT INTO decisions (day, key, owner, question, allowed, times, last_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (day, key) DO NOTHING",
            )
            .bind(one.day)
            .bind(&one.key)
            .bind(&one.owner)
            .bind(&one.question)
            .bind(i64::from(one.allowed))
            .bind(times)
            .bind(one.last_at_ms)
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database(failed))?;
        }
        tx.commit().await.map_err(StoreError::database(failed))?;
        Ok(left_out)
    }

    /// Questions since a day, of the repositories of one account or of all, in the order of day and key; those after
    /// `after`, at most `limit`.
    pub async fn since(
        &self,
        day: i64,
        owner: Option<&str>,
        after: Option<(i64, &str)>,
        limit: u32,
    ) -> Result<Vec<DecisionRecord>, StoreError> {
        let (after_day, after_key) = after.unwrap_or((day - 1, ""));
        let rows = sqlx::query(
            "SELECT day, key, owner, question, allowed, times, last_at FROM decisions
             WHERE day >= $1 AND ($2 = '' OR owner = $2) AND (day > $3 OR (day = $3 AND key > $4))
             ORDER BY day, key LIMIT $5",
        )
        .bind(day)
        .bind(owner.unwrap_or_default())
        .bind(after_day)
        .bind(after_key)
        .bind(i64::from(limit))
        .fetch_all(&self.0.pool)
        .await
        .map_err(StoreError::database("reading decisions"))?;
        rows.iter().map(record).collect()
    }

    /// Forgets what was asked before a day.
    pub async fn forget(&self, before_day: i64) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM decisions WHERE day < $1")
            .bind(before_day)
            .execute(&self.0.pool)
            .await
            .map_err(StoreError::database("forgetting decisions"))?;
        Ok(())
    }
}

fn record(row: &AnyRow) -> Result<DecisionRecord, StoreError> {
    Ok(DecisionRecord {
        day: number(row, "day")?,
        key: text(row, "key")?,
        owner: text(row, "owner")?,
        question: text(row, "question")?,
        allowed: number(row, "allowed")? != 0,
        times: size(row, "times")?,
        last_at_ms: number(row, "last_at")?,
    })
}
