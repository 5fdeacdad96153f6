//! Which elements lie where in a xorb.

use std::collections::HashMap;
use std::ops::Range;

use weighthouse_format::Dtype;
use weighthouse_format::xet::hash::XetHash;
use weighthouse_format::xet::shard::Term;
use weighthouse_format::xet::xorb::XorbListing;

use super::super::codec;
use super::{RecodeSource, RunBase, TensorRun};

/// Shorter runs are bytes like what is around them: a block has its cost.
const SHORT_BYTES: u64 = 4 << 10;
/// Runs that go on where the one before ends become one with it when one of them is shorter than this.
const JOIN_BYTES: u64 = 64 << 10;

/// A part of a xorb that a file has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    /// Number of the source.
    source: usize,
    /// Where the part begins in the file.
    at: u64,
    term: Term,
}

/// Elements in a xorb.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct XorbRun {
    /// Raw bytes of the xorb.
    pub range: Range<u64>,
    pub dtype: Dtype,
    /// Where the first of them lies in the base.
    pub base: Option<RunBase>,
}

/// The xorbs of the sources in the order in which they appear, each with all of its parts.
pub(super) fn xorbs(sources: &[RecodeSource]) -> Vec<(XetHash, Vec<Part>)> {
    let mut found: Vec<(XetHash, Vec<Part>)> = Vec::new();
    let mut numbers: HashMap<XetHash, usize> = HashMap::new();
    for (source, of) in sources.iter().enumerate() {
        let mut at = 0u64;
        for term in &of.content.terms {
            let number = *numbers.entry(term.xorb).or_insert_with(|| {
                found.push((term.xorb, Vec::new()));
                found.len() - 1
            });
            if let Some((_, parts)) = found.get_mut(number) {
                parts.push(Part { source, at, term: *term });
            }
            at = at.saturating_add(term.unpacked_bytes.into());
        }
    }
    found
}

/// The runs of a xorb, in order and without overlap. Where two files say something of the same bytes the first one counts.
pub(super) fn runs(sources: &[RecodeSource], parts: &[Part], listing: &XorbListing) -> Vec<XorbRun> {
    let mut starts = Vec::with_capacity(listing.chunks.len() + 1);
    let mut at = 0u64;
    for chunk in &listing.chunks {
        starts.push(at);
        at += u64::from(chunk.raw_len);
    }
    starts.push(at);
    let mut found = Vec::new();
    for part in parts {
        let (Some(&start), Some(&end)) = (starts.get(part.term.start as usize), starts.get(part.term.end as usize))
        else {
            continue;
        };
        let Some(source) = sources.get(part.source) else { continue };
        let file = part.at..part.at + (end.saturating_sub(start));
        let first = source.runs.partition_point(|run| run.range.end <= file.start);
        for run in source.runs.get(first..).unwrap_or_default() {
            if run.range.start >= file.end {
                break;
            }
            found.extend(cut(run, &file, start));
        }
    }
    // A stable order: of those that begin together the one of the first file comes first.
    found.sort_by_key(|run| run.range.start);
    let mut kept: Vec<XorbRun> = Vec::with_capacity(found.len());
    for run in found {
        match kept.last_mut() {
            Some(last) if last.range.end > run.range.start => {}
            Some(last) if joins(last, &run) => last.range.end = run.range.end,
            _ => kept.push(run),
        }
    }
    kept.retain(|run| run.range.end - run.range.start >= SHORT_BYTES);
    kept
}

/// The whole elements of a run within a part of the file that begins at `start` in the xorb.
fn cut(run: &TensorRun, file: &Range<u64>, start: u64) -> Option<XorbRun> {
    let unit = codec::unit_bytes(run.dtype) as u64;
    let from = run.range.start.max(file.start);
    let skipped = (from - run.range.start).div_ceil(unit) * unit;
    let from = run.range.start.checked_add(skipped)?;
    let len = run.range.end.min(file.end).checked_sub(from)? / unit * unit;
    let base = match run.base {
        Some(base) => {
            let elements = skipped / codec::word_bytes(run.dtype) as u64;
            let offset = base.offset.checked_add(elements.checked_mul(codec::word_bytes(base.dtype) as u64)?)?;
            Some(RunBase { offset, ..base })
        }
        None => None,
    };
    let begin = start + (from - file.start);
    (len > 0).then(|| XorbRun { range: begin..begin + len, dtype: run.dtype, base })
}

/// Whether a run goes on where another ends, here and in the base, and is better coded together with it.
fn joins(one: &XorbRun, next: &XorbRun) -> bool {
    let len = one.range.end - one.range.start;
    let short = len.min(next.range.end - next.range.start) < JOIN_BYTES;
    let base = match (one.base, next.base) {
        (None, None) => true,
        (Some(one), Some(next_base)) => {
            let elements = len / codec::word_bytes(next.dtype) as u64;
            one.sha256 == next_base.sha256
                && one.dtype == next_base.dtype
                && one.offset + elements * codec::word_bytes(one.dtype) as u64 == next_base.offset
        }
        _ => false,
    };
    short && base && one.dtype == next.dtype && one.range.end == next.range.start
}
