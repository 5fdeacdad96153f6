//! Creating, moving, deleting and setting up repositories.
//!
//! - `POST /api/repos/create`, `DELETE /api/repos/delete`, `POST /api/repos/move`
//! - `PUT /api/{models|datasets}/{id}/settings`, `POST …/duplicate`
//! - `GET /api/settings/repositories`
//!
//! <https://huggingface.co/docs/hub/api#repos-api>

use serde::{Deserialize, Serialize};

use super::repo::Gated;
use super::upload::InlineFile;

/// Type of a repository as requests spell it; anything else is answered with 404.
pub const DEFAULT_TYPE: &str = "model";

/// Body of `POST /api/repos/create`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CreateRepo {
    /// Name, or `namespace/name` from old clients.
    pub name: String,
    /// Namespace; the token's user if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    /// `model` or `dataset`; see [`DEFAULT_TYPE`].
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// `public` or `private`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visibility: Option<String>,
    /// What old clients send instead of `visibility`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private: Option<bool>,
    /// License to write into the first card.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// First files, from huggingface.js.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<InlineFile>,
}

/// Answer of create and duplicate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepoCreated {
    /// Address of the page; commits' `commitUrl` start with it.
    pub url: String,
    /// `namespace/name`.
    pub name: String,
    /// Stable internal id.
    pub id: String,
}

/// Body of `DELETE /api/repos/delete`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeleteRepo {
    /// Name, or `namespace/name` from old clients.
    pub name: String,
    /// Namespace; the token's user if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    /// `model` or `dataset`; see [`DEFAULT_TYPE`].
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

/// Body of `POST /api/repos/move`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MoveRepo {
    /// Id until now.
    pub from_repo: String,
    /// Id from now on.
    pub to_repo: String,
    /// `model` or `dataset`; see [`DEFAULT_TYPE`].
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

/// Body of `PUT …/settings`: what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RepoSettings {
    /// `public` or `private`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visibility: Option<String>,
    /// What old clients send instead of `visibility`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private: Option<bool>,
    /// Gating of files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gated: Option<Gated>,
    /// Turns discussions off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discussions_disabled: Option<bool>,
    /// Short description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// Body of `POST …/duplicate`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DuplicateRepo {
    /// Id of the copy.
    pub repository: String,
    /// `public` or `private`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visibility: Option<String>,
    /// What old clients send instead of `visibility`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private: Option<bool>,
}

/// A repository in `GET /api/settings/repositories`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnedRepo {
    /// `namespace/name`.
    pub id: String,
    /// `model` or `dataset`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Date of the last change.
    pub updated_at: String,
    /// `public` or `private`.
    pub visibility: String,
    /// Stored bytes.
    pub storage: u64,
    /// Share of the owner's storage, in percent.
    pub storage_percent: f64,
}

/// Splits what create and delete send into namespace (if named) and name.
#[must_use]
pub fn split_name<'a>(name: &'a str, organization: Option<&'a str>) -> (Option<&'a str>, &'a str) {
    match (name.split_once('/'), organization) {
        (Some((namespace, name)), None) => (Some(namespace), name),
        _ => (organization, name),
    }
}

/// Whether `visibility` (or the older `private`) asks for a private repository.
///
/// `None` when neither was sent or the word is unknown.
#[must_use]
pub fn asks_private(visibility: Option<&str>, private: Option<bool>) -> Option<bool> {
    match visibility {
        Some("private") => Some(true),
        Some("public") => Some(false),
        Some(_) => None,
        None => private,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_and_old_clients_create_the_same() {
        let new: CreateRepo = serde_json::from_str(
            r#"{"name":"m","organization":"team","type":"model","visibility":"private","region":"us"}"#,
        )
        .unwrap();
        let old: CreateRepo = serde_json::from_str(r#"{"name":"team/m","organization":null,"private":true}"#).unwrap();
        for request in [&new, &old] {
            let place = split_name(&request.name, request.organization.as_deref());
            assert_eq!(place, (Some("team"), "m"));
            let private = asks_private(request.visibility.as_deref(), request.private);
            assert_eq!(private, Some(true));
        }
    }

    #[test]
    fn absent_settings_stay_absent() {
        let settings: RepoSettings = serde_json::from_str(r#"{"gated":"auto"}"#).unwrap();
        assert_eq!(settings, RepoSettings { gated: Some(Gated::Auto), ..RepoSettings::default() });
        assert_eq!(serde_json::to_string(&settings).unwrap(), r#"{"gated":"auto"}"#);
    }
}
