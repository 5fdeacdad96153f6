//! One `TensorProto`: what it is and where its elements lie.

use crate::contents::WarningKind;
use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::limits::Limits;
use crate::protobuf::{Message, Value, broken};
use crate::source::Folder;
use crate::tensor::{Filter, Piece, Region, Stored, Tensor};

use super::external::External;

/// Field of the typed numbers, and how they are stored there.
const FLOATS: u64 = 4;
const INT32S: u64 = 5;
const STRINGS: u64 = 6;
const INT64S: u64 = 7;
const DOUBLES: u64 = 10;
const UINT64S: u64 = 11;

/// A tensor and what is odd about it.
pub(super) struct Found {
    pub(super) tensor: Tensor,
    pub(super) warning: Option<(WarningKind, String)>,
}

/// Describes the tensor; `given` is its name when it has none of its own.
pub(super) fn read(
    message: &Message,
    given: &str,
    folder: &dyn Folder,
    model: &str,
    limits: &Limits,
) -> Result<Found, FormatError> {
    let at = message.section().begin();
    let mut proto = Proto::default();
    for field in message.fields("onnx tensor")? {
        let field = field?;
        match (field.number, &field.value) {
            (1, value) => value.repeated("rank of an onnx tensor", limits.rank, &mut proto.dims)?,
            (2, Value::Varint(code)) => proto.code = *code,
            (STRINGS, Value::Bytes(_)) => proto.strings += 1,
            (number @ (FLOATS | INT32S | INT64S | DOUBLES | UINT64S), value) => {
                proto.numbers.take(number, value, limits)?;
            }
            (8, Value::Bytes(name)) => proto.name = name.text("onnx tensor name", limits.name_bytes)?,
            (9, Value::Bytes(raw)) => proto.raw = Some(raw.clone()),
            (13, Value::Bytes(entry)) => proto.external.take(entry, limits)?,
            (14, Value::Varint(location)) => proto.location = *location,
            _ => {}
        }
    }
    let name = if proto.name.is_empty() { given.to_owned() } else { proto.name.clone() };
    let (dtype, wire) = dtype(proto.code)
        .ok_or_else(|| FormatError::UnknownDtype { tensor: name.clone(), dtype: proto.code.to_string() })?;
    let elements = Tensor::checked_elements(&proto.dims).filter(|&elements| elements <= i64::MAX as u64);
    let overflow = || FormatError::SizeOverflow { tensor: name.clone() };
    let elements = elements.ok_or_else(overflow)?;
    let size = dtype.size_bytes(elements).ok_or_else(overflow)?;

    let mut warning = None;
    let pieces = if proto.location == 1 {
        match proto.external.open(folder, model, at)? {
            Ok(section) => vec![plain(&name, dtype, elements, size, section.stored("onnx tensor", 0, section.len())?)?],
            Err(path) => {
                let text = format!("tensor `{name}` lies in `{path}`, which is not there");
                warning = Some((WarningKind::Missing, text));
                Vec::new()
            }
        }
    } else if proto.location > 1 {
        return Err(broken("onnx tensor", at, format!("data location `{}` does not exist", proto.location)));
    } else if let Some(raw) = &proto.raw {
        let section = raw.section();
        vec![plain(&name, dtype, elements, size, section.stored("onnx tensor", 0, section.len())?)?]
    } else if dtype == Dtype::Text {
        count(&name, "strings", proto.strings, elements)?;
        vec![Piece::plain(Region::Whole, message.section().stored("onnx tensor", 0, message.len())?)]
    } else if elements == 0 {
        vec![Piece::plain(Region::Whole, Stored::inline(&[]))]
    } else {
        vec![proto.numbers.piece(&name, wire, dtype, elements, size)?]
    };
    Ok(Found { tensor: Tensor { name, dtype, shape: proto.dims, pieces }, warning })
}

/// The message's parts that matter.
#[derive(Default)]
struct Proto {
    dims: Vec<u64>,
    code: u64,
    name: String,
    raw: Option<Message>,
    strings: u64,
    numbers: Numbers,
    external: External,
    location: u64,
}

/// Numbers in a typed field: one packed range, as every writer has it, or whatever else the encoding allows.
#[derive(Default)]
struct Numbers {
    field: u64,
    packed: Option<Message>,
    /// Little-endian numbers of a field that is not packed, or in parts.
    scattered: Vec<u8>,
}

impl Numbers {
    fn take(&mut self, field: u64, value: &Value, limits: &Limits) -> Result<(), FormatError> {
        if self.field != 0 && self.field != field {
            return Err(FormatError::Rule { what: "onnx tensor", rule: "its elements stand in one field" });
        }
        self.field = field;
        if let (Value::Bytes(message), None, true) = (value, &self.packed, self.scattered.is_empty()) {
            self.packed = Some(message.clone());
            return Ok(());
        }
        if let Some(first) = self.packed.take() {
            self.scatter(&Value::Bytes(first), limits)?;
        }
        self.scatter(value, limits)
    }

    fn scatter(&mut self, value: &Value, limits: &Limits) -> Result<(), FormatError> {
        match value {
            Value::Fixed32(value) => self.scattered.extend(value.to_le_bytes()),
            Value::Fixed64(value) => self.scattered.extend(value.to_le_bytes()),
            Value::Bytes(message) if matches!(self.field, FLOATS | DOUBLES) => {
                self.scattered.extend(message.bytes("onnx numbers", limits.decoded_bytes)?);
            }
            value => {
                let mut numbers = Vec::new();
                value.repeated("number of elements in an onnx field", limits.decoded_bytes / 8, &mut numbers)?;
                let width = wire_bytes(self.field);
                self.scattered.extend(numbers.iter().flat_map(|number| number.to_le_bytes().into_iter().take(width)));
            }
        }
        Limits::at_most("onnx numbers that are not packed, in bytes", self.scattered.len() as u64, limits.decoded_bytes)
    }

    /// The piece for `elements` elements of this type.
    fn piece(&self, name: &str, wire: u64, dtype: Dtype, elements: u64, size: u64) -> Result<Piece, FormatError> {
        if self.field == 0 {
            return Err(count(name, "elements", 0, elements)
                .err()
                .unwrap_or(FormatError::Empty { what: "onnx tensor" }));
        }
        if self.field != wire {
            return Err(FormatError::Rule { what: "onnx tensor", rule: "its elements stand in the field of its type" });
        }
        let width = wire_bytes(wire) as u64;
        // Numbers on the wire: two for a complex element, one for each byte of packed types.
        let numbers = match dtype {
            Dtype::F6E2M3 | Dtype::F6E3M2 => elements,
            _ if dtype.bits() < 8 => size,
            Dtype::C64 | Dtype::C128 => elements.saturating_mul(2),
            _ => elements,
        };
        let total = numbers.checked_mul(width).ok_or_else(|| FormatError::SizeOverflow { tensor: name.to_owned() })?;
        if matches!(dtype, Dtype::F6E2M3 | Dtype::F6E3M2) {
            return self.six_bits(name, numbers);
        }
        let mut filters = Vec::new();
        let stored = match &self.packed {
            Some(message) if matches!(wire, FLOATS | DOUBLES) => {
                count(name, "bytes", message.len(), total)?;
                message.section().stored("onnx tensor", 0, message.len())?
            }
            Some(message) => {
                // How many there are shows when they are decoded; a varint has one to ten bytes.
                if message.len() < numbers || message.len() / 10 > numbers {
                    count(name, "bytes of varints", message.len(), numbers)?;
                }
                filters.push(Filter::Varint { width: width as u32 });
                message.section().stored("onnx tensor", 0, message.len())?
            }
            None => {
                count(name, "bytes", self.scattered.len() as u64, total)?;
                Stored::inline(&self.scattered)
            }
        };
        let kept = if dtype.bits() < 8 { 1 } else { (dtype.bits() / 8).min(width) };
        if kept < width {
            filters.push(Filter::Narrow { from: width as u32, to: kept as u32 });
        }
        Ok(Piece { filters, decoded_bytes: numbers * kept, ..Piece::plain(Region::Whole, stored) })
    }

    /// 6-bit floats stand one in each number there, four in three bytes everywhere else.
    fn six_bits(&self, name: &str, numbers: u64) -> Result<Piece, FormatError> {
        let mut values = Vec::new();
        match &self.packed {
            Some(message) => message.varints("number of 6-bit elements", numbers, &mut values)?,
            None => values.extend(self.scattered.chunks(4).filter_map(<[u8]>::first).map(|&byte| u64::from(byte))),
        }
        count(name, "elements", values.len() as u64, numbers)?;
        let pack = |four: &[u64]| {
            let bits = four.iter().rev().fold(0u32, |bits, &value| bits << 6 | (value & 0x3f) as u32);
            bits.to_le_bytes().into_iter().take((four.len() * 6).div_ceil(8))
        };
        let bytes: Vec<u8> = values.chunks(4).flat_map(pack).collect();
        Ok(Piece::plain(Region::Whole, Stored::inline(&bytes)))
    }
}

fn plain(name: &str, dtype: Dtype, elements: u64, size: u64, stored: Stored) -> Result<Piece, FormatError> {
    if dtype == Dtype::Text {
        return Err(FormatError::Rule { what: "onnx tensor", rule: "strings are not stored as raw bytes" });
    }
    let actual = stored.size_bytes();
    if actual != size {
        let expected = elements.saturating_mul(dtype.bits());
        return Err(FormatError::ShapeMismatch { tensor: name.to_owned(), expected, actual });
    }
    Ok(Piece::plain(Region::Whole, stored))
}

fn count(name: &str, what: &str, actual: u64, expected: u64) -> Result<(), FormatError> {
    if actual == expected {
        return Ok(());
    }
    let detail = format!("`{name}` has {actual} {what}; its shape and dtype give {expected}");
    Err(FormatError::Broken { what: "onnx tensor", at: 0, detail })
}

const fn wire_bytes(field: u64) -> usize {
    match field {
        FLOATS | INT32S => 4,
        _ => 8,
    }
}

/// Our type for a code of `TensorProto.DataType`, and the typed field that holds it.
fn dtype(code: u64) -> Option<(Dtype, u64)> {
    Some(match code {
        1 => (Dtype::F32, FLOATS),
        2 => (Dtype::U8, INT32S),
        3 => (Dtype::I8, INT32S),
        4 => (Dtype::U16, INT32S),
        5 => (Dtype::I16, INT32S),
        6 => (Dtype::I32, INT32S),
        7 => (Dtype::I64, INT64S),
        8 => (Dtype::Text, STRINGS),
        9 => (Dtype::Bool, INT32S),
        10 => (Dtype::F16, INT32S),
        11 => (Dtype::F64, DOUBLES),
        12 => (Dtype::U32, UINT64S),
        13 => (Dtype::U64, UINT64S),
        14 => (Dtype::C64, FLOATS),
        15 => (Dtype::C128, DOUBLES),
        16 => (Dtype::BF16, INT32S),
        17 => (Dtype::F8E4M3, INT32S),
        18 => (Dtype::F8E4M3Fnuz, INT32S),
        19 => (Dtype::F8E5M2, INT32S),
        20 => (Dtype::F8E5M2Fnuz, INT32S),
        21 => (Dtype::U4, INT32S),
        22 => (Dtype::I4, INT32S),
        23 => (Dtype::F4, INT32S),
        24 => (Dtype::F8E8M0, INT32S),
        25 => (Dtype::U2, INT32S),
        26 => (Dtype::I2, INT32S),
        27 => (Dtype::F6E2M3, INT32S),
        28 => (Dtype::F6E3M2, INT32S),
        _ => return None,
    })
}

/// The spelling of an element type in the summary of inputs and outputs.
pub(super) fn spelling(code: u64) -> &'static str {
    dtype(code).map_or("unknown", |(dtype, _)| dtype.as_str())
}
