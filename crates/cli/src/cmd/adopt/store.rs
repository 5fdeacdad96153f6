//! The local hub for one command: opened from its data folder and served to this process alone, unless a server has it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use weighthouse::account::NewToken;
use weighthouse::adopt::record::Whereabouts;
use weighthouse::{AccountKind, Error, Hub, Scope, StoreError};
use weighthouse_hub::client::{Api, ApiOptions};
use weighthouse_hub::server::app::{App, ServerOptions};
use weighthouse_hub::server::listen::{ListenOptions, Listener};
use weighthouse_hub::server::stack::stack;
use weighthouse_hub::server::telemetry::Metrics;

use crate::cmd::serve::keep_token;
use crate::exit::Hinted;
use crate::remote::{RemoteFlags, explain, variable};
use crate::settings::{Flags, LogFormat, ServerFlags, Settings};
use crate::{logs, ui};

/// How long the token of one command is good for, in milliseconds.
const TOKEN_LIFETIME_MS: i64 = 7 * 24 * 3_600_000;

/// A hub, and how to find it again.
pub struct Open {
    /// The hub.
    pub api: Api,
    /// For the record.
    pub hub: Whereabouts,
    local: Option<Local>,
}

/// What runs in this process.
struct Local {
    hub: Hub,
    token: String,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Open {
    /// Opens the hub at `--endpoint` or `WH_ENDPOINT`, or the data folder, or if a server has that, the hub of `wh login`.
    ///
    /// # Errors
    /// When none of them can be opened.
    pub async fn find(flags: Flags, remote: &RemoteFlags, quiet: bool) -> anyhow::Result<Self> {
        if remote.endpoint.is_some() || variable("WH_ENDPOINT").is_some() {
            return Self::remote(remote, quiet);
        }
        let settings = Settings::find(flags, ServerFlags::default())?;
        let level = variable("WH_LOG").unwrap_or_else(|| if quiet { "error" } else { "warn" }.to_owned());
        logs::start(&level, LogFormat::Text)?;
        match Hub::open(settings.hub_options(true)).await {
            Ok(hub) => Self::local(hub, &settings).await,
            Err(Error::Store(StoreError::Locked { .. })) => Self::remote(remote, quiet),
            Err(error) => {
                let hints = vec![format!("the data folder is `{}`; `--data` names another", settings.data.display())];
                Err(Hinted { message: error.to_string(), hints, code: 1 }.into())
            }
        }
    }

    /// Opens the hub that the flags, the environment or `wh login` choose.
    ///
    /// # Errors
    /// When the address or the token makes no sense.
    pub fn remote(remote: &RemoteFlags, quiet: bool) -> anyhow::Result<Self> {
        let api = remote.open(quiet)?;
        let hub = Whereabouts::Endpoint(api.base().to_owned());
        Ok(Self { api, hub, local: None })
    }

    async fn local(hub: Hub, settings: &Settings) -> anyhow::Result<Self> {
        if let Some((admin, token)) = hub.first_administrator().await? {
            keep_token(&settings.data, &token)?;
            let file = settings.data.join("admin-token");
            ui::note(&format!(
                "made a hub in {}; the token of `{}` is in {}",
                settings.data.display(),
                admin.name,
                file.display()
            ));
        }
        let users = hub.accounts(AccountKind::User).await?;
        let Some(admin) = users.iter().find(|user| user.admin).or(users.first()) else {
            anyhow::bail!("the hub has no users: add one with `wh admin user add`");
        };
        let scope = if admin.admin { Scope::Admin } else { Scope::Write };
        let new = NewToken {
            name: "wh adopt".to_owned(),
            scope,
            repos: None,
            automated: false,
            lifetime_ms: Some(TOKEN_LIFETIME_MS),
            value: None,
        };
        let (token, secret) = hub.add_token(&admin.name, new).await?;
        let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let base = format!("http://{}", listener.local_address());
        let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"), 0));
        let service = stack(App::new(hub.clone(), ServerOptions::default()).routes(Arc::clone(&metrics)), metrics);
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            listener.serve(service, ListenOptions::default(), shutdown).await;
        });
        let mut options = ApiOptions::new(base);
        options.token = Some(secret);
        let api = Api::new(options).map_err(|error| explain(error, None))?;
        let local = Local { hub, token: token.id, stop, task };
        Ok(Self { api, hub: Whereabouts::Data(shown(&settings.data)), local: Some(local) })
    }

    /// Lets go of what was opened.
    pub async fn close(self) {
        let Some(local) = self.local else { return };
        // The token would expire anyway.
        let _ = local.hub.revoke_token(&local.token).await;
        let _ = local.stop.send(());
        let _ = local.task.await;
        local.hub.close().await;
    }
}

/// A data folder by its real name.
pub fn shown(data: &Path) -> String {
    data.canonicalize().unwrap_or_else(|_| data.to_owned()).display().to_string()
}
