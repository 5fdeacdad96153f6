//! What is in quarantine: every file at the head of a branch whose verdict makes the policies keep it back.
//!
//! The list begins with verdicts on record, looks whether a branch still has the file, and asks the policies what they
//! would tell a person who may write in the repository. What they would refuse even if it were safe is not in quarantine:
//! its verdict is not the reason.

use weighthouse_store::catalog::{Doubtful, DoubtfulPlace, OverrideRecord, RepoKey, RepoRecord};
use weighthouse_trust::policy::{Facts, Reason, State};
use weighthouse_trust::scan::Verdict;

use super::pass::Claims;
use crate::revision::Revision;
use crate::{Error, ErrorKind, Hub, RepoKind, names};

/// Most files of one answer.
const MOST_LISTED: usize = 1_000;
/// Candidates that are read at once.
const PAGE: u32 = 200;
/// Candidates that are looked at for one answer.
const MOST_LOOKED: usize = 5_000;
/// What the names of branches begin with.
const BRANCHES: &str = "refs/heads/";

/// A file that policies keep back because of its verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Kind of the repository.
    pub kind: RepoKind,
    /// Repository.
    pub repo: String,
    /// Path in it.
    pub path: String,
    /// SHA-256 of the bytes.
    pub digest: String,
    /// Its length in bytes.
    pub size_bytes: u64,
    /// The worst verdict on it.
    pub verdict: Verdict,
    /// The worst finding, as a sentence fragment.
    pub worst: String,
    /// Branches that have it at their heads.
    pub branches: Vec<String>,
    /// Policies that keep it back.
    pub reasons: Vec<Reason>,
    /// Overrides for these bytes that were not taken back, expired ones included.
    pub overrides: Vec<OverrideRecord>,
    /// Whether one of them is in force.
    pub released: bool,
}

/// A part of the list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QuarantineList {
    /// By repository and path.
    pub files: Vec<Quarantined>,
    /// Where the list goes on; `None` at its end. A part may be empty and the list go on.
    pub next: Option<String>,
}

/// The heads of a repository.
struct Heads {
    record: RepoRecord,
    claims: Claims,
    overrides: Vec<OverrideRecord>,
    /// Commits with the branches that point at them.
    commits: Vec<(Revision, Vec<String>)>,
}

impl Hub {
    /// Files at the heads of branches that policies keep back because of their verdicts; of one account's repositories or
    /// of all. `after` is [`QuarantineList::next`] of the part before.
    ///
    /// # Errors
    /// [`Error::Malformed`] when `after` is no such place.
    pub async fn quarantined(
        &self,
        owner: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<QuarantineList, Error> {
        let limit = limit.clamp(1, MOST_LISTED);
        let mut place = after.map(read_place).transpose()?;
        let mut list = QuarantineList::default();
        let mut looked = 0;
        while looked < MOST_LOOKED {
            let page = self.catalog().quarantine().candidates(owner, place.as_ref(), PAGE).await?;
            looked += page.len();
            for of_repo in page.chunk_by(|one, other| one.repo == other.repo) {
                let heads = match of_repo.first() {
                    Some(first) => self.heads(&first.repo).await?,
                    None => None,
                };
                for candidate in of_repo {
                    if let Some(heads) = &heads {
                        list.files.extend(self.kept_back(heads, candidate).await?);
                    }
                    place = Some(candidate.place.clone());
                    if list.files.len() == limit {
                        list.next = place.as_ref().map(write_place);
                        return Ok(list);
                    }
                }
            }
            if page.len() < PAGE as usize {
                return Ok(list);
            }
        }
        list.next = place.as_ref().map(write_place);
        Ok(list)
    }

    /// The heads of a repository; `None` when it was deleted a moment ago.
    async fn heads(&self, key: &RepoKey) -> Result<Option<Heads>, Error> {
        let Some(record) = self.catalog().repos().get(key).await? else { return Ok(None) };
        let mut commits: Vec<(Revision, Vec<String>)> = Vec::new();
        for found in self.catalog().refs().list(key).await? {
            let Some(branch) = found.name.strip_prefix(BRANCHES) else { continue };
            if let Some((_, branches)) = commits.iter_mut().find(|(revision, _)| revision.oid == found.target) {
                branches.push(branch.to_owned());
                continue;
            }
            match self.known_commit(key, found.target).await {
                Ok(revision) => commits.push((revision, vec![branch.to_owned()])),
                // Deleted in between, or lost: one repository does not hide all others.
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    tracing::warn!(repo.id = record.id, branch, %error, "a branch is left out of the quarantine list");
                }
                Err(error) => return Err(error),
            }
        }
        let overrides = self.catalog().overrides().of_repo(key).await?;
        Ok(Some(Heads { claims: Claims::of(&record), record, overrides, commits }))
    }

    async fn kept_back(&self, heads: &Heads, candidate: &Doubtful) -> Result<Option<Quarantined>, Error> {
        let DoubtfulPlace { path, sha256, .. } = &candidate.place;
        let digest = sha256.to_string();
        let mut found: Option<Quarantined> = None;
        for (revision, branches) in &heads.commits {
            let file = match self.file(revision, "", path).await {
                Ok(file) if file.sha256 == *sha256 => file,
                Ok(_) | Err(Error::EntryNotFound { .. } | Error::Retired { .. }) => continue,
                Err(error) => return Err(error),
            };
            let mut status = self.status(revision, &file).await?;
            if status.verdict.is_none() {
                status = self.suspected(sha256, super::FileStatus::clone(&status)).await?.into();
            }
            let Some(verdict) = status.verdict else { continue };
            let facts = heads.claims.about((path, &digest, file.size_bytes), Some(verdict), &status.facts);
            let reasons = self.because_of_its_verdict(&heads.record, &facts).await?;
            if reasons.is_empty() {
                continue;
            }
            let one = found.get_or_insert_with(|| Quarantined {
                kind: heads.record.kind,
                repo: heads.record.id.clone(),
                path: path.clone(),
                digest: digest.clone(),
                size_bytes: file.size_bytes,
                verdict: Verdict::Safe,
                worst: String::new(),
                branches: Vec::new(),
                reasons: Vec::new(),
                overrides: Vec::new(),
                released: false,
            });
            one.branches.extend(branches.iter().cloned());
            // The same bytes may have other neighbours on another branch.
            if verdict > one.verdict {
                one.verdict = verdict;
                one.worst = status.facts.worst.clone().unwrap_or_default();
                one.reasons = reasons;
            }
        }
        if let Some(one) = &mut found {
            let now_ms = self.now_ms();
            one.overrides = heads.overrides.iter().filter(|made| made.digest == digest).cloned().collect();
            one.released = one.overrides.iter().any(|made| made.expires_at_ms.is_none_or(|ms| now_ms < ms));
        }
        Ok(found)
    }

    /// Policies that refuse a file to whoever may write in the repository, and would not if it were safe.
    async fn because_of_its_verdict(&self, record: &RepoRecord, facts: &Facts) -> Result<Vec<Reason>, Error> {
        let decision = self.answer_to_members(record, facts).await?;
        if decision.allowed {
            return Ok(Vec::new());
        }
        let safe = self.answer_to_members(record, &Facts { state: State::Safe, ..facts.clone() }).await?;
        Ok(decision.reasons.into_iter().filter(|reason| !safe.reasons.contains(reason)).collect())
    }
}

/// A place as it stands in addresses: what cannot have a space first, the path last.
fn write_place(place: &DoubtfulPlace) -> String {
    let DoubtfulPlace { folded, kind, path, sha256 } = place;
    format!("{kind} {folded} {sha256} {path}")
}

fn read_place(text: &str) -> Result<DoubtfulPlace, Error> {
    let read = || {
        let mut parts = text.splitn(4, ' ');
        let (kind, folded, sha256) = (parts.next()?, parts.next()?, parts.next()?);
        Some(DoubtfulPlace {
            kind: kind.parse().ok()?,
            folded: folded.to_owned(),
            sha256: sha256.parse().ok()?,
            path: parts.next()?.to_owned(),
        })
    };
    read().ok_or_else(|| Error::Malformed(format!("`{}` is no place in the quarantine list", names::shorten(text))))
}
