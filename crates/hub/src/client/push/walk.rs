//! What a folder contains that can be pushed.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use weighthouse::names;

use super::super::error::{ClientError, shown};
use super::super::filter::Filter;
use super::super::paths::NOTES;
use super::super::stamp::Stamp;

/// Entries that an error names one by one.
const NAMED: usize = 8;

/// A file to push.
#[derive(Clone, Debug)]
pub(super) struct LocalFile {
    /// Path in the repository.
    pub(super) path: String,
    /// Where it is.
    pub(super) place: PathBuf,
    /// What it looked like when it was found.
    pub(super) stamp: Stamp,
}

/// Lists the files below `root` that `filter` takes, by path.
///
/// Left out: `.git` and the notes of clients. Links to files are followed inside of `root`, and beyond it only with
/// `links_out`; links to folders are never followed.
///
/// # Errors
/// [`ClientError::Input`] with all that `filter` takes and no hub would: names that are not UTF-8 or break a rule,
/// links that lead out or nowhere, sockets and devices.
pub(super) fn walk(root: &Path, filter: &Filter, links_out: bool) -> Result<Vec<LocalFile>, ClientError> {
    let real_root = root.canonicalize().map_err(|error| ClientError::local("reading the folder", root, error))?;
    if !real_root.is_dir() {
        return Err(ClientError::Input(format!("`{}` is not a folder", shown(&root.display().to_string()))));
    }
    let mut walk = Walk { real_root, filter, links_out, files: Vec::new(), problems: Vec::new() };
    let mut folders = vec![(walk.real_root.clone(), String::new())];
    while let Some((place, prefix)) = folders.pop() {
        let failed = |error| ClientError::local("reading the folder", &place, error);
        for entry in fs::read_dir(&place).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if let Some(folder) = walk.entry(&entry, &prefix)? {
                folders.push(folder);
            }
        }
    }
    walk.finish()
}

/// One file under the path that it gets in the repository. It must be a file itself, and no link.
pub(super) fn one(path: String, place: PathBuf) -> Result<LocalFile, ClientError> {
    names::check_path(&path).map_err(|error| ClientError::Input(error.to_string()))?;
    let facts = fs::symlink_metadata(&place).map_err(|error| ClientError::local("looking at", &place, error))?;
    if !facts.is_file() {
        return Err(ClientError::Input(format!("`{}` is no file", shown(&place.display().to_string()))));
    }
    Ok(LocalFile { path, place, stamp: Stamp::of(&facts) })
}

struct Walk<'a> {
    real_root: PathBuf,
    filter: &'a Filter,
    links_out: bool,
    files: Vec<LocalFile>,
    problems: Vec<String>,
}

impl Walk<'_> {
    /// Takes in an entry; gives a folder to go into.
    fn entry(&mut self, entry: &fs::DirEntry, prefix: &str) -> Result<Option<(PathBuf, String)>, ClientError> {
        let place = entry.path();
        let failed = |error| ClientError::local("looking at", &place, error);
        let kind = entry.file_type().map_err(failed)?;
        let (name, is_text) = text(entry.file_name());
        let path = format!("{prefix}{name}");
        if name == ".git" || matches!(path.as_str(), ".cache/huggingface" | NOTES) {
            return Ok(None);
        }
        if kind.is_dir() && is_text {
            return Ok(Some((place, format!("{path}/"))));
        }
        if !self.filter.takes(&path) {
            return Ok(None);
        }
        if !is_text {
            self.problem(&path, "its name is not UTF-8");
            return Ok(None);
        }
        if let Err(error) = names::check_path(&path) {
            self.problems.push(error.to_string());
            return Ok(None);
        }
        if kind.is_symlink() {
            let Ok(target) = place.canonicalize() else {
                self.problem(&path, "it is a link that leads nowhere");
                return Ok(None);
            };
            if !self.links_out && !target.starts_with(&self.real_root) {
                self.problem(&path, "it is a link that leads out of the folder");
                return Ok(None);
            }
        }
        let facts = fs::metadata(&place).map_err(failed)?;
        if facts.is_file() {
            self.files.push(LocalFile { path, place, stamp: Stamp::of(&facts) });
        } else if facts.is_dir() {
            self.problem(&path, "it is a link to a folder");
        } else {
            self.problem(&path, "it is neither a file nor a folder");
        }
        Ok(None)
    }

    fn problem(&mut self, path: &str, why: &str) {
        self.problems.push(format!("`{}`: {why}", shown(path)));
    }

    fn finish(mut self) -> Result<Vec<LocalFile>, ClientError> {
        if self.problems.is_empty() {
            self.files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
            return Ok(self.files);
        }
        self.problems.sort_unstable();
        let count = self.problems.len();
        let mut list = self.problems.into_iter().take(NAMED).collect::<Vec<_>>().join("\n  ");
        if count > NAMED {
            list.push_str(&format!("\n  … and {} more", count - NAMED));
        }
        Err(ClientError::Input(format!("{count} entries of the folder cannot be pushed:\n  {list}")))
    }
}

fn text(name: OsString) -> (String, bool) {
    match name.into_string() {
        Ok(name) => (name, true),
        Err(name) => (name.to_string_lossy().into_owned(), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(root: &Path, path: &str) {
        let place = root.join(path);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(place, path).unwrap();
    }

    fn paths(root: &Path, filter: &Filter) -> Vec<String> {
        walk(root, filter, false).unwrap().into_iter().map(|file| file.path).collect()
    }

    #[test]
    fn notes_and_git_are_left_out() {
        let root = tempfile::tempdir().unwrap();
        for path in [
            "b",
            "a/c",
            ".gitattributes",
            ".git/config",
            "sub/.git/x",
            ".cache/huggingface/x",
            ".cache/weighthouse/y",
            ".cache/z",
        ] {
            put(root.path(), path);
        }
        assert_eq!(paths(root.path(), &Filter::default()), [".cache/z", ".gitattributes", "a/c", "b"]);
        assert_eq!(paths(root.path(), &Filter::new(&["a/"], &[]).unwrap()), ["a/c"]);
    }

    #[cfg(unix)]
    #[test]
    fn what_no_hub_takes_is_named_unless_it_is_left_out() {
        use std::os::unix::ffi::OsStringExt;
        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        put(root.path(), "good");
        put(outside.path(), "secret");
        std::os::unix::fs::symlink("good", root.path().join("inside")).unwrap();
        assert_eq!(paths(root.path(), &Filter::default()), ["good", "inside"]);

        std::os::unix::fs::symlink(outside.path().join("secret"), root.path().join("out")).unwrap();
        std::os::unix::fs::symlink("nothing", root.path().join("dangling")).unwrap();
        fs::write(root.path().join(OsString::from_vec(b"bad\xff".to_vec())), b"").unwrap();
        put(root.path(), "back\\slash");
        let error = walk(root.path(), &Filter::default(), false).unwrap_err().to_string();
        for part in ["4 entries", "`out`: it is a link that leads out", "leads nowhere", "not UTF-8", "backslash"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        let filter = Filter::new(&[], &["out", "dangling", "bad*", "back*"]).unwrap();
        assert_eq!(paths(root.path(), &filter), ["good", "inside"]);
        let only_out = Filter::new(&["out"], &[]).unwrap();
        assert_eq!(walk(root.path(), &only_out, true).unwrap().len(), 1);
    }
}
