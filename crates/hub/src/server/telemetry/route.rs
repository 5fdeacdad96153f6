//! Tells the outer layer which route a request took.

use std::task::{Context, Poll};

use axum::extract::MatchedPath;
use axum::response::Response;
use futures::future::BoxFuture;
use http::Request;
use tower::{Layer, Service};

use crate::server::address::RepoAddress;

/// Where a request went, in the extensions of its response.
#[derive(Clone, Debug)]
pub struct RouteSeen {
    /// Template, such as `/~file/resolve/{rev}/{*path}`; absent if no route matched.
    pub template: Option<MatchedPath>,
    /// Id of the repository, if one was addressed.
    pub repo: Option<String>,
}

/// Layer for `Router::layer`: leaves a [`RouteSeen`] in every response.
#[derive(Clone, Copy, Debug, Default)]
pub struct RouteMark;

impl<S> Layer<S> for RouteMark {
    type Service = RouteMarkService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RouteMarkService { inner }
    }
}

/// What [`RouteMark`] makes of a service.
#[derive(Clone, Debug)]
pub struct RouteMarkService<S> {
    inner: S,
}

impl<S, B> Service<Request<B>> for RouteMarkService<S>
where
    S: Service<Request<B>, Response = Response>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let seen = RouteSeen {
            template: request.extensions().get::<MatchedPath>().cloned(),
            repo: request.extensions().get::<RepoAddress>().map(|repo| repo.id.clone()),
        };
        let reply = self.inner.call(request);
        Box::pin(async move {
            let mut reply = reply.await?;
            reply.extensions_mut().insert(seen);
            Ok(reply)
        })
    }
}
