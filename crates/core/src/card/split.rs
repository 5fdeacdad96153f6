//! Where the YAML of a README ends and the Markdown begins.

/// A README in two parts.
pub(super) struct Front<'a> {
    /// Text between the fences; `None` without both fences.
    pub yaml: Option<&'a str>,
    /// Text after them, or all of it.
    pub body: &'a str,
    /// Line of the opening fence, from 1.
    pub first_line: u64,
}

/// Splits a README. The opening `---` may follow a byte order mark and blank lines.
pub(super) fn front(text: &str) -> Front<'_> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let whole = Front { yaml: None, body: text, first_line: 1 };
    let mut at = 0;
    let mut number = 0;
    let mut opened = None;
    for line in text.split_inclusive('\n') {
        number += 1;
        let begin = at;
        at += line.len();
        let is_fence = line.trim_end() == "---";
        match opened {
            None if is_fence => opened = Some((at, number)),
            None if line.trim().is_empty() => {}
            None => return whole,
            Some((yaml, first_line)) if is_fence => {
                return Front { yaml: text.get(yaml..begin), body: text.get(at..).unwrap_or(""), first_line };
            }
            Some(_) => {}
        }
    }
    whole
}

/// Line of a field on the outermost level, from 1.
pub(super) fn line_of(yaml: &str, field: &str) -> Option<u64> {
    let is_field = |line: &str| {
        let quoted = line.strip_prefix(['"', '\'']).unwrap_or(line);
        let rest = quoted.strip_prefix(field).map(|rest| rest.trim_start_matches(['"', '\'']).trim_start());
        rest.is_some_and(|rest| rest.starts_with(':'))
    };
    yaml.lines().position(is_field).map(|index| index as u64 + 1)
}
