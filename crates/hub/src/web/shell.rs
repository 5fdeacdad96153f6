//! What stands around every page.

use askama::Template;
use axum::response::{Html, IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use weighthouse::access::Repo;
use weighthouse::facts::Facts;

use super::address::RepoPaths;
use super::assets;

/// Head and foot of a page.
#[derive(Clone, Debug, Default)]
pub(super) struct Shell {
    /// Title, without the name of the hub.
    pub title: String,
    /// Whoever is logged in.
    pub account: Option<String>,
    /// Address of the same as JSON.
    pub twin: Option<String>,
    /// Address of the page, to come back to after logging in.
    pub here: String,
    /// After how many seconds the page is loaded again, because something on it is under way.
    pub refresh_s: Option<u32>,
}

impl Shell {
    pub fn style(&self) -> &'static str {
        assets::style()
    }

    pub fn icon(&self) -> &'static str {
        assets::icon()
    }

    /// Where to log in and come back.
    pub fn login(&self) -> String {
        format!("/login?next={}", super::address::encode_segment(&self.here))
    }
}

/// Head of a repository's pages.
#[derive(Clone, Debug)]
pub(super) struct RepoHead {
    pub paths: RepoPaths,
    /// `Models` or `Datasets`, and where they are listed.
    pub kind: &'static str,
    pub kind_url: &'static str,
    pub id: String,
    pub namespace: Option<String>,
    pub name: String,
    pub private: bool,
    /// Revision that the tabs lead to, as the reader named it.
    pub revision: String,
    /// Which tab is open: `card`, `files`, `commits`, `tensors`, `architecture`; or another page, such as `convert`.
    pub tab: &'static str,
    /// Whether there is something to look into, as far as is known.
    pub inside: bool,
}

impl RepoHead {
    pub fn new(repo: &Repo, revision: &str, tab: &'static str) -> Self {
        let record = &repo.record;
        let (kind, kind_url) = match record.kind {
            weighthouse::RepoKind::Model => ("Models", "/models"),
            weighthouse::RepoKind::Dataset => ("Datasets", "/datasets"),
        };
        let (namespace, name) = match record.id.split_once('/') {
            Some((namespace, name)) => (Some(namespace.to_owned()), name.to_owned()),
            None => (None, record.id.clone()),
        };
        Self {
            paths: RepoPaths::new(record.kind, &record.id),
            kind,
            kind_url,
            id: record.id.clone(),
            namespace,
            name,
            private: record.private,
            revision: revision.to_owned(),
            inside: matches!(tab, "tensors" | "architecture" | "convert") || has_checkpoint(record),
            tab,
        }
    }

    pub fn files_url(&self) -> String {
        self.paths.at("tree", &self.revision, "")
    }

    pub fn tensors_url(&self) -> String {
        self.paths.at("tensors", &self.revision, "")
    }

    pub fn architecture_url(&self) -> String {
        self.paths.at("architecture", &self.revision, "")
    }

    pub fn convert_url(&self) -> String {
        self.paths.at("convert", &self.revision, "")
    }

    pub fn commits_url(&self) -> String {
        self.paths.at("commits", &self.revision, "")
    }
}

/// Whether weights were found in a repository, or occur among its names.
fn has_checkpoint(record: &weighthouse::RepoRecord) -> bool {
    let facts = Facts::of(record);
    let read = facts.inside.is_some_and(|inside| inside.tensors > 0 || inside.failure.is_some());
    record.kind == weighthouse::RepoKind::Model && (read || !facts.formats.is_empty())
}

/// Renders a page. What it says depends on who asks, so nobody but the reader may keep it.
pub(super) fn page(status: StatusCode, template: &impl Template) -> Response {
    let mut reply = match template.render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page could not be rendered");
            (StatusCode::INTERNAL_SERVER_ERROR, "the page could not be rendered").into_response()
        }
    };
    let headers = reply.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(header::VARY, HeaderValue::from_static("Cookie, Authorization"));
    reply
}
