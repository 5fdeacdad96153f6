//! Expressions of Jinja as a flat list of nodes, parts before wholes.
//!
//! Whoever judges goes over the list once, from front to back, and so needs no recursion. The parser recurses on brackets
//! only, to a bounded depth.

use super::lex::Token;

/// Deepest nesting of brackets.
const MAX_DEPTH: u32 = 60;
/// Most nodes of an expression.
const MAX_NODES: usize = 100_000;

/// Place of a node in its list.
pub(super) type Id = usize;

/// Arguments of a call: by place, and by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Arguments {
    pub(super) list: Vec<Id>,
    pub(super) named: Vec<(String, Id)>,
}

/// A node.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Text(String),
    Number(String),
    Name(String),
    Attribute(Id, String),
    Item(Id, Id),
    /// `x[a:b:c]`
    Slice(Id, [Option<Id>; 3]),
    Call(Id, Arguments),
    Filter(Id, String, Arguments),
    Test(Id, String, Arguments),
    Binary(&'static str, Id, Id),
    Unary(Id),
    /// `a if b else c`
    Choice(Id, Id, Option<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
}

/// A parser over tokens.
pub(super) struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    depth: u32,
    pub(super) nodes: Vec<Node>,
}

impl<'a> Parser<'a> {
    pub(super) const fn new(tokens: &'a [Token]) -> Self {
        Self { tokens, at: 0, depth: 0, nodes: Vec::new() }
    }

    pub(super) fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.at)
    }

    pub(super) const fn is_done(&self) -> bool {
        self.at >= self.tokens.len()
    }

    pub(super) fn is_mark(&self, mark: &str) -> bool {
        matches!(self.peek(), Some(Token::Mark(found)) if *found == mark)
    }

    pub(super) fn take_mark(&mut self, mark: &str) -> bool {
        let found = self.is_mark(mark);
        self.at += usize::from(found);
        found
    }

    pub(super) fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Some(Token::Name(found)) if found == word)
    }

    pub(super) fn take_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        self.at += usize::from(found);
        found
    }

    pub(super) fn take_name(&mut self) -> Option<String> {
        match self.peek() {
            Some(Token::Name(name)) => {
                self.at += 1;
                Some(name.clone())
            }
            _ => None,
        }
    }

    fn expect(&mut self, mark: &str) -> Result<(), String> {
        if self.take_mark(mark) { Ok(()) } else { Err(format!("`{mark}` is missing")) }
    }

    fn push(&mut self, node: Node) -> Result<Id, String> {
        if self.nodes.len() >= MAX_NODES {
            return Err("an expression is too long".to_owned());
        }
        self.nodes.push(node);
        Ok(self.nodes.len() - 1)
    }

    /// An expression, or several with commas between.
    pub(super) fn tuple(&mut self) -> Result<Id, String> {
        let first = self.expression()?;
        if !self.is_mark(",") {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.take_mark(",") {
            if self.is_done() || self.is_mark(")") || self.is_mark("=") || self.is_word("in") {
                break;
            }
            items.push(self.expression()?);
        }
        self.push(Node::List(items))
    }

    /// An expression.
    pub(super) fn expression(&mut self) -> Result<Id, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("brackets nest too deep".to_owned());
        }
        let mut value = self.or()?;
        while self.take_word("if") {
            let test = self.or()?;
            let other = if self.take_word("else") { Some(self.expression()?) } else { None };
            value = self.push(Node::Choice(value, test, other))?;
        }
        self.depth -= 1;
        Ok(value)
    }

    fn or(&mut self) -> Result<Id, String> {
        let mut left = self.and()?;
        while self.take_word("or") {
            let right = self.and()?;
            left = self.push(Node::Binary("or", left, right))?;
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Id, String> {
        let mut left = self.not()?;
        while self.take_word("and") {
            let right = self.not()?;
            left = self.push(Node::Binary("and", left, right))?;
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Id, String> {
        let mut count = 0u32;
        while self.take_word("not") {
            count += 1;
        }
        let value = self.comparison()?;
        if count == 0 { Ok(value) } else { self.push(Node::Unary(value)) }
    }

    fn comparison(&mut self) -> Result<Id, String> {
        let mut left = self.sum()?;
        loop {
            let operator = if self.take_word("in") {
                "in"
            } else if self.is_word("not")
                && matches!(self.tokens.get(self.at + 1), Some(Token::Name(word)) if word == "in")
            {
                self.at += 2;
                "not in"
            } else if let Some(Token::Mark(mark @ ("==" | "!=" | "<" | ">" | "<=" | ">="))) = self.peek() {
                self.at += 1;
                mark
            } else {
                return Ok(left);
            };
            let right = self.sum()?;
            left = self.push(Node::Binary(operator, left, right))?;
        }
    }

    /// `+`, `-`, `~` in the order of their places: what binds how does not matter for what is reached.
    fn sum(&mut self) -> Result<Id, String> {
        let mut left = self.product()?;
        while let Some(Token::Mark(mark @ ("+" | "-" | "~"))) = self.peek() {
            self.at += 1;
            let right = self.product()?;
            left = self.push(Node::Binary(mark, left, right))?;
        }
        Ok(left)
    }

    fn product(&mut self) -> Result<Id, String> {
        let mut left = self.unary()?;
        while let Some(Token::Mark(mark @ ("*" | "/" | "//" | "%" | "**"))) = self.peek() {
            self.at += 1;
            let right = self.unary()?;
            left = self.push(Node::Binary(mark, left, right))?;
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Id, String> {
        let mut count = 0u32;
        while self.take_mark("-") || self.take_mark("+") {
            count += 1;
        }
        let mut value = self.primary()?;
        if count > 0 {
            value = self.push(Node::Unary(value))?;
        }
        self.postfix(value)
    }

    fn primary(&mut self) -> Result<Id, String> {
        match self.peek() {
            Some(Token::Text(text)) => {
                self.at += 1;
                let mut whole = text.clone();
                // Texts side by side are one.
                while let Some(Token::Text(next)) = self.peek() {
                    whole.push_str(next);
                    self.at += 1;
                }
                self.push(Node::Text(whole))
            }
            Some(Token::Number(number)) => {
                self.at += 1;
                self.push(Node::Number(number.clone()))
            }
            Some(Token::Name(name)) => {
                self.at += 1;
                self.push(Node::Name(name.clone()))
            }
            Some(Token::Mark("(")) => {
                self.at += 1;
                if self.take_mark(")") {
                    return self.push(Node::List(Vec::new()));
                }
                let inner = self.tuple()?;
                self.expect(")")?;
                Ok(inner)
            }
            Some(Token::Mark("[")) => {
                self.at += 1;
                let mut items = Vec::new();
                while !self.take_mark("]") {
                    items.push(self.expression()?);
                    if !self.take_mark(",") && !self.is_mark("]") {
                        return Err("a list does not end".to_owned());
                    }
                }
                self.push(Node::List(items))
            }
            Some(Token::Mark("{")) => {
                self.at += 1;
                let mut entries = Vec::new();
                while !self.take_mark("}") {
                    let key = self.expression()?;
                    self.expect(":")?;
                    entries.push((key, self.expression()?));
                    if !self.take_mark(",") && !self.is_mark("}") {
                        return Err("a dictionary does not end".to_owned());
                    }
                }
                self.push(Node::Dict(entries))
            }
            Some(Token::Mark(mark)) => Err(format!("`{mark}` stands where a value is expected")),
            None => Err("a value is missing".to_owned()),
        }
    }

    fn postfix(&mut self, mut value: Id) -> Result<Id, String> {
        loop {
            if self.take_mark(".") {
                value = match self.peek() {
                    Some(Token::Name(name)) => {
                        let name = name.clone();
                        self.at += 1;
                        self.push(Node::Attribute(value, name))?
                    }
                    Some(Token::Number(number)) => {
                        let number = number.clone();
                        self.at += 1;
                        let index = self.push(Node::Number(number))?;
                        self.push(Node::Item(value, index))?
                    }
                    _ => return Err("a name is missing after `.`".to_owned()),
                };
            } else if self.take_mark("[") {
                value = self.subscript(value)?;
            } else if self.take_mark("(") {
                let arguments = self.arguments()?;
                value = self.push(Node::Call(value, arguments))?;
            } else if self.take_mark("|") {
                let name = self.dotted()?;
                let arguments = if self.take_mark("(") { self.arguments()? } else { Arguments::default() };
                value = self.push(Node::Filter(value, name, arguments))?;
            } else if self.take_word("is") {
                let negated = self.take_word("not");
                let name = self.dotted()?;
                let arguments = if self.take_mark("(") {
                    self.arguments()?
                } else if self.begins_argument() {
                    let argument = self.primary()?;
                    let argument = self.attributes(argument)?;
                    Arguments { list: vec![argument], named: Vec::new() }
                } else {
                    Arguments::default()
                };
                value = self.push(Node::Test(value, name, arguments))?;
                if negated {
                    value = self.push(Node::Unary(value))?;
                }
            } else {
                return Ok(value);
            }
        }
    }

    /// Attributes of the argument of a test, which has no brackets.
    fn attributes(&mut self, mut value: Id) -> Result<Id, String> {
        while self.take_mark(".") {
            let name = self.take_name().ok_or("a name is missing after `.`")?;
            value = self.push(Node::Attribute(value, name))?;
        }
        Ok(value)
    }

    fn begins_argument(&self) -> bool {
        match self.peek() {
            Some(Token::Name(name)) => {
                !matches!(name.as_str(), "and" | "or" | "else" | "is" | "if" | "not" | "in" | "recursive")
            }
            Some(Token::Text(_) | Token::Number(_)) => true,
            Some(Token::Mark(mark)) => matches!(*mark, "[" | "{"),
            None => false,
        }
    }

    fn dotted(&mut self) -> Result<String, String> {
        let mut name = self.take_name().ok_or("a name is missing")?;
        while self.take_mark(".") {
            name.push('.');
            name.push_str(&self.take_name().ok_or("a name is missing")?);
        }
        Ok(name)
    }

    fn subscript(&mut self, value: Id) -> Result<Id, String> {
        let mut parts = [None; 3];
        let mut part = 0;
        let mut slice = false;
        loop {
            if self.take_mark("]") {
                break;
            }
            if self.take_mark(":") {
                slice = true;
                part += 1;
                if part > 2 {
                    return Err("a slice has too many parts".to_owned());
                }
                continue;
            }
            if self.take_mark(",") {
                continue;
            }
            let inner = self.expression()?;
            if let Some(place) = parts.get_mut(part) {
                *place = Some(inner);
            }
        }
        match (slice, parts[0]) {
            (false, Some(index)) => self.push(Node::Item(value, index)),
            (false, None) => Err("an index is missing".to_owned()),
            (true, _) => self.push(Node::Slice(value, parts)),
        }
    }

    pub(super) fn arguments(&mut self) -> Result<Arguments, String> {
        let mut found = Arguments::default();
        while !self.take_mark(")") {
            while self.take_mark("*") || self.take_mark("**") {}
            let named = match (self.peek(), self.tokens.get(self.at + 1)) {
                (Some(Token::Name(name)), Some(Token::Mark("="))) => Some(name.clone()),
                _ => None,
            };
            match named {
                Some(name) => {
                    self.at += 2;
                    let value = self.expression()?;
                    found.named.push((name, value));
                }
                None => {
                    let value = self.expression()?;
                    found.list.push(value);
                }
            }
            if !self.take_mark(",") && !self.is_mark(")") {
                return Err("a list of arguments does not end".to_owned());
            }
        }
        Ok(found)
    }
}
