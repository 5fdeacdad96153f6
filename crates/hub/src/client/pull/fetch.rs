//! One file over plain HTTP: in ranges, over several connections, hashed as it grows.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt};
use http::{StatusCode, header};
use reqwest::{Method, Response};
use tokio::sync::Semaphore;

use super::super::api::Api;
use super::super::error::ClientError;
use super::super::meter::Meter;
use super::blocking;
use super::partial::Partial;
use super::plan::{Digest, Hasher, RemoteFile};

/// Bytes asked for at once; a file above this size comes over several connections.
pub(super) const SEGMENT_BYTES: u64 = 16 << 20;
/// Bytes gathered before they are written.
const WRITE_BYTES: usize = 512 << 10;
/// Bytes read back for hashing at once.
const READ_BYTES: usize = 1 << 20;

/// What files are fetched with.
#[derive(Clone)]
pub(super) struct Fetcher {
    pub(super) api: Api,
    pub(super) meter: Meter,
    /// One permit for each connection.
    pub(super) streams: Arc<Semaphore>,
    /// Connections for one file.
    pub(super) parallel: usize,
}

impl Fetcher {
    /// Fetches a file from `address` into a partial file below `parts`, verifies it, and moves it to `to`.
    ///
    /// # Errors
    /// [`ClientError::Damaged`] when it arrived wrong, and wrong again from the beginning.
    pub(super) async fn fetch(
        &self,
        address: &str,
        file: &RemoteFile,
        parts: &Path,
        name: &str,
        to: &Path,
    ) -> Result<(), ClientError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let (folder, part_name, wanted) = (parts.to_owned(), name.to_owned(), file.clone());
            let part = Arc::new(blocking(move || Partial::open(&folder, &part_name, &wanted)).await?);
            self.meter.add_bytes(part.here_bytes());
            let filled = self.fill(address, file, &part).await;
            let digest = match filled {
                Ok(digest) => digest,
                Err(error) => {
                    blocking(move || {
                        part.pause();
                        Ok(())
                    })
                    .await?;
                    return Err(error);
                }
            };
            let part =
                Arc::into_inner(part).ok_or_else(|| ClientError::Internal("a task outlived its file".to_owned()))?;
            if digest == file.digest {
                let to = to.to_owned();
                return blocking(move || part.finish(&to)).await;
            }
            blocking(move || part.discard()).await?;
            self.meter.take_back_bytes(file.size_bytes);
            if attempt == 2 {
                let (expected, actual) = (file.digest.to_string(), digest.to_string());
                return Err(ClientError::Damaged { path: file.path.clone(), expected, actual });
            }
            tracing::warn!(path = file.path, "a file arrived damaged; fetching it again from the beginning");
        }
    }

    async fn fill(&self, address: &str, file: &RemoteFile, part: &Arc<Partial>) -> Result<Digest, ClientError> {
        let gaps = part.gaps(SEGMENT_BYTES);
        let segments = futures::stream::iter(gaps)
            .map(|gap| self.segment(address, file, part, gap))
            .buffer_unordered(self.parallel.max(1))
            .try_collect::<()>();
        let (_, digest) = futures::try_join!(segments, hash(part, file))?;
        Ok(digest)
    }

    /// Fetches one range, going on from where a connection broke.
    async fn segment(
        &self,
        address: &str,
        file: &RemoteFile,
        part: &Arc<Partial>,
        range: Range<u64>,
    ) -> Result<(), ClientError> {
        let _permit = self.streams.acquire().await.map_err(|error| ClientError::Internal(error.to_string()))?;
        let mut retry = self.api.retry();
        let mut at = range.start;
        while at < range.end {
            let from = at;
            if let Err(error) = self.stream(address, file, part, &mut at, range.end).await {
                if at > from {
                    retry.reset();
                }
                retry.pause(error).await?;
            }
        }
        Ok(())
    }

    /// One request; `at` moves with every byte that was written.
    async fn stream(
        &self,
        address: &str,
        file: &RemoteFile,
        part: &Arc<Partial>,
        at: &mut u64,
        end: u64,
    ) -> Result<(), ClientError> {
        let what = "downloading";
        let mut request = self.api.request(Method::GET, address);
        if (*at, end) != (0, file.size_bytes) {
            request = request.header(header::RANGE, format!("bytes={at}-{}", end - 1));
        }
        let mut answer = self.api.send(what, request).await?;
        let mut skip = first_byte(&answer, file, *at)?;
        let mut held = BytesMut::new();
        while *at + (held.len() as u64) < end {
            let piece = match self.api.piece(what, &mut answer).await {
                Ok(Some(piece)) => piece,
                broken => {
                    // What came before the break counts.
                    self.write(part, at, held.split().freeze()).await?;
                    let early =
                        ClientError::Connection { what: what.to_owned(), why: "the answer ended too early".to_owned() };
                    return Err(broken.err().unwrap_or(early));
                }
            };
            self.meter.add_wire(piece.len() as u64);
            let unwanted = usize::try_from(skip).unwrap_or(usize::MAX).min(piece.len());
            skip -= unwanted as u64;
            let room = end - *at - held.len() as u64;
            let piece = piece.slice(unwanted..);
            held.extend_from_slice(piece.get(..usize::try_from(room).unwrap_or(usize::MAX)).unwrap_or(&piece));
            if held.len() >= WRITE_BYTES {
                self.write(part, at, held.split().freeze()).await?;
            }
        }
        self.write(part, at, held.freeze()).await
    }

    async fn write(&self, part: &Arc<Partial>, at: &mut u64, bytes: Bytes) -> Result<(), ClientError> {
        let len = bytes.len() as u64;
        if len == 0 {
            return Ok(());
        }
        let (part, offset) = (Arc::clone(part), *at);
        blocking(move || part.write(offset, &bytes)).await?;
        *at += len;
        self.meter.add_bytes(len);
        Ok(())
    }
}

/// How many bytes of an answer come before the one asked for: none, unless the server does not know ranges.
fn first_byte(answer: &Response, file: &RemoteFile, at: u64) -> Result<u64, ClientError> {
    let wrong = |why: String| ClientError::nonsense("downloading", format!("`{}`: {why}", file.path));
    if answer.status() != StatusCode::PARTIAL_CONTENT {
        return match answer.content_length() {
            Some(len) if len != file.size_bytes => {
                Err(wrong(format!("{len} bytes are sent, {} are listed", file.size_bytes)))
            }
            _ => Ok(at),
        };
    }
    let range = answer.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let parsed = range.strip_prefix("bytes ").and_then(|range| {
        let (span, total) = range.split_once('/')?;
        Some((span.split_once('-')?.0.parse::<u64>().ok()?, total))
    });
    match parsed {
        Some((start, total)) if start == at && (total == "*" || total == file.size_bytes.to_string()) => Ok(0),
        _ => Err(wrong(format!(
            "asked for bytes from {at} of {}, got `{}`",
            file.size_bytes,
            super::super::error::plain(range)
        ))),
    }
}

/// Hashes a file from its beginning as far as it has grown, until it is complete.
async fn hash(part: &Arc<Partial>, file: &RemoteFile) -> Result<Digest, ClientError> {
    let mut frontier = part.frontier();
    let mut hasher = Hasher::new(&file.digest, file.size_bytes);
    let mut at = 0;
    while at < file.size_bytes {
        let grown = frontier.wait_for(|frontier| *frontier > at).await;
        let to = *grown.map_err(|error| ClientError::Internal(error.to_string()))?;
        let part = Arc::clone(part);
        hasher = blocking(move || {
            let mut block = vec![0; READ_BYTES];
            while at < to {
                let len = usize::try_from(to - at).unwrap_or(usize::MAX).min(block.len());
                let block = block.get_mut(..len).unwrap_or_default();
                part.read(at, block)?;
                hasher.update(block);
                at += len as u64;
            }
            Ok(hasher)
        })
        .await?;
        at = to;
    }
    Ok(hasher.finish())
}
