//! Headers that every answer carries: for browsers of other sites, and against their tricks.
//!
//! - CORS: any site may call the API with a token (huggingface.js does); cookies are never
//!   honoured across sites, so `*` gives nothing away.
//! - Content of repositories is served from the same origin as the pages, so it must not run:
//!   `nosniff`, and a policy that sandboxes everything but our own pages.

use std::convert::Infallible;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use tower::{Layer, Service};

/// What scripts of other sites may read.
const EXPOSED: &str = "X-Repo-Commit,X-Request-Id,X-Error-Code,X-Error-Message,X-Total-Count,\
    ETag,Link,Accept-Ranges,Content-Range,X-Linked-Size,X-Linked-ETag,X-Xet-Hash,\
    X-Xet-Cas-Url,X-Xet-Access-Token,X-Xet-Token-Expiration,X-HF-Warning,RateLimit,\
    RateLimit-Policy,Retry-After";

/// Policy of our pages: nothing from elsewhere, no inline script.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; \
    img-src 'self' data:; font-src 'self'; connect-src 'self'; form-action 'self'; \
    base-uri 'none'; frame-ancestors 'none'";

/// Policy of everything else: if a browser shows it, it is dead text.
const CONTENT_POLICY: &str = "default-src 'none'; sandbox; frame-ancestors 'none'";

/// Layer that adds the headers and answers preflights; see the module.
///
/// A header that a handler set itself is kept.
#[derive(Clone, Copy, Debug, Default)]
pub struct CommonHeaders;

impl<S> Layer<S> for CommonHeaders {
    type Service = CommonHeadersService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CommonHeadersService { inner }
    }
}

/// What [`CommonHeaders`] makes of a service.
#[derive(Clone, Debug)]
pub struct CommonHeadersService<S> {
    inner: S,
}

impl<S> Service<Request<Body>> for CommonHeadersService<S>
where
    S: Service<Request<Body>, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let is_preflight =
            request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if is_preflight {
            return Box::pin(ready(Ok(preflight(request.headers()))));
        }
        let reply = self.inner.call(request);
        Box::pin(reply.map(|reply| {
            reply.map(|mut reply| {
                add(reply.headers_mut());
                reply
            })
        }))
    }
}

fn preflight(asked: &HeaderMap) -> Response {
    let mut reply = Response::new(Body::empty());
    *reply.status_mut() = StatusCode::NO_CONTENT;
    let headers = reply.headers_mut();
    set(headers, ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    set(headers, ACCESS_CONTROL_ALLOW_METHODS, "GET,HEAD,POST,PUT,DELETE,PATCH");
    set(headers, ACCESS_CONTROL_MAX_AGE, "86400");
    // `*` would not cover `Authorization`, so the list is given back.
    if let Some(names) = asked.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    reply
}

fn add(headers: &mut HeaderMap) {
    let is_page = headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    set(headers, ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    set(headers, ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    set(headers, X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(headers, CONTENT_SECURITY_POLICY, if is_page { PAGE_POLICY } else { CONTENT_POLICY });
    if is_page {
        set(headers, REFERRER_POLICY, "same-origin");
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &'static str) {
    headers.entry(name).or_insert(HeaderValue::from_static(value));
}
