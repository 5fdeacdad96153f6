//! Errors as Hub clients read them.
//!
//! A reply carries its facts three times, because each client reads another place: the status,
//! the headers `X-Error-Code` and `X-Error-Message` (all that a `HEAD` has), and a JSON body
//! `{"error": …}`. Python maps `X-Error-Code` to its exceptions; without it, `repo_exists` and
//! the fallbacks of transformers break on `http://` endpoints.
//!
//! See `huggingface_hub.errors` and
//! <https://huggingface.co/docs/huggingface_hub/package_reference/utilities#huggingface_hub.utils.hf_raise_for_status>.

use http::header::{CONTENT_RANGE, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Header with the machine-readable code.
pub const X_ERROR_CODE: HeaderName = HeaderName::from_static("x-error-code");
/// Header with the message, one line of ASCII.
pub const X_ERROR_MESSAGE: HeaderName = HeaderName::from_static("x-error-message");
/// Header with the commit a revision was resolved to.
pub const X_REPO_COMMIT: HeaderName = HeaderName::from_static("x-repo-commit");

/// Longest message put into a header, in bytes; the body has all of it.
const MAX_HEADER_MESSAGE: usize = 1024;

/// What `X-Error-Code` may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorCode {
    /// The repository is missing, or hidden from the caller.
    RepoNotFound,
    /// The revision names no commit.
    RevisionNotFound,
    /// The path is not in the revision.
    EntryNotFound,
    /// The repository is gated and the caller is not let in.
    GatedRepo,
    /// A policy forbids it, for instance because the file is in quarantine; ours alone, clients show the message.
    BlockedByPolicy,
}

impl ErrorCode {
    /// The spelling on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RepoNotFound => "RepoNotFound",
            Self::RevisionNotFound => "RevisionNotFound",
            Self::EntryNotFound => "EntryNotFound",
            Self::GatedRepo => "GatedRepo",
            Self::BlockedByPolicy => "BlockedByPolicy",
        }
    }

    /// Reads the spelling on the wire.
    #[must_use]
    pub fn from_wire(text: &str) -> Option<Self> {
        [Self::RepoNotFound, Self::RevisionNotFound, Self::EntryNotFound, Self::GatedRepo, Self::BlockedByPolicy]
            .into_iter()
            .find(|code| code.as_str() == text)
    }
}

/// Body of an error: the message, and what a single endpoint adds (such as `url` with 409).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The message.
    pub error: String,
    /// Further members of the object.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// An error on its way to a client.
///
/// Build it with the constructor of its situation; add with [`ErrorReply::with_header`] and
/// [`ErrorReply::with_field`].
#[derive(Clone, Debug)]
#[must_use]
pub struct ErrorReply(Box<Inner>);

/// Behind a pointer, so that a `Result` with an [`ErrorReply`] stays small.
#[derive(Clone, Debug)]
struct Inner {
    status: StatusCode,
    code: Option<ErrorCode>,
    headers: HeaderMap,
    body: ErrorBody,
}

impl ErrorReply {
    /// An error without a code.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let body = ErrorBody { error: message.into(), more: Map::new() };
        Self(Box::new(Inner { status, code: None, headers: HeaderMap::new(), body }))
    }

    fn coded(status: StatusCode, code: ErrorCode, message: impl Into<String>) -> Self {
        let mut reply = Self::new(status, message);
        reply.0.code = Some(code);
        reply
    }

    /// The repository is missing, or the caller may not know that it exists.
    ///
    /// 401 for a caller without a token (it may help to log in), 404 for one with a token.
    pub fn repo_not_found(with_token: bool) -> Self {
        if with_token {
            Self::coded(StatusCode::NOT_FOUND, ErrorCode::RepoNotFound, "Repository not found")
        } else {
            let message = "Repository not found, or private: log in to see it";
            Self::coded(StatusCode::UNAUTHORIZED, ErrorCode::RepoNotFound, message)
        }
    }

    /// This hub has no repositories of that type.
    pub fn type_not_supported(kind: &str) -> Self {
        let message = format!("Repository not found: this hub keeps models and datasets, not {kind}");
        Self::coded(StatusCode::NOT_FOUND, ErrorCode::RepoNotFound, message)
    }

    /// The revision names no commit of the repository.
    pub fn revision_not_found(revision: &str) -> Self {
        let message = format!("Invalid rev id: {revision}");
        Self::coded(StatusCode::NOT_FOUND, ErrorCode::RevisionNotFound, message)
    }

    /// The path is not in the revision, which is commit `commit`.
    ///
    /// Clients remember the absence under the commit, so the header must not be left out.
    pub fn entry_not_found(path: &str, commit: &str) -> Self {
        let message = format!("Entry not found: {path}");
        Self::coded(StatusCode::NOT_FOUND, ErrorCode::EntryNotFound, message).with_header(X_REPO_COMMIT, commit)
    }

    /// A commit deletes a path that is not there; Python looks for this sentence.
    pub fn deleted_entry_not_found(path: &str) -> Self {
        let message = format!("A file with this name doesn't exist: {path}");
        Self::coded(StatusCode::NOT_FOUND, ErrorCode::EntryNotFound, message)
    }

    /// The repository is gated; `page_url` is where access can be asked for.
    pub fn gated(repo_id: &str, page_url: &str, with_token: bool) -> Self {
        let status = if with_token { StatusCode::FORBIDDEN } else { StatusCode::UNAUTHORIZED };
        let message = format!(
            "Access to model {repo_id} is restricted and you are not in the authorized list. \
             Visit {page_url} to ask for access."
        );
        Self::coded(status, ErrorCode::GatedRepo, message)
    }

    /// A policy forbids it, for this reason.
    pub fn blocked(reason: impl Into<String>) -> Self {
        Self::coded(StatusCode::FORBIDDEN, ErrorCode::BlockedByPolicy, reason)
    }

    /// The repository was taken out of service (for instance quarantined).
    pub fn repo_disabled() -> Self {
        Self::new(StatusCode::FORBIDDEN, "Access to this resource is disabled.")
    }

    /// The request makes no sense.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// A token came but is unknown, revoked or expired. The wording is what Python looks for.
    pub fn invalid_token() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Invalid credentials in Authorization header")
            .with_header(WWW_AUTHENTICATE, "Bearer")
    }

    /// The call needs a token and none came.
    pub fn token_needed() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Log in to do this: no token was sent")
            .with_header(WWW_AUTHENTICATE, "Bearer")
    }

    /// The caller is known and may not do this.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, message)
    }

    /// Nothing answers at this address.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// The address answers to other methods.
    pub fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed")
    }

    /// The thing exists already.
    pub fn already_exists(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }

    /// The repository exists already; Python reads its `url` from the body.
    pub fn repo_exists(kind: &str, repo_url: &str) -> Self {
        let message = format!("You already created this {kind} repo: {repo_url}");
        Self::new(StatusCode::CONFLICT, message).with_field("url", repo_url)
    }

    /// `parentCommit` is not the head of the branch. Tests of the clients match the sentence.
    pub fn parent_moved() -> Self {
        let message = "The branch was updated since you opened this page. Please refresh and try again.";
        Self::new(StatusCode::PRECONDITION_FAILED, message)
    }

    /// No byte of the file lies in the range that was asked for.
    pub fn range_unsatisfiable(size_bytes: u64) -> Self {
        Self::new(StatusCode::RANGE_NOT_SATISFIABLE, "The range lies outside of the file")
            .with_header(CONTENT_RANGE, &format!("bytes */{size_bytes}"))
    }

    /// The content is well formed and still not acceptable, such as an illegal path.
    pub fn unprocessable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, message)
    }

    /// The body is larger than the limit.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    }

    /// Too many requests; the caller may return after `retry_after_s` seconds.
    pub fn rate_limited(retry_after_s: u64) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "Too many requests, slow down")
            .with_header(RETRY_AFTER, &retry_after_s.to_string())
    }

    /// The disk is full: nothing was lost, and the same request works when there is room.
    pub fn no_room() -> Self {
        Self::new(StatusCode::INSUFFICIENT_STORAGE, "The hub has no room left for this upload")
    }

    /// Something behind the hub does not answer now; the caller may return after
    /// `retry_after_s` seconds.
    pub fn unavailable(message: impl Into<String>, retry_after_s: u64) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message).with_header(RETRY_AFTER, &retry_after_s.to_string())
    }

    /// A fault of ours; the cause is in the log under the request id.
    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal error, see the hub's log")
    }

    /// Adds a header; a value that cannot stand in a header is made plain ASCII first.
    pub fn with_header(mut self, name: HeaderName, value: &str) -> Self {
        self.0.headers.insert(name, header_text(value));
        self
    }

    /// Adds a member to the JSON body.
    pub fn with_field(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.body.more.insert(name.to_owned(), value.into());
        self
    }

    /// Names the commit that the revision was resolved to, for errors met after that.
    pub fn with_commit(self, commit: &str) -> Self {
        self.with_header(X_REPO_COMMIT, commit)
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The code, if the situation has one.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        self.0.code
    }

    /// The message as the body has it.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.body.error
    }

    /// The whole reply. For a `HEAD`, leave the body out; the headers say the same.
    #[must_use]
    pub fn into_http(self) -> Response<Vec<u8>> {
        let inner = *self.0;
        let json = serde_json::to_vec(&inner.body).unwrap_or_default();
        let mut reply = Response::new(json);
        *reply.status_mut() = inner.status;
        *reply.headers_mut() = inner.headers;
        let headers = reply.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        headers.insert(X_ERROR_MESSAGE, header_text(&inner.body.error));
        if let Some(code) = inner.code {
            headers.insert(X_ERROR_CODE, HeaderValue::from_static(code.as_str()));
        }
        reply
    }
}

#[cfg(feature = "server")]
impl axum::response::IntoResponse for ErrorReply {
    fn into_response(self) -> axum::response::Response {
        self.into_http().map(axum::body::Body::from)
    }
}

/// Makes any text fit for a header: one line, printable ASCII, bounded, `?` for the rest.
#[must_use]
pub fn header_text(text: &str) -> HeaderValue {
    let plain: String = text
        .trim()
        .chars()
        .take(MAX_HEADER_MESSAGE)
        .map(|c| match c {
            ' '..='~' => c,
            c if c.is_whitespace() => ' ',
            _ => '?',
        })
        .collect();
    HeaderValue::from_str(&plain).unwrap_or(HeaderValue::from_static("error"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header<'a>(reply: &'a Response<Vec<u8>>, name: &str) -> Option<&'a str> {
        reply.headers().get(name).map(|value| value.to_str().unwrap())
    }

    #[test]
    fn a_reply_says_the_same_in_status_headers_and_body() {
        let reply = ErrorReply::entry_not_found("über.bin", &"a".repeat(40)).into_http();
        assert_eq!(reply.status(), 404);
        assert_eq!(header(&reply, "x-error-code"), Some("EntryNotFound"));
        assert_eq!(header(&reply, "x-error-message"), Some("Entry not found: ?ber.bin"));
        assert_eq!(header(&reply, "x-repo-commit"), Some("a".repeat(40).as_str()));
        assert_eq!(header(&reply, "content-type"), Some("application/json; charset=utf-8"));
        let body: ErrorBody = serde_json::from_slice(reply.body()).unwrap();
        assert_eq!(body.error, "Entry not found: über.bin");
    }

    #[test]
    fn sentences_that_clients_match_are_exact() {
        let message = |reply: ErrorReply| reply.message().to_owned();
        assert_eq!(message(ErrorReply::invalid_token()), "Invalid credentials in Authorization header");
        assert_eq!(message(ErrorReply::repo_disabled()), "Access to this resource is disabled.");
        assert!(message(ErrorReply::parent_moved()).starts_with("The branch was updated since you opened this page."));
        assert!(message(ErrorReply::deleted_entry_not_found("x")).contains("A file with this name doesn't exist"));
        assert!(
            message(ErrorReply::gated("a/b", "http://hub/a/b", true))
                .starts_with("Access to model a/b is restricted and you are not in the authorized list")
        );
    }

    #[test]
    fn a_stranger_sees_the_same_for_missing_and_private() {
        assert_eq!(ErrorReply::repo_not_found(false).status(), 401);
        assert_eq!(ErrorReply::repo_not_found(true).status(), 404);
        for with_token in [false, true] {
            let code = ErrorReply::repo_not_found(with_token).code();
            assert_eq!(code, Some(ErrorCode::RepoNotFound));
        }
    }

    #[test]
    fn conflict_of_create_carries_the_url() {
        let reply = ErrorReply::repo_exists("model", "http://hub/a/b").into_http();
        let body: Value = serde_json::from_slice(reply.body()).unwrap();
        assert_eq!(body["url"], "http://hub/a/b");
        assert_eq!(reply.status(), 409);
    }

    #[test]
    fn unsatisfiable_range_names_the_size() {
        let reply = ErrorReply::range_unsatisfiable(12).into_http();
        assert_eq!(header(&reply, "content-range"), Some("bytes */12"));
    }

    #[test]
    fn codes_read_back() {
        assert_eq!(ErrorCode::from_wire("GatedRepo"), Some(ErrorCode::GatedRepo));
        assert_eq!(ErrorCode::from_wire("Nope"), None);
    }

    proptest! {
        #[test]
        fn any_message_becomes_one_ascii_line(text in "(?s).{0,300}") {
            let value = header_text(&text);
            prop_assert!(value.as_bytes().iter().all(|b| (b' '..=b'~').contains(b)));
            let _ = ErrorReply::bad_request(text).into_http();
        }
    }
}
