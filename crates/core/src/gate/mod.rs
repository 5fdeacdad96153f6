//! The gate: every file that enters is judged, and what is judged bad does not leave.
//!
//! ```text
//!   commit ─ one transaction ─► job `scan` ─► judge: each file, bounded ─► verdicts, by content and path ─► tree verdict
//!                                                                              │
//!   resolve, LFS, Xet, pages, conversions ─► pass: status ─► facts ─► policy ─►┴─► bytes, or `Error::Blocked`
//! ```
//! A verdict is a fact about a content under a path: a name changes how bytes are taken. What has no verdict is *queued*,
//! whatever the reason: the scanner has not come to it, failed on it, or its worker was killed. A verdict of older rules is
//! *stale*: it holds, and is shown as such, until the file was judged anew. Roads that name contents only (Git LFS, Xet) are
//! answered by the worst of the paths under which the repository has had the content.

mod job;
mod observed;
mod pass;
mod quarantine;
mod summary;
#[cfg(test)]
mod tests;
mod trace;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use weighthouse_format::Folder;
use weighthouse_store::catalog::VerdictRecord;
use weighthouse_store::digest::{GitOid, Sha256};
use weighthouse_trust::scan::{self, FileScan, Finding, Import, Report, Safety, Verdict};

use crate::browse::FileRecord;
use crate::revision::Revision;
use crate::{Error, Hub};

pub(crate) use pass::Arriving;
pub use pass::Passed;
pub use quarantine::{QuarantineList, Quarantined};
pub use summary::{Issue, TreeStatus, TreeVerdict};

/// Names of pickles that are kept with a verdict; the report has all.
const MAX_IMPORTS: usize = 50;
/// Longest sentence that is kept with a verdict, in characters.
const MAX_SENTENCE: usize = 300;
/// Longest report that is kept, in bytes of JSON; the least findings are left out beyond that.
const MAX_REPORT_BYTES: usize = 1 << 20;
/// Verdicts in memory.
const CACHED: usize = 20_000;
/// How long a verdict is believed without asking again, in milliseconds: another server may have newer rules.
const REMEMBER_MS: i64 = 60_000;
/// Files that are judged at once.
const WORKERS: usize = 2;
/// Scans that were given up and still run on their threads; beyond them, judging waits.
const STRAYS: usize = 2;

/// Who judges files, and by which rules.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Scanner {
    /// Version of the rules; verdicts of older ones are made anew.
    pub rules: u32,
    /// Judges one file of a folder.
    pub run: fn(&dyn Folder, &str) -> FileScan,
    /// Longest time for one file, after which it is an error.
    pub patience: Duration,
}

impl Default for Scanner {
    fn default() -> Self {
        Self { rules: scan::RULES_VERSION, run: crate::scan::timed, patience: Duration::from_secs(300) }
    }
}

impl fmt::Debug for Scanner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scanner").field("rules", &self.rules).field("patience", &self.patience).finish_non_exhaustive()
    }
}

/// What questions about verdicts share.
#[derive(Debug)]
pub(crate) struct Gate {
    /// By content, path, and the tree that it was judged in, which is all zeros when nothing beside it was looked at.
    cache: Cache<(Sha256, GitOid, String), (i64, Arc<FileStatus>)>,
    scans: Arc<Semaphore>,
    /// Readers of reports that are told the program.
    traces: Arc<Semaphore>,
}

impl Gate {
    pub fn new() -> Self {
        Self {
            cache: Cache::new(CACHED),
            scans: Arc::new(Semaphore::new(WORKERS + STRAYS)),
            traces: Arc::new(Semaphore::new(4)),
        }
    }
}

/// What is known of a file's safety.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileStatus {
    /// The verdict; `None` while the file waits.
    pub verdict: Option<Verdict>,
    /// Whether older rules made it.
    pub is_stale: bool,
    /// Version of the rules; 0 while it waits.
    pub rules: u32,
    /// Version of the scanner; empty while it waits.
    pub scanner: String,
    /// What stands behind it.
    pub facts: FileFacts,
    /// Where its report is.
    record: Option<VerdictRecord>,
}

/// What stands behind a verdict, in short.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct FileFacts {
    /// Everything that the bytes can be taken for.
    pub formats: Vec<String>,
    /// Whether something in it is unpickled.
    pub pickle: bool,
    /// Whether it has code of the repository run, or is such code.
    pub remote_code: bool,
    /// Findings.
    pub findings: u64,
    /// The worst finding, as a sentence fragment.
    pub worst: Option<String>,
    /// What the pickles in it come to.
    pub pickles: Verdict,
    /// What everything else comes to.
    pub others: Verdict,
    /// Names that its pickles import, the worst first.
    pub imports: Vec<NamedImport>,
}

/// A name that a pickle imports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedImport {
    /// Module.
    pub module: String,
    /// Name in it.
    pub name: String,
    /// What it can do.
    pub safety: Safety,
}

impl FileStatus {
    /// A file that waits; what it holds is told from its name.
    fn queued(path: &str) -> Self {
        Self {
            verdict: None,
            is_stale: false,
            rules: 0,
            scanner: String::new(),
            facts: FileFacts::by_name(path),
            record: None,
        }
    }

    fn of(record: VerdictRecord, rules: u32) -> Result<Self, Error> {
        let corrupt = |what: &str| {
            Error::Store(weighthouse_store::StoreError::Corrupt {
                what: format!("the verdict on {} as `{}`", record.sha256, record.path),
                detail: what.to_owned(),
            })
        };
        Ok(Self {
            verdict: Some(record.verdict.parse().map_err(|_| corrupt("it is none of the verdicts"))?),
            is_stale: record.rules < rules,
            rules: record.rules,
            scanner: record.scanner.clone(),
            facts: serde_json::from_str(&record.facts).map_err(|_| corrupt("its facts are not understood"))?,
            record: Some(record),
        })
    }

    /// What was found in a file whose report says no more than this.
    fn without_report(&self, file: &FileRecord) -> Option<FileScan> {
        Some(FileScan {
            path: file.path.clone(),
            size_bytes: file.size_bytes,
            formats: self.facts.formats.iter().map(|format| format.clone().into()).collect(),
            verdict: self.verdict?,
            ..FileScan::default()
        })
    }

    /// The word of the Hub for it: `queued`, or the verdict.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self.verdict {
            None => "queued",
            Some(verdict) => verdict.as_str(),
        }
    }
}

impl FileFacts {
    fn of(scan: &FileScan) -> Self {
        let worst_of = |pickles: bool| {
            let found = scan.findings.iter().filter(|finding| is_about_pickles(finding) == pickles);
            found.map(|finding| finding.verdict).max().unwrap_or_default()
        };
        let holds = |name: &str| scan.formats.iter().any(|format| format == name);
        let pickle = ["pickle", "torch", "torch-legacy", "torch-tar", "torchscript", "joblib"].into_iter().any(holds)
            || !scan.imports.is_empty();
        // A file that could not be looked at as a whole counts under what its name says.
        let code = ["remote-code", "remote-code-forced", "keras-code", "torchscript"];
        let remote_code = holds("script") || scan.findings.iter().any(|finding| code.contains(&finding.rule.as_ref()));
        let mut imports: Vec<&Import> = scan.imports.iter().collect();
        imports.sort_by_key(|import| std::cmp::Reverse(import.safety));
        imports.dedup_by(|one, other| (&one.module, &one.name) == (&other.module, &other.name));
        let named = |import: &&Import| NamedImport {
            module: short(&import.module),
            name: short(&import.name),
            safety: import.safety,
        };
        Self {
            formats: scan.formats.iter().take(20).map(|format| format.to_string()).collect(),
            pickle,
            remote_code,
            findings: scan.findings.len() as u64,
            worst: scan.findings.first().filter(|found| found.verdict > Verdict::Safe).map(sentence),
            pickles: worst_of(true),
            others: worst_of(false),
            imports: imports.iter().take(MAX_IMPORTS).map(named).collect(),
        }
    }

    /// What a name promises of a file that nobody has looked at.
    fn by_name(path: &str) -> Self {
        let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
        let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
        let (format, pickle, remote_code) = match ending {
            "bin" | "pt" | "pth" | "ckpt" | "th" | "tar" | "nemo" => ("torch", true, false),
            "pkl" | "pickle" | "joblib" | "dill" | "pdparams" | "pdopt" | "skops" | "sav" | "metadata" => {
                ("pickle", true, false)
            }
            "distcp" => ("dcp", true, false),
            "npy" | "npz" => ("npy", true, false),
            "py" | "ipynb" | "sh" | "so" | "dll" | "exe" | "jar" => ("script", false, true),
            "h5" | "hdf5" | "keras" => ("keras", false, true),
            "safetensors" => ("safetensors", false, false),
            "gguf" => ("gguf", false, false),
            "onnx" => ("onnx", false, false),
            "json" | "yaml" | "yml" | "md" | "txt" | "jinja" | "model" | "gitattributes" => ("text", false, false),
            _ => ("unknown", false, false),
        };
        Self { formats: vec![format.to_owned()], pickle, remote_code, ..Self::default() }
    }

    /// One word for the format, as policies compare it; empty for what is no checkpoint. What is several formats at once
    /// has all their names, with `+`.
    #[must_use]
    pub fn format(&self) -> String {
        // A container has the name of what makes it one, and text is none.
        const OTHERS: &[&str] = &[
            "zip", "gzip", "zlib", "xz", "bzip2", "lz4", "zstd", "json", "yaml", "jinja", "text", "script", "unknown",
            "png", "jpeg", "gif", "webp", "wav", "avi", "flac", "ogg", "mp3", "mp4", "matroska", "font", "pdf",
            "parquet", "arrow", "sqlite",
        ];
        let named: Vec<&str> = self.formats.iter().map(String::as_str).filter(|name| !OTHERS.contains(name)).collect();
        match named.as_slice() {
            ["pickle", "torch-legacy"] => "torch-legacy".to_owned(),
            ["joblib", "pickle"] => "joblib".to_owned(),
            named => named.join("+"),
        }
    }
}

fn is_about_pickles(finding: &Finding) -> bool {
    let rule = finding.rule.as_ref();
    rule.starts_with("pickle-") || rule.starts_with("storage-") || matches!(rule, "legacy-header" | "torch-tar")
}

fn short(text: &str) -> String {
    text.chars().take(100).collect()
}

/// A finding in one line: where it stands and what would happen.
fn sentence(finding: &Finding) -> String {
    let place = finding.member.as_ref().map(|member| format!("{member}: ")).unwrap_or_default();
    let text = format!("{place}{}", finding.detail);
    let mut cut: String = text.chars().take(MAX_SENTENCE).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}

/// The report on one file as it is kept: empty when the facts say all, and bounded.
fn kept_report(mut scan: FileScan) -> String {
    if scan.findings.is_empty() && scan.imports.is_empty() && scan.limits_hit.is_empty() {
        return String::new();
    }
    loop {
        let json = serde_json::to_string(&scan).unwrap_or_default();
        if json.len() <= MAX_REPORT_BYTES || (scan.findings.len() <= 1 && scan.imports.len() <= 1) {
            // One sentence may be long, and the table should not.
            return if json.len() <= 2 * MAX_REPORT_BYTES { json } else { String::new() };
        }
        // The worst stand first.
        let left = (scan.findings.len().div_ceil(2), scan.imports.len().div_ceil(2));
        scan.findings.truncate(left.0);
        scan.imports.truncate(left.1);
        let note = "the report was too long to be kept as a whole; `wh scan` tells the rest".to_owned();
        if !scan.limits_hit.contains(&note) {
            scan.limits_hit.truncate(100);
            scan.limits_hit.push(note);
        }
    }
}

impl Hub {
    pub(crate) fn scanner(&self) -> &Scanner {
        &self.options().scanner
    }

    /// What is known of the safety of files of a revision, in their order.
    pub async fn statuses(&self, revision: &Revision, files: &[&FileRecord]) -> Result<Vec<Arc<FileStatus>>, Error> {
        let tree = revision.commit.tree;
        let mut found: Vec<Option<Arc<FileStatus>>> = files.iter().map(|file| self.remembered(&tree, file)).collect();
        let open = files.iter().zip(&found).filter(|(_, found)| found.is_none());
        let open: Vec<(Sha256, &str)> = open.map(|(file, _)| (file.sha256, file.path.as_str())).collect();
        if !open.is_empty() {
            let records = self.catalog().verdicts().of_files(&tree, &open).await?;
            let mut fresh: HashMap<(Sha256, String), Arc<FileStatus>> = HashMap::with_capacity(records.len());
            for record in records {
                let key = (record.sha256, record.path.clone());
                // One that looked around knows more than one that did not.
                let status = Arc::new(FileStatus::of(record, self.scanner().rules)?);
                match fresh.get(&key) {
                    Some(other) if other.rules >= status.rules => {}
                    _ => _ = fresh.insert(key, status),
                }
            }
            for (file, found) in files.iter().zip(&mut found).filter(|(_, found)| found.is_none()) {
                *found = match fresh.get(&(file.sha256, file.path.clone())) {
                    Some(status) => {
                        self.remember(status);
                        Some(Arc::clone(status))
                    }
                    None => Some(Arc::new(FileStatus::queued(&file.path))),
                };
            }
        }
        Ok(found.into_iter().flatten().collect())
    }

    /// What is known of the safety of a file of a revision.
    pub async fn status(&self, revision: &Revision, file: &FileRecord) -> Result<Arc<FileStatus>, Error> {
        let found = self.statuses(revision, &[file]).await?.pop();
        Ok(found.unwrap_or_else(|| Arc::new(FileStatus::queued(&file.path))))
    }

    fn remembered(&self, tree: &GitOid, file: &FileRecord) -> Option<Arc<FileStatus>> {
        let since_ms = self.now_ms() - REMEMBER_MS;
        [GitOid([0; 20]), *tree].into_iter().find_map(|tree| {
            let (at_ms, status) = self.gate().cache.get(&(file.sha256, tree, file.path.clone()))?;
            (at_ms > since_ms).then_some(status)
        })
    }

    fn remember(&self, status: &Arc<FileStatus>) {
        if let Some(record) = &status.record
            && !status.is_stale
        {
            let tree = record.surroundings.unwrap_or(GitOid([0; 20]));
            let key = (record.sha256, tree, record.path.clone());
            self.gate().cache.insert(key, (self.now_ms(), Arc::clone(status)));
        }
    }

    /// The report on a file of a revision; `None` while it waits.
    pub async fn file_report(&self, revision: &Revision, file: &FileRecord) -> Result<Option<Report>, Error> {
        let status = self.status(revision, file).await?;
        let Some(scan) = self.kept_scan(&status, file).await? else { return Ok(None) };
        let mut report = Report::join(&file.path, vec![scan]);
        report.target.digest = Some(file.sha256.to_string());
        report.rules_version = status.rules;
        report.tool.version = status.scanner.clone().into();
        Ok(Some(report))
    }

    /// What was found in a file, from its verdict; `None` while it waits.
    pub(crate) async fn kept_scan(&self, status: &FileStatus, file: &FileRecord) -> Result<Option<FileScan>, Error> {
        let Some(record) = &status.record else { return Ok(None) };
        let report = self.catalog().verdicts().report(record).await?.unwrap_or_default();
        Ok(serde_json::from_str(&report).ok().or_else(|| status.without_report(file)))
    }
}
