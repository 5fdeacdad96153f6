//! What was freed in a folder, and where identical bytes are: `.weighthouse-adopted.json`.
//!
//! Whoever edits it can make [`super::restore`] fail, and nothing else: paths and links that lead out of the folder are
//! refused, and bytes that do not have the digest are not put in place.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::content;
use super::layout::Layout;
use crate::{Error, Sha256, atomic};

/// Name of the file.
pub const NAME: &str = ".weighthouse-adopted.json";
/// Its schema.
const SCHEMA: &str = "weighthouse.adopted/1";
/// Longest record that is read, in bytes.
const MAX_BYTES: u64 = 256 << 20;

/// All that was freed in one folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    schema: String,
    /// What to type to have it back.
    pub restore: String,
    /// The models.
    pub models: Vec<Freed>,
}

/// A model that was freed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freed {
    /// Repository that has it: `NAMESPACE/NAME`, with `datasets/` in front for a dataset.
    pub repo: String,
    /// Where that is.
    pub hub: Whereabouts,
    /// How it lay.
    pub layout: Layout,
    /// When, in milliseconds since 1970.
    pub freed_at_ms: i64,
    /// What to type to have its files in an ordinary folder.
    pub pull: String,
    /// Files.
    pub files: Vec<FreedFile>,
    /// Symbolic links.
    pub links: Vec<FreedLink>,
}

/// Which hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Whereabouts {
    /// The embedded one of a data folder.
    Data(String),
    /// One at an address.
    Endpoint(String),
}

/// A file that was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreedFile {
    /// Path below the folder.
    pub path: String,
    /// Path in the repository.
    pub stored: String,
    /// Commit that has it.
    pub commit: String,
    /// Digest of its bytes, in hexadecimal.
    pub sha256: String,
    /// Length in bytes.
    pub size_bytes: u64,
    /// Permission bits.
    pub mode: u32,
    /// Time of the last write, in nanoseconds since 1970.
    pub modified_ns: i64,
}

/// A symbolic link that was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreedLink {
    /// Path below the folder.
    pub path: String,
    /// Target as it was written: relative, and inside the folder.
    pub target: String,
}

impl Record {
    /// Reads the record of a folder; an empty one when there is none.
    ///
    /// # Errors
    /// [`Error::Malformed`] when it is there and makes no sense, [`Error::Local`] when it cannot be read.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let place = folder.join(NAME);
        let facts = match fs::symlink_metadata(&place) {
            Ok(facts) => facts,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self { schema: SCHEMA.to_owned(), restore: String::new(), models: Vec::new() });
            }
            Err(error) => return Err(Error::local("reading", &place, error)),
        };
        let damaged = |why: &str| Error::Malformed(format!("`{}` {why}", place.display()));
        if !facts.is_file() || facts.len() > MAX_BYTES {
            return Err(damaged("is no record of what was freed"));
        }
        let text = fs::read(&place).map_err(|error| Error::local("reading", &place, error))?;
        let record: Self = serde_json::from_slice(&text).map_err(|error| damaged(&format!("is damaged: {error}")))?;
        if record.schema != SCHEMA {
            return Err(damaged("was written by another version"));
        }
        record.models.iter().try_for_each(|model| model.check(folder))?;
        Ok(record)
    }

    /// Adds a model; what the record has of the same paths is replaced.
    pub fn add(&mut self, freed: Freed) {
        let paths: BTreeSet<String> = freed.files.iter().map(|file| file.path.clone()).collect();
        let links: BTreeSet<String> = freed.links.iter().map(|link| link.path.clone()).collect();
        for model in &mut self.models {
            model.files.retain(|file| !paths.contains(&file.path));
            model.links.retain(|link| !links.contains(&link.path));
        }
        self.models.push(freed);
        self.models.retain(|model| !model.files.is_empty() || !model.links.is_empty());
    }

    /// Writes it durably; an empty one goes away.
    ///
    /// # Errors
    /// [`Error::Local`].
    pub fn write(&self, folder: &Path) -> Result<(), Error> {
        let place = folder.join(NAME);
        let failed = |error| Error::local("writing", &place, error);
        if self.models.is_empty() {
            return match fs::remove_file(&place) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(error)),
                _ => Ok(()),
            };
        }
        let text = serde_json::to_vec_pretty(self).map_err(|error| Error::Malformed(error.to_string()))?;
        atomic::write(&place, &text).map_err(failed)
    }
}

impl Whereabouts {
    /// What to type to have back what was freed in a folder.
    #[must_use]
    pub fn command(&self, folder: &Path) -> String {
        let (flag, value) = match self {
            Self::Data(data) => ("--data", data),
            Self::Endpoint(endpoint) => ("--endpoint", endpoint),
        };
        format!("wh pull --adopted {} {flag} {}", quoted(&folder.display().to_string()), quoted(value))
    }
}

impl Freed {
    /// Refuses paths and links that lead out of the folder.
    fn check(&self, folder: &Path) -> Result<(), Error> {
        let out = |path: &str| {
            let shown = crate::names::shorten(path);
            Err(Error::Malformed(format!("`{}` names `{shown}`, which it cannot", folder.join(NAME).display())))
        };
        for file in &self.files {
            if !is_below(&file.path) || file.sha256.parse::<Sha256>().is_err() {
                return out(&file.path);
            }
        }
        for link in &self.links {
            let place = folder.join(&link.path);
            let leads = place.parent().and_then(|parent| content::resolve(parent, Path::new(&link.target)));
            if !is_below(&link.path) || !leads.is_some_and(|target| target != *folder && target.starts_with(folder)) {
                return out(&link.path);
            }
        }
        Ok(())
    }
}

/// Whether a path stays below the folder it is joined to.
fn is_below(path: &str) -> bool {
    !path.is_empty() && !path.contains(['\0', '\\']) && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// A word of a command line, quoted if a shell would take it apart.
#[must_use]
pub fn quoted(text: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || "/._-+:@%=,".contains(character);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}
