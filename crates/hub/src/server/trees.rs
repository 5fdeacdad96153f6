//! Looking into a repository: folders and paths.

use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use http::header;
use weighthouse::access::Repo;
use weighthouse::browse::{FileRecord, FolderPage, PathRecord};
use weighthouse::revision::Revision;
use weighthouse::scan::Verdict;

use super::app::App;
use super::repos::{link, next_page};
use super::visitor::Visitor;
use crate::wire::error::ErrorReply;
use crate::wire::hf::tree::{
    EntryKind, LastCommit, PathsInfoRequest, SecurityFileStatus, TreeEntry, TreeLfs, TreeSize,
};
use crate::wire::time::format_millis;

/// Characters of a path in an address that stay, beside letters and digits.
const PATH: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');
/// Entries on one page, as some clients read only the first.
const PAGE: u64 = 1_000;
/// The same when each entry brings its last commit.
const EXPANDED_PAGE: u64 = 100;
/// Most paths in one question.
const MAX_PATHS: usize = 1_000;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/~api/tree/{revision}", get(root))
        .route("/~api/tree/{revision}/{*path}", get(folder))
        .route("/~api/treesize/{revision}", get(root_size))
        .route("/~api/treesize/{revision}/{*path}", get(folder_size))
        .route("/~api/paths-info/{revision}", post(paths_info))
}

/// `GET /api/models/{id}/tree/{rev}`
async fn root(visitor: Visitor, Path(revision): Path<String>) -> Result<Response, ErrorReply> {
    list(visitor, &revision, "").await
}

/// `GET /api/models/{id}/tree/{rev}/{path}`
async fn folder(visitor: Visitor, Path((revision, path)): Path<(String, String)>) -> Result<Response, ErrorReply> {
    list(visitor, &revision, &path).await
}

async fn list(visitor: Visitor, revision: &str, path: &str) -> Result<Response, ErrorReply> {
    let recursive = visitor.query.flag("recursive")?.unwrap_or(false);
    let expand = visitor.query.flag("expand")?.unwrap_or(false);
    let page = if expand { EXPANDED_PAGE } else { PAGE };
    let limit = visitor.query.number("limit")?.unwrap_or(page).clamp(1, page);
    let offset = visitor.query.number("offset")?.unwrap_or(0);
    let (repo, at) = visitor.repo_at(revision).await?;
    let hub = visitor.app.hub();
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    let end = start.saturating_add(usize::try_from(limit).unwrap_or(usize::MAX));
    let found = hub.list_page(&at, revision, path, recursive, start..end).await;
    let FolderPage { entries, total } = found.map_err(|error| visitor.refuse(error))?;
    let mut reply = Json(shown(&visitor, &repo, &at, &entries, expand).await?).into_response();
    if end < total {
        let address = visitor.address()?.original.path().to_owned();
        reply.headers_mut().insert(header::LINK, link(&next_page(&visitor, &address, offset + limit))?);
    }
    Ok(reply)
}

async fn shown(
    visitor: &Visitor,
    repo: &Repo,
    at: &Revision,
    entries: &[PathRecord],
    expand: bool,
) -> Result<Vec<TreeEntry>, ErrorReply> {
    let mut shown: Vec<TreeEntry> = entries.iter().map(entry).collect();
    let hub = visitor.app.hub();
    let files: Vec<&FileRecord> = entries.iter().filter_map(file).collect();
    let statuses = hub.statuses(at, &files).await.map_err(|error| visitor.refuse(error))?;
    // Clients that know a Xet hash go straight to reconstructions, where no refusal is shown: who is not given the bytes
    // is not shown that road, and hears the reason from the plain one.
    let rows = shown.iter_mut().filter(|entry| entry.kind == EntryKind::File);
    for ((row, file), status) in rows.zip(&files).zip(&statuses) {
        let doubtful = !matches!(status.verdict, Some(Verdict::Safe | Verdict::Caution));
        if row.xet_hash.is_some() && doubtful {
            let blocked = hub.would_block(&visitor.caller, repo, at, file).await;
            if blocked.map_err(|error| visitor.refuse(error))?.is_some() {
                row.xet_hash = None;
            }
        }
    }
    if !expand {
        return Ok(shown);
    }
    let files = shown.iter_mut().filter(|entry| entry.kind == EntryKind::File);
    for (entry, status) in files.zip(statuses) {
        let path = percent_encoding::utf8_percent_encode(&entry.path, PATH);
        let report = format!("{}/scan/{}/{path}", visitor.page_url(repo), at.oid);
        entry.security_file_status = Some(SecurityFileStatus::of(&status, &report));
    }
    // Entries of one folder are looked up together.
    let mut folders: Vec<&str> = entries.iter().map(|e| parent(e.path())).collect();
    folders.sort_unstable();
    folders.dedup();
    for folder in folders {
        let inside: Vec<PathRecord> = entries.iter().filter(|e| parent(e.path()) == folder).cloned().collect();
        let hub = visitor.app.hub();
        let last = hub.last_commits(repo, at, folder, &inside).await.map_err(|error| visitor.refuse(error))?;
        for entry in shown.iter_mut().filter(|entry| parent(&entry.path) == folder) {
            let name = entry.path.rsplit('/').next().unwrap_or_default();
            entry.last_commit = last.get(name).map(|last| LastCommit {
                id: last.oid.to_string(),
                title: last.commit.title().to_owned(),
                date: format_millis(last.commit.author.time_s * 1_000),
            });
        }
    }
    Ok(shown)
}

fn file(entry: &PathRecord) -> Option<&FileRecord> {
    match entry {
        PathRecord::File(file) => Some(file),
        PathRecord::Folder { .. } => None,
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn entry(record: &PathRecord) -> TreeEntry {
    match record {
        PathRecord::Folder { path, oid } => TreeEntry {
            kind: EntryKind::Directory,
            path: path.clone(),
            oid: oid.to_string(),
            size: 0,
            lfs: None,
            xet_hash: None,
            last_commit: None,
            security_file_status: None,
        },
        PathRecord::File(file) => TreeEntry {
            kind: EntryKind::File,
            path: file.path.clone(),
            oid: file.oid.to_string(),
            size: file.size_bytes,
            lfs: file.lfs.then(|| TreeLfs {
                oid: file.sha256.to_string(),
                size: file.size_bytes,
                pointer_size: file.pointer_bytes(),
            }),
            xet_hash: (file.lfs && file.size_bytes > 0 && file.retired.is_none()).then(|| file.file_hash.to_string()),
            last_commit: None,
            security_file_status: None,
        },
    }
}

/// `GET /api/models/{id}/treesize/{rev}`
async fn root_size(visitor: Visitor, Path(revision): Path<String>) -> Result<Response, ErrorReply> {
    size(visitor, &revision, "").await
}

/// `GET /api/models/{id}/treesize/{rev}/{path}`
async fn folder_size(visitor: Visitor, Path((revision, path)): Path<(String, String)>) -> Result<Response, ErrorReply> {
    size(visitor, &revision, &path).await
}

async fn size(visitor: Visitor, revision: &str, path: &str) -> Result<Response, ErrorReply> {
    let (_, at) = visitor.repo_at(revision).await?;
    let hub = visitor.app.hub();
    let entries = hub.list(&at, revision, path, true).await.map_err(|error| visitor.refuse(error))?;
    let size = entries.iter().map(|entry| match entry {
        PathRecord::File(file) => file.size_bytes,
        PathRecord::Folder { .. } => 0,
    });
    Ok(Json(TreeSize { path: path.to_owned(), size: size.sum() }).into_response())
}

/// `POST /api/models/{id}/paths-info/{rev}`
async fn paths_info(visitor: Visitor, Path(revision): Path<String>, body: Bytes) -> Result<Response, ErrorReply> {
    let is_json = visitor
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.contains("json"));
    let asked: PathsInfoRequest = if is_json {
        super::visitor::json(&body)?
    } else {
        let text = std::str::from_utf8(&body).map_err(|_| ErrorReply::bad_request("the body is not UTF-8"))?;
        PathsInfoRequest::from_form(text)?
    };
    if asked.paths.len() > MAX_PATHS {
        return Err(ErrorReply::bad_request(format!("at most {MAX_PATHS} paths can be asked for at once")));
    }
    let (repo, at) = visitor.repo_at(&revision).await?;
    let hub = visitor.app.hub();
    let entries = hub.paths(&at, &asked.paths).await.map_err(|error| visitor.refuse(error))?;
    Ok(Json(shown(&visitor, &repo, &at, &entries, asked.expand).await?).into_response())
}
