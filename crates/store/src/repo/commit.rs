//! Commits as git stores them.

use crate::digest::GitOid;
use crate::error::StoreError;

/// Who, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// Name; angle brackets and line breaks are dropped when written, as git does.
    pub name: String,
    /// Mail address, likewise.
    pub email: String,
    /// Seconds since 1970, UTC.
    pub time_s: i64,
}

/// A commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Root folder.
    pub tree: GitOid,
    /// Commits it follows.
    pub parents: Vec<GitOid>,
    /// Who wrote it.
    pub author: Signature,
    /// Message: title, blank line, body.
    pub message: String,
}

impl Commit {
    /// First line of the message.
    pub fn title(&self) -> &str {
        self.message.lines().next().unwrap_or("")
    }

    /// Message after the title and the blank line.
    pub fn body(&self) -> &str {
        self.message.split_once('\n').map_or("", |(_, body)| body.trim())
    }

    /// The bytes git hashes; author and committer are the same person at the same time, in UTC.
    pub fn encode(&self) -> Vec<u8> {
        use std::fmt::Write;
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(out, "tree {}", self.tree);
        for parent in &self.parents {
            let _ = writeln!(out, "parent {parent}");
        }
        let who = format!("{} <{}> {} +0000", clean(&self.author.name), clean(&self.author.email), self.author.time_s);
        let _ = write!(out, "author {who}\ncommitter {who}\n\n{}", self.message);
        out.into_bytes()
    }

    /// Reads what [`Commit::encode`] wrote.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] on anything else.
    pub fn decode(oid: &GitOid, data: &[u8]) -> Result<Self, StoreError> {
        parse(data).ok_or_else(|| StoreError::Corrupt {
            what: format!("commit {oid}"),
            detail: "it does not parse".to_owned(),
        })
    }
}

fn clean(text: &str) -> String {
    let text: String = text.chars().filter(|c| !matches!(c, '<' | '>' | '\n' | '\r' | '\0')).collect();
    let text = text.trim();
    if text.is_empty() { "unknown".to_owned() } else { text.to_owned() }
}

fn parse(data: &[u8]) -> Option<Commit> {
    let text = std::str::from_utf8(data).ok()?;
    let (head, message) = text.split_once("\n\n")?;
    let (mut tree, mut parents, mut author) = (None, Vec::new(), None);
    for line in head.lines() {
        match line.split_once(' ')? {
            ("tree", oid) => tree = Some(oid.parse().ok()?),
            ("parent", oid) => parents.push(oid.parse().ok()?),
            ("author", who) => author = Some(parse_signature(who)?),
            _ => {}
        }
    }
    Some(Commit { tree: tree?, parents, author: author?, message: message.to_owned() })
}

fn parse_signature(who: &str) -> Option<Signature> {
    let (name, rest) = who.split_once(" <")?;
    let (email, when) = rest.split_once("> ")?;
    let time_s = when.split(' ').next()?.parse().ok()?;
    Some(Signature { name: name.to_owned(), email: email.to_owned(), time_s })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn commits_survive_the_round_trip(
            name in "[A-Za-z][A-Za-z é]{0,10}[a-z]", message in "\\PC{0,40}", parents: Vec<[u8; 20]>, time_s in 0i64..1 << 40,
        ) {
            let commit = Commit {
                tree: GitOid([1; 20]),
                parents: parents.into_iter().map(GitOid).collect(),
                author: Signature { name, email: "a@b".into(), time_s },
                message,
            };
            prop_assert_eq!(Commit::decode(&GitOid([0; 20]), &commit.encode()).unwrap(), commit);
        }

        #[test]
        fn damaged_commits_are_refused_without_panic(data: Vec<u8>) {
            let _ = Commit::decode(&GitOid([0; 20]), &data);
        }
    }

    #[test]
    fn an_author_cannot_break_out_of_the_header() {
        let author = Signature { name: "a>\ntree <b".into(), email: "\n".into(), time_s: 1 };
        let commit = Commit { tree: GitOid([1; 20]), parents: vec![], author, message: "m".into() };
        let text = String::from_utf8(commit.encode()).unwrap();
        assert!(text.contains("author atree b <unknown> 1 +0000\n"), "{text}");
    }
}
