//! The body of a commit: NDJSON, read as it arrives and written line by line.
//!
//! `POST /api/{models|datasets}/{id}/commit/{rev}`, `Content-Type: application/x-ndjson`. One JSON
//! object `{"key": …, "value": {…}}` per line; the first is the header, the others apply in
//! order. The last line feed may be missing.
//!
//! Invariant: whatever comes, at most one line and one decoded file are in memory, and both are
//! bounded by [`CommitLimits`].
//!
//! <https://huggingface.co/docs/hub/api#post-apirepotyperepoidcommitrevision>

mod line;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use serde::Serialize;

/// Bounds of a commit body.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CommitLimits {
    /// Largest file that may come inside the body, decoded, in bytes.
    pub max_file_bytes: u64,
    /// Largest body in bytes.
    pub max_total_bytes: u64,
    /// Most operations in one commit.
    pub max_operations: u64,
}

impl Default for CommitLimits {
    /// 10 MiB for a file, 512 MiB in all, 250,000 operations.
    fn default() -> Self {
        Self { max_file_bytes: 10 << 20, max_total_bytes: 512 << 20, max_operations: 250_000 }
    }
}

impl CommitLimits {
    /// Longest line in bytes: 1.4 times the largest file (base64 takes 4/3) and room for the rest.
    #[must_use]
    pub fn max_line_bytes(&self) -> usize {
        let content = self.max_file_bytes.saturating_add(self.max_file_bytes / 5 * 2);
        usize::try_from(content).unwrap_or(usize::MAX).saturating_add(64 << 10)
    }
}

/// One line, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitLine {
    /// The first line.
    Header(CommitHeader),
    /// Any other line.
    Operation(Operation),
}

/// What the commit is called and where it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CommitHeader {
    /// First line of the message.
    pub summary: String,
    /// The rest of the message, may be empty.
    pub description: String,
    /// Commit the branch must be at, 5 to 40 lower-case hex digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_commit: Option<String>,
}

/// One change. Paths are as they came: the rules for them live with the use case.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// Writes a regular file, or copies `old_path` when there is no content.
    File {
        /// Where.
        path: String,
        /// What, decoded.
        content: Option<Bytes>,
        /// Path it is renamed or copied from.
        old_path: Option<String>,
    },
    /// Points at a large object that the hub has already.
    LfsFile {
        /// Where.
        path: String,
        /// SHA-256 of the content, 64 lower-case hex digits.
        oid: String,
        /// Size of the content in bytes; absent on copies.
        size: Option<u64>,
        /// Path it is renamed or copied from.
        old_path: Option<String>,
    },
    /// Deletes a file, or a folder named without a trailing slash.
    DeletedFile {
        /// Where.
        path: String,
    },
    /// Deletes a folder with all in it; the path may end with `/`.
    DeletedFolder {
        /// Where.
        path: String,
    },
}

/// Why a commit body was refused. Lines count from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommitBodyError {
    /// No line at all.
    #[error("the commit has no header line")]
    Empty,
    /// The first line is something else.
    #[error("line {line}: the first line must be the header, not `{key}`")]
    HeaderMissing {
        /// Where.
        line: u64,
        /// What came.
        key: &'static str,
    },
    /// A header after the first line.
    #[error("line {line}: a second header")]
    SecondHeader {
        /// Where.
        line: u64,
    },
    /// Bytes that are no text.
    #[error("line {line}, byte {column}: not UTF-8")]
    NotUtf8 {
        /// Where.
        line: u64,
        /// Byte in the line, from 1.
        column: usize,
    },
    /// Not JSON, or not of this shape (an unknown key, a missing or mistyped field).
    #[error("line {line}, column {column}: {why}")]
    Json {
        /// Where.
        line: u64,
        /// Column in the line, from 1; 0 if it concerns the whole line.
        column: usize,
        /// The parser's words.
        why: String,
    },
    /// Content that is not base64.
    #[error("line {line}: content of `{path}` is not base64: {why}")]
    Base64 {
        /// Where.
        line: u64,
        /// File it belongs to.
        path: String,
        /// The decoder's words.
        why: String,
    },
    /// A value that no hub accepts.
    #[error("line {line}: `{field}` {why}")]
    BadField {
        /// Where.
        line: u64,
        /// Field of the value.
        field: &'static str,
        /// What would be accepted.
        why: &'static str,
    },
    /// A file too large for the body.
    #[error("line {line}: `{path}` has {size} bytes; files above {limit} must be uploaded as LFS objects first")]
    FileTooLarge {
        /// Where.
        line: u64,
        /// File.
        path: String,
        /// Its size in bytes.
        size: u64,
        /// Limit in bytes.
        limit: u64,
    },
    /// A line too long to hold in memory.
    #[error("line {line}: longer than {limit} bytes; upload large files as LFS objects first")]
    LineTooLong {
        /// Where.
        line: u64,
        /// Limit in bytes.
        limit: usize,
    },
    /// A body above the limit.
    #[error("line {line}: the commit is larger than {limit} bytes; split it")]
    BodyTooLarge {
        /// Where.
        line: u64,
        /// Limit in bytes.
        limit: u64,
    },
    /// Too many operations.
    #[error("line {line}: more than {limit} operations in one commit; split it")]
    TooManyOperations {
        /// Where.
        line: u64,
        /// Limit.
        limit: u64,
    },
}

impl CommitBodyError {
    /// Whether a smaller commit would be accepted (413) – otherwise it is malformed (400).
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        matches!(
            self,
            Self::FileTooLarge { .. }
                | Self::LineTooLong { .. }
                | Self::BodyTooLarge { .. }
                | Self::TooManyOperations { .. }
        )
    }
}

impl From<CommitBodyError> for super::error::ErrorReply {
    fn from(error: CommitBodyError) -> Self {
        if error.is_too_large() { Self::too_large(error.to_string()) } else { Self::bad_request(error.to_string()) }
    }
}

/// Turns body bytes into [`CommitLine`]s, one at a time.
///
/// ```
/// use weighthouse_hub::wire::commit::{CommitLimits, CommitLine, CommitParser};
///
/// let mut parser = CommitParser::new(CommitLimits::default());
/// let mut bytes: &[u8] = b"{\"key\":\"header\",\"value\":{\"summary\":\"First\"}}\n{\"key\":";
/// let first = parser.next_line(&mut bytes)?;
/// assert!(matches!(first, Some(CommitLine::Header(header)) if header.summary == "First"));
/// assert_eq!(parser.next_line(&mut bytes)?, None, "more bytes are needed");
/// # Ok::<(), weighthouse_hub::wire::commit::CommitBodyError>(())
/// ```
#[derive(Debug)]
pub struct CommitParser {
    limits: CommitLimits,
    /// Start of a line whose end has not come yet.
    rest: Vec<u8>,
    /// Number of the line being read, from 1.
    line: u64,
    total_bytes: u64,
    operations: u64,
    header_seen: bool,
}

/// Buffers above this size are given back after their line.
const KEEP_CAPACITY: usize = 256 << 10;

impl CommitParser {
    /// A parser at the start of a body.
    #[must_use]
    pub fn new(limits: CommitLimits) -> Self {
        Self { limits, rest: Vec::new(), line: 1, total_bytes: 0, operations: 0, header_seen: false }
    }

    /// Takes bytes from the front of `input` until a line is complete.
    ///
    /// Returns `None` when `input` is used up and the line goes on. Blank lines are skipped.
    ///
    /// # Errors
    /// Any [`CommitBodyError`]; the parser must not be used after one.
    pub fn next_line(&mut self, input: &mut &[u8]) -> Result<Option<CommitLine>, CommitBodyError> {
        while !input.is_empty() {
            let end = input.iter().position(|&byte| byte == b'\n');
            let piece = &input[..end.unwrap_or(input.len())];
            self.count_bytes(piece.len() + usize::from(end.is_some()))?;
            if self.rest.len().saturating_add(piece.len()) > self.limits.max_line_bytes() {
                let limit = self.limits.max_line_bytes();
                return Err(CommitBodyError::LineTooLong { line: self.line, limit });
            }
            let Some(end) = end else {
                self.rest.extend_from_slice(piece);
                *input = &[];
                return Ok(None);
            };
            *input = &input[end + 1..];
            let parsed = if self.rest.is_empty() {
                self.understand(piece)?
            } else {
                let mut whole = std::mem::take(&mut self.rest);
                whole.extend_from_slice(piece);
                let parsed = self.understand(&whole)?;
                if whole.capacity() <= KEEP_CAPACITY {
                    whole.clear();
                    self.rest = whole;
                }
                parsed
            };
            self.line += 1;
            if parsed.is_some() {
                return Ok(parsed);
            }
        }
        Ok(None)
    }

    /// Ends the body: gives the last line if its line feed was missing.
    ///
    /// # Errors
    /// As [`CommitParser::next_line`], and [`CommitBodyError::Empty`] when no header came.
    pub fn finish(mut self) -> Result<Option<CommitLine>, CommitBodyError> {
        let rest = std::mem::take(&mut self.rest);
        let last = self.understand(&rest)?;
        if self.header_seen { Ok(last) } else { Err(CommitBodyError::Empty) }
    }

    /// Bytes held back for a line whose end has not come yet.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.rest.len()
    }

    fn count_bytes(&mut self, count: usize) -> Result<(), CommitBodyError> {
        self.total_bytes = self.total_bytes.saturating_add(count as u64);
        let limit = self.limits.max_total_bytes;
        if self.total_bytes > limit {
            return Err(CommitBodyError::BodyTooLarge { line: self.line, limit });
        }
        Ok(())
    }

    fn understand(&mut self, bytes: &[u8]) -> Result<Option<CommitLine>, CommitBodyError> {
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        let parsed = line::parse(bytes, self.line, &self.limits)?;
        match &parsed {
            CommitLine::Header(_) if self.header_seen => {
                return Err(CommitBodyError::SecondHeader { line: self.line });
            }
            CommitLine::Header(_) => self.header_seen = true,
            CommitLine::Operation(operation) if !self.header_seen => {
                let key = operation.key();
                return Err(CommitBodyError::HeaderMissing { line: self.line, key });
            }
            CommitLine::Operation(_) => {
                self.operations += 1;
                let limit = self.limits.max_operations;
                if self.operations > limit {
                    return Err(CommitBodyError::TooManyOperations { line: self.line, limit });
                }
            }
        }
        Ok(Some(parsed))
    }
}

impl Operation {
    /// The line's `key`.
    #[must_use]
    pub fn key(&self) -> &'static str {
        match self {
            Self::File { .. } => "file",
            Self::LfsFile { .. } => "lfsFile",
            Self::DeletedFile { .. } => "deletedFile",
            Self::DeletedFolder { .. } => "deletedFolder",
        }
    }

    /// The path that is written or deleted.
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Self::File { path, .. }
            | Self::LfsFile { path, .. }
            | Self::DeletedFile { path }
            | Self::DeletedFolder { path } => path,
        }
    }
}

impl CommitLine {
    /// Writes the line with its line feed, as clients send it.
    #[must_use]
    pub fn to_ndjson(&self) -> Vec<u8> {
        line::write(self)
    }
}
