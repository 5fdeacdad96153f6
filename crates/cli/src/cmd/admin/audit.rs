//! `wh admin audit`: what was done, by whom.

use std::io::{BufWriter, Write};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use weighthouse::audit::exported;
use weighthouse::{AuditQuery, AuditRecord, Error, Hub, StoreError};

use super::{Answer, any_administrator, moment};

#[derive(Debug, Args)]
pub(super) struct Filter {
    /// Event, such as `repo.delete`, or a scope, such as `repo`
    #[arg(long)]
    event: Option<String>,
    /// Name of whoever did it
    #[arg(long)]
    actor: Option<String>,
    /// Organisation or user that owns what it was done to
    #[arg(long)]
    of: Option<String>,
    /// Repository
    #[arg(long)]
    repo: Option<String>,
    /// done, allowed or refused
    #[arg(long)]
    outcome: Option<String>,
    /// Days to look back; 0 for all
    #[arg(long, default_value_t = 0)]
    days: u32,
    /// Rows at most
    #[arg(long, default_value_t = 50)]
    limit: u32,
}

#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// List what was done, the newest first
    List(Filter),
    /// Print the whole log, one JSON object a line, the oldest first
    Export {
        /// Only rows after this number
        #[arg(long, default_value_t = 0)]
        after: i64,
    },
    /// Check that no row was changed or taken out; fails if one was
    Verify {
        /// Hash of a row that was noted elsewhere, which must still be there
        #[arg(long)]
        anchor: Option<String>,
    },
}

impl Audit {
    pub(super) async fn run(self, hub: &Hub) -> anyhow::Result<Answer> {
        match self {
            Self::List(filter) => {
                let org = match &filter.of {
                    Some(name) => Some(hub.account(name).await?.id),
                    None => None,
                };
                let query = AuditQuery {
                    event: filter.event,
                    actor: filter.actor,
                    org,
                    repo: filter.repo,
                    outcome: filter.outcome,
                    since_ms: if filter.days == 0 { 0 } else { hub.now_ms() - i64::from(filter.days) * 86_400_000 },
                    before_seq: 0,
                    limit: filter.limit.min(10_000),
                };
                // Whoever runs this reads the catalog anyway.
                let caller = any_administrator(hub).await?;
                let rows = hub.audit(&caller, &query).await?;
                Ok(Answer {
                    code: 0,
                    text: rows.iter().map(line).collect::<Vec<_>>().join("\n"),
                    json: json!({
                        "schema": "weighthouse.audit/1",
                        "rows": rows.iter().map(|row| {
                            serde_json::from_str(&exported(row)).unwrap_or(Value::Null)
                        }).collect::<Vec<Value>>(),
                    }),
                })
            }
            Self::Export { mut after } => {
                let mut out = BufWriter::new(std::io::stdout().lock());
                loop {
                    let rows = hub.audit_after(after).await?;
                    let Some(last) = rows.last() else { break };
                    after = last.seq;
                    for row in &rows {
                        writeln!(out, "{}", exported(row))?;
                    }
                }
                out.flush()?;
                Ok(Answer { code: 0, text: String::new(), json: Value::Null })
            }
            Self::Verify { anchor } => {
                let chain = hub.verify_audit(anchor.as_deref()).await?;
                if let Some(broken) = chain.broken {
                    let what = "the audit log".to_owned();
                    return Err(Error::Store(StoreError::Corrupt { what, detail: broken }).into());
                }
                Ok(Answer {
                    code: 0,
                    text: format!("{} rows, each follows the one before\nhead {}", chain.rows, chain.head),
                    json: json!({ "schema": "weighthouse.audit-chain/1", "rows": chain.rows, "head": chain.head }),
                })
            }
        }
    }
}

fn line(record: &AuditRecord) -> String {
    let body: Value = serde_json::from_str(&record.body).unwrap_or(Value::Null);
    let row = &record.row;
    let actor = if row.actor.is_empty() { body["actor"]["type"].as_str().unwrap_or("") } else { &row.actor };
    let subject = body["subject"].as_str().unwrap_or("");
    let place = if row.repo.is_empty() || row.repo == subject { String::new() } else { format!("{} ", row.repo) };
    format!(
        "{:>6}  {}  {:<20}  {:<8}  {actor}  {place}{subject}",
        record.seq,
        moment(row.at_ms),
        row.event,
        row.outcome
    )
}
