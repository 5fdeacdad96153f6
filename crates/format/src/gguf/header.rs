//! The words of a GGUF file, in its byte order and version.

use crate::cursor::Cursor;
use crate::error::FormatError;
use crate::limits::Limits;
use crate::source::Section;

pub(super) const WHAT: &str = "gguf header";

/// A reader of numbers and strings that knows version and byte order.
pub(super) struct Words<'a> {
    pub(super) cursor: Cursor<'a>,
    pub(super) limits: &'a Limits,
    pub(super) version: u32,
    pub(super) big_endian: bool,
}

impl<'a> Words<'a> {
    /// Reads magic and version.
    pub(super) fn open(section: &'a Section, limits: &'a Limits) -> Result<Self, FormatError> {
        let mut cursor = Cursor::new(section, WHAT);
        if &cursor.array::<4>()? != b"GGUF" {
            return Err(FormatError::BadMagic { what: "gguf file" });
        }
        let word = cursor.array()?;
        let mut version = u32::from_le_bytes(word);
        let big_endian = version & 0xFFFF == 0;
        if big_endian {
            version = u32::from_be_bytes(word);
        }
        if !(1..=3).contains(&version) {
            return Err(FormatError::UnknownVersion { what: "gguf file", version: version.into() });
        }
        Ok(Self { cursor, limits, version, big_endian })
    }

    /// The next bytes as those of a little-endian number.
    pub(super) fn number<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let mut bytes = self.cursor.array::<N>()?;
        if self.big_endian {
            bytes.reverse();
        }
        Ok(bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, FormatError> {
        self.number().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, FormatError> {
        self.number().map(u64::from_le_bytes)
    }

    /// A count, length or extent: 8 bytes, in version 1 four.
    pub(super) fn length(&mut self) -> Result<u64, FormatError> {
        if self.version == 1 { self.u32().map(u64::from) } else { self.u64() }
    }

    /// Bytes of a count, length or extent.
    pub(super) const fn length_bytes(&self) -> u64 {
        if self.version == 1 { 4 } else { 8 }
    }

    /// A count of things that have at least `least` bytes each.
    pub(super) fn count(&mut self, least: u64) -> Result<u64, FormatError> {
        let count = self.length()?;
        self.fits(count, least)?;
        Ok(count)
    }

    /// Fails unless `count` things of `least` bytes may follow.
    pub(super) const fn fits(&self, count: u64, least: u64) -> Result<(), FormatError> {
        self.cursor.need(count.saturating_mul(least))
    }

    /// Bytes of a string.
    pub(super) fn text(&mut self, what: &'static str, limit: u64) -> Result<Vec<u8>, FormatError> {
        let len = self.length()?;
        self.cursor.need(len)?;
        Limits::at_most(what, len, limit)?;
        self.cursor.bytes(len)
    }

    /// A key or a name.
    pub(super) fn name(&mut self, what: &'static str) -> Result<String, FormatError> {
        let at = self.cursor.at();
        let bytes = self.text(what, self.limits.name_bytes)?;
        String::from_utf8(bytes).map_err(|error| {
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            self.cursor.broken(at, format!("`{text}` is not UTF-8"))
        })
    }

    /// Fails once the header is longer than headers may be.
    pub(super) fn check_header(&self) -> Result<(), FormatError> {
        Limits::at_most("gguf header length in bytes", self.cursor.at(), self.limits.header_bytes)
    }
}
