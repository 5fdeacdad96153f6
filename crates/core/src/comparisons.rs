//! Compare: what changed between any two revisions that a reader may see, found in the background, and kept.
//!
//! ```text
//!   two names ─► two revisions ─► ask ─ a row, a job ─► worker: diff::compare ─► document (JSON), kept by both trees
//!                       └────────────────────────────── texts: lines of the cards ─► shown at once
//! ```
//! A comparison is addressed by content, as readings are: whoever may read both sides may see it. The document therefore
//! names no repository; the names are put in for whoever asks.

mod lines;
mod name;
#[cfg(test)]
mod tests;
mod work;

use std::sync::Arc;

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use serde_json::Value;
use sha2::Digest;
use weighthouse_store::StoreError;
use weighthouse_store::catalog::{ComparedSide, ComparisonRecord, NewComparison, jobs};
use weighthouse_store::digest::Sha256;

use crate::access::{Caller, Repo};
use crate::card::CARD_PATH;
use crate::checkpoints::task;
use crate::jobs::{Line, MOST_ATTEMPTS};
use crate::revision::Revision;
use crate::{Error, Hub};

pub use lines::{Hunk, LineChange, Lines};
pub use name::SideName;

/// Comparisons of one account that may wait or be under way.
const MOST_OF_ONE: u64 = 4;
/// Comparisons of all that may wait or be under way.
const MOST_OF_ALL: u64 = 100;
/// Longest card whose lines are compared, in bytes.
const MAX_TEXT_BYTES: u64 = 256 << 10;
/// Documents that are kept as they were read, by the length of their text in bytes.
const CACHE_BYTES: u64 = 16 << 20;

pub(crate) type DocumentCache = Cache<Sha256, Arc<Value>, ByText, DefaultHashBuilder, Lifecycle>;
type Lifecycle = DefaultLifecycle<Sha256, Arc<Value>>;

/// Weighs documents about as long as their text is.
#[derive(Clone, Debug)]
pub(crate) struct ByText;

impl Weighter<Sha256, Arc<Value>> for ByText {
    fn weight(&self, _: &Sha256, document: &Arc<Value>) -> u64 {
        // A tensor takes about 400 bytes of text.
        let list = |key: &str| document.get(key).and_then(Value::as_array).map_or(0, Vec::len) as u64;
        10_000 + 400 * list("tensors")
    }
}

/// A cache for documents.
pub(crate) fn document_cache() -> DocumentCache {
    let options = OptionsBuilder::new().shards(1).estimated_items_capacity(50).weight_capacity(CACHE_BYTES).build();
    match options {
        Ok(options) => Cache::with_options(options, ByText, DefaultHashBuilder::default(), Lifecycle::default()),
        Err(_) => Cache::with_weighter(50, CACHE_BYTES, ByText),
    }
}

/// A checkpoint that is compared.
#[derive(Clone, Debug)]
pub struct Compared {
    /// Its repository.
    pub repo: Repo,
    /// Its revision.
    pub revision: Revision,
    /// Folder or file; empty for all files.
    pub path: String,
}

/// Where a comparison stands.
#[derive(Clone, Debug)]
pub enum Compare {
    /// Nobody asked for it.
    Unasked,
    /// It waits for the worker.
    Waiting,
    /// It is being made.
    Running {
        /// Bytes that are done.
        done_bytes: u64,
        /// Bytes in all; 0 while that is not known.
        total_bytes: u64,
    },
    /// It is there: a document of the schema `weighthouse.diff/1`, in which the sides have no names.
    Done(Arc<Value>),
    /// It could not be made, for this reason; it may be asked for again.
    Failed(String),
}

/// Name of a comparison: a digest over what decides it.
fn digest_of(a: &Compared, b: &Compared) -> Sha256 {
    let mut hasher = sha2::Sha256::new();
    let (one, other) = (a.revision.commit.tree.to_string(), b.revision.commit.tree.to_string());
    for part in ["comparison", env!("CARGO_PKG_VERSION"), &one, &a.path, &other, &b.path] {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    Sha256(hasher.finalize().into())
}

impl Compared {
    fn side(&self) -> ComparedSide {
        ComparedSide { repo: self.repo.record.key.clone(), commit: self.revision.oid, path: self.path.clone() }
    }
}

impl Hub {
    /// Opens a side of a comparison.
    ///
    /// # Errors
    /// As [`Hub::repo_at`]; [`Error::EntryNotFound`] for a path that is not there.
    pub async fn compared(&self, caller: &Caller, name: &SideName) -> Result<Compared, Error> {
        let (repo, revision) = match self.repo_at(caller, name.kind, &name.id, &name.revision).await {
            // Addresses of comparisons are kept by people, and outlive names.
            Err(Error::RepoMoved { to, .. }) => self.repo_at(caller, name.kind, &to, &name.revision).await?,
            found => found?,
        };
        let path = name.path.trim_matches('/').to_owned();
        if !path.is_empty() && self.file(&revision, &name.revision, &path).await.is_err() {
            self.list_page(&revision, &name.revision, &path, false, 0..1).await?;
        }
        Ok(Compared { repo, revision, path })
    }

    /// Where the comparison of two checkpoints stands.
    pub async fn comparison(&self, a: &Compared, b: &Compared) -> Result<Compare, Error> {
        let key = digest_of(a, b);
        if let Some(document) = self.documents().get(&key) {
            return Ok(Compare::Done(document));
        }
        match self.catalog().comparisons().get(&key).await? {
            Some(record) => self.compare_standing(record).await,
            None => Ok(Compare::Unasked),
        }
    }

    /// Asks for the comparison of two checkpoints. Asking once more changes nothing, unless it had failed.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] for a stranger; [`Error::Denied`] when the caller has asked for too much already,
    /// [`Error::Busy`] when all have; [`Error::Blocked`] when a policy keeps files from the caller.
    pub async fn ask_comparison(&self, caller: &Caller, a: &Compared, b: &Compared) -> Result<Compare, Error> {
        let account = caller.account().ok_or(Error::Unauthenticated { action: "compare checkpoints" })?;
        let known = self.comparison(a, b).await?;
        if !matches!(known, Compare::Unasked | Compare::Failed(_)) {
            return Ok(known);
        }
        for side in [a, b] {
            self.pass_folder(caller, &side.repo, &side.revision, &side.path).await?;
        }
        let comparisons = self.catalog().comparisons();
        let (own, all) = comparisons.unfinished(&account.id, MOST_ATTEMPTS).await?;
        if own >= MOST_OF_ONE {
            return Err(Error::Denied {
                action: format!("have more than {MOST_OF_ONE} comparisons under way at once"),
            });
        }
        if all >= MOST_OF_ALL {
            return Err(Error::Busy { what: "comparing checkpoints" });
        }
        let new = NewComparison { key: digest_of(a, b), a: a.side(), b: b.side(), account: account.id.clone() };
        comparisons.ask(&new, self.now_ms()).await?;
        self.work_waits(Line::Making).notify_one();
        self.comparison(a, b).await
    }

    /// Lines of the cards of two revisions that differ; `None` when neither has one or one is too long.
    pub async fn compared_cards(&self, a: &Compared, b: &Compared) -> Result<Option<Lines>, Error> {
        let (one, other) = (self.card_text(a).await?, self.card_text(b).await?);
        let (Some(one), Some(other)) = (one, other) else { return Ok(None) };
        if one == other {
            return Ok(None);
        }
        tokio::task::spawn_blocking(move || Some(Lines::between(&one, &other))).await.map_err(task)
    }

    /// The card of a revision: empty when there is none, `None` when it is too long.
    async fn card_text(&self, side: &Compared) -> Result<Option<String>, Error> {
        match self.file(&side.revision, &side.revision.oid.to_string(), CARD_PATH).await {
            Ok(file) => {
                let data = self.read_small(&file, MAX_TEXT_BYTES).await?;
                Ok(data.map(|data| String::from_utf8_lossy(&data).into_owned()))
            }
            Err(Error::EntryNotFound { .. }) => Ok(Some(String::new())),
            Err(error) => Err(error),
        }
    }

    async fn compare_standing(&self, record: ComparisonRecord) -> Result<Compare, Error> {
        let key = record.asked.key;
        if !record.document.is_empty() {
            let text = record.document;
            let parsed = tokio::task::spawn_blocking(move || serde_json::from_str::<Value>(&text));
            let parsed = parsed.await.map_err(task)?.map_err(|error| {
                Error::Store(StoreError::Corrupt { what: format!("comparison {key}"), detail: error.to_string() })
            })?;
            let document = Arc::new(parsed);
            self.documents().insert(key, Arc::clone(&document));
            return Ok(Compare::Done(document));
        }
        if !record.error.is_empty() {
            return Ok(Compare::Failed(record.error));
        }
        Ok(match self.catalog().jobs().get(jobs::COMPARE, &key.to_string()).await? {
            Some(job) if job.held => {
                Compare::Running { done_bytes: record.done_bytes, total_bytes: record.total_bytes }
            }
            Some(job) if job.attempts < MOST_ATTEMPTS => Compare::Waiting,
            _ => Compare::Failed("it was tried several times and did not succeed".to_owned()),
        })
    }
}
