//! Forward reading through a section, a window at a time.

use crate::error::FormatError;
use crate::source::Section;

/// Bytes fetched at once.
const WINDOW: u64 = 1 << 16;

/// A place in a section that moves forward. Skipping costs nothing; small reads are served from a window.
pub(crate) struct Cursor<'a> {
    section: &'a Section,
    what: &'static str,
    at: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl<'a> Cursor<'a> {
    /// Begins at the start; `what` names the structure in errors.
    pub(crate) const fn new(section: &'a Section, what: &'static str) -> Self {
        Self { section, what, at: 0, window: Vec::new(), window_at: 0 }
    }

    /// Offset in the section of the next byte.
    pub(crate) const fn at(&self) -> u64 {
        self.at
    }

    /// Bytes that follow.
    pub(crate) const fn remaining(&self) -> u64 {
        self.section.len().saturating_sub(self.at)
    }

    /// An error about the bytes at `at`.
    pub(crate) fn broken(&self, at: u64, detail: impl Into<String>) -> FormatError {
        FormatError::Broken { what: self.what, at, detail: detail.into() }
    }

    /// Fails unless `len` bytes follow.
    pub(crate) const fn need(&self, len: u64) -> Result<(), FormatError> {
        if len > self.remaining() {
            return Err(FormatError::Truncated { what: self.what, needed: len, got: self.remaining() });
        }
        Ok(())
    }

    /// Passes over `len` bytes.
    pub(crate) fn skip(&mut self, len: u64) -> Result<(), FormatError> {
        self.need(len)?;
        self.at += len;
        Ok(())
    }

    /// The next `N` bytes; `N` is small.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        self.need(N as u64)?;
        if let Some(found) = self.in_window(N) {
            let mut bytes = [0; N];
            bytes.copy_from_slice(found);
            self.at += N as u64;
            return Ok(bytes);
        }
        let len = self.remaining().min(WINDOW.max(N as u64));
        self.window = self.section.read(self.what, self.at, len)?;
        self.window_at = self.at;
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.window.get(..N).unwrap_or(&[0; N]));
        self.at += N as u64;
        Ok(bytes)
    }

    /// The next byte.
    pub(crate) fn byte(&mut self) -> Result<u8, FormatError> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// The next `len` bytes.
    pub(crate) fn bytes(&mut self, len: u64) -> Result<Vec<u8>, FormatError> {
        self.need(len)?;
        let found = usize::try_from(len).ok().and_then(|len| self.in_window(len)).map(<[u8]>::to_vec);
        let bytes = match found {
            Some(bytes) => bytes,
            None if len < WINDOW / 4 => {
                let ahead = self.remaining().min(WINDOW);
                self.window = self.section.read(self.what, self.at, ahead)?;
                self.window_at = self.at;
                usize::try_from(len).ok().and_then(|len| self.in_window(len)).map(<[u8]>::to_vec).unwrap_or_default()
            }
            None => self.section.read(self.what, self.at, len)?,
        };
        self.at += len;
        Ok(bytes)
    }

    fn in_window(&self, len: usize) -> Option<&[u8]> {
        let begin = usize::try_from(self.at.checked_sub(self.window_at)?).ok()?;
        self.window.get(begin..begin.checked_add(len)?)
    }
}

#[cfg(test)]
mod tests {
    use super::Cursor;
    use crate::error::FormatError;
    use crate::source::Section;

    #[test]
    fn a_cursor_reads_across_its_windows() {
        let bytes: Vec<u8> = (0..300_000u32).map(|number| (number % 251) as u8).collect();
        let section = Section::of_bytes("file", bytes.clone());
        let mut cursor = Cursor::new(&section, "file");
        let mut seen = Vec::new();
        for step in 0.. {
            let len = [1u64, 7, 4096, 20_000, 3][step % 5].min(cursor.remaining());
            if len == 0 {
                break;
            }
            seen.extend(if len == 7 { cursor.array::<7>().unwrap().to_vec() } else { cursor.bytes(len).unwrap() });
        }
        assert_eq!(seen, bytes);
        assert!(matches!(cursor.byte(), Err(FormatError::Truncated { needed: 1, got: 0, .. })));
        assert!(cursor.skip(u64::MAX).is_err());
        assert_eq!(cursor.at(), 300_000);
    }
}
