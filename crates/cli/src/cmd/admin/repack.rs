//! `wh admin repack`: where the coding of stored files stands, and the orders that it takes.
//!
//! A running server sees orders in the catalog and does the work. Where none runs, `--wait` does it here.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use weighthouse::repack::{RepackPolicy, RepackStatus};
use weighthouse::{Error, Hub, StoreError};

use super::Answer;
use crate::exit::Hinted;
use crate::progress::Bytes;
use crate::settings::Settings;
use crate::ui;

/// How often the work of others is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Arguments of `wh admin repack`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wh admin repack --status
  wh admin repack --all --wait
  wh admin repack --pause")]
pub struct Repack {
    /// Show where it stands; this is what happens without other options
    #[arg(long, conflicts_with_all = ["all", "pause", "resume", "wait"])]
    status: bool,
    /// Ask for all commits, not only for new ones: files that were coded already are left alone
    #[arg(long)]
    all: bool,
    /// With --all: look at coded files again, too
    #[arg(long, requires = "all")]
    again: bool,
    /// Stop within seconds and wait until --resume; what is done stays done
    #[arg(long, conflicts_with_all = ["resume", "wait"])]
    pause: bool,
    /// Go on after --pause
    #[arg(long)]
    resume: bool,
    /// Wait until nothing is left to do; where no server runs, do it
    #[arg(long)]
    wait: bool,
}

impl Repack {
    /// Carries out the orders and says where repacking stands afterwards.
    pub async fn run(self, hub: Hub, settings: &Settings, quiet: bool) -> anyhow::Result<Answer> {
        if self.status {
            return Ok(answer(&hub.repack_status().await?));
        }
        if self.pause || self.resume {
            hub.pause_repack(self.pause).await?;
        }
        if self.all {
            let commits = hub.repack_all(self.again).await?;
            if !quiet {
                ui::note(&format!("{commits} commits are to be looked at"));
            }
        }
        if self.wait {
            return wait(&hub, settings, quiet).await;
        }
        Ok(answer(&hub.repack_status().await?))
    }
}

/// Waits until nothing is left to do, and does it unless a server runs.
async fn wait(hub: &Hub, settings: &Settings, quiet: bool) -> anyhow::Result<Answer> {
    let status = hub.repack_status().await?;
    if status.is_paused {
        return Err(Hinted {
            message: "repacking is paused".to_owned(),
            hints: vec!["let it go on: wh admin repack --resume --wait".to_owned()],
            code: 5,
        }
        .into());
    }
    let status = match Hub::open(settings.hub_options(true)).await {
        Ok(own) => {
            if settings.repack == RepackPolicy::Off {
                return Err(is_off("the settings say `repack = off`"));
            }
            let done = work(&own, quiet).await;
            own.close().await;
            done?
        }
        Err(Error::Store(StoreError::Locked { .. })) => {
            if status.policy == Some(RepackPolicy::Off) {
                return Err(is_off("the running server was started with `--repack off`"));
            }
            watch(hub, quiet).await?
        }
        Err(error) => return Err(error.into()),
    };
    if status.failed > 0 {
        let reason = status.troubles.first().map_or("the log of the server says why", |trouble| trouble.error.as_str());
        return Err(Hinted {
            message: format!("{} commits could not be coded: {reason}", status.failed),
            hints: vec![
                "files stay as they were and are served as before".to_owned(),
                "try again when the cause is gone: wh admin repack --all --wait".to_owned(),
            ],
            code: 8,
        }
        .into());
    }
    Ok(answer(&status))
}

fn is_off(why: &str) -> anyhow::Error {
    let hints = vec!["set it to `light` or `full`, by `--repack`, WH_REPACK or the settings file".to_owned()];
    Hinted { message: format!("nothing would be done: {why}"), hints, code: 5 }.into()
}

/// Does everything that waits, here.
async fn work(hub: &Hub, quiet: bool) -> anyhow::Result<RepackStatus> {
    let work = async {
        loop {
            while hub.repack_once().await? {}
            let status = hub.repack_status().await?;
            if status.is_idle() || status.is_paused {
                return Ok::<_, Error>(status);
            }
            // What failed is due again later.
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::select! {
        done = work => Ok(done?),
        seen = watch(hub, quiet) => seen,
        _ = tokio::signal::ctrl_c() => {
            let hints = vec!["run the same command again: it goes on where it was".to_owned()];
            Err(Hinted { message: "interrupted".to_owned(), hints, code: 130 }.into())
        }
    }
}

/// Shows how far the work is until nothing is left.
async fn watch(hub: &Hub, quiet: bool) -> anyhow::Result<RepackStatus> {
    let mut bar: Option<(String, Bytes, u64)> = None;
    loop {
        let status = hub.repack_status().await?;
        match &status.progress {
            Some(progress) => {
                let commit = progress.commit.to_string();
                if bar.as_ref().is_none_or(|(shown, ..)| *shown != commit) {
                    bar.take().inspect(|(_, bar, _)| bar.clear());
                    bar = Some((commit, Bytes::new(quiet, "coding"), 0));
                }
                if let Some((_, bar, shown)) = &mut bar {
                    bar.add(progress.done_bytes.saturating_sub(*shown), progress.total_bytes);
                    *shown = progress.done_bytes.max(*shown);
                }
            }
            None => {
                bar.take().inspect(|(_, bar, _)| bar.clear());
            }
        }
        if status.is_idle() {
            return Ok(status);
        }
        if status.is_paused && status.running == 0 {
            return Err(Hinted {
                message: "repacking was paused".to_owned(),
                hints: vec!["let it go on: wh admin repack --resume --wait".to_owned()],
                code: 5,
            }
            .into());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn answer(status: &RepackStatus) -> Answer {
    Answer { text: text(status), json: document(status), code: 0 }
}

fn text(status: &RepackStatus) -> String {
    let mut lines = Vec::new();
    let mut line = |label: &str, value: String| lines.push(format!("{label:<14} {value}"));
    line(
        "policy",
        status.policy.map_or_else(|| "none yet: no server has started".to_owned(), |policy| policy.to_string()),
    );
    let state = match (&status.progress, status.is_paused) {
        (_, true) => "paused".to_owned(),
        (Some(at), _) => {
            let commit = at.commit.to_string();
            let commit = commit.get(..7).unwrap_or(&commit);
            format!("{} at {commit}: {} of {}", at.repo, ui::size(at.done_bytes), ui::size(at.total_bytes))
        }
        (None, _) if status.is_idle() => "nothing to do".to_owned(),
        (None, _) => "waiting".to_owned(),
    };
    line("state", state);
    line(
        "commits",
        format!("{} waiting, {} running, {} given up", status.unread + status.waiting, status.running, status.failed),
    );
    line("xorbs", format!("{}, of which {} were looked at and {} are coded", status.xorbs, status.seen, status.coded));
    line("bytes", sizes(status.raw_bytes, status.stored_bytes));
    for codec in &status.codecs {
        line(&format!("  {}", codec.codec), sizes(codec.raw_bytes, codec.stored_bytes));
    }
    for trouble in &status.troubles {
        line("trouble", format!("{}: {}", trouble.subject, trouble.error));
    }
    lines.join("\n")
}

fn sizes(raw: u64, stored: u64) -> String {
    let share = if raw == 0 { 100.0 } else { stored as f64 * 100.0 / raw as f64 };
    format!("{} as {} ({share:.1} %)", ui::size(raw), ui::size(stored))
}

fn document(status: &RepackStatus) -> Value {
    let progress = status.progress.as_ref().map(|at| {
        json!({
            "repo": at.repo, "commit": at.commit.to_string(), "done_bytes": at.done_bytes, "total_bytes": at.total_bytes,
        })
    });
    let codecs = status
        .codecs
        .iter()
        .map(|codec| json!({ "codec": codec.codec, "raw_bytes": codec.raw_bytes, "stored_bytes": codec.stored_bytes }));
    let troubles = status
        .troubles
        .iter()
        .map(|trouble| json!({ "subject": trouble.subject, "attempts": trouble.attempts, "error": trouble.error }));
    json!({
        "schema": "weighthouse.repack/1",
        "policy": status.policy.map(RepackPolicy::as_str),
        "paused": status.is_paused,
        "commits": {
            "unread": status.unread, "waiting": status.waiting, "running": status.running, "failed": status.failed,
        },
        "progress": progress,
        "xorbs": { "total": status.xorbs, "seen": status.seen, "coded": status.coded },
        "raw_bytes": status.raw_bytes,
        "stored_bytes": status.stored_bytes,
        "codecs": codecs.collect::<Vec<_>>(),
        "troubles": troubles.collect::<Vec<_>>(),
    })
}
