//! `wh admin fsck`: checks everything that is stored.

use clap::Args;
use serde_json::{Value, json};
use weighthouse::Hub;
use weighthouse::fsck::{FsckOptions, FsckReport, Part};

use super::Answer;
use crate::exit;
use crate::ui::size;

/// Problems that are printed one by one.
const MOST_LINES: usize = 100;

/// Arguments of `wh admin fsck`
#[derive(Debug, Args)]
pub struct Fsck {
    /// Read every byte and compare every digest
    #[arg(long)]
    deep: bool,
    /// Mend what can be mended from what is still there
    #[arg(long)]
    repair: bool,
}

impl Fsck {
    /// Checks what is stored.
    pub async fn run(self, hub: &Hub) -> anyhow::Result<Answer> {
        let report = hub.fsck(&FsckOptions { deep: self.deep, repair: self.repair }).await?;
        let code = if report.is_clean() { 0 } else { exit::DAMAGED };
        Ok(Answer { text: fsck_text(&report), json: fsck_json(&report), code })
    }
}

fn fsck_text(report: &FsckReport) -> String {
    let checked = report.checked;
    let mut lines = vec![format!(
        "checked {} repositories, {} commits, {} trees, {} blobs, {} contents, {} xorbs, {} packs",
        checked.repos, checked.commits, checked.trees, checked.blobs, checked.contents, checked.xorbs, checked.packs
    )];
    if report.deep {
        lines.push(format!("compared the SHA-256 of {}", size(checked.file_bytes)));
    }
    for problem in report.problems.iter().take(MOST_LINES) {
        let mended = problem.repaired.as_ref().map_or(String::new(), |how| format!("; mended: {how}"));
        lines.push(format!("{}: {}{mended}", problem.what, problem.detail));
    }
    let more = report.problems.len().saturating_sub(MOST_LINES) as u64 + report.more_problems;
    if more > 0 {
        lines.push(format!("and {more} more problems; --json lists them"));
    }
    for loss in report.losses.iter().take(MOST_LINES) {
        let ranges: Vec<String> = loss.ranges.iter().map(|range| format!("{}..{}", range.start, range.end)).collect();
        let place = match &loss.repo {
            Some(repo) => format!("{repo} {} at {}", loss.path, loss.revision),
            None => format!("content {}, which no commit names", loss.sha256),
        };
        lines.push(format!("lost: {place}: bytes {} of {}", ranges.join(", "), loss.size_bytes));
    }
    let (objects, bytes) = report.unknown_objects;
    if objects > 0 {
        lines.push(format!("{objects} objects of {} are on no record; they stay", size(bytes)));
    }
    lines.push(
        if report.problems.is_empty() {
            "nothing is wrong"
        } else if report.is_clean() {
            "all of it was mended"
        } else {
            "something is wrong"
        }
        .to_owned(),
    );
    lines.join("\n")
}

fn fsck_json(report: &FsckReport) -> Value {
    let part = |part: Part| match part {
        Part::History => "history",
        Part::Content => "content",
        Part::Xorb => "xorb",
        _ => "pack",
    };
    let checked = report.checked;
    json!({
        "schema": "weighthouse.fsck/1",
        "clean": report.is_clean(),
        "deep": report.deep,
        "checked": {
            "repos": checked.repos, "commits": checked.commits, "trees": checked.trees, "blobs": checked.blobs,
            "contents": checked.contents, "xorbs": checked.xorbs, "packs": checked.packs,
            "file_bytes": checked.file_bytes,
        },
        "problems": report.problems.iter().map(|p| json!({
            "part": part(p.part), "what": p.what, "detail": p.detail, "repaired": p.repaired,
        })).collect::<Vec<_>>(),
        "more_problems": report.more_problems,
        "losses": report.losses.iter().map(|l| json!({
            "repo": l.repo, "path": l.path, "revision": l.revision, "sha256": l.sha256.to_string(),
            "size_bytes": l.size_bytes, "ranges": l.ranges.iter().map(|r| [r.start, r.end]).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "unknown_objects": { "count": report.unknown_objects.0, "bytes": report.unknown_objects.1 },
    })
}
