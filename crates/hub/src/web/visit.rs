//! A request for a page.

use axum::extract::FromRequestParts;
use http::request::Parts;
use weighthouse::access::{Caller, Repo};
use weighthouse::revision::Revision;
use weighthouse::{Error, Hub};

use super::WebState;
use super::error::PageError;
use super::shell::Shell;
use crate::server::address::RepoAddress;
use crate::server::session;
use crate::wire::query::Query;

/// A request, as far as all pages want to know it.
#[derive(Clone, Debug)]
pub(super) struct Visit {
    pub state: WebState,
    pub caller: Caller,
    /// Address of this hub as the reader knows it, without a trailing slash.
    pub base: String,
    pub query: Query,
    /// Path and query as they came.
    pub here: String,
    address: Option<RepoAddress>,
}

impl FromRequestParts<WebState> for Visit {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, state: &WebState) -> Result<Self, PageError> {
        let address = parts.extensions.get::<RepoAddress>().cloned();
        let uri = address.as_ref().map_or(&parts.uri, |address| &address.original);
        let mut visit = Self {
            state: state.clone(),
            caller: Caller::anonymous(),
            base: session::base_url(&parts.headers, state.public_url.as_deref()),
            query: Query::default(),
            here: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
            address,
        };
        match session::reader(&state.hub, &parts.headers).await {
            Ok(caller) => visit.caller = session::with_address(caller, &parts.extensions, &parts.headers),
            Err(error) => return Err(visit.refuse(error)),
        }
        match Query::parse(parts.uri.query().unwrap_or("")) {
            Ok(query) => visit.query = query,
            Err(error) => return Err(visit.refuse(Error::Malformed(error.to_string()))),
        }
        Ok(visit)
    }
}

impl Visit {
    pub fn hub(&self) -> &Hub {
        &self.state.hub
    }

    /// The repository in the address.
    pub fn address(&self) -> Result<&RepoAddress, PageError> {
        let missing = || Error::NotFound { what: "page", name: self.here.clone() };
        self.address.as_ref().ok_or_else(|| self.refuse(missing()))
    }

    pub async fn repo_at(&self, revision: &str) -> Result<(Repo, Revision), PageError> {
        let address = self.address()?;
        let found = self.hub().repo_at(&self.caller, address.kind, &address.id, revision).await;
        found.map_err(|error| self.refuse(error))
    }

    /// Number of the page asked for, from 0.
    pub fn page(&self) -> Result<u64, PageError> {
        let page = self.query.number("p").map_err(|error| self.refuse(Error::Malformed(error.to_string())))?;
        Ok(page.unwrap_or(0).min(1_000_000))
    }

    /// What stands around a page.
    pub fn shell(&self, title: impl Into<String>, twin: Option<String>) -> Shell {
        let account = self.caller.account().map(|account| account.name.clone());
        Shell { title: title.into(), account, twin, here: self.here.clone(), refresh_s: None }
    }

    /// The page for a use case that did not succeed.
    pub fn refuse(&self, error: Error) -> PageError {
        if let (Error::RepoMoved { to, .. }, Some(address)) = (&error, &self.address) {
            return PageError::Elsewhere(address.path_under(to));
        }
        PageError::of(&error, self.shell("", None))
    }

    /// This page with other values in its query; `None` takes a key out.
    pub fn with_query(&self, changes: &[(&str, Option<&str>)]) -> String {
        let kept = self.query.pairs().iter().filter(|(key, _)| !changes.iter().any(|(changed, _)| changed == key));
        let kept = kept.map(|(key, value)| (key.as_str(), value.as_str())).take(100);
        let new = changes.iter().filter_map(|(key, value)| Some((*key, (*value)?)));
        let path = self.here.split('?').next().unwrap_or("/");
        with_pairs(path, kept.chain(new))
    }
}

/// An address with a query of the pairs that are not empty.
pub(super) fn with_pairs<'a>(path: &str, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let encode = super::address::encode_segment;
    let pairs: Vec<String> = pairs
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| format!("{}={}", encode(key), encode(value)))
        .collect();
    if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) }
}
