//! Packs, xorbs and contents.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use futures::TryStreamExt;
use sha2::Digest;
use weighthouse_format::xet::hash::{HashTree, XetHash, chunk_hash, root};
use weighthouse_format::xet::shard::Term;

use super::{Damage, Damaged, FsckReport, Part};
use crate::blob::Place;
use crate::catalog::{Content, ContentRecord, PAGE, XorbRecord};
use crate::digest::Sha256;
use crate::error::{StoreError, StoreErrorKind};
use crate::{Store, blob};

/// Compares packs on record with the objects that are there.
pub(super) async fn packs(store: &Store, report: &mut FsckReport) -> Result<(), StoreError> {
    let mut objects: HashMap<String, u64> = store.blobs().list("packs").await?.into_iter().collect();
    let mut after = String::new();
    loop {
        let page = store.catalog().packs().page(&after).await?;
        for pack in &page {
            let mut found = objects.remove(&pack.id.key());
            if !pack.is_sealed {
                continue;
            }
            if found.is_none() && pack.is_needed {
                // It may have come after the objects were listed, beside this check.
                found = store.blobs().size_bytes(&pack.id.key()).await?;
            }
            report.checked.packs += 1;
            let what = format!("pack {}", pack.id);
            match found {
                // A collection that was killed between the object and its row: the next one forgets the row.
                None if !pack.is_needed => {}
                None => report.add(Part::Pack, what, "its object is missing"),
                Some(size) if size != pack.size_bytes => {
                    report.add(Part::Pack, what, format!("{size} of {} bytes are there", pack.size_bytes));
                }
                Some(size) => {
                    if let Err(error) = blob::read_table(store, &pack.id, size).await {
                        report.add(Part::Pack, what, alarm(error)?);
                    }
                }
            }
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after = last.id.to_string(),
            _ => break,
        }
    }
    report.unknown_objects = (objects.len() as u64, objects.values().sum());
    Ok(())
}

/// Words of an error that means damage; any other is an error of the check.
pub(super) fn alarm(error: StoreError) -> Result<String, StoreError> {
    match error.kind() {
        StoreErrorKind::Corrupt | StoreErrorKind::Malformed => Ok(error.to_string()),
        _ => Err(error),
    }
}

/// Checks where each xorb lies, its index, and with `deep` its bytes.
pub(super) async fn xorbs(
    store: &Store,
    deep: bool,
    report: &mut FsckReport,
    damaged: &mut Damaged,
) -> Result<(), StoreError> {
    let mut after = String::new();
    loop {
        let page = store.catalog().packs().xorb_page(&after).await?;
        for record in &page {
            report.checked.xorbs += 1;
            if let Some((damage, detail)) = xorb(store, record, deep).await? {
                report.add(Part::Xorb, format!("xorb {}", record.hash), detail);
                damaged.xorbs.insert(record.hash, damage);
            }
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after = last.hash.to_string(),
            _ => return Ok(()),
        }
    }
}

/// What is wrong with a xorb at a place.
pub(crate) async fn xorb(
    store: &Store,
    record: &XorbRecord,
    deep: bool,
) -> Result<Option<(Damage, String)>, StoreError> {
    let whole = |detail: String| Ok(Some((Damage::Whole, detail)));
    if let Err(detail) = lies_well(store, record).await? {
        return whole(detail);
    }
    store.forget_place(&record.hash);
    let place = match store.load_place(record.clone()).await {
        Ok(place) => place,
        Err(error) => return whole(alarm(error)?),
    };
    if let Some(detail) = wrong_listing(&place) {
        store.forget_place(&record.hash);
        return whole(detail);
    }
    if !deep {
        return Ok(None);
    }
    let count = place.listing.chunks.len() as u32;
    if chunks(store, &place, 0..count).await?.is_none() {
        return Ok(None);
    }
    // Something in it is wrong: what exactly, chunk by chunk.
    let (mut bad, mut first) = (BTreeSet::new(), String::new());
    for i in 0..count {
        if let Some(detail) = chunks(store, &place, i..i + 1).await? {
            if bad.is_empty() {
                first = detail;
            }
            bad.insert(i);
        }
    }
    if bad.is_empty() {
        return whole("it reads in parts only".to_owned());
    }
    let detail =
        format!("{} of {count} chunks cannot be read, the first is {}: {first}", bad.len(), bad.first().unwrap_or(&0));
    Ok(Some((Damage::Chunks(bad), detail)))
}

/// Whether a row can be true of its pack.
async fn lies_well(store: &Store, record: &XorbRecord) -> Result<Result<(), String>, StoreError> {
    let Some(pack) = store.catalog().packs().get(&record.pack).await? else {
        return Ok(Err(format!("pack {} is not on record", record.pack)));
    };
    let bounds = [(record.body_offset, record.body_len), (record.index_offset, record.index_len)];
    let leaves = bounds.iter().any(|(at, len)| at.checked_add(*len).is_none_or(|end| end > pack.size_bytes));
    Ok(match leaves {
        true => Err(format!("it leaves pack {} of {} bytes", record.pack, pack.size_bytes)),
        false => Ok(()),
    })
}

/// What does not agree in an index whose checksum is right.
fn wrong_listing(place: &Place) -> Option<String> {
    if place.listing.chunks.len() as u64 != place.record.chunks {
        return Some(format!("{} chunks are listed, {} recorded", place.listing.chunks.len(), place.record.chunks));
    }
    let pairs: Vec<(XetHash, u64)> =
        place.listing.chunks.iter().map(|chunk| (chunk.hash, u64::from(chunk.raw_len))).collect();
    let hash = root(&pairs);
    (hash != place.record.hash).then(|| format!("its chunks have the hash {hash}"))
}

/// What is wrong with a run of chunks, whose checksums and hashes are all compared.
async fn chunks(store: &Store, place: &Place, run: Range<u32>) -> Result<Option<String>, StoreError> {
    match raw_chunks(store, place, run).await {
        Ok(_) => Ok(None),
        Err(error) => alarm(error).map(Some),
    }
}

/// Reads a run of chunks and compares their hashes. Returns the number of bytes.
async fn raw_chunks(store: &Store, place: &Place, run: Range<u32>) -> Result<u64, StoreError> {
    let wanted = place.listing.chunks.get(run.start as usize..run.end as usize).unwrap_or_default();
    let mut wanted = wanted.iter();
    let mut stream = store.read(&alone(place, run)?, 0..len_of(place, wanted.as_slice()));
    let (mut buffer, mut done) = (Vec::new(), 0u64);
    let mut present = wanted.next();
    while let Some(piece) = stream.try_next().await? {
        done += piece.len() as u64;
        buffer.extend_from_slice(&piece);
        while let Some(chunk) = present {
            let len = chunk.raw_len as usize;
            let Some(raw) = buffer.get(..len) else { break };
            if chunk_hash(raw) != chunk.hash {
                return Err(StoreError::Corrupt {
                    what: format!("chunk {} in pack {}", chunk.hash, place.record.pack),
                    detail: "its bytes have another hash".to_owned(),
                });
            }
            buffer.drain(..len);
            present = wanted.next();
        }
    }
    Ok(done)
}

fn len_of(_: &Place, chunks: &[weighthouse_format::xet::xorb::XorbChunk]) -> u64 {
    chunks.iter().map(|chunk| u64::from(chunk.raw_len)).sum()
}

/// A run of chunks as if it were a file.
pub(super) fn alone(place: &Place, run: Range<u32>) -> Result<Content, StoreError> {
    let chunks = place.listing.chunks.get(run.start as usize..run.end as usize).unwrap_or_default();
    let len = len_of(place, chunks);
    let unpacked_bytes = u32::try_from(len).map_err(|_| StoreError::Corrupt {
        what: format!("xorb {}", place.record.hash),
        detail: format!("it has {len} bytes"),
    })?;
    Ok(Content {
        record: ContentRecord { sha256: Sha256([0; 32]), size_bytes: len, file_hash: XetHash::ZERO },
        terms: vec![Term { xorb: place.record.hash, unpacked_bytes, start: run.start, end: run.end }],
    })
}

/// Checks that the chunks of every content are there and have its lengths and hash, and with `deep` its SHA-256.
pub(super) async fn contents(
    store: &Store,
    deep: bool,
    report: &mut FsckReport,
    damaged: &mut Damaged,
) -> Result<(), StoreError> {
    let mut after = String::new();
    loop {
        let page = store.catalog().contents().checked_page(&after).await?;
        for (sha256, content) in &page {
            report.checked.contents += 1;
            let what = format!("content {sha256}");
            let content = match content {
                Ok(content) => content,
                Err(detail) => {
                    report.add(Part::Content, what, detail.clone());
                    damaged.contents.insert(*sha256, (0, Vec::new()));
                    continue;
                }
            };
            let size_bytes = content.record.size_bytes;
            let (mut ranges, mut detail) = terms(store, content, damaged).await?;
            if detail.is_none() && deep {
                match digest(store, content).await {
                    Ok(found) if found == *sha256 => report.checked.file_bytes += size_bytes,
                    Ok(found) => {
                        detail = Some(format!("its bytes have the SHA-256 {found}"));
                        ranges = std::iter::once(0..size_bytes).collect();
                    }
                    Err(error) => {
                        detail = Some(alarm(error)?);
                        ranges = std::iter::once(0..size_bytes).collect();
                    }
                }
            }
            if let Some(detail) = detail {
                report.add(Part::Content, what, detail);
                damaged.contents.insert(*sha256, (size_bytes, ranges));
            }
        }
        match page.last() {
            Some((last, _)) if !page.is_empty() => after = last.to_string(),
            _ => return Ok(()),
        }
    }
}

/// Bytes of a content that are lost, and what is wrong with it.
async fn terms(
    store: &Store,
    content: &Content,
    damaged: &Damaged,
) -> Result<(Vec<Range<u64>>, Option<String>), StoreError> {
    let mut lost: Vec<Range<u64>> = Vec::new();
    let mut detail = None;
    let mut tree = HashTree::new();
    let (mut at, mut is_known) = (0u64, true);
    let add = |lost: &mut Vec<Range<u64>>, range: Range<u64>| match lost.last_mut() {
        Some(last) if last.end == range.start => last.end = range.end,
        _ if range.is_empty() => {}
        _ => lost.push(range),
    };
    for term in &content.terms {
        let end = at.saturating_add(u64::from(term.unpacked_bytes));
        let damage = damaged.xorbs.get(&term.xorb);
        let place = match damage {
            Some(Damage::Whole) => None,
            _ => match store.place(&term.xorb).await {
                Ok(place) => place,
                Err(error) => {
                    alarm(error)?;
                    None
                }
            },
        };
        let chunks = place.as_ref().and_then(|place| place.listing.chunks(term.start..term.end));
        let Some(chunks) = chunks else {
            is_known = false;
            detail.get_or_insert_with(|| format!("chunks {}..{} of xorb {} are lost", term.start, term.end, term.xorb));
            add(&mut lost, at..end);
            at = end;
            continue;
        };
        let mut position = at;
        for (i, chunk) in (term.start..).zip(chunks) {
            tree.push(chunk.hash, chunk.raw_len.into());
            let next = position.saturating_add(u64::from(chunk.raw_len));
            if matches!(damage, Some(Damage::Chunks(bad)) if bad.contains(&i)) {
                detail.get_or_insert_with(|| format!("chunk {i} of xorb {} is lost", term.xorb));
                add(&mut lost, position..next);
            }
            position = next;
        }
        if position != end {
            detail.get_or_insert_with(|| {
                format!("{} bytes are named of xorb {} where {} are", end - at, term.xorb, position.saturating_sub(at))
            });
            is_known = false;
        }
        at = end;
    }
    let size_bytes = content.record.size_bytes;
    if at != size_bytes {
        detail.get_or_insert_with(|| format!("its chunks have {at} of {size_bytes} bytes"));
        lost = std::iter::once(0..size_bytes).collect();
    } else if is_known && tree.file_hash() != content.record.file_hash {
        detail.get_or_insert_with(|| "its chunks have another file hash".to_owned());
        lost = std::iter::once(0..size_bytes).collect();
    }
    Ok((lost, detail))
}

/// SHA-256 of a content's bytes.
async fn digest(store: &Store, content: &Content) -> Result<Sha256, StoreError> {
    let mut hasher = sha2::Sha256::new();
    let mut stream = store.read(content, 0..content.record.size_bytes);
    while let Some(piece) = stream.try_next().await? {
        hasher.update(&piece);
    }
    Ok(Sha256(hasher.finalize().into()))
}
