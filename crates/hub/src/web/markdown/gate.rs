//! Between the Markdown reader and the HTML writer: balances, bounds and resolves.

use std::collections::{HashMap, VecDeque};

use pulldown_cmark::{CowStr, Event, Parser, Tag, TagEnd};

use super::links::Place;
use super::raw::{Piece, pieces};
use super::{MAX_DEPTH, MAX_EVENTS, MAX_HTML_BYTES, MAX_RAW_DEPTH, MAX_RAW_TAGS, TAGS};

/// Tags without content.
const VOID: &[&str] = &["br", "hr", "img"];

/// An open element.
enum Open {
    /// Made by Markdown. Its end closes raw tags that were opened inside.
    Markdown,
    /// Made by Markdown and left out, because it lies too deep or leads nowhere.
    Silent,
    /// A raw tag.
    Raw(String),
}

/// The events that are written.
pub(super) struct Gate<'a> {
    parser: Parser<'a>,
    place: &'a Place,
    open: Vec<Open>,
    ready: VecDeque<Event<'a>>,
    /// Raw HTML of one block, until it ends.
    block: Option<String>,
    /// Text of an image that is not shown, until it ends.
    images: usize,
    /// A heading that is being read: where it begins in `ready`, and its text.
    heading: Option<(usize, String)>,
    /// Ids of headings, and how often each was given.
    ids: HashMap<String, usize>,
    raw_depth: usize,
    raw_tags: usize,
    events: usize,
    bytes: usize,
    cut: bool,
}

impl<'a> Gate<'a> {
    pub fn new(parser: Parser<'a>, place: &'a Place) -> Self {
        Self {
            parser,
            place,
            open: Vec::new(),
            ready: VecDeque::new(),
            block: None,
            images: 0,
            heading: None,
            ids: HashMap::new(),
            raw_depth: 0,
            raw_tags: 0,
            events: 0,
            bytes: 0,
            cut: false,
        }
    }

    /// Whether the end is missing.
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    fn take(&mut self, event: Event<'a>) {
        if let (Some((_, text)), Event::Text(piece) | Event::Code(piece)) = (&mut self.heading, &event) {
            text.push_str(piece);
        }
        match event {
            Event::Start(Tag::HtmlBlock) => self.block = Some(String::new()),
            Event::End(TagEnd::HtmlBlock) => {
                let html = self.block.take().unwrap_or_default();
                self.raw(&html);
            }
            Event::Html(html) => match &mut self.block {
                Some(block) => block.push_str(&html),
                None => self.raw(&html),
            },
            Event::InlineHtml(html) => self.raw(&html),
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::TaskListMarker(done) => {
                self.ready.push_back(Event::Text(CowStr::Borrowed(if done { "☑ " } else { "☐ " })));
            }
            other => self.ready.push_back(other),
        }
    }

    fn start(&mut self, tag: Tag<'a>) {
        // A table must keep its cells: the writer counts them.
        let structural = matches!(tag, Tag::Table(_) | Tag::TableHead | Tag::TableRow | Tag::TableCell);
        if self.open.len() >= MAX_DEPTH && !structural {
            return self.open.push(Open::Silent);
        }
        let tag = match tag {
            Tag::Link { link_type, dest_url, title, id } => match self.place.link(&dest_url) {
                Some(address) => Tag::Link { link_type, dest_url: address.into(), title, id },
                None => return self.open.push(Open::Silent),
            },
            Tag::Image { link_type, dest_url, title, id } => match self.place.image(&dest_url) {
                Some(address) => {
                    self.images += 1;
                    Tag::Image { link_type, dest_url: address.into(), title, id }
                }
                // Its description stays as text.
                None => return self.open.push(Open::Silent),
            },
            Tag::Heading { level, .. } => Tag::Heading { level, id: None, classes: Vec::new(), attrs: Vec::new() },
            other => other,
        };
        if matches!(tag, Tag::Heading { .. }) {
            self.heading = Some((self.ready.len(), String::new()));
        }
        self.open.push(Open::Markdown);
        self.ready.push_back(Event::Start(tag));
    }

    /// Gives a heading the id that links to it use.
    fn end_heading(&mut self) {
        let Some((at, text)) = self.heading.take() else { return };
        let slug = slug(&text);
        let seen = self.ids.entry(slug.clone()).or_default();
        let unique = if *seen == 0 { slug } else { format!("{slug}-{seen}") };
        *seen += 1;
        if let Some(Event::Start(Tag::Heading { id, .. })) = self.ready.get_mut(at) {
            *id = Some(unique.into());
        }
    }

    fn end(&mut self, tag: TagEnd) {
        loop {
            match self.open.pop() {
                Some(Open::Raw(name)) => {
                    self.raw_depth -= 1;
                    self.ready.push_back(Event::Html(format!("</{name}>").into()));
                }
                Some(Open::Markdown) => {
                    if matches!(tag, TagEnd::Heading(_)) {
                        self.end_heading();
                    }
                    if tag == TagEnd::Image {
                        self.images = self.images.saturating_sub(1);
                    }
                    return self.ready.push_back(Event::End(tag));
                }
                Some(Open::Silent) | None => return,
            }
        }
    }

    /// Writes raw HTML anew.
    fn raw(&mut self, html: &str) {
        if self.images > 0 {
            return;
        }
        for piece in pieces(html) {
            let text = match piece {
                Piece::Text(text) => text.replace('>', "&gt;"),
                Piece::Less => "&lt;".to_owned(),
                Piece::Open { name, attributes } => self.open_tag(name, &attributes),
                Piece::Close { name } => self.close_tag(&name),
            };
            if !text.is_empty() {
                self.ready.push_back(Event::Html(text.into()));
            }
        }
    }

    fn open_tag(&mut self, name: String, attributes: &[(String, String)]) -> String {
        let is_void = VOID.contains(&name.as_str());
        let too_deep = self.raw_depth >= MAX_RAW_DEPTH || self.open.len() >= MAX_DEPTH;
        if !TAGS.contains(&name.as_str()) || (too_deep && !is_void) || self.raw_tags >= MAX_RAW_TAGS {
            return String::new();
        }
        self.raw_tags += 1;
        let mut text = format!("<{name}");
        for (key, value) in attributes {
            let value = match key.as_str() {
                "href" => self.place.link(value),
                "src" => self.place.image(value),
                _ => Some(value.clone()),
            };
            if let Some(value) = value {
                let value =
                    value.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;");
                text += &format!(" {key}=\"{value}\"");
            }
        }
        text.push('>');
        if !is_void {
            self.raw_depth += 1;
            self.open.push(Open::Raw(name));
        }
        text
    }

    /// Closes a raw tag and those inside of it, unless it was opened outside of the present Markdown element.
    fn close_tag(&mut self, name: &str) -> String {
        let reach = self.open.iter().rev().take_while(|open| matches!(open, Open::Raw(_))).count();
        let from = self.open.len() - reach;
        let is_it = |open: &Open| matches!(open, Open::Raw(found) if found == name);
        let Some(at) = self.open.iter().skip(from).rposition(is_it) else { return String::new() };
        let closed = self.open.split_off(from + at);
        self.raw_depth -= closed.len();
        closed
            .iter()
            .rev()
            .map(|open| if let Open::Raw(name) = open { format!("</{name}>") } else { String::new() })
            .collect()
    }
}

impl<'a> Iterator for Gate<'a> {
    type Item = Event<'a>;

    fn next(&mut self) -> Option<Event<'a>> {
        loop {
            // A heading is held back until its text is known.
            if self.heading.is_none()
                && let Some(event) = self.ready.pop_front()
            {
                self.bytes += weight(&event);
                return Some(event);
            }
            if self.events >= MAX_EVENTS || self.bytes >= MAX_HTML_BYTES {
                self.cut = true;
                self.heading = None;
                return self.ready.pop_front();
            }
            self.events += 1;
            match self.parser.next() {
                Some(event) => self.take(event),
                None => return None,
            }
        }
    }
}

/// The id of a heading as the Hub's readers know it: lower case, words joined by dashes.
fn slug(text: &str) -> String {
    let words = text.trim().chars().flat_map(char::to_lowercase).filter_map(|c| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || matches!(c, '-' | '_') => Some(c),
        _ => None,
    });
    words.take(100).collect()
}

/// About how many bytes an event writes.
fn weight(event: &Event<'_>) -> usize {
    let written = match event {
        Event::Text(text) | Event::Code(text) | Event::Html(text) | Event::InlineHtml(text) => text.len(),
        Event::Start(Tag::Link { dest_url, title, .. } | Tag::Image { dest_url, title, .. }) => {
            dest_url.len() + title.len()
        }
        _ => 0,
    };
    written + 16
}
