//! Values of the metadata, as JSON.

use serde_json::{Value, json};

use crate::error::FormatError;
use crate::gguf::header::Words;
use crate::limits::Limits;

/// Arrays up to this length are kept whole.
const WHOLE: u64 = 64;

/// Elements that are kept of longer ones.
const SAMPLE: u64 = 8;

const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// Reads values, and counts what it keeps.
pub(super) struct Values {
    /// Elements of arrays that may still be kept.
    budget: u64,
    /// Whether some string was not UTF-8.
    pub(super) broken_text: bool,
}

/// An array that is being read.
struct Open {
    kind: u32,
    count: u64,
    left: u64,
    kept: Vec<Value>,
}

impl Values {
    pub(super) const fn new(limits: &Limits) -> Self {
        Self { budget: limits.metadata_entries, broken_text: false }
    }

    /// Reads a value with its type.
    ///
    /// An array of more than 64 elements comes out as `{"count", "type", "first"}`.
    pub(super) fn read(&mut self, words: &mut Words<'_>) -> Result<Value, FormatError> {
        let kind = words.u32()?;
        if kind != ARRAY {
            return self.single(words, kind);
        }
        // Arrays nest; the open ones are on a stack of our own, so that depth costs no recursion.
        let mut open = vec![open_array(words)?];
        loop {
            let depth = open.len() as u64;
            let Some(top) = open.last_mut() else {
                return Err(words.cursor.broken(words.cursor.at(), "an array without end"));
            };
            if top.left == 0 {
                let done = open.pop().map_or(Value::Null, Open::close);
                match open.last_mut() {
                    Some(outer) => self.keep(outer, done),
                    None => return Ok(done),
                }
            } else if top.kind == ARRAY {
                top.left -= 1;
                Limits::at_most("nesting of gguf arrays", depth + 1, words.limits.depth)?;
                open.push(open_array(words)?);
            } else if top.kept.len() as u64 >= top.wanted() || self.budget == 0 {
                let (kind, left) = (top.kind, top.left);
                top.left = 0;
                skip(words, kind, left)?;
            } else {
                top.left -= 1;
                let value = self.single(words, top.kind)?;
                self.keep(top, value);
            }
        }
    }

    fn keep(&mut self, array: &mut Open, value: Value) {
        if (array.kept.len() as u64) < array.wanted() && self.budget > 0 {
            self.budget -= 1;
            array.kept.push(value);
        }
    }

    fn single(&mut self, words: &mut Words<'_>, kind: u32) -> Result<Value, FormatError> {
        let at = words.cursor.at();
        Ok(match kind {
            0 => words.cursor.byte()?.into(),
            1 => words.number().map(i8::from_le_bytes)?.into(),
            2 => words.number().map(u16::from_le_bytes)?.into(),
            3 => words.number().map(i16::from_le_bytes)?.into(),
            4 => words.u32()?.into(),
            5 => words.number().map(i32::from_le_bytes)?.into(),
            6 => single_float(words.number().map(f32::from_le_bytes)?),
            7 => match words.cursor.byte()? {
                0 => false.into(),
                1 => true.into(),
                other => return Err(words.cursor.broken(at, format!("`{other}` is no boolean"))),
            },
            STRING => self.text(words)?,
            10 => words.u64()?.into(),
            11 => words.number().map(i64::from_le_bytes)?.into(),
            12 => double_float(words.number().map(f64::from_le_bytes)?),
            _ => return Err(words.cursor.broken(at, format!("unknown value type `{kind}`"))),
        })
    }

    fn text(&mut self, words: &mut Words<'_>) -> Result<Value, FormatError> {
        let bytes = words.text("gguf string length in bytes", words.limits.text_bytes)?;
        Ok(Value::String(String::from_utf8(bytes).unwrap_or_else(|error| {
            self.broken_text = true;
            String::from_utf8_lossy(error.as_bytes()).into_owned()
        })))
    }
}

impl Open {
    const fn wanted(&self) -> u64 {
        if self.count <= WHOLE { self.count } else { SAMPLE }
    }

    fn close(self) -> Value {
        if self.kept.len() as u64 == self.count {
            return Value::Array(self.kept);
        }
        json!({ "count": self.count, "type": name(self.kind), "first": self.kept })
    }
}

fn open_array(words: &mut Words<'_>) -> Result<Open, FormatError> {
    let at = words.cursor.at();
    let kind = words.u32()?;
    let least = match kind {
        STRING => words.length_bytes(),
        ARRAY => 4 + words.length_bytes(),
        _ => match width(kind) {
            Some(width) => width,
            None => return Err(words.cursor.broken(at, format!("unknown value type `{kind}`"))),
        },
    };
    let count = words.count(least)?;
    Ok(Open { kind, count, left: count, kept: Vec::new() })
}

/// Passes over `count` numbers or strings.
fn skip(words: &mut Words<'_>, kind: u32, count: u64) -> Result<(), FormatError> {
    if let Some(width) = width(kind) {
        return words.cursor.skip(count.saturating_mul(width));
    }
    for _ in 0..count {
        let len = words.length()?;
        words.cursor.skip(len)?;
    }
    Ok(())
}

const fn width(kind: u32) -> Option<u64> {
    Some(match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        10..=12 => 8,
        _ => return None,
    })
}

const fn name(kind: u32) -> &'static str {
    const NAMES: [&str; 13] =
        ["u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64"];
    if (kind as usize) < NAMES.len() { NAMES[kind as usize] } else { "" }
}

/// The decimal number that a person wrote: `1e-5`, not `9.999999747378752e-6`.
fn single_float(number: f32) -> Value {
    number.to_string().parse().map_or(Value::Null, double_float)
}

/// JSON has no words for what is not finite.
fn double_float(number: f64) -> Value {
    if number.is_finite() { number.into() } else { number.to_string().into() }
}
