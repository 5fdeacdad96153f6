//! A plan: which contents of a commit are coded anew, where their tensors lie, and given which base.
//!
//! ```text
//!   files ─► contents that no encoder has seen ─► runs of tensors ─► order: bases before what needs them
//!                                                                      │
//!   Sides (siblings, earlier commit, base model, twins, look-alikes) ──┴─► choice by hash, or by trial ─► RecodeSource
//! ```
//! A content that is coded alone has depth 0, one that needs it depth 1, and one that needs that depth 2, which is the most.
//! What is planned here is checked once more where it is carried out.

mod choice;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;

use weighthouse_format::xet::hash::XetHash;
use weighthouse_store::blob::{RecodeSource, RunBase, TensorRun};
use weighthouse_store::catalog::{RepoKind, RepoRecord, Viewer};
use weighthouse_store::digest::Sha256;

use super::RepackPolicy;
use super::known::{Contents, xorbs};
use super::map::overlap;
use super::shared::{batches, shield};
use super::side::{Located, Side, may_code, sides_of};
use crate::browse::FileRecord;
use crate::revision::Revision;
use crate::{Error, Hub};

/// Checkpoints in one revision that are looked at.
const MOST_SIDES: usize = 2_000;
/// Tensors below this length get no base.
pub(super) const LEAST_BYTES: u64 = 4 << 10;
/// Pairs of pieces of a tensor and its base that are compared.
const MOST_PIECES: usize = 1 << 20;

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
