//! What tests of several rooms begin with: a hub in a folder, callers, repositories and commits.

use tempfile::TempDir;

use crate::access::{Caller, Repo};
use crate::account::{NewAccount, NewToken};
use crate::commit::{CommitMessage, Target};
use crate::repos::NewRepo;
use crate::revision::Revision;
use crate::{Error, Hub, HubOptions, RepoKind, Scope, Storage};

/// Paths and bytes of the files of a commit.
pub type Files<'a> = &'a [(&'a str, &'a [u8])];

/// A hub over a folder, where its blobs are kept as well.
pub async fn hub(folder: &TempDir) -> Hub {
    hub_with(folder, |_| ()).await
}

/// A hub over a folder that keeps its blobs in memory.
pub async fn hub_in_memory(folder: &TempDir) -> Hub {
    hub_with(folder, |options| options.storage = Storage::Memory).await
}

/// A hub with other options.
pub async fn hub_with(folder: &TempDir, change: impl FnOnce(&mut HubOptions)) -> Hub {
    let mut options = HubOptions::new(folder.path());
    change(&mut options);
    Hub::open(options).await.unwrap()
}

/// A new user with a token that may write.
pub async fn user(hub: &Hub, name: &str) -> Caller {
    hub.add_user(NewAccount { name: name.to_owned(), ..NewAccount::default() }).await.unwrap();
    caller(hub, name, Scope::Write, false).await
}

/// A new user who administrates the hub.
pub async fn root(hub: &Hub) -> Caller {
    hub.add_user(NewAccount { name: "root".to_owned(), admin: true, ..NewAccount::default() }).await.unwrap();
    caller(hub, "root", Scope::Admin, false).await
}

/// An account with a new token.
pub async fn caller(hub: &Hub, account: &str, scope: Scope, automated: bool) -> Caller {
    let token = NewToken { name: "t".to_owned(), scope, repos: None, lifetime_ms: None, automated, value: None };
    let (_, secret) = hub.add_token(account, token).await.unwrap();
    hub.authenticate(&secret).await.unwrap()
}

/// A new public repository without files, of a caller or, as in `lab/bert`, of somebody for whom the caller may write.
pub async fn create(hub: &Hub, caller: &Caller, kind: RepoKind, id: &str) -> Repo {
    hub.create_repo(caller, new_repo(kind, id)).await.unwrap()
}

/// What is asked for such a repository.
pub fn new_repo(kind: RepoKind, id: &str) -> NewRepo {
    let (namespace, name) = match id.split_once('/') {
        Some((namespace, name)) => (Some(namespace.to_owned()), name),
        None => (None, id),
    };
    NewRepo { kind, namespace, name: name.to_owned(), private: false, files: Vec::new() }
}

/// Commits files to a branch.
pub async fn commit(
    hub: &Hub,
    caller: &Caller,
    repo: &Repo,
    branch: &str,
    files: Files<'_>,
) -> Result<Revision, Error> {
    let message = CommitMessage { title: "t".to_owned(), body: String::new() };
    let mut commit = hub.begin_commit(caller, repo, Target::branch(branch, None)?, message)?;
    for (path, data) in files {
        commit.put(path, data.to_vec().into()).await?;
    }
    commit.finish().await
}
