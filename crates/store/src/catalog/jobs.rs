//! Slow work that waits for a worker.
//!
//! A job is a row with the name of its kind and its subject, so that the same work asked for twice is done once. A worker
//! takes one by moving its due time into the future: if the worker dies, the job is due again. Work is done at least
//! once, so it must be idempotent.

use sqlx::any::AnyRow;
use sqlx::{Any, Transaction};

use super::{Catalog, number, text};
use crate::StoreError;

/// Reading what a commit brought; the subject is the key of the repository, a space, and the commit's id.
pub const READ: &str = "read";

/// Converting a checkpoint; the subject is that of a [`super::ConversionKey`].
pub const CONVERT: &str = "convert";

/// Comparing two checkpoints; the subject is the digest that names the comparison.
pub const COMPARE: &str = "compare";

/// A piece of work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Kind, such as [`READ`].
    pub kind: String,
    /// What to work on.
    pub subject: String,
    /// How often it was taken, this time included.
    pub attempts: i64,
    /// Milliseconds since 1970 at which it is due, or due again.
    pub due_at_ms: i64,
    /// Whether a worker holds it.
    pub held: bool,
    /// Why the last attempt failed; empty before that.
    pub error: String,
}

/// Work that waits.
#[derive(Debug)]
pub struct Jobs<'a>(pub(super) &'a Catalog);

impl Jobs<'_> {
    /// Asks for work; the same work once more is no second job, but one that had failed is due again.
    pub async fn add(&self, kind: &str, subject: &str, now_ms: i64) -> Result<(), StoreError> {
        let mut tx = self.0.write().await?;
        add(&mut tx, kind, subject, now_ms).await?;
        tx.commit().await.map_err(StoreError::database("asking for work"))
    }

    /// Takes the job that has been due for longest and was tried less than `most_attempts` times; nobody else gets it
    /// before `lease_until_ms`.
    pub async fn take(
        &self,
        kind: &str,
        now_ms: i64,
        lease_until_ms: i64,
        most_attempts: i64,
    ) -> Result<Option<Job>, StoreError> {
        let failed = "taking work";
        loop {
            let row = sqlx::query(
                "SELECT * FROM jobs WHERE kind = $1 AND due_at <= $2 AND attempts < $3 ORDER BY due_at, subject LIMIT 1",
            )
            .bind(kind)
            .bind(now_ms)
            .bind(most_attempts)
            .fetch_optional(&self.0.pool)
            .await
            .map_err(StoreError::database(failed))?;
            let Some(found) = row.as_ref().map(job).transpose()? else { return Ok(None) };
            let taken = sqlx::query(
                "UPDATE jobs SET due_at = $4, attempts = attempts + 1, held = 1
                 WHERE kind = $1 AND subject = $2 AND due_at = $3",
            )
            .bind(kind)
            .bind(&found.subject)
            .bind(found.due_at_ms)
            .bind(lease_until_ms)
            .execute(&self.0.pool)
            .await
            .map_err(StoreError::database(failed))?;
            if taken.rows_affected() == 1 {
                return Ok(Some(Job { attempts: found.attempts + 1, due_at_ms: lease_until_ms, held: true, ..found }));
            }
        }
    }

    /// Holds a job for longer.
    pub async fn keep(&self, job: &Job, lease_until_ms: i64) -> Result<(), StoreError> {
        sqlx::query("UPDATE jobs SET due_at = $3 WHERE kind = $1 AND subject = $2 AND held = 1")
            .bind(&job.kind)
            .bind(&job.subject)
            .bind(lease_until_ms)
            .execute(&self.0.pool)
            .await
            .map_err(StoreError::database("holding work"))?;
        Ok(())
    }

    /// Removes a job that is done.
    pub async fn finish(&self, job: &Job) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM jobs WHERE kind = $1 AND subject = $2")
            .bind(&job.kind)
            .bind(&job.subject)
            .execute(&self.0.pool)
            .await
            .map_err(StoreError::database("finishing work"))?;
        Ok(())
    }

    /// Gives a job back that did not succeed, to be due again at `due_at_ms`.
    pub async fn fail(&self, job: &Job, error: &str, due_at_ms: i64) -> Result<(), StoreError> {
        sqlx::query("UPDATE jobs SET due_at = $3, held = 0, error = $4 WHERE kind = $1 AND subject = $2")
            .bind(&job.kind)
            .bind(&job.subject)
            .bind(due_at_ms)
            .bind(error)
            .execute(&self.0.pool)
            .await
            .map_err(StoreError::database("giving work back"))?;
        Ok(())
    }

    /// Makes all held jobs due at once: whoever held them is dead. Returns how many there were.
    pub async fn release(&self, now_ms: i64) -> Result<u64, StoreError> {
        let done = sqlx::query("UPDATE jobs SET held = 0, due_at = $1 WHERE held = 1")
            .bind(now_ms)
            .execute(&self.0.pool)
            .await
            .map_err(StoreError::database("releasing work"))?;
        Ok(done.rows_affected())
    }

    /// A job, if it is not done.
    pub async fn get(&self, kind: &str, subject: &str) -> Result<Option<Job>, StoreError> {
        let row = sqlx::query("SELECT * FROM jobs WHERE kind = $1 AND subject = $2")
            .bind(kind)
            .bind(subject)
            .fetch_optional(&self.0.pool)
            .await
            .map_err(StoreError::database("looking for work"))?;
        row.as_ref().map(job).transpose()
    }
}

/// Asks for work as a part of a change, so that either both are on record or neither.
pub(super) async fn add(
    tx: &mut Transaction<'static, Any>,
    kind: &str,
    subject: &str,
    now_ms: i64,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO jobs (kind, subject, attempts, due_at, held, error) VALUES ($1, $2, 0, $3, 0, '')
         ON CONFLICT (kind, subject) DO UPDATE SET attempts = 0",
    )
    .bind(kind)
    .bind(subject)
    .bind(now_ms)
    .execute(&mut **tx)
    .await
    .map_err(StoreError::database("asking for work"))?;
    Ok(())
}

fn job(row: &AnyRow) -> Result<Job, StoreError> {
    Ok(Job {
        kind: text(row, "kind")?,
        subject: text(row, "subject")?,
        attempts: number(row, "attempts")?,
        due_at_ms: number(row, "due_at")?,
        held: number(row, "held")? != 0,
        error: text(row, "error")?,
    })
}
