//! How much is stored, and what a repository keeps, as our own JSON; the Hub has nothing like it.
//!
//! - `GET /api/{models|datasets}/{id}/settings/storage`: the account of a repository
//! - `GET`, `PUT /api/{models|datasets}/{id}/settings/retention`: its rules of retention
//! - `GET /api/storage`: the account of the hub, for its administrators
//!
//! Fields are added within a version, and never change their meaning.

use serde::Serialize;
use weighthouse::retention::Rules;
use weighthouse::usage::{FileUsage, HubUsage, RepoUsage, Step, Waterfall};

/// Bytes from what people see to what is on the disk.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WaterfallInfo {
    /// All files, each content once.
    pub logical_bytes: u64,
    /// Saved because chunks are there already.
    pub dedup_bytes: u64,
    /// Saved because tensors are the same in other files.
    pub derived_bytes: u64,
    /// Saved by differences from other tensors.
    pub delta_bytes: u64,
    /// Saved by coding and compression.
    pub coded_bytes: u64,
    /// On the disk.
    pub stored_bytes: u64,
}

impl From<&Waterfall> for WaterfallInfo {
    fn from(waterfall: &Waterfall) -> Self {
        Self {
            logical_bytes: waterfall.logical_bytes,
            dedup_bytes: waterfall.dedup_bytes(),
            derived_bytes: waterfall.derived_bytes,
            delta_bytes: waterfall.delta_bytes,
            coded_bytes: waterfall.coded_bytes,
            stored_bytes: waterfall.stored_bytes,
        }
    }
}

/// `weighthouse.storage/1`: the account of a repository.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StorageReply {
    /// `weighthouse.storage/1`.
    pub schema: &'static str,
    /// Contents.
    pub files: u64,
    /// From logical to stored bytes.
    #[serde(flatten)]
    pub waterfall: WaterfallInfo,
    /// Stored bytes that other repositories use as well.
    pub shared_bytes: u64,
    /// How many those are.
    pub shared_with: u64,
    /// Those of them that the reader may see, at most 20.
    pub shared_repos: Vec<String>,
    /// The largest files of the default branch.
    pub largest: Vec<FileInfo>,
}

/// How a file is stored.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FileInfo {
    /// Path.
    pub path: String,
    /// SHA-256.
    pub sha256: String,
    /// Length in bytes.
    pub size_bytes: u64,
    /// Its share of what is on the disk.
    pub stored_bytes: u64,
    /// `dedup`, `derived`, `delta` or `coded`: what saves most, if anything saves much.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<&'static str>,
    /// SHA-256 of the file that it is a difference from, or the same as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// A repository that has or had that file, if the reader may see one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_repo: Option<String>,
    /// A path of it there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_path: Option<String>,
}

impl From<&FileUsage> for FileInfo {
    fn from(file: &FileUsage) -> Self {
        let place = file.base.as_ref().and_then(|base| base.place.as_ref());
        Self {
            path: file.path.clone(),
            sha256: file.sha256.to_string(),
            size_bytes: file.size_bytes,
            stored_bytes: file.stored_bytes,
            by: file.by.map(step),
            base: file.base.as_ref().map(|base| base.sha256.to_string()),
            base_repo: place.map(|place| place.repo.clone()),
            base_path: place.map(|place| place.path.clone()),
        }
    }
}

fn step(step: Step) -> &'static str {
    match step {
        Step::Dedup => "dedup",
        Step::Derived => "derived",
        Step::Delta => "delta",
        _ => "coded",
    }
}

impl StorageReply {
    /// The account of a repository.
    #[must_use]
    pub fn new(usage: &RepoUsage, shared_repos: Vec<String>, files: &[FileUsage]) -> Self {
        Self {
            schema: "weighthouse.storage/1",
            files: usage.files,
            waterfall: (&usage.waterfall).into(),
            shared_bytes: usage.shared_bytes,
            shared_with: usage.shared_with.len() as u64,
            shared_repos,
            largest: files.iter().map(FileInfo::from).collect(),
        }
    }
}

/// `weighthouse.hub-storage/1`: the account of the hub.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HubStorageReply {
    /// `weighthouse.hub-storage/1`.
    pub schema: &'static str,
    /// Repositories.
    pub repos: u64,
    /// From logical to stored bytes.
    #[serde(flatten)]
    pub waterfall: WaterfallInfo,
    /// Packs.
    pub packs: u64,
    /// Their bytes.
    pub pack_bytes: u64,
    /// Bytes that wait to be removed.
    pub removable_bytes: u64,
    /// Bytes of the catalog.
    pub catalog_bytes: u64,
    /// Bytes of the data folder.
    pub disk_bytes: u64,
    /// Packs that the scrub has read.
    pub checked_packs: u64,
    /// Packs with problems, and what is wrong with them.
    pub problems: Vec<(String, String)>,
    /// The largest repositories: id and logical bytes.
    pub largest: Vec<(String, u64)>,
}

impl From<&HubUsage> for HubStorageReply {
    fn from(usage: &HubUsage) -> Self {
        let totals = &usage.totals;
        Self {
            schema: "weighthouse.hub-storage/1",
            repos: totals.repos,
            waterfall: (&usage.waterfall).into(),
            packs: totals.packs,
            pack_bytes: totals.pack_bytes,
            removable_bytes: totals.condemned_bytes.saturating_add(totals.retired_bytes),
            catalog_bytes: usage.catalog_bytes,
            disk_bytes: usage.disk_bytes,
            checked_packs: usage.scrub.checked,
            problems: usage.scrub.problems.iter().map(|(pack, text)| (pack.to_string(), text.clone())).collect(),
            largest: usage.largest.iter().map(|repo| (repo.id.clone(), repo.logical_bytes)).collect(),
        }
    }
}

/// `weighthouse.retention/1`: the rules of a repository.
#[derive(Debug, Serialize)]
pub struct RetentionReply {
    /// `weighthouse.retention/1`.
    pub schema: &'static str,
    /// The rules.
    pub rules: Rules,
}
