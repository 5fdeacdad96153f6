//! A card as HTML that can do no harm.
//!
//! ```text
//! Markdown ─ pulldown-cmark ─ events ─ Gate ─ events ─ writer ─► page
//!                                       │
//!                   raw HTML taken apart and written anew from lists of what may pass,
//!                   links resolved, depth and number of events bounded
//! ```
//! Nothing of a card reaches a page as it came. Text is escaped; of raw HTML only the tags and attributes in `allowed`
//! are written, in one canonical form with escaped values, so that a browser reads what was checked and nothing else.
//! None of these tags has a content model of its own (no script, style, form, frame, SVG, MathML), so a tag cannot mean
//! something else further on. Tags are balanced and their depth is bounded, because browsers repair nesting in more
//! than linear time. No image is loaded from elsewhere, nothing can be styled; ids and fragments carry the prefix
//! `card-`, so that they meet none of the page. The tests read the result with the tokeniser of a browser engine.

mod allowed;
mod gate;
mod links;
mod raw;
#[cfg(test)]
mod tests;

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
/// Longest HTML, in bytes.
const MAX_HTML_BYTES: usize = 4 << 20;
/// In front of ids that come from a card.
const ID_PREFIX: &str = "card-";

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
    Rendered { html, cut }
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
