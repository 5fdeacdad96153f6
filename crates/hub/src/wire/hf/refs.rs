//! Branches, tags and history.
//!
//! - `GET /api/{models|datasets}/{id}/refs`
//! - `GET /api/{models|datasets}/{id}/commits/{rev}` (an array, the next page in `Link`)
//! - `POST|DELETE …/branch/{name}`, `POST …/tag/{rev}`, `DELETE …/tag/{name}`
//! - `POST …/super-squash/{branch}`
//!
//! <https://huggingface.co/docs/huggingface_hub/package_reference/hf_api#huggingface_hub.HfApi.list_repo_refs>

use serde::{Deserialize, Serialize};

use super::lenient_bool;

/// All refs of a repository. The first three lists are mandatory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefList {
    /// `refs/heads/…`
    pub branches: Vec<RefInfo>,
    /// `refs/convert/…`
    pub converts: Vec<RefInfo>,
    /// `refs/tags/…`
    pub tags: Vec<RefInfo>,
    /// `refs/pr/…`, only when asked for with `include_prs=1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_requests: Option<Vec<RefInfo>>,
}

/// One ref.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefInfo {
    /// Short name, such as `main`.
    pub name: String,
    /// Full name, such as `refs/heads/main`.
    #[serde(rename = "ref")]
    pub full_name: String,
    /// Commit it points at.
    pub target_commit: String,
}

/// A commit in a list, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitInfo {
    /// Commit id.
    pub id: String,
    /// First line of the message.
    pub title: String,
    /// The rest of the message.
    pub message: String,
    /// Who made it.
    pub authors: Vec<Author>,
    /// Date, see [`crate::wire::time`].
    pub date: String,
    /// Ids of the parents; read by hf-hub (Rust).
    #[serde(default)]
    pub parents: Vec<String>,
    /// Title and message as HTML, with `expand[]=formatted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub formatted: Option<Formatted>,
}

/// Author of a commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Author {
    /// User name.
    pub user: String,
    /// Address of a picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avatar: Option<String>,
}

/// A commit message as escaped HTML.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Formatted {
    /// First line.
    pub title: String,
    /// The rest.
    pub message: String,
}

/// Body of `POST …/branch/{name}`; an empty body means all defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CreateBranch {
    /// Revision it starts at; the default branch if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starting_point: Option<String>,
    /// Starts without files and history.
    #[serde(deserialize_with = "lenient_bool")]
    pub empty_branch: bool,
    /// Moves an existing branch instead of answering 409.
    #[serde(deserialize_with = "lenient_bool")]
    pub overwrite: bool,
}

/// Body of `POST …/tag/{rev}`: the revision is in the address, the tag in the body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateTag {
    /// Name of the tag.
    pub tag: String,
    /// Message of an annotated tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Body of `POST …/super-squash/{branch}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SuperSquash {
    /// Message of the one commit that stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn refs_have_all_lists_even_when_empty() {
        let json = serde_json::to_value(RefList::default()).unwrap();
        assert_eq!(json, json!({"branches": [], "converts": [], "tags": []}));
    }

    #[test]
    fn a_ref_has_the_hubs_names() {
        let main = RefInfo { name: "main".into(), full_name: "refs/heads/main".into(), target_commit: "c".into() };
        let json = serde_json::to_value(&main).unwrap();
        assert_eq!(json, json!({"name": "main", "ref": "refs/heads/main", "targetCommit": "c"}));
    }

    #[test]
    fn branch_bodies_may_be_empty_or_partial() {
        let empty: CreateBranch = serde_json::from_str("{}").unwrap();
        assert_eq!(empty, CreateBranch::default());
        let some: CreateBranch = serde_json::from_str(r#"{"startingPoint":"v1","overwrite":"True"}"#).unwrap();
        assert_eq!(some.starting_point.as_deref(), Some("v1"));
        assert!(some.overwrite);
    }
}
