//! Where a checkpoint comes from: its files, and what is known of them beside their bytes.

use weighthouse_format::Folder;
use weighthouse_format::source::FolderFile;

use crate::{Error, Sha256};

/// A folder of files, or one of them.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// Its files.
    pub folder: &'a dyn Folder,
    /// The one file to read; `None` is the whole folder.
    pub file: Option<&'a str>,
    /// What is known of the files beside their bytes.
    pub facts: &'a dyn Facts,
}

/// What is known of files beside their bytes.
pub trait Facts: Sync {
    /// SHA-256 of a file, where it is known without reading it.
    fn digest(&self, _path: &str) -> Option<Sha256> {
        None
    }

    /// A text that is another one after the file has changed.
    fn stamp(&self, path: &str) -> String;
}

impl Source<'_> {
    /// Texts that are others after the files have changed.
    #[must_use]
    pub fn stamps(&self, files: &[FolderFile]) -> Vec<String> {
        files.iter().map(|file| self.facts.stamp(&file.path)).collect()
    }

    /// Refuses files that have changed since their stamps were taken.
    ///
    /// # Errors
    /// [`Error::SourceChanged`] for the first one.
    pub fn check(&self, files: &[FolderFile], stamps: &[String]) -> Result<(), Error> {
        let changed = files.iter().zip(stamps).find(|(file, stamp)| self.facts.stamp(&file.path) != **stamp);
        changed.map_or(Ok(()), |(file, _)| Err(Error::SourceChanged { file: file.path.to_string() }))
    }
}
