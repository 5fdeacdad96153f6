//! Numbers of any element type to any other.
//!
//! As torch 2.15 casts on a CPU: floats to the nearest, ties to even; from 64 bits to less than 32 by way of 32; floats
//! to integers towards zero; integers to narrower ones by their low bits; anything but zero, NaN too, is true. What is too
//! large becomes infinite where the type has infinity, 448 in `F8_E4M3`, and NaN in the other 8-bit floats.
//!
//! | where torch has no one answer | here |
//! |---|---|
//! | floats beyond the range of an integer type, NaN to an integer | the nearest integer of the type; 0 |
//! | sign and payload of NaN in `BF16` (by the vector unit `0x7fc0` or `0xffff`) | kept as far as they fit, and quiet |
//! | sign and payload of NaN out of an 8-bit float | quiet |
//! | GGUF block types, as source | dequantised, as gguf-py does |
//! | GGUF block types, as destination | [`crate::gguf::quantise`] |
//! | 4-bit and 6-bit floats, 2-bit and 4-bit integers | read, and written only as they are |
//!
//! ```text
//!   bytes ── read ──► f32, f64, i64 or u64 ── steps ──► f32 or f64 ── write, quantise ──► bytes
//!            4096 elements at a time: what is between stays in the first cache
//! ```

pub(crate) mod float;
mod lanes;
#[cfg(test)]
mod tests;

use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::gguf::quantise;
use crate::output::Step;
use crate::tensor::Tensor;

use lanes::Lanes;

/// Elements that are between types together; a multiple of every block.
const PART: u64 = 4096;
const WHAT: &str = "this cast";

/// Appends the elements of `bytes`, after `steps`, to `out` as elements of another type.
///
/// # Shapes and units
/// - `bytes`: a whole number of elements or blocks, row-major and little-endian; of packed ones all elements of the last
///   byte are taken
/// - appended: the same number of elements, for a block type a whole number of blocks
///
/// # Errors
/// What [`can_cast`] refuses; [`FormatError::LengthMismatch`] when elements or blocks are not whole.
pub fn cast(from: Dtype, bytes: &[u8], steps: &[Step], to: Dtype, out: &mut Vec<u8>) -> Result<(), FormatError> {
    can_cast(from, !steps.is_empty(), to)?;
    let whole = |what, len: usize, of: u64| {
        let over = len as u64 % of;
        if over == 0 { Ok(()) } else { Err(FormatError::LengthMismatch { what, expected: of, actual: over }) }
    };
    whole("last element or block in bytes", bytes.len(), from.block_bytes())?;
    if from == to && steps.is_empty() {
        out.extend_from_slice(bytes);
        return Ok(());
    }
    // A complex number is its two parts.
    let (from, to) = (part_of(from).unwrap_or(from), part_of(to).unwrap_or(to));
    let part = usize::try_from(PART / from.block_elements() * from.block_bytes()).unwrap_or(usize::MAX);
    let wide = matches!(from, Dtype::F64 | Dtype::I64 | Dtype::U64);
    let mut lanes = Lanes::default();
    for part in bytes.chunks(part) {
        lanes.read(from, part)?;
        lanes.change(steps, wide);
        if lanes::can_write(to) {
            let at = out.len();
            out.resize(at + lanes.len() * usize::try_from(to.block_bytes()).unwrap_or(0), 0);
            lanes.write(to, out.get_mut(at..).unwrap_or_default());
        } else {
            whole("last block of the cast in elements", lanes.len(), to.block_elements())?;
            quantise::quantise(to, lanes.singles(), out)?;
        }
    }
    Ok(())
}

/// Whether [`cast`] knows the way, so that a plan is refused before any work.
///
/// # Errors
/// [`FormatError::Unsupported`], saying what is possible instead.
pub fn can_cast(from: Dtype, steps_present: bool, to: Dtype) -> Result<(), FormatError> {
    let refused = |detail: String| Err(FormatError::Unsupported { what: WHAT, detail });
    if from == Dtype::Text || to == Dtype::Text {
        return refused(format!("`{from}` to `{to}`: text is not cast"));
    }
    if from == to && !steps_present {
        return Ok(());
    }
    match (part_of(from), part_of(to)) {
        (Some(_), Some(_)) if !steps_present => return Ok(()),
        (Some(_), Some(_)) => return refused(format!("`{from}`: complex numbers are not changed by steps")),
        (Some(_), None) => {
            return refused(format!("`{from}` to `{to}`: a complex type becomes `C32`, `C64` or `C128`"));
        }
        (None, Some(_)) => return refused(format!("`{from}` to `{to}`: a complex type is made of complex ones only")),
        (None, None) => {}
    }
    if !lanes::can_read(from) {
        let why = match from {
            Dtype::F128 => "of two layouts of 16 bytes the file does not say which",
            _ => "its scale and zero point stand elsewhere",
        };
        return refused(format!("`{from}` to `{to}`: {why}; it can stay `{from}`"));
    }
    if lanes::can_write(to) || quantise::can_quantise(to) {
        return Ok(());
    }
    let targets: Vec<_> = Dtype::ALL
        .iter()
        .filter(|&&to| lanes::can_write(to) || quantise::can_quantise(to))
        .map(|to| to.as_str())
        .collect();
    refused(format!("`{from}` to `{to}`; `{from}` becomes {}", targets.join(", ")))
}

/// Whether rows of a tensor of this shape, extents outermost first, are whole blocks of a type.
///
/// Only block types of GGUF ask for that: their blocks go along the last axis and never from one row to the next. A
/// scalar is a row of one.
///
/// # Errors
/// [`FormatError::Unsupported`], with the two numbers.
pub fn rows_fit(dtype: Dtype, shape: &[u64]) -> Result<(), FormatError> {
    let (row, block) = (shape.last().copied().unwrap_or(1), dtype.block_elements());
    if !dtype.is_quantised() || row.is_multiple_of(block) || Tensor::checked_elements(shape) == Some(0) {
        return Ok(());
    }
    let detail = format!("`{dtype}` has blocks of {block} elements, which rows of {row} do not fill; `F16` would do");
    Err(FormatError::Unsupported { what: "this block type", detail })
}

/// The type of the two parts of a complex number.
const fn part_of(dtype: Dtype) -> Option<Dtype> {
    match dtype {
        Dtype::C32 => Some(Dtype::F16),
        Dtype::C64 => Some(Dtype::F32),
        Dtype::C128 => Some(Dtype::F64),
        _ => None,
    }
}
