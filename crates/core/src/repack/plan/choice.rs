//! The base of each tensor: what it was made of, found by hash, by name or by values, and tried on a sample.
//!
//! A base of depth 1 must be worth that a read decodes three blocks for one.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;

use weighthouse_format::xet::hash::XetHash;
use weighthouse_store::digest::Sha256;

use super::{At, Draft, LEAST_BYTES, MOST_PIECES, Planner};
use crate::Error;
use crate::repack::known::xorbs;
use crate::repack::map::{Extent, overlap};
use crate::repack::sample::{Trial, try_base};
use crate::repack::shared::ranges_in;
use crate::repack::side::{Side, may_code};

/// Bases that are tried for one tensor.
const MOST_TRIALS: usize = 4;
/// A base that needs a base is taken when it leaves at most this share of what the best other one leaves.
const DEEPER_PERCENT: usize = 75;
/// Pairs of checkpoints whose tensors are told by their values.
const MOST_ALIGNMENTS: usize = 8;

/// A tensor that may be a base.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    at: At,
    depth: u64,
    is_same: bool,
}

impl Planner<'_> {
    /// Chooses bases for the tensors of contents, in the order in which these are coded.
    pub(super) async fn choose_bases(
        &mut self,
        open: &[Sha256],
        drafts: &HashMap<Sha256, Vec<Draft>>,
    ) -> Result<(), Error> {
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
    pub(in crate::repack) fn sides_for(&self, at: At) -> impl Iterator<Item = (usize, &Side)> {
        self.sides.iter().enumerate().filter(move |(side, _)| !self.barred.contains(&(at, *side)))
    }

    /// Takes a side for one that bases may lie in.
    pub(in crate::repack) async fn push(&mut self, side: Side) -> Result<(), Error> {
        self.sides.push(side);
        self.bar(self.sides.len() - 1).await
    }

    fn is_same(&self, at: At, other: At) -> bool {
        let (Some(one), Some(two)) = (self.tensor(at), self.tensor(other)) else { return false };
        one.hash.is_some() && one.hash == two.hash && one.size_bytes == two.size_bytes
    }

    /// Tensors that may be what this one was made of, the likeliest first.
    pub(in crate::repack) fn partners(&self, (side, number): At) -> Vec<At> {
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
    pub(in crate::repack) async fn try_pair(&mut self, at: At, other: At) -> Result<Option<Trial>, Error> {
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
    pub(in crate::repack) fn share(&self, side: usize, holds: &dyn Fn(At) -> bool) -> f64 {
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
