//! `wh admin gc`: removes what nothing needs, a plan first.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use weighthouse::Hub;
use weighthouse::gc::{Cause, GRACE_MS, GcOptions, GcReport, Need, Rows, Share, UNUSED_MS};

use super::Answer;
use crate::ui::size;

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

/// Seconds in the largest unit of which they are so many, as [`parse_time`] reads them.
fn time_words(seconds: i64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let fitting = units.into_iter().find(|(unit, _)| seconds >= *unit && seconds % unit == 0);
    fitting.map_or_else(|| "0".to_owned(), |(unit, name)| format!("{}{name}", seconds / unit))
}

fn gc_text(report: &GcReport) -> String {
    let mut lines = Vec::new();
    let (did, will) = if report.executed { ("freed", "condemned") } else { ("would free", "would condemn") };
    lines.push(format!("{did} {}", size(report.freed_bytes())));
    lines.extend(report.freed.iter().map(share_line));
    let condemned: u64 = report.condemned.iter().map(|share| share.stored_bytes).sum();
    if !report.condemned.is_empty() {
        let grace = time_words(report.grace_ms / 1_000);
        lines.push(format!("{will} {}, to be removed by a run after the grace of {grace}", size(condemned)));
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
        "rows       {commits} commits, {trees} trees, {blobs} blobs, {contents} contents, {xorbs} xorbs, {} verdicts",
        report.verdicts
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
        "removed_verdicts": report.verdicts,
        "marked": rows(report.marked),
        "packs": { "removed": report.packs.0, "removed_bytes": report.packs.1,
                   "rewritten": report.rewritten.0, "rewritten_bytes": report.rewritten.1 },
        "unused": { "conversions": report.unused.0, "comparisons": report.unused.1 },
        "failures": report.failures,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit_and_do_not_overflow() {
        assert_eq!(parse_time("0"), Ok(Duration::ZERO));
        assert_eq!(parse_time("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_time("7d"), Ok(Duration::from_secs(604_800)));
        for text in ["0", "90s", "30m", "5h", "2d"] {
            assert_eq!(time_words(parse_time(text).unwrap().as_secs() as i64), text);
        }
        for wrong in ["", "5", "h", "-1h", "1 h", "1w", "99999999999999999999d", "18446744073709551615d"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }
}
