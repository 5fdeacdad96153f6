//! Packs: objects that hold one or more xorbs, as they arrived or coded.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 6 | `WHPACK` |
//! | 6 | 1 | version, 1 |
//! | 7 | 1 | form, 0: Xet chunk records as received; 1: coded blocks |
//! | 8 | 8 | zero |
//! | 16 | | bodies: the chunk records, or the stored bytes of the blocks, of each xorb, back to back |
//! | | | indexes: one for each xorb, see [`super::index`] and [`super::blocks`] |
//! | | 60 n | table: hash (32), body offset u64, body length u64, index offset u64, chunks u32 |
//! | | 4 | number of xorbs u32 |
//! | | 4 | CRC-32C of the table and the number |
//! | | 8 | `WHPACKED` |
//!
//! Integers are little-endian. The catalog repeats the table, so that reading never needs it; it is there so that
//! a lost catalog can be rebuilt.

use weighthouse_format::xet::hash::XetHash;
use weighthouse_format::xet::xorb::XorbListing;

use super::blocks::{self, Blocks};
use super::index;
use crate::Store;
use crate::backend::ObjectWriter;
use crate::catalog::{PackId, SealedPack, XorbForm, XorbRecord};
use crate::error::StoreError;

const HEADER: [u8; 16] = *b"WHPACK\x01\0\0\0\0\0\0\0\0\0";
/// Byte of the header that says the form.
const FORM_AT: usize = 7;
const END: &[u8; 8] = b"WHPACKED";

/// A pack being written. It is on record as unfinished before its first byte, so that a sweep finds it.
#[derive(Debug)]
pub struct PackWriter {
    id: PackId,
    object: ObjectWriter,
    /// Where the body of the present xorb begins.
    body_offset: u64,
    xorbs: Vec<Ended>,
    dedup: Vec<(XetHash, XetHash)>,
}

/// A xorb whose body is written.
#[derive(Debug)]
struct Ended {
    body: std::ops::Range<u64>,
    listing: XorbListing,
    coded: Option<(Blocks, u64)>,
}

impl PackWriter {
    /// Begins a pack of xorbs as they arrive.
    pub async fn begin(store: &Store) -> Result<Self, StoreError> {
        Self::begin_form(store, XorbForm::Arrived).await
    }

    /// Begins a pack of coded xorbs.
    pub(super) async fn begin_coded(store: &Store) -> Result<Self, StoreError> {
        Self::begin_form(store, XorbForm::Coded).await
    }

    async fn begin_form(store: &Store, form: XorbForm) -> Result<Self, StoreError> {
        let id = store.catalog().packs().begin(store.clock().now_ms()).await?;
        let mut object = store.blobs().begin(&id.key()).await?;
        let mut header = HEADER;
        header[FORM_AT] = u8::from(form == XorbForm::Coded);
        object.write(&header).await?;
        Ok(Self { id, body_offset: object.written(), object, xorbs: Vec::new(), dedup: Vec::new() })
    }

    /// Appends bytes to the body of the present xorb.
    pub async fn write(&mut self, body: &[u8]) -> Result<(), StoreError> {
        self.object.write(body).await
    }

    /// Ends the present xorb, whose body has been written.
    ///
    /// - `firsts`: indices of chunks that begin a file, ascending
    pub fn end_xorb(&mut self, listing: XorbListing, firsts: &[u32]) {
        let xorb = listing.hash;
        let mark = |(i, hash): (usize, XetHash)| {
            let marked = i == 0 || hash.is_global_dedup_eligible() || firsts.binary_search(&(i as u32)).is_ok();
            marked.then_some((hash, xorb))
        };
        self.dedup.extend(listing.chunks.iter().map(|chunk| chunk.hash).enumerate().filter_map(mark));
        self.end(listing, None);
    }

    /// Ends the present xorb, whose blocks have been written.
    pub(super) fn end_coded(&mut self, listing: XorbListing, blocks: Blocks, depth: u64) {
        self.end(listing, Some((blocks, depth)));
    }

    fn end(&mut self, listing: XorbListing, coded: Option<(Blocks, u64)>) {
        let body = self.body_offset..self.object.written();
        self.body_offset = body.end;
        self.xorbs.push(Ended { body, listing, coded });
    }

    /// Makes the pack durable without putting it on record, and says what is in it.
    pub(super) async fn finish_apart(mut self, store: &Store) -> Result<SealedPack, StoreError> {
        let sealed = match self.write_end().await {
            Ok(sealed) => sealed,
            Err(error) => {
                self.abort(store).await;
                return Err(error);
            }
        };
        if let Err(error) = self.object.finish().await {
            remove(store, &sealed.id).await?;
            return Err(error);
        }
        Ok(sealed)
    }

    /// Makes the pack durable and puts it on record. A pack that brings nothing new is removed again.
    pub async fn finish(self, store: &Store) -> Result<(), StoreError> {
        let sealed = self.finish_apart(store).await?;
        if store.catalog().packs().seal(&sealed).await? == 0 {
            remove(store, &sealed.id).await?;
        }
        Ok(())
    }

    /// Makes the pack durable; its xorbs lie here from now on instead of where they lay. With `from` those move that lie in
    /// that pack, and clients may use their former places for a while. Returns the bytes of the pack.
    pub(crate) async fn finish_in_place(self, store: &Store, from: Option<(PackId, i64)>) -> Result<u64, StoreError> {
        let sealed = self.finish_apart(store).await?;
        let from = from.as_ref().map(|(pack, now_ms)| (pack, *now_ms));
        if store.catalog().moves().swap(&sealed, from).await? == 0 {
            remove(store, &sealed.id).await?;
        }
        sealed.xorbs.iter().for_each(|record| store.forget_place(&record.hash));
        Ok(sealed.size_bytes)
    }

    /// Writes indexes and table.
    async fn write_end(&mut self) -> Result<SealedPack, StoreError> {
        let mut records = Vec::with_capacity(self.xorbs.len());
        let mut table = Vec::new();
        for Ended { body, listing, coded } in &self.xorbs {
            let (index, form, depth, encoder) = match coded {
                Some((coded, depth)) => (blocks::encode(listing, coded), XorbForm::Coded, *depth, super::ENCODER),
                None => (index::encode(listing), XorbForm::Arrived, 0, 0),
            };
            let record = XorbRecord {
                hash: listing.hash,
                pack: self.id.clone(),
                form,
                depth,
                encoder,
                body_offset: body.start,
                body_len: body.end - body.start,
                index_offset: self.object.written(),
                index_len: index.len() as u64,
                raw_len: listing.raw_len.into(),
                chunks: listing.chunks.len() as u64,
            };
            self.object.write(&index).await?;
            table.extend_from_slice(record.hash.as_bytes());
            for number in [record.body_offset, record.body_len, record.index_offset] {
                table.extend_from_slice(&number.to_le_bytes());
            }
            table.extend_from_slice(&(listing.chunks.len() as u32).to_le_bytes());
            records.push(record);
        }
        table.extend_from_slice(&(records.len() as u32).to_le_bytes());
        let crc = crc_fast::crc32_iscsi(&table);
        table.extend_from_slice(&crc.to_le_bytes());
        table.extend_from_slice(END);
        self.object.write(&table).await?;
        Ok(SealedPack {
            id: self.id.clone(),
            size_bytes: self.object.written(),
            xorbs: records,
            dedup: std::mem::take(&mut self.dedup),
        })
    }

    /// Gives the pack up and removes what was written of it.
    pub async fn abort(self, store: &Store) {
        self.object.abort().await;
        if let Err(error) = remove(store, &self.id).await {
            tracing::debug!(pack.id = %self.id, %error, "abandoned pack left for the sweep");
        }
    }
}

/// Removes a pack's object and then its row.
pub(crate) async fn remove(store: &Store, id: &PackId) -> Result<(), StoreError> {
    store.blobs().delete(&id.key()).await?;
    store.catalog().packs().forget(id).await
}
