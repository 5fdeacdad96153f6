//! What surrounds a commit; the commit's own body is in [`crate::wire::commit`].
//!
//! - `POST /api/{models|datasets}/{id}/preupload/{rev}`
//! - `POST /api/{models|datasets}/{id}/commit/{rev}`
//! - `POST /api/validate-yaml`
//!
//! <https://huggingface.co/docs/huggingface_hub/package_reference/hf_api#huggingface_hub.HfApi.create_commit>

use serde::{Deserialize, Serialize};

/// Body of `preupload`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Preupload {
    /// Files about to be sent, at most 256 from Python.
    pub files: Vec<PreuploadFile>,
    /// Content of a `.gitignore` in the same commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_ignore: Option<String>,
    /// Content of a `.gitattributes` in the same commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_attributes: Option<String>,
}

/// A file about to be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreuploadFile {
    /// Path from the root of the repository.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// First 512 bytes of the content, base64.
    #[serde(default)]
    pub sample: String,
}

/// Answer of `preupload`: one verdict for each file asked about, same path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PreuploadAnswer {
    /// The verdicts.
    pub files: Vec<PreuploadVerdict>,
    /// Commit they were made against.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit_oid: Option<String>,
}

/// How to send a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PreuploadVerdict {
    /// Path as it was asked.
    pub path: String,
    /// In the commit, or as a large object before it.
    pub upload_mode: UploadMode,
    /// Leave the file out. Mandatory for Python.
    pub should_ignore: bool,
    /// What is at that path now: git blob id if regular, SHA-256 if large, `null` if nothing.
    pub oid: Option<String>,
}

/// Road of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UploadMode {
    /// As a large object, by Xet or LFS.
    Lfs,
    /// Base64 inside the commit.
    Regular,
}

/// Answer of `commit`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CommitDone {
    /// Always true.
    pub success: bool,
    /// The commit, 40 hex digits.
    pub commit_oid: String,
    /// `<repo url>/commit/<id>`; what stands before `/commit/` must be the repository's address.
    pub commit_url: String,
    /// Always empty.
    pub hook_output: String,
    /// `<repo url>/discussions/<number>`, with `create_pr`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_request_url: Option<String>,
}

/// Body of `validate-yaml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ValidateYaml {
    /// The whole README.
    pub content: String,
    /// `model` or `dataset`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo_type: Option<String>,
}

/// Answer of `validate-yaml`, with 200 or, if there are errors, 400.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct YamlReport {
    /// What makes the card invalid.
    pub errors: Vec<YamlMessage>,
    /// What should be better.
    pub warnings: Vec<YamlMessage>,
}

/// A remark on a card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct YamlMessage {
    /// What is wrong.
    pub message: String,
    /// Line it is about, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
}

/// A file inside a JSON body (create of huggingface.js).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InlineFile {
    /// Path from the root of the repository.
    pub path: String,
    /// Content in the given encoding.
    pub content: String,
    /// `base64` or `utf-8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_verdict_has_all_that_python_reads() {
        let verdict =
            PreuploadVerdict { path: "a".into(), upload_mode: UploadMode::Regular, should_ignore: false, oid: None };
        assert_eq!(
            serde_json::to_value(&verdict).unwrap(),
            json!({"path": "a", "uploadMode": "regular", "shouldIgnore": false, "oid": null})
        );
    }

    #[test]
    fn a_commit_answer_has_the_hubs_names() {
        let done = CommitDone {
            success: true,
            commit_oid: "c".into(),
            commit_url: "u".into(),
            hook_output: String::new(),
            pull_request_url: None,
        };
        assert_eq!(
            serde_json::to_value(&done).unwrap(),
            json!({"success": true, "commitOid": "c", "commitUrl": "u", "hookOutput": ""})
        );
    }
}
