//! Xet: the token, and the calls of the content-addressed store (CAS).
//!
//! - `GET /api/{models|datasets}/{id}/xet-{read|write}-token/{rev}`
//! - below the `casUrl` of the token: `/v1/xorbs`, `/v1/xorb-grants`, `/v1/shards`, `/v2/shards`,
//!   `/v1/reconstructions`, `/v2/reconstructions`, `/v2/file-chunk-hashes`, `/v1/chunks`, `/v1/telemetry`
//!
//! Chunk ranges end before `end`; byte ranges include `end`. Hashes are 64 digits in Xet order.
//!
//! <https://huggingface.co/docs/xet/index>

use std::collections::BTreeMap;

use http::HeaderName;
use serde::{Deserialize, Serialize};

/// Header with the address of the CAS, read by Python.
pub const X_XET_CAS_URL: HeaderName = HeaderName::from_static("x-xet-cas-url");
/// Header with the token, read by Python.
pub const X_XET_ACCESS_TOKEN: HeaderName = HeaderName::from_static("x-xet-access-token");
/// Header with the expiry in Unix seconds, read by Python.
pub const X_XET_TOKEN_EXPIRATION: HeaderName = HeaderName::from_static("x-xet-token-expiration");
/// Header of `resolve` with the Xet file hash.
pub const X_XET_HASH: HeaderName = HeaderName::from_static("x-xet-hash");

/// Header of `GET /v2/file-chunk-hashes/{file}` with the raw bytes that will change, spelled like `Range`.
pub const X_RANGE_DIRTY: HeaderName = HeaderName::from_static("x-range-dirty");

/// Answer of the token endpoints; the three headers above say the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenAnswer {
    /// Absolute base address of the CAS.
    pub cas_url: String,
    /// Opaque to clients.
    pub access_token: String,
    /// Expiry in Unix seconds.
    pub exp: u64,
}

/// Body of `GET …` on `resolve` with `Accept: application/vnd.xet-fileinfo+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileInfo {
    /// Xet file hash.
    pub hash: String,
    /// Where to get a read token.
    pub refresh_url: String,
    /// Where to get the plan.
    pub reconstruction_url: String,
    /// Quoted, as the header.
    pub etag: String,
    /// Size of the content in bytes.
    pub size: u64,
}

/// A range of chunk numbers; `end` is not included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ChunkRange {
    /// First chunk.
    pub start: u32,
    /// One past the last chunk.
    pub end: u32,
}

/// A range of byte offsets; `end` is included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ByteRange {
    /// First byte.
    pub start: u64,
    /// Last byte.
    pub end: u64,
}

/// A piece of a file: consecutive whole chunks of one xorb.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Term {
    /// The xorb.
    pub hash: String,
    /// Raw bytes of the chunks.
    pub unpacked_length: u32,
    /// The chunks.
    pub range: ChunkRange,
}

/// Answer of `GET /v1/reconstructions/{file}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReconstructionV1 {
    /// Bytes to skip in the first term.
    pub offset_into_first_range: u64,
    /// The pieces in file order.
    pub terms: Vec<Term>,
    /// Where the chunks lie, per xorb.
    pub fetch_info: BTreeMap<String, Vec<FetchInfo>>,
}

/// Where chunks lie: one address per range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchInfo {
    /// The chunks.
    pub range: ChunkRange,
    /// Signed address, asked without credentials.
    pub url: String,
    /// `Range` to ask for.
    pub url_range: ByteRange,
}

/// Answer of `GET /v2/reconstructions/{file}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReconstructionV2 {
    /// Bytes to skip in the first term.
    pub offset_into_first_range: u64,
    /// The pieces in file order.
    pub terms: Vec<Term>,
    /// Where the chunks lie, per xorb.
    pub xorbs: BTreeMap<String, Vec<MultiFetch>>,
}

/// Where chunks lie: several ranges behind one address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MultiFetch {
    /// Signed address, asked without credentials.
    pub url: String,
    /// The ranges.
    pub ranges: Vec<FetchRange>,
}

/// Chunks and the bytes they take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchRange {
    /// The chunks.
    pub chunks: ChunkRange,
    /// `Range` to ask for.
    pub bytes: ByteRange,
}

/// Answer of `GET /v1/reconstructions?file_id=…&file_id=…`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchReconstruction {
    /// The pieces of each file.
    pub files: BTreeMap<String, Vec<Term>>,
    /// Where the chunks lie, per xorb.
    pub fetch_info: BTreeMap<String, Vec<FetchInfo>>,
}

/// Answer of `GET /v2/file-chunk-hashes/{file}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileChunkHashes {
    /// Chunks of the whole file.
    pub total_chunks: u64,
    /// Size of the whole file in bytes.
    pub file_size: u64,
    /// What is to be cut into chunks anew.
    pub windows: Vec<ChunkWindow>,
    /// Trees over the chunks before, between and after the windows; `null` if there are none.
    pub hash_ranges: Vec<Option<TreeRange>>,
    /// Range hashes of the terms outside of the windows.
    pub gap_verification: Vec<String>,
}

/// Raw bytes to be cut into chunks anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChunkWindow {
    /// First byte, and one past the last.
    pub dirty_byte_range: [u64; 2],
}

/// The hash tree over a run of chunks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeRange {
    /// Left nodes from the lowest level upwards, then right nodes from the highest downwards.
    pub nodes: Vec<TreeNode>,
    /// Left and right nodes of each level.
    pub levels: Vec<(usize, usize)>,
    /// Whether the run begins the file.
    pub at_start: bool,
    /// Whether the run ends the file.
    pub at_end: bool,
}

/// A node of the hash tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeNode {
    /// Hash.
    pub hash: String,
    /// Raw bytes below.
    pub size: u64,
}

/// Body of `POST /v1/xorb-grants/default/{xorb}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantRequest {
    /// Bytes that will be sent.
    pub length: u64,
    /// Checksum of them.
    pub checksum: Checksum,
}

/// Checksum of a grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checksum {
    /// `crc64nvme`.
    pub algo: String,
    /// Decimal.
    pub value: String,
}

/// Answer of a grant, with status 201.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Name of the grant in the commit call.
    pub id: String,
    /// Method to send with.
    pub method: String,
    /// Signed address, sent to without credentials.
    pub url: String,
    /// Headers to send, exactly these.
    pub headers: BTreeMap<String, String>,
}

/// Answer of `POST /v1/xorbs/default/{xorb}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct XorbStored {
    /// False if the hub had it.
    pub was_inserted: bool,
}

/// Answer of `POST /v1/shards`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardStored {
    /// 0 if it existed, 1 if it was registered.
    pub result: u8,
    /// Hash of the shard's bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard_hash: Option<String>,
}

/// A line of the answer of `POST /v2/shards`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum ShardEvent {
    /// Checking; repeat at least every 20 seconds.
    Validating {
        /// Files done.
        verified: u64,
        /// Files in all.
        total: u64,
    },
    /// Writing.
    Committing {
        /// What is going on.
        stage: CommitStage,
    },
    /// Done, the last line.
    Result {
        /// Hash of the shard's bytes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        shard_hash: Option<String>,
    },
    /// Failed, the last line.
    Error {
        /// The reason.
        message: String,
        /// Whether the same request may work later.
        retryable: bool,
    },
}

/// Stage of [`ShardEvent::Committing`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CommitStage {
    /// Bytes are written.
    Uploading,
    /// The catalog is written.
    Syncing,
}

impl ShardEvent {
    /// The line with its line feed.
    #[must_use]
    pub fn to_ndjson(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_token_is_spelled_for_hf_xet() {
        let token = TokenAnswer { cas_url: "http://hub/xet".into(), access_token: "t".into(), exp: 7 };
        assert_eq!(
            serde_json::to_value(&token).unwrap(),
            json!({"casUrl": "http://hub/xet", "accessToken": "t", "exp": 7})
        );
    }

    #[test]
    fn plans_have_the_names_of_both_versions() {
        let chunks = ChunkRange { start: 0, end: 2 };
        let bytes = ByteRange { start: 0, end: 99 };
        let term = Term { hash: "h".into(), unpacked_length: 9, range: chunks };
        let v1 = ReconstructionV1 {
            offset_into_first_range: 1,
            terms: vec![term.clone()],
            fetch_info: [("h".to_owned(), vec![FetchInfo { range: chunks, url: "u".into(), url_range: bytes }])].into(),
        };
        assert_eq!(
            serde_json::to_value(&v1).unwrap(),
            json!({
                "offset_into_first_range": 1,
                "terms": [{"hash": "h", "unpacked_length": 9, "range": {"start": 0, "end": 2}}],
                "fetch_info": {"h": [{
                    "range": {"start": 0, "end": 2}, "url": "u",
                    "url_range": {"start": 0, "end": 99},
                }]},
            })
        );
        let v2 = ReconstructionV2 {
            offset_into_first_range: 1,
            terms: vec![term],
            xorbs: [("h".to_owned(), vec![MultiFetch { url: "u".into(), ranges: vec![FetchRange { chunks, bytes }] }])]
                .into(),
        };
        assert_eq!(
            serde_json::to_value(&v2).unwrap()["xorbs"],
            json!({"h": [{"url": "u", "ranges": [{
                "chunks": {"start": 0, "end": 2}, "bytes": {"start": 0, "end": 99},
            }]}]})
        );
    }

    #[test]
    fn chunk_windows_mix_both_spellings_as_the_client_does() {
        let node = TreeNode { hash: "h".into(), size: 9 };
        let tree = TreeRange { nodes: vec![node], levels: vec![(1, 0)], at_start: false, at_end: true };
        let answer = FileChunkHashes {
            total_chunks: 3,
            file_size: 12,
            windows: vec![ChunkWindow { dirty_byte_range: [0, 3] }],
            hash_ranges: vec![None, Some(tree)],
            gap_verification: vec!["r".into()],
        };
        assert_eq!(
            serde_json::to_value(&answer).unwrap(),
            json!({
                "totalChunks": 3, "fileSize": 12, "windows": [{"dirtyByteRange": [0, 3]}],
                "hashRanges": [null, {
                    "nodes": [{"hash": "h", "size": 9}], "levels": [[1, 0]], "at_start": false, "at_end": true,
                }],
                "gapVerification": ["r"],
            })
        );
    }

    #[test]
    fn events_are_one_line_each() {
        let line = |event: ShardEvent| String::from_utf8(event.to_ndjson()).unwrap();
        assert_eq!(
            line(ShardEvent::Validating { verified: 1, total: 2 }),
            "{\"type\":\"validating\",\"verified\":1,\"total\":2}\n"
        );
        assert_eq!(
            line(ShardEvent::Committing { stage: CommitStage::Syncing }),
            "{\"type\":\"committing\",\"stage\":\"syncing\"}\n"
        );
        assert_eq!(line(ShardEvent::Result { shard_hash: None }), "{\"type\":\"result\"}\n");
        assert_eq!(
            line(ShardEvent::Error { message: "a\nb".into(), retryable: false }),
            "{\"type\":\"error\",\"message\":\"a\\nb\",\"retryable\":false}\n"
        );
    }
}
