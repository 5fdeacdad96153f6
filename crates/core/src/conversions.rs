//! "Download as": a checkpoint of a repository in another form, made on demand in the background, and kept.
//!
//! ```text
//!   offers ─ which forms, how large ─► ask ─ a row, a job ─► worker: plan, pour ─► store ─► done: files and record
//!   (headers only, kept by tree)                             (bounded memory)
//! ```
//! A conversion belongs to the repository that it was asked for, and is named by a digest over what decides its bytes: the
//! tree, the path below it, the options, the version of this program. Rights are checked where a repository is opened.

mod offers;
#[cfg(test)]
mod tests;
mod work;

use sha2::Digest;
use weighthouse_store::catalog::{ConversionKey, ConversionOutput, ConversionRecord, NewConversion, RepoKey, jobs};
use weighthouse_store::digest::{GitOid, Sha256};

use crate::access::{Caller, Repo};
use crate::browse::FileRecord;
use crate::checkpoints::stored::StoredFolder;
use crate::jobs::{Line, MOST_ATTEMPTS};
use crate::revision::Revision;
use crate::source::{Facts, Source};
use crate::{Error, Hub, names};

pub(crate) use offers::OfferCache;
pub use offers::{CHOICES, Choice, Offer, Planned};

/// Conversions of one account that may wait or be under way.
const MOST_OF_ONE: u64 = 4;
/// Conversions of all that may wait or be under way.
const MOST_OF_ALL: u64 = 100;
/// How often the use of a result is noted, in milliseconds.
const TOUCH_MS: i64 = 3_600_000;
/// End of the name of a record beside a converted file.
const RECORD: &str = ".weighthouse.convert.json";

/// A form that a checkpoint can be had in, and where it stands.
#[derive(Clone, Debug)]
pub struct Offered {
    /// The form.
    pub offer: Offer,
    /// Name of the conversion.
    pub digest: Sha256,
    /// Where it stands.
    pub standing: Standing,
}

/// Where a conversion stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nobody asked for it.
    Unasked,
    /// It waits for the worker.
    Waiting,
    /// It is being made.
    Running {
        /// Bytes that are done.
        done_bytes: u64,
        /// Bytes in all.
        total_bytes: u64,
    },
    /// It is there.
    Done(Made),
    /// It could not be made, for this reason; it may be asked for again.
    Failed(String),
}

/// What a conversion gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Files.
    pub outputs: Vec<ConversionOutput>,
    /// The record as JSON.
    pub record: String,
    /// Name of the record.
    pub record_name: String,
}

/// A file of a conversion.
#[derive(Clone, Debug)]
pub enum Converted {
    /// Stored bytes.
    File(FileRecord),
    /// The record.
    Record(String),
}

impl Made {
    fn new(outputs: Vec<ConversionOutput>, record: String) -> Self {
        let first = outputs.first().map_or("", |output| output.path.as_str());
        Self { record_name: format!("{first}{RECORD}"), outputs, record }
    }
}

/// Name of a conversion: a digest over what decides its bytes.
fn digest_of(tree: &GitOid, path: &str, options: &str) -> Sha256 {
    let mut hasher = sha2::Sha256::new();
    for part in ["conversion", env!("CARGO_PKG_VERSION"), &tree.to_string(), path, options] {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    Sha256(hasher.finalize().into())
}

fn key(repo: &RepoKey, revision: &Revision, path: &str, choice: &Choice) -> Result<(ConversionKey, String), Error> {
    let options = serde_json::to_string(&choice.options()).map_err(|error| Error::Malformed(error.to_string()))?;
    let digest = digest_of(&revision.commit.tree, path, &options);
    Ok((ConversionKey { repo: repo.clone(), digest }, options))
}

impl Hub {
    /// The forms that a checkpoint can be had in, and where each stands. `path` is a file, a folder, or empty for all files
    /// of the revision.
    ///
    /// # Errors
    /// As [`Hub::offers`].
    pub async fn conversions(&self, repo: &Repo, revision: &Revision, path: &str) -> Result<Vec<Offered>, Error> {
        let path = path.trim_matches('/');
        let offers = self.offers(repo, revision, path).await?;
        let mut found = Vec::with_capacity(offers.len());
        for offer in offers.iter() {
            let (key, _) = key(&repo.record.key, revision, path, offer.choice)?;
            found.push(Offered { offer: offer.clone(), digest: key.digest, standing: Standing::Unasked });
        }
        let digests: Vec<Sha256> = found.iter().map(|offered| offered.digest).collect();
        for record in self.catalog().conversions().several(&repo.record.key, &digests).await? {
            if let Some(offered) = found.iter_mut().find(|offered| offered.digest == record.asked.key.digest) {
                offered.standing = self.standing(record).await?;
            }
        }
        Ok(found)
    }

    /// Asks for a conversion. Asking once more changes nothing, unless it had failed.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] for a stranger; [`Error::Unsupported`] for a form that is not possible, with the reason;
    /// [`Error::TooLarge`] for results that this hub does not take as files; [`Error::Denied`] when the caller has asked
    /// for too much already, [`Error::Busy`] when all have; [`Error::Blocked`] when a policy keeps the files from the caller.
    pub async fn ask_conversion(
        &self,
        caller: &Caller,
        repo: &Repo,
        revision: &Revision,
        (path, word): (&str, &str),
    ) -> Result<Offered, Error> {
        let account = caller.account().ok_or(Error::Unauthenticated { action: "convert a checkpoint" })?;
        let path = path.trim_matches('/');
        self.pass_folder(caller, repo, revision, path).await?;
        let offers = self.offers(repo, revision, path).await?;
        let offer = offers.iter().find(|offer| offer.choice.word == word);
        let offer = offer.ok_or_else(|| {
            let known: Vec<&str> = CHOICES.iter().map(|choice| choice.word).collect();
            let text = format!("`{}` cannot be made; there are {}", names::shorten(word), known.join(", "));
            Error::Unsupported(text)
        })?;
        let planned = offer.planned.as_ref().map_err(|reason| Error::Unsupported(reason.clone()))?;
        let limit_bytes = self.options().max_file_bytes;
        if planned.size_bytes > limit_bytes {
            return Err(Error::TooLarge { what: format!("`{}`", offer.name), limit_bytes });
        }
        let (key, options) = key(&repo.record.key, revision, path, offer.choice)?;
        let conversions = self.catalog().conversions();
        let known = match conversions.get(&key).await? {
            Some(record) => self.standing(record).await?,
            None => Standing::Unasked,
        };
        if matches!(known, Standing::Unasked | Standing::Failed(_)) {
            let (own, all) = conversions.unfinished(&account.id, MOST_ATTEMPTS).await?;
            if own >= MOST_OF_ONE {
                let action = format!("have more than {MOST_OF_ONE} conversions under way at once");
                return Err(Error::Denied { action });
            }
            if all >= MOST_OF_ALL {
                return Err(Error::Busy { what: "converting checkpoints" });
            }
            let new = NewConversion {
                key: key.clone(),
                tree: revision.commit.tree,
                path: path.to_owned(),
                commit: revision.oid,
                name: offer.name.clone(),
                options,
                account: account.id.clone(),
                total_bytes: planned.size_bytes,
            };
            conversions.ask(&new, self.now_ms()).await?;
            self.work_waits(Line::Making).notify_one();
        }
        let standing = match conversions.get(&key).await? {
            Some(record) => self.standing(record).await?,
            None => Standing::Unasked,
        };
        Ok(Offered { offer: offer.clone(), digest: key.digest, standing })
    }

    /// A file of a conversion of this repository, by its name: a result, or the record.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such conversion, it is not done, or it has no such file.
    pub async fn converted(&self, repo: &Repo, digest: &str, name: &str) -> Result<Converted, Error> {
        let missing = || Error::NotFound { what: "converted file", name: names::shorten(name) };
        let digest = digest.parse().map_err(|_| missing())?;
        let key = ConversionKey { repo: repo.record.key.clone(), digest };
        let conversions = self.catalog().conversions();
        let record = conversions.get(&key).await?.filter(|record| !record.record.is_empty()).ok_or_else(missing)?;
        let now_ms = self.now_ms();
        if now_ms - record.used_at_ms > TOUCH_MS {
            conversions.touch(&key, now_ms).await?;
        }
        let made = Made::new(conversions.outputs(&key).await?, record.record);
        if made.record_name == name {
            return Ok(Converted::Record(made.record));
        }
        let output = made.outputs.into_iter().find(|output| output.path == name).ok_or_else(missing)?;
        let content = self.content(&output.sha256).await?.record;
        Ok(Converted::File(FileRecord {
            path: output.path,
            oid: GitOid([0; 20]),
            size_bytes: content.size_bytes,
            lfs: true,
            sha256: content.sha256,
            file_hash: content.file_hash,
            retired: None,
        }))
    }

    async fn standing(&self, record: ConversionRecord) -> Result<Standing, Error> {
        let key = &record.asked.key;
        if !record.record.is_empty() {
            return Ok(Standing::Done(Made::new(self.catalog().conversions().outputs(key).await?, record.record)));
        }
        if !record.error.is_empty() {
            return Ok(Standing::Failed(record.error));
        }
        Ok(match self.catalog().jobs().get(jobs::CONVERT, &key.subject()).await? {
            Some(job) if job.held => {
                Standing::Running { done_bytes: record.done_bytes, total_bytes: record.asked.total_bytes }
            }
            Some(job) if job.attempts < MOST_ATTEMPTS => Standing::Waiting,
            // The log says why: the words of a storage or a database are no reader's business.
            _ => Standing::Failed("it was tried several times and did not succeed".to_owned()),
        })
    }
}

/// What is known of stored files: their digests, which also tell whether they are the same.
struct StoredFacts<'a>(&'a StoredFolder);

impl Facts for StoredFacts<'_> {
    fn digest(&self, path: &str) -> Option<Sha256> {
        self.0.record(path).map(|record| record.sha256)
    }

    fn stamp(&self, path: &str) -> String {
        self.digest(path).map(|digest| digest.to_string()).unwrap_or_default()
    }
}

/// Runs `work` over stored files, or one of them. On a blocking thread.
fn over<T>(
    folder: &StoredFolder,
    file: Option<&str>,
    work: impl FnOnce(&Source<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let done = work(&Source { folder, file, facts: &StoredFacts(folder) });
    // A store that failed is no fault of the files, whatever their reader says.
    done.map_err(|error| folder.failure().unwrap_or(error))
}
