//! Reports of the scanner that a hub keeps: who believes the hub need not download what it has judged.

use std::collections::BTreeMap;

use http::StatusCode;
use reqwest::Method;
use weighthouse::format::Folder;
use weighthouse::format::source::FolderFile;
use weighthouse::scan::{RULES_VERSION, Report, SCHEMA};

use super::error::ClientError;
use super::remote_folder::RemoteFolder;
use super::target::{path, segment};

/// Longest report, in bytes.
const MAX_REPORT_BYTES: usize = 64 << 20;

/// What a hub has judged.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoredReport {
    /// A report by the rules of this program, about every file that was asked for.
    Current(Box<Report>),
    /// A report by other rules.
    OtherRules(u32),
    /// Some file waits to be judged.
    Waits,
    /// None that says something of every file: there are too many, or the hub knows nothing like it.
    Nothing,
}

impl RemoteFolder {
    /// The report that the hub keeps of these files, or of one of them.
    ///
    /// # Errors
    /// Those of any call; a hub that knows no reports is no error.
    pub async fn stored_report(&self, file: Option<&str>) -> Result<StoredReport, ClientError> {
        let what = "reading the hub's report";
        let below = file.map(|file| format!("/{}", path(file))).unwrap_or_default();
        let address = format!("{}/scan/{}{below}", self.repo().api(), segment(self.commit()));
        let sent = self.api().retrying(async || {
            let answer = self.api().send(what, self.api().request(Method::GET, &address)).await?;
            let status = answer.status();
            Ok((status, self.api().read(what, answer, MAX_REPORT_BYTES).await?))
        });
        let (status, bytes) = match sent.await {
            Ok(answer) => answer,
            Err(error) if error.status().is_some_and(|status| (400..500).contains(&status)) => {
                return Ok(StoredReport::Nothing);
            }
            Err(error) => return Err(error),
        };
        if status == StatusCode::ACCEPTED {
            return Ok(StoredReport::Waits);
        }
        // Another kind of hub may answer anything here.
        let Ok(report) = serde_json::from_slice::<Report>(&bytes) else { return Ok(StoredReport::Nothing) };
        Ok(judged(self.files(), report, file))
    }
}

/// A report is taken only when it is about every file, and its verdict follows from what it says of each.
fn judged(files: &[FolderFile], mut report: Report, file: Option<&str>) -> StoredReport {
    let asked = files.iter().filter(|known| file.is_none_or(|file| *known.path == *file));
    let asked: BTreeMap<&str, u64> = asked.map(|known| (&*known.path, known.size_bytes)).collect();
    let told: BTreeMap<&str, u64> = report.files.iter().map(|told| (&*told.path, told.size_bytes)).collect();
    if report.schema != SCHEMA || asked.is_empty() || asked != told {
        return StoredReport::Nothing;
    }
    if report.rules_version != RULES_VERSION {
        return StoredReport::OtherRules(report.rules_version);
    }
    let parts = report.files.iter().map(|told| told.verdict).chain(report.findings.iter().map(|found| found.verdict));
    report.verdict = parts.fold(report.verdict, std::cmp::Ord::max);
    StoredReport::Current(Box::new(report))
}

#[cfg(test)]
mod tests {
    use weighthouse::scan::Verdict;

    use super::*;

    fn report(files: &str) -> Report {
        let json = format!(
            r#"{{"schema": "weighthouse.scan/1", "tool": {{"name": "weighthouse", "version": "1"}}, "rules_version": 2,
                "target": {{"name": "m", "size_bytes": 1, "files": 1}}, "verdict": "safe", "findings": [], "imports": [],
                "formats": [], "files": [{files}], "limits_hit": []}}"#
        );
        let mut report: Report = serde_json::from_str(&json).unwrap();
        report.rules_version = RULES_VERSION;
        report
    }

    fn told(path: &str, size_bytes: u64, verdict: &str) -> String {
        format!(r#"{{"path": "{path}", "size_bytes": {size_bytes}, "formats": [], "verdict": "{verdict}"}}"#)
    }

    #[test]
    fn a_report_that_does_not_say_all_is_not_taken() {
        let files = ["a.bin", "b.bin"].map(|path| FolderFile { path: path.into(), size_bytes: 5 });
        let [a, b] = ["a.bin", "b.bin"].map(|path| told(path, 5, "safe"));
        let both = format!("{a}, {b}");
        assert!(matches!(judged(&files, report(&both), None), StoredReport::Current(_)));
        assert!(matches!(judged(&files, report(&b), Some("b.bin")), StoredReport::Current(_)));
        let longer = format!("{a}, {}", told("b.bin", 6, "safe"));
        let other = format!("{a}, {}", told("c.bin", 5, "safe"));
        for (said, file) in
            [(&*a, None), ("", None), (&*longer, None), (&*other, None), (&*a, Some("b.bin")), ("", Some("x"))]
        {
            assert_eq!(judged(&files, report(said), file), StoredReport::Nothing, "{said}");
        }
        let stale = Report { rules_version: RULES_VERSION - 1, ..report(&both) };
        assert_eq!(judged(&files, stale, None), StoredReport::OtherRules(RULES_VERSION - 1));
    }

    #[test]
    fn a_verdict_is_never_better_than_what_stands_below_it() {
        let files = [FolderFile { path: "a.bin".into(), size_bytes: 5 }];
        let StoredReport::Current(found) = judged(&files, report(&told("a.bin", 5, "unsafe")), None) else {
            panic!("it was not taken")
        };
        assert_eq!(found.verdict, Verdict::Unsafe);
    }
}
