//! Archives of stored members, planned: the checksum of a tensor is known when its bytes went by.
//!
//! Every member has its checksum and sizes behind its bytes (general flag 0x8), so that nothing has to be patched, and
//! in the directory. Two kinds: plain archives, and those of torch, whose members begin at multiples of 64 bytes and
//! whose headers differ in small things that are kept to the byte.
//!
//! Sources: APPNOTE.TXT 6.3.10 of PKWARE; files of PyTorch 2.15.

use crate::error::FormatError;
use crate::limits::Limits;
use crate::output::{Checksum, Part};

/// Sizes and offsets from here on are written with 64 bits.
const WIDE: u64 = u32::MAX as u64;
/// Where the members of torch's archives begin: at multiples of this.
const ALIGNMENT: u64 = 64;
/// Sizes follow the bytes; names are UTF-8.
const LATE: u16 = 0x8;
const UTF8: u16 = 0x800;

/// Whose archive it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// As the specification has it.
    Plain,
    /// As `torch.save` writes it.
    Torch,
}

/// An archive on its way.
pub(crate) struct ZipPlan {
    kind: Kind,
    parts: Vec<Part>,
    /// Bytes that are not yet a part.
    pending: Vec<u8>,
    /// Number of the first part in its file.
    first_part: usize,
    /// Length so far.
    len: u64,
    members: Vec<Member>,
}

struct Member {
    name: String,
    header: u64,
    size: u64,
    sum: Checksum,
}

impl Member {
    fn flags(&self, kind: Kind) -> u16 {
        // Torch has nothing to say behind a member without bytes.
        if kind == Kind::Torch && self.size == 0 { UTF8 } else { UTF8 | LATE }
    }

    /// The extra field of the directory's entry.
    fn extra(&self) -> Vec<u8> {
        let sizes = if self.size >= WIDE { [self.size; 2].map(Some) } else { [None; 2] };
        wide(sizes.into_iter().chain([(self.header >= WIDE).then_some(self.header)]).flatten())
    }
}

impl ZipPlan {
    /// An archive whose first part is to be number `first_part` of its file.
    pub(crate) fn new(kind: Kind, first_part: usize) -> Self {
        Self { kind, parts: Vec::new(), pending: Vec::new(), first_part, len: 0, members: Vec::new() }
    }

    /// Adds a member of bytes.
    ///
    /// # Errors
    /// [`FormatError::TooLarge`] for a name that is too long, [`FormatError::SizeOverflow`].
    pub(crate) fn add_bytes(&mut self, name: &str, bytes: &[u8]) -> Result<(), FormatError> {
        let size = bytes.len() as u64;
        let header = self.begin(name, size)?;
        self.put(bytes);
        self.end(Member { name: name.to_owned(), header, size, sum: Checksum::Known(super::crc(bytes)) })
    }

    /// Adds a member of some bytes and then one part of `size` bytes.
    ///
    /// # Errors
    /// As [`ZipPlan::add_bytes`].
    pub(crate) fn add_part(&mut self, name: &str, head: &[u8], part: Part, size: u64) -> Result<(), FormatError> {
        let overflow = || FormatError::SizeOverflow { tensor: name.to_owned() };
        let whole = size.checked_add(head.len() as u64).ok_or_else(overflow)?;
        let header = self.begin(name, whole)?;
        self.flush();
        let begin = self.first_part + self.parts.len();
        if !head.is_empty() {
            self.push(Part::bytes(head), head.len() as u64).ok_or_else(overflow)?;
        }
        if size > 0 {
            self.push(part, size).ok_or_else(overflow)?;
        }
        let end = self.first_part + self.parts.len();
        let sum = if whole == 0 { Checksum::Known(0) } else { Checksum::Of(begin..end) };
        self.end(Member { name: name.to_owned(), header, size: whole, sum })
    }

    /// Checksums of the members that have bytes.
    pub(crate) fn sums(&self) -> impl Iterator<Item = &Checksum> {
        self.members.iter().filter(|member| member.size > 0).map(|member| &member.sum)
    }

    /// Names of the members.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|member| member.name.as_str())
    }

    /// Writes the directory; answers all parts and their length in bytes.
    ///
    /// # Errors
    /// [`FormatError::SizeOverflow`].
    pub(crate) fn finish(mut self) -> Result<(Vec<Part>, u64), FormatError> {
        let begin = self.len;
        let members = std::mem::take(&mut self.members);
        for member in &members {
            let version = self.version(member.size.max(member.header));
            let extra = member.extra();
            self.put(b"PK\x01\x02");
            let times = self.times();
            self.put_all(&[version, version, member.flags(self.kind), 0, times[0], times[1]]);
            self.put_sum(&member.sum)?;
            let size = member.size.min(WIDE) as u32;
            self.put(&[size.to_le_bytes(), size.to_le_bytes()].concat());
            self.put_all(&[member.name.len() as u16, extra.len() as u16, 0, 0, 0, 0, 0]);
            self.put(&(member.header.min(WIDE) as u32).to_le_bytes());
            self.put(member.name.as_bytes());
            self.put(&extra);
        }
        let (end, count) = (self.len, members.len() as u64);
        let len = end - begin;
        if self.kind == Kind::Torch || count >= 0xffff || len >= WIDE || begin >= WIDE {
            let made = if self.kind == Kind::Torch { 0x031e } else { 45 };
            self.put(b"PK\x06\x06");
            self.put(&44u64.to_le_bytes());
            self.put_all(&[made, 45, 0, 0, 0, 0]);
            for number in [count, count, len, begin] {
                self.put(&number.to_le_bytes());
            }
            self.put(b"PK\x06\x07\0\0\0\0");
            self.put(&end.to_le_bytes());
            self.put(&1u32.to_le_bytes());
        }
        self.put(b"PK\x05\x06");
        let count = count.min(0xffff) as u16;
        self.put_all(&[0, 0, count, count]);
        for number in [len, begin] {
            self.put(&(number.min(WIDE) as u32).to_le_bytes());
        }
        self.put_all(&[0]);
        self.flush();
        Ok((self.parts, self.len))
    }

    /// Writes the local header of a member of so many bytes; answers its offset.
    fn begin(&mut self, name: &str, size: u64) -> Result<u64, FormatError> {
        Limits::at_most("name of a zip member in bytes", name.len() as u64, u16::MAX.into())?;
        if name.contains('\0') {
            return Err(FormatError::Rule { what: "name of a zip member", rule: "it has no zero byte" });
        }
        let header = self.len;
        let is_wide = self.is_wide(header, size);
        let mut extra = match self.kind {
            Kind::Plain if is_wide => wide([size, size]),
            Kind::Plain => Vec::new(),
            // The stored size stays open, and the offset stands here too.
            Kind::Torch => {
                let sizes = if size >= WIDE { [Some(size), Some(0)] } else { [None; 2] };
                wide(sizes.into_iter().chain([(header >= WIDE).then_some(header)]).flatten())
            }
        };
        if self.kind == Kind::Torch {
            let begin = (header + 30 + 4).checked_add((name.len() + extra.len()) as u64);
            let begin = begin.ok_or_else(|| FormatError::SizeOverflow { tensor: name.to_owned() })?;
            let gap = begin.next_multiple_of(ALIGNMENT) - begin;
            extra.extend(b"FB");
            extra.extend((gap as u16).to_le_bytes());
            extra.extend(std::iter::repeat_n(b'Z', gap as usize));
        }
        let flags = Member { name: String::new(), header, size, sum: Checksum::Known(0) }.flags(self.kind);
        let (version, times) = (self.version(size), self.times());
        self.put(b"PK\x03\x04");
        self.put_all(&[version, flags, 0, times[0], times[1]]);
        let size = if self.kind == Kind::Plain && is_wide { u32::MAX } else { 0 };
        self.put(&[0, size, size].map(u32::to_le_bytes).concat());
        self.put_all(&[name.len() as u16, extra.len() as u16]);
        self.put(name.as_bytes());
        self.put(&extra);
        Ok(header)
    }

    /// Writes what follows the bytes of a member.
    fn end(&mut self, member: Member) -> Result<(), FormatError> {
        if member.flags(self.kind) & LATE != 0 {
            self.put(b"PK\x07\x08");
            self.put_sum(&member.sum)?;
            if self.is_wide(member.header, member.size) {
                self.put(&[member.size, member.size].map(u64::to_le_bytes).concat());
            } else {
                self.put(&[member.size as u32, member.size as u32].map(u32::to_le_bytes).concat());
            }
        }
        self.members.push(member);
        Ok(())
    }

    /// Whether the local header of a member has a 64-bit extra field.
    fn is_wide(&self, header: u64, size: u64) -> bool {
        size >= WIDE || (self.kind == Kind::Torch && header >= WIDE)
    }

    fn version(&self, largest: u64) -> u16 {
        match self.kind {
            Kind::Torch => 0,
            Kind::Plain if largest >= WIDE => 45,
            Kind::Plain => 20,
        }
    }

    /// Time and date of every member: none, or the first day that there is.
    fn times(&self) -> [u16; 2] {
        if self.kind == Kind::Torch { [0, 0] } else { [0, 0x21] }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.pending.extend(bytes);
        self.len += bytes.len() as u64;
    }

    fn put_all(&mut self, numbers: &[u16]) {
        for number in numbers {
            self.put(&number.to_le_bytes());
        }
    }

    fn put_sum(&mut self, sum: &Checksum) -> Result<(), FormatError> {
        match sum {
            Checksum::Known(sum) => self.put(&sum.to_le_bytes()),
            Checksum::Of(parts) => {
                let overflow = || FormatError::SizeOverflow { tensor: String::new() };
                self.push(Part::Crc32(parts.clone()), 4).ok_or_else(overflow)?;
            }
        }
        Ok(())
    }

    fn push(&mut self, part: Part, size: u64) -> Option<()> {
        self.flush();
        // Everything else together is far below what is left.
        self.len = self.len.checked_add(size).filter(|len| *len < u64::MAX >> 1)?;
        self.parts.push(part);
        Some(())
    }

    fn flush(&mut self) {
        if !self.pending.is_empty() {
            self.parts.push(Part::bytes(std::mem::take(&mut self.pending)));
        }
    }
}

/// A 64-bit extra field; nothing without numbers.
fn wide(numbers: impl IntoIterator<Item = u64>) -> Vec<u8> {
    let numbers: Vec<u8> = numbers.into_iter().flat_map(u64::to_le_bytes).collect();
    match numbers.len() {
        0 => Vec::new(),
        len => [&[1, 0][..], &(len as u16).to_le_bytes(), &numbers].concat(),
    }
}
