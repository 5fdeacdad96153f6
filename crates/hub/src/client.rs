//! What asks: pushes and pulls of whole folders, and the small calls around them.
//!
//! ```text
//!  push ── walk ─ advice ─ read ─ chunk ─ hash ─ dedup ─ pack ─┐
//!                                                              ├─ Api (retry, stall, request ids) ─► any hub
//!  pull ── tree ─ safe paths ─ ranges ─ verify ─ rename ───────┘
//! ```
//!
//! - [`Api`]: one hub, one token; every call is repeated after a passing fault
//! - [`push`]: a folder to a repository, only the chunks that the hub lacks
//! - [`pull`]: a revision to a folder or to the cache of the Hugging Face clients
//! - [`adopt`]: a model from a disk to a private repository, read back
//! - [`RemoteFolder`]: a revision as a folder that is read by ranges, and what the hub has judged of it
//! - [`Meter`]: how far a transfer has come, to be looked at from outside
//!
//! **Invariants:** no byte is believed before its digest was compared; no path of a hub leads out of the folder that
//! was named; what a transfer notes for its resumption is checked when it is read; memory does not grow with the size
//! of files.
//!
//! Nothing here prints, reads the environment or decides where settings live. TLS uses the process's default
//! provider of rustls, which the program installs.

#[cfg(unix)]
pub mod adopt;
mod api;
mod body;
mod cas;
mod error;
mod filter;
mod meter;
mod paths;
pub mod pull;
pub mod push;
mod remote_folder;
mod reports;
mod repos;
mod retry;
mod stamp;
mod target;
mod trees;

pub use api::{Api, ApiOptions};
pub use error::ClientError;
pub use filter::Filter;
pub use meter::{Meter, Phase, Snapshot};
pub use remote_folder::RemoteFolder;
pub use reports::StoredReport;
pub use repos::{ListRepos, NewRepo};
pub use retry::Patience;
pub use target::RepoRef;

#[cfg(test)]
mod tests {
    use super::*;

    fn can_be_spawned<T: Send>(_: T) {}

    #[expect(dead_code, reason = "compiling it is the test")]
    fn transfers_can_be_spawned(api: Api, repo: RepoRef, meter: Meter) {
        let folder = std::path::PathBuf::new();
        can_be_spawned(push::push(&api, &folder, &repo, &push::PushOptions::default(), &meter));
        let target = pull::Target::Folder(folder.clone());
        can_be_spawned(pull::pull(&api, &repo, &target, &pull::PullOptions::default(), &meter));
        can_be_spawned(api.whoami());
    }
}
