//! The rules for names: repositories, accounts, refs and file paths.

use crate::{Error, RepoKind};

/// Longest file path, in bytes.
pub const MAX_PATH_BYTES: usize = 1_024;
/// Longest name between two slashes, in bytes; what common file systems take.
pub const MAX_NAME_BYTES: usize = 255;

/// Longest segment of a repository id, in bytes.
pub const MAX_SEGMENT_BYTES: usize = 96;

/// First segments of addresses that the hub's own pages and interfaces use: neither a namespace nor an id of one
/// segment can be called so.
pub const RESERVED_NAMESPACES: &[&str] = &[
    ".well-known",
    "api",
    "architecture",
    "assets",
    "buckets",
    "collections",
    "compare",
    "convert",
    "converted",
    "datasets",
    "docs",
    "favicon.ico",
    "health",
    "healthz",
    "join",
    "kernels",
    "login",
    "logout",
    "metrics",
    "models",
    "new",
    "npy",
    "oauth",
    "organizations",
    "papers",
    "readyz",
    "resolve",
    "robots.txt",
    "search",
    "settings",
    "spaces",
    "tasks",
    "tensors",
    "uploads",
    "v1",
    "v2",
    "xet",
];

/// Words that follow an id in addresses: when the segment after the first is one of these, the first is the whole id.
/// No repository can be called so.
pub const RESERVED_NAMES: &[&str] = &[
    "auth-check",
    "blame",
    "blob",
    "branch",
    "commit",
    "commits",
    "compare",
    "discussions",
    "duplicate",
    "lfs-files",
    "like",
    "likers",
    "likes",
    "notebook",
    "paths-info",
    "preupload",
    "raw",
    "refs",
    "resolve",
    "revision",
    "safetensors-metadata",
    "settings",
    "super-squash",
    "tag",
    "tree",
    "treesize",
    "user-access-request",
    "xet-read-token",
    "xet-write-token",
];

/// Device names that Windows keeps for itself, with any extension.
const DEVICE_NAMES: &[&str] = &[
    "con", "prn", "aux", "nul", "com1", "com2", "com3", "com4", "com5", "com6", "com7", "com8", "com9", "lpt1", "lpt2",
    "lpt3", "lpt4", "lpt5", "lpt6", "lpt7", "lpt8", "lpt9",
];

/// Kind and id of a repository by the name that people write: `NAMESPACE/NAME`, or `datasets/NAMESPACE/NAME`.
#[must_use]
pub fn kind_and_id(name: &str) -> (RepoKind, &str) {
    match name.strip_prefix("datasets/") {
        Some(id) => (RepoKind::Dataset, id),
        None => (RepoKind::Model, name),
    }
}

/// What [`kind_and_id`] reads: the name that people write.
#[must_use]
pub fn written(kind: RepoKind, id: &str) -> String {
    match kind {
        RepoKind::Model => id.to_owned(),
        kind => format!("{kind}s/{id}"),
    }
}

/// Checks `namespace/name`, or a legacy id of one segment.
pub fn check_repo_id(id: &str) -> Result<(), Error> {
    let segments: Vec<&str> = id.split('/').collect();
    if segments.len() > 2 {
        return Err(Error::Malformed(format!("repository id `{}` has more than two segments", shorten(id))));
    }
    segments.into_iter().try_for_each(check_segment)
}

/// Checks the id of a repository that is about to be created or renamed: its shape, and that no address hides it.
pub fn check_new_repo_id(id: &str) -> Result<(), Error> {
    check_repo_id(id)?;
    let (first, name) = id.split_once('/').map_or((id, None), |(namespace, name)| (namespace, Some(name)));
    if is_among(RESERVED_NAMESPACES, first) || name.is_some_and(|name| is_among(RESERVED_NAMES, name)) {
        return Err(Error::Malformed(format!("repository id `{id}` means something else in the hub's addresses")));
    }
    Ok(())
}

fn is_among(words: &[&str], name: &str) -> bool {
    words.iter().any(|word| word.eq_ignore_ascii_case(name))
}

/// Checks one segment of a repository id.
///
/// 1 to [`MAX_SEGMENT_BYTES`] letters, digits, `_`, `.` and `-`; begins and ends with a letter, digit or `_`; no `--`,
/// no `..`, and `.git` does not end it, in any case.
pub fn check_segment(segment: &str) -> Result<(), Error> {
    let wrong = |reason: &str| Err(Error::Malformed(format!("name `{}` is refused: {reason}", shorten(segment))));
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    match () {
        () if segment.is_empty() || segment.len() > MAX_SEGMENT_BYTES => wrong("it must have 1 to 96 characters"),
        () if !segment.chars().all(|c| word(c) || matches!(c, '-' | '.')) => {
            wrong("only letters, digits, `_`, `.` and `-` are allowed")
        }
        () if !segment.starts_with(word) || !segment.ends_with(word) => {
            wrong("it must begin and end with a letter, a digit or `_`")
        }
        () if segment.contains("--") || segment.contains("..") => wrong("`--` and `..` are not allowed"),
        () if segment.to_ascii_lowercase().ends_with(".git") => wrong("it may not end with `.git`"),
        () => Ok(()),
    }
}

/// Checks the name of a user or an organisation.
pub fn check_account(name: &str) -> Result<(), Error> {
    check_segment(name)?;
    if is_among(RESERVED_NAMESPACES, name) {
        return Err(Error::Malformed(format!("name `{name}` is reserved for the hub's own pages")));
    }
    Ok(())
}

/// Checks a branch or tag name by git's rules (git-check-ref-format).
pub fn check_ref_name(name: &str) -> Result<(), Error> {
    let bad_char =
        |c: char| c.is_control() || c.is_whitespace() || matches!(c, '~' | '^' | ':' | '?' | '*' | '[' | '\\');
    let bad_part = |part: &str| part.is_empty() || part.starts_with('.') || part.ends_with(".lock");
    let bad = name.is_empty()
        || name.len() > MAX_NAME_BYTES
        || name == "@"
        || name.starts_with('-')
        || name.ends_with('.')
        || name.contains("..")
        || name.contains("@{")
        || name.contains(bad_char)
        || name.split('/').any(bad_part);
    if bad {
        return Err(Error::Malformed(format!("`{}` is not a name that git allows", shorten(name))));
    }
    Ok(())
}

/// Checks a file path of a commit.
///
/// Relative, UTF-8, at most [`MAX_PATH_BYTES`]; no empty, `.` or `..` segments, no backslash, no control characters,
/// nothing below `.git` or the clients' own `.cache/huggingface`, no device names of Windows.
pub fn check_path(path: &str) -> Result<(), Error> {
    let refuse = |reason: &str| Err(Error::IllegalPath { path: shorten(path), reason: reason.to_owned() });
    if path.is_empty() {
        return refuse("it is empty");
    }
    if path.len() > MAX_PATH_BYTES {
        return refuse("it is longer than 1,024 bytes");
    }
    if path.starts_with('/') {
        return refuse("it is absolute");
    }
    if path.contains('\\') {
        return refuse("it contains a backslash");
    }
    if path.chars().any(char::is_control) {
        return refuse("it contains a control character");
    }
    if path == ".cache/huggingface" || path.starts_with(".cache/huggingface/") {
        return refuse("`.cache/huggingface` is where clients keep their own notes");
    }
    for name in path.split('/') {
        let folded = name.to_lowercase();
        let stem = folded.split('.').next().unwrap_or("").trim_end();
        match folded.as_str() {
            "" => return refuse("it has an empty segment"),
            "." | ".." => return refuse("`.` and `..` are not allowed"),
            ".git" | "git~1" => return refuse("`.git` is reserved"),
            _ if name.len() > MAX_NAME_BYTES => return refuse("a segment is longer than 255 bytes"),
            _ if name.ends_with(['.', ' ']) => return refuse("a segment ends with a dot or a space"),
            _ if DEVICE_NAMES.contains(&stem) => return refuse("a segment is a device name on Windows"),
            _ => {}
        }
    }
    Ok(())
}

/// A name fit for a message: at most 80 characters.
pub(crate) fn shorten(text: &str) -> String {
    let shown: String = text.chars().take(80).flat_map(char::escape_default).collect();
    if text.chars().nth(80).is_some() { format!("{shown}…") } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn repository_ids_follow_the_clients_rules() {
        let longest = format!("a/{}", "b".repeat(96));
        for id in ["gpt2", "ada/bert-base_uncased.v1", "__DUMMY_USER__/a", "A.b-c_d/9", "a/x.gitx", &longest] {
            check_repo_id(id).unwrap();
        }
        let long = "a".repeat(97);
        for id in [
            "", "a/", "/a", "a/b/c", "a/b--c", "a/..", "a/b..c", "a/x.git", "a/x.GIT", "-a", "a/-b", "a.", "a/b.",
            "a b", "a/b c", "ä", "a/é", "a\nb", "a/\0", &long,
        ] {
            assert!(check_repo_id(id).is_err(), "{id}");
        }
    }

    #[test]
    fn new_names_stay_reachable() {
        for id in ["API/x", "metrics", "robots.txt/x", "team/tree", "team/Resolve", "team/xet-read-token"] {
            assert!(check_new_repo_id(id).is_err(), "{id}");
            check_repo_id(id).unwrap();
        }
        for id in ["team/api", "tree/x", "gpt2", "team/metrics"] {
            check_new_repo_id(id).unwrap();
        }
        for name in ["API", "xet", "favicon.ico", "a/b"] {
            assert!(check_account(name).is_err(), "{name}");
        }
    }

    #[test]
    fn illegal_paths_are_refused() {
        let long = "a/".repeat(600) + "b";
        let name = "n".repeat(256);
        let bad = [
            "",
            "/etc/passwd",
            "../x",
            "a/../b",
            "a//b",
            "a/./b",
            "..\\ddd",
            "a\0b",
            "a\nb",
            ".git/config",
            "x/.GIT/y",
            "git~1/x",
            "nul",
            "CON.txt",
            "a/aux.c",
            "trailing.",
            "space ",
            ".cache/huggingface/x",
            &long,
            &name,
        ];
        for path in bad {
            assert!(matches!(check_path(path), Err(Error::IllegalPath { .. })), "{path}");
        }
        for path in ["a", ".gitattributes", "a/b c/d.txt", "模型/权重.safetensors", "console.log", ".github/x", "...a"]
        {
            check_path(path).unwrap();
        }
    }

    #[test]
    fn ref_names_are_those_git_allows() {
        for name in ["main", "feat/x", "v1.0", "refs/x", "ünïcode"] {
            check_ref_name(name).unwrap();
        }
        for name in
            ["", "a b", "a..b", "~a", "a^", "a:b", "a?", "a*", "a[", "a\\b", ".a", "a/.b", "a.lock", "a/", "/a", "@"]
        {
            assert!(check_ref_name(name).is_err(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_accepted_path_leaves_its_folder(path in "[a./\\\\ ~gitG-]{0,12}") {
            if check_path(&path).is_ok() {
                prop_assert!(path.split('/').all(|s| !s.is_empty() && s != "." && s != ".."));
                prop_assert!(!path.contains('\\'));
            }
        }
    }
}
