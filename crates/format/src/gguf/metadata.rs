//! Metadata of a GGUF file, whole and typed: what a writer writes, and what a conversion needs to read back.
//!
//! [`crate::gguf::read()`] gives metadata as JSON with long arrays cut; here nothing is cut, so that vocabularies survive.

use crate::error::FormatError;
use crate::gguf::header::Words;
use crate::limits::Limits;
use crate::source::Section;

/// Most strings, or arrays in arrays, that one file may have; the largest vocabularies have a quarter of a million.
const TEXTS: u64 = 1 << 22;

const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// A value with its type.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `u8`.
    U8(u8),
    /// `i8`.
    I8(i8),
    /// `u16`.
    U16(u16),
    /// `i16`.
    I16(i16),
    /// `u32`.
    U32(u32),
    /// `i32`.
    I32(i32),
    /// `f32`.
    F32(f32),
    /// Boolean.
    Bool(bool),
    /// Text.
    Text(String),
    /// Array.
    Array(Array),
    /// `u64`.
    U64(u64),
    /// `i64`.
    I64(i64),
    /// `f64`.
    F64(f64),
}

/// Values of one type.
#[derive(Clone, Debug, PartialEq)]
pub enum Array {
    /// Of `u8`.
    U8(Vec<u8>),
    /// Of `i8`.
    I8(Vec<i8>),
    /// Of `u16`.
    U16(Vec<u16>),
    /// Of `i16`.
    I16(Vec<i16>),
    /// Of `u32`.
    U32(Vec<u32>),
    /// Of `i32`.
    I32(Vec<i32>),
    /// Of `f32`.
    F32(Vec<f32>),
    /// Of booleans.
    Bool(Vec<bool>),
    /// Of texts.
    Text(Vec<String>),
    /// Of arrays.
    Array(Vec<Array>),
    /// Of `u64`.
    U64(Vec<u64>),
    /// Of `i64`.
    I64(Vec<i64>),
    /// Of `f64`.
    F64(Vec<f64>),
}

/// Entries in the order of the file.
pub type Entries = Vec<(String, Value)>;

/// Reads the metadata of one file, nothing left out.
///
/// # Errors
/// As [`crate::gguf::read()`]; [`FormatError::Broken`] for text that is not UTF-8, [`FormatError::TooLarge`] above
/// 4,194,304 strings.
pub fn read(section: &Section, limits: &Limits) -> Result<Entries, FormatError> {
    let mut words = Words::open(section, limits)?;
    let lengths = words.length_bytes();
    words.length()?;
    let count = words.length()?;
    words.fits(count, lengths + 4 + 1)?;
    Limits::at_most("number of metadata entries", count, limits.metadata_entries)?;
    let mut entries = Vec::new();
    let mut names = std::collections::HashSet::new();
    let mut texts = 0;
    for _ in 0..count {
        let key = words.name("gguf key length in bytes")?;
        if !names.insert(key.clone()) {
            return Err(FormatError::DuplicateKey { key });
        }
        let kind = words.u32()?;
        let value =
            if kind == ARRAY { Value::Array(array(&mut words, &mut texts)?) } else { single(&mut words, kind)? };
        words.check_header()?;
        entries.push((key, value));
    }
    Ok(entries)
}

/// The value under a key.
#[must_use]
pub fn find<'a>(entries: &'a [(String, Value)], key: &str) -> Option<&'a Value> {
    entries.iter().find(|(name, _)| name == key).map(|(_, value)| value)
}

fn single(words: &mut Words<'_>, kind: u32) -> Result<Value, FormatError> {
    let at = words.cursor.at();
    Ok(match kind {
        0 => Value::U8(words.cursor.byte()?),
        1 => Value::I8(words.number().map(i8::from_le_bytes)?),
        2 => Value::U16(words.number().map(u16::from_le_bytes)?),
        3 => Value::I16(words.number().map(i16::from_le_bytes)?),
        4 => Value::U32(words.u32()?),
        5 => Value::I32(words.number().map(i32::from_le_bytes)?),
        6 => Value::F32(words.number().map(f32::from_le_bytes)?),
        7 => Value::Bool(boolean(words)?),
        STRING => Value::Text(text(words)?),
        10 => Value::U64(words.u64()?),
        11 => Value::I64(words.number().map(i64::from_le_bytes)?),
        12 => Value::F64(words.number().map(f64::from_le_bytes)?),
        _ => return Err(words.cursor.broken(at, format!("unknown value type `{kind}`"))),
    })
}

fn boolean(words: &mut Words<'_>) -> Result<bool, FormatError> {
    let at = words.cursor.at();
    match words.cursor.byte()? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(words.cursor.broken(at, format!("`{other}` is no boolean"))),
    }
}

fn text(words: &mut Words<'_>) -> Result<String, FormatError> {
    let at = words.cursor.at();
    let bytes = words.text("gguf string length in bytes", words.limits.text_bytes)?;
    String::from_utf8(bytes).map_err(|_| words.cursor.broken(at, "a text of the metadata is not UTF-8"))
}

/// An array, after its type; arrays in it are kept on a stack of our own.
fn array(words: &mut Words<'_>, texts: &mut u64) -> Result<Array, FormatError> {
    let mut open: Vec<(u64, Vec<Array>)> = Vec::new();
    loop {
        let at = words.cursor.at();
        let kind = words.u32()?;
        let mut done = if kind == ARRAY {
            let count = words.count(4 + words.length_bytes())?;
            *texts = texts.saturating_add(count);
            Limits::at_most("number of arrays in arrays", *texts, TEXTS)?;
            Limits::at_most("nesting of gguf arrays", open.len() as u64 + 1, words.limits.depth)?;
            if count > 0 {
                open.push((count, Vec::new()));
                continue;
            }
            Array::Array(Vec::new())
        } else {
            flat(words, kind, at, texts)?
        };
        words.check_header()?;
        loop {
            let Some((count, kept)) = open.last_mut() else { return Ok(done) };
            kept.push(done);
            if (kept.len() as u64) < *count {
                break;
            }
            done = Array::Array(open.pop().map(|(_, kept)| kept).unwrap_or_default());
        }
    }
}

fn flat(words: &mut Words<'_>, kind: u32, at: u64, texts: &mut u64) -> Result<Array, FormatError> {
    Ok(match kind {
        0 => Array::U8(numbers(words, u8::from_le_bytes)?),
        1 => Array::I8(numbers(words, i8::from_le_bytes)?),
        2 => Array::U16(numbers(words, u16::from_le_bytes)?),
        3 => Array::I16(numbers(words, i16::from_le_bytes)?),
        4 => Array::U32(numbers(words, u32::from_le_bytes)?),
        5 => Array::I32(numbers(words, i32::from_le_bytes)?),
        6 => Array::F32(numbers(words, f32::from_le_bytes)?),
        7 => {
            let count = words.count(1)?;
            let mut kept = Vec::new();
            for _ in 0..count {
                kept.push(boolean(words)?);
            }
            Array::Bool(kept)
        }
        STRING => {
            let count = words.count(words.length_bytes())?;
            *texts = texts.saturating_add(count);
            Limits::at_most("number of strings of the metadata", *texts, TEXTS)?;
            let mut kept = Vec::new();
            for _ in 0..count {
                kept.push(text(words)?);
            }
            Array::Text(kept)
        }
        10 => Array::U64(numbers(words, u64::from_le_bytes)?),
        11 => Array::I64(numbers(words, i64::from_le_bytes)?),
        12 => Array::F64(numbers(words, f64::from_le_bytes)?),
        _ => return Err(words.cursor.broken(at, format!("unknown value type `{kind}`"))),
    })
}

fn numbers<const N: usize, T>(words: &mut Words<'_>, read: impl Fn([u8; N]) -> T) -> Result<Vec<T>, FormatError> {
    let count = words.count(N as u64)?;
    // Headers are short: what follows is bounded before it is kept.
    let size = words.cursor.at().saturating_add(count.saturating_mul(N as u64));
    Limits::at_most("gguf header length in bytes", size, words.limits.header_bytes)?;
    let mut kept = Vec::new();
    for _ in 0..count {
        kept.push(read(words.number()?));
    }
    Ok(kept)
}

impl Value {
    /// Text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// The text; `None` when it is something else.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number, when it is an integer that is not negative.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Self::U8(number) => Some(number.into()),
            Self::U16(number) => Some(number.into()),
            Self::U32(number) => Some(number.into()),
            Self::U64(number) => Some(number),
            Self::I8(number) => u64::try_from(number).ok(),
            Self::I16(number) => u64::try_from(number).ok(),
            Self::I32(number) => u64::try_from(number).ok(),
            Self::I64(number) => u64::try_from(number).ok(),
            _ => None,
        }
    }

    /// The number, when it is a float; single ones as the decimal number that a person wrote.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Self::F32(number) => number.to_string().parse().ok(),
            Self::F64(number) => Some(number),
            _ => None,
        }
    }

    /// The boolean.
    #[must_use]
    pub const fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The texts of an array.
    #[must_use]
    pub fn as_texts(&self) -> Option<&[String]> {
        match self {
            Self::Array(Array::Text(texts)) => Some(texts),
            _ => None,
        }
    }

    /// Adds type and value to `bytes`, little-endian.
    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        let mut put = |kind: u32, value: &[u8]| {
            bytes.extend_from_slice(&kind.to_le_bytes());
            bytes.extend_from_slice(value);
        };
        match self {
            Self::U8(number) => put(0, &number.to_le_bytes()),
            Self::I8(number) => put(1, &number.to_le_bytes()),
            Self::U16(number) => put(2, &number.to_le_bytes()),
            Self::I16(number) => put(3, &number.to_le_bytes()),
            Self::U32(number) => put(4, &number.to_le_bytes()),
            Self::I32(number) => put(5, &number.to_le_bytes()),
            Self::F32(number) => put(6, &number.to_le_bytes()),
            Self::Bool(value) => put(7, &[u8::from(*value)]),
            Self::Text(text) => {
                put(STRING, &(text.len() as u64).to_le_bytes());
                bytes.extend_from_slice(text.as_bytes());
            }
            Self::Array(array) => {
                put(ARRAY, &[]);
                array.write(bytes);
            }
            Self::U64(number) => put(10, &number.to_le_bytes()),
            Self::I64(number) => put(11, &number.to_le_bytes()),
            Self::F64(number) => put(12, &number.to_le_bytes()),
        }
    }
}

impl Array {
    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::U8(items) => items.len(),
            Self::I8(items) => items.len(),
            Self::U16(items) => items.len(),
            Self::I16(items) => items.len(),
            Self::U32(items) => items.len(),
            Self::I32(items) => items.len(),
            Self::F32(items) => items.len(),
            Self::Bool(items) => items.len(),
            Self::Text(items) => items.len(),
            Self::Array(items) => items.len(),
            Self::U64(items) => items.len(),
            Self::I64(items) => items.len(),
            Self::F64(items) => items.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds element type, count and elements to `bytes`.
    fn write(&self, bytes: &mut Vec<u8>) {
        fn numbers<const N: usize, T: Copy>(bytes: &mut Vec<u8>, items: &[T], to: impl Fn(T) -> [u8; N]) {
            for &item in items {
                bytes.extend_from_slice(&to(item));
            }
        }
        let kind: u32 = match self {
            Self::U8(_) => 0,
            Self::I8(_) => 1,
            Self::U16(_) => 2,
            Self::I16(_) => 3,
            Self::U32(_) => 4,
            Self::I32(_) => 5,
            Self::F32(_) => 6,
            Self::Bool(_) => 7,
            Self::Text(_) => STRING,
            Self::Array(_) => ARRAY,
            Self::U64(_) => 10,
            Self::I64(_) => 11,
            Self::F64(_) => 12,
        };
        bytes.extend_from_slice(&kind.to_le_bytes());
        bytes.extend_from_slice(&(self.len() as u64).to_le_bytes());
        match self {
            Self::U8(items) => bytes.extend_from_slice(items),
            Self::I8(items) => numbers(bytes, items, i8::to_le_bytes),
            Self::U16(items) => numbers(bytes, items, u16::to_le_bytes),
            Self::I16(items) => numbers(bytes, items, i16::to_le_bytes),
            Self::U32(items) => numbers(bytes, items, u32::to_le_bytes),
            Self::I32(items) => numbers(bytes, items, i32::to_le_bytes),
            Self::F32(items) => numbers(bytes, items, f32::to_le_bytes),
            Self::Bool(items) => numbers(bytes, items, |value| [u8::from(value)]),
            Self::Text(items) => {
                for item in items {
                    bytes.extend_from_slice(&(item.len() as u64).to_le_bytes());
                    bytes.extend_from_slice(item.as_bytes());
                }
            }
            // Depth is what the reader let through, or what a program built: a few levels.
            Self::Array(items) => items.iter().for_each(|item| item.write(bytes)),
            Self::U64(items) => numbers(bytes, items, u64::to_le_bytes),
            Self::I64(items) => numbers(bytes, items, i64::to_le_bytes),
            Self::F64(items) => numbers(bytes, items, f64::to_le_bytes),
        }
    }
}
