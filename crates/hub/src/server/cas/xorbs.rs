//! Xorbs in, directly or under a granted address.

use std::collections::BTreeMap;

use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Json, Response};
use http::{HeaderMap, StatusCode, header};
use weighthouse::RepoKey;
use weighthouse::upload::UploadGrant;

use super::holder::{Holder, hash};
use crate::server::app::App;
use crate::server::files::answer;
use crate::server::sign::{Purpose, SignedQuery};
use crate::server::visitor::{json as read_json, refuse};
use crate::wire::error::ErrorReply;
use crate::wire::query::Query;
use crate::wire::xet::{Grant, GrantRequest, XorbStored};

/// `POST /v1/xorbs/default/{hash}`
pub(super) async fn put_xorb(
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
pub(super) async fn head_xorb(
    holder: Holder,
    Path((_prefix, xorb)): Path<(String, String)>,
) -> Result<Response, ErrorReply> {
    let hub = holder.app.hub();
    let len = hub.xorb_len(&holder.caller, &hash(&xorb)?).await.map_err(refuse)?;
    let len = len.ok_or_else(|| ErrorReply::not_found("no such xorb"))?;
    answer(StatusCode::OK, HeaderMap::from_iter([(header::CONTENT_LENGTH, len.into())]), Body::empty())
}

/// `POST /v1/xorb-grants/default/{hash}`: an address to send a xorb to, unless it is here already.
pub(super) async fn grant(
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
pub(super) async fn put_granted(
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
pub(super) async fn commit_granted(
    holder: Holder,
    Path((_prefix, xorb, _id)): Path<(String, String, String)>,
) -> Result<Response, ErrorReply> {
    holder.require_write()?;
    let known = holder.app.hub().xorb_len(&holder.caller, &hash(&xorb)?).await.map_err(refuse)?;
    known.ok_or_else(|| ErrorReply::not_found("nothing was uploaded under this grant"))?;
    Ok(StatusCode::OK.into_response())
}
