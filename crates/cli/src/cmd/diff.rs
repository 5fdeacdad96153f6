//! `wh diff`

mod screen;
mod tables;

use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use regex_lite::Regex;
use weighthouse::diff::{self, Comparison, Document, Side, compare};
use weighthouse::format::Folder;
use weighthouse::format::checkpoint::Checkpoint;
use weighthouse::source::Facts;

use crate::cmd::inspect::pattern;
use crate::exit::Answer;
use crate::place::{Place, hinted};
use crate::progress::Bytes;
use crate::remote::RemoteFlags;
use crate::ui;

/// Exit code when weights differ.
const DIFFERENT: u8 = 10;
/// Columns where nobody looks.
const COLUMNS: usize = 100;

/// Arguments of `wh diff`
#[derive(Debug, Args)]
#[command(after_help = "Exit code: 0 when every weight has the same value, whatever its name, type, shard or format;
10 when weights differ.

Examples:
  wh diff ./base ./fine-tuned
  wh diff model.safetensors model-Q8_0.gguf       # is it that model, quantised?
  wh diff old.pt new.pt --tensors 'layers\\.0\\.'
  wh diff ./a ./merged --with ./c                 # a merge of a and c, and with which share?
  wh diff hub:team/model@v1 hub:team/model --json | jq -r .verdict.sentence
  wh diff ./mine hub:team/model -q > /dev/null && echo the same weights")]
pub struct Diff {
    #[command(flatten)]
    remote: RemoteFlags,
    /// What was before: file, folder, or `hub:NAMESPACE/NAME[@REVISION][:PATH]`
    a: String,
    /// What is now
    b: String,
    /// A third checkpoint that the second may be merged from
    #[arg(long, value_name = "C", alias = "base")]
    with: Option<String>,
    /// List the tensors whose names match a regular expression; `.` lists all
    #[arg(long, value_name = "REGEX")]
    tensors: Option<String>,
    /// Print JSON, schema weighthouse.diff/1
    #[arg(long)]
    json: bool,
}

impl Diff {
    /// Compares the targets.
    pub async fn run(self, quiet: bool) -> anyhow::Result<()> {
        let filter = self.tensors.as_deref().map(pattern).transpose()?;
        let mut targets = vec![self.a.clone(), self.b.clone()];
        targets.extend(self.with.clone());
        let mut places = Vec::new();
        for target in &targets {
            places.push(Place::open(target, &self.remote, quiet).await?);
        }
        let bar = Arc::new(Bytes::new(quiet || self.json, "comparing"));
        let shown = Arc::clone(&bar);
        let work = tokio::task::spawn_blocking(move || read(&places, &targets, &shown));
        let done = work.await.context("the reading thread")?;
        bar.clear();
        let (found, wire_bytes) = done?;
        if self.json {
            let with = self.with.as_deref();
            ui::document(&Document { comparison: &found, a: &self.a, b: &self.b, with, wire_bytes })?;
        } else {
            ui::data(self.show(&found, filter.as_ref()).trim_end())?;
            if let Some(bytes) = wire_bytes
                && !quiet
            {
                ui::note(&format!("{} went over the wire", ui::size(bytes)));
            }
        }
        if found.verdict.equal { Ok(()) } else { Err(Answer(DIFFERENT).into()) }
    }

    fn show(&self, found: &Comparison, filter: Option<&Regex>) -> String {
        let columns = console::Term::stdout().size_checked().map_or(COLUMNS, |(_, columns)| usize::from(columns));
        let names = [Some(self.a.as_str()), Some(self.b.as_str()), self.with.as_deref()];
        let mut text = screen::first(found, names);
        match filter {
            Some(filter) => text += &tables::tensors(found, filter),
            None => text += &tables::layers(found, columns),
        }
        text
    }
}

/// Reads and compares; the bytes that went over the wire beside it.
fn read(places: &[Place], targets: &[String], bar: &Bytes) -> anyhow::Result<(Comparison, Option<u64>)> {
    let mut checkpoints: Vec<Checkpoint> = Vec::new();
    for (place, target) in places.iter().zip(targets) {
        let found = diff::open(place.folder(), place.file());
        checkpoints.push(found.map_err(|error| hinted(target, &error))?);
    }
    let known: Vec<_> = places.iter().map(|place| |path: &str| known(place, path)).collect();
    let sides: Vec<Side<'_>> = places
        .iter()
        .zip(&checkpoints)
        .zip(&known)
        .map(|((place, checkpoint), known)| Side {
            folder: place.folder(),
            checkpoint,
            whole: place.file().is_none(),
            known,
        })
        .collect();
    let [a, b, with @ ..] = sides.as_slice() else { anyhow::bail!("two checkpoints are compared") };
    let found = compare(*a, *b, with.first().copied(), &|bytes, total| bar.add(bytes, total));
    let wire: Vec<u64> = places.iter().filter_map(Place::wire_bytes).collect();
    Ok((found, (!wire.is_empty()).then(|| wire.iter().sum())))
}

/// What tells the bytes of a file without reading them.
fn known(place: &Place, path: &str) -> Option<String> {
    match place {
        Place::Remote { .. } => Some(format!("sha256 {}", place.digest(path)?)),
        // The number of a file and the moment of its last change tell it, where files have numbers.
        Place::Local { folder, .. } if cfg!(unix) && folder.has(path) => Some(format!("file {}", folder.stamp(path))),
        Place::Local { .. } => None,
    }
}
