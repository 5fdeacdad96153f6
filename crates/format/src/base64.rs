//! Base64 with the standard alphabet (RFC 4648), as files hold it: padded or not, and with what their writers put between.

/// Decodes the digits of `text`; `passes` tells which other bytes are stepped over. `None` when there is one that is not.
///
/// Padding is no digit: whoever accepts it trims it off. Bits that are left at the end are dropped.
pub fn decode(text: &str, passes: impl Fn(u8) -> bool) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 3);
    let (mut bits, mut count) = (0u32, 0u32);
    for byte in text.bytes() {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ if passes(byte) => continue,
            _ => return None,
        };
        bits = bits << 6 | u32::from(digit);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    Some(out)
}
