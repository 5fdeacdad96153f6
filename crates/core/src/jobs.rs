//! The worker: takes jobs that are due and does them.
//!
//! ```text
//!   line        kinds             one job at a time in each line, the lines beside each other,
//!   judging     scan, rescan      so that a small commit does not wait until a large checkpoint is converted
//!   reading     read, advise
//!   making      compare, convert
//!   packing     repack, repack-old         unless the policy is `off`, and not while it is paused
//! ```
//! A job that fails is tried again, later each time; a job whose worker was killed is due when its lease ends, or at once
//! when the hub is opened by the only process that may.

use std::time::Duration;

use weighthouse_store::catalog::{Job, jobs};

use crate::repack::RepackPolicy;
use crate::{Error, Hub, scrub};

/// How long a job is held without a sign of life, in milliseconds.
const LEASE_MS: i64 = 5 * 60_000;
/// How often the worker says that it is alive.
const SIGN_OF_LIFE: Duration = Duration::from_secs(60);
/// How often the worker looks for jobs that another process asked for, or that are due again.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long after its start a server begins with upkeep.
const FIRST_UPKEEP: Duration = Duration::from_secs(5 * 60);
/// Attempts before a job is given up until it is asked for anew.
pub(crate) const MOST_ATTEMPTS: i64 = 8;
/// Pause after the first attempt, in milliseconds; it doubles with each.
const FIRST_PAUSE_MS: i64 = 15_000;

/// Jobs that are done one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// What strangers wait for before they may have a file.
    Judging,
    /// What readers of pages wait for.
    Reading,
    /// What somebody asked for, and knows to take a while.
    Making,
    /// What nobody waits for.
    Packing,
}

impl Line {
    /// The lines, the more urgent first.
    const ALL: [Self; 4] = [Self::Judging, Self::Reading, Self::Making, Self::Packing];

    /// Kinds of its jobs, the more urgent first.
    pub(crate) const fn kinds(self) -> &'static [&'static str] {
        match self {
            Self::Judging => &[jobs::SCAN, jobs::RESCAN],
            Self::Reading => &[jobs::READ, jobs::ADVISE],
            Self::Making => &[jobs::COMPARE, jobs::CONVERT],
            Self::Packing => &[jobs::REPACK, jobs::REPACK_OLD],
        }
    }
}

impl Hub {
    /// Does jobs until the hub is closed.
    pub async fn work(&self) {
        if let Err(error) = self.judge_by_new_rules().await {
            tracing::warn!(%error, "files judged by older rules stay so until the next start");
        }
        if let Err(error) = self.note_repack_policy().await {
            tracing::warn!(%error, "the policy of repacking could not be noted");
        }
        let [judging, reading, making, packing] = Line::ALL;
        let packing = async {
            if self.options().repack != RepackPolicy::Off {
                self.work_in(packing).await;
            }
        };
        tokio::join!(self.work_in(judging), self.work_in(reading), self.work_in(making), packing, self.keep_up());
    }

    /// Checks a little of what is stored every hour, and applies rules of retention once a day.
    async fn keep_up(&self) {
        let mut pause = FIRST_UPKEEP;
        while !self.is_stopping() {
            tokio::select! {
                () = self.upkeep_waits().notified() => continue,
                () = tokio::time::sleep(pause) => {}
            }
            pause = scrub::EVERY;
            if let Err(error) = self.scrub().await {
                tracing::warn!(%error, "checking what is stored failed; it will be tried again");
            }
            if let Err(error) = self.apply_due_retention().await {
                tracing::warn!(%error, "applying rules of retention failed; it will be tried again");
            }
        }
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

    /// Does all jobs that are due and that somebody waits for. Returns how many there were.
    pub async fn work_off(&self) -> Result<usize, Error> {
        let mut done = self.judge_waiting().await?;
        for line in [Line::Reading, Line::Making] {
            done += self.work_off_in(line).await?;
        }
        Ok(done)
    }

    /// Judges every commit that waits for it and is due. Returns how many there were.
    pub async fn judge_waiting(&self) -> Result<usize, Error> {
        self.judge_by_new_rules().await?;
        self.work_off_in(Line::Judging).await
    }

    async fn work_off_in(&self, line: Line) -> Result<usize, Error> {
        let mut done = 0;
        while self.work_once(line).await? {
            done += 1;
        }
        Ok(done)
    }

    /// Does the job of a line that has been due for longest, if there is one.
    pub(crate) async fn work_once(&self, line: Line) -> Result<bool, Error> {
        if line == Line::Packing && self.is_repack_paused().await? {
            return Ok(false);
        }
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
            Err(_) if line == Line::Packing && self.is_repack_paused().await? => {
                jobs.put_back(&job, self.now_ms()).await?;
            }
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
            jobs::SCAN | jobs::RESCAN => self.judge_commit(job).await,
            jobs::CONVERT => self.carry_out_conversion(job).await,
            jobs::COMPARE => self.carry_out_comparison(job).await,
            jobs::REPACK | jobs::REPACK_OLD => self.carry_out_repack(job).await,
            jobs::ADVISE => self.carry_out_advice(job).await,
            // Names and digests can be matched at once, tensors when they are on record.
            _ => {
                self.ask_advice(job).await?;
                self.read_commit(job).await?;
                self.ask_advice(job).await?;
                self.ask_repack(&job.subject).await
            }
        }
    }
}
