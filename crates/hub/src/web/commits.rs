//! History: a list of commits, and what one of them changed.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use http::StatusCode;
use weighthouse::browse::Change;
use weighthouse::revision::Revision;

use super::error::PageError;
use super::format::{When, exact, size};
use super::shell::{RepoHead, Shell, page};
use super::tree::{Choice, revisions};
use super::visit::Visit;

/// Commits on one page.
const PAGE: u64 = 50;
/// Changed files that are shown.
const MAX_CHANGES: usize = 500;
/// Longest part of a commit message that is shown, in characters.
const MAX_MESSAGE: usize = 20_000;

#[derive(Template)]
#[template(path = "commits.html")]
struct Commits {
    shell: Shell,
    head: RepoHead,
    revisions: Vec<Choice>,
    total: String,
    rows: Vec<Row>,
    previous: Option<String>,
    next: Option<String>,
}

struct Row {
    title: String,
    url: String,
    author: String,
    when: When,
    short: String,
    files_url: String,
    /// Where it is compared with the commit before it.
    compare_url: Option<String>,
}

#[derive(Template)]
#[template(path = "commit.html")]
struct Commit {
    shell: Shell,
    head: RepoHead,
    title: String,
    body: String,
    author: String,
    when: When,
    oid: String,
    files_url: String,
    compare_url: Option<String>,
    parents: Vec<(String, String)>,
    changes: Vec<ChangeRow>,
    complete: bool,
}

struct ChangeRow {
    path: String,
    /// `added`, `removed`, `changed`
    kind: &'static str,
    url: Option<String>,
    size: String,
    digest: Option<String>,
}

/// `GET /{id}/commits/{rev}`
pub(super) async fn list(visit: Visit, Path(revision): Path<String>) -> Result<Response, PageError> {
    let (repo, at) = visit.repo_at(&revision).await?;
    let number = visit.page()?;
    let hub = visit.hub();
    let history = hub.history(&repo, &at, number * PAGE, PAGE as usize).await.map_err(|error| visit.refuse(error))?;
    let head = RepoHead::new(&repo, &revision, "commits");
    let now_ms = hub.now_ms();
    let to_page = |page: u64| match page {
        0 => visit.with_query(&[("p", None)]),
        page => visit.with_query(&[("p", Some(&page.to_string()))]),
    };
    // The menu of revisions leads to files; here to their history.
    let choices = revisions(&visit, &repo, &head, ("tree", &revision, "")).await?;
    let choices =
        choices.into_iter().map(|choice| Choice { url: head.paths.at("commits", &choice.name, ""), ..choice });
    let template = Commits {
        shell: visit.shell(format!("History of {}", head.id), Some(head.paths.api_at("commits", &revision, ""))),
        revisions: choices.collect(),
        total: exact(history.total),
        rows: history.commits.iter().map(|commit| row(&head, commit, now_ms)).collect(),
        previous: number.checked_sub(1).map(to_page),
        next: ((number + 1) * PAGE < history.total).then(|| to_page(number + 1)),
        head,
    };
    Ok(page(StatusCode::OK, &template))
}

/// `GET /{id}/commits/{rev}/{path}`: this hub keeps no history of single files, so it shows that of all.
pub(super) async fn list_of_path(
    visit: Visit,
    Path((revision, _)): Path<(String, String)>,
) -> Result<Response, PageError> {
    let (repo, _) = visit.repo_at(&revision).await?;
    Err(PageError::Elsewhere(RepoHead::new(&repo, &revision, "commits").commits_url()))
}

fn row(head: &RepoHead, revision: &Revision, now_ms: i64) -> Row {
    let oid = revision.oid.to_string();
    Row {
        title: titled(revision),
        url: head.paths.commit(&oid),
        author: revision.commit.author.name.clone(),
        when: When::new(revision.commit.author.time_s.saturating_mul(1_000), now_ms),
        files_url: head.paths.at("tree", &oid, ""),
        compare_url: compare_url(head, revision.commit.parents.first().map(ToString::to_string).as_deref(), &oid),
        short: oid.get(..7).unwrap_or(&oid).to_owned(),
    }
}

/// Where a commit of a model is compared with the one before it.
fn compare_url(head: &RepoHead, parent: Option<&str>, oid: &str) -> Option<String> {
    let parent = parent.filter(|_| head.inside)?;
    Some(super::compare::address(&head.id, parent, oid))
}

fn titled(revision: &Revision) -> String {
    match revision.commit.title().trim() {
        "" => "(no title)".to_owned(),
        title => title.chars().take(300).collect(),
    }
}

/// `GET /{id}/commit/{sha}`
pub(super) async fn show(visit: Visit, Path(revision): Path<String>) -> Result<Response, PageError> {
    let (repo, at) = visit.repo_at(&revision).await?;
    let hub = visit.hub();
    let head = RepoHead::new(&repo, weighthouse::revision::MAIN, "commits");
    let parent = match at.commit.parents.first() {
        Some(oid) => Some(hub.revision(&repo, &oid.to_string()).await.map_err(|error| visit.refuse(error))?),
        None => None,
    };
    let changes = hub.changes(parent.as_ref(), &at, MAX_CHANGES).await.map_err(|error| visit.refuse(error))?;
    let oid = at.oid.to_string();
    let parent_oid = parent.map(|parent| parent.oid.to_string());
    let template = Commit {
        shell: visit.shell(titled(&at), Some(format!("{}?limit=1", head.paths.api_at("commits", &oid, "")))),
        title: titled(&at),
        body: at.commit.body().trim().chars().take(MAX_MESSAGE).collect(),
        author: at.commit.author.name.clone(),
        when: When::new(at.commit.author.time_s.saturating_mul(1_000), hub.now_ms()),
        files_url: head.paths.at("tree", &oid, ""),
        compare_url: compare_url(&head, parent_oid.as_deref(), &oid),
        parents: parent_oid
            .iter()
            .map(|oid| (oid.get(..7).unwrap_or(oid).to_owned(), head.paths.commit(oid)))
            .collect(),
        changes: changes.files.iter().map(|change| change_row(&head, change, &oid, parent_oid.as_deref())).collect(),
        complete: changes.complete,
        oid,
        head,
    };
    Ok(page(StatusCode::OK, &template))
}

fn change_row(head: &RepoHead, change: &Change, commit: &str, parent: Option<&str>) -> ChangeRow {
    let (kind, size) = match (&change.before, &change.after) {
        (None, Some(after)) => ("added", size(after.size_bytes)),
        (Some(before), None) => ("removed", size(before.size_bytes)),
        (Some(before), Some(after)) if before.size_bytes != after.size_bytes => {
            ("changed", format!("{} → {}", size(before.size_bytes), size(after.size_bytes)))
        }
        (_, Some(after)) => ("changed", size(after.size_bytes)),
        (None, None) => ("changed", String::new()),
    };
    let at = if change.after.is_some() { Some(commit) } else { parent };
    ChangeRow {
        path: change.path.clone(),
        kind,
        url: at.map(|revision| head.paths.at("blob", revision, &change.path)),
        size,
        digest: change.after.as_ref().map(|after| after.sha256.to_string()),
    }
}
