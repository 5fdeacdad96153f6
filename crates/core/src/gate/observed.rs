//! Whether a scan looked at more than its file.

use std::sync::atomic::{AtomicBool, Ordering};

use weighthouse_format::source::FolderFile;
use weighthouse_format::{Folder, FormatError, Section};

/// A folder in which one file is judged, and which notes whether anything beside that file was asked for.
pub(super) struct Observed<'a> {
    folder: &'a dyn Folder,
    path: &'a str,
    asked: AtomicBool,
}

impl<'a> Observed<'a> {
    pub fn new(folder: &'a dyn Folder, path: &'a str) -> Self {
        Self { folder, path, asked: AtomicBool::new(false) }
    }

    /// Whether other files, or their names, may have mattered.
    pub fn looked_around(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Folder for Observed<'_> {
    fn files(&self) -> &[FolderFile] {
        self.asked.store(true, Ordering::Relaxed);
        self.folder.files()
    }

    fn open(&self, path: &str) -> Result<Section, FormatError> {
        if path != self.path {
            self.asked.store(true, Ordering::Relaxed);
        }
        self.folder.open(path)
    }
}
