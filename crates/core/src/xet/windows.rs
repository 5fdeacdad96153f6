//! What a client must know of a file to replace parts of it without fetching the rest.
//!
//! Where a chunk ends depends on bytes before it, so an edit may move boundaries behind it. The client cuts a *window*
//! anew: the terms it means to touch, and those after them until the chunker is sure to cut where it cut before. The
//! rest of the file stays as it is; of that the client gets the hash tree, as far as it stands by itself, and the range
//! hash of each term, with which its shard proves that the chunks were known.
//!
//! Windows are whole terms: the client exchanges terms, it does not cut them.

use std::ops::Range;

use weighthouse_format::xet::chunker::{MAX_CHUNK, MIN_CHUNK};
use weighthouse_format::xet::hash::{XetHash, range_hash};
use weighthouse_format::xet::subtree::{Subtree, SubtreeBuilder};
use weighthouse_format::xet::xorb::XorbChunk;

use super::out_of_bounds;
use crate::access::Repo;
use crate::{Error, Hub};

/// Nodes of hash trees in one answer. Trees over ordinary content need some hundred; a file of nothing but zeros has no
/// certain boundaries, so that all of its chunks would have to be told. Windows grow over what has no room.
const MAX_NODES: usize = 1 << 16;
/// Lengths in bytes of a chunk that ended by its content and far from both limits. After two in a row the chunker cuts
/// where it would have cut without the edit.
const STEADY: Range<u64> = (2 * MIN_CHUNK as u64)..((MAX_CHUNK - MIN_CHUNK) as u64);

/// A file, divided into windows to be cut anew and gaps that stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkWindows {
    /// Chunks of the whole file.
    pub total_chunks: u64,
    /// Size of the whole file in bytes.
    pub size_bytes: u64,
    /// Raw bytes to be cut anew, in order; between two of them at least one term stays.
    pub windows: Vec<Range<u64>>,
    /// Trees over the chunks before, between and after the windows; `None` if there are none.
    pub gaps: Vec<Option<Subtree>>,
    /// Range hashes of the terms in the gaps.
    pub range_hashes: Vec<XetHash>,
}

impl Hub {
    /// Divides a file for an edit of the raw bytes `edits`.
    ///
    /// - `edits`: ranges in order that do not overlap; what lies beyond the end of the file does not count
    ///
    /// # Errors
    /// [`Error::NotFound`] for a file that this repository was not given; [`Error::Malformed`] for ranges out of order;
    /// [`Error::RangeNotSatisfiable`] when none of them touches the file.
    pub async fn chunk_windows(
        &self,
        repo: &Repo,
        file: &XetHash,
        edits: &[Range<u64>],
    ) -> Result<ChunkWindows, Error> {
        let content = self.content_of(repo, file).await?;
        let size_bytes = content.record.size_bytes;
        if edits.iter().any(|edit| edit.start >= edit.end) || edits.windows(2).any(|pair| pair[0].end > pair[1].start) {
            return Err(Error::Malformed("the ranges must be in order and must not overlap".to_owned()));
        }
        if edits.first().is_none_or(|edit| edit.start >= size_bytes) {
            return Err(Error::RangeNotSatisfiable { size_bytes });
        }
        let mut divider = Divider::new(edits, MAX_NODES);
        let mut total_chunks = 0;
        for term in &content.terms {
            let place = self.place(&term.xorb).await?;
            let chunks = place.listing.chunks(term.start..term.end).ok_or_else(|| out_of_bounds(&term.xorb))?;
            total_chunks += chunks.len() as u64;
            divider.push(chunks);
            // A term is at most 8,192 chunks; a file may be a million terms.
            tokio::task::yield_now().await;
        }
        let (windows, gaps, range_hashes) = divider.finish();
        Ok(ChunkWindows { total_chunks, size_bytes, windows, gaps, range_hashes })
    }
}

/// Divides a file while its terms go by.
struct Divider<'a> {
    /// Edits that end after `position`.
    edits: &'a [Range<u64>],
    /// Raw bytes gone by.
    position: u64,
    windows: Vec<Range<u64>>,
    gaps: Vec<Option<Subtree>>,
    range_hashes: Vec<XetHash>,
    /// The gap at `position`; `None` in a window.
    gap: Option<Gap>,
    /// Whether the chunk before `position` has no edit in it and ended by its content.
    steady: bool,
    /// Nodes that the answer has room for.
    room: usize,
}

/// Terms that stay, and that may still be taken into a window.
struct Gap {
    tree: SubtreeBuilder,
    range_hashes: Vec<XetHash>,
}

impl Gap {
    const fn new(at_start: bool) -> Self {
        Self { tree: SubtreeBuilder::new(at_start), range_hashes: Vec::new() }
    }
}

impl<'a> Divider<'a> {
    fn new(edits: &'a [Range<u64>], room: usize) -> Self {
        let gap = Some(Gap::new(true));
        let (windows, gaps, range_hashes) = (Vec::new(), Vec::new(), Vec::new());
        Self { edits, position: 0, windows, gaps, range_hashes, gap, steady: false, room }
    }

    /// Takes the chunks of the next term.
    fn push(&mut self, chunks: &[XorbChunk]) {
        let start = self.position;
        self.position += chunks.iter().map(|chunk| u64::from(chunk.raw_len)).sum::<u64>();
        while let [edit, later @ ..] = self.edits
            && edit.end <= start
        {
            self.edits = later;
        }
        if self.edits.first().is_some_and(|edit| edit.start < self.position) {
            if let Some(gap) = self.gap.take() {
                self.close(gap, start);
            }
            self.extend();
            self.steady = false;
        } else if let Some(gap) = &mut self.gap {
            chunks.iter().for_each(|chunk| gap.tree.push(chunk.hash, chunk.raw_len.into()));
            gap.range_hashes.push(range_hash(chunks.iter().map(|chunk| &chunk.hash)));
            if gap.tree.nodes() > self.room {
                self.gap = None;
                self.extend();
                self.steady = false;
            }
        } else {
            self.extend();
            if self.settles(chunks) {
                self.gap = Some(Gap::new(false));
            }
        }
    }

    /// Keeps a gap for good; a window begins behind it.
    fn close(&mut self, gap: Gap, start: u64) {
        let nodes = gap.tree.nodes();
        if let Some(tree) = gap.tree.finish(false) {
            self.room = self.room.saturating_sub(nodes);
            self.gaps.push(Some(tree));
            self.range_hashes.extend(gap.range_hashes);
            self.windows.push(start..start);
        }
    }

    /// Draws the last window up to here, over whatever lies between.
    fn extend(&mut self) {
        match self.windows.last_mut() {
            Some(window) => window.end = self.position,
            None => {
                self.gaps.push(None);
                self.windows.push(0..self.position);
            }
        }
    }

    /// Whether the chunker is sure to be back in step at the end of a term without an edit.
    fn settles(&mut self, chunks: &[XorbChunk]) -> bool {
        let mut settled = false;
        for chunk in chunks {
            let steady = STEADY.contains(&u64::from(chunk.raw_len));
            settled |= self.steady && steady;
            self.steady = steady;
        }
        settled
    }

    /// Windows, the trees of the gaps, and the range hashes of what stays.
    fn finish(mut self) -> (Vec<Range<u64>>, Vec<Option<Subtree>>, Vec<XetHash>) {
        let last = self.gap.take().and_then(|gap| {
            let tree = gap.tree.finish(true)?;
            self.range_hashes.extend(gap.range_hashes);
            Some(tree)
        });
        self.gaps.push(last);
        (self.windows, self.gaps, self.range_hashes)
    }
}

#[cfg(test)]
mod tests;
