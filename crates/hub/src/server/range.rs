//! Conditional and ranged requests: `Range`, `If-Range`, `If-None-Match`.
//!
//! Choices that RFC 9110 leaves open, made here once: a `Range` that cannot be parsed, or has
//! another unit, is ignored (200 with the whole file); overlapping or more than
//! [`MAX_PARTS`] ranges are ignored too; dates in `If-Range` never match, because files have no
//! date, only an ETag.
//!
//! Source: RFC 9110, sections 8.8, 13 and 14.

use http::header::{IF_NONE_MATCH, IF_RANGE, RANGE};
use http::{HeaderMap, HeaderValue};

use crate::wire::error::ErrorReply;

/// Most ranges that one request may name.
pub const MAX_PARTS: usize = 256;

/// Bytes of a file: `start` to `end`, both included, inside the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u64,
    /// Last byte, at least `start`.
    pub end: u64,
}

impl Span {
    /// Number of bytes, at least 1.
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        (self.end - self.start).saturating_add(1)
    }

    /// Value of `Content-Range` for a file of `size_bytes`.
    #[must_use]
    pub fn content_range(&self, size_bytes: u64) -> String {
        format!("bytes {}-{}/{size_bytes}", self.start, self.end)
    }
}

/// What a request asks of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// All of it: 200.
    Whole,
    /// One or more parts in the order asked, never empty: 206.
    Parts(Vec<Span>),
    /// Parts, none of which exists: 416.
    Unsatisfiable,
}

/// Decides what `Range` and `If-Range` ask of a file.
///
/// # Shapes and units
/// - `size_bytes`: size of the file
/// - `etag`: its strong ETag with quotes
#[must_use]
pub fn asked(headers: &HeaderMap, size_bytes: u64, etag: &str) -> Asked {
    let Some(range) = headers.get(RANGE).and_then(text) else {
        return Asked::Whole;
    };
    // An empty file has no byte to ask for; clients that probe with `bytes=0-0` want to learn just that.
    if size_bytes == 0 {
        return Asked::Whole;
    }
    // A weak validator never matches here: `If-Range` compares strongly.
    if headers.get(IF_RANGE).is_some_and(|value| text(value) != Some(etag)) {
        return Asked::Whole;
    }
    parse(range, size_bytes)
}

/// As [`asked`], for handlers that send one part: several ranges are answered with all.
///
/// # Errors
/// 416 with the size, when no byte asked for exists.
pub fn one_span(headers: &HeaderMap, size_bytes: u64, etag: &str) -> Result<Option<Span>, ErrorReply> {
    match asked(headers, size_bytes, etag) {
        Asked::Whole => Ok(None),
        Asked::Parts(spans) => Ok(match spans.as_slice() {
            [only] => Some(*only),
            _ => None,
        }),
        Asked::Unsatisfiable => Err(ErrorReply::range_unsatisfiable(size_bytes)),
    }
}

/// Whether `If-None-Match` names this ETag (then 304), comparing weakly.
#[must_use]
pub fn not_modified(headers: &HeaderMap, etag: &str) -> bool {
    headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(text)
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

fn text(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok().map(str::trim)
}

fn parse(range: &str, size_bytes: u64) -> Asked {
    let Some((unit, list)) = range.split_once('=') else {
        return Asked::Whole;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Asked::Whole;
    }
    let mut spans: Vec<Span> = Vec::new();
    let mut any = false;
    for (number, part) in list.split(',').map(str::trim).filter(|p| !p.is_empty()).enumerate() {
        any = true;
        let Some(span) = part_of(part, size_bytes) else {
            return Asked::Whole;
        };
        if number == MAX_PARTS {
            return Asked::Whole;
        }
        spans.extend(span);
    }
    if !any || overlap(&spans) {
        Asked::Whole
    } else if spans.is_empty() {
        Asked::Unsatisfiable
    } else {
        Asked::Parts(spans)
    }
}

/// `None` if the part is no range, `Some(None)` if it lies outside of the file.
fn part_of(part: &str, size_bytes: u64) -> Option<Option<Span>> {
    let (first, last) = part.split_once('-')?;
    let (first, last) = (first.trim(), last.trim());
    let end_of_file = size_bytes.checked_sub(1);
    if first.is_empty() {
        let count = number(last)?;
        let span = end_of_file.filter(|_| count > 0).map(|end| Span { start: size_bytes.saturating_sub(count), end });
        return Some(span);
    }
    let start = number(first)?;
    let end = if last.is_empty() { u64::MAX } else { number(last)? };
    if end < start {
        return None;
    }
    let span = end_of_file
        .filter(|&end_of_file| start <= end_of_file)
        .map(|end_of_file| Span { start, end: end.min(end_of_file) });
    Some(span)
}

/// A decimal number; one too large for `u64` is as good as the largest.
fn number(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(u64::MAX))
}

fn overlap(spans: &[Span]) -> bool {
    let mut sorted = spans.to_vec();
    sorted.sort_unstable_by_key(|span| span.start);
    sorted.windows(2).any(|pair| matches!(pair, [a, b] if b.start <= a.end))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ETAG: &str = "\"abc\"";

    fn headers(pairs: &[(http::HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    fn range(value: &str, size_bytes: u64) -> Asked {
        asked(&headers(&[(RANGE, value)]), size_bytes, ETAG)
    }

    fn parts(spans: &[(u64, u64)]) -> Asked {
        Asked::Parts(spans.iter().map(|&(start, end)| Span { start, end }).collect())
    }

    #[test]
    fn each_form_names_its_bytes() {
        for (value, want) in [
            ("bytes=0-0", parts(&[(0, 0)])),
            ("bytes=2-4", parts(&[(2, 4)])),
            ("bytes=2-", parts(&[(2, 9)])),
            ("bytes=-3", parts(&[(7, 9)])),
            ("bytes=-30", parts(&[(0, 9)])),
            ("bytes=0-100000", parts(&[(0, 9)])),
            ("bytes=9-99999999999999999999999", parts(&[(9, 9)])),
            ("BYTES = 1 - 2 ", parts(&[(1, 2)])),
            ("bytes=0-1, 4-5", parts(&[(0, 1), (4, 5)])),
            ("bytes=4-5,0-1", parts(&[(4, 5), (0, 1)])),
            ("bytes=0-1,100-", parts(&[(0, 1)])),
        ] {
            assert_eq!(range(value, 10), want, "{value}");
        }
    }

    #[test]
    fn bytes_that_do_not_exist_are_unsatisfiable() {
        for value in ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=99999999999999999999-"] {
            assert_eq!(range(value, 10), Asked::Unsatisfiable, "{value}");
        }
        let reply = one_span(&headers(&[(RANGE, "bytes=10-")]), 10, ETAG).unwrap_err().into_http();
        assert_eq!(reply.status(), 416);
        assert_eq!(reply.headers()["content-range"], "bytes */10");
    }

    #[test]
    fn an_empty_file_is_sent_whole_whatever_is_asked() {
        for value in ["bytes=0-", "bytes=0-0", "bytes=-1"] {
            assert_eq!(range(value, 0), Asked::Whole, "{value} of nothing");
        }
    }

    #[test]
    fn what_is_no_range_is_ignored() {
        for value in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=-",
            "bytes=a-b",
            "bytes=5-2",
            "bytes=+1-2",
            "bytes=1-2-3",
            "bytes=0-1,x",
            "chunks=0-1",
            "bytes=0-5,3-8",
        ] {
            assert_eq!(range(value, 10), Asked::Whole, "{value}");
        }
        let many = vec!["0-0"; MAX_PARTS + 1].join(",");
        assert_eq!(range(&format!("bytes={many}"), 10), Asked::Whole);
    }

    #[test]
    fn if_range_lets_only_the_same_strong_etag_through() {
        for (value, ranged) in [(ETAG, true), ("\"other\"", false), ("W/\"abc\"", false), ("Mon, 23 Nov 2026", false)] {
            let headers = headers(&[(RANGE, "bytes=0-1"), (IF_RANGE, value)]);
            assert_eq!(asked(&headers, 10, ETAG) != Asked::Whole, ranged, "{value}");
        }
    }

    #[test]
    fn if_none_match_compares_weakly_in_a_list() {
        for (value, same) in
            [(ETAG, true), ("W/\"abc\"", true), ("\"x\", \"abc\"", true), ("*", true), ("\"x\"", false), ("abc", false)]
        {
            assert_eq!(not_modified(&headers(&[(IF_NONE_MATCH, value)]), ETAG), same, "{value}");
        }
        assert!(!not_modified(&HeaderMap::new(), ETAG));
    }

    #[test]
    fn several_ranges_are_answered_whole_where_one_is_expected() {
        let several = headers(&[(RANGE, "bytes=0-1,4-5")]);
        assert_eq!(one_span(&several, 10, ETAG).unwrap(), None);
        let one = headers(&[(RANGE, "bytes=-4")]);
        let span = one_span(&one, 10, ETAG).unwrap().unwrap();
        assert_eq!((span.len_bytes(), span.content_range(10)), (4, "bytes 6-9/10".to_owned()));
    }

    proptest! {
        #[test]
        fn parts_always_lie_inside_the_file(
            value in "(bytes=)?[0-9,\\- a]{0,40}", size_bytes in 0u64..30,
        ) {
            if let Asked::Parts(spans) = parse(&value, size_bytes) {
                prop_assert!(!spans.is_empty());
                for span in spans {
                    prop_assert!(span.start <= span.end && span.end < size_bytes);
                }
            }
        }
    }
}
