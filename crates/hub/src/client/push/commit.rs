//! Making what was sent visible.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use reqwest::{Body, Method};
use weighthouse::Sha256;

use super::super::api::Api;
use super::super::body::Watch;
use super::super::error::ClientError;
use super::super::meter::Meter;
use super::super::target::{RepoRef, segment};
use super::walk::LocalFile;
use super::{blocking, read};
use crate::wire::commit::{CommitHeader, CommitLine, Operation};
use crate::wire::hf::upload::CommitDone;

/// Most files in one commit.
const MAX_FILES: usize = 1_000;
/// Most bytes inside one commit, before base64.
const MAX_INLINE_BYTES: u64 = 100 << 20;
/// Largest answer that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// A file that a commit puts in place.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// Its content goes along.
    Inline(LocalFile),
    /// The hub has its content.
    Large(LocalFile, Sha256),
}

impl Change {
    fn file(&self) -> &LocalFile {
        match self {
            Self::Inline(file) | Self::Large(file, _) => file,
        }
    }

    fn inline_bytes(&self) -> u64 {
        match self {
            Self::Inline(file) => file.stamp.size_bytes,
            Self::Large(..) => 0,
        }
    }
}

/// Splits changes, in order, into as few commits as the bounds allow: one, if they fit.
pub(super) fn split(changes: Vec<Change>) -> Vec<Vec<Change>> {
    let mut commits: Vec<Vec<Change>> = Vec::new();
    let mut inline_bytes = 0;
    for change in changes {
        let more = inline_bytes + change.inline_bytes();
        match commits.last_mut() {
            Some(last) if last.len() < MAX_FILES && (more <= MAX_INLINE_BYTES || change.inline_bytes() == 0) => {
                inline_bytes = more;
                last.push(change);
            }
            _ => {
                inline_bytes = change.inline_bytes();
                commits.push(vec![change]);
            }
        }
    }
    commits
}

/// Makes one commit. Safe to repeat: the hub answers a repeated commit with the one it made.
pub(super) async fn commit(
    api: &Api,
    repo: &RepoRef,
    revision: &str,
    header: &CommitHeader,
    changes: &[Change],
    meter: &Meter,
) -> Result<CommitDone, ClientError> {
    let what = "making the commit";
    let path = format!("{}/commit/{}", repo.api(), segment(revision));
    api.retrying(async || {
        let (watch, fault) = (Watch::default(), Arc::new(Mutex::new(None)));
        let lines = lines(header.clone(), changes.to_vec(), Arc::clone(&fault), watch.clone(), meter.clone());
        let request = api.request(Method::POST, &path).header("Content-Type", "application/x-ndjson");
        let answer = api.send_watched(what, request.body(Body::wrap_stream(lines)), &watch).await;
        // A fault of ours breaks the request off; it says more than the broken connection.
        let fault = fault.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(fault) = fault {
            return Err(fault);
        }
        let bytes = api.read(what, answer?, MAX_ANSWER_BYTES).await?;
        serde_json::from_slice(&bytes).map_err(|error| ClientError::nonsense(what, error))
    })
    .await
}

/// The body, line by line; at most one file is in memory.
fn lines(
    header: CommitHeader,
    changes: Vec<Change>,
    fault: Arc<Mutex<Option<ClientError>>>,
    watch: Watch,
    meter: Meter,
) -> impl Stream<Item = Result<Bytes, std::io::Error>> {
    let counted = watch.clone();
    let first = futures::stream::once(async move { Ok(CommitLine::Header(header)) });
    let rest = futures::stream::iter(changes).then(operation);
    let end = futures::stream::poll_fn(move |_| {
        watch.finish();
        std::task::Poll::Ready(None)
    });
    let lines = first.chain(rest.map(|operation| operation.map(CommitLine::Operation))).map(move |line| match line {
        Ok(line) => {
            let line = Bytes::from(line.to_ndjson());
            counted.add(line.len() as u64);
            meter.add_wire(line.len() as u64);
            Ok(line)
        }
        Err(error) => {
            *fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            Err(std::io::Error::other("a file could not be read"))
        }
    });
    lines.chain(end)
}

async fn operation(change: Change) -> Result<Operation, ClientError> {
    let path = change.file().path.clone();
    Ok(match change {
        Change::Large(file, sha256) => {
            Operation::LfsFile { path, oid: sha256.to_string(), size: Some(file.stamp.size_bytes), old_path: None }
        }
        Change::Inline(file) => {
            let content = blocking(move || read::whole(&file)).await?;
            Operation::File { path, content: Some(content.into()), old_path: None }
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::stamp::Stamp;
    use super::*;

    fn change(name: usize, size: u64, large: bool) -> Change {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("x");
        std::fs::File::create(&place).unwrap().set_len(size).unwrap();
        let stamp = Stamp::of(&place.metadata().unwrap());
        let file = LocalFile { path: name.to_string(), place, stamp };
        if large { Change::Large(file, Sha256::of(b"")) } else { Change::Inline(file) }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn commits_keep_order_and_bounds(sizes in proptest::collection::vec((0u64..40 << 20, any::<bool>()), 0..40)) {
            let changes: Vec<Change> = sizes.iter().enumerate().map(|(i, &(size, large))| change(i, size, large)).collect();
            let commits = split(changes.clone());
            let inline: u64 = changes.iter().map(Change::inline_bytes).sum();
            if !changes.is_empty() && inline <= MAX_INLINE_BYTES {
                prop_assert_eq!(commits.len(), 1, "what fits is one commit");
            }
            let paths = |changes: &[Change]| changes.iter().map(|change| change.file().path.clone()).collect::<Vec<_>>();
            prop_assert_eq!(commits.iter().flat_map(|commit| paths(commit)).collect::<Vec<_>>(), paths(&changes));
            for commit in &commits {
                prop_assert!(!commit.is_empty() && commit.len() <= MAX_FILES);
                let bytes: u64 = commit.iter().map(Change::inline_bytes).sum();
                prop_assert!(bytes <= MAX_INLINE_BYTES);
            }
        }
    }
}
