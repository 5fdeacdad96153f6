//! `wh admin quarantine`: files that nobody gets, and those that an administrator vouched for.

use clap::Subcommand;
use serde_json::json;
use weighthouse::Hub;
use weighthouse::names::kind_and_id;
use weighthouse::policies::NewOverride;
use weighthouse::revision::MAIN;

use super::{Answer, administrator, any_administrator, moment};

#[derive(Debug, Subcommand)]
pub(super) enum Quarantine {
    /// List files that were refused in the last month
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
                let line = |o: &weighthouse::OverrideRecord| {
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
                        "overrides": all.iter().map(|o| json!({
                            "id": o.id, "repo": o.repo.to_string(), "path": o.path, "digest": o.digest,
                            "by": o.account_name, "reason": o.reason, "made_at_ms": o.made_at_ms,
                            "expires_at_ms": o.expires_at_ms, "ended_at_ms": o.ended_at_ms,
                        })).collect::<Vec<_>>(),
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
    let files = hub.quarantined(owner.as_deref()).await?;
    let line = |file: &weighthouse::policies::Quarantined| {
        let released = if file.released { "  released" } else { "" };
        format!("{:<10}  {} {}  refused {}×{released}", file.verdict, file.repo, file.path, file.refused)
    };
    Ok(Answer {
        code: 0,
        text: files.iter().map(line).collect::<Vec<_>>().join("\n"),
        json: json!({
            "schema": "weighthouse.quarantine/1",
            "files": files.iter().map(|file| json!({
                "repo": file.repo, "path": file.path, "digest": file.digest, "verdict": file.verdict,
                "refused": file.refused, "last_at_ms": file.last_at_ms, "released": file.released,
            })).collect::<Vec<_>>(),
        }),
    })
}
