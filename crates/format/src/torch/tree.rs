//! Tensors in a tree of dictionaries, lists, and modules, with their names.

use std::collections::HashSet;
use std::sync::Arc;

use crate::contents::WarningKind;
use crate::error::FormatError;
use crate::limits::Limits;
use crate::pickle::{Node, NodeId};

use super::loaded::Loaded;

/// A tensor's name and value.
pub(super) type Named = (String, NodeId);

impl Loaded {
    /// Whether the node is a tensor or an array, without looking at what it is made of.
    pub(super) fn is_tensor(&self, id: NodeId) -> bool {
        let Some(class) = self.graph.class(id) else { return false };
        match &*class.module {
            "torch._utils" | "torch._tensor" => class.name.starts_with("_rebuild"),
            "joblib.numpy_pickle" => self.graph.raw(id).is_some(),
            module if module.starts_with("numpy.") => {
                matches!(&*class.name, "_reconstruct" | "_frombuffer")
            }
            _ => false,
        }
    }

    /// Whether a tensor can be reached from the node.
    pub(super) fn has_tensor(&self, id: NodeId) -> bool {
        self.graph.walk(id).any(|id| self.is_tensor(id))
    }

    /// Whether a tensor can be reached from any of the nodes; walks each value once.
    pub(super) fn any_has_tensor(&self, ids: Vec<NodeId>) -> bool {
        self.graph.walk_all(ids).any(|id| self.is_tensor(id))
    }

    /// The three dictionaries of a `torch.nn.Module`: parameters, buffers, modules.
    pub(super) fn module(&self, id: NodeId) -> Option<[Option<NodeId>; 3]> {
        let attributes = self.attributes(id)?;
        let part = |name| self.graph.get(attributes, name);
        part("_modules")?;
        Some([part("_parameters"), part("_buffers"), part("_modules")])
    }

    /// What is inside a value, with names: as `state_dict()` names a module's parts, keys, places in a list, attributes.
    pub(super) fn children(&self, id: NodeId) -> Vec<Named> {
        let named = |id: NodeId| -> Vec<Named> {
            let pairs = self.entries(id).into_iter();
            pairs.filter_map(|(key, value)| Some((self.key(key)?, value))).collect()
        };
        let listed = |items: &[NodeId]| items.iter().enumerate().map(|(at, &id)| (at.to_string(), id)).collect();
        match self.graph.node(id) {
            Node::Dict(_) => named(id),
            Node::List(_) | Node::Tuple(_) => listed(self.graph.items(id)),
            Node::Object(_) => {
                if let Some([parameters, buffers, modules]) = self.module(id) {
                    let hidden = self.hidden_buffers(id);
                    let buffers = buffers.map(named).unwrap_or_default().into_iter();
                    let buffers = buffers.filter(|(name, _)| !hidden.contains(name));
                    let modules = modules.map(named).unwrap_or_default();
                    return parameters
                        .map(named)
                        .unwrap_or_default()
                        .into_iter()
                        .chain(buffers)
                        .chain(modules)
                        .collect();
                }
                let Some(object) = self.graph.object(id) else { return Vec::new() };
                if let Some(class) = self.graph.class(id)
                    && *class.module == *"torch.jit._pickle"
                {
                    let first = self.graph.items(object.args).first();
                    return first.map(|&first| self.children_of_plain(first)).unwrap_or_default();
                }
                let pairs = named(id);
                if !pairs.is_empty() {
                    return pairs;
                }
                match self.attributes(id) {
                    Some(attributes) => named(attributes),
                    None => listed(self.graph.items(id)),
                }
            }
            _ => Vec::new(),
        }
    }

    /// Parts of a dictionary or list.
    fn children_of_plain(&self, id: NodeId) -> Vec<Named> {
        match self.graph.node(id) {
            Node::Object(_) => Vec::new(),
            _ => self.children(id),
        }
    }

    /// Names of buffers that `state_dict()` leaves out.
    fn hidden_buffers(&self, id: NodeId) -> HashSet<String> {
        let set = self.attributes(id).and_then(|attributes| self.graph.get(attributes, "_non_persistent_buffers_set"));
        let Some(set) = set else { return HashSet::new() };
        // Protocol 2 calls `set` with a list.
        let inner = self.graph.object(set).and_then(|object| self.graph.items(object.args).first().copied());
        // One set can stand in a million modules.
        let names = self.graph.items(inner.unwrap_or(set)).iter().take(1024);
        names.filter_map(|&name| self.graph.str(name)).map(ToOwned::to_owned).collect()
    }

    /// Names of the tensors directly in a module that are buffers, as its dictionary or its class says.
    fn own_buffers(&self, id: NodeId) -> Option<Arc<HashSet<String>>> {
        if let Some([_, buffers, _]) = self.module(id) {
            let pairs = self.graph.pairs(buffers?);
            return Some(Arc::new(pairs.filter_map(|(key, _)| self.key(key)).collect()));
        }
        if self.declared_buffers.is_empty() {
            return None;
        }
        self.declared_buffers.get(&self.graph.class(id)?.path()).cloned()
    }

    /// Every tensor under the node, by its path, parents before children and in the order of the file.
    ///
    /// Shared parts come under each of their names; a file that shares so much that the names outnumber everything is
    /// cut, with a warning.
    pub(super) fn collect(&mut self, root: NodeId, skip: &HashSet<NodeId>) -> Result<Vec<Named>, FormatError> {
        let mut found = Vec::new();
        let mut stack = vec![(String::new(), root, 0u64)];
        let mut visits = self.visits();
        let mut name_bytes = 0u64;
        while let Some((name, id, depth)) = stack.pop() {
            if self.is_tensor(id) {
                if found.len() as u64 >= self.limits.tensors {
                    let (what, limit) = ("number of tensors", self.limits.tensors);
                    return Err(FormatError::TooLarge { what, size: limit + 1, limit });
                }
                name_bytes += name.len() as u64;
                Limits::at_most("names of tensors in bytes", name_bytes, self.limits.header_bytes)?;
                found.push((name, id));
                continue;
            }
            if depth >= self.limits.depth || visits == 0 {
                self.warn(WarningKind::Unreadable, format!("tensors below `{name}` are too deep or too many"));
                if visits == 0 {
                    break;
                }
                continue;
            }
            let children = self.children(id);
            let buffers = self.own_buffers(id);
            visits = visits.saturating_sub(1 + children.len() as u64);
            for (key, child) in children.into_iter().rev() {
                let leaf = matches!(self.graph.node(child), Node::Int(_) | Node::Float(_) | Node::None | Node::Bool(_));
                if leaf || skip.contains(&child) {
                    continue;
                }
                let is_buffer = buffers.as_ref().is_some_and(|names| names.contains(&key));
                let path = if name.is_empty() { key } else { format!("{name}.{key}") };
                if path.len() as u64 > self.limits.name_bytes {
                    self.warn(WarningKind::Name, "a name is longer than the limit");
                    continue;
                }
                if is_buffer {
                    self.buffers.insert(path.clone());
                }
                stack.push((path, child, depth + 1));
            }
        }
        Ok(found)
    }
}
