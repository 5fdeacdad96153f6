//! What the default branch of a repository says about it: tags, card, libraries; kept for listings.

use crate::access::Repo;
use crate::revision::Revision;
use crate::Hub;

/// What is known.
#[derive(Debug, Default)]
pub struct Facts {}

impl Facts {
    /// Reads back.
    pub fn of(_: &weighthouse_store::catalog::RepoRecord) -> Self {
        Self {}
    }
}

impl Hub {
    /// Reads the card and the file names of a new head and keeps what they say. A failure is logged: the commit stands.
    pub(crate) async fn refresh_facts(&self, _repo: &Repo, _revision: &Revision) {}
}
