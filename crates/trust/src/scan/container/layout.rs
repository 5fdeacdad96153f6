//! What kind of zip it is, by its members, and which role that gives to each.

use std::collections::BTreeMap;
use std::rc::Rc;

use weighthouse_format::zip::Archive;

use super::super::pickle::Storages;
use super::super::report::Finding;
use super::super::rules;
use super::super::session::{Item, Role, Session};
use super::super::verdict::Verdict;

/// What a zip archive is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Of `torch.save`: its one folder.
    Torch(String),
    /// Of `torch.jit.save`: its one folder.
    Script(String),
    /// Of `torch.export.save`.
    Exported,
    /// A Keras model.
    Keras,
    /// NumPy arrays.
    Npz,
    /// Java.
    Jar,
    /// Anything else.
    Other,
}

impl Layout {
    pub(super) fn of(archive: &Archive) -> Self {
        let names = || archive.entries().iter().map(|entry| entry.name.as_str());
        if archive.find("serialized_exported_program.json").is_some()
            || names().any(|name| name.ends_with("/archive_format"))
        {
            return Self::Exported;
        }
        let folder = names().find_map(|name| name.strip_suffix("/data.pkl").filter(|folder| !folder.contains('/')));
        if let Some(folder) = folder {
            let code = format!("{folder}/code/");
            let constants = format!("{folder}/constants.pkl");
            let script = names().any(|name| name.starts_with(&code) || name == constants);
            return if script { Self::Script(folder.to_owned()) } else { Self::Torch(folder.to_owned()) };
        }
        if archive.find("config.json").is_some()
            && (archive.find("model.weights.h5").is_some() || archive.find("metadata.json").is_some())
        {
            return Self::Keras;
        }
        if archive.find("META-INF/MANIFEST.MF").is_some() || names().any(|name| name.ends_with(".class")) {
            return Self::Jar;
        }
        let mut members = names().filter(|name| !name.ends_with('/')).peekable();
        if members.peek().is_some() && members.all(|name| name.ends_with(".npy")) {
            return Self::Npz;
        }
        Self::Other
    }

    pub(super) const fn as_str(&self) -> &'static str {
        match self {
            Self::Torch(_) => "torch",
            Self::Script(_) => "torchscript",
            Self::Exported => "pt2",
            Self::Keras => "keras",
            Self::Npz => "npz",
            Self::Jar => "jar",
            Self::Other => "zip",
        }
    }

    /// The role of each member that has one, by name.
    pub(super) fn roles(&self, archive: &Archive) -> BTreeMap<String, Role> {
        let mut roles = BTreeMap::new();
        let folder = match self {
            Self::Torch(folder) | Self::Script(folder) => folder,
            Self::Exported => {
                for entry in archive.entries() {
                    let raw = ["/data/weights/", "/data/constants/"].iter().any(|part| entry.name.contains(part));
                    let last = entry.name.rsplit('/').next().unwrap_or_default();
                    if raw && (last.starts_with("weight_") || last.starts_with("tensor_")) {
                        roles.insert(entry.name.clone(), Role::Elements);
                    }
                }
                return roles;
            }
            _ => return roles,
        };
        let script = matches!(self, Self::Script(_));
        // TorchScript has several pickles, each with its storages in a folder of its name.
        let own = format!("{folder}/");
        let stems = archive.entries().iter().filter_map(|entry| {
            let stem = entry.name.strip_prefix(&own)?.strip_suffix(".pkl")?;
            (!stem.contains('/') && (script || stem == "data")).then(|| stem.to_owned())
        });
        for stem in stems.take(100) {
            let prefix = format!("{folder}/{stem}/");
            let mut sizes = BTreeMap::new();
            for entry in archive.entries() {
                if let Some(key) = entry.name.strip_prefix(&prefix).filter(|key| !key.is_empty()) {
                    sizes.insert(key.to_owned(), entry.size_bytes);
                    roles.insert(entry.name.clone(), Role::Elements);
                }
            }
            let mut storages = Storages::new(sizes);
            storages.partial = script && stem == "traced_inputs";
            let storages = Rc::new(storages);
            let role = if script { Role::Script(storages) } else { Role::Torch(storages) };
            roles.insert(format!("{folder}/{stem}.pkl"), role);
        }
        let code = format!("{folder}/code/");
        for entry in archive.entries().iter().filter(|entry| script && entry.name.starts_with(&code)) {
            if entry.name.ends_with(".py") {
                roles.insert(entry.name.clone(), Role::ScriptSource);
            } else if entry.name.ends_with(".debug_pkl") {
                roles.insert(entry.name.clone(), Role::Script(Rc::default()));
            }
        }
        roles
    }

    /// Judges the archive as a whole.
    pub(super) fn judge(&self, session: &mut Session<'_>, item: &Item, archive: &Archive) {
        match self {
            Self::Script(_) => {
                let detail = "carries a program that TorchScript compiles and runs when the model is called";
                session.add(item, Finding::of(rules::SCRIPT_PROGRAM, Verdict::Caution, detail));
            }
            Self::Torch(folder) => {
                let prefix = format!("{folder}/");
                let outside: Vec<&str> = archive
                    .entries()
                    .iter()
                    .map(|entry| entry.name.as_str())
                    .filter(|name| !name.starts_with(&prefix))
                    .collect();
                if let Some(name) = outside.first() {
                    let detail = format!(
                        "{} members lie outside the one folder of a torch archive, `{}` first",
                        outside.len(),
                        super::super::pickle::plain(name)
                    );
                    session.add(item, Finding::of(rules::ARCHIVE_HIDDEN, Verdict::Suspicious, detail));
                }
            }
            Self::Jar => {
                let detail = "carries classes for a Java machine";
                session.add(item, Finding::of(rules::NATIVE, Verdict::Caution, detail));
            }
            _ => {}
        }
    }
}
