//! One line of a commit: JSON to [`CommitLine`] and back.

use std::borrow::Cow;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use super::{CommitBodyError, CommitHeader, CommitLimits, CommitLine, Operation};

/// Standard base64; the padding may be missing.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A line as it lies in the buffer: long strings are borrowed.
#[derive(Deserialize)]
#[serde(tag = "key", content = "value", rename_all = "camelCase")]
enum RawLine<'a> {
    #[serde(rename_all = "camelCase")]
    Header {
        summary: String,
        #[serde(default)]
        description: Option<String>,
        #[serde(default)]
        parent_commit: Option<String>,
    },
    #[serde(rename_all = "camelCase")]
    File {
        path: String,
        #[serde(borrow, default)]
        content: Option<Cow<'a, str>>,
        #[serde(default)]
        encoding: Option<String>,
        #[serde(default)]
        old_path: Option<String>,
    },
    #[serde(rename_all = "camelCase")]
    LfsFile {
        path: String,
        #[serde(default)]
        algo: Option<String>,
        oid: String,
        #[serde(default)]
        size: Option<u64>,
        #[serde(default)]
        old_path: Option<String>,
    },
    DeletedFile {
        path: String,
    },
    DeletedFolder {
        path: String,
    },
}

pub(super) fn parse(bytes: &[u8], line: u64, limits: &CommitLimits) -> Result<CommitLine, CommitBodyError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| CommitBodyError::NotUtf8 { line, column: error.valid_up_to() + 1 })?;
    let raw: RawLine<'_> = serde_json::from_str(text).map_err(|error| json_error(line, &error))?;
    match raw {
        RawLine::Header { summary, description, parent_commit } => {
            let parent_commit = parent_commit.map(|id| parent(line, id)).transpose()?;
            let description = description.unwrap_or_default();
            Ok(CommitLine::Header(CommitHeader { summary, description, parent_commit }))
        }
        other => operation(other, line, limits).map(CommitLine::Operation),
    }
}

fn operation(raw: RawLine<'_>, line: u64, limits: &CommitLimits) -> Result<Operation, CommitBodyError> {
    let operation = match raw {
        RawLine::File { path, content, encoding, old_path } => {
            if content.is_none() && old_path.is_none() {
                let why = "is missing, and there is no `oldPath` to copy from";
                return Err(CommitBodyError::BadField { line, field: "content", why });
            }
            let content = content
                .map(|text| decode(&text, encoding.as_deref(), &path, line, limits.max_file_bytes))
                .transpose()?;
            Operation::File { path, content, old_path }
        }
        RawLine::LfsFile { path, algo, oid, size, old_path } => {
            if !matches!(algo.as_deref(), None | Some("sha256" | "sha_256")) {
                let why = "must be \"sha256\"";
                return Err(CommitBodyError::BadField { line, field: "algo", why });
            }
            if oid.len() != 64 || !oid.bytes().all(|b| b.is_ascii_hexdigit()) {
                let why = "must be a SHA-256 as 64 hex digits";
                return Err(CommitBodyError::BadField { line, field: "oid", why });
            }
            Operation::LfsFile { path, oid: oid.to_ascii_lowercase(), size, old_path }
        }
        RawLine::DeletedFile { path } => Operation::DeletedFile { path },
        RawLine::DeletedFolder { path } => Operation::DeletedFolder { path },
        RawLine::Header { .. } => return Err(CommitBodyError::SecondHeader { line }),
    };
    if operation.path().is_empty() {
        return Err(CommitBodyError::BadField { line, field: "path", why: "must not be empty" });
    }
    Ok(operation)
}

fn parent(line: u64, id: String) -> Result<String, CommitBodyError> {
    if (5..=40).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(id.to_ascii_lowercase());
    }
    let why = "must be a commit id of 5 to 40 hex digits";
    Err(CommitBodyError::BadField { line, field: "parentCommit", why })
}

fn decode(text: &str, encoding: Option<&str>, path: &str, line: u64, limit: u64) -> Result<Bytes, CommitBodyError> {
    let too_large = |size: u64| CommitBodyError::FileTooLarge { line, path: path.to_owned(), size, limit };
    let content = match encoding {
        None | Some("base64") => {
            // Refused before decoding: three bytes in four characters, less the padding.
            let at_least = (text.len() as u64 / 4 * 3).saturating_sub(2);
            if at_least > limit {
                return Err(too_large(at_least));
            }
            BASE64.decode(text).map_err(|error| CommitBodyError::Base64 {
                line,
                path: path.to_owned(),
                why: error.to_string(),
            })?
        }
        Some("utf-8" | "utf8") => text.as_bytes().to_vec(),
        Some(_) => {
            let why = "must be \"base64\" or \"utf-8\"";
            return Err(CommitBodyError::BadField { line, field: "encoding", why });
        }
    };
    if content.len() as u64 > limit {
        return Err(too_large(content.len() as u64));
    }
    Ok(content.into())
}

/// Moves serde's place (always "line 1" here) in front and cuts what it repeats of the input.
fn json_error(line: u64, error: &serde_json::Error) -> CommitBodyError {
    let words = error.to_string();
    let words = words.rsplit_once(" at line ").map_or(words.as_str(), |(words, _)| words);
    CommitBodyError::Json { line, column: error.column(), why: words.chars().take(300).collect() }
}

pub(super) fn write(line: &CommitLine) -> Vec<u8> {
    let (key, mut value) = match line {
        CommitLine::Header(header) => ("header", json!(header)),
        CommitLine::Operation(operation) => (operation.key(), value_of(operation)),
    };
    if let Some(value) = value.as_object_mut() {
        value.retain(|_, member| !member.is_null());
    }
    let mut bytes = json!({ "key": key, "value": value }).to_string().into_bytes();
    bytes.push(b'\n');
    bytes
}

fn value_of(operation: &Operation) -> serde_json::Value {
    match operation {
        Operation::File { path, content, old_path } => json!({
            "path": path,
            "content": content.as_ref().map(|content| BASE64.encode(content)),
            "encoding": content.as_ref().map(|_| "base64"),
            "oldPath": old_path,
        }),
        Operation::LfsFile { path, oid, size, old_path } => json!({
            "path": path,
            "algo": "sha256",
            "oid": oid,
            "size": size,
            "oldPath": old_path,
        }),
        Operation::DeletedFile { path } | Operation::DeletedFolder { path } => {
            json!({ "path": path })
        }
    }
}
