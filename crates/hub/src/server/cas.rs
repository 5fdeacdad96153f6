//! The Xet content-addressed store: token endpoints, uploads, reconstructions, dedup, fetches.
//!
//! hf-xet has called these endpoints by several names since 1.1; all of them lead to the same handlers.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::Range;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, FromRequestParts, Path, RawQuery, State};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{any, get, post, put};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::sync::mpsc;
use weighthouse::access::{Caller, Repo};
use weighthouse::format::xet::hash::XetHash;
use weighthouse::upload::UploadGrant;
use weighthouse::xet::{Progress, Reconstruction};
use weighthouse::{RepoKey, Scope, TokenRecord};

use super::app::App;
use super::files::{answer, text};
use super::range::{Asked, asked};
use super::sign::{Purpose, SignedQuery, XetClaim, XetScope};
use super::visitor::{Visitor, base_url, json as read_json, refuse};
use crate::wire::error::ErrorReply;
use crate::wire::lfs::Action;
use crate::wire::query::Query;
use crate::wire::xet::{
    ByteRange, ChunkRange, CommitStage, FetchInfo, FetchRange, Grant, GrantRequest, MultiFetch, ReconstructionV1,
    ReconstructionV2, ShardEvent, ShardStored, Term, TokenAnswer, X_XET_ACCESS_TOKEN, X_XET_CAS_URL,
    X_XET_TOKEN_EXPIRATION, XorbStored,
};

/// Largest shard, in bytes.
const MAX_SHARD_BYTES: usize = 64 << 20;
/// How often a client that waits for a shard hears that it is not forgotten.
const HEARTBEAT: Duration = Duration::from_secs(10);

pub(super) fn routes() -> Router<App> {
    let mut routes = Router::new()
        .route("/~api/xet-read-token/{revision}", get(read_token))
        .route("/~api/xet-write-token/{revision}", get(write_token))
        .route("/xet/fetch/{xorb}/{ranges}", get(fetch))
        .route("/xet/v1/xorb-grants/{prefix}/{xorb}", post(grant))
        .route("/xet/v1/xorb-commits/{prefix}/{xorb}/grant/{id}", post(commit_granted))
        .route("/xet/granted/{repo}/{account}/{xorb}/{len}", put(put_granted).layer(DefaultBodyLimit::disable()))
        .route("/xet/v2/file-chunk-hashes/{file}", get(no_chunk_hashes))
        .route("/xet/v1/telemetry", any(|| async { StatusCode::OK }))
        .route("/xet/v2/shards", post(put_shard_v2).layer(DefaultBodyLimit::max(MAX_SHARD_BYTES)))
        .route("/xet/v2/reconstructions/{file}", get(reconstruction_v2))
        .route("/xet/shard/{prefix}/{hash}", post(put_shard).layer(DefaultBodyLimit::max(MAX_SHARD_BYTES)));
    for path in ["/xet/v1/chunks", "/xet/chunks", "/xet/chunk"] {
        routes = routes.route(&format!("{path}/{{prefix}}/{{hash}}"), get(dedup));
    }
    for path in ["/xet/v1/xorbs", "/xet/xorbs", "/xet/xorb"] {
        let handler = post(put_xorb).head(head_xorb).layer(DefaultBodyLimit::disable());
        routes = routes.route(&format!("{path}/{{prefix}}/{{hash}}"), handler);
    }
    for path in ["/xet/v1/shards", "/xet/shards"] {
        routes = routes.route(path, post(put_shard).layer(DefaultBodyLimit::max(MAX_SHARD_BYTES)));
    }
    for path in ["/xet/v1/reconstructions", "/xet/reconstructions", "/xet/reconstruction"] {
        routes = routes.route(&format!("{path}/{{file}}"), get(reconstruction_v1));
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

/// Whoever holds a Xet token: a caller, in one repository.
#[derive(Clone, Debug)]
struct Holder {
    app: App,
    caller: Caller,
    repo: Repo,
    scope: XetScope,
    base: String,
    headers: HeaderMap,
}

impl FromRequestParts<App> for Holder {
    type Rejection = ErrorReply;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ErrorReply> {
        let bearer = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let bearer = bearer.and_then(|value| value.split_once(' ')).map(|(_, token)| token.trim());
        let bearer = bearer.ok_or_else(ErrorReply::token_needed)?;
        let claim = XetClaim::open(bearer, app.signer(), app.now_s())
            .map_err(|refused| ErrorReply::new(StatusCode::UNAUTHORIZED, format!("Xet token: {refused}")))?;
        let key = RepoKey::from(claim.repo);
        let caller = match claim.user {
            None => Caller::anonymous(),
            Some(user) => {
                let scope = if claim.scope == XetScope::Write { Scope::Write } else { Scope::Read };
                let record = TokenRecord {
                    id: String::new(),
                    account: user.clone(),
                    name: "xet".to_owned(),
                    scope,
                    repos: claim.limited.then(|| vec![key.clone()]),
                    created_at_ms: 0,
                    expires_at_ms: None,
                    last_used_at_ms: None,
                };
                app.hub().caller_of(&user, record).await.map_err(refuse)?
            }
        };
        let repo = app.hub().repo_by_key(&caller, &key).await.map_err(refuse)?;
        Ok(Self {
            app: app.clone(),
            caller,
            repo,
            scope: claim.scope,
            base: base_url(&parts.headers, app.options().public_url.as_deref()),
            headers: std::mem::take(&mut parts.headers),
        })
    }
}

impl Holder {
    fn require_write(&self) -> Result<(), ErrorReply> {
        if self.scope.allows(XetScope::Write) {
            return Ok(());
        }
        Err(ErrorReply::forbidden("this Xet token may only read"))
    }
}

fn hash(text: &str) -> Result<XetHash, ErrorReply> {
    text.parse().map_err(|_| ErrorReply::bad_request(format!("`{}` is not a Xet hash", text.escape_default())))
}

/// `POST /v1/xorbs/default/{hash}`
async fn put_xorb(
    holder: Holder,
    Path((_prefix, xorb)): Path<(String, String)>,
    body: Body,
) -> Result<Response, ErrorReply> {
    holder.require_write()?;
    let xorb = hash(&xorb)?;
    let hub = holder.app.hub();
    let body = body.into_data_stream();
    let was_inserted = hub.put_xorb(&holder.caller, &holder.repo, xorb, body).await.map_err(refuse)?;
    Ok(Json(XorbStored { was_inserted }).into_response())
}

/// `HEAD /v1/xorbs/default/{hash}`
async fn head_xorb(holder: Holder, Path((_prefix, xorb)): Path<(String, String)>) -> Result<Response, ErrorReply> {
    let hub = holder.app.hub();
    let len = hub.xorb_len(&holder.caller, &hash(&xorb)?).await.map_err(refuse)?;
    let len = len.ok_or_else(|| ErrorReply::not_found("no such xorb"))?;
    answer(StatusCode::OK, HeaderMap::from_iter([(header::CONTENT_LENGTH, len.into())]), Body::empty())
}

/// `POST /v1/xorb-grants/default/{hash}`: an address to send a xorb to, unless it is here already.
async fn grant(
    holder: Holder,
    Path((_prefix, xorb)): Path<(String, String)>,
    body: Bytes,
) -> Result<Response, ErrorReply> {
    holder.require_write()?;
    let asked: GrantRequest = read_json(&body)?;
    let hub = holder.app.hub();
    let known = hub.xorb_len(&holder.caller, &hash(&xorb)?).await.map_err(refuse)?;
    if known.is_some() {
        return Ok(StatusCode::OK.into_response());
    }
    let grant = hub.upload_grant(&holder.caller, &holder.repo).map_err(refuse)?;
    let expires_s = holder.app.now_s() + holder.app.options().signed_url_lifetime.as_secs();
    let len = asked.length.to_string();
    let facts = [grant.repo.as_str(), grant.account.as_str(), xorb.as_str(), len.as_str()];
    let signed = SignedQuery::new(holder.app.signer(), Purpose::XorbGrant, expires_s, &facts);
    let grant = Grant {
        id: xorb.clone(),
        method: "PUT".to_owned(),
        url: format!("{}/xet/granted/{}?{signed}", holder.base, facts.join("/")),
        headers: BTreeMap::new(),
    };
    Ok((StatusCode::CREATED, Json(grant)).into_response())
}

/// `PUT /xet/granted/{repo}/{account}/{xorb}/{len}`: the xorb, under a signed address. It is verified and stored here,
/// so that nothing is left to do when it is committed.
async fn put_granted(
    State(app): State<App>,
    Path((repo, account, xorb, len)): Path<(String, String, String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ErrorReply> {
    let query = Query::parse(query.as_deref().unwrap_or(""))?;
    SignedQuery::from_query(&query)
        .and_then(|s| s.check(app.signer(), Purpose::XorbGrant, &[&repo, &account, &xorb, &len], app.now_s()))
        .map_err(|refused| ErrorReply::forbidden(format!("this address is not valid: {refused}")))?;
    let sent = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if sent.is_some_and(|sent| sent != len) {
        return Err(ErrorReply::bad_request(format!("{len} bytes were announced for this address")));
    }
    let grant = UploadGrant { repo: RepoKey::from(repo), account };
    app.hub().put_granted_xorb(&grant, hash(&xorb)?, body.into_data_stream()).await.map_err(refuse)?;
    Ok(StatusCode::OK.into_response())
}

/// `POST /v1/xorb-commits/default/{hash}/grant/{id}`
async fn commit_granted(
    holder: Holder,
    Path((_prefix, xorb, _id)): Path<(String, String, String)>,
) -> Result<Response, ErrorReply> {
    holder.require_write()?;
    let known = holder.app.hub().xorb_len(&holder.caller, &hash(&xorb)?).await.map_err(refuse)?;
    known.ok_or_else(|| ErrorReply::not_found("nothing was uploaded under this grant"))?;
    Ok(StatusCode::OK.into_response())
}

/// `GET /v2/file-chunk-hashes/{file}`: not offered; clients upload the whole file then.
async fn no_chunk_hashes() -> ErrorReply {
    ErrorReply::not_found("this hub does not offer chunk hash windows")
}

/// `POST /v1/shards`
async fn put_shard(holder: Holder, body: Bytes) -> Result<Response, ErrorReply> {
    holder.require_write()?;
    let hub = holder.app.hub();
    let new = hub.put_shard(&holder.caller, &holder.repo, body, |_| {}).await.map_err(refuse)?;
    Ok(Json(ShardStored { result: u8::from(new), shard_hash: None }).into_response())
}

/// `POST /v2/shards`: the same, with lines that say how far it has come.
async fn put_shard_v2(holder: Holder, body: Bytes) -> Result<Response, ErrorReply> {
    holder.require_write()?;
    let (sender, receiver) = mpsc::channel::<ShardEvent>(16);
    tokio::spawn(async move {
        let (progress, mut changed) = tokio::sync::watch::channel(Progress { done_bytes: 0, total_bytes: 0 });
        let hub = holder.app.hub();
        let work = hub.put_shard(&holder.caller, &holder.repo, body, |now| {
            progress.send_replace(now);
        });
        tokio::pin!(work);
        let mut last = ShardEvent::Validating { verified: 0, total: 0 };
        let done = loop {
            // At most one line in half a second, at least one in each heartbeat.
            let news = async {
                tokio::time::sleep(HEARTBEAT / 20).await;
                let _ = tokio::time::timeout(HEARTBEAT, changed.changed()).await;
            };
            tokio::select! {
                done = &mut work => break done,
                () = news => {}
            }
            let Progress { done_bytes, total_bytes } = *changed.borrow_and_update();
            if total_bytes > 0 {
                last = ShardEvent::Validating { verified: done_bytes, total: total_bytes };
            }
            if sender.send(last.clone()).await.is_err() {
                // The client is gone; what it sent is registered all the same.
                break work.await;
            }
        };
        let end = match done {
            Ok(_) => {
                let _ = sender.send(ShardEvent::Committing { stage: CommitStage::Syncing }).await;
                ShardEvent::Result { shard_hash: None }
            }
            Err(error) => {
                let reply = refuse(error);
                let retryable = reply.status().is_server_error() && reply.status() != StatusCode::INSUFFICIENT_STORAGE;
                ShardEvent::Error { message: reply.message().to_owned(), retryable }
            }
        };
        let _ = sender.send(end).await;
    });
    let lines = futures::stream::unfold(receiver, |mut receiver| async move {
        let event = receiver.recv().await?;
        Some((Ok::<_, Infallible>(event.to_ndjson()), receiver))
    });
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"))]);
    answer(StatusCode::OK, headers, Body::from_stream(lines))
}

/// `GET /v1/chunks/default/{hash}`
async fn dedup(holder: Holder, Path((_prefix, chunk)): Path<(String, String)>) -> Result<Response, ErrorReply> {
    let chunk = hash(&chunk)?;
    let found = holder.app.hub().dedup_answer(&holder.caller, &chunk).await.map_err(refuse)?;
    let shard = found.ok_or_else(|| ErrorReply::not_found("no such chunk"))?;
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))]);
    answer(StatusCode::OK, headers, Body::from(shard))
}

async fn plan(holder: &Holder, file: &str) -> Result<Reconstruction, ErrorReply> {
    let file = hash(file)?;
    let range = match holder.headers.get(header::RANGE).and_then(|value| value.to_str().ok()) {
        Some(value) => Some(byte_range(value).ok_or_else(|| ErrorReply::bad_request("the range is not understood"))?),
        None => None,
    };
    holder.app.hub().reconstruction(&holder.repo, &file, range).await.map_err(refuse)
}

/// `bytes=a-b` or `bytes=a-`, before the size of the file is known.
fn byte_range(value: &str) -> Option<(u64, Option<u64>)> {
    let (start, end) = value.strip_prefix("bytes=")?.split_once('-')?;
    let end = match end.trim() {
        "" => None,
        end => Some(end.parse().ok()?),
    };
    Some((start.trim().parse().ok()?, end))
}

fn terms(plan: &Reconstruction) -> Vec<Term> {
    let term = |term: &weighthouse::format::xet::shard::Term| Term {
        hash: term.xorb.to_string(),
        unpacked_length: term.unpacked_bytes,
        range: ChunkRange { start: term.start, end: term.end },
    };
    plan.terms.iter().map(term).collect()
}

/// An address that serves exactly these bytes of a xorb, until it expires. The ranges end inclusively.
fn fetch_url(holder: &Holder, xorb: &XetHash, ranges: &[Range<u64>]) -> String {
    let xorb = xorb.to_string();
    let ranges: Vec<String> = ranges.iter().map(|range| format!("{}-{}", range.start, range.end - 1)).collect();
    let ranges = ranges.join(",");
    let expires_s = holder.app.now_s() + holder.app.options().signed_url_lifetime.as_secs();
    let signed = SignedQuery::new(holder.app.signer(), Purpose::XorbFetch, expires_s, &[&xorb, &ranges]);
    format!("{}/xet/fetch/{xorb}/{ranges}?{signed}", holder.base)
}

fn wire(range: &Range<u64>) -> ByteRange {
    ByteRange { start: range.start, end: range.end - 1 }
}

/// `GET /v1/reconstructions/{file}`
async fn reconstruction_v1(holder: Holder, Path(file): Path<String>) -> Result<Response, ErrorReply> {
    let plan = plan(&holder, &file).await?;
    let fetch_info = plan.fetches.iter().map(|(xorb, fetches)| {
        let infos = fetches.iter().map(|fetch| FetchInfo {
            range: ChunkRange { start: fetch.chunks.start, end: fetch.chunks.end },
            url: fetch_url(&holder, xorb, std::slice::from_ref(&fetch.bytes)),
            url_range: wire(&fetch.bytes),
        });
        (xorb.to_string(), infos.collect())
    });
    let answer = ReconstructionV1 {
        offset_into_first_range: plan.offset_into_first_term,
        terms: terms(&plan),
        fetch_info: fetch_info.collect(),
    };
    Ok(Json(answer).into_response())
}

/// Ranges behind one address: it must stay short.
const RANGES_PER_URL: usize = 64;

/// `GET /v2/reconstructions/{file}`
async fn reconstruction_v2(holder: Holder, Path(file): Path<String>) -> Result<Response, ErrorReply> {
    let plan = plan(&holder, &file).await?;
    let xorbs = plan.fetches.iter().map(|(xorb, fetches)| {
        let groups = fetches.chunks(RANGES_PER_URL).map(|group| {
            let bytes: Vec<Range<u64>> = group.iter().map(|fetch| fetch.bytes.clone()).collect();
            let ranges = group.iter().map(|fetch| FetchRange {
                chunks: ChunkRange { start: fetch.chunks.start, end: fetch.chunks.end },
                bytes: wire(&fetch.bytes),
            });
            MultiFetch { url: fetch_url(&holder, xorb, &bytes), ranges: ranges.collect() }
        });
        (xorb.to_string(), groups.collect())
    });
    let answer = ReconstructionV2 {
        offset_into_first_range: plan.offset_into_first_term,
        terms: terms(&plan),
        xorbs: xorbs.collect(),
    };
    Ok(Json(answer).into_response())
}

/// `GET /xet/fetch/{xorb}/{ranges}`: stored bytes of a xorb, under a signed address.
async fn fetch(
    State(app): State<App>,
    Path((xorb, ranges)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ErrorReply> {
    let query = Query::parse(query.as_deref().unwrap_or(""))?;
    SignedQuery::from_query(&query)
        .and_then(|signed| signed.check(app.signer(), Purpose::XorbFetch, &[&xorb, &ranges], app.now_s()))
        .map_err(|refused| ErrorReply::forbidden(format!("this address is not valid: {refused}")))?;
    let xorb = hash(&xorb)?;
    let allowed: Vec<(u64, u64)> = ranges
        .split(',')
        .filter_map(|range| range.split_once('-'))
        .filter_map(|(start, end)| Some((start.parse().ok()?, end.parse().ok()?)))
        .collect();
    let len = app.hub().fetchable_len(&xorb).await.map_err(refuse)?;
    let spans = match asked(&headers, len, "") {
        Asked::Parts(spans) => spans,
        Asked::Unsatisfiable => return Err(ErrorReply::range_unsatisfiable(len)),
        Asked::Whole => match allowed.as_slice() {
            [(start, end)] => vec![super::range::Span { start: *start, end: *end }],
            _ => return Err(ErrorReply::bad_request("name one of the ranges of this address")),
        },
    };
    for span in &spans {
        if !allowed.iter().any(|(start, end)| *start <= span.start && span.end <= *end) {
            return Err(ErrorReply::forbidden("these bytes are not what this address is for"));
        }
    }
    let mut reply_headers = HeaderMap::new();
    reply_headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let [span] = spans.as_slice() {
        let range = span.start..span.end.saturating_add(1);
        reply_headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        reply_headers.insert(header::CONTENT_RANGE, text(&span.content_range(len))?);
        reply_headers.insert(header::CONTENT_LENGTH, (range.end - range.start).into());
        let body = app.hub().xorb_stream(&xorb, range).await.map_err(refuse)?;
        return answer(StatusCode::PARTIAL_CONTENT, reply_headers, Body::from_stream(body));
    }
    multipart(&app, &xorb, len, spans, reply_headers).await
}

/// Several ranges in one answer (RFC 9110, 14.6).
async fn multipart(
    app: &App,
    xorb: &XetHash,
    len: u64,
    spans: Vec<super::range::Span>,
    mut headers: HeaderMap,
) -> Result<Response, ErrorReply> {
    use futures::StreamExt;
    let boundary = format!("weighthouse-{xorb}");
    headers.insert(header::CONTENT_TYPE, text(&format!("multipart/byteranges; boundary={boundary}"))?);
    let mut parts: Vec<weighthouse::ByteStream> = Vec::with_capacity(2 * spans.len() + 1);
    let literal = |text: String| -> weighthouse::ByteStream {
        Box::pin(futures::stream::once(async move { Ok(Bytes::from(text)) }))
    };
    for span in spans {
        let head = format!(
            "\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: {}\r\n\r\n",
            span.content_range(len)
        );
        parts.push(literal(head));
        parts.push(app.hub().xorb_stream(xorb, span.start..span.end.saturating_add(1)).await.map_err(refuse)?);
    }
    parts.push(literal(format!("\r\n--{boundary}--\r\n")));
    answer(StatusCode::PARTIAL_CONTENT, headers, Body::from_stream(futures::stream::iter(parts).flatten()))
}
