//! Who asks, about which repository, and under which address they know this hub.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use http::{HeaderMap, Method, header};
use serde::de::DeserializeOwned;
use weighthouse::access::{Caller, Repo};
use weighthouse::revision::Revision;
use weighthouse::{Error, ErrorKind};

use super::address::{KindSpelling, RepoAddress};
use super::app::App;
use super::session;
use crate::wire::error::ErrorReply;
use crate::wire::query::{Query, QueryError};

/// A request, as far as all handlers want to know it.
#[derive(Clone, Debug)]
pub struct Visitor {
    /// State of the server.
    pub app: App,
    /// Who asks.
    pub caller: Caller,
    /// Address of this hub as the client knows it, without a trailing slash.
    pub base: String,
    /// Headers of the request.
    pub headers: HeaderMap,
    /// Query of the request.
    pub query: Query,
    address: Option<RepoAddress>,
}

impl FromRequestParts<App> for Visitor {
    type Rejection = ErrorReply;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ErrorReply> {
        let caller = session::caller(app.hub(), &parts.headers).await;
        Self::new(parts, app, caller)
    }
}

/// A visitor who wants to read a file: a browser may show the cookie of the pages instead of a token.
#[derive(Clone, Debug)]
pub struct Reader(pub Visitor);

impl FromRequestParts<App> for Reader {
    type Rejection = ErrorReply;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ErrorReply> {
        if !matches!(parts.method, Method::GET | Method::HEAD) {
            return Visitor::from_request_parts(parts, app).await.map(Self);
        }
        let caller = session::reader(app.hub(), &parts.headers).await;
        Visitor::new(parts, app, caller).map(Self)
    }
}

impl Visitor {
    fn new(parts: &mut Parts, app: &App, caller: Result<Caller, Error>) -> Result<Self, ErrorReply> {
        let caller = caller.map(|caller| session::with_address(caller, &parts.extensions, &parts.headers));
        let query = Query::parse(parts.uri.query().unwrap_or(""))?;
        let mut visitor = Self {
            app: app.clone(),
            caller: Caller::anonymous(),
            base: session::base_url(&parts.headers, app.options().public_url.as_deref()),
            headers: std::mem::take(&mut parts.headers),
            query,
            address: parts.extensions.get::<RepoAddress>().cloned(),
        };
        visitor.caller = caller.map_err(|error| visitor.refuse(error))?;
        Ok(visitor)
    }

    /// The repository asked about, as it was spelled.
    pub fn address(&self) -> Result<&RepoAddress, ErrorReply> {
        self.address.as_ref().ok_or_else(|| ErrorReply::not_found("nothing answers here"))
    }

    /// The repository asked about.
    pub async fn repo(&self) -> Result<Repo, ErrorReply> {
        let address = self.address()?;
        let repo = self.app.hub().repo(&self.caller, address.kind, &address.id).await;
        repo.map_err(|error| self.refuse(error))
    }

    /// The repository asked about, at a revision.
    pub async fn repo_at(&self, revision: &str) -> Result<(Repo, Revision), ErrorReply> {
        let address = self.address()?;
        let found = self.app.hub().repo_at(&self.caller, address.kind, &address.id, revision).await;
        found.map_err(|error| self.refuse(error))
    }

    /// Address of a repository's page.
    #[must_use]
    pub fn page_url(&self, repo: &Repo) -> String {
        format!("{}{}{}", self.base, repo.record.kind.web_prefix(), repo.record.id)
    }

    /// Address of a repository's API.
    #[must_use]
    pub fn api_url(&self, repo: &Repo) -> String {
        format!("{}/api/{}/{}", self.base, repo.record.kind.plural(), repo.record.id)
    }

    /// The answer to a use case that did not succeed.
    pub fn refuse(&self, error: Error) -> ErrorReply {
        match error {
            Error::RepoMoved { ref to, .. } => {
                // Relative, since older clients follow no other redirect; below the path prefix of the hub, if any.
                let prefix = self.base.splitn(4, '/').nth(3).map(|path| format!("/{path}")).unwrap_or_default();
                let target = self.address.as_ref().map(|address| format!("{prefix}{}", address.path_under(to)));
                ErrorReply::new(http::StatusCode::TEMPORARY_REDIRECT, error.to_string())
                    .with_header(header::LOCATION, &target.unwrap_or_default())
            }
            Error::RepoNotFound { .. } => ErrorReply::repo_not_found(self.caller.account().is_some()),
            Error::RepoExists { kind, ref id } => {
                let url = format!("{}{}{id}", self.base, kind.web_prefix());
                ErrorReply::repo_exists(kind.as_str(), &url)
            }
            error => refuse(error),
        }
    }
}

/// The answer to an error that needs no knowledge of the request.
pub fn refuse(error: Error) -> ErrorReply {
    let text = error.to_string();
    match error {
        Error::RepoNotFound { .. } => ErrorReply::repo_not_found(true),
        Error::RevisionNotFound { revision } => ErrorReply::revision_not_found(&revision),
        Error::EntryNotFound { path, commit, .. } => ErrorReply::entry_not_found(&path, &commit.to_string()),
        Error::MissingFile { path } => ErrorReply::deleted_entry_not_found(&path),
        Error::StaleParent => ErrorReply::parent_moved(),
        Error::InvalidToken => ErrorReply::invalid_token(),
        Error::Unauthenticated { .. } => ErrorReply::token_needed(),
        Error::Denied { .. } => ErrorReply::forbidden(text),
        Error::Blocked { reason } => ErrorReply::blocked(reason),
        Error::Policy(_) => ErrorReply::unprocessable(text),
        Error::IllegalPath { .. } | Error::Mismatch { .. } => ErrorReply::unprocessable(text),
        Error::RangeNotSatisfiable { size_bytes } => ErrorReply::range_unsatisfiable(size_bytes),
        Error::Retired { .. } => ErrorReply::new(http::StatusCode::GONE, text),
        Error::TooLarge { .. } => ErrorReply::too_large(text),
        Error::Busy { .. } => ErrorReply::unavailable("too many ask for this at once; try again", 2),
        error => match error.kind() {
            ErrorKind::NotFound => ErrorReply::not_found(text),
            ErrorKind::Conflict => ErrorReply::already_exists(text),
            ErrorKind::Denied => ErrorReply::forbidden(text),
            ErrorKind::Malformed => ErrorReply::bad_request(text),
            ErrorKind::Full => {
                tracing::error!(error = %chain(&error), "the storage is full");
                ErrorReply::no_room()
            }
            ErrorKind::Transient => {
                tracing::warn!(error = %chain(&error), "storage or database did not answer");
                ErrorReply::unavailable("the storage or the database does not answer; try again", 2)
            }
            _ => {
                tracing::error!(error = %chain(&error), "request failed");
                ErrorReply::internal()
            }
        },
    }
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

impl From<QueryError> for ErrorReply {
    fn from(error: QueryError) -> Self {
        Self::bad_request(error.to_string())
    }
}

/// Reads a JSON body; an empty one counts as `{}`.
pub fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, ErrorReply> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body)
        .map_err(|error| ErrorReply::bad_request(format!("the body is not understood: {error}")))
}
