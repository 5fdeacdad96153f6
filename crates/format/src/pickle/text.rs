//! The spellings of text and numbers in protocol 0.

/// Decodes what stands between the quotes of a `STRING`; the rules are those of Python's bytes literals.
///
/// `None` where CPython refuses: a backslash at the end, or `\x` without two digits.
pub(super) fn string_escape(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.iter().copied();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match rest.next()? {
            b'\n' => {}
            quoted @ (b'\\' | b'\'' | b'"') => out.push(quoted),
            b'b' => out.push(8),
            b'f' => out.push(12),
            b't' => out.push(b'\t'),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b'v' => out.push(11),
            b'a' => out.push(7),
            first @ b'0'..=b'7' => {
                let mut value = u32::from(first - b'0');
                for _ in 0..2 {
                    let mut ahead = rest.clone();
                    match ahead.next() {
                        Some(digit @ b'0'..=b'7') => value = value * 8 + u32::from(digit - b'0'),
                        _ => break,
                    }
                    rest = ahead;
                }
                // CPython keeps the low eight bits of `\400` and above.
                out.push((value & 0xff) as u8);
            }
            b'x' => {
                let (high, low) = (hex(rest.next()?)?, hex(rest.next()?)?);
                out.push((high * 16 + low) as u8);
            }
            other => out.extend([b'\\', other]),
        }
    }
    Some(out)
}

/// Decodes the line of a `UNICODE` (Python's codec `raw-unicode-escape`) to UTF-8; lone surrogates keep three bytes.
///
/// `None` where CPython refuses: `\u` without four digits, `\U` without eight or above U+10FFFF.
pub(super) fn raw_unicode_escape(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let digits = match (byte, text.get(at + 1)) {
            (b'\\', Some(b'u')) => 4,
            (b'\\', Some(b'U')) => 8,
            (b'\\', Some(&next)) => {
                // A backslash that is itself escaped begins nothing, and both stay.
                push_code(&mut out, b'\\'.into());
                push_code(&mut out, next.into());
                at += 2;
                continue;
            }
            _ => {
                push_code(&mut out, byte.into());
                at += 1;
                continue;
            }
        };
        let mut code = 0u32;
        for &digit in text.get(at + 2..at + 2 + digits)? {
            code = code.checked_mul(16)?.checked_add(hex(digit)?)?;
        }
        if code > 0x0010_ffff {
            return None;
        }
        push_code(&mut out, code);
        at += 2 + digits;
    }
    Some(out)
}

fn push_code(out: &mut Vec<u8>, code: u32) {
    match char::from_u32(code) {
        Some(char) => out.extend(char.encode_utf8(&mut [0; 4]).bytes()),
        None => out.extend([0xe0 | (code >> 12) as u8, 0x80 | (code >> 6 & 0x3f) as u8, 0x80 | (code & 0x3f) as u8]),
    }
}

fn hex(digit: u8) -> Option<u32> {
    char::from(digit).to_digit(16)
}

/// An integer of protocol 0 in the little-endian two's complement of `LONG1`, sign included; `None` if it is none.
///
/// Base prefixes, signs, underscores and surrounding white space are read as Python's `int(text, 0)` does. Longer than
/// 4,300 digits is refused, as CPython does.
pub(super) fn integer(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.trim_ascii();
    let (negative, digits) = match text.split_first()? {
        (b'-', rest) => (true, rest),
        (b'+', rest) => (false, rest),
        _ => (false, text),
    };
    let (base, digits) = match digits {
        [b'0', b'x' | b'X', rest @ ..] => (16, rest.strip_prefix(b"_").unwrap_or(rest)),
        [b'0', b'o' | b'O', rest @ ..] => (8, rest.strip_prefix(b"_").unwrap_or(rest)),
        [b'0', b'b' | b'B', rest @ ..] => (2, rest.strip_prefix(b"_").unwrap_or(rest)),
        _ => (10, digits),
    };
    if digits.is_empty() || digits.len() > 4300 || digits.ends_with(b"_") || digits.starts_with(b"_") {
        return None;
    }
    let mut magnitude: Vec<u8> = Vec::new();
    let mut after_underscore = true;
    for &digit in digits {
        if digit == b'_' {
            if after_underscore {
                return None;
            }
            after_underscore = true;
            continue;
        }
        after_underscore = false;
        let mut carry = char::from(digit).to_digit(base)?;
        for byte in &mut magnitude {
            carry += u32::from(*byte) * base;
            *byte = (carry & 0xff) as u8;
            carry >>= 8;
        }
        if carry > 0 {
            magnitude.push(carry as u8);
        }
    }
    // One more byte has room for the sign.
    magnitude.push(0);
    if negative {
        let mut carry = true;
        for byte in &mut magnitude {
            (*byte, carry) = (!*byte).overflowing_add(carry.into());
        }
    }
    Some(magnitude)
}

/// The value of little-endian two's complement, if 64 bits hold it.
pub(super) fn small_integer(bytes: &[u8]) -> Option<i64> {
    let fill = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
    let mut value = [fill; 8];
    for (index, &byte) in bytes.iter().enumerate() {
        match value.get_mut(index) {
            Some(slot) => *slot = byte,
            None if byte == fill => {}
            None => return None,
        }
    }
    let value = i64::from_le_bytes(value);
    ((value < 0) == (fill == 0xff)).then_some(value)
}

/// A float as Python's `float(text)` reads it, without white space around it.
pub(super) fn float(text: &[u8]) -> Option<f64> {
    let text = str::from_utf8(text).ok()?;
    // Rust accepts the same numbers and also `infinity` and `nan` in any case, as Python does.
    text.parse().ok()
}
