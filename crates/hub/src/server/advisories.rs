//! Feeds of advisories, for those who administrate the hub.

use axum::body::Bytes;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use axum::{Json, Router};
use weighthouse::Error;
use weighthouse::advisories::FeedSource;

use super::app::App;
use super::visitor::{Visitor, json as read_json};
use crate::wire::advisories::{FeedReply, FeedsReply, MatchesReply, PutFeed};
use crate::wire::error::ErrorReply;

/// Matches of one answer, at most.
const MOST_ROWS: u64 = 1_000;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/api/settings/advisories", get(feeds).post(put))
        .route("/api/settings/advisories/matches", get(matches))
        .route("/api/settings/advisories/{name}", delete(remove))
}

fn require(visitor: &Visitor) -> Result<(), ErrorReply> {
    if visitor.caller.account().is_none() {
        return Err(ErrorReply::token_needed());
    }
    visitor.app.hub().require_advisories(&visitor.caller).map_err(|error| visitor.refuse(error))
}

async fn feeds(visitor: Visitor) -> Result<Response, ErrorReply> {
    require(&visitor)?;
    let feeds = visitor.app.hub().feed_statuses().await.map_err(|error| visitor.refuse(error))?;
    Ok(Json(FeedsReply::from(feeds)).into_response())
}

async fn put(visitor: Visitor, body: Bytes) -> Result<Response, ErrorReply> {
    require(&visitor)?;
    let asked: PutFeed = read_json(&body)?;
    let source = match (asked.place, asked.advisories) {
        (Some(place), None) => FeedSource::Repository(place),
        (None, Some(document)) => {
            let sent = serde_json::to_vec(&document);
            FeedSource::Sent(sent.map_err(|error| visitor.refuse(Error::Malformed(error.to_string())))?)
        }
        _ => return Err(ErrorReply::bad_request("a feed has either a `place` or `advisories`")),
    };
    let imported = visitor.app.hub().put_feed(&visitor.caller, &asked.name, source).await;
    Ok(Json(FeedReply::taken(asked.name, imported.map_err(|error| visitor.refuse(error))?)).into_response())
}

async fn remove(visitor: Visitor, Path(name): Path<String>) -> Result<Response, ErrorReply> {
    require(&visitor)?;
    visitor.app.hub().delete_feed(&visitor.caller, &name).await.map_err(|error| visitor.refuse(error))?;
    Ok(Json(FeedReply::removed(name)).into_response())
}

async fn matches(visitor: Visitor) -> Result<Response, ErrorReply> {
    require(&visitor)?;
    let limit = visitor.query.number("limit")?.map_or(100, |limit| limit.min(MOST_ROWS));
    let limit = usize::try_from(limit).unwrap_or(1);
    let list = visitor.app.hub().concerned(visitor.query.text("after"), limit).await;
    Ok(Json(MatchesReply::from(list.map_err(|error| visitor.refuse(error))?)).into_response())
}
