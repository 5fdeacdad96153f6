//! `wh inspect`

mod diagram;
mod screen;
mod tables;
mod words;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use regex_lite::Regex;
use weighthouse::Error;
use weighthouse::format::Folder;
use weighthouse::inspect::{Document, Inspection, Options, inspect};
use weighthouse::local::LocalFolder;
use weighthouse_hub::client::RemoteFolder;

use crate::exit::Hinted;
use crate::progress::Bytes;
use crate::remote::{RemoteFlags, explain, target};
use crate::ui;

/// Arguments of `wh inspect`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wh inspect ./my-model
  wh inspect model.safetensors --tensors 'layers\\.0\\.' --stats
  wh inspect checkpoint.pt --json | jq .parameters
  wh inspect hub:team/my-model@v1.0   # reads headers only, downloads nothing
  wh inspect hub:team/my-model:model.gguf --arch")]
pub struct Inspect {
    #[command(flatten)]
    remote: RemoteFlags,
    /// File, folder, or `hub:NAMESPACE/NAME[@REVISION][:PATH]`
    target: String,
    /// List the tensors whose names match a regular expression; `.` lists all
    #[arg(long, value_name = "REGEX")]
    tensors: Option<String>,
    /// Statistics of every tensor: reads all bytes
    #[arg(long)]
    stats: bool,
    /// SHA-256 of every tensor's elements: reads all bytes
    #[arg(long)]
    hash: bool,
    /// Draw the architecture as blocks
    #[arg(long)]
    arch: bool,
    /// Print JSON, schema weighthouse.inspect/1
    #[arg(long)]
    json: bool,
}

/// Where the files are.
enum Place {
    Local { folder: LocalFolder, file: Option<String> },
    Remote { folder: RemoteFolder, file: Option<String> },
}

impl Inspect {
    /// Inspects the target.
    pub async fn run(self, quiet: bool) -> anyhow::Result<()> {
        let filter = self.tensors.as_deref().map(pattern).transpose()?;
        let place = self.place(quiet).await?;
        let options = {
            let mut options = Options::default();
            options.stats = self.stats;
            options.hash = self.hash;
            options
        };
        let bar = Arc::new(Bytes::new(quiet || self.json));
        let shown = Arc::clone(&bar);
        let work = tokio::task::spawn_blocking(move || {
            let (folder, file): (&dyn Folder, _) = match &place {
                Place::Local { folder, file } => (folder, file.as_deref()),
                Place::Remote { folder, file } => (folder, file.as_deref()),
            };
            let found = inspect(folder, file, options, &|bytes, total| shown.add(bytes, total));
            let wire_bytes = match &place {
                Place::Remote { folder, .. } => Some(folder.wire_bytes()),
                Place::Local { .. } => None,
            };
            (found, wire_bytes)
        });
        let (found, wire_bytes) = work.await.context("the reading thread")?;
        bar.clear();
        let found = found.map_err(|error| self.explain(error))?;
        if self.json {
            ui::document(&Document { inspection: &found, target: &self.target, wire_bytes })?;
            return Ok(());
        }
        ui::data(self.show(&found, filter.as_ref()).trim_end())?;
        if let Some(bytes) = wire_bytes
            && !quiet
        {
            ui::note(&format!("{} of {} went over the wire", ui::size(bytes), ui::size(found.checkpoint.size_bytes())));
        }
        Ok(())
    }

    fn show(&self, found: &Inspection, filter: Option<&Regex>) -> String {
        let mut text = screen::first(found, &self.target);
        if self.arch {
            text += &diagram::draw(found);
        } else if filter.is_none() && !self.stats && !self.hash {
            text += &screen::modules(found);
        }
        if filter.is_some() || self.stats || self.hash {
            text += &tables::tensors(found, filter);
        }
        text
    }

    async fn place(&self, quiet: bool) -> anyhow::Result<Place> {
        if let Some(rest) = self.target.strip_prefix("hub:") {
            let (repo, file) = match rest.split_once(':') {
                Some((repo, file)) => (repo, Some(file.trim_start_matches('/').to_owned())),
                None => (rest, None),
            };
            let (repo, revision) = target(repo, None)?;
            let api = self.remote.open(quiet)?;
            let revision = revision.unwrap_or_else(|| "main".to_owned());
            let folder = RemoteFolder::open(&api, &repo, &revision).await;
            let folder = folder.map_err(|error| explain(error, Some(&api)))?;
            return Ok(Place::Remote { folder, file: file.filter(|file| !file.is_empty()) });
        }
        let path = PathBuf::from(&self.target);
        if path.is_dir() {
            let folder = LocalFolder::open(&path).map_err(|error| self.explain(error))?;
            return Ok(Place::Local { folder, file: None });
        }
        let (folder, file) = LocalFolder::of_file(&path).map_err(|error| self.explain(error))?;
        Ok(Place::Local { folder, file: Some(file) })
    }

    /// An error with a way out.
    fn explain(&self, error: Error) -> anyhow::Error {
        let mut hints = Vec::new();
        if matches!(error, Error::NotFound { .. }) && looks_like_a_repository(&self.target) {
            hints.push(format!("for a repository of a hub write `wh inspect hub:{}`", words::plain(&self.target)));
        } else if matches!(error, Error::Malformed(_)) && Path::new(&self.target).is_file() {
            hints.push("the file is damaged, or of a format that `wh` does not know".to_owned());
        }
        Hinted { code: crate::exit::code_of(error.kind()), message: words::plain(&error.to_string()), hints }.into()
    }
}

fn pattern(text: &str) -> anyhow::Result<Regex> {
    Regex::new(text).map_err(|error| {
        let hints =
            vec!["regular expressions match anywhere: `layers\\.0\\.` finds `model.layers.0.weight`".to_owned()];
        Hinted { message: format!("`{text}` is no regular expression: {error}"), hints, code: 2 }.into()
    })
}

fn looks_like_a_repository(target: &str) -> bool {
    let bare = target.split(['@', ':']).next().unwrap_or(target);
    bare.matches('/').count() == 1 && !bare.starts_with(['.', '/', '~'])
}
