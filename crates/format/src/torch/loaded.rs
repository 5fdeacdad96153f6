//! An object of torch as it was read: values, and where the bytes of its tensors are.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::contents::{Code, Contents, Warning, WarningKind};
use crate::error::FormatError;
use crate::limits::Limits;
use crate::pickle::{Global, Graph, NodeId, Trace};
use crate::source::Section;

use super::assemble;
use super::storages::Storages;

/// What a pickle and its storages give.
#[derive(Debug)]
pub(super) struct Loaded {
    /// The section that the pickle's ranges count in.
    pub(super) section: Section,
    /// File, and the member after `!`.
    pub(super) label: String,
    pub(super) graph: Graph,
    pub(super) root: NodeId,
    pub(super) trace: Trace,
    pub(super) storages: Storages,
    pub(super) limits: Limits,
    pub(super) warnings: Vec<Warning>,
    /// Code in pickles that lie around the one with the object.
    pub(super) code: Vec<Code>,
    /// Buffers of classes that a program beside the pickle declares, by the path of the class.
    pub(super) declared_buffers: HashMap<String, Arc<HashSet<String>>>,
    /// Names of the collected tensors that are buffers.
    pub(super) buffers: BTreeSet<String>,
}

impl Loaded {
    pub(super) fn warn(&mut self, kind: WarningKind, message: impl Into<String>) {
        let file = self.label.clone();
        self.warnings.push(Warning { kind, file, message: message.into() });
    }

    /// Notes what a pickle does that lies beside the one with the object.
    pub(super) fn note_pickle(&mut self, trace: &Trace, globals: &[Global]) {
        let mut beside = Contents::default();
        assemble::code(&self.label, trace, globals, &mut beside);
        self.code.append(&mut beside.code);
        self.warnings.append(&mut beside.warnings);
    }

    /// Notes what the pickle of the object itself does, and hands over everything that was noted.
    pub(super) fn hand_over(&mut self, contents: &mut Contents) {
        assemble::code(&self.label, &self.trace, self.graph.globals(), contents);
        contents.code.append(&mut self.code);
        contents.buffers.append(&mut self.buffers);
        contents.code.sort();
        contents.code.dedup();
        contents.warnings.append(&mut self.warnings);
    }

    /// Numbers of a tuple or list, or of a `torch.Size`; `None` when there are more than a tensor can have axes.
    pub(super) fn numbers(&self, id: NodeId) -> Option<Vec<u64>> {
        self.many_numbers(id, self.limits.rank)
    }

    /// As [`Loaded::numbers`], but up to `most`.
    pub(super) fn many_numbers(&self, id: NodeId, most: u64) -> Option<Vec<u64>> {
        let id = match self.graph.class(id) {
            Some(class) if class.is("torch", "Size") => *self.graph.items(self.graph.object(id)?.args).first()?,
            Some(_) => return None,
            None => id,
        };
        let items = self.graph.items(id);
        // One tuple can stand in a million tensors.
        if items.len() as u64 > most {
            return None;
        }
        items.iter().map(|&number| self.graph.unsigned(number)).collect()
    }

    /// How many values a walk by names may visit: shared values count each time.
    pub(super) fn visits(&self) -> u64 {
        (self.graph.len() as u64).saturating_mul(4).saturating_add(1 << 16)
    }

    /// Takes the size of a dictionary from the visits that are left.
    pub(super) fn spend(&self, visits: &mut u64, id: NodeId) -> Result<(), FormatError> {
        let size = 1 + self.graph.pairs(id).len() as u64;
        *visits = visits.checked_sub(size).ok_or(FormatError::TooLarge {
            what: "number of values that are shared",
            size: self.visits().saturating_add(size),
            limit: self.visits(),
        })?;
        Ok(())
    }

    /// Keys and values of a dictionary; of a key that comes again the last value counts, in the place of the first.
    pub(super) fn entries(&self, id: NodeId) -> Vec<(NodeId, NodeId)> {
        let mut entries: Vec<(NodeId, NodeId)> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        for (key, value) in self.graph.pairs(id) {
            let place = self.key(key).map(|text| *places.entry(text).or_insert(entries.len()));
            match place.and_then(|place| entries.get_mut(place)) {
                Some(entry) => entry.1 = value,
                None => entries.push((key, value)),
            }
        }
        entries
    }

    /// A key as a part of a name: text, or a number in digits.
    pub(super) fn key(&self, id: NodeId) -> Option<String> {
        use crate::pickle::Node;
        match self.graph.node(id) {
            Node::Int(number) => Some(number.to_string()),
            Node::Bool(value) => Some(if value { "True" } else { "False" }.to_owned()),
            Node::None => Some("None".to_owned()),
            _ => self.graph.str(id).map(ToOwned::to_owned),
        }
    }

    /// Dictionary of an object's attributes: its state, or the first part of a state with slots.
    pub(super) fn attributes(&self, id: NodeId) -> Option<NodeId> {
        use crate::pickle::Node;
        let state = self.graph.object(id)?.state?;
        match self.graph.node(state) {
            Node::Dict(_) => Some(state),
            Node::Tuple(_) => {
                let parts = self.graph.items(state);
                let mut dicts = parts.iter().copied().filter(|&part| matches!(self.graph.node(part), Node::Dict(_)));
                (parts.len() == 2).then(|| dicts.next_back()).flatten()
            }
            _ => None,
        }
    }

    /// Text of any length.
    pub(super) fn text(&self, id: NodeId) -> Option<String> {
        match self.graph.str(id) {
            Some(text) => Some(text.to_owned()),
            None => self.graph.text(id, &self.section, &self.limits).ok().flatten(),
        }
    }

    /// The value under a path of keys.
    pub(super) fn at(&self, root: NodeId, path: &[&str]) -> Option<NodeId> {
        path.iter().try_fold(root, |node, key| self.graph.get(node, key))
    }

    pub(super) fn of(
        pickle: crate::pickle::Pickle,
        section: Section,
        label: String,
        limits: &Limits,
    ) -> Result<Self, FormatError> {
        let (graph, root, trace) = pickle.finish()?;
        Ok(Self {
            section,
            label,
            graph,
            root,
            trace,
            storages: Storages::default(),
            limits: *limits,
            warnings: Vec::new(),
            code: Vec::new(),
            declared_buffers: HashMap::new(),
            buffers: BTreeSet::new(),
        })
    }
}
