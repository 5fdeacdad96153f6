//! Which paths of a hub may be written here, and where they may lead.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use weighthouse::names;

use super::error::{ClientError, shown};

/// Folder of our own notes in a target folder.
pub(super) const NOTES: &str = ".cache/weighthouse";

/// Checks one path that a hub names.
///
/// On top of the hub's own rules (relative, no `..`, no backslash, no control characters, no device names): no drive
/// letters, no streams of Windows, and nothing where clients keep their notes, in any case.
pub(super) fn check(path: &str) -> Result<(), ClientError> {
    let refuse = |why: String| Err(ClientError::UnsafePath { path: shown(path), why });
    if let Err(error) = names::check_path(path) {
        let why = match error {
            weighthouse::Error::IllegalPath { reason, .. } => reason,
            error => error.to_string(),
        };
        return refuse(why);
    }
    if let [letter, b':', ..] = path.as_bytes()
        && letter.is_ascii_alphabetic()
    {
        return refuse("it begins with a drive letter".to_owned());
    }
    if cfg!(windows) && path.contains(['<', '>', ':', '"', '|', '?', '*']) {
        return refuse("it has characters that this system does not allow".to_owned());
    }
    let folded = path.to_lowercase();
    for reserved in [NOTES, ".cache/huggingface"] {
        if folded.strip_prefix(reserved).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
            return refuse(format!("`{reserved}` is where clients keep their own notes"));
        }
    }
    Ok(())
}

/// Checks all paths of one pull together: each alone, none twice, none that is a folder for another, and none that a
/// file system without case would take for another.
pub(super) fn check_all<'a>(paths: impl IntoIterator<Item = &'a str> + Clone) -> Result<(), ClientError> {
    let clash = |path: &str, other: &str| ClientError::UnsafePath {
        path: shown(path),
        why: format!("it cannot stand beside `{}` on every system; leave one of them out", shown(other)),
    };
    // Lower-case name of every file and folder, with its spelling and whether it is a file.
    let mut names: HashMap<String, (&str, bool)> = HashMap::new();
    for path in paths {
        check(path)?;
        let ends = path.match_indices('/').map(|(at, _)| (at, false)).chain([(path.len(), true)]);
        for (end, is_file) in ends {
            let name = path.get(..end).unwrap_or(path);
            match names.insert(name.to_lowercase(), (name, is_file)) {
                Some((other, was_file)) if other != name || was_file || is_file => return Err(clash(path, other)),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Makes the folders above a checked path below `root`, and gives its place.
///
/// Never passes through a symbolic link: whatever stands in the way is an error.
pub(super) fn place(root: &Path, path: &str) -> Result<PathBuf, ClientError> {
    check(path)?;
    let mut at = root.to_owned();
    let mut names = path.split('/').peekable();
    while let Some(name) = names.next() {
        at.push(name);
        if names.peek().is_some() {
            folder(&at)?;
        }
    }
    Ok(at)
}

/// Makes a folder unless it is one; a link to a folder is none.
pub(super) fn folder(at: &Path) -> Result<(), ClientError> {
    let in_the_way = || {
        let at = at.display().to_string();
        Err(ClientError::InTheWay(format!("`{}` is not a folder: move it away", shown(&at))))
    };
    match fs::symlink_metadata(at) {
        Ok(facts) if facts.is_dir() => return Ok(()),
        Ok(_) => return in_the_way(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(ClientError::local("looking at", at, error)),
    }
    match fs::create_dir(at) {
        Ok(()) => Ok(()),
        // Another task was faster; what it made is looked at again.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match fs::symlink_metadata(at) {
            Ok(facts) if facts.is_dir() => Ok(()),
            _ => in_the_way(),
        },
        Err(error) => Err(ClientError::local("making the folder", at, error)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_that_lead_out_are_refused() {
        for path in [
            "",
            "/etc/passwd",
            "../x",
            "a/../../b",
            "a/./b",
            "a//b",
            "..",
            "a\\..\\b",
            "C:x",
            "c:/x",
            "a\0b",
            "a\u{1b}[2J",
            "a\nb",
            ".git/hooks/post-checkout",
            "a/.GIT/x",
            "NUL",
            "com1.txt",
            "x.",
            "x ",
            ".cache/weighthouse/pulled.json",
            ".Cache/WeightHouse",
            ".CACHE/WEIGHTHOUSE/x",
            ".cache/Huggingface/x",
        ] {
            assert!(matches!(check(path), Err(ClientError::UnsafePath { .. })), "{path}");
        }
        for path in ["a", "模型/权重.bin", ".gitattributes", "a b/c", ".cache/weighthouses/x", "...a"] {
            check(path).unwrap();
        }
    }

    #[test]
    fn names_that_clash_are_refused() {
        for clash in [
            &["a", "A"][..],
            &["a", "a"],
            &["dir/x", "Dir/y"],
            &["a", "a/b"],
            &["a/b", "a"],
            &["A", "a/b"],
            &["ÄB", "äb"],
        ] {
            assert!(check_all(clash.iter().copied()).is_err(), "{clash:?}");
        }
        check_all(["a/b", "a/c", "a/d/e", "b"]).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn links_in_the_target_are_never_followed() {
        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(outside.path(), root.path().join("link")).unwrap();
        assert!(matches!(place(root.path(), "link/x"), Err(ClientError::InTheWay(_))));
        assert!(matches!(place(root.path(), "link/deep/x"), Err(ClientError::InTheWay(_))));
        assert_eq!(place(root.path(), "a/b/c").unwrap(), root.path().join("a/b/c"));
        fs::write(root.path().join("file"), b"").unwrap();
        assert!(matches!(place(root.path(), "file/x"), Err(ClientError::InTheWay(_))));
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    proptest! {
        #[test]
        fn a_placed_path_stays_below_its_root(path in "[a./\\\\ :~gitGC\u{0}-]{0,12}") {
            let root = tempfile::tempdir().unwrap();
            if let Ok(place) = place(root.path(), &path) {
                prop_assert!(place.starts_with(root.path()));
                prop_assert!(place.components().all(|part| part != std::path::Component::ParentDir));
                let up = place.parent().unwrap().canonicalize().unwrap();
                prop_assert!(up.starts_with(root.path().canonicalize().unwrap()));
            }
        }
    }
}
