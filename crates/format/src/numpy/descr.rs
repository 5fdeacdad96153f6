//! Element types of NumPy.

use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::limits::Limits;
use crate::numpy::literal::{Literal, WHAT};
use crate::tensor::Tensor;

/// Where a field lies in the element of an array, and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    /// Names of the nested fields; empty for an array that is not structured.
    pub path: Vec<String>,
    pub kind: Kind,
    /// Extents of a field that is an array itself.
    pub shape: Vec<u64>,
    /// Offset in the array's element.
    pub offset: u64,
    /// Bytes of one element of the field.
    pub width: u64,
    /// Numbers are big-endian, so many bytes wide.
    pub swapped: Option<u32>,
}

/// What the elements are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Numbers of a known type.
    Number(Dtype),
    /// Text of fixed length, bytes or characters.
    Text,
    /// Bytes without a meaning.
    Raw,
    /// Pickled Python objects.
    Object,
}

/// The fields of a `descr`, and the bytes of one element.
///
/// Padding is left out. Fields that repeat a name are refused.
pub(super) fn fields(descr: &Literal, limits: &Limits) -> Result<(Vec<Field>, u64), FormatError> {
    let mut fields = Vec::new();
    let size = collect(descr, &[], &[], 0, &mut fields, limits)?;
    for (at, field) in fields.iter().enumerate() {
        if fields.iter().skip(at + 1).any(|other| other.path == field.path) {
            return Err(FormatError::DuplicateKey { key: field.path.join(".") });
        }
    }
    Ok((fields, size))
}

fn broken(detail: String) -> FormatError {
    FormatError::Broken { what: WHAT, at: 0, detail }
}

/// Adds the fields of `descr` and gives its bytes. The depth is bounded by that of the literal.
fn collect(
    descr: &Literal,
    path: &[String],
    shape: &[u64],
    offset: u64,
    fields: &mut Vec<Field>,
    limits: &Limits,
) -> Result<u64, FormatError> {
    Limits::at_most("number of fields of an array", fields.len() as u64, FIELDS)?;
    let members = match descr {
        Literal::Text(text) => {
            let (kind, width, swapped) = simple(text)?;
            fields.push(Field { path: path.to_vec(), kind, shape: shape.to_vec(), offset, width, swapped });
            return Ok(width);
        }
        Literal::Items(members) => members,
        _ => return Err(broken("`descr` is neither text nor a list".to_owned())),
    };
    let mut size = 0u64;
    for member in members {
        let Literal::Items(parts) = member else { return Err(broken("a field is no tuple".to_owned())) };
        let (name, descr, extents) = match parts.as_slice() {
            [name, descr] => (name, descr, &[][..]),
            [name, descr, Literal::Items(extents)] => (name, descr, extents.as_slice()),
            [name, descr, extent @ Literal::Int(_)] => (name, descr, std::slice::from_ref(extent)),
            _ => return Err(broken("a field is no tuple of name, type and shape".to_owned())),
        };
        // A field may have a title besides its name.
        let name = match name {
            Literal::Text(name) => name,
            Literal::Items(both) => match both.as_slice() {
                [Literal::Text(_), Literal::Text(name)] => name,
                _ => return Err(broken("a field has no name".to_owned())),
            },
            _ => return Err(broken("a field has no name".to_owned())),
        };
        Limits::at_most("field name length in bytes", name.len() as u64, limits.name_bytes)?;
        let extents = extents_of(extents)?;
        let padding = name.is_empty();
        let inner_path: Vec<String> = path.iter().chain([name]).cloned().collect();
        let inner_shape: Vec<u64> = shape.iter().chain(&extents).copied().collect();
        Limits::at_most("rank of a tensor", inner_shape.len() as u64, limits.rank)?;
        let first = fields.len();
        let begin = offset.checked_add(size).ok_or_else(overflow)?;
        let one = collect(descr, &inner_path, &inner_shape, begin, fields, limits)?;
        if padding {
            fields.truncate(first);
        } else if !extents.is_empty() && matches!(descr, Literal::Items(_)) {
            // An array of structures inside a structure: its fields have gaps that this program does not describe.
            fields.truncate(first);
            let width = one;
            fields.push(Field {
                path: inner_path,
                kind: Kind::Raw,
                shape: inner_shape,
                offset: begin,
                width,
                swapped: None,
            });
        }
        let count = Tensor::checked_elements(&extents).ok_or_else(overflow)?;
        size = one.checked_mul(count).and_then(|bytes| size.checked_add(bytes)).ok_or_else(overflow)?;
    }
    Ok(size)
}

/// Most fields of a structured array; comparing their names takes this squared.
const FIELDS: u64 = 4096;

fn overflow() -> FormatError {
    broken("the size of an element overflows".to_owned())
}

/// Extents out of a tuple.
pub(super) fn extents_of(items: &[Literal]) -> Result<Vec<u64>, FormatError> {
    let extent = |item: &Literal| match item {
        Literal::Int(extent) => u64::try_from(*extent).map_err(|_| broken(format!("`{extent}` is no extent"))),
        _ => Err(broken("an extent is no number".to_owned())),
    };
    items.iter().map(extent).collect()
}

/// The type of numbers such as `<f4`, and their width where they are big-endian; none for text, bytes and objects.
pub(crate) fn number_type(text: &str) -> Result<Option<(Dtype, Option<u32>)>, FormatError> {
    Ok(match simple(text)? {
        (Kind::Number(dtype), _, swapped) => Some((dtype, swapped)),
        _ => None,
    })
}

/// Kind, bytes and byte order of a type such as `<f4`.
fn simple(text: &str) -> Result<(Kind, u64, Option<u32>), FormatError> {
    let unknown = || FormatError::Unsupported { what: "NumPy type", detail: format!("`{}`", text.escape_debug()) };
    let (big, rest) = match text.strip_prefix(['<', '|', '=', '>']) {
        Some(rest) => (text.starts_with('>'), rest),
        None => (false, text),
    };
    let mut signs = rest.chars();
    let letter = signs.next().ok_or_else(unknown)?;
    let size = signs.as_str();
    if letter == 'O' {
        // NumPy writes `|O`; old versions with the size of a pointer.
        return Ok((Kind::Object, 8, None));
    }
    if matches!(letter, 'M' | 'm') {
        // Times are counted in the unit in brackets.
        let unit = size.strip_prefix('8').ok_or_else(unknown)?;
        if !(unit.is_empty() || unit.starts_with('[') && unit.ends_with(']')) {
            return Err(unknown());
        }
        return Ok((Kind::Number(Dtype::I64), 8, big.then_some(8)));
    }
    if size.is_empty() || !size.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(unknown());
    }
    let size: u64 = size.parse().map_err(|_| unknown())?;
    let dtype = match (letter, size) {
        ('b', 1) => Dtype::Bool,
        ('i', 1) => Dtype::I8,
        ('i', 2) => Dtype::I16,
        ('i', 4) => Dtype::I32,
        ('i', 8) => Dtype::I64,
        ('u', 1) => Dtype::U8,
        ('u', 2) => Dtype::U16,
        ('u', 4) => Dtype::U32,
        ('u', 8) => Dtype::U64,
        ('f', 2) => Dtype::F16,
        ('f', 4) => Dtype::F32,
        ('f', 8) => Dtype::F64,
        ('f', 16) => Dtype::F128,
        ('c', 8) => Dtype::C64,
        ('c', 16) => Dtype::C128,
        // ml_dtypes has no letter of its own: its bfloat16 arrives as two bytes.
        ('V', 2) => Dtype::BF16,
        ('V', _) => return Ok((Kind::Raw, size, None)),
        ('S' | 'a', _) => return Ok((Kind::Text, size, None)),
        ('U', _) => return Ok((Kind::Text, size.checked_mul(4).ok_or_else(overflow)?, None)),
        _ => return Err(unknown()),
    };
    // Both parts of a complex number are swapped, each alone.
    let number = if letter == 'c' { size / 2 } else { size };
    let swapped = if big && number > 1 { u32::try_from(number).ok() } else { None };
    Ok((Kind::Number(dtype), size, swapped))
}
