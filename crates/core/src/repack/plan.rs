//! A plan: which contents of a commit are coded anew, where their tensors lie, and given which base.
//!
//! ```text
//!   files ─► contents that no encoder has seen ─► runs of tensors ─► order: bases before what needs them
//!                                                                      │
//!   Sides (siblings, earlier commit, base model, twins, look-alikes) ──┴─► choice by hash, or by trial ─► RecodeSource
//! ```
//! A content that is coded alone has depth 0, one that needs it depth 1, and one that needs that depth 2, which is the most.
//! A base of depth 1 must be worth that a read decodes three blocks for one. What is planned here is checked once more where
//! it is carried out.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;

use weighthouse_format::xet::hash::XetHash;
use weighthouse_store::blob::{RecodeSource, RunBase, TensorRun};
use weighthouse_store::catalog::{RepoKind, RepoRecord, Viewer};
use weighthouse_store::digest::Sha256;

use super::RepackPolicy;
use super::known::{Contents, xorbs};
use super::map::{Extent, overlap};
use super::sample::{Trial, try_base};
use super::shared::{batches, ranges_in, shield};
use super::side::{Located, Side, may_code, sides_of};
use crate::browse::FileRecord;
use crate::revision::Revision;
use crate::{Error, Hub};

/// Checkpoints in one revision that are looked at.
const MOST_SIDES: usize = 2_000;
/// Tensors below this length get no base.
pub(super) const LEAST_BYTES: u64 = 4 << 10;
/// Bases that are tried for one tensor.
const MOST_TRIALS: usize = 4;
/// A base that needs a base is taken when it leaves at most this share of what the best other one leaves.
const DEEPER_PERCENT: usize = 75;
/// Pairs of pieces of a tensor and its base that are compared.
const MOST_PIECES: usize = 1 << 20;
/// Pairs of checkpoints whose tensors are told by their values.
const MOST_ALIGNMENTS: usize = 8;

/// What a commit's files are coded as: contents that share xorbs lie in one batch.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub batches: Vec<Vec<RecodeSource>>,
}

/// Number of a side and of a tensor in it.
pub(super) type At = (usize, usize);

/// A run of a content before its base is chosen.
#[derive(Debug)]
struct Draft {
    bytes: Range<u64>,
    at: At,
    /// Number among the runs of the tensor.
    run: usize,
}

/// What a plan is made of.
pub(super) struct Planner<'a> {
    pub(super) hub: &'a Hub,
    pub(super) repo: &'a RepoRecord,
    revision: &'a Revision,
    pub(super) viewer: Viewer,
    policy: RepackPolicy,
    /// Contents that are no bases.
    without: HashSet<Sha256>,
    pub(super) contents: Contents<'a>,
    /// Checkpoints of the revision first, then what may be a base.
    pub(super) sides: Vec<Side>,
    pub(super) own: usize,
    /// Place of each content that is planned, in the order in which they are coded.
    order: HashMap<Sha256, usize>,
    /// Depth that each content will have.
    depths: HashMap<Sha256, u64>,
    /// The base of each tensor that has one.
    chosen: HashMap<At, At>,
    /// Own tensors, each with a side that is stored in the very xorbs that hold it: no base for itself.
    pub(super) barred: HashSet<(At, usize)>,
    aligned: HashMap<(usize, usize), HashMap<usize, usize>>,
}

/// A tensor that may be a base.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    at: At,
    depth: u64,
    is_same: bool,
}

impl<'a> Planner<'a> {
    pub fn new(
        hub: &'a Hub,
        (repo, revision): (&'a RepoRecord, &'a Revision),
        policy: RepackPolicy,
        encoder: u64,
        without: &[Sha256],
    ) -> Self {
        Self {
            hub,
            repo,
            revision,
            viewer: Viewer { account: Some(repo.owner.clone()), admin: false, only: None },
            policy,
            without: without.iter().copied().collect(),
            contents: Contents::new(hub, encoder),
            sides: Vec::new(),
            own: 0,
            order: HashMap::new(),
            depths: HashMap::new(),
            chosen: HashMap::new(),
            barred: HashSet::new(),
            aligned: HashMap::new(),
        }
    }

    /// Whether this encoder has looked at all files of the revision.
    pub async fn is_done(&mut self) -> Result<bool, Error> {
        let files = self.hub.all_files(self.revision).await?;
        Ok(self.policy == RepackPolicy::Off || self.open(&files, None, false).await?.is_empty())
    }

    /// Contents that are to be looked at, each with a path of it.
    async fn open<'f>(
        &mut self,
        files: &'f [FileRecord],
        only: Option<&BTreeSet<Sha256>>,
        again: bool,
    ) -> Result<BTreeMap<Sha256, &'f str>, Error> {
        let mut open: BTreeMap<Sha256, &str> = BTreeMap::new();
        let wanted = |file: &&FileRecord| file.size_bytes > 0 && only.is_none_or(|only| only.contains(&file.sha256));
        for file in files.iter().filter(wanted) {
            if !open.contains_key(&file.sha256)
                && self.contents.get(&file.sha256).await?.is_some_and(|known| again || !known.is_seen)
            {
                open.insert(file.sha256, &file.path);
            }
        }
        Ok(open)
    }

    /// Plans the contents of all files of the revision, or those of `only`; with `again` those that were looked at, too.
    pub async fn plan(mut self, only: Option<&BTreeSet<Sha256>>, again: bool) -> Result<Plan, Error> {
        let files = self.hub.all_files(self.revision).await?;
        let paths = self.open(&files, only, again).await?;
        let mut open: Vec<Sha256> = paths.keys().copied().collect();
        if open.is_empty() || self.policy == RepackPolicy::Off {
            return Ok(Plan::default());
        }
        if self.repo.kind == RepoKind::Model {
            self.sides = sides_of(self.hub, &self.repo.key, self.revision, &files, MOST_SIDES).await?;
            self.own = self.sides.len();
        }
        let mut drafts = self.drafts(&open);
        open.sort_by_cached_key(|sha256| {
            let path = paths.get(sha256).copied().unwrap_or_default();
            let width = drafts.get(sha256).map_or(0, |drafts| self.width(drafts));
            (series(path), Reverse(width), path)
        });
        self.order = open.iter().enumerate().map(|(place, sha256)| (*sha256, place)).collect();
        if self.policy == RepackPolicy::Full && self.own > 0 {
            self.choose_bases(&open, &drafts).await?;
        }
        let mut needed = BTreeSet::new();
        let mut sources = Vec::with_capacity(open.len());
        for sha256 in open {
            let Some(known) = self.contents.get(&sha256).await? else { continue };
            let runs = drafts.remove(&sha256).unwrap_or_default().iter().flat_map(|draft| self.runs(draft)).collect();
            let source = RecodeSource { content: (*known.content).clone(), runs };
            needed.extend(source.runs.iter().filter_map(|run| Some(run.base.as_ref()?.sha256)));
            sources.push(source);
        }
        let mut kept: HashSet<XetHash> = HashSet::new();
        for sha256 in needed {
            kept.extend(self.contents.get(&sha256).await?.iter().flat_map(|known| xorbs(&known.content)));
        }
        sources.iter_mut().for_each(|source| shield(source, &kept));
        Ok(Plan { batches: batches(sources) })
    }

    /// Where tensors lie in each content: sorted, without overlaps.
    fn drafts(&self, open: &[Sha256]) -> HashMap<Sha256, Vec<Draft>> {
        let mut drafts: HashMap<Sha256, Vec<Draft>> = open.iter().map(|sha256| (*sha256, Vec::new())).collect();
        for (side, of_side) in self.sides.iter().enumerate() {
            for (number, tensor) in of_side.tensors.iter().enumerate() {
                for (run, (content, extent)) in tensor.runs.iter().enumerate() {
                    if let Some(drafts) = drafts.get_mut(content) {
                        drafts.push(Draft { bytes: extent.bytes.clone(), at: (side, number), run });
                    }
                }
            }
        }
        for drafts in drafts.values_mut() {
            // Of what lies at one place the longest is taken, and of that what was read first.
            drafts.sort_by_key(|draft| (draft.bytes.start, Reverse(draft.bytes.end), draft.at));
            let mut end = 0;
            drafts.retain(|draft| {
                let apart = draft.bytes.start >= end;
                end = if apart { draft.bytes.end } else { end };
                apart
            });
        }
        drafts
    }

    /// Bytes of the widest numbers that lie in a content.
    fn width(&self, drafts: &[Draft]) -> u64 {
        let types = drafts.iter().filter_map(|draft| Some(self.tensor(draft.at)?.dtype));
        types.filter(|dtype| !dtype.is_quantised()).map(|dtype| dtype.block_bytes()).max().unwrap_or(0)
    }

    pub(super) const fn revision(&self) -> &'a Revision {
        self.revision
    }

    pub(super) fn tensor(&self, (side, number): At) -> Option<&Located> {
        self.sides.get(side)?.tensors.get(number)
    }

    async fn choose_bases(&mut self, open: &[Sha256], drafts: &HashMap<Sha256, Vec<Draft>>) -> Result<(), Error> {
        for side in 0..self.own {
            self.bar(side).await?;
        }
        self.look_around().await?;
        self.align(open, drafts).await?;
        for sha256 in open {
            let mut depth = 0;
            for draft in drafts.get(sha256).into_iter().flatten() {
                if !self.chosen.contains_key(&draft.at)
                    && let Some(base) = self.choose(draft.at, sha256).await?
                {
                    self.chosen.insert(draft.at, base);
                }
                if let Some(base) = self.chosen.get(&draft.at).copied() {
                    depth = depth.max(1 + self.depth(base).await?.unwrap_or(0));
                }
            }
            self.depths.insert(*sha256, depth);
            if self.hub.is_stopping() {
                return Err(Error::Busy { what: "stopping the hub" });
            }
        }
        Ok(())
    }

    /// How deep a tensor lies, or will; `None` for one that cannot be a base.
    async fn depth(&mut self, at: At) -> Result<Option<u64>, Error> {
        let Some(tensor) = self.tensor(at) else { return Ok(None) };
        let contents: BTreeSet<Sha256> = tensor.runs.iter().map(|(content, _)| *content).collect();
        let mut depth = 0;
        for sha256 in &contents {
            if self.without.contains(sha256) {
                return Ok(None);
            }
            let of_content = match (self.order.get(sha256), self.depths.get(sha256)) {
                (_, Some(planned)) => Some(*planned),
                // It is planned, and has not had its turn.
                (Some(_), None) => None,
                (None, None) => self.contents.get(sha256).await?.map(|known| known.depth),
            };
            let Some(of_content) = of_content else { return Ok(None) };
            depth = depth.max(of_content);
        }
        Ok((!contents.is_empty()).then_some(depth))
    }

    /// The base of a tensor that lies in `content`.
    async fn choose(&mut self, at: At, content: &Sha256) -> Result<Option<At>, Error> {
        let Some(tensor) = self.tensor(at) else { return Ok(None) };
        if tensor.size_bytes < LEAST_BYTES {
            return Ok(None);
        }
        let mut candidates: Vec<Candidate> = Vec::new();
        for other in self.partners(at) {
            let mut next = Some((other, 0));
            while let Some((other, steps)) = next.take() {
                let own = self.tensor(other).is_some_and(|base| base.runs.iter().any(|(held, _)| held == content))
                    || self.barred.contains(&(at, other.0));
                if own || candidates.iter().any(|found| found.at == other) {
                    continue;
                }
                let Some(depth) = self.depth(other).await? else { continue };
                candidates.push(Candidate { at: other, depth, is_same: self.is_same(at, other) });
                // What is itself a difference leads to what it is one of.
                next = self.chosen.get(&other).filter(|_| depth > 0 && steps < 2).map(|base| (*base, steps + 1));
            }
        }
        candidates.sort_by_key(|found| (found.depth, !found.is_same));
        if let Some(found) = candidates.iter().find(|found| found.is_same && found.depth <= 1) {
            return Ok(Some(found.at));
        }
        let mut best: Option<(Trial, At)> = None;
        for found in candidates.iter().filter(|found| found.depth <= 1).take(MOST_TRIALS) {
            let Some(trial) = self.try_pair(at, found.at).await? else { continue };
            let deeper = found.depth > 0 && !trial.exact;
            let worth = |best: Trial| match deeper {
                true => trial.given * 100 < best.given * DEEPER_PERCENT,
                false => trial.given < best.given,
            };
            if trial.pays() && best.is_none_or(|(best, _)| worth(best)) {
                best = Some((trial, found.at));
            }
            if best.is_some_and(|(best, _)| best.exact) {
                break;
            }
        }
        Ok(best.map(|(_, at)| at))
    }

    /// Notes which of the own tensors lie for the most part in xorbs of a side that are still to be coded: what is stored
    /// there is no base for itself. Where they are coded, what lies elsewhere may lean on them.
    async fn bar(&mut self, side: usize) -> Result<(), Error> {
        let mut held: HashSet<XetHash> = HashSet::new();
        for sha256 in self.sides.get(side).map(Side::contents).unwrap_or_default() {
            let is_planned = self.order.contains_key(&sha256);
            let known = self.contents.get(&sha256).await?.filter(|known| is_planned || !known.is_seen);
            held.extend(known.iter().flat_map(|known| xorbs(&known.content)));
        }
        if held.is_empty() {
            return Ok(());
        }
        for own in (0..self.own).filter(|own| *own != side) {
            let Some(of_own) = self.sides.get(own) else { continue };
            let mut shared: HashMap<Sha256, Vec<Range<u64>>> = HashMap::new();
            for sha256 in of_own.contents() {
                if let Some(known) = self.contents.get(&sha256).await? {
                    shared.insert(sha256, ranges_in(&known.content, &held));
                }
            }
            // A few rows that two versions have in common are chunks in common, and bar nothing.
            let bytes_there = |(content, extent): &(Sha256, Extent)| -> u64 {
                let ranges = shared.get(content).map_or(&[][..], Vec::as_slice);
                let Range { start, end } = extent.bytes;
                let first = ranges.partition_point(|range| range.end <= start);
                let common = ranges.iter().skip(first).take_while(|range| range.start < end);
                common.map(|range| range.end.min(end) - range.start.max(start)).sum()
            };
            let tensors = self.sides.get(own).map_or(&[][..], |own| &own.tensors);
            let barred = tensors.iter().enumerate().filter(|(_, tensor)| {
                let whole: u64 = tensor.runs.iter().map(|(_, extent)| extent.bytes.end - extent.bytes.start).sum();
                tensor.runs.iter().map(bytes_there).sum::<u64>() * 2 > whole
            });
            self.barred.extend(barred.map(|(number, _)| ((own, number), side)));
        }
        Ok(())
    }

    /// Sides that a tensor may have its base in, with their numbers.
    pub(super) fn sides_for(&self, at: At) -> impl Iterator<Item = (usize, &Side)> {
        self.sides.iter().enumerate().filter(move |(side, _)| !self.barred.contains(&(at, *side)))
    }

    /// Takes a side for one that bases may lie in.
    pub(super) async fn push(&mut self, side: Side) -> Result<(), Error> {
        self.sides.push(side);
        self.bar(self.sides.len() - 1).await
    }

    fn is_same(&self, at: At, other: At) -> bool {
        let (Some(one), Some(two)) = (self.tensor(at), self.tensor(other)) else { return false };
        one.hash.is_some() && one.hash == two.hash && one.size_bytes == two.size_bytes
    }

    /// Tensors that may be what this one was made of, the likeliest first.
    pub(super) fn partners(&self, (side, number): At) -> Vec<At> {
        let Some(tensor) = self.tensor((side, number)) else { return Vec::new() };
        let name = self.sides.get(side).map_or("", |side| side.name(number));
        let mut found = Vec::new();
        for (at, other) in self.sides_for((side, number)) {
            let same = tensor.hash.as_ref().and_then(|hash| other.with_hash(hash));
            let named = other.named(tensor.part, name, &tensor.shape);
            let aligned = self.aligned.get(&(side, at)).and_then(|pairs| pairs.get(&number).copied());
            for partner in [same, named, aligned].into_iter().flatten() {
                let fits = other.tensors.get(partner).is_some_and(|base| may_code(tensor.dtype, base.dtype));
                if fits && (at, partner) != (side, number) && !found.contains(&(at, partner)) {
                    found.push((at, partner));
                }
            }
        }
        found
    }

    /// Tries one tensor given another, where they have most in common.
    pub(super) async fn try_pair(&mut self, at: At, other: At) -> Result<Option<Trial>, Error> {
        let (Some(one), Some(two)) = (self.tensor(at), self.tensor(other)) else { return Ok(None) };
        if one.runs.len().saturating_mul(two.runs.len()) > MOST_PIECES {
            return Ok(None);
        }
        let pairs = one.runs.iter().flat_map(|run| two.runs.iter().map(move |base| (run, base)));
        let common = |(run, base): &(&(Sha256, Extent), &(Sha256, Extent))| {
            overlap(&run.1, &base.1).map_or(0, |common| common.bytes.end - common.bytes.start)
        };
        let Some(((content, run), (base_content, base))) = pairs.max_by_key(common) else { return Ok(None) };
        let (content, run, base_content, base) = (*content, run.clone(), *base_content, base.clone());
        let (known, base_known) = (self.contents.get(&content).await?, self.contents.get(&base_content).await?);
        let (Some(known), Some(base_known)) = (known, base_known) else { return Ok(None) };
        try_base(self.hub, (&known.content, &run), (&base_known.content, &base)).await
    }

    /// Tells tensors by their values where names do not tell.
    async fn align(&mut self, open: &[Sha256], drafts: &HashMap<Sha256, Vec<Draft>>) -> Result<(), Error> {
        let mut done = 0;
        let mut targets = BTreeSet::new();
        for sha256 in open {
            targets.extend(drafts.get(sha256).into_iter().flatten().map(|draft| draft.at.0));
        }
        for target in targets {
            for other in 0..self.sides.len() {
                if done == MOST_ALIGNMENTS {
                    return Ok(());
                }
                let (Some(one), Some(two)) = (self.sides.get(target), self.sides.get(other)) else { continue };
                if target == other || self.share(target, &|at| self.matches(at, other)) >= 0.5 || !could_match(one, two)
                {
                    continue;
                }
                done += 1;
                let pairs = one.partners(self.hub, two).await?;
                self.aligned.insert((other, target), pairs.iter().map(|(one, two)| (*two, *one)).collect());
                self.aligned.insert((target, other), pairs);
            }
        }
        Ok(())
    }

    fn matches(&self, at: At, other: usize) -> bool {
        self.partners(at).iter().any(|(side, _)| *side == other)
    }

    /// The share of a side's bytes in tensors of which something is true.
    pub(super) fn share(&self, side: usize, holds: &dyn Fn(At) -> bool) -> f64 {
        let tensors = self.sides.get(side).map_or(&[][..], |side| &side.tensors);
        let (mut held, mut all) = (0u64, 0u64);
        for (number, tensor) in tensors.iter().enumerate().filter(|(_, tensor)| tensor.size_bytes >= LEAST_BYTES) {
            all = all.saturating_add(tensor.size_bytes);
            if holds((side, number)) {
                held = held.saturating_add(tensor.size_bytes);
            }
        }
        if all == 0 { 1.0 } else { held as f64 / all as f64 }
    }

    /// A draft cut where its base's pieces end.
    fn runs(&self, draft: &Draft) -> Vec<TensorRun> {
        let Some(tensor) = self.tensor(draft.at) else { return Vec::new() };
        let Some((_, run)) = tensor.runs.get(draft.run) else { return Vec::new() };
        let base = self.chosen.get(&draft.at).and_then(|at| self.tensor(*at));
        let mut parts: Vec<(Range<u64>, RunBase)> = Vec::new();
        for (sha256, piece) in base.iter().flat_map(|base| &base.runs).take(MOST_PIECES) {
            if let Some(common) = overlap(run, piece).filter(|_| may_code(run.dtype, piece.dtype)) {
                parts.push((common.bytes, RunBase { sha256: *sha256, offset: common.offset, dtype: piece.dtype }));
            }
        }
        parts.sort_by_key(|(bytes, _)| bytes.start);
        let mut runs = Vec::new();
        let mut at = run.bytes.start;
        let bare = |range: Range<u64>| TensorRun { range, dtype: run.dtype, base: None };
        for (bytes, base) in parts {
            // Pieces that lie on each other are the work of a reader that is wrong.
            if bytes.start < at {
                continue;
            }
            if bytes.start > at {
                runs.push(bare(at..bytes.start));
            }
            at = bytes.end;
            runs.push(TensorRun { range: bytes, dtype: run.dtype, base: Some(base) });
        }
        if at < run.bytes.end {
            runs.push(bare(at..run.bytes.end));
        }
        runs
    }
}

/// Whether weights of one could be told from those of the other by their values: both have plain numbers, about as many.
fn could_match(one: &Side, two: &Side) -> bool {
    let elements = |side: &Side| -> u64 {
        let plain = side.tensors.iter().filter(|tensor| !tensor.dtype.is_quantised());
        plain.map(|tensor| tensor.size_bytes / tensor.dtype.block_bytes().max(1)).sum()
    };
    let (one, two) = (elements(one), elements(two));
    one.min(two) * 2 > one.max(two)
}

/// The number of the step that a path of a training series has: `checkpoint-500/model.safetensors`. Other paths come first.
fn series(path: &str) -> u64 {
    let folders = path.rsplit_once('/').map_or("", |(folders, _)| folders);
    let number = |name: &str| {
        let digits = name.len() - name.trim_end_matches(|character: char| character.is_ascii_digit()).len();
        name.get(name.len() - digits..).filter(|digits| (1..=15).contains(&digits.len()))?.parse::<u64>().ok()
    };
    folders.split('/').filter_map(number).next_back().map_or(0, |number| number.saturating_add(1))
}

/// Bytes of contents.
pub(super) fn size_bytes(sources: &[RecodeSource]) -> u64 {
    sources.iter().map(|source: &RecodeSource| source.content.record.size_bytes).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_of_a_series_is_the_last_number_of_a_folder() {
        let order = ["model.safetensors", "run/checkpoint-9/a.bin", "run/checkpoint-10/a.bin", "run2/step_000011/x"];
        let steps: Vec<u64> = order.iter().map(|path| series(path)).collect();
        assert_eq!(steps, [0, 10, 11, 12]);
        assert_eq!((series("a/99999999999999999999/x"), series("v2.bin")), (0, 0));
    }
}
