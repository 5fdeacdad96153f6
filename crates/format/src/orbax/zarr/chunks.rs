//! Chunks of an array to pieces of a tensor.

use crate::error::FormatError;
use crate::limits::Limits;
use crate::orbax::store::{self, Store};
use crate::orbax::zarr::{Array, Codec, Shard};
use crate::source::Folder;
use crate::tensor::{Piece, Region, Stored, Tensor};

const NOT_STORED: u64 = u64::MAX;

/// What all arrays of a checkpoint may take together, and how many chunks were not there.
#[derive(Debug, Default)]
pub(in crate::orbax) struct Budget {
    /// Chunks that were looked for.
    pub chunks: u64,
    /// Chunks that are not stored.
    pub missing: u64,
}

/// The pieces of the array `name`, whose chunks are in `store` under `name/`.
pub(in crate::orbax) fn pieces(
    array: &Array,
    name: &str,
    store: &Store,
    folder: &dyn Folder,
    limits: &Limits,
    budget: &mut Budget,
) -> Result<Vec<Piece>, FormatError> {
    if array.shape.contains(&0) {
        return Ok(Vec::new());
    }
    let grid = divide(&array.shape, &array.chunk);
    let prefix = if name.is_empty() { String::new() } else { format!("{name}/") };
    let count = Tensor::checked_elements(&grid).unwrap_or(u64::MAX);
    // An array of which nothing is stored has a single piece, however fine its grid.
    let any = store.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix)).any(|(key, _)| {
        let rest = key.get(prefix.len()..).unwrap_or_default();
        rest != ".zarray" && rest != ".zattrs" && rest != "zarr.json"
    });
    let fill = || Stored::Fill(array.fill.as_slice().into());
    if !any {
        budget.missing = budget.missing.saturating_add(count);
        return Ok(vec![Piece { decoded_bytes: array.fill.len() as u64, ..Piece::plain(Region::Whole, fill()) }]);
    }
    budget.chunks = budget.chunks.saturating_add(count);
    // A grid far finer than what is stored would take memory that no file pays for.
    let limit = (store.len() as u64).saturating_mul(8).saturating_add(1 << 16);
    Limits::at_most("number of chunks of all arrays", budget.chunks, limits.tensors.min(limit))?;
    let mut pieces = Vec::new();
    for place in places(&grid) {
        let offsets: Vec<u64> = place.iter().zip(&array.chunk).map(|(at, extent)| at.saturating_mul(*extent)).collect();
        let Some(stored) = store.get(&format!("{prefix}{}", key(array, &place))) else {
            budget.missing += 1;
            pieces.extend(clipped(array, offsets, &array.chunk, None, fill()));
            continue;
        };
        match &array.shard {
            None => pieces.extend(clipped(array, offsets, &array.chunk, Some(&array.codec), stored.clone())),
            Some(shard) => inner(array, shard, &offsets, stored, folder, limits, budget, &mut pieces)?,
        }
    }
    Ok(pieces)
}

/// The pieces of a shard.
#[expect(clippy::too_many_arguments, reason = "everything the outer loop has")]
fn inner(
    array: &Array,
    shard: &Shard,
    outer: &[u64],
    stored: &Stored,
    folder: &dyn Folder,
    limits: &Limits,
    budget: &mut Budget,
    pieces: &mut Vec<Piece>,
) -> Result<(), FormatError> {
    let grid = divide(&array.chunk, &shard.chunk);
    let count = Tensor::checked_elements(&grid).unwrap_or(u64::MAX);
    budget.chunks = budget.chunks.saturating_add(count);
    Limits::at_most("number of chunks of all arrays", budget.chunks, limits.tensors)?;
    let sum = if shard.index_checksum { 4 } else { 0 };
    let len = count.saturating_mul(16).saturating_add(sum);
    let size = stored.size_bytes();
    let Some(last) = size.checked_sub(len) else {
        return Err(FormatError::Truncated { what: "index of a zarr shard", needed: len, got: size });
    };
    let index = store::part(folder, stored, if shard.index_last { last } else { 0 }, len)?;
    let (entries, sum) = index.split_at(index.len() - sum as usize);
    if let Ok(sum) = <[u8; 4]>::try_from(sum) {
        let (expected, actual) =
            (u32::from_le_bytes(sum), crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, entries) as u32);
        if expected != actual && !cfg!(fuzzing) {
            return Err(FormatError::ChecksumMismatch { what: "index of a zarr shard", expected, actual });
        }
    }
    let number = |bytes: &[u8; 8]| match shard.index_big_endian {
        true => u64::from_be_bytes(*bytes),
        false => u64::from_le_bytes(*bytes),
    };
    for (place, entry) in places(&grid).zip(entries.as_chunks::<16>().0) {
        let (offset, len) = entry.split_at(8);
        let (Ok(offset), Ok(len)) = (offset.try_into(), len.try_into()) else { continue };
        let (offset, len) = (number(offset), number(len));
        let offsets: Vec<u64> = place
            .iter()
            .zip(&shard.chunk)
            .zip(outer)
            .map(|((at, extent), begin)| at.saturating_mul(*extent).saturating_add(*begin))
            .collect();
        if (offset, len) == (NOT_STORED, NOT_STORED) {
            budget.missing += 1;
            pieces.extend(clipped(array, offsets, &shard.chunk, None, Stored::Fill(array.fill.as_slice().into())));
            continue;
        }
        let Some(part) = store::slice(stored, offset, len) else {
            let detail = format!("chunk {place:?} lies at {offset}, {len} bytes long, in a shard of {size}");
            return Err(FormatError::Broken { what: "index of a zarr shard", at: offset, detail });
        };
        pieces.extend(clipped(array, offsets, &shard.chunk, Some(&shard.codec), part));
    }
    Ok(())
}

/// A chunk without what leaves the array; none if all of it does.
fn clipped(array: &Array, offsets: Vec<u64>, chunk: &[u64], codec: Option<&Codec>, stored: Stored) -> Option<Piece> {
    let room = array.shape.iter().zip(&offsets).map(|(extent, offset)| extent.checked_sub(*offset));
    let shape: Vec<u64> = room
        .zip(chunk)
        .map(|(room, extent)| Some(room?.min(*extent)).filter(|&extent| extent > 0))
        .collect::<Option<_>>()?;
    let Some(codec) = codec else {
        let decoded_bytes = stored.size_bytes();
        let region = Region::Box { offsets, shape };
        return Some(Piece { decoded_bytes, ..Piece::plain(region, stored) });
    };
    let whole = shape == *chunk && codec.axes.is_none();
    let strides = (!whole).then(|| strides(chunk, codec.axes.as_deref()));
    let bytes = Tensor::checked_elements(chunk).and_then(|elements| array.dtype.size_bytes(elements));
    let decoded_bytes = if codec.filters.is_empty() { stored.size_bytes() } else { bytes.unwrap_or(u64::MAX) };
    let region = if shape == array.shape { Region::Whole } else { Region::Box { offsets, shape } };
    Some(Piece { region, stored, filters: codec.filters.clone(), decoded_bytes, first_byte: 0, strides })
}

/// Distances in a chunk whose axes stand in this order.
fn strides(chunk: &[u64], axes: Option<&[usize]>) -> Vec<u64> {
    let mut strides = vec![1; chunk.len()];
    let mut distance = 1u64;
    for at in (0..chunk.len()).rev() {
        let axis = axes.and_then(|axes| axes.get(at)).copied().unwrap_or(at);
        if let (Some(stride), Some(&extent)) = (strides.get_mut(axis), chunk.get(axis)) {
            *stride = distance;
            distance = distance.saturating_mul(extent);
        }
    }
    strides
}

fn divide(shape: &[u64], chunk: &[u64]) -> Vec<u64> {
    shape.iter().zip(chunk).map(|(extent, chunk)| extent.div_ceil((*chunk).max(1))).collect()
}

/// All places of a grid, the last axis fastest.
fn places(grid: &[u64]) -> impl Iterator<Item = Vec<u64>> {
    let grid = grid.to_vec();
    let mut next = (!grid.contains(&0)).then(|| vec![0; grid.len()]);
    std::iter::from_fn(move || {
        let place = next.take()?;
        let mut following = place.clone();
        for (at, extent) in following.iter_mut().zip(&grid).rev() {
            *at += 1;
            if *at < *extent {
                next = Some(following);
                return Some(place);
            }
            *at = 0;
        }
        Some(place)
    })
}

/// The key of a chunk below its array.
fn key(array: &Array, place: &[u64]) -> String {
    let keys = array.keys;
    let numbers = place.iter().map(u64::to_string);
    let separator = keys.separator.to_string();
    match (keys.prefix, place) {
        ("", []) => "0".to_owned(),
        ("", _) => numbers.collect::<Vec<_>>().join(&separator),
        (prefix, _) => [prefix.to_owned()].into_iter().chain(numbers).collect::<Vec<_>>().join(&separator),
    }
}
