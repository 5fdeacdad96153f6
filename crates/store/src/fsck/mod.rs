//! Checking everything that is stored: references, sizes, indexes, and with `deep` every byte.
//!
//! ```text
//!   refs ─► commits ─► trees ─► blobs ─► contents ─► chunks of xorbs ─► packs ─► objects
//! ```
//! A check returns a report: finding damage is its success. What it reads is not believed: lengths in rows and packs are
//! compared with the object before anything is read, and a damaged thing is named and left alone. `repair` mends what can be
//! mended from what is still there.

mod bytes;
mod history;
mod losses;
mod repair;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use weighthouse_format::xet::hash::XetHash;

use crate::catalog::PackId;
use crate::digest::Sha256;
use crate::{Store, StoreError, blob};

/// Problems that are described one by one; more are counted.
const MOST_PROBLEMS: usize = 10_000;

/// How to check.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FsckOptions {
    /// Read and compare every byte.
    pub deep: bool,
    /// Mend what can be mended.
    pub repair: bool,
}

/// What is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Part {
    /// A ref, a commit, a tree or a blob.
    History,
    /// A file's bytes as a whole.
    Content,
    /// A xorb.
    Xorb,
    /// A pack.
    Pack,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What is damaged.
    pub part: Part,
    /// Its name.
    pub what: String,
    /// What does not agree.
    pub detail: String,
    /// How it was mended; `None` when it was not.
    pub repaired: Option<String>,
}

/// A file that cannot be had whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// Repository, as people call it; `None` for a file that no commit names.
    pub repo: Option<String>,
    /// Path.
    pub path: String,
    /// Commit in which it was found: the head of a branch or tag where one has it.
    pub revision: String,
    /// Content.
    pub sha256: Sha256,
    /// Its length in bytes, as recorded.
    pub size_bytes: u64,
    /// Bytes that are lost.
    pub ranges: Vec<Range<u64>>,
}

/// What a check looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checked {
    /// Repositories.
    pub repos: u64,
    /// Commits.
    pub commits: u64,
    /// Trees.
    pub trees: u64,
    /// Blobs.
    pub blobs: u64,
    /// Contents.
    pub contents: u64,
    /// Xorbs.
    pub xorbs: u64,
    /// Packs.
    pub packs: u64,
    /// Bytes of files whose digest was compared.
    pub file_bytes: u64,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FsckReport {
    /// Whether every byte was read.
    pub deep: bool,
    /// What was looked at.
    pub checked: Checked,
    /// What is wrong, at most ten thousand of it.
    pub problems: Vec<Problem>,
    /// Problems beyond those.
    pub more_problems: u64,
    /// Files that cannot be had whole.
    pub losses: Vec<Loss>,
    /// Objects that nothing on record names, and their bytes. They may belong to a newer catalog, so they stay.
    pub unknown_objects: (u64, u64),
}

impl FsckReport {
    /// Whether nothing is wrong, or everything that was is mended.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.more_problems == 0 && self.losses.is_empty() && self.problems.iter().all(|p| p.repaired.is_some())
    }

    fn add(&mut self, part: Part, what: String, detail: impl Into<String>) {
        if self.problems.len() < MOST_PROBLEMS {
            self.problems.push(Problem { part, what, detail: detail.into(), repaired: None });
        } else {
            self.more_problems += 1;
        }
    }

    /// Notes how everything that is called `what` was mended.
    fn mend(&mut self, what: &str, how: &str) {
        for problem in self.problems.iter_mut().filter(|problem| problem.what == what) {
            problem.repaired = Some(how.to_owned());
        }
    }
}

/// What is wrong with a xorb.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Damage {
    /// Nothing of it can be read.
    Whole,
    /// These chunks cannot be.
    Chunks(BTreeSet<u32>),
}

/// What was found to be damaged, by name.
#[derive(Debug, Default)]
struct Damaged {
    xorbs: HashMap<XetHash, Damage>,
    contents: HashMap<Sha256, (u64, Vec<Range<u64>>)>,
}

impl Store {
    /// Reads and compares every byte of a pack.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] says what is wrong with it.
    pub async fn check_pack(&self, id: &PackId) -> Result<(), StoreError> {
        // One that was removed meanwhile is nobody's loss.
        let Some(pack) = self.catalog().packs().get(id).await?.filter(|pack| pack.is_sealed) else { return Ok(()) };
        let read = blob::read_table(self, id, pack.size_bytes).await;
        for record in self.catalog().moves().xorbs_in(id).await? {
            if let Some((_, detail)) = bytes::xorb(self, &record, true).await? {
                return Err(StoreError::Corrupt { what: format!("xorb {} in pack {id}", record.hash), detail });
            }
        }
        match read {
            Err(_) if self.catalog().packs().get(id).await?.is_none() => Ok(()),
            read => read.map(drop),
        }
    }

    /// Checks everything that is stored.
    ///
    /// # Errors
    /// Those of a catalog or a storage that does not answer. Damage is no error.
    pub async fn fsck(&self, options: &FsckOptions) -> Result<FsckReport, StoreError> {
        let mut report = FsckReport { deep: options.deep, ..FsckReport::default() };
        let mut damaged = Damaged::default();
        bytes::packs(self, &mut report).await?;
        bytes::xorbs(self, options.deep, &mut report, &mut damaged).await?;
        if options.repair {
            repair::rows(self, &mut report).await?;
            repair::xorbs(self, &mut report, &mut damaged).await?;
        }
        bytes::contents(self, options.deep, &mut report, &mut damaged).await?;
        let lost = history::check(self, &mut report).await?;
        losses::find(self, &mut report, damaged.contents, &lost).await?;
        Ok(report)
    }
}
