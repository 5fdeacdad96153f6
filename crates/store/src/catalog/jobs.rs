//! Slow work that waits for a worker.
//!
//! A job is a row with the name of its kind and its subject, so that the same work asked for twice is done once. A worker
//! takes one by moving its due time into the future: if the worker dies, the job is due again. Work is done at least
//! once, so it must be idempotent.

use sqlx::any::AnyRow;
use sqlx::{Any, Transaction};

use super::{Catalog, insert_rows, number, size, text};
use crate::StoreError;

/// Reading what a commit brought; the subject is the key of the repository, a space, and the commit's id.
pub const READ: &str = "read";

/// Judging what a commit brought; the subject is that of [`READ`].
pub const SCAN: &str = "scan";

/// Judging a commit once more, by newer rules; the subject is that of [`READ`].
pub const RESCAN: &str = "rescan";

/// Converting a checkpoint; the subject is that of a [`super::ConversionKey`].
pub const CONVERT: &str = "convert";

/// Comparing two checkpoints; the subject is the digest that names the comparison.
pub const COMPARE: &str = "compare";

/// Coding anew what a commit brought; the subject is that of [`READ`].
pub const REPACK: &str = "repack";

/// The same for commits that were there before, which can wait.
pub const REPACK_OLD: &str = "repack-old";

/// Jobs of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JobCounts {
    /// Not begun, or to be tried again.
    pub waiting: u64,
    /// Held by a worker.
    pub running: u64,
    /// Tried as often as allowed, and given up.
    pub failed: u64,
}
/// Finding out which advisories concern a commit; the subject is as for [`READ`], or
/// [`EVERYTHING`](super::advisories::EVERYTHING).
pub const ADVISE: &str = "advise";

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

    /// Gives a job back that was not tried to its end for no fault of its own: it is due as before.
    pub async fn put_back(&self, job: &Job, due_at_ms: i64) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE jobs SET due_at = $3, held = 0, attempts = attempts - 1 WHERE kind = $1 AND subject = $2 AND held = 1",
        )
        .bind(&job.kind)
        .bind(&job.subject)
        .bind(due_at_ms)
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

    /// Asks for several pieces of work at once, as [`Jobs::add`] does; each is due at its own time.
    pub async fn add_all(&self, kind: &str, jobs: &[(String, i64)]) -> Result<(), StoreError> {
        let failed = "asking for work";
        let mut tx = self.0.write().await?;
        let head = (
            "INSERT INTO jobs (kind, subject, due_at, attempts, held, error)",
            6,
            "ON CONFLICT (kind, subject) DO UPDATE SET attempts = 0",
        );
        insert_rows(&mut tx, failed, head, jobs, |q, (subject, due_at_ms)| {
            q.bind(kind.to_owned()).bind(subject).bind(*due_at_ms).bind(0i64).bind(0i64).bind("")
        })
        .await?;
        tx.commit().await.map_err(StoreError::database(failed))
    }

    /// How many jobs of a kind there are.
    pub async fn counts(&self, kind: &str, most_attempts: i64) -> Result<JobCounts, StoreError> {
        let row = sqlx::query(
            "SELECT COUNT(CASE WHEN held = 1 THEN 1 END) AS running,
                    COUNT(CASE WHEN held = 0 AND attempts < $2 THEN 1 END) AS waiting,
                    COUNT(CASE WHEN held = 0 AND attempts >= $2 THEN 1 END) AS failed
             FROM jobs WHERE kind = $1",
        )
        .bind(kind)
        .bind(most_attempts)
        .fetch_one(&self.0.pool)
        .await
        .map_err(StoreError::database("counting work"))?;
        Ok(JobCounts {
            waiting: size(&row, "waiting")?,
            running: size(&row, "running")?,
            failed: size(&row, "failed")?,
        })
    }

    /// Jobs of a kind whose last attempt failed, in the order in which they are due.
    pub async fn troubled(&self, kind: &str, limit: u32) -> Result<Vec<Job>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM jobs WHERE kind = $1 AND held = 0 AND error <> '' ORDER BY due_at, subject LIMIT $2",
        )
        .bind(kind)
        .bind(i64::from(limit))
        .fetch_all(&self.0.pool)
        .await
        .map_err(StoreError::database("listing work"))?;
        rows.iter().map(job).collect()
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
