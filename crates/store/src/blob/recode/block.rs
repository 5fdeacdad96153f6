//! One xorb as coded blocks.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use weighthouse_format::Dtype;
use weighthouse_format::xet::hash::XetHash;
use weighthouse_format::xet::xorb::XorbListing;

use super::super::blocks::{self, BlockBase, Blocks, MAX_BASES, MAX_BLOCKS, StoredBlock};
use super::super::codec::{self, Block, Level, Plan, Sample};
use super::super::index::Place;
use super::super::ingest::blocking;
use super::bases::{Base, Bases};
use super::map::XorbRun;
use super::{Pace, RunBase};
use crate::Store;
use crate::catalog::Makeup;
use crate::digest::Sha256;
use crate::error::{StoreError, StoreErrorKind};

/// Blocks that are coded in one go.
const WINDOW_BLOCKS: usize = 8;
/// Samples of a run that codecs are tried on, and bytes of each, about.
const SAMPLES: usize = 3;
const SAMPLE_BYTES: usize = 32 << 10;

/// A xorb as it is going to lie.
#[derive(Debug)]
pub(super) struct CodedXorb {
    pub listing: XorbListing,
    pub blocks: Blocks,
    /// Stored bytes of the blocks.
    pub bytes: Vec<Vec<u8>>,
    pub depth: u64,
    /// The bases, each with all of its xorbs.
    pub needs: Vec<(Sha256, Vec<XetHash>)>,
}

impl CodedXorb {
    /// Bytes that it is going to take, index included.
    pub fn len(&self) -> u64 {
        let stored: usize = self.bytes.iter().map(Vec::len).sum();
        (stored + blocks::encoded_len(&self.listing, &self.blocks)) as u64
    }

    /// Bytes by codec and base.
    pub fn makeup(&self) -> Vec<Makeup> {
        let mut sums: BTreeMap<(&'static str, Option<Sha256>), (u64, u64)> = BTreeMap::new();
        for block in &self.blocks.blocks {
            let base = block.base.and_then(|base| self.blocks.bases.get(base.number as usize)).copied();
            let sum = sums.entry((block.descriptor.codec.name(), base)).or_default();
            sum.0 += u64::from(block.descriptor.raw_len);
            sum.1 += u64::from(block.descriptor.stored_len);
        }
        let makeup = |((codec, base), (raw_bytes, stored_bytes)): ((&str, _), _)| Makeup {
            codec: codec.to_owned(),
            base,
            raw_bytes,
            stored_bytes,
        };
        sums.into_iter().map(makeup).collect()
    }

    /// Appends a block that may lean on `base`, whose element beside the block's first is at `offset`.
    fn push(&mut self, block: Block, base: Option<(&Base, u64)>) -> Option<()> {
        let needed = block.descriptor.needs_base(&block.bytes);
        let base = match base.filter(|_| needed) {
            Some((base, offset)) => {
                let known = self.blocks.bases.iter().position(|known| *known == base.sha256);
                let number = known.unwrap_or_else(|| {
                    self.blocks.bases.push(base.sha256);
                    self.needs.push((base.sha256, base.xorbs.iter().copied().collect()));
                    self.blocks.bases.len() - 1
                });
                self.depth = self.depth.max(base.depth + 1);
                Some(BlockBase { number: number as u32, offset })
            }
            None => None,
        };
        let (raw_start, stored_start) =
            self.blocks.blocks.last().map_or((0, 0), |last| (last.raw().end as u32, last.stored().end as u32));
        self.blocks.blocks.push(StoredBlock { descriptor: block.descriptor, raw_start, stored_start, base });
        self.bytes.push(block.bytes);
        (self.blocks.blocks.len() <= MAX_BLOCKS && self.blocks.bases.len() <= MAX_BASES).then_some(())
    }
}

impl Store {
    /// Codes a xorb; `None` when it would have more blocks than may be, or when the work is to end.
    pub(super) async fn code_xorb(
        &self,
        place: &Place,
        runs: &[XorbRun],
        level: Level,
        bases: &mut Bases<'_>,
        pace: &Pace,
    ) -> Result<Option<CodedXorb>, StoreError> {
        let raw = Bytes::from(self.raw_xorb(place).await?);
        let chunks = place.listing.chunks.iter().map(|chunk| (chunk.hash, chunk.raw_len));
        let Some(listing) = blocks::virtual_listing(place.record.hash, chunks) else { return Ok(None) };
        let most = self.catalog().recodes().most_depth(&place.record).await?;
        let mut coded =
            CodedXorb { listing, blocks: Blocks::default(), bytes: Vec::new(), depth: 0, needs: Vec::new() };
        let mut at = 0u64;
        let end = raw.len() as u64;
        let bytes = |range: Range<u64>| XorbRun { range, dtype: Dtype::U8, base: None };
        for run in runs {
            if run.range.start < at || run.range.end > end {
                continue;
            }
            let base = match run.base {
                Some(base) => bases.get(&base.sha256, &place.record, most).await?.map(|found| (found, base)),
                None => None,
            };
            let gap = bytes(at..run.range.start);
            at = run.range.end;
            for (run, base) in [(&gap, None), (run, base)] {
                if self.code_run(&raw, run, base, level, pace, &mut coded).await?.is_none() {
                    return Ok(None);
                }
            }
        }
        let done = self.code_run(&raw, &bytes(at..end), None, level, pace, &mut coded).await?;
        Ok(done.map(|()| coded))
    }

    /// Codes one run, a few blocks at a time.
    async fn code_run(
        &self,
        raw: &Bytes,
        run: &XorbRun,
        base: Option<(Arc<Base>, RunBase)>,
        level: Level,
        pace: &Pace,
        coded: &mut CodedXorb,
    ) -> Result<Option<()>, StoreError> {
        let data = raw.slice(run.range.start as usize..run.range.end as usize);
        if data.is_empty() {
            return Ok(Some(()));
        }
        let base = base.filter(|(found, base)| {
            let len = beside(run.dtype, base, 0, data.len()).and_then(|range| base.offset.checked_add(range.end));
            len.is_some_and(|end| end <= found.size_bytes)
        });
        let plan = self.choose(&data, run.dtype, base.as_ref(), level).await?;
        let step = codec::block_bytes(run.dtype);
        let mut begin = 0;
        while begin < data.len() {
            if pace.stopped() {
                return Ok(None);
            }
            let window = data.slice(begin..(begin + WINDOW_BLOCKS * step).min(data.len()));
            let beside_window = match &base {
                Some((_, base)) => self.beside(run.dtype, base, begin, window.len()).await?,
                None => None,
            };
            let (dtype, base_dtype) = (run.dtype, base.as_ref().map(|(_, base)| base.dtype));
            let began = Instant::now();
            let blocks = blocking(move || {
                let mut out = Vec::with_capacity(WINDOW_BLOCKS);
                for (number, piece) in window.chunks(step).enumerate() {
                    let from = base_dtype.map(|base| {
                        scaled(number * step, dtype, base)..scaled(number * step + piece.len(), dtype, base)
                    });
                    let base = beside_window.as_ref().zip(from).and_then(|(bytes, range)| bytes.get(range));
                    out.push(plan.encode_block(piece, base));
                }
                out
            })
            .await?;
            pace.rest(began).await;
            for (number, block) in blocks.into_iter().enumerate() {
                let lean = base.as_ref().map(|(found, base)| {
                    let at = scaled(begin + number * step, run.dtype, base.dtype) as u64;
                    (&**found, base.offset + at)
                });
                if coded.push(block, lean).is_none() {
                    return Ok(None);
                }
            }
            begin += WINDOW_BLOCKS * step;
        }
        Ok(Some(()))
    }

    /// Tries codecs on samples of a run.
    async fn choose(
        &self,
        data: &Bytes,
        dtype: Dtype,
        base: Option<&(Arc<Base>, RunBase)>,
        level: Level,
    ) -> Result<Plan, StoreError> {
        let unit = codec::unit_bytes(dtype);
        let sample = (SAMPLE_BYTES / unit * unit).min(data.len());
        let count = if data.len() <= sample { 1 } else { SAMPLES };
        let mut samples = Vec::with_capacity(count);
        for i in 0..count {
            let begin = (data.len() - sample) / unit * i / SAMPLES.saturating_sub(1).max(1) * unit;
            let raw = data.slice(begin..begin + sample);
            let beside = match base {
                Some((_, base)) => self.beside(dtype, base, begin, sample).await?,
                None => None,
            };
            samples.push((raw, beside));
        }
        let base_dtype = base.map(|(_, base)| base.dtype);
        blocking(move || {
            let samples: Vec<Sample> =
                samples.iter().map(|(raw, base)| Sample { raw, base: base.as_deref() }).collect();
            Plan::choose(dtype, base_dtype, level, &samples)
        })
        .await
    }

    /// The elements of a base beside `len` bytes of a run from `begin` on; none where the base is damaged there.
    async fn beside(
        &self,
        dtype: Dtype,
        base: &RunBase,
        begin: usize,
        len: usize,
    ) -> Result<Option<Bytes>, StoreError> {
        let Some(range) = beside(dtype, base, begin, len) else { return Ok(None) };
        let (Some(start), Some(end)) = (base.offset.checked_add(range.start), base.offset.checked_add(range.end))
        else {
            return Ok(None);
        };
        match self.read_run(&base.sha256, start..end, 0).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == StoreErrorKind::Corrupt => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Bytes of a base beside `len` bytes from `begin` on, from its own first element.
fn beside(dtype: Dtype, base: &RunBase, begin: usize, len: usize) -> Option<Range<u64>> {
    let end = begin.checked_add(len)?;
    Some(scaled(begin, dtype, base.dtype) as u64..scaled(end, dtype, base.dtype) as u64)
}

/// So many bytes of elements of one type as bytes of another.
fn scaled(bytes: usize, dtype: Dtype, other: Dtype) -> usize {
    bytes / codec::word_bytes(dtype) * codec::word_bytes(other)
}
