//! Repositories: information, listing, creation, deletion, settings.

use std::collections::BTreeSet;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{delete, get, post, put};
use base64::Engine;
use http::header;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use weighthouse::access::Repo;
use weighthouse::browse::PathRecord;
use weighthouse::facts::Facts;
use weighthouse::repos::{ListQuery, NewRepo};
use weighthouse::revision::{MAIN, Revision};
use weighthouse::{RepoKind, RepoRecord, RepoSort};

use super::address::KindSpelling;
use super::app::App;
use super::visitor::{Visitor, json as read_json};
use crate::wire::error::ErrorReply;
use crate::wire::hf::manage::{
    CreateRepo, DeleteRepo, MoveRepo, OwnedRepo, RepoCreated, RepoSettings, asks_private, split_name,
};
use crate::wire::hf::repo::parse_bounds;
use crate::wire::hf::repo::{
    EXPAND_NAMES, Gated, RepoInfo, SafetensorsInfo, SecurityRepoStatus, Sibling, SiblingLfs, TransformersInfo,
    unknown_expand,
};
use crate::wire::time::format_millis;

/// Repositories on one page of a listing, unless the client asks for fewer.
const PAGE: u64 = 1_000;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/api/models", get(list_models))
        .route("/api/datasets", get(list_datasets))
        .route("/api/settings/repositories", get(owned))
        .route("/api/repos/create", post(create))
        .route("/api/repos/delete", delete(remove))
        .route("/api/repos/move", post(relocate))
        .route("/~api/info", get(info))
        .route("/~api/revision/{revision}", get(info_at))
        .route("/~api/settings", put(settings))
        .route("/~api/auth-check", get(check_read))
        .route("/~api/auth-check/write", get(check_write))
}

/// `GET /api/models/{id}`
async fn info(visitor: Visitor) -> Result<Response, ErrorReply> {
    describe(visitor, MAIN).await
}

/// `GET /api/models/{id}/revision/{rev}`
async fn info_at(visitor: Visitor, Path(revision): Path<String>) -> Result<Response, ErrorReply> {
    describe(visitor, &revision).await
}

async fn describe(visitor: Visitor, revision: &str) -> Result<Response, ErrorReply> {
    let expand = expand(&visitor)?;
    let blobs = visitor.query.flag("blobs")?.unwrap_or(false);
    let (repo, at) = visitor.repo_at(revision).await?;
    let hub = visitor.app.hub();
    let files = expand.is_empty() || expand.iter().any(|name| name == "siblings");
    let mut info = of_record(&repo.record);
    info.sha = Some(at.oid.to_string());
    info.last_modified = Some(format_millis(at.commit.author.time_s * 1_000));
    if files {
        info.siblings = Some(siblings(&visitor, &at, blobs).await?);
    }
    if expand.iter().any(|name| name == "usedStorage") {
        info.used_storage = Some(hub.used_bytes(&repo).await.map_err(|error| visitor.refuse(error))?);
    }
    let security = visitor.query.flag("securityStatus")?.unwrap_or(false);
    if security || expand.iter().any(|name| name == "securityRepoStatus") {
        let status = hub.tree_status(&at).await.map_err(|error| visitor.refuse(error))?;
        info.security_repo_status = Some(SecurityRepoStatus::of(&status));
    }
    if !expand.is_empty() {
        let names: Vec<&str> = expand.iter().map(String::as_str).collect();
        return Ok(Json(info.keep_only(&names)).into_response());
    }
    // hf-hub (Rust) expects another type here, so it is sent only when asked for.
    info.base_models = None;
    Ok(Json(info).into_response())
}

async fn siblings(visitor: &Visitor, at: &Revision, blobs: bool) -> Result<Vec<Sibling>, ErrorReply> {
    let entries = visitor.app.hub().list(at, "", "", true).await.map_err(|error| visitor.refuse(error))?;
    let files = entries.into_iter().filter_map(|entry| match entry {
        PathRecord::File(file) => Some(file),
        PathRecord::Folder { .. } => None,
    });
    Ok(files
        .map(|file| Sibling {
            size: blobs.then_some(file.size_bytes),
            blob_id: blobs.then(|| file.oid.to_string()),
            lfs: (blobs && file.lfs).then(|| SiblingLfs {
                sha256: file.sha256.to_string(),
                size: file.size_bytes,
                pointer_size: file.pointer_bytes(),
            }),
            rfilename: file.path,
        })
        .collect())
}

/// What the catalog alone knows.
fn of_record(record: &RepoRecord) -> RepoInfo {
    let facts = Facts::of(record);
    RepoInfo {
        internal_id: record.key.to_string(),
        id: record.id.clone(),
        model_id: (record.kind == RepoKind::Model).then(|| record.id.clone()),
        author: record.id.split_once('/').map(|(namespace, _)| namespace.to_owned()),
        last_modified: Some(format_millis(record.updated_at_ms)),
        created_at: Some(format_millis(record.created_at_ms)),
        private: Some(record.private),
        disabled: Some(false),
        gated: Some(Gated::No),
        downloads: Some(record.downloads.cast_unsigned()),
        downloads_all_time: Some(record.downloads.cast_unsigned()),
        likes: Some(0),
        trending_score: Some(0),
        xet_enabled: Some(true),
        spaces: Some(Vec::new()),
        ..facts_info(facts)
    }
}

/// What the card, the configuration and the weights say.
fn facts_info(facts: Facts) -> RepoInfo {
    let model_index = facts.model_index().cloned();
    let base_models = (!facts.base_models.is_empty()).then(|| {
        let models: Vec<_> = facts.base_models.iter().map(|id| json!({ "id": id })).collect();
        json!({ "relation": facts.base_model_relation, "models": models })
    });
    RepoInfo {
        tags: Some(facts.tags),
        pipeline_tag: facts.pipeline_tag.clone(),
        library_name: facts.library_name,
        mask_token: facts.mask_token,
        card_data: facts.card_data.map(Value::Object),
        model_index,
        config: facts.config.map(Value::Object),
        transformers_info: facts.transformers.map(|how| TransformersInfo {
            auto_model: how.auto_model,
            custom_class: how.custom_class,
            pipeline_tag: facts.pipeline_tag,
            processor: how.processor,
        }),
        gguf: facts.inside.and_then(|inside| inside.gguf),
        safetensors: facts.safetensors.map(|parameters| SafetensorsInfo {
            parameters: parameters.by_dtype.into_iter().map(|(dtype, count)| (dtype, count.into())).collect(),
            total: parameters.total,
            sharded: parameters.sharded.then_some(true),
        }),
        base_models,
        ..RepoInfo::default()
    }
}

fn expand(visitor: &Visitor) -> Result<Vec<String>, ErrorReply> {
    let names = visitor.query.list("expand");
    if let Some(unknown) = unknown_expand(&names) {
        let allowed = EXPAND_NAMES.join(", ");
        return Err(ErrorReply::bad_request(format!("`expand` does not know `{unknown}`; it knows {allowed}")));
    }
    Ok(names.into_iter().map(str::to_owned).collect())
}

/// `GET /api/models`
async fn list_models(visitor: Visitor) -> Result<Response, ErrorReply> {
    list(visitor, RepoKind::Model).await
}

/// `GET /api/datasets`
async fn list_datasets(visitor: Visitor) -> Result<Response, ErrorReply> {
    list(visitor, RepoKind::Dataset).await
}

async fn list(visitor: Visitor, kind: RepoKind) -> Result<Response, ErrorReply> {
    let query = &visitor.query;
    let expand = expand(&visitor)?;
    let sort = match query.text("sort") {
        None | Some("lastModified" | "last_modified" | "trendingScore" | "trending_score" | "likes") => {
            RepoSort::Updated
        }
        Some("createdAt" | "created_at") => RepoSort::Created,
        Some("downloads") => RepoSort::Downloads,
        Some(other) => return Err(ErrorReply::bad_request(format!("`sort` does not know `{other}`"))),
    };
    let mut tags: Vec<String> = query.list("filter").into_iter().map(str::to_owned).collect();
    tags.extend(["pipeline_tag", "library"].iter().filter_map(|key| query.text(key)).map(str::to_owned));
    let limit = query.number("limit")?.unwrap_or(PAGE).clamp(1, PAGE);
    let offset = query.number("offset")?.unwrap_or(0);
    let (min_parameters, max_parameters) = match query.text("num_parameters") {
        None => (None, None),
        Some(text) => parse_bounds(text).ok_or_else(|| {
            ErrorReply::bad_request(format!("`num_parameters` must be like `min:6B,max:128B`, not `{text}`"))
        })?,
    };
    let wanted = ListQuery {
        kind,
        search: query.text("search").map(str::to_owned),
        author: query.text("author").map(str::to_owned),
        tags,
        min_parameters,
        max_parameters,
        sort,
        // One more tells whether there is a next page.
        limit: u32::try_from(limit).unwrap_or(1_000).min(999) + 1,
        offset,
    };
    let page = usize::try_from(wanted.limit - 1).unwrap_or(1);
    let hub = visitor.app.hub();
    let mut records = hub.list_repos(&visitor.caller, wanted).await.map_err(|error| visitor.refuse(error))?;
    let more = records.len() > page;
    records.truncate(page);
    let full = query.flag("full")?.unwrap_or(false);
    let mut found = Vec::with_capacity(records.len());
    for record in records {
        let mut info = of_record(&record);
        if full || expand.iter().any(|name| matches!(name.as_str(), "siblings" | "sha")) {
            let (_, at) =
                hub.repo_at(&visitor.caller, kind, &record.id, MAIN).await.map_err(|error| visitor.refuse(error))?;
            info.sha = Some(at.oid.to_string());
            if full || expand.iter().any(|name| name == "siblings") {
                info.siblings = Some(siblings(&visitor, &at, false).await?);
            }
        }
        if !full && !query.flag("cardData")?.unwrap_or(false) && expand.is_empty() {
            info.card_data = None;
            info.model_index = None;
        }
        if !full && !query.flag("config")?.unwrap_or(false) && expand.is_empty() {
            info.config = None;
        }
        if expand.is_empty() {
            info.base_models = None;
            found.push(serde_json::to_value(info).unwrap_or_default());
        } else {
            let names: Vec<&str> = expand.iter().map(String::as_str).collect();
            found.push(info.keep_only(&names));
        }
    }
    let mut reply = Json(found).into_response();
    if more {
        let next = next_page(&visitor, &format!("/api/{}", kind.plural()), offset + page as u64);
        reply.headers_mut().insert(header::LINK, link(&next)?);
    }
    Ok(reply)
}

/// Address of the next page: the same question with another offset.
pub(super) fn next_page(visitor: &Visitor, path: &str, offset: u64) -> String {
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let mut pairs: Vec<String> = visitor
        .query
        .pairs()
        .iter()
        .filter(|(key, _)| key != "offset")
        .map(|(key, value)| format!("{}={}", encode(key), encode(value)))
        .collect();
    pairs.push(format!("offset={offset}"));
    format!("{}{path}?{}", visitor.base, pairs.join("&"))
}

/// Value of a `Link` header that names the next page.
pub(super) fn link(next: &str) -> Result<http::HeaderValue, ErrorReply> {
    http::HeaderValue::try_from(format!("<{next}>; rel=\"next\"")).map_err(|_| ErrorReply::internal())
}

/// `POST /api/repos/create`
async fn create(visitor: Visitor, body: Bytes) -> Result<Response, ErrorReply> {
    let asked: CreateRepo = read_json(&body)?;
    let kind = kind(asked.kind.as_deref())?;
    let (namespace, name) = split_name(&asked.name, asked.organization.as_deref());
    let mut files = Vec::new();
    for file in &asked.files {
        let data = match file.encoding.as_deref() {
            None | Some("utf-8" | "utf8") => file.content.clone().into_bytes(),
            Some("base64") => base64::engine::general_purpose::STANDARD
                .decode(&file.content)
                .map_err(|_| ErrorReply::bad_request(format!("content of `{}` is not base64", file.path)))?,
            Some(other) => return Err(ErrorReply::bad_request(format!("encoding `{other}` is not known"))),
        };
        files.push((file.path.clone(), data));
    }
    if let Some(license) = &asked.license
        && asked.files.iter().all(|file| file.path != "README.md")
    {
        files.push(("README.md".to_owned(), format!("---\nlicense: {}\n---\n", json!(license)).into_bytes()));
    }
    let new = NewRepo {
        kind,
        namespace: namespace.map(str::to_owned),
        name: name.to_owned(),
        private: asks_private(asked.visibility.as_deref(), asked.private).unwrap_or(false),
        files,
    };
    let repo = visitor.app.hub().create_repo(&visitor.caller, new).await.map_err(|error| visitor.refuse(error))?;
    let created = RepoCreated { url: visitor.page_url(&repo), id: repo.record.key.to_string(), name: repo.record.id };
    Ok(Json(created).into_response())
}

/// `DELETE /api/repos/delete`
async fn remove(visitor: Visitor, body: Bytes) -> Result<Response, ErrorReply> {
    let asked: DeleteRepo = read_json(&body)?;
    let kind = kind(asked.kind.as_deref())?;
    let id = match split_name(&asked.name, asked.organization.as_deref()) {
        (Some(""), name) => name.to_owned(),
        (Some(namespace), name) => format!("{namespace}/{name}"),
        (None, name) => match visitor.caller.account() {
            Some(account) => format!("{}/{name}", account.name),
            None => return Err(ErrorReply::token_needed()),
        },
    };
    let hub = visitor.app.hub();
    let repo = named(&visitor, kind, &id).await?;
    hub.delete_repo(&visitor.caller, &repo).await.map_err(|error| visitor.refuse(error))?;
    Ok(Json(json!({})).into_response())
}

/// `POST /api/repos/move`
async fn relocate(visitor: Visitor, body: Bytes) -> Result<Response, ErrorReply> {
    let asked: MoveRepo = read_json(&body)?;
    let kind = kind(asked.kind.as_deref())?;
    let repo = named(&visitor, kind, &asked.from_repo).await?;
    let hub = visitor.app.hub();
    let id = hub.move_repo(&visitor.caller, &repo, &asked.to_repo).await.map_err(|error| visitor.refuse(error))?;
    Ok(Json(json!({ "id": id, "url": format!("{}{}{id}", visitor.base, kind.web_prefix()) })).into_response())
}

async fn named(visitor: &Visitor, kind: RepoKind, id: &str) -> Result<Repo, ErrorReply> {
    visitor.app.hub().repo(&visitor.caller, kind, id).await.map_err(|error| visitor.refuse(error))
}

fn kind(word: Option<&str>) -> Result<RepoKind, ErrorReply> {
    RepoKind::from_wire(word).ok_or_else(|| ErrorReply::type_not_supported(word.unwrap_or_default()))
}

/// `PUT /api/models/{id}/settings`
async fn settings(visitor: Visitor, body: Bytes) -> Result<Response, ErrorReply> {
    let asked: RepoSettings = read_json(&body)?;
    let repo = visitor.repo().await?;
    if asked.gated.is_some_and(|gated| gated != Gated::No) {
        return Err(ErrorReply::bad_request("gated repositories are not supported yet; make the repository private"));
    }
    if let Some(private) = asks_private(asked.visibility.as_deref(), asked.private) {
        let hub = visitor.app.hub();
        hub.set_private(&visitor.caller, &repo, private).await.map_err(|error| visitor.refuse(error))?;
    } else {
        repo.require_admin(&visitor.caller, "change settings").map_err(|error| visitor.refuse(error))?;
    }
    Ok(Json(json!({})).into_response())
}

/// `GET /api/models/{id}/auth-check`
async fn check_read(visitor: Visitor) -> Result<Response, ErrorReply> {
    visitor.repo().await?;
    Ok(Json(json!({})).into_response())
}

/// `GET /api/models/{id}/auth-check/write`
async fn check_write(visitor: Visitor) -> Result<Response, ErrorReply> {
    let repo = visitor.repo().await?;
    repo.require_write(&visitor.caller, "write").map_err(|error| visitor.refuse(error))?;
    Ok(Json(json!({})).into_response())
}

/// `GET /api/settings/repositories`
async fn owned(visitor: Visitor) -> Result<Response, ErrorReply> {
    let Some(account) = visitor.caller.account() else { return Err(ErrorReply::token_needed()) };
    let hub = visitor.app.hub();
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for kind in [RepoKind::Model, RepoKind::Dataset] {
        let query = ListQuery {
            kind,
            search: None,
            author: Some(account.name.clone()),
            min_parameters: None,
            max_parameters: None,
            tags: Vec::new(),
            sort: RepoSort::Updated,
            limit: 1_000,
            offset: 0,
        };
        for record in hub.list_repos(&visitor.caller, query).await.map_err(|error| visitor.refuse(error))? {
            if !seen.insert(record.key.clone()) {
                continue;
            }
            let repo = Repo { role: weighthouse::Role::Admin, record };
            let storage = hub.used_bytes(&repo).await.map_err(|error| visitor.refuse(error))?;
            found.push(OwnedRepo {
                id: repo.record.id,
                kind: kind.as_str().to_owned(),
                updated_at: format_millis(repo.record.updated_at_ms),
                visibility: if repo.record.private { "private" } else { "public" }.to_owned(),
                storage,
                storage_percent: 0.0,
            });
        }
    }
    Ok(Json(found).into_response())
}
