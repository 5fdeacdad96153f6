//! Walking: which files lie below the folders that were named, without ever leaving them.
//!
//! Symbolic links are never followed. Those that lead to a file inside are names of a file that is met anyway; those that
//! lead out are counted. A folder is visited once, by its number, so that roots inside each other and mounted loops end.

use std::collections::{HashMap, HashSet};
use std::fs::{self, DirEntry};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::layout::{self, Layout, Model};
use super::problem::Problems;
use super::stamp::Stamp;
use crate::Error;

/// Deepest folder that is visited.
const MAX_DEPTH: usize = 64;
/// Most files that are kept; each takes some 300 bytes of memory.
const MAX_FILES: usize = 1 << 20;
/// Folders whose content is no model.
const SKIPPED: &[&str] = &[".git", ".locks", ".no_exist", ".weighthouse", "__pycache__", ".ipynb_checkpoints"];

/// A file that is large enough to matter.
#[derive(Clone, Debug)]
pub(super) struct SeenFile {
    pub path: PathBuf,
    pub stamp: Stamp,
    /// Names that the file has anywhere.
    pub names: u64,
    /// Number of the model it belongs to.
    pub model: Option<usize>,
}

/// What was counted on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Looked {
    /// Files, each name counted.
    pub files: u64,
    /// Their bytes, those of a file with several names counted once if it is large enough to be compared.
    pub size_bytes: u64,
    /// Files that are too small to be compared.
    pub small_files: u64,
    /// Their bytes.
    pub small_bytes: u64,
    /// Symbolic links to files inside.
    pub links: u64,
    /// Symbolic links that lead out or nowhere, and links to folders; none was followed.
    pub links_out: u64,
    /// Files that are still being written by another program.
    pub partial_files: u64,
}

/// All that a walk found.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub roots: Vec<PathBuf>,
    pub files: Vec<SeenFile>,
    pub models: Vec<Model>,
    /// Readable names of files that are called by a digest: the links of snapshots.
    pub shown: HashMap<PathBuf, PathBuf>,
    pub looked: Looked,
    pub problems: Problems,
    /// Temporary names that a killed run left behind.
    pub leftovers: Vec<PathBuf>,
    /// Shared content that a model was given.
    shared: HashSet<PathBuf>,
}

struct Pending {
    folder: PathBuf,
    root: usize,
    depth: usize,
    model: Option<usize>,
}

/// Walks all roots. Files below `min_bytes` are counted and not kept.
///
/// # Errors
/// [`Error::NotFound`] and [`Error::Local`] for a root that cannot be opened; anything below one is a problem in the list.
pub(super) fn walk(roots: &[PathBuf], min_bytes: u64) -> Result<Seen, Error> {
    let mut seen = Seen::default();
    let mut visited = HashSet::new();
    for root in roots {
        let real = root.canonicalize().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::NotFound { what: "folder", name: root.display().to_string() },
            _ => Error::local("opening the folder", root, error),
        })?;
        if !real.is_dir() {
            return Err(Error::Malformed(format!("`{}` is not a folder", root.display())));
        }
        if !seen.roots.contains(&real) {
            seen.roots.push(real);
        }
    }
    // A root inside another is met on the way.
    let all = seen.roots.clone();
    seen.roots.retain(|root| !all.iter().any(|other| other != root && root.starts_with(other)));
    let mut counted = HashSet::new();
    let mut pending: Vec<Pending> = (seen.roots.iter().enumerate())
        .rev()
        .map(|(root, folder)| Pending { folder: folder.clone(), root, depth: 0, model: None })
        .collect();
    while let Some(next) = pending.pop() {
        match fs::metadata(&next.folder) {
            Ok(facts) if !visited.insert((facts.dev(), facts.ino())) => continue,
            Ok(_) => {}
            Err(error) => {
                seen.problems.add(&next.folder, format!("the folder cannot be opened: {error}"));
                continue;
            }
        }
        seen.folder(next, min_bytes, &mut counted, &mut pending);
    }
    seen.files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(seen)
}

impl Seen {
    fn folder(&mut self, at: Pending, min_bytes: u64, counted: &mut HashSet<(u64, u64)>, pending: &mut Vec<Pending>) {
        let listed = fs::read_dir(&at.folder);
        let entries = match listed {
            Ok(entries) => entries,
            Err(error) => return self.problems.add(&at.folder, format!("the folder cannot be listed: {error}")),
        };
        let (mut folders, mut files, mut signs) = (Vec::new(), Vec::new(), layout::Signs::default());
        let (mut small, mut links) = ((0, 0), Vec::new());
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    self.problems.add(&at.folder, format!("the folder cannot be listed to its end: {error}"));
                    break;
                }
            };
            let Ok(kind) = entry.file_type() else {
                self.problems.add(&entry.path(), "it cannot be looked at");
                continue;
            };
            let name = entry.file_name();
            signs.see(&name.to_string_lossy(), kind.is_dir());
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_symlink() {
                links.extend(self.link(&entry.path()));
            } else if kind.is_file() {
                self.file(&entry, min_bytes, &mut files, &mut small);
            }
        }
        if signs.is_store() {
            return self.problems.add(&at.folder, "it is the data folder of a hub, and left alone");
        }
        let root = self.roots.get(at.root).cloned().unwrap_or_default();
        let model = at.model.or_else(|| self.model(&root, &at.folder, &signs));
        self.looked.files += small.0;
        self.looked.small_files += small.0;
        self.looked.size_bytes += small.1;
        self.looked.small_bytes += small.1;
        if let Some(model) = model.and_then(|model| self.models.get_mut(model)) {
            model.files += small.0;
            model.size_bytes += small.1;
        }
        // What a cache shares between its repositories lies in none of their folders.
        let folder = model.and_then(|model| self.models.get(model)).filter(|model| model.layout == Layout::HfCache);
        if let Some(repo) = folder.map(|model| model.folder.clone()) {
            for target in links.into_iter().filter(|target| !target.starts_with(&repo)) {
                let size = fs::metadata(&target).map_or(0, |facts| facts.len());
                let first = self.shared.insert(target);
                if let Some(model) = model.and_then(|model| self.models.get_mut(model)) {
                    model.files += 1;
                    model.size_bytes += if first { size } else { 0 };
                }
            }
        }
        let half: HashSet<PathBuf> = signs.controlled().map(|name| at.folder.join(name)).collect();
        for mut file in files {
            if half.contains(&file.path) {
                self.looked.partial_files += 1;
                continue;
            }
            file.model = model;
            let first = counted.insert(file.stamp.file());
            self.looked.files += 1;
            if first {
                self.looked.size_bytes += file.stamp.size_bytes;
            }
            if let Some(model) = model.and_then(|model| self.models.get_mut(model)) {
                model.files += 1;
                model.size_bytes += if first { file.stamp.size_bytes } else { 0 };
            }
            if self.files.len() < MAX_FILES {
                self.files.push(file);
            } else if self.files.len() == MAX_FILES {
                let text = format!("there are more than {MAX_FILES} files of this size: the rest is not compared");
                self.problems.add(&at.folder, text);
            }
        }
        for folder in folders {
            let skipped = folder.file_name().is_some_and(|name| {
                let name = name.to_string_lossy();
                SKIPPED.contains(&&*name) || name.ends_with(crate::convert::PARTIAL)
            });
            if skipped {
                continue;
            }
            if at.depth >= MAX_DEPTH {
                self.problems.add(&folder, "it lies too deep");
                continue;
            }
            pending.push(Pending { folder, root: at.root, depth: at.depth + 1, model });
        }
    }

    /// Takes in a file; small ones are only counted, with their bytes.
    fn file(&mut self, entry: &DirEntry, min_bytes: u64, files: &mut Vec<SeenFile>, small: &mut (u64, u64)) {
        let path = entry.path();
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(super::TEMPORARY) && self.leftovers.len() < MAX_FILES {
            self.leftovers.push(path.clone());
        }
        if layout::is_partial(&name) {
            self.looked.partial_files += 1;
            return;
        }
        let facts = match entry.metadata() {
            Ok(facts) if facts.is_file() => facts,
            Ok(_) => return,
            Err(error) => return self.problems.add(&path, format!("it cannot be looked at: {error}")),
        };
        if facts.len() < min_bytes {
            *small = (small.0 + 1, small.1 + facts.len());
            return;
        }
        files.push(SeenFile { path, stamp: Stamp::of(&facts), names: facts.nlink(), model: None });
    }

    /// Takes in a link, and gives the file that it leads to.
    fn link(&mut self, path: &Path) -> Option<PathBuf> {
        let target = path.canonicalize().ok().filter(|target| self.roots.iter().any(|root| target.starts_with(root)));
        match target {
            Some(target) if target.is_file() => {
                self.looked.links += 1;
                // The link of a snapshot says most.
                let readable = path.components().any(|part| part.as_os_str() == "snapshots");
                if readable || (self.shown.len() < MAX_FILES && !self.shown.contains_key(&target)) {
                    self.shown.insert(target.clone(), path.to_owned());
                }
                Some(target)
            }
            _ => {
                self.looked.links_out += 1;
                None
            }
        }
    }

    fn model(&mut self, root: &Path, folder: &Path, signs: &layout::Signs) -> Option<usize> {
        let layout = signs.layout(folder)?;
        if layout == Layout::Ollama {
            let models = layout::ollama_models(folder, &mut self.problems);
            self.models.extend(models);
            // Its blobs belong to several models; they are not counted here.
            return None;
        }
        let name = layout::name(layout, root, folder);
        self.models.push(Model::new(layout, name, folder));
        Some(self.models.len() - 1)
    }
}
