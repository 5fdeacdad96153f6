//! `wh verify`

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};
use weighthouse::Error;
use weighthouse::convert::{Check, Record, Verified, verify};

use crate::exit::{Hinted, code_of};
use crate::place::Place;
use crate::progress::Bytes;
use crate::remote::RemoteFlags;
use crate::{ui, words};

/// Exit code when something is not what its record says.
const DIFFERENT: u8 = 7;

/// Arguments of `wh verify`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wh verify model.safetensors                       # are these the bytes that were written?
  wh verify model.gguf --source ./my-model          # do they come out of this source?
  wh verify ./merged --source hub:team/run@step-9000

Exit code 0 when everything is as the record says, 7 when something differs.")]
pub struct Verify {
    #[command(flatten)]
    remote: RemoteFlags,
    /// Converted file or folder, or its record
    target: PathBuf,
    /// Make the conversion again from this file, folder, or `hub:NAMESPACE/NAME[@REVISION][:PATH]`, without writing it
    #[arg(long, value_name = "SOURCE")]
    source: Option<String>,
    /// Print JSON, schema weighthouse.verify/1
    #[arg(long)]
    json: bool,
}

impl Verify {
    /// Verifies the target.
    pub async fn run(self, quiet: bool) -> anyhow::Result<()> {
        let (record, folder) = Record::find(&self.target).map_err(explain)?;
        let place = match &self.source {
            Some(source) => Some(Place::open(source, &self.remote, quiet).await?),
            None => None,
        };
        let bar = Arc::new(Bytes::new(quiet || self.json, "verifying"));
        let shown = Arc::clone(&bar);
        let work = tokio::task::spawn_blocking(move || {
            let source = place.as_ref().map(Place::source);
            let found = verify(&record, &folder, source.as_ref(), &|bytes, total| shown.add(bytes, total));
            (found, record)
        });
        let (found, record) = work.await.context("the verifying thread")?;
        bar.clear();
        let found = found.map_err(explain)?;
        if self.json {
            ui::json(&document(&found, &record))?;
        } else {
            self.show(&found, &record, quiet)?;
        }
        if found.is_right() {
            return Ok(());
        }
        let message = format!("`{}` is not what its record says", words::plain(&self.target.display().to_string()));
        Err(Hinted { message, hints: Vec::new(), code: DIFFERENT }.into())
    }

    fn show(&self, found: &Verified, record: &Record, quiet: bool) -> anyhow::Result<()> {
        let mut text = String::new();
        for (title, list) in [("written", &found.outputs), ("source", &found.inputs), ("made again", &found.again)] {
            for (path, check) in list {
                let word = match check {
                    Check::Same => "same".to_owned(),
                    Check::Missing => "missing".to_owned(),
                    Check::Differs(found) => format!("differs: {found}"),
                    _ => "unknown".to_owned(),
                };
                text += &format!("{title:<11} {:<40} {word}\n", words::plain(path));
            }
        }
        ui::data(text.trim_end())?;
        if found.is_right() && !quiet {
            ui::note(&match (&self.source, found.again.is_empty()) {
                (Some(source), false) => format!(
                    "these are the bytes that version {} wrote, and they come out of `{}` again",
                    record.version,
                    words::plain(source)
                ),
                _ => format!(
                    "these are the bytes that version {} wrote; `--source` shows that they come out of it",
                    record.version
                ),
            });
        }
        Ok(())
    }
}

fn document(found: &Verified, record: &Record) -> Value {
    let list = |checks: &[(String, Check)]| -> Vec<Value> {
        checks
            .iter()
            .map(|(path, check)| match check {
                Check::Same => json!({ "path": path, "state": "same" }),
                Check::Differs(sha256) => json!({ "path": path, "state": "differs", "sha256": sha256 }),
                _ => json!({ "path": path, "state": "missing" }),
            })
            .collect()
    };
    json!({
        "schema": "weighthouse.verify/1",
        "right": found.is_right(),
        "version": record.version,
        "outputs": list(&found.outputs),
        "inputs": list(&found.inputs),
        "again": list(&found.again),
    })
}

fn explain(error: Error) -> anyhow::Error {
    let hints = match &error {
        Error::NotFound { what: "record of a conversion", .. } => {
            vec!["`wh convert` leaves a record beside what it writes".to_owned()]
        }
        _ => Vec::new(),
    };
    Hinted { code: code_of(error.kind()), message: words::plain(&error.to_string()), hints }.into()
}
