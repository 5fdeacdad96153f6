//! Protocol buffers, walked field by field.
//!
//! There is no schema and no tree: a [`Message`] is a range of a file, and [`Message::fields`] goes over its fields one
//! after the other. Fields of bytes are ranges again, so a model of many gigabytes is walked by reading tags only. Small
//! messages are read once, and what lies inside them shares those bytes.
//!
//! Source: the encoding guide of Protocol Buffers (wire types 0, 1, 2 and 5). Groups (3 and 4) occur in none of our
//! formats and are refused.

use std::sync::Arc;

use crate::error::FormatError;
use crate::limits::Limits;
use crate::source::Section;

/// Messages up to this length are read whole; longer ones through a window.
const WHOLE_BYTES: u64 = 64 << 10;
/// Length of the window over a long message.
const WINDOW_BYTES: u64 = 16 << 10;
/// Longest varint.
const VARINT_BYTES: usize = 10;

/// A message, or a field of bytes that may be one: a range of a file.
#[derive(Clone, Debug)]
pub struct Message {
    section: Section,
    held: Option<Held>,
}

/// Bytes of a message that were read already, as part of a larger one.
#[derive(Clone, Debug)]
struct Held {
    bytes: Arc<[u8]>,
    begin: usize,
}

/// A field: its number and value.
#[derive(Clone, Debug)]
pub struct Field {
    /// Number in the schema.
    pub number: u64,
    /// Value as the wire has it.
    pub value: Value,
    /// Offset of the field in the file.
    pub at: u64,
}

/// A value as the wire has it.
#[derive(Clone, Debug)]
pub enum Value {
    /// Integers, booleans, enums.
    Varint(u64),
    /// `fixed64`, `sfixed64`, `double`.
    Fixed64(u64),
    /// Text, bytes, messages, packed numbers.
    Bytes(Message),
    /// `fixed32`, `sfixed32`, `float`.
    Fixed32(u32),
}

impl Message {
    /// A message that fills the section.
    #[must_use]
    pub const fn new(section: Section) -> Self {
        Self { section, held: None }
    }

    /// The bytes of the message, unread.
    #[must_use]
    pub const fn section(&self) -> &Section {
        &self.section
    }

    /// Length in bytes.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.section.len()
    }

    /// Whether there are no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.section.is_empty()
    }

    /// Goes over the fields. `what` names the message in errors.
    ///
    /// # Errors
    /// [`FormatError::Io`] when a small message cannot be read; every item may be a [`FormatError::Broken`], and is the
    /// last one then.
    pub fn fields(&self, what: &'static str) -> Result<Fields, FormatError> {
        let held = match &self.held {
            Some(held) => Some(held.clone()),
            None if self.len() <= WHOLE_BYTES => {
                Some(Held { bytes: self.section.read(what, 0, self.len())?.into(), begin: 0 })
            }
            None => None,
        };
        let section = self.section.clone();
        Ok(Fields { what, section, held, window: Arc::default(), window_at: 0, at: 0, failed: false })
    }

    /// Reads the bytes, `limit` of them at most.
    ///
    /// # Errors
    /// [`FormatError::TooLarge`] beyond the limit, [`FormatError::Io`].
    pub fn bytes(&self, what: &'static str, limit: u64) -> Result<Vec<u8>, FormatError> {
        Limits::at_most(what, self.len(), limit)?;
        match self.held.as_ref().and_then(|held| held.get(0, self.len())) {
            Some(bytes) => Ok(bytes.to_vec()),
            None => self.section.read(what, 0, self.len()),
        }
    }

    /// Reads text of at most `limit` bytes.
    ///
    /// # Errors
    /// As [`Message::bytes`]; [`FormatError::Broken`] when it is not UTF-8.
    pub fn text(&self, what: &'static str, limit: u64) -> Result<String, FormatError> {
        String::from_utf8(self.bytes(what, limit)?)
            .map_err(|_| broken(what, self.section.begin(), "the text is not UTF-8"))
    }

    /// Reads packed varints, `limit` of them at most, behind those that are there.
    ///
    /// # Errors
    /// [`FormatError::TooLarge`] beyond the limit, [`FormatError::Broken`] for a varint that does not end.
    pub fn varints(&self, what: &'static str, limit: u64, into: &mut Vec<u64>) -> Result<(), FormatError> {
        // No number takes more than ten bytes.
        let bytes = self.bytes(what, limit.saturating_mul(VARINT_BYTES as u64))?;
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let at = self.section.begin() + (bytes.len() - rest.len()) as u64;
            let (value, used) = varint(rest).ok_or_else(|| bad_varint(what, at))?;
            rest = rest.get(used..).unwrap_or_default();
            into.push(value);
            Limits::at_most(what, into.len() as u64, limit)?;
        }
        Ok(())
    }
}

impl Held {
    /// The same bytes, from `offset` on.
    fn after(&self, offset: u64) -> Option<Self> {
        Some(Self { bytes: Arc::clone(&self.bytes), begin: self.begin.checked_add(usize::try_from(offset).ok()?)? })
    }

    fn get(&self, offset: u64, len: u64) -> Option<&[u8]> {
        let begin = self.begin.checked_add(usize::try_from(offset).ok()?)?;
        self.bytes.get(begin..begin.checked_add(usize::try_from(len).ok()?)?)
    }
}

impl Value {
    /// The integer; `None` when the wire has something else.
    #[must_use]
    pub const fn number(&self) -> Option<u64> {
        match self {
            Self::Varint(value) => Some(*value),
            _ => None,
        }
    }

    /// The message; `None` when the wire has a number.
    #[must_use]
    pub const fn message(&self) -> Option<&Message> {
        match self {
            Self::Bytes(message) => Some(message),
            _ => None,
        }
    }

    /// Adds a repeated integer, packed or not, to those that are there.
    ///
    /// # Errors
    /// As [`Message::varints`].
    pub fn repeated(&self, what: &'static str, limit: u64, into: &mut Vec<u64>) -> Result<(), FormatError> {
        match self {
            Self::Bytes(message) => message.varints(what, limit, into),
            Self::Varint(value) => {
                into.push(*value);
                Limits::at_most(what, into.len() as u64, limit)
            }
            _ => Ok(()),
        }
    }
}

/// Fields of a message, in the order of the file. Ends at the first error.
#[derive(Debug)]
pub struct Fields {
    what: &'static str,
    section: Section,
    held: Option<Held>,
    window: Arc<[u8]>,
    window_at: u64,
    at: u64,
    failed: bool,
}

impl Fields {
    /// Up to `len` bytes at the current place, fewer only at the end.
    fn peek(&mut self, len: u64) -> Result<&[u8], FormatError> {
        let len = len.min(self.section.len() - self.at);
        if let Some(held) = &self.held {
            return Ok(held.get(self.at, len).unwrap_or_default());
        }
        let end = self.window_at + self.window.len() as u64;
        if len > 0 && (self.at < self.window_at || self.at + len > end) {
            let fresh = WINDOW_BYTES.min(self.section.len() - self.at);
            self.window = self.section.read(self.what, self.at, fresh)?.into();
            self.window_at = self.at;
        }
        let begin = usize::try_from(self.at.saturating_sub(self.window_at)).unwrap_or(usize::MAX);
        Ok(self.window.get(begin..).and_then(|rest| rest.get(..usize::try_from(len).ok()?)).unwrap_or_default())
    }

    fn varint(&mut self) -> Result<u64, FormatError> {
        let place = self.place();
        let what = self.what;
        let (value, used) = varint(self.peek(VARINT_BYTES as u64)?).ok_or_else(|| bad_varint(what, place))?;
        self.at += used as u64;
        Ok(value)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let got = self.section.len() - self.at;
        let what = self.what;
        let bytes = self.peek(N as u64)?.first_chunk().copied();
        let bytes = bytes.ok_or(FormatError::Truncated { what, needed: N as u64, got })?;
        self.at += N as u64;
        Ok(bytes)
    }

    /// The bytes of a part that begins here, if they are read already or few.
    fn share(&mut self, len: u64) -> Result<Option<Held>, FormatError> {
        if let Some(held) = &self.held {
            return Ok(held.after(self.at));
        }
        if len > WINDOW_BYTES {
            return Ok(None);
        }
        self.peek(len)?;
        Ok(Held { bytes: Arc::clone(&self.window), begin: 0 }.after(self.at.saturating_sub(self.window_at)))
    }

    fn place(&self) -> u64 {
        self.section.begin() + self.at
    }

    fn field(&mut self) -> Result<Field, FormatError> {
        let at = self.place();
        let tag = self.varint()?;
        let number = tag >> 3;
        if number == 0 || tag > u64::from(u32::MAX) {
            return Err(broken(self.what, at, format!("field number `{number}` does not exist")));
        }
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.fixed()?)),
            2 => {
                let len = self.varint()?;
                let section = self.section.slice(self.what, self.at, len)?;
                let held = self.share(len)?;
                self.at += len;
                Value::Bytes(Message { section, held })
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.fixed()?)),
            kind => return Err(broken(self.what, at, format!("wire type `{kind}` of field `{number}` is not read"))),
        };
        Ok(Field { number, value, at })
    }
}

impl Iterator for Fields {
    type Item = Result<Field, FormatError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.at >= self.section.len() {
            return None;
        }
        let field = self.field();
        self.failed = field.is_err();
        Some(field)
    }
}

/// The varint that the bytes begin with, and its length; `None` when it does not end in ten bytes or overflows.
#[must_use]
pub fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0u64;
    for (index, &byte) in bytes.iter().take(VARINT_BYTES).enumerate() {
        // The tenth byte has room for one bit.
        if index == VARINT_BYTES - 1 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return Some((value, index + 1));
        }
    }
    None
}

fn bad_varint(what: &'static str, at: u64) -> FormatError {
    broken(what, at, "a varint does not end, or overflows 64 bits")
}

pub(crate) fn broken(what: &'static str, at: u64, detail: impl Into<String>) -> FormatError {
    FormatError::Broken { what, at, detail: detail.into() }
}

#[cfg(test)]
pub(crate) mod build {
    //! Writes messages, for tests.

    /// Base-128 varint.
    pub fn varint(mut value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    }

    /// A field of bytes.
    pub fn bytes(number: u64, value: impl AsRef<[u8]>) -> Vec<u8> {
        let value = value.as_ref();
        [varint(number << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
    }

    /// An integer field.
    pub fn number(number: u64, value: u64) -> Vec<u8> {
        [varint(number << 3), varint(value)].concat()
    }

    /// A 32-bit field.
    pub fn fixed32(number: u64, value: u32) -> Vec<u8> {
        [varint(number << 3 | 5), value.to_le_bytes().to_vec()].concat()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Message, Value, build, varint};
    use crate::error::FormatError;
    use crate::source::Section;

    fn message(bytes: impl Into<Vec<u8>>) -> Message {
        Message::new(Section::of_bytes("m", bytes))
    }

    #[test]
    fn fields_come_in_order_with_their_places() {
        let inner = build::number(3, 150);
        let mut bytes = [build::number(1, u64::MAX), build::bytes(2, &inner)].concat();
        bytes.extend([0x25, 1, 0, 0, 0, 0x29, 2, 0, 0, 0, 0, 0, 0, 0]);
        let fields: Vec<_> = message(bytes).fields("test").unwrap().map(Result::unwrap).collect();
        assert_eq!(fields.iter().map(|field| field.number).collect::<Vec<_>>(), [1, 2, 4, 5]);
        assert_eq!(fields[0].value.number(), Some(u64::MAX));
        let nested = fields[1].value.message().unwrap();
        assert_eq!((nested.section().begin(), nested.len()), (13, 3));
        let nested: Vec<_> = nested.fields("inner").unwrap().map(Result::unwrap).collect();
        assert_eq!((nested[0].value.number(), nested[0].at), (Some(150), 13));
        assert!(matches!(fields[2].value, Value::Fixed32(1)));
        assert!(matches!(fields[3].value, Value::Fixed64(2)));
    }

    #[test]
    fn long_messages_are_walked_without_loading_their_bytes() {
        let big = vec![7u8; 300_000];
        let bytes = [build::bytes(1, &big), build::number(2, 5), build::bytes(3, &big), build::number(4, 6)].concat();
        let numbers: Vec<_> = message(bytes).fields("test").unwrap().map(|field| field.unwrap().number).collect();
        assert_eq!(numbers, [1, 2, 3, 4]);
    }

    #[test]
    fn broken_wire_data_is_refused_by_name() {
        let error = |bytes: &[u8]| message(bytes).fields("test").unwrap().find_map(Result::err).unwrap().to_string();
        assert_eq!(error(&[0x08, 0xff]), "test at byte 1: a varint does not end, or overflows 64 bits");
        let long = [&[0x08][..], &[0xff; 9], &[2]].concat();
        assert_eq!(error(&long), "test at byte 1: a varint does not end, or overflows 64 bits");
        assert_eq!(error(&[0x00, 0]), "test at byte 0: field number `0` does not exist");
        assert_eq!(error(&[0x0b]), "test at byte 0: wire type `3` of field `1` is not read");
        assert_eq!(error(&[0x0a, 5, 1]), "test needs 5 bytes; only 1 are there");
        let lie = [vec![0x0a], build::varint(u64::MAX)].concat();
        assert_eq!(error(&lie), "test needs 18446744073709551615 bytes; only 0 are there");
        assert_eq!(error(&[0x0d, 1]), "test needs 4 bytes; only 1 are there");
    }

    #[test]
    fn packed_numbers_are_counted_before_they_pile_up() {
        let packed = message([build::varint(1), build::varint(300), build::varint(7)].concat());
        let mut numbers = Vec::new();
        packed.varints("test", 3, &mut numbers).unwrap();
        assert_eq!(numbers, [1, 300, 7]);
        let error = packed.varints("test", 3, &mut numbers).unwrap_err();
        assert!(matches!(error, FormatError::TooLarge { size: 4, limit: 3, .. }));
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..2_000), zeros in 0usize..100_000) {
            let bytes = [bytes, vec![0x0a; zeros]].concat();
            let len = bytes.len();
            prop_assert!(message(bytes).fields("test").unwrap().count() <= len);
        }

        #[test]
        fn varints_are_read_as_written(value: u64) {
            let bytes = build::varint(value);
            prop_assert_eq!(varint(&bytes), Some((value, bytes.len())));
        }
    }
}
