//! Which files of a revision matter, from one walk over its folders.

use std::collections::VecDeque;

use sha2::Digest;
use weighthouse_store::digest::GitOid;
use weighthouse_store::repo::tree::EntryKind;

use super::VERSION;
use crate::card::CARD_PATH;
use crate::revision::Revision;
use crate::{Error, Hub};

/// Folders that are looked into, breadth first; weights lie near the root.
const MAX_FOLDERS: usize = 256;
/// Safetensors files whose headers may be read.
const MAX_WEIGHTS: usize = 4_096;

/// Files of the root that say what a repository is.
pub(super) const CONFIG: &str = "config.json";
pub(super) const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
pub(super) const DIFFUSERS: &str = "model_index.json";
pub(super) const ADAPTER: &str = "adapter_config.json";
const TELLING: &[&str] = &[
    CARD_PATH,
    CONFIG,
    TOKENIZER_CONFIG,
    DIFFUSERS,
    ADAPTER,
    "modules.json",
    "config_sentence_transformers.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "vocab.txt",
    "model.safetensors.index.json",
];

/// Formats of weights by the ends of their names.
const FORMATS: &[(&str, &[&str])] = &[
    ("safetensors", &[".safetensors"]),
    ("gguf", &[".gguf"]),
    ("pytorch", &["pytorch_model.bin", "pytorch_model.bin.index.json", ".pt", ".pth"]),
    ("onnx", &[".onnx"]),
    ("tf", &["tf_model.h5", "saved_model.pb"]),
    ("jax", &["flax_model.msgpack"]),
    ("keras", &[".keras"]),
    ("tflite", &[".tflite"]),
    ("coreml", &[".mlmodel", ".mlpackage"]),
    ("openvino", &["openvino_model.xml"]),
    ("tensorboard", &[".tfevents"]),
];

/// The files that matter.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Files of the root in [`TELLING`].
    telling: Vec<(String, GitOid)>,
    /// Paths of safetensors files.
    pub weights: Vec<(String, GitOid)>,
    /// Formats that occur, in the order of [`FORMATS`].
    pub formats: Vec<&'static str>,
}

impl Names {
    /// Id of a file of the root, if it is there and tells something.
    pub fn has(&self, name: &str) -> bool {
        self.telling.iter().any(|(found, _)| found == name)
    }

    /// Version and digest of everything that facts are derived from.
    pub fn source(&self) -> String {
        let mut hasher = sha2::Sha256::new();
        for (path, oid) in self.telling.iter().chain(&self.weights) {
            hasher.update((path.len() as u64).to_le_bytes());
            hasher.update(path);
            hasher.update(oid.0);
        }
        self.formats.iter().for_each(|format| hasher.update(format));
        let digest = hex::encode(hasher.finalize());
        format!("{VERSION}-{}", digest.get(..32).unwrap_or(&digest))
    }

    fn see(&mut self, path: String, oid: GitOid) {
        let name = path.rsplit('/').next().unwrap_or(&path);
        for (format, ends) in FORMATS {
            let found = ends.iter().any(|end| match end.strip_prefix('.') {
                Some(_) => name.ends_with(end) || (*end == ".tfevents" && name.contains("tfevents")),
                None => name == *end,
            });
            if found && !self.formats.contains(format) {
                self.formats.push(format);
            }
        }
        if TELLING.contains(&path.as_str()) {
            self.telling.push((path, oid));
        } else if path.ends_with(".safetensors") && self.weights.len() < MAX_WEIGHTS {
            self.weights.push((path, oid));
        }
    }
}

impl Hub {
    /// Walks the folders of a revision.
    pub(super) async fn walk_names(&self, revision: &Revision) -> Result<Names, Error> {
        let mut names = Names::default();
        let mut open = VecDeque::from([(String::new(), revision.commit.tree)]);
        let mut walked = 0;
        while let Some((folder, tree)) = open.pop_front() {
            walked += 1;
            for entry in self.catalog().objects().tree(&tree).await?.entries() {
                let path = format!("{folder}{}", entry.name);
                match entry.kind {
                    EntryKind::File => names.see(path, entry.oid),
                    EntryKind::Folder if walked + open.len() < MAX_FOLDERS => {
                        open.push_back((format!("{path}/"), entry.oid));
                    }
                    EntryKind::Folder => {}
                }
            }
        }
        names.formats.sort_by_key(|format| FORMATS.iter().position(|(known, _)| known == format));
        Ok(names)
    }
}
