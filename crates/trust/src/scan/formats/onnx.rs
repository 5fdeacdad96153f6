//! ONNX: files that its tensors lie in, and operators of plugins.

use std::collections::BTreeSet;

use weighthouse_format::FormatError;
use weighthouse_format::protobuf::{Message, Value};

use super::super::pickle::plain;
use super::super::report::Finding;
use super::super::rules;
use super::super::session::{Item, Session};
use super::super::verdict::Verdict;

/// Domains that ONNX itself defines, and those that its runtime brings along.
const OWN: &[&str] = &["", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview", "ai.onnx.preview.training"];
const RUNTIME: &[&str] =
    &["com.microsoft", "com.microsoft.nchwc", "com.microsoft.experimental", "com.ms.internal.nhwc", "org.pytorch.aten"];
/// Most messages that are walked.
const MAX_MESSAGES: u64 = 4_000_000;
/// Longest name.
const NAME_BYTES: u64 = 4096;

/// What a message is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Model,
    Training,
    Graph,
    Function,
    Node,
    Attribute,
    Tensor,
    Sparse,
}

/// What lies in a field of a part.
const fn inner(part: Part, number: u64) -> Option<Part> {
    Some(match (part, number) {
        (Part::Model, 7) => Part::Graph,
        (Part::Model, 20) => Part::Training,
        (Part::Model, 25) => Part::Function,
        (Part::Training, 1 | 2) => Part::Graph,
        (Part::Graph, 1) | (Part::Function, 7) => Part::Node,
        (Part::Graph, 5) => Part::Tensor,
        (Part::Graph, 15) => Part::Sparse,
        (Part::Node, 5) => Part::Attribute,
        (Part::Function, 11) => Part::Attribute,
        (Part::Attribute, 5 | 10) => Part::Tensor,
        (Part::Attribute, 6 | 11) => Part::Graph,
        (Part::Attribute, 22 | 23) => Part::Sparse,
        (Part::Sparse, 1 | 2) => Part::Tensor,
        _ => return None,
    })
}

/// Judges a model; answers an error when it is none.
pub(super) fn judge(session: &mut Session<'_>, item: &Item) -> Result<(), FormatError> {
    let mut domains: BTreeSet<(String, String)> = BTreeSet::new();
    let mut functions: BTreeSet<(String, String)> = BTreeSet::new();
    let mut waiting = vec![(Part::Model, Message::new(item.section.clone()), 0u64)];
    let mut seen = 0;
    while let Some((part, message, depth)) = waiting.pop() {
        seen += 1;
        if seen > MAX_MESSAGES || depth > 4 * session.limits.depth {
            session.limit(item, "the graph is too large or nests too deep");
            return Ok(());
        }
        let (mut name, mut domain) = (String::new(), String::new());
        let mut external = External::default();
        for field in message.fields("onnx message")? {
            let field = field?;
            let Value::Bytes(inside) = &field.value else { continue };
            if let Some(next) = inner(part, field.number) {
                waiting.push((next, inside.clone(), depth + 1));
                continue;
            }
            match (part, field.number) {
                (Part::Node, 4) | (Part::Function, 1) => name = inside.text("onnx name", NAME_BYTES)?,
                (Part::Node, 7) | (Part::Function, 10) => domain = inside.text("onnx domain", NAME_BYTES)?,
                (Part::Tensor, 8) => name = inside.text("onnx name", NAME_BYTES).unwrap_or_default(),
                (Part::Tensor, 13) => external.take(inside)?,
                _ => {}
            }
        }
        match part {
            Part::Node if !OWN.contains(&domain.as_str()) && domains.len() < 10_000 => {
                _ = domains.insert((domain, name))
            }
            Part::Function if functions.len() < 100_000 => _ = functions.insert((domain, name)),
            Part::Tensor => external.judge(session, item, &name),
            _ => {}
        }
    }
    let mut seen = BTreeSet::new();
    for (domain, name) in domains.difference(&functions) {
        let python = name.starts_with("PyOp") || name.starts_with("PyFunc") || name == "PythonOp";
        let (rule, verdict) = match () {
            () if python => (rules::CUSTOM_OPERATOR, Verdict::Suspicious),
            () if RUNTIME.contains(&domain.as_str()) => continue,
            () => (rules::CUSTOM_OPERATOR, Verdict::Caution),
        };
        if seen.insert((domain, verdict)) {
            let detail =
                format!("needs the operator `{}::{}` of a plugin that the runtime loads", plain(domain), plain(name));
            session.add(item, Finding::of(rule, verdict, detail));
        }
    }
    Ok(())
}

/// Where a tensor's bytes lie.
#[derive(Default)]
struct External {
    location: Option<String>,
    offset: u64,
    length: Option<u64>,
    odd: bool,
}

impl External {
    fn take(&mut self, entry: &Message) -> Result<(), FormatError> {
        let (mut key, mut value) = (String::new(), String::new());
        for field in entry.fields("onnx entry")? {
            let field = field?;
            match (field.number, field.value.message()) {
                (1, Some(text)) => key = text.text("onnx key", NAME_BYTES)?,
                (2, Some(text)) => value = text.text("onnx value", NAME_BYTES)?,
                _ => {}
            }
        }
        match key.as_str() {
            // With two locations, readers take one or the other.
            "location" => self.odd |= self.location.replace(value).is_some(),
            "offset" => self.offset = value.parse().unwrap_or(u64::MAX),
            "length" => self.length = Some(value.parse().unwrap_or(u64::MAX)),
            _ => {}
        }
        Ok(())
    }

    fn judge(self, session: &mut Session<'_>, item: &Item, tensor: &str) {
        let Some(location) = self.location else { return };
        let shown = plain(&location);
        let leaves = location.starts_with(['/', '\\', '~'])
            || location.contains(['\0', ':', '\\'])
            || location.split(['/', '\\']).any(|part| part == "..");
        if leaves || self.odd {
            let detail = format!("tensor `{}` is read from `{shown}`, outside the folder of the model", plain(tensor));
            return session.add(item, Finding::of(rules::ONNX_PATH, Verdict::Unsafe, detail).within(plain(tensor)));
        }
        let lower = location.to_ascii_lowercase();
        if ["%2e", "%2f", "%5c"].iter().any(|escaped| lower.contains(escaped)) {
            let detail = format!("tensor `{}` is read from `{shown}`, which hides a path", plain(tensor));
            session.add(item, Finding::of(rules::ONNX_PATH, Verdict::Suspicious, detail).within(plain(tensor)));
        }
        if item.member.is_some() {
            return;
        }
        let parts: Vec<&str> = location.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        let path = match session.path.rsplit_once('/') {
            Some((parent, _)) => format!("{parent}/{}", parts.join("/")),
            None => parts.join("/"),
        };
        let place = session.folder.files().binary_search_by(|file| (*file.path).cmp(path.as_str()));
        let size = place.ok().and_then(|at| session.folder.files().get(at)).map(|file| file.size_bytes);
        let end = self.offset.checked_add(self.length.unwrap_or(0));
        if let Some(size) = size
            && end.is_none_or(|end| end > size)
        {
            let detail = format!("tensor `{}` lies beyond the end of `{shown}`", plain(tensor));
            session.add(item, Finding::of(rules::ONNX_PATH, Verdict::Suspicious, detail).within(plain(tensor)));
        }
    }
}
