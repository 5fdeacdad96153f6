//! Entries of a tree.
//!
//! - `GET /api/{models|datasets}/{id}/tree/{rev}[/{path}]` (an array, the next page in `Link`)
//! - `POST /api/{models|datasets}/{id}/paths-info/{rev}`
//! - `GET /api/{models|datasets}/{id}/treesize/{rev}[/{path}]`
//!
//! <https://huggingface.co/docs/huggingface_hub/package_reference/hf_api#huggingface_hub.HfApi.list_repo_tree>

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::lenient_bool;
use crate::wire::query::{Query, QueryError};

/// A file or a folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TreeEntry {
    /// File or folder.
    #[serde(rename = "type")]
    pub kind: EntryKind,
    /// Git blob or tree id; for an LFS file that of its pointer.
    pub oid: String,
    /// Size of the content in bytes, 0 for folders.
    pub size: u64,
    /// Path from the root of the repository.
    pub path: String,
    /// The LFS facts of a large file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lfs: Option<TreeLfs>,
    /// Xet file hash, only if the CAS serves the file: clients then skip the plain road.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xet_hash: Option<String>,
    /// Last commit that touched the path, with `expand=true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_commit: Option<LastCommit>,
    /// Scan result, with `expand=true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_file_status: Option<SecurityFileStatus>,
}

/// Kind of a [`TreeEntry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntryKind {
    /// A file, regular or LFS.
    File,
    /// A folder.
    Directory,
}

/// LFS facts of an entry. All three members are mandatory for Python.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TreeLfs {
    /// SHA-256 of the content.
    pub oid: String,
    /// Size of the content in bytes.
    pub size: u64,
    /// Size of the pointer text in bytes.
    pub pointer_size: u64,
}

/// A commit in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastCommit {
    /// Commit id.
    pub id: String,
    /// First line of the message.
    pub title: String,
    /// Date, see [`crate::wire::time`].
    pub date: String,
}

/// Scan result of a file. All members are mandatory, `null` allowed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecurityFileStatus {
    /// `safe`, `unscanned`, `queued`, `caution`, `suspicious`, `unsafe` or `error`.
    pub status: String,
    /// Result of the virus scanner.
    pub av_scan: Option<Value>,
    /// Result of the pickle scanner.
    pub pickle_import_scan: Option<Value>,
}

/// Request of `paths-info`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathsInfoRequest {
    /// Paths to look up; those that do not exist are left out of the answer.
    pub paths: Vec<String>,
    /// Whether last commit and scan result are wanted.
    #[serde(default, deserialize_with = "lenient_bool")]
    pub expand: bool,
}

impl PathsInfoRequest {
    /// Reads the form that Python sends: `paths=a&paths=b&expand=False`.
    ///
    /// # Errors
    /// See [`Query::parse`] and [`Query::flag`].
    pub fn from_form(body: &str) -> Result<Self, QueryError> {
        let form = Query::parse(body)?;
        let paths = form.values("paths").map(str::to_owned).collect();
        Ok(Self { paths, expand: form.flag("expand")?.unwrap_or(false) })
    }
}

/// Answer of `treesize`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeSize {
    /// Path from the root of the repository, empty for the root.
    pub path: String,
    /// Sum of the file sizes below it, in bytes.
    pub size: u64,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_large_file_is_written_as_the_hub_writes_it() {
        let entry = TreeEntry {
            kind: EntryKind::File,
            oid: "o".into(),
            size: 5,
            path: "a/b.bin".into(),
            lfs: Some(TreeLfs { oid: "s".into(), size: 5, pointer_size: 126 }),
            xet_hash: Some("x".into()),
            last_commit: None,
            security_file_status: Some(SecurityFileStatus {
                status: "unscanned".into(),
                av_scan: None,
                pickle_import_scan: None,
            }),
        };
        let json = serde_json::to_value(&entry).unwrap();
        assert_eq!(
            json,
            json!({
                "type": "file", "oid": "o", "size": 5, "path": "a/b.bin",
                "lfs": {"oid": "s", "size": 5, "pointerSize": 126}, "xetHash": "x",
                "securityFileStatus": {
                    "status": "unscanned", "avScan": null, "pickleImportScan": null,
                },
            })
        );
        assert_eq!(serde_json::from_value::<TreeEntry>(json).unwrap(), entry);
    }

    #[test]
    fn form_and_json_ask_the_same() {
        let form = PathsInfoRequest::from_form("paths=a%2Fb&paths=c&expand=True").unwrap();
        let json = serde_json::from_str(r#"{"paths":["a/b","c"],"expand":true}"#).unwrap();
        assert_eq!(form, json);
        let short: PathsInfoRequest = serde_json::from_str(r#"{"paths":[]}"#).unwrap();
        assert!(!short.expand);
    }
}
