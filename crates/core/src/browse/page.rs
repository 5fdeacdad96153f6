//! One page of a folder: what a reader looks at costs, not what lies beside it.

use weighthouse_store::repo::tree::Entry;

use super::{PathRecord, entry_not_found};
use crate::revision::Revision;
use crate::{Error, Hub};

/// Some entries of a folder.
#[derive(Debug)]
pub struct FolderPage {
    /// Entries in git's order.
    pub entries: Vec<PathRecord>,
    /// Entries of the whole folder.
    pub total: usize,
}

impl Hub {
    /// Entries `skip..skip + limit` of a folder (the root is `""`), in git's order.
    ///
    /// # Errors
    /// [`Error::EntryNotFound`] when the path is no folder.
    pub async fn list_page(
        &self,
        revision: &Revision,
        name: &str,
        folder: &str,
        skip: usize,
        limit: usize,
    ) -> Result<FolderPage, Error> {
        let folder = folder.trim_matches('/');
        let tree = self.tree_at(&revision.commit.tree, folder).await?;
        let tree = tree.ok_or_else(|| entry_not_found(revision, name, folder))?;
        let path = |entry: &Entry| match folder {
            "" => entry.name.clone(),
            folder => format!("{folder}/{}", entry.name),
        };
        let shown = tree.entries().iter().skip(skip).take(limit).map(|entry| (path(entry), entry.clone())).collect();
        Ok(FolderPage { entries: self.records(shown).await?, total: tree.entries().len() })
    }
}
