//! A section, read once from front to back in windows.

use crate::error::FormatError;
use crate::source::Section;

const WHAT: &str = "pickle";
const FIRST_WINDOW: u64 = 64 << 10;
const WINDOW: u64 = 1 << 20;

/// Bytes of a section from some place on. Holds no more than a window of them, whatever their number.
pub(super) struct Input<'a> {
    section: &'a Section,
    window: Vec<u8>,
    /// Place in the window.
    at: usize,
    /// Offset in the section of the window's first byte.
    begin: u64,
    next_window: u64,
}

/// A line without its end.
pub(super) enum Line<'a> {
    /// It fits the window.
    Near(&'a [u8]),
    /// It is longer than a window: offset in the section, and length.
    Far(u64, u64),
}

impl<'a> Input<'a> {
    pub(super) fn new(section: &'a Section, begin: u64) -> Self {
        Self { section, window: Vec::new(), at: 0, begin, next_window: FIRST_WINDOW }
    }

    /// Offset in the section of the next byte.
    #[inline]
    pub(super) fn offset(&self) -> u64 {
        self.begin + self.at as u64
    }

    /// Bytes from here to the end of the section.
    pub(super) fn remaining(&self) -> u64 {
        self.section.len().saturating_sub(self.offset())
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8, FormatError> {
        if let Some(&byte) = self.window.get(self.at) {
            self.at += 1;
            return Ok(byte);
        }
        Ok(self.fixed::<1>()?[0])
    }

    #[inline]
    pub(super) fn fixed<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        if let Some(&bytes) = self.window.get(self.at..).and_then(|rest| rest.first_chunk::<N>()) {
            self.at += N;
            return Ok(bytes);
        }
        self.fill(N as u64)?;
        let bytes = self.window.get(self.at..).and_then(|rest| rest.first_chunk::<N>()).copied();
        self.at += N;
        bytes.ok_or(FormatError::Truncated { what: WHAT, needed: N as u64, got: 0 })
    }

    /// The next `len` bytes, which must be fewer than a window has.
    #[inline]
    pub(super) fn take(&mut self, len: usize) -> Result<&[u8], FormatError> {
        if self.window.len() - self.at < len {
            self.fill(len as u64)?;
        }
        let begin = self.at;
        self.at += len;
        self.window.get(begin..self.at).ok_or(FormatError::Truncated { what: WHAT, needed: len as u64, got: 0 })
    }

    /// Steps over `len` bytes, which are not read; answers where they begin.
    pub(super) fn skip(&mut self, len: u64) -> Result<u64, FormatError> {
        let begin = self.offset();
        self.check(len)?;
        let in_window = (self.window.len() - self.at) as u64;
        if len <= in_window {
            self.at += len as usize;
        } else {
            self.begin = begin + len;
            self.window.clear();
            self.at = 0;
        }
        Ok(begin)
    }

    /// Everything to the next line feed, which is stepped over too.
    pub(super) fn line(&mut self) -> Result<Line<'_>, FormatError> {
        let start = self.offset();
        let mut searched = 0;
        loop {
            let rest = self.window.get(self.at + searched..).unwrap_or_default();
            if let Some(found) = rest.iter().position(|&byte| byte == b'\n') {
                let (begin, end) = (self.at, self.at + searched + found);
                self.at = end + 1;
                return Ok(match start == self.begin + begin as u64 {
                    true => Line::Near(self.window.get(begin..end).unwrap_or_default()),
                    false => Line::Far(start, self.begin + end as u64 - start),
                });
            }
            searched += rest.len();
            if searched as u64 >= WINDOW {
                // Too long to keep: only its range is.
                self.begin += self.window.len() as u64;
                self.window.clear();
                self.at = 0;
                searched = 0;
            }
            self.fill(searched as u64 + 1)?;
        }
    }

    fn check(&self, needed: u64) -> Result<(), FormatError> {
        match self.remaining() {
            got if got < needed => Err(FormatError::Truncated { what: WHAT, needed, got }),
            _ => Ok(()),
        }
    }

    /// Reads on, so that the window has at least `needed` bytes from here.
    #[cold]
    fn fill(&mut self, needed: u64) -> Result<(), FormatError> {
        self.check(needed)?;
        self.window.drain(..self.at);
        self.begin += self.at as u64;
        self.at = 0;
        let have = self.window.len() as u64;
        let want = needed.max(self.next_window).min(self.section.len() - self.begin);
        self.next_window = (self.next_window * 2).min(WINDOW);
        self.window.resize(want.max(have) as usize, 0);
        let fresh = self.window.get_mut(have as usize..).unwrap_or_default();
        let read = self.section.read_into(WHAT, self.begin + have, fresh);
        if read.is_err() {
            self.window.truncate(have as usize);
        }
        read
    }
}
