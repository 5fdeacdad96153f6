//! How models lie on a disk: the caches of the Hugging Face clients and of Ollama, and plain folders.
//!
//! ```text
//! models--ORG--NAME/{blobs,snapshots,refs}         Hugging Face: content by its digest, links to it by commit
//! manifests/HOST/NAMESPACE/MODEL/TAG  blobs/sha256-…   Ollama: one manifest for each model, content by its digest
//! ANY/FOLDER/{config.json, *.safetensors, …}       a folder, with all that is below it
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::problem::Problems;
use crate::names;

/// Endings of files that hold weights.
const WEIGHTS: &[&str] = &[
    "bin",
    "ckpt",
    "engine",
    "gguf",
    "ggml",
    "h5",
    "keras",
    "mlmodel",
    "msgpack",
    "nemo",
    "npz",
    "onnx",
    "pdparams",
    "pt",
    "pth",
    "safetensors",
    "tflite",
];
/// Names of files that stand at the top of a model.
const TOPS: &[&str] = &["config.json", "model_index.json", "adapter_config.json", "params.json", "modules.json"];
/// Endings of files that another program is still writing.
const PARTIAL: &[&str] = &[".incomplete", ".part", ".partial", ".crdownload", ".download", ".tmp", ".aria2", ".lock"];
/// Longest manifest that is read, in bytes.
const MAX_MANIFEST_BYTES: u64 = 4 << 20;
/// Most manifests of one cache.
const MAX_MANIFESTS: usize = 10_000;
/// Most layers of one manifest.
const MAX_LAYERS: usize = 1_000;

/// How a model lies on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Layout {
    /// Cache of the Hugging Face clients.
    HfCache,
    /// Cache of Ollama.
    Ollama,
    /// A folder with everything below it.
    Folder,
}

/// A model that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Model {
    /// How it lies.
    pub layout: Layout,
    /// Name that a repository can have.
    pub name: String,
    /// Whether it is a dataset.
    pub dataset: bool,
    /// Its folder; of Ollama's models the cache.
    #[serde(serialize_with = "shown")]
    pub folder: PathBuf,
    /// Manifest of Ollama, below the folder.
    #[serde(skip)]
    pub manifest: Option<PathBuf>,
    /// Files, links not counted.
    pub files: u64,
    /// Bytes of files that no model before has.
    pub size_bytes: u64,
}

pub(super) fn shown<S: serde::Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

impl Model {
    pub(super) fn new(layout: Layout, name: String, folder: &Path) -> Self {
        let dataset = layout == Layout::HfCache && hf_id(folder).is_some_and(|(kind, _)| kind == "datasets");
        Self { layout, name, dataset, folder: folder.to_owned(), manifest: None, files: 0, size_bytes: 0 }
    }
}

/// What the names in one folder tell.
#[derive(Debug, Default)]
pub(super) struct Signs {
    weights: bool,
    top: bool,
    snapshots: bool,
    blobs: bool,
    manifests: bool,
    catalog: bool,
    /// Names beside which a downloader keeps its notes.
    controlled: BTreeSet<String>,
}

impl Signs {
    pub(super) fn see(&mut self, name: &str, folder: bool) {
        match name {
            "snapshots" if folder => self.snapshots = true,
            "blobs" if folder => self.blobs = true,
            "manifests" if folder => self.manifests = true,
            "catalog.sqlite" if !folder => self.catalog = true,
            _ if folder => {}
            _ => {
                let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
                self.weights |= ending.is_some_and(|ending| WEIGHTS.contains(&ending.as_str()));
                self.top |= TOPS.contains(&name);
                if let Some(download) = name.strip_suffix(".aria2") {
                    self.controlled.insert(download.to_owned());
                }
            }
        }
    }

    /// Whether it is the data folder of a hub.
    pub(super) const fn is_store(&self) -> bool {
        self.catalog && self.blobs
    }

    /// Names of files that a downloader is not done with.
    pub(super) fn controlled(&self) -> impl Iterator<Item = &String> {
        self.controlled.iter()
    }

    /// What the folder is, if it is the top of a model.
    pub(super) fn layout(&self, folder: &Path) -> Option<Layout> {
        match () {
            () if self.snapshots && hf_id(folder).is_some() => Some(Layout::HfCache),
            () if self.manifests && self.blobs => Some(Layout::Ollama),
            () if self.weights || self.top => Some(Layout::Folder),
            () => None,
        }
    }
}

/// Whether a file is still being written, by its name.
pub(super) fn is_partial(name: &str) -> bool {
    let folded = name.to_ascii_lowercase();
    PARTIAL.iter().any(|ending| folded.ends_with(ending))
        || (folded.starts_with("sha256-") && folded.contains("-partial"))
        || folded.contains(crate::convert::PARTIAL)
        || folded.starts_with(super::TEMPORARY)
}

/// Kind and id that the name of a cache folder stands for.
fn hf_id(folder: &Path) -> Option<(&str, String)> {
    let (kind, id) = folder.file_name()?.to_str()?.split_once("--")?;
    let known = matches!(kind, "models" | "datasets");
    known.then(|| (kind, id.replacen("--", "/", 1))).filter(|(_, id)| names::check_repo_id(id).is_ok())
}

/// Name of a repository for a folder: of an id both parts, of any other folder its last two names below the root.
pub(super) fn name(layout: Layout, root: &Path, folder: &Path) -> String {
    if layout == Layout::HfCache
        && let Some((_, id)) = hf_id(folder)
    {
        return legal(&id.replace('/', "__"));
    }
    let below = folder.strip_prefix(root).unwrap_or(folder);
    let mut parts: Vec<String> = below.iter().rev().take(2).map(|part| part.to_string_lossy().into_owned()).collect();
    if parts.is_empty() {
        parts.extend(root.file_name().map(|name| name.to_string_lossy().into_owned()));
    }
    parts.reverse();
    legal(&parts.join("__"))
}

/// The nearest name that a hub takes.
pub(super) fn legal(text: &str) -> String {
    let mut name = String::new();
    for character in text.chars() {
        let character = if character.is_ascii_alphanumeric() || "_.-".contains(character) { character } else { '_' };
        let twice = matches!(character, '-' | '.') && name.ends_with(character);
        if !twice {
            name.push(character);
        }
    }
    let mut name: String = name.trim_matches(['-', '.']).chars().take(names::MAX_SEGMENT_BYTES).collect();
    name.truncate(name.trim_end_matches(['-', '.']).len());
    if name.to_ascii_lowercase().ends_with(".git") {
        name.truncate(name.len() - 4);
    }
    if names::check_new_repo_id(&format!("n/{name}")).is_err() {
        name = format!("model_{}", name.trim_matches(['-', '.']));
    }
    name
}

/// A manifest of Ollama: an image manifest of OCI.
#[derive(Debug, Deserialize)]
pub(super) struct Manifest {
    pub config: Option<Layer>,
    #[serde(default)]
    pub layers: Vec<Layer>,
}

/// A part of a model, by its digest.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Layer {
    #[serde(default)]
    pub media_type: String,
    pub digest: String,
}

impl Layer {
    /// Name of the file that holds it; `None` for a digest that is none.
    pub(super) fn file(&self) -> Option<String> {
        let hex = self.digest.strip_prefix("sha256:")?;
        let digest: crate::Sha256 = hex.parse().ok()?;
        Some(format!("sha256-{digest}"))
    }
}

/// Reads a manifest.
pub(super) fn manifest(path: &Path) -> Result<Manifest, String> {
    let facts = fs::symlink_metadata(path).map_err(|error| format!("it cannot be looked at: {error}"))?;
    if !facts.is_file() || facts.len() > MAX_MANIFEST_BYTES {
        return Err("it is no manifest of Ollama".to_owned());
    }
    let text = fs::read(path).map_err(|error| format!("it cannot be read: {error}"))?;
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|_| "it is no manifest of Ollama".to_owned())?;
    if manifest.layers.len() > MAX_LAYERS {
        return Err(format!("it has more than {MAX_LAYERS} layers"));
    }
    Ok(manifest)
}

/// Every model of an Ollama cache.
pub(super) fn ollama_models(cache: &Path, problems: &mut Problems) -> Vec<Model> {
    let (mut models, mut seen) = (Vec::new(), BTreeSet::new());
    let top = cache.join("manifests");
    let mut pending = vec![(top.clone(), 0)];
    while let Some((folder, depth)) = pending.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            problems.add(&folder, "the folder cannot be listed");
            continue;
        };
        for entry in entries.flatten() {
            let (path, kind) = (entry.path(), entry.file_type());
            match kind {
                Ok(kind) if kind.is_dir() && depth < 8 => pending.push((path, depth + 1)),
                Ok(kind) if kind.is_file() && !is_partial(&entry.file_name().to_string_lossy()) => {
                    if models.len() >= MAX_MANIFESTS {
                        problems.add(&top, format!("there are more than {MAX_MANIFESTS} manifests"));
                        return models;
                    }
                    match manifest(&path) {
                        Ok(manifest) => models.push(ollama_model(cache, &top, &path, &manifest, &mut seen)),
                        Err(message) => problems.add(&path, message),
                    }
                }
                _ => {}
            }
        }
    }
    models.sort_by(|a, b| a.manifest.cmp(&b.manifest));
    models
}

fn ollama_model(cache: &Path, top: &Path, path: &Path, manifest: &Manifest, seen: &mut BTreeSet<String>) -> Model {
    // HOST/NAMESPACE/MODEL/TAG; what everybody has in common says nothing.
    let parts: Vec<String> =
        path.strip_prefix(top).unwrap_or(path).iter().map(|p| p.to_string_lossy().into()).collect();
    let told: Vec<&str> = match parts.as_slice() {
        [_, namespace, model, tag] if namespace == "library" => vec![model, tag],
        [_, rest @ ..] if !rest.is_empty() => rest.iter().map(String::as_str).collect(),
        all => all.iter().map(String::as_str).collect(),
    };
    let name = match told.as_slice() {
        [before @ .., model, tag] => {
            let before: String = before.iter().map(|part| format!("{part}__")).collect();
            format!("{before}{model}-{tag}")
        }
        all => all.join("__"),
    };
    let mut model = Model::new(Layout::Ollama, legal(&name), cache);
    model.manifest = path.strip_prefix(cache).ok().map(Path::to_owned);
    model.files = 1;
    for file in manifest.layers.iter().chain(&manifest.config).filter_map(Layer::file) {
        model.files += 1;
        let size = fs::symlink_metadata(cache.join("blobs").join(&file)).map_or(0, |facts| facts.len());
        if seen.insert(file) {
            model.size_bytes += size;
        }
    }
    model
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn folders_are_told_by_the_names_in_them() {
        let of = |folder: &str, entries: &[(&str, bool)]| {
            let mut signs = Signs::default();
            entries.iter().for_each(|(name, folder)| signs.see(name, *folder));
            signs.layout(Path::new(folder))
        };
        let hf = [("snapshots", true), ("blobs", true), ("refs", true)];
        assert_eq!(of("/c/models--org--name", &hf), Some(Layout::HfCache));
        assert_eq!(of("/c/models--gpt2", &hf), Some(Layout::HfCache));
        assert_eq!(of("/c/spaces--a--b", &hf), None);
        assert_eq!(of("/o/models", &[("manifests", true), ("blobs", true)]), Some(Layout::Ollama));
        assert_eq!(of("/x/m", &[("model.SafeTensors", false)]), Some(Layout::Folder));
        assert_eq!(of("/x/m", &[("model_index.json", false), ("unet", true)]), Some(Layout::Folder));
        assert_eq!(of("/x/m", &[("notes.txt", false), ("config.json", true)]), None);
    }

    #[test]
    fn repositories_are_called_as_people_know_their_models() {
        let root = Path::new("/r");
        let folder = |layout, path| name(layout, root, Path::new(path));
        assert_eq!(folder(Layout::HfCache, "/r/models--org--name-7b"), "org__name-7b");
        assert_eq!(folder(Layout::HfCache, "/r/models--gpt2"), "gpt2");
        assert_eq!(folder(Layout::Folder, "/r/pub/some model"), "pub__some_model");
        assert_eq!(folder(Layout::Folder, "/r/a/b/c"), "b__c");
        assert_eq!(folder(Layout::Folder, "/r"), "r");
        assert_eq!(folder(Layout::Folder, "/r/tree"), "model_tree");
    }

    #[test]
    fn unfinished_files_are_told_by_their_names() {
        for name in ["ab12.incomplete", "x.safetensors.part", "sha256-aa-partial", "sha256-aa-partial-3", "y.ARIA2"] {
            assert!(is_partial(name), "{name}");
        }
        for name in ["model.safetensors", "partial-model.bin", "sha256-aa"] {
            assert!(!is_partial(name), "{name}");
        }
    }

    proptest! {
        #[test]
        fn every_folder_gets_a_name_that_a_hub_takes(text in ".{0,140}") {
            let name = legal(&text);
            prop_assert!(names::check_new_repo_id(&format!("n/{name}")).is_ok(), "{}", name);
        }
    }
}
