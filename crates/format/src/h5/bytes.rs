//! A structure in memory, read from front to back.

use crate::error::FormatError;

use super::broken;

/// Bytes of one structure and a place in them.
pub(super) struct Bytes {
    what: &'static str,
    data: Vec<u8>,
    /// Address of the first byte.
    begin: u64,
    at: usize,
    offset_bytes: usize,
    length_bytes: usize,
}

impl Bytes {
    pub(super) const fn new(
        what: &'static str,
        data: Vec<u8>,
        begin: u64,
        offset_bytes: usize,
        length_bytes: usize,
    ) -> Self {
        Self { what, data, begin, at: 0, offset_bytes, length_bytes }
    }

    /// Address of the current place.
    pub(super) const fn place(&self) -> u64 {
        self.begin.saturating_add(self.at as u64)
    }

    pub(super) const fn left(&self) -> usize {
        self.data.len() - self.at
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&[u8], FormatError> {
        let left = self.left();
        let short = FormatError::Truncated { what: self.what, needed: len as u64, got: left as u64 };
        if len > left {
            return Err(short);
        }
        let begin = self.at;
        self.at += len;
        self.data.get(begin..self.at).ok_or(short)
    }

    /// As many bytes as a 64-bit number says.
    pub(super) fn take_long(&mut self, len: u64) -> Result<&[u8], FormatError> {
        self.take(usize::try_from(len).unwrap_or(usize::MAX))
    }

    pub(super) fn skip(&mut self, len: usize) -> Result<(), FormatError> {
        self.take(len).map(|_| ())
    }

    /// Skips to a multiple of eight from the first byte on; the end of the structure is one too.
    pub(super) fn align(&mut self) {
        self.at = self.at.next_multiple_of(8).min(self.data.len());
    }

    /// An unsigned number of up to eight bytes.
    pub(super) fn uint(&mut self, len: usize) -> Result<u64, FormatError> {
        if len > 8 {
            let detail = format!("a number of `{len}` bytes does not exist");
            return Err(broken(self.what, self.place(), detail));
        }
        Ok(self.take(len)?.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    pub(super) fn u8(&mut self) -> Result<u8, FormatError> {
        Ok(self.uint(1)? as u8)
    }

    pub(super) fn u16(&mut self) -> Result<u16, FormatError> {
        Ok(self.uint(2)? as u16)
    }

    pub(super) fn u32(&mut self) -> Result<u32, FormatError> {
        Ok(self.uint(4)? as u32)
    }

    pub(super) fn u64(&mut self) -> Result<u64, FormatError> {
        self.uint(8)
    }

    /// An address; all ones, of any width, is [`u64::MAX`].
    pub(super) fn offset(&mut self) -> Result<u64, FormatError> {
        let width = self.offset_bytes;
        let value = self.uint(width)?;
        let none = if width == 8 { u64::MAX } else { (1 << (8 * width)) - 1 };
        Ok(if value == none { u64::MAX } else { value })
    }

    pub(super) fn length(&mut self) -> Result<u64, FormatError> {
        self.uint(self.length_bytes)
    }

    /// Text up to a zero byte, which is skipped too.
    pub(super) fn until_zero(&mut self) -> Result<Vec<u8>, FormatError> {
        let rest = self.data.get(self.at..).unwrap_or_default();
        let len = rest.iter().position(|&byte| byte == 0);
        let len = len.ok_or_else(|| broken(self.what, self.place(), "a text does not end"))?;
        let text = self.take(len)?.to_vec();
        self.skip(1)?;
        Ok(text)
    }

    /// Checks the mark that the structure begins with.
    pub(super) fn mark(&mut self, mark: &[u8; 4]) -> Result<(), FormatError> {
        let at = self.place();
        let what = self.what;
        if self.take(4)? == mark {
            return Ok(());
        }
        Err(broken(what, at, format!("the mark `{}` is missing", mark.escape_ascii())))
    }

    /// Checks a version that must be one of these.
    pub(super) fn version(&mut self, known: &[u8]) -> Result<u8, FormatError> {
        let version = self.u8()?;
        if known.contains(&version) {
            return Ok(version);
        }
        Err(FormatError::UnknownVersion { what: self.what, version: version.into() })
    }
}
