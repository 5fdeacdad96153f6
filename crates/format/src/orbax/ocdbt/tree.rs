//! The manifest, and the tree below it.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::MANIFEST;
use super::body::{Body, unframe};
use crate::error::FormatError;
use crate::limits::Limits;
use crate::orbax::store::Store;
use crate::source::Folder;
use crate::tensor::Stored;

const MANIFEST_MAGIC: [u8; 4] = [0x0C, 0xDB, 0x3A, 0x2A];
const NODE_MAGIC: [u8; 4] = [0x0C, 0xDB, 0x20, 0xDE];
const WHAT: &str = "OCDBT node";

/// A node that is still to be read.
struct Node {
    file: Arc<str>,
    offset: u64,
    len: u64,
    height: u8,
    /// What its keys begin with.
    prefix: Vec<u8>,
}

/// Reads all keys of the newest version of the database in the folder `prefix`, which is empty or ends in a slash.
pub(in crate::orbax) fn read(folder: &dyn Folder, prefix: &str, limits: &Limits) -> Result<Store, FormatError> {
    let mut tree =
        Tree { folder, prefix, limits, decoded: 0, name_bytes: 0, nodes: 0, seen: HashSet::new(), store: Store::new() };
    // Nodes are taken from a stack of our own, the first key last in and first out.
    let mut open: Vec<Node> = tree.root()?.into_iter().collect();
    while let Some(node) = open.pop() {
        let file = Arc::clone(&node.file);
        let below = tree.node(node).map_err(|error| error.in_file(&file))?;
        open.extend(below.into_iter().rev());
    }
    Ok(tree.store)
}

struct Tree<'a> {
    folder: &'a dyn Folder,
    prefix: &'a str,
    limits: &'a Limits,
    /// Bytes of all nodes.
    decoded: u64,
    /// Bytes of all keys.
    name_bytes: u64,
    nodes: u64,
    /// Places of nodes.
    seen: HashSet<(Arc<str>, u64)>,
    store: Store,
}

impl Tree<'_> {
    /// Path below the folder of a file of the database.
    fn path(&self, file: &str) -> Arc<str> {
        Arc::from(format!("{}{file}", self.prefix))
    }

    fn unframe(&mut self, what: &'static str, magic: [u8; 4], bytes: &[u8]) -> Result<Body, FormatError> {
        let left = self.limits.decoded_bytes.saturating_sub(self.decoded);
        let body = unframe(what, magic, bytes, left.min(self.limits.header_bytes))?;
        self.decoded = self.decoded.saturating_add(body.len());
        Ok(body)
    }

    fn manifest(&mut self, name: &str) -> Result<Body, FormatError> {
        let section = self.folder.open(&self.path(name))?;
        Limits::at_most("OCDBT manifest in bytes", section.len(), self.limits.header_bytes)?;
        let bytes = section.read("OCDBT manifest", 0, section.len())?;
        self.unframe("OCDBT manifest", MANIFEST_MAGIC, &bytes)
    }

    /// The root of the newest version; none when the database is empty.
    fn root(&mut self) -> Result<Option<Node>, FormatError> {
        let mut name = MANIFEST.to_owned();
        let mut body = self.manifest(&name).map_err(|error| error.in_file(&self.path(&name)))?;
        if configuration(&mut body)? == 1 {
            // The versions are in numbered files beside this one; the highest number is the newest.
            let first = format!("{}{MANIFEST}.", self.prefix);
            let numbered = |path: &str| {
                let number = path.strip_prefix(first.as_str())?;
                (number.len() == 16 && number.bytes().all(|digit| digit.is_ascii_hexdigit())).then(|| number.to_owned())
            };
            let newest = self.folder.files().iter().filter_map(|file| numbered(&file.path)).max();
            let Some(newest) = newest else { return Ok(None) };
            name = format!("{MANIFEST}.{newest}");
            body = self.manifest(&name).map_err(|error| error.in_file(&self.path(&name)))?;
            configuration(&mut body)?;
        }
        self.newest(&mut body).map_err(|error| error.in_file(&self.path(&name)))
    }

    fn newest(&mut self, body: &mut Body) -> Result<Option<Node>, FormatError> {
        let files = body.files(self.limits)?;
        // Eight numbers of a byte each at least, and eight bytes of time.
        let count = body.count(16)?;
        if count == 0 {
            return Ok(None);
        }
        let generations = body.column(count)?;
        if !generations.is_sorted() {
            return Err(body.broken("the versions are not in order"));
        }
        let heights = body.take(count)?.to_vec();
        let (numbers, offsets, lengths) = (body.column(count)?, body.column(count)?, body.column(count)?);
        let (Some(&height), Some(&number), Some(&offset), Some(&len)) =
            (heights.last(), numbers.last(), offsets.last(), lengths.last())
        else {
            return Ok(None);
        };
        // A tree without keys has no root.
        if len == 0 {
            return Ok(None);
        }
        let file = file(body, &files, number)?;
        Ok(Some(Node { file: self.path(&file), offset, len, height, prefix: Vec::new() }))
    }

    /// Reads a node: keeps its values, or answers the nodes below.
    fn node(&mut self, node: Node) -> Result<Vec<Node>, FormatError> {
        self.nodes += 1;
        Limits::at_most("number of OCDBT nodes", self.nodes, self.limits.members)?;
        if !self.seen.insert((Arc::clone(&node.file), node.offset)) {
            let detail = format!("the tree comes back to byte {} of `{}`", node.offset, node.file);
            return Err(FormatError::Broken { what: WHAT, at: node.offset, detail });
        }
        Limits::at_most("OCDBT node in bytes", node.len, self.limits.header_bytes)?;
        let bytes = self.folder.open(&node.file)?.read(WHAT, node.offset, node.len)?;
        let mut body = self.unframe(WHAT, NODE_MAGIC, &bytes)?;
        let height = body.byte()?;
        if height != node.height {
            return Err(body.broken(format!("its height is {height}; {} was announced", node.height)));
        }
        let files = body.files(self.limits)?;
        match height.checked_sub(1) {
            None => self.leaf(&mut body, &files, &node.prefix).map(|()| Vec::new()),
            Some(below) => self.branches(&mut body, &files, &node.prefix, below),
        }
    }

    /// Bytes that keys may still take.
    fn key_room(&self) -> u64 {
        self.limits.header_bytes.saturating_sub(self.name_bytes)
    }

    fn branches(
        &mut self,
        body: &mut Body,
        files: &[Arc<str>],
        prefix: &[u8],
        height: u8,
    ) -> Result<Vec<Node>, FormatError> {
        let count = body.count(8)?;
        let (keys, shared) = body.shared_texts(count, self.key_room(), |body| body.column(count))?;
        let (numbers, offsets, lengths) = (body.column(count)?, body.column(count)?, body.column(count)?);
        let mut nodes = Vec::new();
        let places = numbers.into_iter().zip(offsets).zip(lengths);
        for ((key, shared), ((number, offset), len)) in keys.iter().zip(shared).zip(places) {
            let shared = usize::try_from(shared).ok().and_then(|shared| key.get(..shared));
            let Some(shared) = shared else { return Err(body.broken("a subtree shares more than its key")) };
            let prefix = [prefix, shared].concat();
            self.name_bytes = self.name_bytes.saturating_add(prefix.len() as u64);
            Limits::at_most("length of all names in bytes", self.name_bytes, self.limits.header_bytes)?;
            nodes.push(Node { file: self.path(&file(body, files, number)?), offset, len, height, prefix });
        }
        Ok(nodes)
    }

    fn leaf(&mut self, body: &mut Body, files: &[Arc<str>], prefix: &[u8]) -> Result<(), FormatError> {
        let count = body.count(4)?;
        let (keys, ()) = body.shared_texts(count, self.key_room(), |_| Ok(()))?;
        let lengths = body.column(count)?;
        let kinds = body.take(count)?.to_vec();
        if kinds.iter().any(|&kind| kind > 1) {
            return Err(body.broken("a value is neither here nor in a file"));
        }
        let indirect = kinds.iter().filter(|&&kind| kind == 1).count() as u64;
        let numbers = body.column(indirect)?;
        let offsets = body.column(indirect)?;
        let mut places = numbers.into_iter().zip(offsets);
        for ((key, len), kind) in keys.into_iter().zip(lengths).zip(kinds) {
            let key = [prefix, key.as_slice()].concat();
            Limits::at_most("length of a key in bytes", key.len() as u64, self.limits.name_bytes)?;
            self.name_bytes = self.name_bytes.saturating_add(key.len() as u64);
            Limits::at_most("length of all names in bytes", self.name_bytes, self.limits.header_bytes)?;
            Limits::at_most("number of OCDBT keys", self.store.len() as u64 + 1, self.limits.tensors)?;
            let key = String::from_utf8(key).map_err(|_| body.broken("a key is not UTF-8"))?;
            let stored = if kind == 0 {
                Stored::inline(body.take(len)?)
            } else {
                let Some((number, offset)) = places.next() else { return Err(body.broken("a value has no place")) };
                let file = self.path(&file(body, files, number)?);
                let Some(end) = offset.checked_add(len) else {
                    return Err(body.broken(format!("value `{key}` ends past any file")));
                };
                Stored::File { file, begin: offset, end }
            };
            if self.store.last_key_value().is_some_and(|(last, _)| *last >= key) {
                return Err(body.broken(format!("key `{}` is not behind the one before it", key.escape_debug())));
            }
            self.store.insert(key, stored);
        }
        Ok(())
    }
}

/// Reads the configuration that a manifest begins with; answers 0 for one manifest, 1 for numbered ones.
fn configuration(body: &mut Body) -> Result<u64, FormatError> {
    body.take(16)?;
    let kind = body.varint()?;
    if kind > 1 {
        return Err(body.broken(format!("unknown kind of manifest `{kind}`")));
    }
    let (_inline_bytes, _node_bytes, _arity) = (body.varint()?, body.varint()?, body.byte()?);
    // Zstd has its level here.
    if body.varint()? == 1 {
        body.take(4)?;
    }
    Ok(kind)
}

fn file(body: &Body, files: &[Arc<str>], number: u64) -> Result<Arc<str>, FormatError> {
    let found = usize::try_from(number).ok().and_then(|number| files.get(number)).cloned();
    found.ok_or_else(|| body.broken(format!("there is no file {number}")))
}

/// Files that values are in and that are not there; values that end past their file are an error.
pub(in crate::orbax) fn missing_files(folder: &dyn Folder, store: &Store) -> Result<BTreeSet<Arc<str>>, FormatError> {
    let files = folder.files();
    let mut missing = BTreeSet::new();
    for (key, stored) in store {
        let Stored::File { file, end, .. } = stored else { continue };
        let found = files.binary_search_by(|known| known.path.cmp(file)).ok().and_then(|at| files.get(at));
        match found.map(|found| found.size_bytes) {
            None => {
                missing.insert(Arc::clone(file));
            }
            Some(len) if *end > len => {
                let detail = format!("value `{}` ends at byte {end} of {len}", key.escape_debug());
                return Err(FormatError::Broken { what: WHAT, at: *end, detail }.in_file(file));
            }
            Some(_) => {}
        }
    }
    Ok(missing)
}
