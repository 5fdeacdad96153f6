//! `wh adopt`

pub mod restore;
mod screen;
mod store;
mod take;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use serde::Serialize;
use weighthouse::adopt::link::{Linked, Way, link, sweep};
use weighthouse::adopt::{self, Options, Report};

use self::take::Taken;
use crate::exit::{Answer, Hinted};
use crate::place::hinted;
use crate::progress::Bytes;
use crate::remote::{RemoteFlags, hf_home, variable};
use crate::settings::Flags;
use crate::ui;

/// Exit code when something was asked for and not all of it could be done.
const INCOMPLETE: u8 = 8;

/// Arguments of `wh adopt`
#[derive(Debug, Args)]
#[command(after_help = "Without --link, --hard-link or --into nothing is changed.

Examples:
  wh adopt                                  # the caches of this machine: what is there twice?
  wh adopt ~/models ~/ggufs --json
  wh adopt ~/models --link                  # one copy of the bytes; files stay independent (btrfs, XFS)
  wh adopt --into --namespace lab           # into the local hub, private
  wh adopt ~/models --into --free --yes     # and remove what was read back; `wh pull --adopted` undoes it")]
pub struct Adopt {
    #[command(flatten)]
    flags: Flags,
    #[command(flatten)]
    remote: RemoteFlags,
    /// Folders to look at [default: the caches of Hugging Face clients and of Ollama]
    dirs: Vec<PathBuf>,
    /// Leave the tensors of different files uncompared: reads only files that have the length of another
    #[arg(long)]
    no_tensors: bool,
    /// Smallest file that is compared, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 4096)]
    min_bytes: u64,
    /// Replace identical files by reflinks, which share their bytes until one is written to
    #[arg(long)]
    link: bool,
    /// Replace identical files by hard links: whoever writes to one writes to all
    #[arg(long, conflicts_with = "link")]
    hard_link: bool,
    /// Take the models into the local hub, or into the one given with --endpoint, as private repositories
    #[arg(long)]
    into: bool,
    /// With --into: user or organisation that gets the repositories [default: oneself]
    #[arg(long, value_name = "NAME", requires = "into")]
    namespace: Option<String>,
    /// With --into: only models whose name contains a text; may be repeated
    #[arg(long, value_name = "TEXT", requires = "into")]
    model: Vec<String>,
    /// With --into: remove files of which identical bytes were read back
    #[arg(long, requires = "into")]
    free: bool,
    /// Do not ask before files are removed
    #[arg(long, requires = "free")]
    yes: bool,
    /// Print JSON, schema weighthouse.adopt/1
    #[arg(long)]
    json: bool,
}

/// All of it as JSON.
#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    #[serde(flatten)]
    report: &'a Report,
    #[serde(skip_serializing_if = "Option::is_none")]
    linked: Option<&'a Linked>,
    #[serde(skip_serializing_if = "Option::is_none")]
    adopted: Option<&'a [Taken]>,
}

impl Adopt {
    /// Looks, tells, and does what was asked for.
    pub async fn run(self, quiet: bool) -> anyhow::Result<()> {
        let roots = if self.dirs.is_empty() { standard_places()? } else { self.dirs.clone() };
        let report = Arc::new(self.look(roots, quiet).await?);
        let way = match (self.link, self.hard_link) {
            (true, _) => Some(Way::Reflink),
            (_, true) => Some(Way::HardLink),
            _ => None,
        };
        let mut incomplete = false;
        let linked = match way {
            Some(way) => Some(self.share(Arc::clone(&report), way, quiet).await?),
            None => None,
        };
        if !self.json {
            ui::data(screen::report(&report, linked.is_none() && !self.into).trim_end())?;
        }
        if let Some(linked) = &linked {
            incomplete |= !linked.problems.is_empty();
            if !self.json {
                ui::data(screen::linked(linked).trim_end())?;
            }
            if linked.unsupported {
                ui::hint("this file system has no reflinks; `--hard-link` works, but then edits show in all copies");
            }
        }
        let adopted = if self.into { Some(take::run(&self, &report, quiet).await?) } else { None };
        if let Some(adopted) = &adopted {
            incomplete |= adopted.iter().any(Taken::is_incomplete);
            if !self.json {
                ui::data(screen::adopted(adopted).trim_end())?;
            }
        }
        if self.json {
            let (linked, adopted) = (linked.as_ref(), adopted.as_deref());
            ui::document(&Document { schema: "weighthouse.adopt/1", report: &report, linked, adopted })?;
        }
        if incomplete { Err(Answer(INCOMPLETE).into()) } else { Ok(()) }
    }

    async fn look(&self, roots: Vec<PathBuf>, quiet: bool) -> anyhow::Result<Report> {
        let mut options = Options::default();
        options.min_bytes = self.min_bytes.max(1);
        options.tensors = !self.no_tensors && !self.link && !self.hard_link && !self.into;
        let silent = quiet || self.json;
        let (reading, comparing) = (Bytes::new(silent, "reading"), Bytes::new(silent, "comparing tensors"));
        let work = tokio::task::spawn_blocking(move || {
            let found = adopt::look(&roots, &options, &|n, total| reading.add(n, total), &|n, total| {
                reading.clear();
                comparing.add(n, total);
            });
            reading.clear();
            comparing.clear();
            found
        });
        let shown = self.dirs.first().map(|dir| dir.display().to_string()).unwrap_or_default();
        work.await.context("the reading thread")?.map_err(|error| hinted(&shown, &error))
    }

    async fn share(&self, report: Arc<Report>, way: Way, quiet: bool) -> anyhow::Result<Linked> {
        let bar = Bytes::new(quiet || self.json, "comparing");
        let work = tokio::task::spawn_blocking(move || {
            sweep(&report.leftovers);
            let done = link(&report.duplicates, way, &|n, total| bar.add(n, total));
            bar.clear();
            done
        });
        work.await.context("the linking thread")
    }
}

/// The caches that are there.
fn standard_places() -> anyhow::Result<Vec<PathBuf>> {
    let hf = variable("HF_HUB_CACHE").map(PathBuf::from).or_else(|| Some(hf_home(&variable)?.join("hub")));
    let home = variable("HOME").map(PathBuf::from);
    let ollama = variable("OLLAMA_MODELS").map(PathBuf::from);
    let ollama = ollama.or_else(|| Some(home.clone()?.join(".ollama/models")));
    let places = [
        hf,
        home.as_ref().map(|home| home.join(".cache/huggingface/hub")),
        ollama,
        home.as_ref().map(|home| home.join(".lmstudio/models")),
        home.as_ref().map(|home| home.join(".cache/lm-studio/models")),
    ];
    let found: Vec<PathBuf> = places.into_iter().flatten().filter(|place| place.is_dir()).collect();
    if found.is_empty() {
        let hints = vec!["name the folders that hold your models: `wh adopt DIR…`".to_owned()];
        return Err(
            Hinted { message: "no cache of models was found on this machine".to_owned(), hints, code: 4 }.into()
        );
    }
    Ok(found)
}
