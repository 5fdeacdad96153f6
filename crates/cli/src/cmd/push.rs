//! `wh push`

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde_json::json;
use weighthouse_hub::client::push::{PushOptions, Pushed, push};
use weighthouse_hub::client::{Filter, Meter};

use crate::progress::shown;
use crate::remote::{RemoteFlags, cache, explain, own, target, variable};
use crate::ui;

/// Arguments of `wh push`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wh push ./my-model team/my-model --create
  wh push . team/my-model@dev -m 'Step 4000' --include '*.safetensors' --include '*.json'
  wh push . team/my-model --exclude 'checkpoints/' --json")]
pub struct Push {
    #[command(flatten)]
    remote: RemoteFlags,
    /// Folder to send
    dir: PathBuf,
    /// Repository: NAMESPACE/NAME or NAMESPACE/NAME@BRANCH; `datasets/` in front names a dataset
    repo: String,
    /// Branch to commit to; made if it does not exist [default: main]
    #[arg(long, value_name = "BRANCH")]
    revision: Option<String>,
    /// First line of the commit message
    #[arg(long, short, value_name = "TEXT")]
    message: Option<String>,
    /// Send only paths that match; `*` crosses slashes; may be repeated
    #[arg(long, value_name = "PATTERN")]
    include: Vec<String>,
    /// Leave paths out that match; may be repeated
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Create the repository if it does not exist
    #[arg(long)]
    create: bool,
    /// With --create: let only members of the namespace see it
    #[arg(long, requires = "create")]
    private: bool,
    /// Send what links lead to, even outside of the folder
    #[arg(long)]
    follow_links: bool,
    /// Uploads at a time; each takes 32 MiB of memory
    #[arg(long, value_name = "NUMBER", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=64))]
    parallel: u8,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Push {
    /// Sends the folder.
    pub async fn run(self, quiet: bool) -> anyhow::Result<()> {
        let (repo, revision) = target(&self.repo, self.revision.as_deref())?;
        let filter = Filter::new(&self.include, &self.exclude).map_err(|error| explain(error, None))?;
        let api = self.remote.open(quiet)?;
        let repo = own(&api, repo).await?;
        let mut options = PushOptions::default();
        if let Some(revision) = revision {
            options.revision = revision;
        }
        if let Some(message) = self.message {
            (options.title, options.description) = match message.split_once('\n') {
                Some((title, description)) => (title.to_owned(), description.trim().to_owned()),
                None => (message, String::new()),
            };
        }
        options.filter = filter;
        options.create = self.create.then_some(self.private);
        options.cache = cache(&variable);
        options.parallel = usize::from(self.parallel);
        options.links_out = self.follow_links;
        let (meter, began) = (Meter::new(), Instant::now());
        let transfer =
            async { push(&api, &self.dir, &repo, &options, &meter).await.map_err(|error| explain(error, Some(&api))) };
        let done = shown(&meter, quiet || self.json, transfer).await?;
        if self.json {
            ui::json(&json!({
                "schema": "weighthouse.push/1",
                "endpoint": api.base(),
                "repo": repo.to_string(),
                "revision": options.revision,
                "commit": done.commit,
                "commit_url": done.commit_url,
                "commits": done.commits,
                "files": done.files,
                "files_sent": done.files_sent,
                "files_unchanged": done.files_unchanged,
                "files_ignored": done.files_ignored,
                "size_bytes": done.bytes,
                "new_bytes": done.new_bytes,
                "reused_bytes": done.reused_bytes,
                "wire_bytes": done.wire_bytes,
                "duration_ms": u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            }))?;
            return Ok(());
        }
        if !quiet {
            ui::note(&sentence(&done));
        }
        if let Some(url) = done.commit_url.or(done.commit) {
            ui::data(&url)?;
        }
        Ok(())
    }
}

fn sentence(done: &Pushed) -> String {
    if done.commits == 0 {
        return format!("nothing to do: the hub has all {} files ({})", done.files, ui::size(done.bytes));
    }
    let mut text = format!(
        "committed {} of {} files ({}); {} went over the wire",
        done.files_sent,
        done.files,
        ui::size(done.bytes),
        ui::size(done.wire_bytes)
    );
    if done.commits > 1 {
        text += &format!(", in {} commits", done.commits);
    }
    text
}
