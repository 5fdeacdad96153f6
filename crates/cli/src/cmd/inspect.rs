//! `wh inspect`

mod diagram;
mod screen;
mod tables;

use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use regex_lite::Regex;
use weighthouse::inspect::{Document, Inspection, Options, inspect};

use crate::exit::Hinted;
use crate::place::{Place, hinted};
use crate::progress::Bytes;
use crate::remote::RemoteFlags;
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

impl Inspect {
    /// Inspects the target.
    pub async fn run(self, quiet: bool) -> anyhow::Result<()> {
        let filter = self.tensors.as_deref().map(pattern).transpose()?;
        let place = Place::open(&self.target, &self.remote, quiet).await?;
        let options = {
            let mut options = Options::default();
            options.stats = self.stats;
            options.hash = self.hash;
            options
        };
        let bar = Arc::new(Bytes::new(quiet || self.json, "reading"));
        let shown = Arc::clone(&bar);
        let work = tokio::task::spawn_blocking(move || {
            let found = inspect(place.folder(), place.file(), options, &|bytes, total| shown.add(bytes, total));
            (found, place.wire_bytes())
        });
        let (found, wire_bytes) = work.await.context("the reading thread")?;
        bar.clear();
        let found = found.map_err(|error| hinted(&self.target, &error))?;
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
}

/// Reads a regular expression.
///
/// # Errors
/// When it is none, with exit code 2.
pub fn pattern(text: &str) -> anyhow::Result<Regex> {
    Regex::new(text).map_err(|error| {
        let hints =
            vec!["regular expressions match anywhere: `layers\\.0\\.` finds `model.layers.0.weight`".to_owned()];
        Hinted { message: format!("`{text}` is no regular expression: {error}"), hints, code: 2 }.into()
    })
}
