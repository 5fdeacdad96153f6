//! Storages: the bytes that tensors are views of.

use std::collections::HashMap;

use crate::error::FormatError;
use crate::pickle::{Graph, Node, NodeId};
use crate::source::Section;

use super::dtype::{self, Held};
use super::strided::Bytes;

/// Where the storages of a file are.
#[derive(Debug, Default)]
pub(super) struct Storages {
    /// By key.
    pub(super) by_key: HashMap<String, Section>,
    /// Of storages that are pickled as bytes, by the node.
    pub(super) inner: HashMap<NodeId, (Bytes, Held)>,
    /// Numbers are big-endian.
    pub(super) big_endian: bool,
}

/// What a persistent id says of a storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StorageId {
    pub(super) key: String,
    pub(super) held: Held,
    /// Elements, or bytes of an untyped storage.
    pub(super) count: u64,
    /// Part of another storage that this one is: first element, and number of elements.
    pub(super) view: Option<(u64, u64)>,
}

impl StorageId {
    /// Reads the persistent id of a storage; `None` when the node is something else.
    pub(super) fn read(graph: &Graph, node: NodeId) -> Option<Self> {
        let Node::Persistent(id) = graph.node(node) else { return None };
        let parts = graph.items(id);
        let [tag, class, key, _, count, rest @ ..] = parts else { return None };
        if graph.str(*tag) != Some("storage") {
            return None;
        }
        let class = graph.global(*class)?;
        let in_torch = *class.module == *"torch" || class.module.starts_with("torch.");
        let held = dtype::by_storage(&class.name).filter(|_| in_torch)?;
        let key = match graph.str(*key) {
            Some(key) => key.to_owned(),
            None => graph.int(*key)?.to_string(),
        };
        let view = rest.first().map(|&view| graph.items(view)).and_then(|view| match view {
            [_, offset, len] => Some((graph.unsigned(*offset)?, graph.unsigned(*len)?)),
            _ => None,
        });
        Some(Self { key, held, count: graph.unsigned(*count)?, view })
    }

    /// Bytes that the storage must have; `None` on overflow.
    pub(super) fn size_bytes(&self) -> Option<u64> {
        match self.held {
            Held::Bytes => Some(self.count),
            Held::Elements(dtype) => dtype.size_bytes(self.count),
        }
    }
}

impl Storages {
    /// The bytes of the storage that the node stands for, and what they hold.
    ///
    /// # Errors
    /// [`FormatError::NoFile`] when its bytes are not there, [`FormatError::Truncated`] for a view that leaves them.
    pub(super) fn find(&self, graph: &Graph, node: NodeId) -> Result<(Bytes, Option<Held>), FormatError> {
        if let Some((bytes, held)) = self.inner.get(&node) {
            return Ok((bytes.clone(), Some(*held)));
        }
        let Some(id) = StorageId::read(graph, node) else {
            return Err(FormatError::Rule { what: "tensor", rule: "it lies in a storage" });
        };
        let Some(section) = self.by_key.get(&id.key) else {
            return Err(FormatError::NoFile { path: format!("storage {}", id.key) });
        };
        let section = match (id.view, id.held) {
            (None, _) => section.clone(),
            (Some((offset, len)), held) => {
                let size = |count| match held {
                    Held::Bytes => Some(count),
                    Held::Elements(dtype) => dtype.size_bytes(count),
                };
                let overflow = || FormatError::SizeOverflow { tensor: format!("storage {}", id.key) };
                section.slice(
                    "view of a storage",
                    size(offset).ok_or_else(overflow)?,
                    size(len).ok_or_else(overflow)?,
                )?
            }
        };
        Ok((Bytes::File(section), Some(id.held)))
    }
}
