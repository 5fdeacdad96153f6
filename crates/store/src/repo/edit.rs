//! Changes to a tree of folders, writing only the folders they touch.

use std::collections::{BTreeMap, HashMap};

use crate::catalog::Catalog;
use crate::digest::GitOid;
use crate::error::StoreError;
use crate::repo::object::{ObjectKind, object_id};
use crate::repo::tree::{Entry, EntryKind, Tree};

/// Why a change does not fit the tree.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// The path names nothing.
    #[error("`{0}` does not exist")]
    NotFound(String),
    /// A folder stands where a file should, or a file where a folder should.
    #[error("`{path}` is a {is}, not a {wanted}")]
    WrongKind {
        /// The path in the way.
        path: String,
        /// What it is.
        is: &'static str,
        /// What it would have to be.
        wanted: &'static str,
    },
    /// Two names that a case-insensitive disk cannot tell apart.
    #[error("`{path}` and `{existing}` differ only in case")]
    CaseClash {
        /// The new path.
        path: String,
        /// Name that is there already.
        existing: String,
    },
    /// Reading the tree failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A tree being changed; folders are read when first entered.
#[derive(Debug)]
pub struct TreeEdit {
    root: Folder,
}

#[derive(Debug, Default)]
struct Folder {
    /// Id on record; `None` for a new folder.
    oid: Option<GitOid>,
    /// Contents once read.
    nodes: Option<Nodes>,
    /// Whether the contents may differ from the record.
    changed: bool,
}

#[derive(Debug, Default)]
struct Nodes {
    by_name: BTreeMap<String, Node>,
    /// Lower-cased name → name.
    folded: HashMap<String, String>,
}

#[derive(Debug)]
enum Node {
    File(GitOid),
    Folder(Folder),
}

impl TreeEdit {
    /// Begins with an existing tree, or with an empty one.
    pub fn new(tree: Option<GitOid>) -> Self {
        Self { root: Folder { oid: tree, ..Folder::default() } }
    }

    /// Blob at `path`, if a file is there.
    pub async fn file(&mut self, catalog: &Catalog, path: &str) -> Result<Option<GitOid>, EditError> {
        let (parents, name) = split(path);
        let mut folder = &mut self.root;
        for part in parents {
            match folder.nodes(catalog).await?.by_name.get_mut(part) {
                Some(Node::Folder(next)) => folder = next,
                _ => return Ok(None),
            }
        }
        match folder.nodes(catalog).await?.by_name.get(name) {
            Some(Node::File(oid)) => Ok(Some(*oid)),
            _ => Ok(None),
        }
    }

    /// Puts a file at `path`, creating folders on the way.
    ///
    /// # Errors
    /// [`EditError::WrongKind`] when a file stands on the way or a folder at the path;
    /// [`EditError::CaseClash`] when a new name differs from one beside it only in case.
    pub async fn put(&mut self, catalog: &Catalog, path: &str, blob: GitOid) -> Result<(), EditError> {
        let (parents, name) = split(path);
        let mut folder = &mut self.root;
        for part in parents {
            let nodes = folder.change(catalog).await?;
            nodes.check_case(part, path)?;
            let next = nodes.by_name.entry(part.to_owned()).or_insert_with(|| Node::Folder(Folder::default()));
            nodes.folded.entry(part.to_lowercase()).or_insert_with(|| part.to_owned());
            match next {
                Node::Folder(next) => folder = next,
                Node::File(_) => {
                    return Err(EditError::WrongKind { path: part.to_owned(), is: "file", wanted: "folder" });
                }
            }
        }
        let nodes = folder.change(catalog).await?;
        nodes.check_case(name, path)?;
        if let Some(Node::Folder(_)) = nodes.by_name.get(name) {
            return Err(EditError::WrongKind { path: path.to_owned(), is: "folder", wanted: "file" });
        }
        nodes.folded.insert(name.to_lowercase(), name.to_owned());
        nodes.by_name.insert(name.to_owned(), Node::File(blob));
        Ok(())
    }

    /// Removes the file or the whole folder at `path`.
    ///
    /// # Errors
    /// [`EditError::NotFound`] when nothing is there.
    pub async fn remove(&mut self, catalog: &Catalog, path: &str) -> Result<(), EditError> {
        let missing = || EditError::NotFound(path.to_owned());
        let (parents, name) = split(path);
        let mut folder = &mut self.root;
        for part in parents {
            match folder.change(catalog).await?.by_name.get_mut(part) {
                Some(Node::Folder(next)) => folder = next,
                _ => return Err(missing()),
            }
        }
        let nodes = folder.change(catalog).await?;
        nodes.by_name.remove(name).ok_or_else(missing)?;
        nodes.folded.remove(&name.to_lowercase());
        Ok(())
    }

    /// Id of the changed root, and every tree object that is not on record yet, children first.
    ///
    /// Folders left empty disappear, as git cannot express them; an empty root stays.
    pub fn finish(self) -> (GitOid, Vec<(GitOid, Vec<u8>)>) {
        let mut written = Vec::new();
        let root = self.root.write(&mut written).unwrap_or_else(|| {
            let empty = Tree::default().encode();
            let oid = object_id(ObjectKind::Tree, &empty);
            written.push((oid, empty));
            oid
        });
        (root, written)
    }
}

impl Folder {
    async fn change(&mut self, catalog: &Catalog) -> Result<&mut Nodes, StoreError> {
        self.changed = true;
        self.nodes(catalog).await
    }

    async fn nodes(&mut self, catalog: &Catalog) -> Result<&mut Nodes, StoreError> {
        if self.nodes.is_none()
            && let Some(oid) = self.oid
        {
            let tree = catalog.objects().tree(&oid).await?;
            let mut nodes = Nodes::default();
            for entry in tree.entries() {
                nodes.folded.insert(entry.name.to_lowercase(), entry.name.clone());
                let node = match entry.kind {
                    EntryKind::File => Node::File(entry.oid),
                    EntryKind::Folder => Node::Folder(Self { oid: Some(entry.oid), ..Self::default() }),
                };
                nodes.by_name.insert(entry.name.clone(), node);
            }
            self.nodes = Some(nodes);
        }
        Ok(self.nodes.get_or_insert_with(Nodes::default))
    }

    fn write(self, written: &mut Vec<(GitOid, Vec<u8>)>) -> Option<GitOid> {
        if !self.changed && self.oid.is_some() {
            return self.oid;
        }
        let mut entries = Vec::new();
        for (name, node) in self.nodes.unwrap_or_default().by_name {
            match node {
                Node::File(oid) => entries.push(Entry { name, kind: EntryKind::File, oid }),
                Node::Folder(folder) => {
                    if let Some(oid) = folder.write(written) {
                        entries.push(Entry { name, kind: EntryKind::Folder, oid });
                    }
                }
            }
        }
        if entries.is_empty() {
            return None;
        }
        let data = Tree::new(entries).encode();
        let oid = object_id(ObjectKind::Tree, &data);
        written.push((oid, data));
        Some(oid)
    }
}

impl Nodes {
    fn check_case(&self, name: &str, path: &str) -> Result<(), EditError> {
        match self.folded.get(&name.to_lowercase()) {
            Some(existing) if existing != name => {
                Err(EditError::CaseClash { path: path.to_owned(), existing: existing.clone() })
            }
            _ => Ok(()),
        }
    }
}

fn split(path: &str) -> (impl Iterator<Item = &str>, &str) {
    let (parents, name) = path.rsplit_once('/').unwrap_or(("", path));
    (parents.split('/').filter(|part| !part.is_empty()), name)
}
