//! Addresses of pages, encoded.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use weighthouse::RepoKind;

use crate::server::address::KindSpelling;

/// Everything but the unreserved characters of RFC 3986.
const ENCODE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Encodes one segment of a path, or one value of a query.
pub(super) fn encode_segment(text: &str) -> String {
    utf8_percent_encode(text, ENCODE).to_string()
}

/// Encodes a path, slashes excepted.
pub(super) fn encode_path(path: &str) -> String {
    path.split('/').map(encode_segment).collect::<Vec<_>>().join("/")
}

/// Addresses around one repository, all beginning with a slash.
#[derive(Clone, Debug)]
pub(super) struct RepoPaths {
    /// Page of the repository.
    pub page: String,
    /// The same in the API.
    pub api: String,
}

impl RepoPaths {
    pub fn new(kind: RepoKind, id: &str) -> Self {
        Self { page: format!("{}{id}", kind.web_prefix()), api: format!("/api/{}/{id}", kind.plural()) }
    }

    /// A page of a revision: `tree`, `blob`, `resolve`, `commits`.
    pub fn at(&self, verb: &str, revision: &str, path: &str) -> String {
        let slash = if path.is_empty() { "" } else { "/" };
        format!("{}/{verb}/{}{slash}{}", self.page, encode_segment(revision), encode_path(path))
    }

    /// The like in the API.
    pub fn api_at(&self, verb: &str, revision: &str, path: &str) -> String {
        let slash = if path.is_empty() { "" } else { "/" };
        format!("{}/{verb}/{}{slash}{}", self.api, encode_segment(revision), encode_path(path))
    }

    pub fn commit(&self, oid: &str) -> String {
        format!("{}/commit/{oid}", self.page)
    }
}
