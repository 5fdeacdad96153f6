//! Headers before raw elements: safetensors, GGUF, npy.

use weighthouse_format::error::chain;
use weighthouse_format::{FormatError, gguf as reader, numpy, safetensors as header};

use super::super::jinja;
use super::super::pickle;
use super::super::report::Finding;
use super::super::rules::{self, Rule};
use super::super::session::{Item, Role, Session};
use super::super::verdict::Verdict;

/// Judges a safetensors file.
pub(in crate::scan) fn safetensors(session: &mut Session<'_>, item: &Item) {
    if let Err(error) = header::read(&item.section, &session.limits) {
        broken(session, item, rules::SAFETENSORS_BROKEN, &error);
    }
}

/// Judges a GGUF file: its header, and its chat templates.
pub(in crate::scan) fn gguf(session: &mut Session<'_>, item: &Item) {
    match reader::read(&item.section, &session.limits) {
        Ok(contents) => {
            for (key, value) in &contents.metadata {
                if key.contains("chat_template")
                    && let Some(template) = value.as_str()
                {
                    jinja::judge(session, item, template, key);
                }
            }
        }
        Err(error) => broken(session, item, rules::GGUF_BROKEN, &error),
    }
}

/// What lies about its own size attacks readers; what ends early is damaged.
fn broken(session: &mut Session<'_>, item: &Item, rule: &'static Rule, error: &FormatError) {
    let lies = matches!(
        error,
        FormatError::OutOfBounds { .. }
            | FormatError::SizeOverflow { .. }
            | FormatError::DuplicateKey { .. }
            | FormatError::Broken { .. }
            | FormatError::NotTiled { .. }
            | FormatError::TrailingBytes { .. }
            | FormatError::ShapeMismatch { .. }
            | FormatError::TooLarge { .. }
    );
    let detail = format!("its header cannot be believed: {}", chain(error));
    if lies {
        session.add(item, Finding::of(rule, Verdict::Suspicious, detail));
    }
    // Nothing behind a wrong header was looked at.
    session.error(item, rule, "its header cannot be read", error);
}

/// Judges a NumPy array: elements that are objects are pickles.
pub(in crate::scan) fn npy(session: &mut Session<'_>, item: &Item) {
    let read = numpy::read_npy(&item.section, &session.limits);
    let begin = match data_begin(item) {
        Ok(begin) => begin,
        Err(error) => return session.error(item, rules::UNREADABLE, "its header cannot be read", &error),
    };
    let Ok(head) = item.section.read("npy header", 0, begin.min(1 << 20)) else { return };
    if names_objects(&head) {
        let len = item.section.len().saturating_sub(begin);
        if let Ok(section) = item.section.slice("objects of an array", begin, len) {
            pickle::judge(session, &Item { section, role: Role::Pickle, ..item.clone() });
        }
        return;
    }
    match read {
        Ok(contents) => {
            for warning in contents.warnings {
                session.add(item, Finding::of(rules::TRAILING, Verdict::Suspicious, warning.message));
            }
        }
        // Elements of types that are no numbers are data all the same.
        Err(FormatError::Unsupported { .. }) => {}
        Err(error) => session.error(item, rules::UNREADABLE, "its header cannot be read", &error),
    }
}

/// Where the elements begin.
fn data_begin(item: &Item) -> Result<u64, FormatError> {
    let head = item.section.read("npy header", 0, 12.min(item.section.len()))?;
    let word = |at: usize| u64::from(head.get(at).copied().unwrap_or(0));
    let len = match head.get(6) {
        Some(1) => 10 + word(8) + (word(9) << 8),
        _ => 12 + word(8) + (word(9) << 8) + (word(10) << 16) + (word(11) << 24),
    };
    item.section.slice("npy header", 0, len)?;
    Ok(len)
}

/// Whether a type in the header is that of Python objects: `O`, `|O`, `|O8`.
fn names_objects(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head);
    text.split(['\'', '"']).any(|word| {
        let word = word.trim_start_matches(['|', '<', '>', '=']);
        word.strip_prefix('O').is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
    })
}
