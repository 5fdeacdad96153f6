//! Who we are, and which repositories there are.

use reqwest::Method;
use weighthouse::RepoKind;

use super::api::Api;
use super::error::ClientError;
use super::target::{RepoRef, plural, segment};
use crate::wire::hf::manage::{CreateRepo, DeleteRepo, RepoCreated};
use crate::wire::hf::refs::CreateBranch;
use crate::wire::hf::repo::RepoInfo;
use crate::wire::hf::user::WhoAmI;

/// A repository to create.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NewRepo {
    /// Which.
    pub repo: RepoRef,
    /// Whether only members see it.
    pub private: bool,
    /// Whether it may exist already.
    pub exist_ok: bool,
}

impl NewRepo {
    /// A public repository that must not exist yet.
    #[must_use]
    pub fn new(repo: RepoRef) -> Self {
        Self { repo, private: false, exist_ok: false }
    }
}

/// Which repositories to list.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ListRepos {
    /// Models or datasets.
    pub kind: RepoKind,
    /// Part of the id.
    pub search: Option<String>,
    /// Namespace.
    pub author: Option<String>,
    /// Most entries.
    pub limit: usize,
}

impl ListRepos {
    /// All that are visible of a kind, up to 10,000.
    #[must_use]
    pub fn new(kind: RepoKind) -> Self {
        Self { kind, search: None, author: None, limit: 10_000 }
    }
}

impl Api {
    /// The user that the token belongs to.
    ///
    /// # Errors
    /// Denied (401) without a valid token.
    pub async fn whoami(&self) -> Result<WhoAmI, ClientError> {
        self.json("asking who we are", || self.request(Method::GET, "/api/whoami-v2")).await
    }

    /// Creates a repository and returns the address of its page.
    ///
    /// # Errors
    /// Conflict (409) when it exists and that is not allowed; Denied without the right.
    pub async fn create_repo(&self, new: &NewRepo) -> Result<String, ClientError> {
        let (namespace, name) = new.repo.split();
        let body = CreateRepo {
            name: name.to_owned(),
            organization: namespace.map(str::to_owned),
            kind: Some(new.repo.kind().to_string()),
            visibility: Some(if new.private { "private" } else { "public" }.to_owned()),
            ..CreateRepo::default()
        };
        let made: Result<RepoCreated, _> =
            self.json("creating the repository", || self.request(Method::POST, "/api/repos/create").json(&body)).await;
        match made {
            Ok(made) => Ok(made.url),
            Err(error) if new.exist_ok && error.status() == Some(409) => {
                Ok(format!("{}{}", self.base(), new.repo.page()))
            }
            Err(error) => Err(error),
        }
    }

    /// Deletes a repository with all that is in it.
    ///
    /// # Errors
    /// NotFound, or Denied without the right.
    pub async fn delete_repo(&self, repo: &RepoRef) -> Result<(), ClientError> {
        let (namespace, name) = repo.split();
        let body = DeleteRepo {
            name: name.to_owned(),
            organization: namespace.map(str::to_owned),
            kind: Some(repo.kind().to_string()),
        };
        let what = "deleting the repository";
        self.retrying(async || {
            self.send(what, self.request(Method::DELETE, "/api/repos/delete").json(&body)).await.map(|_| ())
        })
        .await
    }

    /// Lists repositories that the caller may see, last changed first.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn list_repos(&self, wanted: &ListRepos) -> Result<Vec<RepoInfo>, ClientError> {
        let mut path = format!("/api/{}?limit={}", plural(wanted.kind), wanted.limit.clamp(1, 1_000));
        for (key, value) in [("search", &wanted.search), ("author", &wanted.author)] {
            if let Some(value) = value {
                path.push_str(&format!("&{key}={}", segment(value)));
            }
        }
        let mut found: Vec<RepoInfo> = Vec::new();
        let take = |page: Vec<RepoInfo>| {
            found.extend(page);
            Ok(found.len() < wanted.limit)
        };
        self.pages("listing repositories", &path, take).await?;
        found.truncate(wanted.limit);
        Ok(found)
    }

    /// A repository at a revision.
    ///
    /// # Errors
    /// NotFound with the code that says whether the repository or the revision is missing.
    pub async fn repo_info(&self, repo: &RepoRef, revision: &str) -> Result<RepoInfo, ClientError> {
        let path = format!("{}/revision/{}?expand=sha", repo.api(), segment(revision));
        self.json("resolving the revision", || self.request(Method::GET, &path)).await
    }

    /// Makes a branch at the head of the default branch; one that exists stays as it is.
    ///
    /// # Errors
    /// NotFound, or Denied without the right.
    pub async fn create_branch(&self, repo: &RepoRef, branch: &str) -> Result<(), ClientError> {
        let path = format!("{}/branch/{}", repo.api(), segment(branch));
        let body = CreateBranch::default();
        let made = self
            .retrying(async || {
                self.send("creating the branch", self.request(Method::POST, &path).json(&body)).await.map(|_| ())
            })
            .await;
        match made {
            Err(error) if error.status() == Some(409) => Ok(()),
            made => made,
        }
    }
}
