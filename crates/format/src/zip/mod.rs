//! Zip archives, read twice and compared.
//!
//! An archive describes each member twice: in the directory at its end, and in a header right before the member's
//! bytes. Readers differ in which of the two they believe, and attacks live on that difference. Here the directory
//! counts, every header that is opened is compared with it, and what disagrees is a warning.
//!
//! | record | mark | where |
//! |---|---|---|
//! | local header, 30 bytes, name, extra; then the member's bytes | `PK\3\4` | where the directory says |
//! | directory entry, 46 bytes, name, extra, comment | `PK\1\2` | one after the other |
//! | 64-bit end record, 56 bytes, and its locator, 20 bytes | `PK\6\6`, `PK\6\7` | after the directory, if needed |
//! | end record, 22 bytes, comment | `PK\5\6` | last |
//!
//! Source: APPNOTE.TXT 6.3.10 of PKWARE.

mod bytes;
mod end;
mod entry;
mod inflate;
pub(crate) mod write;

use std::collections::HashMap;

pub use entry::Entry;

use crate::contents::{Warning, WarningKind};
use crate::error::FormatError;
use crate::limits::Limits;
use crate::source::Section;
use crate::tensor::{Filter, Stored};

/// An archive whose directory was read.
#[derive(Debug)]
pub struct Archive {
    section: Section,
    entries: Vec<Entry>,
    by_name: HashMap<String, usize>,
    directory: u64,
    prefix: u64,
    warnings: Vec<Warning>,
}

/// A member whose local header was read and compared.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Member {
    /// Name.
    pub name: String,
    /// Its bytes as they are stored.
    pub stored: Section,
    /// Compression method: 0 is stored, 8 is deflate.
    pub method: u16,
    /// CRC-32 that is announced.
    pub crc: u32,
    /// Bytes after decompression.
    pub size_bytes: u64,
}

impl Archive {
    /// Reads the directory of the archive that the section is.
    ///
    /// # Errors
    /// [`FormatError::BadMagic`] when there is no end record, [`FormatError::TooLarge`] above the limits, and
    /// [`FormatError::Broken`] or [`FormatError::Truncated`] for a directory that cannot be read.
    pub fn read(section: &Section, limits: &Limits) -> Result<Self, FormatError> {
        let end = end::End::find(section, limits)?;
        let bytes = section.read("directory of a zip archive", end.directory, end.directory_len)?;
        let mut archive = Self {
            section: section.clone(),
            entries: Vec::new(),
            by_name: HashMap::new(),
            directory: end.directory,
            prefix: end.prefix,
            warnings: Vec::new(),
        };
        let mut at = 0;
        // The directory counts, and not the number of entries that the end record has.
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            Limits::at_most("number of members of a zip archive", archive.entries.len() as u64 + 1, limits.members)?;
            let (entry, len) = Entry::read(rest, end.directory + at as u64, end.prefix)?;
            Limits::at_most("name of a zip member in bytes", entry.raw_name.len() as u64, limits.name_bytes)?;
            archive.entries.push(entry);
            at += len;
        }
        archive.look(&end);
        Ok(archive)
    }

    /// Notes what the end record and the directory show by themselves.
    fn look(&mut self, end: &end::End) {
        let count = self.entries.len() as u64;
        // Without the 64-bit record the number is known only modulo 65,536.
        if end.entries != count && end.entries != count % 65_536 {
            let message = format!("the end record counts {} members, the directory has {count}", end.entries);
            self.warn(WarningKind::Disagreement, None, message);
        }
        if end.candidates > 1 {
            let message = format!("{} places look like the end record", end.candidates);
            self.warn(WarningKind::Polyglot, None, message);
        }
        if end.prefix > 0 {
            self.warn(WarningKind::Polyglot, None, format!("{} bytes stand before the archive", end.prefix));
        }
        if end.after > 0 {
            self.warn(WarningKind::Extra, None, format!("{} bytes stand after the archive", end.after));
        }
        if end.comment {
            self.warn(WarningKind::Other, None, "the archive has a comment".to_owned());
        }
        let mut found = Vec::new();
        for (index, entry) in self.entries.iter().enumerate() {
            // As Python does, the last of equal names counts.
            if self.by_name.insert(entry.name.clone(), index).is_some() {
                found.push((WarningKind::Duplicate, index, "another member has the same name".to_owned()));
            }
            if entry.has_bad_name() {
                found.push((WarningKind::Name, index, "its name leads elsewhere or is no plain path".to_owned()));
            }
            found.extend(entry.oddities().into_iter().map(|message| (WarningKind::Other, index, message)));
        }
        for (kind, index, message) in found {
            self.warn(kind, Some(index), message);
        }
    }

    /// Members in the order of the directory.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Place among [`Archive::entries`] of the member with this name; the last if there are several.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// Opens the member at this place, after comparing its local header with the directory.
    ///
    /// # Errors
    /// [`FormatError::NoFile`] when there is no such place, [`FormatError::Unsupported`] for an encrypted member,
    /// [`FormatError::Broken`] or [`FormatError::Truncated`] when its bytes are not there.
    pub fn open(&mut self, index: usize) -> Result<Member, FormatError> {
        let Some(entry) = self.entries.get(index) else {
            return Err(FormatError::NoFile { path: format!("member {index}") });
        };
        if entry.is_encrypted() {
            return Err(FormatError::Unsupported { what: "encrypted zip member", detail: format!("`{}`", entry.name) });
        }
        self.open_unlocked(index)
    }

    /// As [`Archive::open`], but takes no notice of flags that say a member is encrypted: loaders differ in whether they
    /// believe them, and whoever looks for harm reads what any of them would.
    ///
    /// # Errors
    /// As [`Archive::open`], without [`FormatError::Unsupported`].
    pub fn open_unlocked(&mut self, index: usize) -> Result<Member, FormatError> {
        let Some(entry) = self.entries.get(index) else {
            return Err(FormatError::NoFile { path: format!("member {index}") });
        };
        let (stored, found) = entry.locate(&self.section)?;
        let Entry { name, method, crc, size_bytes, .. } = entry.clone();
        for message in found {
            self.warn(WarningKind::Disagreement, Some(index), message);
        }
        Ok(Member { name, stored, method, crc, size_bytes })
    }

    /// Opens the member with this name.
    ///
    /// # Errors
    /// As [`Archive::open`].
    pub fn open_named(&mut self, name: &str) -> Result<Member, FormatError> {
        match self.find(name) {
            Some(index) => self.open(index),
            None => Err(FormatError::NoFile { path: name.to_owned() }),
        }
    }

    /// Compares every local header with the directory, and looks for members that overlap and for bytes of no member.
    ///
    /// Costs one small read for each member.
    pub fn check(&mut self) {
        let mut spans = Vec::with_capacity(self.entries.len());
        for index in 0..self.entries.len() {
            let Some(entry) = self.entries.get(index) else { continue };
            let (header, late) = (entry.header, entry.flags & 0x8 != 0);
            match entry.locate(&self.section) {
                Ok((stored, found)) => {
                    for message in found {
                        self.warn(WarningKind::Disagreement, Some(index), message);
                    }
                    let end = stored.begin() - self.section.begin() + stored.len();
                    spans.push((header, end, late, index));
                }
                Err(error) => self.warn(WarningKind::Unreadable, Some(index), error.to_string()),
            }
        }
        spans.sort_unstable();
        let mut end = self.prefix;
        let mut room = 0;
        for (begin, span_end, late, index) in spans {
            if begin < end {
                self.warn(WarningKind::Disagreement, Some(index), "it overlaps another member".to_owned());
            } else if begin - end > room {
                self.warn(
                    WarningKind::Extra,
                    Some(index),
                    format!("{} bytes of no member stand before it", begin - end),
                );
            }
            end = end.max(span_end);
            // Sizes after the data take up to 24 bytes.
            room = if late { 24 } else { 0 };
        }
        if self.directory.saturating_sub(end) > room {
            let message = format!("{} bytes of no member stand before the directory", self.directory - end);
            self.warn(WarningKind::Extra, None, message);
        }
    }

    /// What was found so far that a person should know; takes it.
    pub fn take_warnings(&mut self) -> Vec<Warning> {
        let mut warnings = std::mem::take(&mut self.warnings);
        warnings.sort();
        warnings.dedup();
        warnings
    }

    fn warn(&mut self, kind: WarningKind, index: Option<usize>, message: String) {
        let file = match index.and_then(|index| self.entries.get(index)) {
            Some(entry) => format!("{}!{}", self.section.file(), entry.name),
            None => self.section.file().to_string(),
        };
        // A hostile archive can have any number of oddities.
        if self.warnings.len() < 1000 {
            self.warnings.push(Warning { kind, file, message });
        }
    }
}

impl Member {
    /// The member's bytes as they are in the file, if they are stored without compression.
    ///
    /// # Errors
    /// [`FormatError::Unsupported`] when the member is compressed, [`FormatError::LengthMismatch`] when its two sizes
    /// differ.
    pub fn section(&self) -> Result<Section, FormatError> {
        if self.method != 0 {
            let detail = format!("`{}` has method `{}` and must be stored", self.name, self.method);
            return Err(FormatError::Unsupported { what: "compressed zip member", detail });
        }
        self.same_size(self.stored.len())?;
        Ok(self.stored.clone())
    }

    /// The member's bytes, decompressed.
    ///
    /// # Errors
    /// [`FormatError::TooLarge`] above `limits.decoded_bytes` or `limits.inflate_ratio`, [`FormatError::Unsupported`]
    /// for other methods than stored and deflate, [`FormatError::ChecksumMismatch`] unless the announced checksum is
    /// zero, as torch leaves it when told to.
    pub fn bytes(&self, limits: &Limits) -> Result<Vec<u8>, FormatError> {
        let what = "zip member";
        let bytes = match self.method {
            0 => {
                self.same_size(self.stored.len())?;
                Limits::at_most("zip member in bytes", self.stored.len(), limits.decoded_bytes)?;
                self.stored.read(what, 0, self.stored.len())?
            }
            8 => {
                Limits::at_most("zip member in bytes", self.stored.len(), limits.decoded_bytes)?;
                inflate::inflate(&self.stored.read(what, 0, self.stored.len())?, self.size_bytes, limits)?
            }
            method => {
                let detail = format!("`{}` has method `{method}`", self.name);
                return Err(FormatError::Unsupported { what: "compression of a zip member", detail });
            }
        };
        let actual = crc(&bytes);
        if self.crc != 0 && actual != self.crc && !cfg!(fuzzing) {
            return Err(FormatError::ChecksumMismatch { what, expected: self.crc, actual });
        }
        Ok(bytes)
    }

    /// The member's bytes as a section: in place when stored, in memory when compressed.
    ///
    /// # Errors
    /// As [`Member::bytes`].
    pub fn unpacked(&self, limits: &Limits) -> Result<Section, FormatError> {
        match self.method {
            0 => self.section(),
            _ => Ok(Section::of_bytes(format!("{}!{}", self.stored.file(), self.name), self.bytes(limits)?)),
        }
    }

    /// Where the stored bytes lie, and the filters that decode them.
    ///
    /// # Errors
    /// [`FormatError::Unsupported`] for other methods than stored and deflate.
    pub fn place(&self) -> Result<(Stored, Vec<Filter>), FormatError> {
        let stored = self.stored.stored("zip member", 0, self.stored.len())?;
        match self.method {
            0 => self.same_size(self.stored.len()).map(|()| (stored, Vec::new())),
            8 => Ok((stored, vec![Filter::Deflate])),
            method => Err(FormatError::Unsupported {
                what: "compression of a zip member",
                detail: format!("`{}` has method `{method}`", self.name),
            }),
        }
    }

    fn same_size(&self, actual: u64) -> Result<(), FormatError> {
        match self.size_bytes {
            expected if expected == actual => Ok(()),
            expected => Err(FormatError::LengthMismatch { what: "stored zip member in bytes", expected, actual }),
        }
    }
}

/// CRC-32 as zip has it.
#[must_use]
pub fn crc(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, bytes) as u32
}

#[cfg(test)]
pub(crate) mod made;
#[cfg(test)]
mod tests;
