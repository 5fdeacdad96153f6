//! `wh scan`

mod screen;

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use serde::Serialize;
use weighthouse::format::Limits;
use weighthouse::scan::{RULES_VERSION, Report, Target, Verdict, Wishes, add_base, sarif, scan, trace};
use weighthouse_hub::client::StoredReport;

use crate::exit::Answer;
use crate::place::{Place, hinted};
use crate::progress::Bytes;
use crate::remote::RemoteFlags;
use crate::ui;
use crate::words::plain;

/// Arguments of `wh scan`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wh scan ./my-model
  wh scan pytorch_model.bin --trace
  wh scan checkpoint.pt --json | jq .verdict
  wh scan . --sarif > scan.sarif
  wh scan hub:team/my-model@v1.0
  wh scan ./fine-tune --base hub:team/base

Of a repository the report that the hub keeps is taken when it was made by the rules of this program, and
nothing is downloaded; --anew, --weights and --base have the files read here.

Exit codes: 0 when the verdict is `caution` or better, 3 when it is worse; `--allow` moves the line.")]
pub struct Scan {
    #[command(flatten)]
    remote: RemoteFlags,
    /// Files, folders, or `hub:NAMESPACE/NAME[@REVISION][:PATH]`
    #[arg(required = true)]
    targets: Vec<String>,
    /// Worst verdict that is no failure: safe, caution, suspicious, error or unsafe
    #[arg(long, value_name = "LEVEL", default_value = "caution")]
    allow: Verdict,
    /// Show the opcodes that lead to each finding in a pickle
    #[arg(long)]
    trace: bool,
    /// Look at the values of weights too: reads all bytes
    #[arg(long)]
    weights: bool,
    /// Compare the weights with those that they come from: a file, a folder, or a repository; reads all bytes of both
    #[arg(long, value_name = "BASE")]
    base: Option<String>,
    /// Read the files of a repository here, whatever its hub has judged
    #[arg(long)]
    anew: bool,
    /// Show what is worth knowing, not only what is worth a look
    #[arg(long)]
    all: bool,
    /// Print JSON, schema weighthouse.scan/1; one object for each target
    #[arg(long, conflicts_with_all = ["sarif", "trace"])]
    json: bool,
    /// Print SARIF 2.1.0
    #[arg(long, conflicts_with = "trace")]
    sarif: bool,
}

/// A report, where it comes from, and when and how long.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    report: &'a Report,
    /// `hub` for a report that the hub keeps, `scan` for one that was made here.
    source: &'static str,
    started: u64,
    duration_ms: u64,
}

impl Scan {
    /// Scans the targets.
    pub async fn run(self, quiet: bool) -> anyhow::Result<()> {
        let mut worst = Verdict::Safe;
        for target in &self.targets {
            worst = worst.max(self.one(target, quiet).await?);
        }
        if worst > self.allow { Err(Answer(3).into()) } else { Ok(()) }
    }

    async fn one(&self, target: &str, quiet: bool) -> anyhow::Result<Verdict> {
        let place = Place::open(target, &self.remote, quiet).await?;
        let base = match &self.base {
            Some(base) => Some(Place::open(base, &self.remote, quiet).await?),
            None => None,
        };
        let wishes = {
            let mut wishes = Wishes::default();
            wishes.weights = self.weights;
            wishes
        };
        let started =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let began = Instant::now();
        let stored = self.stored(&place, target, quiet).await;
        let source = if stored.is_some() { "hub" } else { "scan" };
        let bar = Arc::new(Bytes::new(quiet || self.json || self.sarif, "scanning"));
        let shown = Arc::clone(&bar);
        let (named, traced) = (target.to_owned(), self.trace);
        let work = tokio::task::spawn_blocking(move || {
            let mut found = match stored {
                Some(report) => Ok(report),
                None => scan(place.folder(), place.file(), &named, wishes, &|bytes, total| shown.add(bytes, total)),
            };
            if let (Ok(report), Some(base)) = (&mut found, &base)
                && let Err(error) =
                    add_base(report, (place.folder(), place.file()), (base.folder(), base.file()), &|_, _| {})
            {
                found = Err(error);
            }
            let traces = match &found {
                Ok(report) if traced => {
                    let limits = Limits::default();
                    report.findings.iter().map(|finding| trace::around(place.folder(), finding, &limits)).collect()
                }
                _ => Vec::new(),
            };
            (found, traces)
        });
        let (found, traces) = work.await.context("the scanning thread")?;
        bar.clear();
        let report = found.map_err(|error| hinted(target, &error))?;
        if self.json {
            let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            ui::document(&Document { report: &report, source, started, duration_ms })?;
        } else if self.sarif {
            ui::json(&sarif::document(&report))?;
        } else {
            ui::data(screen::show(&report, &traces, self.all || self.weights || self.base.is_some()).trim_end())?;
        }
        Ok(report.verdict)
    }

    /// The report that a hub keeps, when it says all that is asked. Says what was done, because it makes a difference who
    /// judged.
    async fn stored(&self, place: &Place, target: &str, quiet: bool) -> Option<Report> {
        let Place::Remote { folder, file } = place else { return None };
        if self.anew || self.weights || self.base.is_some() {
            return None;
        }
        let name = plain(target);
        let (report, note) = match folder.stored_report(file.as_deref()).await {
            Ok(StoredReport::Current(report)) => {
                let rules = report.rules_version;
                let note = format!("{name}: the report of the hub, by rules {rules}; --anew reads the files here");
                (Some(Report { target: Target { name: target.to_owned(), ..report.target }, ..*report }), note)
            }
            Ok(StoredReport::OtherRules(rules)) => {
                let note =
                    format!("{name}: the hub judged it by rules {rules}, not {RULES_VERSION}; reading the files here");
                (None, note)
            }
            Ok(StoredReport::Waits) => {
                (None, format!("{name}: the hub has not judged all of it; reading the files here"))
            }
            Ok(_) => (None, format!("{name}: the hub has no report on all of it; reading the files here")),
            Err(error) => {
                let error = plain(&error.to_string());
                (None, format!("{name}: the report of the hub cannot be had ({error}); reading the files here"))
            }
        };
        if !quiet {
            ui::note(&note);
        }
        report
    }
}
