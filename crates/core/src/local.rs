//! Checkpoints on this machine's disk: a file, or a folder with everything below it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use weighthouse_format::source::{FolderFile, ReadAt};
use weighthouse_format::{Folder, FormatError, Section};

use crate::Error;

/// Folders that hold no part of a checkpoint.
const SKIPPED: &[&str] = &[".git", ".cache", "__pycache__", ".ipynb_checkpoints"];
/// Most files that are listed.
const MAX_FILES: usize = 1 << 18;
/// Deepest folder that is listed; links may lead in a circle.
const MAX_DEPTH: usize = 32;

/// A folder of this machine. Links to files are followed, as the cache of the Hugging Face clients needs it; links to
/// folders are not.
#[derive(Debug)]
pub struct LocalFolder {
    root: PathBuf,
    files: Vec<FolderFile>,
    /// The file that was opened last: a checkpoint of a million tensors opens one as often.
    last: Mutex<Option<Section>>,
}

impl LocalFolder {
    /// Lists a folder with everything below it.
    ///
    /// # Errors
    /// When it cannot be listed, or has more than 262,144 files.
    pub fn open(root: &Path) -> Result<Self, Error> {
        let mut files = Vec::new();
        let mut pending = vec![(root.to_owned(), String::new(), 0)];
        while let Some((folder, prefix, depth)) = pending.pop() {
            for entry in std::fs::read_dir(&folder).map_err(|error| unreadable(&folder, &error))? {
                let entry = entry.map_err(|error| unreadable(&folder, &error))?;
                // A name that is not UTF-8 can be no part of a checkpoint that any hub takes.
                let Ok(name) = entry.file_name().into_string() else { continue };
                let path = format!("{prefix}{name}");
                let Ok(kind) = entry.file_type() else { continue };
                if kind.is_dir() {
                    let skipped = SKIPPED.contains(&name.as_str()) || name.ends_with(crate::convert::PARTIAL);
                    if !skipped && depth < MAX_DEPTH {
                        pending.push((entry.path(), format!("{path}/"), depth + 1));
                    }
                } else if let Ok(data) = std::fs::metadata(entry.path())
                    && data.is_file()
                {
                    files.push(FolderFile { path: path.into(), size_bytes: data.len() });
                }
            }
            if files.len() > MAX_FILES {
                let text = format!("`{}` has more than {MAX_FILES} files", root.display());
                return Err(Error::Malformed(text));
            }
        }
        files.sort();
        Ok(Self { root: root.to_owned(), files, last: Mutex::default() })
    }

    /// One file and those beside it, which it may name. Returns the folder and the name of the file in it.
    ///
    /// # Errors
    /// When the file does not exist or cannot be seen.
    pub fn of_file(path: &Path) -> Result<(Self, String), Error> {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| Error::Malformed(format!("`{}` is no name of a file", path.display())))?;
        let root = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let data = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
        let mut files = vec![FolderFile { path: name.into(), size_bytes: data.len() }];
        let beside = std::fs::read_dir(&root).into_iter().flatten().flatten().take(MAX_FILES);
        files.extend(beside.filter_map(|entry| {
            let found = entry.file_name().into_string().ok().filter(|found| found != name)?;
            let data = std::fs::metadata(entry.path()).ok().filter(std::fs::Metadata::is_file)?;
            Some(FolderFile { path: found.into(), size_bytes: data.len() })
        }));
        files.sort();
        Ok((Self { root, files, last: Mutex::default() }, name.to_owned()))
    }
}

impl LocalFolder {
    /// One file by itself: what lies beside it is not listed, however much it is.
    ///
    /// # Errors
    /// As [`LocalFolder::of_file`].
    pub fn alone(path: &Path) -> Result<(Self, String), Error> {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| Error::Malformed(format!("`{}` is no name of a file", path.display())))?;
        let root = path.parent().unwrap_or(Path::new("")).to_owned();
        let data = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
        let files = vec![FolderFile { path: name.into(), size_bytes: data.len() }];
        Ok((Self { root, files, last: Mutex::default() }, name.to_owned()))
    }

    /// A text that is another one after the file has changed: its length, its time of change, its number.
    #[must_use]
    pub fn stamp(&self, path: &str) -> String {
        let Ok(data) = std::fs::metadata(self.root.join(path)) else { return "not there".to_owned() };
        #[cfg(unix)]
        let number = std::os::unix::fs::MetadataExt::ino(&data);
        #[cfg(not(unix))]
        let number = 0;
        format!("{} {:?} {number}", data.len(), data.modified().ok())
    }
}

impl Folder for LocalFolder {
    fn files(&self) -> &[FolderFile] {
        &self.files
    }

    fn open(&self, path: &str) -> Result<Section, FormatError> {
        if let Ok(last) = self.last.lock()
            && let Some(section) = last.as_ref().filter(|section| &**section.file() == path)
        {
            return Ok(section.clone());
        }
        if !self.has(path) {
            return Err(FormatError::NoFile { path: path.to_owned() });
        }
        let opened = LocalFile::open(&self.root.join(path));
        let file = opened.map_err(|source| FormatError::Io { what: "a file", source }.in_file(path))?;
        let section = Section::new(path, Arc::new(file));
        if let Ok(mut last) = self.last.lock() {
            *last = Some(section.clone());
        }
        Ok(section)
    }
}

/// An open file. Its length is that of the moment it was opened; a file that shrinks gives an error, not other bytes.
struct LocalFile {
    file: File,
    len: u64,
}

impl LocalFile {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        Ok(Self { file, len })
    }
}

impl ReadAt for LocalFile {
    fn len(&self) -> u64 {
        self.len
    }

    #[cfg(unix)]
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, buffer, offset)
    }

    #[cfg(windows)]
    fn read_at(&self, mut offset: u64, mut buffer: &mut [u8]) -> io::Result<()> {
        while !buffer.is_empty() {
            let read = std::os::windows::fs::FileExt::seek_read(&self.file, buffer, offset)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            buffer = buffer.get_mut(read..).unwrap_or_default();
            offset += read as u64;
        }
        Ok(())
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => Error::NotFound { what: "file or folder", name: path.display().to_string() },
        _ => Error::Malformed(format!("`{}` cannot be read: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_listed_without_what_is_no_part_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, bytes: &[u8]| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        };
        write("b", b"12");
        write("a/c", b"345");
        write(".git/objects/x", b"");
        #[cfg(unix)]
        std::os::unix::fs::symlink(folder.path(), folder.path().join("a/loop")).unwrap();
        let listed = LocalFolder::open(folder.path()).unwrap();
        assert_eq!(listed.files().iter().map(|file| &*file.path).collect::<Vec<_>>(), ["a/c", "b"]);
        assert_eq!(listed.open("a/c").unwrap().read("bytes", 1, 2).unwrap(), b"45");
        assert!(matches!(listed.open("../b"), Err(FormatError::NoFile { .. })));
        let (beside, name) = LocalFolder::of_file(&folder.path().join("b")).unwrap();
        assert_eq!((name.as_str(), beside.files().len()), ("b", 1));
        assert!(matches!(LocalFolder::open(&folder.path().join("no")), Err(Error::NotFound { .. })));
    }
}
