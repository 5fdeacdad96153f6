//! Object headers: lists of messages, in one block or several.

use std::collections::HashSet;

use crate::error::FormatError;
use crate::limits::Limits;

use super::bytes::Bytes;
use super::{File, broken};

pub(super) const DATASPACE: u16 = 0x01;
pub(super) const LINK_INFO: u16 = 0x02;
pub(super) const DATATYPE: u16 = 0x03;
pub(super) const OLD_FILL: u16 = 0x04;
pub(super) const FILL: u16 = 0x05;
pub(super) const LINK: u16 = 0x06;
pub(super) const EXTERNAL_FILES: u16 = 0x07;
pub(super) const LAYOUT: u16 = 0x08;
pub(super) const FILTERS: u16 = 0x0b;
pub(super) const ATTRIBUTE: u16 = 0x0c;
const CONTINUATION: u16 = 0x10;
pub(super) const SYMBOL_TABLE: u16 = 0x11;
pub(super) const ATTRIBUTE_INFO: u16 = 0x15;

/// Flag of a message whose body says where the message is.
const SHARED: u8 = 0x02;

/// An object's messages.
pub struct Object {
    messages: Vec<Message>,
}

/// One message.
pub(super) struct Message {
    pub(super) kind: u16,
    flags: u8,
    /// Address of the body.
    pub(super) at: u64,
    pub(super) body: Vec<u8>,
}

impl Object {
    /// Messages of a kind.
    pub(super) fn all(&self, kind: u16) -> impl Iterator<Item = &Message> {
        self.messages.iter().filter(move |message| message.kind == kind)
    }

    pub(super) fn has(&self, kind: u16) -> bool {
        self.all(kind).next().is_some()
    }

    /// Whether the object is a dataset.
    #[must_use]
    pub fn is_dataset(&self) -> bool {
        self.has(LAYOUT)
    }
}

impl File {
    /// Reads the header of the object at an address.
    ///
    /// # Errors
    /// [`FormatError::Broken`] and its kin when there is no header, or one that goes in circles.
    pub fn object(&self, address: u64) -> Result<Object, FormatError> {
        let mut head = self.read_up_to("hdf5 object header", address, 64)?;
        let mut blocks = Blocks { seen: HashSet::new(), messages: Vec::new(), waiting: Vec::new() };
        let first = head.u8()?;
        if first == 1 {
            head.skip(7)?;
            let len = u64::from(head.u32()?);
            blocks.waiting.push((address.saturating_add(16), len));
            while let Some((at, len)) = blocks.next(self)? {
                self.version_1(&mut self.read("hdf5 object header", at, len)?, &mut blocks)?;
            }
        } else {
            let mut head = self.read_up_to("hdf5 object header", address, 64)?;
            head.mark(b"OHDR")?;
            head.version(&[2])?;
            let flags = head.u8()?;
            let times = if flags & 0x20 == 0 { 0 } else { 16 };
            let counts = if flags & 0x10 == 0 { 0 } else { 4 };
            head.skip(times + counts)?;
            let len = head.uint(1 << (flags & 3))?;
            blocks.waiting.push((head.place(), len));
            let mut is_first = true;
            while let Some((at, len)) = blocks.next(self)? {
                let mut bytes = self.read("hdf5 object header", at, len)?;
                if !is_first {
                    bytes.mark(b"OCHK")?;
                }
                // A block after the first counts its checksum in its length.
                let end = if is_first { 0 } else { 4 };
                self.version_2(&mut bytes, end, flags & 0x04 != 0, &mut blocks)?;
                is_first = false;
            }
        }
        Ok(Object { messages: blocks.messages })
    }

    fn version_1(&self, bytes: &mut Bytes, blocks: &mut Blocks) -> Result<(), FormatError> {
        while bytes.left() >= 8 {
            let kind = bytes.u16()?;
            let len = usize::from(bytes.u16()?);
            let flags = bytes.u8()?;
            bytes.skip(3)?;
            let at = bytes.place();
            let body = bytes.take(len)?.to_vec();
            self.message(Message { kind, flags, at, body }, blocks)?;
        }
        Ok(())
    }

    fn version_2(&self, bytes: &mut Bytes, end: usize, ordered: bool, blocks: &mut Blocks) -> Result<(), FormatError> {
        let prefix = if ordered { 6 } else { 4 };
        // What is shorter than a message is a gap.
        while bytes.left() >= prefix + end {
            let kind = u16::from(bytes.u8()?);
            let len = usize::from(bytes.u16()?);
            let flags = bytes.u8()?;
            bytes.skip(prefix - 4)?;
            let at = bytes.place();
            let body = bytes.take(len)?.to_vec();
            self.message(Message { kind, flags, at, body }, blocks)?;
        }
        Ok(())
    }

    fn message(&self, message: Message, blocks: &mut Blocks) -> Result<(), FormatError> {
        if message.kind == CONTINUATION {
            let mut body = self.over("hdf5 continuation", &message.body, message.at);
            blocks.waiting.push((body.offset()?, body.length()?));
        } else if message.kind != 0 {
            blocks.messages.push(message);
        }
        let count = (blocks.messages.len() + blocks.waiting.len()) as u64;
        Limits::at_most("number of messages of an hdf5 object", count, self.limits.members)
    }

    /// The first message of a kind, wherever it is kept.
    pub(super) fn first(&self, object: &Object, kind: u16) -> Result<Option<Bytes>, FormatError> {
        let Some(message) = object.all(kind).next() else { return Ok(None) };
        if message.flags & SHARED == 0 {
            return Ok(Some(self.over("hdf5 message", &message.body, message.at)));
        }
        let mut body = self.over("hdf5 shared message", &message.body, message.at);
        self.shared(&mut body, kind).map(Some)
    }

    /// Follows a reference to a message of another object, such as a named data type; one step, never two.
    pub(super) fn shared(&self, body: &mut Bytes, kind: u16) -> Result<Bytes, FormatError> {
        let version = body.version(&[1, 2, 3])?;
        let place = body.u8()?;
        if version == 3 && place != 2 {
            let detail = "a message kept in the table of shared messages".to_owned();
            return Err(FormatError::Unsupported { what: "hdf5 object header", detail });
        }
        if version == 1 {
            body.skip(6)?;
        }
        let at = body.place();
        let object = self.object(body.offset()?)?;
        let message = object.all(kind).find(|message| message.flags & SHARED == 0);
        let message = message.ok_or_else(|| broken("hdf5 shared message", at, "it is not where it should be"))?;
        Ok(self.over("hdf5 message", &message.body, message.at))
    }
}

/// Blocks of one header, waiting and done.
struct Blocks {
    waiting: Vec<(u64, u64)>,
    seen: HashSet<u64>,
    messages: Vec<Message>,
}

impl Blocks {
    fn next(&mut self, file: &File) -> Result<Option<(u64, u64)>, FormatError> {
        if self.waiting.is_empty() {
            return Ok(None);
        }
        let block = self.waiting.remove(0);
        if !self.seen.insert(block.0) {
            return Err(broken("hdf5 object header", block.0, "its blocks go in a circle"));
        }
        Limits::at_most("number of blocks of an hdf5 object", self.seen.len() as u64, file.limits.members)?;
        Ok(Some(block))
    }
}
