//! What a template reaches for, statement by statement.

use std::collections::HashSet;

use super::super::pickle::plain;
use super::super::report::Finding;
use super::super::rules;
use super::super::session::{Item, Session};
use super::super::verdict::{Confidence, Severity, Verdict};
use super::fold::Folder;
use super::lex::{self, Piece};
use super::parse::{Arguments, Id, Node, Parser};

/// Longest template that is judged.
const MAX_BYTES: usize = 1 << 20;

/// Functions that programs which render chat templates give to them.
const FUNCTIONS: &[&str] = &[
    "range",
    "namespace",
    "raise_exception",
    "strftime_now",
    "dict",
    "caller",
    "_",
    "gettext",
    "ngettext",
    "tojson",
    "super",
];

/// Names that Jinja or a web framework has, and that lead into Python.
const DOORS: &[&str] = &[
    "cycler",
    "joiner",
    "lipsum",
    "self",
    "config",
    "request",
    "url_for",
    "get_flashed_messages",
    "session",
    "g",
    "app",
];

/// Methods of texts, lists and dictionaries.
const METHODS: &[&str] = &[
    "append",
    "capitalize",
    "casefold",
    "center",
    "changed",
    "copy",
    "count",
    "cycle",
    "decode",
    "encode",
    "endswith",
    "expandtabs",
    "extend",
    "find",
    "format",
    "get",
    "index",
    "insert",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "isidentifier",
    "islower",
    "isnumeric",
    "isoformat",
    "isspace",
    "istitle",
    "isupper",
    "items",
    "join",
    "keys",
    "ljust",
    "lower",
    "lstrip",
    "partition",
    "pop",
    "removeprefix",
    "removesuffix",
    "remove",
    "replace",
    "reverse",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "setdefault",
    "sort",
    "split",
    "splitlines",
    "startswith",
    "strftime",
    "strip",
    "swapcase",
    "title",
    "update",
    "upper",
    "values",
    "zfill",
];

/// Methods that run programs, or lead to what does.
const ACTS: &[&str] = &[
    "popen",
    "system",
    "exec",
    "eval",
    "mro",
    "subclasses",
    "import_module",
    "load_module",
    "read",
    "open",
    "spawn",
    "check_output",
    "format_map",
    "run",
    "Popen",
    "call",
    "getattr",
    "get_data",
];

/// Filters of Jinja and of the programs that render chat templates.
const FILTERS: &[&str] = &[
    "abs",
    "attr",
    "batch",
    "capitalize",
    "center",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "filesizeformat",
    "first",
    "float",
    "forceescape",
    "format",
    "from_json",
    "fromjson",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "pprint",
    "random",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "string",
    "striptags",
    "sum",
    "title",
    "tojson",
    "trim",
    "truncate",
    "unique",
    "upper",
    "urlencode",
    "urlize",
    "wordcount",
    "wordwrap",
    "xmlattr",
];

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
        macros: HashSet::new(),
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

struct View {
    found: Vec<(usize, Finding)>,
    folder: Folder,
    /// Names that the template itself sets.
    local: HashSet<String>,
    macros: HashSet<String>,
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
                Piece::Text(text) => self.text(*line, text),
                Piece::Output(tokens) => {
                    let mut parser = Parser::new(tokens);
                    let told = parser.tuple().map_err(|error| at(*line, &error))?;
                    if !parser.is_done() {
                        return Err(at(*line, "an expression goes on where it should end"));
                    }
                    self.nodes(*line, &parser.nodes);
                    if let Some(text) = self.folder.text(told).map(str::to_owned) {
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

    fn note(&mut self, line: usize, finding: Finding) {
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
                        parser.take_name();
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
            "endfor" | "endset" | "endmacro" | "endcall" | "endfilter" | "endwith" | "endraw" | "endblock"
            | "break" | "continue" | "generation" | "endgeneration" | "autoescape" | "endautoescape" | "block"
            | "raw" | "endtrans" => return Ok(()),
            other => {
                let detail = format!("has a statement `{}` that is not known", plain(other));
                self.note(line, Finding::of(rules::TEMPLATE_BROKEN, Verdict::Suspicious, detail));
                return Ok(());
            }
        }
        if parser.is_done() { Ok(()) } else { Err(format!("`{keyword}` goes on where it should end")) }
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

    /// Judges the nodes of an expression, parts before wholes.
    fn nodes(&mut self, line: usize, nodes: &[Node]) {
        self.folder.texts.clear();
        for node in nodes {
            let text = self.folder.fold(nodes, node);
            if let Some(text) = &text {
                self.constant(line, text, matches!(node, Node::Text(_)));
            }
            self.node(line, nodes, node);
            self.folder.texts.push(text);
        }
    }

    /// A text that the template has or builds.
    fn constant(&mut self, line: usize, text: &str, written: bool) {
        let internals = [
            "__class__",
            "__globals__",
            "__init__",
            "__subclasses__",
            "__mro__",
            "__base__",
            "__bases__",
            "__builtins__",
            "__import__",
            "__getattribute__",
            "__dict__",
            "__code__",
            "__func__",
            "__self__",
            "__call__",
            "__reduce__",
            "__getitem__",
            "__loader__",
        ];
        if let Some(name) = internals.iter().find(|name| text.contains(**name)) {
            let how = if written { "has" } else { "builds" };
            let finding = Finding::of(
                rules::TEMPLATE_ESCAPE,
                Verdict::Unsafe,
                format!("{how} the name `{name}` of Python's insides"),
            );
            self.note(line, finding);
        }
    }

    fn node(&mut self, line: usize, nodes: &[Node], node: &Node) {
        match node {
            Node::Attribute(of, name) => {
                if name.starts_with('_') {
                    self.escape(line, &format!("reaches for the attribute `{}`", plain(name)));
                }
                self.door(line, nodes, *of);
            }
            Node::Item(of, index) => {
                if let Some(key) = self.folder.text(*index).map(str::to_owned) {
                    if key.starts_with("__") {
                        self.escape(line, &format!("reaches for `{}`", plain(&key)));
                    } else if key.starts_with('_') {
                        let detail = format!("reaches for `{}`", plain(&key));
                        self.note(
                            line,
                            Finding::of(rules::TEMPLATE_CALL, Verdict::Suspicious, detail).sure(Confidence::Possible),
                        );
                    }
                } else if self.builds_text(nodes, *index) {
                    let detail = "reaches for an item by a text that it builds";
                    self.note(
                        line,
                        Finding::of(rules::TEMPLATE_CALL, Verdict::Suspicious, detail).sure(Confidence::Possible),
                    );
                }
                self.door(line, nodes, *of);
            }
            Node::Call(callee, arguments) => self.call(line, nodes, *callee, arguments),
            Node::Filter(_, name, arguments) => {
                self.filter(line, name);
                self.attribute_filter(line, nodes, name, arguments);
            }
            _ => {}
        }
    }

    fn escape(&mut self, line: usize, detail: &str) {
        self.note(line, Finding::of(rules::TEMPLATE_ESCAPE, Verdict::Unsafe, detail));
    }

    /// Names that lead from a template into the program that renders it.
    fn door(&mut self, line: usize, nodes: &[Node], of: Id) {
        if let Some(Node::Name(name)) = nodes.get(of)
            && DOORS.contains(&name.as_str())
            && !self.local.contains(name)
            && !self.macros.contains(name)
        {
            self.escape(line, &format!("reaches through `{name}`"));
        }
    }

    /// Whether a text is put together, so that its value is not seen.
    fn builds_text(&self, nodes: &[Node], id: Id) -> bool {
        match nodes.get(id) {
            Some(Node::Binary("~", ..)) => true,
            Some(Node::Filter(_, name, _)) => matches!(name.as_str(), "join" | "format" | "replace" | "reverse"),
            Some(Node::Call(callee, _)) => {
                matches!(nodes.get(*callee), Some(Node::Attribute(_, name)) if matches!(name.as_str(), "join" | "format" | "replace"))
            }
            _ => false,
        }
    }

    fn call(&mut self, line: usize, nodes: &[Node], callee: Id, arguments: &Arguments) {
        match nodes.get(callee) {
            Some(Node::Name(name)) => {
                if DOORS.contains(&name.as_str()) && !self.local.contains(name) && !self.macros.contains(name) {
                    self.escape(line, &format!("calls `{name}`"));
                } else if !FUNCTIONS.contains(&name.as_str()) && !self.macros.contains(name) {
                    let detail = format!("calls `{}`, which is not known", plain(name));
                    self.note(line, Finding::of(rules::TEMPLATE_CALL, Verdict::Suspicious, detail));
                }
            }
            Some(Node::Attribute(of, method)) => {
                if ACTS.contains(&method.as_str()) {
                    self.escape(line, &format!("calls `{method}`, which acts"));
                } else if method.starts_with('_') {
                    // The attribute has a finding already.
                } else if !METHODS.contains(&method.as_str()) {
                    let detail = format!("calls the method `{}`, which is not known", plain(method));
                    self.note(line, Finding::of(rules::TEMPLATE_CALL, Verdict::Suspicious, detail));
                } else if method == "format"
                    && let Some(pattern) = self.folder.text(*of).map(str::to_owned)
                    && pattern
                        .split('{')
                        .skip(1)
                        .any(|field| field.split('}').next().is_some_and(|field| field.contains(['.', '['])))
                {
                    self.escape(line, &format!("reaches for attributes with the pattern `{}`", plain(&pattern)));
                }
            }
            _ => {
                let _ = arguments;
                let detail = "calls what it finds by an expression";
                self.note(line, Finding::of(rules::TEMPLATE_CALL, Verdict::Suspicious, detail));
            }
        }
    }

    fn filter(&mut self, line: usize, name: &str) {
        if !FILTERS.contains(&name) {
            let detail = format!("has a filter `{}` that is not known", plain(name));
            let finding = Finding::of(rules::TEMPLATE_CALL, Verdict::Caution, detail).weighing(Severity::Low);
            self.note(line, finding);
        }
    }

    /// Filters that find attributes by their names.
    fn attribute_filter(&mut self, line: usize, nodes: &[Node], name: &str, arguments: &Arguments) {
        let named = arguments.named.iter().find(|(key, _)| key == "attribute").map(|(_, id)| *id);
        let first = arguments.list.first().copied();
        let attribute = match name {
            "attr" | "selectattr" | "rejectattr" | "groupby" => named.or(first),
            "map" if first.and_then(|id| self.folder.text(id)) == Some("attr") => arguments.list.get(1).copied(),
            "map" | "sort" | "sum" | "unique" | "min" | "max" | "join" => named,
            _ => None,
        };
        let Some(attribute) = attribute else { return };
        match self.folder.text(attribute).map(str::to_owned) {
            Some(path) if path.split('.').any(|part| part.starts_with('_')) => {
                self.escape(line, &format!("reaches for the attribute `{}` by the filter `{name}`", plain(&path)));
            }
            Some(_) => {}
            None if name == "attr" || self.builds_text(nodes, attribute) => {
                let detail = format!("reaches for an attribute that it computes, by the filter `{name}`");
                self.note(line, Finding::of(rules::TEMPLATE_CALL, Verdict::Suspicious, detail));
            }
            None => {}
        }
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
