//! Repositories: create, delete, move, change, list.

use serde_json::{Value, json};
use weighthouse_store::StoreError;
use weighthouse_store::catalog::{
    Account, AuditEntry, RepoKey, RepoKind, RepoQuery, RepoRecord, RepoSort, Role, fresh_id,
};

use crate::access::{Caller, Repo};
use crate::audit::Event;
use crate::commit::{CommitMessage, Target};
use crate::{Error, Hub, names};

/// Files that git LFS should keep out of the history of a new repository.
const LFS_PATTERNS: &[&str] = &[
    "*.7z",
    "*.arrow",
    "*.bin",
    "*.bz2",
    "*.ckpt",
    "*.ftz",
    "*.gguf",
    "*.gz",
    "*.h5",
    "*.joblib",
    "*.keras",
    "*.lfs.*",
    "*.mlmodel",
    "*.model",
    "*.msgpack",
    "*.npy",
    "*.npz",
    "*.onnx",
    "*.ot",
    "*.parquet",
    "*.pb",
    "*.pickle",
    "*.pkl",
    "*.pt",
    "*.pth",
    "*.rar",
    "*.safetensors",
    "saved_model/**/*",
    "*.tar.*",
    "*.tar",
    "*.tflite",
    "*.tgz",
    "*.wasm",
    "*.xz",
    "*.zip",
    "*.zst",
    "*tfevents*",
];

/// A new repository.
#[derive(Debug, Clone)]
pub struct NewRepo {
    /// Kind.
    pub kind: RepoKind,
    /// Namespace; the caller's own if absent. Empty for a legacy id of one segment, which only administrators may
    /// create.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// Whether only its owner's people see it.
    pub private: bool,
    /// Files of its first commit, beside `.gitattributes`.
    pub files: Vec<(String, Vec<u8>)>,
}

/// Which repositories to list.
#[derive(Debug, Clone)]
pub struct ListQuery {
    /// Kind.
    pub kind: RepoKind,
    /// Text that the id contains.
    pub search: Option<String>,
    /// Namespace.
    pub author: Option<String>,
    /// Tags that must all be there; the family and the class of an architecture count as tags.
    pub tags: Vec<String>,
    /// Fewest parameters; repositories of unknown size have none.
    pub min_parameters: Option<u64>,
    /// Most parameters.
    pub max_parameters: Option<u64>,
    /// Order, descending.
    pub sort: RepoSort,
    /// Page size, at most 1,000.
    pub limit: u32,
    /// Rows to skip.
    pub offset: u64,
}

impl Hub {
    /// Creates a repository with its first commit.
    ///
    /// # Errors
    /// [`Error::RepoExists`] when the id is taken and the caller may see it.
    pub async fn create_repo(&self, caller: &Caller, new: NewRepo) -> Result<Repo, Error> {
        let account = caller.require_write("create a repository")?;
        let (owner, id) = match &new.namespace {
            Some(namespace) if namespace.is_empty() => {
                if !caller.is_admin() {
                    return Err(Error::Denied { action: "create a repository without a namespace".to_owned() });
                }
                (account.clone(), new.name.clone())
            }
            Some(namespace) => {
                let owner = self.owner(caller, namespace).await?;
                let id = format!("{}/{}", owner.name, new.name);
                (owner, id)
            }
            None => (account.clone(), format!("{}/{}", account.name, new.name)),
        };
        names::check_new_repo_id(&id)?;
        for (path, _) in &new.files {
            names::check_path(path)?;
        }
        let now_ms = self.now_ms();
        let record = RepoRecord {
            key: RepoKey::from(fresh_id()?),
            kind: new.kind,
            id,
            owner: owner.id,
            private: new.private,
            created_at_ms: now_ms,
            updated_at_ms: now_ms,
            downloads: 0,
            facts: "{}".to_owned(),
        };
        if caller.token().is_some_and(|token| token.repos.is_some()) {
            return Err(Error::Denied { action: "create a repository with a token for named repositories".to_owned() });
        }
        // Most of those that are there are found before anything is written.
        if self.catalog().repos().find(new.kind, &record.id).await?.is_some() {
            return Err(self.taken(caller, new.kind, record.id).await);
        }
        let repo = Repo { record, role: Role::Admin };
        let message = CommitMessage { title: "initial commit".to_owned(), body: String::new() };
        let mut commit = self.begin_commit(caller, &repo, Target::new_main(), message)?.founding();
        commit.put(".gitattributes", default_attributes().into_bytes().into()).await?;
        for (path, data) in new.files {
            commit.put(&path, data.into()).await?;
        }
        match commit.finish().await {
            Ok(_) => Ok(repo),
            Err(Error::Store(StoreError::Exists { .. })) => Err(self.taken(caller, new.kind, repo.record.id).await),
            Err(error) => Err(error),
        }
    }

    /// What is said when an id is taken. A private repository of somebody else is not confirmed beyond that.
    async fn taken(&self, caller: &Caller, kind: RepoKind, id: String) -> Error {
        let stored = self.repo(caller, kind, &id).await.map(|repo| repo.record.id);
        Error::RepoExists { kind, id: stored.unwrap_or(id) }
    }

    /// What the audit log says of a new repository.
    pub(crate) fn repo_created(&self, caller: &Caller, record: &RepoRecord) -> AuditEntry {
        let detail = json!({ "kind": record.kind.as_str(), "private": record.private });
        self.audited(caller, event("repo.create", record, detail))
    }

    /// Deletes a repository for good.
    pub async fn delete_repo(&self, caller: &Caller, repo: &Repo) -> Result<(), Error> {
        repo.require_admin(caller, "delete a repository")?;
        let detail = json!({ "kind": repo.record.kind.as_str() });
        let entry = self.audited(caller, event("repo.delete", &repo.record, detail));
        Ok(self.catalog().repos().delete(&repo.record.key, Some(entry)).await?)
    }

    /// Gives a repository a new id; the old one redirects. Returns the new id.
    pub async fn move_repo(&self, caller: &Caller, repo: &Repo, to: &str) -> Result<String, Error> {
        repo.require_admin(caller, "move a repository")?;
        names::check_new_repo_id(to)?;
        let (owner, id) = match to.split_once('/') {
            Some((namespace, name)) => {
                let owner = self.owner(caller, namespace).await?;
                (owner.id, format!("{}/{name}", owner.name))
            }
            None if caller.is_admin() => (repo.record.owner.clone(), to.to_owned()),
            None => return Err(Error::Denied { action: "name a repository without a namespace".to_owned() }),
        };
        let detail = json!({ "kind": repo.record.kind.as_str(), "to": id });
        let entry = self.audited(caller, event("repo.move", &repo.record, detail));
        match self.catalog().repos().rename(&repo.record, &id, &owner, Some(entry)).await {
            Ok(()) => Ok(id),
            Err(weighthouse_store::StoreError::Exists { .. }) => {
                Err(Error::Exists { what: format!("A {} repository called {id} already exists", repo.record.kind) })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a repository private or public.
    ///
    /// # Errors
    /// [`Error::Blocked`] when a policy forbids to publish it.
    pub async fn set_private(&self, caller: &Caller, repo: &Repo, private: bool) -> Result<(), Error> {
        repo.require_admin(caller, "change settings")?;
        if repo.record.private && !private {
            self.pass_publish(caller, repo).await?;
        }
        let entry = self.audited(caller, event("repo.update_settings", &repo.record, json!({ "private": private })));
        Ok(self.catalog().repos().set_private(&repo.record.key, private, self.now_ms(), Some(entry)).await?)
    }

    /// One page of the repositories that the caller may see.
    pub async fn list_repos(&self, caller: &Caller, query: ListQuery) -> Result<Vec<RepoRecord>, Error> {
        let query = RepoQuery {
            kind: query.kind,
            search: query.search,
            author: query.author,
            tags: query.tags,
            min_parameters: query.min_parameters,
            max_parameters: query.max_parameters,
            sort: query.sort,
            limit: query.limit.min(1_000),
            offset: query.offset,
        };
        Ok(self.catalog().repos().list(&query, &caller.viewer()).await?)
    }

    /// Bytes of all files a repository was given, duplicates between repositories counted in each.
    pub async fn used_bytes(&self, repo: &Repo) -> Result<u64, Error> {
        Ok(self.catalog().contents().given_bytes(&repo.record.key).await?)
    }

    /// Counts a download.
    pub async fn count_download(&self, repo: &Repo) -> Result<(), Error> {
        Ok(self.catalog().repos().add_downloads(&repo.record.key, 1).await?)
    }

    /// Account of a namespace in which the caller may create repositories.
    async fn owner(&self, caller: &Caller, namespace: &str) -> Result<Account, Error> {
        let denied = || Error::Denied { action: format!("create repositories in `{}`", names::shorten(namespace)) };
        let owner = self.catalog().accounts().find(namespace).await?.ok_or_else(denied)?;
        match caller.namespace_role(&owner.id) {
            Some(role) if role >= Role::Write => Ok(owner),
            _ => Err(denied()),
        }
    }
}

/// What was done to a repository.
pub(crate) fn event(name: &'static str, repo: &RepoRecord, detail: Value) -> Event {
    Event { name, org: repo.owner.clone(), repo: repo.id.clone(), subject: repo.id.clone(), outcome: "done", detail }
}

fn default_attributes() -> String {
    LFS_PATTERNS.iter().map(|pattern| format!("{pattern} filter=lfs diff=lfs merge=lfs -text\n")).collect()
}
