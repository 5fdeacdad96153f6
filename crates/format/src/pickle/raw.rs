//! Raw arrays inside a pickle: joblib writes an array's bytes into the stream, right after the state of its wrapper.

use super::graph::{Graph, NodeId};

/// The array that follows.
pub(super) struct RawArray {
    /// Length in bytes; `None` when a pickle of objects follows instead.
    pub(super) len: Option<u64>,
    /// A byte with the length of a padding, and the padding, come first.
    pub(super) padded: bool,
}

/// What follows the state that was just set on `object`, if it is joblib's wrapper of an array.
///
/// Source: joblib, `numpy_pickle.py`, `NumpyArrayWrapper.read_array`.
pub(super) fn array_after(graph: &Graph, object: NodeId) -> Option<RawArray> {
    let class = graph.class(object)?;
    if !class.is("joblib.numpy_pickle", "NumpyArrayWrapper") {
        return None;
    }
    let state = graph.object(object)?.state?;
    let dtype = graph.get(state, "dtype")?;
    let code = graph.str(*graph.items(graph.object(dtype)?.args).first()?)?;
    let padded = graph.get(state, "numpy_array_alignment_bytes").is_some_and(|bytes| !graph.is_none(bytes));
    if code.trim_start_matches(['|', '<', '>', '=']).starts_with('O') {
        return Some(RawArray { len: None, padded: false });
    }
    let shape = graph.items(graph.get(state, "shape")?);
    let width = item_bytes(graph, dtype, code)?;
    let len = shape.iter().try_fold(width, |len, &extent| len.checked_mul(graph.unsigned(extent)?))?;
    Some(RawArray { len: Some(len), padded })
}

/// Bytes of one element: from the code such as `f8`, or for text from the state, whose sixth part is the width.
fn item_bytes(graph: &Graph, dtype: NodeId, code: &str) -> Option<u64> {
    let code = code.trim_start_matches(['|', '<', '>', '=']);
    let number: u64 = code.get(1..)?.parse().ok()?;
    match code.as_bytes().first()? {
        b'U' => number.checked_mul(4),
        b'V' if number == 0 => graph.unsigned(*graph.items(graph.object(dtype)?.state?).get(5)?),
        _ => Some(number),
    }
}
