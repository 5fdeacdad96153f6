//! For load balancers and monitoring: `/healthz`, `/readyz`, `/metrics`.

use std::sync::Arc;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::future::BoxFuture;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};

use super::telemetry::Metrics;
use crate::wire::error::ErrorReply;

/// Asks whether requests can be served now (does the database answer?); `Err` says why not.
pub type Ready = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// The three routes.
///
/// - `/healthz`: 200 as long as the process answers
/// - `/readyz`: 200 if `ready` agrees, else 503 with the reason
/// - `/metrics`: Prometheus text
pub fn routes(metrics: Arc<Metrics>, ready: Ready) -> Router {
    Router::new()
        .route("/healthz", get(|| async { plain("ok\n") }))
        .route("/readyz", get(move || readiness(Arc::clone(&ready))))
        .route("/metrics", get(move || async move { plain(metrics.render()) }))
}

async fn readiness(ready: Ready) -> Response {
    match ready().await {
        Ok(()) => plain("ready\n"),
        Err(why) => ErrorReply::unavailable(format!("not ready: {why}"), 1).into_response(),
    }
}

fn plain(text: impl Into<String>) -> Response {
    let headers = [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"), (CACHE_CONTROL, "no-store")];
    (headers, text.into()).into_response()
}
