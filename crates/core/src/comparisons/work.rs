//! The job: reads both checkpoints once and keeps what was found.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use weighthouse_store::catalog::{ComparedSide, Job, NewComparison};
use weighthouse_store::digest::Sha256;

use crate::checkpoints::stored::StoredFolder;
use crate::checkpoints::task;
use crate::diff::{self, Document, Side};
use crate::jobs::MOST_ATTEMPTS;
use crate::{Error, ErrorKind, Hub};

/// Longest document that is kept, in bytes: about 100,000 tensors.
const MAX_DOCUMENT_BYTES: usize = 48 << 20;
/// How often progress is noted.
const NOTE_EVERY: Duration = Duration::from_secs(1);

/// Files of a side, and which of them is the checkpoint.
struct Files {
    folder: StoredFolder,
    file: Option<String>,
}

/// Ends the reading when nobody waits for it any more.
struct GiveUp(Arc<(Files, Files)>);

impl Drop for GiveUp {
    fn drop(&mut self) {
        self.0.0.folder.give_up();
        self.0.1.folder.give_up();
    }
}

impl Hub {
    /// Does the work of a job: makes a comparison and puts it on record. Once more is no harm.
    pub(crate) async fn carry_out_comparison(&self, job: &Job) -> Result<(), Error> {
        let Ok(key) = job.subject.parse::<Sha256>() else { return Ok(()) };
        let comparisons = self.catalog().comparisons();
        let Some(record) = comparisons.get(&key).await? else { return Ok(()) };
        if !record.document.is_empty() || !record.error.is_empty() {
            return Ok(());
        }
        match self.make_comparison(&record.asked).await {
            Ok(document) => Ok(comparisons.finish(&key, &document).await?),
            Err(error) if self.is_stopping() => Err(error),
            Err(error) if matches!(error.kind(), ErrorKind::Malformed | ErrorKind::NotFound) => {
                Ok(comparisons.refuse(&key, &error.to_string()).await?)
            }
            Err(error) if job.attempts >= MOST_ATTEMPTS => {
                tracing::error!(job.subject, %error, "a comparison is given up");
                Ok(comparisons.refuse(&key, "it was tried several times and did not succeed").await?)
            }
            Err(error) => Err(error),
        }
    }

    async fn make_comparison(&self, asked: &NewComparison) -> Result<String, Error> {
        let files = Arc::new((self.files_to_compare(&asked.a).await?, self.files_to_compare(&asked.b).await?));
        let _give_up = GiveUp(Arc::clone(&files));
        let (done, total) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let mut worker = tokio::task::spawn_blocking({
            let (files, done, total) = (Arc::clone(&files), Arc::clone(&done), Arc::clone(&total));
            move || {
                compare(&files.0, &files.1, &|bytes, all| {
                    done.fetch_add(bytes, Ordering::Relaxed);
                    total.store(all, Ordering::Relaxed);
                })
            }
        });
        let mut ticks = tokio::time::interval(NOTE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let made = loop {
            tokio::select! {
                made = &mut worker => break made.map_err(task)?,
                _ = ticks.tick() => {
                    let (done, total) = (done.load(Ordering::Relaxed), total.load(Ordering::Relaxed));
                    if total > 0 {
                        self.catalog().comparisons().advance(&asked.key, done, total).await?;
                    }
                }
            }
        };
        // What cannot be read is said of a tensor, also when it is the store that failed, or the hub that stops.
        for side in [&files.0, &files.1] {
            if let Some(error) = side.folder.failure() {
                return Err(error);
            }
        }
        if self.is_stopping() {
            return Err(Error::Busy { what: "comparing checkpoints" });
        }
        made
    }

    async fn files_to_compare(&self, side: &ComparedSide) -> Result<Files, Error> {
        let gone = || Error::NotFound { what: "commit", name: side.commit.to_string() };
        let revision = self.known_commit(&side.repo, side.commit).await.map_err(|error| match error.kind() {
            ErrorKind::Corrupt => gone(),
            _ => error,
        })?;
        let (prefix, file) = self.split(&revision, &side.path).await?;
        Ok(Files { folder: StoredFolder::of(self, &revision, &prefix, u64::MAX).await?, file })
    }
}

/// Compares, and writes the document. On a blocking thread.
fn compare(a: &Files, b: &Files, progress: &(dyn Fn(u64, u64) + Sync)) -> Result<String, Error> {
    let (one, other) = (diff::open(&a.folder, a.file.as_deref())?, diff::open(&b.folder, b.file.as_deref())?);
    let digest = |files: &Files, path: &str| files.folder.record(path).map(|record| record.sha256.to_string());
    let (known_a, known_b) = (|path: &str| digest(a, path), |path: &str| digest(b, path));
    let side_a = Side { folder: &a.folder, checkpoint: &one, whole: a.file.is_none(), known: &known_a };
    let side_b = Side { folder: &b.folder, checkpoint: &other, whole: b.file.is_none(), known: &known_b };
    let comparison = diff::compare(side_a, side_b, None, progress);
    let document = Document { comparison: &comparison, a: "", b: "", with: None, wire_bytes: None };
    let text = serde_json::to_string(&document).map_err(|error| Error::Malformed(error.to_string()))?;
    if text.len() > MAX_DOCUMENT_BYTES {
        return Err(Error::Unsupported(format!(
            "{} tensors are too many to be compared here",
            comparison.tensors.len()
        )));
    }
    Ok(text)
}
