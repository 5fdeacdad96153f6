//! `wh serve`

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use weighthouse::{Error, Hub, StoreError};
use weighthouse_hub::server::app::{App, ServerOptions};
use weighthouse_hub::server::listen::{ListenOptions, Listener};
use weighthouse_hub::server::stack::stack;
use weighthouse_hub::server::telemetry::Metrics;

use crate::exit::Hinted;
use crate::settings::{Flags, ServerFlags, Settings};
use crate::{logs, ui};

/// How often expired uploads are looked for.
const TIDY_EVERY: Duration = Duration::from_secs(600);
/// How long a job may take to notice that the server stops.
const WORK_ENDS: Duration = Duration::from_secs(10);
/// File in the data folder that holds the first administrator's token.
const TOKEN_FILE: &str = "admin-token";

/// Arguments of `wh serve`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wh serve
  wh serve --listen 0.0.0.0:7070 --public-url https://hub.example.org
  wh serve --database postgres://wh@db/wh --storage s3://checkpoints")]
pub struct Serve {
    #[command(flatten)]
    flags: Flags,
    #[command(flatten)]
    server: ServerFlags,
    /// Print each setting and where it comes from, then exit
    #[arg(long)]
    print_config: bool,
    /// With --print-config: print JSON
    #[arg(long)]
    json: bool,
}

impl Serve {
    /// Runs the hub until it is told to stop.
    pub async fn run(self, quiet: bool) -> anyhow::Result<()> {
        let settings = Settings::find(self.flags, self.server)?;
        if self.print_config {
            let text = if self.json { format!("{:#}", settings.json()) } else { settings.table() };
            return Ok(ui::data(&text)?);
        }
        logs::start(&settings.log, settings.log_format)?;
        let listener = Listener::bind(settings.listen).await.map_err(|error| Hinted {
            message: format!("cannot listen on {}: {error}", settings.listen),
            hints: vec!["another program may use the port: choose one with `--listen 127.0.0.1:PORT`".to_owned()],
            code: 1,
        })?;
        let hub = Hub::open(settings.hub_options(true)).await.map_err(|error| opening(error, &settings))?;
        let first = hub.first_administrator().await?;
        if let Some((_, token)) = &first {
            keep_token(&settings.data, token)?;
        }
        let started_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"), started_s));
        let mut options = ServerOptions::default();
        options.public_url.clone_from(&settings.public_url);
        options.xet_token_lifetime = settings.xet_token_lifetime;
        options.max_commit_bytes = settings.max_commit_bytes;
        let service = stack(App::new(hub.clone(), options).routes(Arc::clone(&metrics)), metrics);
        let url = settings.public_url.clone().unwrap_or_else(|| format!("http://{}", listener.local_address()));
        if quiet {
            // Nobody could log in otherwise; the token itself is not for logs.
            if let Some((admin, _)) = &first {
                let file = settings.data.join(TOKEN_FILE);
                ui::note(&format!(
                    "first start: the token of the administrator `{}` is in {}",
                    admin.name,
                    file.display()
                ));
            }
        } else {
            let token = first.as_ref().map(|(admin, token)| (admin.name.as_str(), token.as_str()));
            ui::data(&welcome(&url, &settings.data, token))?;
        }
        let tidy = tokio::spawn(tidy(hub.clone()));
        let work = tokio::spawn({
            let hub = hub.clone();
            async move { hub.work().await }
        });
        let mut listening = ListenOptions::default();
        listening.drain_timeout = settings.drain_timeout;
        let drained = listener.serve(service, listening, stop_signal()?).await;
        tidy.abort();
        hub.stop_work();
        // What is being read is given back, to be done by the next server.
        if tokio::time::timeout(WORK_ENDS, work).await.is_err() {
            tracing::warn!("stopped in the middle of a job; it will be done again");
        }
        hub.close().await;
        if drained.cut_off > 0 {
            tracing::warn!(connections = drained.cut_off, "stopped before all transfers were finished");
        }
        tracing::info!("stopped");
        Ok(())
    }
}

async fn tidy(hub: Hub) {
    loop {
        tokio::time::sleep(TIDY_EVERY).await;
        if let Err(error) = hub.tidy().await {
            tracing::warn!(%error, "clearing up failed; it will be tried again");
        }
    }
}

/// Resolves at the first SIGINT or SIGTERM.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("stopping: running transfers are finished first");
    })
}

fn opening(error: Error, settings: &Settings) -> anyhow::Error {
    let hints = match &error {
        Error::Store(StoreError::Locked { .. }) => vec![
            "stop the other `wh serve`, or choose another folder with `--data`".to_owned(),
            "to run several servers, use `--database postgres://…` and `--storage s3://…`".to_owned(),
        ],
        _ => vec![format!(
            "the data folder is `{}`; `wh serve --print-config` shows all settings",
            settings.data.display()
        )],
    };
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        message += &format!(": {error}");
        cause = error.source();
    }
    Hinted { message, hints, code: 1 }.into()
}

/// Writes the first administrator's token to a file that its owner alone can read.
pub(super) fn keep_token(data: &Path, token: &str) -> anyhow::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let path = data.join(TOKEN_FILE);
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("writing {}", path.display()))?;
    writeln!(file, "{token}")?;
    file.sync_all()?;
    Ok(())
}

fn welcome(url: &str, data: &Path, first: Option<(&str, &str)>) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut text = format!("Weighthouse {version} is ready at {url}\nIts data is in {}\n", data.display());
    let token = match first {
        Some((name, token)) => {
            text += &format!(
                "\nThis is the first start. The administrator is `{name}`, with this token, shown only once\n\
                 (it is also in {}):\n\n    {token}\n",
                data.join(TOKEN_FILE).display()
            );
            token
        }
        None => "TOKEN",
    };
    let user = first.map_or("NAME", |(name, _)| name);
    text += &format!(
        "\nOn any machine that reaches it:\n\n    \
         export HF_ENDPOINT={url}\n    \
         hf auth login --token {token}\n    \
         hf upload {user}/my-model ./my-model\n"
    );
    text
}
