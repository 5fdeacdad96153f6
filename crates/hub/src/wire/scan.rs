//! What the scanner says, in the words of the Hub: `securityFileStatus`, `securityRepoStatus`, and warnings to clients.
//!
//! - `GET /api/{models|datasets}/{id}/tree/{rev}` and `paths-info` with `expand=true`
//! - `GET /api/{models|datasets}/{id}` with `securityStatus=true`
//! - our own: `GET /api/{models|datasets}/{id}/scan/{rev}[/{path}]`, see `docs/reference/scan.md`

use http::HeaderName;
use serde_json::{Value, json};
use weighthouse::gate::{FileStatus, TreeStatus};
use weighthouse::scan::{Safety, Verdict};

use super::hf::repo::{FileIssue, SecurityRepoStatus};
use super::hf::tree::SecurityFileStatus;

/// Header with something that a client prints: a topic, and a sentence.
pub const X_HF_WARNING: HeaderName = HeaderName::from_static("x-hf-warning");

impl SecurityFileStatus {
    /// The status of a file; `report` is where its report can be read.
    #[must_use]
    pub fn of(status: &FileStatus, report: &str) -> Self {
        let scanner = |verdict: Verdict, more: Value| {
            let word = if status.verdict.is_none() { "queued" } else { verdict.as_str() };
            let mut scan = json!({ "status": word, "reportLabel": "Weighthouse", "reportLink": report });
            if let (Value::Object(scan), Value::Object(more)) = (&mut scan, more) {
                scan.extend(more);
                if !status.scanner.is_empty() {
                    scan.insert("version".to_owned(), format!("{}+rules.{}", status.scanner, status.rules).into());
                }
            }
            scan
        };
        let facts = &status.facts;
        let imports: Vec<Value> = facts
            .imports
            .iter()
            .map(|import| json!({ "module": import.module, "name": import.name, "safety": safety(import.safety) }))
            .collect();
        let stale = status.is_stale.then(|| "judged by older rules; it waits to be judged anew".to_owned());
        let message = facts.worst.clone().or(stale);
        let message = message.map_or_else(|| json!({}), |message| json!({ "message": message }));
        let mut pickles = json!({ "pickleImports": imports });
        if facts.pickles > Verdict::Safe
            && let (Value::Object(pickles), Value::Object(message)) = (&mut pickles, message.clone())
        {
            pickles.extend(message);
        }
        Self {
            status: status.word().to_owned(),
            av_scan: Some(scanner(facts.others, message)),
            pickle_import_scan: Some(scanner(facts.pickles, pickles)),
        }
    }
}

const fn safety(safety: Safety) -> &'static str {
    match safety {
        Safety::Innocuous => "innocuous",
        Safety::Dangerous => "dangerous",
        _ => "suspicious",
    }
}

impl SecurityRepoStatus {
    /// The status of a revision.
    #[must_use]
    pub fn of(status: &TreeStatus) -> Self {
        let issue = |issue: &weighthouse::gate::Issue| FileIssue {
            path: issue.path.clone(),
            level: issue.verdict.as_str().to_owned(),
        };
        Self { scans_done: status.is_done(), files_with_issues: status.known.issues.iter().map(issue).collect() }
    }
}
