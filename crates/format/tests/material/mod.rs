//! A plain decoder of tensors, only for tests: whole in memory, element by element.

use sha2::{Digest, Sha256};
use weighthouse_format::tensor::{Filter, Piece, Region, Stored};
use weighthouse_format::{Folder, Tensor};

/// Digest of the row-major little-endian elements.
pub fn sha256(folder: &dyn Folder, tensor: &Tensor) -> Result<String, String> {
    let bytes = bytes(folder, tensor)?;
    Ok(Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect())
}

pub fn bytes(folder: &dyn Folder, tensor: &Tensor) -> Result<Vec<u8>, String> {
    if !tensor.is_complete() {
        return Err("incomplete".into());
    }
    let width = usize::try_from(tensor.dtype.bits() / 8).unwrap();
    let mut out = vec![0u8; tensor.size_bytes() as usize];
    for piece in &tensor.pieces {
        let data = decoded(folder, piece)?;
        if width == 0 || matches!(tensor.dtype.bits(), 4 | 6 | 2) {
            return Ok(data);
        }
        let (offsets, shape) = match &piece.region {
            Region::Whole => (vec![0; tensor.shape.len()], tensor.shape.clone()),
            Region::Box { offsets, shape } => (offsets.clone(), shape.clone()),
            Region::Run { .. } => return Err("runs are not in use here".into()),
        };
        let row_major = |shape: &[u64]| {
            let mut strides = vec![1u64; shape.len()];
            for axis in (1..shape.len()).rev() {
                strides[axis - 1] = strides[axis] * shape[axis];
            }
            strides
        };
        let strides = piece.strides.clone().unwrap_or_else(|| row_major(&shape));
        let target = row_major(&tensor.shape);
        for number in 0..shape.iter().product::<u64>() {
            let (mut rest, mut from, mut to) = (number, 0, 0);
            for axis in (0..shape.len()).rev() {
                let index = rest % shape[axis];
                rest /= shape[axis];
                from += index * strides[axis];
                to += (index + offsets[axis]) * target[axis];
            }
            let from = match piece.stored {
                Stored::Fill(_) => 0,
                _ => piece.first_byte as usize + from as usize * width,
            };
            let to = to as usize * width;
            let element = data.get(from..from + width).ok_or_else(|| format!("element {number} is not there"))?;
            out[to..to + width].copy_from_slice(element);
        }
    }
    Ok(out)
}

fn decoded(folder: &dyn Folder, piece: &Piece) -> Result<Vec<u8>, String> {
    let mut data = match &piece.stored {
        Stored::Inline(bytes) | Stored::Fill(bytes) => bytes.to_vec(),
        Stored::File { file, begin, end } => {
            let section = folder.open(file).map_err(|error| error.to_string())?;
            section.read("piece", *begin, end - begin).map_err(|error| error.to_string())?
        }
    };
    for filter in &piece.filters {
        data = match *filter {
            Filter::Zlib => miniz_oxide::inflate::decompress_to_vec_zlib(&data).map_err(|error| error.to_string())?,
            Filter::Snappy => snap::raw::Decoder::new().decompress_vec(&data).map_err(|error| error.to_string())?,
            Filter::DropChecksum => data[..data.len() - 4].to_vec(),
            Filter::Unshuffle { width } => {
                let (width, count) = (width as usize, data.len() / width as usize);
                (0..count * width).map(|at| data[at % width * count + at / width]).collect()
            }
            Filter::SwapBytes { width } => {
                data.chunks(width as usize).flat_map(|chunk| chunk.iter().rev().copied()).collect()
            }
            Filter::Narrow { from, to } => {
                data.chunks(from as usize).flat_map(|chunk| chunk[..to as usize].to_vec()).collect()
            }
            Filter::Varint { width } => {
                let mut rest = data.as_slice();
                let mut out = Vec::new();
                while !rest.is_empty() {
                    let (value, used) = weighthouse_format::protobuf::varint(rest).ok_or("bad varint")?;
                    out.extend(&value.to_le_bytes()[..width as usize]);
                    rest = &rest[used..];
                }
                out
            }
            filter => return Err(format!("{filter:?} is not in use here")),
        };
    }
    if !matches!(piece.stored, Stored::Fill(_)) && (data.len() as u64) < piece.decoded_bytes {
        return Err(format!("{} bytes decoded, {} announced", data.len(), piece.decoded_bytes));
    }
    Ok(data)
}
