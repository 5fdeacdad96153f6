//! What the expressions of a template reach for.

use super::super::pickle::plain;
use super::super::report::Finding;
use super::super::rules;
use super::super::verdict::{Confidence, Severity, Verdict};
use super::judge::View;
use super::parse::{Arguments, Id, Node};
use super::words::{ACTS, DOORS, FILTERS, FUNCTIONS, INTERNALS, METHODS};

impl View {
    /// Judges the nodes of an expression, parts before wholes.
    pub(super) fn nodes(&mut self, line: usize, nodes: &[Node]) {
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
    pub(super) fn constant(&mut self, line: usize, text: &str, written: bool) {
        // `_` is a name of its own, and so are texts in capitals that mark places for tools.
        self.fragments |= text.contains("__") && !text.bytes().any(|byte| byte.is_ascii_uppercase());
        if let Some(name) = INTERNALS.iter().find(|name| text.contains(**name)) {
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
                } else if !self.is_plain_index(nodes, *index) {
                    self.computed = self.computed.or(Some(line));
                }
                if self.folder.text(*index).is_none() && self.builds_text(nodes, *index) {
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

    /// Whether an index is a number, a slice, or the variable of a loop.
    fn is_plain_index(&self, nodes: &[Node], id: Id) -> bool {
        match nodes.get(id) {
            Some(Node::Name(name)) => self.looped.contains(name),
            Some(Node::Attribute(of, name)) => {
                matches!(nodes.get(*of), Some(Node::Name(of)) if of == "loop") && name.starts_with("index")
            }
            Some(Node::Binary("+" | "-" | "%" | "//" | "*", left, right)) => {
                self.folder.text(*left).or(self.folder.text(*right)).is_some_and(|text| text.parse::<i64>().is_ok())
            }
            Some(Node::Unary(_) | Node::Number(_) | Node::Slice(..)) => true,
            _ => false,
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

    pub(super) fn filter(&mut self, line: usize, name: &str) {
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
