//! Templates in pieces: text, expressions, statements; and expressions in tokens.

/// A piece of a template.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece<'a> {
    /// Text that is put out as it is.
    Text(&'a str),
    /// `{{ … }}`
    Output(Vec<Token>),
    /// `{% … %}`
    Statement(Vec<Token>),
}

/// A word of an expression.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// Name or keyword.
    Name(String),
    /// Text between quotation marks, its escapes resolved.
    Text(String),
    /// Number as it is spelled.
    Number(String),
    /// Operator or bracket.
    Mark(&'static str),
}

const MARKS: &[&str] = &[
    "**", "//", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "<", ">", "(", ")", "[", "]", "{", "}", ".", ",",
    ":", "|", "=", ";",
];

/// A template in pieces, each with its line.
pub(super) fn pieces(template: &str) -> Result<Vec<(usize, Piece<'_>)>, String> {
    let mut found = Vec::new();
    let (mut rest, mut line) = (template, 1);
    let advance = |text: &str, line: &mut usize| *line += text.matches('\n').count();
    while !rest.is_empty() {
        let next = rest
            .match_indices('{')
            .map(|(at, _)| at)
            .find(|&at| matches!(rest.as_bytes().get(at + 1), Some(b'{' | b'%' | b'#')));
        let Some(at) = next else {
            found.push((line, Piece::Text(rest)));
            break;
        };
        let (text, opened) = rest.split_at(at);
        if !text.is_empty() {
            found.push((line, Piece::Text(text)));
        }
        advance(text, &mut line);
        let body = opened.get(2..).unwrap_or_default();
        let begins = line;
        if opened.starts_with("{#") {
            let end = body.find("#}").ok_or_else(|| format!("line {line}: a comment does not end"))?;
            let (comment, after) = body.split_at(end);
            advance(comment, &mut line);
            rest = after.get(2..).unwrap_or_default();
            continue;
        }
        let statement = opened.starts_with("{%");
        let close = if statement { "%}" } else { "}}" };
        let (tokens, used) = tokens(body, close).map_err(|error| format!("line {line}: {error}"))?;
        let (inside, after) = body.split_at(used);
        advance(inside, &mut line);
        rest = after;
        if statement && tokens.first() == Some(&Token::Name("raw".to_owned())) {
            let end = raw_end(rest).ok_or_else(|| format!("line {line}: `raw` does not end"))?;
            let (raw, after) = rest.split_at(end.0);
            found.push((line, Piece::Text(raw)));
            advance(after.get(..end.1).unwrap_or_default(), &mut line);
            advance(raw, &mut line);
            rest = after.get(end.1..).unwrap_or_default();
            continue;
        }
        found.push((begins, if statement { Piece::Statement(tokens) } else { Piece::Output(tokens) }));
    }
    Ok(found)
}

/// Where `{% endraw %}` stands, and how long it is.
fn raw_end(text: &str) -> Option<(usize, usize)> {
    for (at, _) in text.match_indices("{%") {
        let body = text.get(at + 2..)?;
        let inner = body.trim_start_matches(['-', '+']).trim_start();
        if let Some(after) = inner.strip_prefix("endraw") {
            let end = after.find("%}")?;
            let len = text.len() - at - after.len() + end + 2;
            return Some((at, len));
        }
    }
    None
}

/// Tokens up to the closing mark, and the bytes that they take with it.
fn tokens(text: &str, close: &str) -> Result<(Vec<Token>, usize), String> {
    let mut found = Vec::new();
    let mut open: u32 = 0;
    let bytes = text.as_bytes();
    let mut at = usize::from(text.starts_with(['-', '+']));
    while let Some(&byte) = bytes.get(at) {
        let rest = text.get(at..).ok_or("a character is cut")?;
        if byte.is_ascii_whitespace() {
            at += 1;
            continue;
        }
        let trimmed = rest.strip_prefix(['-', '+']).unwrap_or(rest);
        // `}}` closes two dictionaries, or the expression.
        if trimmed.starts_with(close) && (open == 0 || close == "%}") {
            return Ok((found, at + (rest.len() - trimmed.len()) + 2));
        }
        if byte == b'"' || byte == b'\'' {
            let (value, used) = quoted(rest, char::from(byte))?;
            found.push(Token::Text(value));
            at += used;
            continue;
        }
        if byte.is_ascii_digit() {
            let mut end = rest.bytes().position(|b| !(b.is_ascii_alphanumeric() || b == b'_')).unwrap_or(rest.len());
            // A dot belongs to the number when a digit follows.
            if bytes.get(at + end) == Some(&b'.') && bytes.get(at + end + 1).is_some_and(u8::is_ascii_digit) {
                let more = rest.get(end + 1..).unwrap_or_default();
                end += 1 + more.bytes().position(|b| !b.is_ascii_alphanumeric()).unwrap_or(more.len());
            }
            found.push(Token::Number(rest.get(..end).unwrap_or_default().to_owned()));
            at += end;
            continue;
        }
        let first = rest.chars().next().unwrap_or(' ');
        if first.is_alphabetic() || first == '_' {
            let end = rest
                .char_indices()
                .find(|(_, c)| !(c.is_alphanumeric() || *c == '_'))
                .map_or(rest.len(), |(end, _)| end);
            found.push(Token::Name(rest.get(..end).unwrap_or_default().to_owned()));
            at += end;
            continue;
        }
        let Some(mark) = MARKS.iter().find(|mark| rest.starts_with(**mark)) else {
            return Err(format!("`{}` is no part of an expression", first.escape_default()));
        };
        match *mark {
            "(" | "[" | "{" => open += 1,
            ")" | "]" | "}" => open = open.saturating_sub(1),
            _ => {}
        }
        found.push(Token::Mark(mark));
        at += mark.len();
    }
    Err("an expression does not end".to_owned())
}

/// Text between quotation marks, and the bytes that it takes with them.
fn quoted(text: &str, quote: char) -> Result<(String, usize), String> {
    let mut out = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        if character == quote {
            return Ok((out, at + quote.len_utf8()));
        }
        if character != '\\' {
            out.push(character);
            continue;
        }
        let Some((_, escaped)) = characters.next() else { break };
        match escaped {
            'n' => out.push('\n'),
            't' => out.push('\t'),
            'r' => out.push('\r'),
            '\n' => {}
            'x' | 'u' | 'U' => {
                let len = match escaped {
                    'x' => 2,
                    'u' => 4,
                    _ => 8,
                };
                let digits: String = characters.by_ref().take(len).map(|(_, digit)| digit).collect();
                let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                out.push(code.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            '0'..='7' => {
                let code = escaped.to_digit(8).and_then(char::from_u32).unwrap_or('\0');
                out.push(code);
            }
            other => {
                if !matches!(other, '\\' | '\'' | '"') {
                    out.push('\\');
                }
                out.push(other);
            }
        }
    }
    Err("a text does not end".to_owned())
}
