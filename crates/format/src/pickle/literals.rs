//! Text and numbers that stand in the stream.

use super::broken;
use super::graph::{Coding, NEAR_BYTES, Node, TextKind};
use super::input::Line;
use super::machine::Machine;
use super::ops;
use super::text;
use crate::error::FormatError;

impl Machine<'_> {
    #[inline]
    pub(super) fn text(&mut self, kind: TextKind, len: u64) -> Result<(), FormatError> {
        let id = match usize::try_from(len) {
            Ok(len) if self.graph.has_room(len) => {
                let bytes = self.input.take(len)?;
                // Lone surrogates, which `pickle` writes, begin with this byte.
                if kind == TextKind::Str && str::from_utf8(bytes).is_err() && !bytes.contains(&0xed) {
                    return Err(self.broken("text is not UTF-8"));
                }
                self.graph.push_near(kind, bytes)
            }
            _ => {
                let begin = self.input.skip(len)?;
                self.graph.push_far(kind, begin, len, Coding::Plain)
            }
        };
        self.stack.push(id);
        Ok(())
    }

    pub(super) fn long(&mut self, len: u64) -> Result<(), FormatError> {
        if len > NEAR_BYTES as u64 {
            let begin = self.input.skip(len)?;
            let id = self.graph.push_far(TextKind::Integer, begin, len, Coding::Plain);
            self.stack.push(id);
            return Ok(());
        }
        let bytes = self.input.take(len as usize)?;
        let id = match text::small_integer(bytes) {
            Some(value) => self.graph.push(Node::Int(value)),
            None => self.graph.push_near(TextKind::Integer, bytes),
        };
        self.stack.push(id);
        Ok(())
    }

    pub(super) fn push_integer(&mut self, bytes: &[u8]) {
        match text::small_integer(bytes) {
            Some(value) => self.push(Node::Int(value)),
            None => {
                let id = self.graph.push_near(TextKind::Integer, bytes);
                self.stack.push(id);
            }
        }
    }

    /// A line of a name; Python decodes it as UTF-8.
    pub(super) fn name_line(&mut self) -> Result<String, FormatError> {
        let name = match self.input.line()? {
            Line::Near(line) if line.len() <= NEAR_BYTES => String::from_utf8(line.to_vec()).ok(),
            _ => None,
        };
        name.ok_or_else(|| self.broken("a name is too long or not UTF-8"))
    }

    /// Opcodes with a line of digits, and `PERSID`.
    pub(super) fn number(&mut self, op: u8) -> Result<(), FormatError> {
        let line = match self.input.line()? {
            Line::Near(line) if line.len() <= 8192 => line.to_vec(),
            _ => return Err(self.broken("a line is too long")),
        };
        let wrong = || broken(self.place.at, &format!("`{}` is no number", String::from_utf8_lossy(&line)));
        match op {
            ops::INT if line == b"00" => self.stack.push(self.falsehood),
            ops::INT if line == b"01" => self.stack.push(self.truth),
            ops::INT => {
                let bytes = text::integer(&line).ok_or_else(wrong)?;
                self.push_integer(&bytes);
            }
            ops::LONG => {
                let digits = line.strip_suffix(b"L").unwrap_or(&line);
                let bytes = text::integer(digits).ok_or_else(wrong)?;
                self.push_integer(&bytes);
            }
            ops::FLOAT => {
                let value = text::float(&line).ok_or_else(wrong)?;
                self.push(Node::Float(value));
            }
            ops::PERSID => {
                let id = self.graph.push_near(TextKind::Str, &line);
                self.push(Node::Persistent(id));
            }
            _ => {
                let index = str::from_utf8(line.trim_ascii()).ok().and_then(|digits| digits.parse().ok());
                let index: u64 = index.ok_or_else(wrong)?;
                if op == ops::GET { self.get(index)? } else { self.put(index)? }
            }
        }
        Ok(())
    }

    /// `STRING` and `UNICODE`: a line with escapes.
    pub(super) fn spelled(&mut self, op: u8) -> Result<(), FormatError> {
        let (kind, coding) = match op {
            ops::STRING => (TextKind::OldStr, Coding::StringEscape),
            _ => (TextKind::Str, Coding::RawUnicodeEscape),
        };
        let begin = self.input.offset();
        let id = match self.input.line()? {
            Line::Near(line) => {
                let quotes = match (op, line) {
                    (ops::STRING, [first @ (b'\'' | b'"'), .., last]) if first == last => 1,
                    (ops::STRING, _) => return Err(self.broken("a string is not in quotes")),
                    _ => 0,
                };
                let inner = line.get(quotes..line.len() - quotes).unwrap_or_default();
                let decoded = match op {
                    ops::STRING => text::string_escape(inner),
                    _ => text::raw_unicode_escape(inner),
                };
                let inner_len = inner.len() as u64;
                let decoded = decoded.ok_or_else(|| broken(self.place.at, "an escape is wrong"))?;
                match self.graph.has_room(decoded.len()) {
                    true => self.graph.push_near(kind, &decoded),
                    false => self.graph.push_far(kind, begin + quotes as u64, inner_len, coding),
                }
            }
            Line::Far(begin, len) if op == ops::STRING => {
                self.graph.push_far(kind, begin + 1, len.saturating_sub(2), coding)
            }
            Line::Far(begin, len) => self.graph.push_far(kind, begin, len, coding),
        };
        self.stack.push(id);
        Ok(())
    }
}
