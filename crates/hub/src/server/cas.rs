//! The Xet content-addressed store: token endpoints, uploads, reconstructions, dedup, fetches.
//!
//! hf-xet has called these endpoints by several names since 1.1; all of them lead to the same handlers:
//!
//! - [`holder`]: the token and what it is good for
//! - [`xorbs`], [`shards`]: what comes in
//! - [`plans`], [`windows`]: how a file is put together, and what an edit of it must know
//! - [`fetch`]: the bytes

mod fetch;
mod holder;
mod plans;
mod shards;
mod windows;
mod xorbs;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{any, get, post, put};
use http::StatusCode;
use weighthouse::access::Repo;

use super::app::App;
use super::files::text;
use super::sign::{XetClaim, XetScope};
use super::visitor::Visitor;
use crate::wire::error::ErrorReply;
use crate::wire::lfs::Action;
use crate::wire::xet::{TokenAnswer, X_XET_ACCESS_TOKEN, X_XET_CAS_URL, X_XET_TOKEN_EXPIRATION};

/// Largest shard, in bytes.
const MAX_SHARD_BYTES: usize = 64 << 20;

pub(super) fn routes() -> Router<App> {
    let mut routes = Router::new()
        .route("/~api/xet-read-token/{revision}", get(read_token))
        .route("/~api/xet-write-token/{revision}", get(write_token))
        .route("/xet/fetch/{xorb}/{pack}/{ranges}", get(fetch::fetch))
        .route("/xet/v1/xorb-grants/{prefix}/{xorb}", post(xorbs::grant))
        .route("/xet/v1/xorb-commits/{prefix}/{xorb}/grant/{id}", post(xorbs::commit_granted))
        .route("/xet/granted/{repo}/{account}/{xorb}/{len}", put(xorbs::put_granted).layer(DefaultBodyLimit::disable()))
        .route("/xet/v2/file-chunk-hashes/{file}", get(windows::chunk_hashes))
        .route("/xet/v1/telemetry", any(|| async { StatusCode::OK }))
        // hf-xet 1.8 takes the path of the CAS away before it reports.
        .route("/v1/telemetry", any(|| async { StatusCode::OK }))
        .route("/xet/v2/shards", post(shards::put_shard_v2).layer(DefaultBodyLimit::max(MAX_SHARD_BYTES)))
        .route("/xet/v2/reconstructions/{file}", get(plans::reconstruction_v2))
        .route("/xet/shard/{prefix}/{hash}", post(shards::put_shard).layer(DefaultBodyLimit::max(MAX_SHARD_BYTES)));
    for path in ["/xet/v1/chunks", "/xet/chunks", "/xet/chunk"] {
        routes = routes.route(&format!("{path}/{{prefix}}/{{hash}}"), get(shards::dedup));
    }
    for path in ["/xet/v1/xorbs", "/xet/xorbs", "/xet/xorb"] {
        let handler = post(xorbs::put_xorb).head(xorbs::head_xorb).layer(DefaultBodyLimit::disable());
        routes = routes.route(&format!("{path}/{{prefix}}/{{hash}}"), handler);
    }
    for path in ["/xet/v1/shards", "/xet/shards"] {
        routes = routes.route(path, post(shards::put_shard).layer(DefaultBodyLimit::max(MAX_SHARD_BYTES)));
    }
    for path in ["/xet/v1/reconstructions", "/xet/reconstructions", "/xet/reconstruction"] {
        routes = routes.route(path, get(plans::reconstructions));
        routes = routes.route(&format!("{path}/{{file}}"), get(plans::reconstruction_v1));
    }
    routes
}

/// `GET /api/models/{id}/xet-read-token/{rev}`
async fn read_token(visitor: Visitor, Path(revision): Path<String>) -> Result<Response, ErrorReply> {
    let repo = match revision.as_str() {
        "None" => visitor.repo().await?,
        revision => visitor.repo_at(revision).await?.0,
    };
    token_answer(&visitor, &repo, XetScope::Read)
}

/// `GET /api/models/{id}/xet-write-token/{rev}`
async fn write_token(visitor: Visitor, Path(_revision): Path<String>) -> Result<Response, ErrorReply> {
    let repo = visitor.repo().await?;
    repo.require_write(&visitor.caller, "upload").map_err(|error| visitor.refuse(error))?;
    token_answer(&visitor, &repo, XetScope::Write)
}

fn token_answer(visitor: &Visitor, repo: &Repo, scope: XetScope) -> Result<Response, ErrorReply> {
    let token = token(visitor, repo, scope);
    let headers = [
        (X_XET_CAS_URL, text(&token.cas_url)?),
        (X_XET_ACCESS_TOKEN, text(&token.access_token)?),
        (X_XET_TOKEN_EXPIRATION, token.exp.into()),
    ];
    let mut reply = Json(token).into_response();
    reply.headers_mut().extend(headers);
    Ok(reply)
}

fn token(visitor: &Visitor, repo: &Repo, scope: XetScope) -> TokenAnswer {
    let lifetime_s = visitor.app.options().xet_token_lifetime.as_secs();
    let exp = visitor.app.now_s() + lifetime_s;
    let claim = XetClaim {
        repo: repo.record.key.to_string(),
        user: visitor.caller.account().map(|account| account.id.clone()),
        automated: visitor.caller.token().is_some_and(|token| token.automated),
        limited: visitor.caller.token().is_some_and(|token| token.repos.is_some()),
        scope,
        expires_at_s: exp,
    };
    TokenAnswer { cas_url: format!("{}/xet", visitor.base), access_token: claim.seal(visitor.app.signer()), exp }
}

/// The upload action of an LFS batch that is answered with Xet.
pub(super) fn upload_action(visitor: &Visitor, repo: &Repo, revision: &str) -> Result<Action, ErrorReply> {
    let token = token(visitor, repo, XetScope::Write);
    let revision = percent_encoding::utf8_percent_encode(revision, percent_encoding::NON_ALPHANUMERIC);
    let header = [
        ("X-Xet-Cas-Url".to_owned(), token.cas_url),
        ("X-Xet-Access-Token".to_owned(), token.access_token),
        ("X-Xet-Token-Expiration".to_owned(), token.exp.to_string()),
    ];
    let href = format!("{}/xet-write-token/{revision}", visitor.api_url(repo));
    Ok(Action { href, header: header.into(), expires_in: None })
}
