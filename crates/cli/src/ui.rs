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
