//! FlatBuffers, walked table by table.
//!
//! Offsets in the file are never trusted: every table, vector and text is compared with what is there before it is
//! read. Only structure is read, through a few pages, so that files of many gigabytes cost little.
//!
//! ```text
//!   table  = distance back to its vtable (i32), fields
//!   vtable = its length (u16), the table's length (u16), the offset of each field in the table or 0 (u16)
//!   vector = number of elements (u32), elements
//! ```
//!
//! Source: *FlatBuffers internals*.

use std::cell::RefCell;

use crate::error::FormatError;
use crate::limits::Limits;
use crate::protobuf::broken;
use crate::source::Section;

const PAGE_BYTES: u64 = 16 << 10;
/// Pages that are kept.
const PAGES: usize = 32;

/// A file of tables.
pub(crate) struct Flat {
    what: &'static str,
    section: Section,
    pages: RefCell<Vec<(u64, Vec<u8>)>>,
}

/// A table: its place, and where its fields are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    at: u64,
    len: u64,
    vtable: u64,
    vtable_len: u64,
}

/// A vector: place of its first element, and their number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vector {
    at: u64,
    pub(crate) len: u64,
}

impl Flat {
    pub(crate) const fn new(what: &'static str, section: Section) -> Self {
        Self { what, section, pages: RefCell::new(Vec::new()) }
    }

    pub(crate) fn root(&self) -> Result<Table, FormatError> {
        self.table(self.forward(0)?)
    }

    /// A field of up to eight bytes; `None` when the table leaves it at its default.
    pub(crate) fn uint(&self, table: Table, field: u64, width: u64) -> Result<Option<u64>, FormatError> {
        match self.field(table, field, width)? {
            Some(at) => self.number(at, width).map(Some),
            None => Ok(None),
        }
    }

    /// The table that a field refers to.
    pub(crate) fn child(&self, table: Table, field: u64) -> Result<Option<Table>, FormatError> {
        match self.field(table, field, 4)? {
            Some(at) => self.table(self.forward(at)?).map(Some),
            None => Ok(None),
        }
    }

    /// The vector that a field refers to, of elements of `width` bytes; an absent one is empty.
    pub(crate) fn vector(&self, table: Table, field: u64, width: u64) -> Result<Vector, FormatError> {
        let Some(at) = self.field(table, field, 4)? else { return Ok(Vector { at: 0, len: 0 }) };
        let at = self.forward(at)?;
        let len = self.number(at, 4)?;
        self.part(at + 4, len.saturating_mul(width))?;
        Ok(Vector { at: at + 4, len })
    }

    /// Bytes of a vector of bytes, unread.
    pub(crate) fn part_of(&self, vector: Vector) -> Result<Section, FormatError> {
        self.part(vector.at, vector.len)
    }

    /// The number at an index of a vector.
    pub(crate) fn element(&self, vector: Vector, index: u64, width: u64) -> Result<u64, FormatError> {
        self.number(self.place(vector, index, width)?, width)
    }

    /// The table at an index of a vector of tables.
    pub(crate) fn item(&self, vector: Vector, index: u64) -> Result<Table, FormatError> {
        self.table(self.forward(self.place(vector, index, 4)?)?)
    }

    /// The text that a field refers to; an absent one is empty.
    pub(crate) fn text(&self, table: Table, field: u64, limit: u64) -> Result<String, FormatError> {
        let vector = self.vector(table, field, 1)?;
        Limits::at_most(self.what, vector.len, limit)?;
        let bytes = self.part_of(vector)?.read(self.what, 0, vector.len)?;
        String::from_utf8(bytes).map_err(|_| broken(self.what, vector.at, "a text is not UTF-8"))
    }

    fn place(&self, vector: Vector, index: u64, width: u64) -> Result<u64, FormatError> {
        if index < vector.len {
            return Ok(vector.at + index * width);
        }
        Err(broken(self.what, vector.at, format!("a vector of {} has no element `{index}`", vector.len)))
    }

    /// Where a field of `width` bytes lies.
    fn field(&self, table: Table, field: u64, width: u64) -> Result<Option<u64>, FormatError> {
        let slot = 4 + 2 * field;
        if slot + 2 > table.vtable_len {
            return Ok(None);
        }
        let offset = self.number(table.vtable + slot, 2)?;
        if offset == 0 {
            return Ok(None);
        }
        if offset < 4 || offset + width > table.len {
            let detail = format!("field {field} at `{offset}` leaves its table of {} bytes", table.len);
            return Err(broken(self.what, table.at, detail));
        }
        Ok(Some(table.at + offset))
    }

    fn table(&self, at: u64) -> Result<Table, FormatError> {
        // Tables may share a vtable, which lies before or behind them.
        let distance = i64::from(self.number(at, 4)? as u32 as i32);
        let vtable = at.checked_add_signed(-distance);
        let lies = |detail: String| broken(self.what, at, detail);
        let vtable = vtable.ok_or_else(|| lies(format!("its vtable at `{distance}` before it is not in the file")))?;
        let (vtable_len, len) = (self.number(vtable, 2)?, self.number(vtable + 2, 2)?);
        if vtable_len < 4 || len < 4 {
            return Err(lies(format!("its vtable has `{vtable_len}` bytes, and the table `{len}`")));
        }
        self.part(vtable, vtable_len)?;
        self.part(at, len)?;
        Ok(Table { at, len, vtable, vtable_len })
    }

    /// The place that an offset refers to; offsets only go forward.
    fn forward(&self, at: u64) -> Result<u64, FormatError> {
        match self.number(at, 4)? {
            0 => Err(broken(self.what, at, "an offset refers to itself")),
            offset if at + offset >= self.section.len() => {
                Err(broken(self.what, at, format!("offset `{offset}` leaves the file")))
            }
            offset => Ok(at + offset),
        }
    }

    fn part(&self, at: u64, len: u64) -> Result<Section, FormatError> {
        self.section.slice(self.what, at, len)
    }

    fn number(&self, at: u64, width: u64) -> Result<u64, FormatError> {
        self.part(at, width)?;
        let mut value = 0;
        for index in (0..width).rev() {
            value = value << 8 | u64::from(self.byte(at + index)?);
        }
        Ok(value)
    }

    fn byte(&self, at: u64) -> Result<u8, FormatError> {
        let (page, index) = (at / PAGE_BYTES, usize::try_from(at % PAGE_BYTES).unwrap_or(0));
        let mut pages = self.pages.borrow_mut();
        let found = pages.iter().rposition(|(number, _)| *number == page);
        let found = match found {
            Some(found) => found,
            None => {
                let begin = page * PAGE_BYTES;
                let len = PAGE_BYTES.min(self.section.len().saturating_sub(begin));
                if pages.len() == PAGES {
                    pages.remove(0);
                }
                pages.push((page, self.section.read(self.what, begin, len)?));
                pages.len() - 1
            }
        };
        let byte = pages.get(found).and_then(|(_, bytes)| bytes.get(index)).copied();
        byte.ok_or(FormatError::Truncated { what: self.what, needed: 1, got: 0 })
    }
}
