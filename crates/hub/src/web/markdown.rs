//! A card as HTML that can do no harm.
//!
//! ```text
//! Markdown ─ pulldown-cmark ─ events ─ Gate ─ HTML ─ ammonia ─► page
//!                                       │
//!                   raw HTML taken apart and written anew, links resolved,
//!                   depth and number of events bounded
//! ```
//! The gate exists because HTML repair is super-linear in nesting: it hands the sanitiser only balanced tags, at most
//! [`MAX_DEPTH`] deep. The sanitiser then has the last word about tags, attributes and addresses. No image is loaded
//! from elsewhere, nothing can be styled, no form, no script; ids and fragments carry the prefix `card-`, so that they
//! meet none of the page.

mod gate;
mod links;
mod raw;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use ammonia::{Builder, UrlRelative};
use pulldown_cmark::{Options, Parser};

pub use links::Place;

/// Longest Markdown that is rendered, in bytes; longer texts are cut at a line.
pub const MAX_MARKDOWN_BYTES: usize = 512 << 10;
/// Elements inside each other.
const MAX_DEPTH: usize = 48;
/// Raw tags inside each other. HTML repair may repeat all of them in front of every following piece.
const MAX_RAW_DEPTH: usize = 16;
/// Raw tags of one text.
const MAX_RAW_TAGS: usize = 10_000;
/// Events of one text; a line of prose has about five.
const MAX_EVENTS: usize = 100_000;
/// Longest HTML before it is sanitised, in bytes.
const MAX_HTML_BYTES: usize = 4 << 20;
/// In front of ids that come from a card.
const ID_PREFIX: &str = "card-";

/// Tags that a card may use, beside those that Markdown makes.
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

/// Rendered Markdown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    /// Safe HTML.
    pub html: String,
    /// Whether the end is missing because the text is too long.
    pub cut: bool,
}

/// Renders a card that lies at a place, to which its relative links refer.
#[must_use]
pub fn render(markdown: &str, place: &Place) -> Rendered {
    let shown = first_bytes(markdown, MAX_MARKDOWN_BYTES);
    let options =
        Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut gate = gate::Gate::new(Parser::new_ext(shown, options), place);
    let mut html = String::new();
    pulldown_cmark::html::push_html(&mut html, &mut gate);
    // The writer aligns cells by inline style, which the policy of our pages forbids.
    for side in ["left", "center", "right"] {
        html = html.replace(&format!(" style=\"text-align: {side}\">"), &format!(" align=\"{side}\">"));
    }
    let cut = gate.is_cut() || shown.len() < markdown.len();
    Rendered { html: SANITISER.clean(&html).to_string(), cut }
}

/// The beginning of a text that is too long, up to the end of a line.
fn first_bytes(text: &str, limit: usize) -> &str {
    if text.len() <= limit {
        return text;
    }
    let mut end = limit;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let whole = text.get(..end).unwrap_or_default();
    whole.rfind('\n').and_then(|line| whole.get(..line)).unwrap_or(whole)
}

static SANITISER: LazyLock<Builder<'static>> = LazyLock::new(|| {
    let set = |names: &[&'static str]| names.iter().copied().collect::<HashSet<&'static str>>();
    let attributes: HashMap<&str, HashSet<&str>> = [
        ("a", set(&["href"])),
        ("code", set(&["class"])),
        ("details", set(&["open"])),
        ("div", set(&["align"])),
        ("h1", set(&["align"])),
        ("h2", set(&["align"])),
        ("h3", set(&["align"])),
        ("img", set(&["src", "alt", "width", "height", "align"])),
        ("ol", set(&["start"])),
        ("p", set(&["align"])),
        ("td", set(&["align", "colspan", "rowspan"])),
        ("th", set(&["align", "colspan", "rowspan", "scope"])),
    ]
    .into();
    let mut builder = Builder::empty();
    builder
        .tags(set(TAGS))
        .clean_content_tags(set(&["script", "style"]))
        .tag_attributes(attributes)
        .generic_attributes(set(&["id", "title", "lang", "dir"]))
        .url_schemes(set(&["http", "https", "mailto"]))
        .url_relative(UrlRelative::PassThrough)
        .link_rel(Some("nofollow noopener noreferrer ugc"))
        .id_prefix(Some(ID_PREFIX))
        .attribute_filter(|tag, attribute, value| match (tag, attribute) {
            // The gate lets only own files pass; this is the second lock.
            ("img", "src") if value.starts_with('/') && !value.starts_with("//") && !value.contains('\\') => {
                Some(value.into())
            }
            ("img", "src") => None,
            ("a", "href") => match value.strip_prefix('#') {
                // Links that Markdown itself makes, to footnotes.
                Some(id) if !id.starts_with(ID_PREFIX) => Some(format!("#{ID_PREFIX}{id}").into()),
                _ => Some(value.into()),
            },
            ("code", "class") => language(value),
            (_, "width" | "height" | "colspan" | "rowspan" | "start") => number(value),
            _ => Some(value.into()),
        });
    builder
});

/// The language of a block of code; no other class may pass.
fn language(class: &str) -> Option<Cow<'_, str>> {
    let name = class.strip_prefix("language-")?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'#' | b'_');
    (name.len() <= 32 && name.bytes().all(plain)).then_some(class.into())
}

/// A small number, with or without a percent sign; more spans would only cost the reader's browser.
fn number(value: &str) -> Option<Cow<'_, str>> {
    let digits = value.strip_suffix('%').or(value.strip_suffix("px")).unwrap_or(value);
    digits.parse::<u16>().is_ok_and(|number| number <= 4_000).then_some(value.into())
}
