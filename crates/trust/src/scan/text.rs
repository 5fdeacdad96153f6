//! Text: secrets, characters that change its order, and the judges of what kind of text it is.

use super::budget::take;
use super::report::Finding;
use super::rules;
use super::session::{Item, Session};
use super::verdict::{Confidence, Severity, Verdict};
use super::{config, jinja, program};

/// Longest text that is searched.
const SEARCHED_BYTES: u64 = 16 << 20;

/// Whether a character changes the order of text on the screen, or hides.
pub(crate) const fn is_reordering(character: char) -> bool {
    matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Judges text.
pub(super) fn judge(session: &mut Session<'_>, item: &Item, head: &[u8]) {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    program::script(session, item, head);
    let ending = item.ending();
    if ending == "jinja" || ending == "jinja2" || ending == "j2" {
        if let Some(bytes) = session.parsed(item, "template") {
            session.format("jinja");
            jinja::judge(session, item, &String::from_utf8_lossy(&bytes), "");
        }
    } else if matches!(ending.as_str(), "yaml" | "yml") {
        config::yaml(session, item);
    } else if matches!(head.trim_ascii_start().first(), Some(b'{' | b'[')) && ending != "jsonl" {
        config::json(session, item);
    } else if ending == "txt" && item.name().starts_with("requirements") {
        config::requirements(session, item);
    } else if matches!(ending.as_str(), "pbtxt") {
        super::formats::graph_text(session, item);
    } else if item.name() == "MLmodel" {
        config::yaml(session, item);
    }
    search(session, item, &ending);
}

/// Looks for secrets and for characters that hide.
fn search(session: &mut Session<'_>, item: &Item, ending: &str) {
    let len = item.section.len();
    if len > SEARCHED_BYTES || !take(&mut session.budget.parsed_bytes, len) {
        return;
    }
    let Ok(bytes) = item.section.read("text", 0, len) else { return };
    for (line, name) in secrets(&bytes) {
        let finding = Finding::of(rules::SECRET, Verdict::Caution, format!("line {line} holds {name}"));
        session.add(item, finding.sure(Confidence::Likely).weighing(Severity::High));
    }
    let text = String::from_utf8_lossy(&bytes);
    if let Some((at, character)) = text.char_indices().find(|(_, character)| is_reordering(*character)) {
        let line = text.get(..at).unwrap_or_default().matches('\n').count() + 1;
        let code = matches!(ending, "py" | "sh" | "js" | "jinja" | "ipynb" | "yaml" | "yml");
        let verdict = if code { Verdict::Suspicious } else { Verdict::Caution };
        let detail =
            format!("line {line} has U+{:04X}, which changes the order of what is shown", u32::from(character));
        session.add(item, Finding::of(rules::REORDERED, verdict, detail));
    }
}

/// Beginning of a secret, least number of letters and digits behind it, and what it is.
const SECRETS: &[(&[u8], usize, &str)] = &[
    (b"hf_", 34, "a token of Hugging Face"),
    (b"ghp_", 36, "a token of GitHub"),
    (b"gho_", 36, "a token of GitHub"),
    (b"ghs_", 36, "a token of GitHub"),
    (b"github_pat_", 22, "a token of GitHub"),
    (b"glpat-", 20, "a token of GitLab"),
    (b"AKIA", 16, "a key of AWS"),
    (b"ASIA", 16, "a key of AWS"),
    (b"xoxb-", 20, "a token of Slack"),
    (b"xoxp-", 20, "a token of Slack"),
    (b"sk-ant-", 24, "a key of Anthropic"),
    (b"sk-proj-", 24, "a key of OpenAI"),
    (b"-----BEGIN RSA PRIVATE KEY-----", 0, "a private key"),
    (b"-----BEGIN EC PRIVATE KEY-----", 0, "a private key"),
    (b"-----BEGIN PRIVATE KEY-----", 0, "a private key"),
    (b"-----BEGIN OPENSSH PRIVATE KEY-----", 0, "a private key"),
];

/// Lines with secrets, and what they are; ten at most.
fn secrets(bytes: &[u8]) -> Vec<(usize, &'static str)> {
    let mut found = Vec::new();
    for (number, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        for &(begin, least, name) in SECRETS {
            let Some(at) = find(line, begin) else { continue };
            let before = at.checked_sub(1).and_then(|at| line.get(at));
            let rest = line.get(at + begin.len()..).unwrap_or_default();
            let word = |byte: &&u8| {
                byte.is_ascii_alphanumeric()
                    || (matches!(begin, b"xoxb-" | b"xoxp-" | b"github_pat_" | b"sk-proj-" | b"sk-ant-")
                        && b"-_".contains(byte))
            };
            let len = rest.iter().take_while(word).count();
            // Words of one letter, such as `hf_xxxxxxxx…`, stand for a secret.
            let distinct =
                rest.get(..len.min(40)).unwrap_or_default().iter().collect::<std::collections::HashSet<_>>().len();
            let exact = !matches!(begin, b"AKIA" | b"ASIA") || len == least;
            let bounded = before.is_none_or(|byte| !byte.is_ascii_alphanumeric());
            if len >= least && exact && bounded && (least == 0 || distinct >= 8) {
                found.push((number + 1, name));
            }
            if found.len() >= 10 {
                return found;
            }
        }
    }
    found
}

fn find(line: &[u8], wanted: &[u8]) -> Option<usize> {
    let first = *wanted.first()?;
    let mut at = 0;
    while let Some(next) = line.get(at..).and_then(|rest| rest.iter().position(|&byte| byte == first)) {
        if line.get(at + next..).is_some_and(|rest| rest.starts_with(wanted)) {
            return Some(at + next);
        }
        at += next + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_told_from_words_that_look_alike() {
        let token = format!("token = \"hf_{}\"", "aB3dE5fG7hI9jK1lM3nO5pQ7rS9tU1vW3x");
        assert_eq!(secrets(token.as_bytes()), [(1, "a token of Hugging Face")]);
        assert_eq!(secrets(b"\n\n-----BEGIN PRIVATE KEY-----\n"), [(3, "a private key")]);
        assert!(secrets(format!("hf_{}", "x".repeat(34)).as_bytes()).is_empty());
        assert!(secrets(b"hf_hub_download(repo)").is_empty());
        assert!(secrets(b"the AKIA prefix").is_empty());
        assert_eq!(secrets(b"id AKIAIOSFODNN7EXAMPLE"), [(1, "a key of AWS")]);
    }
}
