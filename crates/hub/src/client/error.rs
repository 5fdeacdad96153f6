//! What can go wrong between here and a hub.

use std::io;
use std::path::Path;
use std::time::Duration;

use weighthouse::ErrorKind;

use crate::wire::error::ErrorCode;

/// A call or a transfer that did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The hub answered with an error.
    #[error("{message} (status {status}{})", request(.request_id.as_deref()))]
    Answered {
        /// HTTP status.
        status: u16,
        /// `X-Error-Code`, if it is one we know.
        code: Option<ErrorCode>,
        /// The hub's words, fit for a terminal.
        message: String,
        /// Name of the request in the hub's log.
        request_id: Option<String>,
        /// How long the hub asks to wait.
        retry_after: Option<Duration>,
    },
    /// No connection, or one that broke.
    #[error("{what}: {why}")]
    Connection {
        /// What was attempted, with the address.
        what: String,
        /// The cause.
        why: String,
    },
    /// Nothing moved for too long.
    #[error("{what}: nothing moved for {seconds} s")]
    Stalled {
        /// What was attempted.
        what: String,
        /// How long we waited, in seconds.
        seconds: u64,
    },
    /// The hub's answer makes no sense.
    #[error("{what}: the hub's answer makes no sense: {why}")]
    Nonsense {
        /// What was asked.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// The hub names a path that is not written here.
    #[error("path `{path}` of the hub is refused: {why}")]
    UnsafePath {
        /// The path, shortened and escaped.
        path: String,
        /// Which rule it breaks.
        why: String,
    },
    /// Received bytes are not those that the hub names.
    #[error("`{path}` arrived damaged twice: {expected} was announced, {actual} came")]
    Damaged {
        /// Path in the repository.
        path: String,
        /// Announced digest.
        expected: String,
        /// Digest of what came.
        actual: String,
    },
    /// A file was written to while it was read.
    #[error("`{path}` changed while it was read")]
    Changed {
        /// Path in the folder.
        path: String,
    },
    /// Something here is in the way.
    #[error("{0}")]
    InTheWay(String),
    /// What was asked for makes no sense.
    #[error("{0}")]
    Input(String),
    /// The hub refuses to take what it had told us it holds.
    #[error("the hub no longer holds what it held before: {0}")]
    Forgotten(String),
    /// A file or folder here cannot be read or written.
    #[error("{what}: {source}")]
    Local {
        /// What was attempted, with the path.
        what: String,
        /// The cause.
        source: io::Error,
    },
    /// A fault of ours.
    #[error("internal: {0}")]
    Internal(String),
}

fn request(id: Option<&str>) -> String {
    id.map(|id| format!(", request {id}")).unwrap_or_default()
}

impl ClientError {
    /// What a caller can do about it; the edges translate it to exit codes and exceptions.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Answered { status, .. } => match status {
                401 | 403 | 407 => ErrorKind::Denied,
                404 | 410 => ErrorKind::NotFound,
                409 | 412 => ErrorKind::Conflict,
                507 => ErrorKind::Full,
                408 | 425 | 429 | 502..=504 => ErrorKind::Transient,
                500..=599 => ErrorKind::Internal,
                _ => ErrorKind::Malformed,
            },
            Self::Connection { .. } | Self::Stalled { .. } | Self::Forgotten(_) => ErrorKind::Transient,
            Self::Nonsense { .. } | Self::UnsafePath { .. } | Self::Input(_) => ErrorKind::Malformed,
            Self::Damaged { .. } => ErrorKind::Corrupt,
            Self::Changed { .. } | Self::InTheWay(_) => ErrorKind::Conflict,
            Self::Local { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => ErrorKind::NotFound,
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Denied,
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
                _ => ErrorKind::Internal,
            },
            Self::Internal(_) => ErrorKind::Internal,
        }
    }

    /// The hub's code, if it answered with one.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Answered { code, .. } => *code,
            _ => None,
        }
    }

    /// The HTTP status, if the hub answered.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Answered { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the same call may succeed a little later.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Answered { status, .. } => matches!(status, 408 | 425 | 429 | 500 | 502..=504),
            Self::Connection { .. } | Self::Stalled { .. } => true,
            _ => false,
        }
    }

    /// How long the hub asks to wait.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Answered { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    pub(super) fn local(what: &str, path: &Path, source: io::Error) -> Self {
        Self::Local { what: format!("{what} `{}`", path.display().to_string().escape_debug()), source }
    }

    pub(super) fn nonsense(what: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Self::Nonsense { what: what.into(), why: why.to_string() }
    }

    pub(super) fn task(error: &tokio::task::JoinError) -> Self {
        Self::Internal(format!("a task ended early: {error}"))
    }
}

impl From<weighthouse::format::FormatError> for ClientError {
    fn from(error: weighthouse::format::FormatError) -> Self {
        Self::Internal(error.to_string())
    }
}

/// Makes words of a stranger fit for a terminal: no control characters, bounded.
pub(super) fn plain(text: &str) -> String {
    const MAX_CHARS: usize = 1_000;
    let shown = text.trim().chars().take(MAX_CHARS);
    shown.map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A path of a stranger, fit for a message.
pub(super) fn shown(path: &str) -> String {
    let text: String = path.chars().take(120).flat_map(char::escape_debug).collect();
    if path.chars().nth(120).is_some() { format!("{text}…") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16) -> ClientError {
        ClientError::Answered {
            status,
            code: None,
            message: "no".into(),
            request_id: Some("r1".into()),
            retry_after: None,
        }
    }

    #[test]
    fn a_status_says_what_can_be_done() {
        for (status, kind, passes) in [
            (401, ErrorKind::Denied, false),
            (404, ErrorKind::NotFound, false),
            (412, ErrorKind::Conflict, false),
            (422, ErrorKind::Malformed, false),
            (429, ErrorKind::Transient, true),
            (500, ErrorKind::Internal, true),
            (503, ErrorKind::Transient, true),
            (507, ErrorKind::Full, false),
        ] {
            assert_eq!((answered(status).kind(), answered(status).may_pass()), (kind, passes), "{status}");
        }
    }

    #[test]
    fn an_answer_names_its_request() {
        assert_eq!(answered(404).to_string(), "no (status 404, request r1)");
    }

    #[test]
    fn words_of_strangers_cannot_steer_a_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\nc"), "a [2Jb c");
        assert_eq!(shown("a\u{1b}\n"), "a\\u{1b}\\n");
        assert!(shown(&"x".repeat(500)).chars().count() == 121);
    }
}
