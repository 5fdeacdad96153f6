//! Graphs of TensorFlow: every node of the graph and of its functions, against the list of operators.
//!
//! `operators.txt` has the operators of TensorFlow 2.21, one a line. One that is not among them comes with a plugin.

use std::collections::BTreeSet;

use weighthouse_format::FormatError;
use weighthouse_format::protobuf::{Message, Value};

use super::super::config;
use super::super::keras;
use super::super::pickle::plain;
use super::super::report::Finding;
use super::super::rules;
use super::super::session::{Item, Session};
use super::super::verdict::{Severity, Verdict};

const OPERATORS: &str = include_str!("operators.txt");

/// Operators that reach outside, and what they do.
const OUTWARD: &[(&str, &str)] = &[
    ("ReadFile", "reads any file"),
    ("WriteFile", "writes any file"),
    ("MatchingFiles", "lists files"),
    ("MatchingFilesDataset", "lists files"),
    ("PyFunc", "runs Python"),
    ("PyFuncStateless", "runs Python"),
    ("EagerPyFunc", "runs Python"),
    ("LoadLibrary", "loads native code"),
    ("DecodeProtoV2", "reads descriptions of messages from a file"),
    ("EncodeProto", "reads descriptions of messages from a file"),
    ("RpcCall", "speaks to the network"),
    ("RpcClient", "speaks to the network"),
    ("RpcServer", "speaks to the network"),
    ("RpcServerStart", "speaks to the network"),
    ("ShellExec", "runs a command"),
    ("SqlDataset", "reads a database"),
    ("LMDBDataset", "reads a database"),
    ("LMDBReader", "reads a database"),
    ("Save", "writes files of a name that the graph gives"),
    ("SaveSlices", "writes files of a name that the graph gives"),
    ("SaveDataset", "writes files"),
    ("SaveDatasetV2", "writes files"),
    ("LoadDataset", "reads files"),
    ("LoadDatasetV2", "reads files"),
    ("DistributedSave", "writes files"),
    ("CreateSummaryFileWriter", "writes files"),
    ("CreateSummaryDbWriter", "writes files"),
    ("WriteSummary", "writes files"),
    ("TextLineDataset", "reads files"),
    ("TFRecordDataset", "reads files"),
    ("TFRecordDatasetV2", "reads files"),
    ("FixedLengthRecordDataset", "reads files"),
    ("FixedLengthRecordDatasetV2", "reads files"),
    ("TextLineReader", "reads files"),
    ("TextLineReaderV2", "reads files"),
    ("TFRecordReader", "reads files"),
    ("TFRecordReaderV2", "reads files"),
    ("FixedLengthRecordReader", "reads files"),
    ("FixedLengthRecordReaderV2", "reads files"),
    ("WholeFileReader", "reads files"),
    ("WholeFileReaderV2", "reads files"),
    ("CacheDataset", "writes files when it has a name"),
    ("CacheDatasetV2", "writes files when it has a name"),
    ("SnapshotDataset", "writes files"),
    ("SnapshotDatasetV2", "writes files"),
    ("DebugIdentity", "sends values to an address"),
    ("DebugIdentityV2", "sends values to an address"),
    ("DebugIdentityV3", "sends values to an address"),
    ("DebugNanCount", "sends values to an address"),
    ("DebugNumericSummary", "sends values to an address"),
    ("DebugNumericSummaryV2", "sends values to an address"),
];

/// Operators that act only with an address in an attribute.
const ADDRESSED: &[&str] = &[
    "PrintV2",
    "DebugIdentity",
    "DebugIdentityV2",
    "DebugIdentityV3",
    "DebugNanCount",
    "DebugNumericSummary",
    "DebugNumericSummaryV2",
];

/// Operators of which reading is less than suspicious without more.
const MILD: &[&str] = &["CacheDataset", "CacheDatasetV2", "EncodeProto", "Save", "SaveSlices"];

/// Most messages that are walked.
const MAX_MESSAGES: u64 = 8_000_000;
const NAME_BYTES: u64 = 4096;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    SavedModel,
    MetaGraph,
    Graph,
    Library,
    Function,
    Node,
}

const fn inner(part: Part, number: u64) -> Option<Part> {
    Some(match (part, number) {
        (Part::SavedModel, 2) => Part::MetaGraph,
        (Part::MetaGraph, 2) => Part::Graph,
        (Part::Graph, 1) | (Part::Function, 3) => Part::Node,
        (Part::Graph, 2) => Part::Library,
        (Part::Library, 1) => Part::Function,
        _ => return None,
    })
}

/// Judges a graph; answers an error when it is none.
pub(super) fn judge(session: &mut Session<'_>, item: &Item, part: Part) -> Result<(), FormatError> {
    let mut waiting = vec![(part, Message::new(item.section.clone()))];
    let mut seen = 0;
    let mut known = std::collections::HashMap::<String, bool>::new();
    while let Some((part, message)) = waiting.pop() {
        seen += 1;
        if seen > MAX_MESSAGES {
            session.limit(item, "the graph has too many nodes");
            return Ok(());
        }
        let (mut name, mut operator, mut address) = (String::new(), String::new(), None);
        for field in message.fields("tensorflow message")? {
            let field = field?;
            let Value::Bytes(inside) = &field.value else { continue };
            if let Some(next) = inner(part, field.number) {
                waiting.push((next, inside.clone()));
                continue;
            }
            if part == Part::Node {
                match field.number {
                    1 => name = inside.text("node", NAME_BYTES)?,
                    2 => operator = inside.text("operator", NAME_BYTES)?,
                    5 if inside.len() < 64 << 10 => address = address.or(address_in(inside)),
                    _ => {}
                }
            }
        }
        if part == Part::Node {
            let listed = match known.get(&operator) {
                Some(listed) => *listed,
                None => {
                    let listed = is_listed(&operator);
                    if known.len() < 100_000 {
                        known.insert(operator.clone(), listed);
                    }
                    listed
                }
            };
            node(session, item, &name, &operator, address.as_deref(), listed);
        }
    }
    Ok(())
}

fn is_listed(operator: &str) -> bool {
    // Functions are called by their own names.
    operator.starts_with("__inference")
        || operator.starts_with("__forward")
        || OPERATORS.lines().any(|known| known == operator)
}

fn node(session: &mut Session<'_>, item: &Item, name: &str, operator: &str, address: Option<&str>, listed: bool) {
    let shown = plain(name);
    let outward = OUTWARD.iter().find(|(known, _)| *known == operator);
    if ADDRESSED.contains(&operator) {
        if let Some(address) = address {
            let detail = format!("node `{shown}` of `{operator}` writes to `{}`", plain(address));
            session.add(item, Finding::of(rules::TF_OPERATOR, Verdict::Unsafe, detail).weighing(Severity::High));
        }
    } else if let Some((_, what)) = outward {
        let verdict = if MILD.contains(&operator) { Verdict::Caution } else { Verdict::Unsafe };
        let severity =
            if *what == "runs Python" || *what == "runs a command" { Severity::Critical } else { Severity::High };
        let severity = if verdict == Verdict::Caution { Severity::Low } else { severity };
        let detail = format!("operator `{operator}` {what} when the model runs");
        session.add(item, Finding::of(rules::TF_OPERATOR, verdict, detail).weighing(severity));
    } else if !listed {
        let detail = format!("needs the operator `{}` of a plugin", plain(operator));
        session.add(item, Finding::of(rules::TF_CUSTOM, Verdict::Caution, detail));
    }
}

/// An address of a file or of another machine in an attribute.
fn address_in(attribute: &Message) -> Option<String> {
    let bytes = attribute.bytes("attribute", 64 << 10).ok()?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let at = text.find("file://").or_else(|| text.find("grpc://"))?;
    Some(text.get(at..)?.chars().take_while(|character| !character.is_control()).take(200).collect())
}

/// Judges a graph as text.
pub(in crate::scan) fn text(session: &mut Session<'_>, item: &Item) {
    let Some(bytes) = session.parsed(item, "graph as text") else { return };
    for operator in operators(&bytes) {
        node(session, item, "", &operator, None, is_listed(&operator));
    }
}

/// The operators of a graph as text: what stands between quotation marks behind `op`, as protocol buffers are written.
fn operators(bytes: &[u8]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut words: Vec<u8> = Vec::new();
    let mut rest = bytes.iter().copied().peekable();
    let mut named = false;
    while let Some(byte) = rest.next() {
        match byte {
            b'#' => while rest.next_if(|&byte| byte != b'\n').is_some() {},
            b'"' | b'\'' => {
                let text = quoted(&mut rest, byte);
                if named && found.len() < 100_000 {
                    found.insert(String::from_utf8_lossy(&text).into_owned());
                }
                named = false;
            }
            b':' => {
                named = words == b"op";
                words.clear();
            }
            _ if byte.is_ascii_whitespace() => {}
            _ if byte.is_ascii_alphanumeric() || byte == b'_' => {
                // A word that a space ends is another than the next.
                if words.len() < 64 {
                    words.push(byte);
                }
                if rest.peek().is_some_and(|next| next.is_ascii_whitespace()) {
                    while rest.next_if(u8::is_ascii_whitespace).is_some() {}
                    if rest.peek() != Some(&b':') {
                        words.clear();
                    }
                }
                named = false;
            }
            _ => {
                words.clear();
                named = false;
            }
        }
    }
    found
}

/// A text up to its quotation mark, with its escapes resolved; longer ones are cut.
fn quoted(rest: &mut std::iter::Peekable<impl Iterator<Item = u8>>, mark: u8) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(byte) = rest.next() {
        let byte = match byte {
            b'\\' => match rest.next() {
                Some(b'x' | b'X') => digits(rest, None, 16, 2),
                Some(digit @ b'0'..=b'7') => digits(rest, Some(digit), 8, 3),
                Some(other) => other,
                None => break,
            },
            byte if byte == mark || byte == b'\n' => break,
            byte => byte,
        };
        if out.len() < NAME_BYTES as usize {
            out.push(byte);
        }
    }
    out
}

/// A number of at most `most` digits.
fn digits(rest: &mut std::iter::Peekable<impl Iterator<Item = u8>>, first: Option<u8>, radix: u32, most: usize) -> u8 {
    let value = |byte: u8| char::from(byte).to_digit(radix);
    let mut number = first.and_then(value).unwrap_or(0);
    for _ in usize::from(first.is_some())..most {
        match rest.next_if(|&byte| value(byte).is_some()).and_then(value) {
            Some(digit) => number = number * radix + digit,
            None => break,
        }
    }
    number.to_le_bytes()[0]
}

/// Judges what Keras 2 keeps beside a graph: objects in JSON.
pub(super) fn keras_metadata(session: &mut Session<'_>, item: &Item) -> Result<(), FormatError> {
    for field in Message::new(item.section.clone()).fields("keras metadata")? {
        let field = field?;
        let (1, Some(node)) = (field.number, field.value.message()) else { continue };
        for field in node.fields("keras object")? {
            let field = field?;
            let (5, Some(text)) = (field.number, field.value.message()) else { continue };
            let text = text.bytes("keras object", session.limits.text_bytes)?;
            if let Ok(value) = config::parse(&text) {
                keras::walk(session, item, &value, "");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::operators;

    #[test]
    fn operators_are_found_however_they_are_written() {
        let text = br#"node { name: "op" op: 'PyFunc' } # op: "No"
            node {op:"Read\x46ile" attr { key: "op" value { s: "x" } } op  :  "A" stop: "B" op "C" op: "Eager\120yFunc""#;
        let found: Vec<String> = operators(text).into_iter().collect();
        assert_eq!(found, ["A", "EagerPyFunc", "PyFunc", "ReadFile"]);
        assert!(operators(b"op: \"\\").contains(""));
    }
}
