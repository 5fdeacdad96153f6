//! The rules for ids of repositories.

/// Words that follow an id: when the segment after the first is one of these, the first is the
/// whole id. No repository can be called so.
pub const RESERVED_VERBS: &[&str] = &[
    "architecture",
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
    "npy",
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
    "tensors",
    "tree",
    "treesize",
    "user-access-request",
    "xet-read-token",
    "xet-write-token",
];

/// First segments that are no namespace (nor a one-segment id). No user, organisation or
/// one-segment repository can be called so.
pub const RESERVED_NAMES: &[&str] = &[
    ".well-known",
    "api",
    "assets",
    "buckets",
    "collections",
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
    "uploads",
    "v2",
    "xet",
];

/// Longest segment of an id in bytes.
const MAX_SEGMENT: usize = 96;

/// Why a text is no id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidId {
    /// Nothing, or an empty side of the slash.
    #[error("a name must not be empty")]
    Empty,
    /// More than two segments.
    #[error("an id is `namespace/name`")]
    TooManySegments,
    /// A segment above 96 bytes.
    #[error("a name has at most 96 characters")]
    TooLong,
    /// A character outside of the allowed ones.
    #[error("a name may contain only letters, digits, `-`, `_` and `.`")]
    BadCharacter,
    /// Starts or ends with `-` or `.`
    #[error("a name must start and end with a letter, a digit or `_`")]
    BadEdge,
    /// `--` or `..` inside.
    #[error("a name must not contain `--` or `..`")]
    Doubled,
    /// Ends with `.git`.
    #[error("a name must not end with `.git`")]
    DotGit,
    /// Means something else in addresses.
    #[error("this name is reserved")]
    Reserved,
}

/// Checks the shape of `namespace/name`, or of a one-segment id.
///
/// # Errors
/// The first rule that is broken.
pub fn check_id(id: &str) -> Result<(), InvalidId> {
    let mut segments = id.split('/');
    for segment in segments.by_ref().take(2) {
        check_segment(segment)?;
    }
    if segments.next().is_some() { Err(InvalidId::TooManySegments) } else { Ok(()) }
}

/// Checks an id that is about to be created: the shape, and that no address hides it.
///
/// # Errors
/// The first rule that is broken; [`InvalidId::Reserved`] for a namespace in [`RESERVED_NAMES`]
/// or a name in [`RESERVED_VERBS`], in any case.
pub fn check_new_id(id: &str) -> Result<(), InvalidId> {
    check_id(id)?;
    let is_in = |word: &str, list: &[&str]| list.iter().any(|r| r.eq_ignore_ascii_case(word));
    let (first, name) = match id.split_once('/') {
        Some((namespace, name)) => (namespace, Some(name)),
        None => (id, None),
    };
    let hidden = is_in(first, RESERVED_NAMES) || name.is_some_and(|n| is_in(n, RESERVED_VERBS));
    if hidden { Err(InvalidId::Reserved) } else { Ok(()) }
}

fn check_segment(segment: &str) -> Result<(), InvalidId> {
    let bytes = segment.as_bytes();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else {
        return Err(InvalidId::Empty);
    };
    if bytes.len() > MAX_SEGMENT {
        return Err(InvalidId::TooLong);
    }
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if !bytes.iter().all(|&byte| is_word(byte) || byte == b'-' || byte == b'.') {
        return Err(InvalidId::BadCharacter);
    }
    if !is_word(first) || !is_word(last) {
        return Err(InvalidId::BadEdge);
    }
    if bytes.windows(2).any(|pair| pair == b"--" || pair == b"..") {
        return Err(InvalidId::Doubled);
    }
    let end = bytes.len().saturating_sub(4);
    if bytes.get(end..).is_some_and(|tail| tail.eq_ignore_ascii_case(b".git")) {
        return Err(InvalidId::DotGit);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_clients_send_are_accepted() {
        for id in ["gpt2", "bert-base-uncased", "a/b", "__DUMMY__/x_", "A.b-c_d/9", "team/v1.0"] {
            assert_eq!(check_id(id), Ok(()), "{id}");
        }
        assert_eq!(check_id(&format!("a/{}", "b".repeat(96))), Ok(()));
    }

    #[test]
    fn each_rule_refuses_its_own() {
        for (id, error) in [
            ("", InvalidId::Empty),
            ("a/", InvalidId::Empty),
            ("a/b/c", InvalidId::TooManySegments),
            ("a/b c", InvalidId::BadCharacter),
            ("a/é", InvalidId::BadCharacter),
            ("-a/b", InvalidId::BadEdge),
            ("a/b.", InvalidId::BadEdge),
            ("..", InvalidId::BadEdge),
            ("a/b--c", InvalidId::Doubled),
            ("a/b..c", InvalidId::Doubled),
            ("a/b.GIT", InvalidId::DotGit),
        ] {
            assert_eq!(check_id(id), Err(error), "{id}");
        }
        assert_eq!(check_id(&"b".repeat(97)), Err(InvalidId::TooLong));
    }

    #[test]
    fn new_ids_must_stay_reachable() {
        assert_eq!(check_new_id("API/x"), Err(InvalidId::Reserved));
        assert_eq!(check_new_id("metrics"), Err(InvalidId::Reserved));
        assert_eq!(check_new_id("team/tree"), Err(InvalidId::Reserved));
        assert_eq!(check_new_id("team/api"), Ok(()));
    }
}
