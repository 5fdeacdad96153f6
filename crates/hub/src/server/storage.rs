//! How much is stored, and what a repository keeps.

use axum::Router;
use axum::body::Bytes;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use weighthouse::Error;
use weighthouse::retention::Rules;
use weighthouse::revision::MAIN;

use super::app::App;
use super::visitor::{Reader, Visitor};
use crate::wire::error::ErrorReply;
use crate::wire::storage::{HubStorageReply, RetentionReply, StorageReply};

/// Files that an account lists.
pub(crate) const MOST_FILES: usize = 50;
/// Repositories that an account names.
pub(crate) const MOST_REPOS: usize = 20;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/~api/settings/storage", get(storage))
        .route("/~api/settings/retention", get(retention).put(set_retention))
        .route("/api/storage", get(hub_storage))
}

/// `GET /api/models/{id}/settings/storage`
async fn storage(Reader(visitor): Reader) -> Result<Response, ErrorReply> {
    let (repo, at) = visitor.repo_at(MAIN).await?;
    let hub = visitor.app.hub();
    let refuse = |error| visitor.refuse(error);
    let usage = hub.repo_usage(&repo).await.map_err(refuse)?;
    let shared = hub.seen_repos(&visitor.caller, &usage.shared_with, MOST_REPOS).await.map_err(refuse)?;
    let files = hub.file_usage(&visitor.caller, &repo, &at, MOST_FILES).await.map_err(refuse)?;
    Ok(Json(StorageReply::new(&usage, shared, &files)).into_response())
}

/// `GET /api/models/{id}/settings/retention`
async fn retention(visitor: Visitor) -> Result<Response, ErrorReply> {
    let (repo, _) = visitor.repo_at(MAIN).await?;
    let (rules, _) = visitor.app.hub().retention(&repo).await.map_err(|error| visitor.refuse(error))?;
    Ok(Json(RetentionReply { schema: "weighthouse.retention/1", rules }).into_response())
}

/// `PUT /api/models/{id}/settings/retention` with the rules
async fn set_retention(visitor: Visitor, body: Bytes) -> Result<Response, ErrorReply> {
    let (repo, _) = visitor.repo_at(MAIN).await?;
    let refuse = |error| visitor.refuse(error);
    let text = std::str::from_utf8(&body).map_err(|_| ErrorReply::bad_request("the rules are not UTF-8"))?;
    let rules = Rules::parse(text).map_err(refuse)?;
    visitor.app.hub().set_retention(&visitor.caller, &repo, &rules).await.map_err(refuse)?;
    Ok(Json(RetentionReply { schema: "weighthouse.retention/1", rules }).into_response())
}

/// `GET /api/storage`
async fn hub_storage(Reader(visitor): Reader) -> Result<Response, ErrorReply> {
    let refuse = |error| visitor.refuse(error);
    if !visitor.caller.is_admin() {
        return Err(refuse(Error::Denied { action: "see what this hub stores".to_owned() }));
    }
    let usage = visitor.app.hub().recent_hub_usage().await.map_err(refuse)?;
    Ok(Json(HubStorageReply::from(&*usage)).into_response())
}
