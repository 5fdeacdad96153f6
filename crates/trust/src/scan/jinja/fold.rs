//! Texts that a template builds from constants.

use std::collections::HashMap;

use super::parse::{Id, Node};

/// Longest text that is built.
const MAX_TEXT: usize = 512;

/// The constant text of each node so far, and of names that were set.
#[derive(Default)]
pub(super) struct Folder {
    pub(super) texts: Vec<Option<String>>,
    pub(super) names: HashMap<String, String>,
}

impl Folder {
    pub(super) fn text(&self, id: Id) -> Option<&str> {
        self.texts.get(id).and_then(Option::as_deref)
    }

    /// The constant text of the node that comes next, if it has one.
    pub(super) fn fold(&self, nodes: &[Node], node: &Node) -> Option<String> {
        let text = |id: &Id| self.text(*id).map(str::to_owned);
        let out = match node {
            Node::Text(value) | Node::Number(value) => value.clone(),
            Node::Name(name) => self.names.get(name)?.clone(),
            Node::Binary("+" | "~", left, right) => text(left)? + &text(right)?,
            Node::Binary("*", left, right) => {
                let (text, count) = (text(left)?, text(right)?.parse::<usize>().ok()?);
                if text.len().checked_mul(count)? > MAX_TEXT {
                    return None;
                }
                text.repeat(count)
            }
            Node::Binary("%", left, right) => {
                let pattern = text(left)?;
                let parts = self.parts(nodes, *right)?;
                filled(&pattern, &parts)
            }
            Node::Slice(of, bounds) => {
                let of = text(of)?;
                let number = |bound: Option<Id>, nodes: &[Node]| signed(nodes, bound?, self);
                sliced(&of, number(bounds[0], nodes), number(bounds[1], nodes), number(bounds[2], nodes))
            }
            Node::Item(of, index) => {
                let index = signed(nodes, *index, self)?;
                let parts = self.parts(nodes, *of)?;
                if parts.len() > 1 || matches!(nodes.get(*of), Some(Node::List(_))) {
                    let at = if index < 0 { parts.len() as i64 + index } else { index };
                    parts.get(usize::try_from(at).ok()?)?.clone()
                } else {
                    sliced(&text(of)?, Some(index), Some(index).map(|at| at + 1).filter(|&end| end != 0), None)
                }
            }
            Node::Filter(of, name, arguments) => {
                let argument = |at: usize| arguments.list.get(at).and_then(|id| self.text(*id));
                match name.as_str() {
                    "join" => {
                        let parts = self.parts(nodes, *of)?;
                        parts.join(argument(0).unwrap_or_default())
                    }
                    "lower" => text(of)?.to_lowercase(),
                    "upper" => text(of)?.to_uppercase(),
                    "trim" | "string" | "safe" | "escape" | "e" | "default" | "d" => text(of)?,
                    "reverse" => text(of)?.chars().rev().collect(),
                    "replace" => text(of)?.replace(argument(0)?, argument(1)?),
                    "format" => {
                        let pattern = text(of)?;
                        let parts: Option<Vec<String>> = arguments.list.iter().map(text).collect();
                        filled(&pattern, &parts?)
                    }
                    "first" => self.parts(nodes, *of)?.first()?.clone(),
                    "last" => self.parts(nodes, *of)?.last()?.clone(),
                    _ => return None,
                }
            }
            // A macro that puts out the same text each time.
            Node::Call(callee, _) if matches!(nodes.get(*callee), Some(Node::Name(_))) => {
                let Some(Node::Name(name)) = nodes.get(*callee) else { return None };
                self.names.get(&format!("{name}()"))?.clone()
            }
            Node::Call(callee, arguments) => {
                let Some(Node::Attribute(of, method)) = nodes.get(*callee) else { return None };
                let argument = |at: usize| arguments.list.get(at).and_then(|id| self.text(*id));
                match method.as_str() {
                    "lower" => text(of)?.to_lowercase(),
                    "upper" => text(of)?.to_uppercase(),
                    "strip" | "lstrip" | "rstrip" => text(of)?.trim().to_owned(),
                    "replace" => text(of)?.replace(argument(0)?, argument(1)?),
                    "join" => self.parts(nodes, *arguments.list.first()?)?.join(&text(of)?),
                    "format" => {
                        let parts: Option<Vec<String>> = arguments.list.iter().map(text).collect();
                        filled(&text(of)?.replace("{}", "%s"), &parts?)
                    }
                    _ => return None,
                }
            }
            _ => return None,
        };
        (out.len() <= MAX_TEXT).then_some(out)
    }

    /// The constant parts of a list, or the keys of a dictionary, or one text alone.
    fn parts(&self, nodes: &[Node], id: Id) -> Option<Vec<String>> {
        let text = |id: &Id| self.text(*id).map(str::to_owned);
        match nodes.get(id)? {
            Node::List(items) => items.iter().map(text).collect(),
            Node::Dict(entries) => entries.iter().map(|(key, _)| text(key)).collect(),
            Node::Call(callee, arguments) if matches!(nodes.get(*callee), Some(Node::Name(name)) if name == "dict") => {
                Some(arguments.named.iter().map(|(name, _)| name.clone()).collect())
            }
            Node::Filter(of, name, _) if name == "list" => self.parts(nodes, *of),
            _ => Some(vec![text(&id)?]),
        }
    }
}

/// A number, maybe with a sign.
fn signed(nodes: &[Node], id: Id, folder: &Folder) -> Option<i64> {
    match nodes.get(id)? {
        Node::Unary(inner) => folder.text(*inner)?.parse::<i64>().ok().map(|number| -number),
        _ => folder.text(id)?.parse().ok(),
    }
}

/// A pattern whose `%s` are filled one by one.
fn filled(pattern: &str, parts: &[String]) -> String {
    let mut out = String::new();
    let mut parts = parts.iter();
    let mut rest = pattern;
    while let Some(at) = rest.find('%') {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        let mut characters = after.chars();
        characters.next();
        match characters.next() {
            Some('%') => out.push('%'),
            Some('c') => {
                let code = parts.next().and_then(|part| part.parse::<u32>().ok()).and_then(char::from_u32);
                out.extend(code);
            }
            Some(_) => out.push_str(parts.next().map(String::as_str).unwrap_or_default()),
            None => {}
        }
        rest = characters.as_str();
        if out.len() > MAX_TEXT {
            break;
        }
    }
    out.push_str(rest);
    out
}

/// A slice as Python has it, by characters.
fn sliced(text: &str, begin: Option<i64>, end: Option<i64>, step: Option<i64>) -> String {
    let characters: Vec<char> = text.chars().collect();
    let len = characters.len() as i64;
    let place = |at: i64| (if at < 0 { len + at } else { at }).clamp(0, len);
    if step.unwrap_or(1) < 0 {
        return characters.into_iter().rev().step_by(step.unwrap_or(-1).unsigned_abs().max(1) as usize).collect();
    }
    let (begin, end) = (place(begin.unwrap_or(0)), place(end.unwrap_or(len)));
    let taken = characters.into_iter().skip(begin as usize).take((end - begin).max(0) as usize);
    taken.step_by(step.unwrap_or(1).max(1) as usize).collect()
}
