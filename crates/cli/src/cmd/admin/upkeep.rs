//! `wh admin gc`, `fsck`, `stats` and `retention`: what keeps a store in order.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use weighthouse::fsck::{FsckOptions, FsckReport, Part};
use weighthouse::gc::{Cause, GRACE_MS, GcOptions, GcReport, Need, Rows, Share, UNUSED_MS};
use weighthouse::retention::{Best, Judged, Keep, RetentionPlan, Rules};
use weighthouse::usage::{HubUsage, Waterfall};
use weighthouse::{AccountKind, Hub, RepoKind};

use super::Answer;
use crate::exit;
use crate::ui::size;

/// Problems that are printed one by one.
const MOST_LINES: usize = 100;

/// Arguments of `wh admin gc`
#[derive(Debug, Args)]
#[command(
    after_help = "Without --execute nothing changes. What a run finds to be unneeded is removed by a run after the grace."
)]
pub struct Gc {
    /// Act; otherwise only say what would be done
    #[arg(long)]
    execute: bool,
    /// How long something must have been unneeded: 0, 90s, 30m, 48h or 7d
    #[arg(long, default_value = "48h", value_parser = parse_time)]
    grace: Duration,
}

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

/// Orders about what a repository keeps
#[derive(Debug, Subcommand)]
pub enum Retention {
    /// Show the rules of a repository
    Show {
        /// NAMESPACE/NAME, or datasets/NAMESPACE/NAME
        repo: String,
    },
    /// Set the rules of a repository; without any it keeps everything
    Set(SetRules),
    /// Say what the rules would give up
    Preview {
        /// NAMESPACE/NAME, or datasets/NAMESPACE/NAME
        repo: String,
    },
    /// Give up what the rules do not keep; the next collections of garbage remove the bytes
    Apply {
        /// NAMESPACE/NAME, or datasets/NAMESPACE/NAME
        repo: String,
        /// User in whose name folders are removed
        #[arg(long = "as", value_name = "USER")]
        user: String,
    },
}

/// Arguments of `wh admin retention set`
#[derive(Debug, Args)]
pub struct SetRules {
    /// NAMESPACE/NAME, or datasets/NAMESPACE/NAME
    repo: String,
    /// User in whose name the rules are applied
    #[arg(long = "as", value_name = "USER")]
    user: String,
    /// Keep the last so many folders `checkpoint-N`
    #[arg(long, value_name = "N")]
    keep_last: Option<u64>,
    /// Keep folders whose step is a multiple
    #[arg(long, value_name = "STEPS")]
    keep_every: Option<u64>,
    /// Keep the best so many folders by --metric
    #[arg(long, value_name = "N", requires = "metric")]
    keep_best: Option<u64>,
    /// Keep the large files of the last so many commits
    #[arg(long, value_name = "N")]
    versions_last: Option<u64>,
    /// Keep the large files of every so many commits
    #[arg(long, value_name = "N")]
    versions_every: Option<u64>,
    /// Keep the large files of the best so many commits by --metric
    #[arg(long, value_name = "N", requires = "metric")]
    versions_best: Option<u64>,
    /// Metric in trainer_state.json, such as eval_loss
    #[arg(long)]
    metric: Option<String>,
    /// A higher value of the metric is better
    #[arg(long)]
    higher: bool,
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "" if number == "0" => 0,
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err("write a number and one of s, m, h, d".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "write a number and one of s, m, h, d".to_owned())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(|| "that is too long".to_owned())
}

impl Gc {
    /// Collects garbage, or says what would be collected.
    pub async fn run(self, hub: &Hub) -> anyhow::Result<Answer> {
        let grace_ms = i64::try_from(self.grace.as_millis()).unwrap_or(GRACE_MS);
        let report = hub.collect(&GcOptions { execute: self.execute, grace_ms, unused_ms: UNUSED_MS }).await?;
        let mut text = gc_text(&report);
        let mut json = gc_json(&report);
        if self.execute && !report.bases.is_empty() {
            let freed = hub.free_bases(&report, async |base| hub.rebase(base).await.map(drop)).await?;
            text = format!("{text}\nbases      {freed} are needed by nothing any more; the next runs remove them");
            if let Some(object) = json.as_object_mut() {
                object.insert("freed_bases".to_owned(), freed.into());
            }
        }
        let code = if report.failures.is_empty() { 0 } else { 8 };
        Ok(Answer { text, json, code })
    }
}

fn gc_text(report: &GcReport) -> String {
    let mut lines = Vec::new();
    let (did, will) = if report.executed { ("freed", "condemned") } else { ("would free", "would condemn") };
    lines.push(format!("{did} {}", size(report.freed_bytes())));
    lines.extend(report.freed.iter().map(share_line));
    let condemned: u64 = report.condemned.iter().map(|share| share.stored_bytes).sum();
    if !report.condemned.is_empty() {
        let hours = report.grace_ms / 3_600_000;
        lines.push(format!("{will} {}, to be removed by a run after the grace of {hours} h", size(condemned)));
        lines.extend(report.condemned.iter().map(share_line));
    }
    lines.push("kept".to_owned());
    for kept in &report.kept {
        let example = if kept.example.is_empty() { String::new() } else { format!(", such as {}", kept.example) };
        lines.push(format!("  {:>10}  {}{example}", size(kept.stored_bytes), need_words(kept.need)));
    }
    for base in &report.bases {
        let text = "needed only by files that are stored as their difference from it";
        lines.push(format!("  {:>10}  {} is {text} ({} xorbs)", size(base.stored_bytes), base.sha256, base.dependants));
    }
    let (packs, bytes) = report.packs;
    lines.push(format!("packs      {did} {packs} of {}", size(bytes)));
    if report.rewritten.0 > 0 {
        let (packs, bytes) = report.rewritten;
        lines.push(format!("           copied what is needed of {packs}; {} are free after the grace", size(bytes)));
    }
    let Rows { commits, trees, blobs, contents, xorbs } = report.removed;
    lines.push(format!(
        "rows       {commits} commits, {trees} trees, {blobs} blobs, {contents} contents, {xorbs} xorbs"
    ));
    let (conversions, comparisons) = report.unused;
    if conversions + comparisons > 0 {
        lines.push(format!("unused     {conversions} conversions, {comparisons} comparisons"));
    }
    lines.extend(report.failures.iter().map(|failure| format!("failed     {failure}")));
    if !report.executed {
        lines.push("nothing was changed; to act: wh admin gc --execute".to_owned());
    }
    lines.join("\n")
}

fn share_line(share: &Share) -> String {
    let repo = share.repo.as_deref().unwrap_or("-");
    format!("  {:>10}  {repo}: {}", size(share.stored_bytes), cause_words(share.cause))
}

fn cause_words(cause: Cause) -> &'static str {
    match cause {
        Cause::RepositoryDeleted => "the repository was deleted",
        Cause::NotNamed => "no branch or tag leads to it",
        Cause::Retention => "a rule of retention gave it up",
        _ => "left by a conversion or an unfinished upload",
    }
}

fn need_words(need: Need) -> &'static str {
    match need {
        Need::Commit => "named by commits",
        Need::Conversion => "made for downloads",
        Need::Recent => "given to a repository within the grace",
        Need::Upload => "part of an upload under way",
        Need::Base => "base of other files",
        _ => "condemned, waits for the end of the grace",
    }
}

fn cause_code(cause: Cause) -> &'static str {
    match cause {
        Cause::RepositoryDeleted => "repository_deleted",
        Cause::NotNamed => "not_named",
        Cause::Retention => "retention",
        _ => "leftover",
    }
}

fn need_code(need: Need) -> &'static str {
    match need {
        Need::Commit => "commit",
        Need::Conversion => "conversion",
        Need::Recent => "recent",
        Need::Upload => "upload",
        Need::Base => "base",
        _ => "waiting",
    }
}

fn gc_json(report: &GcReport) -> Value {
    let shares = |shares: &[Share]| {
        let share = |s: &Share| json!({ "repo": s.repo, "cause": cause_code(s.cause), "xorbs": s.xorbs, "stored_bytes": s.stored_bytes });
        shares.iter().map(share).collect::<Vec<_>>()
    };
    let rows = |rows: Rows| {
        json!({
            "commits": rows.commits, "trees": rows.trees, "blobs": rows.blobs, "contents": rows.contents,
            "xorbs": rows.xorbs,
        })
    };
    json!({
        "schema": "weighthouse.gc/1",
        "executed": report.executed,
        "began_at_ms": report.began_at_ms,
        "grace_ms": report.grace_ms,
        "freed_bytes": report.freed_bytes(),
        "freed": shares(&report.freed),
        "condemned": shares(&report.condemned),
        "kept": report.kept.iter().map(|k| json!({
            "need": need_code(k.need), "xorbs": k.xorbs, "stored_bytes": k.stored_bytes, "example": k.example,
        })).collect::<Vec<_>>(),
        "bases": report.bases.iter().map(|b| json!({
            "sha256": b.sha256.to_string(), "size_bytes": b.size_bytes, "stored_bytes": b.stored_bytes,
            "dependants": b.dependants,
        })).collect::<Vec<_>>(),
        "removed": rows(report.removed),
        "marked": rows(report.marked),
        "packs": { "removed": report.packs.0, "removed_bytes": report.packs.1,
                   "rewritten": report.rewritten.0, "rewritten_bytes": report.rewritten.1 },
        "unused": { "conversions": report.unused.0, "comparisons": report.unused.1 },
        "failures": report.failures,
    })
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

/// How much is stored.
pub async fn stats(hub: &Hub) -> anyhow::Result<Answer> {
    let users = hub.accounts(AccountKind::User).await?.len();
    let orgs = hub.accounts(AccountKind::Org).await?.len();
    let usage = hub.hub_usage().await?;
    let HubUsage { totals, waterfall, .. } = &usage;
    let row = |name: &str, value: String| format!("{name:<16}{value}");
    let mut lines = vec![
        row("users", users.to_string()),
        row("organisations", orgs.to_string()),
        row("repositories", totals.repos.to_string()),
        row("logical", size(waterfall.logical_bytes)),
        row("  chunks", format!("{} (each once)", size(waterfall.chunk_bytes))),
        row("  derived", format!("-{}", size(waterfall.derived_bytes))),
        row("  delta", format!("-{}", size(waterfall.delta_bytes))),
        row("  coded", format!("-{}", size(waterfall.coded_bytes))),
        row("stored", size(waterfall.stored_bytes)),
        row("packs", format!("{} of {}", totals.packs, size(totals.pack_bytes))),
        row("catalog", size(usage.catalog_bytes)),
        row("on disk", size(usage.disk_bytes)),
        row("to be removed", size(totals.condemned_bytes.saturating_add(totals.retired_bytes))),
        row(
            "scrub",
            format!(
                "{} of {} packs checked, {} damaged",
                usage.scrub.checked,
                usage.scrub.packs,
                usage.scrub.problems.len()
            ),
        ),
    ];
    lines.extend(usage.scrub.problems.iter().map(|(pack, problem)| format!("  pack {pack}: {problem}")));
    Ok(Answer {
        text: lines.join("\n"),
        json: json!({
            "schema": "weighthouse.stats/1", "users": users, "orgs": orgs, "repos": totals.repos,
            "packs": totals.packs, "stored_bytes": totals.pack_bytes,
            "logical_bytes": waterfall.logical_bytes, "unique_bytes": totals.unique_bytes,
            "converted_bytes": totals.converted_bytes,
            "waterfall": waterfall_json(waterfall),
            "condemned_bytes": totals.condemned_bytes, "retired_bytes": totals.retired_bytes,
            "catalog_bytes": usage.catalog_bytes, "unfinished_bytes": usage.unfinished_bytes,
            "disk_bytes": usage.disk_bytes,
            "scrub": {
                "packs": usage.scrub.packs, "checked": usage.scrub.checked, "oldest_ms": usage.scrub.oldest_ms,
                "problems": usage.scrub.problems.iter().map(|(pack, problem)| json!({
                    "pack": pack.to_string(), "problem": problem,
                })).collect::<Vec<_>>(),
            },
            "collected_at_ms": usage.collected_at_ms,
        }),
        code: 0,
    })
}

fn waterfall_json(waterfall: &Waterfall) -> Value {
    json!({
        "logical_bytes": waterfall.logical_bytes, "dedup_bytes": waterfall.dedup_bytes(),
        "chunk_bytes": waterfall.chunk_bytes, "derived_bytes": waterfall.derived_bytes,
        "delta_bytes": waterfall.delta_bytes, "coded_bytes": waterfall.coded_bytes,
        "stored_bytes": waterfall.stored_bytes,
    })
}

impl Retention {
    /// Carries out one order.
    pub async fn run(self, hub: &Hub) -> anyhow::Result<Answer> {
        match self {
            Self::Show { repo } => {
                let repo = open(hub, &repo).await?;
                let (rules, record) = hub.retention(&repo).await?;
                let text = serde_json::to_string_pretty(&rules)?;
                let json = json!({
                    "schema": "weighthouse.retention/1", "repo": repo.record.id, "rules": rules,
                    "applied_at_ms": record.map(|record| record.applied_at_ms).filter(|at| *at > 0),
                });
                Ok(Answer { text, json, code: 0 })
            }
            Self::Set(set) => set.run(hub).await,
            Self::Preview { repo } => {
                let repo = open(hub, &repo).await?;
                let plan = hub.retention_plan(&repo, None).await?;
                Ok(plan_answer(&repo.record.id, &plan, None))
            }
            Self::Apply { repo, user } => {
                let repo = open(hub, &repo).await?;
                let caller = hub.administrator(&user).await?;
                let plan = hub.retention_plan(&repo, None).await?;
                let commit = hub.apply_retention(&caller, &repo, &plan).await?;
                let commit = commit.map_or_else(String::new, |revision| revision.oid.to_string());
                Ok(plan_answer(&repo.record.id, &plan, Some(&commit)))
            }
        }
    }
}

impl SetRules {
    async fn run(self, hub: &Hub) -> anyhow::Result<Answer> {
        let repo = open(hub, &self.repo).await?;
        let caller = hub.administrator(&self.user).await?;
        let best = |count: Option<u64>| {
            let metric = self.metric.clone().unwrap_or_default();
            count.map(|count| Best { count, metric, higher: self.higher })
        };
        let keep = |last: Option<u64>, every: Option<u64>, best: Option<Best>| {
            (last.is_some() || every.is_some() || best.is_some()).then_some(Keep { last, every, best })
        };
        let rules = Rules {
            checkpoints: keep(self.keep_last, self.keep_every, best(self.keep_best)),
            versions: keep(self.versions_last, self.versions_every, best(self.versions_best)),
        };
        hub.set_retention(&caller, &repo, &rules).await?;
        let id = &repo.record.id;
        let text = match rules.is_empty() {
            true => format!("{id} keeps everything"),
            false => format!("set the rules of {id}\nnext: wh admin retention preview {}", self.repo),
        };
        Ok(Answer { text, json: json!({ "schema": "weighthouse.retention/1", "repo": id, "rules": rules }), code: 0 })
    }
}

fn plan_answer(id: &str, plan: &RetentionPlan, applied: Option<&str>) -> Answer {
    let line = |judged: &Judged| {
        let metric = judged.metric.as_ref().map_or(String::new(), |value| format!("  {value}"));
        let bytes = if judged.size_bytes > 0 { format!("  {}", size(judged.size_bytes)) } else { String::new() };
        match &judged.kept {
            Some(why) => format!("  keep    {}{metric}{bytes}  {why}", judged.name),
            None => format!("  give up {}{metric}{bytes}", judged.name),
        }
    };
    let mut lines = Vec::new();
    if !plan.checkpoints.is_empty() {
        lines.push("checkpoints".to_owned());
        lines.extend(plan.checkpoints.iter().map(line));
    }
    if !plan.versions.is_empty() {
        lines.push("versions".to_owned());
        lines.extend(plan.versions.iter().map(line));
    }
    if lines.is_empty() {
        lines.push("the rules give up nothing".to_owned());
    }
    match applied {
        Some("") => lines.push("applied; no folder had to be removed".to_owned()),
        Some(commit) => lines.push(format!("applied by commit {commit}")),
        None => lines.push(format!("nothing was changed; to act: wh admin retention apply {id} --as USER")),
    }
    let judged = |judged: &Judged| {
        json!({
            "name": judged.name, "number": judged.number, "metric": judged.metric, "kept": judged.kept,
            "size_bytes": judged.size_bytes,
        })
    };
    Answer {
        text: lines.join("\n"),
        json: json!({
            "schema": "weighthouse.retention-plan/1", "repo": id, "rules": plan.rules, "head": plan.head.to_string(),
            "checkpoints": plan.checkpoints.iter().map(judged).collect::<Vec<_>>(),
            "versions": plan.versions.iter().map(judged).collect::<Vec<_>>(),
            "applied": applied.is_some(), "commit": applied.filter(|commit| !commit.is_empty()),
        }),
        code: 0,
    }
}

/// Opens a repository with every right.
async fn open(hub: &Hub, name: &str) -> anyhow::Result<weighthouse::access::Repo> {
    let (kind, id) = match name.strip_prefix("datasets/") {
        Some(id) => (RepoKind::Dataset, id),
        None => (RepoKind::Model, name),
    };
    Ok(hub.any_repo(kind, id).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit_and_do_not_overflow() {
        assert_eq!(parse_time("0"), Ok(Duration::ZERO));
        assert_eq!(parse_time("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_time("7d"), Ok(Duration::from_secs(604_800)));
        for wrong in ["", "5", "h", "-1h", "1 h", "1w", "99999999999999999999d", "18446744073709551615d"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }
}
