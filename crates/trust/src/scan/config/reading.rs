//! JSON as Python reads it: other encodings, numbers that JSON has no word for, half characters, keys that come twice.

use std::borrow::Cow;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Most values of keys that come again.
const MAX_EARLIER: usize = 1_000;

/// Reads JSON as Python does; the last of equal keys counts.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, String> {
    parse_all(bytes).map(|(value, _)| value)
}

/// Reads JSON as Python does, and what readers see that take the first of equal keys: an object for each.
pub(super) fn parse_all(bytes: &[u8]) -> Result<(Value, Vec<Value>), String> {
    let bytes = utf8(bytes).unwrap_or(Cow::Borrowed(bytes));
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    match strict(bytes) {
        Ok(found) => Ok(found),
        Err(error) => match as_python_writes(bytes) {
            Some(bytes) => strict(&bytes),
            None => Err(error),
        },
    }
}

fn strict(bytes: &[u8]) -> Result<(Value, Vec<Value>), String> {
    let mut earlier = Vec::new();
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Document(&mut earlier).deserialize(&mut reader).map_err(|error| error.to_string())?;
    reader.end().map_err(|error| error.to_string())?;
    Ok((value, earlier))
}

/// Text of UTF-16 or UTF-32 as UTF-8, by its mark or by the zeros of its first characters; `None` for any other text.
pub(in crate::scan) fn utf8(bytes: &[u8]) -> Option<Cow<'_, [u8]>> {
    let (wide, little, skip) = match bytes {
        [0xff, 0xfe, 0, 0, ..] => (4, true, 4),
        [0, 0, 0xfe, 0xff, ..] => (4, false, 4),
        [0xff, 0xfe, ..] => (2, true, 2),
        [0xfe, 0xff, ..] => (2, false, 2),
        [0, 0, 0, 9..=126, ..] => (4, false, 0),
        [9..=126, 0, 0, 0, ..] => (4, true, 0),
        [0, 9..=126, 0, 9..=126, ..] => (2, false, 0),
        [9..=126, 0, 9..=126, 0, ..] => (2, true, 0),
        _ => return None,
    };
    let body = bytes.get(skip..)?;
    let text: String = if wide == 2 {
        let units = body.chunks_exact(2).map(|pair| {
            let pair = [pair.first().copied().unwrap_or(0), pair.get(1).copied().unwrap_or(0)];
            if little { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) }
        });
        char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
    } else {
        let (words, _) = body.as_chunks::<4>();
        let words = words.iter().map(|&word| if little { u32::from_le_bytes(word) } else { u32::from_be_bytes(word) });
        words.map(|word| char::from_u32(word).unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
    };
    // Binary data may begin like that; text it is not, then.
    let odd = |c: char| c == char::REPLACEMENT_CHARACTER || (c.is_control() && !c.is_whitespace());
    if text.chars().take(1000).any(odd) {
        return None;
    }
    Some(Cow::Owned(text.into_bytes()))
}

/// The text with `null` in the place of what JSON has no word for, and whole characters in the place of halves; `None`
/// when there is nothing of that kind.
fn as_python_writes(bytes: &[u8]) -> Option<Vec<u8>> {
    const WORDS: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];
    let unit = |at: usize| {
        let digits = bytes.get(at..)?.strip_prefix(b"\\u")?.get(..4)?;
        u16::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
    };
    let mut out = Vec::with_capacity(bytes.len());
    let (mut at, mut in_text, mut found) = (0, false, false);
    while let Some(&byte) = bytes.get(at) {
        if in_text && byte == b'\\' {
            let whole = match unit(at) {
                Some(0xd800..=0xdbff) if matches!(unit(at + 6), Some(0xdc00..=0xdfff)) => 12,
                Some(0xd800..=0xdfff) => {
                    out.extend(b"\\ufffd");
                    found = true;
                    at += 6;
                    continue;
                }
                _ => 2,
            };
            out.extend(bytes.get(at..at + whole).unwrap_or_default());
            at += whole;
            continue;
        }
        if in_text {
            in_text = byte != b'"';
        } else if byte == b'"' {
            in_text = true;
        } else if let Some(word) = WORDS.iter().find(|word| bytes.get(at..).is_some_and(|rest| rest.starts_with(word)))
        {
            out.extend(b"null");
            at += word.len();
            found = true;
            continue;
        }
        out.push(byte);
        at += 1;
    }
    found.then_some(out)
}

/// A document of which the values of keys that come again are kept apart.
struct Document<'a>(&'a mut Vec<Value>);

impl<'de> DeserializeSeed<'de> for Document<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Document<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = items.next_element_seed(Document(self.0))? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(Document(self.0))?;
            if let Some(earlier) = map.insert(key.clone(), value)
                && self.0.len() < MAX_EARLIER
            {
                self.0.push(Value::Object(Map::from_iter([(key, earlier)])));
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_python_writes_are_read() {
        let value = parse(br#"{"a": NaN, "b": [-Infinity, "NaN \" Infinity"], "c": Infinity}"#).unwrap();
        assert_eq!(value, serde_json::json!({"a": null, "b": [null, "NaN \" Infinity"], "c": null}));
        assert!(parse(b"{\"a\": nan}").is_err());
        assert!(parse("[".repeat(1000).as_bytes()).is_err());
    }

    #[test]
    fn half_characters_are_read_as_python_does() {
        let value = parse(br#"{"a": "\ud800x", "b": "\ud83d\ude00", "c": "\\ud800"}"#).unwrap();
        assert_eq!(value, serde_json::json!({"a": "\u{fffd}x", "b": "\u{1f600}", "c": "\\ud800"}));
    }

    #[test]
    fn other_encodings_are_read_as_python_does() {
        let text = r#"{"a": "é"}"#;
        let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        let wide: Vec<u8> = text.chars().flat_map(|c| u32::from(c).to_le_bytes()).collect();
        let marked = [b"\xff\xfe".as_slice(), &little].concat();
        let marked8 = [b"\xef\xbb\xbf".as_slice(), text.as_bytes()].concat();
        for bytes in [little, big, wide, marked, marked8] {
            assert_eq!(parse(&bytes).unwrap(), serde_json::json!({"a": "é"}), "{}", bytes.escape_ascii());
        }
        assert!(utf8(&[1, 0, 2, 0, 3, 0]).is_none() && utf8(b"plain").is_none() && utf8(b"").is_none());
    }

    #[test]
    fn the_first_of_equal_keys_is_not_forgotten() {
        let (value, earlier) = parse_all(br#"{"a": {"k": 1, "k": 2}, "b": 1, "b": 3}"#).unwrap();
        assert_eq!(value, serde_json::json!({"a": {"k": 2}, "b": 3}));
        assert_eq!(earlier, [serde_json::json!({"k": 1}), serde_json::json!({"b": 1})]);
    }
}
