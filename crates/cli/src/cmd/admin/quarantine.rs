//! `wh admin quarantine`: files that nobody gets, and those that an administrator vouched for.

use clap::Subcommand;
use serde_json::json;
use weighthouse::gate::Quarantined;
use weighthouse::names::{kind_and_id, written};
use weighthouse::policies::NewOverride;
use weighthouse::revision::MAIN;
use weighthouse::{Hub, OverrideRecord};

use super::{Answer, administrator, any_administrator, moment};
use crate::words::plain;

/// Files that are asked for at once.
const PART: usize = 1_000;

#[derive(Debug, Subcommand)]
pub(super) enum Quarantine {
    /// List files at the heads of branches that policies keep back because of their verdicts
    List {
        /// Organisation or user that owns them
        #[arg(long)]
        of: Option<String>,
    },
    /// Vouch for a file as it is now; other bytes at its place are refused as before
    Override {
        /// NAMESPACE/NAME, or datasets/NAMESPACE/NAME
        repo: String,
        /// Path in the repository
        path: String,
        /// Branch, tag or commit
        #[arg(long, default_value = MAIN)]
        revision: String,
        /// Why
        #[arg(long)]
        reason: String,
        /// Days until it no longer counts
        #[arg(long, value_name = "DAYS")]
        expires_in: Option<u32>,
        /// Administrator who answers for it; needed where there are several
        #[arg(long)]
        by: Option<String>,
    },
    /// List what was vouched for, the newest first
    Overrides,
    /// Take an override back
    End {
        /// Id as `overrides` shows it
        id: String,
        /// Administrator who answers for it; needed where there are several
        #[arg(long)]
        by: Option<String>,
    },
}

impl Quarantine {
    pub(super) async fn run(self, hub: &Hub) -> anyhow::Result<Answer> {
        match self {
            Self::List { of } => list(hub, of.as_deref()).await,
            Self::Override { repo, path, revision, reason, expires_in, by } => {
                let caller = administrator(hub, by.as_deref()).await?;
                let (kind, id) = kind_and_id(&repo);
                let (repo, at) = hub.repo_at(&caller, kind, id, &revision).await?;
                let file = hub.file(&at, &revision, &path).await?;
                let new = NewOverride {
                    path,
                    digest: file.sha256.to_string(),
                    reason,
                    lifetime_ms: expires_in.map(|days| i64::from(days) * 86_400_000),
                };
                let made = hub.override_verdict(&caller, &repo, new).await?;
                Ok(Answer {
                    code: 0,
                    text: format!("released {} {} ({})", repo.record.id, made.path, made.digest),
                    json: json!({
                        "schema": "weighthouse.override/1", "id": made.id, "repo": repo.record.id, "path": made.path,
                        "digest": made.digest, "reason": made.reason, "by": made.account_name,
                        "expires_at_ms": made.expires_at_ms,
                    }),
                })
            }
            Self::Overrides => {
                let caller = any_administrator(hub).await?;
                let all = hub.overrides(&caller, 1_000).await?;
                let line = |o: &OverrideRecord| {
                    let end = match (o.ended_at_ms, o.expires_at_ms) {
                        (Some(_), _) => "  taken back".to_owned(),
                        (None, Some(ms)) => format!("  until {}", moment(ms)),
                        _ => String::new(),
                    };
                    format!("{}  {}  {}  {}  {}{end}", o.id, moment(o.made_at_ms), o.account_name, o.path, o.reason)
                };
                Ok(Answer {
                    code: 0,
                    text: all.iter().map(line).collect::<Vec<_>>().join("\n"),
                    json: json!({
                        "schema": "weighthouse.overrides/1",
                        "overrides": all.iter().map(entry).collect::<Vec<_>>(),
                    }),
                })
            }
            Self::End { id, by } => {
                let caller = administrator(hub, by.as_deref()).await?;
                let ended = hub.end_override(&caller, &id).await?;
                Ok(Answer {
                    code: 0,
                    text: format!("{} is refused again, unless another override covers it", ended.path),
                    json: json!({ "schema": "weighthouse.override-ended/1", "id": ended.id, "path": ended.path }),
                })
            }
        }
    }
}

async fn list(hub: &Hub, of: Option<&str>) -> anyhow::Result<Answer> {
    let owner = match of {
        Some(name) => Some(hub.account(name).await?.id),
        None => None,
    };
    let (mut files, mut after) = (Vec::new(), None);
    loop {
        let part = hub.quarantined(owner.as_deref(), after.as_deref(), PART).await?;
        files.extend(part.files);
        after = part.next;
        if after.is_none() {
            break;
        }
    }
    let line = |file: &Quarantined| {
        let name = written(file.kind, &file.repo);
        let branches = file.branches.iter().map(|branch| plain(branch)).collect::<Vec<_>>().join(", ");
        let mut line = format!("{:<10}  {name} {}  on {branches}", file.verdict.as_str(), plain(&file.path));
        if file.released {
            line += "  released";
        }
        for made in &file.overrides {
            let until = made.expires_at_ms.map(|ms| format!(", until {}", moment(ms))).unwrap_or_default();
            line += &format!("\n            {} {}: {}{until}", made.id, plain(&made.account_name), plain(&made.reason));
        }
        line
    };
    let text = files.iter().map(line).collect::<Vec<_>>().join("\n");
    Ok(Answer {
        code: 0,
        text: if files.is_empty() { "nothing is in quarantine".to_owned() } else { text },
        json: json!({
            "schema": "weighthouse.quarantine/1",
            "files": files.iter().map(|file| json!({
                "type": file.kind.as_str(), "repo": file.repo, "path": file.path, "digest": file.digest,
                "size_bytes": file.size_bytes, "verdict": file.verdict.as_str(), "worst": file.worst,
                "branches": file.branches, "reasons": file.reasons, "released": file.released,
                "overrides": file.overrides.iter().map(entry).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
        }),
    })
}

fn entry(made: &OverrideRecord) -> serde_json::Value {
    json!({
        "id": made.id, "repo": made.repo.to_string(), "path": made.path, "digest": made.digest,
        "by": made.account_name, "reason": made.reason, "made_at_ms": made.made_at_ms,
        "expires_at_ms": made.expires_at_ms, "ended_at_ms": made.ended_at_ms,
    })
}
