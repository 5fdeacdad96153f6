//! Little-endian numbers, one after the other, out of a file.

use crate::error::FormatError;
use crate::source::Section;

/// A place in a file.
pub(super) struct Cursor<'a> {
    what: &'static str,
    section: &'a Section,
    pub(super) at: u64,
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(what: &'static str, section: &'a Section, at: u64) -> Self {
        Self { what, section, at }
    }

    pub(super) const fn is_at_end(&self) -> bool {
        self.at >= self.section.len()
    }

    /// The next `len` bytes.
    pub(super) fn take(&mut self, len: u64) -> Result<Vec<u8>, FormatError> {
        let bytes = self.section.read(self.what, self.at, len)?;
        self.at += len;
        Ok(bytes)
    }

    /// The next `len` bytes, unread.
    pub(super) fn part(&mut self, len: u64) -> Result<Section, FormatError> {
        let part = self.section.slice(self.what, self.at, len)?;
        self.at += len;
        Ok(part)
    }

    pub(super) fn u32(&mut self) -> Result<u32, FormatError> {
        let bytes = self.take(4)?;
        Ok(bytes.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes)))
    }

    pub(super) fn u64(&mut self) -> Result<u64, FormatError> {
        let bytes = self.take(8)?;
        Ok(bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)))
    }
}
