//! Where bytes come from: a file, a slice, ranges over a network; and parts of them.
//!
//! A reader never sees a path, a socket or a lock: it is handed a [`Section`], a range of one file, and asks for ranges
//! of it. Whoever opens files (the file system, a hub, a test) implements [`ReadAt`] and [`Folder`].

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::error::FormatError;
use crate::tensor::Stored;

/// Random access to bytes that do not change while they are read.
pub trait ReadAt: Send + Sync {
    /// Length in bytes.
    fn len(&self) -> u64;

    /// Whether there are no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `buffer` with the bytes at `offset`.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] when the source ends first; whatever the source answers else.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

impl ReadAt for Vec<u8> {
    fn len(&self) -> u64 {
        self.as_slice().len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let begin = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = begin.checked_add(buffer.len()).and_then(|end| self.get(begin..end));
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// A range of one file: what a reader is handed. Cheap to clone.
#[derive(Clone)]
pub struct Section {
    source: Arc<dyn ReadAt>,
    file: Arc<str>,
    begin: u64,
    len: u64,
}

impl Section {
    /// A whole file. `file` is its path below the checkpoint's folder, with `/` between the parts.
    pub fn new(file: impl Into<Arc<str>>, source: Arc<dyn ReadAt>) -> Self {
        let len = source.len();
        Self { source, file: file.into(), begin: 0, len }
    }

    /// Bytes in memory under a name.
    pub fn of_bytes(file: impl Into<Arc<str>>, bytes: impl Into<Vec<u8>>) -> Self {
        Self::new(file, Arc::new(bytes.into()))
    }

    /// Path of the file below the checkpoint's folder.
    #[must_use]
    pub fn file(&self) -> &Arc<str> {
        &self.file
    }

    /// Offset of the section in its file.
    #[must_use]
    pub const fn begin(&self) -> u64 {
        self.begin
    }

    /// Length in bytes.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The part of `len` bytes at `offset`; `what` names it in the error.
    ///
    /// # Errors
    /// [`FormatError::Truncated`] when the section ends first.
    pub fn slice(&self, what: &'static str, offset: u64, len: u64) -> Result<Self, FormatError> {
        self.check(what, offset, len)?;
        Ok(Self { begin: self.begin + offset, len, ..self.clone() })
    }

    /// Reads `len` bytes at `offset`; nothing is allocated for bytes that are not there.
    ///
    /// # Errors
    /// [`FormatError::Truncated`] when the section ends first, [`FormatError::Io`] when the source fails.
    pub fn read(&self, what: &'static str, offset: u64, len: u64) -> Result<Vec<u8>, FormatError> {
        self.check(what, offset, len)?;
        let mut buffer = vec![0; usize::try_from(len).map_err(|_| self.truncated(what, offset, len))?];
        self.read_into(what, offset, &mut buffer)?;
        Ok(buffer)
    }

    /// Fills `buffer` with the bytes at `offset`.
    ///
    /// # Errors
    /// As [`Section::read`].
    pub fn read_into(&self, what: &'static str, offset: u64, buffer: &mut [u8]) -> Result<(), FormatError> {
        self.check(what, offset, buffer.len() as u64)?;
        self.source.read_at(self.begin + offset, buffer).map_err(|source| FormatError::Io { what, source })
    }

    /// The first bytes: `len`, or fewer if the section is shorter.
    ///
    /// # Errors
    /// [`FormatError::Io`] when the source fails.
    pub fn head(&self, what: &'static str, len: u64) -> Result<Vec<u8>, FormatError> {
        self.read(what, 0, len.min(self.len))
    }

    /// The last bytes: `len`, or fewer if the section is shorter.
    ///
    /// # Errors
    /// [`FormatError::Io`] when the source fails.
    pub fn tail(&self, what: &'static str, len: u64) -> Result<Vec<u8>, FormatError> {
        let len = len.min(self.len);
        self.read(what, self.len - len, len)
    }

    /// The place in the file of `len` bytes at `offset`.
    ///
    /// # Errors
    /// [`FormatError::Truncated`] when the section ends first.
    pub fn stored(&self, what: &'static str, offset: u64, len: u64) -> Result<Stored, FormatError> {
        self.check(what, offset, len)?;
        let begin = self.begin + offset;
        Ok(Stored::File { file: Arc::clone(&self.file), begin, end: begin + len })
    }

    fn check(&self, what: &'static str, offset: u64, len: u64) -> Result<(), FormatError> {
        match offset.checked_add(len) {
            Some(end) if end <= self.len => Ok(()),
            _ => Err(self.truncated(what, offset, len)),
        }
    }

    fn truncated(&self, what: &'static str, offset: u64, len: u64) -> FormatError {
        FormatError::Truncated { what, needed: len, got: self.len.saturating_sub(offset) }
    }
}

impl fmt::Debug for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}..{}]", self.file, self.begin, self.begin + self.len)
    }
}

/// A file of a [`Folder`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FolderFile {
    /// Path below the folder, with `/` between the parts.
    pub path: Arc<str>,
    /// Length in bytes.
    pub size_bytes: u64,
}

/// The files that make up a checkpoint, or may.
pub trait Folder: Send + Sync {
    /// All files at any depth, sorted by path.
    fn files(&self) -> &[FolderFile];

    /// Opens the file with exactly this path.
    ///
    /// # Errors
    /// [`FormatError::NoFile`] when [`Folder::files`] does not list it, [`FormatError::Io`] when it cannot be opened.
    fn open(&self, path: &str) -> Result<Section, FormatError>;

    /// The files whose paths begin with `prefix`; costs little however many others there are.
    fn under(&self, prefix: &str) -> &[FolderFile] {
        let files = self.files();
        let (_, from) = files.split_at(files.partition_point(|file| *file.path < *prefix));
        from.split_at(from.partition_point(|file| file.path.starts_with(prefix))).0
    }

    /// Whether there is a file with exactly this path.
    fn has(&self, path: &str) -> bool {
        self.files().binary_search_by(|file| (*file.path).cmp(path)).is_ok()
    }
}

/// A folder in memory.
#[derive(Debug, Default)]
pub struct MemoryFolder {
    files: Vec<FolderFile>,
    sections: Vec<Section>,
}

impl MemoryFolder {
    /// A folder of these sections, each under the name of its file.
    #[must_use]
    pub fn new(mut sections: Vec<Section>) -> Self {
        sections.sort_by(|one, other| one.file.cmp(&other.file));
        let file = |section: &Section| FolderFile { path: Arc::clone(&section.file), size_bytes: section.len };
        Self { files: sections.iter().map(file).collect(), sections }
    }
}

impl Folder for MemoryFolder {
    fn files(&self) -> &[FolderFile] {
        &self.files
    }

    fn open(&self, path: &str) -> Result<Section, FormatError> {
        let found = self.files.binary_search_by(|file| (*file.path).cmp(path)).ok();
        let section = found.and_then(|at| self.sections.get(at)).cloned();
        section.ok_or_else(|| FormatError::NoFile { path: path.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_gives_only_its_own_bytes() {
        let whole = Section::of_bytes("a", (0..10).collect::<Vec<u8>>());
        let part = whole.slice("part", 2, 5).unwrap();
        assert_eq!(part.read("bytes", 1, 3).unwrap(), [3, 4, 5]);
        assert_eq!(part.head("bytes", 99).unwrap(), [2, 3, 4, 5, 6]);
        assert_eq!(part.tail("bytes", 2).unwrap(), [5, 6]);
        assert!(matches!(part.read("bytes", 3, 3), Err(FormatError::Truncated { needed: 3, got: 2, .. })));
        assert!(matches!(part.read("bytes", u64::MAX, 2), Err(FormatError::Truncated { got: 0, .. })));
        assert!(part.slice("part", 4, u64::MAX).is_err());
    }

    #[test]
    fn a_folder_opens_what_it_lists() {
        let folder = MemoryFolder::new(vec![Section::of_bytes("b", [1]), Section::of_bytes("a/c", [2, 3])]);
        assert_eq!(folder.files().iter().map(|file| &*file.path).collect::<Vec<_>>(), ["a/c", "b"]);
        assert_eq!(folder.under("a/").len(), 1);
        assert_eq!((folder.under("").len(), folder.under("b").len(), folder.under("c").len()), (2, 1, 0));
        assert_eq!(folder.open("a/c").unwrap().len(), 2);
        assert!(matches!(folder.open("a"), Err(FormatError::NoFile { .. })));
    }
}
