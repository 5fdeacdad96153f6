//! Which repository, and how its addresses are spelled.

use std::fmt;
use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use weighthouse::{RepoKind, names};

use super::error::ClientError;

/// All that is not unreserved (RFC 3986, 2.3).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
const PATH: &AsciiSet = &SEGMENT.remove(b'/');

/// A repository of some hub: its kind and its id.
///
/// ```
/// use weighthouse_hub::client::RepoRef;
///
/// let repo: RepoRef = "datasets/team/texts".parse()?;
/// assert_eq!(repo.id(), "team/texts");
/// assert_eq!(repo.to_string(), "datasets/team/texts");
/// # Ok::<(), weighthouse_hub::client::ClientError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RepoRef {
    kind: RepoKind,
    id: String,
}

impl RepoRef {
    /// A repository by kind and id: `namespace/name`, or one segment.
    ///
    /// # Errors
    /// [`ClientError::Input`] for an id that no hub takes.
    pub fn new(kind: RepoKind, id: impl Into<String>) -> Result<Self, ClientError> {
        let id = id.into();
        names::check_repo_id(&id).map_err(|error| ClientError::Input(error.to_string()))?;
        Ok(Self { kind, id })
    }

    /// Model or dataset.
    #[must_use]
    pub fn kind(&self) -> RepoKind {
        self.kind
    }

    /// `namespace/name`, or one segment.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Namespace and name; no namespace for an id of one segment.
    #[must_use]
    pub fn split(&self) -> (Option<&str>, &str) {
        match self.id.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, &self.id),
        }
    }

    /// Path below the base for calls, without a trailing slash.
    pub(super) fn api(&self) -> String {
        format!("/api/{}/{}", plural(self.kind), path(&self.id))
    }

    /// Path below the base of the page for people.
    pub(super) fn page(&self) -> String {
        format!("{}{}", web_prefix(self.kind), path(&self.id))
    }

    /// Path below the base of a file at a revision.
    pub(super) fn file(&self, revision: &str, file: &str) -> String {
        format!("{}/resolve/{}/{}", self.page(), segment(revision), path(file))
    }
}

impl FromStr for RepoRef {
    type Err = ClientError;

    /// Reads `namespace/name`, with `models/` or `datasets/` in front or not, and with `hub:` in front or not.
    fn from_str(text: &str) -> Result<Self, ClientError> {
        let text = text.strip_prefix("hub:").unwrap_or(text);
        match text.split_once('/') {
            Some(("datasets", id)) => Self::new(RepoKind::Dataset, id),
            Some(("models", id)) => Self::new(RepoKind::Model, id),
            _ => Self::new(RepoKind::Model, text),
        }
    }
}

impl fmt::Display for RepoRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            RepoKind::Dataset => write!(f, "datasets/{}", self.id),
            RepoKind::Model => f.write_str(&self.id),
        }
    }
}

/// A kind as addresses of calls spell it.
pub(super) fn plural(kind: RepoKind) -> &'static str {
    match kind {
        RepoKind::Model => "models",
        RepoKind::Dataset => "datasets",
    }
}

fn web_prefix(kind: RepoKind) -> &'static str {
    match kind {
        RepoKind::Model => "/",
        RepoKind::Dataset => "/datasets/",
    }
}

/// A text as one segment of an address: slashes are encoded too.
pub(super) fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// A text as several segments of an address.
pub(super) fn path(text: &str) -> String {
    utf8_percent_encode(text, PATH).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_spelled_for_every_hub() {
        let model: RepoRef = "team/m".parse().unwrap();
        assert_eq!(model.api(), "/api/models/team/m");
        assert_eq!(model.file("refs/pr/1", "a b/ü?.bin"), "/team/m/resolve/refs%2Fpr%2F1/a%20b/%C3%BC%3F.bin");
        let data: RepoRef = "hub:datasets/team/d".parse().unwrap();
        assert_eq!(data.api(), "/api/datasets/team/d");
        assert_eq!(data.file("main", "x"), "/datasets/team/d/resolve/main/x");
    }

    #[test]
    fn ids_that_no_hub_takes_are_refused_here() {
        for id in ["", "a/b/c", "../x", "a b", "team/", "http://x/y"] {
            assert!(id.parse::<RepoRef>().is_err(), "{id}");
        }
    }
}
