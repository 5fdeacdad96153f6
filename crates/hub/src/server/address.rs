//! From the addresses that clients use to the few that routes are written for.
//!
//! The Hub has one repository under many spellings: `/api/models/ns/name/…`, `/ns/name/…`,
//! `/datasets/…`, `/ns/name.git/info/lfs/…`, ids of one segment, revisions with or without
//! encoded slashes. [`AddressLayer`] looks at the raw path before any decoding, takes the
//! repository out into a [`RepoAddress`], and rewrites the rest to a canonical path:
//!
//! | canonical path | from |
//! |---|---|
//! | `/~api/info` | `/api/models/{id}` |
//! | `/~api/{verb}/…` | `/api/models/{id}/{verb}/…` |
//! | `/~file/resolve/{rev}/{*path}`, `/~file/raw/…` | `/{id}/resolve/…`, `/api/models/{id}/resolve/…` |
//! | `/~file/converted/{digest}/{name}` | `/{id}/converted/…` |
//! | `/~lfs/objects/batch` | `/{id}.git/info/lfs/objects/batch` |
//! | `/~git/…` | `/{id}.git/info/refs`, `/{id}/git-upload-pack` |
//! | `/~page/home`, `/~page/{verb}/…` | `/{id}`, `/{id}/{verb}/…` |
//!
//! Invariants of a canonical path: a revision is exactly one segment, every segment is encoded
//! once, nothing decodes to a control character, and a file path has no empty, `.` or `..`
//! segment. Canonical paths cannot be asked for from outside.

mod layer;
mod path;
#[cfg(test)]
mod tests;

use std::ops::Range;

use http::Uri;

pub use layer::{AddressLayer, AddressService};
pub use path::{Canonical, canonical};
pub use weighthouse::RepoKind;

/// How a kind of repository is spelled in addresses and bodies; kinds differ in nothing else.
pub trait KindSpelling: Sized {
    /// `models` or `datasets`, as API addresses spell it.
    fn plural(self) -> &'static str;
    /// What stands before the id in addresses of pages and files.
    fn web_prefix(self) -> &'static str;
    /// Reads `model` or `dataset`; absent means model.
    fn from_wire(kind: Option<&str>) -> Option<Self>;
}

impl KindSpelling for RepoKind {
    fn plural(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Dataset => "datasets",
        }
    }

    fn web_prefix(self) -> &'static str {
        match self {
            Self::Model => "/",
            Self::Dataset => "/datasets/",
        }
    }

    fn from_wire(kind: Option<&str>) -> Option<Self> {
        kind.map_or(Some(Self::Model), |kind| kind.parse().ok())
    }
}

/// The repository that a request is about, in its extensions.
///
/// The id is well formed and spelled as the client spelled it; ids are compared without case.
#[derive(Clone, Debug)]
pub struct RepoAddress {
    /// Model or dataset.
    pub kind: RepoKind,
    /// `namespace/name`, or one segment.
    pub id: String,
    /// The address before it was rewritten.
    pub original: Uri,
    /// Where the id lies in `original`'s path.
    id_span: Range<usize>,
}

impl RepoAddress {
    /// The same path and query under another id: for the redirect after a rename.
    #[must_use]
    pub fn path_under(&self, id: &str) -> String {
        let whole = self.original.path_and_query().map_or("/", |path| path.as_str());
        let before = whole.get(..self.id_span.start).unwrap_or("/");
        let after = whole.get(self.id_span.end..).unwrap_or("");
        format!("{before}{id}{after}")
    }

    /// Path of the page: `/ns/name` or `/datasets/ns/name`.
    #[must_use]
    pub fn web_path(&self) -> String {
        format!("{}{}", self.kind.web_prefix(), self.id)
    }

    /// Path of the API: `/api/models/ns/name`.
    #[must_use]
    pub fn api_path(&self) -> String {
        format!("/api/{}/{}", self.kind.plural(), self.id)
    }
}
