//! The server put together: one state, all routes, the layers around them.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use weighthouse::Hub;

use super::sign::Signer;
use super::telemetry::Metrics;
use super::{
    accounts, advisories, cas, commits, compare, conversions, files, git_lfs, health, history, inside, policies, repos,
    scans, storage, trees,
};
use crate::web::{self, WebState};

/// Largest JSON body, in bytes; commits, uploads and shards have limits of their own.
const MAX_JSON_BYTES: usize = 8 << 20;

/// How the server answers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerOptions {
    /// Address that clients use, without a trailing slash; taken from each request if absent.
    pub public_url: Option<String>,
    /// How long a Xet token is good for.
    pub xet_token_lifetime: Duration,
    /// How long a signed address is good for.
    pub signed_url_lifetime: Duration,
    /// Largest commit body, in bytes.
    pub max_commit_bytes: u64,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            public_url: None,
            xet_token_lifetime: Duration::from_secs(15 * 60),
            signed_url_lifetime: Duration::from_secs(3600),
            max_commit_bytes: 512 << 20,
        }
    }
}

/// What every handler can reach; cheap to clone.
#[derive(Clone, Debug)]
pub struct App(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    hub: Hub,
    signer: Signer,
    options: ServerOptions,
}

impl App {
    /// Puts a hub behind the protocol.
    #[must_use]
    pub fn new(hub: Hub, options: ServerOptions) -> Self {
        let signer = Signer::new(hub.key("signatures"));
        Self(Arc::new(Parts { hub, signer, options }))
    }

    /// The use cases.
    #[must_use]
    pub fn hub(&self) -> &Hub {
        &self.0.hub
    }

    pub(crate) fn signer(&self) -> &Signer {
        &self.0.signer
    }

    /// How the server answers.
    #[must_use]
    pub fn options(&self) -> &ServerOptions {
        &self.0.options
    }

    /// Unix seconds.
    pub(crate) fn now_s(&self) -> u64 {
        u64::try_from(self.hub().now_ms() / 1_000).unwrap_or(0)
    }

    /// All routes of the protocol and the pages, without the layers around them.
    pub fn routes(&self, metrics: Arc<Metrics>) -> Router {
        let hub = self.hub().clone();
        let ready: health::Ready = Arc::new(move || {
            let hub = hub.clone();
            Box::pin(async move { hub.ping().await.map_err(|error| error.to_string()) })
        });
        let pages = WebState { hub: self.hub().clone(), public_url: self.options().public_url.clone() };
        Router::new()
            .merge(accounts::routes())
            .merge(repos::routes())
            .merge(trees::routes())
            .merge(history::routes())
            .merge(files::routes())
            .merge(inside::routes())
            .merge(conversions::routes())
            .merge(compare::routes())
            .merge(storage::routes())
            .merge(scans::routes())
            .merge(commits::routes())
            .merge(policies::routes())
            .merge(advisories::routes())
            .merge(git_lfs::routes())
            .merge(cas::routes())
            .layer(DefaultBodyLimit::max(MAX_JSON_BYTES))
            .with_state(self.clone())
            .merge(web::routes(pages))
            .merge(health::routes(metrics, ready))
    }
}
