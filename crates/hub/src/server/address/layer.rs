//! The tower layer around the router.

use std::convert::Infallible;
use std::task::{Context, Poll};

use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use futures::future::{Either, Ready, ready};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Request, Uri};
use tower::{Layer, Service};

use super::{Canonical, RepoAddress, canonical};
use crate::wire::error::ErrorReply;

/// Rewrites requests to canonical paths; see the module. Goes around the router, not into it.
#[derive(Clone, Copy, Debug, Default)]
pub struct AddressLayer;

impl<S> Layer<S> for AddressLayer {
    type Service = AddressService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        AddressService { inner }
    }
}

/// What [`AddressLayer`] makes of a service.
#[derive(Clone, Debug)]
pub struct AddressService<S> {
    inner: S,
}

impl<S, B> Service<Request<B>> for AddressService<S>
where
    S: Service<Request<B>, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<S::Future, Ready<Result<Response, Infallible>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let (kind, id, id_span, path) = match canonical(request.uri().path()) {
            Canonical::Untouched => return Either::Left(self.inner.call(request)),
            Canonical::Refused(reply) => return Either::Right(ready(Ok(reply.into_response()))),
            Canonical::Repo { kind, id, id_span, path } => (kind, id, id_span, path),
        };
        let original = match rewrite(request.uri(), &path) {
            Some(uri) => std::mem::replace(request.uri_mut(), uri),
            None => {
                let reply = ErrorReply::bad_request("the address is too long");
                return Either::Right(ready(Ok(reply.into_response())));
            }
        };
        request.extensions_mut().insert(RepoAddress { kind, id, original, id_span });
        Either::Left(self.inner.call(request))
    }
}

/// `None` when the new path is longer than an address can be.
fn rewrite(uri: &Uri, path: &str) -> Option<Uri> {
    let target = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::from_maybe_shared(bytes::Bytes::from(target)).ok()?);
    Uri::from_parts(parts).ok()
}

impl<S: Sync> FromRequestParts<S> for RepoAddress {
    type Rejection = ErrorReply;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ErrorReply> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| ErrorReply::not_found("nothing answers here"))
    }
}
