//! What a client must know to change parts of a file and keep the rest.

use std::ops::Range;

use axum::extract::Path;
use axum::response::{IntoResponse, Json, Response};
use weighthouse::format::xet::hash::Node;
use weighthouse::format::xet::subtree::Subtree;

use super::holder::{Holder, hash};
use crate::server::visitor::refuse;
use crate::wire::error::ErrorReply;
use crate::wire::xet::{ChunkWindow, FileChunkHashes, TreeNode, TreeRange, X_RANGE_DIRTY};

/// `GET /v2/file-chunk-hashes/{file}` with `X-Range-Dirty: bytes=a-b,c-d`
pub(super) async fn chunk_hashes(holder: Holder, Path(file): Path<String>) -> Result<Response, ErrorReply> {
    let file = hash(&file)?;
    let edits = holder.headers.get(X_RANGE_DIRTY).and_then(|value| edits(value.to_str().ok()?));
    let edits = edits.ok_or_else(|| ErrorReply::bad_request("`X-Range-Dirty` must be `bytes=FIRST-LAST,…`"))?;
    let found = holder.app.hub().chunk_windows(&holder.repo, &file, &edits).await.map_err(refuse)?;
    let window = |window: &Range<u64>| ChunkWindow { dirty_byte_range: [window.start, window.end] };
    let answer = FileChunkHashes {
        total_chunks: found.total_chunks,
        file_size: found.size_bytes,
        windows: found.windows.iter().map(window).collect(),
        hash_ranges: found.gaps.iter().map(|gap| gap.as_ref().map(tree)).collect(),
        gap_verification: found.range_hashes.iter().map(ToString::to_string).collect(),
    };
    Ok(Json(answer).into_response())
}

/// `bytes=a-b,c-d`, both ends included.
fn edits(value: &str) -> Option<Vec<Range<u64>>> {
    let edit = |text: &str| {
        let (start, last) = text.trim().split_once('-')?;
        Some(start.parse().ok()?..last.parse::<u64>().ok()?.checked_add(1)?)
    };
    value.strip_prefix("bytes=")?.split(',').map(edit).collect()
}

fn tree(tree: &Subtree) -> TreeRange {
    let lefts = tree.levels.iter().flat_map(|level| &level.left);
    let rights = tree.levels.iter().rev().flat_map(|level| &level.right);
    let node = |(hash, size): &Node| TreeNode { hash: hash.to_string(), size: *size };
    TreeRange {
        nodes: lefts.chain(rights).map(node).collect(),
        levels: tree.levels.iter().map(|level| (level.left.len(), level.right.len())).collect(),
        at_start: tree.at_start,
        at_end: tree.at_end,
    }
}
