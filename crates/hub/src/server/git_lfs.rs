//! Git LFS: the batch call, the transfers behind it, verification.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, Request};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post, put};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::json;
use weighthouse::access::Repo;
use weighthouse::upload::{LfsObject, MULTIPART_BYTES, UploadGrant};
use weighthouse::{Error, RepoKey, Sha256};

use super::app::App;
use super::cas;
use super::files;
use super::sign::{Purpose, SignedQuery};
use super::visitor::{Visitor, json as read_json, refuse};
use crate::wire::error::ErrorReply;
use crate::wire::lfs::{
    Action, Actions, BatchAnswer, BatchObject, BatchRequest, Completion, LFS_JSON, LfsOperation, MAX_BATCH_OBJECTS,
    ObjectId, Transfer, multipart_header,
};
use crate::wire::query::Query;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/~lfs/objects/batch", post(batch))
        .route("/~lfs/verify", post(verify))
        .route("/~lfs/objects/{oid}", get(download).head(download))
        .route("/api/lfs/{repo}/{account}/{oid}/{size}", put(upload).layer(DefaultBodyLimit::disable()))
        .route("/api/lfs/parts/{upload}/{number}", put(part).layer(DefaultBodyLimit::disable()))
        .route("/api/lfs/parts/{upload}", post(complete))
}

/// `POST /{id}.git/info/lfs/objects/batch`
async fn batch(visitor: Visitor, body: Bytes) -> Result<Response, ErrorReply> {
    let asked: BatchRequest = read_json(&body)?;
    if asked.objects.len() > MAX_BATCH_OBJECTS {
        return Err(ErrorReply::too_large(format!("at most {MAX_BATCH_OBJECTS} objects can be asked for at once")));
    }
    if !asked.uses_sha256() {
        return Err(ErrorReply::unprocessable("only `sha256` is known as `hash_algo`"));
    }
    let repo = visitor.repo().await.map_err(challenge)?;
    let answer = match asked.operation {
        LfsOperation::Download => for_download(&visitor, &repo, &asked).await?,
        LfsOperation::Upload => {
            repo.require_write(&visitor.caller, "upload").map_err(|error| challenge(visitor.refuse(error)))?;
            for_upload(&visitor, &repo, &asked).await?
        }
    };
    Ok(lfs_json(StatusCode::OK, &answer))
}

/// Git asks for a password only when it is challenged.
fn challenge(reply: ErrorReply) -> ErrorReply {
    if reply.status() == StatusCode::UNAUTHORIZED {
        return reply.with_header(http::HeaderName::from_static("lfs-authenticate"), "Basic realm=\"Weighthouse\"");
    }
    reply
}

async fn for_download(visitor: &Visitor, repo: &Repo, asked: &BatchRequest) -> Result<BatchAnswer, ErrorReply> {
    let hub = visitor.app.hub();
    let mut objects = Vec::with_capacity(asked.objects.len());
    for id in &asked.objects {
        let found = match id.oid.parse() {
            Ok(sha256) => hub.lfs_get(repo, &sha256).await.map_err(|error| visitor.refuse(error))?,
            Err(_) => None,
        };
        if let Some(file) = &found {
            match hub.pass_content(&visitor.caller, repo, &file.sha256, file.size_bytes).await {
                Err(Error::Blocked { reason }) => {
                    objects.push(BatchObject::failed(id, 403, &reason));
                    continue;
                }
                passed => passed.map_err(|error| visitor.refuse(error))?,
            }
        }
        objects.push(match found {
            Some(file) if file.size_bytes == id.size => {
                let href = format!("{}.git/info/lfs/objects/{}", visitor.page_url(repo), id.oid);
                let header = visitor.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
                let header = header.map(|value| ("Authorization".to_owned(), value.to_owned())).into_iter().collect();
                let download = Some(Action { href, header, expires_in: None });
                BatchObject::with_actions(id, Actions { download, ..Actions::default() })
            }
            _ => BatchObject::failed(id, 404, "object does not exist"),
        });
    }
    Ok(BatchAnswer { transfer: Transfer::Basic, objects, hash_algo: None })
}

async fn for_upload(visitor: &Visitor, repo: &Repo, asked: &BatchRequest) -> Result<BatchAnswer, ErrorReply> {
    let hub = visitor.app.hub();
    let offers_parts = asked.offers(Transfer::Multipart);
    let large = |id: &ObjectId| id.size > MULTIPART_BYTES;
    let transfer = match () {
        () if asked.offers(Transfer::Xet) => Transfer::Xet,
        // One answer names one transfer, so a batch with a large file goes in parts as a whole.
        () if offers_parts && asked.objects.iter().any(large) => Transfer::Multipart,
        () => Transfer::Basic,
    };
    let grant = hub.upload_grant(&visitor.caller, repo).map_err(|error| visitor.refuse(error))?;
    let revision = asked.reference.as_ref().map_or("main", |reference| reference.name.as_str());
    let mut objects = Vec::with_capacity(asked.objects.len());
    for id in &asked.objects {
        let Ok(sha256) = id.oid.parse::<Sha256>() else {
            objects.push(BatchObject::failed(id, 422, "the oid is not a SHA-256"));
            continue;
        };
        let object = LfsObject { sha256, size_bytes: id.size };
        if object.size_bytes > hub.options().max_file_bytes {
            objects.push(BatchObject::failed(id, 413, "the file is larger than this hub takes"));
            continue;
        }
        if !hub.lfs_needed(&visitor.caller, repo, &object).await.map_err(|error| visitor.refuse(error))? {
            objects.push(BatchObject::present(id));
            continue;
        }
        let upload = match transfer {
            Transfer::Xet => cas::upload_action(visitor, repo, revision)?,
            Transfer::Multipart => parts_action(visitor, &grant, &object).await?,
            Transfer::Basic => basic_action(visitor, &grant, &object),
        };
        let href = format!("{}.git/info/lfs/verify", visitor.page_url(repo));
        let verify = (transfer != Transfer::Xet).then(|| Action { href, ..Action::default() });
        objects.push(BatchObject::with_actions(id, Actions { upload: Some(upload), verify, download: None }));
    }
    Ok(BatchAnswer { transfer, objects, hash_algo: None })
}

fn basic_action(visitor: &Visitor, grant: &UploadGrant, object: &LfsObject) -> Action {
    let (oid, size) = (object.sha256.to_string(), object.size_bytes.to_string());
    let lifetime_s = visitor.app.options().signed_url_lifetime.as_secs();
    let facts = [grant.repo.as_str(), grant.account.as_str(), oid.as_str(), size.as_str()];
    let signed = SignedQuery::new(visitor.app.signer(), Purpose::LfsUpload, visitor.app.now_s() + lifetime_s, &facts);
    let href = format!("{}/api/lfs/{}/{}/{oid}/{size}?{signed}", visitor.base, grant.repo, grant.account);
    Action { href, expires_in: Some(lifetime_s), ..Action::default() }
}

async fn parts_action(visitor: &Visitor, grant: &UploadGrant, object: &LfsObject) -> Result<Action, ErrorReply> {
    let hub = visitor.app.hub();
    let upload = hub.begin_multipart(grant, object).await.map_err(|error| visitor.refuse(error))?;
    let lifetime_s = hub.options().upload_lifetime.as_secs();
    let expires_s = visitor.app.now_s() + lifetime_s;
    let address = |purpose, facts: &[&str]| {
        let signed = SignedQuery::new(visitor.app.signer(), purpose, expires_s, facts);
        format!("{}/api/lfs/parts/{}?{signed}", visitor.base, facts.join("/"))
    };
    let count = object.size_bytes.div_ceil(upload.part_size_bytes).max(1);
    let urls = (1..=count).map(|number| address(Purpose::LfsUpload, &[&upload.id, &number.to_string()]));
    Ok(Action {
        href: address(Purpose::LfsComplete, &[&upload.id]),
        header: multipart_header(upload.part_size_bytes, urls),
        expires_in: Some(lifetime_s),
    })
}

fn check(app: &App, purpose: Purpose, facts: &[&str], query: Option<&str>) -> Result<(), ErrorReply> {
    let query = Query::parse(query.unwrap_or(""))?;
    let checked = SignedQuery::from_query(&query).and_then(|s| s.check(app.signer(), purpose, facts, app.now_s()));
    checked.map_err(|refused| ErrorReply::forbidden(format!("this upload address is not valid: {refused}")))
}

/// `PUT /api/lfs/{repo}/{account}/{oid}/{size}`: the body of an object, under a signed address.
async fn upload(
    axum::extract::State(app): axum::extract::State<App>,
    Path((repo, account, oid, size)): Path<(String, String, String, String)>,
    request: Request,
) -> Result<Response, ErrorReply> {
    check(&app, Purpose::LfsUpload, &[&repo, &account, &oid, &size], request.uri().query())?;
    let sha256 = oid.parse().map_err(|_| ErrorReply::bad_request("the oid is not a SHA-256"))?;
    let size_bytes = size.parse().map_err(|_| ErrorReply::bad_request("the size is not a number"))?;
    let grant = UploadGrant { repo: RepoKey::from(repo), account };
    let object = LfsObject { sha256, size_bytes };
    app.hub().lfs_put(&grant, &object, request.into_body().into_data_stream()).await.map_err(refuse)?;
    Ok(StatusCode::OK.into_response())
}

/// `PUT /api/lfs/parts/{upload}/{number}`: one part of an object, under a signed address.
async fn part(
    axum::extract::State(app): axum::extract::State<App>,
    Path((upload, number)): Path<(String, String)>,
    request: Request,
) -> Result<Response, ErrorReply> {
    check(&app, Purpose::LfsUpload, &[&upload, &number], request.uri().query())?;
    let number = number.parse().map_err(|_| ErrorReply::bad_request("the part is not a number"))?;
    let body = request.into_body().into_data_stream();
    let tag = app.hub().put_part(&upload, number, body).await.map_err(refuse)?;
    let headers = HeaderMap::from_iter([(header::ETAG, files::text(&format!("\"{tag}\""))?)]);
    files::answer(StatusCode::OK, headers, Body::empty())
}

/// `POST /api/lfs/parts/{upload}`: all parts are there, under a signed address.
async fn complete(
    axum::extract::State(app): axum::extract::State<App>,
    Path(upload): Path<String>,
    axum::extract::RawQuery(query): axum::extract::RawQuery,
    body: Bytes,
) -> Result<Response, ErrorReply> {
    check(&app, Purpose::LfsComplete, &[&upload], query.as_deref())?;
    let asked: Completion = read_json(&body)?;
    let parts: Vec<(u64, String)> = asked.parts.into_iter().map(|part| (part.part_number, part.etag)).collect();
    app.hub().complete_multipart(&upload, &parts).await.map_err(refuse)?;
    Ok(lfs_json(StatusCode::OK, &json!({})))
}

/// `POST /{id}.git/info/lfs/verify`
async fn verify(visitor: Visitor, body: Bytes) -> Result<Response, ErrorReply> {
    let asked: ObjectId = read_json(&body)?;
    let repo = visitor.repo().await?;
    let sha256 = asked.oid.parse().map_err(|_| ErrorReply::unprocessable("the oid is not a SHA-256"))?;
    let object = LfsObject { sha256, size_bytes: asked.size };
    visitor.app.hub().lfs_verify(&repo, &object).await.map_err(|error| visitor.refuse(error))?;
    Ok(lfs_json(StatusCode::OK, &json!({})))
}

/// `GET /{id}.git/info/lfs/objects/{oid}`
async fn download(method: Method, visitor: Visitor, Path(oid): Path<String>) -> Result<Response, ErrorReply> {
    let repo = visitor.repo().await?;
    let sha256: Sha256 = oid.parse().map_err(|_| ErrorReply::unprocessable("the oid is not a SHA-256"))?;
    let found = visitor.app.hub().lfs_get(&repo, &sha256).await.map_err(|error| visitor.refuse(error))?;
    let missing = || visitor.refuse(Error::NotFound { what: "object", name: oid.clone() });
    let file = found.ok_or_else(missing)?;
    let passed = visitor.app.hub().pass_content(&visitor.caller, &repo, &sha256, file.size_bytes).await;
    passed.map_err(|error| visitor.refuse(error))?;
    let headers = HeaderMap::from_iter([(header::ETAG, files::text(&format!("\"{}\"", file.etag()))?)]);
    files::send(&visitor, &method, &file, headers).await
}

fn lfs_json(status: StatusCode, body: &impl serde::Serialize) -> Response {
    let mut reply = (status, Json(body)).into_response();
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(LFS_JSON));
    reply
}
