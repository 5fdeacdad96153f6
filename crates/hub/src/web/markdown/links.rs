//! Where the links of a card lead, and which images it may show.

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use super::ID_PREFIX;
use crate::web::address::{encode_path, encode_segment};

/// What a link may not contain as it is.
const UNSAFE: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'`').add(b'\\').add(b'{').add(b'}');

/// Where a Markdown file lies: the repository, its revision, the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Path of the repository's page, such as `/ada/bert`.
    pub repo: String,
    /// Revision, not encoded.
    pub revision: String,
    /// Folder of the file, without slashes at its ends.
    pub folder: String,
}

impl Place {
    /// Address of a link; `None` when it leads nowhere it may.
    pub(super) fn link(&self, address: &str) -> Option<String> {
        let address = plain(address)?;
        if let Some(fragment) = address.strip_prefix('#') {
            return Some(format!("#{ID_PREFIX}{}", escaped(fragment)));
        }
        if let Some(scheme) = scheme(address) {
            let known = ["http", "https", "mailto"].iter().any(|known| known.eq_ignore_ascii_case(scheme));
            return known.then(|| escaped(address));
        }
        if address.starts_with("//") {
            return Some(format!("https:{}", escaped(address)));
        }
        if address.starts_with('/') {
            return Some(escaped(address));
        }
        self.own(address, "blob")
    }

    /// Address of an image: only files of the same repository.
    pub(super) fn image(&self, address: &str) -> Option<String> {
        let address = plain(address)?;
        if let Some(rest) = address.strip_prefix(&self.repo) {
            let own = rest.starts_with("/resolve/") && !rest.contains("..");
            return own.then(|| escaped(address));
        }
        if scheme(address).is_some() || address.starts_with(['/', '#', '?']) {
            return None;
        }
        self.own(address, "resolve")
    }

    /// Address of a file beside this one.
    fn own(&self, address: &str, verb: &str) -> Option<String> {
        let (path, tail) = address.find(['?', '#']).map_or((address, ""), |at| address.split_at(at));
        let path = percent_decode_str(path).decode_utf8().ok()?;
        let mut found: Vec<&str> = self.folder.split('/').filter(|name| !name.is_empty()).collect();
        for name in path.split('/') {
            match name {
                "" | "." => {}
                ".." => {
                    found.pop()?;
                }
                name => found.push(name),
            }
        }
        let fragment = tail.find('#').and_then(|at| tail.get(at + 1..)).unwrap_or_default();
        let fragment = if fragment.is_empty() { String::new() } else { format!("#{ID_PREFIX}{}", escaped(fragment)) };
        let revision = encode_segment(&self.revision);
        if found.is_empty() {
            return (verb == "blob").then(|| format!("{}/tree/{revision}{fragment}", self.repo));
        }
        // A folder that is linked to with its slash.
        let verb = if verb == "blob" && path.ends_with('/') { "tree" } else { verb };
        Some(format!("{}/{verb}/{revision}/{}{fragment}", self.repo, encode_path(&found.join("/"))))
    }
}

/// An address without what browsers would drop or read as something else.
fn plain(address: &str) -> Option<&str> {
    let address = address.trim();
    let odd = |c: char| c.is_control() || c == '\\';
    (!address.contains(odd) && address.len() <= 4_096).then_some(address)
}

/// What stands before a colon, if a browser would take it for a scheme.
fn scheme(address: &str) -> Option<&str> {
    let (before, _) = address.split_once(':')?;
    (!before.contains(['/', '?', '#'])).then_some(before)
}

fn escaped(address: &str) -> String {
    utf8_percent_encode(address, UNSAFE).to_string()
}
