//! Names of tensors and files that would fool a person or a terminal, and tensors that cannot be whole.

use std::collections::HashSet;

use super::Checkpoint;
use crate::contents::{Warning, WarningKind};

/// Most warnings of one kind; a hostile file has millions of bad names.
const MOST: usize = 20;

/// Adds what is odd about names and pieces of tensors.
pub(super) fn look(checkpoint: &mut Checkpoint) {
    let mut warnings = Vec::new();
    let mut seen = HashSet::new();
    let (mut odd, mut twice, mut holes) = (0usize, 0usize, 0usize);
    for tensor in &checkpoint.contents.tensors {
        let file = tensor.place().map_or("", |(file, _)| file).to_owned();
        if let Some(what) = oddity(&tensor.name) {
            odd += 1;
            if odd <= MOST {
                let message = format!("the name of tensor `{}` {what}", tensor.name.escape_default());
                warnings.push(Warning { kind: WarningKind::Name, file: file.clone(), message });
            }
        }
        if !seen.insert(tensor.name.as_str()) {
            twice += 1;
            if twice <= MOST {
                let message = format!("tensor `{}` occurs more than once", tensor.name.escape_default());
                warnings.push(Warning { kind: WarningKind::Duplicate, file: file.clone(), message });
            }
        }
        if !tensor.is_complete() && !tensor.pieces.is_empty() {
            holes += 1;
            if holes <= MOST {
                let message = format!("tensor `{}` has elements that are in no file", tensor.name.escape_default());
                warnings.push(Warning { kind: WarningKind::Missing, file, message });
            }
        }
    }
    let mut files = 0;
    for file in &checkpoint.files {
        if let Some(what) = oddity(&file.path) {
            files += 1;
            if files <= MOST {
                let message = format!("the name of file `{}` {what}", file.path.escape_default());
                warnings.push(Warning { kind: WarningKind::Name, file: String::new(), message });
            }
        }
    }
    for (count, kind, what) in [
        (files, WarningKind::Name, "files have odd names"),
        (odd, WarningKind::Name, "names are odd"),
        (twice, WarningKind::Duplicate, "tensors occur more than once"),
        (holes, WarningKind::Missing, "tensors have elements that are in no file"),
    ] {
        if count > MOST {
            warnings.push(Warning { kind, file: String::new(), message: format!("{} more {what}", count - MOST) });
        }
    }
    checkpoint.contents.warnings.append(&mut warnings);
}

/// What is odd about a name: invisible or reordering characters (Unicode TR 36), and paths out of a folder.
fn oddity(name: &str) -> Option<&'static str> {
    let reorders = |character| matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}');
    let hides = |character| matches!(character, '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}' | '\u{ad}');
    if name.is_empty() {
        Some("is empty")
    } else if name.chars().any(char::is_control) {
        Some("has control characters")
    } else if name.chars().any(reorders) {
        Some("has characters that reorder text")
    } else if name.chars().any(hides) {
        Some("has invisible characters")
    } else if name.split(['/', '\\']).any(|part| part == "..") {
        Some("looks like a path out of its folder")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::oddity;

    #[test]
    fn names_that_fool_are_noticed() {
        for name in ["", "a\u{1b}[31m", "a\u{202e}b", "a\u{200b}", "../a", "a\\..\\b", "a\0"] {
            assert!(oddity(name).is_some(), "{name:?}");
        }
        for name in ["model.layers.0.weight", "params/Dense_0/kernel", "schicht.größe", "a..b"] {
            assert_eq!(oddity(name), None, "{name:?}");
        }
    }
}
