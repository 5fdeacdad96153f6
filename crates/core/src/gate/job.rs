//! The job: judges the files of a commit that have no verdict yet, and then the whole.
//!
//! Verdicts are recorded as they come, so that a killed worker loses little. Only a verdict that the scanner gave is
//! recorded: a storage that does not answer, a scanner that fails and a hub that stops leave the file queued. A file on
//! which the scanner fails again and again, or that takes too long, is an error at last, which is not safe.

use std::collections::HashMap;
use std::sync::Arc;

use futures::{StreamExt, stream};
use weighthouse_store::catalog::{Job, NewVerdict, RepoKey, VerdictRecord};
use weighthouse_store::digest::{GitOid, Sha256};
use weighthouse_trust::scan::{self, FileScan};

use super::observed::Observed;
use super::summary::TreeVerdict;
use super::{FileFacts, FileStatus, WORKERS, kept_report};
use crate::browse::FileRecord;
use crate::checkpoints::stored::StoredFolder;
use crate::checkpoints::task;
use crate::jobs::Line;
use crate::revision::Revision;
use crate::{Error, Hub, names};

/// Files whose verdicts are recorded together.
const BATCH: usize = 64;
/// Attempts after which a file on which the scanner fails is an error.
const FAILURES: i64 = 3;
/// Bytes that the scan of any file may read, beside four times its length.
const EXTRA_BYTES: u64 = 1 << 30;

/// What came of the scan of a file.
struct Outcome {
    scan: FileScan,
    looked_around: bool,
}

impl Hub {
    /// Asks for everything to be judged anew when the rules are newer than those that it was judged by, and for what was
    /// committed before there was a gate.
    pub(crate) async fn judge_by_new_rules(&self) -> Result<(), Error> {
        let rules = self.scanner().rules;
        let asked = self.catalog().verdicts().ask_for_all(rules).await?;
        if asked > 0 {
            tracing::info!(commits = asked, rules, "everything is judged by new rules, the newest first");
            self.work_waits(Line::Judging).notify_one();
        }
        Ok(())
    }

    /// Does the work of a job: judges a commit. Once more is no harm.
    pub(crate) async fn judge_commit(&self, job: &Job) -> Result<(), Error> {
        let parts = job.subject.split_once(' ').and_then(|(repo, oid)| Some((repo, oid.parse::<GitOid>().ok()?)));
        let Some((repo, oid)) = parts else { return Ok(()) };
        let key = RepoKey::from(repo.to_owned());
        if self.catalog().repos().get(&key).await?.is_none() {
            return Ok(());
        }
        let Ok(revision) = self.known_commit(&key, oid).await else { return Ok(()) };
        let folder = Arc::new(StoredFolder::of(self, &revision, "", 0).await?);
        let files: Vec<Arc<FileRecord>> = folder.records().to_vec();
        let mut known = self.known_verdicts(&key, &revision, &files).await?;
        let open: Vec<Arc<FileRecord>> =
            files.iter().filter(|file| !known.contains_key(&file.path)).map(Arc::clone).collect();
        let mut failure = None;
        let mut done: Vec<(Arc<FileRecord>, Outcome)> = Vec::with_capacity(BATCH);
        let attempt = job.attempts;
        let mut scans = stream::iter(open)
            .map(|file| {
                let (hub, folder) = (self.clone(), Arc::clone(&folder));
                async move {
                    let outcome = hub.judge(&folder, &file, attempt).await;
                    (file, outcome)
                }
            })
            .buffer_unordered(WORKERS);
        while let Some((file, outcome)) = scans.next().await {
            match outcome {
                Ok(outcome) => done.push((file, outcome)),
                // The others need not wait for this one.
                Err(error) => failure = Some(error),
            }
            if done.len() >= BATCH {
                self.keep_verdicts(&key, &revision, &mut done, &mut known).await?;
            }
            if self.is_stopping() {
                break;
            }
        }
        drop(scans);
        self.keep_verdicts(&key, &revision, &mut done, &mut known).await?;
        if let Some(error) = failure {
            return Err(error);
        }
        if self.is_stopping() {
            return Err(Error::Busy { what: "judging files" });
        }
        let verdict = TreeVerdict::of(files.iter().filter_map(|file| Some((&**file, known.get(&file.path)?))));
        let json = serde_json::to_string(&verdict).map_err(|error| Error::Malformed(error.to_string()))?;
        Ok(self.catalog().verdicts().set_tree(&revision.commit.tree, self.scanner().rules, &json).await?)
    }

    /// Verdicts by these rules or newer ones that are on record, by path.
    async fn known_verdicts(
        &self,
        repo: &RepoKey,
        revision: &Revision,
        files: &[Arc<FileRecord>],
    ) -> Result<HashMap<String, FileStatus>, Error> {
        let rules = self.scanner().rules;
        let asked: Vec<(Sha256, &str)> = files.iter().map(|file| (file.sha256, file.path.as_str())).collect();
        let mut records = self.catalog().verdicts().of_files(&revision.commit.tree, &asked).await?;
        records.retain(|record| record.rules >= rules);
        // A file may have a verdict of earlier rules that did not look around, and one of these that did.
        records.sort_by_key(|record| record.rules);
        let mut known = HashMap::with_capacity(records.len());
        let mut noted: HashMap<String, VerdictRecord> = HashMap::with_capacity(records.len());
        for record in records {
            noted.insert(record.path.clone(), record.clone());
            known.insert(record.path.clone(), FileStatus::of(record, rules)?);
        }
        let noted: Vec<VerdictRecord> = noted.into_values().collect();
        self.catalog().verdicts().note(repo, &noted).await?;
        Ok(known)
    }

    /// Judges one file, on a thread of its own and within its time.
    async fn judge(&self, folder: &StoredFolder, file: &Arc<FileRecord>, attempt: i64) -> Result<Outcome, Error> {
        let scanner = *self.scanner();
        let busy = || Error::Busy { what: "judging files" };
        // The thread keeps the turn until it ends, even when nobody waits for it any more.
        let turn = Arc::clone(&self.gate().scans).acquire_owned().await.map_err(|_| busy())?;
        let budget_bytes = file.size_bytes.saturating_mul(4).saturating_add(EXTRA_BYTES);
        let folder = Arc::new(folder.anew(budget_bytes));
        let work = tokio::task::spawn_blocking({
            let (folder, path) = (Arc::clone(&folder), file.path.clone());
            move || {
                let _turn = turn;
                let observed = Observed::new(&*folder, &path);
                let scan = crate::scan::guarded(&path, || (scanner.run)(&observed, &path));
                (scan, observed.looked_around())
            }
        });
        let (scan, looked_around) = match tokio::time::timeout(scanner.patience, work).await {
            Ok(done) => done.map_err(task)?,
            Err(_) => {
                folder.give_up();
                let message = format!("it took longer than {} s", scanner.patience.as_secs());
                tracing::warn!(file.path, "judging a file was given up: {message}");
                return Ok(Outcome { scan: scan::failed(&file.path, file.size_bytes, &message), looked_around: true });
            }
        };
        // A store that failed, and a hub that stops, are no fault of the file.
        if let Some(error) = folder.failure() {
            return Err(error);
        }
        if self.is_stopping() {
            return Err(busy());
        }
        match scan {
            Ok(scan) => Ok(Outcome { scan, looked_around }),
            Err(message) if attempt >= FAILURES => {
                let scan = scan::failed(&file.path, file.size_bytes, &message);
                Ok(Outcome { scan, looked_around })
            }
            Err(_) => {
                let what = format!("the scanner failed on `{}`", names::shorten(&file.path));
                Err(Error::Store(weighthouse_store::StoreError::Task(what)))
            }
        }
    }

    async fn keep_verdicts(
        &self,
        repo: &RepoKey,
        revision: &Revision,
        done: &mut Vec<(Arc<FileRecord>, Outcome)>,
        known: &mut HashMap<String, FileStatus>,
    ) -> Result<(), Error> {
        let rules = self.scanner().rules;
        let mut new = Vec::with_capacity(done.len());
        for (file, Outcome { scan, looked_around }) in done.drain(..) {
            let facts = FileFacts::of(&scan);
            let record = VerdictRecord {
                sha256: file.sha256,
                path: file.path.clone(),
                surroundings: looked_around.then_some(revision.commit.tree),
                verdict: scan.verdict.as_str().to_owned(),
                rules,
                scanner: scan::SCANNER_VERSION.to_owned(),
                judged_at_ms: self.now_ms(),
                facts: serde_json::to_string(&facts).map_err(|error| Error::Malformed(error.to_string()))?,
            };
            known.insert(file.path.clone(), FileStatus::of(record.clone(), rules)?);
            new.push(NewVerdict { record, report: kept_report(scan) });
        }
        if new.is_empty() {
            return Ok(());
        }
        Ok(self.catalog().verdicts().add(repo, &new).await?)
    }
}
