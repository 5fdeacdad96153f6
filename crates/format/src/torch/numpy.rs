//! NumPy arrays and scalars inside pickles.
//!
//! Protocol 2 and torch carry the bytes as Latin-1 text (`_codecs.encode`), later protocols as bytes or a buffer,
//! joblib raw in the stream.

use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::pickle::{Coding, Data, NodeId, TextKind};
use crate::tensor::{Filter, Piece, Region, Stored, Tensor};

use super::loaded::Loaded;

/// An element type of NumPy, and whether its numbers are big-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NumpyType {
    pub(super) dtype: Dtype,
    pub(super) big_endian: bool,
}

impl Loaded {
    /// The array or scalar that the node is; `None` when it is something else.
    pub(super) fn array(&self, id: NodeId) -> Option<Result<Tensor, FormatError>> {
        let object = self.graph.object(id)?;
        let class = self.graph.global(object.callee)?;
        let args = self.graph.items(object.args);
        let module = class.module.strip_prefix("numpy.")?;
        let module = module.strip_prefix("_core.").or_else(|| module.strip_prefix("core.")).unwrap_or(module);
        match (module, &*class.name) {
            ("multiarray", "_reconstruct") => {
                let state = self.graph.items(object.state?);
                let [_, shape, dtype, fortran, data] = state else { return None };
                let fortran = self.graph.int(*fortran) == Some(1);
                Some(self.build_array(*shape, *dtype, fortran, *data))
            }
            ("multiarray", "scalar") => {
                let [dtype, data] = args else { return None };
                Some(self.build(&[], *dtype, false, *data))
            }
            ("numeric", "_frombuffer") => {
                let [data, dtype, shape, order] = args else { return None };
                Some(self.build_array(*shape, *dtype, self.graph.str(*order) == Some("F"), *data))
            }
            _ => None,
        }
    }

    /// The raw array that joblib wrote after its wrapper.
    pub(super) fn joblib_array(&self, id: NodeId) -> Option<Result<Tensor, FormatError>> {
        let (begin, len) = self.graph.raw(id)?;
        let state = self.graph.object(id)?.state?;
        let (shape, dtype) = (self.graph.get(state, "shape")?, self.graph.get(state, "dtype")?);
        let fortran = self.graph.get(state, "order").and_then(|order| self.graph.str(order)) == Some("F");
        let shape = self.numbers(shape)?;
        Some(self.place(&shape, dtype, fortran, (begin, len)))
    }

    fn build_array(&self, shape: NodeId, dtype: NodeId, fortran: bool, data: NodeId) -> Result<Tensor, FormatError> {
        match self.numbers(shape) {
            Some(shape) => self.build(&shape, dtype, fortran, data),
            None => Err(FormatError::Rule { what: "NumPy array", rule: "its shape is a tuple of numbers" }),
        }
    }

    fn build(&self, shape: &[u64], dtype: NodeId, fortran: bool, data: NodeId) -> Result<Tensor, FormatError> {
        let rule = FormatError::Rule { what: "NumPy array", rule: "its elements are bytes" };
        // The text that is encoded to Latin-1.
        let (data, filters) = match self.graph.class(data) {
            Some(class) if class.is("_codecs", "encode") => {
                let args = self.graph.object(data).map(|object| self.graph.items(object.args));
                match args.and_then(<[NodeId]>::first) {
                    Some(&text) => (text, vec![Filter::Latin1]),
                    None => return Err(rule),
                }
            }
            Some(class) if class.is("builtins", "bytes") || class.is("builtins", "bytearray") => {
                let args = self.graph.object(data).map(|object| self.graph.items(object.args)).unwrap_or_default();
                match args.first() {
                    Some(&inner) => (inner, Vec::new()),
                    // No elements at all.
                    None => return self.finish(shape, dtype, fortran, Stored::inline(&[]), Vec::new(), 0),
                }
            }
            _ => (data, Vec::new()),
        };
        match self.graph.data(data) {
            Some((kind, Data::Near(bytes))) if kind != TextKind::Integer => {
                let bytes = if filters.is_empty() { Some(bytes.to_vec()) } else { latin1(bytes) };
                let len = bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
                self.finish(shape, dtype, fortran, Stored::inline(&bytes.ok_or(rule)?), Vec::new(), len)
            }
            Some((_, Data::Far { begin, len, coding: Coding::Plain })) => {
                let stored = self.section.stored("bytes of an array", begin, len)?;
                let decoded = if filters.is_empty() { len } else { self.expected(shape, dtype)? };
                self.finish(shape, dtype, fortran, stored, filters, decoded)
            }
            Some((_, far @ Data::Far { .. })) => {
                let bytes = self.graph.bytes(far, &self.section, self.limits.text_bytes)?;
                let len = bytes.len() as u64;
                self.finish(shape, dtype, fortran, Stored::inline(&bytes), filters, len)
            }
            _ => Err(rule),
        }
    }

    fn place(
        &self,
        shape: &[u64],
        dtype: NodeId,
        fortran: bool,
        (begin, len): (u64, u64),
    ) -> Result<Tensor, FormatError> {
        let stored = self.section.stored("bytes of an array", begin, len)?;
        self.finish(shape, dtype, fortran, stored, Vec::new(), len)
    }

    fn expected(&self, shape: &[u64], dtype: NodeId) -> Result<u64, FormatError> {
        let overflow = || FormatError::SizeOverflow { tensor: "NumPy array".to_owned() };
        let known = self.numpy_type(dtype)?;
        Tensor::checked_elements(shape).and_then(|elements| known.dtype.size_bytes(elements)).ok_or_else(overflow)
    }

    fn finish(
        &self,
        shape: &[u64],
        dtype: NodeId,
        fortran: bool,
        stored: Stored,
        mut filters: Vec<Filter>,
        decoded_bytes: u64,
    ) -> Result<Tensor, FormatError> {
        let expected = self.expected(shape, dtype)?;
        let known = self.numpy_type(dtype)?;
        if expected != decoded_bytes {
            let what = "bytes of a NumPy array";
            return Err(FormatError::LengthMismatch { what, expected, actual: decoded_bytes });
        }
        let width = super::dtype::number_bytes(known.dtype);
        if known.big_endian && width > 1 {
            filters.push(Filter::SwapBytes { width });
        }
        let strides = (fortran && shape.len() > 1).then(|| {
            let mut stride = 1u64;
            let next = |&extent: &u64| {
                let this = stride;
                stride = stride.saturating_mul(extent);
                this
            };
            shape.iter().map(next).collect()
        });
        let piece = Piece { region: Region::Whole, stored, filters, decoded_bytes, first_byte: 0, strides };
        let pieces = if expected == 0 { Vec::new() } else { vec![piece] };
        Ok(Tensor { name: String::new(), dtype: known.dtype, shape: shape.to_vec(), pieces })
    }

    /// The element type of a `numpy.dtype` object: its code, such as `f8`, and the byte order in its state.
    pub(super) fn numpy_type(&self, id: NodeId) -> Result<NumpyType, FormatError> {
        let unknown =
            |code: &str| FormatError::UnknownDtype { tensor: "NumPy array".to_owned(), dtype: code.to_owned() };
        let Some(object) = self.graph.object(id) else { return Err(unknown("?")) };
        let code = self.graph.items(object.args).first().and_then(|&code| self.graph.str(code)).unwrap_or("?");
        let order = object.state.map(|state| self.graph.items(state)).and_then(|state| state.get(1));
        let order = order.and_then(|&order| self.graph.str(order)).or_else(|| code.get(..1)).unwrap_or("|");
        let bare = code.trim_start_matches(['<', '>', '=', '|']);
        let dtype = match bare {
            "b1" | "?" | "bool" => Dtype::Bool,
            "i1" => Dtype::I8,
            "u1" => Dtype::U8,
            "i2" => Dtype::I16,
            "u2" => Dtype::U16,
            "i4" => Dtype::I32,
            "u4" => Dtype::U32,
            "i8" | "M8" | "m8" => Dtype::I64,
            "u8" => Dtype::U64,
            "f2" => Dtype::F16,
            "f4" => Dtype::F32,
            "f8" => Dtype::F64,
            "f16" => Dtype::F128,
            "c8" => Dtype::C64,
            "c16" => Dtype::C128,
            _ => return Err(unknown(code)),
        };
        Ok(NumpyType { dtype, big_endian: order == ">" })
    }
}

/// UTF-8 text of characters up to U+00FF as one byte each.
pub(super) fn latin1(text: &[u8]) -> Option<Vec<u8>> {
    str::from_utf8(text).ok()?.chars().map(|char| u8::try_from(u32::from(char)).ok()).collect()
}
