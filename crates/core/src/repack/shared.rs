//! Xorbs that several contents have a part of: what lies in them is coded once for all.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

use weighthouse_format::xet::hash::XetHash;
use weighthouse_store::blob::{RecodeSource, RunBase, TensorRun};
use weighthouse_store::catalog::Content;

use super::known::xorbs;

/// Takes the base from what lies in xorbs of contents that are bases: those must not come to need more than they do.
pub(super) fn shield(source: &mut RecodeSource, kept: &HashSet<XetHash>) {
    if kept.is_empty() || source.runs.iter().all(|run| run.base.is_none()) {
        return;
    }
    let barred = ranges_in(&source.content, kept);
    if !barred.is_empty() {
        source.runs = source.runs.iter().flat_map(|run| cut(run, &barred)).collect();
    }
}

/// Bytes of a content that lie in some xorbs, in order.
pub(super) fn ranges_in(content: &Content, held: &HashSet<XetHash>) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    let mut at = 0u64;
    for term in &content.terms {
        let end = at.saturating_add(u64::from(term.unpacked_bytes));
        if held.contains(&term.xorb) {
            match ranges.last_mut() {
                Some(last) if last.end == at => last.end = end,
                _ => ranges.push(at..end),
            }
        }
        at = end;
    }
    ranges
}

/// A run without its base in the barred ranges, cut between elements.
fn cut(run: &TensorRun, barred: &[Range<u64>]) -> Vec<TensorRun> {
    let Some(base) = &run.base else { return vec![run.clone()] };
    let (unit, base_unit) = (run.dtype.block_bytes().max(1), base.dtype.block_bytes());
    let (start, end) = (run.range.start, run.range.end);
    let mut parts = Vec::new();
    let mut at = start;
    let mut part = |range: Range<u64>, with: bool| {
        if range.start < range.end {
            let offset = base.offset.saturating_add((range.start - start) / unit * base_unit);
            let base = with.then_some(RunBase { offset, ..*base });
            parts.push(TensorRun { range, dtype: run.dtype, base });
        }
    };
    let first = barred.partition_point(|range| range.end <= start);
    for range in barred.iter().skip(first).take_while(|range| range.start < end) {
        let from = start + (range.start.max(start) - start) / unit * unit;
        let to = (start + (range.end.min(end) - start).div_ceil(unit) * unit).min(end);
        part(at..from.max(at), true);
        part(from.max(at)..to, false);
        at = to.max(at);
    }
    part(at..end, true);
    parts
}

/// Contents that share xorbs come together, all in the order in which they were planned.
pub(super) fn batches(sources: Vec<RecodeSource>) -> Vec<Vec<RecodeSource>> {
    let mut group: Vec<usize> = (0..sources.len()).collect();
    let mut first: HashMap<XetHash, usize> = HashMap::new();
    fn root(group: &mut [usize], mut at: usize) -> usize {
        while let Some(&next) = group.get(at).filter(|&&next| next != at) {
            let after = group.get(next).copied().unwrap_or(next);
            if let Some(shorter) = group.get_mut(at) {
                *shorter = after;
            }
            at = after;
        }
        at
    }
    for (number, source) in sources.iter().enumerate() {
        for xorb in xorbs(&source.content) {
            let other = *first.entry(xorb).or_insert(number);
            let (one, two) = (root(&mut group, number), root(&mut group, other));
            if let Some(of_group) = group.get_mut(one.max(two)) {
                *of_group = one.min(two);
            }
        }
    }
    let mut batches: BTreeMap<usize, Vec<RecodeSource>> = BTreeMap::new();
    for (number, source) in sources.into_iter().enumerate() {
        batches.entry(root(&mut group, number)).or_default().push(source);
    }
    batches.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use weighthouse_format::Dtype;
    use weighthouse_format::xet::shard::Term;
    use weighthouse_store::blob::RunBase;
    use weighthouse_store::catalog::ContentRecord;
    use weighthouse_store::digest::Sha256;

    fn source(name: &str, xorbs: &[(u8, u32)], runs: Vec<TensorRun>) -> RecodeSource {
        let terms = xorbs.iter().map(|&(xorb, unpacked_bytes)| Term {
            xorb: XetHash::from_bytes([xorb; 32]),
            start: 0,
            end: 1,
            unpacked_bytes,
        });
        let record = ContentRecord {
            sha256: Sha256::of(name.as_bytes()),
            size_bytes: xorbs.iter().map(|(_, bytes)| u64::from(*bytes)).sum(),
            file_hash: XetHash::from_bytes([0; 32]),
        };
        RecodeSource { content: Content { record, terms: terms.collect() }, runs }
    }

    fn run(range: Range<u64>, offset: u64) -> TensorRun {
        let base = RunBase { sha256: Sha256::of(b"base"), offset, dtype: Dtype::BF16 };
        TensorRun { range, dtype: Dtype::F32, base: Some(base) }
    }

    #[test]
    fn what_lies_in_a_xorb_of_a_base_has_no_base() {
        let kept = HashSet::from([XetHash::from_bytes([2; 32])]);
        let mut found = source("a", &[(1, 10), (2, 10), (3, 100)], vec![run(2..102, 0), run(110..118, 8)]);
        shield(&mut found, &kept);
        let parts: Vec<_> =
            found.runs.iter().map(|run| (run.range.clone(), run.base.as_ref().map(|base| base.offset))).collect();
        // Bytes 10..20 are barred; elements of four bytes lie at 2, 6, 10, …
        assert_eq!(parts, [(2..10, Some(0)), (10..22, None), (22..102, Some(10)), (110..118, Some(8))]);
        let mut inside = source("b", &[(2, 50)], vec![run(4..40, 0)]);
        shield(&mut inside, &kept);
        assert_eq!((inside.runs.len(), inside.runs[0].range.clone(), &inside.runs[0].base), (1, 4..40, &None));
    }

    #[test]
    fn contents_that_share_a_xorb_are_coded_together() {
        let sources = vec![
            source("a", &[(1, 1), (2, 1)], Vec::new()),
            source("b", &[(5, 1)], Vec::new()),
            source("c", &[(2, 1), (3, 1)], Vec::new()),
            source("d", &[(3, 1), (1, 1)], Vec::new()),
        ];
        let found: Vec<Vec<Sha256>> = batches(sources)
            .iter()
            .map(|batch| batch.iter().map(|source| source.content.record.sha256).collect())
            .collect();
        let name = |name: &str| Sha256::of(name.as_bytes());
        assert_eq!(found, [vec![name("a"), name("c"), name("d")], vec![name("b")]]);
    }
}
