//! What raw HTML of a card may say. Everything that is not here is dropped.

use super::ID_PREFIX;
use super::links::Place;

/// Tags that may pass. None of them may be one whose content is read in another way than that of the others.
const TAGS: &[&str] = &[
    "a",
    "abbr",
    "b",
    "blockquote",
    "br",
    "caption",
    "center",
    "cite",
    "code",
    "dd",
    "del",
    "details",
    "dfn",
    "div",
    "dl",
    "dt",
    "em",
    "figcaption",
    "figure",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "i",
    "img",
    "ins",
    "kbd",
    "li",
    "mark",
    "ol",
    "p",
    "pre",
    "q",
    "s",
    "samp",
    "small",
    "span",
    "strike",
    "strong",
    "sub",
    "summary",
    "sup",
    "table",
    "tbody",
    "td",
    "tfoot",
    "th",
    "thead",
    "tr",
    "tt",
    "u",
    "ul",
    "var",
];
/// Largest width, height, span or first number of a list.
const MAX_NUMBER: u16 = 4_000;
/// Longest language of a block of code, in bytes.
const MAX_LANGUAGE_BYTES: usize = 32;

/// Whether a tag may pass.
pub(super) fn tag(name: &str) -> bool {
    TAGS.contains(&name)
}

/// Value of an attribute as it may pass, not escaped.
pub(super) fn attribute(place: &Place, tag: &str, name: &str, value: &str) -> Option<String> {
    let own = || value.to_owned();
    match (tag, name) {
        ("a", "href") => place.link(value),
        ("img", "src") => place.image(value),
        (_, "id") => Some(format!("{ID_PREFIX}{value}")).filter(|id| !id.contains(char::is_whitespace)),
        ("img", "alt") | (_, "title") => Some(own()),
        (_, "lang") => value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-').then(own),
        (_, "dir") => matches!(value, "ltr" | "rtl" | "auto").then(own),
        ("code", "class") => value.strip_prefix("language-").and_then(language).map(|name| format!("language-{name}")),
        ("details", "open") => Some(String::new()),
        ("div" | "p" | "h1" | "h2" | "h3" | "h4" | "td" | "th" | "img", "align") => {
            matches!(value, "left" | "right" | "center" | "middle").then(own)
        }
        ("img", "width" | "height") | ("td" | "th", "colspan" | "rowspan") | ("ol", "start") => number(value).then(own),
        _ => None,
    }
}

/// Name of a language of code.
pub(super) fn language(name: &str) -> Option<&str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'#' | b'_');
    (!name.is_empty() && name.len() <= MAX_LANGUAGE_BYTES && name.bytes().all(plain)).then_some(name)
}

/// Whether a value is a small number, with or without a unit.
fn number(value: &str) -> bool {
    let digits = value.strip_suffix('%').or(value.strip_suffix("px")).unwrap_or(value);
    digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u16>().is_ok_and(|number| number <= MAX_NUMBER)
}
