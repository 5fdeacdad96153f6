//! How a file is put together, and what a client must know to change a part of it.

use std::collections::BTreeSet;
use std::ops::Range;

use axum::extract::{Path, RawQuery};
use axum::response::{IntoResponse, Json, Response};
use http::header;
use weighthouse::Error;
use weighthouse::format::xet::hash::XetHash;
use weighthouse::xet::{PackId, Reconstruction};

use super::holder::{Holder, hash};
use crate::server::sign::{Purpose, SignedQuery};
use crate::server::visitor::refuse;
use crate::wire::error::ErrorReply;
use crate::wire::query::Query;
use crate::wire::xet::{
    BatchReconstruction, ByteRange, ChunkRange, FetchInfo, FetchRange, MultiFetch, ReconstructionV1, ReconstructionV2,
    Term,
};

async fn plan(holder: &Holder, file: &str) -> Result<Reconstruction, ErrorReply> {
    let file = hash(file)?;
    let range = match holder.headers.get(header::RANGE).and_then(|value| value.to_str().ok()) {
        Some(value) => Some(byte_range(value).ok_or_else(|| ErrorReply::bad_request("the range is not understood"))?),
        None => None,
    };
    holder.app.hub().reconstruction(&holder.caller, &holder.repo, &file, range).await.map_err(refuse)
}

/// `bytes=a-b` or `bytes=a-`, before the size of the file is known.
fn byte_range(value: &str) -> Option<(u64, Option<u64>)> {
    let (start, end) = value.strip_prefix("bytes=")?.split_once('-')?;
    let end = match end.trim() {
        "" => None,
        end => Some(end.parse().ok()?),
    };
    Some((start.trim().parse().ok()?, end))
}

/// Files in one question.
const MAX_FILES: usize = 100;

fn terms(plan: &Reconstruction) -> Vec<Term> {
    let term = |term: &weighthouse::format::xet::shard::Term| Term {
        hash: term.xorb.to_string(),
        unpacked_length: term.unpacked_bytes,
        range: ChunkRange { start: term.start, end: term.end },
    };
    plan.terms.iter().map(term).collect()
}

/// An address that serves exactly these bytes of a xorb, until it expires. The ranges end inclusively.
fn fetch_url(holder: &Holder, xorb: &XetHash, pack: &PackId, ranges: &[Range<u64>]) -> String {
    let (xorb, pack) = (xorb.to_string(), pack.to_string());
    let ranges: Vec<String> = ranges.iter().map(|range| format!("{}-{}", range.start, range.end - 1)).collect();
    let ranges = ranges.join(",");
    let expires_s = holder.app.now_s() + holder.app.options().signed_url_lifetime.as_secs();
    let signed = SignedQuery::new(holder.app.signer(), Purpose::XorbFetch, expires_s, &[&xorb, &pack, &ranges]);
    format!("{}/xet/fetch/{xorb}/{pack}/{ranges}?{signed}", holder.base)
}

fn wire(range: &Range<u64>) -> ByteRange {
    ByteRange { start: range.start, end: range.end - 1 }
}

/// One address for each run of chunks.
fn fetch_info(holder: &Holder, plan: &Reconstruction) -> impl Iterator<Item = (String, Vec<FetchInfo>)> {
    plan.fetches.iter().map(|(xorb, fetches)| {
        let infos = fetches.runs.iter().map(|fetch| FetchInfo {
            range: ChunkRange { start: fetch.chunks.start, end: fetch.chunks.end },
            url: fetch_url(holder, xorb, &fetches.pack, std::slice::from_ref(&fetch.bytes)),
            url_range: wire(&fetch.bytes),
        });
        (xorb.to_string(), infos.collect())
    })
}

/// `GET /v1/reconstructions/{file}`
pub(super) async fn reconstruction_v1(holder: Holder, Path(file): Path<String>) -> Result<Response, ErrorReply> {
    let plan = plan(&holder, &file).await?;
    let answer = ReconstructionV1 {
        offset_into_first_range: plan.offset_into_first_term,
        terms: terms(&plan),
        fetch_info: fetch_info(&holder, &plan).collect(),
    };
    Ok(Json(answer).into_response())
}

/// `GET /v1/reconstructions?file_id=…&file_id=…`: whole files; what this repository was not
/// given is left out, and what a policy keeps back.
pub(super) async fn reconstructions(holder: Holder, RawQuery(query): RawQuery) -> Result<Response, ErrorReply> {
    let query = Query::parse(query.as_deref().unwrap_or(""))?;
    let files: BTreeSet<XetHash> = query.values("file_id").map(hash).collect::<Result<_, _>>()?;
    if files.len() > MAX_FILES {
        return Err(ErrorReply::bad_request(format!("at most {MAX_FILES} files can be asked for at once")));
    }
    let mut answer = BatchReconstruction::default();
    for file in files {
        let plan = match holder.app.hub().reconstruction(&holder.caller, &holder.repo, &file, None).await {
            Err(Error::NotFound { .. } | Error::Blocked { .. }) => continue,
            found => found.map_err(refuse)?,
        };
        answer.files.insert(file.to_string(), terms(&plan));
        for (xorb, infos) in fetch_info(&holder, &plan) {
            answer.fetch_info.entry(xorb).or_default().extend(infos);
        }
    }
    Ok(Json(answer).into_response())
}

/// Ranges behind one address: it must stay short.
const RANGES_PER_URL: usize = 64;

/// `GET /v2/reconstructions/{file}`
pub(super) async fn reconstruction_v2(holder: Holder, Path(file): Path<String>) -> Result<Response, ErrorReply> {
    let plan = plan(&holder, &file).await?;
    let xorbs = plan.fetches.iter().map(|(xorb, fetches)| {
        let groups = fetches.runs.chunks(RANGES_PER_URL).map(|group| {
            let bytes: Vec<Range<u64>> = group.iter().map(|fetch| fetch.bytes.clone()).collect();
            let ranges = group.iter().map(|fetch| FetchRange {
                chunks: ChunkRange { start: fetch.chunks.start, end: fetch.chunks.end },
                bytes: wire(&fetch.bytes),
            });
            MultiFetch { url: fetch_url(&holder, xorb, &fetches.pack, &bytes), ranges: ranges.collect() }
        });
        (xorb.to_string(), groups.collect())
    });
    let answer = ReconstructionV2 {
        offset_into_first_range: plan.offset_into_first_term,
        terms: terms(&plan),
        xorbs: xorbs.collect(),
    };
    Ok(Json(answer).into_response())
}
