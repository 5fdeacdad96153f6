//! Numbers as people read them, the same in the terminal, in sentences and on pages.

/// A whole number with commas: `30,522`.
#[must_use]
pub fn digits(number: u64) -> String {
    let text = number.to_string();
    let mut out = String::new();
    for (at, digit) in text.chars().enumerate() {
        if at > 0 && (text.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
