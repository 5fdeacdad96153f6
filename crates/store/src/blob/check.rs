//! Proving that a stored xorb is what it is called.

use bytes::{Bytes, BytesMut};
use weighthouse_format::xet::hash::{XetHash, chunk_hash, xorb_hash};

use super::index::Place;
use super::ingest::blocking;
use super::read::Raw;
use crate::Store;
use crate::error::StoreError;

/// Chunks that are read and hashed at a time: a few megabytes.
const CHUNKS_AT_ONCE: usize = 64;

impl Store {
    /// Decodes every chunk of a xorb where it lies now and compares all checksums and hashes.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] says what is wrong, and where; also when the xorb is not on record.
    pub async fn check_xorb(&self, hash: &XetHash) -> Result<(), StoreError> {
        let place = self.fresh_place(hash).await?.ok_or_else(|| StoreError::Corrupt {
            what: format!("xorb {hash}"),
            detail: "it is not on record".to_owned(),
        })?;
        self.check_place(&place).await
    }

    /// The same for a xorb in a pack that need not be on record yet.
    pub(super) async fn check_place(&self, place: &Place) -> Result<(), StoreError> {
        let chunks = &place.listing.chunks;
        let named: Vec<(XetHash, u64)> = chunks.iter().map(|chunk| (chunk.hash, chunk.raw_len.into())).collect();
        if xorb_hash(&named) != place.record.hash {
            return Err(StoreError::Corrupt {
                what: format!("index of xorb {} in pack {}", place.record.hash, place.record.pack),
                detail: "its chunks are not those of this xorb".to_owned(),
            });
        }
        for start in (0..chunks.len()).step_by(CHUNKS_AT_ONCE) {
            let end = (start + CHUNKS_AT_ONCE).min(chunks.len());
            let pieces = self.read_chunks(place, Raw::chunks(&place.listing, start..end), 0).await?;
            let wanted: Vec<(XetHash, u32)> =
                named[start..end].iter().map(|(hash, len)| (*hash, *len as u32)).collect();
            let wrong = blocking(move || first_wrong(pieces, &wanted)).await?;
            if let Some(number) = wrong {
                return Err(StoreError::Corrupt {
                    what: format!(
                        "chunk {} of xorb {} in pack {}",
                        start + number,
                        place.record.hash,
                        place.record.pack
                    ),
                    detail: "its bytes are not those of its hash".to_owned(),
                });
            }
        }
        Ok(())
    }
}

/// Number of the first chunk whose bytes have another hash.
fn first_wrong(pieces: Vec<Bytes>, wanted: &[(XetHash, u32)]) -> Option<usize> {
    let mut pieces = pieces.into_iter();
    let mut piece = Bytes::new();
    for (number, (hash, len)) in wanted.iter().enumerate() {
        let mut raw = BytesMut::with_capacity(*len as usize);
        while raw.len() < *len as usize {
            if piece.is_empty() {
                let Some(next) = pieces.next() else { return Some(number) };
                piece = next;
            }
            raw.extend_from_slice(&piece.split_to((*len as usize - raw.len()).min(piece.len())));
        }
        if chunk_hash(&raw) != *hash {
            return Some(number);
        }
    }
    None
}
