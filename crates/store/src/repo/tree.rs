//! One folder as git stores it: entries of mode, name and id, in git's order.

use crate::digest::GitOid;
use crate::error::StoreError;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// An ordinary file (mode 100644).
    File,
    /// A folder (mode 40000).
    Folder,
}

/// One name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Name without any slash.
    pub name: String,
    /// File or folder.
    pub kind: EntryKind,
    /// Blob or tree id.
    pub oid: GitOid,
}

/// A folder: entries in git's order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    entries: Vec<Entry>,
}

impl Tree {
    /// Puts entries in git's order, which compares folders as if their names ended in a slash.
    pub fn new(mut entries: Vec<Entry>) -> Self {
        entries.sort_by(|a, b| sort_key(a).cmp(sort_key(b)));
        Self { entries }
    }

    /// The entries, in git's order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry of a name.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        [EntryKind::File, EntryKind::Folder].into_iter().find_map(|kind| {
            let at = self.entries.binary_search_by(|e| sort_key(e).cmp(name_key(name, kind)));
            at.ok().and_then(|i| self.entries.get(i))
        })
    }

    /// The bytes git hashes: `MODE SP NAME NUL ID` for each entry.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.entries.iter().map(|e| e.name.len() + 28).sum());
        for entry in &self.entries {
            out.extend_from_slice(match entry.kind {
                EntryKind::File => b"100644 ",
                EntryKind::Folder => b"40000 ",
            });
            out.extend_from_slice(entry.name.as_bytes());
            out.push(0);
            out.extend_from_slice(&entry.oid.0);
        }
        out
    }

    /// Reads what [`Tree::encode`] wrote.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] on anything else.
    pub fn decode(oid: &GitOid, mut data: &[u8]) -> Result<Self, StoreError> {
        let corrupt = |detail: &str| StoreError::Corrupt { what: format!("tree {oid}"), detail: detail.to_owned() };
        let mut entries = Vec::new();
        while !data.is_empty() {
            let (kind, rest) = if let Some(rest) = data.strip_prefix(b"100644 ") {
                (EntryKind::File, rest)
            } else if let Some(rest) = data.strip_prefix(b"40000 ") {
                (EntryKind::Folder, rest)
            } else {
                return Err(corrupt("an entry has an unknown mode"));
            };
            let end = rest.iter().position(|&b| b == 0).ok_or_else(|| corrupt("an entry has no end"))?;
            let (name, rest) = rest.split_at(end);
            let name = std::str::from_utf8(name).map_err(|_| corrupt("a name is not UTF-8"))?;
            let (oid, rest) = rest
                .get(1..)
                .and_then(|rest| rest.split_first_chunk::<20>())
                .ok_or_else(|| corrupt("an entry has no id"))?;
            entries.push(Entry { name: name.to_owned(), kind, oid: GitOid(*oid) });
            data = rest;
        }
        Ok(Self { entries })
    }
}

fn sort_key(entry: &Entry) -> impl Iterator<Item = u8> + '_ {
    name_key(&entry.name, entry.kind)
}

fn name_key(name: &str, kind: EntryKind) -> impl Iterator<Item = u8> + '_ {
    name.bytes().chain((kind == EntryKind::Folder).then_some(b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(name: &str, kind: EntryKind) -> Entry {
        Entry { name: name.to_owned(), kind, oid: GitOid([7; 20]) }
    }

    #[test]
    fn folders_sort_as_if_they_ended_in_a_slash() {
        let tree = Tree::new(vec![
            entry("a0", EntryKind::File),
            entry("a", EntryKind::Folder),
            entry("a.b", EntryKind::File),
            entry("a-b", EntryKind::File),
        ]);
        let names: Vec<_> = tree.entries().iter().map(|e| e.name.as_str()).collect();
        assert_eq!(names, ["a-b", "a.b", "a", "a0"]);
        assert_eq!(tree.get("a").map(|e| e.kind), Some(EntryKind::Folder));
        assert_eq!(tree.get("a.b").map(|e| e.kind), Some(EntryKind::File));
        assert!(tree.get("b").is_none());
    }

    proptest! {
        #[test]
        fn trees_survive_the_round_trip(names in proptest::collection::btree_set("[a-z.-]{1,8}", 0..20)) {
            let tree = Tree::new(names.iter().enumerate().map(|(i, n)| {
                entry(n, if i % 2 == 0 { EntryKind::File } else { EntryKind::Folder })
            }).collect());
            let again = Tree::decode(&GitOid([0; 20]), &tree.encode()).unwrap();
            prop_assert_eq!(again, tree);
        }

        #[test]
        fn damaged_trees_are_refused_without_panic(data: Vec<u8>) {
            let _ = Tree::decode(&GitOid([0; 20]), &data);
        }
    }
}
