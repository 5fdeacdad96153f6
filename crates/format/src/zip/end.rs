//! The end record of an archive: where its directory is.

use crate::error::FormatError;
use crate::limits::Limits;
use crate::source::Section;

use super::bytes::{u16_at, u32_at, u64_at};

const END: &[u8] = b"PK\x05\x06";
const END_LEN: u64 = 22;
const LOCATOR_LEN: u64 = 20;
/// An end record with the longest comment, and a locator before it.
const TAIL_LEN: u64 = END_LEN + 0xffff + LOCATOR_LEN;

/// Where the directory of an archive is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    /// Offset in the section of the directory.
    pub(super) directory: u64,
    pub(super) directory_len: u64,
    pub(super) entries: u64,
    /// Bytes before the archive, which its own offsets do not count.
    pub(super) prefix: u64,
    /// Bytes after the end record that are not its comment.
    pub(super) after: u64,
    /// Places from the directory on that look like an end record.
    pub(super) candidates: u64,
    /// The comment is not empty.
    pub(super) comment: bool,
}

impl End {
    /// Finds the end record; of several the last that fits.
    pub(super) fn find(section: &Section, limits: &Limits) -> Result<Self, FormatError> {
        let tail = section.tail("end of a zip archive", TAIL_LEN)?;
        let tail_begin = section.len() - tail.len() as u64;
        let places: Vec<usize> =
            tail.windows(4).enumerate().filter(|(_, four)| *four == END).map(|(at, _)| at).collect();
        // A record whose comment ends with the file is better than one that something follows.
        let fits = |&&at: &&usize| {
            let comment = tail.get(at..).and_then(|record| u16_at(record, 20));
            comment.is_some_and(|comment| at as u64 + END_LEN + u64::from(comment) == tail.len() as u64)
        };
        let at = places.iter().rev().find(fits).or_else(|| places.iter().rev().find(|&&at| tail.len() - at >= 22));
        let Some(&at) = at else {
            return Err(FormatError::BadMagic { what: "zip archive" });
        };
        let record = tail.get(at..).unwrap_or_default();
        let end = Self::read(section, &tail, record, at, tail_begin, limits)?;
        // Those before the directory lie inside members: archives in an archive.
        let candidates = places.iter().filter(|&&place| tail_begin + place as u64 >= end.directory).count();
        Ok(Self { candidates: candidates as u64, ..end })
    }

    fn read(
        section: &Section,
        tail: &[u8],
        record: &[u8],
        at: usize,
        tail_begin: u64,
        limits: &Limits,
    ) -> Result<Self, FormatError> {
        let short =
            || FormatError::Truncated { what: "end of a zip archive", needed: END_LEN, got: record.len() as u64 };
        let disk = u16_at(record, 4).ok_or_else(short)?;
        let mut entries = u64::from(u16_at(record, 10).ok_or_else(short)?);
        let mut directory_len = u64::from(u32_at(record, 12).ok_or_else(short)?);
        let mut directory = u64::from(u32_at(record, 16).ok_or_else(short)?);
        let comment = u16_at(record, 20).ok_or_else(short)?;
        let record_at = tail_begin + at as u64;
        // What the directory ends at: the 64-bit record where there is one.
        let mut directory_end = record_at;
        let locator = at.checked_sub(LOCATOR_LEN as usize).and_then(|begin| tail.get(begin..at));
        if let Some(locator) = locator.filter(|locator| locator.starts_with(b"PK\x06\x07")) {
            let (place, end64) = find_end64(section, locator, record_at - LOCATOR_LEN)?;
            let field = |at| u64_at(&end64, at).unwrap_or(u64::MAX);
            (entries, directory_len, directory) = (field(32), field(40), field(48));
            directory_end = place;
        } else if disk != 0 && disk != 0xffff {
            return Err(FormatError::Unsupported { what: "zip archive in parts", detail: format!("part `{disk}`") });
        }
        Limits::at_most("number of members of a zip archive", entries, limits.members)?;
        Limits::at_most("directory of a zip archive in bytes", directory_len, limits.header_bytes)?;
        let begin = directory_end.checked_sub(directory_len);
        let prefix = begin.and_then(|begin| begin.checked_sub(directory)).ok_or_else(|| FormatError::Broken {
            what: "end of a zip archive",
            at: record_at,
            detail: format!("a directory of `{directory_len}` bytes at `{directory}` does not end before it"),
        })?;
        Ok(Self {
            directory: directory + prefix,
            directory_len,
            entries,
            prefix,
            after: (tail.len() as u64 - at as u64).saturating_sub(END_LEN + u64::from(comment)),
            candidates: 1,
            comment: comment > 0,
        })
    }
}

/// The 64-bit end record: where the locator says, or right before it when bytes precede the archive.
fn find_end64(section: &Section, locator: &[u8], locator_at: u64) -> Result<(u64, Vec<u8>), FormatError> {
    const WHAT: &str = "64-bit end of a zip archive";
    let announced = u64_at(locator, 8).unwrap_or(u64::MAX);
    for place in [Some(announced), locator_at.checked_sub(56)].into_iter().flatten() {
        if place.checked_add(56).is_some_and(|end| end <= locator_at) {
            let record = section.read(WHAT, place, 56)?;
            if record.starts_with(b"PK\x06\x06") {
                return Ok((place, record));
            }
        }
    }
    Err(FormatError::Broken { what: WHAT, at: locator_at, detail: format!("it is not at `{announced}`") })
}
