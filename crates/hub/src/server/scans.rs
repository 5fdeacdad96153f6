//! Reports of the scanner.

use axum::Router;
use axum::extract::Path;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use http::StatusCode;
use serde_json::json;
use weighthouse::Error;
use weighthouse::scan::sarif;

use super::app::App;
use super::visitor::Visitor;
use crate::wire::error::ErrorReply;

pub(super) fn routes() -> Router<App> {
    Router::new().route("/~api/scan/{revision}", get(whole)).route("/~api/scan/{revision}/{*path}", get(one))
}

/// `GET /api/models/{id}/scan/{rev}`: `weighthouse.scan/1` about all files that were judged; `202` while others wait.
async fn whole(visitor: Visitor, Path(revision): Path<String>) -> Result<Response, ErrorReply> {
    let (repo, at) = visitor.repo_at(&revision).await?;
    let hub = visitor.app.hub();
    let status = hub.tree_status(&at).await.map_err(|error| visitor.refuse(error))?;
    let report = hub.revision_report(&at, &repo.record.id).await.map_err(|error| visitor.refuse(error))?;
    let code = if status.is_done() { StatusCode::OK } else { StatusCode::ACCEPTED };
    answer(&visitor, code, &report)
}

/// `GET /api/models/{id}/scan/{rev}/{path}`: `weighthouse.scan/1` about one file; `202` and no report while it waits.
async fn one(visitor: Visitor, Path((revision, path)): Path<(String, String)>) -> Result<Response, ErrorReply> {
    let (_, at) = visitor.repo_at(&revision).await?;
    let hub = visitor.app.hub();
    let file = hub.file(&at, &revision, path.trim_matches('/')).await.map_err(|error| visitor.refuse(error))?;
    match hub.file_report(&at, &file).await.map_err(|error| visitor.refuse(error))? {
        Some(report) => answer(&visitor, StatusCode::OK, &report),
        None => Ok((StatusCode::ACCEPTED, Json(json!({ "status": "queued", "path": file.path }))).into_response()),
    }
}

fn answer(visitor: &Visitor, code: StatusCode, report: &weighthouse::scan::Report) -> Result<Response, ErrorReply> {
    match visitor.query.text("as") {
        None | Some("json") => Ok((code, Json(report)).into_response()),
        Some("sarif") => Ok((code, Json(sarif::document(report))).into_response()),
        Some(other) => {
            let text = format!("`as` is `json` or `sarif`, not `{}`", other.escape_default());
            Err(visitor.refuse(Error::Malformed(text)))
        }
    }
}
