//! A run: mark, then condemn and remove, kind by kind.

use std::collections::{BTreeMap, HashMap};

use weighthouse_format::xet::hash::XetHash;

use super::mark::{Mark, Marker, from};
use super::{Cause, GcOptions, GcReport, Kept, LEASE_MS, LoneBase, Need, Share};
use crate::catalog::{HistoryKind, Lease, PAGE, PackId, RepoKey, Stored, XorbRow};
use crate::digest::{GitOid, Sha256};
use crate::error::StoreError;
use crate::{Store, blob};

/// Shares by repository and cause.
type Shares = BTreeMap<(Option<String>, Cause), (u64, u64)>;

pub(super) struct Run<'a> {
    store: &'a Store,
    marker: Marker<'a>,
    report: GcReport,
    freed: Shares,
    condemned: Shares,
    kept: BTreeMap<Need, (u64, u64)>,
    /// Packs in which something goes: bytes that stay, as far as they were seen.
    staying: HashMap<PackId, u64>,
    dying: HashMap<PackId, u64>,
}

impl<'a> Run<'a> {
    pub(super) fn new(store: &'a Store, options: &GcOptions, now_ms: i64) -> Self {
        let marker = Marker {
            catalog: store.catalog(),
            execute: options.execute,
            now_ms,
            cutoff_ms: now_ms.saturating_sub(options.grace_ms.max(0)),
            unused_before_ms: now_ms.saturating_sub(options.unused_ms.max(0)),
        };
        let report = GcReport {
            executed: options.execute,
            began_at_ms: now_ms,
            grace_ms: options.grace_ms.max(0),
            ..GcReport::default()
        };
        Self {
            store,
            marker,
            report,
            freed: Shares::new(),
            condemned: Shares::new(),
            kept: BTreeMap::new(),
            staying: HashMap::new(),
            dying: HashMap::new(),
        }
    }

    pub(super) async fn all(mut self, lease: Option<&Lease>) -> Result<GcReport, StoreError> {
        let removal = self.store.catalog().removal();
        self.report.unused = removal.unused(self.marker.unused_before_ms, self.marker.execute).await?;
        let mut mark = Mark::default();
        let mut after = String::new();
        loop {
            let page = self.store.catalog().garbage().repos(&after).await?;
            for name in &page {
                self.hold(lease).await?;
                self.marker.repository(&mut mark, name).await?;
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after = last.key.as_str().to_owned(),
                _ => break,
            }
        }
        self.hold(lease).await?;
        self.marker.others(&mut mark).await?;
        self.marker.bytes(&mut mark).await?;
        for (kind, marks) in [(HistoryKind::Tree, &mark.trees), (HistoryKind::Blob, &mark.blobs)] {
            self.hold(lease).await?;
            self.history(kind, marks).await?;
        }
        self.hold(lease).await?;
        self.contents(&mark).await?;
        self.verdicts().await?;
        self.xorbs(&mark, lease).await?;
        self.packs(lease).await?;
        self.report.removed.commits = mark.removed.commits;
        self.report.marked.commits = mark.marked.commits;
        self.report.freed = shares(self.freed);
        self.report.condemned = shares(self.condemned);
        self.report.kept = self
            .kept
            .into_iter()
            .map(|(need, (xorbs, stored_bytes))| Kept {
                need,
                xorbs,
                stored_bytes,
                example: mark.examples.get(&need).cloned().unwrap_or_default(),
            })
            .collect();
        Ok(self.report)
    }

    /// Says that the run is alive. Who lost the lease stops.
    async fn hold(&self, lease: Option<&Lease>) -> Result<(), StoreError> {
        let Some(lease) = lease else { return Ok(()) };
        let until_ms = self.store.clock().now_ms().saturating_add(LEASE_MS);
        if self.store.catalog().leases().extend(lease, until_ms).await? {
            return Ok(());
        }
        Err(StoreError::Task("another process took over the collection of garbage".to_owned()))
    }

    async fn history(&mut self, kind: HistoryKind, marks: &HashMap<GitOid, u8>) -> Result<(), StoreError> {
        let (garbage, removal) = (self.store.catalog().garbage(), self.store.catalog().removal());
        let (mut removed, mut marked) = (0, 0);
        let mut after = String::new();
        loop {
            let page = garbage.history_rows(kind, &after).await?;
            let (mut condemned, mut restored, mut due) = (Vec::new(), Vec::new(), Vec::new());
            for row in &page {
                let bits = marks.get(&row.oid).copied().unwrap_or_default();
                if bits & from::HISTORY != 0 {
                    if row.condemned_at_ms > 0 {
                        restored.push(row.oid);
                    }
                } else if row.condemned_at_ms == 0 {
                    condemned.push(row.oid);
                } else if bits == 0 && self.marker.is_due(row.condemned_at_ms) {
                    due.push(row.oid);
                }
            }
            marked += condemned.len() as u64;
            if self.marker.execute {
                removal.condemn_history(kind, &condemned, self.marker.now_ms).await?;
                removal.restore_history(kind, &restored).await?;
                removed += removal.history(kind, &due, self.marker.cutoff_ms).await?;
            } else {
                removed += due.len() as u64;
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after = last.oid.to_string(),
                _ => break,
            }
        }
        match kind {
            HistoryKind::Tree => (self.report.removed.trees, self.report.marked.trees) = (removed, marked),
            HistoryKind::Blob => (self.report.removed.blobs, self.report.marked.blobs) = (removed, marked),
        }
        Ok(())
    }

    async fn contents(&mut self, mark: &Mark) -> Result<(), StoreError> {
        let removal = self.store.catalog().removal();
        let (mut condemned, mut due) = (Vec::new(), Vec::new());
        for unnamed in &mark.unnamed {
            let bits = mark.contents.get(&unnamed.sha256).copied().unwrap_or_default();
            if unnamed.condemned_at_ms == 0 {
                condemned.push(unnamed.sha256.to_string());
            } else if bits == 0 && self.marker.is_due(unnamed.condemned_at_ms) {
                due.push(unnamed.sha256);
            }
        }
        self.report.marked.contents = condemned.len() as u64;
        self.report.removed.contents = due.len() as u64;
        let named = |sha256: &Sha256| mark.thinned.contains_key(sha256);
        if !self.marker.execute {
            let unnamed: Vec<String> = due.iter().filter(|one| !named(one)).map(ToString::to_string).collect();
            self.report.verdicts = removal.count_verdicts(&unnamed).await?;
            return Ok(());
        }
        let revived: Vec<String> = mark.revived.iter().map(ToString::to_string).collect();
        removal.restore(Stored::Content, &revived).await?;
        removal.condemn(Stored::Content, &condemned, self.marker.now_ms).await?;
        let (gone, verdicts) = removal.contents(&due, self.marker.cutoff_ms, named).await?;
        self.report.removed.contents = gone.len() as u64;
        self.report.verdicts = verdicts;
        for sha256 in gone {
            if let Some((repo, rule)) = mark.thinned.get(&sha256) {
                let now_ms = self.marker.now_ms;
                self.store.catalog().retention().retire(&sha256, repo, rule, now_ms).await?;
            }
        }
        Ok(())
    }

    /// Removes verdicts on contents that are gone already.
    async fn verdicts(&mut self) -> Result<(), StoreError> {
        let removal = self.store.catalog().removal();
        let mut after = String::new();
        loop {
            let page = removal.judged_and_gone(&after).await?;
            self.report.verdicts += match self.marker.execute {
                true => removal.verdicts(&page).await?,
                false => removal.count_verdicts(&page).await?,
            };
            match page.last() {
                Some(last) if page.len() == PAGE => after.clone_from(last),
                _ => return Ok(()),
            }
        }
    }

    async fn xorbs(&mut self, mark: &Mark, lease: Option<&Lease>) -> Result<(), StoreError> {
        let (garbage, removal) = (self.store.catalog().garbage(), self.store.catalog().removal());
        let mut lone_bytes: HashMap<XetHash, u64> = HashMap::new();
        let mut after = String::new();
        loop {
            self.hold(lease).await?;
            let page = garbage.xorbs(&after).await?;
            let (mut fresh, mut restored, mut due): (Vec<&XorbRow>, Vec<String>, Vec<&XorbRow>) = Default::default();
            for row in &page {
                let bits = mark.xorbs.get(&row.hash).copied().unwrap_or_default();
                if bits & from::USE == from::BASE {
                    lone_bytes.insert(row.hash, row.stored_bytes);
                }
                if bits & from::USE != 0 {
                    if row.condemned_at_ms > 0 {
                        restored.push(row.hash.to_string());
                    }
                    self.keep(need(bits), row);
                } else if row.condemned_at_ms == 0 {
                    fresh.push(row);
                    self.keep(Need::Waiting, row);
                } else if bits == 0 && self.marker.is_due(row.condemned_at_ms) {
                    due.push(row);
                    *self.dying.entry(row.pack.clone()).or_default() += row.stored_bytes;
                } else {
                    self.keep(Need::Waiting, row);
                }
            }
            // Who holds a xorb is asked before it goes.
            let (condemned, freed) = (self.share(mark, &fresh).await?, self.share(mark, &due).await?);
            self.report.marked.xorbs += fresh.len() as u64;
            if self.marker.execute {
                let keys: Vec<String> = fresh.iter().map(|row| row.hash.to_string()).collect();
                removal.condemn(Stored::Xorb, &keys, self.marker.now_ms).await?;
                removal.restore(Stored::Xorb, &restored).await?;
                let hashes: Vec<XetHash> = due.iter().map(|row| row.hash).collect();
                let gone = removal.xorbs(&hashes, self.marker.cutoff_ms).await?;
                gone.iter().for_each(|hash| self.store.forget_place(hash));
                self.report.removed.xorbs += gone.len() as u64;
                let gone: std::collections::HashSet<XetHash> = gone.into_iter().collect();
                due.retain(|row| gone.contains(&row.hash));
            } else {
                self.report.removed.xorbs += due.len() as u64;
            }
            let due: std::collections::HashSet<XetHash> = due.iter().map(|row| row.hash).collect();
            add(&mut self.condemned, condemned);
            add(&mut self.freed, freed.into_iter().filter(|(hash, ..)| due.contains(hash)).collect());
            match page.last() {
                Some(last) if page.len() == PAGE => after = last.hash.to_string(),
                _ => break,
            }
        }
        let mut dependants: HashMap<Sha256, u64> = HashMap::new();
        for (xorb, base) in &mark.bases {
            if mark.xorbs.get(xorb).is_some_and(|bits| bits & from::USE != 0) {
                *dependants.entry(*base).or_default() += 1;
            }
        }
        for (sha256, (size_bytes, xorbs)) in &mark.lone {
            self.report.bases.push(LoneBase {
                sha256: *sha256,
                size_bytes: *size_bytes,
                stored_bytes: xorbs.iter().filter_map(|xorb| lone_bytes.get(xorb)).sum(),
                dependants: dependants.get(sha256).copied().unwrap_or_default(),
            });
        }
        self.report.bases.sort_by_key(|base| (std::cmp::Reverse(base.stored_bytes), base.sha256));
        Ok(())
    }

    fn keep(&mut self, need: Need, row: &XorbRow) {
        let (xorbs, bytes) = self.kept.entry(need).or_default();
        *xorbs += 1;
        *bytes += row.stored_bytes;
        *self.staying.entry(row.pack.clone()).or_default() += row.stored_bytes;
    }

    /// To whom xorbs belong that are not needed, and why they are not.
    async fn share(
        &self,
        mark: &Mark,
        rows: &[&XorbRow],
    ) -> Result<Vec<(XetHash, Option<String>, Cause, u64)>, StoreError> {
        let hashes: Vec<XetHash> = rows.iter().map(|row| row.hash).collect();
        let mut holders: HashMap<XetHash, Vec<RepoKey>> = HashMap::new();
        for (xorb, repo) in self.store.catalog().garbage().holders(&hashes).await? {
            holders.entry(xorb).or_default().push(repo);
        }
        Ok(rows
            .iter()
            .map(|row| {
                let repos = holders.get(&row.hash).map(Vec::as_slice).unwrap_or_default();
                let name = repos.iter().find_map(|key| mark.names.get(key).cloned());
                let cause = match (&name, repos.is_empty()) {
                    (None, true) => Cause::Leftover,
                    (None, false) => Cause::RepositoryDeleted,
                    (Some(_), _) if mark.by_rule.contains(&row.hash) => Cause::Retention,
                    (Some(_), _) => Cause::NotNamed,
                };
                (row.hash, name, cause, row.stored_bytes)
            })
            .collect())
    }

    /// Removes packs in which nothing lies any more.
    async fn packs(&mut self, lease: Option<&Lease>) -> Result<(), StoreError> {
        let removal = self.store.catalog().removal();
        if !self.marker.execute {
            for (pack, bytes) in &self.dying {
                if !self.staying.contains_key(pack) {
                    self.report.packs.0 += 1;
                    self.report.packs.1 += bytes;
                }
            }
            return Ok(());
        }
        removal.former(self.marker.cutoff_ms).await?;
        for (pack, bytes) in removal.empty_packs().await? {
            self.hold(lease).await?;
            match blob::remove_pack(self.store, &pack).await {
                Ok(()) => {
                    self.report.packs.0 += 1;
                    self.report.packs.1 += bytes;
                }
                Err(error) => {
                    tracing::warn!(pack.id = %pack, %error, "a pack could not be removed; the next run tries again");
                    self.report.failures.push(format!("pack {pack}: {error}"));
                }
            }
        }
        self.hold(lease).await?;
        self.report.rewritten = self.store.compact(self.marker.now_ms).await?;
        Ok(())
    }
}

fn add(shares: &mut Shares, found: Vec<(XetHash, Option<String>, Cause, u64)>) {
    for (_, repo, cause, bytes) in found {
        let (xorbs, stored) = shares.entry((repo, cause)).or_default();
        *xorbs += 1;
        *stored += bytes;
    }
}

fn shares(found: Shares) -> Vec<Share> {
    let mut shares: Vec<Share> = found
        .into_iter()
        .map(|((repo, cause), (xorbs, stored_bytes))| Share { repo, cause, xorbs, stored_bytes })
        .collect();
    shares.sort_by(|a, b| b.stored_bytes.cmp(&a.stored_bytes).then_with(|| a.repo.cmp(&b.repo)));
    shares
}

/// The strongest reason to stay.
fn need(bits: u8) -> Need {
    [
        (from::COMMIT, Need::Commit),
        (from::CONVERSION, Need::Conversion),
        (from::BASE, Need::Base),
        (from::RECENT, Need::Recent),
        (from::UPLOAD, Need::Upload),
    ]
    .into_iter()
    .find(|(bit, _)| bits & bit != 0)
    .map_or(Need::Waiting, |(_, need)| need)
}
