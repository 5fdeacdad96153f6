//! Files of PyTorch's distributed checkpoints: `.metadata` beside them says which ranges are which item.

use weighthouse_format::pickle::{self, Graph};

use super::super::dispatch;
use super::super::report::Finding;
use super::super::rules;
use super::super::session::{Item, Role, Session};
use super::super::verdict::Verdict;

/// Judges every item of a file that `.metadata` describes; answers whether there is such a description.
pub(in crate::scan) fn judge(session: &mut Session<'_>, item: &Item) -> bool {
    let (parent, name) = session.path.rsplit_once('/').unwrap_or(("", session.path));
    let metadata = if parent.is_empty() { ".metadata".to_owned() } else { format!("{parent}/.metadata") };
    if !session.folder.has(&metadata) {
        return false;
    }
    let Ok(section) = session.folder.open(&metadata) else { return false };
    let read = pickle::read(&section, 0, &session.limits);
    let mut ranges = ranges(&read.graph, name);
    if ranges.is_empty() {
        return false;
    }
    session.format("dcp");
    ranges.sort_unstable();
    let mut end = 0u64;
    for (begin, len) in ranges {
        if !session.member(item) {
            return true;
        }
        if begin > end {
            hidden(session, item, end, begin - end);
        }
        end = end.max(begin.saturating_add(len));
        match item.section.slice("item of a distributed checkpoint", begin, len) {
            Ok(section) => dispatch::judge(session, &item.inner(&format!("item at {begin}"), section, Role::Any)),
            Err(error) => session.error(item, rules::STORAGE_MISSING, "an item is not there", &error),
        }
    }
    if end < item.section.len() {
        hidden(session, item, end, item.section.len() - end);
    }
    true
}

/// Bytes that no item has.
fn hidden(session: &mut Session<'_>, item: &Item, at: u64, len: u64) {
    let detail = format!("{len} bytes at {at} belong to no item");
    session.add(item, Finding::of(rules::ARCHIVE_HIDDEN, Verdict::Suspicious, detail).at(at));
    if let Ok(section) = item.section.slice("bytes of no item", at, len) {
        dispatch::judge(session, &item.inner("bytes of no item", section, Role::Any));
    }
}

/// Offset and length of the items in a file, as the description has them.
fn ranges(graph: &Graph, name: &str) -> Vec<(u64, u64)> {
    let of = |id| {
        let class = graph.class(id)?;
        if &*class.name != "_StorageInfo" {
            return None;
        }
        let state = graph.object(id)?.state?;
        let value = |key| graph.get(state, key);
        let path = graph.str(value("relative_path")?)?;
        (path == name).then_some(())?;
        Some((graph.unsigned(value("offset")?)?, graph.unsigned(value("length")?)?))
    };
    graph.ids().filter_map(of).collect()
}
