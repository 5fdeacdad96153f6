//! What changed between two checkpoints: the use case behind `wh diff` and the hub's page of a comparison.
//!
//! ```text
//!   two Sides ──► align: by name, layer, values ──► measure: one pass, all cores ──► states ──► tables, verdict
//!                 samples of a few elements          bytes first, numbers where they differ
//! ```
//! The sides may differ in format, element type, sharding and names. Nothing is held whole: memory does not grow with the
//! weights. What is said is documented in `docs/reference/diff.md`.

mod align;
mod comparison;
mod config;
mod content;
mod json;
mod measure;
mod rank;
mod requantise;
mod sample;
mod state;
mod table;
#[cfg(test)]
mod tests;
mod tokenizer;
mod verdict;
mod view;

use std::fmt;

use weighthouse_format::checkpoint::{self, Checkpoint, is_buffer};
use weighthouse_format::{Folder, Limits, Tensor};

use crate::Error;

pub use comparison::{
    Arrangement, Blend, Cell, Comparison, ConfigChange, ConfigChanges, Found, Kind, Numbers, Outside, Proof, Rank,
    SideFacts, State, Table, TensorChange, TensorFacts, TokenizerChange, Totals, Verdict, Which, Zeros,
};
pub use json::Document;

/// One of the checkpoints that are compared.
#[derive(Clone, Copy)]
pub struct Side<'a> {
    /// Its files.
    pub folder: &'a dyn Folder,
    /// What was read of them.
    pub checkpoint: &'a Checkpoint,
    /// Whether all files of the folder belong to it, and not just one.
    pub whole: bool,
    /// A text that tells the bytes of a file, if it is known without reading them: files of both sides with the same
    /// text are not read where they are used alike.
    pub known: &'a (dyn Fn(&str) -> Option<String> + Sync),
}

impl<'a> Side<'a> {
    /// A checkpoint with all files of its folder, of whose bytes nothing is known.
    #[must_use]
    pub fn new(folder: &'a dyn Folder, checkpoint: &'a Checkpoint) -> Self {
        Self { folder, checkpoint, whole: true, known: &|_| None }
    }

    fn tensors(&self) -> &'a [Tensor] {
        &self.checkpoint.contents.tensors
    }

    fn is_buffer(&self, tensor: &Tensor) -> bool {
        is_buffer(tensor) || self.checkpoint.contents.buffers.contains(&tensor.name)
    }

    fn facts(&self) -> SideFacts {
        let contents = &self.checkpoint.contents;
        let parameters = self.checkpoint.parameters();
        let mut dtypes: Vec<_> = parameters.by_dtype.into_iter().collect();
        dtypes.sort_by_key(|(_, elements)| std::cmp::Reverse(*elements));
        SideFacts {
            formats: contents.formats.clone(),
            family: contents.architecture.family.clone(),
            class: contents.architecture.class.clone(),
            parameters: parameters.total,
            tensors: contents.tensors.len() as u64,
            size_bytes: self.checkpoint.size_bytes(),
            dtypes: dtypes.into_iter().map(|(dtype, _)| dtype).collect(),
        }
    }
}

impl fmt::Debug for Side<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Side").field("whole", &self.whole).finish_non_exhaustive()
    }
}

/// Most tensors of a side: what is said of each takes about a kilobyte. The largest mixtures of experts have 100,000.
const MOST_TENSORS: usize = 1 << 17;

/// Reads the headers of a checkpoint: all of a folder, or one file of it.
///
/// # Errors
/// When the file is not there or is no checkpoint; a folder always answers.
pub fn open(folder: &dyn Folder, file: Option<&str>) -> Result<Checkpoint, Error> {
    let limits = Limits::default();
    let found = match file {
        Some(path) => checkpoint::read_file(folder, path, &limits)?,
        None => checkpoint::read(folder, &limits)?,
    };
    if found.contents.tensors.len() > MOST_TENSORS {
        let count = found.contents.tensors.len();
        let text = format!("{count} tensors are more than can be compared at once; the limit is {MOST_TENSORS}");
        return Err(Error::Unsupported(text));
    }
    Ok(found)
}

/// Which weights of one checkpoint are which of another, as numbers of tensors, for those whose elements lie in the same
/// order: all of them, or the rows that both have.
pub(crate) fn partners(a: Side<'_>, b: Side<'_>) -> Vec<(usize, usize)> {
    let pairs = align::align(a, b, &Limits::default(), &mut Vec::new()).into_iter();
    let in_order = pairs.filter(|pair| matches!(pair.arrangement, Arrangement::Same | Arrangement::Rows(_)));
    in_order.filter_map(|pair| pair.a.zip(pair.b)).collect()
}

/// Compares two checkpoints; with a third one, the second is looked at as a mixture of the other two.
///
/// `progress` is told how many bytes were read and how many there are, from any thread. What cannot be read is said of
/// its tensor and does not stop the others.
#[must_use]
pub fn compare(a: Side<'_>, b: Side<'_>, with: Option<Side<'_>>, progress: &(dyn Fn(u64, u64) + Sync)) -> Comparison {
    let limits = Limits::default();
    let mut remarks = Vec::new();
    let pairs = align::align(a, b, &limits, &mut remarks);
    let thirds = with.map(|with| state::thirds(a, with, &limits));
    let mut refused = Vec::with_capacity(pairs.len());
    let plans: Vec<Option<measure::Plan<'_>>> = pairs
        .iter()
        .map(|pair| {
            let third = with.and_then(|with| {
                let number = thirds.as_ref()?.get(&pair.a?)?;
                Some((with, with.tensors().get(*number)?))
            });
            let plan = measure::Plan::of(pair, a, b, third);
            refused.push(plan.as_ref().and_then(|plan| plan.as_ref().err()).cloned());
            plan.and_then(Result::ok)
        })
        .collect();
    let total = plans.iter().flatten().fold(0u64, |sum, plan| sum.saturating_add(plan.size_bytes()));
    let measured = measure::measure(&plans, &|bytes| progress(bytes, total));
    let numbers = measured.iter().map(|measured| measured.as_ref().ok());
    let roundings = state::roundings(pairs.iter().zip(numbers), a, b);
    let mut tensors = Vec::with_capacity(pairs.len());
    for (((pair, plan), refused), measured) in pairs.iter().zip(&plans).zip(refused).zip(measured) {
        let measured = match (refused, plan) {
            (Some(reason), _) => Err(reason),
            (None, Some(_)) => measured.map(Some),
            (None, None) => Ok(None),
        };
        tensors.push(state::change(a, b, pair, &roundings, measured));
    }
    for (side, name) in [(a, "the first"), (b, "the second")] {
        if side.checkpoint.contents.optimizer.is_some() {
            remarks.push(format!("the optimizer's state of {name} checkpoint is not compared"));
        }
    }
    let totals = state::totals(&tensors);
    let (tables, outside) = table::tables(&tensors);
    let verdict = verdict::verdict(a, b, with.is_some(), &tensors, &totals);
    Comparison {
        a: a.facts(),
        b: b.facts(),
        with: with.map(|with| with.facts()),
        verdict,
        config: config::changes(a, b),
        tokenizer: tokenizer::changes(a, b),
        tensors,
        tables,
        outside,
        totals,
        remarks,
    }
}
