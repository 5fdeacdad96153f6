//! Python literals, as far as headers of npy files have them.

use crate::error::FormatError;

/// Deepest nesting of a literal; a field of a structured array takes two levels.
const DEPTH: usize = 32;

pub(super) const WHAT: &str = "npy header";

/// A Python literal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Literal {
    None,
    Bool(bool),
    Int(i64),
    Text(String),
    /// A tuple or a list.
    Items(Vec<Literal>),
    /// A dictionary with keys of text.
    Entries(Vec<(String, Literal)>),
}

impl Literal {
    /// Parses the only literal of `text`.
    pub(super) fn parse(text: &str) -> Result<Self, FormatError> {
        let mut parser = Parser { text, at: 0 };
        let literal = parser.literal(0)?;
        match parser.next_sign() {
            None => Ok(literal),
            Some(other) => Err(parser.broken(format!("`{}` follows the end", other.escape_debug()))),
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn broken(&self, detail: impl Into<String>) -> FormatError {
        FormatError::Broken { what: WHAT, at: self.at as u64, detail: detail.into() }
    }

    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// The next character that is no space.
    fn next_sign(&mut self) -> Option<char> {
        let rest = self.rest();
        let trimmed = rest.trim_start_matches([' ', '\n', '\t', '\r']);
        self.at += rest.len() - trimmed.len();
        self.rest().chars().next()
    }

    fn take(&mut self, sign: char) -> bool {
        let found = self.next_sign() == Some(sign);
        if found {
            self.at += sign.len_utf8();
        }
        found
    }

    fn literal(&mut self, depth: usize) -> Result<Literal, FormatError> {
        if depth > DEPTH {
            return Err(FormatError::TooLarge {
                what: "nesting of an npy header",
                size: depth as u64,
                limit: DEPTH as u64,
            });
        }
        match self.next_sign() {
            Some('{') => self.entries(depth),
            Some('(') => self.items(')', depth),
            Some('[') => self.items(']', depth),
            Some('\'' | '"') => self.string().map(Literal::Text),
            Some(_) => self.word(),
            None => Err(self.broken("it ends where a value should be")),
        }
    }

    fn items(&mut self, close: char, depth: usize) -> Result<Literal, FormatError> {
        self.at += 1;
        let mut items = Vec::new();
        while !self.take(close) {
            items.push(self.literal(depth + 1)?);
            if !self.take(',') && self.next_sign() != Some(close) {
                return Err(self.broken(format!("`{close}` or a comma is missing")));
            }
        }
        Ok(Literal::Items(items))
    }

    fn entries(&mut self, depth: usize) -> Result<Literal, FormatError> {
        self.at += 1;
        let mut entries: Vec<(String, Literal)> = Vec::new();
        while !self.take('}') {
            if !matches!(self.next_sign(), Some('\'' | '"')) {
                return Err(self.broken("a key is no text"));
            }
            let key = self.string()?;
            if entries.iter().any(|(known, _)| *known == key) {
                return Err(FormatError::DuplicateKey { key });
            }
            if !self.take(':') {
                return Err(self.broken("`:` is missing"));
            }
            entries.push((key, self.literal(depth + 1)?));
            if !self.take(',') && self.next_sign() != Some('}') {
                return Err(self.broken("`}` or a comma is missing"));
            }
        }
        Ok(Literal::Entries(entries))
    }

    fn string(&mut self) -> Result<String, FormatError> {
        let begin = self.at;
        let mut signs = self.rest().chars();
        let quote = signs.next();
        let mut text = String::new();
        loop {
            match signs.next() {
                None => return Err(self.broken("a text has no end")),
                sign if sign == quote => break,
                Some('\\') => {
                    let Some(escaped) = escape(&mut signs) else {
                        return Err(self.broken("a text has an escape that is not known"));
                    };
                    text.push(escaped);
                }
                Some(sign) => text.push(sign),
            }
        }
        self.at = self.text.len() - signs.as_str().len();
        debug_assert!(self.at > begin);
        Ok(text)
    }

    fn word(&mut self) -> Result<Literal, FormatError> {
        let rest = self.rest();
        let end = rest
            .find(|sign: char| !sign.is_ascii_alphanumeric() && !matches!(sign, '-' | '_' | '.'))
            .unwrap_or(rest.len());
        let word = rest.get(..end).unwrap_or_default().to_owned();
        let literal = match word.as_str() {
            "None" => Literal::None,
            "True" => Literal::Bool(true),
            "False" => Literal::Bool(false),
            // Python 2 wrote long integers with an `L`.
            _ => match word.strip_suffix('L').unwrap_or(&word).parse() {
                Ok(number) => Literal::Int(number),
                Err(_) => {
                    let shown: String = word.chars().take(40).collect();
                    return Err(self.broken(format!("`{}` is no literal", shown.escape_debug())));
                }
            },
        };
        self.at += end;
        Ok(literal)
    }
}

/// The character that an escape stands for.
fn escape(signs: &mut std::str::Chars<'_>) -> Option<char> {
    let digits = match signs.next()? {
        sign @ ('\\' | '\'' | '"') => return Some(sign),
        'n' => return Some('\n'),
        't' => return Some('\t'),
        'r' => return Some('\r'),
        'x' => 2,
        'u' => 4,
        'U' => 8,
        _ => return None,
    };
    let mut number = 0u32;
    for _ in 0..digits {
        number = number.checked_mul(16)?.checked_add(signs.next()?.to_digit(16)?)?;
    }
    char::from_u32(number)
}
