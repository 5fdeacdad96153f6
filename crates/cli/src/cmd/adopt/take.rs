//! `wh adopt --into`: models to a hub, and off the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde::Serialize;
use weighthouse::adopt::content::Content;
use weighthouse::adopt::free::{Destination, Outcome, free};
use weighthouse::adopt::{Layout, Model, Problem, Report};
use weighthouse::{RepoKind, names};
use weighthouse_hub::client::adopt::{Adopted, take};
use weighthouse_hub::client::{ClientError, Meter, RepoRef};

use super::Adopt;
use super::store::Open;
use crate::exit::Hinted;
use crate::progress::{Bytes, shown};
use crate::remote::{cache, explain, variable};
use crate::ui;

/// What came of one model.
#[derive(Debug, Default, Serialize)]
pub struct Taken {
    /// Name of the model.
    pub name: String,
    /// Folder that it lies in.
    pub folder: String,
    /// Repository.
    pub repo: String,
    /// Commit by branch.
    pub commits: BTreeMap<String, String>,
    /// Files that were read back and compared.
    pub verified_files: u64,
    /// Their bytes.
    pub verified_bytes: u64,
    /// Bytes that went to the hub.
    pub wire_bytes: u64,
    /// What to type to have back what was removed.
    pub restore: Option<String>,
    /// What was removed, if that was asked for.
    pub freed: Option<Outcome>,
    /// What could not be taken.
    pub problems: Vec<Problem>,
    /// Why nothing of it was taken.
    pub failure: Option<String>,
}

impl Taken {
    /// Whether anything stayed behind.
    pub fn is_incomplete(&self) -> bool {
        self.failure.is_some()
            || !self.problems.is_empty()
            || self.freed.as_ref().is_some_and(|freed| !freed.problems.is_empty())
    }
}

/// Takes the models of a report.
pub async fn run(asked: &Adopt, report: &Report, quiet: bool) -> anyhow::Result<Vec<Taken>> {
    let wanted =
        |model: &&Model| asked.model.is_empty() || asked.model.iter().any(|text| model.name.contains(text.as_str()));
    let models: Vec<&Model> = report.models.iter().filter(wanted).collect();
    if models.is_empty() {
        let hints = vec!["`wh adopt DIR…` lists the models that it finds".to_owned()];
        return Err(Hinted { message: "there is no model to take".to_owned(), hints, code: 4 }.into());
    }
    if asked.free && !asked.yes {
        ask(&models)?;
    }
    let open = Open::find(asked.flags.clone(), &asked.remote, quiet).await?;
    let done = all(asked, &models, &open, quiet || asked.json).await;
    open.close().await;
    done
}

/// A model that the hub has.
struct Held {
    content: Content,
    adopted: Adopted,
    to: Destination,
}

async fn all(asked: &Adopt, models: &[&Model], open: &Open, silent: bool) -> anyhow::Result<Vec<Taken>> {
    let namespace = match &asked.namespace {
        Some(namespace) => namespace.clone(),
        None => open.api.whoami().await.map_err(|error| explain(error, Some(&open.api)))?.name,
    };
    names::check_account(&namespace).context("the namespace")?;
    let notes = cache(&variable);
    let (mut results, mut held, mut used) = (Vec::new(), Vec::new(), BTreeSet::new());
    for model in models {
        let mut result =
            Taken { name: model.name.clone(), folder: model.folder.display().to_string(), ..Taken::default() };
        match one(model, &namespace, open, notes.clone(), &mut used, silent).await {
            Ok(taken) => {
                result.repo.clone_from(&taken.to.repo);
                result.commits.clone_from(&taken.adopted.commits);
                result.verified_files = taken.adopted.files;
                result.verified_bytes = taken.adopted.bytes;
                result.wire_bytes = taken.adopted.wire_bytes;
                result.problems.clone_from(&taken.adopted.problems.lines);
                held.push((results.len(), taken));
            }
            Err(Failure::This(message)) => result.failure = Some(message),
            Err(Failure::All(error)) => return Err(error),
        }
        results.push(result);
    }
    if asked.free {
        for (number, outcome) in remove(held, silent).await? {
            let Some(result) = results.get_mut(number) else { continue };
            match outcome {
                Ok(outcome) => {
                    result.restore = (outcome.files > 0).then(|| open.hub.command(Path::new(&result.folder)));
                    result.freed = Some(outcome);
                }
                Err(message) => result.failure = Some(message),
            }
        }
    }
    Ok(results)
}

/// A failure of this model, or one that the others would meet too.
enum Failure {
    This(String),
    All(anyhow::Error),
}

async fn one(
    model: &Model,
    namespace: &str,
    open: &Open,
    notes: Option<PathBuf>,
    used: &mut BTreeSet<String>,
    silent: bool,
) -> Result<Held, Failure> {
    let owned = model.clone();
    let content = tokio::task::spawn_blocking(move || Content::of(&owned)).await;
    let content = content.map_err(|error| Failure::All(error.into()))?;
    let kind = if model.dataset { RepoKind::Dataset } else { RepoKind::Model };
    // Two folders may be called the same.
    let name = (1..).map(|number| if number == 1 { model.name.clone() } else { format!("{}_{number}", model.name) });
    let id = name.map(|name| format!("{namespace}/{name}")).find(|id| used.insert(format!("{kind}{id}")));
    let repo = RepoRef::new(kind, id.unwrap_or_default()).map_err(|error| Failure::This(error.to_string()))?;
    if content.revisions.is_empty() {
        return Err(Failure::This("no file of it can be taken".to_owned()));
    }
    let meter = Meter::new();
    let transfer = async { Ok(take(&open.api, &content, &repo, notes, &meter).await) };
    let taken = shown(&meter, silent, transfer).await.map_err(Failure::All)?;
    match taken {
        Ok(adopted) => Ok(Held { content, adopted, to: Destination { repo: repo.to_string(), hub: open.hub.clone() } }),
        Err(error) if for_all(&error) => Err(Failure::All(explain(error, Some(&open.api)))),
        Err(error) => Err(Failure::This(error.to_string())),
    }
}

/// Whether the next model would fail likewise.
fn for_all(error: &ClientError) -> bool {
    use weighthouse::ErrorKind::{Denied, Full};
    matches!(error, ClientError::Connection { .. } | ClientError::Stalled { .. })
        || matches!(error.kind(), Denied | Full)
}

type Outcomes = Vec<(usize, Result<Outcome, String>)>;

/// Removes what was proven. A blob of Ollama goes with the first of its models, and only if all of them were taken.
async fn remove(held: Vec<(usize, Held)>, silent: bool) -> anyhow::Result<Outcomes> {
    let proven: BTreeSet<(PathBuf, String)> = held
        .iter()
        .flat_map(|(_, held)| held.adopted.proofs.keys().map(|path| (held.content.folder.clone(), path.clone())))
        .collect();
    let bar = Bytes::new(silent, "comparing once more");
    let work = tokio::task::spawn_blocking(move || {
        let total = held.iter().map(|(_, held)| held.adopted.bytes).sum();
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let now_ms = i64::try_from(now_ms).unwrap_or(i64::MAX);
        let mut kept: BTreeMap<PathBuf, BTreeSet<String>> = BTreeMap::new();
        let mut done = Vec::new();
        for (number, held) in &held {
            let content = &held.content;
            let keep = kept.entry(content.folder.clone()).or_insert_with(|| match content.model.layout {
                Layout::Ollama => needed_by_others(&content.folder, &proven),
                _ => BTreeSet::new(),
            });
            let freed = free(content, &held.adopted.proofs, keep, &held.to, now_ms, &|n| bar.add(n, total));
            // What went with this one is not looked for again.
            keep.extend(held.adopted.proofs.keys().cloned());
            done.push((*number, freed.map_err(|error| error.to_string())));
        }
        bar.clear();
        done
    });
    work.await.context("the removing thread")
}

/// Files of an Ollama cache that a model names which was not taken as a whole.
fn needed_by_others(cache: &Path, proven: &BTreeSet<(PathBuf, String)>) -> BTreeSet<String> {
    weighthouse::adopt::ollama(cache)
        .iter()
        .map(Content::of)
        .filter(|content| {
            let all = content.places().iter().all(|file| proven.contains(&(content.folder.clone(), file.path.clone())));
            !all || !content.problems.is_empty()
        })
        .flat_map(|content| content.places().into_iter().map(|file| file.path.clone()).collect::<Vec<_>>())
        .collect()
}

fn ask(models: &[&Model]) -> anyhow::Result<()> {
    let no = |message: &str| {
        let hints = vec!["--yes answers for you; without --free nothing is removed".to_owned()];
        Err(Hinted { message: message.to_owned(), hints, code: 2 }.into())
    };
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return no("files are to be removed, and nobody is there to be asked");
    }
    let bytes = models.iter().map(|model| model.size_bytes).sum();
    let noun = if models.len() == 1 { "model" } else { "models" };
    ui::note(&format!(
        "{} {noun} ({}) will be taken into the hub, read back, and then removed here. Go on? [y/N]",
        models.len(),
        ui::size(bytes)
    ));
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    if matches!(line.trim(), "y" | "Y" | "yes") { Ok(()) } else { no("nothing was done") }
}
