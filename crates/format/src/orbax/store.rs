//! Keys and values: the files of a folder, or the pairs of a database.

use std::collections::BTreeMap;

use crate::error::FormatError;
use crate::limits::Limits;
use crate::source::{Folder, FolderFile};
use crate::tensor::Stored;

/// Values by key; where they lie, not what they are.
pub(super) type Store = BTreeMap<String, Stored>;

/// The files below `prefix`, which is empty or ends in a slash.
pub(super) fn of_files(folder: &dyn Folder, prefix: &str) -> Store {
    let value = |file: &FolderFile| {
        let key = file.path.strip_prefix(prefix)?;
        Some((key.to_owned(), Stored::File { file: file.path.clone(), begin: 0, end: file.size_bytes }))
    };
    folder.files().iter().filter_map(value).collect()
}

/// A small value.
pub(super) fn value(folder: &dyn Folder, stored: &Stored, limits: &Limits) -> Result<Vec<u8>, FormatError> {
    Limits::at_most("length of a small file in bytes", stored.size_bytes(), limits.text_bytes)?;
    part(folder, stored, 0, stored.size_bytes())
}

/// Bytes of a value.
pub(super) fn part(folder: &dyn Folder, stored: &Stored, offset: u64, len: u64) -> Result<Vec<u8>, FormatError> {
    const WHAT: &str = "value";
    match stored {
        Stored::Inline(bytes) | Stored::Fill(bytes) => {
            let begin = usize::try_from(offset).unwrap_or(usize::MAX);
            let end = usize::try_from(len).ok().and_then(|len| begin.checked_add(len));
            let found = end.and_then(|end| bytes.get(begin..end)).map(<[u8]>::to_vec);
            found.ok_or(FormatError::Truncated { what: WHAT, needed: len, got: bytes.len() as u64 })
        }
        Stored::File { file, begin, end } => {
            let section = folder.open(file)?;
            let value = section.slice(WHAT, *begin, end.saturating_sub(*begin));
            value.and_then(|value| value.read(WHAT, offset, len)).map_err(|error| error.in_file(file))
        }
    }
}

/// A part of a value, without reading it.
pub(super) fn slice(stored: &Stored, offset: u64, len: u64) -> Option<Stored> {
    let end = offset.checked_add(len).filter(|&end| end <= stored.size_bytes())?;
    Some(match stored {
        Stored::Inline(bytes) | Stored::Fill(bytes) => {
            Stored::inline(bytes.get(usize::try_from(offset).ok()?..usize::try_from(end).ok()?)?)
        }
        Stored::File { file, begin, .. } => {
            Stored::File { file: file.clone(), begin: begin.checked_add(offset)?, end: begin.checked_add(end)? }
        }
    })
}
