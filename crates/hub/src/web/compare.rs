//! Compare: what changed between two revisions, of whatever repositories.

mod csv;
mod heat;
mod view;

use askama::Template;
use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use weighthouse::comparisons::{Compare, Compared, LineChange, Lines, SideName};

use super::account::{check_same_site, form};
use super::address::encode_segment;
use super::error::PageError;
use super::format::size;
use super::inside::name;
use super::shell::{Shell, page};
use super::visit::{Visit, with_pairs};
use view::View;

/// How often a page that waits for something is loaded again, in seconds.
const LOOK_AGAIN_S: u32 = 3;
/// Longest text that is searched for, in characters.
const MAX_SEARCH_CHARS: usize = 200;

#[derive(Template)]
#[template(path = "compare.html")]
struct Page {
    shell: Shell,
    /// The names, as the reader wrote them.
    a: String,
    b: String,
    /// Both sides, once they are named.
    sides: Option<Sides>,
    state: State,
    lines: Option<Lines>,
}

/// Both sides, as they were found.
struct Sides {
    a: SideLink,
    b: SideLink,
    /// The same page with commits in place of branches; `None` when it is that page.
    permalink: Option<String>,
    swapped: String,
    csv: String,
}

struct SideLink {
    name: String,
    url: String,
    short: String,
}

enum State {
    /// There are no sides yet.
    Empty,
    Unasked,
    Waiting,
    Running {
        done: String,
        total: String,
        percent: u64,
    },
    Failed(String),
    Done(Box<View>),
}

/// `GET /compare?a=…&b=…`
pub(super) async fn show(visit: Visit) -> Result<Response, PageError> {
    let text = |key: &str| visit.query.text(key).unwrap_or_default().trim().to_owned();
    let (a, b) = (text("a"), text("b"));
    if a.is_empty() || b.is_empty() {
        let empty = Page { shell: visit.shell("Compare", None), a, b, sides: None, state: State::Empty, lines: None };
        return Ok(page(StatusCode::OK, &empty));
    }
    let (one, other) = (open(&visit, &a).await?, open(&visit, &b).await?);
    let refuse = |error| visit.refuse(error);
    let standing = visit.hub().comparison(&one.1, &other.1).await.map_err(refuse)?;
    if let (Compare::Done(document), Some("csv")) = (&standing, visit.query.text("as")) {
        return Ok(sheet(csv::tensors(document)));
    }
    let lines = visit.hub().compared_cards(&one.1, &other.1).await.map_err(refuse)?;
    let search: String = text("search").chars().take(MAX_SEARCH_CHARS).collect();
    let number = usize::try_from(visit.page()?).unwrap_or(usize::MAX);
    let state = match &standing {
        Compare::Unasked => State::Unasked,
        Compare::Waiting => State::Waiting,
        Compare::Running { total_bytes: 0, .. } => State::Waiting,
        Compare::Running { done_bytes, total_bytes } => State::Running {
            done: size(*done_bytes),
            total: size(*total_bytes),
            percent: u64::try_from(u128::from(*done_bytes) * 100 / u128::from(*total_bytes)).unwrap_or(100).min(100),
        },
        Compare::Failed(reason) => State::Failed(name(reason)),
        Compare::Done(document) => {
            let all = visit.query.text("show") == Some("all");
            State::Done(Box::new(View::new(&visit, document, (&search, all), number)))
        }
    };
    let waits = matches!(state, State::Waiting | State::Running { .. });
    let twin = with_pairs("/api/compare", [("a", a.as_str()), ("b", b.as_str())].into_iter());
    let shell = visit.shell(format!("{} and {}", one.1.repo.record.id, other.1.repo.record.id), Some(twin));
    let template = Page {
        shell: Shell { refresh_s: waits.then_some(LOOK_AGAIN_S), ..shell },
        sides: Some(sides(&a, &b, &one, &other)),
        state,
        lines,
        a,
        b,
    };
    Ok(page(StatusCode::OK, &template))
}

/// `POST /compare`, a form with `a` and `b`.
pub(super) async fn ask(visit: Visit, headers: HeaderMap, body: Bytes) -> Result<Response, PageError> {
    check_same_site(&visit, &headers)?;
    let form = form(&visit, &body)?;
    let text = |key: &str| form.text(key).unwrap_or_default().trim().to_owned();
    let (a, b) = (text("a"), text("b"));
    let (one, other) = (open(&visit, &a).await?, open(&visit, &b).await?);
    let asked = visit.hub().ask_comparison(&visit.caller, &one.1, &other.1).await;
    asked.map_err(|error| visit.refuse(error))?;
    let here = with_pairs("/compare", [("a", a.as_str()), ("b", b.as_str())].into_iter());
    Ok(Redirect::to(&here).into_response())
}

async fn open(visit: &Visit, text: &str) -> Result<(SideName, Compared), PageError> {
    let named: SideName = text.parse().map_err(|error| visit.refuse(error))?;
    let compared = visit.hub().compared(&visit.caller, &named).await.map_err(|error| visit.refuse(error))?;
    Ok((named, compared))
}

fn sides(a: &str, b: &str, one: &(SideName, Compared), other: &(SideName, Compared)) -> Sides {
    let address = |a: &str, b: &str, more: &[(&str, &str)]| {
        with_pairs("/compare", [("a", a), ("b", b)].into_iter().chain(more.iter().copied()))
    };
    let exact = |(named, compared): &(SideName, Compared)| {
        let id = compared.repo.record.id.clone();
        SideName { id, revision: compared.revision.oid.to_string(), path: compared.path.clone(), ..named.clone() }
    };
    let (exact_a, exact_b) = (exact(one).to_string(), exact(other).to_string());
    let link = |(_, compared): &(SideName, Compared)| {
        let paths = super::address::RepoPaths::new(compared.repo.record.kind, &compared.repo.record.id);
        let oid = compared.revision.oid.to_string();
        let path = if compared.path.is_empty() { String::new() } else { format!(" {}", name(&compared.path)) };
        SideLink {
            name: format!("{}{path}", compared.repo.record.id),
            url: paths.at("tensors", &oid, &compared.path),
            short: oid.get(..7).unwrap_or(&oid).to_owned(),
        }
    };
    Sides {
        a: link(one),
        b: link(other),
        permalink: (exact_a != a || exact_b != b).then(|| address(&exact_a, &exact_b, &[])),
        swapped: address(b, a, &[]),
        csv: address(a, b, &[("as", "csv")]),
    }
}

/// A table as a file.
fn sheet(text: String) -> Response {
    let mut reply = Response::new(Body::from(text));
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8"));
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"comparison.csv\""));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(header::VARY, HeaderValue::from_static("Cookie, Authorization"));
    reply
}

/// Address of the comparison of two commits of one repository.
pub(super) fn address(id: &str, before: &str, after: &str) -> String {
    let side = |revision: &str| encode_segment(&format!("{id}@{revision}"));
    format!("/compare?a={}&b={}", side(before), side(after))
}
