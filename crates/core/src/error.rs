//! What a use case can answer instead of a result.

use std::io;
use std::path::Path;

use weighthouse_format::FormatError;
use weighthouse_store::blob::ReceiveError;
use weighthouse_store::catalog::RepoKind;
use weighthouse_store::digest::{GitOid, Sha256};
use weighthouse_store::repo::edit::EditError;
use weighthouse_store::{StoreError, StoreErrorKind};
use weighthouse_trust::policy::PolicyError;

/// A use case that did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No such repository, or none that the caller may know of.
    #[error("{kind} `{id}` does not exist, or you may not see it")]
    RepoNotFound {
        /// Kind asked for.
        kind: RepoKind,
        /// Id asked for.
        id: String,
    },
    /// The repository has a new id.
    #[error("{kind} `{from}` has moved to `{to}`")]
    RepoMoved {
        /// Kind.
        kind: RepoKind,
        /// Earlier id.
        from: String,
        /// Present id.
        to: String,
    },
    /// No such branch, tag or commit.
    #[error("Invalid rev id: {revision}")]
    RevisionNotFound {
        /// Revision asked for.
        revision: String,
    },
    /// The revision has no such file or folder.
    #[error("`{path}` does not exist on `{revision}`")]
    EntryNotFound {
        /// Path asked for.
        path: String,
        /// Revision asked for.
        revision: String,
        /// Commit the revision stands for.
        commit: GitOid,
    },
    /// A deletion or copy names a path that is not there.
    #[error("A file with this name doesn't exist: `{path}`")]
    MissingFile {
        /// The path.
        path: String,
    },
    /// No such user, organisation, token or upload.
    #[error("{what} `{name}` does not exist")]
    NotFound {
        /// Kind of thing.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// The name is taken.
    #[error("{what}")]
    Exists {
        /// Sentence that names the thing.
        what: String,
    },
    /// The repository exists already; its stored id is given for the caller's link.
    #[error("You already created this {kind} repo: {id}")]
    RepoExists {
        /// Kind.
        kind: RepoKind,
        /// Id as stored.
        id: String,
    },
    /// The branch is not where the caller believes.
    #[error("The branch was updated since you opened this page. Please refresh and try again.")]
    StaleParent,
    /// The token is unknown or expired.
    #[error("Invalid credentials in Authorization header")]
    InvalidToken,
    /// The call needs a token.
    #[error("this needs a token: {action}")]
    Unauthenticated {
        /// What was attempted.
        action: &'static str,
    },
    /// The caller may not do this.
    #[error("you are not allowed to {action}")]
    Denied {
        /// What was attempted.
        action: String,
    },
    /// A policy forbids it.
    #[error("{reason}")]
    Blocked {
        /// What was refused, why, and by which policy: one sentence for whoever asked.
        reason: String,
    },
    /// Policies that cannot be saved.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A file path breaks a rule.
    #[error("path `{path}` is refused: {reason}")]
    IllegalPath {
        /// The path, shortened.
        path: String,
        /// Which rule.
        reason: String,
    },
    /// Input breaks a rule.
    #[error("{0}")]
    Malformed(String),
    /// A commit points to a file whose bytes were never uploaded.
    #[error("LFS pointer pointed to a file that does not exist: {path} ({sha256})")]
    MissingContent {
        /// Path in the commit.
        path: String,
        /// Digest it names.
        sha256: Sha256,
    },
    /// Bytes are not what they were announced to be.
    #[error("{what}: {expected} was announced, {actual} arrived")]
    Mismatch {
        /// Which property of which upload.
        what: &'static str,
        /// Announced.
        expected: String,
        /// Arrived.
        actual: String,
    },
    /// The range starts beyond the end of the file.
    #[error("the range starts beyond the end of the file ({size_bytes} bytes)")]
    RangeNotSatisfiable {
        /// Length of the file.
        size_bytes: u64,
    },
    /// Something is larger than this hub takes.
    #[error("{what} is larger than the limit of {limit_bytes} bytes")]
    TooLarge {
        /// What.
        what: String,
        /// Limit in bytes.
        limit_bytes: u64,
    },
    /// This cannot be done; what can is said.
    #[error("{0}")]
    Unsupported(String),
    /// A file on this machine cannot be read or written.
    #[error("{action} `{path}`: {source}")]
    Local {
        /// What was attempted.
        action: &'static str,
        /// The file or folder.
        path: String,
        /// What the file system said.
        source: io::Error,
    },
    /// A file changed while it was read.
    #[error("`{file}` changed while it was read")]
    SourceChanged {
        /// The file.
        file: String,
    },
    /// Too many ask for something that takes a while.
    #[error("too many others are {what}; try again in a moment")]
    Busy {
        /// What takes a while.
        what: &'static str,
    },
    /// The bytes were removed by a rule of retention.
    #[error("the bytes of this version were removed by the repository's rule of retention: {rule}")]
    Retired {
        /// Digest of the bytes.
        sha256: Sha256,
        /// The rule.
        rule: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(StoreError),
}

/// What a caller can do about an [`Error`]; each edge translates it once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// It is not there.
    NotFound,
    /// It is in the way, or has changed.
    Conflict,
    /// More rights are needed.
    Denied,
    /// A policy forbids it, whoever asks.
    Refused,
    /// The input is wrong.
    Malformed,
    /// Bytes at rest are wrong.
    Corrupt,
    /// The storage is full.
    Full,
    /// Try again later.
    Transient,
    /// Our fault.
    Internal,
}

impl Error {
    /// A file of this machine that cannot be read or written.
    #[must_use]
    pub fn local(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Local { action, path: path.display().to_string(), source }
    }

    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::RepoNotFound { .. }
            | Self::RepoMoved { .. }
            | Self::RevisionNotFound { .. }
            | Self::EntryNotFound { .. }
            | Self::MissingFile { .. }
            | Self::NotFound { .. }
            | Self::Retired { .. } => ErrorKind::NotFound,
            Self::Exists { .. } | Self::RepoExists { .. } | Self::StaleParent => ErrorKind::Conflict,
            Self::SourceChanged { .. } => ErrorKind::Conflict,
            Self::Local { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => ErrorKind::NotFound,
                io::ErrorKind::PermissionDenied => ErrorKind::Denied,
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
                io::ErrorKind::AlreadyExists => ErrorKind::Conflict,
                _ => ErrorKind::Transient,
            },
            Self::InvalidToken | Self::Unauthenticated { .. } | Self::Denied { .. } => ErrorKind::Denied,
            Self::Blocked { .. } => ErrorKind::Refused,
            Self::IllegalPath { .. }
            | Self::Policy(_)
            | Self::Malformed(_)
            | Self::Unsupported(_)
            | Self::MissingContent { .. }
            | Self::Mismatch { .. }
            | Self::RangeNotSatisfiable { .. }
            | Self::TooLarge { .. } => ErrorKind::Malformed,
            Self::Busy { .. } => ErrorKind::Transient,
            Self::Store(error) => match error.kind() {
                StoreErrorKind::Conflict => ErrorKind::Conflict,
                StoreErrorKind::Corrupt => ErrorKind::Corrupt,
                StoreErrorKind::Malformed => ErrorKind::Malformed,
                StoreErrorKind::Full => ErrorKind::Full,
                StoreErrorKind::Transient => ErrorKind::Transient,
                StoreErrorKind::Internal => ErrorKind::Internal,
            },
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Malformed(error) => error.into(),
            StoreError::Exists { what } => Self::Exists { what: format!("{what} exists already") },
            error => Self::Store(error),
        }
    }
}

impl From<FormatError> for Error {
    fn from(error: FormatError) -> Self {
        Self::Malformed(error.to_string())
    }
}

impl From<ReceiveError> for Error {
    fn from(error: ReceiveError) -> Self {
        match error {
            ReceiveError::Malformed(error) => error.into(),
            ReceiveError::Store(error) => error.into(),
            error => Self::Malformed(error.to_string()),
        }
    }
}

impl From<EditError> for Error {
    fn from(error: EditError) -> Self {
        match error {
            EditError::NotFound(path) => Self::MissingFile { path },
            EditError::Store(error) => error.into(),
            EditError::WrongKind { ref path, .. } | EditError::CaseClash { ref path, .. } => {
                Self::IllegalPath { path: path.clone(), reason: error.to_string() }
            }
            error => Self::Malformed(error.to_string()),
        }
    }
}
