//! How much is stored, for a repository and for the hub: from the bytes that people see to the bytes on the disk.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;
use weighthouse_format::xet::hash::XetHash;
use weighthouse_store::catalog::{CheckState, HubTotals, RepoTotal, XorbUse};

use crate::access::{Caller, Repo};
use crate::browse::FileRecord;
use crate::revision::Revision;
use crate::{Error, Hub, RepoKey, RepoKind, Sha256, Storage};

/// How long an account is shown without being made anew.
const REPO_FRESH: Duration = Duration::from_secs(3);
const HUB_FRESH: Duration = Duration::from_secs(30);
/// Repositories that are looked through for one that may be named.
const MOST_PLACES: u32 = 50;

/// What shrinks bytes on their way to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Chunks that are there already.
    Dedup,
    /// Tensors that are the same in another file, whatever its container.
    Derived,
    /// Tensors stored as their difference from others.
    Delta,
    /// Everything else that is coded or compressed.
    Coded,
}

/// Bytes after each step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Waterfall {
    /// All files, each content once.
    pub logical_bytes: u64,
    /// Their chunks, each once.
    pub chunk_bytes: u64,
    /// Saved because tensors are the same elsewhere.
    pub derived_bytes: u64,
    /// Saved by differences.
    pub delta_bytes: u64,
    /// Saved by coding.
    pub coded_bytes: u64,
    /// On the disk.
    pub stored_bytes: u64,
}

/// The account of a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepoUsage {
    /// Contents.
    pub files: u64,
    /// From logical to stored bytes.
    pub waterfall: Waterfall,
    /// Stored bytes that other repositories use as well.
    pub shared_bytes: u64,
    /// Those repositories, as many as the caller may see; the rest is counted only.
    pub shared_with: Vec<RepoKey>,
}

/// How one file is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileUsage {
    /// Path.
    pub path: String,
    /// Content.
    pub sha256: Sha256,
    /// Length in bytes.
    pub size_bytes: u64,
    /// Its share of what is on the disk, in bytes.
    pub stored_bytes: u64,
    /// The step that saves most, if any saves a twentieth.
    pub by: Option<Step>,
    /// The content that most of it is a difference from, or the same as.
    pub base: Option<Base>,
}

/// A file that others are coded against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// Content.
    pub sha256: Sha256,
    /// Where it is or was, if the caller may see that.
    pub place: Option<BasePlace>,
}

/// Where a base is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BasePlace {
    /// Kind of the repository.
    pub kind: RepoKind,
    /// Its id.
    pub repo: String,
    /// A path that the content has or had there.
    pub path: String,
    /// Whether it is in the revision that was asked about.
    pub is_beside: bool,
}

/// The account of the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubUsage {
    /// Sums over all rows.
    pub totals: HubTotals,
    /// From logical to stored bytes.
    pub waterfall: Waterfall,
    /// Bytes of the catalog: its files, or the database.
    pub catalog_bytes: u64,
    /// Bytes of uploads that are not finished.
    pub unfinished_bytes: u64,
    /// Bytes that the data folder takes in a file system: packs in whole blocks, and the catalog if it lies there.
    pub disk_bytes: u64,
    /// The largest repositories.
    pub largest: Vec<RepoTotal>,
    /// How far the scrub is.
    pub scrub: CheckState,
    /// When garbage was collected last, milliseconds since 1970.
    pub collected_at_ms: Option<i64>,
}

pub(crate) type UsageCache = Cache<RepoKey, (i64, Arc<RepoUsage>)>;
pub(crate) type HubUsageCache = Cache<(), (i64, Arc<HubUsage>)>;

impl Hub {
    /// The account of a repository.
    pub async fn repo_usage(&self, repo: &Repo) -> Result<Arc<RepoUsage>, Error> {
        let key = &repo.record.key;
        let now_ms = self.now_ms();
        let fresh_ms = i64::try_from(REPO_FRESH.as_millis()).unwrap_or(0);
        if let Some((at_ms, usage)) = self.usage_cache().get(key)
            && now_ms - at_ms < fresh_ms
        {
            return Ok(usage);
        }
        let usage = Arc::new(self.measure(key).await?);
        self.usage_cache().insert(key.clone(), (now_ms, Arc::clone(&usage)));
        Ok(usage)
    }

    async fn measure(&self, key: &RepoKey) -> Result<RepoUsage, Error> {
        let catalog = self.catalog();
        let mut usage = RepoUsage::default();
        // Of each xorb: the runs of chunks that files name, each once.
        let mut runs: HashMap<XetHash, HashMap<(u32, u32), u64>> = HashMap::new();
        let mut after = String::new();
        loop {
            let page = catalog.usage().contents(key, &after).await?;
            for (_, size_bytes, terms) in &page {
                usage.files += 1;
                usage.waterfall.logical_bytes += size_bytes;
                for term in terms {
                    runs.entry(term.xorb).or_default().insert((term.start, term.end), term.unpacked_bytes.into());
                }
            }
            match page.last() {
                Some((last, ..)) => after = last.to_string(),
                None => break,
            }
        }
        let hashes: Vec<XetHash> = runs.keys().copied().collect();
        let mut others: BTreeSet<RepoKey> = BTreeSet::new();
        for batch in hashes.chunks(1_000) {
            let xorbs = catalog.usage().xorbs(batch).await?;
            let mut shared: BTreeSet<XetHash> = BTreeSet::new();
            for (xorb, holder) in catalog.usage().holders(batch).await? {
                if holder != *key {
                    shared.insert(xorb);
                    others.insert(holder);
                }
            }
            for hash in batch {
                let Some(xorb) = xorbs.get(hash) else { continue };
                let named: u64 = runs.get(hash).into_iter().flat_map(HashMap::values).sum();
                let stored = usage.waterfall.add(xorb, named.min(xorb.raw_bytes));
                if shared.contains(hash) {
                    usage.shared_bytes += stored;
                }
            }
        }
        usage.shared_with = others.into_iter().collect();
        Ok(usage)
    }

    /// Ids of those repositories that a caller may see.
    pub async fn seen_repos(&self, caller: &Caller, keys: &[RepoKey], limit: usize) -> Result<Vec<String>, Error> {
        let mut seen = Vec::new();
        for key in keys {
            if seen.len() >= limit {
                break;
            }
            if let Some(record) = self.catalog().repos().get(key).await?
                && caller.role_in(&record).is_some()
            {
                seen.push(record.id);
            }
        }
        Ok(seen)
    }

    /// How the files of a revision are stored, the largest first; at most `limit` of them.
    pub async fn file_usage(
        &self,
        caller: &Caller,
        repo: &Repo,
        revision: &Revision,
        limit: usize,
    ) -> Result<Vec<FileUsage>, Error> {
        let mut files = self.all_files(revision).await?;
        files.sort_by(|a, b| b.size_bytes.cmp(&a.size_bytes).then_with(|| a.path.cmp(&b.path)));
        let mut places: HashMap<Sha256, Option<BasePlace>> = HashMap::new();
        let mut found = Vec::new();
        for file in files.iter().take(limit) {
            let Some(content) = self.catalog().contents().get(&file.sha256).await? else { continue };
            let mut named: HashMap<XetHash, u64> = HashMap::new();
            for term in &content.terms {
                *named.entry(term.xorb).or_default() += u64::from(term.unpacked_bytes);
            }
            let hashes: Vec<XetHash> = named.keys().copied().collect();
            let mut waterfall = Waterfall { logical_bytes: file.size_bytes, ..Waterfall::default() };
            let mut bases: HashMap<Sha256, u64> = HashMap::new();
            for (hash, mut xorb) in self.catalog().usage().xorbs(&hashes).await? {
                let bytes = named.get(&hash).copied().unwrap_or_default();
                if bytes < xorb.raw_bytes / 2 {
                    // What it is made of is known of all of it, and is the work of other files.
                    xorb.makeup.clear();
                }
                waterfall.add(&xorb, bytes.min(xorb.raw_bytes));
                for part in &xorb.makeup {
                    if let Some(base) = part.base {
                        *bases.entry(base).or_default() += part.raw_bytes;
                    }
                }
            }
            let base = match bases.into_iter().max_by_key(|(base, bytes)| (*bytes, *base)) {
                None => None,
                Some((sha256, _)) => {
                    let place = match places.entry(sha256) {
                        Entry::Occupied(known) => known.get().clone(),
                        Entry::Vacant(open) => {
                            open.insert(self.base_place(caller, repo, &files, &sha256).await?).clone()
                        }
                    };
                    Some(Base { sha256, place })
                }
            };
            found.push(FileUsage {
                path: file.path.clone(),
                sha256: file.sha256,
                size_bytes: file.size_bytes,
                stored_bytes: waterfall.stored_bytes,
                by: waterfall.main_step(),
                base,
            });
        }
        Ok(found)
    }

    /// Where a content is or was: among `files` of `repo`, elsewhere in it, or in another repository that the caller may see.
    async fn base_place(
        &self,
        caller: &Caller,
        repo: &Repo,
        files: &[FileRecord],
        sha256: &Sha256,
    ) -> Result<Option<BasePlace>, Error> {
        if let Some(file) = files.iter().find(|file| file.sha256 == *sha256) {
            let (kind, id) = (repo.record.kind, repo.record.id.clone());
            return Ok(Some(BasePlace { kind, repo: id, path: file.path.clone(), is_beside: true }));
        }
        let mut places = self.catalog().usage().places(sha256, MOST_PLACES).await?;
        places.sort_by_key(|(key, _)| *key != repo.record.key);
        for (key, path) in places {
            if let Some(record) = self.catalog().repos().get(&key).await?
                && caller.role_in(&record).is_some()
            {
                return Ok(Some(BasePlace { kind: record.kind, repo: record.id, path, is_beside: false }));
            }
        }
        Ok(None)
    }

    /// The account of the hub, as it is now. Goes through the whole catalog.
    pub async fn hub_usage(&self) -> Result<HubUsage, Error> {
        let catalog = self.catalog();
        let totals = catalog.usage().totals().await?;
        let mut waterfall = Waterfall {
            logical_bytes: totals.logical_bytes.saturating_add(totals.converted_bytes),
            chunk_bytes: totals.raw_bytes,
            stored_bytes: totals.xorb_bytes,
            coded_bytes: totals.arrived.0.saturating_sub(totals.arrived.1),
            ..Waterfall::default()
        };
        for (codec, raw, stored) in &totals.coded {
            waterfall.save(codec, raw.saturating_sub(*stored));
        }
        let uploads: u64 = self.store().blobs().list("uploads").await?.iter().map(|(_, size)| size).sum();
        let database = catalog.usage().database_bytes().await?;
        let files: u64 = ["catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm"]
            .iter()
            .filter_map(|name| std::fs::metadata(self.options().data.join(name)).ok())
            .map(|file| file.len())
            .sum();
        let packs = if self.options().storage == Storage::Folder {
            let (blocks, folders) = totals.pack_blocks;
            blocks + uploads + (folders + 3) * weighthouse_store::catalog::BLOCK_BYTES
        } else {
            0
        };
        Ok(HubUsage {
            waterfall,
            catalog_bytes: database.unwrap_or(files),
            unfinished_bytes: uploads,
            disk_bytes: packs + if database.is_none() { files } else { 0 },
            largest: catalog.usage().largest(50).await?,
            scrub: catalog.checks().state().await?,
            collected_at_ms: catalog.leases().noted(weighthouse_store::gc::LEASE).await?.map(|(at_ms, _)| at_ms),
            totals,
        })
    }

    /// The account of the hub, as it was within the last half minute: for pages.
    pub async fn recent_hub_usage(&self) -> Result<Arc<HubUsage>, Error> {
        let now_ms = self.now_ms();
        let fresh_ms = i64::try_from(HUB_FRESH.as_millis()).unwrap_or(0);
        if let Some((at_ms, usage)) = self.hub_usage_cache().get(&())
            && now_ms - at_ms < fresh_ms
        {
            return Ok(usage);
        }
        let usage = Arc::new(self.hub_usage().await?);
        self.hub_usage_cache().insert((), (now_ms, Arc::clone(&usage)));
        Ok(usage)
    }
}

impl Waterfall {
    /// Adds the part of a xorb that is named. Returns its stored bytes.
    fn add(&mut self, xorb: &XorbUse, named_bytes: u64) -> u64 {
        let part = |bytes: u64| share(bytes, named_bytes, xorb.raw_bytes);
        let stored = part(xorb.stored_bytes);
        self.chunk_bytes += named_bytes;
        self.stored_bytes += stored;
        if xorb.makeup.is_empty() {
            self.coded_bytes += named_bytes.saturating_sub(stored);
        }
        for piece in &xorb.makeup {
            self.save(&piece.codec, part(piece.raw_bytes.saturating_sub(piece.stored_bytes)));
        }
        stored
    }

    fn save(&mut self, codec: &str, bytes: u64) {
        match codec {
            "derived" => self.derived_bytes += bytes,
            "delta" => self.delta_bytes += bytes,
            _ => self.coded_bytes += bytes,
        }
    }

    /// Bytes that chunks which are there already save.
    #[must_use]
    pub fn dedup_bytes(&self) -> u64 {
        self.logical_bytes.saturating_sub(self.chunk_bytes)
    }

    /// The step that saves most, if it saves a twentieth of all bytes.
    #[must_use]
    pub fn main_step(&self) -> Option<Step> {
        let steps = [
            (self.derived_bytes, Step::Derived),
            (self.delta_bytes, Step::Delta),
            (self.coded_bytes, Step::Coded),
            (self.dedup_bytes(), Step::Dedup),
        ];
        let (bytes, step) = steps.into_iter().max_by_key(|(bytes, _)| *bytes)?;
        (bytes > 0 && bytes >= self.logical_bytes / 20).then_some(step)
    }
}

/// `bytes` in the proportion of `part` to `whole`.
fn share(bytes: u64, part: u64, whole: u64) -> u64 {
    if whole == 0 {
        return 0;
    }
    u64::try_from(u128::from(bytes) * u128::from(part) / u128::from(whole)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use weighthouse_store::catalog::Makeup;

    #[test]
    fn a_waterfall_loses_no_bytes_between_logical_and_stored() {
        let makeup = |codec: &str, raw_bytes, stored_bytes| Makeup {
            codec: codec.to_owned(),
            base: None,
            raw_bytes,
            stored_bytes,
        };
        let xorb = XorbUse {
            raw_bytes: 1_000,
            stored_bytes: 330,
            makeup: vec![makeup("delta", 500, 100), makeup("derived", 200, 0), makeup("planes", 300, 230)],
        };
        let mut waterfall = Waterfall { logical_bytes: 3_000, ..Waterfall::default() };
        assert_eq!(waterfall.add(&xorb, 1_000), 330);
        waterfall.add(&XorbUse { raw_bytes: 500, stored_bytes: 400, makeup: vec![] }, 250);
        assert_eq!((waterfall.chunk_bytes, waterfall.stored_bytes), (1_250, 530));
        assert_eq!((waterfall.delta_bytes, waterfall.derived_bytes, waterfall.coded_bytes), (400, 200, 70 + 50));
        let saved = waterfall.dedup_bytes() + waterfall.delta_bytes + waterfall.derived_bytes + waterfall.coded_bytes;
        assert_eq!(waterfall.logical_bytes - saved, waterfall.stored_bytes);
        assert_eq!(waterfall.main_step(), Some(Step::Dedup));
        assert_eq!(share(u64::MAX, u64::MAX, 1), u64::MAX);
        assert_eq!(share(7, 7, 0), 0);
    }
}
