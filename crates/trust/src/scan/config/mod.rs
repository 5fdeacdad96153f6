//! Configurations: what a library imports, fetches or runs because a JSON or YAML file says so.

mod keys;
mod neighbours;
mod targets;
mod yaml;

pub(super) use neighbours::{is_data_of_a_neighbour, name};
pub(super) use yaml::judge as yaml;

use serde_json::Value;

use super::keras;
use super::report::Finding;
use super::rules;
use super::session::{Item, Session};
use super::verdict::{Severity, Verdict};

/// Judges a text that begins as JSON does.
pub(super) fn json(session: &mut Session<'_>, item: &Item) {
    let Some(bytes) = session.parsed(item, "JSON") else { return };
    match parse(&bytes) {
        Ok(value) => {
            session.format("json");
            document(session, item, &value);
        }
        Err(message) => {
            if item.ending() == "json" {
                let detail = format!("it is no JSON: {message}");
                let finding = Finding::of(rules::UNREADABLE, Verdict::Error, detail);
                session.add(item, finding.weighing(Severity::Medium));
            }
        }
    }
}

/// Judges a document.
pub(super) fn document(session: &mut Session<'_>, item: &Item, value: &Value) {
    keys::walk(session, item, value);
    keras::walk(session, item, value, "");
}

/// Reads JSON as Python does: `NaN` and the infinities are numbers.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match serde_json::from_slice(bytes) {
        Ok(value) => Ok(value),
        Err(error) => match without_numbers_of_python(bytes) {
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|error| error.to_string()),
            None => Err(error.to_string()),
        },
    }
}

/// The text with `null` in the place of what JSON has no word for; `None` when there is nothing of that kind.
fn without_numbers_of_python(bytes: &[u8]) -> Option<Vec<u8>> {
    const WORDS: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];
    let mut out = Vec::with_capacity(bytes.len());
    let (mut at, mut in_text, mut found) = (0, false, false);
    while let Some(&byte) = bytes.get(at) {
        if in_text {
            if byte == b'\\' {
                out.push(byte);
                at += 1;
                out.extend(bytes.get(at));
                at += 1;
                continue;
            }
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

/// Judges a list of Python packages.
pub(super) fn requirements(session: &mut Session<'_>, item: &Item) {
    let Some(bytes) = session.parsed(item, "list of packages") else { return };
    for (number, line) in String::from_utf8_lossy(&bytes).lines().enumerate() {
        let line = line.split('#').next().unwrap_or(line).trim();
        let fetches =
            ["git+", "http://", "https://", "hg+", "svn+", "--extra-index-url", "--index-url", "--find-links"];
        if fetches.iter().any(|word| line.contains(word)) {
            let shown: String = line.chars().take(120).collect();
            let detail = format!("line {}: `{}`", number + 1, super::pickle::plain(&shown));
            session.add(item, Finding::of(rules::REQUIREMENT, Verdict::Caution, detail));
        }
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
}
