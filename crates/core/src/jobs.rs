//! The worker: takes jobs that are due and does them.
//!
//! ```text
//!   line        kinds             one job at a time in each line, the lines beside each other,
//!   reading     read              so that a small commit does not wait until a large checkpoint is converted
//!   making      compare, convert
//! ```
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
pub(crate) const MOST_ATTEMPTS: i64 = 8;
/// Pause after the first attempt, in milliseconds; it doubles with each.
const FIRST_PAUSE_MS: i64 = 15_000;

/// Jobs that are done one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// What readers of pages wait for.
    Reading,
    /// What somebody asked for, and knows to take a while.
    Making,
}

impl Line {
    /// The lines, the more urgent first.
    const ALL: [Self; 2] = [Self::Reading, Self::Making];

    /// Kinds of its jobs, the more urgent first.
    const fn kinds(self) -> &'static [&'static str] {
        match self {
            Self::Reading => &[jobs::READ],
            Self::Making => &[jobs::COMPARE, jobs::CONVERT],
        }
    }
}

impl Hub {
    /// Does jobs until the hub is closed.
    pub async fn work(&self) {
        let [reading, making] = Line::ALL;
        tokio::join!(self.work_in(reading), self.work_in(making));
    }

    async fn work_in(&self, line: Line) {
        while !self.is_stopping() {
            match self.work_once(line).await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "looking for work failed; it will be tried again"),
            }
            tokio::select! {
                () = self.work_waits(line).notified() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Does all jobs that are due. Returns how many there were.
    pub async fn work_off(&self) -> Result<usize, Error> {
        let mut done = 0;
        for line in Line::ALL {
            while self.work_once(line).await? {
                done += 1;
            }
        }
        Ok(done)
    }

    /// Does the job of a line that has been due for longest, if there is one.
    async fn work_once(&self, line: Line) -> Result<bool, Error> {
        let now_ms = self.now_ms();
        let jobs = self.catalog().jobs();
        let mut taken = None;
        for kind in line.kinds() {
            taken = jobs.take(kind, now_ms, now_ms + LEASE_MS, MOST_ATTEMPTS).await?;
            if taken.is_some() {
                break;
            }
        }
        let Some(job) = taken else { return Ok(false) };
        match self.alive(&job).await {
            Ok(()) => jobs.finish(&job).await?,
            Err(_) if self.is_stopping() => jobs.fail(&job, "", self.now_ms()).await?,
            Err(error) => {
                let pause_ms = FIRST_PAUSE_MS << job.attempts.clamp(1, 12).saturating_sub(1);
                tracing::warn!(job.kind, job.subject, job.attempts, %error, "a job failed; it will be tried again");
                jobs.fail(&job, &error.to_string(), self.now_ms() + pause_ms).await?;
            }
        }
        Ok(true)
    }

    /// Does a job, and holds it meanwhile.
    async fn alive(&self, job: &Job) -> Result<(), Error> {
        let work = self.carry_out(job);
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

    async fn carry_out(&self, job: &Job) -> Result<(), Error> {
        match job.kind.as_str() {
            jobs::CONVERT => self.carry_out_conversion(job).await,
            jobs::COMPARE => self.carry_out_comparison(job).await,
            _ => self.read_commit(job).await,
        }
    }
}
