//! Comparisons, as our own JSON; the Hub has nothing like it.
//!
//! - `GET /api/compare?a=…&b=…`: `weighthouse.diff/1` when it is there, else [`CompareReply`]
//! - `POST /api/compare` with [`AskCompare`]: asks for it

use serde::{Deserialize, Serialize};

/// Which sides are to be compared.
#[derive(Debug, Deserialize)]
pub struct AskCompare {
    /// What was before: `[datasets/]ID[@REVISION][:PATH]`.
    pub a: String,
    /// What came after.
    pub b: String,
}

/// `weighthouse.comparison/1`: where a comparison stands that is not there yet.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CompareReply {
    /// `weighthouse.comparison/1`.
    pub schema: &'static str,
    /// The first side, with its commit.
    pub a: String,
    /// The second side, with its commit.
    pub b: String,
    /// `none`, `waiting`, `running` or `failed`.
    pub state: &'static str,
    /// Bytes that are done, while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done_bytes: Option<u64>,
    /// Bytes in all, while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_bytes: Option<u64>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}
