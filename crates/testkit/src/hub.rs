//! A whole hub in this process.

use std::net::SocketAddr;
use std::sync::Arc;

use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use weighthouse::account::{NewAccount, NewToken};
use weighthouse::{Hub, HubOptions, Scope};
use weighthouse_hub::server::app::{App, ServerOptions};
use weighthouse_hub::server::listen::{ListenOptions, Listener};
use weighthouse_hub::server::stack::stack;
use weighthouse_hub::server::telemetry::Metrics;

/// A running hub over a temporary folder; it stops when dropped.
#[derive(Debug)]
pub struct TestHub {
    /// Its address, without a trailing slash.
    pub base: String,
    /// Its use cases.
    pub hub: Hub,
    folder: TempDir,
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<()>>,
}

impl TestHub {
    /// Starts a hub with the defaults.
    pub async fn start() -> Self {
        Self::start_with(|_| {}, ServerOptions::default()).await
    }

    /// Starts a hub with options changed by `change`.
    pub async fn start_with(change: impl FnOnce(&mut HubOptions), server: ServerOptions) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut options = HubOptions::new(folder.path());
        change(&mut options);
        let hub = Hub::open(options).await.expect("a hub");
        let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a free port");
        let base = format!("http://{}", listener.local_address());
        let metrics = Arc::new(Metrics::new("test", 0));
        let service = stack(App::new(hub.clone(), server).routes(Arc::clone(&metrics)), metrics);
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            listener.serve(service, ListenOptions::default(), shutdown).await;
        });
        Self { base, hub, folder, stop: Some(stop), task: Some(task) }
    }

    /// Its data folder.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Adds a user and returns a token of theirs.
    pub async fn user(&self, name: &str) -> String {
        let new = NewAccount { name: name.to_owned(), ..NewAccount::default() };
        self.hub.add_user(new).await.expect("a user");
        self.token(name, Scope::Write).await
    }

    /// Another token of a user.
    pub async fn token(&self, user: &str, scope: Scope) -> String {
        let new =
            NewToken { name: "test".to_owned(), scope, repos: None, lifetime_ms: None, automated: false, value: None };
        self.hub.add_token(user, new).await.expect("a token").1
    }

    /// Stops the server and waits until it has.
    pub async fn stop(mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(task) = self.task.take() {
            task.await.expect("the server ended well");
        }
    }
}

/// Bytes that do not compress and never repeat, from a seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out
}
