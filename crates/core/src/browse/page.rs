//! One page of a folder: what a reader looks at costs, not what lies beside it.

use std::ops::Range;

use weighthouse_store::repo::tree::{Entry, EntryKind};

use super::{PathRecord, entry_not_found};
use crate::revision::Revision;
use crate::{Error, Hub};

/// Some entries of a folder.
#[derive(Debug)]
pub struct FolderPage {
    /// Entries in the order of the listing.
    pub entries: Vec<PathRecord>,
    /// Entries of the whole listing.
    pub total: usize,
}

impl Hub {
    /// The part of [`Hub::list`] with the positions `page`.
    ///
    /// # Errors
    /// [`Error::EntryNotFound`] when the path is no folder.
    pub async fn list_page(
        &self,
        revision: &Revision,
        name: &str,
        folder: &str,
        recursive: bool,
        page: Range<usize>,
    ) -> Result<FolderPage, Error> {
        let folder = folder.trim_matches('/');
        let root = self.tree_at(&revision.commit.tree, folder).await?;
        let root = root.ok_or_else(|| entry_not_found(revision, name, folder))?;
        let mut found: Vec<(String, Entry)> = Vec::new();
        let mut open = vec![(folder.to_owned(), root)];
        while let Some((folder, tree)) = open.pop() {
            for entry in tree.entries() {
                let path = if folder.is_empty() { entry.name.clone() } else { format!("{folder}/{}", entry.name) };
                if recursive && entry.kind == EntryKind::Folder {
                    open.push((path.clone(), self.catalog().objects().tree(&entry.oid).await?));
                }
                found.push((path, entry.clone()));
            }
        }
        if recursive {
            found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        }
        let total = found.len();
        // What the entries stand for is looked up for this page only.
        let shown = found.into_iter().skip(page.start).take(page.end.saturating_sub(page.start)).collect();
        Ok(FolderPage { entries: self.records(shown).await?, total })
    }
}
