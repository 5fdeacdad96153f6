//! What a revision contains.

use weighthouse::GitOid;

use super::api::Api;
use super::error::ClientError;
use super::target::{RepoRef, segment};
use crate::wire::hf::tree::{EntryKind, TreeEntry};

/// Most entries of a revision that are listed.
const MAX_ENTRIES: usize = 2_000_000;

impl Api {
    /// The commit that a revision stands for.
    pub(super) async fn resolve(&self, repo: &RepoRef, revision: &str) -> Result<GitOid, ClientError> {
        let info = self.repo_info(repo, revision).await?;
        let sha = info.sha.unwrap_or_default();
        sha.parse().map_err(|error| ClientError::nonsense("resolving the revision", error))
    }

    /// All files of a commit, over all pages, as the hub names them: nothing about the paths has been checked.
    pub(super) async fn tree(&self, repo: &RepoRef, commit: &GitOid) -> Result<Vec<TreeEntry>, ClientError> {
        let what = "listing files";
        let path = format!("{}/tree/{}?recursive=true&expand=false", repo.api(), segment(&commit.to_string()));
        let mut files = Vec::new();
        let take = |page: Vec<TreeEntry>| {
            files.extend(page.into_iter().filter(|entry| entry.kind == EntryKind::File));
            if files.len() > MAX_ENTRIES {
                return Err(ClientError::nonsense(what, format!("there are more than {MAX_ENTRIES} files")));
            }
            Ok(true)
        };
        self.pages(what, &path, take).await?;
        Ok(files)
    }
}
