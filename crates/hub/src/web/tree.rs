//! Folders.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use http::StatusCode;
use weighthouse::Error;
use weighthouse::access::Repo;
use weighthouse::browse::{FileRecord, PathRecord};

use super::error::PageError;
use super::format::{When, size};
use super::scan::Badge;
use super::shell::{RepoHead, Shell, page};
use super::visit::Visit;

/// Entries on one page.
const PAGE: usize = 100;
/// Branches and tags in the menu.
const MAX_REFS: usize = 100;

#[derive(Template)]
#[template(path = "tree.html")]
struct Folder {
    shell: Shell,
    head: RepoHead,
    crumbs: Vec<Crumb>,
    revisions: Vec<Choice>,
    commit: String,
    commit_url: String,
    commit_title: String,
    committed: When,
    up: Option<String>,
    rows: Vec<Row>,
    first: usize,
    last: usize,
    total: usize,
    previous: Option<String>,
    next: Option<String>,
}

/// A part of a path, and where it leads.
pub(super) struct Crumb {
    pub name: String,
    pub url: String,
    pub last: bool,
}

/// A branch or tag to go to.
pub(super) struct Choice {
    pub name: String,
    pub url: String,
    pub chosen: bool,
}

struct Row {
    name: String,
    url: String,
    file: Option<FileRow>,
    changed: Option<Changed>,
}

struct FileRow {
    size: String,
    download: String,
    digest: String,
    short_digest: String,
    /// The verdict, and where its report is.
    badge: Badge,
    report: String,
}

struct Changed {
    title: String,
    url: String,
    when: When,
}

/// `GET /{id}/tree/{rev}`
pub(super) async fn root(visit: Visit, Path(revision): Path<String>) -> Result<Response, PageError> {
    show(visit, revision, String::new()).await
}

/// `GET /{id}/tree/{rev}/{path}`
pub(super) async fn folder(
    visit: Visit,
    Path((revision, path)): Path<(String, String)>,
) -> Result<Response, PageError> {
    show(visit, revision, path).await
}

async fn show(visit: Visit, revision: String, path: String) -> Result<Response, PageError> {
    let path = path.trim_matches('/');
    let (repo, at) = visit.repo_at(&revision).await?;
    let hub = visit.hub();
    let head = RepoHead::new(&repo, &revision, "files");
    let number = usize::try_from(visit.page()?).unwrap_or(usize::MAX);
    let first = number.saturating_mul(PAGE);
    let listed = match hub.list_page(&at, &revision, path, false, first..first + PAGE).await {
        Err(Error::EntryNotFound { .. }) if hub.file(&at, &revision, path).await.is_ok() => {
            return Err(PageError::Elsewhere(head.paths.at("blob", &revision, path)));
        }
        other => other.map_err(|error| visit.refuse(error))?,
    };
    let mut touched = hub.last_commits(&repo, &at, path, &listed.entries).await.map_err(|error| visit.refuse(error))?;
    let files: Vec<&FileRecord> = listed
        .entries
        .iter()
        .filter_map(|entry| match entry {
            PathRecord::File(file) => Some(file),
            PathRecord::Folder { .. } => None,
        })
        .collect();
    let mut statuses = hub.statuses(&at, &files).await.map_err(|error| visit.refuse(error))?.into_iter();
    let now_ms = hub.now_ms();
    let mut rows = Vec::with_capacity(listed.entries.len());
    for entry in &listed.entries {
        let name = entry.path().rsplit('/').next().unwrap_or_default();
        let changed = touched.remove(name).map(|last| Changed {
            title: last.commit.title().to_owned(),
            url: head.paths.commit(&last.oid.to_string()),
            when: When::new(last.commit.author.time_s.saturating_mul(1_000), now_ms),
        });
        let verb = if matches!(entry, PathRecord::File(_)) { "blob" } else { "tree" };
        rows.push(Row {
            name: name.to_owned(),
            url: head.paths.at(verb, &revision, entry.path()),
            changed,
            file: match entry {
                PathRecord::Folder { .. } => None,
                PathRecord::File(file) => {
                    let digest = file.sha256.to_string();
                    Some(FileRow {
                        size: size(file.size_bytes),
                        download: format!("{}?download=true", head.paths.at("resolve", &revision, &file.path)),
                        short_digest: digest.get(..8).unwrap_or(&digest).to_owned(),
                        digest,
                        badge: Badge::of(statuses.next().and_then(|status| status.verdict)),
                        report: head.paths.at("scan", &revision, &file.path),
                    })
                }
            },
        });
    }
    // Folders first, as readers expect; git's order within each kind.
    rows.sort_by_key(|row| row.file.is_some());
    let to_page = |page: usize| match page {
        0 => visit.with_query(&[("p", None)]),
        page => visit.with_query(&[("p", Some(&page.to_string()))]),
    };
    let last = first.saturating_add(rows.len());
    let template = Folder {
        shell: visit.shell(title(&head, path), Some(head.paths.api_at("tree", &revision, path))),
        crumbs: crumbs(&head, &revision, path),
        revisions: revisions(&visit, &repo, &head, ("tree", &revision, path)).await?,
        commit: at.oid.to_string(),
        commit_url: head.paths.commit(&at.oid.to_string()),
        commit_title: at.commit.title().to_owned(),
        committed: When::new(at.commit.author.time_s.saturating_mul(1_000), now_ms),
        up: path
            .rsplit_once('/')
            .map(|(up, _)| up)
            .or((!path.is_empty()).then_some(""))
            .map(|up| head.paths.at("tree", &revision, up)),
        first: first.saturating_add(1).min(listed.total),
        last,
        total: listed.total,
        previous: number.checked_sub(1).map(to_page),
        next: (last < listed.total && !rows.is_empty()).then(|| to_page(number + 1)),
        rows,
        head,
    };
    Ok(page(StatusCode::OK, &template))
}

fn title(head: &RepoHead, path: &str) -> String {
    if path.is_empty() { format!("Files of {}", head.id) } else { format!("{path} in {}", head.id) }
}

/// The parts of a path, the repository first.
pub(super) fn crumbs(head: &RepoHead, revision: &str, path: &str) -> Vec<Crumb> {
    let mut found =
        vec![Crumb { name: head.name.clone(), url: head.paths.at("tree", revision, ""), last: path.is_empty() }];
    let mut sofar = String::new();
    for name in path.split('/').filter(|name| !name.is_empty()) {
        sofar = if sofar.is_empty() { name.to_owned() } else { format!("{sofar}/{name}") };
        let url = head.paths.at("tree", revision, &sofar);
        found.push(Crumb { name: name.to_owned(), url, last: sofar.len() == path.len() });
    }
    found
}

/// The menu of branches and tags, leading to the same folder, or what another verb has of it.
pub(super) async fn revisions(
    visit: &Visit,
    repo: &Repo,
    head: &RepoHead,
    (verb, revision, path): (&str, &str, &str),
) -> Result<Vec<Choice>, PageError> {
    let refs = visit.hub().refs(repo).await.map_err(|error| visit.refuse(error))?;
    let name =
        |full: &str| full.strip_prefix("refs/heads/").or(full.strip_prefix("refs/tags/")).unwrap_or(full).to_owned();
    let choice = |name: String| Choice { url: head.paths.at(verb, &name, path), chosen: name == revision, name };
    Ok(refs.iter().take(MAX_REFS).map(|found| choice(name(&found.name))).collect())
}
