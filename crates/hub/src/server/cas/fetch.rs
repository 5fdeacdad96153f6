//! Stored bytes of xorbs, for whoever was shown the way.

use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use futures::StreamExt;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use weighthouse::format::xet::hash::XetHash;
use weighthouse::xet::{Fetchable, PackId};

use super::holder::hash;
use crate::server::app::App;
use crate::server::files::{answer, text};
use crate::server::range::{Asked, Span, asked};
use crate::server::sign::{Purpose, SignedQuery};
use crate::server::visitor::refuse;
use crate::wire::error::ErrorReply;
use crate::wire::query::Query;

/// `GET /xet/fetch/{xorb}/{pack}/{ranges}`: bytes of a xorb as it lay in that pack, under a signed address.
pub(super) async fn fetch(
    State(app): State<App>,
    Path((xorb, pack, ranges)): Path<(String, String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ErrorReply> {
    let query = Query::parse(query.as_deref().unwrap_or(""))?;
    SignedQuery::from_query(&query)
        .and_then(|signed| signed.check(app.signer(), Purpose::XorbFetch, &[&xorb, &pack, &ranges], app.now_s()))
        .map_err(|refused| ErrorReply::forbidden(format!("this address is not valid: {refused}")))?;
    let xorb = hash(&xorb)?;
    let pack = PackId::parse(&pack).ok_or_else(|| ErrorReply::bad_request("the address names no pack"))?;
    let allowed: Vec<(u64, u64)> = ranges
        .split(',')
        .filter_map(|range| range.split_once('-'))
        .filter_map(|(start, end)| Some((start.parse().ok()?, end.parse().ok()?)))
        .collect();
    let found = app.hub().fetchable(&xorb, &pack).await.map_err(refuse)?;
    let len = found.body_len();
    let spans = match asked(&headers, len, "") {
        Asked::Parts(spans) => spans,
        Asked::Unsatisfiable => return Err(ErrorReply::range_unsatisfiable(len)),
        Asked::Whole => match allowed.as_slice() {
            [(start, end)] => vec![Span { start: *start, end: *end }],
            _ => return Err(ErrorReply::bad_request("name one of the ranges of this address")),
        },
    };
    for span in &spans {
        if !allowed.iter().any(|(start, end)| *start <= span.start && span.end <= *end) {
            return Err(ErrorReply::forbidden("these bytes are not what this address is for"));
        }
    }
    let mut reply_headers = HeaderMap::new();
    reply_headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let [span] = spans.as_slice() {
        let range = span.start..span.end.saturating_add(1);
        reply_headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        reply_headers.insert(header::CONTENT_RANGE, text(&span.content_range(len))?);
        reply_headers.insert(header::CONTENT_LENGTH, (range.end - range.start).into());
        let body = found.stream(range).map_err(refuse)?;
        return answer(StatusCode::PARTIAL_CONTENT, reply_headers, Body::from_stream(body));
    }
    multipart(&found, &xorb, spans, reply_headers)
}

/// Several ranges in one answer (RFC 9110, 14.6).
fn multipart(
    found: &Fetchable,
    xorb: &XetHash,
    spans: Vec<Span>,
    mut headers: HeaderMap,
) -> Result<Response, ErrorReply> {
    let boundary = format!("weighthouse-{xorb}");
    headers.insert(header::CONTENT_TYPE, text(&format!("multipart/byteranges; boundary={boundary}"))?);
    let mut parts: Vec<weighthouse::ByteStream> = Vec::with_capacity(2 * spans.len() + 1);
    let literal = |text: String| -> weighthouse::ByteStream {
        Box::pin(futures::stream::once(async move { Ok(Bytes::from(text)) }))
    };
    for span in spans {
        let head = format!(
            "\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: {}\r\n\r\n",
            span.content_range(found.body_len())
        );
        parts.push(literal(head));
        parts.push(found.stream(span.start..span.end.saturating_add(1)).map_err(refuse)?);
    }
    parts.push(literal(format!("\r\n--{boundary}--\r\n")));
    answer(StatusCode::PARTIAL_CONTENT, headers, Body::from_stream(futures::stream::iter(parts).flatten()))
}
