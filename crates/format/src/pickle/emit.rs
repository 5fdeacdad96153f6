//! Pickles written: protocol 2, opcode by opcode as CPython's pickler does it.
//!
//! Only what a checkpoint needs: plain values, containers, names that are imported and calls of them. Containers are
//! filled in batches of 1,000; what can be named again is numbered in the memo.
//!
//! Source: `Modules/_pickle.c` of CPython 3.11, and `pickletools` of the same.

use std::collections::HashMap;

use crate::error::FormatError;
use crate::limits::Limits;

/// Values of one batch.
const BATCH: usize = 1000;

/// A pickle on its way.
pub(crate) struct Pickler {
    out: Vec<u8>,
    memo: u32,
    /// Numbers of texts and of imported names (`module name`, with a line feed between).
    texts: HashMap<String, u32>,
    globals: HashMap<&'static str, u32>,
}

/// How the entries of a container are put into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    /// A list.
    Items,
    /// A dictionary.
    Entries,
    /// A dictionary that a call made, whose entries come from an iterator.
    IteratedEntries,
}

impl Pickler {
    pub(crate) fn new() -> Self {
        Self { out: vec![0x80, 2], memo: 0, texts: HashMap::new(), globals: HashMap::new() }
    }

    /// Ends the pickle; its bytes.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.out.push(b'.');
        self.out
    }

    /// Bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.out.len()
    }

    pub(crate) fn op(&mut self, op: u8) {
        self.out.push(op);
    }

    /// Gives what was just made a number.
    pub(crate) fn remember(&mut self) -> u32 {
        let number = self.memo;
        match u8::try_from(number) {
            Ok(short) => self.out.extend([b'q', short]),
            Err(_) => {
                self.out.push(b'r');
                self.out.extend(number.to_le_bytes());
            }
        }
        self.memo += 1;
        number
    }

    /// What has this number.
    pub(crate) fn recall(&mut self, number: u32) {
        match u8::try_from(number) {
            Ok(short) => self.out.extend([b'h', short]),
            Err(_) => {
                self.out.push(b'j');
                self.out.extend(number.to_le_bytes());
            }
        }
    }

    /// An imported name: module and name with a line feed between and after.
    pub(crate) fn global(&mut self, name: &'static str) {
        if let Some(&number) = self.globals.get(name) {
            return self.recall(number);
        }
        self.out.push(b'c');
        self.out.extend(name.as_bytes());
        let number = self.remember();
        self.globals.insert(name, number);
    }

    /// Text, which is written once; its number.
    ///
    /// # Errors
    /// [`FormatError::TooLarge`] for 4 GiB and more.
    pub(crate) fn text(&mut self, text: &str) -> Result<u32, FormatError> {
        if let Some(&number) = self.texts.get(text) {
            self.recall(number);
            return Ok(number);
        }
        let number = self.new_text(text)?;
        self.texts.insert(text.to_owned(), number);
        Ok(number)
    }

    /// Text that is not looked up; its number.
    ///
    /// # Errors
    /// As [`Pickler::text`].
    pub(crate) fn new_text(&mut self, text: &str) -> Result<u32, FormatError> {
        Limits::at_most("text in bytes", text.len() as u64, u32::MAX.into())?;
        self.out.push(b'X');
        self.out.extend((text.len() as u32).to_le_bytes());
        self.out.extend(text.as_bytes());
        Ok(self.remember())
    }

    pub(crate) fn none(&mut self) {
        self.out.push(b'N');
    }

    pub(crate) fn bool(&mut self, value: bool) {
        self.out.push(if value { 0x88 } else { 0x89 });
    }

    pub(crate) fn int(&mut self, value: i128) {
        if let Ok(byte) = u8::try_from(value) {
            self.out.extend([b'K', byte]);
        } else if let Ok(short) = u16::try_from(value) {
            self.out.push(b'M');
            self.out.extend(short.to_le_bytes());
        } else if let Ok(int) = i32::try_from(value) {
            self.out.push(b'J');
            self.out.extend(int.to_le_bytes());
        } else {
            // The fewest bytes whose highest bit is the sign.
            let bytes = value.to_le_bytes();
            let sign = if value < 0 { 0xff } else { 0 };
            let used = bytes.iter().rposition(|byte| *byte != sign).map_or(1, |last| last + 1);
            let more = bytes.get(used - 1).is_some_and(|last| (last ^ sign) & 0x80 != 0);
            let len = (used + usize::from(more)).min(bytes.len());
            self.out.extend([0x8a, len as u8]);
            self.out.extend(bytes.iter().take(len));
        }
    }

    pub(crate) fn float(&mut self, value: f64) {
        self.out.push(b'G');
        self.out.extend(value.to_be_bytes());
    }

    /// A tuple of numbers.
    pub(crate) fn numbers(&mut self, numbers: &[u64]) {
        self.begin_tuple(numbers.len());
        for number in numbers {
            self.int((*number).into());
        }
        self.end_tuple(numbers.len());
    }

    pub(crate) fn begin_tuple(&mut self, len: usize) {
        if len > 3 {
            self.out.push(b'(');
        }
    }

    pub(crate) fn end_tuple(&mut self, len: usize) {
        match len {
            0 => return self.out.push(b')'),
            1 => self.out.push(0x85),
            2 => self.out.push(0x86),
            3 => self.out.push(0x87),
            _ => self.out.push(b't'),
        }
        self.remember();
    }

    /// Calls an imported name without arguments.
    pub(crate) fn call_empty(&mut self, name: &'static str) {
        self.global(name);
        self.out.extend(b")R");
        self.remember();
    }

    /// What stands before entry `at` of a container with `len` of them.
    pub(crate) fn before(&mut self, fill: Fill, at: usize, len: usize) {
        let single = len == 1 || (fill == Fill::IteratedEntries && at + 1 == len);
        if at.is_multiple_of(BATCH) && !single {
            self.out.push(b'(');
        }
    }

    /// What stands after entry `at` of a container with `len` of them.
    pub(crate) fn after(&mut self, fill: Fill, at: usize, len: usize) {
        let (one, many) = if fill == Fill::Items { (b'a', b'e') } else { (b's', b'u') };
        let single = len == 1 || (fill == Fill::IteratedEntries && at + 1 == len && at.is_multiple_of(BATCH));
        if single {
            self.out.push(one);
        } else if (at + 1).is_multiple_of(BATCH) || at + 1 == len {
            self.out.push(many);
            // The pickler looks for more entries only after it has begun a batch.
            if fill == Fill::Entries && at + 1 == len && len.is_multiple_of(BATCH) {
                self.out.extend([b'(', many]);
            }
        }
    }
}
