//! `wh admin policy`: what decides, read, checked, tried and changed.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::json;
use weighthouse::policies::{DryRun, Level, Standing};
use weighthouse::policy::DEFAULTS;
use weighthouse::{Hub, PolicyRecord};

use super::{Answer, administrator, moment};

/// Longest text that is read, in bytes; the hub has a lower limit and says so.
const MAX_READ_BYTES: u64 = 1 << 20;

#[derive(Debug, Args)]
pub(super) struct Of {
    /// Organisation or user, for the policies of their own repositories; the hub's without it
    #[arg(long = "of", value_name = "NAME")]
    name: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Policy {
    /// Print the policies that decide
    Show(Of),
    /// Say whether a file of policies could be saved
    Check {
        #[command(flatten)]
        of: Of,
        /// File; `-` reads standard input
        file: PathBuf,
    },
    /// Save a file of policies
    Set {
        #[command(flatten)]
        of: Of,
        /// File; `-` reads standard input
        #[arg(required_unless_present = "defaults")]
        file: Option<PathBuf>,
        /// Go back to what the program brings
        #[arg(long, conflicts_with = "file")]
        defaults: bool,
        /// What the change is for
        #[arg(long, default_value = "")]
        note: String,
        /// Version that it replaces, as `show --json` says; without it, whatever is there
        #[arg(long)]
        over: Option<i64>,
        /// Administrator who answers for it; needed where there are several
        #[arg(long)]
        by: Option<String>,
    },
    /// Say what a file of policies would have decided in the last days
    DryRun {
        #[command(flatten)]
        of: Of,
        /// File; `-` reads standard input
        file: PathBuf,
        /// Days, at most 31
        #[arg(long, default_value_t = 30)]
        days: i64,
    },
    /// List the versions
    History {
        #[command(flatten)]
        of: Of,
    },
}

impl Policy {
    pub(super) async fn run(self, hub: &Hub) -> anyhow::Result<Answer> {
        match self {
            Self::Show(of) => {
                let level = of.level(hub).await?;
                Ok(show(&level, &hub.policies(&level).await?))
            }
            Self::Check { of, file } => {
                let level = of.level(hub).await?;
                let set = hub.check_policies(&level, &read(&file)?).await?;
                let ids = set.ids();
                Ok(Answer {
                    code: 0,
                    text: format!("{} policies, nothing wrong", ids.len()),
                    json: json!({ "schema": "weighthouse.policy-check/1", "of": level.name(), "policies": ids }),
                })
            }
            Self::Set { of, file, defaults, note, over, by } => {
                let level = of.level(hub).await?;
                let text = match file {
                    Some(file) => read(&file)?,
                    None if defaults && level == Level::Hub => DEFAULTS.to_owned(),
                    None => String::new(),
                };
                let caller = administrator(hub, by.as_deref()).await?;
                let over = match over {
                    Some(version) => version,
                    None => hub.policies(&level).await?.version,
                };
                let version = hub.save_policies(&caller, &level, &text, over, &note).await?;
                Ok(Answer {
                    code: 0,
                    text: format!("version {version} decides now, in other servers within two seconds"),
                    json: json!({ "schema": "weighthouse.policy-saved/1", "of": level.name(), "version": version }),
                })
            }
            Self::DryRun { of, file, days } => {
                let level = of.level(hub).await?;
                Ok(tried(&level, &hub.dry_run(&level, &read(&file)?, days).await?))
            }
            Self::History { of } => {
                let level = of.level(hub).await?;
                Ok(history(&level, &hub.policy_history(&level, 1_000).await?))
            }
        }
    }
}

impl Of {
    async fn level(&self, hub: &Hub) -> anyhow::Result<Level> {
        Ok(hub.policy_level(self.name.as_deref()).await?)
    }
}

fn read(file: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let failed = || format!("reading `{}`", file.display());
    if file == Path::new("-") {
        std::io::stdin().take(MAX_READ_BYTES).read_to_string(&mut text).with_context(failed)?;
    } else {
        let opened = std::fs::File::open(file).with_context(failed)?;
        opened.take(MAX_READ_BYTES).read_to_string(&mut text).with_context(failed)?;
    }
    Ok(text)
}

fn show(level: &Level, standing: &Standing) -> Answer {
    let saved = standing.saved.as_ref();
    Answer {
        code: 0,
        text: standing.text.trim_end().to_owned(),
        json: json!({
            "schema": "weighthouse.policies/1", "of": level.name(), "version": standing.version,
            "saved_by": saved.map(|s| &s.account_name), "saved_at_ms": saved.map(|s| s.saved_at_ms),
            "note": saved.map(|s| &s.note), "text": standing.text,
        }),
    }
}

fn history(level: &Level, versions: &[PolicyRecord]) -> Answer {
    let line =
        |p: &PolicyRecord| format!("{:>4}  {}  {}  {}", p.version, moment(p.saved_at_ms), p.account_name, p.note);
    Answer {
        code: 0,
        text: versions.iter().map(line).collect::<Vec<_>>().join("\n"),
        json: json!({
            "schema": "weighthouse.policy-history/1", "of": level.name(),
            "versions": versions.iter().map(|p| json!({
                "version": p.version, "saved_by": p.account_name, "saved_at_ms": p.saved_at_ms, "note": p.note,
                "text": p.text,
            })).collect::<Vec<_>>(),
        }),
    }
}

fn tried(level: &Level, found: &DryRun) -> Answer {
    let mut lines = vec![format!(
        "{} requests in {} days: {} would be refused, {} allowed that are refused now, {} stay refused",
        found.requests, found.days, found.newly_refused, found.newly_allowed, found.still_refused
    )];
    for change in &found.changes {
        let word = if change.allowed { "allowed" } else { "refused" };
        let policies: Vec<_> = change.reasons.iter().map(|reason| reason.policy.as_str()).collect();
        lines.push(format!(
            "{word}  {:>6}×  {} {}/{}  ({}; {})",
            change.times,
            change.action,
            change.repo,
            change.path,
            change.verdict,
            policies.join(", ")
        ));
    }
    if found.more_changes > 0 {
        lines.push(format!("and {} requests more", found.more_changes));
    }
    Answer { code: 0, text: lines.join("\n"), json: dry_run_json(level, found) }
}

fn dry_run_json(level: &Level, found: &DryRun) -> serde_json::Value {
    json!({
        "schema": "weighthouse.policy-dry-run/1", "of": level.name(), "days": found.days,
        "requests": found.requests, "newly_refused": found.newly_refused, "newly_allowed": found.newly_allowed,
        "still_refused": found.still_refused, "more_changes": found.more_changes,
        "changes": found.changes.iter().map(|change| json!({
            "action": change.action, "repo": change.repo, "path": change.path, "verdict": change.verdict,
            "times": change.times, "askers": change.askers, "allowed": change.allowed,
            "reasons": change.reasons.iter().map(|r| json!({
                "policy": r.policy, "text": r.text, "level": r.level.as_str(),
            })).collect::<Vec<_>>(),
            "last_at_ms": change.last_at_ms,
        })).collect::<Vec<_>>(),
    })
}
