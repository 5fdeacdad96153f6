//! `wh pull`

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use serde_json::json;
use weighthouse_hub::client::pull::{PullOptions, Target, pull};
use weighthouse_hub::client::{Filter, Meter};

use crate::progress::shown;
use crate::remote::{RemoteFlags, explain, hf_home, target, variable};
use crate::settings::Flags;
use crate::ui;

/// Arguments of `wh pull`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wh pull team/my-model ./my-model
  wh pull team/my-model@v1.0 ./my-model --include '*.safetensors'
  wh pull team/my-model --cache   # where transformers looks, also offline
  wh pull --adopted ./my-model    # what `wh adopt --into --free` took from there, as it was")]
pub struct Pull {
    #[command(flatten)]
    remote: RemoteFlags,
    #[command(flatten)]
    flags: Flags,
    /// Repository: NAMESPACE/NAME or NAMESPACE/NAME@REVISION; `datasets/` in front names a dataset
    #[arg(required_unless_present = "adopted")]
    repo: Option<String>,
    /// Folder to write to; what else is in it stays
    #[arg(required_unless_present_any = ["cache", "adopted"])]
    dir: Option<PathBuf>,
    /// Fill the cache of the Hugging Face clients instead of a folder [env: HF_HUB_CACHE, HF_HOME]
    #[arg(long, conflicts_with = "dir")]
    cache: bool,
    /// Bring back what `wh adopt --into --free` took from a folder, with its links, modes and times
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["repo", "dir", "cache", "revision", "include", "exclude"])]
    adopted: Option<PathBuf>,
    /// Branch, tag or commit [default: main]
    #[arg(long, value_name = "REVISION")]
    revision: Option<String>,
    /// Fetch only paths that match; `*` crosses slashes; may be repeated
    #[arg(long, value_name = "PATTERN")]
    include: Vec<String>,
    /// Leave paths out that match; may be repeated
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Connections at a time
    #[arg(long, value_name = "NUMBER", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=64))]
    streams: u8,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Pull {
    /// Fetches the repository.
    pub async fn run(self, quiet: bool) -> anyhow::Result<()> {
        if let Some(folder) = self.adopted {
            return super::adopt::restore::run(&folder, self.flags, &self.remote, quiet, self.json).await;
        }
        let (repo, revision) = target(self.repo.as_deref().unwrap_or_default(), self.revision.as_deref())?;
        let mut options = PullOptions::default();
        options.filter = Filter::new(&self.include, &self.exclude).map_err(|error| explain(error, None))?;
        options.streams = usize::from(self.streams);
        if let Some(revision) = revision {
            options.revision = revision;
        }
        let to = match self.dir {
            Some(dir) => Target::Folder(dir),
            None => Target::Cache(hf_cache()?),
        };
        let api = self.remote.open(quiet)?;
        let (meter, began) = (Meter::new(), Instant::now());
        let transfer =
            async { pull(&api, &repo, &to, &options, &meter).await.map_err(|error| explain(error, Some(&api))) };
        let done = shown(&meter, quiet || self.json, transfer).await?;
        if self.json {
            ui::json(&json!({
                "schema": "weighthouse.pull/1",
                "endpoint": api.base(),
                "repo": repo.to_string(),
                "revision": options.revision,
                "commit": done.commit.to_string(),
                "folder": done.folder.display().to_string(),
                "files": done.files,
                "files_fetched": done.files_fetched,
                "files_unchanged": done.files_unchanged,
                "size_bytes": done.bytes,
                "fetched_bytes": done.bytes_fetched,
                "wire_bytes": done.wire_bytes,
                "duration_ms": u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            }))?;
            return Ok(());
        }
        if !quiet {
            ui::note(&format!(
                "fetched {} of {} files ({}) at {}; {} went over the wire",
                done.files_fetched,
                done.files,
                ui::size(done.bytes),
                done.commit.to_string().get(..12).unwrap_or_default(),
                ui::size(done.wire_bytes)
            ));
        }
        ui::data(&done.folder.display().to_string())?;
        Ok(())
    }
}

fn hf_cache() -> anyhow::Result<PathBuf> {
    let named = variable("HF_HUB_CACHE").map(PathBuf::from);
    let cache = named.or_else(|| Some(hf_home(&variable)?.join("hub")));
    cache.context("no home folder is known on this system: set HF_HOME")
}
