//! Checking and mending what is stored. The rules are those of [`weighthouse_store::fsck`].

pub use weighthouse_store::fsck::{Checked, FsckOptions, FsckReport, Loss, Part, Problem};

use crate::{Error, Hub};

impl Hub {
    /// Checks everything that is stored.
    ///
    /// # Errors
    /// Those of a catalog or a storage that does not answer. Damage is in the report.
    pub async fn fsck(&self, options: &FsckOptions) -> Result<FsckReport, Error> {
        Ok(self.store().fsck(options).await?)
    }
}
