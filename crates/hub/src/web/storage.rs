//! **Storage**: what a repository and the hub take on the disk, and why it is less than their files.

use askama::Template;
use axum::response::Response;
use http::StatusCode;
use weighthouse::access::Repo;
use weighthouse::revision::{MAIN, Revision};
use weighthouse::usage::{Base, FileUsage, Step, Waterfall};
use weighthouse::{Error, RepoKind};

use super::address::RepoPaths;
use super::error::PageError;
use super::format::{When, exact, size};
use super::retention::Retention;
use super::shell::{RepoHead, Shell, page};
use super::visit::Visit;
use crate::server::storage::{MOST_FILES, MOST_REPOS};

#[derive(Template)]
#[template(path = "storage.html")]
pub(super) struct Storage {
    shell: Shell,
    head: RepoHead,
    logical: String,
    stored: String,
    shared: Option<String>,
    shared_with: usize,
    repos: Vec<(String, String)>,
    steps: Vec<Bar>,
    rows: Vec<Row>,
    retention: Option<Retention>,
}

/// A bar of the waterfall.
struct Bar {
    name: &'static str,
    note: &'static str,
    bytes: String,
    exact: String,
    /// What is left after it, of a thousand.
    left: u64,
}

struct Row {
    path: String,
    url: String,
    size: String,
    stored: String,
    /// Of a few bytes the record about them is longer, and a share says nothing.
    percent: Option<u64>,
    how: String,
    /// Address and name of the file beside, or of the repository, that `how` ends with.
    base: Option<(String, String)>,
}

#[derive(Template)]
#[template(path = "hub_storage.html")]
struct HubStorage {
    shell: Shell,
    logical: String,
    stored: String,
    steps: Vec<Bar>,
    facts: Vec<(&'static str, String)>,
    collected: Option<When>,
    scrub: String,
    oldest: Option<When>,
    problems: Vec<(String, String)>,
    largest: Vec<(String, String, String, String)>,
}

/// `GET /{id}/settings/storage`
pub(super) async fn show(visit: Visit) -> Result<Response, PageError> {
    let (repo, at) = visit.repo_at(MAIN).await?;
    let retention = Retention::of(&visit, &repo).await?;
    Ok(page(StatusCode::OK, &template(&visit, &repo, &at, retention).await?))
}

/// The page of a repository with a form of its rules.
pub(super) async fn template(
    visit: &Visit,
    repo: &Repo,
    at: &Revision,
    retention: Option<Retention>,
) -> Result<Storage, PageError> {
    let hub = visit.hub();
    let refuse = |error| visit.refuse(error);
    let usage = hub.repo_usage(repo).await.map_err(refuse)?;
    let repos = hub.seen_repos(&visit.caller, &usage.shared_with, MOST_REPOS).await.map_err(refuse)?;
    let files = hub.file_usage(&visit.caller, repo, at, MOST_FILES).await.map_err(refuse)?;
    let head = RepoHead::new(repo, MAIN, "storage");
    let shell = visit.shell(format!("Storage of {}", head.id), Some(format!("{}/settings/storage", head.paths.api)));
    Ok(Storage {
        shell,
        logical: size(usage.waterfall.logical_bytes),
        stored: size(usage.waterfall.stored_bytes),
        shared: (usage.shared_bytes > 0).then(|| size(usage.shared_bytes)),
        shared_with: usage.shared_with.len(),
        repos: repos.into_iter().map(|id| (RepoPaths::new(repo.record.kind, &id).page, id)).collect(),
        steps: bars(&usage.waterfall),
        rows: files.iter().map(|file| row(&head, file)).collect(),
        head,
        retention,
    })
}

/// `GET /settings/storage`, for administrators
pub(super) async fn hub(visit: Visit) -> Result<Response, PageError> {
    if visit.caller.account().is_none() {
        return Err(visit.refuse(Error::Unauthenticated { action: "see what this hub stores" }));
    }
    if !visit.caller.is_admin() {
        return Err(visit.refuse(Error::Denied { action: "see what this hub stores".to_owned() }));
    }
    let usage = visit.hub().recent_hub_usage().await.map_err(|error| visit.refuse(error))?;
    let now_ms = visit.hub().now_ms();
    let totals = &usage.totals;
    let template = HubStorage {
        shell: visit.shell("Storage of the hub", Some("/api/storage".to_owned())),
        logical: size(usage.waterfall.logical_bytes),
        stored: size(usage.waterfall.stored_bytes),
        steps: bars(&usage.waterfall),
        facts: vec![
            ("Repositories", exact(totals.repos)),
            ("Different files", size(totals.unique_bytes)),
            ("Conversions among them", size(totals.converted_bytes)),
            ("Packs", format!("{} of {}", exact(totals.packs), size(totals.pack_bytes))),
            ("Waits to be removed", size(totals.condemned_bytes.saturating_add(totals.retired_bytes))),
            ("Unfinished uploads", size(usage.unfinished_bytes)),
            ("Catalog", size(usage.catalog_bytes)),
            ("Data folder", size(usage.disk_bytes)),
        ],
        collected: usage.collected_at_ms.map(|at_ms| When::new(at_ms, now_ms)),
        scrub: format!("{} of {} packs", exact(usage.scrub.checked), exact(usage.scrub.packs)),
        oldest: (usage.scrub.oldest_ms > 0).then(|| When::new(usage.scrub.oldest_ms, now_ms)),
        problems: usage.scrub.problems.iter().map(|(pack, text)| (pack.to_string(), text.clone())).collect(),
        largest: usage
            .largest
            .iter()
            .map(|repo| {
                let url = format!("{}/settings/storage", RepoPaths::new(repo.kind, &repo.id).page);
                let prefix = if repo.kind == RepoKind::Dataset { "datasets/" } else { "" };
                (format!("{prefix}{}", repo.id), url, exact(repo.files), size(repo.logical_bytes))
            })
            .collect(),
    };
    Ok(page(StatusCode::OK, &template))
}

fn bars(waterfall: &Waterfall) -> Vec<Bar> {
    let whole = waterfall.logical_bytes.max(1);
    let mut left = waterfall.logical_bytes;
    let mut bars = Vec::new();
    let mut bar = |name, note, bytes: u64, left: u64| {
        let left = u64::try_from(u128::from(left) * 1_000 / u128::from(whole)).unwrap_or(1_000).min(1_000);
        bars.push(Bar { name, note, bytes: size(bytes), exact: exact(bytes), left });
    };
    bar("Files", "as they are downloaded", waterfall.logical_bytes, left);
    for (name, note, bytes) in [
        ("Same chunks", "stored once for all files that have them", waterfall.dedup_bytes()),
        ("Same tensors", "in files of other kinds or other cuts", waterfall.derived_bytes),
        ("Differences", "stored instead of the tensors themselves", waterfall.delta_bytes),
        ("Coding", "fewer bytes for the same values", waterfall.coded_bytes),
    ] {
        left = left.saturating_sub(bytes);
        bar(name, note, bytes, left);
    }
    bar("Stored", "what is on the disk", waterfall.stored_bytes, waterfall.stored_bytes);
    bars
}

fn row(head: &RepoHead, file: &FileUsage) -> Row {
    let percent =
        u64::try_from(u128::from(file.stored_bytes) * 100 / u128::from(file.size_bytes.max(1))).unwrap_or(100);
    let how = match file.by {
        Some(Step::Dedup) => "chunks that other files have",
        Some(Step::Derived) => "the same tensors as in",
        Some(Step::Delta) => "difference from",
        Some(_) => "coded",
        None => "as it is",
    };
    let base = file.base.as_ref().filter(|_| matches!(file.by, Some(Step::Derived | Step::Delta)));
    let (how, base) = match base {
        Some(base) => named(head, how, base),
        None => (how.to_owned(), None),
    };
    Row {
        url: head.paths.at("blob", MAIN, &file.path),
        path: file.path.clone(),
        size: size(file.size_bytes),
        stored: size(file.stored_bytes),
        percent: Some(percent).filter(|percent| *percent <= 100),
        how,
        base,
    }
}

/// `how` with the base of a file, and address and name of what it ends with, where there is something to look at.
fn named(head: &RepoHead, how: &str, base: &Base) -> (String, Option<(String, String)>) {
    let Some(place) = &base.place else {
        let short: String = base.sha256.to_string().chars().take(12).collect();
        return (format!("{how} {short}"), None);
    };
    let path = &place.path;
    if place.is_beside {
        (how.to_owned(), Some((head.paths.at("blob", MAIN, path), path.clone())))
    } else if place.repo == head.id {
        (format!("{how} an earlier {path}"), None)
    } else {
        (format!("{how} {path} of"), Some((RepoPaths::new(place.kind, &place.repo).page, place.repo.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bars_go_down_from_the_files_to_what_is_stored() {
        let waterfall = Waterfall {
            logical_bytes: 1_000,
            chunk_bytes: 800,
            derived_bytes: 100,
            delta_bytes: 300,
            coded_bytes: 150,
            stored_bytes: 250,
        };
        let left: Vec<u64> = bars(&waterfall).iter().map(|bar| bar.left).collect();
        assert_eq!(left, [1_000, 800, 700, 400, 250, 250]);
        assert!(bars(&Waterfall::default()).iter().all(|bar| bar.left == 0), "an empty repository has empty bars");
    }
}
