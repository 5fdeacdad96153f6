//! Persistent ids: what a pickle asks its loader for, and whether the bytes that it gets are the right ones.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use weighthouse_format::pickle::{Graph, Node, NodeId};

use super::super::report::Finding;
use super::super::rules;
use super::super::verdict::Verdict;
use super::{names, show};

/// Storages that lie beside a pickle, and which of them it names.
#[derive(Debug, Default)]
pub(in crate::scan) struct Storages {
    /// Lengths in bytes by key.
    pub(in crate::scan) sizes: BTreeMap<String, u64>,
    /// They may be left out: TorchScript keeps what a model was traced with, without its elements.
    pub(in crate::scan) partial: bool,
    used: RefCell<BTreeSet<String>>,
}

impl Storages {
    pub(in crate::scan) const fn new(sizes: BTreeMap<String, u64>) -> Self {
        Self { sizes, partial: false, used: RefCell::new(BTreeSet::new()) }
    }

    /// Storages that no tensor has.
    pub(super) fn unused(&self) -> Vec<String> {
        let used = self.used.borrow();
        self.sizes.keys().filter(|key| !used.contains(*key)).cloned().collect()
    }
}

/// A storage as a persistent id describes it.
pub(super) struct Storage<'a> {
    pub(super) key: &'a str,
    /// Length in bytes.
    pub(super) bytes: Option<u64>,
    /// Bytes of an element.
    pub(super) width: u64,
    /// Elements have less than a byte.
    packed: bool,
}

/// The storage that a persistent id names.
pub(super) fn storage(graph: &Graph, inner: NodeId) -> Option<Storage<'_>> {
    let &[tag, class, key, _, numel, ..] = graph.items(inner) else { return None };
    if graph.str(tag) != Some("storage") {
        return None;
    }
    let class = graph.global(class)?;
    if !matches!(&*class.module, "torch" | "torch.cuda" | "torch.storage") {
        return None;
    }
    let width = names::storage_bytes(&class.name)?;
    let numel = graph.unsigned(numel)?;
    Some(Storage { key: graph.str(key)?, bytes: numel.checked_mul(width), width, packed: width == 0 })
}

/// Judges a persistent id.
pub(super) fn judge(graph: &Graph, inner: NodeId, storages: Option<&Storages>) -> Option<Finding> {
    let items = graph.items(inner);
    let tag = items.first().and_then(|&tag| graph.str(tag));
    let odd = |detail: String| Some(Finding::of(rules::PICKLE_PERSISTENT, Verdict::Suspicious, detail));
    match (tag, graph.node(inner)) {
        (Some("storage"), _) => {
            let Some(found) = storage(graph, inner) else {
                return odd(format!("asks for a storage of a kind that is not known: `{}`", show::call(graph, inner)));
            };
            let key = found.key;
            let plain = !key.is_empty()
                && !key.contains("..")
                && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
            if !plain {
                return odd(format!("asks for a storage by an odd name: `{}`", show::plain(key)));
            }
            let storages = storages?;
            storages.used.borrow_mut().insert(key.to_owned());
            match (storages.sizes.get(key), found.bytes) {
                (None | Some(0), _) if storages.partial => None,
                (None, _) => {
                    let detail = format!("storage `{key}` is not in the archive");
                    Some(Finding::of(rules::STORAGE_MISSING, Verdict::Error, detail))
                }
                (Some(&size), bytes) if bytes != Some(size) && !found.packed => {
                    let claimed = bytes.map_or_else(|| "more than fits 64 bits".to_owned(), |bytes| bytes.to_string());
                    let detail = format!("storage `{key}` has {size} bytes; the pickle says {claimed}");
                    Some(Finding::of(rules::STORAGE_SIZE, Verdict::Suspicious, detail))
                }
                _ => None,
            }
        }
        (Some("module"), _) => {
            let detail = "carries the source of a class, as old versions of torch did";
            Some(Finding::of(rules::PICKLE_SOURCE, Verdict::Caution, detail))
        }
        (_, Node::Int(_)) => None,
        _ => odd(format!("asks its loader for `{}`", show::call(graph, inner))),
    }
}
