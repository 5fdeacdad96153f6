//! What a template reaches for, statement by statement.

use std::collections::HashSet;

use super::super::pickle::plain;
use super::super::report::Finding;
use super::super::rules;
use super::super::session::{Item, Session};
use super::super::verdict::{Confidence, Verdict};
use super::fold::Folder;
use super::lex::{self, Piece};
use super::parse::{Id, Node, Parser};

/// Longest template that is judged.
const MAX_BYTES: usize = 1 << 20;
/// Longest text that is kept under a name.
const MAX_CAPTURED: usize = 512;
/// Most texts that are kept at once, one in the other.
const MAX_CAPTURES: usize = 64;

/// Judges a template; `path` says where in a document it stands.
pub(in crate::scan) fn judge(session: &mut Session<'_>, item: &Item, template: &str, path: &str) {
    session.format("jinja");
    if template.len() > MAX_BYTES {
        return session.limit(item, format!("a template of {} bytes", template.len()));
    }
    let mut view = View {
        found: Vec::new(),
        folder: Folder::default(),
        local: HashSet::new(),
        looped: HashSet::new(),
        macros: HashSet::new(),
        captures: Vec::new(),
        fragments: false,
        computed: None,
        conditions: Vec::new(),
    };
    if let Err(message) = view.template(template) {
        // Some programs render what others refuse, so that what it names counts all the same.
        let names = ["__class__", "__globals__", "__builtins__", "__import__", "__subclasses__", "__init__"];
        let (verdict, rule) = match names.iter().any(|name| template.contains(name)) {
            true => (Verdict::Unsafe, rules::TEMPLATE_ESCAPE),
            false => (Verdict::Suspicious, rules::TEMPLATE_BROKEN),
        };
        view.found.push((0, Finding::of(rule, verdict, format!("it cannot be parsed: {}", plain(&message)))));
    }
    if let Some(line) = view.computed.filter(|_| view.fragments) {
        let detail = "has parts of names of Python's insides, and reaches for an item by a text that it computes";
        let finding = Finding::of(rules::TEMPLATE_CALL, Verdict::Suspicious, detail);
        view.found.push((line, finding.sure(Confidence::Possible)));
    }
    for (line, mut finding) in view.found.into_iter().take(100) {
        if line > 0 {
            finding.detail = format!("line {line}: {}", finding.detail);
        }
        if !path.is_empty() {
            finding.path_in_object = Some(path.to_owned());
        }
        session.add(item, finding);
    }
}

/// A text that a template keeps under a name: `{% set a %}text{% endset %}`, or what a macro puts out.
struct Capture {
    name: String,
    /// `None` when it is not the same each time.
    text: Option<String>,
    end: &'static str,
}

/// A template on the way.
pub(super) struct View {
    found: Vec<(usize, Finding)>,
    pub(super) folder: Folder,
    /// Names that the template itself sets.
    pub(super) local: HashSet<String>,
    /// Variables of loops.
    pub(super) looped: HashSet<String>,
    pub(super) macros: HashSet<String>,
    captures: Vec<Capture>,
    /// Whether it has parts of names of Python's insides.
    pub(super) fragments: bool,
    /// First line that reaches for an item by what is not known before it runs.
    pub(super) computed: Option<usize>,
    /// Open conditions, and whether each asks for words in a message.
    conditions: Vec<bool>,
}

impl View {
    fn template(&mut self, template: &str) -> Result<(), String> {
        let pieces = lex::pieces(template)?;
        // Macros may be called before they are defined.
        for (_, piece) in &pieces {
            if let Piece::Statement(tokens) = piece {
                let mut parser = Parser::new(tokens);
                if parser.take_word("macro") {
                    self.macros.extend(parser.take_name());
                }
            }
        }
        for (line, piece) in &pieces {
            match piece {
                Piece::Text(text) => {
                    self.fragments |= text.contains("__") && !self.captures.is_empty();
                    self.capture(Some(text));
                    self.text(*line, text);
                }
                Piece::Output(tokens) => {
                    let mut parser = Parser::new(tokens);
                    let told = parser.tuple().map_err(|error| at(*line, &error))?;
                    if !parser.is_done() {
                        return Err(at(*line, "an expression goes on where it should end"));
                    }
                    self.nodes(*line, &parser.nodes);
                    let text = self.folder.text(told).map(str::to_owned);
                    self.capture(text.as_deref());
                    if let Some(text) = text {
                        self.text(*line, &text);
                    }
                }
                Piece::Statement(tokens) => {
                    self.statement(*line, Parser::new(tokens)).map_err(|error| at(*line, &error))?
                }
            }
        }
        Ok(())
    }

    /// Adds what is put out to the innermost text that is kept.
    fn capture(&mut self, put_out: Option<&str>) {
        if let Some(Capture { text, .. }) = self.captures.last_mut() {
            *text = match (text.take(), put_out) {
                (Some(text), Some(more)) if text.len() + more.len() <= MAX_CAPTURED => Some(text + more),
                _ => None,
            };
        }
    }

    pub(super) fn note(&mut self, line: usize, finding: Finding) {
        if self.found.len() < 200 || finding.verdict == Verdict::Unsafe {
            self.found.push((line, finding));
        }
    }

    /// Text that is put out.
    fn text(&mut self, line: usize, text: &str) {
        if let Some(at) = text.find("http://").or_else(|| text.find("https://")) {
            let address: String = text
                .get(at..)
                .unwrap_or_default()
                .chars()
                .take_while(|c| !c.is_whitespace() && *c != '"')
                .take(80)
                .collect();
            let detail = format!("puts out an address: `{}`", plain(&address));
            let finding = Finding::of(rules::TEMPLATE_TEXT, Verdict::Caution, detail).sure(Confidence::Possible);
            self.note(line, finding);
        }
        let words = text
            .split_whitespace()
            .filter(|word| word.len() > 1 && word.chars().all(|c| c.is_alphabetic() || c.is_ascii_punctuation()))
            .count();
        if words >= 8 && self.conditions.contains(&true) {
            let shown: String = text.trim().chars().take(80).collect();
            let detail = format!("tells the model more when a message has certain words: `{}`", plain(&shown));
            let finding = Finding::of(rules::TEMPLATE_TEXT, Verdict::Caution, detail).sure(Confidence::Possible);
            self.note(line, finding);
        }
    }

    fn statement(&mut self, line: usize, mut parser: Parser<'_>) -> Result<(), String> {
        let Some(keyword) = parser.take_name() else { return Err("a statement has no name".to_owned()) };
        if matches!(keyword.as_str(), "if" | "for") {
            // What is kept is not the same each time.
            self.capture(None);
        }
        match keyword.as_str() {
            "if" | "elif" => {
                parser.tuple()?;
                self.nodes(line, &parser.nodes);
                let asks = asks_for_words(&parser.nodes);
                if keyword == "elif" {
                    self.conditions.pop();
                }
                self.conditions.push(asks);
            }
            "else" => {
                if let Some(last) = self.conditions.last_mut() {
                    *last = false;
                }
            }
            "endif" => _ = self.conditions.pop(),
            "for" => {
                let names = parser.tuple_of_names();
                self.local.extend(names.iter().cloned());
                self.looped.extend(names.iter().cloned());
                for name in names {
                    self.folder.names.remove(&name);
                }
                self.local.insert("loop".to_owned());
                if !parser.take_word("in") {
                    return Err("`in` is missing".to_owned());
                }
                parser.tuple()?;
                parser.take_word("recursive");
                if parser.take_word("if") {
                    parser.expression()?;
                }
                self.nodes(line, &parser.nodes);
            }
            "set" => self.set(line, &mut parser)?,
            "with" => {
                while !parser.is_done() {
                    let name = parser.take_name().ok_or("a name is missing")?;
                    if !parser.take_mark("=") {
                        return Err("`=` is missing".to_owned());
                    }
                    parser.expression()?;
                    self.local.insert(name);
                    parser.take_mark(",");
                }
                self.nodes(line, &parser.nodes);
            }
            "macro" | "call" => {
                if keyword == "macro" || !parser.is_mark("(") {
                    if keyword == "macro" {
                        let name = parser.take_name().unwrap_or_default();
                        self.begin(format!("{name}()"), "endmacro");
                    } else {
                        parser.expression()?;
                        self.nodes(line, &parser.nodes);
                        return Ok(());
                    }
                }
                if parser.take_mark("(") {
                    let arguments = parser.arguments()?;
                    for id in &arguments.list {
                        if let Some(Node::Name(name)) = parser.nodes.get(*id) {
                            self.local.insert(name.clone());
                            self.folder.names.remove(name);
                        }
                    }
                    self.local.extend(arguments.named.iter().map(|(name, _)| name.clone()));
                }
                if keyword == "call" {
                    parser.expression()?;
                }
                self.nodes(line, &parser.nodes);
            }
            "filter" => {
                while let Some(name) = parser.take_name() {
                    self.filter(line, &name);
                    if parser.take_mark("(") {
                        parser.arguments()?;
                    }
                    parser.take_mark("|");
                }
                self.nodes(line, &parser.nodes);
            }
            "import" | "include" | "from" | "extends" => {
                let detail = format!("loads another template with `{keyword}`");
                self.note(line, Finding::of(rules::TEMPLATE_ESCAPE, Verdict::Unsafe, detail));
                return Ok(());
            }
            "do" => {
                parser.tuple()?;
                self.nodes(line, &parser.nodes);
            }
            "endset" | "endmacro" => {
                if self.captures.last().is_some_and(|capture| capture.end == keyword)
                    && let Some(Capture { name, text: Some(text), .. }) = self.captures.pop()
                {
                    self.constant(line, &text, false);
                    self.folder.names.insert(name, text);
                }
                return Ok(());
            }
            "endfor" | "endcall" | "endfilter" | "endwith" | "endraw" | "endblock" | "break" | "continue"
            | "generation" | "endgeneration" | "autoescape" | "endautoescape" | "block" | "raw" | "endtrans" => {
                return Ok(());
            }
            other => {
                let detail = format!("has a statement `{}` that is not known", plain(other));
                self.note(line, Finding::of(rules::TEMPLATE_BROKEN, Verdict::Suspicious, detail));
                return Ok(());
            }
        }
        if parser.is_done() { Ok(()) } else { Err(format!("`{keyword}` goes on where it should end")) }
    }

    /// Begins to keep what is put out.
    fn begin(&mut self, name: String, end: &'static str) {
        if self.captures.len() < MAX_CAPTURES {
            self.captures.push(Capture { name, text: Some(String::new()), end });
        }
    }

    /// `set a = x`, `set a, b = x`, `set ns.a = x`, `set a` as a block.
    fn set(&mut self, line: usize, parser: &mut Parser<'_>) -> Result<(), String> {
        let target = parser.tuple()?;
        let name = if let Some(Node::Name(name)) = parser.nodes.get(target) { Some(name.clone()) } else { None };
        let names: Vec<String> = parser
            .nodes
            .iter()
            .filter_map(|node| if let Node::Name(name) = node { Some(name.clone()) } else { None })
            .collect();
        let value = if parser.take_mark("=") { Some(parser.tuple()?) } else { None };
        self.nodes(line, &parser.nodes);
        let text = value.and_then(|value| self.folder.text(value)).map(str::to_owned);
        self.local.extend(names);
        if value.is_none()
            && let Some(name) = &name
        {
            self.begin(name.clone(), "endset");
        }
        if let (Some(name), Some(text)) = (name, text) {
            if text.contains("__") {
                let detail = format!("keeps `{}` in a name", plain(&text));
                let finding = Finding::of(rules::TEMPLATE_CALL, Verdict::Suspicious, detail);
                self.note(line, finding.sure(Confidence::Possible));
            }
            self.folder.names.insert(name, text);
        }
        Ok(())
    }
}

fn at(line: usize, message: &str) -> String {
    if message.starts_with("line ") { message.to_owned() } else { format!("line {line}: {message}") }
}

/// Whether a condition looks for words in what a message says.
fn asks_for_words(nodes: &[Node]) -> bool {
    let of_content = nodes.iter().any(|node| match node {
        Node::Attribute(_, name) | Node::Name(name) | Node::Text(name) => name == "content",
        _ => false,
    });
    let words = |id: &Id| matches!(nodes.get(*id), Some(Node::Text(text)) if text.len() >= 3 && text.chars().any(char::is_alphabetic) && !text.contains(['<', '[', '|']));
    of_content
        && nodes.iter().any(|node| match node {
            Node::Binary("in" | "==" , left, right) => words(left) || words(right),
            Node::Call(callee, arguments) => {
                matches!(nodes.get(*callee), Some(Node::Attribute(_, name)) if matches!(name.as_str(), "startswith" | "endswith" | "find"))
                    && arguments.list.iter().any(words)
            }
            _ => false,
        })
}

impl Parser<'_> {
    /// Names with commas between, and brackets around them.
    fn tuple_of_names(&mut self) -> Vec<String> {
        let mut names = Vec::new();
        loop {
            while self.take_mark("(") || self.take_mark(")") || self.take_mark(",") {}
            if self.is_word("in") {
                return names;
            }
            match self.take_name() {
                Some(name) => names.push(name),
                None => return names,
            }
        }
    }
}
