//! The hash tree over a run of chunks in the middle of a file, as far as it stands without the chunks around it.
//!
//! Where a group of the tree begins depends on the nodes before it, but not on all of them: three nodes in a row that
//! end groups, the right distance apart, put a boundary after the middle one whatever stands elsewhere. Between the
//! first and the last such boundary of a level the groups are certain and become nodes of the next level; what is
//! outside of them stays as it is:
//!
//! ```text
//! level 2              [ all ]
//! level 1       [left] ······· [right]
//! level 0 [left] ···················· [right]
//! ```
//!
//! Whoever knows the neighbours joins such runs and gets the root over the whole file, with some hundred nodes instead
//! of all chunks. The joining side reads the seams from the shape, so the boundaries must be exactly these, and no
//! group may be closed because it happens to be certain for another reason.

use super::hash::{MAX_GROUP, MIN_GROUP, Node, XetHash, parent};

/// What is known of the tree over a run of chunks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subtree {
    /// From the chunks upwards.
    pub levels: Vec<SubtreeLevel>,
    /// Whether the run begins the file.
    pub at_start: bool,
    /// Whether the run ends the file.
    pub at_end: bool,
}

/// Nodes of one level whose parents depend on what stands around the run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubtreeLevel {
    /// Before the first certain boundary; all nodes of a level that has none.
    pub left: Vec<Node>,
    /// After the last certain boundary.
    pub right: Vec<Node>,
}

/// Grows a [`Subtree`] over chunks that arrive one by one.
///
/// Memory is what the subtree will hold: some hundred nodes for a million chunks, but all of them for a run without
/// certain boundaries, such as one chunk over and over. See [`SubtreeBuilder::nodes`].
#[derive(Clone, Debug)]
pub struct SubtreeBuilder {
    levels: Vec<Level>,
    at_start: bool,
}

/// A level that still grows.
#[derive(Clone, Debug, Default)]
struct Level {
    left: Vec<Node>,
    /// Nodes after the last certain boundary, or all so far if there is none.
    held: Vec<Node>,
    /// Whether `held` begins at a boundary.
    begun: bool,
    /// Whether nodes of this level have parents.
    promoted: bool,
    /// Nodes so far.
    len: usize,
    /// Numbers of the last two nodes that end groups, counted from where the level begins to be certain.
    ends: [Option<usize>; 2],
}

impl SubtreeBuilder {
    /// An empty run; `at_start` if it begins the file.
    #[must_use]
    pub const fn new(at_start: bool) -> Self {
        Self { levels: Vec::new(), at_start }
    }

    /// Adds the next chunk with its raw length in bytes.
    pub fn push(&mut self, hash: XetHash, raw_len: u64) {
        self.push_at(0, (hash, raw_len));
    }

    /// Nodes that the subtree would hold now.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.levels.iter().map(|level| level.left.len() + level.held.len()).sum()
    }

    fn push_at(&mut self, first: usize, node: Node) {
        let mut nodes = vec![node];
        for index in first.. {
            if index == self.levels.len() {
                self.levels.push(Level { begun: self.at_start, ..Level::default() });
            }
            let Some(level) = self.levels.get_mut(index) else { return };
            nodes = nodes.into_iter().flat_map(|node| level.push(node)).collect();
            if nodes.is_empty() {
                return;
            }
        }
    }

    /// The subtree over all chunks pushed, `None` if there were none; `at_end` if the run ends the file.
    #[must_use]
    pub fn finish(mut self, at_end: bool) -> Option<Subtree> {
        let mut levels = Vec::with_capacity(self.levels.len());
        for index in 0.. {
            let Some(level) = self.levels.get_mut(index) else { break };
            let rest = if at_end && level.begun && level.len > 1 { level.promote(0) } else { Vec::new() };
            let mut level = std::mem::take(level);
            levels.push(if level.promoted {
                SubtreeLevel { left: level.left, right: level.held }
            } else {
                level.left.append(&mut level.held);
                SubtreeLevel { left: level.left, right: Vec::new() }
            });
            rest.into_iter().for_each(|node| self.push_at(index + 1, node));
        }
        (!levels.is_empty()).then_some(Subtree { levels, at_start: self.at_start, at_end })
    }
}

impl Level {
    /// Takes the next node and returns the parents that become certain by it.
    fn push(&mut self, node: Node) -> Vec<Node> {
        let number = self.len;
        self.len += 1;
        self.held.push(node);
        if !node.0.ends_group() {
            return Vec::new();
        }
        let [before, middle] = self.ends;
        self.ends = [middle, Some(number)];
        // The shortest group and the longest one leave room for a group that began elsewhere to end at the middle node.
        let apart = |from: usize, to: usize| (MIN_GROUP..MAX_GROUP - 1).contains(&(to - from));
        match (before, middle) {
            (Some(before), Some(middle)) if apart(before, middle) && apart(middle, number) => {
                let kept = number - middle;
                if self.begun {
                    return self.promote(kept);
                }
                self.begun = true;
                let certain = self.held.split_off(self.held.len().saturating_sub(kept));
                self.left = std::mem::replace(&mut self.held, certain);
                self.ends = [None, Some(number)];
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// Groups all nodes but the last `kept`, and returns their parents.
    fn promote(&mut self, kept: usize) -> Vec<Node> {
        let rest = self.held.split_off(self.held.len().saturating_sub(kept));
        let certain = std::mem::replace(&mut self.held, rest);
        self.promoted |= !certain.is_empty();
        let mut parents = Vec::with_capacity(certain.len() / MIN_GROUP + 1);
        let mut start = 0;
        for (index, (hash, _)) in certain.iter().enumerate() {
            let len = index + 1 - start;
            if len == MAX_GROUP || index + 1 == certain.len() || len >= MIN_GROUP && hash.ends_group() {
                parents.extend(certain.get(start..=index).map(parent));
                start = index + 1;
            }
        }
        parents
    }
}

#[cfg(test)]
mod tests;
