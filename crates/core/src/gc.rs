//! Collecting garbage: what no repository, conversion or upload needs. The rules are those of [`weighthouse_store::gc`].

use weighthouse_store::gc::LEASE;

use crate::{Error, Hub, Sha256};

pub use weighthouse_store::gc::{Cause, GcOptions, GcReport, Kept, LoneBase, Need, Rows, Share};

/// How long something must have been unneeded before it is removed, in milliseconds: a day for uploads under way, and the
/// day for which clients may use an answer about chunks that they need not send.
pub const GRACE_MS: i64 = 2 * 24 * 3_600_000;
/// How long a conversion or a comparison is kept that nobody uses, in milliseconds.
pub const UNUSED_MS: i64 = 30 * 24 * 3_600_000;

impl Hub {
    /// Collects garbage, or says what would be collected.
    ///
    /// # Errors
    /// [`Error::Busy`] when another process is collecting; a damaged history stops the run before anything is removed.
    pub async fn collect(&self, options: &GcOptions) -> Result<GcReport, Error> {
        let report = self.store().collect(options).await?.ok_or(Error::Busy { what: "collecting garbage" })?;
        if report.executed {
            let facts = serde_json::json!({ "freed_bytes": report.freed_bytes(), "packs": report.packs.0 });
            self.catalog().leases().note(LEASE, self.now_ms(), &facts.to_string()).await?;
        }
        Ok(report)
    }

    /// Has the dependants of bases that nothing else needs coded anew without them, by `rebase`, so that later runs remove
    /// the bases. Returns how many bases nothing needs any more.
    ///
    /// # Errors
    /// The first error of `rebase`; bases before that are done.
    pub async fn free_bases(
        &self,
        report: &GcReport,
        rebase: impl AsyncFn(&Sha256) -> Result<(), Error>,
    ) -> Result<u64, Error> {
        let mut freed = 0;
        for base in &report.bases {
            rebase(&base.sha256).await?;
            if self.catalog().recodes().dependants(&base.sha256).await?.is_empty() {
                freed += 1;
            }
        }
        Ok(freed)
    }
}
