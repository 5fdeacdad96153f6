//! NumPy files, planned: npy byte for byte as `numpy.save` writes it, npz as `numpy.savez` arranges it.
//!
//! Source: `numpy.lib.format` and `numpy.savez` of NumPy 2.4.

use std::collections::BTreeSet;

use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::output::{OutputFile, OutputTensor, Part};
use crate::zip::write::{Kind, ZipPlan};

/// What the header is padded to a multiple of, in bytes.
const ALIGNMENT: usize = 64;
/// Room that is left for the first extent to grow, in digits.
const GROWTH_DIGITS: usize = 21;

/// Plans a file with one array.
///
/// # Errors
/// [`FormatError::Unsupported`] for a dtype that NumPy does not have, with what to do; [`FormatError::SizeOverflow`].
pub fn npy(path: &str, tensor: &OutputTensor) -> Result<OutputFile, FormatError> {
    let (header, _) = described(tensor)?;
    let mut parts = vec![Part::bytes(header)];
    if tensor.elements() > 0 {
        parts.push(Part::Tensor(0));
    }
    Ok(OutputFile { path: path.to_owned(), parts })
}

/// Plans an archive of arrays, each under its name.
///
/// # Errors
/// As [`npy`]; [`FormatError::Rule`] for a name that would leave a folder that the archive is unpacked in;
/// [`FormatError::DuplicateKey`] for names that NumPy cannot tell apart; [`FormatError::TooLarge`] for a name longer than
/// 65,531 bytes.
pub fn npz(path: &str, tensors: &[OutputTensor]) -> Result<OutputFile, FormatError> {
    let mut zip = ZipPlan::new(Kind::Plain, 0);
    let mut names = BTreeSet::new();
    for (tensor, number) in tensors.iter().zip(0..) {
        let name = &tensor.name;
        // `a` and `a.npy` are both asked for as `a`.
        if !names.insert(name.strip_suffix(".npy").unwrap_or(name)) {
            return Err(FormatError::DuplicateKey { key: name.clone() });
        }
        if name.starts_with('/') || name.contains(['\\', '\0']) || name.split('/').any(|part| part == "..") {
            let detail =
                format!("`{}` does not stay inside a folder; safetensors has no such rule", name.escape_default());
            return Err(FormatError::Unsupported { what: "this name of an array in npz", detail });
        }
        let (header, size) = described(tensor)?;
        zip.add_part(&format!("{name}.npy"), &header, Part::Tensor(number), size)?;
    }
    Ok(OutputFile { path: path.to_owned(), parts: zip.finish()?.0 })
}

/// Everything that stands before the elements, and their length in bytes.
fn described(tensor: &OutputTensor) -> Result<(Vec<u8>, u64), FormatError> {
    let descr = descr(tensor)?;
    let size = tensor.size_bytes().ok_or_else(|| FormatError::SizeOverflow { tensor: tensor.name.clone() })?;
    let extents: Vec<String> = tensor.shape.iter().map(u64::to_string).collect();
    let shape = match extents.as_slice() {
        [one] => format!("({one},)"),
        several => format!("({})", several.join(", ")),
    };
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    let room = extents.first().map_or(0, |first| GROWTH_DIGITS.saturating_sub(first.len()));
    header.extend(std::iter::repeat_n(' ', room));
    // The length has two bytes, from version 2.0 on four.
    let fits = |width: usize| {
        let before = 8 + width;
        (before + header.len() + 1).next_multiple_of(ALIGNMENT) - before
    };
    let mut bytes = b"\x93NUMPY".to_vec();
    let len = match u16::try_from(fits(2)) {
        Ok(len) => {
            bytes.extend([1, 0]);
            bytes.extend(len.to_le_bytes());
            usize::from(len)
        }
        Err(_) => {
            let len = u32::try_from(fits(4)).map_err(|_| FormatError::SizeOverflow { tensor: tensor.name.clone() })?;
            bytes.extend([2, 0]);
            bytes.extend(len.to_le_bytes());
            len as usize
        }
    };
    bytes.extend(header.as_bytes());
    bytes.extend(std::iter::repeat_n(b' ', len - 1 - header.len()));
    bytes.push(b'\n');
    Ok((bytes, size))
}

/// The type as NumPy spells it.
fn descr(tensor: &OutputTensor) -> Result<&'static str, FormatError> {
    Ok(match tensor.dtype {
        Dtype::Bool => "|b1",
        Dtype::U8 => "|u1",
        Dtype::I8 => "|i1",
        Dtype::I16 => "<i2",
        Dtype::U16 => "<u2",
        Dtype::I32 => "<i4",
        Dtype::U32 => "<u4",
        Dtype::I64 => "<i8",
        Dtype::U64 => "<u8",
        Dtype::F16 => "<f2",
        Dtype::F32 => "<f4",
        Dtype::F64 => "<f8",
        Dtype::F128 => "<f16",
        Dtype::C64 => "<c8",
        Dtype::C128 => "<c16",
        dtype => {
            let instead = if dtype == Dtype::C32 { "`C64`" } else { "`F32` or `F16`" };
            let detail = format!("tensor `{}` is {dtype}: give `--dtype` such as {instead}", tensor.name);
            return Err(FormatError::Unsupported { what: "this type in NumPy", detail });
        }
    })
}

#[cfg(test)]
mod tests;
