//! Tensors cut, joined, turned: the algebra on pieces.
//!
//! Nothing is read or moved. The result of each function is a tensor whose pieces lie where those of its sources lie;
//! [`crate::data::Elements`] reads it as any other. What pieces cannot say is refused, never approximated.
//!
//! Two ways to see a piece: as a *run* of elements that follow each other in the tensor and in the bytes (`runs.rs`), which
//! is all that packed and quantised types allow, or as a *box* with strides (`boxes.rs`), which any other piece is or can
//! be cut into.

mod boxes;
mod runs;
#[cfg(test)]
mod tests;

use std::borrow::Borrow;
use std::ops::Range;

use crate::data::element_width;
use crate::error::FormatError;
use crate::tensor::{Piece, Stored, Tensor};

use boxes::Boxed;
use runs::Run;

/// Most pieces that one piece is cut into when it is reshaped.
const CUT_PIECES: u64 = 4096;

/// Indices `range` along `axis`, which keeps its place: `tensor[.., range, ..]`.
///
/// # Errors
/// [`FormatError::Unsupported`] when the range leaves the tensor, and when it cuts packed elements otherwise than between
/// whole blocks of the first axis.
pub fn slice(tensor: &Tensor, axis: usize, range: Range<u64>, name: &str) -> Result<Tensor, FormatError> {
    let Some(&extent) = tensor.shape.get(axis) else {
        return Err(refused(tensor, format!("it has no axis {axis}")));
    };
    let Some(len) = range.end.checked_sub(range.start).filter(|_| range.end <= extent) else {
        return Err(refused(tensor, format!("{}..{} leaves axis {axis} of {extent}", range.start, range.end)));
    };
    let mut shape = tensor.shape.clone();
    if let Some(extent) = shape.get_mut(axis) {
        *extent = len;
    }
    let out = |pieces| Tensor { name: name.to_owned(), dtype: tensor.dtype, shape: shape.clone(), pieces };
    if elements(tensor, &tensor.shape)? == 0 || len == 0 {
        return Ok(out(Vec::new()));
    }
    let (before, after) = (product(tensor.shape.get(..axis)), product(tensor.shape.get(axis + 1..)));
    if let (1, Some(all)) = (before, runs::of(tensor)?) {
        let elements = range.start * after..range.end * after;
        let cut = all.into_iter().map(|run| run.slice(tensor, &elements));
        let cut: Result<Vec<Option<Run>>, _> = cut.collect();
        return Ok(out(runs::pieces(cut?.into_iter().flatten(), len * after)));
    }
    let mut pieces = Vec::new();
    for boxed in boxes::of(tensor)? {
        pieces.extend(boxed.slice(tensor, axis, &range)?.map(|boxed| boxed.into_piece(tensor.dtype, &shape)));
    }
    Ok(out(pieces))
}

/// Tensors one after the other along an axis that they have.
///
/// # Errors
/// [`FormatError::Empty`] without tensors; [`FormatError::Unsupported`] when types or other extents differ, and for packed
/// elements that would not be joined between whole blocks of the first axis; [`FormatError::SizeOverflow`].
pub fn concat<T: Borrow<Tensor>>(axis: usize, tensors: &[T], name: &str) -> Result<Tensor, FormatError> {
    let first: &Tensor = tensors.first().ok_or(FormatError::Empty { what: "list of tensors to join" })?.borrow();
    let mut shape = first.shape.clone();
    let Some(sum) = shape.get_mut(axis) else { return Err(refused(first, format!("it has no axis {axis}"))) };
    *sum = 0;
    for tensor in tensors.iter().map(T::borrow) {
        let fits = tensor.dtype == first.dtype && tensor.shape.len() == first.shape.len();
        let mut axes = tensor.shape.iter().zip(&first.shape).enumerate();
        if !fits || !axes.all(|(place, (one, other))| place == axis || one == other) {
            let (dtype, shape) = (tensor.dtype, &tensor.shape);
            let detail =
                format!("`{}` is {} {:?}, which {dtype} {shape:?} cannot follow", first.name, first.dtype, first.shape);
            return Err(refused(tensor, detail));
        }
        let overflow = || FormatError::SizeOverflow { tensor: name.to_owned() };
        *sum = tensor.shape.get(axis).and_then(|len| sum.checked_add(*len)).ok_or_else(overflow)?;
    }
    let mut out = Tensor { name: name.to_owned(), dtype: first.dtype, shape, pieces: Vec::new() };
    let total = elements(&out, &out.shape)?;
    if total == 0 {
        return Ok(out);
    }
    let (before, after) = (product(out.shape.get(..axis)), product(out.shape.get(axis + 1..)));
    let mut begin = 0;
    for tensor in tensors.iter().map(T::borrow) {
        let len = tensor.shape.get(axis).copied().unwrap_or(0);
        if len == 0 {
            continue;
        }
        match runs::of(tensor)? {
            Some(all) if before == 1 => {
                let moved: Result<Vec<Run>, _> = all.into_iter().map(|run| run.moved(tensor, begin * after)).collect();
                out.pieces.extend(runs::pieces(moved?, total));
            }
            _ => {
                let moved = boxes::of(tensor)?.into_iter().map(|boxed| boxed.moved(axis, begin));
                out.pieces.extend(moved.map(|boxed| boxed.into_piece(out.dtype, &out.shape)));
            }
        }
        begin += len;
    }
    Ok(out)
}

/// Tensors of one shape as the rows of a new first axis.
///
/// # Errors
/// As [`concat()`]; [`FormatError::Unsupported`] when shapes differ.
pub fn stack<T: Borrow<Tensor>>(tensors: &[T], name: &str) -> Result<Tensor, FormatError> {
    let row = |tensor: &Tensor| {
        let shape: Vec<u64> = std::iter::once(1).chain(tensor.shape.iter().copied()).collect();
        reshape(tensor, &shape, &tensor.name)
    };
    let rows: Result<Vec<Tensor>, _> = tensors.iter().map(|tensor| row(tensor.borrow())).collect();
    concat(0, &rows?, name)
}

/// The same elements under a new order of the axes: axis `i` of the result is axis `axes[i]` of the tensor.
///
/// # Errors
/// [`FormatError::Unsupported`] when `axes` is not a permutation, and for packed elements.
pub fn permute(tensor: &Tensor, axes: &[usize], name: &str) -> Result<Tensor, FormatError> {
    let mut sorted = axes.to_vec();
    sorted.sort_unstable();
    if sorted.len() != tensor.shape.len() || !sorted.iter().copied().eq(0..tensor.shape.len()) {
        return Err(refused(tensor, format!("{axes:?} is no order of its {} axes", tensor.shape.len())));
    }
    if axes.is_sorted() {
        return Ok(Tensor { name: name.to_owned(), ..tensor.clone() });
    }
    let shape = boxes::reordered(&tensor.shape, axes);
    let mut pieces = Vec::new();
    if elements(tensor, &tensor.shape)? > 0 {
        let moved = boxes::of(tensor)?.into_iter().map(|boxed| boxed.permuted(axes));
        pieces = moved.map(|boxed| boxed.into_piece(tensor.dtype, &shape)).collect();
    }
    Ok(Tensor { name: name.to_owned(), dtype: tensor.dtype, shape, pieces })
}

/// The last two axes change places.
///
/// # Errors
/// [`FormatError::Unsupported`] below two axes, and for packed elements.
pub fn transpose(tensor: &Tensor, name: &str) -> Result<Tensor, FormatError> {
    let mut axes: Vec<usize> = (0..tensor.shape.len()).collect();
    match axes.as_mut_slice() {
        [.., one, other] => std::mem::swap(one, other),
        _ => return Err(refused(tensor, "it has no two axes".to_owned())),
    }
    permute(tensor, &axes, name)
}

/// The same elements in row-major order under another shape.
///
/// # Errors
/// [`FormatError::Unsupported`] when the shape has another number of elements, or a piece would have to be cut into more
/// than 4,096.
pub fn reshape(tensor: &Tensor, shape: &[u64], name: &str) -> Result<Tensor, FormatError> {
    let mut out = Tensor { name: name.to_owned(), dtype: tensor.dtype, shape: shape.to_vec(), pieces: Vec::new() };
    let total = elements(tensor, &tensor.shape)?;
    if Tensor::checked_elements(shape) != Some(total) {
        return Err(refused(tensor, format!("{:?} cannot become {shape:?}", tensor.shape)));
    }
    if total == 0 || tensor.shape == shape {
        out.pieces.extend((total > 0).then(|| tensor.pieces.clone()).into_iter().flatten());
        return Ok(out);
    }
    for piece in &tensor.pieces {
        match Run::of(tensor, piece)? {
            Some(run) => out.pieces.extend(runs::pieces([run], total)),
            None => {
                for boxed in Boxed::of(tensor, piece)? {
                    let cut = boxed.reshaped(tensor, shape)?;
                    out.pieces.extend(cut.into_iter().map(|boxed| boxed.into_piece(tensor.dtype, shape)));
                }
            }
        }
    }
    Ok(out)
}

/// Number of elements of a shape that the tensor has or gets.
fn elements(tensor: &Tensor, shape: &[u64]) -> Result<u64, FormatError> {
    if tensor.dtype.block_bytes() == 0 {
        return Err(refused(tensor, "text has no places of its own".to_owned()));
    }
    Tensor::checked_elements(shape).ok_or_else(|| FormatError::SizeOverflow { tensor: tensor.name.clone() })
}

/// Product of some extents of a tensor that is not empty and whose number of elements does not overflow.
fn product(extents: Option<&[u64]>) -> u64 {
    extents.unwrap_or_default().iter().product()
}

fn refused(tensor: &Tensor, detail: String) -> FormatError {
    FormatError::Unsupported { what: "arranging a tensor", detail: format!("`{}`: {detail}", tensor.name) }
}

/// What a piece does not fit.
fn misfit(tensor: &Tensor) -> FormatError {
    let at = tensor.place().map_or(0, |(_, at)| at);
    FormatError::Broken { what: "tensor", at, detail: format!("`{}`: a piece leaves the tensor", tensor.name) }
}

/// A piece that begins `bytes` later, and uses no more than `len` bytes from there.
///
/// Bytes that no element needs are left out where nothing has to be decoded to find the others.
fn narrowed(mut piece: Piece, bytes: u64, len: u64) -> Option<Piece> {
    if let Stored::Fill(_) = piece.stored {
        return Some(piece);
    }
    piece.first_byte = piece.first_byte.checked_add(bytes)?;
    let first = piece.first_byte;
    let fits = |width: u64| first.is_multiple_of(width) && len.is_multiple_of(width);
    if let Stored::File { begin, end, .. } = &mut piece.stored
        && piece.filters.iter().all(|filter| element_width(filter).is_some_and(fits))
        && let Some(from) = begin.checked_add(piece.first_byte)
        && let Some(upto) = from.checked_add(len).filter(|upto| upto <= end)
    {
        (*begin, *end) = (from, upto);
        (piece.first_byte, piece.decoded_bytes) = (0, len);
    }
    Some(piece)
}
