//! Documents of the source without what would act: a converted checkpoint carries no program, and no word that makes a
//! library fetch or run one.
//!
//! What the scanner refuses in a JSON document is taken out of it, place by place; a document of which nothing is left to
//! trust, and one that is no JSON, is left out. Both are told. What is only worth a caution stays.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use weighthouse_format::output::Part;
use weighthouse_format::source::{FolderFile, MemoryFolder};
use weighthouse_format::{Folder, FormatError, Section};

use super::{Plan, documents};
use crate::convert::Form;
use crate::scan::{self, Finding, Verdict};

/// Longest document that is looked at, in bytes; longer ones are vocabularies.
const MAX_BYTES: u64 = 64 << 20;
/// Most documents that are looked at.
const MAX_DOCUMENTS: usize = 2_000;
/// Most places that are taken out of one document.
const MAX_PLACES: usize = 50;

/// A folder whose documents do not act.
pub(super) struct Clean<'a> {
    folder: &'a dyn Folder,
    files: Vec<FolderFile>,
    mended: BTreeMap<Arc<str>, Vec<u8>>,
    notes: Vec<String>,
}

impl<'a> Clean<'a> {
    /// Looks at the documents of a folder, if a result of this form has any.
    pub fn of(folder: &'a dyn Folder, to: Form) -> Self {
        let mut clean = Self { folder, files: Vec::new(), mended: BTreeMap::new(), notes: Vec::new() };
        let mut looked = 0;
        for file in folder.files() {
            let document = matches!(to, Form::Folder | Form::Gguf)
                && documents::says_what_it_is(&file.path)
                && file.size_bytes <= MAX_BYTES;
            if !document || looked >= MAX_DOCUMENTS {
                clean.files.push(file.clone());
                continue;
            }
            looked += 1;
            let found = scan::one(folder, &file.path, file.size_bytes);
            if found.verdict <= Verdict::Caution {
                clean.files.push(file.clone());
            } else if let Some((bytes, taken)) = mend(folder, &file.path, &found.findings) {
                let (path, taken) = (file.path.escape_default(), taken.join(", "));
                clean.notes.push(format!("everything that acts is left out of `{path}`: {taken}"));
                clean.files.push(FolderFile { path: Arc::clone(&file.path), size_bytes: bytes.len() as u64 });
                clean.mended.insert(Arc::clone(&file.path), bytes);
            } else {
                let why = found.findings.first().map_or("", |finding| finding.detail.as_str());
                clean.notes.push(format!("`{}` is left out: {why}", file.path.escape_default()));
            }
        }
        clean
    }

    /// Says what was left out, and writes mended documents where the plan would copy them as they are.
    pub fn apply(self, plan: &mut Plan) {
        for file in &mut plan.files {
            let [Part::Tensor(number)] = file.parts.as_slice() else { continue };
            let source = plan.tensors.get(*number).map(|tensor| &tensor.recipe.source);
            let whole = source.and_then(|source| source.place()).filter(|(_, offset)| *offset == 0);
            if let Some(bytes) = whole.and_then(|(path, _)| self.mended.get(path)) {
                file.parts = vec![Part::bytes(bytes.clone())];
            }
        }
        plan.notes.extend(self.notes);
    }
}

impl Folder for Clean<'_> {
    fn files(&self) -> &[FolderFile] {
        &self.files
    }

    fn open(&self, path: &str) -> Result<Section, FormatError> {
        if let Some(bytes) = self.mended.get(path) {
            return Ok(Section::of_bytes(path, bytes.clone()));
        }
        if !self.has(path) {
            return Err(FormatError::NoFile { path: path.to_owned() });
        }
        self.folder.open(path)
    }
}

/// A JSON document without the places that are refused, and what those are; `None` when that does not make it clean.
fn mend(folder: &dyn Folder, path: &str, findings: &[Finding]) -> Option<(Vec<u8>, Vec<String>)> {
    let section = folder.open(path).ok()?;
    let bytes = section.read("a document", 0, section.len()).ok()?;
    let mut document: Value = serde_json::from_slice(&bytes).ok()?;
    let mut taken = Vec::new();
    let mut findings = findings.to_vec();
    while taken.len() < MAX_PLACES {
        let worst = findings.iter().find(|finding| finding.verdict > Verdict::Caution)?;
        let place = worst.path_in_object.as_deref().filter(|place| !place.is_empty())?;
        if !take(&mut document, place) {
            return None;
        }
        taken.push(format!("`{}`", place.escape_default()));
        let bytes = super::json(&document);
        let alone = MemoryFolder::new(vec![Section::of_bytes(path, bytes.clone())]);
        let again = scan::one(&alone, path, bytes.len() as u64);
        if again.verdict <= Verdict::Caution {
            return Some((bytes, taken));
        }
        findings = again.findings;
    }
    None
}

/// Takes a place such as `a.b[0].c` out of a document; `false` when it is not there.
fn take(document: &mut Value, place: &str) -> bool {
    let mut parts: Vec<&str> = place.split(['.', '[']).map(|part| part.trim_end_matches(']')).collect();
    parts.retain(|part| !part.is_empty());
    let Some(last) = parts.pop() else { return false };
    let mut value = document;
    for part in parts {
        let next = match value {
            Value::Object(map) => map.get_mut(part),
            Value::Array(list) => part.parse::<usize>().ok().and_then(|number| list.get_mut(number)),
            _ => None,
        };
        match next {
            Some(next) => value = next,
            None => return false,
        }
    }
    match value {
        Value::Object(map) => map.remove(last).is_some(),
        Value::Array(list) => match last.parse::<usize>() {
            Ok(number) if number < list.len() => {
                list.remove(number);
                true
            }
            _ => false,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn places_are_taken_out_of_objects_and_lists() {
        let mut document = json!({"a": {"b": [{"c": 1, "d": 2}, 3]}, "e": 4});
        assert!(take(&mut document, "a.b[0].c") && take(&mut document, "a.b[1]") && take(&mut document, "e"));
        assert_eq!(document, json!({"a": {"b": [{"d": 2}]}}));
        for place in ["", "x", "a.b[7]", "a.b[x]", "a.b[0].d.e"] {
            assert!(!take(&mut document, place), "{place}");
        }
    }
}
