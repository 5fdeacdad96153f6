//! Policies and the audit log, for those who administrate the hub or an organisation.

use askama::Template;
use axum::body::Bytes;
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, StatusCode};
use weighthouse::Error;
use weighthouse::audit::exported;
use weighthouse::policies::{DryRun, Level};
use weighthouse::policy::MAX_TEXT_BYTES;

use super::account::{check_same_site, form};
use super::error::PageError;
use super::format::When;
use super::shell::{Shell, page};
use super::visit::{Visit, with_pairs};
use crate::server::policies::{audit_query, lines};

/// Largest form with policies, in bytes: each byte of them may take three.
pub(super) const MAX_FORM_BYTES: usize = 3 * MAX_TEXT_BYTES + (16 << 10);
/// Versions that the editor lists.
const VERSIONS: u32 = 20;

/// Where one is among the pages for administration.
pub(super) struct Place {
    /// Organisation or user; empty for the hub.
    pub of: String,
    /// `policies`, `quarantine`, `advisories` or `audit`.
    pub tab: &'static str,
}

impl Place {
    pub fn new(level: &Level, tab: &'static str) -> Self {
        Self { of: level.name().to_owned(), tab }
    }

    /// Pages, and what they are called. Which advisories count is said for the hub as a whole.
    pub fn tabs(&self) -> Vec<(&'static str, &'static str)> {
        let all = [
            ("policies", "Policies"),
            ("quarantine", "Quarantine"),
            ("advisories", "Advisories"),
            ("audit", "Audit log"),
        ];
        all.into_iter().filter(|(tab, _)| self.of.is_empty() || *tab != "advisories").collect()
    }

    pub fn at(&self, tab: &str) -> String {
        with_pairs(&format!("/settings/{tab}"), [("of", self.of.as_str())].into_iter())
    }
}

#[derive(Template)]
#[template(path = "policies.html")]
struct Editor {
    shell: Shell,
    place: Place,
    version: i64,
    text: String,
    note: String,
    saved: Option<(String, When)>,
    /// What is wrong with the text.
    problem: Option<String>,
    /// What was just done.
    done: Option<String>,
    tried: Option<DryRun>,
    versions: Vec<VersionRow>,
}

struct VersionRow {
    version: i64,
    by: String,
    at: When,
    note: String,
}

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage {
    shell: Shell,
    place: Place,
    event: String,
    actor: String,
    repo: String,
    outcome: String,
    rows: Vec<AuditRow>,
    export: String,
    older: Option<String>,
}

struct AuditRow {
    seq: i64,
    at: When,
    event: String,
    actor: String,
    address: String,
    repo: String,
    subject: String,
    outcome: String,
    reasons: String,
}

/// The level that a reader names and administrates.
pub(super) async fn level(visit: &Visit, of: Option<&str>) -> Result<Level, PageError> {
    if visit.caller.account().is_none() {
        return Err(visit.refuse(Error::Unauthenticated { action: "administrate" }));
    }
    let hub = visit.hub();
    let level = hub.policy_level(of).await.map_err(|error| visit.refuse(error))?;
    hub.require_policies(&visit.caller, &level).map_err(|error| visit.refuse(error))?;
    Ok(level)
}

/// `GET /settings/policies`
pub(super) async fn policies(visit: Visit) -> Result<Response, PageError> {
    let level = level(&visit, visit.query.text("of")).await?;
    let mut editor = editor(&visit, &level).await?;
    if let Ok(Some(saved)) = visit.query.number("saved") {
        editor.done = Some(format!("Version {saved} decides now."));
    }
    Ok(page(StatusCode::OK, &editor))
}

/// `POST /settings/policies`, a form with `text`, `over`, `note` and `do`: `try` or `save`.
pub(super) async fn change_policies(visit: Visit, headers: HeaderMap, body: Bytes) -> Result<Response, PageError> {
    check_same_site(&visit, &headers)?;
    let form = form(&visit, &body)?;
    let level = level(&visit, form.text("of")).await?;
    // Browsers send lines as they are sent in mails.
    let text = form.text("text").unwrap_or("").replace("\r\n", "\n");
    let note = form.text("note").unwrap_or("").to_owned();
    let over = form.number("over").map_err(|error| visit.refuse(Error::Malformed(error.to_string())))?;
    let over = i64::try_from(over.unwrap_or(0)).unwrap_or(i64::MAX);
    let hub = visit.hub();
    let mut editor = Editor { note, version: over, ..editor(&visit, &level).await? };
    let problem = if form.text("do") == Some("save") {
        match hub.save_policies(&visit.caller, &level, &text, over, &editor.note).await {
            Ok(version) => {
                let pairs = [("of", level.name().to_owned()), ("saved", version.to_string())];
                let pairs = pairs.iter().map(|(key, value)| (*key, value.as_str()));
                return Ok(Redirect::to(&with_pairs("/settings/policies", pairs)).into_response());
            }
            Err(error) => error,
        }
    } else {
        match hub.dry_run(&level, &text, 30).await {
            Ok(tried) => {
                editor.tried = Some(tried);
                editor.text = text;
                return Ok(page(StatusCode::OK, &editor));
            }
            Err(error) => error,
        }
    };
    let status = match problem {
        Error::Policy(_) | Error::TooLarge { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        Error::Exists { .. } => StatusCode::CONFLICT,
        error => return Err(visit.refuse(error)),
    };
    editor.problem = Some(problem.to_string());
    editor.text = text;
    Ok(page(status, &editor))
}

async fn editor(visit: &Visit, level: &Level) -> Result<Editor, PageError> {
    let hub = visit.hub();
    let now_ms = hub.now_ms();
    let standing = hub.policies(level).await.map_err(|error| visit.refuse(error))?;
    let versions = hub.policy_history(level, VERSIONS).await.map_err(|error| visit.refuse(error))?;
    let place = Place::new(level, "policies");
    let twin = with_pairs("/api/settings/policies", [("of", place.of.as_str())].into_iter());
    Ok(Editor {
        shell: visit.shell("Policies", Some(twin)),
        place,
        version: standing.version,
        text: standing.text,
        note: String::new(),
        saved: standing.saved.map(|saved| (saved.account_name, When::new(saved.saved_at_ms, now_ms))),
        problem: None,
        done: None,
        tried: None,
        versions: versions
            .into_iter()
            .map(|one| VersionRow {
                version: one.version,
                by: one.account_name,
                at: When::new(one.saved_at_ms, now_ms),
                note: one.note,
            })
            .collect(),
    })
}

/// `GET /settings/audit`, filtered; `as=jsonl` to keep.
pub(super) async fn audit(visit: Visit) -> Result<Response, PageError> {
    let level = level(&visit, visit.query.text("of")).await?;
    let hub = visit.hub();
    let now_ms = hub.now_ms();
    let asked = audit_query(&visit.query, &level, now_ms);
    let query = asked.map_err(|error| visit.refuse(Error::Malformed(error.message().to_owned())))?;
    let rows = hub.audit(&visit.caller, &query).await.map_err(|error| visit.refuse(error))?;
    if visit.query.text("as") == Some("jsonl") {
        return Ok(lines(rows.iter().map(exported)));
    }
    let full = rows.len() == query.limit as usize;
    let before = rows.last().filter(|_| full).map(|row| row.seq.to_string());
    let older = before.map(|seq| visit.with_query(&[("before", Some(&seq))]));
    let shown = |record: weighthouse::AuditRecord| {
        let body: serde_json::Value = serde_json::from_str(&record.body).unwrap_or_default();
        let text = |value: &serde_json::Value| value.as_str().unwrap_or("").to_owned();
        let reasons = body["detail"]["reasons"].as_array().into_iter().flatten();
        let reasons: Vec<String> = reasons.map(|reason| text(&reason["policy"])).filter(|id| !id.is_empty()).collect();
        let why = text(&body["detail"]["reason"]);
        AuditRow {
            seq: record.seq,
            at: When::new(record.row.at_ms, now_ms),
            actor: if record.row.actor.is_empty() { text(&body["actor"]["type"]) } else { record.row.actor },
            address: text(&body["address"]),
            repo: record.row.repo,
            subject: text(&body["subject"]),
            outcome: record.row.outcome,
            event: record.row.event,
            reasons: if why.is_empty() { reasons.join(", ") } else { why },
        }
    };
    let template = AuditPage {
        event: query.event.unwrap_or_default(),
        actor: query.actor.unwrap_or_default(),
        repo: query.repo.unwrap_or_default(),
        outcome: query.outcome.unwrap_or_default(),
        rows: rows.into_iter().map(shown).collect(),
        export: visit.with_query(&[("as", Some("jsonl")), ("limit", Some("1000"))]),
        older,
        place: Place::new(&level, "audit"),
        shell: visit.shell("Audit log", Some(with_pairs("/api/settings/audit", [("of", level.name())].into_iter()))),
    };
    Ok(page(StatusCode::OK, &template))
}
