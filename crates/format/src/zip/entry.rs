//! Entries of the directory, and the header that stands before each member's bytes.

use super::bytes::{u16_at, u32_at, u64_at};
use crate::error::FormatError;
use crate::source::Section;

const LOCAL_LEN: u64 = 30;
const CENTRAL_LEN: usize = 46;
/// Flags: encrypted, sizes after the data, patch data, strong encryption, headers masked.
const ENCRYPTED: u16 = 0x1;
const SIZES_AFTER: u16 = 0x8;
const PATCHED: u16 = 0x20;
const STRONG: u16 = 0x40;
const MASKED: u16 = 0x2000;
const UTF8: u16 = 0x800;

/// A member as the directory describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Name; bytes that are not UTF-8 are replaced.
    pub name: String,
    /// Compression method: 0 is stored, 8 is deflate.
    pub method: u16,
    /// General flags.
    pub flags: u16,
    /// CRC-32 that is announced.
    pub crc: u32,
    /// Bytes as they are stored.
    pub stored_bytes: u64,
    /// Bytes after decompression.
    pub size_bytes: u64,
    /// Offset in the section of the local header.
    pub header: u64,
    /// The name as it is written.
    pub(super) raw_name: Vec<u8>,
    /// Unix mode says that it is a symbolic link.
    pub(super) link: bool,
}

impl Entry {
    /// Reads the entry at the start of `bytes`; answers it and its length.
    pub(super) fn read(bytes: &[u8], at: u64, prefix: u64) -> Result<(Self, usize), FormatError> {
        const WHAT: &str = "directory of a zip archive";
        let short = || FormatError::Truncated { what: WHAT, needed: CENTRAL_LEN as u64, got: bytes.len() as u64 };
        if !bytes.starts_with(b"PK\x01\x02") {
            return Err(FormatError::Broken { what: WHAT, at, detail: "an entry does not begin with its mark".into() });
        }
        let short16 = |at| u16_at(bytes, at).ok_or_else(short);
        let short32 = |at| u32_at(bytes, at).ok_or_else(short);
        let (flags, method, crc) = (short16(8)?, short16(10)?, short32(16)?);
        let (stored, size, header) = (short32(20)?, short32(24)?, short32(42)?);
        let name_end = CENTRAL_LEN + usize::from(short16(28)?);
        let extra_end = name_end + usize::from(short16(30)?);
        let end = extra_end + usize::from(short16(32)?);
        let attributes = short32(38)?;
        if bytes.len() < end {
            return Err(FormatError::Truncated { what: WHAT, needed: end as u64, got: bytes.len() as u64 });
        }
        let raw_name = bytes.get(CENTRAL_LEN..name_end).unwrap_or_default().to_vec();
        let extra = bytes.get(name_end..extra_end).unwrap_or_default();
        let mut wide = Wide::of(extra);
        let entry = Self {
            name: String::from_utf8_lossy(&raw_name).into_owned(),
            method,
            flags,
            crc,
            // The order of these is that of the extra field.
            size_bytes: wide.next(size)?,
            stored_bytes: wide.next(stored)?,
            header: wide.next(header)?.checked_add(prefix).ok_or_else(short)?,
            raw_name,
            link: attributes >> 28 == 0xa,
        };
        Ok((entry, end))
    }

    /// Whether it can only be read with a password.
    #[must_use]
    pub const fn is_encrypted(&self) -> bool {
        self.flags & (ENCRYPTED | STRONG | MASKED) != 0
    }

    /// Reads the local header, and says where it disagrees with the directory; answers the stored bytes.
    ///
    /// # Errors
    /// [`FormatError::Broken`] when there is no local header, [`FormatError::Truncated`] when the bytes are not there.
    pub(super) fn locate(&self, section: &Section) -> Result<(Section, Vec<String>), FormatError> {
        const WHAT: &str = "local header of a zip member";
        let fixed = section.read(WHAT, self.header, LOCAL_LEN)?;
        if !fixed.starts_with(b"PK\x03\x04") {
            let detail = format!("`{}` has none there", self.name);
            return Err(FormatError::Broken { what: WHAT, at: self.header, detail });
        }
        let short16 = |at| u16_at(&fixed, at).unwrap_or_default();
        let short32 = |at| u32_at(&fixed, at).unwrap_or_default();
        let (name_len, extra_len) = (u64::from(short16(26)), u64::from(short16(28)));
        // A million entries may name one header: nothing is read that is not needed.
        let same_len = name_len == self.raw_name.len() as u64;
        let name = if same_len { section.read(WHAT, self.header + LOCAL_LEN, name_len)? } else { Vec::new() };
        let wide = short32(18) == u32::MAX || short32(22) == u32::MAX;
        let extra_at = (self.header + LOCAL_LEN).checked_add(name_len).filter(|_| wide);
        let extra = extra_at.map_or(Ok(Vec::new()), |at| section.read(WHAT, at, extra_len))?;
        let mut found = Vec::new();
        let mut differs = |what: &str, local: String, central: String| {
            if local != central {
                found.push(format!("the local header says {what} `{local}`, the directory `{central}`"));
            }
        };
        match same_len {
            true => differs("name", text(&name), text(&self.raw_name)),
            false => differs("length of the name", name_len.to_string(), self.raw_name.len().to_string()),
        }
        differs("method", short16(8).to_string(), self.method.to_string());
        let secret = ENCRYPTED | PATCHED | STRONG | MASKED;
        differs("flags", format!("{:#x}", short16(6) & secret), format!("{:#x}", self.flags & secret));
        // With sizes after the data, the header may leave them zero.
        let late = short16(6) & SIZES_AFTER != 0;
        if !(late && short32(14) == 0) {
            differs("checksum", format!("{:#010x}", short32(14)), format!("{:#010x}", self.crc));
        }
        let mut wide = Wide::of(&extra);
        let (size, stored) = (wide.next(short32(22))?, wide.next(short32(18))?);
        if !(late && size == 0) {
            differs("size", size.to_string(), self.size_bytes.to_string());
        }
        if !(late && stored == 0) {
            differs("stored size", stored.to_string(), self.stored_bytes.to_string());
        }
        let begin = self.header + LOCAL_LEN + name_len + extra_len;
        Ok((section.slice("zip member", begin, self.stored_bytes)?, found))
    }

    /// What is odd about the entry itself.
    pub(super) fn oddities(&self) -> Vec<String> {
        let mut found = Vec::new();
        let secret = self.flags & (ENCRYPTED | PATCHED | STRONG | MASKED);
        if secret != 0 {
            found.push(format!("flags `{secret:#x}` say that it is encrypted or a patch"));
        }
        if self.link {
            found.push("it is a symbolic link".to_owned());
        }
        if self.flags & UTF8 != 0 && str::from_utf8(&self.raw_name).is_err() {
            found.push("its name is announced as UTF-8 and is not".to_owned());
        }
        found
    }

    /// Whether the name leads out of a folder, or is read differently on some systems.
    pub(super) fn has_bad_name(&self) -> bool {
        let name = &self.name;
        let drive = name.as_bytes().get(1) == Some(&b':');
        drive
            || name.is_empty()
            || name.starts_with('/')
            || name.contains(['\\', '\0', char::REPLACEMENT_CHARACTER])
            || name
                .chars()
                .any(|char| char.is_control() || matches!(char, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
            || name.split('/').any(|part| part == "..")
    }
}

fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

/// The 64-bit values of the extra field 0x0001, taken in order.
struct Wide<'a>(&'a [u8]);

impl<'a> Wide<'a> {
    fn of(extra: &'a [u8]) -> Self {
        let mut rest = extra;
        while let (Some(id), Some(len)) = (u16_at(rest, 0), u16_at(rest, 2)) {
            let end = 4 + usize::from(len);
            if id == 1 {
                return Self(rest.get(4..end).unwrap_or_default());
            }
            rest = rest.get(end..).unwrap_or_default();
        }
        Self(&[])
    }

    /// The value, or the next 64-bit one where it says that it does not fit.
    fn next(&mut self, value: u32) -> Result<u64, FormatError> {
        if value != u32::MAX {
            return Ok(value.into());
        }
        match (u64_at(self.0, 0), self.0.get(8..)) {
            (Some(wide), Some(rest)) => {
                self.0 = rest;
                Ok(wide)
            }
            // A size of exactly 2^32 - 1 needs no extra field.
            _ => Ok(value.into()),
        }
    }
}
