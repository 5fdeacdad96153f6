//! What is no tensor, as JSON: bounded, iterative, and without the tensors.

use std::collections::HashSet;

use serde_json::{Map, Number, Value, json};

use crate::pickle::{Data, Node, NodeId, TextKind};

use super::loaded::Loaded;

/// Longest text in the answer; longer ones are cut.
const TEXT: usize = 1 << 20;

/// A value whose parts are still missing.
struct Open {
    node: NodeId,
    value: Value,
    /// Parts to come, last first, each with its key.
    rest: Vec<(String, NodeId)>,
    key: String,
}

impl Loaded {
    /// The value as JSON, without tensors and without what is in `skip`.
    ///
    /// At most `limits.metadata_entries` values, `limits.depth` deep; what is more is left out. Objects become maps with
    /// their class under `__class__`.
    pub(super) fn json(&self, root: NodeId, skip: &HashSet<NodeId>) -> Option<Value> {
        let mut left = self.limits.metadata_entries;
        let (mut visits, mut text) = (self.visits(), self.limits.text_bytes);
        let mut stack: Vec<Open> = Vec::new();
        let mut path: HashSet<NodeId> = HashSet::new();
        let mut next = Some((String::new(), root));
        loop {
            // Opens values until there is one without parts.
            while let Some((key, node)) = next.take() {
                let fits = left > 0 && (stack.len() as u64) < self.limits.depth && !path.contains(&node);
                let cost = 1 + (self.graph.pairs(node).len() + self.graph.items(node).len()) as u64;
                visits = visits.saturating_sub(cost);
                let made = if fits && visits > 0 && !skip.contains(&node) { self.begin(node) } else { None };
                // Text that is shared is spelled out each time.
                let made = made.filter(|(value, _)| {
                    text = text.saturating_sub(value.as_str().map_or(0, str::len) as u64);
                    text > 0
                });
                match made {
                    Some((value, mut rest)) => {
                        left -= 1;
                        rest.reverse();
                        path.insert(node);
                        stack.push(Open { node, value, rest, key });
                    }
                    None if stack.is_empty() => return None,
                    None => {}
                }
                next = stack.last_mut().and_then(|open| open.rest.pop());
            }
            // Closes the innermost, and goes on with its neighbour.
            let done = stack.pop()?;
            path.remove(&done.node);
            match stack.last_mut() {
                None => return Some(done.value),
                Some(parent) => {
                    match &mut parent.value {
                        Value::Array(items) => items.push(done.value),
                        Value::Object(map) => _ = map.insert(done.key, done.value),
                        _ => {}
                    }
                    next = parent.rest.pop();
                }
            }
        }
    }

    /// A value and the parts that belong into it; `None` for a tensor and for what is never shown.
    fn begin(&self, node: NodeId) -> Option<(Value, Vec<(String, NodeId)>)> {
        let plain = |value| Some((value, Vec::new()));
        match self.graph.node(node) {
            Node::None => plain(Value::Null),
            Node::Bool(value) => plain(json!(value)),
            Node::Int(value) => plain(json!(value)),
            Node::Float(value) => plain(match Number::from_f64(value) {
                Some(number) => Value::Number(number),
                None => json!(value.to_string()),
            }),
            Node::Near(kind, ..) | Node::Far(kind, _) => plain(self.scalar(kind, node)?),
            Node::List(_) | Node::Tuple(_) | Node::Set(_) | Node::FrozenSet(_) => {
                let items = self.graph.items(node).iter().map(|&item| (String::new(), item));
                Some((json!([]), items.collect()))
            }
            Node::Dict(_) => Some((json!({}), self.named(node))),
            Node::Global(_) => plain(json!(self.graph.global(node)?.path())),
            Node::Object(_) => self.begin_object(node),
            Node::Persistent(_) => None,
            Node::Extension(code) => plain(json!(format!("extension {code}"))),
        }
    }

    fn named(&self, node: NodeId) -> Vec<(String, NodeId)> {
        let name = |key| self.key(key).unwrap_or_else(|| self.spelled(key));
        self.entries(node).into_iter().map(|(key, value)| (name(key), value)).collect()
    }

    /// A key that is no text: the parts of a tuple with commas between them.
    fn spelled(&self, key: NodeId) -> String {
        let parts: Vec<_> = self.graph.items(key).iter().take(16).filter_map(|&part| self.key(part)).collect();
        parts.join(",")
    }

    fn scalar(&self, kind: TextKind, node: NodeId) -> Option<Value> {
        let len = match self.graph.data(node)? {
            (_, Data::Near(bytes)) => bytes.len() as u64,
            (_, Data::Far { len, .. }) => len,
        };
        Some(match kind {
            TextKind::Str | TextKind::OldStr if len <= TEXT as u64 => json!(self.text(node)?),
            TextKind::Str | TextKind::OldStr => json!(format!("text of {len} bytes")),
            TextKind::Integer => json!(format!("integer of {len} bytes")),
            TextKind::Bytes | TextKind::ByteArray => json!(format!("{len} bytes")),
        })
    }

    fn begin_object(&self, node: NodeId) -> Option<(Value, Vec<(String, NodeId)>)> {
        let object = self.graph.object(node)?;
        if let Some(found) = self.tensor(node) {
            // Counters and scores are numbers, also when they are tensors of one element.
            let scalar = found.is_ok_and(|parts| parts.tensors.iter().all(|(_, tensor)| tensor.shape.is_empty()));
            let value = scalar.then(|| self.floats(node)).flatten()?;
            return Some((json!(value.first()?), Vec::new()));
        }
        let class = self.graph.global(object.callee).map(crate::pickle::Global::path).unwrap_or_default();
        let args = self.graph.items(object.args);
        let first = args.first().copied();
        match class.as_str() {
            "collections.OrderedDict" | "collections.Counter" | "builtins.dict" => {
                return Some((json!({}), self.named(node)));
            }
            "collections.defaultdict" => return Some((json!({}), self.named(node))),
            "builtins.set"
            | "builtins.frozenset"
            | "collections.deque"
            | "torch.Size"
            | "builtins.list"
            | "builtins.tuple"
            | "omegaconf.listconfig.ListConfig"
                if object.state.is_none() =>
            {
                let inner = first.map(|first| self.graph.items(first)).unwrap_or_default();
                let items = inner.iter().chain(self.graph.items(node)).map(|&item| (String::new(), item));
                return Some((json!([]), items.collect()));
            }
            "torch.device" => {
                let parts: Vec<_> = args.iter().filter_map(|&part| self.key(part)).collect();
                return Some((json!(parts.join(":")), Vec::new()));
            }
            _ if class.starts_with("pathlib.") => {
                let parts: Vec<_> = args.iter().filter_map(|&part| self.key(part)).collect();
                let text = parts.join("/");
                return Some((
                    json!(text.strip_prefix("//").map_or(text.clone(), |rest| format!("/{rest}"))),
                    Vec::new(),
                ));
            }
            _ => {}
        }
        // An enumeration's member is its class called with its value.
        if let ([value], None, true) = (args, object.state, self.graph.pairs(node).next().is_none())
            && matches!(self.graph.node(*value), Node::Int(_) | Node::Near(TextKind::Str, ..))
        {
            return Some((self.begin(*value)?.0, Vec::new()));
        }
        let mut map = Map::new();
        map.insert("__class__".into(), json!(class));
        let mut parts = self.attributes(node).map(|state| self.named(state)).unwrap_or_default();
        parts.extend(self.named(node));
        if parts.is_empty() {
            // Only scalars: whole trees in arguments are shown as their own kind of object elsewhere.
            let shown = args.iter().enumerate().map(|(index, &arg)| (index.to_string(), arg));
            parts.extend(shown.filter(|&(_, arg)| self.graph.object(arg).is_none()));
        }
        Some((Value::Object(map), parts))
    }
}
