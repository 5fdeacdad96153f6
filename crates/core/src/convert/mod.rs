//! A checkpoint in another form: the use case behind `wh convert`, `wh verify` of a conversion, and "Download as".
//!
//! ```text
//!   Folder ─► Checkpoint ─► remap: names, shapes, recipes ─► writer: files as parts ─► Plan   nothing is written yet
//!                                                                                       │
//!                            record, rename ◄── staging ◄── stream: read, cast, hash ◄──┘
//! ```
//! A plan knows every file to the byte, and refuses what cannot be done before any work. Running it takes bounded memory,
//! goes on where an earlier run was stopped, and leaves the destination complete or not at all.

mod options;
mod plan;
mod record;
mod staging;
mod stream;
#[cfg(test)]
mod tests;
mod verify;

use std::fs;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::source::Source;
use sha2::Digest;
use staging::Staging;
use stream::{Given, Sums, stream};

pub use options::{Form, Options, Parts, WeightType};
pub use plan::{Plan, plan, plan_of, read};
pub use record::Record;
pub use staging::Written;
pub use verify::{Check, Verified, verify};

pub(crate) use staging::PARTIAL;

/// Is told how many bytes more are done, and how many there are in all; from any thread.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Sync);

/// Is given the number of a file and its next bytes.
pub type Sink<'a> = dyn FnMut(usize, &[u8]) -> Result<(), Error> + 'a;

/// Runs a plan.
///
/// An earlier run of the same plan that did not end is taken up. Files of the source that change meanwhile are noticed.
///
/// # Errors
/// [`Error::Exists`] when the destination is there and may not be replaced; what reading, casting and writing say. After
/// an error nothing is at the destination that was not there before; what was done lies beside it, for the next run.
pub fn convert(
    source: &Source<'_>,
    plan: &Plan,
    destination: &Path,
    replace: bool,
    progress: Progress<'_>,
) -> Result<Record, Error> {
    let folder = plan.options.to.is_folder();
    check_destination(destination, folder, replace)?;
    if !folder {
        // A model that is split has files of other names.
        let parent = staging::parent_of(destination);
        plan.files.iter().try_for_each(|file| check_destination(&parent.join(&file.path), false, replace))?;
    }
    let mut staging = Staging::open(destination, &plan.fingerprint(source.file), plan.files.len())?;
    let total = plan.size_bytes().saturating_add(plan.unknown_bytes(source));
    let advance = |bytes: u64| progress(bytes, total);
    let (inputs, outputs) = std::thread::scope(|scope| {
        let inputs = scope.spawn(|| verify::digests(source, &plan.inputs, &advance));
        let outputs: Result<Vec<Written>, Error> = plan
            .files
            .iter()
            .enumerate()
            .map(|(number, _)| staging.write(number, source.folder, plan, &mut |bytes| advance(bytes)))
            .collect();
        (inputs.join(), outputs)
    });
    let outputs = outputs.map_err(|error| blame(source, plan, error))?;
    let inputs = inputs.unwrap_or_else(|_| Err(Error::Malformed("the thread that reads digests ended".to_owned())));
    let inputs = inputs.map_err(|error| blame(source, plan, error))?;
    source.check(&plan.inputs, &plan.stamps)?;
    let record = plan.record(source, inputs, outputs);
    publish(staging, plan, destination, &record)?;
    Ok(record)
}

/// Runs a plan into `sink`, which is given the number of a file and its next bytes, file by file and in order.
///
/// # Errors
/// As [`convert`], and what the sink says.
pub fn pour(source: &Source<'_>, plan: &Plan, sink: &mut Sink<'_>, progress: Progress<'_>) -> Result<Record, Error> {
    let total = plan.size_bytes().saturating_add(plan.unknown_bytes(source));
    let advance = |bytes: u64| progress(bytes, total);
    let inputs = verify::digests(source, &plan.inputs, &advance)?;
    let mut outputs = Vec::with_capacity(plan.files.len());
    for (number, file) in plan.files.iter().enumerate() {
        let (mut hasher, mut size_bytes) = (sha2::Sha256::new(), 0);
        stream(source.folder, plan, file, 0, &mut Sums::of_file(file), &mut |given| {
            if let Given::Bytes(bytes) = given {
                hasher.update(bytes);
                size_bytes += bytes.len() as u64;
                advance(bytes.len() as u64);
                sink(number, bytes)?;
            }
            Ok(())
        })?;
        let sha256 = hex::encode(hasher.finalize());
        outputs.push(Written { path: file.path.clone(), size_bytes, sha256 });
    }
    source.check(&plan.inputs, &plan.stamps)?;
    Ok(plan.record(source, inputs, outputs))
}

/// An error of reading is explained by a source that changed, if it did.
fn blame(source: &Source<'_>, plan: &Plan, error: Error) -> Error {
    match error {
        error @ (Error::Local { .. } | Error::Exists { .. }) => error,
        error => source.check(&plan.inputs, &plan.stamps).err().unwrap_or(error),
    }
}

/// Folder beside a destination in which a conversion that did not end keeps what it has done.
#[must_use]
pub fn partial(destination: &Path) -> Option<PathBuf> {
    staging::place(destination).ok()
}

/// Refuses destinations that are in the way, before any work.
///
/// # Errors
/// [`Error::Exists`], [`Error::Malformed`].
pub fn check_destination(destination: &Path, folder: bool, replace: bool) -> Result<(), Error> {
    let parent = staging::parent_of(destination);
    if !parent.is_dir() {
        return Err(Error::NotFound { what: "folder", name: parent.display().to_string() });
    }
    let Ok(data) = fs::symlink_metadata(destination) else { return Ok(()) };
    let name = destination.display();
    if folder {
        let empty = data.is_dir() && fs::read_dir(destination).is_ok_and(|mut entries| entries.next().is_none());
        if empty { Ok(()) } else { Err(Error::Exists { what: format!("`{name}` exists, and is no empty folder") }) }
    } else if data.is_dir() {
        Err(Error::Exists { what: format!("`{name}` is a folder; a file is to be written") })
    } else if replace {
        Ok(())
    } else {
        Err(Error::Exists { what: format!("`{name}` exists already") })
    }
}

fn publish(staging: Staging, plan: &Plan, destination: &Path, record: &Record) -> Result<(), Error> {
    if plan.options.to.is_folder() {
        staging.add(record::NAME, &record.to_json())?;
        return staging.publish_folder(destination);
    }
    let beside = record::beside(destination);
    let name = beside.file_name().and_then(|name| name.to_str()).unwrap_or(record::NAME);
    staging.add(name, &record.to_json())?;
    let mut files = vec![name];
    files.extend(plan.files.iter().rev().map(|file| file.path.as_str()));
    staging.publish_files(destination, &files)
}
