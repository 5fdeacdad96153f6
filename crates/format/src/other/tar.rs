//! Tar archives, listed: names, places and lengths of members.
//!
//! Old headers, ustar with its prefix, the long names of GNU tar and the paths of pax are read. Nothing is extracted.
//!
//! Source: POSIX.1-2024 `pax`, the manual of GNU tar.

use crate::error::FormatError;
use crate::limits::Limits;
use crate::protobuf::broken;
use crate::source::Section;

const BLOCK: u64 = 512;

/// A member.
#[derive(Clone, Debug)]
pub struct Member {
    /// Path as the archive has it.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Its bytes.
    pub section: Section,
}

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File,
    /// A folder.
    Folder,
    /// A hard or symbolic link.
    Link,
    /// A device, a pipe, or something that is not known.
    Other,
}

impl Member {
    /// Whether the name leads out of the folder that the archive would be unpacked in.
    #[must_use]
    pub fn leads_outside(&self) -> bool {
        self.name.starts_with(['/', '\\'])
            || self.name.contains(':')
            || self.name.split(['/', '\\']).any(|part| part == "..")
    }
}

/// Whether a header with a right checksum stands at the front.
#[must_use]
pub fn is_tar(section: &Section) -> bool {
    section.read("tar header", 0, BLOCK).is_ok_and(|header| header.first() != Some(&0) && has_right_sum(&header))
}

/// Lists the members of an archive.
///
/// # Errors
/// [`FormatError::BadMagic`] when there is no header at the front, [`FormatError::Broken`] for a header whose checksum or
/// numbers are wrong, [`FormatError::Truncated`] when a member is not there, [`FormatError::TooLarge`] beyond the limits.
pub fn members(section: &Section, limits: &Limits) -> Result<Vec<Member>, FormatError> {
    if !is_tar(section) {
        return Err(FormatError::BadMagic { what: "tar archive" });
    }
    let mut found = Vec::new();
    let (mut at, mut long, mut size_of_next) = (0u64, None, None);
    while at + BLOCK <= section.len() {
        let header = section.read("tar header", at, BLOCK)?;
        // Zeros end the archive; some writers leave them out.
        if header.iter().all(|&byte| byte == 0) {
            break;
        }
        if !has_right_sum(&header) {
            return Err(broken("tar header", at, "its checksum is wrong"));
        }
        let field = |begin: usize, len: usize| header.get(begin..begin + len).unwrap_or_default();
        let size = number(field(124, 12)).ok_or_else(|| broken("tar header", at, "a size is no number"))?;
        let kind = field(156, 1).first().copied().unwrap_or(0);
        let is_extra = matches!(kind, b'x' | b'g' | b'L' | b'K');
        let size = if is_extra { size } else { size_of_next.take().unwrap_or(size) };
        let data = section.slice("tar member", at + BLOCK, size)?;
        at = at.saturating_add(BLOCK).saturating_add(size.div_ceil(BLOCK).saturating_mul(BLOCK));
        if is_extra {
            Limits::at_most("tar extension in bytes", size, limits.text_bytes)?;
            let bytes = data.read("tar extension", 0, size)?;
            match kind {
                b'L' => long = Some(text(&bytes)),
                b'x' => {
                    let (path, size) = pax(&bytes);
                    long = path.or(long);
                    size_of_next = size;
                }
                _ => {}
            }
            continue;
        }
        let short = || match (field(257, 5), text(field(345, 155))) {
            (b"ustar", prefix) if !prefix.is_empty() => format!("{prefix}/{}", text(field(0, 100))),
            _ => text(field(0, 100)),
        };
        let name = long.take().unwrap_or_else(short);
        Limits::at_most("tar name in bytes", name.len() as u64, limits.name_bytes)?;
        let kind = match kind {
            0 | b'0' | b'7' => Kind::File,
            b'5' => Kind::Folder,
            b'1' | b'2' => Kind::Link,
            _ => Kind::Other,
        };
        found.push(Member { name, kind, section: data });
        Limits::at_most("number of tar members", found.len() as u64, limits.members)?;
    }
    Ok(found)
}

/// The sum of all bytes, with spaces where the sum itself stands.
fn has_right_sum(header: &[u8]) -> bool {
    let sum: u64 = header
        .iter()
        .enumerate()
        .map(|(index, &byte)| if (148..156).contains(&index) { 32 } else { u64::from(byte) })
        .sum();
    number(header.get(148..156).unwrap_or_default()) == Some(sum)
}

/// Octal digits, or with the first bit set a binary number, largest byte first.
fn number(field: &[u8]) -> Option<u64> {
    if let Some((first, rest)) = field.split_first().filter(|(first, _)| **first & 0x80 != 0) {
        let start = u64::from(first & 0x7f);
        return rest.iter().try_fold(start, |value, &byte| value.checked_mul(256)?.checked_add(u64::from(byte)));
    }
    let digits = str::from_utf8(field).ok()?.trim_matches([' ', '\0']);
    if digits.is_empty() { Some(0) } else { u64::from_str_radix(digits, 8).ok() }
}

fn text(field: &[u8]) -> String {
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(field.get(..end).unwrap_or_default()).into_owned()
}

/// Path and size out of `length key=value` lines.
fn pax(bytes: &[u8]) -> (Option<String>, Option<u64>) {
    let (mut path, mut size) = (None, None);
    for line in bytes.split(|&byte| byte == b'\n') {
        let line = String::from_utf8_lossy(line);
        let entry = line.split_once(' ').and_then(|(_, entry)| entry.split_once('='));
        match entry {
            Some(("path", value)) => path = Some(value.to_owned()),
            Some(("size", value)) => size = value.parse().ok(),
            _ => {}
        }
    }
    (path, size)
}
