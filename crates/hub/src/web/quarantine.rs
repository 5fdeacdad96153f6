//! Files that policies keep back because of their verdicts, and those that an administrator released.

use askama::Template;
use axum::body::Bytes;
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, StatusCode};
use weighthouse::gate::Quarantined;
use weighthouse::policies::{Level, NewOverride};
use weighthouse::{Error, OverrideRecord, RepoKind};

use super::account::{check_same_site, form};
use super::address::RepoPaths;
use super::error::PageError;
use super::format::{When, size};
use super::policies::{Place, level};
use super::scan::Badge;
use super::shell::{Shell, page};
use super::visit::{Visit, with_pairs};
use crate::server::policies::owner;

/// Files of one page.
const ROWS: usize = 50;
/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

#[derive(Template)]
#[template(path = "quarantine.html")]
struct QuarantinePage {
    shell: Shell,
    place: Place,
    files: Vec<FileRow>,
    next: Option<String>,
    /// Whether the reader may release files.
    admin: bool,
    overrides: Vec<OverrideRow>,
}

struct FileRow {
    file: Quarantined,
    badge: Badge,
    short: String,
    size: String,
    report: String,
    /// Branches and the pages of the file on them.
    branches: Vec<(String, String)>,
    /// What was refused of its repository.
    refusals: String,
    overrides: Vec<OverrideRow>,
}

struct OverrideRow {
    id: String,
    path: String,
    short: String,
    reason: String,
    by: String,
    at: When,
    state: String,
    active: bool,
}

impl OverrideRow {
    fn new(one: OverrideRecord, now_ms: i64) -> Self {
        let expired = one.expires_at_ms.is_some_and(|ms| ms <= now_ms);
        let state = match (one.ended_at_ms, one.expires_at_ms) {
            (Some(_), _) => "taken back".to_owned(),
            (None, Some(_)) if expired => "expired".to_owned(),
            (None, Some(ms)) => {
                format!("until {}", crate::wire::time::format_millis(ms).chars().take(10).collect::<String>())
            }
            (None, None) => "in force".to_owned(),
        };
        Self {
            at: When::new(one.made_at_ms, now_ms),
            active: one.ended_at_ms.is_none() && !expired,
            id: one.id,
            path: one.path,
            short: one.digest.chars().take(16).collect(),
            reason: one.reason,
            by: one.account_name,
            state,
        }
    }
}

impl FileRow {
    fn new(mut file: Quarantined, of: &str, now_ms: i64) -> Self {
        let paths = RepoPaths::new(file.kind, &file.repo);
        let first = file.branches.first().map_or("main", String::as_str);
        let asked = [("of", of), ("event", "file.download"), ("outcome", "refused"), ("repo", &*file.repo)];
        Self {
            badge: Badge::of(Some(file.verdict)),
            short: file.digest.chars().take(16).collect(),
            size: size(file.size_bytes),
            report: paths.at("scan", first, &file.path),
            branches: file
                .branches
                .iter()
                .map(|branch| (branch.clone(), paths.at("blob", branch, &file.path)))
                .collect(),
            refusals: with_pairs("/settings/audit", asked.into_iter()),
            overrides: std::mem::take(&mut file.overrides)
                .into_iter()
                .map(|made| OverrideRow::new(made, now_ms))
                .collect(),
            file,
        }
    }
}

/// `GET /settings/quarantine`
pub(super) async fn quarantine(visit: Visit) -> Result<Response, PageError> {
    let level = level(&visit, visit.query.text("of")).await?;
    let refuse = |error: Error| visit.refuse(error);
    let hub = visit.hub();
    let now_ms = hub.now_ms();
    let after = visit.query.text("after").filter(|after| !after.is_empty());
    let list = hub.quarantined(owner(&level).as_deref(), after, ROWS).await.map_err(refuse)?;
    let admin = visit.caller.is_admin();
    let overrides = if admin && level == Level::Hub {
        hub.overrides(&visit.caller, 100).await.map_err(refuse)?
    } else {
        Vec::new()
    };
    let template = QuarantinePage {
        files: list.files.into_iter().map(|file| FileRow::new(file, level.name(), now_ms)).collect(),
        next: list.next.map(|next| visit.with_query(&[("after", Some(&next))])),
        admin,
        overrides: overrides.into_iter().map(|one| OverrideRow::new(one, now_ms)).collect(),
        place: Place::new(&level, "quarantine"),
        shell: visit
            .shell("Quarantine", Some(with_pairs("/api/settings/quarantine", [("of", level.name())].into_iter()))),
    };
    Ok(page(StatusCode::OK, &template))
}

/// `POST /settings/quarantine`, a form with `type`, `repo`, `path`, `digest` and `reason`, or with `end`.
pub(super) async fn release(visit: Visit, headers: HeaderMap, body: Bytes) -> Result<Response, PageError> {
    check_same_site(&visit, &headers)?;
    let form = form(&visit, &body)?;
    let refuse = |error: Error| visit.refuse(error);
    let hub = visit.hub();
    if let Some(id) = form.text("end") {
        hub.end_override(&visit.caller, id).await.map_err(refuse)?;
        return Ok(Redirect::to("/settings/quarantine").into_response());
    }
    let text = |key: &str| form.text(key).unwrap_or("").to_owned();
    let kind = match form.text("type") {
        Some("dataset") => RepoKind::Dataset,
        _ => RepoKind::Model,
    };
    let repo = hub.repo(&visit.caller, kind, &text("repo")).await.map_err(refuse)?;
    let new = NewOverride {
        path: text("path"),
        digest: text("digest"),
        reason: text("reason"),
        lifetime_ms: form
            .number("days")
            .ok()
            .flatten()
            .filter(|days| *days > 0)
            .map(|days| i64::try_from(days.min(36_500)).unwrap_or(1) * DAY_MS),
    };
    hub.override_verdict(&visit.caller, &repo, new).await.map_err(refuse)?;
    Ok(Redirect::to("/settings/quarantine").into_response())
}
