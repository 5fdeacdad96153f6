//! Which files of which repositories damaged contents are.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::{FsckReport, Loss};
use crate::Store;
use crate::catalog::{LOOKUP_KEYS, PAGE};
use crate::digest::{GitOid, Sha256};
use crate::error::StoreError;
use crate::gc::shown;
use crate::repo::tree::EntryKind;

/// Losses that are listed; a file that is in a thousand commits is listed once for each repository and path.
const MOST_LOSSES: usize = 10_000;

/// Finds repository, path and revision of every damaged content.
pub(super) async fn find(
    store: &Store,
    report: &mut FsckReport,
    damaged: HashMap<Sha256, (u64, Vec<Range<u64>>)>,
    lost: &HashMap<Sha256, u64>,
) -> Result<(), StoreError> {
    let mut damaged = damaged;
    for (sha256, size_bytes) in lost {
        damaged.entry(*sha256).or_insert_with(|| (*size_bytes, std::iter::once(0..*size_bytes).collect()));
    }
    if damaged.is_empty() {
        return Ok(());
    }
    let mut named: HashSet<Sha256> = HashSet::new();
    let mut after = String::new();
    loop {
        let page = store.catalog().garbage().repos(&after).await?;
        for name in &page {
            let (key, id) = shown(name);
            // A history that is damaged itself leads as far as it leads.
            let Ok(history) = store.catalog().garbage().history(&key).await else { continue };
            let heads: HashSet<GitOid> = history.refs.iter().map(|at| at.target).collect();
            let mut commits: Vec<_> = history.commits.iter().map(|commit| (commit.oid, commit.tree)).collect();
            commits.sort_by_key(|(oid, _)| !heads.contains(oid));
            let mut seen: HashSet<(GitOid, String)> = HashSet::new();
            let mut told: HashSet<(Sha256, String)> = HashSet::new();
            for (commit, tree) in commits {
                let mut open = vec![(tree, String::new())];
                while let Some((oid, folder)) = open.pop() {
                    if !seen.insert((oid, folder.clone())) {
                        continue;
                    }
                    let Ok(mut trees) = store.catalog().garbage().trees(&[oid]).await else { continue };
                    let Some((_, tree)) = trees.pop() else { continue };
                    let mut files = HashMap::new();
                    for entry in tree.entries() {
                        let path =
                            if folder.is_empty() { entry.name.clone() } else { format!("{folder}/{}", entry.name) };
                        match entry.kind {
                            EntryKind::Folder => open.push((entry.oid, path)),
                            EntryKind::File => files.entry(entry.oid).or_insert_with(Vec::new).push(path),
                        }
                    }
                    let oids: Vec<GitOid> = files.keys().copied().collect();
                    for batch in oids.chunks(LOOKUP_KEYS) {
                        for blob in store.catalog().contents().blobs(batch).await? {
                            let Some((size_bytes, ranges)) = damaged.get(&blob.sha256) else { continue };
                            named.insert(blob.sha256);
                            for path in files.get(&blob.oid).into_iter().flatten() {
                                if report.losses.len() < MOST_LOSSES && told.insert((blob.sha256, path.clone())) {
                                    report.losses.push(Loss {
                                        repo: Some(id.clone()),
                                        path: path.clone(),
                                        revision: commit.to_string(),
                                        sha256: blob.sha256,
                                        size_bytes: *size_bytes,
                                        ranges: ranges.clone(),
                                    });
                                }
                            }
                        }
                    }
                }
            }
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after = last.key.as_str().to_owned(),
            _ => break,
        }
    }
    let mut others: Vec<_> = damaged.iter().filter(|(sha256, _)| !named.contains(sha256)).collect();
    others.sort_by_key(|(sha256, _)| **sha256);
    for (sha256, (size_bytes, ranges)) in others {
        report.losses.push(Loss {
            repo: None,
            path: String::new(),
            revision: String::new(),
            sha256: *sha256,
            size_bytes: *size_bytes,
            ranges: ranges.clone(),
        });
    }
    Ok(())
}
