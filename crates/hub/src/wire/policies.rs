//! Policies, quarantine and audit log, as our own JSON; the Hub has nothing like it but the names of events.
//!
//! - `GET /api/settings/policies[?of=NAME]`: [`PoliciesReply`]
//! - `PUT /api/settings/policies` with [`SavePolicies`]
//! - `POST /api/settings/policies/dry-run` with [`SavePolicies`]: [`DryRunReply`]
//! - `GET /api/settings/policies/history[?of=NAME]`
//! - `GET /api/settings/quarantine[?of=NAME]`, with `after` and `limit`: [`QuarantineReply`]
//! - `POST /api/settings/overrides` with [`AskOverride`], `DELETE /api/settings/overrides/{id}`
//! - `GET /api/settings/audit`, with `of`, `event`, `actor`, `repo`, `outcome`, `days`, `before`, `limit`; `as=jsonl`

use serde::{Deserialize, Serialize};
use weighthouse::gate::{QuarantineList, Quarantined};
use weighthouse::policies::{DryRun, Standing};
use weighthouse::{OverrideRecord, PolicyRecord};

/// `weighthouse.policies/1`: the policies of a level.
#[derive(Debug, Serialize)]
pub struct PoliciesReply {
    schema: &'static str,
    of: String,
    version: i64,
    saved_by: Option<String>,
    saved_at_ms: Option<i64>,
    note: Option<String>,
    text: String,
}

impl PoliciesReply {
    /// Of a level with this name; empty for the hub.
    pub fn new(of: &str, standing: Standing) -> Self {
        let saved = standing.saved;
        Self {
            schema: "weighthouse.policies/1",
            of: of.to_owned(),
            version: standing.version,
            saved_by: saved.as_ref().map(|saved| saved.account_name.clone()),
            saved_at_ms: saved.as_ref().map(|saved| saved.saved_at_ms),
            note: saved.map(|saved| saved.note),
            text: standing.text,
        }
    }
}

/// A version of policies.
#[derive(Debug, Serialize)]
pub struct VersionReply {
    version: i64,
    saved_by: String,
    saved_at_ms: i64,
    note: String,
    text: String,
}

impl From<PolicyRecord> for VersionReply {
    fn from(record: PolicyRecord) -> Self {
        Self {
            version: record.version,
            saved_by: record.account_name,
            saved_at_ms: record.saved_at_ms,
            note: record.note,
            text: record.text,
        }
    }
}

/// Policies to save, or to try.
#[derive(Debug, Deserialize)]
pub struct SavePolicies {
    /// Organisation or user; the hub's without it.
    #[serde(default)]
    pub of: Option<String>,
    /// The text.
    pub text: String,
    /// Version that it replaces.
    #[serde(default)]
    pub over: i64,
    /// What the change is for.
    #[serde(default)]
    pub note: String,
    /// Days of a dry run.
    #[serde(default)]
    pub days: Option<i64>,
}

/// `weighthouse.policy-dry-run/1`: what policies would have decided.
#[derive(Debug, Serialize)]
pub struct DryRunReply {
    schema: &'static str,
    of: String,
    days: i64,
    requests: u64,
    newly_refused: u64,
    newly_allowed: u64,
    still_refused: u64,
    more_changes: u64,
    changes: Vec<ChangeReply>,
}

#[derive(Debug, Serialize)]
struct ChangeReply {
    action: &'static str,
    repo: String,
    path: String,
    verdict: &'static str,
    times: u64,
    askers: Vec<String>,
    allowed: bool,
    reasons: Vec<weighthouse::policy::Reason>,
    last_at_ms: i64,
}

impl DryRunReply {
    /// Of a level with this name; empty for the hub.
    pub fn new(of: &str, found: DryRun) -> Self {
        let change = |change: weighthouse::policies::Changed| ChangeReply {
            action: change.action,
            repo: change.repo,
            path: change.path,
            verdict: change.verdict,
            times: change.times,
            askers: change.askers,
            allowed: change.allowed,
            reasons: change.reasons,
            last_at_ms: change.last_at_ms,
        };
        Self {
            schema: "weighthouse.policy-dry-run/1",
            of: of.to_owned(),
            days: found.days,
            requests: found.requests,
            newly_refused: found.newly_refused,
            newly_allowed: found.newly_allowed,
            still_refused: found.still_refused,
            more_changes: found.more_changes,
            changes: found.changes.into_iter().map(change).collect(),
        }
    }
}

/// `weighthouse.quarantine/1`: files that policies keep back because of their verdicts. `next` is the `after` of the part
/// that follows.
#[derive(Debug, Serialize)]
pub struct QuarantineReply {
    schema: &'static str,
    files: Vec<QuarantinedReply>,
    next: Option<String>,
}

#[derive(Debug, Serialize)]
struct QuarantinedReply {
    r#type: &'static str,
    repo: String,
    path: String,
    digest: String,
    size_bytes: u64,
    verdict: &'static str,
    worst: String,
    branches: Vec<String>,
    reasons: Vec<weighthouse::policy::Reason>,
    released: bool,
    overrides: Vec<OverrideReply>,
}

impl From<QuarantineList> for QuarantineReply {
    fn from(list: QuarantineList) -> Self {
        let file = |file: Quarantined| QuarantinedReply {
            r#type: file.kind.as_str(),
            repo: file.repo,
            path: file.path,
            digest: file.digest,
            size_bytes: file.size_bytes,
            verdict: file.verdict.as_str(),
            worst: file.worst,
            branches: file.branches,
            reasons: file.reasons,
            released: file.released,
            overrides: file.overrides.into_iter().map(OverrideReply::from).collect(),
        };
        Self { schema: "weighthouse.quarantine/1", files: list.files.into_iter().map(file).collect(), next: list.next }
    }
}

/// Vouches for a file.
#[derive(Debug, Deserialize)]
pub struct AskOverride {
    /// `model` or `dataset`.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    /// `namespace/name`.
    pub repo: String,
    /// Path in the repository.
    pub path: String,
    /// Branch, tag or commit; `main` without it.
    #[serde(default)]
    pub revision: Option<String>,
    /// SHA-256 that the file must have; what it has without it.
    #[serde(default)]
    pub digest: Option<String>,
    /// Why.
    pub reason: String,
    /// Days until it no longer counts.
    #[serde(default)]
    pub expires_in_days: Option<u32>,
}

/// `weighthouse.override/1`
#[derive(Debug, Serialize)]
pub struct OverrideReply {
    schema: &'static str,
    id: String,
    path: String,
    digest: String,
    reason: String,
    by: String,
    made_at_ms: i64,
    expires_at_ms: Option<i64>,
    ended_at_ms: Option<i64>,
}

impl From<OverrideRecord> for OverrideReply {
    fn from(record: OverrideRecord) -> Self {
        Self {
            schema: "weighthouse.override/1",
            id: record.id,
            path: record.path,
            digest: record.digest,
            reason: record.reason,
            by: record.account_name,
            made_at_ms: record.made_at_ms,
            expires_at_ms: record.expires_at_ms,
            ended_at_ms: record.ended_at_ms,
        }
    }
}
