//! What a scan found: findings, imports, and the verdict on each file and on the whole.
//!
//! The types are stored and sent as they are; `docs/reference/scan.md` documents the JSON.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::rules::Rule;
use super::verdict::{Confidence, Severity, Verdict};

/// Version of the scanner's output.
pub const SCHEMA: &str = "weighthouse.scan/1";

/// Something that was found, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// What it means for the file.
    pub verdict: Verdict,
    /// How grave it is.
    pub severity: Severity,
    /// Rule that it breaks, for programs.
    pub rule: Cow<'static, str>,
    /// How sure it is.
    pub confidence: Confidence,
    /// Path of the file below the folder.
    pub file: String,
    /// Member of an archive, with `!` between the levels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// Offset in the member, or in the file where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// Number of the opcode in its pickle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub op: Option<u64>,
    /// Name of that opcode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opcode: Option<Cow<'static, str>>,
    /// Where in the object or document: `["model"].layers[0]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_in_object: Option<String>,
    /// Module that is imported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
    /// Name in that module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What would happen: a sentence fragment, names in backticks.
    pub detail: String,
    /// What to do about it.
    pub advice: Cow<'static, str>,
    /// Advisories about the same weakness.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refs: Vec<Cow<'static, str>>,
}

impl Finding {
    pub(super) fn of(rule: &'static Rule, verdict: Verdict, detail: impl Into<String>) -> Self {
        Self {
            verdict,
            severity: Severity::of(verdict),
            rule: rule.id.into(),
            confidence: Confidence::Certain,
            file: String::new(),
            member: None,
            offset: None,
            op: None,
            opcode: None,
            path_in_object: None,
            module: None,
            name: None,
            detail: detail.into(),
            advice: rule.advice.into(),
            refs: rule.refs.iter().map(|&text| text.into()).collect(),
        }
    }

    pub(super) const fn sure(mut self, confidence: Confidence) -> Self {
        self.confidence = confidence;
        self
    }

    pub(super) const fn weighing(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    pub(super) const fn at(mut self, offset: u64) -> Self {
        self.offset = Some(offset);
        self
    }

    pub(super) fn within(mut self, path: impl Into<String>) -> Self {
        self.path_in_object = Some(path.into());
        self
    }

    pub(super) fn naming(mut self, module: &str, name: &str) -> Self {
        (self.module, self.name) = (Some(module.to_owned()), Some(name.to_owned()));
        self
    }
}

/// What a name can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Safety {
    /// Builds data.
    Innocuous,
    /// Not known.
    Suspicious,
    /// Known to run programs, or to reach files or the network.
    Dangerous,
}

/// A name that a pickle imports, and what it does with it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Import {
    /// Module.
    pub module: String,
    /// Name in it.
    pub name: String,
    /// What it can do.
    pub safety: Safety,
    /// Path of the file.
    pub file: String,
    /// Member of an archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// Times that it is looked up.
    pub imported: u64,
    /// Times that it is called, or an instance made of it.
    pub called: u64,
    /// Times that state is set on it or on an instance.
    pub built: u64,
}

/// What was found in one file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileScan {
    /// Path below the folder.
    pub path: String,
    /// Length in bytes.
    pub size_bytes: u64,
    /// Everything that the bytes can be taken for.
    pub formats: Vec<Cow<'static, str>>,
    /// The worst of the findings.
    pub verdict: Verdict,
    /// Findings, the worst first.
    pub findings: Vec<Finding>,
    /// Names that its pickles import.
    pub imports: Vec<Import>,
    /// Limits that were reached, so that something was not looked at.
    pub limits_hit: Vec<String>,
}

/// Name and version of the program that scanned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// Name.
    pub name: Cow<'static, str>,
    /// Version of the scanner.
    pub version: Cow<'static, str>,
}

/// What was scanned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// In the words of the person who asked.
    pub name: String,
    /// SHA-256 of the file, where it is known without reading it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Bytes of all files.
    pub size_bytes: u64,
    /// Number of files.
    pub files: u64,
}

/// A file of a report, without its findings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileVerdict {
    /// Path below the folder.
    pub path: String,
    /// Length in bytes.
    pub size_bytes: u64,
    /// Everything that the bytes can be taken for.
    pub formats: Vec<Cow<'static, str>>,
    /// The verdict.
    pub verdict: Verdict,
}

/// The report on a file or on all files of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: Cow<'static, str>,
    /// Who scanned.
    pub tool: Tool,
    /// Version of the rules; a verdict of older rules is stale.
    pub rules_version: u32,
    /// What was scanned.
    pub target: Target,
    /// The worst of all files.
    pub verdict: Verdict,
    /// Findings, the worst first.
    pub findings: Vec<Finding>,
    /// Names that pickles import.
    pub imports: Vec<Import>,
    /// All formats that occur.
    pub formats: Vec<Cow<'static, str>>,
    /// The verdict on each file, by path.
    pub files: Vec<FileVerdict>,
    /// Limits that were reached.
    pub limits_hit: Vec<String>,
}

impl Report {
    /// Joins what was found in the files of a target.
    #[must_use]
    pub fn join(target: &str, mut scans: Vec<FileScan>) -> Self {
        scans.sort_by(|one, other| one.path.cmp(&other.path));
        let size_bytes = scans.iter().fold(0u64, |sum, scan| sum.saturating_add(scan.size_bytes));
        let mut report = Self {
            schema: SCHEMA.into(),
            tool: Tool { name: "weighthouse".into(), version: super::SCANNER_VERSION.into() },
            rules_version: super::RULES_VERSION,
            target: Target { name: target.to_owned(), digest: None, size_bytes, files: scans.len() as u64 },
            verdict: Verdict::Safe,
            findings: Vec::new(),
            imports: Vec::new(),
            formats: Vec::new(),
            files: Vec::new(),
            limits_hit: Vec::new(),
        };
        for scan in scans {
            let FileScan { path, size_bytes, formats, verdict, findings, imports, limits_hit } = scan;
            report.verdict = report.verdict.max(verdict);
            report.findings.extend(findings);
            report.imports.extend(imports);
            report.formats.extend(formats.iter().cloned());
            report.limits_hit.extend(limits_hit.into_iter().map(|limit| format!("{path}: {limit}")));
            report.files.push(FileVerdict { path, size_bytes, formats, verdict });
        }
        report.formats.sort();
        report.formats.dedup();
        report.findings.sort_by(order);
        report
    }
}

impl Report {
    /// Adds findings that were made afterwards.
    pub fn add(&mut self, findings: Vec<Finding>) {
        for finding in findings {
            self.verdict = self.verdict.max(finding.verdict);
            if let Some(file) = self.files.iter_mut().find(|file| file.path == finding.file) {
                file.verdict = file.verdict.max(finding.verdict);
            }
            self.findings.push(finding);
        }
        self.findings.sort_by(order);
    }
}

/// The worst first, then by place.
fn order(one: &Finding, other: &Finding) -> std::cmp::Ordering {
    let gravity = |finding: &Finding| (finding.verdict, finding.severity);
    fn place(finding: &Finding) -> (&str, Option<&str>, Option<u64>, &str) {
        (&finding.file, finding.member.as_deref(), finding.offset, &finding.detail)
    }
    gravity(other).cmp(&gravity(one)).then_with(|| place(one).cmp(&place(other)))
}

/// Sorts findings as reports have them.
pub(super) fn sort(findings: &mut [Finding]) {
    findings.sort_by(order);
}
