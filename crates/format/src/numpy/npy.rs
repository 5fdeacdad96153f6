//! An npy file to tensors.

use serde_json::Value;

use crate::contents::{Code, CodeWay, Contents, WarningKind};
use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::identity::Format;
use crate::limits::Limits;
use crate::numpy::descr::{Field, Kind, extents_of, fields};
use crate::numpy::literal::{Literal, WHAT};
use crate::source::Section;
use crate::tensor::{Filter, Piece, Region, Stored, Tensor};

const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// The header of an npy file.
pub(super) struct Header {
    fields: Vec<Field>,
    /// Bytes of one element of the array.
    item: u64,
    shape: Vec<u64>,
    fortran: bool,
    /// Offset of the elements.
    pub data: u64,
    /// Bytes of all elements.
    pub len: u64,
}

/// Bytes from which elements come, before anything that a field needs is done.
pub(super) struct Origin {
    /// Where the elements begin and end, or the whole compressed member.
    pub stored: Stored,
    /// What decompresses it.
    pub filters: Vec<Filter>,
    /// Offset of the elements in the decompressed bytes.
    pub skip: u64,
}

/// Reads an npy file: its header, and where its elements lie.
///
/// # Errors
/// [`FormatError::BadMagic`], [`FormatError::UnknownVersion`], [`FormatError::Truncated`], [`FormatError::TooLarge`],
/// [`FormatError::DuplicateKey`], [`FormatError::Unsupported`] for element types that are not known,
/// [`FormatError::SizeOverflow`], and [`FormatError::Broken`] for a header that is not what NumPy writes.
pub fn read_npy(section: &Section, limits: &Limits) -> Result<Contents, FormatError> {
    let file = section.file();
    let name = file.rsplit('/').next().unwrap_or(file);
    let name = name.strip_suffix(".npy").unwrap_or(name);
    let prefix = section.head("npy file", 12)?;
    let head = section.head(WHAT, header_end(&prefix, limits)?)?;
    let header = Header::parse(&head, name, limits)?;
    let mut contents = Contents::of(Format::Npy);
    let stored = if header.has_objects() {
        section.stored("npy elements", header.data, section.len().saturating_sub(header.data))?
    } else {
        let stored = section.stored("npy elements", header.data, header.len)?;
        let rest = section.len().saturating_sub(header.data).saturating_sub(header.len);
        if rest > 0 {
            contents.warn(WarningKind::Extra, &**file, format!("{rest} bytes follow the array"));
        }
        stored
    };
    header.describe(name, file, &Origin { stored, filters: Vec::new(), skip: 0 }, &mut contents);
    Ok(contents)
}

/// Offset of the elements, from the first twelve bytes.
pub(super) fn header_end(prefix: &[u8], limits: &Limits) -> Result<u64, FormatError> {
    let short = FormatError::Truncated { what: "npy file", needed: 10, got: prefix.len() as u64 };
    if !prefix.starts_with(MAGIC) {
        return Err(if MAGIC.starts_with(prefix) { short } else { FormatError::BadMagic { what: "npy file" } });
    }
    let &[major, minor, a, b, ref more @ ..] = prefix.get(6..).unwrap_or_default() else { return Err(short) };
    let len = match (major, minor, more) {
        (1, 0, _) => u64::from(u16::from_le_bytes([a, b])) + 10,
        (2 | 3, 0, &[c, d, ..]) => u64::from(u32::from_le_bytes([a, b, c, d])) + 12,
        (2 | 3, 0, _) => return Err(short),
        _ => {
            return Err(FormatError::UnknownVersion {
                what: "npy file",
                version: u64::from(major) << 8 | u64::from(minor),
            });
        }
    };
    Limits::at_most("npy header length in bytes", len, limits.header_bytes)?;
    Ok(len)
}

impl Header {
    /// Parses the bytes before the elements; `name` is what errors call the array.
    pub(super) fn parse(head: &[u8], name: &str, limits: &Limits) -> Result<Self, FormatError> {
        let data = header_end(head, limits)?;
        let Some(head) = usize::try_from(data).ok().and_then(|data| head.get(..data)) else {
            return Err(FormatError::Truncated { what: WHAT, needed: data, got: head.len() as u64 });
        };
        let (begin, utf8) = match head.get(6) {
            Some(1) => (10, false),
            Some(2) => (12, false),
            _ => (12, true),
        };
        let text = head.get(begin..).unwrap_or_default();
        let text = if utf8 {
            String::from_utf8(text.to_vec()).map_err(|_| broken("the text is not UTF-8".to_owned()))?
        } else {
            text.iter().map(|&byte| char::from(byte)).collect()
        };
        let Literal::Entries(entries) = Literal::parse(&text)? else {
            return Err(broken("it is no dictionary".to_owned()));
        };
        let value = |key: &str| entries.iter().find(|(known, _)| known == key).map(|(_, value)| value);
        let (Some(descr), Some(&Literal::Bool(fortran)), Some(Literal::Items(shape)), 3) =
            (value("descr"), value("fortran_order"), value("shape"), entries.len())
        else {
            return Err(broken("it does not have exactly `descr`, `fortran_order` and `shape`".to_owned()));
        };
        let shape = extents_of(shape)?;
        Limits::at_most("rank of a tensor", shape.len() as u64, limits.rank)?;
        let (fields, item) = fields(descr, limits)?;
        let len = Tensor::checked_elements(&shape).and_then(|elements| elements.checked_mul(item));
        let len = len.ok_or_else(|| FormatError::SizeOverflow { tensor: name.to_owned() })?;
        Ok(Self { fields, item, shape, fortran, data, len })
    }

    /// Whether elements are Python objects, which are pickled instead.
    pub(super) fn has_objects(&self) -> bool {
        self.fields.iter().any(|field| field.kind == Kind::Object)
    }

    /// Adds the tensors of the array.
    pub(super) fn describe(&self, name: &str, file: &str, origin: &Origin, contents: &mut Contents) {
        for field in &self.fields {
            let path = field.path.iter().map(String::as_str);
            let name = [name].into_iter().chain(path).collect::<Vec<_>>().join(".");
            match field.kind {
                // All fields are in the pickle then.
                kind if kind != Kind::Object && self.has_objects() => {}
                Kind::Object => {
                    contents.code.push(Code {
                        file: file.to_owned(),
                        name: "pickle".to_owned(),
                        way: CodeWay::PickleCall,
                    });
                    let message = format!("array `{name}` holds Python objects as a pickle, which was not read");
                    contents.warn(WarningKind::Unreadable, file, message);
                    contents.metadata.insert(name, Value::from("python objects"));
                }
                Kind::Raw => {
                    let message = format!("the type of `{name}` is not known; its bytes are shown");
                    contents.warn(WarningKind::Other, file, message);
                    contents.tensors.push(self.tensor(name, field, Dtype::U8, origin));
                }
                Kind::Text => contents.tensors.push(self.tensor(name, field, Dtype::Text, origin)),
                Kind::Number(dtype) => contents.tensors.push(self.tensor(name, field, dtype, origin)),
            }
        }
    }

    fn tensor(&self, name: String, field: &Field, dtype: Dtype, origin: &Origin) -> Tensor {
        let mut shape: Vec<u64> = self.shape.iter().chain(&field.shape).copied().collect();
        let mut inner: Vec<u64> = field.shape.clone();
        if field.kind == Kind::Raw {
            shape.push(field.width);
            inner.push(field.width);
        }
        // Elements and bytes of the field in one element of the array.
        let count = Tensor::checked_elements(&inner).unwrap_or(u64::MAX);
        let unit = if matches!(dtype, Dtype::Text) { field.width } else { dtype.block_bytes() };
        let bytes = count.saturating_mul(unit);
        let mut filters = origin.filters.clone();
        let (mut first_byte, mut step) = (origin.skip, count);
        let mut decoded_bytes = origin.skip.saturating_add(self.len);
        let whole = bytes == self.item;
        match field.swapped {
            // A field among others is reached by strides, if they are whole elements.
            None if whole || (unit > 0 && self.item.is_multiple_of(unit)) => {
                first_byte = first_byte.saturating_add(field.offset);
                step = self.item.checked_div(unit).unwrap_or(0);
            }
            Some(width) if whole && filters.is_empty() && (!self.fortran || self.shape.len() < 2) => {
                return Tensor::big_endian(name, dtype, shape, origin.stored.clone(), width);
            }
            Some(width) if whole && origin.skip.is_multiple_of(width.into()) => {
                filters.push(Filter::SwapBytes { width });
            }
            // Else it is cut out, and so is what stands before the elements.
            swapped => {
                cut_out(&mut filters, decoded_bytes, origin.skip, self.len);
                cut_out(&mut filters, self.item, field.offset, bytes);
                filters.extend(swapped.map(|width| Filter::SwapBytes { width }));
                first_byte = 0;
                decoded_bytes = self.len.checked_div(self.item).unwrap_or(0).saturating_mul(bytes);
            }
        }
        if filters.is_empty() {
            decoded_bytes = origin.stored.size_bytes();
        }
        let dense = step == count && !(self.fortran && self.shape.len() > 1);
        let strides = (!dense).then(|| self.strides(&inner, step));
        let stored = origin.stored.clone();
        let piece = Piece { region: Region::Whole, stored, filters, decoded_bytes, first_byte, strides };
        Tensor { name, dtype, shape, pieces: vec![piece] }
    }

    /// Distances along the axes of the array, `step` for neighbours in the file, then along those of the field.
    fn strides(&self, inner: &[u64], step: u64) -> Vec<u64> {
        let mut strides = vec![0; self.shape.len()];
        let mut distance = step;
        let order: Vec<usize> =
            if self.fortran { (0..self.shape.len()).collect() } else { (0..self.shape.len()).rev().collect() };
        for axis in order {
            if let (Some(stride), Some(&extent)) = (strides.get_mut(axis), self.shape.get(axis)) {
                *stride = distance;
                distance = distance.saturating_mul(extent);
            }
        }
        let mut within = vec![1u64; inner.len()];
        for axis in (1..inner.len()).rev() {
            within[axis - 1] = within[axis].saturating_mul(inner[axis]);
        }
        strides.extend(within);
        strides
    }
}

fn broken(detail: String) -> FormatError {
    FormatError::Broken { what: WHAT, at: 0, detail }
}

/// Filters that keep `len` bytes at `offset` of each record of `record` bytes: turned around, what is before the field
/// is behind it and can be dropped.
fn cut_out(filters: &mut Vec<Filter>, record: u64, offset: u64, len: u64) {
    let narrow = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX);
    let rest = record.saturating_sub(offset);
    if offset > 0 {
        filters.push(Filter::SwapBytes { width: narrow(record) });
        filters.push(Filter::Narrow { from: narrow(record), to: narrow(rest) });
        filters.push(Filter::SwapBytes { width: narrow(rest) });
    }
    if rest > len {
        filters.push(Filter::Narrow { from: narrow(rest), to: narrow(len) });
    }
}
