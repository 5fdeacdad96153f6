//! What a commit did to the files.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weighthouse_store::digest::GitOid;
use weighthouse_store::repo::tree::{Entry, EntryKind, Tree};

use super::{FileRecord, lost};
use crate::revision::Revision;
use crate::{Error, Hub};

/// A file that a commit added, removed or replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Path from the root.
    pub path: String,
    /// The file before; `None` for an added one.
    pub before: Option<FileRecord>,
    /// The file after; `None` for a removed one.
    pub after: Option<FileRecord>,
}

/// What a commit did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Changed files by path.
    pub files: Vec<Change>,
    /// Whether these are all of them.
    pub complete: bool,
}

/// Path of a changed file, and its blob before and after.
type Found = (String, Option<GitOid>, Option<GitOid>);

impl Hub {
    /// Files in which a commit differs from another one, or from nothing: at most `limit`, and folders that are the
    /// same on both sides are not looked into.
    pub async fn changes(&self, before: Option<&Revision>, after: &Revision, limit: usize) -> Result<Changes, Error> {
        let mut found: Vec<Found> = Vec::new();
        let root = |revision: &Revision| revision.commit.tree;
        let mut open = vec![(String::new(), before.map(root), Some(root(after)))];
        while let Some((folder, before, after)) = open.pop() {
            if found.len() > limit {
                break;
            }
            if before != after {
                let (before, after) = (self.tree_or_empty(before).await?, self.tree_or_empty(after).await?);
                compare(&folder, &before, &after, &mut found, &mut open);
            }
        }
        let complete = found.len() <= limit;
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found.truncate(limit);
        let side = |pick: fn(&Found) -> Option<GitOid>| -> Vec<(String, GitOid)> {
            found.iter().filter_map(|change| Some((change.0.clone(), pick(change)?))).collect()
        };
        let records = async |files| -> Result<BTreeMap<String, FileRecord>, Error> {
            Ok(self.files_of(files).await?.into_iter().map(|file| (file.path.clone(), file)).collect())
        };
        let mut old = records(side(|change| change.1)).await?;
        let mut new = records(side(|change| change.2)).await?;
        let mut files = Vec::with_capacity(found.len());
        for (path, before, after) in found {
            let of = |side: &mut BTreeMap<String, FileRecord>, oid: Option<GitOid>| {
                oid.map(|oid| side.remove(&path).ok_or_else(|| lost(&oid))).transpose()
            };
            files.push(Change { before: of(&mut old, before)?, after: of(&mut new, after)?, path });
        }
        Ok(Changes { files, complete })
    }

    async fn tree_or_empty(&self, oid: Option<GitOid>) -> Result<Arc<Tree>, Error> {
        match oid {
            Some(oid) => Ok(self.catalog().objects().tree(&oid).await?),
            None => Ok(Arc::default()),
        }
    }
}

/// Notes the files of one folder that differ, and the folders that must be looked into.
fn compare(
    folder: &str,
    before: &Tree,
    after: &Tree,
    found: &mut Vec<Found>,
    open: &mut Vec<(String, Option<GitOid>, Option<GitOid>)>,
) {
    fn by_name(tree: &Tree) -> BTreeMap<&str, &Entry> {
        tree.entries().iter().map(|entry| (entry.name.as_str(), entry)).collect()
    }
    let (before, after) = (by_name(before), by_name(after));
    let names: BTreeSet<&str> = before.keys().chain(after.keys()).copied().collect();
    // Folders are taken from the end, so that the first paths come out first when there are too many.
    for name in names.into_iter().rev() {
        let (old, new) = (before.get(name), after.get(name));
        let of = |entry: Option<&&Entry>, kind: EntryKind| entry.filter(|entry| entry.kind == kind).map(|e| e.oid);
        let path = format!("{folder}{name}");
        let folders = (of(old, EntryKind::Folder), of(new, EntryKind::Folder));
        let files = (of(old, EntryKind::File), of(new, EntryKind::File));
        if folders.0 != folders.1 {
            open.push((format!("{path}/"), folders.0, folders.1));
        }
        if files.0 != files.1 {
            found.push((path, files.0, files.1));
        }
    }
}
