//! Policies, quarantine and the audit log, for those who administrate the hub or an organisation.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Path;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{delete, get, post};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use weighthouse::audit::exported;
use weighthouse::policies::{Level, NewOverride};
use weighthouse::revision::MAIN;
use weighthouse::{AuditQuery, Error, RepoKind};

use super::app::App;
use super::visitor::{Visitor, json as read_json};
use crate::wire::error::ErrorReply;
use crate::wire::policies::{
    AskOverride, DryRunReply, OverrideReply, PoliciesReply, QuarantineReply, SavePolicies, VersionReply,
};
use crate::wire::query::Query;

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;
/// Rows of one answer, at most.
const MOST_ROWS: u64 = 1_000;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/api/settings/policies", get(show).put(save))
        .route("/api/settings/policies/dry-run", post(dry_run))
        .route("/api/settings/policies/history", get(history))
        .route("/api/settings/quarantine", get(quarantine))
        .route("/api/settings/overrides", get(overrides).post(vouch))
        .route("/api/settings/overrides/{id}", delete(end))
        .route("/api/settings/audit", get(audit))
}

/// The level that a request names, which the caller must administrate.
async fn level(visitor: &Visitor, of: Option<&str>) -> Result<Level, ErrorReply> {
    let hub = visitor.app.hub();
    if visitor.caller.account().is_none() {
        return Err(ErrorReply::token_needed());
    }
    let level = hub.policy_level(of).await.map_err(|error| visitor.refuse(error))?;
    hub.require_policies(&visitor.caller, &level).map_err(|error| visitor.refuse(error))?;
    Ok(level)
}

async fn show(visitor: Visitor) -> Result<Response, ErrorReply> {
    let level = level(&visitor, visitor.query.text("of")).await?;
    let standing = visitor.app.hub().policies(&level).await.map_err(|error| visitor.refuse(error))?;
    Ok(Json(PoliciesReply::new(level.name(), standing)).into_response())
}

async fn save(visitor: Visitor, body: Bytes) -> Result<Response, ErrorReply> {
    let asked: SavePolicies = read_json(&body)?;
    let level = level(&visitor, asked.of.as_deref()).await?;
    let saved = visitor.app.hub().save_policies(&visitor.caller, &level, &asked.text, asked.over, &asked.note).await;
    let version = saved.map_err(|error| visitor.refuse(error))?;
    let reply = json!({ "schema": "weighthouse.policy-saved/1", "of": level.name(), "version": version });
    Ok(Json(reply).into_response())
}

async fn dry_run(visitor: Visitor, body: Bytes) -> Result<Response, ErrorReply> {
    let asked: SavePolicies = read_json(&body)?;
    let level = level(&visitor, asked.of.as_deref()).await?;
    let found = visitor.app.hub().dry_run(&level, &asked.text, asked.days.unwrap_or(30)).await;
    Ok(Json(DryRunReply::new(level.name(), found.map_err(|error| visitor.refuse(error))?)).into_response())
}

async fn history(visitor: Visitor) -> Result<Response, ErrorReply> {
    let level = level(&visitor, visitor.query.text("of")).await?;
    let all = visitor.app.hub().policy_history(&level, 200).await.map_err(|error| visitor.refuse(error))?;
    let versions: Vec<_> = all.into_iter().map(VersionReply::from).collect();
    let reply = json!({ "schema": "weighthouse.policy-history/1", "of": level.name(), "versions": versions });
    Ok(Json(reply).into_response())
}

async fn quarantine(visitor: Visitor) -> Result<Response, ErrorReply> {
    let owner = owner(&level(&visitor, visitor.query.text("of")).await?);
    let limit = visitor.query.number("limit")?.map_or(100, |limit| limit.min(MOST_ROWS));
    let limit = usize::try_from(limit).unwrap_or(1);
    let list = visitor.app.hub().quarantined(owner.as_deref(), visitor.query.text("after"), limit).await;
    Ok(Json(QuarantineReply::from(list.map_err(|error| visitor.refuse(error))?)).into_response())
}

async fn overrides(visitor: Visitor) -> Result<Response, ErrorReply> {
    let all = visitor.app.hub().overrides(&visitor.caller, 1_000).await.map_err(|error| visitor.refuse(error))?;
    let all: Vec<_> = all.into_iter().map(OverrideReply::from).collect();
    Ok(Json(json!({ "schema": "weighthouse.overrides/1", "overrides": all })).into_response())
}

async fn vouch(visitor: Visitor, body: Bytes) -> Result<Response, ErrorReply> {
    let asked: AskOverride = read_json(&body)?;
    let refuse = |error: Error| visitor.refuse(error);
    let hub = visitor.app.hub();
    let kind = match asked.kind.as_deref() {
        Some("dataset") => RepoKind::Dataset,
        _ => RepoKind::Model,
    };
    let revision = asked.revision.as_deref().unwrap_or(MAIN);
    let (repo, at) = hub.repo_at(&visitor.caller, kind, &asked.repo, revision).await.map_err(refuse)?;
    let file = hub.file(&at, revision, &asked.path).await.map_err(refuse)?;
    let digest = file.sha256.to_string();
    if asked.digest.as_ref().is_some_and(|seen| *seen != digest) {
        return Err(ErrorReply::already_exists("the file is not the one that you looked at: its bytes changed"));
    }
    let new = NewOverride {
        path: asked.path,
        digest,
        reason: asked.reason,
        lifetime_ms: asked.expires_in_days.map(|days| i64::from(days) * DAY_MS),
    };
    let made = hub.override_verdict(&visitor.caller, &repo, new).await.map_err(refuse)?;
    Ok((StatusCode::CREATED, Json(OverrideReply::from(made))).into_response())
}

async fn end(visitor: Visitor, Path(id): Path<String>) -> Result<Response, ErrorReply> {
    let ended = visitor.app.hub().end_override(&visitor.caller, &id).await.map_err(|error| visitor.refuse(error))?;
    Ok(Json(OverrideReply::from(ended)).into_response())
}

async fn audit(visitor: Visitor) -> Result<Response, ErrorReply> {
    let hub = visitor.app.hub();
    let level = level(&visitor, visitor.query.text("of")).await?;
    let query = audit_query(&visitor.query, &level, hub.now_ms())?;
    let rows = hub.audit(&visitor.caller, &query).await.map_err(|error| visitor.refuse(error))?;
    if visitor.query.text("as") == Some("jsonl") {
        return Ok(lines(rows.iter().map(exported)));
    }
    let rows: Vec<Value> = rows.iter().filter_map(|row| serde_json::from_str(&exported(row)).ok()).collect();
    Ok(Json(json!({ "schema": "weighthouse.audit/1", "rows": rows })).into_response())
}

/// Lines of JSON as a file to keep.
pub(crate) fn lines(rows: impl Iterator<Item = String>) -> Response {
    let mut reply = Response::new(Body::from(rows.map(|row| row + "\n").collect::<String>()));
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson; charset=utf-8"));
    let name = HeaderValue::from_static("attachment; filename=\"audit.jsonl\"");
    headers.insert(header::CONTENT_DISPOSITION, name);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    reply
}

/// Id of the account whose repositories a level is about; none for the hub.
pub(crate) fn owner(level: &Level) -> Option<String> {
    match level {
        Level::Account(account) => Some(account.id.clone()),
        Level::Hub => None,
    }
}

/// Which rows a query asks for.
pub(crate) fn audit_query(query: &Query, level: &Level, now_ms: i64) -> Result<AuditQuery, ErrorReply> {
    let text = |key: &str| query.text(key).map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
    let number = |key: &str| query.number(key).map(|found| found.unwrap_or(0));
    let days = i64::try_from(number("days")?).unwrap_or(0).min(100_000);
    let limit = match number("limit")? {
        0 => 100,
        limit => limit.min(MOST_ROWS),
    };
    Ok(AuditQuery {
        event: text("event"),
        actor: text("actor"),
        org: owner(level),
        repo: text("repo"),
        outcome: text("outcome"),
        since_ms: if days == 0 { 0 } else { now_ms - days * DAY_MS },
        before_seq: i64::try_from(number("before")?).unwrap_or(i64::MAX),
        limit: u32::try_from(limit).unwrap_or(100),
    })
}
