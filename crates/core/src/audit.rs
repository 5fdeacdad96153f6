//! What was done, by whom, and what was refused: the audit log.
//!
//! A row is a line of JSON. It names the SHA-256 of the line before, so that no row can be changed or taken out without
//! everything after it being written anew; keep the hash of the newest row somewhere else, and even that shows.
//!
//! Whoever changes something hands the row about it to the catalog together with the change.

use serde::Serialize;
use serde_json::Value;
use weighthouse_store::catalog::{AuditEntry, AuditQuery, AuditRecord, NewAudit};
use weighthouse_store::digest::Sha256;

use crate::access::Caller;
use crate::{Error, Hub};

/// Rows read at once.
const PAGE: u32 = 1_000;

/// Something that happened.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    /// `scope.action`.
    pub name: &'static str,
    /// Id of the account that owns what it was done to; empty for the hub as a whole.
    pub org: String,
    /// Id of the repository; empty without one.
    pub repo: String,
    /// What it was done to: a path, a name, an id.
    pub subject: String,
    /// `done`, `allowed` or `refused`.
    pub outcome: &'static str,
    /// Whatever else is worth knowing.
    pub detail: Value,
}

/// A row as it is stored and exported, but for its own hash.
#[derive(Serialize)]
struct Line<'a> {
    seq: i64,
    at_ms: i64,
    event: &'a str,
    actor: Actor<'a>,
    address: Option<&'a str>,
    org: &'a str,
    repo: &'a str,
    subject: &'a str,
    outcome: &'a str,
    detail: &'a Value,
    previous: &'a str,
}

#[derive(Serialize)]
struct Actor<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    token: Option<&'a str>,
}

/// What a check of the chain found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Rows that were read.
    pub rows: u64,
    /// Hash of the newest row; empty without rows.
    pub head: String,
    /// The first thing that is wrong, if any.
    pub broken: Option<String>,
}

impl Hub {
    pub(crate) async fn record(&self, caller: &Caller, event: Event) -> Result<(), Error> {
        self.record_all(vec![(caller.clone(), event)]).await
    }

    /// Records what changes nothing in the catalog.
    pub(crate) async fn record_all(&self, events: Vec<(Caller, Event)>) -> Result<(), Error> {
        let entries = events.into_iter().map(|(caller, event)| self.audited(&caller, event)).collect();
        Ok(self.catalog().audit().append(entries).await?)
    }

    /// The row about something that a caller does.
    pub(crate) fn audited(&self, caller: &Caller, event: Event) -> AuditEntry {
        let now_ms = self.now_ms();
        let name = caller.account().map(|account| account.name.clone()).unwrap_or_default();
        let row = row(now_ms, &name, &event);
        let caller = caller.clone();
        AuditEntry::new(row, move |seq, previous| {
            let token = caller.token().map(|token| token.id.as_str());
            let kind = match (caller.account(), token) {
                (None, _) => "stranger",
                (Some(_), Some("")) => "machine",
                (Some(_), _) if caller.is_automated() => "program",
                _ => "user",
            };
            let actor = Actor { name: &name, kind, token };
            line(&event, now_ms, actor, caller.address(), seq, previous)
        })
    }

    /// The row about an order given on the machine itself.
    pub(crate) fn audited_here(&self, event: Event) -> AuditEntry {
        let now_ms = self.now_ms();
        AuditEntry::new(row(now_ms, "", &event), move |seq, previous| {
            line(&event, now_ms, Actor { name: "", kind: "machine", token: None }, None, seq, previous)
        })
    }

    /// Rows of the audit log, the newest first.
    ///
    /// # Errors
    /// [`Error::Denied`] unless the caller administrates the hub, or the organisation that the query names.
    pub async fn audit(&self, caller: &Caller, query: &AuditQuery) -> Result<Vec<AuditRecord>, Error> {
        let own = query.org.as_deref().is_some_and(|org| {
            !org.is_empty() && caller.namespace_role(org) == Some(weighthouse_store::catalog::Role::Admin)
        });
        if !caller.is_admin() && (!own || caller.require_write("read the audit log").is_err()) {
            return Err(Error::Denied { action: "read the audit log".to_owned() });
        }
        Ok(self.catalog().audit().list(query).await?)
    }

    /// Rows after a number in order, as an export reads them; the caller answers for who sees them.
    pub async fn audit_after(&self, seq: i64) -> Result<Vec<AuditRecord>, Error> {
        Ok(self.catalog().audit().after(seq, PAGE).await?)
    }

    /// Reads the whole log and compares every row with its hash, its columns and the row before.
    ///
    /// `anchor` is the hash of some row that was noted elsewhere; it must be there.
    pub async fn verify_audit(&self, anchor: Option<&str>) -> Result<Chain, Error> {
        let (last, head) = self.catalog().audit().head().await?;
        let mut chain = Chain { rows: 0, head: String::new(), broken: None };
        let (mut seq, mut anchored) = (0, anchor.is_none());
        // Rows that are added meanwhile are not waited for.
        while seq < last {
            let rows = self.catalog().audit().after(seq, PAGE).await?;
            if rows.is_empty() {
                break;
            }
            for record in rows {
                if record.seq > last {
                    break;
                }
                if record.seq != seq + 1 {
                    chain.broken = Some(format!("rows {} to {} are missing", seq + 1, record.seq - 1));
                    return Ok(chain);
                }
                if let Some(wrong) = wrong(&record, &chain.head) {
                    chain.broken = Some(format!("row {}: {wrong}", record.seq));
                    return Ok(chain);
                }
                seq = record.seq;
                chain.rows += 1;
                anchored |= anchor.is_some_and(|hash| hash == record.hash);
                chain.head = record.hash;
            }
        }
        if seq < last || chain.head != head {
            chain.broken = Some(format!("the log ends at row {seq}; {last} rows were written"));
        } else if !anchored {
            chain.broken = Some("no row has the hash that was noted: the log was written anew".to_owned());
        }
        Ok(chain)
    }
}

/// A row as a line of an export: what its hash covers, then the hash.
#[must_use]
pub fn exported(record: &AuditRecord) -> String {
    let body = record.body.strip_suffix('}').unwrap_or(&record.body);
    format!("{body},\"hash\":\"{}\"}}", record.hash)
}

fn row(at_ms: i64, actor: &str, event: &Event) -> NewAudit {
    NewAudit {
        at_ms,
        event: event.name.to_owned(),
        actor: actor.to_owned(),
        org: event.org.clone(),
        repo: event.repo.clone(),
        outcome: event.outcome.to_owned(),
    }
}

fn line(event: &Event, at_ms: i64, actor: Actor<'_>, address: Option<&str>, seq: i64, previous: &str) -> String {
    let line = Line {
        seq,
        at_ms,
        event: event.name,
        actor,
        address,
        org: &event.org,
        repo: &event.repo,
        subject: &event.subject,
        outcome: event.outcome,
        detail: &event.detail,
        previous,
    };
    // Strings and numbers always have a spelling in JSON.
    serde_json::to_string(&line).unwrap_or_default()
}

/// What is wrong with a row that follows one with the hash `previous`.
pub(crate) fn wrong(record: &AuditRecord, previous: &str) -> Option<String> {
    if Sha256::of(record.body.as_bytes()).to_string() != record.hash {
        return Some("its text is not what was written".to_owned());
    }
    let Ok(body) = serde_json::from_str::<Value>(&record.body) else { return Some("it is no JSON".to_owned()) };
    if body["previous"] != previous {
        return Some("it does not follow the row before it".to_owned());
    }
    let row = &record.row;
    let same = body["seq"] == record.seq
        && body["at_ms"] == row.at_ms
        && body["event"] == row.event.as_str()
        && body["actor"]["name"] == row.actor.as_str()
        && body["org"] == row.org.as_str()
        && body["repo"] == row.repo.as_str()
        && body["outcome"] == row.outcome.as_str();
    (!same).then(|| "its columns differ from its text".to_owned())
}
