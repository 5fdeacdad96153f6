//! Numbers and names as people read them.

pub use weighthouse::words::digits;

/// A name from a file, safe for a terminal: control, reordering and invisible characters are spelled out.
pub fn plain(text: &str) -> String {
    let harmful = |character: char| {
        character.is_control()
            || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' | '\u{61c}')
    };
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if harmful(character) {
            out.extend(character.escape_unicode());
        } else {
            out.push(character);
        }
    }
    out
}

/// A count with three digits: `4.39 M`.
pub fn count(number: u64) -> String {
    const UNITS: [&str; 5] = ["K", "M", "B", "T", "P"];
    if number < 10_000 {
        return digits(number);
    }
    let mut value = number as f64 / 1000.0;
    let mut units = UNITS.iter();
    let mut unit = units.next();
    while value >= 999.5 {
        let Some(next) = units.next() else { break };
        value /= 1000.0;
        unit = Some(next);
    }
    let places = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.places$} {}", unit.copied().unwrap_or_default())
}

/// A shape: `[768, 3072]`.
pub fn shape(shape: &[u64]) -> String {
    format!("[{}]", shape.iter().map(u64::to_string).collect::<Vec<_>>().join(", "))
}

/// A real number in few characters.
pub fn real(number: f64) -> String {
    if number == 0.0 {
        return "0".to_owned();
    }
    let magnitude = number.abs();
    if (1e-3..1e5).contains(&magnitude) { format!("{number:.4}") } else { format!("{number:.2e}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_steer_the_terminal() {
        assert_eq!(plain("a\u{1b}[31mb\u{202e}c"), "a\\u{1b}[31mb\\u{202e}c");
        assert_eq!(plain("größe.0"), "größe.0");
    }

    #[test]
    fn counts_have_three_digits_and_a_unit() {
        for (number, text) in
            [(0, "0"), (9_999, "9,999"), (22_713_216, "22.7 M"), (7_241_732_096, "7.24 B"), (999_999, "1.00 M")]
        {
            assert_eq!(count(number), text);
        }
        assert_eq!(digits(1_234_567), "1,234,567");
    }
}
