//! Packs of which little is needed are copied into smaller ones.

use futures::TryStreamExt;

use super::pack::PackWriter;
use crate::Store;
use crate::catalog::{PackId, XorbForm, XorbRecord};
use crate::error::{StoreError, StoreErrorKind};

/// Bytes that are copied at once.
const PIECE_BYTES: u64 = 1 << 20;

impl Store {
    /// Copies what is needed of sparse packs. Returns how many were copied, and the bytes that are free once their former
    /// places are forgotten. A damaged pack is left as it is.
    pub(crate) async fn compact(&self, now_ms: i64) -> Result<(u64, u64), StoreError> {
        let mut done = (0, 0);
        for (pack, size_bytes) in self.catalog().moves().sparse().await? {
            let Some(written) = self.compact_pack(&pack, now_ms).await? else {
                tracing::warn!(pack.id = %pack, "a pack is damaged and was not copied: run `wh admin fsck`");
                continue;
            };
            done.0 += 1;
            done.1 += size_bytes.saturating_sub(written);
        }
        Ok(done)
    }

    async fn compact_pack(&self, pack: &PackId, now_ms: i64) -> Result<Option<u64>, StoreError> {
        let records = self.catalog().moves().xorbs_in(pack).await?;
        let Some(form) = records.first().map(|record| record.form) else { return Ok(Some(0)) };
        let mut writer = match form {
            XorbForm::Arrived => PackWriter::begin(self).await?,
            XorbForm::Coded => PackWriter::begin_coded(self).await?,
        };
        for record in records {
            let copied = if record.form == form { self.copy(&mut writer, record).await } else { Err(mixed(pack)) };
            if let Err(error) = copied {
                writer.abort(self).await;
                return match error.kind() {
                    StoreErrorKind::Corrupt => Ok(None),
                    _ => Err(error),
                };
            }
        }
        writer.finish_in_place(self, Some((pack.clone(), now_ms))).await.map(Some)
    }

    async fn copy(&self, writer: &mut PackWriter, record: XorbRecord) -> Result<(), StoreError> {
        let depth = record.depth;
        let place = self.read_place(record).await?;
        let key = place.record.pack.key();
        let (start, len) = (place.record.body_offset, place.record.body_len);
        let pieces = (0..len.div_ceil(PIECE_BYTES)).map(|i| {
            let at = start.saturating_add(i * PIECE_BYTES);
            at..at.saturating_add(PIECE_BYTES.min(len - i * PIECE_BYTES))
        });
        let mut pieces = Box::pin(
            futures::stream::iter(pieces.map(Ok::<_, StoreError>))
                .and_then(|range| async { self.blobs().read(&key, range).await }),
        );
        while let Some(piece) = pieces.try_next().await? {
            writer.write(&piece).await?;
        }
        match place.blocks {
            Some(blocks) => writer.end_coded(place.listing, blocks, depth),
            None => writer.end_xorb(place.listing, &[]),
        }
        Ok(())
    }
}

fn mixed(pack: &PackId) -> StoreError {
    StoreError::Corrupt { what: format!("pack {pack}"), detail: "it holds xorbs of two forms".to_owned() }
}
