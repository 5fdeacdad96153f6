//! "Download as": which forms a checkpoint can be had in, asking for one, and what came out.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Path;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use weighthouse::Sha256;
use weighthouse::access::Repo;
use weighthouse::conversions::{Converted, Offered, Standing};

use super::app::App;
use super::files::{answer, disposition, keep_if, send, text};
use super::range::not_modified;
use super::visitor::{Reader, Visitor, json};
use crate::wire::conversions::{AskForm, ConversionsReply, OfferInfo};
use crate::wire::error::ErrorReply;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/~api/convert/{revision}", get(list_of_root).post(ask_of_root))
        .route("/~api/convert/{revision}/{*path}", get(list_below).post(ask_below))
        .route("/~file/converted/{digest}/{name}", get(download).head(download))
}

/// `GET /api/models/{id}/convert/{rev}`
async fn list_of_root(visitor: Visitor, Path(revision): Path<String>) -> Result<Response, ErrorReply> {
    list(visitor, &revision, "").await
}

/// `GET /api/models/{id}/convert/{rev}/{path}`
async fn list_below(visitor: Visitor, Path((revision, path)): Path<(String, String)>) -> Result<Response, ErrorReply> {
    list(visitor, &revision, &path).await
}

/// `POST /api/models/{id}/convert/{rev}` with `{"form": …}`
async fn ask_of_root(visitor: Visitor, Path(revision): Path<String>, body: Bytes) -> Result<Response, ErrorReply> {
    ask(visitor, &revision, "", &body).await
}

/// `POST /api/models/{id}/convert/{rev}/{path}` with `{"form": …}`
async fn ask_below(
    visitor: Visitor,
    Path((revision, path)): Path<(String, String)>,
    body: Bytes,
) -> Result<Response, ErrorReply> {
    ask(visitor, &revision, &path, &body).await
}

async fn list(visitor: Visitor, revision: &str, path: &str) -> Result<Response, ErrorReply> {
    let path = path.trim_matches('/');
    let (repo, at) = visitor.repo_at(revision).await?;
    let offers = visitor.app.hub().conversions(&repo, &at, path).await.map_err(|error| visitor.refuse(error))?;
    Ok(Json(ConversionsReply {
        schema: "weighthouse.conversions/1",
        commit: at.oid.to_string(),
        path: path.to_owned(),
        offers: offers.iter().map(|offered| info(&visitor, &repo, offered)).collect(),
    })
    .into_response())
}

async fn ask(visitor: Visitor, revision: &str, path: &str, body: &[u8]) -> Result<Response, ErrorReply> {
    let wanted: AskForm = json(body)?;
    let (repo, at) = visitor.repo_at(revision).await?;
    let hub = visitor.app.hub();
    let asked = hub.ask_conversion(&visitor.caller, &repo, &at, (path, &wanted.form)).await;
    let offered = asked.map_err(|error| visitor.refuse(error))?;
    let status = if matches!(offered.standing, Standing::Done(_)) { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(info(&visitor, &repo, &offered))).into_response())
}

fn info(visitor: &Visitor, repo: &Repo, offered: &Offered) -> OfferInfo {
    let base = visitor.page_url(repo);
    OfferInfo::new(offered, |name| format!("{base}/converted/{}/{name}", offered.digest))
}

/// `GET|HEAD /{id}/converted/{digest}/{name}`: a converted file, or its record.
async fn download(
    method: Method,
    Reader(visitor): Reader,
    Path((digest, name)): Path<(String, String)>,
) -> Result<Response, ErrorReply> {
    let repo = visitor.repo().await?;
    let found = visitor.app.hub().converted(&repo, &digest, &name).await.map_err(|error| visitor.refuse(error))?;
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_DISPOSITION, disposition("attachment", &name)?);
    // The address names what decides the bytes.
    keep_if(&mut headers, true, &repo);
    match found {
        Converted::File(file) => {
            headers.insert(header::ETAG, text(&format!("\"{}\"", file.etag()))?);
            send(&visitor, &method, &file, headers).await
        }
        Converted::Record(record) => {
            let etag = format!("\"{}\"", Sha256::of(record.as_bytes()));
            headers.insert(header::ETAG, text(&etag)?);
            if not_modified(&visitor.headers, &etag) {
                return answer(StatusCode::NOT_MODIFIED, headers, Body::empty());
            }
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
            headers.insert(header::CONTENT_LENGTH, record.len().into());
            let body = if method == Method::HEAD { Body::empty() } else { Body::from(record) };
            answer(StatusCode::OK, headers, body)
        }
    }
}
