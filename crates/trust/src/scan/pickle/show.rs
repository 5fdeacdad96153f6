//! Values and calls as a person reads them, and where in an object a value stands.

use std::collections::HashMap;
use std::fmt::Write;

use weighthouse_format::pickle::{Data, Graph, Node, NodeId, TextKind};

/// Longest spelling of a value, in bytes.
const MAX_SHOWN: usize = 160;
/// Deepest value that is spelled.
const MAX_DEPTH: u32 = 3;
/// Most values that are walked to find the way to one.
const MAX_WALKED: usize = 2_000_000;
/// Most parts of a way.
const MAX_PARTS: usize = 24;

/// `name(argument, …)` of an object that a call gave.
pub(super) fn call(graph: &Graph, id: NodeId) -> String {
    let mut out = String::new();
    spell(graph, id, 0, &mut out);
    out
}

fn spell(graph: &Graph, id: NodeId, depth: u32, out: &mut String) {
    if depth > MAX_DEPTH || out.len() > MAX_SHOWN {
        if !out.ends_with('…') {
            out.push('…');
        }
        return;
    }
    // Nothing can go wrong when writing to a string.
    let _ = match graph.node(id) {
        Node::None => write!(out, "None"),
        Node::Bool(value) => write!(out, "{}", if value { "True" } else { "False" }),
        Node::Int(value) => write!(out, "{value}"),
        Node::Float(value) => write!(out, "{value}"),
        Node::Near(..) | Node::Far(..) => {
            text(graph, id, out);
            Ok(())
        }
        Node::List(_) => {
            list(graph, graph.items(id), ("[", "]"), depth, out);
            Ok(())
        }
        Node::Tuple(_) => {
            list(graph, graph.items(id), ("(", ")"), depth, out);
            Ok(())
        }
        Node::Set(_) | Node::FrozenSet(_) => {
            list(graph, graph.items(id), ("{", "}"), depth, out);
            Ok(())
        }
        Node::Dict(_) => write!(out, "{{… {} entries}}", graph.pairs(id).len()),
        Node::Global(_) => write!(out, "{}", graph.global(id).map(|global| plain(&global.path())).unwrap_or_default()),
        Node::Object(_) => {
            if let Some(object) = graph.object(id) {
                spell(graph, object.callee, depth + 1, out);
                list(graph, graph.items(object.args), ("(", ")"), depth, out);
            }
            Ok(())
        }
        Node::Persistent(inner) => {
            out.push_str("persistent");
            spell(graph, inner, depth + 1, out);
            Ok(())
        }
        Node::Extension(code) => write!(out, "extension {code}"),
    };
}

fn list(graph: &Graph, items: &[NodeId], (open, close): (&str, &str), depth: u32, out: &mut String) {
    out.push_str(open);
    for (number, &item) in items.iter().enumerate() {
        if number > 0 {
            out.push_str(", ");
        }
        if number >= 6 || out.len() > MAX_SHOWN {
            out.push('…');
            break;
        }
        spell(graph, item, depth + 1, out);
    }
    out.push_str(close);
}

fn text(graph: &Graph, id: NodeId, out: &mut String) {
    match graph.data(id) {
        Some((kind, Data::Near(bytes))) if kind != TextKind::Integer => {
            let quote = if matches!(kind, TextKind::Bytes | TextKind::ByteArray) { "b'" } else { "'" };
            let shown = bytes.get(..bytes.len().min(80)).unwrap_or_default();
            let shown = String::from_utf8_lossy(shown);
            let more = if bytes.len() > 80 { "…" } else { "" };
            let _ = write!(out, "{quote}{}{more}'", plain(&shown));
        }
        Some((_, Data::Near(bytes))) => _ = write!(out, "<integer of {} bytes>", bytes.len()),
        Some((_, Data::Far { len, .. })) => _ = write!(out, "<{len} bytes>"),
        None => out.push('?'),
    }
}

/// Text without characters that steer a terminal or hide themselves.
pub(in crate::scan) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() || super::super::text::is_reordering(character) || character == '`' {
            out.extend(character.escape_unicode());
        } else {
            out.push(character);
        }
    }
    out
}

/// The way from the root to each of some values; those that cannot be reached have none.
pub(super) fn paths(graph: &Graph, root: NodeId, wanted: &[NodeId]) -> HashMap<NodeId, String> {
    let mut parents: HashMap<NodeId, (NodeId, String)> = HashMap::new();
    let mut waiting = std::collections::VecDeque::from([root]);
    let mut missing: std::collections::HashSet<NodeId> = wanted.iter().copied().filter(|&id| id != root).collect();
    while let Some(id) = waiting.pop_front() {
        if missing.is_empty() || parents.len() > MAX_WALKED {
            break;
        }
        let mut visit = |child: NodeId, step: String| {
            if child != root && !parents.contains_key(&child) {
                parents.insert(child, (id, step));
                missing.remove(&child);
                waiting.push_back(child);
            }
        };
        for (number, &item) in graph.items(id).iter().enumerate() {
            visit(item, format!("[{number}]"));
        }
        for (key, value) in graph.pairs(id) {
            let step = match (graph.str(key), graph.int(key)) {
                (Some(key), _) => format!("[{:?}]", plain(&key.chars().take(60).collect::<String>())),
                (_, Some(key)) => format!("[{key}]"),
                _ => "[…]".to_owned(),
            };
            visit(value, step);
            visit(key, ".keys()".to_owned());
        }
        if let Some(&object) = graph.object(id) {
            if let Some(state) = object.state {
                visit(state, ".__dict__".to_owned());
            }
            visit(object.args, ".args".to_owned());
            if let Some(kwargs) = object.kwargs {
                visit(kwargs, ".kwargs".to_owned());
            }
            visit(object.callee, ".class".to_owned());
        }
        if let Node::Persistent(inner) = graph.node(id) {
            visit(inner, ".id".to_owned());
        }
    }
    let way = |&id: &NodeId| {
        let mut steps = Vec::new();
        let mut at = id;
        while at != root {
            let (parent, step) = parents.get(&at)?;
            steps.push(step.as_str());
            at = *parent;
        }
        let cut = steps.len() > MAX_PARTS;
        steps.truncate(MAX_PARTS);
        steps.reverse();
        let way = steps.concat().replace(".__dict__[\"", ".[\"");
        Some((id, format!("{}{way}", if cut { "…" } else { "root" })))
    };
    wanted.iter().filter_map(way).collect()
}
