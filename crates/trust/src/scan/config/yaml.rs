//! YAML: tags that make Python build objects, then the same keys as in JSON.

use weighthouse_format::yaml;

use super::super::pickle::plain;
use super::super::report::Finding;
use super::super::rules;
use super::super::session::{Item, Session};
use super::super::verdict::{Confidence, Severity, Verdict};

/// Judges a YAML document.
pub(in crate::scan) fn judge(session: &mut Session<'_>, item: &Item) {
    let Some(bytes) = session.parsed(item, "YAML") else { return };
    let bytes = super::utf8(&bytes).unwrap_or(std::borrow::Cow::Borrowed(&bytes));
    let text = String::from_utf8_lossy(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes));
    session.format("yaml");
    tags(session, item, &text);
    match yaml::read("YAML", &text) {
        Ok(value) => super::document(session, item, &value),
        Err(error) => {
            let detail = format!("it is looked at line by line only: {error}");
            let finding = Finding::of(rules::UNREADABLE, Verdict::Caution, detail);
            session.add(item, finding.weighing(Severity::Low));
            lines(session, item, &text);
        }
    }
}

/// Tags that make PyYAML's unsafe loaders build any object, however they are spelled.
fn tags(session: &mut Session<'_>, item: &Item, text: &str) {
    for (number, line) in text.lines().enumerate() {
        let bare = unescaped(&uncommented(line));
        let directive = line.starts_with("%TAG") && line.contains("python");
        if directive
            || ["!!python/", "tag:yaml.org,2002:python/", "!<tag:yaml.org,2002:python"]
                .iter()
                .any(|tag| bare.contains(tag))
        {
            let shown: String = bare.trim().chars().take(120).collect();
            // Names and tuples are harmless, and so are plain types.
            let harmless = [
                "!!python/tuple",
                "!!python/str",
                "!!python/unicode",
                "!!python/int",
                "!!python/float",
                "!!python/bool",
                "!!python/none",
                "!!python/list",
                "!!python/dict",
            ];
            let count = bare.matches("python/").count();
            let plain_types =
                !directive && harmless.iter().map(|tag| bare.matches(tag).count()).sum::<usize>() == count;
            let (verdict, what) = match plain_types {
                true => (Verdict::Caution, "needs a loader that builds Python's types"),
                false => (Verdict::Unsafe, "builds or calls any Python object"),
            };
            let detail = format!("line {}: `{}` {what}", number + 1, plain(&shown));
            session.add(item, Finding::of(rules::YAML_TAG, verdict, detail));
        }
    }
}

/// A line without its comment and without what stands between quotation marks.
fn uncommented(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut quote = None;
    let mut before = ' ';
    for character in line.chars() {
        match (quote, character) {
            (Some(open), close) if open == close => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') if before.is_whitespace() || "[{,:(".contains(before) => quote = Some(character),
            (None, '#') if before.is_whitespace() => break,
            (None, other) => out.push(other),
        }
        before = character;
    }
    out
}

/// A line of which the `%xx` are the characters that they stand for: tags may be spelled so.
fn unescaped(line: &str) -> String {
    if !line.contains('%') {
        return line.to_owned();
    }
    let mut out = Vec::with_capacity(line.len());
    let mut rest = line.as_bytes();
    while let [byte, more @ ..] = rest {
        let digits = more.first_chunk::<2>().and_then(|digits| str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| *byte == b'%') {
            Some(escaped) => {
                out.push(escaped);
                rest = more.get(2..).unwrap_or_default();
            }
            None => {
                out.push(*byte);
                rest = more;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Keys that matter, where the document could not be parsed.
fn lines(session: &mut Session<'_>, item: &Item, text: &str) {
    for (number, line) in text.lines().enumerate() {
        let bare = line.trim_start().trim_start_matches("- ");
        let Some((key, value)) = bare.split_once(':') else { continue };
        let key = key.trim().trim_matches(['"', '\'']);
        let value = value.trim().trim_matches(['"', '\'']);
        if matches!(key, "_target_" | "target" | "class_path")
            && let Some((verdict, why)) = super::targets::judge(value)
            && (key == "_target_" || verdict == Verdict::Unsafe)
        {
            let rule = if verdict == Verdict::Unsafe { rules::CONFIG_DANGEROUS } else { rules::CONFIG_CLASS };
            let detail = format!("line {}: imports and calls `{}`, {why}", number + 1, plain(value));
            session.add(item, Finding::of(rule, verdict, detail).sure(Confidence::Likely));
        }
        if key == "trust_remote_code" && value.eq_ignore_ascii_case("true") {
            let detail = format!("line {}: sets `trust_remote_code`", number + 1);
            session.add(item, Finding::of(rules::REMOTE_CODE, Verdict::Caution, detail));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{uncommented, unescaped};

    #[test]
    fn tags_may_be_spelled_with_escapes() {
        assert_eq!(unescaped("!<a:pyth%6Fn/x> 5% %zz %"), "!<a:python/x> 5% %zz %");
    }

    #[test]
    fn comments_and_quoted_text_are_no_tags() {
        assert_eq!(uncommented("a: !!python/name:os.system # x").trim_end(), "a: !!python/name:os.system");
        assert_eq!(uncommented("a: 'use !!python/name' # !!python").trim_end(), "a:");
        assert_eq!(uncommented("it's !!python/name"), "it's !!python/name");
    }
}
