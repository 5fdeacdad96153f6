//! What is inside checkpoints: modules, tensors, their elements, the architecture.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Path;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use http::{HeaderValue, header};
use tokio::sync::mpsc::Receiver;
use weighthouse::StoreError;
use weighthouse::access::Repo;
use weighthouse::checkpoints::values::Npy;
use weighthouse::checkpoints::{Inside, Part, ReadingParameters};
use weighthouse::format::Tensor;
use weighthouse::inspect::modules::{Row, RowKind};
use weighthouse::revision::Revision;

use super::app::App;
use super::repos::{link, next_page};
use super::visitor::Visitor;
use crate::wire::error::ErrorReply;
use crate::wire::inside::{AlsoIn, Architecture, Ask, Level, LevelRow, TensorInfo, TensorReply, index_word};

/// Rows on one page, unless the client asks for fewer.
const PAGE: u64 = 1_000;
/// Warnings in one answer.
const MAX_WARNINGS: usize = 100;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/~api/tensors/{revision}", get(tensors_of_root))
        .route("/~api/tensors/{revision}/{*path}", get(tensors_below))
        .route("/~api/npy/{revision}", get(npy_of_root))
        .route("/~api/npy/{revision}/{*path}", get(npy_below))
        .route("/~api/architecture/{revision}", get(architecture_of_root))
        .route("/~api/architecture/{revision}/{*path}", get(architecture_below))
}

/// `GET /api/models/{id}/tensors/{rev}`
async fn tensors_of_root(visitor: Visitor, Path(revision): Path<String>) -> Result<Response, ErrorReply> {
    tensors(visitor, &revision, "").await
}

/// `GET /api/models/{id}/tensors/{rev}/{path}`
async fn tensors_below(
    visitor: Visitor,
    Path((revision, path)): Path<(String, String)>,
) -> Result<Response, ErrorReply> {
    tensors(visitor, &revision, &path).await
}

/// `GET /api/models/{id}/npy/{rev}`
async fn npy_of_root(visitor: Visitor, Path(revision): Path<String>) -> Result<Response, ErrorReply> {
    npy(visitor, &revision, "").await
}

/// `GET /api/models/{id}/npy/{rev}/{path}`
async fn npy_below(visitor: Visitor, Path((revision, path)): Path<(String, String)>) -> Result<Response, ErrorReply> {
    npy(visitor, &revision, &path).await
}

/// `GET /api/models/{id}/architecture/{rev}`
async fn architecture_of_root(visitor: Visitor, Path(revision): Path<String>) -> Result<Response, ErrorReply> {
    architecture(visitor, &revision, "").await
}

/// `GET /api/models/{id}/architecture/{rev}/{path}`
async fn architecture_below(
    visitor: Visitor,
    Path((revision, path)): Path<(String, String)>,
) -> Result<Response, ErrorReply> {
    architecture(visitor, &revision, &path).await
}

async fn open(visitor: &Visitor, revision: &str, path: &str) -> Result<(Repo, Revision, Arc<Inside>), ErrorReply> {
    let (repo, at) = visitor.repo_at(revision).await?;
    let inside = visitor.app.hub().inside(&at, path).await.map_err(|error| visitor.refuse(error))?;
    Ok((repo, at, inside))
}

async fn tensors(visitor: Visitor, revision: &str, path: &str) -> Result<Response, ErrorReply> {
    let path = path.trim_matches('/');
    let ask = Ask::of(&visitor.query)?;
    let (repo, at, inside) = open(&visitor, revision, path).await?;
    if let Some(name) = &ask.name {
        return tensor(&visitor, &repo, &at, &inside, (&ask, name, path)).await;
    }
    let limit = visitor.query.number("limit")?.unwrap_or(PAGE).clamp(1, PAGE);
    let offset = visitor.query.number("offset")?.unwrap_or(0);
    let begin = usize::try_from(offset).unwrap_or(usize::MAX);
    let end = begin.saturating_add(usize::try_from(limit).unwrap_or(1_000));
    let tensors = inside.tensors(ask.part);
    let (rows, total) = match &ask.search {
        Some(search) => {
            let found = search_names(&inside, ask.part, search);
            let page = found.iter().skip(begin).take(end - begin);
            let row = |number: &usize| tensors.get(*number).map(|tensor| LevelRow::Tensor(info(&inside, tensor)));
            (page.filter_map(row).collect(), found.len())
        }
        None => {
            let found = inside.modules(ask.part).level(tensors, &ask.module, ask.fold);
            let total = found.len();
            let page = found.into_iter().skip(begin).take(end - begin);
            (page.filter_map(|row| level_row(&inside, ask.part, row)).collect(), total)
        }
    };
    let progress = visitor.app.hub().reading(&repo, &at).await.map_err(|error| visitor.refuse(error))?;
    let contents = &inside.checkpoint.contents;
    let reply = Level {
        schema: "weighthouse.tensors/1",
        commit: at.oid.to_string(),
        path: path.to_owned(),
        part: ask.part.as_str(),
        formats: contents.formats.iter().map(ToString::to_string).collect(),
        tensors: tensors.len() as u64,
        elements: tensors.iter().fold(0, |sum, tensor| sum.saturating_add(tensor.elements())),
        parameters: inside.checkpoint.parameters().total,
        module: ask.module,
        rows,
        total: total as u64,
        index: index_word(&progress),
        warnings: contents.warnings.iter().take(MAX_WARNINGS).map(Into::into).collect(),
    };
    let mut reply = Json(reply).into_response();
    if end < total {
        let address = visitor.address()?.original.path().to_owned();
        let next = next_page(&visitor, &address, offset.saturating_add(limit));
        reply.headers_mut().insert(header::LINK, link(&next)?);
    }
    Ok(reply)
}

/// Tensors whose names contain a text, in any case, in the order of their names.
pub(crate) fn search_names(inside: &Inside, part: Part, search: &str) -> Vec<usize> {
    let tensors = inside.tensors(part);
    let search = search.to_lowercase();
    let fits = |number: &usize| tensors.get(*number).is_some_and(|tensor| tensor.name.to_lowercase().contains(&search));
    inside.modules(part).sorted().filter(fits).collect()
}

fn level_row(inside: &Inside, part: Part, row: Row) -> Option<LevelRow> {
    let tensors = inside.tensors(part);
    if let Some(number) = inside.modules(part).only_tensor(tensors, &row) {
        return Some(LevelRow::Tensor(info(inside, tensors.get(number)?)));
    }
    Some(match row.kind {
        RowKind::Tensor(number) => LevelRow::Tensor(info(inside, tensors.get(number)?)),
        RowKind::Module { name, .. } => LevelRow::Module {
            name,
            label: row.label,
            alike: row.alike,
            tensors: row.tensors,
            elements: row.elements,
            bytes: row.size_bytes,
        },
    })
}

fn info(inside: &Inside, tensor: &Tensor) -> TensorInfo {
    let (file, offset) = inside.place(tensor).unzip();
    TensorInfo {
        name: tensor.name.clone(),
        dtype: tensor.dtype.to_string(),
        shape: tensor.shape.clone(),
        elements: tensor.elements(),
        bytes: tensor.size_bytes(),
        file,
        offset,
    }
}

async fn tensor(
    visitor: &Visitor,
    repo: &Repo,
    at: &Revision,
    inside: &Arc<Inside>,
    (ask, name, path): (&Ask, &str, &str),
) -> Result<Response, ErrorReply> {
    let refuse = |error| visitor.refuse(error);
    let hub = visitor.app.hub();
    let (number, tensor) = find(inside, ask.part, name)?;
    let indexed = hub.indexed(inside, tensor).await.map_err(refuse)?;
    let mut also_in = Vec::new();
    if let Some(indexed) = &indexed {
        for place in hub.places_of(&visitor.caller, tensor, &indexed.hash).await.map_err(refuse)? {
            also_in.push(AlsoIn {
                kind: place.kind.to_string(),
                id: place.repo,
                commit: place.commit.to_string(),
                file: place.path,
                name: place.name,
            });
        }
    }
    let stats = indexed.as_ref().and_then(|indexed| indexed.stats);
    let mut histogram = None;
    if visitor.query.flag("histogram")?.unwrap_or(false)
        && let (Some(indexed), Some(stats)) = (&indexed, stats)
    {
        histogram = hub.histogram(inside, ask.part, number, (indexed.hash, stats)).await.map_err(refuse)?;
    }
    let (row, column) = (visitor.query.number("row")?, visitor.query.number("column")?);
    let window = match (row, column) {
        (None, None) => None,
        (row, column) => {
            let corner = (row.unwrap_or(0), column.unwrap_or(0));
            Some(hub.window(inside, ask.part, number, corner).await.map_err(refuse)?.into())
        }
    };
    let progress = hub.reading(repo, at).await.map_err(refuse)?;
    let slash = if path.is_empty() { "" } else { "/" };
    let encode =
        |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
    let file: Vec<String> = path.split('/').map(encode).collect();
    let api = visitor.api_url(repo);
    let reply = TensorReply {
        schema: "weighthouse.tensor/1",
        commit: at.oid.to_string(),
        tensor: info(inside, tensor),
        sha256: indexed.as_ref().map(|indexed| indexed.hash.to_string()),
        stats,
        histogram,
        window,
        also_in,
        index: index_word(&progress),
        npy: format!("{api}/npy/{}{slash}{}?part={}&name={}", at.oid, file.join("/"), ask.part.as_str(), encode(name)),
    };
    Ok(Json(reply).into_response())
}

/// The tensor of a name.
fn find<'a>(inside: &'a Inside, part: Part, name: &str) -> Result<(usize, &'a Tensor), ErrorReply> {
    let tensors = inside.tensors(part);
    let missing = || ErrorReply::not_found("there is no such tensor");
    let number = inside.modules(part).find(tensors, name).ok_or_else(missing)?;
    Ok((number, tensors.get(number).ok_or_else(missing)?))
}

async fn npy(visitor: Visitor, revision: &str, path: &str) -> Result<Response, ErrorReply> {
    let ask = Ask::of(&visitor.query)?;
    let name = ask.name.ok_or_else(|| ErrorReply::bad_request("`name` must be the name of a tensor"))?;
    let (repo, at, inside) = open(&visitor, revision, path).await?;
    let passed = visitor.app.hub().pass_folder(&visitor.caller, &repo, &at, path).await;
    passed.map_err(|error| visitor.refuse(error))?;
    let (number, _) = find(&inside, ask.part, &name)?;
    let (npy, pieces) =
        visitor.app.hub().npy(&inside, ask.part, number).await.map_err(|error| visitor.refuse(error))?;
    Ok(npy_reply(&npy, pieces, &name))
}

/// A tensor on its way.
pub(crate) fn npy_reply(npy: &Npy, pieces: Receiver<Result<Bytes, StoreError>>, name: &str) -> Response {
    let stream = futures::stream::unfold(pieces, |mut pieces| async move {
        let piece = pieces.recv().await?;
        Some((piece, pieces))
    });
    let mut reply = Response::new(Body::from_stream(stream));
    let plain: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '_' })
        .take(120)
        .collect();
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_LENGTH, npy.size_bytes.into());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(header::VARY, HeaderValue::from_static("Cookie, Authorization"));
    if let Ok(value) = HeaderValue::try_from(format!("attachment; filename=\"{plain}.npy\"")) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    reply
}

async fn architecture(visitor: Visitor, revision: &str, path: &str) -> Result<Response, ErrorReply> {
    let path = path.trim_matches('/');
    let (_, at, inside) = open(&visitor, revision, path).await?;
    let contents = &inside.checkpoint.contents;
    Ok(Json(Architecture {
        schema: "weighthouse.architecture/1",
        commit: at.oid.to_string(),
        path: path.to_owned(),
        formats: contents.formats.iter().map(ToString::to_string).collect(),
        family: contents.architecture.family.clone(),
        class: contents.architecture.class.clone(),
        sizes: contents.architecture.sizes.clone(),
        parameters: ReadingParameters::of(&inside.checkpoint.parameters()),
        blocks: inside.diagram().into_iter().map(Into::into).collect(),
    })
    .into_response())
}
