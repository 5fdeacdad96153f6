//! The outermost layer.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::{Body, HttpBody};
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use futures::future::BoxFuture;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method, Request, StatusCode};
use tower::{Layer, Service};
use tracing::Instrument;

use super::body::{CountIn, CountOut};
use super::{Metrics, RequestId, RouteSeen, X_REQUEST_ID};
use crate::wire::error::ErrorReply;

/// Route name of requests that no route matched.
const UNMATCHED: &str = "unmatched";
/// A transfer of this many bytes is worth a line at `info`.
const LARGE_BYTES: u64 = 1 << 20;
/// A request of this many milliseconds is worth a line at `info`.
const SLOW_MS: u64 = 1000;

/// Layer that names, counts and logs requests; see the module.
#[derive(Clone, Debug)]
pub struct Telemetry {
    metrics: Arc<Metrics>,
}

impl Telemetry {
    /// A layer that counts into `metrics`.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics }
    }
}

impl<S> Layer<S> for Telemetry {
    type Service = TelemetryService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        TelemetryService { inner, metrics: Arc::clone(&self.metrics) }
    }
}

/// What [`Telemetry`] makes of a service.
#[derive(Clone, Debug)]
pub struct TelemetryService<S> {
    inner: S,
    metrics: Arc<Metrics>,
}

impl<S> Service<Request<Body>> for TelemetryService<S>
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

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let id = RequestId::of(request.headers());
        request.extensions_mut().insert(id.clone());
        if !request.body().is_end_stream() {
            let metrics = Arc::clone(&self.metrics);
            request = request.map(|inner| Body::new(CountIn { inner, metrics }));
        }
        let mut finish = Finish::begin(&self.metrics, request.method().clone(), id);
        let span = tracing::info_span!("request", request.id = finish.id.as_str());
        // The call itself may panic, and so may the future.
        let reply = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let _inside = span.enter();
            self.inner.call(request)
        }));
        Box::pin(async move {
            let reply = match reply {
                Ok(reply) => AssertUnwindSafe(reply.instrument(span)).catch_unwind().await,
                Err(panic) => Err(panic),
            };
            let mut reply = match reply {
                Ok(Ok(reply)) => reply,
                Ok(Err(never)) => match never {},
                Err(_panic) => {
                    tracing::error!(request.id = finish.id.as_str(), "a handler panicked");
                    ErrorReply::internal().into_response()
                }
            };
            reply.headers_mut().insert(X_REQUEST_ID, finish.id.to_header());
            finish.head(reply.status(), reply.extensions_mut().remove());
            finish.promise(reply.headers());
            if reply.body().is_end_stream() {
                finish.complete();
                return Ok(reply);
            }
            Ok(reply.map(|inner| Body::new(CountOut { inner, finish })))
        })
    }
}

/// What is known of a request; logs it when dropped, once.
pub(super) struct Finish {
    metrics: Arc<Metrics>,
    method: Method,
    id: RequestId,
    began: Instant,
    status: Option<StatusCode>,
    seen: Option<RouteSeen>,
    /// What `Content-Length` says.
    promised_bytes: Option<u64>,
    sent_bytes: u64,
    complete: bool,
    broke: Option<String>,
}

impl Finish {
    fn begin(metrics: &Arc<Metrics>, method: Method, id: RequestId) -> Self {
        metrics.begin();
        Self {
            metrics: Arc::clone(metrics),
            method,
            id,
            began: Instant::now(),
            status: None,
            seen: None,
            promised_bytes: None,
            sent_bytes: 0,
            complete: false,
            broke: None,
        }
    }

    fn route(&self) -> &str {
        self.seen.as_ref().and_then(|seen| seen.template.as_ref()).map_or(UNMATCHED, |t| t.as_str())
    }

    fn head(&mut self, status: StatusCode, seen: Option<RouteSeen>) {
        self.status = Some(status);
        self.seen = seen;
        let took = self.began.elapsed();
        self.metrics.count(self.method.as_str(), self.route(), status.as_u16(), took);
    }

    fn promise(&mut self, headers: &HeaderMap) {
        let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        self.promised_bytes = length.and_then(|length| length.parse().ok());
    }

    pub(super) fn sent(&mut self, count: u64) {
        self.sent_bytes = self.sent_bytes.saturating_add(count);
        self.metrics.add_response_bytes(count);
        // The connection does not ask a body for its end once it has what was promised.
        self.complete |= self.promised_bytes == Some(self.sent_bytes);
    }

    pub(super) fn complete(&mut self) {
        self.complete = true;
    }

    pub(super) fn broke(&mut self, why: String) {
        self.broke = Some(why);
    }

    fn whole(&self) -> bool {
        self.complete || self.method == Method::HEAD
    }

    fn outcome(&self) -> &str {
        match (&self.broke, self.status, self.whole()) {
            (Some(why), ..) => why.as_str(),
            (None, None, _) => "client left before the answer",
            (None, _, false) => "client left before the end",
            (None, ..) => "done",
        }
    }
}

impl Drop for Finish {
    fn drop(&mut self) {
        self.metrics.end();
        let duration_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let status = self.status.map_or(0, |status| status.as_u16());
        let read = matches!(self.method, Method::GET | Method::HEAD | Method::OPTIONS);
        let (whole, outcome) = (self.whole(), self.outcome());
        macro_rules! log {
            ($level:ident) => {
                tracing::$level!(
                    target: "weighthouse_hub::access",
                    {
                        request.id = self.id.as_str(),
                        repo.id = self.seen.as_ref().and_then(|seen| seen.repo.as_deref()),
                        status,
                        sent_bytes = self.sent_bytes,
                        duration_ms,
                    },
                    "{} {} {outcome}",
                    self.method,
                    self.route(),
                )
            };
        }
        if status >= 500 || self.broke.is_some() {
            log!(warn);
        } else if !read || self.sent_bytes >= LARGE_BYTES || duration_ms >= SLOW_MS || !whole {
            log!(info);
        } else {
            log!(debug);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_download_is_done_with_its_last_byte() {
        let metrics = Arc::new(Metrics::new("0", 0));
        let finish = |headers: HeaderMap, sent: &[u64]| {
            let mut finish = Finish::begin(&metrics, Method::GET, RequestId::of(&HeaderMap::new()));
            assert_eq!(finish.outcome(), "client left before the answer");
            finish.head(StatusCode::OK, None);
            finish.promise(&headers);
            sent.iter().for_each(|&count| finish.sent(count));
            finish.outcome().to_owned()
        };
        let ten = HeaderMap::from_iter([(CONTENT_LENGTH, 10.into())]);
        assert_eq!(finish(ten.clone(), &[6, 4]), "done");
        assert_eq!(finish(ten, &[6, 3]), "client left before the end");
        assert_eq!(finish(HeaderMap::new(), &[6, 4]), "client left before the end", "nobody said how much");
    }
}
