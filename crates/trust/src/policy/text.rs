//! Policy text, cut into policies before anything that recurses sees it.
//!
//! The parser and the evaluator of Cedar go down one call for each level of an expression, and `a && b && c` is as deep
//! as it is long. So a policy may have only so many brackets within brackets, and so many words that nest.

use super::PolicyError;

/// Longest text of a level, in bytes.
pub const MAX_TEXT_BYTES: usize = 128 << 10;
/// Most policies of a level.
pub const MAX_POLICIES: usize = 256;
/// Most brackets within brackets.
pub const MAX_DEPTH: usize = 16;
/// Most operators, dots and `if`s in one policy.
pub const MAX_OPERATORS: usize = 200;

/// One policy as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Statement<'a> {
    /// Its text, with the annotations before and the semicolon after it.
    pub text: &'a str,
    /// Where it begins, counted from 1.
    pub line: usize,
}

/// Cuts a text into policies.
///
/// # Errors
/// [`PolicyError::TooLarge`] and [`PolicyError::Syntax`] where a limit is met or a string or bracket stays open.
pub(super) fn statements(text: &str) -> Result<Vec<Statement<'_>>, PolicyError> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(PolicyError::TooLarge { line: 1, what: "the text", found: text.len(), limit: MAX_TEXT_BYTES });
    }
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    // Begin of the policy that is being read; none between policies.
    let mut begin: Option<(usize, usize)> = None;
    let (mut depth, mut operators) = (0_usize, 0_usize);
    while let Some(&byte) = bytes.get(at) {
        let rest = &bytes[at..];
        if byte == b'\n' {
            line += 1;
            at += 1;
            continue;
        }
        if byte.is_ascii_whitespace() {
            at += 1;
            continue;
        }
        if rest.starts_with(b"//") {
            at += rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len());
            continue;
        }
        let started = *begin.get_or_insert((at, line));
        match byte {
            b'"' => {
                let len = string(rest).ok_or_else(|| syntax(line, "a string stays open"))?;
                line += rest[..len].iter().filter(|&&b| b == b'\n').count();
                at += len;
                continue;
            }
            b'(' | b'[' | b'{' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(PolicyError::TooLarge {
                        line,
                        what: "brackets within brackets",
                        found: depth,
                        limit: MAX_DEPTH,
                    });
                }
            }
            b')' | b']' | b'}' => {
                depth = depth.checked_sub(1).ok_or_else(|| syntax(line, "a bracket closes that was never opened"))?;
            }
            b'&' | b'|' | b'!' | b'+' | b'-' | b'*' | b'.' | b'<' | b'>' | b'=' | b'?' => operators += 1,
            _ if word(byte) => {
                let len = rest.iter().take_while(|&&b| word(b)).count();
                operators += usize::from(matches!(&rest[..len], b"if" | b"in" | b"has" | b"like" | b"is"));
                at += len;
                continue;
            }
            b';' if depth == 0 => {
                if found.len() == MAX_POLICIES {
                    return Err(PolicyError::TooLarge {
                        line: started.1,
                        what: "policies",
                        found: MAX_POLICIES + 1,
                        limit: MAX_POLICIES,
                    });
                }
                found.push(Statement { text: &text[started.0..=at], line: started.1 });
                begin = None;
                operators = 0;
            }
            _ => {}
        }
        if operators > MAX_OPERATORS {
            return Err(PolicyError::TooLarge {
                line,
                what: "operators in one policy",
                found: operators,
                limit: MAX_OPERATORS,
            });
        }
        at += 1;
    }
    match begin {
        Some((_, line)) => Err(syntax(line, "this policy has no end: a `;` is missing")),
        None => Ok(found),
    }
}

fn word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}

/// Length of the string at the start, with its quotes.
fn string(rest: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match rest.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

fn syntax(line: usize, what: &str) -> PolicyError {
    PolicyError::Syntax { line, message: what.to_owned() }
}
