//! Collecting garbage: what nothing names is condemned by one run and removed by a later one.
//!
//! ```text
//!   refs ─► commits ─► trees ─► blobs ─► contents ─► xorbs ─► packs
//!                     conversions, uploads, gifts ─┘  └─► bases (contents again)
//! ```
//! Every kind of row is treated alike. A row that is not reached from what is in use is *condemned*; when that is longer ago
//! than the grace, and no row that is still there names it, it is removed. Whoever names a row takes its condemnation back in
//! the same transaction, or learns that it is gone ([`crate::StoreError::Gone`]). So a run works beside a server and beside
//! uploads, can be killed anywhere, and never removes what a later statement of anybody could name: new things name what they
//! need directly, or inherit it from rows that this run saw and left.
//!
//! What is reached from condemned rows that are still there (*held*) is not removed either. Packs go last: rows first, then the
//! object, then its row, so that what a killed run leaves is found by the next.

mod mark;
mod sweep;
#[cfg(test)]
pub(crate) mod tests;

use crate::catalog::RepoKey;
use crate::digest::Sha256;
use crate::{Store, StoreError};

/// How long a lease is held without a sign of life, in milliseconds.
const LEASE_MS: i64 = 5 * 60_000;
/// Name of the lease, and of the record of the last run.
pub const LEASE: &str = "gc";

/// How to collect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GcOptions {
    /// Whether to act; otherwise the run only says what it would do.
    pub execute: bool,
    /// How long ago something must have been condemned or given, in milliseconds.
    pub grace_ms: i64,
    /// How long a conversion or a comparison is kept that nobody uses, in milliseconds.
    pub unused_ms: i64,
}

/// Why something is not needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// Its repository was deleted.
    RepositoryDeleted,
    /// No branch or tag leads to a commit that names it.
    NotNamed,
    /// A rule of retention gave it up.
    Retention,
    /// It belonged to a conversion, or to an upload that was never finished.
    Leftover,
}

/// Why something stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Need {
    /// A commit names it.
    Commit,
    /// A conversion that is kept names it.
    Conversion,
    /// It was given to a repository a short while ago.
    Recent,
    /// An upload under way will bring it.
    Upload,
    /// Other files are stored as their difference from it.
    Base,
    /// It is condemned, and waits for the end of the grace.
    Waiting,
}

/// Bytes that are not needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// Repository as people call it; `None` when it is gone or never was.
    pub repo: Option<String>,
    /// Why.
    pub cause: Cause,
    /// Xorbs.
    pub xorbs: u64,
    /// Bytes in packs.
    pub stored_bytes: u64,
}

/// Bytes that stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Why.
    pub need: Need,
    /// Xorbs.
    pub xorbs: u64,
    /// Bytes in packs.
    pub stored_bytes: u64,
    /// One of those that need it, in words.
    pub example: String,
}

/// A content that is there only because others are stored as their difference from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoneBase {
    /// Content.
    pub sha256: Sha256,
    /// Its length in bytes.
    pub size_bytes: u64,
    /// Bytes in packs that would be free without it.
    pub stored_bytes: u64,
    /// Xorbs that need it.
    pub dependants: u64,
}

/// Numbers of rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rows {
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
}

/// What a run did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Whether it acted.
    pub executed: bool,
    /// When it began, milliseconds since 1970.
    pub began_at_ms: i64,
    /// The grace, in milliseconds.
    pub grace_ms: i64,
    /// What is removed by this run.
    pub freed: Vec<Share>,
    /// What this run found to be unneeded; a run after the grace removes it.
    pub condemned: Vec<Share>,
    /// What stays.
    pub kept: Vec<Kept>,
    /// Bases that nothing but dependants needs.
    pub bases: Vec<LoneBase>,
    /// Rows removed by this run.
    pub removed: Rows,
    /// Rows condemned by this run.
    pub marked: Rows,
    /// Verdicts removed, on contents that are gone.
    pub verdicts: u64,
    /// Packs removed, and their bytes.
    pub packs: (u64, u64),
    /// Packs of which little is needed, copied into smaller ones, and the bytes that are free after the grace.
    pub rewritten: (u64, u64),
    /// Conversions and comparisons that nobody used.
    pub unused: (u64, u64),
    /// Objects that could not be removed, and why; the next run tries again.
    pub failures: Vec<String>,
}

impl GcReport {
    /// Bytes of xorbs that are removed.
    #[must_use]
    pub fn freed_bytes(&self) -> u64 {
        self.freed.iter().map(|share| share.stored_bytes).sum()
    }
}

impl Store {
    /// Collects garbage, or says what would be collected. `None` when another process is collecting.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when something on the way from a ref is missing: what it led to is not known then, so nothing
    /// is removed.
    pub async fn collect(&self, options: &GcOptions) -> Result<Option<GcReport>, StoreError> {
        let leases = self.catalog().leases();
        let now_ms = self.clock().now_ms();
        if !options.execute {
            return Ok(Some(sweep::Run::new(self, options, now_ms).all(None).await?));
        }
        let Some(lease) = leases.take(LEASE, now_ms, now_ms.saturating_add(LEASE_MS)).await? else { return Ok(None) };
        let done = sweep::Run::new(self, options, now_ms).all(Some(&lease)).await;
        leases.give_back(lease).await?;
        done.map(Some)
    }
}

/// A repository's key and its name for people.
pub(crate) fn shown(name: &crate::catalog::RepoName) -> (RepoKey, String) {
    let prefix = match name.kind {
        crate::catalog::RepoKind::Model => "",
        crate::catalog::RepoKind::Dataset => "datasets/",
    };
    (name.key.clone(), format!("{prefix}{}", name.id))
}
