//! Branches, tags and commits.

use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use http::{HeaderName, header};
use serde_json::json;
use weighthouse::revision::{NewBranch, Revision};

use super::app::App;
use super::repos::{link, next_page};
use super::visitor::{Visitor, json as read_json};
use crate::wire::error::ErrorReply;
use crate::wire::hf::refs::{Author, CommitInfo, CreateBranch, CreateTag, Formatted, RefInfo, RefList, SuperSquash};
use crate::wire::time::format_millis;

const PAGE: u64 = 50;
const X_TOTAL_COUNT: HeaderName = HeaderName::from_static("x-total-count");

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/~api/refs", get(refs))
        .route("/~api/commits/{revision}", get(commits))
        .route("/~api/branch/{name}", post(create_branch).delete(delete_branch))
        .route("/~api/tag/{name}", post(create_tag).delete(delete_tag))
        .route("/~api/super-squash/{branch}", post(squash))
}

/// `GET /api/models/{id}/refs`
async fn refs(visitor: Visitor) -> Result<Response, ErrorReply> {
    let repo = visitor.repo().await?;
    let found = visitor.app.hub().refs(&repo).await.map_err(|error| visitor.refuse(error))?;
    let mut list = RefList::default();
    for reference in found {
        let info = |name: &str| RefInfo {
            name: name.to_owned(),
            full_name: reference.name.clone(),
            target_commit: reference.target.to_string(),
        };
        if let Some(name) = reference.name.strip_prefix("refs/heads/") {
            list.branches.push(info(name));
        } else if let Some(name) = reference.name.strip_prefix("refs/tags/") {
            list.tags.push(info(name));
        } else if let Some(name) = reference.name.strip_prefix("refs/convert/") {
            list.converts.push(info(name));
        }
    }
    if visitor.query.flag("include_prs")?.or(visitor.query.flag("include_pull_requests")?).unwrap_or(false) {
        list.pull_requests = Some(Vec::new());
    }
    Ok(Json(list).into_response())
}

/// `GET /api/models/{id}/commits/{rev}`
async fn commits(visitor: Visitor, Path(revision): Path<String>) -> Result<Response, ErrorReply> {
    let formatted = visitor.query.list("expand").contains(&"formatted");
    let limit = visitor.query.number("limit")?.unwrap_or(PAGE).clamp(1, 1_000);
    let offset = match visitor.query.number("offset")? {
        Some(offset) => offset,
        None => visitor.query.number("p")?.unwrap_or(0).saturating_mul(limit),
    };
    let (repo, at) = visitor.repo_at(&revision).await?;
    let hub = visitor.app.hub();
    let page = usize::try_from(limit).unwrap_or(50);
    let history = hub.history(&repo, &at, offset, page).await.map_err(|error| visitor.refuse(error))?;
    let shown: Vec<CommitInfo> = history.commits.iter().map(|commit| shown(commit, formatted)).collect();
    let mut reply = Json(shown).into_response();
    reply.headers_mut().insert(X_TOTAL_COUNT, history.total.into());
    if offset.saturating_add(limit) < history.total {
        let address = visitor.address()?.original.path().to_owned();
        reply.headers_mut().insert(header::LINK, link(&next_page(&visitor, &address, offset + limit))?);
    }
    Ok(reply)
}

fn shown(revision: &Revision, formatted: bool) -> CommitInfo {
    let commit = &revision.commit;
    CommitInfo {
        id: revision.oid.to_string(),
        title: commit.title().to_owned(),
        message: commit.body().to_owned(),
        authors: vec![Author { user: commit.author.name.clone(), avatar: None }],
        date: format_millis(commit.author.time_s * 1_000),
        parents: commit.parents.iter().map(ToString::to_string).collect(),
        formatted: formatted
            .then(|| Formatted { title: escape(commit.title()), message: format!("<p>{}</p>", escape(commit.body())) }),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// `POST /api/models/{id}/branch/{name}`
async fn create_branch(visitor: Visitor, Path(name): Path<String>, body: Bytes) -> Result<Response, ErrorReply> {
    let asked: CreateBranch = read_json(&body)?;
    let repo = visitor.repo().await?;
    let new = NewBranch { starting_point: asked.starting_point, empty: asked.empty_branch, overwrite: asked.overwrite };
    let hub = visitor.app.hub();
    hub.create_branch(&visitor.caller, &repo, &name, new).await.map_err(|error| visitor.refuse(error))?;
    Ok(Json(json!({})).into_response())
}

/// `DELETE /api/models/{id}/branch/{name}`
async fn delete_branch(visitor: Visitor, Path(name): Path<String>) -> Result<Response, ErrorReply> {
    let repo = visitor.repo().await?;
    let hub = visitor.app.hub();
    hub.delete_branch(&visitor.caller, &repo, &name).await.map_err(|error| visitor.refuse(error))?;
    Ok(Json(json!({})).into_response())
}

/// `POST /api/models/{id}/tag/{rev}`: the revision is in the address, the name in the body.
async fn create_tag(visitor: Visitor, Path(revision): Path<String>, body: Bytes) -> Result<Response, ErrorReply> {
    let asked: CreateTag = read_json(&body)?;
    let repo = visitor.repo().await?;
    let hub = visitor.app.hub();
    hub.create_tag(&visitor.caller, &repo, &asked.tag, &revision).await.map_err(|error| visitor.refuse(error))?;
    Ok(Json(json!({})).into_response())
}

/// `DELETE /api/models/{id}/tag/{name}`
async fn delete_tag(visitor: Visitor, Path(name): Path<String>) -> Result<Response, ErrorReply> {
    let repo = visitor.repo().await?;
    let hub = visitor.app.hub();
    hub.delete_tag(&visitor.caller, &repo, &name).await.map_err(|error| visitor.refuse(error))?;
    Ok(Json(json!({})).into_response())
}

/// `POST /api/models/{id}/super-squash/{branch}`
async fn squash(visitor: Visitor, Path(branch): Path<String>, body: Bytes) -> Result<Response, ErrorReply> {
    let asked: SuperSquash = read_json(&body)?;
    let repo = visitor.repo().await?;
    let message = asked.message.unwrap_or_else(|| format!("Super-squash branch '{branch}' using Weighthouse"));
    let hub = visitor.app.hub();
    hub.squash(&visitor.caller, &repo, &branch, &message).await.map_err(|error| visitor.refuse(error))?;
    Ok(Json(json!({})).into_response())
}
