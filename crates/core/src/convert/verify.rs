//! Whether a conversion is what its record says: outputs by digest, and, with the source at hand, made once more.

use std::path::Path;

use sha2::Digest;
use weighthouse_format::source::FolderFile;

use super::record::Record;
use super::staging::{Written, digest_of};
use super::stream::{Given, Sums, stream};
use super::{Progress, plan};
use crate::source::Source;
use crate::{Error, Sha256};

/// What was found out about one file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Check {
    /// It is what the record says.
    Same,
    /// It is not there.
    Missing,
    /// It is another one; its digest.
    Differs(String),
}

/// What was found out about a conversion.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Verified {
    /// Files of the result.
    pub outputs: Vec<(String, Check)>,
    /// Files of the source, if there is one.
    pub inputs: Vec<(String, Check)>,
    /// Files as they come out when the conversion is made once more, if there is a source and it is the right one.
    pub again: Vec<(String, Check)>,
}

impl Verified {
    /// Whether everything that was looked at is as the record says.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.outputs.iter().chain(&self.inputs).chain(&self.again).all(|(_, check)| *check == Check::Same)
    }
}

/// Checks the files in `folder` against a record; with a source the conversion is made again, without writing it.
///
/// # Errors
/// When a file cannot be read, or the conversion of the record cannot be made by this version.
pub fn verify(
    record: &Record,
    folder: &Path,
    source: Option<&Source<'_>>,
    progress: Progress<'_>,
) -> Result<Verified, Error> {
    let mut found = Verified::default();
    let sizes = |list: &[Written]| list.iter().fold(0u64, |sum, file| sum.saturating_add(file.size_bytes));
    let mut total = sizes(&record.outputs);
    if source.is_some() {
        total = total.saturating_add(sizes(&record.inputs)).saturating_add(sizes(&record.outputs));
    }
    let advance = |bytes: u64| progress(bytes, total);
    for file in &record.outputs {
        check_path(&file.path)?;
        let place = folder.join(&file.path);
        let check = match std::fs::metadata(&place) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Check::Missing,
            Err(error) => return Err(Error::local("reading", &place, error)),
            Ok(data) => Check::of(&file.sha256, &digest_of(&place, data.len(), &mut |bytes| advance(bytes))?),
        };
        found.outputs.push((file.path.clone(), check));
    }
    let Some(source) = source else { return Ok(found) };
    for file in &record.inputs {
        let there = source.folder.files().iter().find(|other| *other.path == *file.path);
        let check = match there {
            None => Check::Missing,
            Some(there) => Check::of(&file.sha256, &digest(source, there, &advance)?),
        };
        found.inputs.push((file.path.clone(), check));
    }
    if found.inputs.iter().any(|(_, check)| *check != Check::Same) {
        return Ok(found);
    }
    let plan = plan(source, &record.options, record.outputs.first().map(|file| file.path.as_str()))?;
    for file in &plan.files {
        let mut hasher = sha2::Sha256::new();
        stream(source.folder, &plan, file, 0, &mut Sums::of_file(file), &mut |given| {
            if let Given::Bytes(bytes) = given {
                hasher.update(bytes);
                advance(bytes.len() as u64);
            }
            Ok(())
        })?;
        let recorded = record.outputs.iter().find(|other| other.path == file.path);
        let made = Sha256(hasher.finalize().into());
        let check = recorded.map_or(Check::Missing, |recorded| Check::of(&recorded.sha256, &made));
        found.again.push((file.path.clone(), check));
    }
    source.check(&plan.inputs, &plan.stamps)?;
    Ok(found)
}

/// A record comes from outside: it names files of its own folder only.
fn check_path(path: &str) -> Result<(), Error> {
    let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains(['\\', '\0']);
    if path.split('/').all(plain) {
        return Ok(());
    }
    let reason = "a record names files of its own folder only".to_owned();
    Err(Error::IllegalPath { path: path.chars().take(80).collect(), reason })
}

impl Check {
    fn of(recorded: &str, found: &Sha256) -> Self {
        let found = found.to_string();
        if found == recorded { Self::Same } else { Self::Differs(found) }
    }
}

/// Digests of source files, read where they are not known.
pub(super) fn digests(
    source: &Source<'_>,
    files: &[FolderFile],
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Vec<Written>, Error> {
    let one = |file: &FolderFile| {
        let sha256 = digest(source, file, progress)?.to_string();
        Ok(Written { path: file.path.to_string(), size_bytes: file.size_bytes, sha256 })
    };
    files.iter().map(one).collect()
}

fn digest(source: &Source<'_>, file: &FolderFile, progress: &(dyn Fn(u64) + Sync)) -> Result<Sha256, Error> {
    if let Some(known) = source.facts.digest(&file.path) {
        return Ok(known);
    }
    let section = source.folder.open(&file.path)?;
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    while at < section.len() {
        let step = buffer.len().min(usize::try_from(section.len() - at).unwrap_or(usize::MAX));
        let part = buffer.get_mut(..step).unwrap_or_default();
        section.read_into("source file", at, part).map_err(|error| error.in_file(&file.path))?;
        hasher.update(part);
        at += step as u64;
        progress(step as u64);
    }
    Ok(Sha256(hasher.finalize().into()))
}
