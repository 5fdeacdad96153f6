//! Gathers elements of large transposed pieces in bounded memory.
//!
//! The elements of a run of the tensor lie all over such a piece. They are read along the axis that costs least: where
//! neighbours lie next to each other, or near enough to read what is between them, too.
//!
//! ```text
//!   tensor, row-major         piece, column-major: runs of 0 and 1 are 2 units long
//!   ┌ 0 1 2 3 ┐ window        ┌──┬──────┬──┬──────┬──┬──────┬──┬──────┐
//!   │ 4 5 6 7 ┘               │04│8 c   │15│9 d   │26│a e   │37│b f   │
//!   │ 8 9 a b                 └──┴──────┴──┴──────┴──┴──────┴──┴──────┘
//! ```

use super::WHAT;
use super::layout::Layout;
use crate::error::FormatError;
use crate::source::Section;

/// What a read costs beside its bytes, in bytes that could be read instead.
const READ_COST: u64 = 4096;
/// Longest read, in bytes.
const SPAN_BYTES: u64 = 1 << 20;

/// An axis of a piece.
#[derive(Clone, Copy, Debug)]
struct Axis {
    extent: u64,
    /// Distance of neighbours in the tensor, in units.
    unit: u64,
    /// Distance of neighbours in the bytes, in units.
    source: u64,
}

/// Elements along an axis that are read at once, and the units that the read takes.
#[derive(Clone, Copy, Debug)]
struct Step {
    elements: u64,
    span: u64,
}

impl Axis {
    /// The longest step, for at most `most` elements of `width` bytes.
    fn step(&self, most: u64, width: u64) -> Step {
        let distance = self.source.saturating_mul(width);
        let room = SPAN_BYTES.saturating_sub(width).checked_div(distance).map_or(most, |more| more.saturating_add(1));
        let elements = most.min(room).max(1);
        Step { elements, span: (elements - 1).saturating_mul(self.source).saturating_add(1) }
    }

    /// Price of one element, in 1/1024 bytes.
    fn cost(&self, window: u64, width: u64) -> Option<u64> {
        let elements = self.extent.min(window / self.unit);
        let step = self.step(elements, width);
        let bytes = step.span.saturating_mul(width).saturating_add(READ_COST);
        (elements > 0).then(|| bytes.saturating_mul(1024) / step.elements)
    }
}

/// Fills `out` with the units of a piece from unit `first` of the tensor on; units of other pieces are left as they are.
///
/// `first_byte` is where the first element of the piece lies in `section`.
///
/// # Errors
/// [`FormatError::Truncated`] when elements lie behind the end of the section.
pub(super) fn gather(
    section: &Section,
    first_byte: u64,
    layout: &Layout,
    width: u64,
    first: u64,
    out: &mut [u8],
) -> Result<(), FormatError> {
    let mut axes: Vec<Axis> = layout
        .outer
        .iter()
        .zip(layout.outer_unit.iter().zip(&layout.outer_source))
        .map(|(&extent, (&unit, &source))| Axis { extent, unit, source })
        .collect();
    axes.push(Axis { extent: layout.row_len, unit: 1, source: layout.step });
    let window = out.len() as u64 / width;
    let costs = axes.iter().enumerate().filter_map(|(place, axis)| Some((axis.cost(window, width)?, place)));
    let Some((_, place)) = costs.min() else { return Ok(()) };
    let (before, rest) = axes.split_at(place);
    let Some((&along, after)) = rest.split_first() else { return Ok(()) };
    let mut runs = Runs { section, first_byte, width, along, first, scratch: Vec::new() };
    let end = first.saturating_add(window);
    let reach: u64 = rest.iter().map(|axis| axis.extent.saturating_sub(1) * axis.unit).sum();
    // Places before the axis are in the tensor's order: find the first that reaches into the window.
    let count = before.iter().map(|axis| axis.extent).product();
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if layout.base + at(before, middle).0 + reach < first { low = middle + 1 } else { high = middle }
    }
    let inner = after.iter().map(|axis| axis.extent).product();
    for outer in low..count {
        let (unit, source) = at(before, outer);
        if layout.base + unit >= end {
            break;
        }
        for inner in 0..inner {
            let (more, further) = at(after, inner);
            runs.read(layout.base + unit + more, source + further, end, out)?;
        }
    }
    Ok(())
}

/// Distances in the tensor and in the bytes to a place, counted row-major over these axes.
fn at(axes: &[Axis], mut place: u64) -> (u64, u64) {
    let (mut unit, mut source) = (0, 0);
    for axis in axes.iter().rev() {
        let index = place % axis.extent;
        place /= axis.extent;
        unit += index * axis.unit;
        source += index * axis.source;
    }
    (unit, source)
}

/// Reads along one axis.
struct Runs<'a> {
    section: &'a Section,
    first_byte: u64,
    width: u64,
    along: Axis,
    /// First unit of the window.
    first: u64,
    scratch: Vec<u8>,
}

impl Runs<'_> {
    /// Reads the elements that begin at `unit` of the tensor and `source` of the bytes, as far as they are in the window.
    fn read(&mut self, unit: u64, source: u64, end: u64, out: &mut [u8]) -> Result<(), FormatError> {
        let Axis { extent, unit: distance, source: apart } = self.along;
        let index = |upto: u64| upto.saturating_sub(unit).div_ceil(distance).min(extent);
        let (mut next, last) = (index(self.first), index(end));
        let width = usize::try_from(self.width).unwrap_or(usize::MAX);
        while next < last {
            let Step { elements, span } = self.along.step(last - next, self.width);
            let bytes = usize::try_from(span.saturating_mul(self.width)).unwrap_or(usize::MAX);
            let early = FormatError::Truncated { what: WHAT, needed: bytes as u64, got: 0 };
            let begin = apart.checked_mul(next).and_then(|far| far.checked_add(source));
            let begin = begin.and_then(|unit| unit.checked_mul(self.width)?.checked_add(self.first_byte));
            let Some(begin) = begin else { return Err(early) };
            self.scratch.resize(bytes, 0);
            self.section.read_into(WHAT, begin, &mut self.scratch)?;
            let stride = usize::try_from(apart.saturating_mul(self.width)).unwrap_or(usize::MAX);
            let step = usize::try_from(distance.saturating_mul(self.width)).unwrap_or(usize::MAX);
            let target = unit + next * distance - self.first;
            let mut to = usize::try_from(target.saturating_mul(self.width)).unwrap_or(usize::MAX);
            let mut from = 0usize;
            for _ in 0..elements {
                let element = from.checked_add(width).and_then(|end| self.scratch.get(from..end));
                let place = to.checked_add(width).and_then(|end| out.get_mut(to..end));
                let (Some(element), Some(place)) = (element, place) else { return Err(early) };
                place.copy_from_slice(element);
                from = from.saturating_add(stride);
                to = to.saturating_add(step);
            }
            next += elements;
        }
        Ok(())
    }
}
