//! Who may have what: facts for the policies, and their decision turned into bytes or a reason.
//!
//! Nothing here has an opinion: what is allowed is said by the policies, and this module sees to it that they are asked on
//! every road, about what is known at that moment.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use weighthouse_store::catalog::{RepoRecord, VerdictRecord};
use weighthouse_store::digest::{GitOid, Sha256};
use weighthouse_trust::policy::{Action, Decision, Facts, State};
use weighthouse_trust::scan::Verdict;

use super::summary::as_file;
use super::{FileFacts, FileStatus};
use crate::access::{Caller, Repo};
use crate::browse::FileRecord;
use crate::revision::{MAIN, Revision};
use crate::{Error, Hub, Role, names};

/// Paths of one content about which the policies are asked; beyond them, the worst.
const MAX_PATHS: usize = 64;
/// Files below a folder about which the policies are asked.
const MAX_FILES: usize = 10_000;

/// What passed the gate, and what is to be said with it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Passed {
    /// What is known of the file.
    pub status: Arc<FileStatus>,
    /// What the policies want to be said.
    pub warnings: Vec<String>,
}

impl Passed {
    /// Whether the file waits, and may be one that runs code: then the role of whoever asks decides, which roads with a
    /// token of their own do not know.
    #[must_use]
    pub fn waits_with_code(&self) -> bool {
        let facts = &self.status.facts;
        let is_data = matches!(facts.format().as_str(), "" | "safetensors" | "gguf");
        self.status.verdict.is_none() && (facts.pickle || facts.remote_code || !is_data)
    }

    /// What a stock client should print, if anything.
    #[must_use]
    pub fn warning(&self, path: &str) -> Option<String> {
        let verdict = self.status.verdict.filter(|verdict| *verdict > Verdict::Safe)?;
        let why = self.status.facts.worst.as_deref().unwrap_or("see its report");
        let mut text = format!("`{}` is {verdict}: {why}", names::shorten(path));
        for warning in &self.warnings {
            text = format!("{text}; {warning}");
        }
        Some(text)
    }
}

/// What the author of a repository claims that policies ask about.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Claims {
    card_data: Option<CardClaims>,
    base_models: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CardClaims {
    license: Value,
}

impl Claims {
    pub(super) fn of(record: &RepoRecord) -> Self {
        serde_json::from_str(&record.facts).unwrap_or_default()
    }

    fn license(&self) -> Option<String> {
        match &self.card_data.as_ref()?.license {
            Value::String(text) => Some(text.clone()),
            Value::Array(list) => list.first()?.as_str().map(str::to_owned),
            _ => None,
        }
    }

    pub(super) fn about(
        &self,
        (path, digest, size_bytes): (&str, &str, u64),
        verdict: Option<Verdict>,
        known: &FileFacts,
    ) -> Facts {
        Facts {
            state: verdict.map_or(State::Queued, State::from),
            path: path.to_owned(),
            digest: digest.to_owned(),
            format: known.format(),
            pickle: known.pickle,
            remote_code: known.remote_code,
            size_bytes,
            license: self.license(),
            base_models: self.base_models.clone(),
        }
    }
}

/// A file that a commit brings, as far as it is known then.
#[derive(Clone, Debug)]
pub(crate) struct Arriving<'a> {
    pub path: &'a str,
    pub sha256: Sha256,
    pub size_bytes: u64,
    /// Whether it is worth asking for earlier verdicts.
    pub large: bool,
}

impl Hub {
    /// Lets a caller have the bytes of a file, or says why not.
    ///
    /// # Errors
    /// [`Error::Blocked`] with the reason.
    pub async fn pass_file(
        &self,
        caller: &Caller,
        repo: &Repo,
        revision: &Revision,
        file: &FileRecord,
    ) -> Result<Passed, Error> {
        let mut status = self.status(revision, file).await?;
        if status.verdict.is_none() {
            if file.lfs {
                // Whoever comes by its hash next is told about this path.
                let waiting = [(file.sha256, file.path.clone())];
                self.catalog().verdicts().wait(&repo.record.key, &waiting).await?;
            }
            status = Arc::new(self.suspected(&file.sha256, FileStatus::clone(&status)).await?);
        }
        let subject = (file.path.as_str(), &*file.sha256.to_string(), file.size_bytes);
        let facts = Claims::of(&repo.record).about(subject, status.verdict, &status.facts);
        let warnings = self.pass(caller, Action::Download, repo, &facts, status.facts.worst.as_deref()).await?;
        Ok(Passed { status, warnings })
    }

    /// Why a caller would not be given the bytes of a file, for pages that say so; nothing is put on record.
    pub async fn would_block(
        &self,
        caller: &Caller,
        repo: &Repo,
        revision: &Revision,
        file: &FileRecord,
    ) -> Result<Option<String>, Error> {
        let mut status = self.status(revision, file).await?;
        if status.verdict.is_none() {
            status = Arc::new(self.suspected(&file.sha256, FileStatus::clone(&status)).await?);
        }
        let subject = (file.path.as_str(), &*file.sha256.to_string(), file.size_bytes);
        let facts = Claims::of(&repo.record).about(subject, status.verdict, &status.facts);
        let decision = self.would_decide(caller, Action::Download, repo, &facts).await?;
        Ok((!decision.allowed).then(|| explain(repo, &facts, status.facts.worst.as_deref(), &decision)))
    }

    /// Lets a caller have a content of a repository by a road that names no path, or says why not: it must be allowed
    /// under every path that the repository has had it under.
    ///
    /// # Errors
    /// [`Error::Blocked`] with the reason.
    pub async fn pass_content(
        &self,
        caller: &Caller,
        repo: &Repo,
        sha256: &Sha256,
        size_bytes: u64,
    ) -> Result<(), Error> {
        let had = self.catalog().verdicts().of_content(&repo.record.key, sha256).await?;
        let rules = self.scanner().rules;
        let mut statuses = Vec::with_capacity(had.len());
        for (path, record) in had {
            let status = match record {
                Some(record) => FileStatus::of(record, rules)?,
                None => self.suspected(sha256, FileStatus::queued(&path)).await?,
            };
            statuses.push((path, status));
        }
        if statuses.is_empty() {
            // Nothing is known, not even a name: it may be anything.
            let mut status = FileStatus::queued("");
            status.facts.pickle = true;
            statuses.push((String::new(), self.suspected(sha256, status).await?));
        }
        statuses.sort_by_key(|(_, status)| std::cmp::Reverse(status.verdict.unwrap_or(Verdict::Error)));
        let (claims, digest) = (Claims::of(&repo.record), sha256.to_string());
        for (path, status) in statuses.iter().take(MAX_PATHS) {
            let facts = claims.about((path, &digest, size_bytes), status.verdict, &status.facts);
            self.pass(caller, Action::Download, repo, &facts, status.facts.worst.as_deref()).await?;
        }
        Ok(())
    }

    /// Lets a caller have something made from the files below a path, or says why not. Whoever may write may always: the
    /// tensors of a bad file can be taken out of it, and nothing that acts goes with them.
    ///
    /// # Errors
    /// [`Error::Blocked`] with the reason.
    pub async fn pass_folder(
        &self,
        caller: &Caller,
        repo: &Repo,
        revision: &Revision,
        path: &str,
    ) -> Result<(), Error> {
        if repo.role >= Role::Write {
            return Ok(());
        }
        let name = revision.oid.to_string();
        let path = path.trim_matches('/');
        let entries = match path {
            "" => self.list_page(revision, &name, "", true, 0..MAX_FILES).await?.entries,
            path => match self.file(revision, &name, path).await {
                Ok(file) => return self.pass_file(caller, repo, revision, &file).await.map(drop),
                Err(Error::EntryNotFound { .. }) => {
                    self.list_page(revision, &name, path, true, 0..MAX_FILES).await?.entries
                }
                Err(error) => return Err(error),
            },
        };
        let files: Vec<&FileRecord> = entries.iter().filter_map(as_file).collect();
        let statuses = self.statuses(revision, &files).await?;
        let claims = Claims::of(&repo.record);
        // Files alike but for their names and sizes are many; those that hold weights or act are few.
        for (file, status) in files.into_iter().zip(statuses) {
            if status.verdict != Some(Verdict::Safe) {
                let subject = (file.path.as_str(), &*file.sha256.to_string(), file.size_bytes);
                let facts = claims.about(subject, status.verdict, &status.facts);
                self.pass(caller, Action::Download, repo, &facts, status.facts.worst.as_deref()).await?;
            }
        }
        Ok(())
    }

    /// Lets files into a repository, by what is known of them before anybody looked; or says why not.
    ///
    /// # Errors
    /// [`Error::Blocked`] with the reason.
    pub(crate) async fn pass_commit(&self, caller: &Caller, repo: &Repo, files: &[Arriving<'_>]) -> Result<(), Error> {
        let large: Vec<(Sha256, &str)> =
            files.iter().filter(|file| file.large).map(|file| (file.sha256, file.path)).collect();
        let nowhere = GitOid([0; 20]);
        let known = self.catalog().verdicts().of_files(&nowhere, &large).await?;
        let known: HashMap<(Sha256, &str), &VerdictRecord> =
            known.iter().map(|record| ((record.sha256, record.path.as_str()), record)).collect();
        let claims = Claims::of(&repo.record);
        for file in files {
            let status = match known.get(&(file.sha256, file.path)) {
                Some(record) => FileStatus::of((*record).clone(), self.scanner().rules)?,
                None => FileStatus::queued(file.path),
            };
            let digest = if file.sha256 == Sha256([0; 32]) { String::new() } else { file.sha256.to_string() };
            let subject = (file.path, digest.as_str(), file.size_bytes);
            let facts = claims.about(subject, status.verdict, &status.facts);
            self.pass(caller, Action::Upload, repo, &facts, status.facts.worst.as_deref()).await?;
        }
        Ok(())
    }

    /// Lets a branch be moved to a revision, by what is known of all its files; or says why not.
    ///
    /// # Errors
    /// [`Error::Blocked`] with the reason.
    pub(crate) async fn pass_merge(&self, caller: &Caller, repo: &Repo, revision: &Revision) -> Result<(), Error> {
        self.pass_revision(caller, Action::Merge, repo, revision).await
    }

    /// Lets everybody see a repository, by what is known of its default branch; or says why not.
    pub(crate) async fn pass_publish(&self, caller: &Caller, repo: &Repo) -> Result<(), Error> {
        let revision = match self.revision(repo, MAIN).await {
            Ok(revision) => revision,
            // There is nothing to publish yet.
            Err(Error::RevisionNotFound { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        self.pass_revision(caller, Action::Publish, repo, &revision).await
    }

    async fn pass_revision(
        &self,
        caller: &Caller,
        action: Action,
        repo: &Repo,
        revision: &Revision,
    ) -> Result<(), Error> {
        let status = self.tree_status(revision).await?;
        let known = FileFacts {
            formats: status.known.formats.clone(),
            pickle: status.known.pickles > 0,
            remote_code: status.known.remote_code > 0,
            ..FileFacts::default()
        };
        // What is unsafe already does not become better.
        let is_known = status.is_done() || status.known.verdict == Verdict::Unsafe;
        let verdict = is_known.then_some(status.known.verdict);
        let subject = ("", &*revision.oid.to_string(), status.known.size_bytes);
        let facts = Claims::of(&repo.record).about(subject, verdict, &known);
        let worst = status.known.issues.first().map(|issue| format!("`{}`: {}", issue.path, issue.worst));
        self.pass(caller, action, repo, &facts, worst.as_deref()).await.map(drop)
    }

    async fn pass(
        &self,
        caller: &Caller,
        action: Action,
        repo: &Repo,
        facts: &Facts,
        worst: Option<&str>,
    ) -> Result<Vec<String>, Error> {
        let decision = self.decide(caller, action, repo, facts).await?;
        if decision.allowed {
            return Ok(decision.warnings.into_iter().map(|warning| warning.text).collect());
        }
        Err(Error::Blocked { reason: explain(repo, facts, worst, &decision) })
    }

    /// A content that waits under one path, and is known to be unsafe under another, is believed to be so.
    pub(super) async fn suspected(&self, sha256: &Sha256, status: FileStatus) -> Result<FileStatus, Error> {
        match self.catalog().verdicts().unsafe_anywhere(sha256).await? {
            Some(record) => {
                let mut found = FileStatus::of(record, self.scanner().rules)?;
                found.is_stale = true;
                Ok(found)
            }
            None => Ok(status),
        }
    }
}

/// A refusal as one sentence: which file, what it is, what was found, and what the policies say.
fn explain(repo: &Repo, facts: &Facts, worst: Option<&str>, decision: &Decision) -> String {
    let what = match facts.path.as_str() {
        "" => repo.record.id.clone(),
        path => format!("`{}`", names::shorten(path)),
    };
    let is_told = !matches!(facts.state, State::Safe | State::Queued);
    let found = worst.filter(|_| is_told).map(|worst| format!(" ({worst})")).unwrap_or_default();
    format!("{what} is {}{found}: {}", facts.state.as_str(), decision.why())
}
