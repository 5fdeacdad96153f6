//! Where repacking stands, and the few orders that it takes: they lie in the catalog, so that a running server sees them.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use weighthouse_store::blob::ENCODER;
use weighthouse_store::catalog::jobs;
use weighthouse_store::digest::GitOid;

use super::RepackPolicy;
use crate::jobs::{Line, MOST_ATTEMPTS};
use crate::{Error, Hub};

/// Settings of the catalog.
const PAUSED: &str = "repack.paused";
const POLICY: &str = "repack.policy";
const PROGRESS: &str = "repack.progress";
/// Failed jobs that are told.
const MOST_TROUBLES: u32 = 20;

/// Where repacking stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepackStatus {
    /// The policy of the server that started last; `None` when none has yet.
    pub policy: Option<RepackPolicy>,
    /// Whether it is paused.
    pub is_paused: bool,
    /// Commits that wait to be read, before they can be coded.
    pub unread: u64,
    /// Commits that wait.
    pub waiting: u64,
    /// Commits that are being coded.
    pub running: u64,
    /// Commits that were given up.
    pub failed: u64,
    /// What is being coded, if anything is.
    pub progress: Option<RepackProgress>,
    /// What went wrong last with jobs that wait or were given up.
    pub troubles: Vec<RepackTrouble>,
    /// Stored units of at most 64 MiB.
    pub xorbs: u64,
    /// Those that the present encoder has looked at.
    pub seen: u64,
    /// Those that are stored coded; coding the others would not pay.
    pub coded: u64,
    /// Bytes of all units when decoded.
    pub raw_bytes: u64,
    /// Bytes that they take.
    pub stored_bytes: u64,
    /// Bytes by codec.
    pub codecs: Vec<CodecBytes>,
}

/// Bytes that are coded in one way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodecBytes {
    /// Name of the codec.
    pub codec: String,
    /// Bytes when decoded.
    pub raw_bytes: u64,
    /// Bytes that they take.
    pub stored_bytes: u64,
}

/// How far a job is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepackProgress {
    /// Repository.
    pub repo: String,
    /// Commit.
    pub commit: GitOid,
    /// Bytes of its files that were looked at.
    pub done_bytes: u64,
    /// Bytes of its files that are to be.
    pub total_bytes: u64,
}

/// A job whose last attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepackTrouble {
    /// Key of the repository and commit.
    pub subject: String,
    /// Attempts.
    pub attempts: i64,
    /// Why the last one failed.
    pub error: String,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    repo: String,
    commit: String,
    done_bytes: u64,
    total_bytes: u64,
}

impl RepackStatus {
    /// Whether there is nothing left to do.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.unread == 0 && self.waiting == 0 && self.running == 0
    }
}

impl Hub {
    /// Where repacking stands, on this hub and not only in this process.
    pub async fn repack_status(&self) -> Result<RepackStatus, Error> {
        let (settings, queue) = (self.catalog().settings(), self.catalog().jobs());
        let policy = settings.get(POLICY).await?.and_then(|text| text.parse().ok());
        let unread = queue.counts(jobs::READ, MOST_ATTEMPTS).await?;
        let (mut waiting, mut running, mut failed) = (0, 0, 0);
        let mut troubles = Vec::new();
        for kind in Line::Packing.kinds() {
            let counts = queue.counts(kind, MOST_ATTEMPTS).await?;
            waiting += counts.waiting;
            running += counts.running;
            failed += counts.failed;
            for job in queue.troubled(kind, MOST_TROUBLES).await? {
                troubles.push(RepackTrouble { subject: job.subject, attempts: job.attempts, error: job.error });
            }
        }
        let totals = self.catalog().coding().totals(ENCODER).await?;
        let progress = match running {
            0 => None,
            _ => settings.get(PROGRESS).await?.and_then(|text| kept(&text)),
        };
        let codec = |(codec, (raw_bytes, stored_bytes))| CodecBytes { codec, raw_bytes, stored_bytes };
        Ok(RepackStatus {
            policy,
            is_paused: self.is_repack_paused().await?,
            unread: unread.waiting + unread.running,
            waiting,
            running,
            failed,
            progress,
            troubles,
            xorbs: totals.xorbs,
            seen: totals.seen,
            coded: totals.coded,
            raw_bytes: totals.raw_bytes,
            stored_bytes: totals.stored_bytes,
            codecs: totals.by_codec.into_iter().map(codec).collect(),
        })
    }

    /// Pauses repacking on this hub, or lets it go on. What is under way stops within seconds and is not lost.
    pub async fn pause_repack(&self, is_paused: bool) -> Result<(), Error> {
        let settings = self.catalog().settings();
        if is_paused {
            settings.set(PAUSED, "1").await?;
        } else {
            settings.remove(PAUSED).await?;
            self.work_waits(Line::Packing).notify_one();
        }
        Ok(())
    }

    /// Asks for all commits that refs lead to, the oldest first; with `again` files are looked at that were before.
    /// Returns how many commits there are, those left out that are still to be read: they are coded after that.
    pub async fn repack_all(&self, again: bool) -> Result<u64, Error> {
        if again {
            self.catalog().coding().forget_looks().await?;
        }
        let refs = self.catalog().refs();
        let mut found: Vec<(i64, String)> = Vec::new();
        for repo in refs.repos().await? {
            let mut open: Vec<GitOid> = refs.list(&repo).await?.into_iter().map(|found| found.target).collect();
            let mut seen: HashSet<GitOid> = HashSet::new();
            while let Some(oid) = open.pop() {
                if !seen.insert(oid) {
                    continue;
                }
                let Ok(revision) = self.known_commit(&repo, oid).await else { continue };
                open.extend(&revision.commit.parents);
                let subject = format!("{repo} {oid}");
                // What is not read has no tensors that could be told; reading asks for the same job when it is done.
                let reading = self.catalog().jobs().get(jobs::READ, &subject).await?;
                if !reading.is_some_and(|job| job.held || job.attempts < MOST_ATTEMPTS) {
                    found.push((revision.commit.author.time_s, subject));
                }
            }
        }
        found.sort_unstable();
        let (count, now_ms) = (found.len() as i64, self.now_ms());
        let due = found.into_iter().zip(0..).map(|((_, subject), place)| (subject, now_ms - count + place));
        let due: Vec<(String, i64)> = due.collect();
        self.catalog().jobs().add_all(jobs::REPACK_OLD, &due).await?;
        self.work_waits(Line::Packing).notify_one();
        Ok(count.unsigned_abs())
    }

    /// Reads and codes one commit that waits, if there is one, in this process. Returns whether there was one.
    pub async fn repack_once(&self) -> Result<bool, Error> {
        Ok(self.work_once(Line::Reading).await? || self.work_once(Line::Packing).await?)
    }

    /// Notes which policy this process serves with.
    pub(crate) async fn note_repack_policy(&self) -> Result<(), Error> {
        Ok(self.catalog().settings().set(POLICY, self.options().repack.as_str()).await?)
    }

    pub(crate) async fn is_repack_paused(&self) -> Result<bool, Error> {
        Ok(self.catalog().settings().get(PAUSED).await?.is_some())
    }

    pub(super) async fn set_repack_progress(&self, progress: Option<&RepackProgress>) -> Result<(), Error> {
        let settings = self.catalog().settings();
        let Some(progress) = progress else { return Ok(settings.remove(PROGRESS).await?) };
        let kept = Kept {
            repo: progress.repo.clone(),
            commit: progress.commit.to_string(),
            done_bytes: progress.done_bytes,
            total_bytes: progress.total_bytes,
        };
        let text = serde_json::to_string(&kept).map_err(|error| Error::Malformed(error.to_string()))?;
        Ok(settings.set(PROGRESS, &text).await?)
    }
}

fn kept(text: &str) -> Option<RepackProgress> {
    let kept: Kept = serde_json::from_str(text).ok()?;
    let commit = kept.commit.parse().ok()?;
    Some(RepackProgress { repo: kept.repo, commit, done_bytes: kept.done_bytes, total_bytes: kept.total_bytes })
}
