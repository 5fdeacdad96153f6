//! Which files make up a model, and what they are called in a repository.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use super::layout::{self, Layout, Model};
use super::problem::Problems;
use super::shared;
use super::stamp::Stamp;
use crate::names;
use crate::revision::MAIN;

/// Most files of one model.
const MAX_FILES: usize = 1 << 18;
/// Deepest folder of one model.
const MAX_DEPTH: usize = 32;
/// Longest ref that is read, in bytes.
const MAX_REF_BYTES: u64 = 1 << 10;

/// A model as it is taken: its files by revision, and the links that lead to them.
#[derive(Clone, Debug)]
pub struct Content {
    /// The model.
    pub model: Model,
    /// Folder below which everything lies.
    pub folder: PathBuf,
    /// What goes to each branch, `main` first.
    pub revisions: Vec<Revision>,
    /// Symbolic links to files of the model: path below the folder, and target as it is written.
    pub links: Vec<(String, String)>,
    /// What stays where it is.
    pub problems: Problems,
}

/// Files of one branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// Branch.
    pub branch: String,
    /// The files, by path.
    pub files: Vec<Taken>,
}

/// A file of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Path in the repository.
    pub stored: String,
    /// Path below the folder, of the file itself and not of a link.
    pub path: String,
    /// Where it is.
    pub place: PathBuf,
    /// What it was like.
    pub stamp: Stamp,
    /// Link at `path` to a place that other repositories of a cache may use too.
    pub shared: bool,
}

impl Content {
    /// Lists the files of a model. Blocks the thread.
    #[must_use]
    pub fn of(model: &Model) -> Self {
        let mut content = Self {
            model: model.clone(),
            folder: model.folder.clone(),
            revisions: Vec::new(),
            links: Vec::new(),
            problems: Problems::default(),
        };
        match model.layout {
            Layout::HfCache => content.hf_cache(),
            Layout::Ollama => content.ollama(),
            Layout::Folder => content.plain(),
        }
        for revision in &mut content.revisions {
            revision.files.sort_by(|a, b| a.stored.cmp(&b.stored));
            revision.files.dedup_by(|a, b| a.stored == b.stored);
        }
        content.revisions.retain(|revision| !revision.files.is_empty());
        content
    }

    /// Files of all revisions, each place once.
    #[must_use]
    pub fn places(&self) -> Vec<&Taken> {
        let mut seen = BTreeSet::new();
        self.revisions.iter().flat_map(|revision| &revision.files).filter(|file| seen.insert(&file.path)).collect()
    }

    /// Adds a file, unless it or its name is one that no hub takes.
    fn take(&mut self, files: &mut Vec<Taken>, stored: &str, place: &Path) {
        if let Err(message) = self.try_take(files, stored, place) {
            self.problems.add(place, message);
        }
    }

    fn try_take(&self, files: &mut Vec<Taken>, stored: &str, place: &Path) -> Result<(), String> {
        names::check_path(stored).map_err(|error| error.to_string())?;
        let facts = fs::symlink_metadata(place).map_err(|error| format!("it cannot be looked at: {error}"))?;
        if !facts.is_file() {
            return Err("it is no file".to_owned());
        }
        let path = below(&self.folder, place).ok_or("its name is not UTF-8")?;
        let stamp = Stamp::of(&facts);
        files.push(Taken { stored: stored.to_owned(), path, place: place.to_owned(), stamp, shared: false });
        Ok(())
    }

    /// Adds a file that the repositories of a cache share, under the link to it.
    fn take_shared(&mut self, files: &mut Vec<Taken>, stored: &str, link: &Path) {
        let real = shared::target(&self.folder, link);
        let seen = real.and_then(|place| Some((Stamp::of(&fs::symlink_metadata(&place).ok()?), place)));
        let path = below(&self.folder, link);
        match (names::check_path(stored), seen, path) {
            (Ok(()), Some((stamp, place)), Some(path)) => {
                files.push(Taken { stored: stored.to_owned(), path, place, stamp, shared: true });
            }
            (Err(error), ..) => self.problems.add(link, error.to_string()),
            _ => self.problems.add(link, "it cannot be looked at"),
        }
    }

    /// Everything below the folder, links to files of it included.
    fn plain(&mut self) {
        let mut files = Vec::new();
        self.tree(&self.folder.clone(), &mut files);
        self.revisions.push(Revision { branch: MAIN.to_owned(), files });
    }

    /// Takes in what lies below `top`, whose paths are those of the repository.
    fn tree(&mut self, top: &Path, files: &mut Vec<Taken>) {
        let mut pending = vec![(top.to_owned(), 0)];
        while let Some((folder, depth)) = pending.pop() {
            let Ok(entries) = fs::read_dir(&folder) else {
                self.problems.add(&folder, "the folder cannot be listed");
                continue;
            };
            for entry in entries.flatten() {
                let (place, name) = (entry.path(), entry.file_name());
                let shown = name.to_string_lossy();
                let Ok(kind) = entry.file_type() else { continue };
                let Some(stored) = below(top, &place) else {
                    self.problems.add(&place, "its name is not UTF-8, and no hub takes it");
                    continue;
                };
                if kind.is_dir() {
                    let notes = [".git", "__pycache__"].contains(&&*shown) || stored.starts_with(".cache/");
                    if depth >= MAX_DEPTH {
                        self.problems.add(&place, "it lies too deep");
                    } else if !notes {
                        pending.push((place, depth + 1));
                    }
                    continue;
                }
                if layout::is_partial(&shown) || shown == super::record::NAME {
                    continue;
                }
                if files.len() >= MAX_FILES {
                    return self.problems.add(top, format!("it has more than {MAX_FILES} files"));
                }
                if kind.is_file() {
                    self.take(files, &stored, &place);
                } else if kind.is_symlink() {
                    self.linked(files, &stored, &place);
                } else {
                    self.problems.add(&place, "it is neither a file nor a folder");
                }
            }
        }
    }

    /// Takes in the file that a link leads to, if it lies in the folder of the model.
    fn linked(&mut self, files: &mut Vec<Taken>, stored: &str, link: &Path) {
        let read = fs::read_link(link).ok().and_then(|target| Some((target.to_str()?.to_owned(), target)));
        let found = read.and_then(|(text, target)| {
            let place = resolve(link.parent()?, &target)?;
            // The real place says whether a folder on the way is a link.
            let real = place.canonicalize().ok()?;
            let inside = real == place && real.starts_with(&self.folder);
            let shared = self.model.layout == Layout::HfCache && shared::target(&self.folder, &place) == Some(real);
            (inside || shared).then_some((text, place, shared))
        });
        let Some((text, place, shared)) = found else {
            return self.problems.add(link, "it is a link that leads out of the model, and stays");
        };
        let Some(path) = below(&self.folder, link) else {
            return self.problems.add(link, "its name is not UTF-8, and no hub takes it");
        };
        let before = files.len();
        if shared {
            self.take_shared(files, stored, &place);
        } else {
            self.take(files, stored, &place);
        }
        if files.len() > before {
            self.links.push((path, text));
        }
    }

    /// One branch for each snapshot: `main` is the one that `refs/main` names, or the newest.
    fn hf_cache(&mut self) {
        // The folder must be its real self, or links would seem to lead out.
        self.folder = self.folder.canonicalize().unwrap_or_else(|_| self.folder.clone());
        let refs = refs(&self.folder.join("refs"));
        let mut snapshots: Vec<(std::time::SystemTime, String)> = Vec::new();
        for entry in fs::read_dir(self.folder.join("snapshots")).into_iter().flatten().flatten() {
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
            let changed = entry.metadata().and_then(|facts| facts.modified());
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                snapshots.push((changed.unwrap_or(std::time::UNIX_EPOCH), name));
            }
        }
        snapshots.sort();
        let main = refs.get(MAIN).filter(|commit| snapshots.iter().any(|(_, name)| name == *commit)).cloned();
        let main = main.or_else(|| snapshots.last().map(|(_, name)| name.clone()));
        for (_, name) in snapshots {
            let mut files = Vec::new();
            self.tree(&self.folder.join("snapshots").join(&name), &mut files);
            let named = refs.iter().find(|(_, commit)| **commit == name).map(|(name, _)| name.clone());
            let branch = match named {
                _ if main.as_ref() == Some(&name) => MAIN.to_owned(),
                Some(branch) if branch != MAIN && !branch.starts_with("refs/") => branch,
                _ => format!("snapshot-{}", layout::legal(name.get(..12).unwrap_or(&name))),
            };
            self.revisions.push(Revision { branch, files });
        }
        self.revisions.sort_by_key(|revision| revision.branch != MAIN);
    }

    /// The layers of a manifest, under names that say what they are.
    fn ollama(&mut self) {
        self.folder = self.folder.canonicalize().unwrap_or_else(|_| self.folder.clone());
        let Some(manifest_path) = self.model.manifest.as_ref().map(|path| self.folder.join(path)) else { return };
        let manifest = match layout::manifest(&manifest_path) {
            Ok(manifest) => manifest,
            Err(message) => return self.problems.add(&manifest_path, message),
        };
        let mut files = Vec::new();
        self.take(&mut files, "ollama/manifest.json", &manifest_path);
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        let config = manifest.config.iter().map(|layer| ("ollama/config", ".json", layer));
        let layers = manifest.layers.iter().map(|layer| {
            let (stem, ending) = called(&layer.media_type);
            (stem, ending, layer)
        });
        for (stem, ending, layer) in config.chain(layers) {
            let count = counts.entry(stem).or_default();
            *count += 1;
            let stored = if *count == 1 { format!("{stem}{ending}") } else { format!("{stem}-{count}{ending}") };
            match layer.file() {
                Some(file) => self.take(&mut files, &stored, &self.folder.join("blobs").join(file)),
                None => self.problems.add(&manifest_path, "it names a layer without a digest"),
            }
        }
        self.revisions.push(Revision { branch: MAIN.to_owned(), files });
    }
}

/// Name and ending of a layer of Ollama.
fn called(media_type: &str) -> (&'static str, &'static str) {
    match media_type.strip_prefix("application/vnd.ollama.image.").unwrap_or_default() {
        "model" => ("model", ".gguf"),
        "projector" => ("projector", ".gguf"),
        "adapter" => ("adapter", ".gguf"),
        "template" => ("ollama/template", ".txt"),
        "system" => ("ollama/system", ".txt"),
        "license" => ("ollama/license", ".txt"),
        "params" => ("ollama/params", ".json"),
        "messages" => ("ollama/messages", ".json"),
        _ => ("ollama/layer", ".bin"),
    }
}

/// Commits by ref, as the Hugging Face clients note them.
fn refs(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut pending = vec![(folder.to_owned(), 0)];
    while let Some((at, depth)) = pending.pop() {
        for entry in fs::read_dir(&at).into_iter().flatten().flatten() {
            let (place, kind) = (entry.path(), entry.file_type());
            match kind {
                Ok(kind) if kind.is_dir() && depth < 8 => pending.push((place, depth + 1)),
                Ok(kind) if kind.is_file() && found.len() < MAX_FILES => {
                    let small = entry.metadata().is_ok_and(|facts| facts.len() <= MAX_REF_BYTES);
                    let commit = small.then(|| fs::read_to_string(&place).ok()).flatten();
                    if let (Some(name), Some(commit)) = (below(folder, &place), commit)
                        && names::check_ref_name(&name).is_ok()
                    {
                        found.insert(name, commit.trim().to_owned());
                    }
                }
                _ => {}
            }
        }
    }
    found
}

/// Path below a folder with `/` between its parts; `None` when it is not below, or no text.
pub(super) fn below(folder: &Path, place: &Path) -> Option<String> {
    place.strip_prefix(folder).ok()?.to_str().filter(|path| !path.is_empty()).map(str::to_owned)
}

/// Where a relative target leads, by its letters alone; `None` for an absolute one.
pub(super) fn resolve(folder: &Path, target: &Path) -> Option<PathBuf> {
    let mut at = folder.to_owned();
    for part in target.components() {
        match part {
            Component::Normal(name) => at.push(name),
            Component::ParentDir => {
                if !at.pop() {
                    return None;
                }
            }
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(at)
}
