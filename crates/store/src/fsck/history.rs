//! Refs, commits, trees and blobs.
//!
//! Uploads go on beside a check: what a list did not have is looked for once more before it is called missing.

use std::collections::{HashMap, HashSet};

use super::{FsckReport, Part};
use crate::Store;
use crate::catalog::{HistoryKind, LOOKUP_KEYS, PAGE, RepoKey};
use crate::digest::{GitOid, Sha256};
use crate::error::StoreError;
use crate::gc::shown;
use crate::repo::commit::Commit;
use crate::repo::object::{ObjectKind, lfs_pointer, object_id};
use crate::repo::tree::{EntryKind, Tree};

/// Checks that every ref, commit and tree leads to what is there. Returns contents that are named and not on record.
pub(super) async fn check(store: &Store, report: &mut FsckReport) -> Result<HashMap<Sha256, u64>, StoreError> {
    let mut trees = HashSet::new();
    let mut after = String::new();
    loop {
        let page = store.catalog().garbage().repos(&after).await?;
        for name in &page {
            report.checked.repos += 1;
            let (key, id) = shown(name);
            let mut links: HashMap<GitOid, Vec<GitOid>> = HashMap::new();
            let mut position = String::new();
            loop {
                let rows = store.catalog().commits().page(&key, &position).await?;
                for (oid, data) in &rows {
                    report.checked.commits += 1;
                    let what = format!("commit {oid} of {id}");
                    if object_id(ObjectKind::Commit, data) != *oid {
                        report.add(Part::History, what, "its bytes have another id");
                        continue;
                    }
                    match Commit::decode(oid, data) {
                        Ok(commit) => {
                            trees.insert(commit.tree);
                            links.insert(*oid, commit.parents);
                        }
                        Err(error) => report.add(Part::History, what, error.to_string()),
                    }
                }
                match rows.last() {
                    Some((last, _)) if rows.len() == PAGE => position = last.to_string(),
                    _ => break,
                }
            }
            for at in store.catalog().refs().list(&key).await? {
                if !links.contains_key(&at.target) && is_missing(store, &key, &at.target).await? {
                    let detail = format!("it points at commit {}, which is missing", at.target);
                    report.add(Part::History, format!("ref `{}` of {id}", at.name), detail);
                }
            }
            for (oid, parents) in &links {
                for missing in parents.iter().filter(|parent| !links.contains_key(parent)) {
                    if is_missing(store, &key, missing).await? {
                        let detail = format!("its parent {missing} is missing");
                        report.add(Part::History, format!("commit {oid} of {id}"), detail);
                    }
                }
            }
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after = last.key.as_str().to_owned(),
            _ => break,
        }
    }
    self::trees(store, report, trees).await?;
    blobs(store, report).await
}

async fn is_missing(store: &Store, repo: &RepoKey, commit: &GitOid) -> Result<bool, StoreError> {
    Ok(store.catalog().commits().by_prefix(repo, &commit.to_string()).await?.is_empty())
}

/// Checks every tree on record, and that all that is named is there.
async fn trees(store: &Store, report: &mut FsckReport, mut named: HashSet<GitOid>) -> Result<(), StoreError> {
    let mut known = HashSet::new();
    let mut blobs = HashSet::new();
    let mut after = String::new();
    loop {
        let page = store.catalog().objects().page(&after).await?;
        for (oid, data) in &page {
            report.checked.trees += 1;
            known.insert(*oid);
            if object_id(ObjectKind::Tree, data) != *oid {
                report.add(Part::History, format!("tree {oid}"), "its bytes have another id");
                continue;
            }
            match Tree::decode(oid, data) {
                Ok(tree) => {
                    for entry in tree.entries() {
                        if entry.kind == EntryKind::Folder { &mut named } else { &mut blobs }.insert(entry.oid);
                    }
                }
                Err(error) => report.add(Part::History, format!("tree {oid}"), error.to_string()),
            }
        }
        match page.last() {
            Some((last, _)) if !page.is_empty() => after = last.to_string(),
            _ => break,
        }
    }
    for oid in named.difference(&known) {
        if !store.catalog().objects().has(oid).await? {
            report.add(Part::History, format!("tree {oid}"), "it is missing");
        }
    }
    let blobs: Vec<GitOid> = blobs.into_iter().collect();
    for batch in blobs.chunks(LOOKUP_KEYS) {
        let found: HashSet<GitOid> =
            store.catalog().contents().blobs(batch).await?.into_iter().map(|blob| blob.oid).collect();
        for oid in batch.iter().filter(|oid| !found.contains(oid)) {
            report.add(Part::History, format!("blob {oid}"), "it is missing");
        }
    }
    Ok(())
}

/// Checks that every blob has its content. A content that a rule of retention gave up is no damage.
async fn blobs(store: &Store, report: &mut FsckReport) -> Result<HashMap<Sha256, u64>, StoreError> {
    let garbage = store.catalog().garbage();
    let mut lost = HashMap::new();
    let mut after = String::new();
    loop {
        let page = garbage.history_rows(HistoryKind::Blob, &after).await?;
        let oids: Vec<GitOid> = page.iter().map(|row| row.oid).collect();
        let blobs = store.catalog().contents().blobs(&oids).await?;
        let digests: Vec<Sha256> = blobs.iter().map(|blob| blob.sha256).collect();
        let sizes: HashMap<Sha256, u64> =
            store.catalog().contents().records(&digests).await?.iter().map(|r| (r.sha256, r.size_bytes)).collect();
        for blob in &blobs {
            report.checked.blobs += 1;
            let what = format!("blob {}", blob.oid);
            if blob.lfs
                && object_id(ObjectKind::Blob, lfs_pointer(&blob.sha256, blob.size_bytes).as_bytes()) != blob.oid
            {
                report.add(Part::History, what, "its pointer has another id");
                continue;
            }
            let size = sizes.get(&blob.sha256);
            if size.is_none() && blob.lfs && store.catalog().retention().retired(&blob.sha256).await?.is_some() {
                continue;
            }
            match size {
                None => {
                    lost.insert(blob.sha256, blob.size_bytes);
                    report.add(Part::Content, format!("content {}", blob.sha256), "it is not on record");
                }
                Some(size) if *size != blob.size_bytes => {
                    report.add(Part::History, what, format!("it has {} bytes, its content {size}", blob.size_bytes));
                }
                Some(_) => {}
            }
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after = last.oid.to_string(),
            _ => return Ok(lost),
        }
    }
}
