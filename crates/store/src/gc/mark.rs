//! The mark: what is reached, and from where.

use std::collections::{HashMap, HashSet};

use weighthouse_format::xet::hash::XetHash;

use super::{Need, Rows, shown};
use crate::catalog::{BaseRow, Catalog, CommitLinks, LOOKUP_KEYS, PAGE, RepoHistory, RepoKey, RepoName};
use crate::digest::{GitOid, Sha256};
use crate::error::StoreError;
use crate::repo::tree::EntryKind;

/// From where something is reached: any of these.
pub(super) mod from {
    /// A commit that a ref leads to.
    pub const COMMIT: u8 = 1;
    /// A conversion.
    pub const CONVERSION: u8 = 2;
    /// A gift within the grace.
    pub const RECENT: u8 = 4;
    /// An upload under way.
    pub const UPLOAD: u8 = 8;
    /// A xorb in use that is coded with it.
    pub const BASE: u8 = 16;
    /// All that is in use.
    pub const USE: u8 = COMMIT | CONVERSION | RECENT | UPLOAD | BASE;
    /// A commit that keeps its history but not its large files. Of trees and blobs only.
    pub const THIN: u8 = 32;
    /// A row that is not in use, but not removed either.
    pub const HELD: u8 = 64;
    /// A commit that a ref leads to, but does not point at. Of trees and blobs only.
    pub const PAST: u8 = 128;
    /// History in use.
    pub const HISTORY: u8 = USE | THIN | PAST;
}

/// A content that nothing in use names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unnamed {
    pub sha256: Sha256,
    pub condemned_at_ms: i64,
}

/// What is reached.
#[derive(Debug, Default)]
pub(super) struct Mark {
    pub trees: HashMap<GitOid, u8>,
    pub blobs: HashMap<GitOid, u8>,
    pub contents: HashMap<Sha256, u8>,
    pub xorbs: HashMap<XetHash, u8>,
    /// Large files that only commits without large files name.
    pub thinned: HashMap<Sha256, (RepoKey, String)>,
    /// Names of repositories.
    pub names: HashMap<RepoKey, String>,
    /// Contents in use that were condemned.
    pub revived: Vec<Sha256>,
    /// Contents that are not in use.
    pub unnamed: Vec<Unnamed>,
    /// Which xorb needs which content.
    pub bases: Vec<(XetHash, Sha256)>,
    /// Xorbs of contents that are needed as bases only.
    pub lone: HashMap<Sha256, (u64, Vec<XetHash>)>,
    /// Xorbs of contents that go by a rule.
    pub by_rule: HashSet<XetHash>,
    /// For each need, somebody who has it.
    pub examples: HashMap<Need, String>,
    /// Commits removed or condemned.
    pub removed: Rows,
    pub marked: Rows,
}

/// How a run marks.
pub(super) struct Marker<'a> {
    pub catalog: &'a Catalog,
    pub execute: bool,
    pub now_ms: i64,
    /// What was condemned then or before may go.
    pub cutoff_ms: i64,
    pub unused_before_ms: i64,
}

impl Marker<'_> {
    /// Whether something condemned then may be removed.
    pub(super) fn is_due(&self, condemned_at_ms: i64) -> bool {
        condemned_at_ms > 0 && condemned_at_ms <= self.cutoff_ms
    }

    /// Marks what one repository reaches. Its commits are condemned and removed on the way.
    pub(super) async fn repository(&self, mark: &mut Mark, name: &RepoName) -> Result<(), StoreError> {
        let (key, id) = shown(name);
        let history = self.settled(&key).await?;
        let by_oid: HashMap<GitOid, &CommitLinks> = history.commits.iter().map(|commit| (commit.oid, commit)).collect();
        let heads: HashSet<GitOid> = history.refs.iter().map(|at| at.target).collect();
        let mut reached: HashSet<GitOid> = HashSet::new();
        let mut open: Vec<GitOid> = heads.iter().copied().collect();
        while let Some(oid) = open.pop() {
            if reached.insert(oid) {
                let commit = by_oid.get(&oid).ok_or_else(|| lost(&id, &oid))?;
                open.extend(&commit.parents);
            }
        }
        if let Some(at) = history.refs.first() {
            let example = format!("commit {} on `{}` of {id}", shorten(&at.target), at.name);
            mark.examples.entry(Need::Commit).or_insert(example);
        }
        let mut roots: HashMap<GitOid, u8> = HashMap::new();
        let mut rules = history.thinned.clone();
        let (mut due, mut fresh, mut restored) = (Vec::new(), Vec::new(), Vec::new());
        for commit in &history.commits {
            let condemned = history.condemned.get(&commit.oid).copied();
            if reached.contains(&commit.oid) {
                let bits = match (heads.contains(&commit.oid), history.thinned.get(&commit.oid)) {
                    (true, _) => from::COMMIT,
                    (false, None) => from::PAST,
                    (false, Some(rule)) => {
                        rules.entry(commit.tree).or_insert_with(|| rule.clone());
                        from::THIN
                    }
                };
                *roots.entry(commit.tree).or_default() |= bits;
                restored.extend(condemned.map(|_| commit.oid));
            } else if condemned.is_some_and(|at_ms| self.is_due(at_ms)) {
                due.push(commit);
            } else {
                *roots.entry(commit.tree).or_default() |= from::HELD;
                if condemned.is_none() {
                    fresh.push(commit.oid);
                }
            }
        }
        let removal = self.catalog.removal();
        let oids: Vec<GitOid> = due.iter().map(|commit| commit.oid).collect();
        let is_removed = oids.is_empty() || !self.execute || removal.commits(&key, &history.refs, &oids).await?;
        if is_removed {
            mark.removed.commits += oids.len() as u64;
        } else {
            due.iter().for_each(|commit| *roots.entry(commit.tree).or_default() |= from::HELD);
        }
        mark.marked.commits += fresh.len() as u64;
        if self.execute && !(fresh.is_empty() && restored.is_empty()) {
            removal.condemn_commits(&key, &fresh, &restored, self.now_ms).await?;
        }
        let contents = self.files(mark, &key, roots, &rules).await?;
        self.gifts(mark, &key, &id, &contents).await?;
        mark.names.insert(key, id);
        Ok(())
    }

    /// A history whose refs lead to commits in it: commits are made while it is read.
    async fn settled(&self, repo: &RepoKey) -> Result<RepoHistory, StoreError> {
        let mut history = self.catalog.garbage().history(repo).await?;
        for _ in 0..8 {
            let known: HashSet<GitOid> = history.commits.iter().map(|commit| commit.oid).collect();
            if history.refs.iter().all(|at| known.contains(&at.target)) {
                break;
            }
            history = self.catalog.garbage().history(repo).await?;
        }
        Ok(history)
    }

    /// Marks trees below `roots`, their blobs and contents. Returns the contents that the repository names.
    ///
    /// - `rules`: trees whose large files are kept by branches and tags only
    async fn files(
        &self,
        mark: &mut Mark,
        repo: &RepoKey,
        roots: HashMap<GitOid, u8>,
        rules: &HashMap<GitOid, String>,
    ) -> Result<HashSet<Sha256>, StoreError> {
        // For each tree and blob that is kept thin: by which rule.
        let mut why: HashMap<GitOid, String> = HashMap::new();
        let mut trees: HashMap<GitOid, u8> = HashMap::new();
        let mut blobs: HashMap<GitOid, u8> = HashMap::new();
        let mut open = roots;
        while !open.is_empty() {
            let mut wanted = Vec::new();
            for (oid, bits) in open.drain() {
                let seen = trees.entry(oid).or_default();
                if *seen | bits != *seen {
                    *seen |= bits;
                    wanted.push(oid);
                }
            }
            for batch in wanted.chunks(LOOKUP_KEYS) {
                for (oid, tree) in self.catalog.garbage().trees(batch).await? {
                    let mut bits = trees.get(&oid).copied().unwrap_or_default();
                    let rule = rules.get(&oid).or_else(|| why.get(&oid)).cloned();
                    if rules.contains_key(&oid) && bits & from::PAST != 0 {
                        bits = bits & !from::PAST | from::THIN;
                    }
                    for entry in tree.entries() {
                        if let (Some(rule), true) = (&rule, bits & from::THIN != 0) {
                            why.entry(entry.oid).or_insert_with(|| rule.clone());
                        }
                        let map = if entry.kind == EntryKind::Folder { &mut open } else { &mut blobs };
                        *map.entry(entry.oid).or_default() |= bits;
                    }
                }
            }
        }
        let mut contents = HashSet::new();
        let oids: Vec<GitOid> = blobs.keys().copied().collect();
        for batch in oids.chunks(LOOKUP_KEYS) {
            let records = self.catalog.contents().blobs(batch).await?;
            if records.len() != batch.len() {
                let found: HashSet<GitOid> = records.iter().map(|record| record.oid).collect();
                let missing = batch.iter().find(|oid| !found.contains(oid)).unwrap_or(&batch[0]);
                return Err(StoreError::Corrupt {
                    what: format!("blob {missing}"),
                    detail: "it is missing".to_owned(),
                });
            }
            for blob in records {
                let bits = blobs.get(&blob.oid).copied().unwrap_or_default();
                let mut content = bits & (from::COMMIT | from::HELD);
                if bits & from::PAST != 0 {
                    content |= from::COMMIT;
                }
                if bits & from::THIN != 0 {
                    if blob.lfs {
                        let rule = why.get(&blob.oid).cloned().unwrap_or_default();
                        mark.thinned.entry(blob.sha256).or_insert_with(|| (repo.clone(), rule));
                    } else {
                        content |= from::COMMIT;
                    }
                }
                if content != 0 {
                    *mark.contents.entry(blob.sha256).or_default() |= content;
                    contents.insert(blob.sha256);
                }
            }
        }
        for (local, all) in [(trees, &mut mark.trees), (blobs, &mut mark.blobs)] {
            local.into_iter().for_each(|(oid, bits)| *all.entry(oid).or_default() |= bits);
        }
        Ok(contents)
    }

    /// Marks what was given to a repository within the grace, and forgets other gifts that it does not name.
    async fn gifts(
        &self,
        mark: &mut Mark,
        repo: &RepoKey,
        id: &str,
        named: &HashSet<Sha256>,
    ) -> Result<(), StoreError> {
        let mut after = String::new();
        loop {
            let page = self.catalog.garbage().given(repo, &after).await?;
            let mut forgotten = Vec::new();
            for (sha256, given_at_ms) in &page {
                if *given_at_ms > self.cutoff_ms {
                    *mark.contents.entry(*sha256).or_default() |= from::RECENT;
                    mark.examples.entry(Need::Recent).or_insert_with(|| format!("a file that was sent to {id}"));
                } else if !named.contains(sha256) {
                    forgotten.push(*sha256);
                }
            }
            if self.execute {
                self.catalog.removal().given(repo, &forgotten, self.cutoff_ms).await?;
            }
            match page.last() {
                Some((last, _)) if page.len() == PAGE => after = last.to_string(),
                _ => return Ok(()),
            }
        }
    }

    /// Marks what conversions and uploads name.
    pub(super) async fn others(&self, mark: &mut Mark) -> Result<(), StoreError> {
        let garbage = self.catalog.garbage();
        let mut after = (String::new(), String::new(), -1);
        loop {
            let page = garbage.converted(&after, self.unused_before_ms).await?;
            for ((repo, ..), sha256) in &page {
                *mark.contents.entry(*sha256).or_default() |= from::CONVERSION;
                let id = mark.names.get(&RepoKey::from(repo.clone())).cloned().unwrap_or_default();
                mark.examples.entry(Need::Conversion).or_insert_with(|| format!("a conversion made for {id}"));
            }
            match page.into_iter().last() {
                Some((position, _)) if position != after => after = position,
                _ => break,
            }
        }
        for sha256 in garbage.uploading().await? {
            *mark.contents.entry(sha256).or_default() |= from::UPLOAD;
            mark.examples.entry(Need::Upload).or_insert_with(|| format!("an upload that brings {sha256}"));
        }
        Ok(())
    }

    /// Marks the xorbs of contents, and the contents that those need, and so on.
    pub(super) async fn bytes(&self, mark: &mut Mark) -> Result<(), StoreError> {
        let garbage = self.catalog.garbage();
        let mut after = String::new();
        loop {
            let page = garbage.contents(&after).await?;
            for row in &page {
                let bits = mark.contents.entry(row.sha256).or_default();
                if *bits & from::USE != 0 {
                    if row.condemned_at_ms > 0 {
                        mark.revived.push(row.sha256);
                    }
                } else {
                    if !self.is_due(row.condemned_at_ms) {
                        *bits |= from::HELD;
                    }
                    mark.unnamed.push(Unnamed { sha256: row.sha256, condemned_at_ms: row.condemned_at_ms });
                    if mark.thinned.contains_key(&row.sha256) {
                        mark.by_rule.extend(&row.xorbs);
                    }
                }
                for xorb in row.xorbs.iter().filter(|_| *bits != 0) {
                    *mark.xorbs.entry(*xorb).or_default() |= *bits;
                }
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after = last.sha256.to_string(),
                _ => break,
            }
        }
        self.needed(mark).await
    }

    async fn needed(&self, mark: &mut Mark) -> Result<(), StoreError> {
        let garbage = self.catalog.garbage();
        let mut rows: Vec<(XetHash, Sha256, bool)> = Vec::new();
        let mut last: Option<BaseRow> = None;
        loop {
            let page = garbage.bases(last.as_ref()).await?;
            rows.extend(page.iter().map(|row| (row.xorb, row.base, self.is_due(row.condemned_at_ms))));
            let is_full = page.len() == PAGE;
            last = page.into_iter().last();
            if !is_full || last.is_none() {
                break;
            }
        }
        rows.sort_unstable();
        rows.dedup();
        loop {
            let mut wanted: HashMap<Sha256, u8> = HashMap::new();
            for (xorb, base, is_due) in &rows {
                let xorb = mark.xorbs.get(xorb).copied().unwrap_or_default();
                let known = mark.contents.get(base).copied().unwrap_or_default();
                if xorb & from::USE != 0 && known & from::USE == 0 {
                    *wanted.entry(*base).or_default() |= from::BASE;
                } else if (xorb != 0 || !is_due) && known == 0 {
                    *wanted.entry(*base).or_default() |= from::HELD;
                }
            }
            if wanted.is_empty() {
                break;
            }
            let digests: Vec<Sha256> = wanted.keys().copied().collect();
            let found = garbage.some_contents(&digests).await?;
            if let Some(missing) = digests.iter().find(|digest| !found.iter().any(|row| row.sha256 == **digest)) {
                return Err(StoreError::Corrupt {
                    what: format!("content {missing}"),
                    detail: "other files are stored as their difference from it, and it is missing".to_owned(),
                });
            }
            for row in found {
                let bits = wanted.get(&row.sha256).copied().unwrap_or_default();
                *mark.contents.entry(row.sha256).or_default() |= bits;
                row.xorbs.iter().for_each(|xorb| *mark.xorbs.entry(*xorb).or_default() |= bits);
                if bits & from::BASE != 0 {
                    mark.unnamed.retain(|unnamed| unnamed.sha256 != row.sha256);
                    if row.condemned_at_ms > 0 {
                        mark.revived.push(row.sha256);
                    }
                    mark.examples.entry(Need::Base).or_insert_with(|| format!("files that differ from {}", row.sha256));
                    mark.lone.insert(row.sha256, (row.size_bytes, row.xorbs));
                }
            }
        }
        mark.bases = rows.into_iter().map(|(xorb, base, _)| (xorb, base)).collect();
        Ok(())
    }
}

fn shorten(oid: &GitOid) -> String {
    oid.to_string().chars().take(12).collect()
}

fn lost(repo: &str, oid: &GitOid) -> StoreError {
    StoreError::Corrupt {
        what: format!("commit {oid} of {repo}"),
        detail: "it is missing from the history: run `wh admin fsck` before anything is collected".to_owned(),
    }
}
