//! Walks over the values of a pickle, without recursion and without seeing a shared value twice.

use super::graph::{Graph, Node, NodeId};

/// Every value that can be reached from a root, once each, parents before their parts.
pub struct Walk<'a> {
    graph: &'a Graph,
    seen: Vec<u64>,
    stack: Vec<NodeId>,
}

impl Graph {
    /// Walks every value that can be reached from `root`, once each. Memory is bounded by the number of values.
    #[must_use]
    pub fn walk(&self, root: NodeId) -> Walk<'_> {
        self.walk_all(vec![root])
    }

    /// As [`Graph::walk`], from any of several roots.
    #[must_use]
    pub fn walk_all(&self, roots: Vec<NodeId>) -> Walk<'_> {
        Walk { graph: self, seen: vec![0; self.len().div_ceil(64)], stack: roots }
    }
}

impl Walk<'_> {
    fn first_time(&mut self, id: NodeId) -> bool {
        let bit = 1u64 << (id.0 % 64);
        match self.seen.get_mut(id.0 as usize / 64) {
            Some(word) if *word & bit == 0 => {
                *word |= bit;
                true
            }
            _ => false,
        }
    }
}

impl Iterator for Walk<'_> {
    type Item = NodeId;

    fn next(&mut self) -> Option<NodeId> {
        loop {
            let id = self.stack.pop()?;
            if !self.first_time(id) {
                continue;
            }
            let graph = self.graph;
            match graph.node(id) {
                Node::List(seq) | Node::Tuple(seq) | Node::Dict(seq) | Node::Set(seq) | Node::FrozenSet(seq) => {
                    self.stack.extend(graph.seq(seq).iter().rev());
                }
                Node::Persistent(inner) => self.stack.push(inner),
                Node::Object(_) => {
                    if let Some(object) = graph.object(id) {
                        self.stack.extend(graph.seq(object.pairs).iter().rev());
                        self.stack.extend(graph.seq(object.items).iter().rev());
                        self.stack.extend(object.state);
                        self.stack.extend(object.kwargs);
                        self.stack.extend([object.args, object.callee]);
                    }
                }
                _ => {}
            }
            return Some(id);
        }
    }
}
