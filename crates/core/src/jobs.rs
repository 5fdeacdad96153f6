//! The worker: takes jobs that are due and does them, one after the other.
//!
//! A job that fails is tried again, later each time; a job whose worker was killed is due when its lease ends, or at once
//! when the hub is opened by the only process that may.

use std::time::Duration;

use weighthouse_store::catalog::{Job, jobs};

use crate::{Error, Hub};

/// How long a job is held without a sign of life, in milliseconds.
const LEASE_MS: i64 = 5 * 60_000;
/// How often the worker says that it is alive.
const SIGN_OF_LIFE: Duration = Duration::from_secs(60);
/// How often the worker looks for jobs that another process asked for, or that are due again.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Attempts before a job is given up until it is asked for anew.
const MOST_ATTEMPTS: i64 = 8;
/// Pause after the first attempt, in milliseconds; it doubles with each.
const FIRST_PAUSE_MS: i64 = 15_000;

impl Hub {
    /// Does jobs until the hub is closed.
    pub async fn work(&self) {
        while !self.is_stopping() {
            match self.work_once().await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "looking for work failed; it will be tried again"),
            }
            tokio::select! {
                () = self.work_waits().notified() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Does all jobs that are due. Returns how many there were.
    pub async fn work_off(&self) -> Result<usize, Error> {
        let mut done = 0;
        while self.work_once().await? {
            done += 1;
        }
        Ok(done)
    }

    /// Does the job that has been due for longest, if there is one.
    async fn work_once(&self) -> Result<bool, Error> {
        let now_ms = self.now_ms();
        let jobs = self.catalog().jobs();
        let Some(job) = jobs.take(jobs::READ, now_ms, now_ms + LEASE_MS, MOST_ATTEMPTS).await? else {
            return Ok(false);
        };
        match self.alive(&job).await {
            Ok(()) => jobs.finish(&job).await?,
            Err(_) if self.is_stopping() => jobs.fail(&job, "", self.now_ms()).await?,
            Err(error) => {
                let pause_ms = FIRST_PAUSE_MS << job.attempts.clamp(1, 12).saturating_sub(1);
                tracing::warn!(job.subject, job.attempts, %error, "a job failed; it will be tried again");
                jobs.fail(&job, &error.to_string(), self.now_ms() + pause_ms).await?;
            }
        }
        Ok(true)
    }

    /// Does a job, and holds it meanwhile.
    async fn alive(&self, job: &Job) -> Result<(), Error> {
        let work = self.read_commit(job);
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = tokio::time::sleep(SIGN_OF_LIFE) => {
                    self.catalog().jobs().keep(job, self.now_ms() + LEASE_MS).await?;
                }
            }
        }
    }
}
