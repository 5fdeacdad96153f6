//! TensorFlow Lite models.
//!
//! A flatbuffer with the mark `TFL3`. A tensor with a buffer is a constant, and described; one without is a result of
//! the graph. Buffers lie in the flatbuffer, or behind it when a model has more than two gigabytes.
//!
//! # Names
//! Tensors have their own names; one that occurs again is `name#2`, and one without is `tensor_N` by its place.
//! Quantisation stands in the metadata under `quantization`, by tensor. Files that are appended as a zip archive are
//! listed under `associated_files`.
//!
//! Source: `schema.fbs` of TensorFlow Lite.

pub(crate) mod flat;
#[rustfmt::skip]
mod operators;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Map, Value as Json, json};

use crate::contents::{Code, CodeWay, Contents, WarningKind};
use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::identity::Format;
use crate::limits::Limits;
use crate::source::Section;
use crate::tensor::{Piece, Region, Stored, Tensor};
use crate::zip::Archive;

use flat::{Flat, Table, Vector};

/// Bytes 4 to 8 of every model.
pub const MAGIC: [u8; 4] = *b"TFL3";

/// Describes the model in one file.
///
/// # Errors
/// [`FormatError::BadMagic`] without the mark, [`FormatError::Broken`] and its kin for offsets that lie,
/// [`FormatError::ShapeMismatch`] when a buffer does not fit its tensor, [`FormatError::TooLarge`] beyond the limits.
pub fn read(section: &Section, limits: &Limits) -> Result<Contents, FormatError> {
    if section.head("tflite model", 8)?.get(4..) != Some(&MAGIC) {
        return Err(FormatError::BadMagic { what: "tflite model" });
    }
    let flat = Flat::new("tflite model", section.clone());
    let root = flat.root()?;
    let mut walk = Walk {
        flat: &flat,
        section,
        limits,
        buffers: flat.vector(root, 4, 4)?,
        contents: Contents::of(Format::Tflite),
        names: HashMap::new(),
        operators: BTreeMap::new(),
        quantization: Map::new(),
        // Numbers of scales may be shared by any number of tensors, and are written out for each.
        numbers: section.len() / 4 + 1024,
        seen: 0,
    };
    Limits::at_most("number of buffers", walk.buffers.len, limits.tensors)?;
    walk.model(root)?;

    let Walk { mut contents, operators, quantization, .. } = walk;
    let operators = operators.into_iter().map(|(name, count)| (name, count.into())).collect();
    contents.metadata.insert("operators".into(), Json::Object(operators));
    if !quantization.is_empty() {
        contents.metadata.insert("quantization".into(), Json::Object(quantization));
    }
    if let Ok(archive) = Archive::read(section, limits) {
        let names: Vec<Json> = archive.entries().iter().map(|entry| entry.name.clone().into()).collect();
        contents.metadata.insert("associated_files".into(), names.into());
    }
    Ok(contents)
}

struct Walk<'a> {
    flat: &'a Flat,
    section: &'a Section,
    limits: &'a Limits,
    buffers: Vector,
    contents: Contents,
    names: HashMap<String, u64>,
    operators: BTreeMap<String, u64>,
    quantization: Map<String, Json>,
    numbers: u64,
    seen: u64,
}

impl Walk<'_> {
    fn model(&mut self, root: Table) -> Result<(), FormatError> {
        let flat = self.flat;
        self.contents.metadata.insert("version".into(), flat.uint(root, 0, 4)?.unwrap_or(0).into());
        let description = flat.text(root, 3, self.limits.text_bytes)?;
        if !description.is_empty() {
            self.contents.metadata.insert("description".into(), description.into());
        }
        let codes = self.codes(root)?;
        let graphs = flat.vector(root, 2, 4)?;
        Limits::at_most("number of subgraphs", graphs.len, self.limits.members)?;
        for number in 0..graphs.len {
            self.graph(flat.item(graphs, number)?, number, &codes)?;
        }
        let entries = flat.vector(root, 6, 4)?;
        Limits::at_most("number of metadata entries", entries.len, self.limits.metadata_entries)?;
        let mut names = BTreeSet::new();
        for number in 0..entries.len {
            names.insert(flat.text(flat.item(entries, number)?, 0, self.limits.name_bytes)?);
        }
        if !names.is_empty() {
            self.contents.metadata.insert("metadata".into(), names.into_iter().collect());
        }
        let signatures = flat.vector(root, 7, 4)?;
        Limits::at_most("number of signatures", signatures.len, self.limits.metadata_entries)?;
        let mut keys = BTreeSet::new();
        for number in 0..signatures.len {
            keys.insert(flat.text(flat.item(signatures, number)?, 2, self.limits.name_bytes)?);
        }
        if !keys.is_empty() {
            self.contents.metadata.insert("signatures".into(), keys.into_iter().collect());
        }
        Ok(())
    }

    /// Names of the operators that the model uses; custom ones are code.
    fn codes(&mut self, root: Table) -> Result<Vec<String>, FormatError> {
        let list = self.flat.vector(root, 1, 4)?;
        Limits::at_most("number of operator codes", list.len, self.limits.metadata_entries)?;
        let mut codes = Vec::new();
        let mut custom = BTreeSet::new();
        for number in 0..list.len {
            let code = self.flat.item(list, number)?;
            // Numbers above 127 have a field of their own; the larger one counts.
            let old = self.flat.uint(code, 0, 1)?.unwrap_or(0);
            let new = self.flat.uint(code, 3, 4)?.unwrap_or(0);
            let name = match old.max(new) {
                operators::CUSTOM => {
                    let name = self.flat.text(code, 1, self.limits.name_bytes)?;
                    custom.insert(name.clone());
                    name
                }
                code => operators::name(code),
            };
            codes.push(name);
        }
        let file = self.section.file();
        let code = |name| Code { file: file.to_string(), name, way: CodeWay::Operator };
        self.contents.code.extend(custom.into_iter().map(code));
        Ok(codes)
    }

    fn graph(&mut self, graph: Table, number: u64, codes: &[String]) -> Result<(), FormatError> {
        let flat = self.flat;
        let tensors = flat.vector(graph, 0, 4)?;
        let operators = flat.vector(graph, 3, 4)?;
        // Subgraphs may share tables, so it is the sum that counts.
        self.seen = self.seen.saturating_add(tensors.len).saturating_add(operators.len);
        Limits::at_most("number of tensors and operators", self.seen, self.limits.tensors)?;
        for place in 0..tensors.len {
            self.tensor(flat.item(tensors, place)?, place)?;
        }
        for place in 0..operators.len {
            let index = flat.uint(flat.item(operators, place)?, 0, 4)?.unwrap_or(0);
            let name = usize::try_from(index).ok().and_then(|index| codes.get(index));
            let rule = FormatError::Rule { what: "tflite operator", rule: "its code is in the list" };
            *self.operators.entry(name.ok_or(rule)?.clone()).or_default() += 1;
        }
        if number == 0 {
            for (field, word) in [(1, "inputs"), (2, "outputs")] {
                let ends = self.ends(graph, field, tensors)?;
                self.contents.metadata.insert(word.into(), ends);
            }
        }
        Ok(())
    }

    /// Inputs or outputs of the main graph: name, dtype, shape.
    fn ends(&self, graph: Table, field: u64, tensors: Vector) -> Result<Json, FormatError> {
        let flat = self.flat;
        let ends = flat.vector(graph, field, 4)?;
        Limits::at_most("number of inputs", ends.len, self.limits.metadata_entries)?;
        let mut found = Vec::new();
        for number in 0..ends.len {
            let index = flat.element(ends, number, 4)?;
            // An optional input that is left out has the number −1.
            if index == u64::from(u32::MAX) {
                continue;
            }
            let tensor = flat.item(tensors, index)?;
            let code = flat.uint(tensor, 1, 1)?.unwrap_or(0);
            let dtype = dtype(code).map_or("unknown", Dtype::as_str);
            let name = flat.text(tensor, 3, self.limits.name_bytes)?;
            found.push(json!({ "name": name, "dtype": dtype, "shape": self.shape(tensor)? }));
        }
        Ok(found.into())
    }

    fn shape(&self, tensor: Table) -> Result<Vec<u64>, FormatError> {
        let shape = self.flat.vector(tensor, 0, 4)?;
        Limits::at_most("rank of a tflite tensor", shape.len, self.limits.rank)?;
        (0..shape.len).map(|axis| self.flat.element(shape, axis, 4)).collect()
    }

    fn tensor(&mut self, tensor: Table, place: u64) -> Result<(), FormatError> {
        let flat = self.flat;
        let buffer = flat.uint(tensor, 2, 4)?.unwrap_or(0);
        let Some(data) = self.buffer(buffer)? else { return Ok(()) };
        let mut name = flat.text(tensor, 3, self.limits.name_bytes)?;
        if name.is_empty() {
            name = format!("tensor_{place}");
        }
        let count = self.names.entry(name.clone()).or_default();
        *count += 1;
        if *count > 1 {
            name = format!("{name}#{count}");
        }
        let code = flat.uint(tensor, 1, 1)?.unwrap_or(0);
        let Some(dtype) = dtype(code) else {
            return Err(FormatError::UnknownDtype { tensor: name, dtype: code.to_string() });
        };
        let shape = self.shape(tensor)?;
        let overflow = || FormatError::SizeOverflow { tensor: name.clone() };
        let elements = Tensor::checked_elements(&shape).ok_or_else(overflow)?;
        let size = dtype.size_bytes(elements).ok_or_else(overflow)?;
        let is_sparse = flat.child(tensor, 6)?.is_some();
        let pieces = if is_sparse {
            let text = format!("tensor `{name}` is sparse; its elements are not read");
            self.contents.warn(WarningKind::Unreadable, &**self.section.file(), text);
            Vec::new()
        } else if dtype != Dtype::Text && data.size_bytes() != size {
            let expected = elements.saturating_mul(dtype.bits());
            return Err(FormatError::ShapeMismatch { tensor: name, expected, actual: data.size_bytes() });
        } else {
            vec![Piece::plain(Region::Whole, data)]
        };
        if let Some(parameters) = flat.child(tensor, 4)?
            && let Some(parameters) = self.parameters(parameters)?
        {
            self.quantization.insert(name.clone(), parameters);
        }
        self.contents.tensors.push(Tensor { name, dtype, shape, pieces });
        Ok(())
    }

    /// Bytes of a buffer; `None` when it is empty, as that of every result is.
    fn buffer(&self, index: u64) -> Result<Option<Stored>, FormatError> {
        if index == 0 && self.buffers.len == 0 {
            return Ok(None);
        }
        let buffer = self.flat.item(self.buffers, index)?;
        let data = self.flat.vector(buffer, 0, 1)?;
        if data.len > 0 {
            let part = self.flat.part_of(data)?;
            return part.stored("tflite buffer", 0, part.len()).map(Some);
        }
        let (offset, size) = (self.flat.uint(buffer, 1, 8)?.unwrap_or(0), self.flat.uint(buffer, 2, 8)?.unwrap_or(0));
        // 0 and 1 are no place for a buffer.
        if offset <= 1 || size == 0 {
            return Ok(None);
        }
        self.section.stored("tflite buffer", offset, size).map(Some)
    }

    /// Scales and zero points, if there are any.
    fn parameters(&mut self, table: Table) -> Result<Option<Json>, FormatError> {
        let flat = self.flat;
        let (scales, zeros) = (flat.vector(table, 2, 4)?, flat.vector(table, 3, 8)?);
        if scales.len == 0 {
            return Ok(None);
        }
        let left = self.numbers.checked_sub(scales.len.saturating_add(zeros.len));
        self.numbers = left.ok_or(FormatError::Rule { what: "tflite model", rule: "tensors do not share scales" })?;
        let scale = |index| Ok(json!(f32::from_bits(flat.element(scales, index, 4)? as u32)));
        let zero = |index| Ok(json!(flat.element(zeros, index, 8)? as i64));
        let scale: Vec<Json> = (0..scales.len).map(scale).collect::<Result<_, FormatError>>()?;
        let zero: Vec<Json> = (0..zeros.len).map(zero).collect::<Result<_, FormatError>>()?;
        let axis = flat.uint(table, 6, 4)?.unwrap_or(0);
        Ok(Some(json!({ "scale": scale, "zero_point": zero, "quantized_dimension": axis })))
    }
}

/// Our type for a code of `TensorType`; `None` for resources and variants.
const fn dtype(code: u64) -> Option<Dtype> {
    Some(match code {
        0 => Dtype::F32,
        1 => Dtype::F16,
        2 => Dtype::I32,
        3 => Dtype::U8,
        4 => Dtype::I64,
        5 => Dtype::Text,
        6 => Dtype::Bool,
        7 => Dtype::I16,
        8 => Dtype::C64,
        9 => Dtype::I8,
        10 => Dtype::F64,
        11 => Dtype::C128,
        12 => Dtype::U64,
        15 => Dtype::U32,
        16 => Dtype::U16,
        17 => Dtype::I4,
        18 => Dtype::BF16,
        19 => Dtype::I2,
        20 => Dtype::U4,
        _ => return None,
    })
}
