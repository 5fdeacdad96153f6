//! Pickles one after the other, and what follows the last.

use std::collections::BTreeMap;

use weighthouse_format::pickle::{self, Data, Graph, Node, NodeId, Pickle, TextKind};

use super::super::budget::take;
use super::super::report::Finding;
use super::super::rules;
use super::super::session::{Item, Role, Session};
use super::super::verdict::{Severity, Verdict};
use super::examine::examine;
use super::persistent;

/// The number that old torch files begin with, little-endian.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
/// Pickles of an old torch file: number, version, machine, object, keys.
const LEGACY_PARTS: usize = 5;
/// Longest run of zeros that is taken for padding.
const PADDING_BYTES: u64 = 64 << 10;

/// Judges the pickles of an item; answers where what is known of it ends.
pub(in crate::scan) fn judge(session: &mut Session<'_>, item: &Item) -> u64 {
    let mut stream = Stream { at: 0, count: 0, legacy: false, storages: BTreeMap::new(), keys: Vec::new() };
    loop {
        if session.is_out_of_time(item) {
            return item.section.len();
        }
        if !take(&mut session.budget.pickles, 1) {
            session.limit(item, "it has too many pickles");
            return item.section.len();
        }
        let mut limits = session.limits;
        limits.pickle_ops = limits.pickle_ops.min(session.budget.pickle_ops);
        let found = pickle::read(&item.section, stream.at, &limits);
        session.budget.pickle_ops = session.budget.pickle_ops.saturating_sub(found.trace.ops);
        let failed = found.trace.error.is_some();
        if failed && stream.count > 0 && !acts(&found) && !(stream.legacy && stream.count < LEGACY_PARTS) {
            // Something else follows.
            break;
        }
        stream.take(session, item, &found);
        examine(session, item, &found, false);
        otherwise(session, item, &found, stream.at);
        if failed {
            return item.section.len();
        }
        stream.at = found.trace.end;
        stream.count += 1;
        let complete = stream.legacy && stream.count == LEGACY_PARTS;
        if stream.at >= item.section.len() || complete || (matches!(item.role, Role::Torch(_) | Role::Script(_))) {
            break;
        }
    }
    if stream.legacy {
        session.format("torch-legacy");
        stream.storages(session, item);
    }
    rest(session, item, stream.at);
    stream.at
}

/// Whether a pickle did something before it failed.
fn acts(pickle: &Pickle) -> bool {
    !pickle.graph.globals().is_empty()
}

/// Judges what the pickle is to a loader that knows no raw arrays, and the pickles that joblib writes inside.
fn otherwise(session: &mut Session<'_>, item: &Item, found: &Pickle, at: u64) {
    let mut limits = session.limits;
    for &(begin, _) in &found.trace.inner {
        if !take(&mut session.budget.pickles, 1) {
            return session.limit(item, "it has too many pickles");
        }
        limits.pickle_ops = limits.pickle_ops.min(session.budget.pickle_ops);
        let inner = pickle::read_bare(&item.section, begin, &limits);
        session.budget.pickle_ops = session.budget.pickle_ops.saturating_sub(inner.trace.ops);
        examine(session, item, &inner, false);
    }
    let has_arrays = found.graph.ids().any(|id| found.graph.raw(id).is_some());
    if has_arrays || !found.trace.inner.is_empty() {
        session.format("joblib");
        limits.pickle_ops = limits.pickle_ops.min(session.budget.pickle_ops);
        let bare = pickle::read_bare(&item.section, at, &limits);
        session.budget.pickle_ops = session.budget.pickle_ops.saturating_sub(bare.trace.ops);
        examine(session, item, &bare, true);
    }
}

/// What is known of the pickles that were read so far.
struct Stream {
    at: u64,
    count: usize,
    legacy: bool,
    /// Length and width of elements of the storages that an old torch file names.
    storages: BTreeMap<String, (Option<u64>, u64)>,
    keys: Vec<String>,
}

impl Stream {
    fn take(&mut self, session: &mut Session<'_>, item: &Item, found: &Pickle) {
        let Some(root) = found.root else { return };
        let graph = &found.graph;
        if self.count == 0 && matches!(item.role, Role::Any | Role::Pickle) {
            self.legacy = is_magic(graph, root);
        }
        if !self.legacy {
            return;
        }
        if self.count < 3 && !graph.globals().is_empty() {
            let detail = format!("pickle {} of the head imports names, which torch never writes", self.count + 1);
            session.add(item, Finding::of(rules::LEGACY_HEADER, Verdict::Suspicious, detail).at(self.at));
        }
        match self.count {
            3 => {
                for id in graph.ids() {
                    if let Node::Persistent(inner) = graph.node(id)
                        && let Some(storage) = persistent::storage(graph, inner)
                    {
                        self.storages.insert(storage.key.to_owned(), (storage.bytes, storage.width));
                    }
                }
            }
            4 => {
                let text = |&key: &NodeId| match graph.str(key) {
                    Some(text) => text.to_owned(),
                    None => graph.int(key).map(|key| key.to_string()).unwrap_or_default(),
                };
                self.keys = graph.items(root).iter().map(text).collect();
            }
            _ => {}
        }
    }

    /// Steps over the storages of an old torch file: for each a number of elements, and the elements.
    fn storages(&mut self, session: &mut Session<'_>, item: &Item) {
        for key in &self.keys {
            let Ok(count) = item.section.read("storage", self.at, 8) else {
                let detail = format!("storage `{}` is not there", super::plain(key));
                session.add(item, Finding::of(rules::STORAGE_MISSING, Verdict::Error, detail).at(self.at));
                return;
            };
            let count = count.first_chunk().map_or(0, |&bytes| u64::from_le_bytes(bytes));
            let Some(&(claimed, width)) = self.storages.get(key) else {
                let detail = format!("storage `{}` belongs to no tensor", super::plain(key));
                session.add(item, Finding::of(rules::STORAGE_UNUSED, Verdict::Suspicious, detail).at(self.at));
                return;
            };
            let bytes = count.checked_mul(width);
            if bytes != claimed {
                let detail =
                    format!("storage `{}` has {count} elements, and the pickle says otherwise", super::plain(key));
                session.add(item, Finding::of(rules::STORAGE_SIZE, Verdict::Suspicious, detail).at(self.at));
            }
            let end = bytes.and_then(|bytes| self.at.checked_add(8)?.checked_add(bytes));
            match end.filter(|&end| end <= item.section.len()) {
                Some(end) => self.at = end,
                None => {
                    let detail = format!("storage `{}` ends beyond the file", super::plain(key));
                    session.add(item, Finding::of(rules::STORAGE_MISSING, Verdict::Error, detail).at(self.at));
                    self.at = item.section.len();
                    return;
                }
            }
        }
    }
}

/// Whether a value is the number that old torch files begin with.
fn is_magic(graph: &Graph, root: NodeId) -> bool {
    match graph.data(root) {
        Some((TextKind::Integer, Data::Near(bytes))) => {
            bytes.strip_prefix(&MAGIC).is_some_and(|rest| rest.iter().all(|&byte| byte == 0))
        }
        _ => false,
    }
}

/// Judges what follows.
fn rest(session: &mut Session<'_>, item: &Item, at: u64) {
    let len = item.section.len().saturating_sub(at);
    if len == 0 {
        return;
    }
    let zeros = len <= PADDING_BYTES
        && item.section.read("padding", at, len).is_ok_and(|bytes| bytes.iter().all(|&byte| byte == 0));
    if zeros {
        let finding = Finding::of(rules::TRAILING, Verdict::Safe, format!("{len} zeros follow the pickle"));
        return session.add(item, finding.at(at).weighing(Severity::Info));
    }
    let detail = format!("{len} bytes follow the pickle, which its loader does not read");
    session.add(item, Finding::of(rules::TRAILING, Verdict::Suspicious, detail).at(at));
    if let Ok(section) = item.section.slice("trailing bytes", at, len)
        && session.member(item)
    {
        super::super::dispatch::judge(session, &item.inner("trailing bytes", section, Role::Any));
    }
}
