//! `wh pull --adopted`: what was freed, as it was.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::json;
use tokio::runtime::Handle;
use weighthouse::Error;
use weighthouse::adopt::Problems;
use weighthouse::adopt::record::{Freed, Record, Whereabouts, quoted};
use weighthouse::adopt::restore::{Restored, restore};
use weighthouse_hub::client::{ClientError, RemoteFolder, RepoRef};

use super::store::{self, Open};
use crate::exit::{Answer, Hinted};
use crate::progress::Bytes;
use crate::remote::RemoteFlags;
use crate::settings::{Flags, ServerFlags, Settings};
use crate::{ui, words};

/// Brings everything back that the record of a folder names.
pub async fn run(folder: &Path, flags: Flags, remote: &RemoteFlags, quiet: bool, json: bool) -> anyhow::Result<()> {
    let folder = folder.canonicalize().with_context(|| format!("opening the folder {}", folder.display()))?;
    let mut record = Record::read(&folder)?;
    if record.models.is_empty() {
        let message = format!("`{}` has no record of anything that was freed", folder.display());
        let hints = vec!["`wh adopt --into --free` writes one beside what it removes".to_owned()];
        return Err(Hinted { message, hints, code: 4 }.into());
    }
    let bar = std::sync::Arc::new(Bytes::new(quiet || json, "bringing back"));
    let mut done = Restored::default();
    let models = record.models.clone();
    let total = models.iter().flat_map(|model| &model.files).map(|file| file.size_bytes).sum();
    // One hub after the other: a data folder can be open only once.
    let mut hubs: Vec<&Whereabouts> = Vec::new();
    models.iter().for_each(|model| {
        if !hubs.contains(&&model.hub) {
            hubs.push(&model.hub)
        }
    });
    let mut left = Vec::new();
    for hub in hubs {
        let open = find(hub, &flags, remote, quiet).await?;
        for model in models.iter().filter(|model| model.hub == *hub) {
            let shown = std::sync::Arc::clone(&bar);
            let restored = one(&open, &folder, model, total, shown).await;
            match restored {
                Ok(restored) => {
                    if !restored.problems.is_empty() {
                        left.push(model.clone());
                    }
                    add(&mut done, restored);
                }
                Err(error) => {
                    done.problems.add(&folder, format!("`{}`: {error}", words::plain(&model.repo)));
                    left.push(model.clone());
                }
            }
        }
        open.close().await;
    }
    bar.clear();
    record.models = left;
    record.write(&folder)?;
    tell(&folder, &done, quiet, json)?;
    if done.problems.is_empty() { Ok(()) } else { Err(Answer(super::INCOMPLETE).into()) }
}

/// Opens the hub that the record names, if it is the one that would be used anyway: whoever wrote the record does not
/// decide where tokens go, or which data folder is opened.
async fn find(hub: &Whereabouts, flags: &Flags, remote: &RemoteFlags, quiet: bool) -> anyhow::Result<Open> {
    let (named, used, flag) = match hub {
        Whereabouts::Endpoint(named) => {
            let open = Open::remote(remote, quiet)?;
            if remote.endpoint.is_some() || open.hub == *hub {
                return Ok(open);
            }
            (named, open.api.base().to_owned(), "--endpoint")
        }
        Whereabouts::Data(named) => {
            let used = store::shown(&Settings::find(flags.clone(), ServerFlags::default())?.data);
            if remote.endpoint.is_some() || flags.data.is_some() || used == *named {
                return Open::find(flags.clone(), remote, quiet).await;
            }
            (named, used, "--data")
        }
    };
    let message =
        format!("the record names the hub `{}`, and `{}` is in use", words::plain(named), words::plain(&used));
    let hint = format!("if you trust it, run the same command with `{flag} {}`", words::plain(&quoted(named)));
    Err(Hinted { message, hints: vec![hint], code: 5 }.into())
}

async fn one(
    open: &Open,
    folder: &Path,
    model: &Freed,
    total: u64,
    bar: std::sync::Arc<Bytes>,
) -> anyhow::Result<Restored> {
    let repo: RepoRef = model.repo.parse().map_err(|error: ClientError| anyhow::anyhow!("{error}"))?;
    let (api, runtime) = (open.api.clone(), Handle::current());
    let (folder, model): (PathBuf, Freed) = (folder.to_owned(), model.clone());
    let work = tokio::task::spawn_blocking(move || {
        let mut commit = |name: &str| {
            let opened = runtime.block_on(RemoteFolder::open(&api, &repo, name));
            opened.map_err(|error| Error::Malformed(error.to_string()))
        };
        restore(&folder, &model, &mut commit, &|bytes| bar.add(bytes, total))
    });
    Ok(work.await.context("the writing thread")??)
}

fn add(done: &mut Restored, other: Restored) {
    done.files += other.files;
    done.size_bytes += other.size_bytes;
    done.unchanged += other.unchanged;
    done.links += other.links;
    done.problems.extend(other.problems);
}

fn tell(folder: &Path, done: &Restored, quiet: bool, json: bool) -> anyhow::Result<()> {
    if json {
        let mut document = json!({ "schema": "weighthouse.restored/1", "folder": folder.display().to_string() });
        if let (Some(document), serde_json::Value::Object(fields)) =
            (document.as_object_mut(), serde_json::to_value(done)?)
        {
            document.extend(fields);
        }
        return Ok(ui::json(&document)?);
    }
    problems(&done.problems);
    if !quiet {
        let unchanged = if done.unchanged > 0 { format!("; {} were there", done.unchanged) } else { String::new() };
        ui::note(&format!(
            "brought back {} files ({}) and {} links{unchanged}",
            done.files,
            ui::size(done.size_bytes),
            done.links
        ));
    }
    Ok(ui::data(&words::plain(&folder.display().to_string()))?)
}

/// One line for each problem, on stderr.
pub fn problems(problems: &Problems) {
    for problem in &problems.lines {
        ui::note(&format!("{}: {}", words::plain(&problem.path), words::plain(&problem.message)));
    }
    let more = problems.count.saturating_sub(problems.lines.len() as u64);
    if more > 0 {
        ui::note(&format!("… and {more} more"));
    }
}
