//! Files over plain HTTP: `resolve` and `raw`.

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::get;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use weighthouse::Error;
use weighthouse::access::Repo;
use weighthouse::browse::FileRecord;
use weighthouse::preupload::is_binary;
use weighthouse::revision::Revision;

use super::app::App;
use super::range::{not_modified, one_span};
use super::visitor::{Reader, Visitor};
use crate::wire::error::{ErrorReply, X_REPO_COMMIT, header_text};
use crate::wire::scan::X_HF_WARNING;
use crate::wire::xet::{FileInfo, X_XET_HASH};

const X_LINKED_ETAG: HeaderName = HeaderName::from_static("x-linked-etag");
const X_LINKED_SIZE: HeaderName = HeaderName::from_static("x-linked-size");
const DOWNLOAD_COUNTER: HeaderName = HeaderName::from_static("x-hf-download-counter");
const XET_FILE_INFO: &str = "application/vnd.xet-fileinfo+json";
/// Raw files above this size are not looked into to tell text from binary, in bytes.
const SNIFF_BYTES: u64 = 512;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/~file/resolve/{revision}/{*path}", get(resolve).head(resolve))
        .route("/~file/raw/{revision}/{*path}", get(raw).head(raw))
}

/// `GET|HEAD /{id}/resolve/{rev}/{path}`
async fn resolve(
    method: Method,
    Reader(visitor): Reader,
    Path((revision, path)): Path<(String, String)>,
) -> Result<Response, ErrorReply> {
    let (repo, at) = visitor.repo_at(&revision).await?;
    let hub = visitor.app.hub();
    let file = hub.file(&at, &revision, &path).await.map_err(|error| visitor.refuse(error))?;
    let passed = match hub.pass_file(&visitor.caller, &repo, &at, &file).await {
        // Clients that ask for the head alone take a refusal for a broken connection. They get no bytes by it, and the
        // reason when they ask for some.
        Err(Error::Blocked { reason }) if method == Method::HEAD => {
            let mut headers = file_headers(&visitor, &repo, &at, (&file, false))?;
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
            headers.append(X_HF_WARNING, warning("blocked", &file.path, &reason));
            return send(&visitor, &method, &file, headers).await;
        }
        passed => passed.map_err(|error| visitor.refuse(error))?,
    };
    let by_xet = !passed.waits_with_code();
    let mut headers = file_headers(&visitor, &repo, &at, (&file, by_xet))?;
    keep(&mut headers, &revision, &at, &repo);
    if let Some(sentence) = passed.warning(&file.path) {
        headers.append(X_HF_WARNING, warning("scan", &file.path, &sentence));
    }
    if wants_xet_info(&visitor, &method) && headers.contains_key(X_XET_HASH) {
        return xet_info(&visitor, &repo, &at, &file, headers);
    }
    if method == Method::GET && (visitor.headers.contains_key(DOWNLOAD_COUNTER) || file.path == "config.json") {
        hub.count_download(&repo).await.map_err(|error| visitor.refuse(error))?;
    }
    send(&visitor, &method, &file, headers).await
}

/// `GET|HEAD /{id}/raw/{rev}/{path}`: what git has, so the pointer of an LFS file.
async fn raw(
    method: Method,
    Reader(visitor): Reader,
    Path((revision, path)): Path<(String, String)>,
) -> Result<Response, ErrorReply> {
    let (repo, at) = visitor.repo_at(&revision).await?;
    let hub = visitor.app.hub();
    let file = hub.file(&at, &revision, &path).await.map_err(|error| visitor.refuse(error))?;
    let mut headers = HeaderMap::new();
    headers.insert(X_REPO_COMMIT, text(&at.oid.to_string())?);
    headers.insert(header::ETAG, text(&format!("\"{}\"", file.oid))?);
    keep(&mut headers, &revision, &at, &repo);
    if file.lfs {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        return answer(StatusCode::OK, headers, Body::from(file.pointer()));
    }
    hub.pass_file(&visitor.caller, &repo, &at, &file).await.map_err(|error| visitor.refuse(error))?;
    headers.insert(header::CONTENT_TYPE, content_type(&visitor, &file).await?);
    send(&visitor, &method, &file, headers).await
}

/// Sends a file, or the part of it that is asked for.
pub(super) async fn send(
    visitor: &Visitor,
    method: &Method,
    file: &FileRecord,
    mut headers: HeaderMap,
) -> Result<Response, ErrorReply> {
    let etag = format!("\"{}\"", file.etag());
    if not_modified(&visitor.headers, &etag) {
        return answer(StatusCode::NOT_MODIFIED, headers, Body::empty());
    }
    if !headers.contains_key(header::CONTENT_TYPE) {
        headers.insert(header::CONTENT_TYPE, content_type(visitor, file).await?);
    }
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    // Ranges are defined for GET alone (RFC 9110, 14.2).
    let span = if *method == Method::GET { one_span(&visitor.headers, file.size_bytes, &etag)? } else { None };
    let (status, range) = match span {
        Some(span) => {
            headers.insert(header::CONTENT_RANGE, text(&span.content_range(file.size_bytes))?);
            (StatusCode::PARTIAL_CONTENT, span.start..span.end.saturating_add(1))
        }
        None => (StatusCode::OK, 0..file.size_bytes),
    };
    if file.size_bytes == 0 && visitor.headers.contains_key(header::RANGE) {
        // huggingface.js learns sizes from this header alone, and asks empty files for their first byte too.
        headers.insert(header::CONTENT_RANGE, HeaderValue::from_static("bytes */0"));
    }
    headers.insert(header::CONTENT_LENGTH, (range.end - range.start).into());
    if *method == Method::HEAD {
        return answer(status, headers, Body::empty());
    }
    let stream = visitor.app.hub().read(file, range).await.map_err(|error| visitor.refuse(error))?;
    answer(status, headers, Body::from_stream(stream))
}

/// Headers of `resolve` that do not depend on what part is asked for.
fn file_headers(
    visitor: &Visitor,
    repo: &Repo,
    at: &Revision,
    (file, by_xet): (&FileRecord, bool),
) -> Result<HeaderMap, ErrorReply> {
    let mut headers = HeaderMap::with_capacity(16);
    headers.insert(X_REPO_COMMIT, text(&at.oid.to_string())?);
    let etag = text(&format!("\"{}\"", file.etag()))?;
    headers.insert(header::ETAG, etag.clone());
    headers.insert(X_LINKED_SIZE, file.size_bytes.into());
    if file.lfs {
        headers.insert(X_LINKED_ETAG, etag);
        if file.size_bytes > 0 && by_xet {
            headers.insert(X_XET_HASH, text(&file.file_hash.to_string())?);
            let (refresh, plan) = xet_urls(visitor, repo, at, file);
            headers.append(
                header::LINK,
                text(&format!("<{refresh}>; rel=\"xet-auth\", <{plan}>; rel=\"xet-reconstruction-info\""))?,
            );
        }
    }
    if visitor.query.text("noContentDisposition").is_none() {
        let kind = if visitor.query.flag("download")?.unwrap_or(false) { "attachment" } else { "inline" };
        let name = file.path.rsplit('/').next().unwrap_or("file");
        headers.insert(header::CONTENT_DISPOSITION, disposition(kind, name)?);
    }
    Ok(headers)
}

/// A sentence that clients print once for each file: they tell topics apart by what stands before the semicolon.
fn warning(about: &str, path: &str, sentence: &str) -> HeaderValue {
    header_text(&format!("{about} {}; {sentence}", path.replace(';', "_")))
}

/// Whether a browser shows or keeps a file, and under which name.
pub(super) fn disposition(kind: &str, name: &str) -> Result<HeaderValue, ErrorReply> {
    let plain: String = name
        .chars()
        .map(|c| if c.is_ascii_graphic() && !matches!(c, '"' | '\\') || c == ' ' { c } else { '_' })
        .collect();
    let encoded = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
    text(&format!("{kind}; filename*=UTF-8''{encoded}; filename=\"{plain}\";"))
}

/// Where to renew a Xet token for a file, and where its reconstruction is.
fn xet_urls(visitor: &Visitor, repo: &Repo, at: &Revision, file: &FileRecord) -> (String, String) {
    let refresh = format!("{}/xet-read-token/{}", visitor.api_url(repo), at.oid);
    let plan = format!("{}/xet/v1/reconstructions/{}", visitor.base, file.file_hash);
    (refresh, plan)
}

fn wants_xet_info(visitor: &Visitor, method: &Method) -> bool {
    let accept = visitor.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    *method == Method::GET && accept.is_some_and(|accept| accept.contains(XET_FILE_INFO))
}

fn xet_info(
    visitor: &Visitor,
    repo: &Repo,
    at: &Revision,
    file: &FileRecord,
    mut headers: HeaderMap,
) -> Result<Response, ErrorReply> {
    let (refresh_url, reconstruction_url) = xet_urls(visitor, repo, at, file);
    let info = FileInfo {
        hash: file.file_hash.to_string(),
        refresh_url,
        reconstruction_url,
        etag: format!("\"{}\"", file.etag()),
        size: file.size_bytes,
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(XET_FILE_INFO));
    answer(StatusCode::OK, headers, Body::from(serde_json::to_vec(&info).unwrap_or_default()))
}

/// Text or not, by the first bytes; never a type that a browser would run.
async fn content_type(visitor: &Visitor, file: &FileRecord) -> Result<HeaderValue, ErrorReply> {
    use futures::TryStreamExt;
    if file.lfs {
        return Ok(HeaderValue::from_static("application/octet-stream"));
    }
    let head = file.size_bytes.min(SNIFF_BYTES);
    let stream = visitor.app.hub().read(file, 0..head).await.map_err(|error| visitor.refuse(error))?;
    let pieces: Vec<bytes::Bytes> =
        stream.try_collect().await.map_err(|error: weighthouse::StoreError| visitor.refuse(error.into()))?;
    Ok(HeaderValue::from_static(match is_binary(&pieces.concat()) {
        true => "application/octet-stream",
        false => "text/plain; charset=utf-8",
    }))
}

/// Who may keep an answer, and for how long.
fn keep(headers: &mut HeaderMap, revision: &str, at: &Revision, repo: &Repo) {
    keep_if(headers, revision == at.oid.to_string(), repo);
}

/// Who may keep an answer, and for how long; `immutable` is what an address that names its content gives.
pub(super) fn keep_if(headers: &mut HeaderMap, immutable: bool, repo: &Repo) {
    headers.insert(header::CACHE_CONTROL, cache_control(immutable, repo));
    if repo.record.private {
        // A browser may change hands; what one reader was shown is not for the next.
        headers.insert(header::VARY, HeaderValue::from_static("Authorization, Cookie"));
    }
}

fn cache_control(immutable: bool, repo: &Repo) -> HeaderValue {
    let whose = if repo.record.private { "private" } else { "public" };
    HeaderValue::from_static(match (immutable, whose) {
        (true, "public") => "public, max-age=31536000, immutable",
        (true, _) => "private, max-age=31536000, immutable",
        (false, "public") => "no-cache",
        (false, _) => "private, no-cache",
    })
}

pub(super) fn answer(status: StatusCode, headers: HeaderMap, body: Body) -> Result<Response, ErrorReply> {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    *reply.headers_mut() = headers;
    Ok(reply)
}

pub(super) fn text(value: &str) -> Result<HeaderValue, ErrorReply> {
    HeaderValue::try_from(value).map_err(|_| ErrorReply::internal())
}
