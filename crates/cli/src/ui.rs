//! The terminal: data on stdout, everything else on stderr, colour only where somebody looks.

use std::io::{IsTerminal, Write};

/// Writes data to stdout, a line feed after it.
///
/// # Errors
/// When stdout is closed.
pub fn data(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Writes a JSON document to stdout.
///
/// # Errors
/// When stdout is closed.
pub fn json(value: &serde_json::Value) -> std::io::Result<()> {
    data(&format!("{value:#}"))
}

/// Writes a JSON document to stdout while it is serialised.
///
/// # Errors
/// When stdout is closed.
pub fn document(value: &impl serde::Serialize) -> std::io::Result<()> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    serde_json::to_writer_pretty(&mut out, value).map_err(std::io::Error::from)?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Says what happened, to people only.
pub fn note(text: &str) {
    line(text);
}

/// A size for people: three digits and a binary unit.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut units = UNITS.iter();
    let mut unit = units.next();
    while value >= 999.5 {
        let Some(next) = units.next() else { break };
        value /= 1024.0;
        unit = Some(next);
    }
    let digits = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.digits$} {}", unit.copied().unwrap_or_default())
}

/// Names an error.
pub fn error(text: &str) {
    say("error", "31", text);
}

/// Names a way out.
pub fn hint(text: &str) {
    say("hint", "36", text);
}

/// Adds a cause or a place to the error above it.
pub fn detail(text: &str) {
    line(&format!("  {text}"));
}

fn say(label: &str, colour: &str, text: &str) {
    if coloured() {
        line(&format!("\x1b[1;{colour}m{label}:\x1b[0m {text}"));
    } else {
        line(&format!("{label}: {text}"));
    }
}

fn coloured() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && std::io::stderr().is_terminal()
}

fn line(text: &str) {
    // Nothing can be done about a closed stderr.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits_and_a_unit() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (15 << 20, "15.0 MiB"),
            (700 << 30, "700 GiB"),
            (1023 << 20, "1.00 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
