//! Raw HTML of a card, taken apart into tags that are written anew.
//!
//! Nothing is passed on as it came: of a tag the name and the attributes are read and written in one canonical form,
//! and what is no tag is written as text. So a reader after this one sees the same tags.

/// A piece of raw HTML.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Text; entities are left as they are.
    Text(&'a str),
    /// A `<` that begins no tag.
    Less,
    /// `<name …>`, the name in lower case.
    Open { name: String, attributes: Vec<(String, String)> },
    /// `</name>`
    Close { name: String },
}

/// Elements whose content is no text for readers.
const MUTE: &[&str] =
    &["script", "style", "textarea", "title", "iframe", "noscript", "template", "svg", "math", "object"];
/// Longest tag, in bytes; a longer one is text.
const MAX_TAG_BYTES: usize = 4_096;
/// Beginnings of tags that come to nothing, after which every `<` is text: each costs a look ahead.
const MAX_MISSES: usize = 500;
/// Attributes of one tag that are looked at.
const MAX_ATTRIBUTES: usize = 32;

/// Takes raw HTML apart. Comments, declarations and elements without text are dropped.
pub(super) fn pieces(html: &str) -> Vec<Piece<'_>> {
    let mut found = Vec::new();
    let mut misses = 0;
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        let (text, tag) = rest.split_at(at);
        if !text.is_empty() {
            found.push(Piece::Text(text));
        }
        let inside = tag.get(1..).unwrap_or_default();
        rest = if let Some(comment) = inside.strip_prefix("!--") {
            comment.find("-->").and_then(|end| comment.get(end + 3..)).unwrap_or_default()
        } else if inside.starts_with(['!', '?']) {
            inside.find('>').and_then(|end| inside.get(end + 1..)).unwrap_or_default()
        } else if misses < MAX_MISSES
            && let Some((piece, length)) = tag_at(head(inside))
        {
            let after = inside.get(length..).unwrap_or_default();
            let mute = match &piece {
                Piece::Open { name, .. } if MUTE.contains(&name.as_str()) => Some(name.clone()),
                _ => None,
            };
            match mute {
                Some(name) => after_end_of(&name, after),
                None => {
                    found.push(piece);
                    after
                }
            }
        } else {
            misses += 1;
            found.push(Piece::Less);
            inside
        };
    }
    if !rest.is_empty() {
        found.push(Piece::Text(rest));
    }
    found
}

/// What follows `</name …>`, or nothing.
fn after_end_of<'a>(name: &str, html: &'a str) -> &'a str {
    let mut rest = html;
    while let Some(at) = rest.find("</") {
        let inside = rest.get(at + 2..).unwrap_or_default();
        if inside.get(..name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name)) {
            return inside.find('>').and_then(|end| inside.get(end + 1..)).unwrap_or_default();
        }
        rest = inside;
    }
    ""
}

/// As much of a text as one tag may take.
fn head(html: &str) -> &str {
    let mut end = html.len().min(MAX_TAG_BYTES);
    while !html.is_char_boundary(end) {
        end -= 1;
    }
    html.get(..end).unwrap_or_default()
}

/// Reads a tag behind its `<`; gives it and its length.
fn tag_at(text: &str) -> Option<(Piece<'static>, usize)> {
    let (closes, html) = match text.strip_prefix('/') {
        Some(html) => (true, html),
        None => (false, text),
    };
    let end = html.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(html.len());
    let (name, mut rest) = html.split_at(end);
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || name.len() > 16 {
        return None;
    }
    let name = name.to_ascii_lowercase();
    let mut attributes = Vec::new();
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
        if let Some(after) = rest.strip_prefix('>') {
            let piece = if closes { Piece::Close { name } } else { Piece::Open { name, attributes } };
            return Some((piece, text.len() - after.len()));
        }
        let (attribute, after) = attribute_at(rest)?;
        if attributes.len() < MAX_ATTRIBUTES {
            attributes.extend(attribute);
        }
        rest = after;
    }
}

/// Reads one attribute; `None` at the end of the text.
fn attribute_at(html: &str) -> Option<(Option<(String, String)>, &str)> {
    let ends_name = |c: char| c.is_ascii_whitespace() || matches!(c, '=' | '>' | '/');
    let end = html.find(ends_name).filter(|&end| end > 0 || html.starts_with('='))?;
    // A stray `=` is taken as a name of its own, so that something is always consumed.
    let end = end.max(1);
    let (name, rest) = html.split_at(end);
    let well_formed = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let trimmed = rest.trim_start();
    let Some(value) = trimmed.strip_prefix('=') else {
        return Some((well_formed.then(|| (name.to_ascii_lowercase(), String::new())), rest));
    };
    let value = value.trim_start();
    let (value, rest) = match value.chars().next()? {
        quote @ ('"' | '\'') => value.get(1..)?.split_once(quote)?,
        _ => value.split_at(value.find(|c: char| c.is_ascii_whitespace() || c == '>')?),
    };
    Some((well_formed.then(|| (name.to_ascii_lowercase(), value.replace("&amp;", "&"))), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(name: &str, attributes: &[(&str, &str)]) -> Piece<'static> {
        let attributes = attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Piece::Open { name: name.to_owned(), attributes }
    }

    #[test]
    fn tags_are_read_in_all_their_spellings() {
        let found = pieces("a<B X=1 y='2>' z=\"&amp;3\" w/>b</B >");
        let wanted = [
            Piece::Text("a"),
            open("b", &[("x", "1"), ("y", "2>"), ("z", "&3"), ("w", "")]),
            Piece::Text("b"),
            Piece::Close { name: "b".to_owned() },
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn what_is_no_tag_is_text() {
        assert_eq!(pieces("1 < 2"), [Piece::Text("1 "), Piece::Less, Piece::Text(" 2")]);
        assert_eq!(pieces("<p unfinished"), [Piece::Less, Piece::Text("p unfinished")]);
        assert_eq!(pieces("<!-- <b> -->x<!doctype html>"), [Piece::Text("x")]);
        assert_eq!(pieces("<script>alert(1)</script >x"), [Piece::Text("x")]);
        assert_eq!(pieces("<style>p{}"), []);
    }

    #[test]
    fn odd_attributes_are_dropped() {
        assert_eq!(pieces("<p =x \"=y onclick>"), [open("p", &[("x", ""), ("onclick", "")])]);
    }

    #[test]
    fn unfinished_tags_cost_little() {
        let text = "<p title=\"".repeat(50_000);
        let began = std::time::Instant::now();
        assert!(pieces(&text).iter().all(|piece| matches!(piece, Piece::Less | Piece::Text(_))));
        assert!(began.elapsed() < std::time::Duration::from_secs(1), "{:?}", began.elapsed());
    }
}
