//! Comparisons of any two revisions that the caller may read.

use axum::Router;
use axum::body::Bytes;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use http::StatusCode;
use serde_json::Value;
use weighthouse::comparisons::{Compare, Compared, SideName};

use super::app::App;
use super::visitor::{Visitor, json};
use crate::wire::compare::{AskCompare, CompareReply};
use crate::wire::error::ErrorReply;

pub(super) fn routes() -> Router<App> {
    Router::new().route("/api/compare", get(show).post(ask))
}

/// `GET /api/compare?a=…&b=…`
async fn show(visitor: Visitor) -> Result<Response, ErrorReply> {
    let text = |key: &str| {
        let missing =
            || ErrorReply::bad_request(format!("`{key}` must be a side, such as `ada/m@main:model.safetensors`"));
        visitor.query.text(key).map(str::to_owned).ok_or_else(missing)
    };
    let (a, b) = (open(&visitor, &text("a")?).await?, open(&visitor, &text("b")?).await?);
    let found = visitor.app.hub().comparison(&a.1, &b.1).await.map_err(|error| visitor.refuse(error))?;
    Ok(reply(&a.0, &b.0, found))
}

/// `POST /api/compare` with `{"a": …, "b": …}`
async fn ask(visitor: Visitor, body: Bytes) -> Result<Response, ErrorReply> {
    let asked: AskCompare = json(&body)?;
    let (a, b) = (open(&visitor, &asked.a).await?, open(&visitor, &asked.b).await?);
    let found = visitor.app.hub().ask_comparison(&visitor.caller, &a.1, &b.1).await;
    Ok(reply(&a.0, &b.0, found.map_err(|error| visitor.refuse(error))?))
}

/// A side, and its name with the commit.
async fn open(visitor: &Visitor, text: &str) -> Result<(String, Compared), ErrorReply> {
    let named: SideName = text.parse().map_err(|error: weighthouse::Error| visitor.refuse(error))?;
    let compared = visitor.app.hub().compared(&visitor.caller, &named).await;
    let compared = compared.map_err(|error| visitor.refuse(error))?;
    let exact = SideName { id: compared.repo.record.id.clone(), revision: compared.revision.oid.to_string(), ..named };
    Ok((exact.to_string(), compared))
}

fn reply(a: &str, b: &str, found: Compare) -> Response {
    let mut said = CompareReply {
        schema: "weighthouse.comparison/1",
        a: a.to_owned(),
        b: b.to_owned(),
        state: "none",
        done_bytes: None,
        total_bytes: None,
        failure: None,
    };
    let status = match found {
        Compare::Done(document) => {
            let mut document = (*document).clone();
            for (side, name) in [("a", a), ("b", b)] {
                if let Some(target) = document.get_mut(side).and_then(|side| side.get_mut("target")) {
                    *target = Value::String(name.to_owned());
                }
            }
            return Json(document).into_response();
        }
        Compare::Unasked => StatusCode::OK,
        Compare::Waiting => {
            said.state = "waiting";
            StatusCode::ACCEPTED
        }
        Compare::Running { done_bytes, total_bytes } => {
            said.state = "running";
            said.done_bytes = Some(done_bytes);
            said.total_bytes = Some(total_bytes);
            StatusCode::ACCEPTED
        }
        Compare::Failed(reason) => {
            said.state = "failed";
            said.failure = Some(reason);
            StatusCode::OK
        }
    };
    (status, Json(said)).into_response()
}
