//! Where a checkpoint lies that a verb is given: on this machine, or on a hub.

use std::path::{Path, PathBuf};

use weighthouse::format::Folder;
use weighthouse::local::LocalFolder;
use weighthouse::source::{Facts, Source};
use weighthouse::{Error, Sha256};
use weighthouse_hub::client::RemoteFolder;

use crate::exit::{Hinted, code_of};
use crate::remote::{RemoteFlags, explain, target};
use crate::words;

/// A checkpoint: a folder, or one file of it.
#[derive(Debug)]
pub enum Place {
    /// On this machine.
    Local {
        /// The folder, or that of the file.
        folder: LocalFolder,
        /// The file.
        file: Option<String>,
    },
    /// On a hub, read by ranges.
    Remote {
        /// The repository at a commit.
        folder: RemoteFolder,
        /// The file.
        file: Option<String>,
    },
}

impl Place {
    /// Opens a file, a folder, or `hub:NAMESPACE/NAME[@REVISION][:PATH]`.
    ///
    /// # Errors
    /// When it is not there; the hints say what may have been meant.
    pub async fn open(text: &str, remote: &RemoteFlags, quiet: bool) -> anyhow::Result<Self> {
        if let Some(rest) = text.strip_prefix("hub:") {
            let (repo, file) = match rest.split_once(':') {
                Some((repo, file)) => (repo, Some(file.trim_start_matches('/').to_owned())),
                None => (rest, None),
            };
            let (repo, revision) = target(repo, None)?;
            let api = remote.open(quiet)?;
            let revision = revision.unwrap_or_else(|| "main".to_owned());
            let folder = RemoteFolder::open(&api, &repo, &revision).await;
            let folder = folder.map_err(|error| explain(error, Some(&api)))?;
            return Ok(Self::Remote { folder, file: file.filter(|file| !file.is_empty()) });
        }
        let path = PathBuf::from(text);
        if path.is_dir() {
            let folder = LocalFolder::open(&path).map_err(|error| hinted(text, &error))?;
            return Ok(Self::Local { folder, file: None });
        }
        let (folder, file) = LocalFolder::of_file(&path).map_err(|error| hinted(text, &error))?;
        Ok(Self::Local { folder, file: Some(file) })
    }

    /// Its files.
    pub fn folder(&self) -> &dyn Folder {
        match self {
            Self::Local { folder, .. } => folder,
            Self::Remote { folder, .. } => folder,
        }
    }

    /// The one file that was named, if one was.
    pub fn file(&self) -> Option<&str> {
        match self {
            Self::Local { file, .. } | Self::Remote { file, .. } => file.as_deref(),
        }
    }

    /// As the source of a conversion.
    pub fn source(&self) -> Source<'_> {
        Source { folder: self.folder(), file: self.file(), facts: self }
    }

    /// Bytes that came over the network so far; `None` for what is on this machine.
    pub fn wire_bytes(&self) -> Option<u64> {
        match self {
            Self::Remote { folder, .. } => Some(folder.wire_bytes()),
            Self::Local { .. } => None,
        }
    }
}

impl Facts for Place {
    fn digest(&self, path: &str) -> Option<Sha256> {
        match self {
            Self::Remote { folder, .. } => folder.digest(path)?.parse().ok(),
            Self::Local { .. } => None,
        }
    }

    fn stamp(&self, path: &str) -> String {
        match self {
            // What a commit holds never changes.
            Self::Remote { folder, .. } => folder.commit().to_owned(),
            Self::Local { folder, .. } => folder.stamp(path),
        }
    }
}

/// An error about a target, with a way out.
pub fn hinted(target: &str, error: &Error) -> anyhow::Error {
    let mut hints = Vec::new();
    if matches!(error, Error::NotFound { .. }) && looks_like_a_repository(target) {
        hints.push(format!("for a repository of a hub write `hub:{}`", words::plain(target)));
    } else if matches!(error, Error::Malformed(_)) && Path::new(target).is_file() {
        hints.push("the file is damaged, or of a format that `wh` does not know".to_owned());
    }
    Hinted { code: code_of(error.kind()), message: words::plain(&error.to_string()), hints }.into()
}

fn looks_like_a_repository(target: &str) -> bool {
    let bare = target.split(['@', ':']).next().unwrap_or(target);
    bare.matches('/').count() == 1 && !bare.starts_with(['.', '/', '~'])
}
