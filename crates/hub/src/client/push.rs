//! A folder to a repository: only what the hub lacks, and again from where it broke off.
//!
//! 1. walk the folder; ask the hub how each file travels and what it has ([`Phase::Planning`], [`Phase::Checking`])
//! 2. send large files as the chunks the hub lacks, register them ([`Phase::Moving`])
//! 3. commit, with small files inside ([`Phase::Committing`]): one commit, unless there are more than 1,000 files or
//!    100 MiB inside of it
//!
//! Nothing is visible before step 3. A push that was killed leaves notes in the cache folder and chunks on the hub;
//! the next one reads the files again and sends the rest.

mod advice;
mod commit;
mod index;
mod journal;
mod large;
mod pack;
mod read;
mod walk;

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use weighthouse::Sha256;

use self::commit::Change;
use self::journal::{Journal, Known};
use self::large::{Lane, Sent};
use self::pack::Tally;
use self::walk::LocalFile;
use super::api::Api;
use super::cas::Cas;
use super::error::ClientError;
use super::filter::Filter;
use super::meter::{Meter, Phase};
use super::repos::NewRepo;
use super::target::RepoRef;
use crate::wire::commit::CommitHeader;
use crate::wire::error::ErrorCode;
use crate::wire::hf::upload::{PreuploadVerdict, UploadMode};

/// The default branch of every repository.
const MAIN: &str = "main";

/// How to push.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PushOptions {
    /// Branch to commit to; made from the default branch if it does not exist.
    pub revision: String,
    /// First line of the commit message.
    pub title: String,
    /// The rest of the commit message.
    pub description: String,
    /// Which files take part.
    pub filter: Filter,
    /// Creates the repository if it does not exist: `Some(true)` private, `Some(false)` public.
    pub create: Option<bool>,
    /// Folder for notes that let a push go on where another broke off; without one nothing is noted.
    pub cache: Option<PathBuf>,
    /// Xorbs on their way at a time; each takes 32 MiB of memory.
    pub parallel: usize,
    /// Whether links may lead out of the folder.
    pub links_out: bool,
}

impl Default for PushOptions {
    /// All files to the default branch of a repository that exists; 3 xorbs at a time; no notes.
    fn default() -> Self {
        Self {
            revision: MAIN.to_owned(),
            title: "Push a folder with wh".to_owned(),
            description: String::new(),
            filter: Filter::default(),
            create: None,
            cache: None,
            parallel: 3,
            links_out: false,
        }
    }
}

/// What a push did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pushed {
    /// Commit that the branch is at; the head as it was when nothing had to be committed.
    pub commit: Option<String>,
    /// Its page.
    pub commit_url: Option<String>,
    /// Commits made.
    pub commits: u64,
    /// Files that take part.
    pub files: u64,
    /// Files that were committed.
    pub files_sent: u64,
    /// Files that the hub had already.
    pub files_unchanged: u64,
    /// Files that the hub asked to leave out (`.gitignore`).
    pub files_ignored: u64,
    /// Content bytes of all files that take part.
    pub bytes: u64,
    /// Content bytes of large files that the hub lacked.
    pub new_bytes: u64,
    /// Content bytes of large files that the hub had in other files, or that occur twice.
    pub reused_bytes: u64,
    /// Bytes that went over the wire, repeats included.
    pub wire_bytes: u64,
}

/// Pushes a folder.
///
/// # Errors
/// Any [`ClientError`]. Nothing of the folder is visible on the hub then, unless it took more than one commit.
pub async fn push(
    api: &Api,
    folder: &Path,
    repo: &RepoRef,
    options: &PushOptions,
    meter: &Meter,
) -> Result<Pushed, ClientError> {
    let (root, filter, links_out) = (folder.to_owned(), options.filter.clone(), options.links_out);
    let files = blocking(move || walk::walk(&root, &filter, links_out)).await?;
    push_found(api, files, repo, options, meter).await
}

/// Pushes files that lie anywhere on this machine; `files` are paths in the repository, and places here.
///
/// # Errors
/// As [`push`]; [`ClientError::Input`] too for a place that is no file, or a path that no hub takes.
pub async fn push_files(
    api: &Api,
    files: Vec<(String, PathBuf)>,
    repo: &RepoRef,
    options: &PushOptions,
    meter: &Meter,
) -> Result<Pushed, ClientError> {
    let files = blocking(move || files.into_iter().map(|(path, place)| walk::one(path, place)).collect()).await?;
    push_found(api, files, repo, options, meter).await
}

async fn push_found(
    api: &Api,
    files: Vec<LocalFile>,
    repo: &RepoRef,
    options: &PushOptions,
    meter: &Meter,
) -> Result<Pushed, ClientError> {
    if files.is_empty() {
        return Err(ClientError::Input("there is nothing to push: no file in the folder takes part".to_owned()));
    }
    if let Some(private) = options.create {
        let new = NewRepo { private, exist_ok: true, ..NewRepo::new(repo.clone()) };
        api.create_repo(&new).await?;
    }
    let push = Push { api, repo, options, meter, journal: Journal::open(options.cache.as_deref(), api.base(), repo) };
    match push.run(&files, true).await {
        Err(ClientError::Forgotten(why)) => {
            tracing::warn!(why, "the hub forgot chunks it had; sending all of them again");
            push.journal.forget();
            push.run(&files, false).await
        }
        done => done,
    }
}

struct Push<'a> {
    api: &'a Api,
    repo: &'a RepoRef,
    options: &'a PushOptions,
    meter: &'a Meter,
    journal: Journal,
}

/// What to do with the files.
#[derive(Debug, Default)]
struct Plan {
    /// Large files to send.
    send: Vec<LocalFile>,
    /// Large files that the hub has put together already.
    registered: Vec<(LocalFile, Sha256)>,
    inline: Vec<LocalFile>,
    unchanged: u64,
    ignored: u64,
}

impl Push<'_> {
    /// Plans, sends, commits. Without `trust`, nothing is believed but what this very call sends.
    async fn run(&self, files: &[LocalFile], trust: bool) -> Result<Pushed, ClientError> {
        self.meter.begin(Phase::Planning, files.len() as u64, 0);
        let (verdicts, head) = self.advice(files).await?;
        let plan = self.plan(files, verdicts, trust).await?;
        let mut done = Pushed {
            commit: head,
            files: files.len() as u64,
            files_sent: (plan.send.len() + plan.registered.len() + plan.inline.len()) as u64,
            files_unchanged: plan.unchanged,
            files_ignored: plan.ignored,
            bytes: files.iter().map(|file| file.stamp.size_bytes).sum(),
            ..Pushed::default()
        };
        let to_send = plan.send.clone();
        let Sent { digests, tally: Tally { reused_bytes, new_bytes } } = self.send(to_send, trust).await?;
        (done.reused_bytes, done.new_bytes) = (reused_bytes, new_bytes);
        let large = plan.send.into_iter().zip(digests).chain(plan.registered);
        let mut changes: Vec<Change> = large.map(|(file, sha256)| Change::Large(file, sha256)).collect();
        changes.extend(plan.inline.into_iter().map(Change::Inline));
        changes.sort_by(|a, b| path_of(a).cmp(path_of(b)));
        self.commit(changes, trust, &mut done).await?;
        done.wire_bytes = self.meter.snapshot().wire_bytes;
        Ok(done)
    }

    async fn advice(&self, files: &[LocalFile]) -> Result<(Vec<PreuploadVerdict>, Option<String>), ClientError> {
        let revision = self.options.revision.as_str();
        match advice::ask(self.api, self.repo, revision, files).await {
            Err(error) if error.code() == Some(ErrorCode::RevisionNotFound) && revision != MAIN => {
                self.api.create_branch(self.repo, revision).await?;
                advice::ask(self.api, self.repo, revision, files).await
            }
            asked => asked,
        }
    }

    /// Compares with what the hub has; files it may have are hashed.
    async fn plan(
        &self,
        files: &[LocalFile],
        verdicts: Vec<PreuploadVerdict>,
        trust: bool,
    ) -> Result<Plan, ClientError> {
        let doubtful = |verdict: &PreuploadVerdict| !verdict.should_ignore && verdict.oid.is_some();
        let to_check = files.iter().zip(&verdicts).filter(|(_, verdict)| doubtful(verdict));
        let (count, bytes) =
            to_check.fold((0, 0), |(count, bytes), (file, _)| (count + 1, bytes + file.stamp.size_bytes));
        self.meter.begin(Phase::Checking, count, bytes);
        let threads = std::thread::available_parallelism().map_or(2, NonZero::get);
        let checked = futures::stream::iter(files.iter().cloned().zip(verdicts)).map(|(file, verdict)| async move {
            let fate = self.fate(&file, &verdict, trust).await?;
            Ok::<_, ClientError>((file, fate))
        });
        let mut plan = Plan::default();
        let mut checked = checked.buffered(threads);
        while let Some((file, fate)) = checked.try_next().await? {
            match fate {
                Fate::Ignored => plan.ignored += 1,
                Fate::Unchanged => plan.unchanged += 1,
                Fate::Inline => plan.inline.push(file),
                Fate::Send => plan.send.push(file),
                Fate::Registered(sha256) => plan.registered.push((file, sha256)),
            }
        }
        Ok(plan)
    }

    async fn fate(&self, file: &LocalFile, verdict: &PreuploadVerdict, trust: bool) -> Result<Fate, ClientError> {
        if verdict.should_ignore {
            return Ok(Fate::Ignored);
        }
        let (owned, meter) = (file.clone(), self.meter.clone());
        if verdict.upload_mode == UploadMode::Regular {
            let Some(present) = &verdict.oid else { return Ok(Fate::Inline) };
            let oid = blocking(move || read::git_oid(&owned, &meter)).await?;
            self.meter.add_file();
            return Ok(if oid.to_string() == *present { Fate::Unchanged } else { Fate::Inline });
        }
        let known = if trust { self.journal.known(&file.path, &file.stamp) } else { None };
        let Some(present) = &verdict.oid else {
            return Ok(match known {
                Some(Known { sha256, registered: true }) => Fate::Registered(sha256),
                _ => Fate::Send,
            });
        };
        let sha256 = match known {
            Some(known) => {
                self.meter.add_bytes(file.stamp.size_bytes);
                known.sha256
            }
            None => blocking(move || read::sha256(&owned, &meter)).await?,
        };
        self.meter.add_file();
        let registered = known.is_some_and(|known| known.registered);
        if known.is_none() {
            let note = Known { sha256, registered: false };
            let _ = self.journal.note(&file.path, &file.stamp, note, self.api.clock().now_ms());
        }
        Ok(match () {
            () if sha256.to_string() == *present => Fate::Unchanged,
            () if registered => Fate::Registered(sha256),
            () => Fate::Send,
        })
    }

    async fn send(&self, files: Vec<LocalFile>, trust: bool) -> Result<Sent, ClientError> {
        let bytes = files.iter().map(|file| file.stamp.size_bytes).sum();
        self.meter.begin(Phase::Moving, files.len() as u64, bytes);
        if files.is_empty() {
            return Ok(Sent::default());
        }
        let lane = Lane {
            cas: Arc::new(Cas::for_writing(self.api.clone(), self.repo, &self.options.revision)),
            journal: self.journal.clone(),
            meter: self.meter.clone(),
            now_ms: self.api.clock().now_ms(),
            parallel: self.options.parallel,
            trust,
        };
        lane.send(files).await
    }

    async fn commit(&self, changes: Vec<Change>, trust: bool, done: &mut Pushed) -> Result<(), ClientError> {
        let commits = commit::split(changes);
        self.meter.begin(Phase::Committing, commits.iter().map(|part| part.len() as u64).sum(), 0);
        let parts = commits.len();
        for (number, part) in (1..).zip(&commits) {
            let title = &self.options.title;
            let summary = if parts == 1 { title.clone() } else { format!("{title} (part {number} of {parts})") };
            let header = CommitHeader { summary, description: self.options.description.clone(), parent_commit: None };
            let made = commit::commit(self.api, self.repo, &self.options.revision, &header, part, self.meter).await;
            let made = made.map_err(|error| match &error {
                // The Hub's own words for a large file that it does not have.
                ClientError::Answered { status: 400 | 422, message, .. }
                    if trust && message.contains("pointed to a file that does not exist") =>
                {
                    ClientError::Forgotten(message.clone())
                }
                _ => error,
            })?;
            part.iter().for_each(|_| self.meter.add_file());
            done.commits += 1;
            done.commit = Some(made.commit_oid);
            done.commit_url = Some(made.commit_url);
        }
        Ok(())
    }
}

enum Fate {
    Ignored,
    Unchanged,
    Inline,
    Send,
    Registered(Sha256),
}

fn path_of(change: &Change) -> &str {
    match change {
        Change::Inline(file) | Change::Large(file, _) => &file.path,
    }
}

/// Runs work that blocks where it may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ClientError> + Send + 'static,
) -> Result<T, ClientError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| ClientError::task(&error))?
}
