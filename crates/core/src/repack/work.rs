//! The job: plans a commit and has it coded, as fast as it may, until it is done or somebody pauses it.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use weighthouse_format::xet::hash::XetHash;
use weighthouse_store::StoreError;
use weighthouse_store::blob::{ENCODER, Pace, RecodeSource, Recoded};
use weighthouse_store::catalog::{Job, RepoKey, RepoRecord, jobs};
use weighthouse_store::digest::GitOid;

use super::RepackPolicy;
use super::known::xorbs;
use super::plan::{Plan, Planner, size_bytes};
use super::status::RepackProgress;
use crate::jobs::Line;
use crate::revision::Revision;
use crate::{Error, Hub};

/// How often a running job looks whether it is to stop.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks after which it tells how far it is.
const LOOKS: u64 = 3;
/// Commits before one that are coded with it.
const MOST_BEFORE: usize = 1_000;
/// Attempts at one batch of which something moved meanwhile.
const MOST_MOVES: usize = 4;

/// Ends the work in the store when nobody waits for it any more.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Hub {
    /// Asks for the job that codes anew what a commit brought; `subject` is that of the job that read it.
    pub(crate) async fn ask_repack(&self, subject: &str) -> Result<(), Error> {
        if self.options().repack != RepackPolicy::Off {
            self.catalog().jobs().add(jobs::REPACK, subject, self.now_ms()).await?;
            self.work_waits(Line::Packing).notify_one();
        }
        Ok(())
    }

    /// Does the work of a job. Once more is no harm: what this encoder has looked at is left alone.
    ///
    /// What came before the commit and was not looked at comes first: the commit shares its xorbs and leans on it.
    pub(crate) async fn carry_out_repack(&self, job: &Job) -> Result<(), Error> {
        let parts = job.subject.split_once(' ').and_then(|(repo, oid)| Some((repo, oid.parse::<GitOid>().ok()?)));
        let Some((repo, oid)) = parts else { return Ok(()) };
        let key = RepoKey::from(repo.to_owned());
        let Some(record) = self.catalog().repos().get(&key).await? else { return Ok(()) };
        let Ok(revision) = self.known_commit(&key, oid).await else { return Ok(()) };
        let mut line = vec![revision];
        while let Some(parent) = line.last().and_then(|revision| revision.commit.parents.first())
            && line.len() < MOST_BEFORE
            && let Ok(parent) = self.known_commit(&key, *parent).await
            && !self.planner(&record, &parent).is_done().await?
        {
            line.push(parent);
        }
        while let Some(revision) = line.pop() {
            match self.code_commit(&record, &revision).await {
                Ok(()) => {}
                // What is wrong with an earlier commit is for its own job to tell.
                Err(error) if !line.is_empty() && !self.is_stopping() && !self.is_repack_paused().await? => {
                    tracing::debug!(repo = record.id, commit = %revision.oid, %error, "an earlier commit stays as it is");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn code_commit(&self, repo: &RepoRecord, revision: &Revision) -> Result<(), Error> {
        let plan = self.planner(repo, revision).plan(None, false).await?;
        if plan.batches.is_empty() {
            return Ok(());
        }
        let done = self.carry_out_plan(&plan, &repo.id, revision.oid).await?;
        let (repo, commit) = (&repo.id, revision.oid);
        tracing::info!(
            %repo, %commit, done.xorbs, done.kept, done.before_bytes, done.after_bytes, "coded a commit's files anew"
        );
        Ok(())
    }

    fn planner<'a>(&'a self, repo: &'a RepoRecord, revision: &'a Revision) -> Planner<'a> {
        Planner::new(self, (repo, revision), self.options().repack, ENCODER, &[])
    }

    async fn carry_out_plan(&self, plan: &Plan, repo: &str, commit: GitOid) -> Result<Recoded, Error> {
        let stop = Arc::new(AtomicBool::new(false));
        let _stop = StopOnDrop(Arc::clone(&stop));
        let pace = Pace { share: self.options().repack_share, stop: Arc::clone(&stop) };
        let work = async {
            let mut sum = Recoded::default();
            for batch in &plan.batches {
                add(&mut sum, self.recode_batch(batch, &pace).await?);
                if sum.stopped {
                    return Err(Error::Busy { what: "coding files anew" });
                }
            }
            Ok(sum)
        };
        let watch =
            self.watch(plan, RepackProgress { repo: repo.to_owned(), commit, done_bytes: 0, total_bytes: 0 }, &stop);
        let done = tokio::select! {
            done = work => done,
            error = watch => Err(error),
        };
        self.set_repack_progress(None).await?;
        done
    }

    /// Has contents coded; when something moved under the work, what is left is tried again.
    async fn recode_batch(&self, batch: &[RecodeSource], pace: &Pace) -> Result<Recoded, Error> {
        let mut moves = 1;
        loop {
            match self.store().recode(batch, self.options().repack_level, false, pace).await {
                Err(StoreError::Moved { .. }) if moves < MOST_MOVES => moves += 1,
                done => return Ok(done?),
            }
        }
    }

    /// Looks after a job: notes how far it is, and asks it to stop when the hub does or repacking is paused. Returns only
    /// when it cannot look any more.
    async fn watch(&self, plan: &Plan, mut progress: RepackProgress, stop: &AtomicBool) -> Error {
        let hashes: HashSet<XetHash> =
            plan.batches.iter().flatten().flat_map(|source| xorbs(&source.content)).collect();
        let hashes: Vec<XetHash> = hashes.into_iter().collect();
        progress.total_bytes = plan.batches.iter().map(|batch| size_bytes(batch)).sum();
        for look in 0u64.. {
            let looked = async {
                if self.is_stopping() || self.is_repack_paused().await? {
                    stop.store(true, Ordering::Relaxed);
                }
                if !look.is_multiple_of(LOOKS) {
                    return Ok(());
                }
                let standings = self.catalog().coding().several(&hashes).await?;
                let seen = standings.iter().filter(|standing| standing.encoder >= ENCODER).count();
                let share = u128::from(progress.total_bytes) * seen as u128 / hashes.len().max(1) as u128;
                progress.done_bytes = u64::try_from(share).unwrap_or(u64::MAX);
                self.set_repack_progress(Some(&progress)).await
            };
            if let Err(error) = looked.await {
                return error;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Error::Busy { what: "coding files anew" }
    }
}

/// Adds what was done to a sum.
pub(super) fn add(sum: &mut Recoded, done: Recoded) {
    sum.xorbs += done.xorbs;
    sum.raw_bytes += done.raw_bytes;
    sum.before_bytes += done.before_bytes;
    sum.after_bytes += done.after_bytes;
    sum.kept += done.kept;
    sum.stopped |= done.stopped;
}
