//! Checkpoints of TensorFlow's first saver: one table, tensors inside.
//!
//! The empty key has the names and shapes, every other key a slice with its elements.
//!
//! Source: `saved_tensor_slice.proto` and `tensor.proto` of TensorFlow.

use std::collections::HashMap;

use crate::contents::{Contents, WarningKind};
use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::identity::Format;
use crate::limits::Limits;
use crate::protobuf::{Message, Value, broken};
use crate::source::Section;
use crate::tensor::{Filter, Piece, Region, Stored, Tensor};

use super::names::{self, Objects};
use super::ordered::{Extent, slice_key};
use super::{proto, table};

/// Describes the checkpoint in one file.
///
/// # Errors
/// [`FormatError::BadMagic`] and its kin when the file is no such checkpoint, [`FormatError::TooLarge`] beyond the limits.
pub fn read(section: &Section, limits: &Limits) -> Result<Contents, FormatError> {
    let mut contents = Contents::of(Format::TfV1);
    let mut meta: Option<Vec<Meta>> = None;
    let mut slices: HashMap<Vec<u8>, Slice> = HashMap::new();
    let mut inline = 0;
    table::entries(section, limits, &mut |key, value| {
        if key.is_empty() {
            meta = Some(read_meta(&Message::new(value.section), limits)?);
        } else {
            let slice = read_slice(&value, limits)?;
            inline += slice.inline_bytes();
            Limits::at_most("decoded elements of the checkpoint in bytes", inline, limits.decoded_bytes)?;
            slices.insert(key.to_vec(), slice);
        }
        Ok(())
    })?;
    let meta =
        meta.ok_or(FormatError::Rule { what: "checkpoint of the first saver", rule: "its first key is empty" })?;
    let mut tensors = Vec::new();
    let mut step = None;
    for Meta { name, shape, code, slices: extents } in meta {
        let Some(dtype) = proto::dtype(code) else {
            let text = format!("`{name}` has data type `{code}`, which is no tensor of numbers");
            contents.warn(WarningKind::Unreadable, &**section.file(), text);
            continue;
        };
        proto::size(&name, dtype, &shape)?;
        let (mut boxes, mut pieces) = (Vec::new(), Vec::new());
        for extents in extents {
            let (offsets, extent) = proto::slice_box(&name, &extents, &shape)?;
            let slice = slices.get(&slice_key(name.as_bytes(), &extents));
            let Some(slice) = slice else {
                contents.warn(WarningKind::Missing, &**section.file(), format!("a slice of `{name}` is not there"));
                continue;
            };
            let region = match extent == shape {
                true => Region::Whole,
                false => Region::Box { offsets: offsets.clone(), shape: extent.clone() },
            };
            if names::is_step(&name) {
                step = slice.scalar();
            }
            pieces.push(slice.piece(&name, dtype, &extent, region)?);
            boxes.push((offsets, extent));
        }
        proto::check_disjoint(&name, &boxes)?;
        tensors.push(Tensor { name, dtype, shape, pieces });
    }
    names::divide(&mut contents, tensors, &Objects::default());
    if let Some(step) = step {
        contents.metadata.insert("global_step".into(), step.into());
        if let Some(optimizer) = &mut contents.optimizer {
            optimizer.step = Some(step);
        }
    }
    Ok(contents)
}

/// A `SavedSliceMeta`.
#[derive(Default)]
struct Meta {
    name: String,
    shape: Vec<u64>,
    code: u64,
    slices: Vec<Vec<Extent>>,
}

fn read_meta(message: &Message, limits: &Limits) -> Result<Vec<Meta>, FormatError> {
    let mut found = Vec::new();
    for field in message.fields("checkpoint of the first saver")? {
        let field = field?;
        let (1, Some(meta)) = (field.number, field.value.message()) else { continue };
        for field in meta.fields("list of tensors")? {
            let field = field?;
            let (1, Some(tensor)) = (field.number, field.value.message()) else { continue };
            let mut meta = Meta::default();
            for field in tensor.fields("entry of a tensor")? {
                match field.map(|field| (field.number, field.value))? {
                    (1, Value::Bytes(name)) => meta.name = name.text("tensor name", limits.name_bytes)?,
                    (2, Value::Bytes(shape)) => meta.shape = proto::shape(&shape, limits)?,
                    (3, Value::Varint(code)) => meta.code = code,
                    (4, Value::Bytes(slice)) => meta.slices.push(proto::slice(&slice, limits)?),
                    _ => {}
                }
            }
            found.push(meta);
            Limits::at_most("number of tensors", found.len() as u64, limits.tensors)?;
        }
    }
    Ok(found)
}

/// Elements of a slice: a range, or numbers that had to be decoded.
enum Slice {
    /// Little-endian elements somewhere in the file, as a piece without region.
    Plain(Piece, u64),
    /// Varints somewhere in the file.
    Varints(Stored, u64),
    /// Numbers that lie as varints in a compressed block.
    Decoded(Vec<u64>),
    /// Text, of this many elements.
    Text(Piece, u64),
}

impl Slice {
    const fn inline_bytes(&self) -> u64 {
        match self {
            Self::Decoded(numbers) => numbers.len() as u64 * 8,
            _ => 0,
        }
    }

    /// The number, when there is one and it was cheap to know.
    fn scalar(&self) -> Option<u64> {
        match self {
            Self::Decoded(numbers) if numbers.len() == 1 => numbers.first().copied(),
            _ => None,
        }
    }

    fn piece(&self, name: &str, dtype: Dtype, shape: &[u64], region: Region) -> Result<Piece, FormatError> {
        let (elements, size) = proto::size(name, dtype, shape)?;
        let wrong = |actual| {
            let expected = elements.saturating_mul(dtype.bits());
            FormatError::ShapeMismatch { tensor: name.to_owned(), expected, actual }
        };
        match self {
            Self::Plain(piece, len) if *len == size && dtype != Dtype::Text => Ok(Piece { region, ..piece.clone() }),
            Self::Text(piece, count) if *count == elements && dtype == Dtype::Text => {
                Ok(Piece { region, ..piece.clone() })
            }
            Self::Varints(stored, len) if *len >= elements && len / 10 <= elements => {
                // Varints of a 32-bit field may be sign-extended; the low bytes are the element's.
                let (wide, width) = (8, dtype.block_bytes() as u32);
                let mut filters = vec![Filter::Varint { width: wide }];
                if width < wide {
                    filters.push(Filter::Narrow { from: wide, to: width });
                }
                Ok(Piece { filters, decoded_bytes: size, ..Piece::plain(region, stored.clone()) })
            }
            Self::Decoded(numbers) if numbers.len() as u64 == elements => {
                let width = usize::try_from(dtype.block_bytes()).unwrap_or(8).min(8);
                let bytes: Vec<u8> =
                    numbers.iter().flat_map(|number| number.to_le_bytes().into_iter().take(width)).collect();
                if bytes.len() as u64 != size {
                    return Err(wrong(bytes.len() as u64));
                }
                Ok(Piece::plain(region, Stored::inline(&bytes)))
            }
            Self::Plain(_, len) | Self::Varints(_, len) => Err(wrong(*len)),
            Self::Decoded(numbers) => Err(wrong(numbers.len() as u64)),
            Self::Text(_, count) => Err(wrong(*count)),
        }
    }
}

/// The `TensorProto` of a `SavedSlice`.
fn read_slice(value: &table::Value, limits: &Limits) -> Result<Slice, FormatError> {
    let at = value.section.begin();
    let mut data = None;
    for field in Message::new(value.section.clone()).fields("checkpoint of the first saver")? {
        let field = field?;
        let (2, Some(slice)) = (field.number, field.value.message()) else { continue };
        for field in slice.fields("slice")? {
            let field = field?;
            if let (3, Some(tensor)) = (field.number, field.value.message()) {
                data = Some(tensor.clone());
            }
        }
    }
    let data = data.ok_or_else(|| broken("slice", at, "it has no elements"))?;
    let mut found: Option<(u64, Message)> = None;
    let mut loose = Vec::new();
    let mut texts = 0u64;
    for field in data.fields("tensor")? {
        let field = field?;
        match (field.number, field.value) {
            (1..=3 | 14 | 15, _) => {}
            (8, Value::Bytes(_)) => texts += 1,
            (number, Value::Bytes(message)) => {
                if found.replace((number, message)).is_some() {
                    return Err(broken("tensor", field.at, "its elements stand in several parts"));
                }
            }
            (_, number) => number.repeated("number of elements of a slice", limits.decoded_bytes / 8, &mut loose)?,
        }
    }
    Ok(match found {
        // Contents as they lie in memory, floats, doubles, complex numbers of both kinds, 8-bit floats.
        Some((4 | 5 | 6 | 9 | 12 | 18, message)) => {
            Slice::Plain(value.piece(Region::Whole, message.section())?, message.len())
        }
        Some((_, message)) if value.is_packed() || message.len() <= 10 => {
            let mut numbers = Vec::new();
            message.varints("number of elements of a slice", limits.decoded_bytes / 8, &mut numbers)?;
            Slice::Decoded(numbers)
        }
        Some((_, message)) => {
            let section = message.section();
            Slice::Varints(section.stored("slice", 0, section.len())?, section.len())
        }
        None if texts > 0 => Slice::Text(value.piece(Region::Whole, data.section())?, texts),
        None => Slice::Decoded(loose),
    })
}
