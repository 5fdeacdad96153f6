//! Universal binary JSON, as XGBoost writes it: objects and text are kept, arrays of numbers are counted.

use serde_json::{Map, Value as Json, json};

use crate::error::FormatError;
use crate::limits::Limits;
use crate::protobuf::broken;

/// Reads a document.
pub(super) fn read(bytes: &[u8], limits: &Limits) -> Result<Json, FormatError> {
    let mut reader = Reader { bytes, at: 0, limits };
    let kind = reader.byte()?;
    reader.value(kind, 0)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    limits: &'a Limits,
}

impl Reader<'_> {
    fn take(&mut self, len: usize) -> Result<&[u8], FormatError> {
        let left = self.bytes.len() - self.at;
        let short = FormatError::Truncated { what: "ubjson", needed: len as u64, got: left as u64 };
        let end = self.at.checked_add(len).filter(|_| len <= left).ok_or(short)?;
        let part = self.bytes.get(self.at..end).unwrap_or_default();
        self.at = end;
        Ok(part)
    }

    fn byte(&mut self) -> Result<u8, FormatError> {
        Ok(self.take(1)?.first().copied().unwrap_or(0))
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn wrong(&self, kind: u8) -> FormatError {
        broken("ubjson", self.at as u64, format!("type `{}` does not exist here", kind.escape_ascii()))
    }

    /// Bytes of a number of this type.
    const fn width(kind: u8) -> Option<usize> {
        Some(match kind {
            b'i' | b'U' | b'C' => 1,
            b'I' => 2,
            b'l' | b'd' => 4,
            b'L' | b'D' => 8,
            b'T' | b'F' | b'Z' | b'N' => 0,
            _ => return None,
        })
    }

    /// A number of elements or bytes.
    fn count(&mut self) -> Result<usize, FormatError> {
        let kind = self.byte()?;
        let value = self.value(kind, 0)?;
        value.as_u64().and_then(|value| usize::try_from(value).ok()).ok_or_else(|| self.wrong(kind))
    }

    fn text(&mut self) -> Result<String, FormatError> {
        let len = self.count()?;
        Limits::at_most("ubjson text in bytes", len as u64, self.limits.text_bytes)?;
        Ok(String::from_utf8_lossy(self.take(len)?).into_owned())
    }

    /// A value of the type. Recursion ends at the limit for nesting.
    fn value(&mut self, kind: u8, depth: u64) -> Result<Json, FormatError> {
        Limits::at_most("nesting of ubjson", depth, self.limits.depth)?;
        Ok(match kind {
            b'Z' | b'N' => Json::Null,
            b'T' => json!(true),
            b'F' => json!(false),
            b'S' => self.text()?.into(),
            b'[' => self.array(depth)?,
            b'{' => self.object(depth)?,
            _ => {
                let width = Self::width(kind).ok_or_else(|| self.wrong(kind))?;
                let bits = self.take(width)?.iter().fold(0u64, |bits, &byte| bits << 8 | u64::from(byte));
                let unused = 64 - 8 * width as u32;
                match kind {
                    b'U' | b'C' => json!(bits),
                    b'd' => json!(f32::from_bits(bits as u32)),
                    b'D' => json!(f64::from_bits(bits)),
                    _ => json!((bits << unused) as i64 >> unused),
                }
            }
        })
    }

    fn array(&mut self, depth: u64) -> Result<Json, FormatError> {
        if self.peek() == Some(b'$') {
            self.byte()?;
            let kind = self.byte()?;
            let width = Self::width(kind).ok_or_else(|| self.wrong(kind))?;
            let mark = self.byte()?;
            if mark != b'#' {
                return Err(self.wrong(mark));
            }
            let count = self.count()?;
            self.take(count.saturating_mul(width))?;
            return Ok(json!({ "elements": count }));
        }
        let mut values = Vec::new();
        if self.peek() == Some(b'#') {
            self.byte()?;
            let count = self.count()?;
            for _ in 0..count {
                let kind = self.byte()?;
                values.push(self.value(kind, depth + 1)?);
            }
            return Ok(values.into());
        }
        loop {
            match self.byte()? {
                b']' => return Ok(values.into()),
                kind => values.push(self.value(kind, depth + 1)?),
            }
        }
    }

    fn object(&mut self, depth: u64) -> Result<Json, FormatError> {
        let mut members = Map::new();
        let mut left = None;
        if self.peek() == Some(b'#') {
            self.byte()?;
            left = Some(self.count()?);
        }
        loop {
            match &mut left {
                Some(0) => return Ok(members.into()),
                Some(left) => *left -= 1,
                None if self.peek() == Some(b'}') => {
                    self.byte()?;
                    return Ok(members.into());
                }
                None => {}
            }
            let key = self.text()?;
            let kind = self.byte()?;
            members.insert(key, self.value(kind, depth + 1)?);
        }
    }
}
