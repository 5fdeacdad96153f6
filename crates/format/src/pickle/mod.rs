//! Pickles, read by a machine that runs nothing.
//!
//! A pickle is a program for a stack machine. Ours knows all 68 opcodes of protocols 0 to 5 and does what CPython's C
//! unpickler does, but for one thing: it imports no name and calls nothing. A name becomes a node, and a call becomes a
//! node that remembers what was called with what. Out of that come two things: a [`Graph`] of values, in which readers
//! of checkpoints find tensors; and a [`Trace`], in which scanners find every name, every call, and every oddity, up to
//! the place of an error, since what stands before an error has run by then.
//!
//! **Invariants:** the input is read once, in windows; text longer than a kilobyte is a range and not read; memory is
//! linear in the number of opcodes, which [`Limits`] bound; nothing recurses on the input.
//!
//! Source: CPython, `Modules/_pickle.c`, `Lib/pickletools.py`.

pub(crate) mod emit;
mod globals;
mod graph;
mod input;
mod literals;
mod machine;
mod objects;
pub mod ops;
mod raw;
mod text;
mod trace;
mod walk;

pub use graph::{Coding, Data, Graph, Node, NodeId, Object, Seq, TextKind, Way};
pub use trace::{Global, Oddity, Place, Trace, Uses};
pub use walk::Walk;

use crate::error::FormatError;
use crate::limits::Limits;
use crate::source::Section;

/// A pickle as it was read.
#[derive(Debug)]
pub struct Pickle {
    /// Its values.
    pub graph: Graph,
    /// The value that it gives; `None` after an error.
    pub root: Option<NodeId>,
    /// What it did.
    pub trace: Trace,
}

impl Pickle {
    /// The value, or the error.
    ///
    /// # Errors
    /// The one in [`Trace::error`].
    pub fn finish(self) -> Result<(Graph, NodeId, Trace), FormatError> {
        let Self { graph, root, mut trace } = self;
        match (root, trace.error.take()) {
            (Some(root), None) => Ok((graph, root, trace)),
            (_, Some(error)) => Err(error),
            (None, None) => Err(broken(trace.end, "it gives no value")),
        }
    }
}

/// Reads the pickle that begins at `begin` of the section.
///
/// Never fails: an error is part of what was found.
#[must_use]
pub fn read(section: &Section, begin: u64, limits: &Limits) -> Pickle {
    machine::run(section, begin, limits, machine::Arrays::Joblib)
}

/// As [`read`], for a loader that knows no raw arrays: what joblib skips is a program for all others.
#[must_use]
pub fn read_bare(section: &Section, begin: u64, limits: &Limits) -> Pickle {
    machine::run(section, begin, limits, machine::Arrays::Never)
}

/// Reads pickles one after the other, as long as they follow each other and `max` is not reached.
///
/// Answers them, and the offset after the last one that was read to its end. When that is not the end of the section,
/// something else follows; a last pickle with an error is in the answer only if it is the first.
#[must_use]
pub fn read_all(section: &Section, limits: &Limits, max: usize) -> (Vec<Pickle>, u64) {
    let (mut pickles, mut end, mut ops) = (Vec::new(), 0, 0u64);
    while end < section.len() && pickles.len() < max {
        let mut rest = *limits;
        rest.pickle_ops = limits.pickle_ops.saturating_sub(ops);
        let pickle = read(section, end, &rest);
        if pickle.trace.error.is_some() && !pickles.is_empty() {
            break;
        }
        end = pickle.trace.end;
        ops += pickle.trace.ops;
        let failed = pickle.trace.error.is_some();
        pickles.push(pickle);
        if failed {
            break;
        }
    }
    (pickles, end)
}

fn broken(at: u64, detail: &str) -> FormatError {
    FormatError::Broken { what: "pickle", at, detail: detail.to_owned() }
}

#[cfg(test)]
mod tests;
