//! The layers in their order, around any router.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::Request;
use tower::{Layer, Service};

use super::address::AddressLayer;
use super::headers::CommonHeaders;
use super::telemetry::{Metrics, RouteMark, Telemetry};
use crate::wire::error::ErrorReply;

/// Puts a router behind telemetry, common headers and canonical addresses.
///
/// What no route takes is answered with a JSON 404, a wrong method with a JSON 405.
pub fn stack(
    routes: Router,
    metrics: Arc<Metrics>,
) -> impl Service<
    Request<Body>,
    Response = Response,
    Error = Infallible,
    Future = impl Future<Output = Result<Response, Infallible>> + Send + 'static,
> + Clone
+ Send
+ 'static {
    let routes = routes
        .fallback(|| async { ErrorReply::not_found("nothing answers here") })
        .method_not_allowed_fallback(|| async { ErrorReply::method_not_allowed() })
        .layer(RouteMark);
    Telemetry::new(metrics).layer(CommonHeaders.layer(AddressLayer.layer(routes)))
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use axum::routing::{get, post};
    use tower::ServiceExt;

    use super::*;
    use crate::server::address::RepoAddress;
    use crate::server::health;

    fn app()
    -> (Arc<Metrics>, impl Service<Request<Body>, Response = Response, Error = Infallible, Future: Send> + Clone) {
        let metrics = Arc::new(Metrics::new("0", 0));
        let ready: health::Ready = Arc::new(|| Box::pin(async { Err("no database".to_owned()) }));
        let routes = Router::new()
            .route("/~api/info", get(|repo: RepoAddress| async move { repo.id }))
            .route("/api/panic", post(panics))
            .route("/search", get(|| async { axum::response::Html("<p>") }))
            .merge(health::routes(Arc::clone(&metrics), ready));
        (Arc::clone(&metrics), stack(routes, metrics))
    }

    async fn panics() -> &'static str {
        panic!("on purpose")
    }

    async fn ask(method: &str, path: &str, headers: &[(&str, &str)]) -> (Response, String) {
        let (_, app) = app();
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let reply = app.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (head, body) = reply.into_parts();
        let body = to_bytes(body, 1 << 20).await.unwrap();
        (Response::from_parts(head, Body::empty()), String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn every_answer_has_an_id_and_is_readable_by_browsers() {
        for path in ["/healthz", "/nothing/at/all", "/a/b/resolve/main/../x", "/api/models/a/b"] {
            let (reply, _) = ask("GET", path, &[("x-amzn-trace-id", "abc-1")]).await;
            let headers = reply.headers();
            assert_eq!(headers["x-request-id"], "abc-1", "{path}");
            assert_eq!(headers["access-control-allow-origin"], "*");
            let exposed = headers["access-control-expose-headers"].to_str().unwrap();
            assert!(exposed.contains("X-Repo-Commit,X-Request-Id,X-Error-Code"));
            assert_eq!(headers["x-content-type-options"], "nosniff");
        }
    }

    #[tokio::test]
    async fn what_nothing_answers_is_json() {
        let (reply, body) = ask("GET", "/api/jobs", &[]).await;
        assert_eq!((reply.status().as_u16(), body.as_str()), (404, r#"{"error":"nothing answers here"}"#));
        let (reply, body) = ask("POST", "/healthz", &[]).await;
        assert_eq!((reply.status().as_u16(), body.as_str()), (405, r#"{"error":"Method not allowed"}"#));
        let (reply, _) = ask("GET", "/api/spaces/a/b", &[]).await;
        assert_eq!(reply.headers()["x-error-code"], "RepoNotFound");
    }

    #[tokio::test]
    async fn a_preflight_lets_the_token_through() {
        let asked = [
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization,content-type"),
        ];
        let (reply, _) = ask("OPTIONS", "/api/models/a/b/commit/main", &asked).await;
        assert_eq!(reply.status(), 204);
        assert_eq!(reply.headers()["access-control-allow-headers"], "authorization,content-type");
    }

    #[tokio::test]
    async fn pages_have_a_strict_policy_and_the_rest_is_dead_text() {
        let policy = async |path| {
            let (reply, _) = ask("GET", path, &[]).await;
            reply.headers()["content-security-policy"].to_str().unwrap().to_owned()
        };
        assert!(policy("/search").await.contains("script-src 'self'"));
        assert!(policy("/healthz").await.contains("sandbox"));
    }

    #[tokio::test]
    async fn a_panic_is_a_500_and_the_next_request_works() {
        let (reply, body) = ask("POST", "/api/panic", &[]).await;
        assert_eq!(reply.status(), 500);
        assert!(!body.contains("on purpose"));
        assert_eq!(ask("GET", "/healthz", &[]).await.1, "ok\n");
    }

    #[tokio::test]
    async fn not_ready_says_why() {
        let (reply, body) = ask("GET", "/readyz", &[]).await;
        assert_eq!(reply.status(), 503);
        assert_eq!(body, r#"{"error":"not ready: no database"}"#);
    }

    #[tokio::test]
    async fn requests_are_counted_by_route_and_nothing_stays_in_flight() {
        let (metrics, app) = app();
        for path in ["/api/models/a/b", "/api/models/c/d", "/none/of/that/x"] {
            let request = Request::get(path).body(Body::empty()).unwrap();
            let reply = app.clone().oneshot(request).await.unwrap();
            to_bytes(reply.into_body(), 1 << 20).await.unwrap();
        }
        let text = metrics.render();
        let name = "weighthouse_http_requests_total";
        for line in [
            format!("{name}{{method=\"GET\",route=\"/~api/info\",status=\"200\"}} 2"),
            format!("{name}{{method=\"GET\",route=\"unmatched\",status=\"404\"}} 1"),
            "weighthouse_http_in_flight 0".to_owned(),
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
    }
}
