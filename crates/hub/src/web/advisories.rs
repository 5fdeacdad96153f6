//! Advisories: feeds and what they concern for those who administrate the hub, and what owners and readers of a repository
//! are told on its page.

use askama::Template;
use axum::body::Bytes;
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, StatusCode};
use weighthouse::access::Repo;
use weighthouse::advisories::{Advisory, ConcernedRepo, Evidence, FeedSource, FeedStatus};
use weighthouse::policies::Level;
use weighthouse::revision::{MAIN, Revision};
use weighthouse::{Error, ErrorKind, Role};

use super::account::{check_same_site, form};
use super::address::RepoPaths;
use super::error::PageError;
use super::format::{When, exact};
use super::policies::{Place, level};
use super::shell::{Shell, page};
use super::visit::Visit;

/// Largest form with a feed, in bytes: each byte of it may take three. Larger feeds come as repositories.
pub(super) const MAX_FORM_BYTES: usize = 1 << 20;
/// Matches of one page.
const ROWS: usize = 100;
/// Reasons of a match that are shown.
const REASONS: usize = 3;
/// Advisories that the page of a repository shows.
const NOTES: usize = 20;

#[derive(Template)]
#[template(path = "advisories.html")]
struct AdvisoriesPage {
    shell: Shell,
    place: Place,
    feeds: Vec<FeedRow>,
    matches: Vec<MatchRow>,
    next: Option<String>,
    /// What was just done.
    done: Option<String>,
    /// Why a feed was not taken in.
    problem: Option<String>,
    /// What was sent, to be mended.
    name: String,
    from: String,
    text: String,
}

struct FeedRow {
    status: FeedStatus,
    advisories: String,
    at: When,
}

struct MatchRow {
    id: String,
    severity: &'static str,
    class: &'static str,
    summary: String,
    repo: String,
    url: String,
    commit: String,
    commit_url: String,
    why: String,
    at: When,
}

/// What the page of a repository says of an advisory.
pub(super) struct AdviceNote {
    pub id: String,
    pub severity: &'static str,
    pub class: &'static str,
    pub summary: String,
    pub remedy: String,
    pub references: Vec<String>,
    /// Why it concerns the revision that is shown; nothing when it concerns others only.
    pub why: Option<String>,
    /// Whether the reader owns the repository and has not taken note yet.
    pub unseen: bool,
}

impl MatchRow {
    fn new(found: ConcernedRepo, now_ms: i64) -> Self {
        let paths = RepoPaths::new(found.kind, &found.id);
        let commit = found.concern.commit.to_string();
        Self {
            severity: found.concern.advisory.severity.as_str(),
            class: class(&found.concern.advisory),
            why: why(&found.concern.evidence),
            at: When::new(found.concern.found_at_ms, now_ms),
            id: found.concern.advisory.id,
            summary: found.concern.advisory.summary,
            repo: found.id,
            url: paths.page.clone(),
            commit_url: paths.commit(&commit),
            commit: commit.chars().take(7).collect(),
        }
    }
}

impl AdviceNote {
    fn new(advisory: Advisory) -> Self {
        Self {
            severity: advisory.severity.as_str(),
            class: class(&advisory),
            id: advisory.id,
            summary: advisory.summary,
            remedy: advisory.remedy,
            references: advisory.references,
            why: None,
            unseen: false,
        }
    }
}

fn class(advisory: &Advisory) -> &'static str {
    match advisory.severity.as_str() {
        "critical" | "high" => "bad",
        "medium" => "warn",
        "low" => "care",
        _ => "wait",
    }
}

fn why(evidence: &[Evidence]) -> String {
    let mut told: Vec<String> = evidence.iter().take(REASONS).map(ToString::to_string).collect();
    if evidence.len() > REASONS {
        told.push(format!("{} more", evidence.len() - REASONS));
    }
    told.join(", ")
}

/// What there is to tell of a repository: advisories that concern the revision that is shown, to everybody; those that
/// concern any stored revision and that nobody has taken note of, to those who may change it. The gravest first.
pub(super) async fn notes(visit: &Visit, repo: &Repo, at: &Revision) -> Result<Vec<AdviceNote>, Error> {
    let hub = visit.hub();
    let mut notes: Vec<AdviceNote> = Vec::new();
    for concern in hub.concerns(repo, Some(at)).await?.into_iter().take(NOTES) {
        let said = why(&concern.evidence);
        notes.push(AdviceNote { why: Some(said), ..AdviceNote::new(concern.advisory) });
    }
    if visit.caller.role_in(&repo.record).is_some_and(|role| role >= Role::Write) {
        for notice in hub.notices(&visit.caller, repo).await?.into_iter().filter(|notice| notice.seen_at_ms.is_none()) {
            if let Some(note) = notes.iter_mut().find(|note| note.id == notice.advisory.id) {
                note.unseen = true;
            } else if notes.len() < 2 * NOTES {
                notes.push(AdviceNote { unseen: true, ..AdviceNote::new(notice.advisory) });
            }
        }
    }
    Ok(notes)
}

/// `POST /{id}/settings/advisories`, a form with `seen`: the id of an advisory.
pub(super) async fn take_note(visit: Visit, headers: HeaderMap, body: Bytes) -> Result<Response, PageError> {
    check_same_site(&visit, &headers)?;
    let form = form(&visit, &body)?;
    let (repo, _) = visit.repo_at(MAIN).await?;
    let seen = form.text("seen").unwrap_or("");
    visit.hub().see_notice(&visit.caller, &repo, seen).await.map_err(|error| visit.refuse(error))?;
    Ok(Redirect::to(&RepoPaths::new(repo.record.kind, &repo.record.id).page).into_response())
}

/// `GET /settings/advisories`
pub(super) async fn show(visit: Visit) -> Result<Response, PageError> {
    let mut template = template(&visit).await?;
    template.done = visit.query.text("done").and_then(|done| match done {
        "taken" => Some("The feed was taken in. What is stored is being matched with it.".to_owned()),
        "same" => Some("The feed says what it said before.".to_owned()),
        "removed" => Some("The feed was removed, with its advisories.".to_owned()),
        _ => None,
    });
    Ok(page(StatusCode::OK, &template))
}

/// `POST /settings/advisories`, a form with `name` and `from` or `text`, or with `remove`.
pub(super) async fn change(visit: Visit, headers: HeaderMap, body: Bytes) -> Result<Response, PageError> {
    check_same_site(&visit, &headers)?;
    let form = form(&visit, &body)?;
    level(&visit, None).await?;
    let hub = visit.hub();
    let to = |done: &str| Ok(Redirect::to(&format!("/settings/advisories?done={done}")).into_response());
    if let Some(name) = form.text("remove") {
        hub.delete_feed(&visit.caller, name).await.map_err(|error| visit.refuse(error))?;
        return to("removed");
    }
    let text = |key: &str| form.text(key).unwrap_or("").trim().to_owned();
    let (name, from, sent) = (text("name"), text("from"), text("text"));
    let taken = match (from.is_empty(), sent.is_empty()) {
        (false, true) => hub.put_feed(&visit.caller, &name, FeedSource::Repository(from.clone())).await,
        (true, false) => hub.put_feed(&visit.caller, &name, FeedSource::Sent(sent.clone().into_bytes())).await,
        _ => Err(Error::Malformed("name a repository, or paste the advisories; one of the two".to_owned())),
    };
    let problem = match taken {
        Ok(imported) => return to(if imported.changed { "taken" } else { "same" }),
        Err(error) => error,
    };
    let status = match problem.kind() {
        ErrorKind::Malformed => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        _ => return Err(visit.refuse(problem)),
    };
    let template =
        AdvisoriesPage { problem: Some(problem.to_string()), name, from, text: sent, ..template(&visit).await? };
    Ok(page(status, &template))
}

async fn template(visit: &Visit) -> Result<AdvisoriesPage, PageError> {
    level(visit, None).await?;
    let refuse = |error: Error| visit.refuse(error);
    let hub = visit.hub();
    let now_ms = hub.now_ms();
    let feeds = hub.feed_statuses().await.map_err(refuse)?;
    let after = visit.query.text("after").filter(|after| !after.is_empty());
    let list = hub.concerned(after, ROWS).await.map_err(refuse)?;
    Ok(AdvisoriesPage {
        shell: visit.shell("Advisories", Some("/api/settings/advisories".to_owned())),
        place: Place::new(&Level::Hub, "advisories"),
        feeds: feeds
            .into_iter()
            .map(|status| FeedRow {
                advisories: exact(status.feed.advisories),
                at: When::new(status.feed.imported_at_ms, now_ms),
                status,
            })
            .collect(),
        matches: list.matches.into_iter().map(|found| MatchRow::new(found, now_ms)).collect(),
        next: list.next.map(|next| visit.with_query(&[("after", Some(&next)), ("done", None)])),
        done: None,
        problem: None,
        name: String::new(),
        from: String::new(),
        text: String::new(),
    })
}
