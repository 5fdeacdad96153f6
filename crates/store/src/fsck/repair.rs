//! Mending from what is still there: rows from the tables of packs, xorbs from their own bytes, from former places, and from
//! other xorbs with the same chunks. Nothing is put on record that was not compared with its hash.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use weighthouse_format::xet::hash::XetHash;
use weighthouse_format::xet::xorb::{XorbBuilder, XorbVerifier};

use super::bytes::{alarm, alone, xorb as damage_of};
use super::{Damage, Damaged, FsckReport, Part};
use crate::Store;
use crate::blob::{self, PackWriter, Place};
use crate::catalog::{PAGE, XorbForm, XorbRecord};
use crate::error::StoreError;

/// Longest body of a xorb that is read at once, in bytes: beyond what the format allows.
const MOST_BODY: u64 = 80 << 20;

/// Finds xorbs that contents name and that have no row, and puts those back whose packs still have them.
pub(super) async fn rows(store: &Store, report: &mut FsckReport) -> Result<(), StoreError> {
    let mut missing = missing_xorbs(store).await?;
    if missing.is_empty() {
        return Ok(());
    }
    for hash in &missing {
        report.add(Part::Xorb, format!("xorb {hash}"), "files name it and it is not on record");
    }
    let mut after = String::new();
    loop {
        let page = store.catalog().packs().page(&after).await?;
        for pack in page.iter().filter(|pack| pack.is_sealed) {
            let table = match blob::read_table(store, &pack.id, pack.size_bytes).await {
                Ok(table) => table,
                Err(error) => {
                    alarm(error)?;
                    continue;
                }
            };
            for record in table {
                if missing.contains(&record.hash) && damage_of(store, &record, true).await?.is_none() {
                    let is_put = store.catalog().moves().put_back(&record, &dedup_of(store, &record).await?).await?;
                    if is_put {
                        missing.remove(&record.hash);
                        report
                            .mend(&format!("xorb {}", record.hash), "its row was put back from the table of its pack");
                    }
                }
            }
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after = last.id.to_string(),
            _ => return Ok(()),
        }
    }
}

async fn missing_xorbs(store: &Store) -> Result<HashSet<XetHash>, StoreError> {
    let mut named: HashSet<XetHash> = HashSet::new();
    let mut after = String::new();
    loop {
        let page = store.catalog().contents().checked_page(&after).await?;
        for (_, content) in &page {
            named.extend(content.iter().flat_map(|content| content.terms.iter().map(|term| term.xorb)));
        }
        match page.last() {
            Some((last, _)) => after = last.to_string(),
            None => break,
        }
    }
    let mut position = String::new();
    loop {
        let page = store.catalog().packs().xorb_page(&position).await?;
        page.iter().for_each(|record| {
            named.remove(&record.hash);
        });
        match page.last() {
            Some(last) if page.len() == PAGE => position = last.hash.to_string(),
            _ => return Ok(named),
        }
    }
}

/// Chunks of a xorb by which duplicates are found.
async fn dedup_of(store: &Store, record: &XorbRecord) -> Result<Vec<XetHash>, StoreError> {
    let place = store.load_place(record.clone()).await?;
    let marked = place.listing.chunks.iter().enumerate();
    Ok(marked
        .filter(|(i, chunk)| *i == 0 || chunk.hash.is_global_dedup_eligible())
        .map(|(_, chunk)| chunk.hash)
        .collect())
}

/// Mends damaged xorbs; what is mended is damaged no more.
pub(super) async fn xorbs(store: &Store, report: &mut FsckReport, damaged: &mut Damaged) -> Result<(), StoreError> {
    let mut broken: Vec<XetHash> = damaged.xorbs.keys().copied().collect();
    broken.sort_unstable();
    let mut others: Option<HashMap<XetHash, Vec<(XetHash, u32)>>> = None;
    for hash in broken {
        let Some(record) = store.catalog().packs().xorbs(&[hash]).await?.pop() else { continue };
        let mut how = None;
        if from_former(store, &record).await? {
            how = Some("its former place is used again");
        } else if from_body(store, &record).await? {
            how = Some("its index was computed anew from its bytes");
        } else if let Some(place) = readable_listing(store, &record).await? {
            if others.is_none() {
                others = Some(wanted_chunks(store, damaged).await?);
            }
            if let Some(others) = &others
                && from_others(store, &place, damaged.xorbs.get(&hash), others).await?
            {
                how = Some("it was put together again from xorbs with the same chunks");
            }
        }
        if let Some(how) = how {
            store.forget_place(&hash);
            damaged.xorbs.remove(&hash);
            report.mend(&format!("xorb {hash}"), how);
        }
    }
    Ok(())
}

async fn from_former(store: &Store, record: &XorbRecord) -> Result<bool, StoreError> {
    for former in store.catalog().moves().former(&record.hash).await? {
        if damage_of(store, &former, true).await?.is_none() {
            store.catalog().moves().back(&former).await?;
            return Ok(true);
        }
    }
    store.forget_place(&record.hash);
    Ok(false)
}

/// Computes the listing anew from chunk records that are whole.
async fn from_body(store: &Store, record: &XorbRecord) -> Result<bool, StoreError> {
    if record.body_len > MOST_BODY || record.form != XorbForm::Arrived {
        return Ok(false);
    }
    let Some(end) = record.body_offset.checked_add(record.body_len) else { return Ok(false) };
    let body = match store.blobs().read(&record.pack.key(), record.body_offset..end).await {
        Ok(body) => body,
        Err(error) => {
            alarm_or_storage(error)?;
            return Ok(false);
        }
    };
    let hash = record.hash;
    let checked = {
        let body = body.clone();
        blob::blocking(move || {
            let mut verifier = XorbVerifier::new();
            verifier.push(&body)?;
            verifier.finish(&hash)
        })
        .await?
    };
    let Ok(listing) = checked else { return Ok(false) };
    let mut writer = PackWriter::begin(store).await?;
    writer.write(&body).await?;
    writer.end_xorb(listing, &[]);
    writer.finish_in_place(store, None).await?;
    Ok(true)
}

async fn readable_listing(store: &Store, record: &XorbRecord) -> Result<Option<Arc<Place>>, StoreError> {
    store.forget_place(&record.hash);
    match store.load_place(record.clone()).await {
        Ok(place) => Ok(Some(place)),
        Err(error) => alarm_or_storage(error).map(|()| None),
    }
}

/// A missing object or a short one is damage here, whatever the storage calls it.
fn alarm_or_storage(error: StoreError) -> Result<(), StoreError> {
    match error {
        StoreError::Storage { .. } => Ok(()),
        error => alarm(error).map(drop),
    }
}

/// For every chunk of a damaged xorb: where else it lies.
async fn wanted_chunks(store: &Store, damaged: &Damaged) -> Result<HashMap<XetHash, Vec<(XetHash, u32)>>, StoreError> {
    let mut wanted: HashMap<XetHash, Vec<(XetHash, u32)>> = HashMap::new();
    let hashes: Vec<XetHash> = damaged.xorbs.keys().copied().collect();
    for record in store.catalog().packs().xorbs(&hashes).await? {
        if let Some(place) = readable_listing(store, &record).await? {
            for (i, chunk) in place.listing.chunks.iter().enumerate() {
                let is_bad = match damaged.xorbs.get(&record.hash) {
                    Some(Damage::Chunks(bad)) => bad.contains(&(i as u32)),
                    _ => true,
                };
                if is_bad {
                    wanted.entry(chunk.hash).or_default();
                }
            }
        }
    }
    let mut after = String::new();
    loop {
        let page = store.catalog().packs().xorb_page(&after).await?;
        for record in &page {
            let whole = matches!(damaged.xorbs.get(&record.hash), Some(Damage::Whole));
            if whole || wanted.is_empty() {
                continue;
            }
            let Some(place) = readable_listing(store, record).await? else { continue };
            for (i, chunk) in place.listing.chunks.iter().enumerate() {
                if let Some(found) = wanted.get_mut(&chunk.hash)
                    && found.len() < 4
                {
                    found.push((record.hash, i as u32));
                }
            }
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after = last.hash.to_string(),
            _ => return Ok(wanted),
        }
    }
}

/// Puts a xorb together from its own whole chunks and those of others.
async fn from_others(
    store: &Store,
    place: &Arc<Place>,
    damage: Option<&Damage>,
    others: &HashMap<XetHash, Vec<(XetHash, u32)>>,
) -> Result<bool, StoreError> {
    let mut builder = XorbBuilder::default();
    for (i, chunk) in (0u32..).zip(&place.listing.chunks) {
        let is_bad = match damage {
            Some(Damage::Chunks(bad)) => bad.contains(&i),
            _ => true,
        };
        let mut places = Vec::new();
        if !is_bad {
            places.push((place.record.hash, i));
        }
        places.extend(others.get(&chunk.hash).into_iter().flatten().copied());
        let Some(raw) = first_readable(store, &places, &chunk.hash).await? else { return Ok(false) };
        builder.push_hashed(chunk.hash, &raw)?;
    }
    let body = builder.drain();
    let built = builder.finish()?;
    if built.listing.hash != place.record.hash {
        return Ok(false);
    }
    let mut writer = PackWriter::begin(store).await?;
    writer.write(&body).await?;
    writer.end_xorb(built.listing, &[]);
    writer.finish_in_place(store, None).await?;
    Ok(true)
}

async fn first_readable(
    store: &Store,
    places: &[(XetHash, u32)],
    hash: &XetHash,
) -> Result<Option<Vec<u8>>, StoreError> {
    for (xorb, i) in places {
        let Ok(Some(place)) = store.place(xorb).await else { continue };
        let content = alone(&place, *i..*i + 1)?;
        let pieces: Result<Vec<Bytes>, StoreError> =
            store.read(&content, 0..content.record.size_bytes).try_collect().await;
        match pieces {
            Ok(pieces) => {
                let raw = pieces.concat();
                if weighthouse_format::xet::hash::chunk_hash(&raw) == *hash {
                    return Ok(Some(raw));
                }
            }
            Err(error) => alarm_or_storage(error)?,
        }
    }
    Ok(None)
}
