//! The verdict on a revision: that of its worst file, and what there is to say beside it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weighthouse_trust::scan::{Report, Verdict};

use super::FileStatus;
use crate::browse::{FileRecord, PathRecord};
use crate::revision::Revision;
use crate::{Error, Hub};

/// Files that are listed because they are not safe; the worst are.
const MAX_ISSUES: usize = 1_000;
/// Files of a revision that waits which are looked through for what is known already.
const MAX_FILES: usize = 10_000;
/// Files of which the reports are joined.
const MAX_REPORTS: usize = 2_000;

/// The verdict on all files of a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct TreeVerdict {
    /// That of the worst file.
    pub verdict: Verdict,
    /// Files.
    pub files: u64,
    /// Bytes of all files.
    pub size_bytes: u64,
    /// Files by verdict.
    pub by_verdict: BTreeMap<String, u64>,
    /// Files of which something is unpickled.
    pub pickles: u64,
    /// Files that have code of the repository run, or are such code.
    pub remote_code: u64,
    /// Formats that occur.
    pub formats: Vec<String>,
    /// Files that are not safe, the worst first; not all if they are very many.
    pub issues: Vec<Issue>,
}

/// A file that is not safe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issue {
    /// Its path.
    pub path: String,
    /// Its verdict.
    pub verdict: Verdict,
    /// The worst finding, as a sentence fragment.
    pub worst: String,
}

/// Where the judgement of a revision stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TreeStatus {
    /// What is known: of all files, or of those that were judged so far.
    pub known: TreeVerdict,
    /// Files that wait; `None` when there are too many to look.
    pub waiting: Option<u64>,
    /// Whether older rules made the verdict on some file.
    pub is_stale: bool,
}

impl TreeStatus {
    /// Whether every file has a verdict.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.waiting == Some(0)
    }

    /// The word of the Hub for it: `queued`, or the verdict.
    #[must_use]
    pub fn word(&self) -> &'static str {
        // What is unsafe already does not become better.
        if self.is_done() || self.known.verdict == Verdict::Unsafe { self.known.verdict.as_str() } else { "queued" }
    }
}

impl TreeVerdict {
    /// Joins what is known of files.
    pub(super) fn of<'a>(files: impl Iterator<Item = (&'a FileRecord, &'a FileStatus)>) -> Self {
        let mut found = Self::default();
        for (file, status) in files {
            let Some(verdict) = status.verdict else { continue };
            found.files += 1;
            found.size_bytes = found.size_bytes.saturating_add(file.size_bytes);
            found.verdict = found.verdict.max(verdict);
            *found.by_verdict.entry(verdict.as_str().to_owned()).or_default() += 1;
            found.pickles += u64::from(status.facts.pickle);
            found.remote_code += u64::from(status.facts.remote_code);
            for format in &status.facts.formats {
                if found.formats.len() < 100 && !found.formats.contains(format) {
                    found.formats.push(format.clone());
                }
            }
            if verdict > Verdict::Safe {
                let worst = status.facts.worst.clone().unwrap_or_default();
                found.issues.push(Issue { path: file.path.clone(), verdict, worst });
            }
        }
        found.formats.sort_unstable();
        found.issues.sort_by(|one, other| other.verdict.cmp(&one.verdict).then_with(|| one.path.cmp(&other.path)));
        found.issues.truncate(MAX_ISSUES);
        found
    }
}

impl Hub {
    /// Where the judgement of a revision stands.
    pub async fn tree_status(&self, revision: &Revision) -> Result<TreeStatus, Error> {
        let kept = self.catalog().verdicts().tree(&revision.commit.tree).await?;
        let kept = kept.and_then(|(rules, json)| Some((rules, serde_json::from_str(&json).ok()?)));
        if let Some((rules, known)) = kept {
            return Ok(TreeStatus { known, waiting: Some(0), is_stale: rules < self.scanner().rules });
        }
        let page = self.list_page(revision, "", "", true, 0..MAX_FILES).await?;
        let files: Vec<&FileRecord> = page.entries.iter().filter_map(as_file).collect();
        let statuses = self.statuses(revision, &files).await?;
        let waiting = statuses.iter().filter(|status| status.verdict.is_none()).count() as u64;
        Ok(TreeStatus {
            known: TreeVerdict::of(files.iter().copied().zip(statuses.iter().map(|status| &**status))),
            // The verdict on the whole is made at last, so something waits until then.
            waiting: (page.total <= MAX_FILES).then_some(waiting.max(u64::from(!files.is_empty()))),
            is_stale: statuses.iter().any(|status| status.is_stale),
        })
    }

    /// The report on all files of a revision, or on those that were judged so far. Of very many files, the first are told.
    pub async fn revision_report(&self, revision: &Revision, target: &str) -> Result<Report, Error> {
        let page = self.list_page(revision, "", "", true, 0..MAX_FILES).await?;
        let files: Vec<&FileRecord> = page.entries.iter().filter_map(as_file).collect();
        let statuses = self.statuses(revision, &files).await?;
        let mut scans = Vec::with_capacity(files.len());
        let (mut rules, mut read) = (self.scanner().rules, 0);
        for (file, status) in files.iter().zip(&statuses) {
            if status.verdict.is_some() {
                rules = rules.min(status.rules);
                let mut scan = None;
                // Safe files without findings have nothing to tell.
                if status.facts.findings > 0 || !status.facts.imports.is_empty() {
                    read += 1;
                    if read <= MAX_REPORTS {
                        scan = self.kept_scan(status, file).await?;
                    }
                }
                scans.extend(scan.or_else(|| status.without_report(file)));
            }
        }
        let mut report = Report::join(target, scans);
        report.rules_version = rules;
        Ok(report)
    }
}

pub(super) fn as_file(entry: &PathRecord) -> Option<&FileRecord> {
    match entry {
        PathRecord::File(file) => Some(file),
        PathRecord::Folder { .. } => None,
    }
}
