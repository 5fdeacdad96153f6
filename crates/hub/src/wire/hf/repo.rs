//! What a repository says about itself.
//!
//! - `GET /api/{models|datasets}/{id}`, `GET …/revision/{rev}`
//! - `GET /api/{models|datasets}` (an array, the next page in `Link`)
//!
//! <https://huggingface.co/docs/hub/api#repo-listing-api>

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// A repository at a revision.
///
/// Everything but the two ids is optional: with `expand` only what was asked for is sent, see
/// [`RepoInfo::keep_only`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RepoInfo {
    /// Stable internal id, 24 hex digits.
    #[serde(rename = "_id")]
    pub internal_id: String,
    /// `namespace/name`, or one segment.
    pub id: String,
    /// The same as `id`, for models.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_id: Option<String>,
    /// The namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// The commit, 40 hex digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha: Option<String>,
    /// Date of the last commit, see [`crate::wire::time`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
    /// Date of the creation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
    /// Only members see it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private: Option<bool>,
    /// Taken out of service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// Whether files need a grant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gated: Option<Gated>,
    /// Downloads in the last 30 days.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub downloads: Option<u64>,
    /// Downloads since the creation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub downloads_all_time: Option<u64>,
    /// Number of likes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub likes: Option<u64>,
    /// Rank of recent interest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trending_score: Option<u64>,
    /// Tags, from the card and derived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// Task, such as `text-generation`.
    #[serde(rename = "pipeline_tag", skip_serializing_if = "Option::is_none")]
    pub pipeline_tag: Option<String>,
    /// Library that loads it, such as `transformers`.
    #[serde(rename = "library_name", skip_serializing_if = "Option::is_none")]
    pub library_name: Option<String>,
    /// The mask token of a fill-mask model.
    #[serde(rename = "mask_token", skip_serializing_if = "Option::is_none")]
    pub mask_token: Option<String>,
    /// The card's YAML as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub card_data: Option<Value>,
    /// Evaluation results of the card.
    #[serde(rename = "model-index", skip_serializing_if = "Option::is_none")]
    pub model_index: Option<Value>,
    /// Summary of `config.json`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<Value>,
    /// How transformers loads it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transformers_info: Option<TransformersInfo>,
    /// All files, recursively.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub siblings: Option<Vec<Sibling>>,
    /// Parameters per dtype.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub safetensors: Option<SafetensorsInfo>,
    /// Facts of a GGUF file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gguf: Option<Value>,
    /// Spaces that use it; always empty here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spaces: Option<Vec<String>>,
    /// Stored bytes over all revisions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_storage: Option<u64>,
    /// What it was made from; only when asked for, since hf-hub (Rust) expects another type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_models: Option<Value>,
    /// Children per relation; only when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub children_model_count: Option<Value>,
    /// Result of the scanners.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_repo_status: Option<SecurityRepoStatus>,
    /// Whether large files go through Xet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xet_enabled: Option<bool>,
}

/// Gating of a repository: `false`, `"auto"` or `"manual"` on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gated {
    /// Everybody who sees the repository reads its files.
    #[default]
    No,
    /// Whoever asks is let in.
    Auto,
    /// A member decides on each request.
    Manual,
}

impl Serialize for Gated {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::No => to.serialize_bool(false),
            Self::Auto => to.serialize_str("auto"),
            Self::Manual => to.serialize_str("manual"),
        }
    }
}

impl<'de> Deserialize<'de> for Gated {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match Value::deserialize(from)? {
            Value::Bool(false) => Ok(Self::No),
            Value::String(word) if word == "auto" => Ok(Self::Auto),
            Value::String(word) if word == "manual" => Ok(Self::Manual),
            other => Err(serde::de::Error::custom(format_args!(
                "`gated` must be false, \"auto\" or \"manual\", not {other}"
            ))),
        }
    }
}

/// A file in [`RepoInfo::siblings`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sibling {
    /// Path from the root of the repository.
    pub rfilename: String,
    /// Size of the content, with `blobs=true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Git blob id, with `blobs=true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob_id: Option<String>,
    /// The LFS facts, with `blobs=true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lfs: Option<SiblingLfs>,
}

/// LFS facts of a sibling. The digest is called `sha256` here and `oid` in a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SiblingLfs {
    /// SHA-256 of the content.
    pub sha256: String,
    /// Size of the content in bytes.
    pub size: u64,
    /// Size of the pointer text in bytes.
    pub pointer_size: u64,
}

/// Parameters of the safetensors files.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SafetensorsInfo {
    /// Number of parameters per dtype name.
    pub parameters: Map<String, Value>,
    /// Sum over the dtypes.
    pub total: u64,
    /// Whether there is more than one file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sharded: Option<bool>,
}

/// How transformers loads a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransformersInfo {
    /// Class such as `AutoModelForCausalLM`.
    pub auto_model: String,
    /// Class in the repository's own code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom_class: Option<String>,
    /// Task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline_tag: Option<String>,
    /// Class such as `AutoTokenizer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processor: Option<String>,
}

/// Scan results of a whole repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecurityRepoStatus {
    /// Whether every file was scanned.
    pub scans_done: bool,
    /// Files that are not safe.
    pub files_with_issues: Vec<FileIssue>,
}

/// A file that is not safe.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileIssue {
    /// Path from the root of the repository.
    pub path: String,
    /// `caution`, `suspicious` or `unsafe`.
    pub level: String,
}

/// Names that `expand` accepts, in the order the error for another name lists them.
pub const EXPAND_NAMES: &[&str] = &[
    "author",
    "baseModels",
    "cardData",
    "childrenModelCount",
    "config",
    "createdAt",
    "disabled",
    "downloads",
    "downloadsAllTime",
    "evalResults",
    "gated",
    "gguf",
    "inference",
    "inferenceProviderMapping",
    "lastModified",
    "library_name",
    "likes",
    "mask_token",
    "model-index",
    "pipeline_tag",
    "private",
    "resourceGroup",
    "safetensors",
    "securityRepoStatus",
    "sha",
    "siblings",
    "spaces",
    "tags",
    "transformersInfo",
    "trendingScore",
    "usedStorage",
    "widgetData",
    // Datasets and huggingface.js
    "citation",
    "description",
    "doi",
    "paperswithcode_id",
    "xetEnabled",
];

/// Returns the first name that [`EXPAND_NAMES`] does not have.
#[must_use]
pub fn unknown_expand<'a>(names: &[&'a str]) -> Option<&'a str> {
    names.iter().copied().find(|name| !EXPAND_NAMES.contains(name))
}

/// Reads bounds on the number of parameters: `min:6B,max:128B`, either alone too, with `K`, `M`, `B` and `T`.
#[must_use]
pub fn parse_bounds(text: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (mut min, mut max) = (None, None);
    for bound in text.split(',') {
        match bound.trim().split_once(':')? {
            ("min", number) => min = Some(parse_count(number)?),
            ("max", number) => max = Some(parse_count(number)?),
            _ => return None,
        }
    }
    Some((min, max))
}

/// A number such as `6B`, `0.5M` or `1000`.
fn parse_count(text: &str) -> Option<u64> {
    let text = text.trim();
    let unit = match text.chars().last()?.to_ascii_uppercase() {
        'K' => 1e3,
        'M' => 1e6,
        'B' => 1e9,
        'T' => 1e12,
        _ => 1.0,
    };
    let digits = text.trim_end_matches(|last: char| last.is_ascii_alphabetic());
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') && text.len() - digits.len() < 2;
    let number: f64 = digits.parse().ok().filter(|_| plain)?;
    // The cast stops at the largest number.
    Some((number * unit).round() as u64)
}

impl RepoInfo {
    /// The JSON object with only the ids and the named members, as `expand` asks.
    ///
    /// Names without a value here are left out.
    #[must_use]
    pub fn keep_only(&self, names: &[&str]) -> Value {
        let mut json = serde_json::to_value(self).unwrap_or_default();
        if let Value::Object(members) = &mut json {
            members.retain(|name, _| matches!(name.as_str(), "_id" | "id") || names.contains(&name.as_str()));
        }
        json
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_on_the_wire_are_the_hubs() {
        let info = RepoInfo {
            internal_id: "0123456789abcdef01234567".into(),
            id: "team/model".into(),
            model_id: Some("team/model".into()),
            last_modified: Some("2026-11-23T06:51:00.000Z".into()),
            gated: Some(Gated::No),
            pipeline_tag: Some("fill-mask".into()),
            siblings: Some(vec![Sibling {
                rfilename: "a.bin".into(),
                size: Some(3),
                blob_id: Some("b".into()),
                lfs: Some(SiblingLfs { sha256: "s".into(), size: 3, pointer_size: 127 }),
            }]),
            ..RepoInfo::default()
        };
        let json = serde_json::to_value(&info).unwrap();
        assert_eq!(
            json,
            json!({
                "_id": "0123456789abcdef01234567",
                "id": "team/model",
                "modelId": "team/model",
                "lastModified": "2026-11-23T06:51:00.000Z",
                "gated": false,
                "pipeline_tag": "fill-mask",
                "siblings": [{
                    "rfilename": "a.bin", "size": 3, "blobId": "b",
                    "lfs": {"sha256": "s", "size": 3, "pointerSize": 127},
                }],
            })
        );
        assert_eq!(serde_json::from_value::<RepoInfo>(json).unwrap(), info);
    }

    #[test]
    fn expand_keeps_the_ids_and_what_was_asked() {
        let info = RepoInfo { id: "a/b".into(), sha: Some("c".into()), likes: Some(1), ..RepoInfo::default() };
        assert_eq!(info.keep_only(&["sha", "gguf"]), json!({"_id": "", "id": "a/b", "sha": "c"}));
        assert_eq!(unknown_expand(&["sha", "nope"]), Some("nope"));
        assert_eq!(unknown_expand(&["sha"]), None);
    }

    #[test]
    fn bounds_have_units() {
        assert_eq!(parse_bounds("min:6B,max:128B"), Some((Some(6_000_000_000), Some(128_000_000_000))));
        assert_eq!(parse_bounds("max:0.5m"), Some((None, Some(500_000))));
        assert_eq!(parse_bounds("min:1000"), Some((Some(1_000), None)));
        for wrong in ["", "6B", "min:", "min:B", "min:-1", "min:1KB", "least:1", "min:1e3", "min:inf"] {
            assert_eq!(parse_bounds(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn gating_has_three_spellings() {
        for (gated, text) in [(Gated::No, "false"), (Gated::Auto, "\"auto\""), (Gated::Manual, "\"manual\"")] {
            assert_eq!(serde_json::to_string(&gated).unwrap(), text);
            assert_eq!(serde_json::from_str::<Gated>(text).unwrap(), gated);
        }
        assert!(serde_json::from_str::<Gated>("true").is_err());
    }
}
