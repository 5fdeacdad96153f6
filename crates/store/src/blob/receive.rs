//! Taking in a xorb from a Xet client: verified while it streams into a pack.

use bytes::Bytes;
use weighthouse_format::FormatError;
use weighthouse_format::xet::hash::XetHash;
use weighthouse_format::xet::xorb::XorbVerifier;

use super::ingest::blocking;
use super::pack::PackWriter;
use crate::Store;
use crate::catalog::RepoKey;
use crate::error::StoreError;

/// Why a xorb was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// The bytes are not the xorb they claim to be.
    #[error(transparent)]
    Malformed(#[from] FormatError),
    /// It could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A xorb on its way in.
#[derive(Debug)]
pub struct ReceivedXorb {
    store: Store,
    hash: XetHash,
    verifier: Option<Box<XorbVerifier>>,
    /// `None` when the xorb is on record already; its bytes are verified all the same, since they prove possession.
    writer: Option<PackWriter>,
}

impl ReceivedXorb {
    /// Begins the xorb that the client calls `hash`.
    pub async fn begin(store: &Store, hash: XetHash) -> Result<Self, StoreError> {
        // Not the cache, which may remember what another process removed.
        let known = !store.catalog().packs().xorbs(&[hash]).await?.is_empty();
        let writer = if known { None } else { Some(PackWriter::begin(store).await?) };
        Ok(Self { store: store.clone(), hash, verifier: Some(Box::default()), writer })
    }

    /// Takes the next bytes. After an error the xorb must be given up with [`ReceivedXorb::abort`].
    pub async fn push(&mut self, data: Bytes) -> Result<(), ReceiveError> {
        let Some(mut verifier) = self.verifier.take() else { return Ok(()) };
        let piece = data.clone();
        let (verifier, body) = blocking(move || {
            let body = verifier.push(&piece);
            (verifier, body)
        })
        .await?;
        self.verifier = Some(verifier);
        let body = body?;
        if let Some(writer) = &mut self.writer {
            writer.write(data.get(..body).unwrap_or_default()).await?;
        }
        Ok(())
    }

    /// Compares the hash, stores the xorb and notes who holds it. Returns whether it was new.
    pub async fn finish(mut self, repo: &RepoKey, account: &str) -> Result<bool, ReceiveError> {
        let verifier = self.verifier.take().unwrap_or_default();
        let listing = match verifier.finish(&self.hash) {
            Ok(listing) => listing,
            Err(error) => {
                self.abort().await;
                return Err(error.into());
            }
        };
        let new = self.writer.is_some();
        if let Some(mut writer) = self.writer.take() {
            writer.end_xorb(listing, &[]);
            writer.finish(&self.store).await?;
        }
        self.store.catalog().packs().hold(&[self.hash], repo, account).await?;
        Ok(new)
    }

    /// Gives the xorb up; nothing of it stays.
    pub async fn abort(mut self) {
        if let Some(writer) = self.writer.take() {
            writer.abort(&self.store).await;
        }
    }
}
