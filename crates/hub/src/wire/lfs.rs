//! Git LFS: batch, transfer and verify.
//!
//! - `POST /{id}.git/info/lfs/objects/batch` and the addresses its answer names
//!
//! <https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md>; the transfer `multipart` is
//! that of huggingface_hub (`huggingface_hub/lfs.py`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Content type of every request and answer.
pub const LFS_JSON: &str = "application/vnd.git-lfs+json";

/// Most objects in a batch; Python sends up to 256.
pub const MAX_BATCH_OBJECTS: usize = 1000;

/// Body of a batch request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchRequest {
    /// Which way.
    pub operation: LfsOperation,
    /// Transfers the client speaks, best first; none means `basic`.
    #[serde(default)]
    pub transfers: Vec<String>,
    /// The objects.
    pub objects: Vec<ObjectId>,
    /// `sha256`, or `sha_256` from huggingface.js.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_algo: Option<String>,
    /// Revision the objects are for.
    #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<BatchRef>,
}

impl BatchRequest {
    /// Whether the client speaks a transfer.
    #[must_use]
    pub fn offers(&self, transfer: Transfer) -> bool {
        let name = transfer.as_str();
        self.transfers.iter().any(|offered| offered == name)
            || (self.transfers.is_empty() && transfer == Transfer::Basic)
    }

    /// Whether the objects are named by SHA-256, the only digest a hub knows.
    #[must_use]
    pub fn uses_sha256(&self) -> bool {
        matches!(self.hash_algo.as_deref(), None | Some("sha256" | "sha_256"))
    }
}

/// Direction of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LfsOperation {
    /// From the client to the hub.
    Upload,
    /// From the hub to the client.
    Download,
}

/// How the bytes travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transfer {
    /// One PUT.
    Basic,
    /// One PUT per part, then a completion.
    Multipart,
    /// By the Xet CAS.
    Xet,
}

impl Transfer {
    /// The spelling on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::Multipart => "multipart",
            Self::Xet => "xet",
        }
    }
}

/// Revision of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchRef {
    /// Not percent-encoded, unlike in addresses.
    pub name: String,
}

/// An object by digest and size; also the body of verify.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ObjectId {
    /// SHA-256, 64 lower-case hex digits.
    pub oid: String,
    /// Size in bytes.
    pub size: u64,
}

/// Answer of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchAnswer {
    /// The transfer that was chosen.
    pub transfer: Transfer,
    /// One entry for each object asked about.
    pub objects: Vec<BatchObject>,
    /// Digest of the objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_algo: Option<String>,
}

/// What to do with one object. Without actions: nothing, the hub has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchObject {
    /// SHA-256, 64 lower-case hex digits.
    pub oid: String,
    /// Size in bytes.
    pub size: u64,
    /// Whether the actions' addresses need no further credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authenticated: Option<bool>,
    /// The actions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actions: Option<Actions>,
    /// Why this object cannot be transferred.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ObjectError>,
}

impl BatchObject {
    /// An object that the hub has.
    #[must_use]
    pub fn present(id: &ObjectId) -> Self {
        let ObjectId { oid, size } = id.clone();
        Self { oid, size, authenticated: None, actions: None, error: None }
    }

    /// An object to be transferred.
    #[must_use]
    pub fn with_actions(id: &ObjectId, actions: Actions) -> Self {
        Self { authenticated: Some(true), actions: Some(actions), ..Self::present(id) }
    }

    /// An object that cannot be transferred, `code` being an HTTP status.
    #[must_use]
    pub fn failed(id: &ObjectId, code: u16, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { error: Some(ObjectError { code, message }), ..Self::present(id) }
    }
}

/// The steps of a transfer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actions {
    /// Where to send the bytes, or the completion of a multipart transfer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload: Option<Action>,
    /// Where to ask whether all arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Action>,
    /// Where to fetch the bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub download: Option<Action>,
}

/// One step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// Absolute address; Python sends no credentials there, so it must carry its own.
    pub href: String,
    /// Headers to send; for multipart the parts, see [`multipart_header`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub header: BTreeMap<String, String>,
    /// Seconds until the address stops working.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u64>,
}

/// Why one object failed, inside an answer with status 200.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectError {
    /// HTTP status.
    pub code: u16,
    /// The reason.
    pub message: String,
}

/// Error of a whole request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LfsError {
    /// The reason.
    pub message: String,
    /// For the log of the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Where to read more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub documentation_url: Option<String>,
}

/// Body of the completion of a multipart transfer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Completion {
    /// SHA-256 of the whole.
    pub oid: String,
    /// The parts in any order.
    pub parts: Vec<CompletedPart>,
}

/// A part that was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CompletedPart {
    /// From 1.
    pub part_number: u64,
    /// `ETag` of the answer to its PUT, with its quotes.
    pub etag: String,
}

/// The `header` of a multipart upload: `chunk_size` and one address per part, `00001` first.
///
/// # Shapes and units
/// - `chunk_size`: bytes of every part but the last
/// - `urls`: exactly `⌈size / chunk_size⌉` addresses in order
#[must_use]
pub fn multipart_header<I>(chunk_size: u64, urls: I) -> BTreeMap<String, String>
where
    I: IntoIterator<Item = String>,
{
    urls.into_iter()
        .zip(1_u64..)
        .map(|(url, number)| (format!("{number:05}"), url))
        .chain([("chunk_size".to_owned(), chunk_size.to_string())])
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn batches_of_each_client_are_understood() {
        let python: BatchRequest = serde_json::from_value(json!({
            "operation": "upload", "transfers": ["basic", "multipart", "xet"],
            "objects": [{"oid": "a", "size": 1}], "hash_algo": "sha256",
            "ref": {"name": "refs/pr/1"},
        }))
        .unwrap();
        assert!(python.offers(Transfer::Xet) && python.offers(Transfer::Multipart));
        assert_eq!(python.reference.as_ref().unwrap().name, "refs/pr/1");

        let js: BatchRequest = serde_json::from_value(json!({
            "operation": "upload", "transfers": ["basic"], "objects": [], "hash_algo": "sha_256",
        }))
        .unwrap();
        assert!(js.uses_sha256() && !js.offers(Transfer::Xet));

        let git: BatchRequest = serde_json::from_value(json!({"operation": "download", "objects": []})).unwrap();
        assert!(git.offers(Transfer::Basic));

        let other: BatchRequest =
            serde_json::from_value(json!({"operation": "download", "objects": [], "hash_algo": "md5"})).unwrap();
        assert!(!other.uses_sha256());
    }

    #[test]
    fn a_present_object_has_no_actions() {
        let id = ObjectId { oid: "a".into(), size: 1 };
        let json = serde_json::to_value(BatchObject::present(&id)).unwrap();
        assert_eq!(json, json!({"oid": "a", "size": 1}));
        let json = serde_json::to_value(BatchObject::failed(&id, 404, "gone")).unwrap();
        assert_eq!(json["error"], json!({"code": 404, "message": "gone"}));
    }

    #[test]
    fn parts_are_numbered_so_that_they_sort() {
        let header = multipart_header(5, ["u1".to_owned(), "u2".to_owned()]);
        assert_eq!(serde_json::to_value(header).unwrap(), json!({"00001": "u1", "00002": "u2", "chunk_size": "5"}));
    }

    #[test]
    fn a_completion_is_read_as_python_writes_it() {
        let done: Completion =
            serde_json::from_str(r#"{"oid":"a","parts":[{"partNumber":1,"etag":"\"x\""}]}"#).unwrap();
        assert_eq!(done.parts, [CompletedPart { part_number: 1, etag: "\"x\"".into() }]);
    }
}
